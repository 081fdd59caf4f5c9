//! The proxy of one worker: its tables, and where events and verbs cross.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sluice_base::{ConnId, Instant, ListenerId, Ring, Rng, WorkerId};
use sluice_buf::{Chain, Pool};
use sluice_config_model::{ConnectionLife, Protocol};
use sluice_l7_balance::LoadTable;
use sluice_l7_core::HeadLimits;

use crate::completed::Completed;
use crate::counters::{ListenerCounters, WorkerCounters, of_worker};
use crate::events::{ConnectRefused, StreamEvent};
use crate::exchange::Exchanges;
use crate::flooders::Flooders;
use crate::http2::Http2Plan;
use crate::limits::{HEADS_KEPT, LOG_RING, PENDING_POLL, REQUESTS_PER_CALL, REST, windows_max};
use crate::log::AccessRecord;
use crate::named::Named;
use crate::pins::Pins;
use crate::pool::Pools;
use crate::sessions::{Role, Sessions};
use crate::snapshot::{CompiledListener, Snapshot};
use crate::sweep::Sweep;
use crate::timers::Wheel;
use crate::udp::Udp;
use crate::verbs::Verb;
use crate::wires::Wires;

/// What a proxy is made with.
#[derive(Clone, Copy, Debug)]
pub struct ProxyConfig {
    /// Which worker it serves.
    pub worker: WorkerId,
    /// How many workers there are.
    pub workers: u16,
    /// Connections of both sides together; as many as the stack has.
    pub connections_max: u32,
    /// Requests in flight, and relays that are not up yet.
    pub exchanges_max: u32,
    /// Sessions of datagrams; half as many as the stack has flows.
    pub udp_sessions_max: u32,
    /// Packet buffers of the worker for what it receives: windows of HTTP/2 grow as far as half of
    /// them, so that those who leave unread what they asked for do not take them from all others.
    pub receive_buffers: u32,
    /// How long nothing happens to a request before it rests, and what it holds is packed.
    pub rest: Duration,
    /// Of all randomness.
    pub seed: u64,
    /// Wall clock at [`Instant::ZERO`], nanoseconds since 1970, for the log.
    pub wall_clock_origin: u64,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            worker: WorkerId(0),
            workers: 1,
            connections_max: 65_536,
            exchanges_max: 65_536,
            udp_sessions_max: 32_768,
            receive_buffers: u32::MAX,
            rest: REST,
            seed: 0,
            wall_clock_origin: 0,
        }
    }
}

/// What a worker keeps of a listener between snapshots.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) counters: Arc<ListenerCounters>,
    pub(crate) limits: HeadLimits,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) header_timeout: Option<Duration>,
    pub(crate) http: bool,
    /// Of connections of HTTP/1.1.
    pub(crate) life: ConnectionLife,
    pub(crate) http2: Http2Plan,
}

