//! `/config_dump`: what is loaded, with the keys of the configuration file and defaults filled in.
//!
//! Values of header fields and query parameters whose names say that they are credentials are left
//! out: who may read the dump need not be who may read the file.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sluice_config_model::{
    AccessLogFormat, AccessLogPath, Buffers, Cluster, Config, Congestion, Direction, DomainPattern,
    Ecn, GrpcTimeout, HeaderValue, Http2Settings, HttpListener, HttpVersion, Hugepages, Idle,
    Impairment, Keepalive, Listener, LoadBalancing, PathMatch, Protocol, RedirectPath, Route,
    RouteAction, StringMatch, VirtualHost,
};

use super::answer::Answer;
use super::query::Query;
use crate::state::State;

/// What stands for a value that is not shown.
const REDACTED: &str = "[redacted]";

/// Parts of names that carry credentials; lower case.
const SECRET_NAMES: [&str; 8] =
    ["authorization", "cookie", "password", "secret", "token", "credential", "api-key", "apikey"];

/// `GET /config_dump`
pub(super) fn config_dump(state: &mut State, _: &Query) -> Answer {
    let mut dump = dump(&state.config);
    dump.insert("config_version".to_owned(), state.publisher.version().into());
    dump.insert("config_path".to_owned(), state.path.display().to_string().into());
    Answer::json(&Value::Object(dump))
}

