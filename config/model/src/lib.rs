//! Validated configuration as plain data, with stable ids and nothing compiled.
//!
//! The way through: `config/toml` reads a file into a [`Config`] and asks an [`IdRegistry`] for
//! the ids; `config/control` compiles the `Config` (route tables, endpoint sets) into what the
//! workers use. Whoever holds a `Config` may rely on what the types cannot say:
//!
//! * every [`ClusterId`](sluice_base::ClusterId) in a listener or route names an entry of
//!   [`Config::clusters`];
//! * names are unique per kind, listener addresses are unique and lie on an interface, domains are
//!   unique within a listener, endpoints within a cluster;
//! * header names are lower-case tokens, header values are free of CR, LF and NUL, methods are
//!   tokens, statuses lie in their range, regular expressions compile;
//! * weights of a weighted route add up to 1..=2^32 - 1.
//!
//! The registry lives as long as the process. A thing that keeps its name keeps its id across
//! reloads, so pools, health, breakers and counters, which are arrays by id, survive them.
//!
//! Defaults are constants of [`defaults`], each with its reason.

mod admin;
mod cluster;
mod config;
mod connection_life;
pub mod defaults;
mod http2;
mod ids;
mod impairment;
mod interface;
mod listener;
mod route;
mod rule;
mod runtime;
mod tcp;

pub use admin::{AccessLog, AccessLogFormat, AccessLogPath, Admin};
pub use cluster::{Cluster, Endpoint, HttpVersion, LoadBalancing};
pub use config::{Config, Node};
pub use connection_life::ConnectionLife;
pub use http2::Http2Settings;
pub use ids::{IdBounds, IdRegistry, Retired};
pub use impairment::{Direction, Impairment};
pub use interface::{
    DeviceSpec, Interface, IpCidr, IpRoute, ReversePathCheck, RouterAdvertisements,
};
pub use listener::{HttpListener, Listener, Protocol};
pub use route::{
    BackOff, Connect, DirectResponse, DomainPattern, GrpcTimeout, HeaderMatch, HeaderValue,
    PathMatch, QueryMatch, Redirect, RedirectPath, RetryOn, Route, RouteAction, RouteMatch, Scheme,
    StringMatch, VirtualHost, WeightedCluster,
};
pub use rule::{IpNetwork, PortRange, Rule, RuleAction};
pub use runtime::{Buffers, Hugepages, Idle, Runtime};
pub use tcp::{Congestion, Ecn, Keepalive, TcpSettings};
