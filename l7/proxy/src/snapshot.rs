//! The configuration as workers read it: compiled, immutable, dense by id.
//!
//! Built on the control side, carried to the workers as one `Arc`. What did not change since the
//! previous snapshot is the same `Arc` here and there: an update of one cluster compiles one
//! cluster, and workers see by its `stamp` that it is newer than what they know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sluice_base::{ClusterId, HashKey, InterfaceId, ListenerId, RouteId};
use sluice_config_model::{
    Cluster, Config, ConnectionLife, HttpVersion, Listener, Protocol, TcpSettings,
};
use sluice_l7_balance::{EndpointSet, Lease};
use sluice_l7_filter::FilterChain;
use sluice_l7_route::{CompiledRoute, RouteTable};
use sluice_rules::RuleTable;

use crate::counters::{
    ClusterCounters, ClusterLeases, CounterRegistry, ListenerCounters, PerWorker,
};
use crate::http2::Http2Plan;
use crate::plan::Plan;

/// One version of the configuration, compiled.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts snapshots; grows.
    pub version: u64,
    /// Whether requests are written to the access log.
    pub access_log: bool,
    listeners: Vec<Option<Arc<CompiledListener>>>,
    clusters: Vec<Option<Arc<CompiledCluster>>>,
    rules: Vec<Option<Arc<RuleTable>>>,
    endpoints_bound: usize,
}

/// A listener, compiled.
#[derive(Debug)]
pub struct CompiledListener {
    /// As configured.
    pub listener: Listener,
    /// What an HTTP listener matches requests with; empty for others.
    pub routes: RouteTable,
    /// What requests and responses pass through.
    pub filters: FilterChain,
    /// One block per worker.
    pub counters: PerWorker<ListenerCounters>,
    /// `max_sessions` of a udp listener.
    pub(crate) sessions: Option<Arc<Lease>>,
    /// What every request begins with.
    pub(crate) plan: Plan,
    /// Routes that change responses: id, virtual host, position; by id.
    response_edits: Box<[(RouteId, u32, u32)]>,
}

/// A cluster, compiled.
#[derive(Debug)]
pub struct CompiledCluster {
    /// As configured.
    pub id: ClusterId,
    /// The version of the snapshot that compiled it.
    pub(crate) stamp: u64,
    /// A number for how connections are made; another number, other connections.
    pub(crate) made_with: u32,
    pub(crate) http: HttpVersion,
    pub(crate) life: ConnectionLife,
    pub(crate) http2: Http2Plan,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    /// Where requests go.
    pub endpoints: EndpointSet,
    pub(crate) leases: ClusterLeases,
    /// One block per worker.
    pub counters: PerWorker<ClusterCounters>,
    source: Cluster,
}

/// A listener that cannot be compiled.
#[derive(Debug)]
pub struct CompileError {
    /// Which one.
    pub listener: String,
    /// Why.
    pub reason: sluice_l7_route::CompileError,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}: {}", self.listener, self.reason)
    }
}

impl std::error::Error for CompileError {}

impl Snapshot {
    /// Compiles `config`; what `previous` has already is taken from there.
    ///
    /// # Errors
    /// A route table that does not compile.
    pub fn compile(
        config: &Config,
        registry: &mut CounterRegistry,
        previous: Option<&Self>,
    ) -> Result<Self, CompileError> {
        let version = previous.map_or(1, |previous| previous.version + 1);
        let mut snapshot = Self {
            version,
            access_log: config.access_log.is_some(),
            listeners: Vec::new(),
            clusters: Vec::new(),
            rules: Vec::new(),
            endpoints_bound: previous.map_or(0, |previous| previous.endpoints_bound),
        };
        for listener in &config.listeners {
            let old = previous.and_then(|previous| previous.listener_arc(listener.id));
            let compiled = match old.filter(|old| old.listener == *listener) {
                Some(same) => Arc::clone(same),
                None => Arc::new(CompiledListener::compile(listener, registry)?),
            };
            put(&mut snapshot.listeners, listener.id.index(), compiled);
        }
        for cluster in &config.clusters {
            let old = previous.and_then(|previous| previous.cluster_arc(cluster.id));
            let compiled = match old.filter(|old| old.source == *cluster) {
                Some(same) => Arc::clone(same),
                None => Arc::new(CompiledCluster::compile(cluster, version, registry)),
            };
            let bound = cluster.endpoints.iter().map(|endpoint| endpoint.id.index() + 1).max();
            snapshot.endpoints_bound = snapshot.endpoints_bound.max(bound.unwrap_or_default());
            put(&mut snapshot.clusters, cluster.id.index(), compiled);
        }
        for interface in &config.interfaces {
            let old = previous.and_then(|previous| previous.rules(interface.id));
            let rules = RuleTable::compile_shared(&interface.rules, registry.workers(), old);
            if let Some(rules) = rules {
                put(&mut snapshot.rules, interface.id.index(), rules);
            }
        }
        Ok(snapshot)
    }

    /// One more than the largest listener id.
    #[must_use]
    pub fn listener_bound(&self) -> usize {
        self.listeners.len()
    }