fn dump(config: &Config) -> Map<String, Value> {
    let runtime = &config.runtime;
    let interfaces = config.interfaces.iter().map(|interface| {
        json!({
            "name": interface.name,
            "device": interface.device.to_string(),
            "addresses": texts(&interface.addresses),
            "host_addresses": texts(&interface.host_addresses),
            "mtu": interface.mtu,
            "impairment": interface.impairment.as_ref().map(dump_impairment),
        })
    });
    let ip_routes = config
        .ip_routes
        .iter()
        .map(|route| json!({ "to": route.to.to_string(), "via": texts(&route.via) }));
    let listeners = config.listeners.iter().map(|listener| dump_listener(config, listener));
    let clusters = config.clusters.iter().map(dump_cluster);
    let access_log = config.access_log.as_ref().map(|log| {
        json!({
            "path": match &log.path {
                AccessLogPath::Stdout => "-".to_owned(),
                AccessLogPath::File(path) => path.display().to_string(),
            },
            "format": match log.format {
                AccessLogFormat::Text => "text",
                AccessLogFormat::Json => "json",
            },
        })
    });
    let entries = [
        ("node", json!({ "id": config.node.id, "cluster": config.node.cluster })),
        (
            "runtime",
            json!({
                "cores": runtime.cores,
                "control_core": runtime.control_core,
                "hugepages": match runtime.hugepages {
                    Hugepages::Auto => "auto",
                    Hugepages::Required => "required",
                    Hugepages::Off => "off",
                },
                "buffers": match runtime.buffers {
                    Buffers::Auto => json!("auto"),
                    Buffers::Count(count) => json!(count),
                },
                "idle": match runtime.idle {
                    Idle::Spin => "spin",
                    Idle::Adaptive => "adaptive",
                    Idle::Interrupt => "interrupt",
                },
                "receive_coalescing": duration(runtime.receive_coalescing),
                "drain_timeout": duration(runtime.drain_timeout),
            }),
        ),
        ("interface", interfaces.collect()),
        ("ip_route", ip_routes.collect()),
        ("listener", listeners.collect()),
        ("cluster", clusters.collect()),
        ("admin", json!({ "address": config.admin.address.to_string() })),
        ("access_log", access_log.unwrap_or_default()),
    ];
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn dump_listener(config: &Config, listener: &Listener) -> Value {
    let mut out = json!({
        "id": listener.id.0,
        "name": listener.name,
        "address": listener.address.to_string(),
        "idle_timeout": timeout(listener.idle_timeout),
        "congestion": congestion(listener.tcp.congestion),
        "ecn": ecn(listener.tcp.ecn),
        "keepalive": keepalive(listener.tcp.keepalive),
        "user_timeout": timeout(listener.tcp.user_timeout),
        "user_timeout_max": timeout(Some(listener.tcp.user_timeout_max)),
        "fast_open_max_pending": listener.tcp.fast_open_max_pending,
    });
    match &listener.protocol {
        Protocol::Tcp { cluster } => {
            out["protocol"] = "tcp".into();
            out["cluster"] = cluster_name(config, *cluster);
        }
        Protocol::Udp { cluster, max_sessions } => {
            out["protocol"] = "udp".into();
            out["cluster"] = cluster_name(config, *cluster);
            out["max_sessions"] = (*max_sessions).into();
        }
        Protocol::Http(http) => dump_http(config, http, &mut out),
    }
    out
}

fn dump_http(config: &Config, http: &HttpListener, out: &mut Value) {
    let hosts = http.virtual_hosts.iter().map(|host| dump_virtual_host(config, host));
    out["protocol"] = "http".into();
    out["header_timeout"] = timeout(http.header_timeout);
    out["stream_idle_timeout"] = timeout(http.stream_idle_timeout);
    out["allow_connect"] = http.allow_connect.into();
    out["max_requests_per_connection"] = http.life.max_requests.unwrap_or(0).into();
    out["max_connection_duration"] = timeout(http.life.max_duration);
    out["http2"] = http2(&http.http2);
    out["max_request_line"] = http.max_request_line.into();
    out["max_header_bytes"] = http.max_header_bytes.into();
    out["max_headers"] = http.max_headers.into();
    out["max_body"] = http.max_body.map_or_else(|| "unlimited".into(), Value::from);
    out["virtual_host"] = hosts.collect();
}

fn dump_virtual_host(config: &Config, host: &VirtualHost) -> Value {
    let domain = |domain: &DomainPattern| match domain {
        DomainPattern::Exact(name) => name.clone(),
        DomainPattern::Suffix(suffix) => format!("*{suffix}"),
        DomainPattern::Prefix(prefix) => format!("{prefix}*"),
        DomainPattern::Any => "*".to_owned(),
    };
    let routes = host.routes.iter().map(|route| dump_route(config, route));
    json!({
        "id": host.id.0,
        "name": host.name,
        "domains": host.domains.iter().map(domain).collect::<Vec<_>>(),
        "route": routes.collect::<Vec<_>>(),
    })
}

fn dump_route(config: &Config, route: &Route) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        // What was not asked for is not said, as in the file.
        if !value.is_null() && value != json!([]) {
            out.insert(key.to_owned(), value);
        }
    };
    put("id", route.id.0.into());
    put("name", route.name.clone().into());
    match &route.matcher.path {
        PathMatch::Exact(path) => put("path", path.as_str().into()),
        PathMatch::Prefix(prefix) => put("prefix", prefix.as_str().into()),
        PathMatch::Regex(regex) => put("regex", regex.as_str().into()),
        PathMatch::Connect(connect) => put("connect", connect.as_str().into()),
    }
    put("method", route.matcher.method.clone().into());
    let headers =
        route.matcher.headers.iter().map(|header| condition(&header.name, &header.matcher));
    put("headers", headers.collect());
    let query = route.matcher.query.iter().map(|query| condition(&query.name, &query.matcher));
    put("query", query.collect());
    match &route.action {
        RouteAction::Cluster(id) => put("cluster", cluster_name(config, *id)),
        RouteAction::WeightedClusters(clusters) => {
            let entry = |entry: &sluice_config_model::WeightedCluster| json!({ "cluster": cluster_name(config, entry.cluster), "weight": entry.weight });
            put("weighted_clusters", clusters.iter().map(entry).collect());
        }
        RouteAction::Redirect(redirect) => {
            let (path, prefix) = match &redirect.path {
                None => (None, None),
                Some(RedirectPath::Full(path)) => (Some(path), None),
                Some(RedirectPath::Prefix(prefix)) => (None, Some(prefix)),
            };
            let value = json!({
                "scheme": redirect.scheme.map(sluice_config_model::Scheme::as_str),
                "host": redirect.host,
                "port": redirect.port,
                "path": path,
                "prefix_rewrite": prefix,
                "strip_query": redirect.strip_query,
                "status": redirect.status,
            });
            put("redirect", value);
        }
        RouteAction::DirectResponse(direct) => {
            put("direct_response", json!({ "status": direct.status, "body": direct.body }));
        }
    }
    put("host_rewrite", route.host_rewrite.clone().into());
    put("prefix_rewrite", route.prefix_rewrite.clone().into());
    put("request_headers_add", route.request_headers_add.iter().map(added).collect());
    put("request_headers_remove", json!(route.request_headers_remove));
    put("response_headers_add", route.response_headers_add.iter().map(added).collect());
    put("response_headers_remove", json!(route.response_headers_remove));
    put("timeout", timeout(route.timeout));
    put("retries", route.retries.into());
    let back_off = route.retry_back_off;
    let intervals = json!({
        "base_interval": duration(back_off.base_interval),
        "max_interval": duration(back_off.max_interval),
    });
    put("retry_back_off", intervals);
    put("retry_on", route.retry_on.iter().map(|condition| condition.as_str()).collect());
    put(
        "grpc_timeout_header_max",
        match route.grpc_timeout {
            GrpcTimeout::Besides => Value::Null,
            GrpcTimeout::Instead(max) => timeout(max),
        },
    );
    Value::Object(out)
}

