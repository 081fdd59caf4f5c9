//! Virtual hosts and routes: which request goes where, and how it is changed on the way.

use std::time::Duration;

use sluice_base::{ClusterId, RouteId, VirtualHostId};

use crate::defaults;

/// The routes for a set of domains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VirtualHost {
    /// Stable while listener and name stay; unique in the process.
    pub id: VirtualHostId,
    /// The operator's name for it, or its first domain.
    pub name: String,
    /// The domains it answers for; at least one. Over all hosts of a listener: exact wins over
    /// suffix, suffix over prefix, longer over shorter, [`DomainPattern::Any`] last.
    pub domains: Vec<DomainPattern>,
    /// Tried in order; the first match wins.
    pub routes: Vec<Route>,
}

/// What the host of a request (without its port) is compared with; lower case.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DomainPattern {
    /// `www.example.com`.
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: one label or more must precede it.
    Suffix(String),
    /// `www.example.*`, kept as `www.example.`: something must follow it.
    Prefix(String),
    /// `*`.
    Any,
}

/// One entry of a virtual host's table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Stable while virtual host and name (or, without a name, position) stay.
    pub id: RouteId,
    /// The operator's name for it, if given.
    pub name: Option<String>,
    /// Which requests it takes.
    pub matcher: RouteMatch,
    /// What happens to them.
    pub action: RouteAction,
    /// Replaces the Host header on the way upstream.
    pub host_rewrite: Option<String>,
    /// Replaces the matched prefix of the path; only with [`PathMatch::Prefix`] or, as the whole
    /// path, [`PathMatch::Exact`].
    pub prefix_rewrite: Option<String>,
    /// Appended to the request on the way upstream.
    pub request_headers_add: Vec<HeaderValue>,
    /// Removed from the request, before additions; lower-case names.
    pub request_headers_remove: Vec<String>,
    /// Appended to the response on the way downstream.
    pub response_headers_add: Vec<HeaderValue>,
    /// Removed from the response, before additions; lower-case names.
    pub response_headers_remove: Vec<String>,
    /// From the end of the request to the end of the response, beyond: 504; `None`: unlimited.
    pub timeout: Option<Duration>,
    /// How often a request is sent to another endpoint when the connection to one fails.
    pub retries: u8,
    /// How long is waited before that.
    pub retry_back_off: BackOff,
    /// What an endpoint may also answer for the request to be sent again; each once.
    pub retry_on: Vec<RetryOn>,
    /// What becomes of the deadline that a call of gRPC names.
    pub grpc_timeout: GrpcTimeout,
}

/// How long a request waits before it is sent again: the n-th time a random part of
/// `base_interval` x (2^n - 1), and at most `max_interval`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BackOff {
    /// Zero: it is sent again at once.
    pub base_interval: Duration,
    /// At least `base_interval`.
    pub max_interval: Duration,
}

impl BackOff {
    /// Not at all.
    pub const NONE: Self = Self { base_interval: Duration::ZERO, max_interval: Duration::ZERO };

    /// Envoy's: 25 ms and 250 ms.
    pub const USUAL: Self = Self {
        base_interval: defaults::RETRY_BASE_INTERVAL,
        max_interval: defaults::RETRY_BASE_INTERVAL.saturating_mul(defaults::RETRY_MAX_INTERVALS),
    };
}

/// An answer to a call of gRPC after which it is sent again, by its status.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RetryOn {
    /// `cancelled`
    Cancelled,
    /// `deadline-exceeded`
    DeadlineExceeded,
    /// `internal`
    Internal,
    /// `resource-exhausted`
    ResourceExhausted,
    /// `unavailable`
    Unavailable,
}

impl RetryOn {
    /// All of them, by alphabet.
    pub const ALL: [Self; 5] = [
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::ResourceExhausted,
        Self::Unavailable,
    ];

    /// Envoy's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Internal => "internal",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What becomes of the deadline that a call of gRPC names by `grpc-timeout`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum GrpcTimeout {
    /// It holds besides the route's timeout.
    #[default]
    Besides,
    /// It holds instead of the route's timeout, if it is not longer than this; `None`: however long.
    Instead(Option<Duration>),
}

/// A condition on the whole request; all parts must hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteMatch {
    /// On the normalised path, without the query.
    pub path: PathMatch,
    /// On the method, case-sensitive; `None`: any.
    pub method: Option<String>,
    /// On header fields.
    pub headers: Vec<HeaderMatch>,
    /// On query parameters.
    pub query: Vec<QueryMatch>,
}

/// A condition on a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathMatch {
    /// The path is this string.
    Exact(String),
    /// The path starts with this string (characters, not segments: `/a` takes `/ab`).
    Prefix(String),
    /// The whole path matches this expression (compile it as `^(?:...)$`).
    Regex(String),
    /// There is no path: the request is a CONNECT (RFC 9110, 9.3.6). No other condition takes one.
    Connect(Connect),
}

/// What becomes of the tunnel that a CONNECT asks for. It leads to the route's cluster, whatever host
/// the request names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Connect {
    /// It ends here: its bytes go to an endpoint by a TCP connection.
    Terminate,
    /// The endpoint, a proxy itself, is asked for it.
    Forward,
}

impl Connect {
    /// As configuration writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Forward => "forward",
        }
    }
}

/// A condition on a header field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderMatch {
    /// The field's name in lower case.
    pub name: String,
    /// The condition on its value. Several fields of the name count as one, joined by commas.
    pub matcher: StringMatch,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueryMatch {
    /// The parameter's name, case-sensitive.
    pub name: String,
    /// The condition on its first value.
    pub matcher: StringMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StringMatch {
    /// The value is this string.
    Exact(String),
    /// The value starts with this string.
    Prefix(String),
    /// The whole value matches this expression (compile it as `^(?:...)$`).
    Regex(String),
    /// There is a value (`true`), or there is none (`false`).
    Present(bool),
}

/// What happens to a request that matched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteAction {
    /// To an endpoint of this cluster.
    Cluster(ClusterId),
    /// To one of several clusters, drawn by weight; at least one, total 1..=2^32 - 1.
    WeightedClusters(Vec<WeightedCluster>),
    /// Answered with a Location header.
    Redirect(Redirect),
    /// Answered with a fixed response.
    DirectResponse(DirectResponse),
}

/// One of several clusters of a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its share of the sum of all weights.
    pub weight: u32,
}

/// A redirection; what is `None` stays as the request had it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// Scheme of the new location.
    pub scheme: Option<Scheme>,
    /// Host of the new location, without port.
    pub host: Option<String>,
    /// Port of the new location. With `None`, a new scheme means its default port.
    pub port: Option<u16>,
    /// Path of the new location.
    pub path: Option<RedirectPath>,
    /// Whether the query is left out.
    pub strip_query: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// The path that a redirection leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RedirectPath {
    /// This path. A `?` in it brings its own query, which replaces the request's.
    Full(String),
    /// The request's path with the matched prefix replaced by this string.
    Prefix(String),
}

/// A URI scheme of HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As it stands in a URI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A fixed response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirectResponse {
    /// 200..=599.
    pub status: u16,
    /// The body, at most 4 KiB (Envoy's limit); sent as `text/plain`.
    pub body: String,
}

/// A header field to add.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderValue {
    /// The field's name in lower case.
    pub name: String,
    /// Its value, without CR, LF, NUL or outer white space.
    pub value: String,
}
