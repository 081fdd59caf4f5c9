//! Upstream connections of one worker: idle ones by endpoint, waiting requests by cluster.
//!
//! Idle connections are taken youngest first (the one most surely still open, and the rest can age
//! out), by two intrusive lists through the sessions: per endpoint, and per cluster for the time
//! when `max_connections` is reached and any connection of the cluster is welcome.
//!
//! Everything here is an array by id and outlives snapshots. A connection goes back only into the
//! pool it was made for: `made_with` names how it was made, and the endpoint's `stamp` says whether
//! the cluster still has the endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_base::{ClusterId, ConnId, EndpointId, Slab, SlabKey, WorkerId};

use sluice_config_model::ConnectionLife;
use sluice_l7_balance::WorkerLease;

use crate::codec::SessionCodec;
use crate::counters::{ClusterCounters, ClusterLeases, of_worker};
use crate::exchange::{ExchangeKey, Exchanges};
use crate::http2::Http2Plan;
use crate::sessions::{Links, NO_SESSION, Role, Sessions};
use crate::snapshot::CompiledCluster;

/// One worker's view of a cluster.
#[derive(Debug)]
pub(crate) struct ClusterState {
    /// Of the newest compiled cluster seen; grows with every change.
    pub(crate) stamp: u64,
    pub(crate) made_with: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    /// Of connections of HTTP/1.1.
    pub(crate) life: ConnectionLife,
    pub(crate) http2: Http2Plan,
    pub(crate) counters: Arc<ClusterCounters>,
    /// `max_connections`, shared with the other workers.
    pub(crate) connections: WorkerLease,
    /// `max_pending`, shared with the other workers.
    pub(crate) pending: WorkerLease,
    /// `max_retries`, shared with the other workers.
    pub(crate) retries: WorkerLease,
    /// No snapshot names it any more: connections close when their request ends.
    pub(crate) retired: bool,
    /// Youngest idle connection, by protocol.
    idle_head: Idle,
    /// Requests that wait for any connection, oldest first.
    queue_head: Option<ExchangeKey>,
    queue_tail: Option<ExchangeKey>,
    /// On the list of clusters whose queue is looked at by time.
    listed: bool,
}

impl ClusterState {
    /// Whether requests wait for any of its connections.
    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.queue_head.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
struct EndpointPool {
    /// The cluster's stamp when it was last seen to have this endpoint.
    stamp: u64,
    /// Youngest idle connection, by protocol.
    idle_head: Idle,
    /// Connections of HTTP/2 that are not up yet: a request waits for them rather than for another.
    connecting: u32,
}

/// Heads of two lists, of connections that speak HTTP/1.1 and of those that speak HTTP/2. The latter
/// are in theirs as long as they take more requests, however many they carry.
type Idle = [u32; 2];

const NOBODY: Idle = [NO_SESSION; 2];

/// A connection that was asked for and has no id yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// None: nobody waits for it any more.
    pub(crate) exchange: Option<ExchangeKey>,
    pub(crate) cluster: ClusterId,
    pub(crate) endpoint: EndpointId,
    pub(crate) remote: SocketAddr,
    pub(crate) made_with: u32,
    /// HTTP/2 is to be spoken on it.
    pub(crate) http2: bool,
    /// Stamp of the exchange that asked.
    pub(crate) named: u64,
}

/// What becomes of a connection that was taken back.
pub(crate) struct Parked {
    pub(crate) cluster: ClusterId,
    pub(crate) idle_timeout: Option<Duration>,
    /// Requests wait for any connection of the cluster.
    pub(crate) waited_for: bool,
}

/// Attempts for which there is room from the start: the stack answers each at once.
const ATTEMPTS_USUAL: u32 = 1_024;

/// All pools of a worker.
pub(crate) struct Pools {
    worker: WorkerId,
    clusters: Vec<Option<ClusterState>>,
    endpoints: Vec<EndpointPool>,
    pub(crate) attempts: Slab<Attempt>,
    /// Clusters with waiting requests.
    waiting: Vec<ClusterId>,
}