    /// The listener with this id.
    #[inline]
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&CompiledListener> {
        self.listeners.get(id.index())?.as_deref()
    }

    /// The cluster with this id.
    #[inline]
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<&CompiledCluster> {
        self.clusters.get(id.index())?.as_deref()
    }

    /// The packet rules of an interface; none: everything is allowed.
    #[must_use]
    pub fn rules(&self, id: InterfaceId) -> Option<&Arc<RuleTable>> {
        self.rules.get(id.index())?.as_ref()
    }

    /// Every listener.
    pub fn listeners(&self) -> impl Iterator<Item = &CompiledListener> {
        self.listeners.iter().flatten().map(|listener| &**listener)
    }

    /// Every cluster.
    pub fn clusters(&self) -> impl Iterator<Item = &CompiledCluster> {
        self.clusters.iter().flatten().map(|cluster| &**cluster)
    }

    /// One more than the highest cluster id.
    pub(crate) fn clusters_bound(&self) -> usize {
        self.clusters.len()
    }

    /// One more than the highest endpoint id that any snapshot so far had.
    pub(crate) fn endpoints_bound(&self) -> usize {
        self.endpoints_bound
    }

    fn listener_arc(&self, id: ListenerId) -> Option<&Arc<CompiledListener>> {
        self.listeners.get(id.index())?.as_ref()
    }

    fn cluster_arc(&self, id: ClusterId) -> Option<&Arc<CompiledCluster>> {
        self.clusters.get(id.index())?.as_ref()
    }
}

impl CompiledListener {
    fn compile(listener: &Listener, registry: &mut CounterRegistry) -> Result<Self, CompileError> {
        let reason = |reason| CompileError { listener: listener.name.clone(), reason };
        let (routes, filters) = match &listener.protocol {
            Protocol::Http(http) => {
                (RouteTable::compile(http).map_err(reason)?, FilterChain::compile(http))
            }
            Protocol::Tcp { .. } | Protocol::Udp { .. } => {
                (RouteTable::default(), FilterChain::default())
            }
        };
        let counters = registry.listener(listener.id);
        let sessions = match listener.protocol {
            Protocol::Udp { max_sessions, .. } => {
                Some(registry.sessions(listener.id, max_sessions))
            }
            Protocol::Http(_) | Protocol::Tcp { .. } => None,
        };
        let mut edits = Vec::new();
        for (host, virtual_host) in routes.virtual_hosts().iter().enumerate() {
            for (at, route) in virtual_host.routes().iter().enumerate() {
                if !route.response_edits.is_empty() {
                    edits.push((route.id, host as u32, at as u32));
                }
            }
        }
        edits.sort_unstable_by_key(|(id, ..)| *id);
        let response_edits = edits.into();
        let (listener, plan) = (listener.clone(), Plan::for_listener(listener));
        Ok(Self { listener, routes, filters, counters, sessions, plan, response_edits })
    }

    /// The route with this id, if it changes responses.
    pub(crate) fn response_editor(&self, id: RouteId) -> Option<&CompiledRoute> {
        let at = self.response_edits.binary_search_by_key(&id, |(id, ..)| *id).ok()?;
        let (_, host, at) = self.response_edits[at];
        self.routes.virtual_hosts().get(host as usize)?.routes().get(at as usize)
    }
}

/// What connections of a cluster are made with, as a number: others do when it changes.
fn made_with(protocol: u64, tcp: &TcpSettings, http2: &Http2Plan) -> u32 {
    let key = HashKey::new([0, 0]);
    let nanos = |duration: Option<Duration>| duration.map_or(0, |it| it.as_nanos() as u64);
    let keepalive = tcp.keepalive;
    let parts = [
        tcp.congestion as u64,
        tcp.ecn as u64,
        nanos(keepalive.map(|it| it.time)),
        nanos(keepalive.map(|it| it.interval)),
        keepalive.map_or(0, |it| it.probes.into()),
        nanos(tcp.user_timeout),
        nanos(Some(tcp.user_timeout_max)),
    ];
    parts.into_iter().chain(http2.parts()).fold(protocol, |hash, part| key.hash_pair(hash, part))
        as u32
}

impl CompiledCluster {
    fn compile(cluster: &Cluster, stamp: u64, registry: &mut CounterRegistry) -> Self {
        let (counters, leases) = registry.cluster(cluster);
        let protocol = match cluster.http {
            HttpVersion::Http11 => 1,
            HttpVersion::Http2 => 2,
            HttpVersion::Same => 3,
        };
        let http2 = Http2Plan::new(&cluster.http2);
        Self {
            id: cluster.id,
            stamp,
            made_with: made_with(protocol, &cluster.tcp, &http2),
            http: cluster.http,
            life: cluster.life,
            http2,
            connect_timeout: cluster.connect_timeout,
            idle_timeout: cluster.idle_timeout,
            endpoints: EndpointSet::new(cluster),
            leases,
            counters,
            source: cluster.clone(),
        }
    }

    /// As configured.
    #[must_use]
    pub fn source(&self) -> &Cluster {
        &self.source
    }
}

fn put<T>(table: &mut Vec<Option<T>>, index: usize, value: T) {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    table[index] = Some(value);
}
