//! Envoy before and behind Sluice.

use super::command::{Spawned, peer, wait_until};
use super::namespace::Lab;

/// A running Envoy with one worker:
///
/// | listens on | speaks | to |
/// |---|---|---|
/// | 10.9.0.1:9001 | HTTP/2, to both | Sluice, 10.9.0.2:80 |
/// | 10.9.0.1:9002 | HTTP/2, then HTTP/1.1 | 10.9.0.1:8084 |
/// | 10.9.0.1:9003 | HTTP/2, to both | 10.9.0.1:8083 |
pub(crate) struct Envoy<'a> {
    lab: &'a Lab,
    _process: Spawned,
}

const ADMIN: &str = "127.0.0.1:9911";

/// Both ways of saying how a cluster speaks, with trailers where HTTP/1.1 needs to be asked for them.
/// Envoy opens as many streams as it may by its own word, before it has read what Sluice allows.
const HTTP2: &str = "http2_protocol_options: { max_concurrent_streams: 100 }";
const HTTP1: &str = "http_protocol_options: { enable_trailers: true }";

impl<'a> Envoy<'a> {
    /// Its listeners behind Sluice say GOAWAY after so many requests on a connection; 0: never.
    #[track_caller]
    pub(crate) fn start(lab: &'a Lab, max_requests_per_connection: u32) -> Self {
        let most = format!(
            "common_http_protocol_options: {{ max_requests_per_connection: {max_requests_per_connection} }},"
        );
        let behind = if max_requests_per_connection == 0 { "" } else { &most };
        let listeners = [
            listener(9001, "sluice", ""),
            listener(9002, "one", behind),
            listener(9003, "two", behind),
        ];
        let clusters = [
            cluster("sluice", "10.9.0.2", 80, HTTP2),
            cluster("one", "10.9.0.1", 8084, HTTP1),
            cluster("two", "10.9.0.1", 8083, HTTP2),
        ];
        let (host, port) = ADMIN.split_once(':').expect("an address and a port");
        let config = format!(
            "admin: {{ address: {} }}\nstatic_resources:\n  listeners:\n{}  clusters:\n{}",
            address(host, port.parse().expect("a port")),
            listeners.concat(),
            clusters.concat(),
        );
        let path = lab.write("envoy.yaml", config);
        let path = path.to_str().expect("a path in UTF-8");
        let binary = peer("python/bin/envoy");
        let words =
            [&binary, "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"];
        let mut process = lab.spawn("envoy", &words.join(" "));
        wait_until(20, "Envoy to be ready", || {
            let ended = process.try_wait();
            assert!(ended.is_none(), "Envoy ended: {}", process.stderr());
            lab.curl(&["-f", "-o", "/dev/null", &format!("http://{ADMIN}/ready")]).code() == 0
        });
        Self { lab, _process: process }
    }

    /// The sum of its counters and gauges whose names match a regular expression.
    #[track_caller]
    pub(crate) fn sum(&self, regex: &str) -> u64 {
        let text = self.stats(regex);
        let values = text.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
        values.sum()
    }

    /// Those that are not zero, a line each.
    #[track_caller]
    pub(crate) fn stats(&self, regex: &str) -> String {
        let url = format!("http://{ADMIN}/stats");
        let filter = format!("filter={regex}");
        self.lab.fetch(&["-G", "-d", "usedonly", "--data-urlencode", &filter, &url])
    }
}

fn address(host: &str, port: u16) -> String {
    format!("{{ socket_address: {{ address: {host}, port_value: {port} }} }}")
}

/// Named `l` and its port; requests go to `cluster`, for as long as they take.
fn listener(port: u16, cluster: &str, options: &str) -> String {
    let kind = "type.googleapis.com/envoy.extensions.filters";
    format!(
        r#"    - {{ name: l{port}, address: {address}, filter_chains: [ {{ filters: [ {{ name: hcm, typed_config: {{
        "@type": {kind}.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: l{port}, codec_type: HTTP2, {options}
        http2_protocol_options: {{ allow_connect: true }},
        route_config: {{ virtual_hosts: [ {{ name: all, domains: ["*"], routes: [
          {{ match: {{ prefix: "/" }}, route: {{ cluster: {cluster}, timeout: 0s }} }} ] }} ] }},
        http_filters: [ {{ name: router, typed_config: {{
          "@type": {kind}.http.router.v3.Router }} }} ] }} }} ] }} ] }}
"#,
        address = address("10.9.0.1", port),
    )
}

fn cluster(name: &str, host: &str, port: u16, protocol: &str) -> String {
    let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    format!(
        r#"    - {{ name: {name}, type: STATIC, load_assignment: {{ cluster_name: {name}, endpoints: [ {{
        lb_endpoints: [ {{ endpoint: {{ address: {address} }} }} ] }} ] }},
        typed_extension_protocol_options: {{ {kind}: {{ "@type": type.googleapis.com/{kind},
          explicit_http_config: {{ {protocol} }} }} }} }}
"#,
        address = address(host, port),
    )
}
