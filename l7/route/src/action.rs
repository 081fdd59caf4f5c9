//! What happens to a request that matched.

use sluice_base::ClusterId;
use sluice_config_model::{RedirectPath, RouteAction, Scheme, WeightedCluster};
use sluice_l7_core::Head;

use crate::Path;
use crate::domain::{host_of, port_of};
use crate::edits::Matched;

/// What happens to a request that matched.
#[derive(Clone, Debug)]
pub enum Action {
    /// To an endpoint of this cluster.
    Cluster(ClusterId),
    /// To one of several clusters.
    Weighted(WeightedClusters),
    /// Answered with a Location.
    Redirect(Redirect),
    /// Answered with a fixed response.
    Direct(Direct),
}

impl Action {
    /// None: the weights do not add up to 1..=2^32 - 1.
    pub(crate) fn compile(action: &RouteAction, matched: Matched) -> Option<Self> {
        Some(match action {
            RouteAction::Cluster(cluster) => Self::Cluster(*cluster),
            RouteAction::WeightedClusters(clusters) => {
                Self::Weighted(WeightedClusters::new(clusters)?)
            }
            RouteAction::Redirect(redirect) => Self::Redirect(Redirect::new(redirect, matched)),
            RouteAction::DirectResponse(response) => Self::Direct(Direct {
                status: response.status,
                body: response.body.as_bytes().into(),
            }),
        })
    }

    /// The cluster that the request goes to, by a number drawn for it; None: it is answered here.
    #[inline]
    #[must_use]
    pub fn cluster(&self, random: u32) -> Option<ClusterId> {
        match self {
            Self::Cluster(cluster) => Some(*cluster),
            Self::Weighted(clusters) => Some(clusters.pick(random)),
            Self::Redirect(_) | Self::Direct(_) => None,
        }
    }
}

/// Clusters and their shares.
#[derive(Clone, Debug)]
pub struct WeightedClusters {
    /// Those with a weight; the number is the sum of the weights up to and with the entry.
    entries: Box<[(u32, ClusterId)]>,
    total: u32,
}

impl WeightedClusters {
    fn new(clusters: &[WeightedCluster]) -> Option<Self> {
        let mut total = 0u32;
        let mut entries = Vec::with_capacity(clusters.len());
        for entry in clusters.iter().filter(|entry| entry.weight > 0) {
            total = total.checked_add(entry.weight)?;
            entries.push((total, entry.cluster));
        }
        (total > 0).then_some(Self { entries: entries.into(), total })
    }

    /// The cluster that a uniform random number stands for.
    #[inline]
    #[must_use]
    pub fn pick(&self, random: u32) -> ClusterId {
        let point = ((u64::from(random) * u64::from(self.total)) >> 32) as u32;
        let index = self.entries.partition_point(|(until, _)| *until <= point);
        self.entries[index].1
    }

    /// Every cluster that can be picked.
    pub fn clusters(&self) -> impl Iterator<Item = ClusterId> {
        self.entries.iter().map(|(_, cluster)| *cluster)
    }
}

/// A fixed response.
#[derive(Clone, Debug)]
pub struct Direct {
    /// 200 to 599.
    pub status: u16,
    /// Sent as `text/plain`; may be empty.
    pub body: Box<[u8]>,
}

/// A redirection.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<Scheme>,
    host: Option<Box<[u8]>>,
    port: Option<u16>,
    path: NewPath,
    strip_query: bool,
}

#[derive(Clone, Debug)]
enum NewPath {
    Same,
    Full(Box<[u8]>),
    Prefix(Box<[u8]>, Matched),
}

impl Redirect {
    fn new(redirect: &sluice_config_model::Redirect, matched: Matched) -> Self {
        Self {
            status: redirect.status,
            scheme: redirect.scheme,
            host: redirect.host.as_deref().map(|host| host.as_bytes().into()),
            port: redirect.port,
            path: match &redirect.path {
                None => NewPath::Same,
                Some(RedirectPath::Full(path)) => NewPath::Full(path.as_bytes().into()),
                Some(RedirectPath::Prefix(with)) => {
                    NewPath::Prefix(with.as_bytes().into(), matched)
                }
            },
            strip_query: redirect.strip_query,
        }
    }

    /// Writes the Location for a request that came by `scheme`.
    ///
    /// The result is an absolute URI, or without a usable host an absolute path, which means the
    /// place the client asked (RFC 9110, 10.2.2).
    pub fn location(&self, head: &Head, scheme: Scheme, out: &mut Vec<u8>) {
        let start = out.len();
        self.write_origin(head.authority(), scheme, out);
        let path_start = out.len();
        let path = Path::of(head);
        let own_query = match &self.path {
            NewPath::Same => {
                out.extend_from_slice(path.path());
                false
            }
            NewPath::Full(new) => {
                out.extend_from_slice(new);
                new.contains(&b'?')
            }
            NewPath::Prefix(with, matched) => {
                out.extend_from_slice(with);
                out.extend_from_slice(matched.rest(path.path()));
                false
            }
        };
        if out.get(path_start) != Some(&b'/') {
            out.insert(path_start, b'/');
        }
        if path_start == start && out[start..].starts_with(b"//") {
            // Two slashes at the start of a reference would name a host (RFC 3986, 4.2).
            out.splice(start..start, *b"/.");
        }
        if let Some(query) = path.query()
            && !self.strip_query
            && !own_query
        {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }

    /// Writes scheme, host and port; nothing if there is no host that may stand in a URI.
    fn write_origin(&self, authority: &[u8], from: Scheme, out: &mut Vec<u8>) {
        let (host, old_port) = (host_of(authority), port_of(authority));
        let host = self.host.as_deref().unwrap_or(host);
        let usable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~[]:%".contains(byte);
        if host.is_empty() || !host.iter().all(usable) {
            return;
        }
        out.extend_from_slice(self.scheme.unwrap_or(from).as_str().as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(host);
        match self.port {
            Some(port) if port == default_port(self.scheme.unwrap_or(from)) => {}
            Some(port) => {
                out.push(b':');
                write_decimal(port, out);
            }
            // A port of the old scheme would be wrong for the new one.
            None if self.scheme.is_some_and(|scheme| scheme != from) => {}
            None => out.extend_from_slice(old_port),
        }
    }
}

const fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

fn write_decimal(number: u16, out: &mut Vec<u8>) {
    if number >= 10 {
        write_decimal(number / 10, out);
    }
    out.push(b'0' + (number % 10) as u8);
}
