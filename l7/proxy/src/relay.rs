//! Opaque bytes between two connections: tcp listeners, and HTTP connections after an upgrade.
//!
//! ```text
//!   client == Data ==> input --Write--> endpoint        FIN of one side: Close on the other,
//!   client <--Write-- input <== Data == endpoint        after its last byte; the way back stays.
//! ```
//!
//! Nothing is buffered here: what one side sent goes to the other side's send queue at once, as the
//! slices it arrived in, and is credited to its sender only while the other side has send room. So
//! a slow reader closes the writer's advertised window, and what a pair holds is bounded by the two
//! windows and send queues.

use sluice_base::{ConnId, ListenerId};
use sluice_l7_core::StreamId;

use crate::codec::SessionCodec;
use crate::exchange::{self, ExchangeKey, Kind, State};
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;
use crate::sessions::Role;
use crate::verbs::Verb;

impl Proxy {
    /// A client connected to a tcp listener.
    pub(crate) fn begin_relay(&mut self, conn: ConnId, listener: ListenerId) {
        let now = self.wires.now;
        let plan = self.compiled_listener(listener).map(|compiled| compiled.plan);
        let begun = self.exchanges.begin(Kind::Tcp, conn, StreamId::CONNECTION, now);
        let Some((key, exchange)) = begun else {
            self.counters.exchange_table_full.increment();
            self.abort_downstream(conn, ResponseFlags::OVERLOAD);
            return;
        };
        exchange.plan = plan.unwrap_or_default();
        if plan.is_some() {
            exchange.pin = Some(self.pins.pin());
        }
        self.exchange_timers.set(key.index, exchange.deadline());
        if let Some(session) = self.sessions.get_mut(conn) {
            session.exchange = Some(key);
        }
        if plan.is_none() {
            self.abort_downstream(conn, ResponseFlags::NO_ROUTE);
            return;
        }
        self.dispatch(key, true);
    }

    /// The endpoint's side of a relay is up.
    pub(crate) fn relay_connected(&mut self, key: ExchangeKey, conn: ConnId) {
        self.give_pending_back(key);
        let now = self.wires.now;
        let Some(exchange) = self.exchanges.get_mut(key) else {
            self.close_upstream(conn);
            return;
        };
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.exchange = Some(key);
        let Some(upstream) = session.upstream().copied() else { return };
        exchange.upstream = Some(exchange::Upstream { conn, stream: StreamId::CONNECTION });
        exchange.state = State::Relaying;
        exchange.last_activity = now;
        exchange.sent_at = now;
        let downstream = exchange.downstream;
        if let Some(pin) = exchange.pin.take() {
            self.pins.unpin(pin);
        }
        self.load.begin(upstream.endpoint);
        if let Some(state) = self.pools.cluster(upstream.cluster) {
            state.counters.upstream_rq_total.increment();
            state.counters.upstream_rq_active.increment();
        }
        self.relay_forward(downstream);
    }

    /// A 101, or a 2xx to CONNECT, went to the client: HTTP is over on both connections.
    pub(crate) fn upgrade(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(upstream) = exchange.upstream else { return };
        exchange.state = State::Relaying;
        exchange.route_deadline = sluice_base::Instant::NEVER;
        let (client, endpoint) = (exchange.downstream, upstream.conn);
        let listener = exchange.plan.listener;
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_cx_upgrades_total.increment();
        }
        for conn in [client, endpoint] {
            self.settle_credit(conn);
            self.flush(conn);
            if let Some(session) = self.sessions.get_mut(conn) {
                let codec = std::mem::replace(&mut session.codec, SessionCodec::Opaque);
                self.sessions.put_codec(codec);
            }
        }
        self.relay_forward(client);
        self.relay_forward(endpoint);
    }

    /// Passes on what one side sent, and its end.
    pub(crate) fn relay_forward(&mut self, from: ConnId) {
        let now = self.wires.now;
        let Some(session) = self.sessions.get_mut(from) else { return };
        let Some(key) = session.exchange else { return };
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        exchange.last_activity = now;
        let Some(upstream) = exchange.upstream.filter(|_| exchange.state == State::Relaying) else {
            // Not connected yet: the bytes wait, charged, so the client's window closes.
            return;
        };
        let bytes = std::mem::take(&mut session.input);
        let count = bytes.len();
        session.owed += count as u32;
        let closed = session.status.peer_closed;
        let to = if upstream.conn == from {
            exchange.response_bytes += count as u64;
            exchange.downstream
        } else {
            exchange.request_bytes += count as u64;
            upstream.conn
        };
        if let Some(session) = self.sessions.get_mut(to) {
            let mut bytes = bytes;
            session.output.append(&mut bytes);
        }
        self.flush(to);
        if closed {
            self.relay_half_close(key, from, to);
        }
    }

    /// `from` sends no more: neither do we, to the other side. With both directions at their end
    /// the relay is over.
    fn relay_half_close(&mut self, key: ExchangeKey, from: ConnId, to: ConnId) {
        let Some(session) = self.sessions.get_mut(to) else { return };
        if !std::mem::replace(&mut session.status.closed, true) {
            self.wires.verbs.push_back(Verb::Close { conn: to });
        }
        if !session.status.peer_closed {
            return;
        }
        if !self.sessions.get(from).is_some_and(|session| session.status.closed) {
            return;
        }
        self.end_relay(key, ResponseFlags::NONE);
    }

    /// Closes both sides after what was written.
    pub(crate) fn end_relay(&mut self, key: ExchangeKey, flags: ResponseFlags) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        let client = exchange.downstream;
        let cluster = exchange.cluster();
        if let Some(state) = cluster.and_then(|id| self.pools.cluster(id)) {
            state.counters.upstream_rq_completed.increment();
        }
        self.release_upstream(key, true);
        self.finish(key, flags);
        if let Some(session) = self.sessions.get(client)
            && let Role::Downstream(downstream) = &session.role
            && let Some(state) = self.listener(downstream.listener)
        {
            state.counters.downstream_cx_destroy_remote.increment();
        }
        self.linger(client);
    }
}