/// One worker's proxy. See the [crate's page](crate).
pub struct Proxy {
    pub(crate) worker: WorkerId,
    pub(crate) wall_clock_origin: u64,
    pub(crate) draining: bool,
    pub(crate) wires: Wires,
    pub(crate) sessions: Sessions,
    pub(crate) exchanges: Exchanges,
    /// Relays for which no exchange stands any more.
    pub(crate) relays: usize,
    /// Connections of HTTP/2 whose clients may not have heard that the process ends.
    pub(crate) leaving: usize,
    pub(crate) session_timers: Wheel,
    pub(crate) exchange_timers: Wheel,
    /// Of those that are folded.
    pub(crate) folded_timers: Wheel,
    /// [`ProxyConfig::rest`]
    pub(crate) rest_nanos: u64,
    pub(crate) listeners: Vec<Option<ListenerState>>,
    pub(crate) pools: Pools,
    pub(crate) udp: Udp,
    pub(crate) load: LoadTable,
    pub(crate) pins: Pins,
    pub(crate) sweep: Sweep,
    pub(crate) named: Named,
    pub(crate) flooders: Flooders,
    pub(crate) rng: Rng,
    pub(crate) scratch: sluice_l7_route::PathScratch,
    /// A Location, or a path before it was rewritten.
    pub(crate) text: Vec<u8>,
    /// What filters put together.
    pub(crate) filter_text: Vec<u8>,
    /// Requests that the current call may still begin.
    pub(crate) budget: u32,
    /// Client connections with something to decode.
    pub(crate) ready: VecDeque<ConnId>,
    /// The same, of those that had their turn in this heartbeat and have more than that.
    pub(crate) interrupted: VecDeque<ConnId>,
    /// Bytes by which windows of HTTP/2 may still grow, of all connections together.
    pub(crate) windows_left: u32,
    /// Connections with output that the current call has written.
    pub(crate) touched: Vec<ConnId>,
    /// Where the exchanges of a connection are listed while they are given up; empty between calls.
    pub(crate) scratch_keys: Vec<crate::exchange::ExchangeKey>,
    /// When the pending queues are looked at again.
    pub(crate) poll_at: Instant,
    pub(crate) log: Ring<AccessRecord>,
    pub(crate) completed: Completed,
    pub(crate) counters: Arc<WorkerCounters>,
}

impl Proxy {
    /// A proxy without configuration: it resets whatever connects until [`Proxy::adopt`].
    #[must_use]
    pub fn new(config: ProxyConfig, tx_pool: Pool) -> Self {
        let exchanges = config.exchanges_max;
        Self {
            worker: config.worker,
            wall_clock_origin: config.wall_clock_origin,
            draining: false,
            wires: Wires::new(tx_pool, HEADS_KEPT.min(2 * exchanges as usize)),
            sessions: Sessions::new(config.connections_max),
            exchanges: Exchanges::new(exchanges),
            relays: 0,
            leaving: 0,
            session_timers: Wheel::with_capacity(config.connections_max as usize),
            exchange_timers: Wheel::with_capacity(exchanges as usize),
            folded_timers: Wheel::with_capacity(exchanges as usize),
            rest_nanos: u64::try_from(config.rest.as_nanos()).unwrap_or(u64::MAX),
            listeners: Vec::new(),
            pools: Pools::new(config.worker, config.connections_max),
            udp: Udp::new(config.udp_sessions_max),
            load: LoadTable::new(),
            pins: Pins::new(),
            sweep: Sweep::default(),
            named: Named::new(),
            flooders: Flooders::new(config.workers, config.seed),
            rng: Rng::new(config.seed),
            scratch: sluice_l7_route::PathScratch::default(),
            text: Vec::with_capacity(1_024),
            filter_text: Vec::with_capacity(1_024),
            budget: 0,
            ready: VecDeque::with_capacity(256),
            interrupted: VecDeque::with_capacity(256),
            windows_left: windows_max(config.receive_buffers),
            touched: Vec::with_capacity(256),
            scratch_keys: Vec::with_capacity(128),
            poll_at: Instant::NEVER,
            log: Ring::with_capacity(LOG_RING),
            completed: Completed::default(),
            counters: Arc::default(),
        }
    }

