//! `/show/WHAT`: what `sluice show` prints.

use hyper::StatusCode;
use serde_json::{Value, json};
use sluice_base::Counter;
use sluice_config_model::{IpCidr, LoadBalancing, Protocol};
use sluice_stack::DropReason;
use sluice_worker::PortCounters;

use super::answer::Answer;
use super::process;
use super::query::Query;
use super::scrape::Scrape;
use super::stats::{self, Filter, FilterError};
use super::table::Shown;
use crate::state::{ServerState, State};

/// What can be shown.
pub(crate) const WHAT: [&str; 13] = [
    "interfaces",
    "workers",
    "neighbors",
    "routes",
    "rules",
    "flows",
    "listeners",
    "clusters",
    "endpoints",
    "counters",
    "drops",
    "memory",
    "runtime",
];

/// `GET /show/WHAT`
pub(super) fn show(state: &State, what: &str, query: &Query) -> Answer {
    let shown = match what {
        "interfaces" => interfaces(state),
        "workers" => workers(state),
        "routes" => routes(route_rows(state)),
        "rules" => rules(state),
        "listeners" => listeners(state),
        "clusters" => clusters(state),
        "endpoints" => endpoints(state),
        "counters" => match Filter::of(query) {
            Ok(filter) => counters(state, filter),
            Err(error) => return FilterError::into_answer(error),
        },
        "drops" => drops(state),
        "memory" => memory(state),
        "runtime" => runtime(state),
        "xds" => {
            let text = "there is no control plane: this version reads its file alone\n";
            return Answer::status(StatusCode::NOT_IMPLEMENTED, text);
        }
        _ => {
            let text = format!("there is no /show/{what}; there are: {}\n", WHAT.join(" "));
            return Answer::status(StatusCode::NOT_FOUND, text);
        }
    };
    if query.wants_json() { Answer::json(&shown.to_json()) } else { Answer::text(shown.to_text()) }
}

fn interfaces(state: &State) -> Shown {
    let rows = state.interfaces.iter().enumerate().map(|(at, interface)| {
        let sum = |of: fn(&PortCounters) -> u64| json!(state.queues(at).map(of).sum::<u64>());
        // A VLAN has no queue of its own.
        let vlan = |queues: Value, name| {
            json!(queues.as_u64().unwrap_or_default() + state.vlan_count(at, name))
        };
        let up = state.queues(at).all(|port| port.link_up.value() > 0);
        let mac: Vec<String> = interface.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        vec![
            json!(interface.name),
            json!(interface.device),
            json!(mac.join(":")),
            json!(interface.mtu),
            json!(interface.addresses),
            json!(if up { "up" } else { "down" }),
            vlan(sum(|port| port.rx[0].value()), "sluice_interface_rx_packets_total"),
            sum(|port| port.rx_missed.value() + port.rx_errors.value()),
            vlan(sum(|port| port.tx[0].value()), "sluice_interface_tx_packets_total"),
            sum(|port| port.tx_errors.value()),
        ]
    });
    let columns = &[
        "name",
        "device",
        "mac",
        "mtu",
        "addresses",
        "link",
        "packets_rx",
        "lost_rx",
        "packets_tx",
        "lost_tx",
    ];
    Shown::default().rows("interfaces", columns, rows.collect())
}

fn workers(state: &State) -> Shown {
    let uptime = state.started.elapsed().as_nanos().max(1) as f64;
    let cores = state.config.runtime.cores.iter().map(|core| json!(core));
    let cores = cores.chain(std::iter::repeat(Value::Null));
    let rows = state.workers.iter().zip(cores).map(|(worker, core)| {
        let status = &worker.status;
        let busy = status.busy_nanos.value() as f64 * 100.0 / uptime;
        vec![
            json!(worker.id.0),
            core,
            json!(if status.drained() { "drained" } else { "running" }),
            json!((busy * 10.0).round() / 10.0),
            json!(status.active.value()),
            json!(status.packets[0].value()),
            json!(status.packets[1].value()),
            json!(status.handed_off.value()),
            json!(status.sleeps.value()),
            json!(status.longest_gap_nanos.value() / 1_000),
            json!(status.receive_interval_nanos.value() / 1_000),
            json!(status.listening_version()),
            json!(status.listen_failures()),
        ]
    });
    let columns = &[
        "worker",
        "core",
        "state",
        "busy_percent",
        "active",
        "packets_rx",
        "packets_tx",
        "handed_off",
        "sleeps",
        "longest_gap_us",
        "receive_interval_us",
        "config_version",
        "listen_failures",
    ];
    Shown::default().rows("workers", columns, rows.collect())
}

