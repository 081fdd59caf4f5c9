//! The exposition parsed back, and its names held against docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};

use sluice_l7_proxy::GrpcStatus;

use super::*;
use crate::testing::{CONFIG, state};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

/// What a scraper understands: type by family, value by name and labels.
#[derive(Default)]
struct Parsed {
    types: BTreeMap<String, String>,
    helps: BTreeSet<String>,
    values: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

/// A strict reader of the text format, version 0.0.4.
fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    assert!(text.ends_with('\n'), "the last line ends");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(!help.is_empty() && parsed.helps.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert!(parsed.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let (name, labels) = match series.split_once('{') {
                None => (series, BTreeMap::new()),
                Some((name, rest)) => (name, parse_labels(rest)),
            };
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            assert!(name.bytes().all(legal), "{line}");
            assert!(parsed.types.contains_key(name), "{name} has a type before its first value");
            let value = value.parse().expect("a number");
            let key = (name.to_owned(), labels);
            assert!(parsed.values.insert(key, value).is_none(), "{line} only once");
        }
    }
    parsed
}

fn parse_labels(mut rest: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("the quote ends") {
                (end, '"') => break end,
                (_, '\\') => match chars.next().expect("an escape").1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, char) => value.push(char),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{rest}");
        match &after[end + 1..] {
            "}" => return labels,
            more => rest = more.strip_prefix(',').expect("another label"),
        }
    }
}

fn render(state: &mut State) -> String {
    let families = families(Scrape::take(state), Filter::default());
    let pieces = families.filter_map(|family| exposition(&family));
    pieces.map(|piece| String::from_utf8(piece.to_vec()).expect("UTF-8")).collect()
}

fn value(parsed: &Parsed, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parsed.values.get(&(name.to_owned(), labels.collect())).copied()
}

/// Name, labels, value.
type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

#[test]
fn the_names_of_the_public_surface() {
    let (mut state, fakes) = state(CONFIG, 2);
    let web = state.config.listener_by_name("web").expect("the listener").id;
    let app = state.config.cluster_by_name("app").expect("the cluster").id;
    for (worker, fake) in fakes.iter().enumerate() {
        let listener = &state.publisher.counters().find_listener(web).expect("counters")[worker];
        listener.downstream_rq_2xx.add(20);
        listener.downstream_rq_5xx.add(1);
        listener.downstream_cx_total.add(3);
        listener.faults.count(sluice_l7_proxy::Fault::ResetFlood);
        let cluster = &state.publisher.counters().find_cluster(app).expect("counters")[worker];
        cluster.upstream_rq_4xx.add(2);
        cluster.upstream_cx_active.set(4);
        let method = cluster.methods.entry(b"/shop.Cart/Add", true);
        method.request_messages.add(5);
        method.count(GrpcStatus::Ok, 3_000_000);
        method.count(GrpcStatus::Unavailable, 9_000_000);
        fake.status.stack.drops.count(sluice_stack::DropReason::NoRoute);
        fake.status.stack.tcp.timeouts.add(6);
        fake.status.stack.tcp.retransmitted_bytes.add(1_000);
        fake.status.stack.forwarded.add(1 << 50);
        fake.status.rx_buffers[0].set(100 + worker as u64);
        fake.status.busy_nanos.add(7_000);
        fake.status.stage_cycles[3].add(9);
        fake.status.packets[1].add(11);
        fake.status.proxy.no_buffer.add(1);
    }
    let parsed = parse(&render(&mut state));
    let class =
        |class| [("envoy_response_code_class", class), ("envoy_http_conn_manager_prefix", "web")];
    let add = [
        ("envoy_cluster_name", "app"),
        ("envoy_grpc_bridge_service", "shop.Cart"),
        ("envoy_grpc_bridge_method", "Add"),
    ];
    let within = |end| [add[0], add[1], add[2], ("le", end)];
    let expected: &[Expected<'_>] = &[
        ("envoy_http_downstream_rq_xx", &class("2"), 40.0),
        ("envoy_http_downstream_rq_xx", &class("3"), 0.0),
        ("envoy_http_downstream_rq_xx", &class("5"), 2.0),
        ("envoy_http_downstream_cx_total", &[("envoy_http_conn_manager_prefix", "web")], 6.0),
        ("envoy_tcp_downstream_cx_total", &[("envoy_tcp_prefix", "raw")], 0.0),
        (
            "envoy_cluster_upstream_rq_xx",
            &[("envoy_response_code_class", "4"), ("envoy_cluster_name", "app")],
            4.0,
        ),
        ("envoy_cluster_upstream_cx_active", &[("envoy_cluster_name", "app")], 8.0),
        ("envoy_cluster_membership_total", &[("envoy_cluster_name", "app")], 2.0),
        ("envoy_server_live", &[], 0.0),
        ("sluice_drops_total", &[("reason", "no-route")], 2.0),
        ("sluice_drops_total", &[("reason", "ttl-exceeded")], 0.0),
        ("sluice_tcp_events_total", &[("event", "timeouts")], 12.0),
        ("sluice_tcp_retransmitted_bytes_total", &[], 2_000.0),
        ("sluice_stack_forwarded_total", &[], 2_251_799_813_685_248.0),
        ("sluice_buffers_in_use", &[("worker", "1"), ("pool", "rx")], 101.0),
        ("sluice_worker_busy_nanoseconds_total", &[("worker", "0")], 7_000.0),
        ("sluice_worker_stage_cycles_total", &[("worker", "1"), ("stage", "serve")], 9.0),
        ("sluice_worker_packets_total", &[("worker", "0"), ("direction", "tx")], 11.0),
        ("sluice_proxy_no_buffer_total", &[("worker", "1")], 1.0),
        (
            "sluice_http2_downstream_faults_total",
            &[("listener", "web"), ("reason", "reset-flood")],
            2.0,
        ),
        (
            "sluice_http2_downstream_faults_total",
            &[("listener", "web"), ("reason", "ping-timeout")],
            0.0,
        ),
        ("envoy_cluster_grpc_total", &add, 4.0),
        ("envoy_cluster_grpc_success", &add, 2.0),
        ("envoy_cluster_grpc_failure", &add, 2.0),
        ("envoy_cluster_grpc_request_message_count", &add, 10.0),
        ("envoy_cluster_grpc_response_message_count", &add, 0.0),
        ("envoy_cluster_grpc_upstream_rq_time_sum", &add, 24.0),
        ("envoy_cluster_grpc_upstream_rq_time_count", &add, 4.0),
        ("envoy_cluster_grpc_upstream_rq_time_bucket", &within("1"), 0.0),
        ("envoy_cluster_grpc_upstream_rq_time_bucket", &within("5"), 2.0),
        ("envoy_cluster_grpc_upstream_rq_time_bucket", &within("+Inf"), 4.0),
        (
            "sluice_grpc_calls_total",
            &[
                ("cluster", "app"),
                ("service", "shop.Cart"),
                ("method", "Add"),
                ("status", "unavailable"),
            ],
            2.0,
        ),
        ("sluice_config_version", &[], 1.0),
        ("sluice_config_reloads_total", &[("result", "rejected")], 0.0),
        ("sluice_snapshots_outstanding", &[], 0.0),
    ];
    for (name, labels, wanted) in expected {
        assert_eq!(value(&parsed, name, labels), Some(*wanted), "{name}{labels:?}");
    }
    assert_eq!(parsed.types["envoy_http_downstream_rq_xx"], "counter");
    assert_eq!(parsed.types["envoy_cluster_upstream_cx_active"], "gauge");
    assert_eq!(parsed.types["sluice_stack_tcp_connections"], "gauge");
    assert!(parsed.types.keys().eq(&parsed.helps), "each has a type and a help");
    let raw = |(name, labels): &&(String, _)| {
        name.starts_with("envoy_http") && format!("{labels:?}").contains("raw")
    };
    assert_eq!(parsed.values.keys().find(raw), None, "a relay is no HTTP listener");
}