    /// Makes `snapshot` the one that new requests use. Those in flight keep theirs.
    ///
    /// # Errors
    /// Gives it back when 64 snapshots are still in use: offer a newer one later.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>, now: Instant) -> Result<(), Arc<Snapshot>> {
        self.wires.now = now;
        let version = snapshot.version;
        if let Err(snapshot) = self.pins.adopt(snapshot) {
            self.counters.snapshot_skipped.increment();
            return Err(snapshot);
        }
        self.counters.snapshot_adopted.increment();
        self.sync_listeners();
        if let Some(snapshot) = self.pins.current() {
            self.load.grow(snapshot.endpoints_bound(), snapshot.clusters_bound());
        }
        self.sweep.start();
        self.exchanges.adopt(version);
        self.named.adopt(version);
        Ok(())
    }

    /// A snapshot that nobody here uses any more: to be freed elsewhere.
    pub fn pop_retired(&mut self) -> Option<Arc<Snapshot>> {
        self.pins.pop_retired()
    }

    /// Something happened on a connection.
    pub fn handle(&mut self, conn: ConnId, event: StreamEvent, now: Instant) {
        self.wires.now = now;
        self.budget = REQUESTS_PER_CALL;
        match event {
            StreamEvent::Data(bytes) => {
                let bytes = self.handle_bytes(conn, bytes, now);
                if bytes > 0 {
                    self.wires.verbs.push_front(Verb::Credit { conn, bytes });
                }
                self.flush_touched();
                return;
            }
            StreamEvent::Accepted { listener, peer, .. } => self.accept(conn, listener, peer),
            StreamEvent::Connected => self.handle_connected(conn),
            StreamEvent::ConnectFailed(reason) => self.handle_closed(conn, reason),
            StreamEvent::PeerClosed => self.handle_peer_closed(conn),
            StreamEvent::Writable => self.handle_writable(conn),
            StreamEvent::Closed(reason) => self.handle_closed(conn, reason),
        }
        self.run_ready();
        self.flush_touched();
    }

    /// Bytes arrived on a connection: [`StreamEvent::Data`] for who can credit at once. Returns how
    /// many bytes of the connection were let go, by which its window may open, now or before the
    /// next verb. What is written to connections that carry many exchanges may wait for
    /// [`Proxy::settle`], so that it leaves in one piece.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: Chain, now: Instant) -> usize {
        self.wires.now = now;
        self.budget = REQUESTS_PER_CALL;
        self.wires.current = Some(conn);
        self.handle_data(conn, bytes);
        if !self.ready.is_empty() {
            self.run_ready();
        }
        self.wires.current = None;
        std::mem::take(&mut self.wires.earned)
    }

    /// Connections that had their turn and have more to decode: each is to have another one, in the
    /// next heartbeat, behind those that something happened on.
    #[inline]
    #[must_use]
    pub fn interrupted(&self) -> usize {
        self.interrupted.len()
    }

    /// Gives the one that was interrupted first its next turn, and says which it was. What is written
    /// may wait for [`Proxy::settle`].
    pub fn resume(&mut self, now: Instant) -> Option<ConnId> {
        let conn = self.interrupted.pop_front()?;
        self.wires.now = now;
        self.budget = REQUESTS_PER_CALL;
        self.take_turn(conn);
        self.run_ready();
        Some(conn)
    }

    /// Hands on what calls of [`Proxy::handle_bytes`] and [`Proxy::wrote`] have left to be; whether
    /// there was anything. To be called, until there is not, when a heartbeat's events are handled.
    #[inline]
    pub fn settle(&mut self, now: Instant) -> bool {
        if self.touched.is_empty() {
            return false;
        }
        self.wires.now = now;
        self.budget = REQUESTS_PER_CALL;
        self.flush_touched();
        true
    }

    /// The answer to [`Verb::Connect`]. The id's first event may come only after this.
    pub fn connect_result(
        &mut self,
        token: u32,
        result: Result<ConnId, ConnectRefused>,
        now: Instant,
    ) {
        self.wires.now = now;
        self.budget = REQUESTS_PER_CALL;
        match result {
            Ok(conn) => self.attempt_has_id(token, conn),
            Err(reason) => self.attempt_refused(token, reason),
        }
        self.run_ready();
        self.flush_touched();
    }

    /// Asks for what events of the connections in these slots will touch here.
    #[inline]
    pub fn prefetch(&self, slots: &[u32]) {
        self.sessions.prefetch(slots);
    }

    /// The slot of the connection to which bytes of the one in slot `index` go, if both are the sides
    /// of a relay: to be asked for early. For who has [prefetched](Self::prefetch) the one.
    #[inline]
    #[must_use]
    pub fn partner_of(&self, index: u32) -> Option<u32> {
        self.sessions.partner_of(index)
    }

    /// The next thing for the stack to do.
    #[inline]
    pub fn pop_verb(&mut self) -> Option<Verb> {
        self.wires.pop_verb()
    }

    /// The next thing to do, if it is a write that only writes are in front of: mostly these are all.
    #[inline]
    pub fn pop_write(&mut self) -> Option<(ConnId, Chain)> {
        self.wires.pop_write()
    }

    /// Whether [`Proxy::pop_verb`] has something, when [`Proxy::pop_write`] has nothing.
    #[inline]
    #[must_use]
    pub fn has_verbs(&self) -> bool {
        !self.wires.verbs.is_empty()
    }

    /// The answer to [`Verb::Write`]: how much more fits. 0: none until `Writable`. Gives a connection
    /// of which bytes were let go thereby, by which its window may open, and how many.
    pub fn wrote(&mut self, conn: ConnId, send_room_left: usize) -> Option<(ConnId, usize)> {
        let session = self.sessions.get_mut(conn)?;
        if send_room_left == 0 {
            if session.codec.is_multiplexed() {
                self.multiplexed_wrote(conn, 0);
            }
            return None;
        }
        if let Some(partner) = session.partner() {
            return self.relay_owes(partner).map(|owed| (partner, owed));
        }
        if let Some(key) = session.exchange() {
            self.release_credit_of_partner(conn, key);
        } else if session.codec.is_multiplexed() {
            self.multiplexed_wrote(conn, send_room_left);
        }
        None
    }

    /// Works off what is due, and what earlier calls left for later.
    pub fn handle_timers(&mut self, now: Instant) {
        self.wires.now = now;
        self.budget = REQUESTS_PER_CALL;
        self.run_ready();
        self.run_sweep();
        self.walk_named();
        while let Some(index) = self.session_timers.pop_due(now) {
            self.handle_session_timer(index);
        }
        while let Some(index) = self.exchange_timers.pop_due(now) {
            self.handle_exchange_timer(index);
        }
        if self.exchanges.has_folded() {
            self.handle_folded_timers(now);
        }
        self.handle_udp_timers(now);
        if self.poll_at <= now {
            self.poll_queues();
        }
        self.run_ready();
        self.flush_touched();
    }

    /// When [`Proxy::handle_timers`] wants to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let waits = !self.ready.is_empty() || !self.interrupted.is_empty();
        if waits || self.sweep.is_running() {
            return Instant::ZERO;
        }
        let timers = self.session_timers.next_deadline().min(self.exchange_timers.next_deadline());
        let timers = timers.min(self.udp.timers.next_deadline());
        let timers = match self.exchanges.has_folded() {
            true => timers.min(self.folded_timers.next_deadline()),
            false => timers,
        };
        timers.min(self.poll_at).min(self.named.next_deadline())
    }

    /// Takes no new requests on connections that are open: idle ones close now, others after the
    /// response they are at.
    pub fn start_drain(&mut self, now: Instant) {
        self.wires.now = now;
        self.draining = true;
        self.sweep.start();
    }

    /// Requests, relays and sessions of datagrams in flight; and while it drains, connections of HTTP/2
    /// whose clients are being told.
    #[must_use]
    pub fn active(&self) -> usize {
        self.exchanges.len() + self.relays + self.udp.sessions.len() + self.leaving
    }

    /// Requests that endpoints have answered, and what they took.
    #[must_use]
    pub fn completed(&self) -> Completed {
        self.completed
    }

    /// Connections known, of both sides.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.sessions.len()
    }

    /// Requests that still read a snapshot.
    #[must_use]
    pub fn pinned(&self) -> u32 {
        self.pins.pinned()
    }

    /// The next access record.
    pub fn pop_log(&mut self) -> Option<AccessRecord> {
        self.log.pop()
    }

    /// Counters of this proxy as a whole.
    #[must_use]
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }
}

