//! `[[listener]]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_base::ListenerId;
use sluice_config_model::{HttpListener, Listener, Protocol, defaults};
use toml::de::DeValue;

use super::cluster::unless_zero;
use super::tcp::tcp_settings;
use super::{Clusters, Interfaces, virtual_host};
use crate::address;
use crate::report::{At, Report, Span};
use crate::section::Section;
use crate::value::Value;

/// What one listener must know about the others.
#[derive(Default)]
pub(super) struct Listeners {
    names: BTreeMap<String, Span>,
    addresses: BTreeMap<SocketAddr, (String, Span)>,
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
    if let Some(at) = &address {
        check_address(at, &name, known, interfaces, report);
    }
    let kind = section.take("protocol").map_or(Some(Kind::Http), |value| protocol(value, report));
    let protocol = match kind {
        Some(Kind::Http) => Some(Protocol::Http(http(&mut section, known, clusters, report))),
        Some(Kind::Tcp) => tcp(&mut section, clusters, report),
        // The rest depends on the protocol; errors about it would be guesses.
        None => return None,
    };
    let idle_timeout = section.take("idle_timeout").and_then(|value| value.duration(report));
    let tcp_settings = tcp_settings(&mut section, report);
    section.close(report);
    Some(Listener {
        id: ListenerId(0),
        name,
        address: address?.value,
        protocol: protocol?,
        idle_timeout: unless_zero(idle_timeout, defaults::LISTENER_IDLE_TIMEOUT),
        tcp: tcp_settings,
    })
}

fn protocol(value: Value<'_>, report: &mut Report<'_>) -> Option<Kind> {
    let words = [("http", Kind::Http), ("tcp", Kind::Tcp)];
    let later = [
        ("udp", "UDP listeners come with a later version"),
        ("auto", "telling protocols apart comes with a later version"),
        ("http2", "HTTP/2 comes with a later version"),
        ("https", "TLS comes with a later version"),
        ("tls", "TLS comes with a later version"),
    ];
    value.word(&words, &later, report).map(|at| at.value)
}

fn check_address(
    at: &At<SocketAddr>,
    name: &str,
    known: &mut Listeners,
    interfaces: &Interfaces,
    report: &mut Report<'_>,
) {
    let ip = at.value.ip();
    if let Some((other, first)) = known.addresses.get(&at.value) {
        let line = report.line(*first);
        report
            .error(at.span, format!("address {} is taken", at.value))
            .hint(format!("listener `{other}` has it, line {line}"));
        return;
    }
    known.addresses.insert(at.value, (name.to_owned(), at.span));
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

fn tcp(
    section: &mut Section<'_>,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> Option<Protocol> {
    const HTTP_KEYS: [&str; 7] = [
        "virtual_host",
        "header_timeout",
        "stream_idle_timeout",
        "max_request_line",
        "max_header_bytes",
        "max_headers",
        "max_body",
    ];
    for key in HTTP_KEYS {
        if let Some(value) = section.take(key) {
            report
                .error(value.key_span, format!("`{key}` has no meaning with protocol = \"tcp\""))
                .hint(
                    "a tcp listener relays bytes to `cluster`; routes and limits are those of http",
                );
        }
    }
    let cluster = section.require("cluster", report)?;
    clusters.refer(cluster, report).map(|cluster| Protocol::Tcp { cluster })
}

fn http(
    section: &mut Section<'_>,
    known: &mut Listeners,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> HttpListener {
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
    HttpListener {
        virtual_hosts,
        header_timeout: unless_zero(header_timeout, defaults::HEADER_TIMEOUT),
        stream_idle_timeout: unless_zero(stream_idle, defaults::STREAM_IDLE_TIMEOUT),
        max_request_line,
        max_header_bytes,
        max_headers: max_headers.map_or(defaults::MAX_HEADERS, |at| at.value),
        max_body: section.take("max_body").and_then(|value| max_body(value, report)),
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
