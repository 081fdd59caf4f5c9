//! One reading of all counters.
//!
//! Counters of listeners and clusters are tables (a row per name, a column per counter), since there
//! may be 100,000 rows: they are summed over the workers here, in one pass, and printed column by
//! column or row by row afterwards without looking at the state again.

use std::borrow::Cow;

use sluice_config_model::{Listener, Protocol, RuleAction};
use sluice_l7_proxy::MetricKind::{self, Counter, Gauge};
use sluice_l7_proxy::{ClusterCounters, ListenerCounters};
use sluice_stack::{DropReason, StackCounters};
use sluice_worker::{PortCounters, Stage, WorkerLinks};

use super::{http2, process, stack_help};
use crate::state::State;

/// Everything there is to count, at one moment.
pub(crate) struct Scrape {
    /// What belongs to the process, its workers and stacks.
    pub(crate) families: Vec<Family>,
    /// What belongs to listeners and clusters.
    pub(crate) tables: Vec<Table>,
}

/// Values of one meaning.
pub(crate) struct Family {
    /// In Prometheus; the same for all of its samples.
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: MetricKind,
    pub(crate) help: Cow<'static, str>,
    pub(crate) samples: Vec<Sample>,
}

/// One value, told from others of its family by labels.
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: u64,
}

/// The counters of all things of a kind.
pub(crate) struct Table {
    /// First part of the name in `/stats`.
    pub(crate) stat: &'static str,
    /// First part of the name in Prometheus.
    pub(crate) prefix: &'static str,
    /// The label that carries a row's name.
    pub(crate) label: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) help: &'static str,
}

pub(crate) struct Row {
    pub(crate) name: String,
    /// One per column.
    pub(crate) values: Vec<u64>,
}

impl Scrape {
    /// Reads everything.
    pub(crate) fn take(state: &State) -> Self {
        let mut families = Vec::new();
        process_families(state, &mut families);
        rule_families(state, &mut families);
        for worker in &state.workers {
            worker_families(worker, &mut families);
        }
        interface_families(state, &mut families);
        stack_families(&state.workers, &mut families);
        http2::fault_families(state, &mut families);
        http2::grpc_families(state, &mut families);
        let tables =
            vec![http_table(state), tcp_table(state), udp_table(state), cluster_table(state)];
        Self { families: merge(families), tables }
    }
}

/// Puts families of one name together, in the order of their first appearance.
fn merge(families: Vec<Family>) -> Vec<Family> {
    let mut merged: Vec<Family> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for family in families {
        match places.get(&family.name) {
            None => {
                places.insert(family.name.clone(), merged.len());
                merged.push(family);
            }
            Some(&place) => merged[place].samples.extend(family.samples),
        }
    }
    merged
}

pub(super) type Labels<'a> = &'a [(&'static str, &'a dyn std::fmt::Display)];

/// A family with one sample.
pub(super) fn one(
    name: impl Into<Cow<'static, str>>,
    kind: MetricKind,
    help: impl Into<Cow<'static, str>>,
    labels: Labels<'_>,
    value: u64,
) -> Family {
    let labels = labels.iter().map(|(name, value)| (*name, value.to_string())).collect();
    let samples = vec![Sample { labels, value }];
    Family { name: name.into(), kind, help: help.into(), samples }
}

