//! Finding a connection for a request, and the life of connections to endpoints.

use std::net::SocketAddrV4;

use sluice_base::{ClusterId, ConnId, EndpointId, Instant};
use sluice_l7_core::{Codec, Role as CodecRole, StreamId};
use sluice_l7_http1::Http1;

use crate::codec::SessionCodec;
use crate::events::{CloseReason, ConnectRefused};
use crate::exchange::{self, ExchangeKey, Kind, State};
use crate::limits::PENDING_POLL;
use crate::pool::Attempt;
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::retry::Failure;
use crate::sessions::{Links, NO_SESSION, Role, Upstream};
use crate::verbs::Verb;

/// From a routed request to a connection.
impl Proxy {
    /// Sends the request to an endpoint: on an idle connection unless `fresh`, else on a new one,
    /// else it waits.
    pub(crate) fn dispatch(&mut self, key: ExchangeKey, fresh: bool) {
        let Some((cluster, endpoint, address)) = self.pick(key) else { return };
        let http = self.exchanges.get(key).is_some_and(|exchange| exchange.kind == Kind::Http);
        if http && !fresh {
            let idle = self.pools.idle_at(endpoint);
            if let Some(conn) = self.take_idle(idle) {
                self.send_request(key, conn);
                return;
            }
        }
        let Some(state) = self.pools.cluster_mut(cluster) else { return };
        if state.connections.try_take() {
            if self.draw_pending(key, cluster) {
                self.connect(key, cluster, endpoint, address);
            } else {
                self.give_connection_back(cluster);
            }
            return;
        }
        state.counters.upstream_cx_overflow.increment();
        if http && let Some(conn) = self.take_idle(self.pools.idle_of(cluster)) {
            // Another endpoint than the balancer's choice, but one that can answer now.
            self.send_request(key, conn);
            return;
        }
        if !self.draw_pending(key, cluster) {
            return;
        }
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.state = State::Queued;
        }
        self.pools.enqueue(cluster, key, &mut self.exchanges);
        self.poll_at = self.poll_at.min(self.wires.now + PENDING_POLL);
    }

    /// The endpoint to try; None: the request has been answered.
    fn pick(&mut self, key: ExchangeKey) -> Option<(ClusterId, EndpointId, SocketAddrV4)> {
        let exchange = self.exchanges.get(key)?;
        let snapshot = exchange.pin.as_ref().and_then(|pin| self.pins.get(pin));
        let cluster = exchange.cluster();
        let Some(compiled) = cluster.and_then(|id| snapshot?.cluster(id)) else {
            self.reply(key, Reply::NO_CLUSTER);
            return None;
        };
        let cluster = compiled.id;
        let idle_to_check = self.pools.sync(cluster, compiled);
        let tried = exchange.tried.as_slice();
        let picked = compiled.endpoints.pick(&mut self.load, &mut self.rng, tried);
        let picked = picked.map(|endpoint| (cluster, endpoint.id, endpoint.address));
        if idle_to_check {
            self.close_unkept(cluster);
        }
        if picked.is_none() {
            if let Some(state) = self.pools.cluster(cluster) {
                state.counters.upstream_cx_none_healthy.increment();
            }
            self.reply(key, Reply::NO_HEALTHY_UPSTREAM);
        }
        picked
    }

    /// A permit to wait; without one the request has been answered.
    fn draw_pending(&mut self, key: ExchangeKey, cluster: ClusterId) -> bool {
        let Some(state) = self.pools.cluster_mut(cluster) else { return false };
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        if exchange.pending_permit {
            return true;
        }
        if !state.pending.try_take() {
            state.counters.upstream_rq_pending_overflow.increment();
            self.reply(key, Reply::OVERFLOW);
            return false;
        }
        state.counters.upstream_rq_pending_total.increment();
        state.counters.upstream_rq_pending_active.increment();
        exchange.pending_permit = true;
        true
    }

    /// The request waits no more.
    pub(crate) fn give_pending_back(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        if !std::mem::take(&mut exchange.pending_permit) {
            return;
        }
        if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster_mut(id)) {
            state.pending.give_back();
            state.counters.upstream_rq_pending_active.subtract(1);
        }
    }

    /// Takes an idle connection, by session index.
    #[inline]
    fn take_idle(&mut self, index: u32) -> Option<ConnId> {
        if index == NO_SESSION {
            return None;
        }
        let conn = self.sessions.at(index)?;
        self.pools.unpark(conn, &mut self.sessions);
        Some(conn)
    }

    /// Asks for a new connection; the caller holds a connection permit for it.
    fn connect(
        &mut self,
        key: ExchangeKey,
        cluster: ClusterId,
        endpoint: EndpointId,
        remote: SocketAddrV4,
    ) {
        let made_with = self.pools.cluster(cluster).map_or(0, |state| state.made_with);
        let attempt = Attempt { exchange: Some(key), cluster, endpoint, remote, made_with };
        let Ok(attempt) = self.pools.attempts.insert(attempt) else {
            self.give_connection_back(cluster);
            self.fail_upstream(key, Failure::Connect);
            return;
        };
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_cx_total.increment();
            state.counters.upstream_cx_active.increment();
        }
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.state = State::Connecting(attempt.index);
            exchange.endpoint = Some(endpoint);
            exchange.remote = Some(remote);
            exchange.tried.push(endpoint);
        }
        let token = attempt.index;
        self.wires.verbs.push_back(Verb::Connect { token, remote, cluster });
    }

    /// The stack has a slot for the connection.
    pub(crate) fn attempt_has_id(&mut self, token: u32, conn: ConnId) {
        let attempt = self.pools.attempt_key(token).and_then(|key| self.pools.attempts.remove(key));
        let Some(attempt) = attempt else {
            self.counters.stale_event.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            return;
        };
        if let Some(old) = self.sessions.at(conn.index) {
            self.handle_closed(old, CloseReason::Aborted);
        }
        let role = Role::Upstream(Upstream {
            cluster: attempt.cluster,
            endpoint: attempt.endpoint,
            remote: attempt.remote,
            made_with: attempt.made_with,
            used: false,
            endpoint_links: Links::NONE,
            cluster_links: Links::NONE,
        });
        if !self.sessions.insert(conn, role, SessionCodec::Opaque) {
            self.counters.session_table_full.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            self.connection_ended(attempt.cluster);
            if let Some(key) = attempt.exchange {
                self.fail_upstream(key, Failure::Connect);
            }
            return;
        }
        // Whoever gave up meanwhile is gone from the table; the connection goes on to the pool.
        let waits = attempt.exchange.filter(|&key| self.exchanges.get(key).is_some());
        if let Some(session) = self.sessions.get_mut(conn) {
            session.exchange = waits;
        }
        let timeout = self.pools.cluster(attempt.cluster).map(|state| state.connect_timeout);
        self.session_timers.set(conn.index, self.after(timeout));
    }

    /// The stack did not even try.
    pub(crate) fn attempt_refused(&mut self, token: u32, _reason: ConnectRefused) {
        let attempt = self.pools.attempt_key(token).and_then(|key| self.pools.attempts.remove(key));
        let Some(attempt) = attempt else {
            self.counters.stale_event.increment();
            return;
        };
        if let Some(state) = self.pools.cluster(attempt.cluster) {
            state.counters.upstream_cx_connect_fail.increment();
        }
        self.connection_ended(attempt.cluster);
        if let Some(key) = attempt.exchange {
            self.fail_upstream(key, Failure::Connect);
        }
    }

    /// The handshake is done.
    pub(crate) fn handle_connected(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        let Some(upstream) = session.upstream().copied() else { return };
        if std::mem::replace(&mut session.status.connected, true) || session.status.lingering {
            self.counters.stale_event.increment();
            return;
        }
        let waits = session.exchange.take();
        self.session_timers.set(conn.index, Instant::NEVER);
        let kind = waits.and_then(|key| self.exchanges.get(key)).map(|exchange| exchange.kind);
        match (waits, kind) {
            (Some(key), Some(Kind::Tcp)) => self.relay_connected(key, conn),
            (waits, _) => {
                if let Some(session) = self.sessions.get_mut(conn) {
                    session.codec = SessionCodec::Http1(Http1::new(CodecRole::Client));
                }
                if let Some(state) = self.pools.cluster(upstream.cluster) {
                    state.counters.upstream_cx_http1_total.increment();
                }
                match waits {
                    Some(key) => self.send_request(key, conn),
                    None => self.offer(conn),
                }
            }
        }
    }

    /// Writes the request, as far as it is here, to a connection that is up and free.
    fn send_request(&mut self, key: ExchangeKey, conn: ConnId) {
        let now = self.wires.now;
        self.give_pending_back(key);
        let Some(exchange) = self.exchanges.get_mut(key) else {
            self.offer(conn);
            return;
        };
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(upstream) = session.upstream().copied() else { return };
        let Some(stream) = session.codec.open_stream() else {
            // It could not carry another request after all.
            exchange.state = State::Local;
            self.close_upstream(conn);
            self.dispatch(key, true);
            return;
        };
        session.exchange = Some(key);
        exchange.upstream = Some(exchange::Upstream { conn, stream });
        exchange.state = State::Sent;
        exchange.sent_at = now;
        exchange.last_activity = now;
        if exchange.endpoint != Some(upstream.endpoint) || exchange.tried.as_slice().is_empty() {
            exchange.endpoint = Some(upstream.endpoint);
            exchange.remote = Some(upstream.remote);
            exchange.tried.push(upstream.endpoint);
        }
        self.load.begin(upstream.endpoint);
        if let Some(state) = self.pools.cluster(upstream.cluster) {
            state.counters.upstream_rq_total.increment();
            state.counters.upstream_rq_active.increment();
        }
        let Some(head) = &exchange.head else { return };
        let mut written = session.encode_head(stream, head, exchange.body, &mut self.wires);
        if written.is_ok() && !exchange.replay.is_empty() {
            let len = exchange.replay.len();
            let mut again = exchange.replay.clone_range(0, len);
            written = session.encode_body(stream, &mut again, &mut self.wires).map(drop);
        }
        if written.is_ok() && exchange.request_ended {
            exchange.request_forwarded = true;
            if !exchange.body.is_none() {
                written = session.encode_end(stream, None, &mut self.wires);
            }
        }
        let (more, downstream) = (!exchange.request_ended, exchange.downstream);
        exchange.invariants();
        if written.is_err() {
            self.fail_local(key);
            return;
        }
        self.flush(conn);
        if more {
            self.make_ready(downstream);
        }
    }

    /// Connections became free or permits came back: serves who has waited longest.
    pub(crate) fn serve_queue(&mut self, cluster: ClusterId) {
        while let Some(key) = self.pools.first_waiting(cluster) {
            let idle = self.pools.idle_of(cluster) != NO_SESSION;
            let Some(state) = self.pools.cluster_mut(cluster) else { return };
            if state.connections.try_take() {
                state.connections.give_back();
            } else if !idle {
                return;
            }
            self.pools.dequeue(cluster, key, &mut self.exchanges);
            if let Some(exchange) = self.exchanges.get_mut(key) {
                exchange.state = State::Local;
            }
            self.dispatch(key, false);
            if self.exchanges.get(key).is_some_and(|exchange| exchange.state == State::Queued) {
                // Another worker was faster; time brings us back.
                return;
            }
        }
    }
}

