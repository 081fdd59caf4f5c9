//! Counters by worker and id, under Envoy's names.
//!
//! The control thread makes them (one block per worker and id, cache-padded), a snapshot carries
//! them to the worker, the worker writes, anybody reads. They belong to the id, not to the
//! snapshot, so a reload does not reset them.

use std::sync::Arc;

use sluice_base::{ClusterId, Counter, ListenerId, WorkerId};
use sluice_config_model::Cluster;
use sluice_l7_balance::Lease;

use crate::faults::FaultCounters;
use crate::methods::Methods;

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

macro_rules! counters {
    (
        $(#[$doc:meta])*
        $name:ident { $($kind:ident $field:ident: $text:literal,)* }
        $(and { $($more:ident: $type:ty = $about:literal,)* })?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $name {
            $(#[doc = $text] pub $field: Counter,)*
            $($(#[doc = $about] pub $more: $type,)*)?
        }

        impl $name {
            /// Every value of one number: name, kind, help text, value.
            pub fn each(&self, mut f: impl FnMut(&'static str, MetricKind, &'static str, u64)) {
                $(f(stringify!($field), MetricKind::$kind, $text, self.$field.value());)*
            }
        }
    };
}

counters! {
    /// What happened on the connections of one listener, on one worker.
    ListenerCounters {
        Counter downstream_cx_total: "Connections accepted.",
        Gauge downstream_cx_active: "Connections open.",
        Counter downstream_cx_http2_total: "Connections on which HTTP/2 began.",
        Counter downstream_cx_destroy_local: "Connections closed by us.",
        Counter downstream_cx_destroy_remote: "Connections closed by the client.",
        Counter downstream_cx_idle_timeout: "Connections closed because nothing happened on them.",
        Counter downstream_cx_protocol_error: "Connections closed because of bytes that are not HTTP.",
        Counter downstream_cx_max_requests_reached: "Connections that took no more requests because of max_requests_per_connection.",
        Counter downstream_cx_max_duration_reached: "Connections that took no more requests because of max_connection_duration.",
        Counter downstream_cx_flood_close: "Connections closed because of a flood of HTTP/2 frames.",
        Counter downstream_cx_flood_suspect: "Connections of HTTP/2 that ended with a quarter or more of a budget against floods used up.",
        Counter downstream_cx_flood_reject: "Connections refused because too many floods had come from their source.",
        Counter downstream_cx_flood_cycles: "Cycles of stage serve spent on connections that flooded, estimated from one heartbeat in 61.",
        Counter downstream_cx_drain_close: "Connections closed because the process or listener drains.",
        Counter downstream_cx_rx_bytes_total: "Bytes received from clients.",
        Counter downstream_cx_tx_bytes_total: "Bytes sent to clients.",
        Counter downstream_cx_upgrades_total: "Connections that became a relay by upgrade.",
        Counter downstream_rq_total: "Requests begun.",
        Gauge downstream_rq_active: "Requests not yet answered.",
        Counter downstream_rq_completed: "Requests answered completely.",
        Counter downstream_rq_1xx: "Informational responses.",
        Counter downstream_rq_2xx: "Responses of class 2xx.",
        Counter downstream_rq_3xx: "Responses of class 3xx.",
        Counter downstream_rq_4xx: "Responses of class 4xx.",
        Counter downstream_rq_5xx: "Responses of class 5xx.",
        Counter downstream_rq_header_timeout: "Request heads that did not arrive in time.",
        Counter downstream_rq_idle_timeout: "Requests ended because no byte moved.",
        Counter downstream_rq_timeout: "Requests ended by their route's timeout.",
        Counter downstream_rq_max_duration_reached: "Calls of gRPC ended by the deadline that they named.",
        Counter downstream_rq_rx_reset: "Requests that the client gave up.",
        Counter downstream_rq_tx_reset: "Responses that we cut.",
        Counter downstream_rq_too_large: "Requests with a body beyond the limit.",
        Counter no_route: "Requests that no route matched.",
        Counter no_cluster: "Requests whose cluster does not exist.",
        Counter rq_redirect: "Requests answered by a redirect.",
        Counter rq_direct_response: "Requests answered by a direct response.",
        Counter downstream_sess_total: "Sessions begun.",
        Gauge downstream_sess_active: "Sessions that are there now.",
        Counter downstream_sess_no_route: "Datagrams dropped because the cluster has no endpoint.",
        Counter downstream_sess_overflow: "Datagrams dropped because of max_sessions, or a full table.",
        Counter downstream_sess_rx_bytes: "Bytes received from clients.",
        Counter downstream_sess_rx_datagrams: "Datagrams received from clients.",
        Counter downstream_sess_rx_errors: "Clients that no session could be begun for.",
        Counter downstream_sess_tx_bytes: "Bytes for clients.",
        Counter downstream_sess_tx_datagrams: "Datagrams for clients.",
        Counter downstream_sess_tx_errors: "Datagrams for clients that could not be sent, or did not arrive.",
        Counter idle_timeout: "Sessions ended because nothing happened in them.",
    } and {
        faults: FaultCounters = "Rules of HTTP/2 that clients broke.",
    }
}

counters! {
    /// What happened between one worker and the endpoints of one cluster.
    ClusterCounters {
        Counter upstream_cx_total: "Connections asked for.",
        Gauge upstream_cx_active: "Connections open or being opened.",
        Counter upstream_cx_http1_total: "HTTP/1.1 connections established.",
        Counter upstream_cx_http2_total: "HTTP/2 connections established.",
        Counter upstream_cx_connect_fail: "Connections that could not be established.",
        Counter upstream_cx_connect_timeout: "Connections that took too long to establish.",
        Counter upstream_cx_idle_timeout: "Connections closed because the pool did not need them.",
        Counter upstream_cx_overflow: "Connections not opened because of max_connections.",
        Counter upstream_cx_max_requests: "Connections that took no more requests because of max_requests_per_connection.",
        Counter upstream_cx_max_duration_reached: "Connections that took no more requests because of max_connection_duration.",
        Counter upstream_cx_none_healthy: "Requests for which no endpoint was left.",
        Counter upstream_cx_protocol_error: "Connections closed because of bytes that are not HTTP.",
        Counter upstream_cx_destroy_local: "Connections closed by us.",
        Counter upstream_cx_destroy_remote: "Connections closed by the endpoint.",
        Counter upstream_cx_destroy_with_active_rq: "Connections that ended with a request on them.",
        Counter upstream_cx_rx_bytes_total: "Bytes received from endpoints.",
        Counter upstream_cx_tx_bytes_total: "Bytes sent to endpoints.",
        Counter upstream_rq_total: "Requests sent to an endpoint, retries included.",
        Gauge upstream_rq_active: "Requests at an endpoint.",
        Counter upstream_rq_completed: "Responses received.",
        Counter upstream_rq_1xx: "Informational responses.",
        Counter upstream_rq_2xx: "Responses of class 2xx.",
        Counter upstream_rq_3xx: "Responses of class 3xx.",
        Counter upstream_rq_4xx: "Responses of class 4xx.",
        Counter upstream_rq_5xx: "Responses of class 5xx.",
        Counter upstream_rq_pending_total: "Requests that had to wait for a connection.",
        Gauge upstream_rq_pending_active: "Requests that wait for a connection.",
        Counter upstream_rq_pending_overflow: "Requests refused because of max_pending.",
        Counter upstream_rq_pending_failure_eject: "Waiting requests whose connection failed.",
        Counter upstream_rq_cancelled: "Requests given up before they had a connection.",
        Counter upstream_rq_timeout: "Requests ended by the route's timeout.",
        Counter upstream_rq_rx_reset: "Requests that the endpoint reset.",
        Counter upstream_rq_tx_reset: "Requests that we reset.",
        Counter upstream_rq_retry: "Requests sent again.",
        Counter upstream_rq_retry_backoff_exponential: "Requests that waited before they were sent again.",
        Counter upstream_rq_retry_success: "Requests that a retry saved.",
        Counter upstream_rq_retry_limit_exceeded: "Requests whose retries were used up.",
        Counter upstream_rq_retry_overflow: "Requests not sent again because of max_retries.",
        Counter udp_sess_rx_datagrams: "Datagrams received from endpoints.",
        Counter udp_sess_rx_errors: "Sessions ended because their endpoint was unreachable.",
        Counter udp_sess_tx_datagrams: "Datagrams for endpoints.",
        Counter udp_sess_tx_errors: "Datagrams for endpoints that could not be sent.",
    } and {
        faults: FaultCounters = "Rules of HTTP/2 that endpoints broke.",
        methods: Methods = "Calls of gRPC, by method.",
    }
}

counters! {
    /// What belongs to a worker's proxy as a whole.
    WorkerCounters {
        Counter stale_event: "Events for connections that are gone, dropped.",
        Counter unknown_listener: "Connections accepted for a listener that is gone, reset.",
        Counter session_table_full: "Connections beyond connections_max, reset.",
        Counter exchange_table_full: "Requests refused because every exchange is in use.",
        Counter udp_session_table_full: "Datagrams dropped because every session is in use.",
        Counter no_buffer: "Messages given up because the transmit pool was empty.",
        Counter log_overflow: "Access records lost because the log ring was full.",
        Counter log_text_cut: "Access records with a text that was cut.",
        Counter snapshot_adopted: "Snapshots adopted.",
        Counter snapshot_skipped: "Snapshots skipped because 64 were pinned.",
        Gauge snapshot_oldest_named: "Version of the oldest snapshot whose ids are still named; 0 before the first.",
        Counter flood_source_forgotten: "Sources of floods that gave way to others before theirs were forgiven.",
        Counter linger_timeout: "Half-closed connections reset because the peer kept them.",
    }
}

/// Counts a response by the class of its status.
macro_rules! count_class {
    ($counters:expr, $status:expr, $c1:ident, $c2:ident, $c3:ident, $c4:ident, $c5:ident) => {
        match $status / 100 {
            1 => $counters.$c1.increment(),
            2 => $counters.$c2.increment(),
            3 => $counters.$c3.increment(),
            4 => $counters.$c4.increment(),
            _ => $counters.$c5.increment(),
        }
    };
}

impl ListenerCounters {
    /// Counts a response by its class.
    #[inline]
    pub fn count_status(&self, status: u16) {
        count_class!(
            self,
            status,
            downstream_rq_1xx,
            downstream_rq_2xx,
            downstream_rq_3xx,
            downstream_rq_4xx,
            downstream_rq_5xx
        );
    }
}

impl ClusterCounters {
    /// Counts a response by its class.
    #[inline]
    pub fn count_status(&self, status: u16) {
        count_class!(
            self,
            status,
            upstream_rq_1xx,
            upstream_rq_2xx,
            upstream_rq_3xx,
            upstream_rq_4xx,
            upstream_rq_5xx
        );
    }
}

/// One block per worker.
pub type PerWorker<T> = Arc<[Arc<T>]>;

/// The limits of a cluster that all workers share.
#[derive(Clone, Debug, Default)]
pub struct ClusterLeases {
    /// `max_connections`.
    pub connections: Arc<Lease>,
    /// `max_pending`.
    pub pending: Arc<Lease>,
    /// `max_retries`.
    pub retries: Arc<Lease>,
}

/// All counters and leases of the process, by id; the control thread's.
#[derive(Debug)]
pub struct CounterRegistry {
    workers: u16,
    listeners: Vec<Option<PerWorker<ListenerCounters>>>,
    sessions: Vec<Option<Arc<Lease>>>,
    clusters: Vec<Option<(PerWorker<ClusterCounters>, ClusterLeases)>>,
}

impl CounterRegistry {
    /// A registry for `workers` workers.
    #[must_use]
    pub fn new(workers: u16) -> Self {
        Self { workers, listeners: Vec::new(), sessions: Vec::new(), clusters: Vec::new() }
    }

    /// The counters of a listener, made when first asked for.
    pub fn listener(&mut self, id: ListenerId) -> PerWorker<ListenerCounters> {
        let workers = self.workers;
        slot(&mut self.listeners, id.index()).get_or_insert_with(|| blocks(workers)).clone()
    }

    /// The `max_sessions` of a listener, made when first asked for, set to the limit.
    pub fn sessions(&mut self, id: ListenerId, sessions_max: u32) -> Arc<Lease> {
        let slot = slot(&mut self.sessions, id.index());
        let lease = slot.get_or_insert_with(|| Arc::new(Lease::new(sessions_max)));
        lease.set_limit(sessions_max);
        Arc::clone(lease)
    }

    /// The counters of a cluster, made when first asked for, and its leases, set to its limits.
    pub fn cluster(&mut self, cluster: &Cluster) -> (PerWorker<ClusterCounters>, ClusterLeases) {
        let workers = self.workers;
        let slot = slot(&mut self.clusters, cluster.id.index());
        let entry = slot.get_or_insert_with(|| (blocks(workers), ClusterLeases::default()));
        entry.1.connections.set_limit(cluster.max_connections);
        entry.1.pending.set_limit(cluster.max_pending);
        entry.1.retries.set_limit(cluster.max_retries);
        entry.clone()
    }

    /// A retired listener's id is free again: the next owner starts at zero.
    pub fn forget_listener(&mut self, id: ListenerId) {
        *slot(&mut self.listeners, id.index()) = None;
        *slot(&mut self.sessions, id.index()) = None;
    }

    /// A retired cluster's id is free again: the next owner starts at zero.
    pub fn forget_cluster(&mut self, id: ClusterId) {
        *slot(&mut self.clusters, id.index()) = None;
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// The counters of a listener by worker, if it has any.
    #[must_use]
    pub fn find_listener(&self, id: ListenerId) -> Option<&[Arc<ListenerCounters>]> {
        self.listeners.get(id.index())?.as_deref()
    }

    /// The counters of a cluster by worker, if it has any.
    #[must_use]
    pub fn find_cluster(&self, id: ClusterId) -> Option<&[Arc<ClusterCounters>]> {
        self.clusters.get(id.index())?.as_ref().map(|(counters, _)| &**counters)
    }
}

/// The block of `worker`; a worker beyond the registry's count counts into a block of its own.
pub(crate) fn of_worker<T: Default>(counters: &PerWorker<T>, worker: WorkerId) -> Arc<T> {
    debug_assert!(worker.index() < counters.len(), "the registry was made for fewer workers");
    counters.get(worker.index()).cloned().unwrap_or_default()
}

fn blocks<T: Default>(workers: u16) -> PerWorker<T> {
    (0..workers).map(|_| Arc::default()).collect()
}

fn slot<T>(table: &mut Vec<Option<T>>, index: usize) -> &mut Option<T> {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    &mut table[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_belong_to_the_id() {
        let mut registry = CounterRegistry::new(2);
        let first = registry.listener(ListenerId(3));
        first[1].downstream_rq_total.add(7);
        let again = registry.listener(ListenerId(3));
        assert_eq!(again[1].downstream_rq_total.value(), 7);
        registry.forget_listener(ListenerId(3));
        assert_eq!(registry.listener(ListenerId(3))[1].downstream_rq_total.value(), 0);
    }

    #[test]
    fn every_value_has_its_envoy_name() {
        let counters = ClusterCounters::default();
        counters.count_status(503);
        let mut found = None;
        counters.each(|name, kind, _, value| {
            if name == "upstream_rq_5xx" {
                found = Some((kind, value));
            }
        });
        assert_eq!(found, Some((MetricKind::Counter, 1)));
    }
}