/// The rows of [`route_rows`], and others.
pub(super) fn routes(rows: Vec<Vec<Value>>) -> Shown {
    Shown::default().rows("routes", &["to", "via", "interface", "kind", "expires_s"], rows)
}

/// The networks of interfaces, and `[[ip_route]]`.
pub(super) fn route_rows(state: &State) -> Vec<Vec<Value>> {
    let config = &state.config;
    let mut rows = Vec::new();
    for interface in &config.interfaces {
        for address in &interface.addresses {
            let network = IpCidr { address: address.network(), ..*address };
            let to = json!(network.to_string());
            rows.push(vec![
                to,
                Value::Array(Vec::new()),
                json!(interface.name),
                json!("connected"),
                Value::Null,
            ]);
        }
    }
    for route in &config.ip_routes {
        let via: Vec<String> = route.via.iter().map(ToString::to_string).collect();
        let out = config.interfaces.iter().find(|interface| {
            let reaches = |address: &IpCidr| route.via.iter().any(|via| address.contains(*via));
            interface.addresses.iter().any(reaches)
        });
        let out = out.map_or(Value::Null, |interface| json!(interface.name));
        let to = json!(route.to.to_string());
        rows.push(vec![to, json!(via), out, json!("static"), Value::Null]);
    }
    rows
}

/// The packet rules of all interfaces, with what each counted.
fn rules(state: &State) -> Shown {
    let mut rows = Vec::new();
    for interface in &state.config.interfaces {
        let snapshot = state.publisher.current();
        let table = snapshot.and_then(|snapshot| snapshot.rules(interface.id));
        let counts = table.into_iter().flat_map(|table| table.counts());
        for (number, count) in (1u32..).zip(counts) {
            rows.push(vec![
                json!(interface.name),
                json!(number),
                json!(count.packets),
                json!(count.rule.to_string()),
            ]);
        }
    }
    Shown::default().rows("rules", &["interface", "number", "packets", "rule"], rows)
}

fn listeners(state: &State) -> Shown {
    let rows = state.config.listeners.iter().map(|listener| {
        let blocks = state.publisher.counters().find_listener(listener.id).unwrap_or_default();
        let protocol = match listener.protocol {
            Protocol::Http(_) => "http",
            Protocol::Tcp { .. } => "tcp",
            Protocol::Udp { .. } => "udp",
        };
        vec![
            json!(listener.name),
            json!(listener.address.to_string()),
            json!(protocol),
            sum(blocks.iter().map(|block| match listener.is_udp() {
                true => &block.downstream_sess_active,
                false => &block.downstream_cx_active,
            })),
            sum(blocks.iter().map(|block| match listener.is_udp() {
                true => &block.downstream_sess_total,
                false => &block.downstream_cx_total,
            })),
            sum(blocks.iter().map(|block| &block.downstream_rq_active)),
            sum(blocks.iter().map(|block| &block.downstream_rq_total)),
            sum(blocks.iter().map(|block| &block.downstream_rq_5xx)),
        ]
    });
    let columns = &[
        "name",
        "address",
        "protocol",
        "cx_active",
        "cx_total",
        "rq_active",
        "rq_total",
        "rq_5xx",
    ];
    Shown::default().rows("listeners", columns, rows.collect())
}

