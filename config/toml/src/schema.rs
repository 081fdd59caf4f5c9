//! Every key, as data: what readers may ask for, and what the reference must describe.

/// A table of the file: its keys, and names that a later version will know.
#[derive(Debug)]
pub struct Schema {
    /// As it stands in the file or, for a nested table, as the reference calls it.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Keys of features that do not exist yet, and the sentence that says so.
    pub later: &'static [(&'static str, &'static str)],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What its value is, with the unit.
    pub kind: &'static str,
    /// What holds when it is absent.
    pub default: Default,
}

/// What holds when a key is absent.
#[derive(Debug)]
pub enum Default {
    /// The file is refused; this is a line that would do.
    Required(&'static str),
    /// The same as this TOML value.
    Value(&'static str),
    /// What this phrase says.
    Phrase(&'static str),
}

impl std::fmt::Display for Default {
    /// As it stands in the reference.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Required(_) => f.write_str("required"),
            Self::Value(value) => write!(f, "`{value}`"),
            Self::Phrase(phrase) => f.write_str(phrase),
        }
    }
}

const fn required(name: &'static str, kind: &'static str, example: &'static str) -> Key {
    Key { name, kind, default: Default::Required(example) }
}

const fn value(name: &'static str, kind: &'static str, value: &'static str) -> Key {
    Key { name, kind, default: Default::Value(value) }
}

const fn phrase(name: &'static str, kind: &'static str, phrase: &'static str) -> Key {
    Key { name, kind, default: Default::Phrase(phrase) }
}

/// All tables, in the order of the reference.
pub const SCHEMAS: &[&Schema] = &[
    &FILE,
    &NODE,
    &RUNTIME,
    &INTERFACE,
    &IMPAIRMENT,
    &RULE,
    &IP_ROUTE,
    &LISTENER,
    &VIRTUAL_HOST,
    &ROUTE,
    &MATCHER,
    &WEIGHTED_CLUSTER,
    &REDIRECT,
    &DIRECT_RESPONSE,
    &RETRY_BACK_OFF,
    &HEADER,
    &CLUSTER,
    &HTTP2,
    &ADMIN,
    &ACCESS_LOG,
];

/// The file itself.
pub const FILE: Schema = Schema {
    title: "the file",
    keys: &[
        phrase("node", "section", "an unnamed node"),
        phrase("runtime", "section", "the defaults of its keys"),
        required("interface", "sections", "[[interface]]"),
        phrase("ip_route", "sections", "only the interfaces' own networks"),
        phrase("listener", "sections", "nothing is accepted"),
        phrase("cluster", "sections", "nothing to send requests to"),
        phrase("admin", "section", "the defaults of its keys"),
        phrase("access_log", "section", "no access log"),
    ],
    later: &[(
        "xds",
        "[xds] is not supported yet: the xDS client comes with a later version of Sluice",
    )],
};

/// `[node]`
pub const NODE: Schema = Schema {
    title: "[node]",
    keys: &[value("id", "name", "\"\""), value("cluster", "name", "\"\"")],
    later: &[],
};

/// `[runtime]`
pub const RUNTIME: Schema = Schema {
    title: "[runtime]",
    keys: &[
        value("cores", "list of core numbers", "[1]"),
        value("control_core", "core number", "0"),
        value("hugepages", "\"auto\", \"required\" or \"off\"", "\"auto\""),
        value("buffers", "\"auto\" or a number of buffers", "\"auto\""),
        value("idle", "\"spin\", \"adaptive\" or \"interrupt\"", "\"adaptive\""),
        value("receive_coalescing", "duration", "\"100us\""),
        value("drain_timeout", "duration", "\"30s\""),
    ],
    later: &[],
};

/// `[[interface]]`
pub const INTERFACE: Schema = Schema {
    title: "[[interface]]",
    keys: &[
        required("name", "name", "name = \"net0\""),
        phrase("device", "device", "required without `parent`"),
        phrase("parent", "name of an interface", "it has a device of its own"),
        phrase("vlan", "VLAN, or a list of outer and inner", "required with `parent`"),
        required(
            "addresses",
            "list of IP addresses with prefix length",
            "addresses = [\"10.9.0.2/24\"]",
        ),
        value("host_addresses", "list of IP addresses with prefix length", "[]"),
        phrase("mtu", "bytes", "1500, or the parent's"),
        phrase("impairment", "section", "a cable without faults"),
        value("kernel_twin", "boolean", "false"),
        value("accept_ra", "boolean", "false"),
        value("slaac", "boolean", "false"),
        value("probe_addresses", "boolean", "false"),
        value("reverse_path", "\"off\", \"loose\" or \"strict\"", "\"off\""),
        value("drop_martians", "boolean", "false"),
        value("source_syn_rate", "number per second or \"unlimited\"", "\"unlimited\""),
        value("source_connection_rate", "number per second or \"unlimited\"", "\"unlimited\""),
        phrase("rule", "sections", "everything is allowed"),
    ],
    later: &[],
};

/// `[interface.impairment]`
pub const IMPAIRMENT: Schema = Schema {
    title: "[interface.impairment]",
    keys: &[
        value("direction", "\"both\", \"receive\" or \"transmit\"", "\"both\""),
        value("loss", "share", "\"0%\""),
        value("loss_burst", "packets", "1"),
        value("duplicate", "share", "\"0%\""),
        value("corrupt", "share", "\"0%\""),
        value("reorder", "share", "\"0%\""),
        value("latency", "duration", "\"0s\""),
        value("jitter", "duration", "\"0s\""),
        phrase("rate", "bits per second", "no bottleneck"),
        value("queue", "size", "\"256KiB\""),
        phrase("black_hole_mtu", "bytes", "no black hole"),
        value("seed", "integer", "1"),
    ],
    later: &[],
};

/// `[[interface.rule]]`
pub const RULE: Schema = Schema {
    title: "[[interface.rule]]",
    keys: &[
        required("action", "\"allow\", \"deny\" or \"count\"", "action = \"deny\""),
        phrase("proto", "\"tcp\", \"udp\", \"icmp\", \"icmpv6\" or a number", "any protocol"),
        phrase("from", "IP network, or a list of them", "any source"),
        phrase("to", "IP network, or a list of them", "any destination"),
        phrase("from_ports", "port, range of ports, or a list of them", "any port"),
        phrase("to_ports", "port, range of ports, or a list of them", "any port"),
    ],
    later: &[],
};

/// `[[ip_route]]`
pub const IP_ROUTE: Schema = Schema {
    title: "[[ip_route]]",
    keys: &[
        required("to", "IP network", "to = \"0.0.0.0/0\""),
        required("via", "IP address, or a list of them", "via = \"10.9.0.1\""),
        phrase("interface", "name of an interface", "the one in whose network `via` is"),
    ],
    later: &[],
};

/// `[[listener]]`
pub const LISTENER: Schema = Schema {
    title: "[[listener]]",
    keys: &[
        required("name", "name", "name = \"web\""),
        required("address", "IP address and port", "address = \"10.9.0.2:80\""),
        value("protocol", "\"http\", \"tcp\" or \"udp\"", "\"http\""),
        phrase("cluster", "name of a cluster", "required by \"tcp\" and \"udp\""),
        phrase("virtual_host", "sections", "required by \"http\""),
        phrase("idle_timeout", "duration", "\"1h\", or \"60s\" with \"udp\""),
        phrase("max_sessions", "number", "1024, with \"udp\" alone"),
        value("header_timeout", "duration", "\"10s\""),
        value("stream_idle_timeout", "duration", "\"5m\""),
        value("max_request_line", "size", "\"8KiB\""),
        value("max_header_bytes", "size", "\"60KiB\""),
        value("max_headers", "number", "100"),
        value("max_body", "size or \"unlimited\"", "\"unlimited\""),
        value("allow_connect", "boolean", "false"),
        value("max_requests_per_connection", "number", "0"),
        value("max_connection_duration", "duration", "\"0s\""),
        phrase("http2", "section", "the defaults of its keys"),
        value("congestion", "\"cubic\", \"newreno\" or \"bbr\"", "\"cubic\""),
        value("ecn", "\"off\", \"accept\" or \"offer\"", "\"accept\""),
        value("keepalive_time", "duration", "\"0s\""),
        value("keepalive_interval", "duration", "\"75s\""),
        value("keepalive_probes", "number", "9"),
        value("user_timeout", "duration", "\"0s\""),
        value("user_timeout_max", "duration", "\"0s\""),
        value("fast_open", "boolean", "false"),
        value("fast_open_max_pending", "number", "256"),
    ],
    later: &[("tls", "`tls` is not supported yet: TLS comes with a later version")],
};

/// `[[listener.virtual_host]]`
pub const VIRTUAL_HOST: Schema = Schema {
    title: "[[listener.virtual_host]]",
    keys: &[
        phrase("name", "name", "its first domain"),
        required("domains", "list of domains", "domains = [\"*\"]"),
        required("route", "sections", "[[listener.virtual_host.route]]"),
    ],
    later: &[],
};

/// `[[listener.virtual_host.route]]`
pub const ROUTE: Schema = Schema {
    title: "[[listener.virtual_host.route]]",
    keys: &[
        phrase("name", "name", "known by its position"),
        phrase("path", "path", "one of `path`, `prefix`, `regex`, `connect` is required"),
        phrase("prefix", "path", "one of `path`, `prefix`, `regex`, `connect` is required"),
        phrase(
            "regex",
            "regular expression",
            "one of `path`, `prefix`, `regex`, `connect` is required",
        ),
        phrase(
            "connect",
            "\"terminate\" or \"forward\"",
            "one of `path`, `prefix`, `regex`, `connect` is required",
        ),
        phrase("method", "method", "any method"),
        value("headers", "list of matchers", "[]"),
        value("query", "list of matchers", "[]"),
        phrase("cluster", "name of a cluster", "one of the four actions is required"),
        phrase(
            "weighted_clusters",
            "list of weighted clusters",
            "one of the four actions is required",
        ),
        phrase("redirect", "redirect", "one of the four actions is required"),
        phrase("direct_response", "direct response", "one of the four actions is required"),
        phrase("host_rewrite", "host", "the host stays"),
        phrase("prefix_rewrite", "path", "the path stays"),
        value("request_headers_add", "list of headers", "[]"),
        value("request_headers_remove", "list of header names", "[]"),
        value("response_headers_add", "list of headers", "[]"),
        value("response_headers_remove", "list of header names", "[]"),
        value("timeout", "duration", "\"15s\""),
        value("retries", "number", "1"),
        value("retry_on", "list of words", "[]"),
        phrase("retry_back_off", "retry back-off", "the defaults of its keys"),
        phrase("grpc_timeout_header_max", "duration", "no longer than `timeout` allows"),
    ],
    later: &[],
};

/// An entry of `headers` or `query`.
pub const MATCHER: Schema = Schema {
    title: "matcher",
    keys: &[
        required("name", "name of a header or query parameter", "name = \"x-team\""),
        phrase("exact", "text", "one of the four conditions is required"),
        phrase("prefix", "text", "one of the four conditions is required"),
        phrase("regex", "regular expression", "one of the four conditions is required"),
        phrase("present", "boolean", "one of the four conditions is required"),
    ],
    later: &[],
};

/// An entry of `weighted_clusters`.
pub const WEIGHTED_CLUSTER: Schema = Schema {
    title: "weighted cluster",
    keys: &[
        required("cluster", "name of a cluster", "cluster = \"app\""),
        required("weight", "number", "weight = 50"),
    ],
    later: &[],
};

/// `redirect`
pub const REDIRECT: Schema = Schema {
    title: "redirect",
    keys: &[
        phrase("scheme", "\"http\" or \"https\"", "the request's"),
        phrase("host", "host", "the request's"),
        phrase("port", "port", "the request's, or the default of a new `scheme`"),
        phrase("path", "path", "the request's"),
        phrase("prefix_rewrite", "path", "the request's path"),
        value("strip_query", "boolean", "false"),
        value("status", "301, 302, 303, 307 or 308", "301"),
    ],
    later: &[],
};

/// `direct_response`
pub const DIRECT_RESPONSE: Schema = Schema {
    title: "direct response",
    keys: &[required("status", "200 to 599", "status = 200"), value("body", "text", "\"\"")],
    later: &[],
};

/// `retry_back_off`
pub const RETRY_BACK_OFF: Schema = Schema {
    title: "retry back-off",
    keys: &[
        value("base_interval", "duration", "\"25ms\""),
        phrase("max_interval", "duration", "ten times `base_interval`"),
    ],
    later: &[],
};

/// An entry of `request_headers_add` or `response_headers_add`.
pub const HEADER: Schema = Schema {
    title: "header",
    keys: &[
        required("name", "header name", "name = \"x-team\""),
        required("value", "text", "value = \"blue\""),
    ],
    later: &[],
};

/// `[[cluster]]`
pub const CLUSTER: Schema = Schema {
    title: "[[cluster]]",
    keys: &[
        required("name", "name", "name = \"app\""),
        required("endpoints", "list of IP addresses and ports", "endpoints = [\"10.9.0.1:8080\"]"),
        value(
            "load_balancing",
            "\"round_robin\", \"least_request\" or \"maglev\"",
            "\"round_robin\"",
        ),
        value("connect_timeout", "duration", "\"5s\""),
        value("idle_timeout", "duration", "\"1h\""),
        value("http", "\"1.1\", \"2\" or \"same\"", "\"1.1\""),
        value("max_requests_per_connection", "number", "0"),
        value("max_connection_duration", "duration", "\"0s\""),
        phrase("http2", "section", "the defaults of its keys"),
        value("max_connections", "number", "1024"),
        value("max_pending", "number", "1024"),
        value("max_retries", "number", "3"),
        value("congestion", "\"cubic\", \"newreno\" or \"bbr\"", "\"cubic\""),
        value("ecn", "\"off\", \"accept\" or \"offer\"", "\"accept\""),
        value("keepalive_time", "duration", "\"0s\""),
        value("keepalive_interval", "duration", "\"75s\""),
        value("keepalive_probes", "number", "9"),
        value("user_timeout", "duration", "\"0s\""),
        value("user_timeout_max", "duration", "\"0s\""),
    ],
    later: &[
        ("tls", "`tls` is not supported yet: TLS comes with a later version"),
        ("health_check", "`health_check` is not supported yet: it comes with a later version"),
        (
            "outlier_detection",
            "`outlier_detection` is not supported yet: it comes with a later version",
        ),
    ],
};

/// `[listener.http2]` and `[cluster.http2]`
pub const HTTP2: Schema = Schema {
    title: "http2",
    keys: &[
        value("max_concurrent_streams", "number", "100"),
        value("initial_stream_window_size", "size", "\"65535B\""),
        phrase(
            "initial_connection_window_size",
            "size",
            "\"256KiB\", or a stream's window where that is larger",
        ),
        phrase(
            "max_stream_window_size",
            "size",
            "\"8MiB\", or the initial window where that is larger",
        ),
        value("hpack_table_size", "size", "\"4KiB\""),
        value("max_resets", "number", "500"),
        value("max_settings_frames", "number", "50"),
        value("max_ping_frames", "number", "200"),
        value("max_priority_frames", "number", "1000"),
        value("max_empty_frames", "number", "200"),
        value("max_window_update_frames", "number", "20000"),
        value("max_unknown_frames", "number", "200"),
        value("max_late_frames", "number", "5000"),
        value("max_floods_per_source", "number", "10"),
        value("flood_exempt_sources", "list of addresses with prefix lengths", "[]"),
        value("ping_interval", "duration", "\"0s\""),
        value("ping_timeout", "duration", "\"10s\""),
        value("stall_timeout", "duration", "\"60s\""),
        phrase("max_requests_per_connection", "number", "that of the listener or cluster"),
        phrase("max_connection_duration", "duration", "that of the listener or cluster"),
    ],
    later: &[],
};

/// `[admin]`
pub const ADMIN: Schema = Schema {
    title: "[admin]",
    keys: &[value("address", "IP address and port", "\"127.0.0.1:9901\"")],
    later: &[],
};

/// `[access_log]`
pub const ACCESS_LOG: Schema = Schema {
    title: "[access_log]",
    keys: &[
        value("path", "\"-\" or the path of a file", "\"-\""),
        value("format", "\"text\" or \"json\"", "\"text\""),
    ],
    later: &[],
};
