//! The life of connections to endpoints: asked for, up, idle, gone.

use sluice_base::{ClusterId, ConnId, EndpointId, Instant};
use sluice_l7_core::{ResetReason, Role as CodecRole, StreamId};

use crate::codec::SessionCodec;
use crate::events::{CloseReason, ConnectRefused};
use crate::exchange::{ExchangeKey, Kind, State};
use crate::pool::Parked;
use crate::proxy::Proxy;
use crate::retry::Failure;
use crate::sessions::{Links, NO_SESSION, Role, Upstream};
use crate::verbs::Verb;

impl Proxy {
    /// The stack has a slot for the connection.
    pub(crate) fn attempt_has_id(&mut self, token: u32, conn: ConnId) {
        let attempt = self.pools.attempt_key(token).and_then(|key| self.pools.attempts.remove(key));
        let Some(attempt) = attempt else {
            self.counters.stale_event.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            return;
        };
        self.named.note(attempt.named);
        if let Some(old) = self.sessions.at(conn.index) {
            self.handle_closed(old, CloseReason::Aborted);
        }
        let role = Role::Upstream(Upstream {
            cluster: attempt.cluster,
            endpoint: attempt.endpoint,
            remote: attempt.remote.into(),
            made_with: attempt.made_with,
            http2: attempt.http2,
            named: attempt.named,
            used: false,
            endpoint_links: Links::NONE,
            cluster_links: Links::NONE,
        });
        if !self.sessions.insert(conn, role, SessionCodec::Opaque) {
            self.counters.session_table_full.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            self.attempt_over(attempt.endpoint, attempt.http2);
            let disappointed = self.take_disappointed(attempt.cluster, attempt.endpoint);
            self.connection_ended(attempt.cluster);
            if let Some(key) = attempt.exchange {
                self.fail_upstream(key, Failure::Connect);
            }
            self.disappoint(disappointed);
            return;
        }
        // Whoever gave up meanwhile is gone from the table; the connection goes on to the pool.
        let waits = attempt.exchange.filter(|&key| self.exchanges.get(key).is_some());
        if let Some(session) = self.sessions.get_mut(conn) {
            session.set_exchange(waits);
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
        self.attempt_over(attempt.endpoint, attempt.http2);
        let disappointed = self.take_disappointed(attempt.cluster, attempt.endpoint);
        self.connection_ended(attempt.cluster);
        if let Some(key) = attempt.exchange {
            self.fail_upstream(key, Failure::Connect);
        }
        self.disappoint(disappointed);
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
        let waits = session.take_exchange();
        self.session_timers.set(conn.index, Instant::NEVER);
        if upstream.http2 {
            return self.multiplexed_connected(conn, waits);
        }
        let kind = waits.and_then(|key| self.exchanges.get(key)).map(|exchange| exchange.kind);
        match (waits, kind) {
            (Some(key), Some(Kind::Tcp)) => self.relay_connected(key, conn),
            (Some(key), Some(Kind::Connect)) => self.tunnel_connected(key, conn),
            (waits, _) => {
                let mut codec = self.sessions.http1(CodecRole::Client);
                let lasts =
                    self.pools.cluster(upstream.cluster).and_then(|it| it.life.max_duration);
                codec.set_end(self.after(lasts));
                if let Some(session) = self.sessions.get_mut(conn) {
                    session.codec = codec;
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

    /// A connection of HTTP/2 is up, or will never be.
    fn attempt_over(&mut self, endpoint: EndpointId, http2: bool) {
        if http2 {
            self.pools.count_connecting(endpoint, false);
        }
    }

    /// HTTP/2 begins on a connection to an endpoint.
    fn multiplexed_connected(&mut self, conn: ConnId, waits: Option<ExchangeKey>) {
        let upstream = self.sessions.get(conn).and_then(|session| session.upstream());
        let Some(&Upstream { cluster, endpoint, .. }) = upstream else { return };
        let plan = self.pools.cluster(cluster).map(|state| state.http2).unwrap_or_default();
        let codec = self.sessions.http2(CodecRole::Client, &plan, self.wires.now);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.codec = codec;
        self.attempt_over(endpoint, true);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_cx_http2_total.increment();
        }
        if let Some(key) = waits {
            self.send_request(key, conn);
        }
        self.stream_free(conn);
    }

    /// A connection that carries many exchanges has room for one more, or none at all.
    pub(crate) fn stream_free(&mut self, conn: ConnId) {
        self.touch_output(conn);
        let Some(session) = self.sessions.get(conn).filter(|it| !it.status.lingering) else {
            return;
        };
        let Some(&Upstream { cluster, endpoint, made_with, .. }) = session.upstream() else {
            return;
        };
        let Some(state) = self.pools.kept(cluster, endpoint, made_with) else {
            return self.retire_multiplexed(conn);
        };
        let waited_for = state.is_waited_for();
        let usable = session.codec.is_reusable() && !session.status.peer_closed;
        if usable && !session.status.idle {
            self.pools.park(conn, &mut self.sessions);
        }
        if usable && waited_for {
            self.serve_queue(cluster);
        }
    }

    /// No more requests on it; it closes with the last one.
    pub(crate) fn retire_multiplexed(&mut self, conn: ConnId) {
        self.pools.unpark(conn, &mut self.sessions);
        if let Some(session) = self.sessions.get_mut(conn) {
            session.drain_codec(&mut self.wires);
        }
        self.settle_multiplexed(conn);
    }

    /// The connection is up and carries nothing: to who waits, or to the pool.
    pub(crate) fn offer(&mut self, conn: ConnId) {
        let Some(Parked { cluster, idle_timeout, waited_for }) =
            self.pools.take_back(conn, &mut self.sessions)
        else {
            return self.offer_any(conn);
        };
        let deadline = self.after(idle_timeout);
        self.session_timers.set(conn.index, deadline);
        if waited_for {
            self.serve_queue(cluster);
        }
    }

    /// As above, for one that ends at its time, or now.
    #[cold]
    fn offer_any(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.set_exchange(None);
        let Some(&Upstream { cluster, endpoint, made_with, .. }) = session.upstream() else {
            return;
        };
        let has_end = session.codec.has_end();
        let usable = session.codec.is_reusable()
            && !session.codec.must_close()
            && !session.status.peer_closed
            && session.codec.is_input_empty();
        if has_end && usable && session.codec.ends_at() <= self.wires.now {
            self.duration_reached(conn);
            self.close_upstream(conn);
            return;
        }
        let kept = self.pools.kept(cluster, endpoint, made_with);
        let Some(state) = kept.filter(|_| usable) else {
            self.close_upstream(conn);
            return;
        };
        let waited_for = state.is_waited_for();
        let deadline = self.after(state.idle_timeout);
        self.session_timers.set(conn.index, deadline);
        if has_end {
            self.remember_end(conn);
        }
        self.pools.park(conn, &mut self.sessions);
        if waited_for {
            self.serve_queue(cluster);
        }
    }

    /// The exchange lets go of its connection; `reusable`: both messages are complete.
    pub(crate) fn release_upstream(&mut self, key: ExchangeKey, reusable: bool) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(upstream) = exchange.upstream.take() else { return };
        exchange.state = State::Local;
        let conn = upstream.conn;
        let response_owed = std::mem::take(&mut exchange.response_owed) as usize;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.set_exchange(None);
        let owed = std::mem::take(&mut session.owed) as usize;
        let Some(&Upstream { endpoint, cluster, .. }) = session.upstream() else { return };
        self.load.end(endpoint);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_rq_active.subtract(1);
            if !reusable && !session.codec.is_multiplexed() {
                state.counters.upstream_cx_destroy_with_active_rq.increment();
            }
        }
        if session.codec.is_multiplexed() {
            if response_owed > 0 {
                session.credit_body(upstream.stream, response_owed, &mut self.wires);
            }
            if !reusable {
                session.reset_stream(upstream.stream, ResetReason::Cancelled, &mut self.wires);
            }
            return self.stream_free(conn);
        }
        if !reusable {
            self.abort_upstream(conn);
            return;
        }
        if owed > 0 {
            session.credit_body(StreamId::CONNECTION, owed, &mut self.wires);
        }
        let bytes = session.codec.take_credit();
        self.wires.credit(conn, bytes);
        if !session.codec.is_output_empty() {
            self.flush(conn);
        }
        self.offer(conn);
    }

    /// Closes a connection that carries nothing: FIN, then it lingers.
    pub(crate) fn close_upstream(&mut self, conn: ConnId) {
        self.pools.unpark(conn, &mut self.sessions);
        self.fail_awaiting(conn);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        debug_assert!(session.exchange().is_none(), "an exchange ends before its connection");
        let Some(upstream) = session.upstream().copied() else { return };
        let by_peer = session.status.peer_closed;
        session.say_goodbye(&mut self.wires);
        self.flush(conn);
        self.linger(conn);
        self.count_destroyed(upstream.cluster, by_peer);
        self.connection_ended(upstream.cluster);
    }

    /// Resets a connection.
    pub(crate) fn abort_upstream(&mut self, conn: ConnId) {
        self.pools.unpark(conn, &mut self.sessions);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.set_exchange(None);
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
        if let Some(client) = session.partner() {
            self.cut_relay(client);
            return;
        }
        let Some(upstream) = session.upstream().copied() else { return };
        if session.codec.is_multiplexed() {
            return self.multiplexed_gone(conn, &upstream);
        }
        let waits = session.take_exchange();
        let mut disappointed = Vec::new();
        if !connected {
            self.attempt_over(upstream.endpoint, upstream.http2);
            disappointed = self.take_disappointed(upstream.cluster, upstream.endpoint);
        }
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
        self.disappoint(disappointed);
    }

    /// The exchange's connection is gone already: only the books are left to correct.
    pub(crate) fn detach_dead(&mut self, key: ExchangeKey, endpoint: EndpointId) {
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
    pub(crate) fn connection_ended(&mut self, cluster: ClusterId) {
        self.give_connection_back(cluster);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_cx_active.subtract(1);
        }
        self.serve_queue(cluster);
    }

    pub(crate) fn give_connection_back(&mut self, cluster: ClusterId) {
        if let Some(state) = self.pools.cluster_mut(cluster) {
            state.connections.give_back();
        }
    }

    /// It took too long to connect.
    pub(crate) fn connect_timeout(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let waits = session.take_exchange();
        let upstream = session.upstream().copied();
        let cluster = upstream.map(|upstream| upstream.cluster);
        let mut disappointed = Vec::new();
        if let Some(upstream) = upstream {
            self.attempt_over(upstream.endpoint, upstream.http2);
            disappointed = self.take_disappointed(upstream.cluster, upstream.endpoint);
        }
        if let Some(state) = cluster.and_then(|id| self.pools.cluster(id)) {
            state.counters.upstream_cx_connect_timeout.increment();
            state.counters.upstream_cx_connect_fail.increment();
        }
        self.abort_upstream(conn);
        if let Some(key) = waits {
            self.fail_upstream(key, Failure::Connect);
        }
        self.disappoint(disappointed);
    }

    /// The endpoint sends no more.
    pub(crate) fn upstream_peer_closed(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.codec.is_multiplexed() {
            return self.run_multiplexed(conn);
        }
        if session.exchange().is_none() {
            self.close_upstream(conn);
            return;
        }
        self.run_upstream(conn);
    }

    /// Closes idle connections of a cluster that its newest version does not keep.
    pub(crate) fn close_unkept(&mut self, cluster: ClusterId) {
        for http2 in [false, true] {
            self.close_unkept_of(cluster, http2);
        }
    }

    fn close_unkept_of(&mut self, cluster: ClusterId, http2: bool) {
        let mut index = self.pools.idle_of(cluster, http2);
        while index != NO_SESSION {
            let Some(conn) = self.sessions.at(index) else { return };
            let Some(upstream) = self.sessions.get(conn).and_then(|s| s.upstream()).copied() else {
                return;
            };
            index = upstream.cluster_links.next;
            if self.pools.keeps(cluster, upstream.endpoint, upstream.made_with) {
                continue;
            }
            if upstream.http2 {
                self.retire_multiplexed(conn);
            } else {
                self.close_upstream(conn);
            }
        }
    }
}
