//! Opaque bytes between two connections: tcp listeners, and HTTP connections after an upgrade.
//!
//! ```text
//!   client == Data ==> --Write--> endpoint        FIN of one side: Close on the other,
//!   client <--Write-- <== Data == endpoint        after its last byte; the way back stays.
//! ```
//!
//! Nothing is buffered here: what one side sent goes to the other side's send queue at once, as the
//! slices it arrived in, and is credited to its sender only while the other side has send room. So
//! a slow reader closes the writer's advertised window, and what a pair holds is bounded by the two
//! windows and send queues.
//!
//! A relay is no more than two sessions that know each other; what else there is to know ([`Relay`])
//! lies in the client's. It begins as an exchange, which finds it an endpoint and is over with the
//! handshake; only one that was a request keeps its own to the end, for the log.

use sluice_base::{ConnId, Instant, ListenerId, SlabKey};
use sluice_buf::Chain;
use sluice_l7_core::StreamId;

use crate::codec::SessionCodec;
use crate::exchange::{Ended, ExchangeKey, Kind, State};
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::sessions::{Role, Upstream};
use crate::verbs::Verb;

/// What is known of a relay, beside its two sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay {
    /// The request that it was, or the name of nothing.
    exchange: SlabKey,
    pub(crate) started: Instant,
    last_activity: Instant,
    /// Bytes from the client.
    pub(crate) request_bytes: u64,
    /// Bytes to the client.
    pub(crate) response_bytes: u64,
}

impl Relay {
    /// Of a client's connection that is no side of one.
    pub(crate) const NONE: Self = Self {
        exchange: SlabKey::NONE,
        started: Instant::ZERO,
        last_activity: Instant::ZERO,
        request_bytes: 0,
        response_bytes: 0,
    };
}

/// What was a relay until now.
struct Parted {
    client: ConnId,
    listener: ListenerId,
    endpoint: ConnId,
    upstream: Upstream,
    relay: Relay,
}

/// How a relay comes to be.
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
            session.set_exchange(Some(key));
        }
        if plan.is_none() {
            self.abort_downstream(conn, ResponseFlags::NO_ROUTE);
            return;
        }
        self.dispatch(key, true);
    }

    /// The endpoint's side of a relay is up: the exchange that found it is over.
    pub(crate) fn relay_connected(&mut self, key: ExchangeKey, endpoint: ConnId) {
        self.give_pending_back(key);
        let Some(exchange) = self.exchanges.get_mut(key) else {
            self.close_upstream(endpoint);
            return;
        };
        let (client, started) = (exchange.downstream, exchange.started);
        let early = std::mem::take(&mut exchange.replay);
        self.exchange_timers.clear(key.index);
        if let Some(Ended { pin: Some(pin), .. }) = self.exchanges.end(key) {
            self.pins.unpin(pin);
        }
        self.relays += 1;
        let linked = self.link(client, endpoint, Relay { started, ..Relay::NONE });
        debug_assert!(linked, "a client's exchange ends before its connection");
        let upstream = self.sessions.get(endpoint).and_then(|session| session.upstream()).copied();
        if let Some(Upstream { cluster, endpoint, .. }) = upstream {
            self.load.begin(endpoint);
            if let Some(state) = self.pools.cluster(cluster) {
                state.counters.upstream_rq_total.increment();
                state.counters.upstream_rq_active.increment();
            }
        }
        self.relay_pass(client, endpoint, early);
        self.relay_end_of_input(client);
    }

    /// A 101, or a 2xx to CONNECT, went to the client: HTTP is over on both connections.
    pub(crate) fn upgrade(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(upstream) = exchange.upstream else { return };
        exchange.state = State::Relaying;
        let (client, endpoint) = (exchange.downstream, upstream.conn);
        let listener = exchange.plan.listener;
        let relay = Relay {
            exchange: key,
            started: exchange.started,
            request_bytes: exchange.request_bytes,
            response_bytes: exchange.response_bytes,
            ..Relay::NONE
        };
        self.exchange_timers.clear(key.index);
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_cx_upgrades_total.increment();
        }
        let unread = [client, endpoint].map(|conn| {
            self.settle_credit(conn);
            self.flush(conn);
            let Some(session) = self.sessions.get_mut(conn) else { return Chain::new() };
            let unread = session.codec.take_input();
            session.owed += unread.len() as u32;
            let codec = std::mem::replace(&mut session.codec, SessionCodec::Opaque);
            self.sessions.put_codec(codec);
            unread
        });
        if !self.link(client, endpoint, relay) {
            return;
        }
        let [from_client, from_endpoint] = unread;
        self.relay_pass(client, endpoint, from_client);
        self.relay_pass(endpoint, client, from_endpoint);
        self.relay_end_of_input(client);
        self.relay_end_of_input(endpoint);
    }

    /// Makes both connections the sides of a relay.
    fn link(&mut self, client: ConnId, endpoint: ConnId, relay: Relay) -> bool {
        let now = self.wires.now;
        let Some((one, other)) = self.sessions.pair(client, endpoint) else { return false };
        let Role::Downstream(downstream) = &mut one.role else { return false };
        downstream.relay = Relay { last_activity: now, ..relay };
        one.relay_to(endpoint);
        other.relay_to(client);
        let timeout = self.relay_idle_timeout(client);
        self.session_timers.set(client.index, self.after(timeout));
        true
    }
}

