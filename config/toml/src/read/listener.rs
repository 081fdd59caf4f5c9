//! `[[listener]]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_base::ListenerId;
use sluice_config_model::{HttpListener, Listener, Protocol, defaults};
use toml::de::DeValue;

use super::cluster::unless_zero;
use super::http2;
use super::tcp::{fast_open, tcp_settings};
use super::{Clusters, Interfaces, virtual_host};
use crate::address;
use crate::report::{At, Report, Span};
use crate::section::Section;
use crate::value::Value;

/// What one listener must know about the others.
#[derive(Default)]
pub(super) struct Listeners {
    names: BTreeMap<String, Span>,
    /// TCP and UDP have ports of their own.
    addresses: BTreeMap<(bool, SocketAddr), (String, Span)>,
    /// Routes over all virtual hosts of all listeners.
    pub(super) routes: usize,
}

/// The sections that listeners refer to.
pub(super) struct Context<'a> {
    pub(super) interfaces: &'a Interfaces,
    pub(super) clusters: &'a mut Clusters,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Http,
    Tcp,
    Udp,
}

pub(super) fn listener(
    mut section: Section<'_>,
    known: &mut Listeners,
    context: Context<'_>,
    report: &mut Report<'_>,
) -> Option<Listener> {
    let Context { interfaces, clusters } = context;
    let name = section.require("name", report).and_then(|value| value.name(report));
    if let Some(at) = &name
        && let Some(first) = known.names.insert(at.value.clone(), at.span)
    {
        let line = report.line(first);
        report
            .error(at.span, format!("listener `{}` exists already", at.value))
            .hint(format!("the first one is at line {line}; names are unique"));
    }
    let name = name.map(|at| at.value).unwrap_or_default();
    let address =
        section.require("address", report).and_then(|value| address::socket(value, report));
    let kind = section.take("protocol").map_or(Some(Kind::Http), |value| protocol(value, report));
    if let Some(at) = &address {
        check_address(at, kind == Some(Kind::Udp), &name, known, interfaces, report);
    }
    let protocol = match kind {
        Some(Kind::Http) => Some(Protocol::Http(http(&mut section, known, clusters, report))),
        Some(Kind::Tcp) => relay(&mut section, "tcp", &[HTTP_KEYS, &["max_sessions"]], report)
            .and_then(|cluster| clusters.refer(cluster, report))
            .map(|cluster| Protocol::Tcp { cluster }),
        Some(Kind::Udp) => udp(&mut section, clusters, report),
        // The rest depends on the protocol; errors about it would be guesses.
        None => return None,
    };
    let idle_timeout = section.take("idle_timeout").and_then(|value| value.duration(report));
    let is_udp = kind == Some(Kind::Udp);
    if let Some(at) = idle_timeout.as_ref().filter(|at| is_udp && at.value.is_zero()) {
        report
            .error(at.span, "`idle_timeout` must be longer than 0 with protocol = \"udp\"")
            .hint("nothing else says that a session is over");
    }
    let idle_default =
        if is_udp { defaults::UDP_IDLE_TIMEOUT } else { defaults::LISTENER_IDLE_TIMEOUT };
    let mut tcp = tcp_settings(&mut section, report);
    tcp.fast_open_max_pending = fast_open(&mut section, report);
    section.close(report);
    Some(Listener {
        id: ListenerId(0),
        name,
        address: address?.value,
        protocol: protocol?,
        idle_timeout: unless_zero(idle_timeout, idle_default),
        tcp,
    })
}

fn protocol(value: Value<'_>, report: &mut Report<'_>) -> Option<Kind> {
    let words = [("http", Kind::Http), ("tcp", Kind::Tcp), ("udp", Kind::Udp)];
    let later = [
        ("auto", "telling protocols apart comes with a later version"),
        ("http2", "\"http\" speaks HTTP/2 with whoever begins so, and HTTP/1.1 with others"),
        ("https", "TLS comes with a later version"),
        ("tls", "TLS comes with a later version"),
    ];
    value.word(&words, &later, report).map(|at| at.value)
}

fn check_address(
    at: &At<SocketAddr>,
    is_udp: bool,
    name: &str,
    known: &mut Listeners,
    interfaces: &Interfaces,
    report: &mut Report<'_>,
) {
    let ip = at.value.ip();
    if let Some((other, first)) = known.addresses.get(&(is_udp, at.value)) {
        let line = report.line(*first);
        report
            .error(at.span, format!("address {} is taken", at.value))
            .hint(format!("listener `{other}` has it, line {line}"));
        return;
    }
    known.addresses.insert((is_udp, at.value), (name.to_owned(), at.span));
    if interfaces.owner(ip).is_some() || interfaces.incomplete {
        return;
    }
    let listed = interfaces.listed();
    let hint = if let Some(interface) = interfaces.host_owner(ip) {
        format!("{ip} is the kernel's end of `{interface}`; our addresses are {listed}")
    } else if ip.is_unspecified() {
        format!("a listener has one address; ours are {listed}")
    } else {
        format!("add it to `addresses` of an [[interface]], or use one of {listed}")
    };
    report
        .error(at.span, format!("no interface has the address {ip}"))
        .label("not an address of ours")
        .hint(hint);
}

