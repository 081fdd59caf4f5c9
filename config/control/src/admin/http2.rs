//! What is counted of HTTP/2 and gRPC by more than a listener's or cluster's name.

use std::collections::BTreeMap;

use sluice_config_model::Cluster;
use sluice_l7_proxy::MetricKind::Counter;
use sluice_l7_proxy::{GrpcStatus, MethodCounters, TIME_BUCKETS};

use super::scrape::{Family, one, sums};
use crate::state::State;

/// Rules of HTTP/2 that were broken, of each listener and of clusters with such endpoints: there may
/// be 100,000, most of which have none.
pub(super) fn fault_families(state: &State, out: &mut Vec<Family>) {
    let counters = state.publisher.counters();
    for listener in state.config.listeners.iter().filter(|listener| listener.http().is_some()) {
        let blocks = counters.find_listener(listener.id).unwrap_or_default();
        let name = "sluice_http2_downstream_faults_total";
        let help = "Rules of HTTP/2 that clients broke, by rule.";
        for (reason, value) in sums(blocks.iter().map(|block| block.faults.iter())) {
            let labels: &[(_, &dyn std::fmt::Display)] =
                &[("listener", &listener.name), ("reason", &reason)];
            out.push(one(name, Counter, help, labels, value));
        }
    }
    for cluster in &state.config.clusters {
        let blocks = counters.find_cluster(cluster.id).unwrap_or_default();
        let broken = blocks.iter().filter(|block| block.faults.any());
        let name = "sluice_http2_upstream_faults_total";
        let help = "Rules of HTTP/2 that endpoints broke, by rule; of clusters where one was.";
        for (reason, value) in sums(broken.map(|block| block.faults.iter())) {
            let labels: &[(_, &dyn std::fmt::Display)] =
                &[("cluster", &cluster.name), ("reason", &reason)];
            out.push(one(name, Counter, help, labels, value));
        }
    }
}

/// What became of a method's calls, over all workers.
#[derive(Default)]
struct Calls {
    statuses: [u64; GrpcStatus::ALL.len()],
    messages: [u64; 2],
    times: [u64; TIME_BUCKETS.len()],
    micros: u64,
}

impl Calls {
    fn add(&mut self, method: &MethodCounters) {
        for status in GrpcStatus::ALL {
            self.statuses[usize::from(status.code())] += method.calls(*status);
        }
        self.messages[0] += method.request_messages.value();
        self.messages[1] += method.response_messages.value();
        for (sum, value) in self.times.iter_mut().zip(method.times()) {
            *sum += value;
        }
        self.micros += method.time_micros.value();
    }
}

/// Calls of gRPC, of clusters that had any.
pub(super) fn grpc_families(state: &State, out: &mut Vec<Family>) {
    for cluster in &state.config.clusters {
        let blocks = state.publisher.counters().find_cluster(cluster.id).unwrap_or_default();
        let mut methods: BTreeMap<(&str, &str), Calls> = BTreeMap::new();
        for method in blocks.iter().flat_map(|block| block.methods.iter()) {
            methods.entry((method.service(), method.method())).or_default().add(method);
        }
        for ((service, method), calls) in methods {
            method_families(cluster, service, method, &calls, out);
        }
    }
}

fn method_families(
    cluster: &Cluster,
    service: &str,
    method: &str,
    calls: &Calls,
    out: &mut Vec<Family>,
) {
    let total: u64 = calls.statuses.iter().sum();
    let success = calls.statuses[0];
    let labels: &[(_, &dyn std::fmt::Display)] = &[
        ("envoy_cluster_name", &cluster.name),
        ("envoy_grpc_bridge_service", &service),
        ("envoy_grpc_bridge_method", &method),
    ];
    let simple = [
        ("envoy_cluster_grpc_total", "Calls of gRPC that are over.", total),
        ("envoy_cluster_grpc_success", "Calls of gRPC with status 0.", success),
        ("envoy_cluster_grpc_failure", "Calls of gRPC with another status.", total - success),
        (
            "envoy_cluster_grpc_request_message_count",
            "Messages of gRPC from callers.",
            calls.messages[0],
        ),
        (
            "envoy_cluster_grpc_response_message_count",
            "Messages of gRPC for callers.",
            calls.messages[1],
        ),
        (
            "envoy_cluster_grpc_upstream_rq_time_sum",
            "Milliseconds that calls of gRPC took, all together.",
            calls.micros / 1_000,
        ),
        ("envoy_cluster_grpc_upstream_rq_time_count", "Calls of gRPC whose time was taken.", total),
    ];
    for (name, help, value) in simple {
        out.push(one(name, Counter, help, labels, value));
    }
    let help = "Calls of gRPC that took at most so many milliseconds.";
    let infinite = ("+Inf", total);
    for (end, value) in TIME_BUCKETS.into_iter().zip(calls.times).chain([infinite]) {
        let labels = [labels, &[("le", &end)]].concat();
        let name = "envoy_cluster_grpc_upstream_rq_time_bucket";
        out.push(one(name, Counter, help, &labels, value));
    }
    for status in GrpcStatus::ALL {
        let value = calls.statuses[usize::from(status.code())];
        if value > 0 {
            let labels: &[(_, &dyn std::fmt::Display)] = &[
                ("cluster", &cluster.name),
                ("service", &service),
                ("method", &method),
                ("status", status),
            ];
            let help = "Calls of gRPC that are over, by status.";
            out.push(one("sluice_grpc_calls_total", Counter, help, labels, value));
        }
    }
}
