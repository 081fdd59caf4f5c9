//! What is counted of HTTP/2 and gRPC by more than a listener's or cluster's name.

use sluice_l7_proxy::MetricKind::Counter;

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