fn dump_impairment(plan: &Impairment) -> Value {
    let share = |per_million: u32| format!("{}%", f64::from(per_million) / 10_000.0);
    json!({
        "direction": match plan.direction {
            Direction::Both => "both",
            Direction::Receive => "receive",
            Direction::Transmit => "transmit",
        },
        "loss": share(plan.loss),
        "loss_burst": plan.loss_burst,
        "duplicate": share(plan.duplicate),
        "corrupt": share(plan.corrupt),
        "reorder": share(plan.reorder),
        "latency": duration(plan.latency),
        "jitter": duration(plan.jitter),
        "rate": plan.rate.map(|bits| format!("{bits}bit/s")),
        "queue": format!("{}B", plan.queue_bytes),
        "black_hole_mtu": plan.black_hole_mtu,
        "seed": plan.seed,
    })
}

fn dump_cluster(cluster: &Cluster) -> Value {
    json!({
        "id": cluster.id.0,
        "name": cluster.name,
        "endpoints": cluster.endpoints.iter().map(|e| e.address.to_string()).collect::<Vec<_>>(),
        "load_balancing": match cluster.load_balancing {
            LoadBalancing::RoundRobin => "round_robin",
            LoadBalancing::LeastRequest => "least_request",
            LoadBalancing::Maglev => "maglev",
        },
        "connect_timeout": duration(cluster.connect_timeout),
        "idle_timeout": timeout(cluster.idle_timeout),
        "http": match cluster.http {
            HttpVersion::Http11 => "1.1",
            HttpVersion::Http2 => "2",
            HttpVersion::Same => "same",
        },
        "http2": http2(&cluster.http2),
        "max_connections": cluster.max_connections,
        "max_pending": cluster.max_pending,
        "max_retries": cluster.max_retries,
        "max_requests_per_connection": cluster.life.max_requests.unwrap_or(0),
        "max_connection_duration": timeout(cluster.life.max_duration),
        "congestion": congestion(cluster.tcp.congestion),
        "ecn": ecn(cluster.tcp.ecn),
        "keepalive": keepalive(cluster.tcp.keepalive),
        "user_timeout": timeout(cluster.tcp.user_timeout),
        "user_timeout_max": timeout(Some(cluster.tcp.user_timeout_max)),
    })
}

fn condition(name: &str, matcher: &StringMatch) -> Value {
    let (key, value) = match matcher {
        StringMatch::Exact(text) => ("exact", shown(name, text)),
        StringMatch::Prefix(text) => ("prefix", shown(name, text)),
        StringMatch::Regex(text) => ("regex", shown(name, text)),
        StringMatch::Present(present) => ("present", (*present).into()),
    };
    json!({ "name": name, key: value })
}

fn added(header: &HeaderValue) -> Value {
    json!({ "name": header.name, "value": shown(&header.name, &header.value) })
}

/// The value, unless its name says that it is a credential.
fn shown(name: &str, value: &str) -> Value {
    let name = name.to_ascii_lowercase();
    let secret = SECRET_NAMES.iter().any(|part| name.contains(part));
    if secret { REDACTED.into() } else { value.into() }
}

fn cluster_name(config: &Config, id: sluice_base::ClusterId) -> Value {
    config.cluster(id).map_or(Value::Null, |cluster| cluster.name.as_str().into())
}

