//! How connections end, what is done between two requests, and who gets credit for what.

use std::time::Duration;

use sluice_base::{ConnId, Instant};
use sluice_l7_core::StreamId;

use crate::exchange::ExchangeKey;
use crate::flags::ResponseFlags;
use crate::limits::{LINGER, LINGER_BYTES_MAX};
use crate::multiplex::Side;
use crate::proxy::Proxy;
use crate::sessions::Role;
use crate::verbs::Verb;

/// Ends of a client's connection.
impl Proxy {
    /// Closes after what was written: FIN, and what still arrives is dropped for a while.
    pub(crate) fn close_downstream(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        debug_assert!(session.exchange().is_none(), "an exchange ends before its connection");
        if let Some(state) = session.downstream().and_then(|d| self.listener(d.listener)) {
            state.counters.downstream_cx_destroy_local.increment();
        }
        if let Some(session) = self.sessions.get_mut(conn) {
            session.say_goodbye(&mut self.wires);
        }
        self.flush(conn);
        self.linger(conn);
    }

    /// Resets the connection, whatever it is doing.
    pub(crate) fn abort_downstream(&mut self, conn: ConnId, flags: ResponseFlags) {
        let Some(session) = self.sessions.get(conn) else { return };
        if let Some(state) = session.downstream().and_then(|d| self.listener(d.listener)) {
            state.counters.downstream_cx_destroy_local.increment();
        }
        let (relayed, multiplexed) = (session.status.relayed, session.codec.is_multiplexed());
        if let Some(key) = session.exchange() {
            self.cancel(key, flags);
        } else if relayed {
            self.cancel_relay(conn, flags);
        } else if multiplexed {
            self.cancel_all(conn, flags);
        }
        self.wires.verbs.push_back(Verb::Abort { conn });
        self.forget(conn);
    }

    /// Says `Close` and waits for the peer to agree.
    pub(crate) fn linger(&mut self, conn: ConnId) {
        let now = self.wires.now;
        self.charge(conn);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let unread = session.codec.take_input().len() + std::mem::take(&mut session.owed) as usize;
        let already = std::mem::replace(&mut session.status.closed, true);
        session.status.lingering = true;
        self.leaving -= usize::from(session.codec.take_leaving());
        self.wires.credit(conn, unread);
        if !already {
            self.wires.verbs.push_back(Verb::Close { conn });
        }
        self.session_timers.set(conn.index, now + LINGER);
    }

    pub(crate) fn drop_lingering(&mut self, conn: ConnId, count: usize) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.owed = session.owed.saturating_add(count as u32);
        if session.owed > LINGER_BYTES_MAX {
            self.wires.verbs.push_back(Verb::Abort { conn });
            self.forget(conn);
        } else {
            self.wires.credit(conn, count);
        }
    }

    /// Frees the slot and everything in it. No exchange may be left on it.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.session_timers.clear(conn.index);
        self.windows_left += self.granted(conn);
        self.charge(conn);
        if let Some(session) = self.sessions.get_mut(conn) {
            self.leaving -= usize::from(session.codec.take_leaving());
        }
        let Some(session) = self.sessions.remove(conn) else { return };
        debug_assert!(session.exchange().is_none(), "an exchange ends before its connection");
        debug_assert!(!session.status.relayed, "a relay ends before its connections");
        if let Role::Downstream(downstream) = session.role
            && let Some(state) = self.listener(downstream.listener)
        {
            state.counters.downstream_cx_active.subtract(1);
        }
    }

    /// The exchange of this client connection is over: close it, or go on with the next request.
    pub(crate) fn next_request(&mut self, conn: ConnId) {
        let draining = self.draining;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.set_exchange(None);
        let owed = std::mem::take(&mut session.owed) as usize;
        if owed > 0 {
            session.credit_body(StreamId::CONNECTION, owed, &mut self.wires);
            let bytes = session.codec.take_credit();
            self.wires.credit(conn, bytes);
        }
        let close = session.codec.must_close() || draining;
        let has_end = session.codec.has_end();
        let more = !session.codec.is_input_empty() || session.status.peer_closed;
        let listener = session.downstream().map(|downstream| downstream.listener);
        let state = listener.and_then(|id| self.listener(id));
        if close {
            if draining && let Some(state) = state {
                state.counters.downstream_cx_drain_close.increment();
            }
            self.close_downstream(conn);
            return;
        }
        let deadline = self.after(state.and_then(|state| state.idle_timeout));
        self.session_timers.set(conn.index, deadline);
        if has_end {
            self.remember_end(conn);
        }
        self.flush(conn);
        if more {
            self.make_ready(conn);
        }
    }

    /// An idle connection of HTTP/1.1 ends at its time.
    #[cold]
    pub(crate) fn remember_end(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get(conn) {
            self.session_timers.set_earlier(conn.index, session.codec.ends_at());
        }
    }

    #[inline]
    pub(crate) fn exchange_of(&self, conn: ConnId) -> Option<ExchangeKey> {
        self.sessions.get(conn)?.exchange()
    }

    /// When `timeout` from now is over; never without one.
    #[inline]
    pub(crate) fn after(&self, timeout: Option<Duration>) -> Instant {
        timeout.map_or(Instant::NEVER, |timeout| self.wires.now + timeout)
    }

    /// Something moved: the idle time starts again.
    #[inline]
    pub(crate) fn touch(&mut self, key: ExchangeKey) {
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.last_activity = self.wires.now;
        }
    }

    /// Gives the other side its bytes back, now that this side has room.
    pub(crate) fn release_credit_of_partner(&mut self, conn: ConnId, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        let Some(upstream) = exchange.upstream else { return };
        let (partner, stream, side) = if upstream.conn == conn {
            (exchange.downstream, exchange.stream, Side::Downstream)
        } else {
            (upstream.conn, upstream.stream, Side::Upstream)
        };
        let Some(session) = self.sessions.get_mut(partner) else { return };
        if session.codec.is_multiplexed() {
            self.repay(key, side, usize::MAX);
            return self.flush(partner);
        }
        let owed = std::mem::take(&mut session.owed) as usize;
        if owed == 0 {
            return;
        }
        session.credit_body(stream, owed, &mut self.wires);
        self.settle_credit(partner);
        self.flush(partner);
    }
}