impl Pools {
    pub(crate) fn new(worker: WorkerId, connections_max: u32) -> Self {
        Self {
            worker,
            clusters: Vec::new(),
            endpoints: Vec::new(),
            attempts: Slab::new(ATTEMPTS_USUAL, connections_max),
            waiting: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn cluster(&self, id: ClusterId) -> Option<&ClusterState> {
        self.clusters.get(id.index())?.as_ref()
    }

    #[inline]
    pub(crate) fn cluster_mut(&mut self, id: ClusterId) -> Option<&mut ClusterState> {
        self.clusters.get_mut(id.index())?.as_mut()
    }

    /// One more than the highest cluster id seen.
    pub(crate) fn bound(&self) -> usize {
        self.clusters.len()
    }

    /// Takes over what a newer compiled cluster says; true: idle connections must be looked at.
    #[inline]
    pub(crate) fn sync(&mut self, id: ClusterId, compiled: &CompiledCluster) -> bool {
        match self.cluster(id) {
            Some(state) if state.stamp >= compiled.stamp => false,
            Some(_) | None => self.sync_changed(id, compiled),
        }
    }

    #[cold]
    fn sync_changed(&mut self, id: ClusterId, compiled: &CompiledCluster) -> bool {
        if self.clusters.len() <= id.index() {
            self.clusters.resize_with(id.index() + 1, || None);
        }
        let slot = &mut self.clusters[id.index()];
        let ClusterLeases { connections, pending, retries } = &compiled.leases;
        let state = slot.get_or_insert_with(|| ClusterState {
            stamp: 0,
            made_with: compiled.made_with,
            connect_timeout: compiled.connect_timeout,
            idle_timeout: None,
            life: compiled.life,
            http2: compiled.http2,
            counters: of_worker(&compiled.counters, self.worker),
            connections: WorkerLease::new(Arc::clone(connections)),
            pending: WorkerLease::new(Arc::clone(pending)),
            retries: WorkerLease::new(Arc::clone(retries)),
            retired: false,
            idle_head: NOBODY,
            queue_head: None,
            queue_tail: None,
            listed: false,
        });
        state.stamp = compiled.stamp;
        state.made_with = compiled.made_with;
        state.connect_timeout = compiled.connect_timeout;
        state.idle_timeout = compiled.idle_timeout;
        state.life = compiled.life;
        state.http2 = compiled.http2;
        state.counters = of_worker(&compiled.counters, self.worker);
        state.retired = false;
        // The id has a new owner: the old one has no connection left, or its id would not be free.
        if !Arc::ptr_eq(state.connections.lease(), connections) {
            state.connections = WorkerLease::new(Arc::clone(connections));
            state.pending = WorkerLease::new(Arc::clone(pending));
            state.retries = WorkerLease::new(Arc::clone(retries));
        }
        let idle_head = state.idle_head;
        for endpoint in compiled.endpoints.endpoints() {
            self.endpoint_mut(endpoint.id).stamp = compiled.stamp;
        }
        idle_head != NOBODY
    }

    /// The cluster is gone from the configuration.
    pub(crate) fn retire(&mut self, id: ClusterId) {
        if let Some(state) = self.cluster_mut(id) {
            state.retired = true;
        }
    }

    #[inline]
    fn endpoint_mut(&mut self, id: EndpointId) -> &mut EndpointPool {
        if self.endpoints.len() <= id.index() {
            self.add_endpoints(id);
        }
        &mut self.endpoints[id.index()]
    }

    #[cold]
    fn add_endpoints(&mut self, id: EndpointId) {
        let fresh = EndpointPool { stamp: 0, idle_head: NOBODY, connecting: 0 };
        self.endpoints.resize(id.index() + 1, fresh);
    }

    /// Whether the newest snapshot has the cluster, and the endpoint in it.
    pub(crate) fn has_endpoint(&self, cluster: ClusterId, endpoint: EndpointId) -> bool {
        let stamp = self.endpoints.get(endpoint.index()).map_or(0, |pool| pool.stamp);
        self.cluster(cluster).is_some_and(|state| !state.retired && state.stamp == stamp)
    }

    /// Whether a connection made so may carry another request.
    #[inline]
    pub(crate) fn keeps(&self, cluster: ClusterId, endpoint: EndpointId, made_with: u32) -> bool {
        self.kept(cluster, endpoint, made_with).is_some()
    }

    /// The cluster, if a connection made so may carry another of its requests.
    #[inline]
    pub(crate) fn kept(
        &self,
        cluster: ClusterId,
        endpoint: EndpointId,
        made_with: u32,
    ) -> Option<&ClusterState> {
        let state = self.cluster(cluster)?;
        let stamp = self.endpoints.get(endpoint.index()).map_or(0, |pool| pool.stamp);
        let keeps = !state.retired && state.made_with == made_with && state.stamp == stamp;
        keeps.then_some(state)
    }
}

/// Idle connections.
impl Pools {
    /// The youngest idle connection to an endpoint.
    #[inline]
    pub(crate) fn idle_at(&self, endpoint: EndpointId, http2: bool) -> u32 {
        let pool = self.endpoints.get(endpoint.index());
        pool.map_or(NO_SESSION, |pool| pool.idle_head[usize::from(http2)])
    }

    /// The youngest idle connection of a cluster.
    #[inline]
    pub(crate) fn idle_of(&self, cluster: ClusterId, http2: bool) -> u32 {
        self.cluster(cluster).map_or(NO_SESSION, |state| state.idle_head[usize::from(http2)])
    }

    /// Whether a connection of HTTP/2 to the endpoint is about to be up.
    pub(crate) fn is_connecting(&self, endpoint: EndpointId) -> bool {
        self.endpoints.get(endpoint.index()).is_some_and(|pool| pool.connecting > 0)
    }

    /// One more of them, or one that is up, or failed.
    pub(crate) fn count_connecting(&mut self, endpoint: EndpointId, begins: bool) {
        let pool = self.endpoint_mut(endpoint);
        pool.connecting =
            if begins { pool.connecting + 1 } else { pool.connecting.saturating_sub(1) };
    }

    /// Puts a connection into both lists.
    pub(crate) fn park(&mut self, conn: ConnId, sessions: &mut Sessions) {
        let Some(session) = sessions.get_mut(conn) else { return };
        let Role::Upstream(upstream) = &mut session.role else { return };
        let Some(state) = self.cluster_mut(upstream.cluster) else { return };
        let (index, list) = (conn.index, usize::from(upstream.http2));
        let behind_cluster = std::mem::replace(&mut state.idle_head[list], index);
        let head = &mut self.endpoint_mut(upstream.endpoint).idle_head[list];
        let behind_endpoint = std::mem::replace(head, index);
        upstream.endpoint_links = Links { next: behind_endpoint, prev: NO_SESSION };
        upstream.cluster_links = Links { next: behind_cluster, prev: NO_SESSION };
        session.status.idle = true;
        put_in_front(index, (behind_endpoint, behind_cluster), sessions);
    }

    /// Puts a connection of HTTP/1.1 into both lists, if it carries nothing and may carry another
    /// request, and if no time is set at which it ends: what is true of nearly all, each looked at
    /// once. None: ask for each.
    #[inline(always)]
    pub(crate) fn take_back(&mut self, conn: ConnId, sessions: &mut Sessions) -> Option<Parked> {
        let session = sessions.get_mut(conn)?;
        let SessionCodec::Http1(coded) = &session.codec else { return None };
        let usable = coded.is_free_for_good() && !session.status.peer_closed;
        let Role::Upstream(upstream) = &mut session.role else { return None };
        let cluster = upstream.cluster;
        let state = self.clusters.get_mut(cluster.index())?.as_mut()?;
        let pool = self.endpoints.get_mut(upstream.endpoint.index())?;
        let made_alike = state.made_with == upstream.made_with && state.stamp == pool.stamp;
        if !usable || !made_alike || state.retired {
            return None;
        }
        let list = usize::from(upstream.http2);
        let behind_cluster = std::mem::replace(&mut state.idle_head[list], conn.index);
        let behind_endpoint = std::mem::replace(&mut pool.idle_head[list], conn.index);
        upstream.endpoint_links = Links { next: behind_endpoint, prev: NO_SESSION };
        upstream.cluster_links = Links { next: behind_cluster, prev: NO_SESSION };
        session.status.idle = true;
        session.set_exchange(None);
        let (idle_timeout, waited_for) = (state.idle_timeout, state.is_waited_for());
        put_in_front(conn.index, (behind_endpoint, behind_cluster), sessions);
        Some(Parked { cluster, idle_timeout, waited_for })
    }

    /// Takes a connection out of both lists.
    pub(crate) fn unpark(&mut self, conn: ConnId, sessions: &mut Sessions) {
        let Some(session) = sessions.get_mut(conn).filter(|session| session.status.idle) else {
            return;
        };
        session.status.idle = false;
        let Role::Upstream(upstream) = &session.role else { return };
        let (at, of) = (upstream.endpoint_links, upstream.cluster_links);
        let (endpoint, cluster) = (upstream.endpoint, upstream.cluster);
        let list = usize::from(upstream.http2);
        if at.prev == NO_SESSION {
            self.endpoint_mut(endpoint).idle_head[list] = at.next;
        } else if let Some(links) = endpoint_links(sessions, at.prev) {
            links.next = at.next;
        }
        if let Some(links) = endpoint_links(sessions, at.next) {
            links.prev = at.prev;
        }
        if of.prev == NO_SESSION {
            if let Some(state) = self.cluster_mut(cluster) {
                state.idle_head[list] = of.next;
            }
        } else if let Some(links) = cluster_links(sessions, of.prev) {
            links.next = of.next;
        }
        if let Some(links) = cluster_links(sessions, of.next) {
            links.prev = of.prev;
        }
    }
}

/// Tells those who were first in both lists who is now.
#[inline]
fn put_in_front(index: u32, (endpoint, cluster): (u32, u32), sessions: &mut Sessions) {
    if let Some(links) = endpoint_links(sessions, endpoint) {
        links.prev = index;
    }
    if let Some(links) = cluster_links(sessions, cluster) {
        links.prev = index;
    }
}

fn endpoint_links(sessions: &mut Sessions, index: u32) -> Option<&mut Links> {
    match &mut sessions.by_index(index)?.role {
        Role::Upstream(upstream) => Some(&mut upstream.endpoint_links),
        Role::Vacant | Role::Downstream(_) => None,
    }
}

fn cluster_links(sessions: &mut Sessions, index: u32) -> Option<&mut Links> {
    match &mut sessions.by_index(index)?.role {
        Role::Upstream(upstream) => Some(&mut upstream.cluster_links),
        Role::Vacant | Role::Downstream(_) => None,
    }
}

/// Requests that wait for a connection.
impl Pools {
    /// Appends a request to the cluster's queue.
    pub(crate) fn enqueue(
        &mut self,
        cluster: ClusterId,
        key: ExchangeKey,
        exchanges: &mut Exchanges,
    ) {
        let Some(state) = self.cluster_mut(cluster) else { return };
        let tail = state.queue_tail.replace(key);
        if tail.is_none() {
            state.queue_head = Some(key);
        }
        let newly = !std::mem::replace(&mut state.listed, true);
        if newly {
            self.waiting.push(cluster);
        }
        if let Some(last) = tail.and_then(|tail| exchanges.get_mut(tail)) {
            last.queue_next = Some(key);
        }
        if let Some(exchange) = exchanges.get_mut(key) {
            (exchange.queue_prev, exchange.queue_next) = (tail, None);
        }
    }

    /// Takes a request out of the cluster's queue.
    pub(crate) fn dequeue(
        &mut self,
        cluster: ClusterId,
        key: ExchangeKey,
        exchanges: &mut Exchanges,
    ) {
        let Some(exchange) = exchanges.get_mut(key) else { return };
        let (prev, next) = (exchange.queue_prev.take(), exchange.queue_next.take());
        if let Some(before) = prev.and_then(|prev| exchanges.get_mut(prev)) {
            before.queue_next = next;
        }
        if let Some(behind) = next.and_then(|next| exchanges.get_mut(next)) {
            behind.queue_prev = prev;
        }
        let Some(state) = self.cluster_mut(cluster) else { return };
        if prev.is_none() {
            state.queue_head = next;
        }
        if next.is_none() {
            state.queue_tail = prev;
        }
    }

    /// The request that has waited longest.
    #[inline]
    pub(crate) fn first_waiting(&self, cluster: ClusterId) -> Option<ExchangeKey> {
        self.cluster(cluster)?.queue_head
    }

    /// Whether any request waits in a queue, by the list that is looked at by time.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// One of the clusters to look at by time; an index at the end of the list gives None.
    pub(crate) fn waiting_at(&mut self, index: usize) -> Option<ClusterId> {
        while let Some(&cluster) = self.waiting.get(index) {
            if self.first_waiting(cluster).is_some() {
                return Some(cluster);
            }
            if let Some(state) = self.cluster_mut(cluster) {
                state.listed = false;
            }
            self.waiting.swap_remove(index);
        }
        None
    }

    /// The key of the attempt with this token.
    #[inline]
    pub(crate) fn attempt_key(&self, token: u32) -> Option<SlabKey> {
        self.attempts.key_at(token)
    }
}
