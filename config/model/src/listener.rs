//! `[[listener]]`: an address that clients connect to.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_base::{ClusterId, ListenerId};

use crate::{ConnectionLife, Http2Settings, TcpSettings, VirtualHost};

/// An address and port on which connections are accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Stable while the name stays.
    pub id: ListenerId,
    /// The operator's name for it; label of its metrics.
    pub name: String,
    /// An address of an interface, and the TCP or UDP port.
    pub address: SocketAddr,
    /// What is spoken on its connections.
    pub protocol: Protocol,
    /// A connection without any byte or stream, or a session without any datagram, for this long is
    /// closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// TCP towards clients.
    pub tcp: TcpSettings,
}

impl Listener {
    /// The HTTP part, if this listener speaks HTTP.
    #[must_use]
    pub const fn http(&self) -> Option<&HttpListener> {
        match &self.protocol {
            Protocol::Http(http) => Some(http),
            Protocol::Tcp { .. } | Protocol::Udp { .. } => None,
        }
    }

    /// Whether datagrams come to it, not connections.
    #[must_use]
    pub const fn is_udp(&self) -> bool {
        matches!(self.protocol, Protocol::Udp { .. })
    }
}

/// What a listener's connections carry.
#[expect(clippy::large_enum_variant, reason = "there are few listeners, and most speak HTTP")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1 requests, routed one by one.
    Http(HttpListener),
    /// Bytes, relayed to a connection of the cluster.
    Tcp {
        /// Where connections go.
        cluster: ClusterId,
    },
    /// Datagrams, relayed in sessions: all that one address and port of a client sends goes to one
    /// endpoint.
    Udp {
        /// Where sessions go.
        cluster: ClusterId,
        /// Sessions at a time, over all workers; datagrams of others are dropped.
        max_sessions: u32,
    },
}

/// What only an HTTP listener has: hosts, routes and limits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpListener {
    /// The hosts it answers for; at least one.
    pub virtual_hosts: Vec<VirtualHost>,
    /// From the first byte of a request head to its end, beyond: 408; `None`: unlimited.
    pub header_timeout: Option<Duration>,
    /// A request or response that moves no byte for this long is ended; `None`: never.
    pub stream_idle_timeout: Option<Duration>,
    /// Bytes of a request line, beyond: 414.
    pub max_request_line: u32,
    /// Bytes of a request head with its request line, beyond: 431. At most 64 KiB.
    pub max_header_bytes: u32,
    /// Header fields of a request, beyond: 431.
    pub max_headers: u16,
    /// Bytes of a request body, beyond: 413; `None`: unlimited.
    pub max_body: Option<u64>,
    /// Whether clients may open WebSockets through a stream of HTTP/2 (RFC 8441).
    pub allow_connect: bool,
    /// When a client's connection of HTTP/1.1 is replaced.
    pub life: ConnectionLife,
    /// What HTTP/2 with its clients is like.
    pub http2: Http2Settings,
}
