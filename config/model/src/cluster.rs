//! `[[cluster]]`: a set of endpoints that answer the same requests.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_base::{ClusterId, EndpointId};

use crate::{ConnectionLife, Http2Settings, TcpSettings};

/// A set of endpoints, how one is chosen, and what connections to them are like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    /// Stable while the name stays.
    pub id: ClusterId,
    /// The operator's name for it; label of its metrics.
    pub name: String,
    /// Where its requests go. May be empty: requests then end with 503.
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is chosen.
    pub load_balancing: LoadBalancing,
    /// From SYN to established, beyond: the next endpoint or 503.
    pub connect_timeout: Duration,
    /// A connection that waits unused in the pool for this long is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// What is spoken to the endpoints.
    pub http: HttpVersion,
    /// When a connection of HTTP/1.1 is replaced.
    pub life: ConnectionLife,
    /// What HTTP/2 with them is like.
    pub http2: Http2Settings,
    /// Connections to all endpoints together, over all workers; beyond, requests wait.
    pub max_connections: u32,
    /// Requests that wait for a connection, over all workers; beyond: 503, flag UO.
    pub max_pending: u32,
    /// Requests that are being sent again, over all workers; beyond: what failed is answered, flag UO.
    pub max_retries: u32,
    /// TCP towards endpoints.
    pub tcp: TcpSettings,
}

/// One address of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Stable while cluster and address stay.
    pub id: EndpointId,
    /// Where it listens.
    pub address: SocketAddr,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LoadBalancing {
    /// One after the other, from a random start. The default, as Envoy's.
    #[default]
    RoundRobin,
    /// The less loaded of two random ones (power of two choices).
    LeastRequest,
    /// The one that the client's address names, by Maglev hashing: for UDP. A request, which names
    /// none, goes to a random one.
    Maglev,
}

/// What is spoken to the endpoints of a cluster.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum HttpVersion {
    /// HTTP/1.1 with keep-alive.
    #[default]
    Http11,
    /// HTTP/2 from the first byte (RFC 9113, 3.3).
    Http2,
    /// What the client speaks.
    Same,
}