/// One closing quote in a name would make the whole page unreadable.
#[test]
fn label_values_and_helps_are_escaped() {
    let pair = [label("name", "a\"b\\c\nd")];
    let family = make(
        "f".to_owned(),
        "a\\b\nc",
        MetricKind::Gauge,
        vec![metric(MetricKind::Gauge, pair.to_vec(), u64::MAX)],
    );
    let text = exposition(&family).expect("a sample");
    let text = std::str::from_utf8(&text).expect("UTF-8");
    assert!(text.starts_with("# HELP f a\\\\b\\nc\n"), "{text}");
    let parsed = parse(text);
    assert_eq!(value(&parsed, "f", &[("name", "a\"b\\c\nd")]), Some(u64::MAX as f64));
}

#[test]
fn every_name_is_well_formed_and_counters_end_in_total() {
    let (mut state, _fakes) = state(CONFIG, 1);
    for (name, kind) in parse(&render(&mut state)).types {
        if let Some(own) = name.strip_prefix("sluice_") {
            assert_eq!(own.ends_with("_total"), kind == "counter", "{name}");
        } else {
            assert!(name.starts_with("envoy_"), "{name}");
        }
    }
}

/// Every metric has a row in the page, and every row a metric.
#[test]
fn the_page_lists_every_metric() {
    let udp = "[[listener]]\nname = \"dns\"\naddress = \"10.9.0.2:53\"\nprotocol = \"udp\"\n\
               cluster = \"app\"\n";
    let (mut state, _fakes) = state(&format!("{CONFIG}{udp}"), 1);
    state.reloads.accepted = 1;
    let app = state.config.cluster_by_name("app").expect("the cluster").id;
    let counters = &state.publisher.counters().find_cluster(app).expect("counters")[0];
    counters.faults.count(sluice_l7_proxy::Fault::PushPromise);
    let method = counters.methods.entry(b"/shop.Cart/Add", true);
    method.count(GrpcStatus::Ok, 0);
    let rows: BTreeSet<String> = families(Scrape::take(&state), Filter::default())
        .map(|family| {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            let labels: Vec<String> = family.get_metric()[0]
                .get_label()
                .iter()
                .map(|label| format!("`{}`", label.name()))
                .collect();
            format!("| `{}` | {kind} | {} | {} |", family.name(), labels.join(" "), family.help())
        })
        .collect();
    let page = std::fs::read_to_string(PAGE).expect("docs/metrics.md");
    let listed: BTreeSet<String> =
        page.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let missing: Vec<_> = rows.difference(&listed).cloned().collect();
    let stale: Vec<_> = listed.difference(&rows).cloned().collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/metrics.md lacks:\n{}\nand has what is no more:\n{}",
        missing.join("\n"),
        stale.join("\n")
    );
}