/// What goes through.
impl Proxy {
    /// Bytes of one side.
    #[inline]
    pub(crate) fn relay_data(&mut self, from: ConnId, bytes: Chain) {
        let Some(session) = self.sessions.get_mut(from) else { return };
        session.owed += bytes.len() as u32;
        match session.partner() {
            Some(to) => self.relay_pass(from, to, bytes),
            None => self.relay_early(from, bytes),
        }
    }

    /// Passes on what one side sent.
    #[inline]
    fn relay_pass(&mut self, from: ConnId, to: ConnId, bytes: Chain) {
        let count = bytes.len() as u64;
        let now = self.wires.now;
        let Some((one, other)) = self.sessions.pair(from, to).filter(|_| count > 0) else { return };
        match (&mut one.role, &mut other.role) {
            (Role::Downstream(client), Role::Upstream(upstream)) => {
                client.relay.request_bytes += count;
                client.relay.last_activity = now;
                let (listener, cluster) = (client.listener, upstream.cluster);
                if let Some(listener) = self.listener(listener) {
                    listener.counters.downstream_cx_rx_bytes_total.add(count);
                }
                if let Some(cluster) = self.pools.cluster(cluster) {
                    cluster.counters.upstream_cx_tx_bytes_total.add(count);
                }
            }
            (Role::Upstream(upstream), Role::Downstream(client)) => {
                client.relay.response_bytes += count;
                client.relay.last_activity = now;
                let (listener, cluster) = (client.listener, upstream.cluster);
                if let Some(cluster) = self.pools.cluster(cluster) {
                    cluster.counters.upstream_cx_rx_bytes_total.add(count);
                }
                if let Some(listener) = self.listener(listener) {
                    listener.counters.downstream_cx_tx_bytes_total.add(count);
                }
            }
            _ => {}
        }
        self.wires.write(to, bytes);
    }

    /// The endpoint's side is not up yet: the bytes wait, charged, so the client's window closes.
    #[cold]
    fn relay_early(&mut self, from: ConnId, mut bytes: Chain) {
        let now = self.wires.now;
        let Some(key) = self.exchange_of(from) else { return };
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        exchange.last_activity = now;
        exchange.replay.append(&mut bytes);
    }

    /// `to` has room: its partner gets its bytes back.
    #[inline]
    pub(crate) fn relay_has_room(&mut self, partner: ConnId) {
        if let Some(owed) = self.relay_owes(partner) {
            self.wires.credit(partner, owed);
        }
    }

    /// The bytes of a side that the other has taken meanwhile, if any: its window may open by them.
    #[inline]
    pub(crate) fn relay_owes(&mut self, partner: ConnId) -> Option<usize> {
        let owed = std::mem::take(&mut self.sessions.get_mut(partner)?.owed) as usize;
        (owed > 0).then_some(owed)
    }

    /// Something moved on either side: the idle time starts again.
    pub(crate) fn touch_relay(&mut self, one: ConnId, other: ConnId) {
        let now = self.wires.now;
        for conn in [one, other] {
            if let Some(session) = self.sessions.get_mut(conn)
                && let Role::Downstream(downstream) = &mut session.role
            {
                downstream.relay.last_activity = now;
            }
        }
    }

    /// If `from` sends no more, neither do we, to the other side. With both directions at their end
    /// the relay is over.
    pub(crate) fn relay_end_of_input(&mut self, from: ConnId) {
        let Some(session) = self.sessions.get(from).filter(|it| it.status.peer_closed) else {
            return;
        };
        // Without a partner the end waits for the endpoint, as the bytes before it do.
        let Some(to) = session.partner() else { return };
        let (from_closed, is_client) = (session.status.closed, session.downstream().is_some());
        self.touch_relay(from, to);
        let Some(session) = self.sessions.get_mut(to) else { return };
        if !std::mem::replace(&mut session.status.closed, true) {
            self.wires.verbs.push_back(Verb::Close { conn: to });
        }
        if session.status.peer_closed && from_closed {
            self.end_relay(if is_client { from } else { to }, ResponseFlags::NONE);
        }
    }
}