/// What several parts need.
impl Proxy {
    /// Decodes what client connections have waiting, within the call's budget.
    fn run_ready(&mut self) {
        while self.budget > 0 {
            let Some(conn) = self.ready.pop_front() else { break };
            self.take_turn(conn);
        }
    }

    fn take_turn(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.status.queued = false;
        if session.codec.is_multiplexed() {
            self.run_multiplexed(conn);
        } else {
            self.run_downstream(conn);
        }
    }

    /// Its turn is over, and it has more: in the next heartbeat.
    #[cold]
    pub(crate) fn interrupt(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(conn)
            && !session.status.queued
        {
            session.status.queued = true;
            self.interrupted.push_back(conn);
        }
    }

    /// Puts a client connection on the list of those to decode.
    #[inline]
    pub(crate) fn make_ready(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(conn)
            && !session.status.queued
        {
            session.status.queued = true;
            self.ready.push_back(conn);
        }
    }

    #[inline]
    pub(crate) fn listener(&self, id: ListenerId) -> Option<&ListenerState> {
        self.listeners.get(id.index())?.as_ref()
    }

    /// The compiled listener of the current snapshot.
    #[inline]
    pub(crate) fn compiled_listener(&self, id: ListenerId) -> Option<&CompiledListener> {
        self.pins.current()?.listener(id)
    }

