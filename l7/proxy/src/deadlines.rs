//! What happens when time is up.

use sluice_base::ConnId;
use sluice_l7_core::StreamId;

use crate::exchange::{Kind, State};
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::sessions::Role;
use crate::verbs::Verb;

impl Proxy {
    /// The timer of a connection.
    pub(crate) fn handle_session_timer(&mut self, index: u32) {
        let Some(conn) = self.sessions.at(index) else { return };
        let Some(session) = self.sessions.get(conn) else { return };
        let status = session.status;
        if status.lingering {
            self.counters.linger_timeout.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            self.forget(conn);
            return;
        }
        if session.codec.is_multiplexed() {
            return self.handle_multiplexed_timer(conn);
        }
        match &session.role {
            Role::Vacant => {}
            Role::Downstream(downstream) => {
                if status.relayed {
                    self.handle_relay_timer(conn);
                    return;
                }
                let busy = session.exchange().is_some();
                let worn = session.codec.ends_at() <= self.wires.now;
                let Some(state) = self.listener(downstream.listener) else { return };
                let (idle_timeout, header_timeout) = (state.idle_timeout, state.header_timeout);
                if worn && (busy || status.head_begun) {
                    // It ends behind the request that it is at.
                    let again = if busy { idle_timeout } else { header_timeout };
                    self.session_timers.set(index, self.after(again));
                    self.duration_reached(conn);
                } else if worn {
                    self.duration_reached(conn);
                    self.close_downstream(conn);
                } else if busy {
                    // The exchange has timers of its own; come back when it may be over.
                    self.session_timers.set(index, self.after(idle_timeout));
                } else if status.head_begun {
                    state.counters.downstream_rq_header_timeout.increment();
                    self.header_timeout(conn);
                } else {
                    state.counters.downstream_cx_idle_timeout.increment();
                    self.close_downstream(conn);
                }
            }
            Role::Upstream(_) if !status.connected => self.connect_timeout(conn),
            Role::Upstream(_) if status.idle && session.codec.ends_at() <= self.wires.now => {
                self.duration_reached(conn);
                self.close_upstream(conn);
            }
            Role::Upstream(upstream) if status.idle => {
                if let Some(state) = self.pools.cluster(upstream.cluster) {
                    state.counters.upstream_cx_idle_timeout.increment();
                }
                self.close_upstream(conn);
            }
            // Taken from the pool since; its exchange has timers of its own.
            Role::Upstream(_) => {}
        }
    }

    /// To the codec it is as if the client had hung up in mid-head: it will answer, not decode.
    fn header_timeout(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.handle_end_of_input(&mut self.wires).is_err() {
            self.reply_without_exchange(conn, StreamId::new(1), Reply::HEADER_TIMEOUT);
        } else {
            self.close_downstream(conn);
        }
    }

    /// The timer of an exchange.
    pub(crate) fn handle_exchange_timer(&mut self, index: u32) {
        let Some(key) = self.exchanges.key_at(index) else { return };
        let Some(exchange) = self.exchanges.get(key) else { return };
        let (now, deadline) = (self.wires.now, exchange.deadline());
        if let State::BackingOff { fresh } = exchange.state
            && deadline > now
        {
            return self.back_off_timer(key, fresh);
        }
        if deadline > now {
            if let Some(look_at) = self.rest(key) {
                self.exchange_timers.set(index, deadline.min(look_at));
            }
            return;
        }
        let by_route = exchange.route_deadline <= now;
        let by_call = exchange.call.is_over(now);
        let listener = exchange.plan.listener;
        let cluster = exchange.cluster();
        let (state, kind) = (exchange.state, exchange.kind);
        let (head_sent, request_ended) = (exchange.head_sent, exchange.request_ended);
        if let Some(state) = self.listener(listener) {
            if by_call {
                state.counters.downstream_rq_max_duration_reached.increment();
            } else if by_route {
                state.counters.downstream_rq_timeout.increment();
            } else {
                state.counters.downstream_rq_idle_timeout.increment();
            }
        }
        if by_route && let Some(state) = cluster.and_then(|id| self.pools.cluster(id)) {
            state.counters.upstream_rq_timeout.increment();
        }
        let flags = if by_route {
            ResponseFlags::UPSTREAM_TIMEOUT
        } else {
            ResponseFlags::STREAM_IDLE_TIMEOUT
        };
        match (state, kind) {
            // Its client's session has the timer.
            (State::Relaying, _) => {}
            (_, Kind::Tcp) => {
                if let Some(exchange) = self.exchanges.get(key) {
                    let conn = exchange.downstream;
                    self.abort_downstream(conn, flags);
                }
            }
            _ if head_sent => self.cut_downstream(key, flags),
            _ if by_call => self.reply(key, Reply::CALL_DEADLINE),
            _ if by_route => self.reply(key, Reply::UPSTREAM_TIMEOUT),
            _ if request_ended => self.reply(key, Reply::RESPONSE_IDLE),
            _ => self.reply(key, Reply::REQUEST_IDLE),
        }
    }
}