fn process_families(state: &State, out: &mut Vec<Family>) {
    let now = state.server_state();
    let live = u64::from(now.number() == 0);
    let mut put = |name, kind, help, labels: Labels<'_>, value| {
        out.push(one(name, kind, help, labels, value));
    };
    let listeners = state.config.listeners.len() as u64;
    let clusters = state.config.clusters.len() as u64;
    put("envoy_server_live", Gauge, "1 when /ready answers LIVE, else 0.", &[], live);
    put(
        "envoy_server_state",
        Gauge,
        "0 live, 1 draining, 2 not every worker listens yet.",
        &[],
        now.number(),
    );
    let uptime = state.started.elapsed().as_secs();
    put("envoy_server_uptime", Gauge, "Seconds since the start.", &[], uptime);
    let workers = state.workers.len() as u64;
    put("envoy_server_concurrency", Gauge, "Workers.", &[], workers);
    put(
        "envoy_listener_manager_total_listeners_active",
        Gauge,
        "Listeners that are configured.",
        &[],
        listeners,
    );
    put(
        "envoy_cluster_manager_active_clusters",
        Gauge,
        "Clusters that are configured.",
        &[],
        clusters,
    );
    put(
        "sluice_build_info",
        Gauge,
        "1; the label says which version runs.",
        &[("version", &process::version())],
        1,
    );
    let version = state.publisher.version();
    put("sluice_config_version", Gauge, "Configurations published so far.", &[], version);
    for (result, value) in
        [("accepted", state.reloads.accepted), ("rejected", state.reloads.rejected)]
    {
        let help = "Files read again on SIGHUP, by what came of it.";
        put("sluice_config_reloads_total", Counter, help, &[("result", &result)], value);
    }
    put(
        "sluice_snapshots_outstanding",
        Gauge,
        "Replaced configurations that a worker still holds.",
        &[],
        state.publisher.outstanding() as u64,
    );
    put(
        "sluice_snapshots_quarantined",
        Gauge,
        "Replaced configurations that are gone but have ids that requests or connections still hold.",
        &[],
        state.publisher.quarantined() as u64,
    );
    let log = state.log.totals();
    put("sluice_access_log_lines_total", Counter, "Lines written.", &[], log.written());
    put(
        "sluice_access_log_lost_total",
        Counter,
        "Lines lost because they could not be written, or not fast enough.",
        &[],
        log.lost(),
    );
    put("sluice_access_log_errors_total", Counter, "Writes that failed.", &[], log.errors());
}

/// Three series per interface, however many rules it has; `sluice show rules` has each.
fn rule_families(state: &State, out: &mut Vec<Family>) {
    let Some(snapshot) = state.publisher.current() else { return };
    for interface in &state.config.interfaces {
        let table = snapshot.rules(interface.id);
        for action in [RuleAction::Allow, RuleAction::Deny, RuleAction::Count] {
            let counts = table.into_iter().flat_map(|table| table.counts());
            let counts = counts.filter(|count| count.rule.action == action);
            let value = counts.fold(0u64, |sum, count| sum.wrapping_add(count.packets));
            let labels: Labels<'_> = &[("interface", &interface.name), ("action", &action.name())];
            let help = "Packets that rules of the interface matched, by their action.";
            out.push(one("sluice_rule_packets_total", Counter, help, labels, value));
        }
    }
}

fn worker_families(worker: &WorkerLinks, out: &mut Vec<Family>) {
    let status = &*worker.status;
    let id = worker.id.0;
    let mut put = |name: &'static str, kind, help: &'static str, labels: Labels<'_>, value| {
        let mut all: Vec<(_, &dyn std::fmt::Display)> = vec![("worker", &id)];
        all.extend_from_slice(labels);
        out.push(one(name, kind, help, &all, value));
    };
    let simple = [
        ("sluice_worker_heartbeats_total", &status.heartbeats, "Heartbeats."),
        (
            "sluice_worker_busy_heartbeats_total",
            &status.busy_heartbeats,
            "Heartbeats that found something to do.",
        ),
        (
            "sluice_worker_busy_nanoseconds_total",
            &status.busy_nanos,
            "Nanoseconds of the heartbeats that found something to do.",
        ),
        (
            "sluice_worker_busy_cycles_total",
            &status.busy_cycles,
            "Cycles of the heartbeats that found something to do.",
        ),
        ("sluice_worker_sleeps_total", &status.sleeps, "Times the worker went to sleep."),
        (
            "sluice_worker_handed_off_total",
            &status.handed_off,
            "Packets sent to the worker that owns them.",
        ),
        (
            "sluice_worker_handoff_dropped_total",
            &status.handoff_dropped,
            "Packets and messages for another worker that found its ring full.",
        ),
        (
            "sluice_worker_access_log_dropped_total",
            &status.log_dropped,
            "Access log records that found the ring full.",
        ),
        (
            "sluice_worker_snapshots_skipped_total",
            &status.snapshots_skipped,
            "Configurations skipped because every slot was pinned.",
        ),
    ];
    for (name, counter, help) in simple {
        put(name, Counter, help, &[], counter.value());
    }
    put(
        "sluice_worker_longest_gap_nanoseconds",
        Gauge,
        "The longest time between two heartbeats while awake.",
        &[],
        status.longest_gap_nanos.value(),
    );
    put(
        "sluice_worker_receive_interval_nanoseconds",
        Gauge,
        "How long packets lie at most before the worker takes them; 0: they are taken as they come.",
        &[],
        status.receive_interval_nanos.value(),
    );
    put("sluice_worker_active", Gauge, "Requests and relays running.", &[], status.active.value());
    put(
        "sluice_worker_config_version",
        Gauge,
        "The configuration whose listeners are all in place.",
        &[],
        status.listening_version(),
    );
    put(
        "sluice_worker_listen_failures",
        Gauge,
        "Listeners that could not be put in place.",
        &[],
        status.listen_failures(),
    );
    for (direction, counter) in ["rx", "tx"].into_iter().zip(&status.packets) {
        let help = "Packets received from and sent to devices.";
        let labels: Labels<'_> = &[("direction", &direction)];
        put("sluice_worker_packets_total", Counter, help, labels, counter.value());
    }
    for (stage, counter) in Stage::ALL.into_iter().zip(&status.stage_cycles) {
        let help = "Cycles per stage of the heartbeats that found something to do.";
        let labels: Labels<'_> = &[("stage", &stage.name())];
        put("sluice_worker_stage_cycles_total", Counter, help, labels, counter.value());
    }
    for (pool, [in_use, all]) in [("rx", &status.rx_buffers), ("tx", &status.tx_buffers)] {
        let labels: Labels<'_> = &[("pool", &pool)];
        let help = "Packet buffers that are not free.";
        put("sluice_buffers_in_use", Gauge, help, labels, in_use.value());
        put("sluice_buffers", Gauge, "Packet buffers.", labels, all.value());
    }
    status.proxy.each(|name, kind, help, value| {
        let name = suffixed("sluice_proxy", name, kind);
        out.push(one(name, kind, help, &[("worker", &id)], value));
    });
}