    /// Hands the session's output to the stack.
    #[inline]
    pub(crate) fn flush(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(unsent) = session.codec.unsent() else { return };
        let bytes = std::mem::take(unsent);
        let count = bytes.len() as u64;
        match &session.role {
            Role::Downstream(downstream) => {
                let listener = downstream.listener;
                if let Some(listener) = self.listener(listener) {
                    listener.counters.downstream_cx_tx_bytes_total.add(count);
                }
            }
            Role::Upstream(upstream) => {
                if let Some(cluster) = self.pools.cluster(upstream.cluster) {
                    cluster.counters.upstream_cx_tx_bytes_total.add(count);
                }
            }
            Role::Vacant => {}
        }
        self.wires.write(conn, bytes);
    }

    fn sync_listeners(&mut self) {
        let Some(snapshot) = self.pins.current() else { return };
        for compiled in snapshot.listeners() {
            let index = compiled.listener.id.index();
            if self.listeners.len() <= index {
                self.listeners.resize_with(index + 1, || None);
            }
            let limits = match &compiled.listener.protocol {
                Protocol::Http(http) => HeadLimits {
                    request_line: http.max_request_line,
                    header_bytes: http.max_header_bytes,
                    headers: http.max_headers,
                },
                Protocol::Tcp { .. } | Protocol::Udp { .. } => HeadLimits::default(),
            };
            if let Some(sessions) = &compiled.sessions {
                self.udp.sync(compiled.listener.id, sessions);
            }
            self.listeners[index] = Some(ListenerState {
                counters: of_worker(&compiled.counters, self.worker),
                limits,
                idle_timeout: compiled.listener.idle_timeout,
                header_timeout: compiled.listener.http().and_then(|http| http.header_timeout),
                http: compiled.listener.http().is_some(),
                life: compiled.listener.http().map(|http| http.life).unwrap_or_default(),
                http2: compiled
                    .listener
                    .http()
                    .map(|it| Http2Plan::new(&it.http2).for_clients(it.allow_connect))
                    .unwrap_or_default(),
            });
        }
    }

    fn poll_queues(&mut self) {
        let mut index = 0;
        while let Some(cluster) = self.pools.waiting_at(index) {
            self.serve_queue(cluster);
            index += 1;
        }
        let again = self.pools.has_waiting();
        self.poll_at = if again { self.wires.now + PENDING_POLL } else { Instant::NEVER };
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("worker", &self.worker)
            .field("connections", &self.connections())
            .field("active", &self.active())
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}