/// What only HTTP listeners have.
const HTTP_KEYS: &[&str] = &[
    "virtual_host",
    "header_timeout",
    "stream_idle_timeout",
    "max_request_line",
    "max_header_bytes",
    "max_headers",
    "max_body",
    "allow_connect",
    "max_requests_per_connection",
    "max_connection_duration",
    "http2",
];

/// What only TCP has.
const TCP_KEYS: &[&str] = &[
    "congestion",
    "ecn",
    "keepalive_time",
    "keepalive_interval",
    "keepalive_probes",
    "user_timeout",
    "user_timeout_max",
    "fast_open",
    "fast_open_max_pending",
];

/// The cluster of a listener that relays what it does not understand, and so has no other keys.
fn relay<'a>(
    section: &mut Section<'a>,
    protocol: &str,
    foreign: &[&[&'static str]],
    report: &mut Report<'_>,
) -> Option<Value<'a>> {
    let what = if protocol == "udp" { "datagrams" } else { "bytes" };
    for key in foreign.iter().copied().flatten() {
        if let Some(value) = section.take(key) {
            let message = format!("`{key}` has no meaning with protocol = \"{protocol}\"");
            let hint = match *key {
                "max_sessions" => "only udp has sessions".to_owned(),
                key if TCP_KEYS.contains(&key) => "only TCP connections have that".to_owned(),
                _ => format!(
                    "a {protocol} listener relays {what} to `cluster`; routes and limits are those of http"
                ),
            };
            report.error(value.key_span, message).hint(hint);
        }
    }
    section.require("cluster", report)
}

fn udp(
    section: &mut Section<'_>,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> Option<Protocol> {
    let cluster = relay(section, "udp", &[HTTP_KEYS, TCP_KEYS], report);
    let range = 1..=i64::from(u32::MAX);
    let max_sessions = section.take("max_sessions").and_then(|value| value.integer(range, report));
    let cluster = clusters.refer(cluster?, report)?;
    let max_sessions = max_sessions.map_or(defaults::MAX_SESSIONS, |at| at.value);
    Some(Protocol::Udp { cluster, max_sessions })
}

fn http(
    section: &mut Section<'_>,
    known: &mut Listeners,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> HttpListener {
    if let Some(value) = section.take("max_sessions") {
        report
            .error(value.key_span, "`max_sessions` has no meaning with protocol = \"http\"")
            .hint("only udp has sessions");
    }
    if let Some(value) = section.take("cluster") {
        report
            .error(value.key_span, "`cluster` has no meaning with protocol = \"http\"")
            .hint("requests go where the routes of a [[listener.virtual_host]] send them");
        // It is still a reference: do not call the cluster unused as well.
        let _ = clusters.refer(value, report);
    }
    let hosts = section.require("virtual_host", report);
    let virtual_hosts =
        hosts.map(|value| virtual_host::all(value, known, clusters, report)).unwrap_or_default();
    let header_timeout = section.take("header_timeout").and_then(|value| value.duration(report));
    let stream_idle = section.take("stream_idle_timeout").and_then(|value| value.duration(report));
    let bytes_max = u64::from(defaults::HEAD_BYTES_MAX);
    let header_bytes =
        section.take("max_header_bytes").and_then(|value| value.size(256..=bytes_max, report));
    let request_line =
        section.take("max_request_line").and_then(|value| value.size(64..=bytes_max, report));
    let max_header_bytes = header_bytes.map_or(defaults::MAX_HEADER_BYTES, |at| narrow(at.value));
    let max_request_line = match request_line {
        Some(at) if at.value > u64::from(max_header_bytes) => {
            report
                .error(at.span, "`max_request_line` is larger than `max_header_bytes`")
                .hint("the request line is part of the head, so the head's limit comes first");
            max_header_bytes
        }
        Some(at) => narrow(at.value),
        None => defaults::MAX_REQUEST_LINE.min(max_header_bytes),
    };
    let max_headers =
        section.take("max_headers").and_then(|value| value.integer(1..=1_000, report));
    let life = http2::life(section, report);
    HttpListener {
        virtual_hosts,
        header_timeout: unless_zero(header_timeout, defaults::HEADER_TIMEOUT),
        stream_idle_timeout: unless_zero(stream_idle, defaults::STREAM_IDLE_TIMEOUT),
        max_request_line,
        max_header_bytes,
        max_headers: max_headers.map_or(defaults::MAX_HEADERS, |at| at.value),
        max_body: section.take("max_body").and_then(|value| max_body(value, report)),
        allow_connect: section
            .take("allow_connect")
            .and_then(|value| value.boolean(report))
            .is_some_and(|at| at.value),
        life,
        http2: http2::settings(http2::Of::Listener, section.take("http2"), life, report),
    }
}

/// Sizes of heads are at most 64 KiB.
fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(defaults::HEAD_BYTES_MAX)
}

fn max_body(value: Value<'_>, report: &mut Report<'_>) -> Option<u64> {
    match value.value.get_ref() {
        DeValue::String(text) if text == "unlimited" => None,
        _ => value.size(0..=u64::MAX, report).map(|at| at.value),
    }
}
