//! What is played, by name.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use crate::load::{Exchange, Expected};
use crate::origin::Answer;

/// Bytes of a full segment with timestamps on a link of 1,500: the unit of bulk transfers.
pub const SEGMENT: usize = 1_448;
/// Bytes of a small relayed exchange, each way.
const SMALL: usize = 64;

/// One kind of traffic. The names are kept, so that figures of years can be compared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scenario {
    /// GET and a body of 128 bytes, connections kept on both sides, one route, one endpoint.
    HttpKeepalive128,
    /// The same with 1,000 exact routes, of which every request takes the last.
    HttpKeepalive128Routes1k,
    /// The same with a body of 1 KiB.
    HttpKeepalive1k,
    /// The same with a body of 16 KiB.
    HttpKeepalive16k,
    /// One request of 128 bytes per client connection; the origin's connections are kept.
    HttpConnectionPerRequest,
    /// A unary call of gRPC, 128 bytes each way, 16 in flight on each connection; HTTP/2 on both
    /// sides.
    Http2Unary,
    /// The same on connections that close behind 16 calls; with cookies in crumbs.
    Http2ConnectionPer16,
    /// A POST of HTTP/2 with 128 bytes, 16 in flight on each connection, to an origin of HTTP/1.1.
    Http2ToHttp1,
    /// A POST of HTTP/1.1 with 128 bytes, one in flight on each connection, to an origin of HTTP/2.
    Http1ToHttp2,
    /// 64 bytes there and back through a TCP relay.
    TcpRelaySmall,
    /// A download through a TCP relay, in segments of 1,448 bytes.
    TcpRelayBulk,
    /// The same over links with segmentation and receive offload.
    TcpRelayBulkTso,
    /// Datagrams of 18 bytes from 256 clients through a udp listener, each a session.
    UdpRelaySmall,
    /// UDP packets of 60 bytes, 256 flows, one route.
    L3ForwardV4,
    /// The same behind 10 random packet rules.
    L3ForwardV4Rules10,
    /// The same behind 10,000 random packet rules.
    L3ForwardV4Rules10k,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 16] = [
        Self::HttpKeepalive128,
        Self::HttpKeepalive128Routes1k,
        Self::HttpKeepalive1k,
        Self::HttpKeepalive16k,
        Self::HttpConnectionPerRequest,
        Self::Http2Unary,
        Self::Http2ConnectionPer16,
        Self::Http2ToHttp1,
        Self::Http1ToHttp2,
        Self::TcpRelaySmall,
        Self::TcpRelayBulk,
        Self::TcpRelayBulkTso,
        Self::UdpRelaySmall,
        Self::L3ForwardV4,
        Self::L3ForwardV4Rules10,
        Self::L3ForwardV4Rules10k,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpKeepalive128 => "http_keepalive_128",
            Self::HttpKeepalive128Routes1k => "http_keepalive_128_routes_1k",
            Self::HttpKeepalive1k => "http_keepalive_1k",
            Self::HttpKeepalive16k => "http_keepalive_16k",
            Self::HttpConnectionPerRequest => "http_connection_per_request",
            Self::Http2Unary => "http2_unary",
            Self::Http2ConnectionPer16 => "http2_connection_per_16",
            Self::Http2ToHttp1 => "http2_to_http1",
            Self::Http1ToHttp2 => "http1_to_http2",
            Self::TcpRelaySmall => "tcp_relay_small",
            Self::TcpRelayBulk => "tcp_relay_bulk",
            Self::TcpRelayBulkTso => "tcp_relay_bulk_tso",
            Self::UdpRelaySmall => "udp_relay_small",
            Self::L3ForwardV4 => "l3_forward_v4",
            Self::L3ForwardV4Rules10 => "l3_forward_v4_rules_10",
            Self::L3ForwardV4Rules10k => "l3_forward_v4_rules_10k",
        }
    }

    /// What is counted.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::TcpRelaySmall => "exchange",
            Self::TcpRelayBulk | Self::TcpRelayBulkTso => "1448 bytes",
            Self::UdpRelaySmall => "datagram",
            _ if self.floods() => "packet",
            _ => "request",
        }
    }

    /// Whether packets pass through without anybody's connection.
    #[must_use]
    pub const fn floods(self) -> bool {
        self.rules().is_some() || matches!(self, Self::L3ForwardV4 | Self::UdpRelaySmall)
    }

    /// Whether the client speaks HTTP/2.
    #[must_use]
    pub const fn asks_http2(self) -> bool {
        self.is_grpc() || matches!(self, Self::Http2ToHttp1)
    }

    /// Whether the origin speaks HTTP/2.
    #[must_use]
    pub const fn answers_http2(self) -> bool {
        self.is_grpc() || matches!(self, Self::Http1ToHttp2)
    }

    /// Whether what is asked is a call of gRPC.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::Http2Unary | Self::Http2ConnectionPer16)
    }

    /// Whether packets are for Sluice itself, which proxies them.
    #[must_use]
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::UdpRelaySmall)
    }

    /// Packet rules of the interface that traffic comes in by.
    const fn rules(self) -> Option<u32> {
        match self {
            Self::L3ForwardV4Rules10 => Some(10),
            Self::L3ForwardV4Rules10k => Some(10_000),
            _ => None,
        }
    }

    /// What the origin does.
    #[must_use]
    pub const fn answer(self) -> Answer {
        match self {
            Self::HttpKeepalive1k => Answer::Http(1024),
            Self::HttpKeepalive16k => Answer::Http(16 * 1024),
            Self::TcpRelaySmall => Answer::Echo,
            Self::TcpRelayBulk | Self::TcpRelayBulkTso => Answer::Bulk,
            _ => Answer::Http(128),
        }
    }

    /// What the client does.
    #[must_use]
    pub fn exchange(self) -> Exchange {
        let (request, answer) = match self.answer() {
            Answer::Http(body) => (self.request(), Expected::Http(body)),
            Answer::Echo => (vec![b'e'; SMALL], Expected::Bytes(SMALL)),
            Answer::Bulk => (vec![b'b'], Expected::Bulk(SEGMENT)),
        };
        Exchange {
            request,
            answer,
            connection_per_request: self == Self::HttpConnectionPerRequest,
            tcp: sluice_tcp::Config::default(),
        }
    }

    /// What `h2load --h1` says, on which the figures of the peers rest.
    fn request(self) -> Vec<u8> {
        if self == Self::Http1ToHttp2 {
            return crate::http2::plain_request();
        }
        let path = match self {
            Self::HttpKeepalive128Routes1k => "/api/v1/service-999/items",
            _ => "/",
        };
        let close = match self {
            Self::HttpConnectionPerRequest => "Connection: close\r\n",
            _ => "",
        };
        format!("GET {path} HTTP/1.1\r\nHost: 10.1.0.1\r\nUser-Agent: h2load nghttp2/1.52.0\r\n{close}\r\n")
            .into_bytes()
    }

    /// Where the client connects to.
    #[must_use]
    pub const fn target(self) -> SocketAddrV4 {
        let port = if matches!(self.answer(), Answer::Http(_)) { 80 } else { 7 };
        SocketAddrV4::new(crate::sluice::FRONT, port)
    }

    /// The largest frame whose segmentation is left to the device.
    #[must_use]
    pub const fn segmentation_max(self) -> u32 {
        if matches!(self, Self::TcpRelayBulkTso) { 65_535 } else { 0 }
    }

    /// Sluice's configuration.
    #[must_use]
    pub fn config(self, origin: Ipv4Addr) -> String {
        let mut text = String::from(
            "[[interface]]\nname = \"front\"\ndevice = \"tap:front\"\naddresses = [\"10.1.0.1/24\"]\n",
        );
        for rule in crate::rules::random(self.rules().unwrap_or(0)) {
            crate::rules::write(&rule, &mut text);
        }
        text.push_str(
            "[[interface]]\nname = \"back\"\ndevice = \"tap:back\"\naddresses = [\"10.2.0.1/24\"]\n\
             [runtime]\ncores = [0]\n\
             [[listener]]\nname = \"raw\"\naddress = \"10.1.0.1:7\"\nprotocol = \"tcp\"\n\
             cluster = \"raw\"\n\
             [[listener]]\nname = \"web\"\naddress = \"10.1.0.1:80\"\nprotocol = \"http\"\n\
             [[listener.virtual_host]]\ndomains = [\"*\"]\n",
        );
        if self == Self::HttpKeepalive128Routes1k {
            for route in 0..1_000 {
                let _ = write!(
                    text,
                    "[[listener.virtual_host.route]]\n\
                     path = \"/api/v1/service-{route}/items\"\ncluster = \"web\"\n"
                );
            }
        }
        text.push_str("[[listener.virtual_host.route]]\nprefix = \"/\"\ncluster = \"web\"\n");
        for (name, port) in [("web", 80), ("raw", 7)] {
            let _ = write!(
                text,
                "[[cluster]]\nname = \"{name}\"\nendpoints = [\"{origin}:{port}\"]\n\
                 max_connections = 1000000\nmax_pending = 1000000\n"
            );
            if name == "web" && self.answers_http2() {
                text.push_str("http = \"2\"\n");
            }
        }
        if self.is_udp() {
            let _ = write!(
                text,
                "[[listener]]\nname = \"datagrams\"\naddress = \"10.1.0.1:9\"\nprotocol = \"udp\"\n\
                 cluster = \"datagrams\"\n\
                 [[cluster]]\nname = \"datagrams\"\nendpoints = [\"{origin}:9\"]\n\
                 load_balancing = \"maglev\"\n"
            );
        }
        text
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|scenario| scenario.name()).collect();
            format!("no scenario {name:?}; there are {}", names.join(", "))
        })
    }
}