fn clusters(state: &State) -> Shown {
    let rows = state.config.clusters.iter().map(|cluster| {
        let blocks = state.publisher.counters().find_cluster(cluster.id).unwrap_or_default();
        let load_balancing = match cluster.load_balancing {
            LoadBalancing::RoundRobin => "round_robin",
            LoadBalancing::LeastRequest => "least_request",
            LoadBalancing::Maglev => "maglev",
        };
        vec![
            json!(cluster.name),
            json!(cluster.endpoints.len()),
            json!(load_balancing),
            sum(blocks.iter().map(|block| &block.upstream_cx_active)),
            sum(blocks.iter().map(|block| &block.upstream_cx_total)),
            sum(blocks.iter().map(|block| &block.upstream_cx_connect_fail)),
            sum(blocks.iter().map(|block| &block.upstream_rq_active)),
            sum(blocks.iter().map(|block| &block.upstream_rq_pending_active)),
            sum(blocks.iter().map(|block| &block.upstream_rq_total)),
            sum(blocks.iter().map(|block| &block.upstream_rq_5xx)),
        ]
    });
    let columns = &[
        "name",
        "endpoints",
        "load_balancing",
        "cx_active",
        "cx_total",
        "connect_fail",
        "rq_active",
        "rq_pending",
        "rq_total",
        "rq_5xx",
    ];
    Shown::default().rows("clusters", columns, rows.collect())
}

fn endpoints(state: &State) -> Shown {
    let mut rows = Vec::new();
    for cluster in &state.config.clusters {
        for endpoint in &cluster.endpoints {
            let address = endpoint.address.to_string();
            rows.push(vec![json!(cluster.name), json!(address), json!(endpoint.id.0)]);
        }
    }
    Shown::default().rows("endpoints", &["cluster", "address", "id"], rows)
}

fn counters(state: &State, filter: Filter) -> Shown {
    let lines = stats::lines(Scrape::take(state), filter).flatten();
    let rows = lines.map(|(name, value)| vec![json!(name), json!(value)]).collect();
    Shown::default().rows("counters", &["name", "value"], rows)
}

/// Every reason that has happened.
fn drops(state: &State) -> Shown {
    let rows = DropReason::ALL.iter().filter_map(|reason| {
        let drops = state.workers.iter().map(|worker| worker.status.stack.drops.value(*reason));
        let count: u64 = drops.sum();
        (count > 0).then(|| vec![json!(reason.name()), json!(count), json!(reason.sentence())])
    });
    Shown::default().rows("drops", &["reason", "packets", "meaning"], rows.collect())
}

fn memory(state: &State) -> Shown {
    let mut rows = Vec::new();
    for worker in &state.workers {
        let status = &worker.status;
        for (pool, [in_use, all]) in [("rx", &status.rx_buffers), ("tx", &status.tx_buffers)] {
            let (in_use, all) = (in_use.value(), all.value());
            rows.push(vec![json!(worker.id.0), json!(pool), json!(in_use), json!(all)]);
        }
    }
    let columns = &["worker", "pool", "buffers_in_use", "buffers"];
    Shown::default().fact("memory", state.memory.as_str()).rows("pools", columns, rows)
}

fn runtime(state: &State) -> Shown {
    let runtime = &state.config.runtime;
    let state_name = match state.server_state() {
        ServerState::Live => "live",
        ServerState::Draining => "draining",
        ServerState::PreInitializing => "starting",
    };
    Shown::default()
        .fact("version", process::version())
        .fact("pid", std::process::id())
        .fact("state", state_name)
        .fact("uptime_seconds", state.started.elapsed().as_secs())
        .fact("cores", runtime.cores.clone())
        .fact("control_core", runtime.control_core)
        .fact("idle", format!("{:?}", runtime.idle).to_lowercase())
        .fact("hugepages", format!("{:?}", runtime.hugepages).to_lowercase())
        .fact("receive_coalescing", format!("{:?}", runtime.receive_coalescing))
        .fact("drain_timeout", format!("{:?}", runtime.drain_timeout))
        .fact("config_path", state.path.display().to_string())
        .fact("config_version", state.publisher.version())
        .fact("reloads_accepted", state.reloads.accepted)
        .fact("reloads_rejected", state.reloads.rejected)
        .fact("last_reload_error", state.reloads.last_error.clone())
        .fact("snapshots_outstanding", state.publisher.outstanding())
        .fact("snapshots_quarantined", state.publisher.quarantined())
}

/// The sum over workers.
fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> Value {
    json!(counters.fold(0u64, |sum, counter| sum.wrapping_add(counter.value())))
}