fn interface_families(state: &State, out: &mut Vec<Family>) {
    for (at, interface) in state.interfaces.iter().enumerate() {
        let labels: Labels<'_> = &[("interface", &interface.name)];
        let mut put =
            |name: &'static str, kind, help: &'static str, of: fn(&PortCounters) -> u64| {
                let vlan: u64 = state.vlan_count(at, name);
                let queues: u64 = state.queues(at).map(of).sum();
                out.push(one(name, kind, help, labels, queues + vlan));
            };
        put("sluice_interface_rx_packets_total", Counter, "Packets received.", |port| {
            port.rx[0].value()
        });
        put("sluice_interface_rx_bytes_total", Counter, "Bytes received.", |port| {
            port.rx[1].value()
        });
        put(
            "sluice_interface_rx_missed_total",
            Counter,
            "Packets that the device lost before Sluice saw them; those of an impairment too.",
            |port| port.rx_missed.value(),
        );
        put("sluice_interface_rx_errors_total", Counter, "Packets received in error.", |port| {
            port.rx_errors.value()
        });
        put("sluice_interface_tx_packets_total", Counter, "Packets sent.", |port| {
            port.tx[0].value()
        });
        put("sluice_interface_tx_bytes_total", Counter, "Bytes sent.", |port| port.tx[1].value());
        put(
            "sluice_interface_tx_errors_total",
            Counter,
            "Packets that the device could not send; those of an impairment too.",
            |port| port.tx_errors.value(),
        );
        let up = state.queues(at).all(|port| port.link_up.value() > 0);
        let help = "1 while the link is up.";
        out.push(one("sluice_interface_up", Gauge, help, labels, u64::from(up)));
    }
}

fn stack_families(workers: &[WorkerLinks], out: &mut Vec<Family>) {
    let stacks = || workers.iter().map(|worker| &*worker.status.stack);
    for reason in DropReason::ALL {
        let value = stacks().map(|stack| stack.drops.value(*reason)).sum();
        let labels: Labels<'_> = &[("reason", &reason.name())];
        out.push(one("sluice_drops_total", Counter, "Packets dropped, by reason.", labels, value));
    }
    for (name, value) in sums(stacks().map(StackCounters::iter)) {
        let (kind, help) = stack_help::of(name);
        out.push(one(suffixed("sluice_stack", name, kind), kind, help, &[], value));
    }
    for (name, value) in sums(stacks().map(|stack| stack.tcp.iter())) {
        if name.ends_with("-bytes") {
            let help = format!("TCP: {}.", name.replace('-', " "));
            let name = format!("sluice_tcp_{}_total", name.replace('-', "_"));
            out.push(one(name, Counter, help, &[], value));
        } else {
            let labels: Labels<'_> = &[("event", &name)];
            out.push(one(
                "sluice_tcp_events_total",
                Counter,
                "TCP events, by name.",
                labels,
                value,
            ));
        }
    }
}

/// A name of ours: counters end in `_total`.
fn suffixed(prefix: &str, name: &str, kind: MetricKind) -> String {
    match kind {
        Counter => format!("{prefix}_{name}_total"),
        Gauge => format!("{prefix}_{name}"),
    }
}