/// What becomes of a connection.
impl Proxy {
    /// The connection is up and carries nothing: to who waits, or to the pool.
    fn offer(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.exchange = None;
        let Some(upstream) = session.upstream().copied() else { return };
        let usable = session.codec.is_reusable()
            && !session.codec.must_close()
            && !session.status.peer_closed
            && session.input.is_empty();
        let Upstream { cluster, endpoint, made_with, .. } = upstream;
        if !usable || !self.pools.keeps(cluster, endpoint, made_with) {
            self.close_upstream(conn);
            return;
        }
        let idle_timeout = self.pools.cluster(cluster).and_then(|state| state.idle_timeout);
        self.session_timers.set(conn.index, self.after(idle_timeout));
        self.pools.park(conn, &mut self.sessions);
        self.serve_queue(cluster);
    }

    /// The exchange lets go of its connection; `reusable`: both messages are complete.
    pub(crate) fn release_upstream(&mut self, key: ExchangeKey, reusable: bool) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(upstream) = exchange.upstream.take() else { return };
        let relay = exchange.state == State::Relaying;
        exchange.state = State::Local;
        let conn = upstream.conn;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.exchange = None;
        let owed = std::mem::take(&mut session.owed) as usize;
        let Some(part) = session.upstream().copied() else { return };
        self.load.end(part.endpoint);
        if let Some(state) = self.pools.cluster(part.cluster) {
            state.counters.upstream_rq_active.subtract(1);
            if !reusable {
                state.counters.upstream_cx_destroy_with_active_rq.increment();
            }
        }
        if !reusable {
            self.abort_upstream(conn);
            return;
        }
        if relay {
            self.wires.credit(conn, owed);
            self.close_upstream(conn);
            return;
        }
        if owed > 0 {
            session.credit_body(StreamId::CONNECTION, owed, &mut self.wires);
        }
        self.settle_credit(conn);
        self.flush(conn);
        self.offer(conn);
    }

    /// Closes a connection that carries nothing: FIN, then it lingers.
    pub(crate) fn close_upstream(&mut self, conn: ConnId) {
        self.pools.unpark(conn, &mut self.sessions);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        debug_assert!(session.exchange.is_none(), "an exchange ends before its connection");
        let Some(upstream) = session.upstream().copied() else { return };
        let by_peer = session.status.peer_closed;
        self.flush(conn);
        self.linger(conn);
        self.count_destroyed(upstream.cluster, by_peer);
        self.connection_ended(upstream.cluster);
    }

    /// Resets a connection.
    pub(crate) fn abort_upstream(&mut self, conn: ConnId) {
        self.pools.unpark(conn, &mut self.sessions);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.exchange = None;
        let Some(upstream) = session.upstream().copied() else { return };
        self.wires.verbs.push_back(Verb::Abort { conn });
        self.forget(conn);
        self.count_destroyed(upstream.cluster, false);
        self.connection_ended(upstream.cluster);
    }

    fn count_destroyed(&mut self, cluster: ClusterId, by_peer: bool) {
        if let Some(state) = self.pools.cluster(cluster) {
            if by_peer {
                state.counters.upstream_cx_destroy_remote.increment();
            } else {
                state.counters.upstream_cx_destroy_local.increment();
            }
        }
    }

    /// The stack says that the connection is gone.
    pub(crate) fn upstream_gone(&mut self, conn: ConnId, connected: bool, _reason: CloseReason) {
        self.pools.unpark(conn, &mut self.sessions);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(upstream) = session.upstream().copied() else { return };
        let waits = session.exchange.take();
        let (cluster, used) = (upstream.cluster, upstream.used);
        self.forget(conn);
        if let Some(state) = self.pools.cluster(cluster) {
            if connected {
                state.counters.upstream_cx_destroy_remote.increment();
                if waits.is_some() {
                    state.counters.upstream_cx_destroy_with_active_rq.increment();
                }
            } else {
                state.counters.upstream_cx_connect_fail.increment();
            }
        }
        if let Some(key) = waits {
            let failure = match (connected, used) {
                (false, _) => Failure::Connect,
                (true, reused) => Failure::Reset { reused },
            };
            self.detach_dead(key, upstream.endpoint);
            self.connection_ended(cluster);
            self.fail_upstream(key, failure);
        } else {
            self.connection_ended(cluster);
        }
    }

    /// The exchange's connection is gone already: only the books are left to correct.
    fn detach_dead(&mut self, key: ExchangeKey, endpoint: EndpointId) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        if exchange.upstream.take().is_none() {
            return;
        }
        exchange.state = State::Local;
        let cluster = exchange.cluster();
        self.load.end(endpoint);
        if let Some(state) = cluster.and_then(|id| self.pools.cluster(id)) {
            state.counters.upstream_rq_active.subtract(1);
        }
    }

    /// A connection no longer counts; somebody may be waiting for its permit.
    fn connection_ended(&mut self, cluster: ClusterId) {
        self.give_connection_back(cluster);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_cx_active.subtract(1);
        }
        self.serve_queue(cluster);
    }

    fn give_connection_back(&mut self, cluster: ClusterId) {
        if let Some(state) = self.pools.cluster_mut(cluster) {
            state.connections.give_back();
        }
    }

    /// It took too long to connect.
    pub(crate) fn connect_timeout(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let waits = session.exchange.take();
        let cluster = session.upstream().map(|upstream| upstream.cluster);
        if let Some(state) = cluster.and_then(|id| self.pools.cluster(id)) {
            state.counters.upstream_cx_connect_timeout.increment();
            state.counters.upstream_cx_connect_fail.increment();
        }
        self.abort_upstream(conn);
        if let Some(key) = waits {
            self.fail_upstream(key, Failure::Connect);
        }
    }

    /// The endpoint sends no more.
    pub(crate) fn upstream_peer_closed(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.exchange.is_none() {
            self.close_upstream(conn);
            return;
        }
        self.run_upstream(conn);
    }

    /// Closes idle connections of a cluster that its newest version does not keep.
    pub(crate) fn close_unkept(&mut self, cluster: ClusterId) {
        let mut index = self.pools.idle_of(cluster);
        while index != NO_SESSION {
            let Some(conn) = self.sessions.at(index) else { return };
            let Some(upstream) = self.sessions.get(conn).and_then(|s| s.upstream()).copied() else {
                return;
            };
            index = upstream.cluster_links.next;
            if !self.pools.keeps(cluster, upstream.endpoint, upstream.made_with) {
                self.close_upstream(conn);
            }
        }
    }
}
