//! `[[cluster]]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_base::{ClusterId, EndpointId};
use sluice_config_model::{Cluster, Endpoint, HttpVersion, LoadBalancing, defaults};

use super::http2;
use super::interface::not_a_host;
use super::tcp::tcp_settings;
use crate::address;
use crate::limits::ENDPOINTS_MAX;
use crate::report::{At, Report, Span};
use crate::section::{Section, did_you_mean};
use crate::value::{Value, enumerate};

/// What later sections must know about clusters.
#[derive(Default)]
pub(crate) struct Clusters {
    names: BTreeMap<String, Known>,
    /// Where each endpoint is written.
    pub(crate) endpoints: Vec<At<SocketAddr>>,
    count: u32,
    /// A cluster has no readable name, so that a reference may be to it.
    incomplete: bool,
}

struct Known {
    id: ClusterId,
    span: Span,
    is_used: bool,
}

impl Clusters {
    /// The cluster that a route or listener names.
    pub(crate) fn refer(&mut self, value: Value<'_>, report: &mut Report<'_>) -> Option<ClusterId> {
        let At { value: name, span } = value.name(report)?;
        if let Some(known) = self.names.get_mut(&name) {
            known.is_used = true;
            return Some(known.id);
        }
        if report.is_full() {
            report.error(span, "a cluster does not exist");
        } else if !self.incomplete {
            let problem = report.error(span, format!("cluster `{name}` does not exist"));
            problem.label("no [[cluster]] has this name");
            if let Some(meant) = did_you_mean(&name, self.names.keys().map(String::as_str)) {
                problem.hint(format!("did you mean `{meant}`?"));
            } else if self.names.is_empty() {
                problem.hint(format!("add a [[cluster]] with name = \"{name}\""));
            } else {
                problem.hint(format!("clusters are {}", enumerate(self.names.keys())));
            }
        }
        None
    }

    /// Clusters that nothing refers to, with the place of their names.
    pub(crate) fn unused(&self) -> impl Iterator<Item = (&str, Span)> {
        self.names
            .iter()
            .filter(|(_, known)| !known.is_used)
            .map(|(name, k)| (name.as_str(), k.span))
    }
}

pub(super) fn cluster(
    mut section: Section<'_>,
    known: &mut Clusters,
    report: &mut Report<'_>,
) -> Cluster {
    let id = ClusterId(known.count);
    known.count += 1;
    let name = section.require("name", report).and_then(|value| value.name(report));
    known.incomplete |= name.is_none();
    if let Some(at) = &name {
        let new = Known { id, span: at.span, is_used: false };
        if let Some(first) = known.names.insert(at.value.clone(), new) {
            let line = report.line(first.span);
            report
                .error(at.span, format!("cluster `{}` exists already", at.value))
                .hint(format!("the first one is at line {line}; names are unique"));
        }
    }
    let endpoints = section.require("endpoints", report);
    let endpoints = endpoints.map(|value| endpoints_of(value, known, report)).unwrap_or_default();
    let load_balancing = section.take("load_balancing").and_then(|value| {
        let words = [
            ("round_robin", LoadBalancing::RoundRobin),
            ("least_request", LoadBalancing::LeastRequest),
            ("maglev", LoadBalancing::Maglev),
        ];
        let later = "it comes with a later version";
        let later = [("random", later), ("ring_hash", later)];
        value.word(&words, &later, report)
    });
    let connect_timeout = section.take("connect_timeout").and_then(|value| value.duration(report));
    if let Some(at) = connect_timeout.as_ref().filter(|at| at.value.is_zero()) {
        report
            .error(at.span, "`connect_timeout` must be longer than 0")
            .hint("a connection that never times out would hold its request for ever");
    }
    let idle_timeout = section.take("idle_timeout").and_then(|value| value.duration(report));
    let http = section.take("http").and_then(|value| {
        let words =
            [("1.1", HttpVersion::Http11), ("2", HttpVersion::Http2), ("same", HttpVersion::Same)];
        value.word(&words, &[], report)
    });
    let http2 = section.take("http2");
    if let Some(value) = http2.as_ref().filter(|_| !speaks_http2(http.as_ref())) {
        report
            .warning(value.key_span, "`http2` has no effect with `http = \"1.1\"`")
            .hint("http = \"2\" or \"same\" speaks it to the endpoints");
    }
    let life = http2::life(&mut section, report);
    let http2 = http2::settings(http2::Of::Cluster, http2, life, report);
    let max_connections = number(&mut section, "max_connections", report);
    let max_pending = number(&mut section, "max_pending", report);
    let max_retries = number(&mut section, "max_retries", report);
    let tcp = tcp_settings(&mut section, report);
    section.close(report);
    Cluster {
        id,
        name: name.map(|at| at.value).unwrap_or_default(),
        endpoints,
        load_balancing: load_balancing.map(|at| at.value).unwrap_or_default(),
        connect_timeout: connect_timeout.map_or(defaults::CONNECT_TIMEOUT, |at| at.value),
        idle_timeout: unless_zero(idle_timeout, defaults::CLUSTER_IDLE_TIMEOUT),
        http: http.map(|at| at.value).unwrap_or_default(),
        life,
        http2,
        max_connections: max_connections.unwrap_or(defaults::MAX_CONNECTIONS),
        max_pending: max_pending.unwrap_or(defaults::MAX_PENDING),
        max_retries: max_retries.unwrap_or(defaults::MAX_RETRIES),
        tcp,
    }
}

fn speaks_http2(http: Option<&At<HttpVersion>>) -> bool {
    http.is_some_and(|at| at.value != HttpVersion::Http11)
}

/// `"0s"` turns a timeout off.
pub(super) fn unless_zero(at: Option<At<Duration>>, default: Duration) -> Option<Duration> {
    Some(at.map_or(default, |at| at.value)).filter(|duration| !duration.is_zero())
}

fn number(section: &mut Section<'_>, key: &'static str, report: &mut Report<'_>) -> Option<u32> {
    let range =
        if key == "max_connections" { 1..=i64::from(u32::MAX) } else { 0..=i64::from(u32::MAX) };
    section.take(key).and_then(|value| value.integer(range, report)).map(|at| at.value)
}

fn endpoints_of(value: Value<'_>, known: &mut Clusters, report: &mut Report<'_>) -> Vec<Endpoint> {
    let room = ENDPOINTS_MAX.saturating_sub(known.endpoints.len());
    let mut seen = BTreeMap::new();
    let mut endpoints = Vec::new();
    for entry in value.list(room, report) {
        let Some(at) = address::socket(entry, report) else { continue };
        let ip = at.value.ip();
        if ip.is_loopback() {
            report
                .error(at.span, format!("{} cannot be reached: loopback belongs to the kernel", at.value))
                .hint("Sluice has a stack of its own; on a tap, the kernel is one of its `host_addresses`");
        } else if let Some(kind) = not_a_host(ip) {
            report.error(
                at.span,
                format!("{} cannot be an endpoint: its address is {kind}", at.value),
            );
        }
        if let Some(first) = seen.insert(at.value, at.span) {
            let line = report.line(first);
            report
                .error(at.span, format!("endpoint {} is listed twice", at.value))
                .hint(format!("the first one is at line {line}"));
        }
        endpoints.push(Endpoint { id: EndpointId(0), address: at.value });
        known.endpoints.push(at);
    }
    endpoints
}