fn http2(http2: &Http2Settings) -> Value {
    let exempt: Vec<_> = http2.flood_exempt_sources.iter().map(ToString::to_string).collect();
    json!({
        "max_concurrent_streams": http2.max_concurrent_streams,
        "initial_stream_window_size": format!("{}B", http2.initial_stream_window_size),
        "initial_connection_window_size": format!("{}B", http2.initial_connection_window_size),
        "max_stream_window_size": format!("{}B", http2.max_stream_window_size),
        "hpack_table_size": format!("{}B", http2.hpack_table_size),
        "max_resets": http2.max_resets,
        "max_settings_frames": http2.max_settings_frames,
        "max_ping_frames": http2.max_ping_frames,
        "max_priority_frames": http2.max_priority_frames,
        "max_empty_frames": http2.max_empty_frames,
        "max_window_update_frames": http2.max_window_update_frames,
        "max_unknown_frames": http2.max_unknown_frames,
        "max_late_frames": http2.max_late_frames,
        "max_floods_per_source": http2.max_floods_per_source,
        "flood_exempt_sources": exempt,
        "ping_interval": timeout(http2.ping_interval),
        "ping_timeout": duration(http2.ping_timeout),
        "stall_timeout": duration(http2.stall_timeout),
        "max_requests_per_connection": http2.max_requests_per_connection.unwrap_or(0),
        "max_connection_duration": timeout(http2.max_connection_duration),
    })
}

const fn congestion(congestion: Congestion) -> &'static str {
    match congestion {
        Congestion::Cubic => "cubic",
        Congestion::NewReno => "newreno",
        Congestion::Bbr => "bbr",
    }
}

const fn ecn(ecn: Ecn) -> &'static str {
    match ecn {
        Ecn::Off => "off",
        Ecn::Accept => "accept",
        Ecn::Offer => "offer",
    }
}

fn keepalive(keepalive: Option<Keepalive>) -> Value {
    keepalive.map_or(Value::Null, |keepalive| {
        json!({
            "time": duration(keepalive.time),
            "interval": duration(keepalive.interval),
            "probes": keepalive.probes,
        })
    })
}

fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// In a timeout, "0s" is how the file says never.
fn timeout(value: Option<Duration>) -> Value {
    duration(value.unwrap_or_default()).into()
}

/// As the file takes it: the largest unit that leaves a whole number.
fn duration(value: Duration) -> String {
    let nanos = value.as_nanos();
    let units =
        [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];
    for (unit, size) in units.into_iter().chain([("us", 1_000)]) {
        if nanos > 0 && nanos.is_multiple_of(size) {
            return format!("{}{unit}", nanos / size);
        }
    }
    if nanos == 0 { "0s".to_owned() } else { format!("{nanos}ns") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_the_file_takes_them() {
        let text = |nanos| duration(Duration::from_nanos(nanos));
        assert_eq!(text(0), "0s");
        assert_eq!(text(1_500_000_000), "1500ms");
        assert_eq!(text(15_000_000_000), "15s");
        assert_eq!(text(3_600_000_000_000), "1h");
        assert_eq!(text(300_000_000_000), "5m");
        assert_eq!((text(1_001), text(7_000)), ("1001ns".to_owned(), "7us".to_owned()));
    }

    #[test]
    fn credentials_are_left_out() {
        for name in ["Authorization", "proxy-authorization", "x-api-key", "access_token"] {
            assert_eq!(shown(name, "s3cret"), REDACTED, "{name}");
        }
        assert_eq!(shown("x-team", "blue"), "blue");
    }

    /// What the dump says can be written into a file and means the same.
    #[test]
    fn patterns_are_written_as_in_the_file() {
        let host = VirtualHost {
            id: sluice_base::VirtualHostId(0),
            name: "h".to_owned(),
            domains: vec![
                DomainPattern::Suffix(".example.com".to_owned()),
                DomainPattern::Prefix("www.example.".to_owned()),
                DomainPattern::Any,
            ],
            routes: Vec::new(),
        };
        let dump = dump_virtual_host(&Config::default(), &host);
        assert_eq!(dump["domains"], json!(["*.example.com", "www.example.*", "*"]));
    }
}