/// Adds up lists that all have the same names in the same order.
pub(super) fn sums<I>(lists: impl Iterator<Item = I>) -> Vec<(&'static str, u64)>
where
    I: Iterator<Item = (&'static str, u64)>,
{
    let mut sums: Vec<(&'static str, u64)> = Vec::new();
    for list in lists {
        for (index, (name, value)) in list.enumerate() {
            match sums.get_mut(index) {
                Some(sum) => sum.1 = sum.1.wrapping_add(value),
                None => sums.push((name, value)),
            }
        }
    }
    sums
}

fn http_table(state: &State) -> Table {
    Table {
        stat: "http",
        prefix: "envoy_http",
        label: "envoy_http_conn_manager_prefix",
        columns: listener_columns(|name| !is_sess(name)),
        rows: listener_rows(state, |listener| listener.http().is_some(), |name| !is_sess(name)),
    }
}

/// What only sessions of datagrams count.
fn is_sess(name: &str) -> bool {
    name.starts_with("downstream_sess_") || name == "idle_timeout"
}

/// Datagrams have sessions, and neither connections nor requests.
fn udp_table(state: &State) -> Table {
    Table {
        stat: "udp",
        prefix: "envoy_udp",
        label: "envoy_udp_prefix",
        columns: listener_columns(is_sess),
        rows: listener_rows(state, Listener::is_udp, is_sess),
    }
}

/// Relays have connections but no requests, and no versions.
fn tcp_table(state: &State) -> Table {
    let is_cx = |name: &str| {
        let of_http = ["_http", "_max_", "_flood_"].iter().any(|part| name.contains(part));
        name.starts_with("downstream_cx_") && !of_http
    };
    let is_tcp = |listener: &Listener| matches!(listener.protocol, Protocol::Tcp { .. });
    Table {
        stat: "tcp",
        prefix: "envoy_tcp",
        label: "envoy_tcp_prefix",
        columns: listener_columns(is_cx),
        rows: listener_rows(state, is_tcp, is_cx),
    }
}

fn listener_columns(wanted: fn(&str) -> bool) -> Vec<Column> {
    let mut columns = Vec::new();
    ListenerCounters::default().each(|name, kind, help, _| {
        if wanted(name) {
            columns.push(Column { name, kind, help });
        }
    });
    columns
}

fn listener_rows(
    state: &State,
    which: impl Fn(&Listener) -> bool,
    wanted: fn(&str) -> bool,
) -> Vec<Row> {
    let listeners = state.config.listeners.iter().filter(|listener| which(listener));
    listeners
        .map(|listener| {
            let mut values = Vec::new();
            for block in state.publisher.counters().find_listener(listener.id).unwrap_or_default() {
                let mut column = 0;
                block.each(|name, _, _, value| {
                    if wanted(name) {
                        add(&mut values, column, value);
                        column += 1;
                    }
                });
            }
            Row { name: listener.name.clone(), values }
        })
        .collect()
}

fn cluster_table(state: &State) -> Table {
    let mut columns = Vec::new();
    ClusterCounters::default()
        .each(|name, kind, help, _| columns.push(Column { name, kind, help }));
    let counted = columns.len();
    columns.push(Column { name: "membership_total", kind: Gauge, help: "Endpoints." });
    columns.push(Column {
        name: "membership_healthy",
        kind: Gauge,
        help: "Endpoints that may be chosen.",
    });
    let rows = state.config.clusters.iter().map(|cluster| {
        let mut values = Vec::with_capacity(counted + 2);
        for block in state.publisher.counters().find_cluster(cluster.id).unwrap_or_default() {
            let mut column = 0;
            block.each(|_, _, _, value| {
                add(&mut values, column, value);
                column += 1;
            });
        }
        values.resize(counted, 0);
        // There are no health checks yet: every endpoint may be chosen.
        values.extend([cluster.endpoints.len() as u64; 2]);
        Row { name: cluster.name.clone(), values }
    });
    let rows = rows.collect();
    let label = "envoy_cluster_name";
    Table { stat: "cluster", prefix: "envoy_cluster", label, columns, rows }
}

/// Gauges of several workers may be below zero one by one; their sum is not.
fn add(values: &mut Vec<u64>, column: usize, value: u64) {
    match values.get_mut(column) {
        Some(sum) => *sum = sum.wrapping_add(value),
        None => values.push(value),
    }
}
