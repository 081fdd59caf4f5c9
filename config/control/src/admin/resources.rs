//! `/clusters` and `/listeners`, as Envoy prints them.

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::answer::Answer;
use super::query::Query;
use crate::state::State;

/// `GET /clusters`
pub(super) fn clusters(state: &mut State, query: &Query) -> Answer {
    let clusters = &state.config.clusters;
    if query.wants_json() {
        let statuses: Vec<Value> = clusters
            .iter()
            .map(|cluster| {
                let host = |address| {
                    json!({
                        "address": socket_address(address),
                        "health_status": { "eds_health_status": "HEALTHY" },
                        "weight": 1,
                    })
                };
                let hosts: Vec<_> = cluster.endpoints.iter().map(|e| host(e.address)).collect();
                json!({
                    "name": cluster.name,
                    "observability_name": cluster.name,
                    "added_via_api": false,
                    "circuit_breakers": { "thresholds": [{
                        "max_connections": cluster.max_connections,
                        "max_pending_requests": cluster.max_pending,
                        "max_retries": cluster.max_retries,
                    }] },
                    "host_statuses": hosts,
                })
            })
            .collect();
        return Answer::json(&json!({ "cluster_statuses": statuses }));
    }
    let mut text = String::new();
    for cluster in clusters {
        let name = &cluster.name;
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{name}::{key}::{value}");
        };
        line("observability_name", name);
        line("default_priority::max_connections", &cluster.max_connections);
        line("default_priority::max_pending_requests", &cluster.max_pending);
        line("default_priority::max_retries", &cluster.max_retries);
        line("added_via_api", &false);
        for endpoint in &cluster.endpoints {
            line(&format!("{}::health_flags", endpoint.address), &"healthy");
            line(&format!("{}::weight", endpoint.address), &1);
        }
    }
    Answer::text(text)
}

/// `GET /listeners`
pub(super) fn listeners(state: &mut State, query: &Query) -> Answer {
    let listeners = &state.config.listeners;
    if query.wants_json() {
        let statuses: Vec<Value> = listeners
            .iter()
            .map(|listener| {
                json!({ "name": listener.name, "local_address": socket_address(listener.address) })
            })
            .collect();
        return Answer::json(&json!({ "listener_statuses": statuses }));
    }
    let mut text = String::new();
    for listener in listeners {
        let _ = writeln!(text, "{}::{}", listener.name, listener.address);
    }
    Answer::text(text)
}

/// Envoy's form of an address.
fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    } })
}