/// How a relay ends.
impl Proxy {
    /// Without any byte for that long it is over.
    fn relay_idle_timeout(&self, client: ConnId) -> Option<std::time::Duration> {
        let downstream = self.sessions.get(client)?.downstream()?;
        match self.exchanges.get(downstream.relay.exchange) {
            Some(exchange) => exchange.plan.idle_timeout,
            None => self.listener(downstream.listener)?.idle_timeout,
        }
    }

    /// The timer of the client's side.
    pub(crate) fn handle_relay_timer(&mut self, client: ConnId) {
        let Some(downstream) = self.sessions.get(client).and_then(|it| it.downstream()) else {
            return;
        };
        let Some(timeout) = self.relay_idle_timeout(client) else { return };
        let deadline = downstream.relay.last_activity + timeout;
        if deadline > self.wires.now {
            self.session_timers.set(client.index, deadline);
            return;
        }
        if let Some(state) = self.listener(downstream.listener) {
            state.counters.downstream_rq_idle_timeout.increment();
        }
        self.end_relay(client, ResponseFlags::STREAM_IDLE_TIMEOUT);
    }

    /// Closes both sides after what was written.
    fn end_relay(&mut self, client: ConnId, flags: ResponseFlags) {
        let Some(parted) = self.part(client) else { return };
        if let Some(state) = self.pools.cluster(parted.upstream.cluster) {
            state.counters.upstream_rq_completed.increment();
        }
        self.relay_has_room(parted.endpoint);
        self.close_upstream(parted.endpoint);
        self.finish_relay(&parted, flags);
        if let Some(state) = self.listener(parted.listener) {
            state.counters.downstream_cx_destroy_remote.increment();
        }
        self.linger(client);
    }

    /// The client's connection is given up, or gone: so is the endpoint's.
    pub(crate) fn cancel_relay(&mut self, client: ConnId, flags: ResponseFlags) {
        let Some(parted) = self.part(client) else { return };
        if let Some(state) = self.pools.cluster(parted.upstream.cluster) {
            state.counters.upstream_rq_tx_reset.increment();
            state.counters.upstream_cx_destroy_with_active_rq.increment();
        }
        if flags.contains(ResponseFlags::DOWNSTREAM_TERMINATION)
            && let Some(state) = self.listener(parted.listener)
        {
            state.counters.downstream_rq_rx_reset.increment();
        }
        self.abort_upstream(parted.endpoint);
        self.finish_relay(&parted, flags);
    }

    /// The endpoint's connection is gone: the client's is reset.
    pub(crate) fn cut_relay(&mut self, client: ConnId) {
        let Some(parted) = self.part(client) else { return };
        let cluster = parted.upstream.cluster;
        self.forget(parted.endpoint);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_cx_destroy_remote.increment();
            state.counters.upstream_cx_destroy_with_active_rq.increment();
        }
        self.connection_ended(cluster);
        if parted.relay.exchange != SlabKey::NONE
            && let Some(state) = self.listener(parted.listener)
        {
            state.counters.downstream_rq_tx_reset.increment();
        }
        let flags = Reply::UPSTREAM_RESET.flags;
        self.finish_relay(&parted, flags);
        self.abort_downstream(client, flags);
    }

    /// Takes the two sides apart; they are connections without an exchange then.
    fn part(&mut self, client: ConnId) -> Option<Parted> {
        let session = self.sessions.get_mut(client)?;
        let endpoint = session.partner()?;
        session.set_exchange(None);
        let downstream = session.downstream()?;
        let (listener, relay) = (downstream.listener, downstream.relay);
        let session = self.sessions.get_mut(endpoint)?;
        session.set_exchange(None);
        let upstream = *session.upstream()?;
        self.load.end(upstream.endpoint);
        if let Some(state) = self.pools.cluster(upstream.cluster) {
            state.counters.upstream_rq_active.subtract(1);
        }
        Some(Parted { client, listener, endpoint, upstream, relay })
    }

    /// Counts and logs.
    fn finish_relay(&mut self, parted: &Parted, flags: ResponseFlags) {
        let Parted { client, upstream, relay, .. } = parted;
        let Some(exchange) = self.exchanges.get_mut(relay.exchange) else {
            self.relays -= 1;
            self.record_relay(*client, relay, upstream, flags);
            return;
        };
        exchange.upstream = None;
        exchange.state = State::Local;
        exchange.request_bytes = relay.request_bytes;
        exchange.response_bytes = relay.response_bytes;
        self.finish(relay.exchange, flags);
    }
}
