//! A client's connection: requests in, and the connection's own life.

use std::net::SocketAddrV4;
use std::time::Duration;

use sluice_base::{ConnId, Instant, ListenerId};
use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, Codec, Event, Head, Role as CodecRole, StreamId};
use sluice_l7_http1::Http1;

use crate::codec::SessionCodec;
use crate::events::CloseReason;
use crate::exchange::{Exchange, ExchangeKey, Kind, State};
use crate::flags::ResponseFlags;
use crate::limits::{LINGER, LINGER_BYTES_MAX, REPLAY_BYTES_MAX};
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::sessions::{Downstream, Role, Status};
use crate::verbs::Verb;

/// Events of a client's connection.
impl Proxy {
    pub(crate) fn accept(&mut self, conn: ConnId, listener: ListenerId, peer: SocketAddrV4) {
        if let Some(old) = self.sessions.at(conn.index) {
            // The stack uses the slot again, so the old connection is dead whatever we believed.
            self.handle_closed(old, CloseReason::Aborted);
        }
        let known = self.compiled_listener(listener).is_some();
        let Some(state) = self.listener(listener).filter(|_| known) else {
            self.counters.unknown_listener.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            return;
        };
        let (http, idle_timeout) = (state.http, state.idle_timeout);
        let codec = if http {
            SessionCodec::Http1(Http1::new(CodecRole::Server))
        } else {
            SessionCodec::Opaque
        };
        let role = Role::Downstream(Downstream { listener, peer });
        if !self.sessions.insert(conn, role, codec) {
            self.counters.session_table_full.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            return;
        }
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_cx_total.increment();
            state.counters.downstream_cx_active.increment();
        }
        if let Some(session) = self.sessions.get_mut(conn) {
            session.status.connected = true;
        }
        self.session_timers.set(conn.index, self.after(idle_timeout));
        if !http {
            self.begin_relay(conn, listener);
        }
    }

    /// Bytes on any connection.
    pub(crate) fn handle_data(&mut self, conn: ConnId, mut bytes: Chain) {
        let count = bytes.len();
        let Some(session) = self.sessions.get_mut(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        if session.status.lingering {
            self.drop_lingering(conn, count);
            return;
        }
        session.input.append(&mut bytes);
        let opaque = session.codec.is_opaque();
        let (listener, cluster) = match &session.role {
            Role::Downstream(downstream) => (Some(downstream.listener), None),
            Role::Upstream(upstream) => (None, Some(upstream.cluster)),
            Role::Vacant => (None, None),
        };
        if let Some(listener) = listener.and_then(|id| self.listener(id)) {
            listener.counters.downstream_cx_rx_bytes_total.add(count as u64);
        }
        if let Some(cluster) = cluster.and_then(|id| self.pools.cluster(id)) {
            cluster.counters.upstream_cx_rx_bytes_total.add(count as u64);
        }
        if opaque {
            self.relay_forward(conn);
        } else if cluster.is_some() {
            self.run_upstream(conn);
        } else {
            self.run_downstream(conn);
        }
    }

    /// Decodes what the client sent, as far as the exchange in progress allows.
    pub(crate) fn run_downstream(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let Some(listener) = session.downstream().map(|downstream| downstream.listener) else {
            return;
        };
        let limits = self.listener(listener).map(|state| state.limits).unwrap_or_default();
        loop {
            let Some(session) = self.sessions.get_mut(conn) else { return };
            if session.status.lingering || session.codec.is_opaque() {
                return;
            }
            if let Some(key) = session.exchange
                && let Some(exchange) = self.exchanges.get(key)
                && (exchange.request_ended || !exchange.takes_request_body())
            {
                break;
            }
            if session.exchange.is_none() && self.budget == 0 {
                self.make_ready(conn);
                break;
            }
            match session.decode(&limits, &mut self.wires) {
                Ok(None) => break,
                Ok(Some(event)) => self.request_event(conn, event),
                Err(error) => {
                    self.settle_credit(conn);
                    self.downstream_protocol_error(conn, error);
                    return;
                }
            }
        }
        self.settle_downstream(conn);
    }

    fn request_event(&mut self, conn: ConnId, event: Event) {
        match event {
            Event::Head { stream, head, body } => self.begin_request(conn, stream, head, body),
            Event::Body { stream, bytes } => self.request_body(conn, stream, bytes),
            Event::End { trailers, .. } => self.end_request(conn, trailers),
            Event::Informational { head, .. } => self.wires.put_head(head),
            Event::Reset { .. } => {
                if let Some(key) = self.exchange_of(conn) {
                    self.cancel(key, ResponseFlags::DOWNSTREAM_TERMINATION);
                }
            }
            Event::Room { .. } | Event::GoAway { .. } => {}
        }
    }

    /// After decoding: credit, timers, and what an end of input means.
    fn settle_downstream(&mut self, conn: ConnId) {
        self.settle_credit(conn);
        let now = self.wires.now;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let partner = match session.exchange {
            Some(key) => {
                let exchange = self.exchanges.get(key);
                let partner = exchange.and_then(|exchange| exchange.upstream);
                let waits = exchange.is_some_and(|e| !e.request_ended && e.takes_request_body());
                if session.status.peer_closed && waits {
                    self.end_of_input(conn);
                    return;
                }
                partner.map(|upstream| upstream.conn)
            }
            None => {
                if session.status.peer_closed && !session.status.queued {
                    self.end_of_input(conn);
                    return;
                }
                if !session.input.is_empty() && !session.status.head_begun {
                    session.status.head_begun = true;
                    let listener = session.downstream().map(|d| d.listener);
                    let timeout = listener.and_then(|id| self.listener(id)?.header_timeout);
                    if let Some(timeout) = timeout {
                        self.session_timers.set_earlier(conn.index, now + timeout);
                    }
                }
                None
            }
        };
        self.flush(conn);
        if let Some(partner) = partner {
            self.flush(partner);
        }
    }

    /// The client sends nothing more and everything it sent has been decoded.
    fn end_of_input(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        match session.handle_end_of_input(&mut self.wires) {
            Ok(Some(event)) => self.request_event(conn, event),
            Ok(None) => self.close_downstream(conn),
            Err(error) => {
                if self.exchange_of(conn).is_some() {
                    // Half a request: nothing that an answer could be about.
                    self.abort_downstream(conn, ResponseFlags::DOWNSTREAM_TERMINATION);
                } else {
                    self.downstream_protocol_error(conn, error);
                }
            }
        }
    }

    /// Gives back what the codec is done with.
    #[inline]
    pub(crate) fn settle_credit(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(conn) {
            let bytes = session.codec.take_credit();
            self.wires.credit(conn, bytes);
        }
    }

    pub(crate) fn handle_peer_closed(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        session.status.peer_closed = true;
        if session.status.lingering {
            return;
        }
        let (opaque, upstream) = (session.codec.is_opaque(), session.upstream().is_some());
        if opaque {
            self.relay_forward(conn);
        } else if upstream {
            self.upstream_peer_closed(conn);
        } else {
            self.run_downstream(conn);
        }
    }

    pub(crate) fn handle_writable(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        session.status.blocked = false;
        if session.status.lingering {
            self.session_timers.set(conn.index, self.wires.now + LINGER);
            return;
        }
        if let Some(key) = session.exchange {
            self.touch(key);
        }
        self.release_credit_of_partner(conn);
    }

    /// The connection is gone.
    pub(crate) fn handle_closed(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(session) = self.sessions.get(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        let Status { lingering, connected, .. } = session.status;
        match &session.role {
            Role::Vacant => {}
            Role::Downstream(downstream) => {
                let listener = self.listener(downstream.listener);
                if let Some(listener) = listener.filter(|_| !lingering) {
                    listener.counters.downstream_cx_destroy_remote.increment();
                }
                if let Some(key) = session.exchange {
                    self.cancel(key, ResponseFlags::DOWNSTREAM_TERMINATION);
                }
                self.forget(conn);
            }
            Role::Upstream(_) if lingering => self.forget(conn),
            Role::Upstream(_) => self.upstream_gone(conn, connected, reason),
        }
    }
}

/// Requests.
impl Proxy {
    fn begin_request(&mut self, conn: ConnId, stream: StreamId, head: Box<Head>, body: BodyLength) {
        let now = self.wires.now;
        self.budget = self.budget.saturating_sub(1);
        let Some(session) = self.sessions.get_mut(conn) else {
            self.wires.put_head(head);
            return;
        };
        let Some(listener) = session.downstream().map(|downstream| downstream.listener) else {
            self.wires.put_head(head);
            return;
        };
        let head_begun = std::mem::take(&mut session.status.head_begun);
        let mut exchange = Exchange::new(Kind::Http, conn, stream, now);
        exchange.body = body;
        exchange.request_ended = body.is_none();
        exchange.head = Some(head);
        let key = match self.exchanges.insert(exchange) {
            Ok(key) => key,
            Err(mut refused) => {
                if let Some(head) = refused.head.take() {
                    self.wires.put_head(head);
                }
                self.counters.exchange_table_full.increment();
                self.reply_without_exchange(conn, stream, Reply::OVERLOAD);
                return;
            }
        };
        session.exchange = Some(key);
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_rq_total.increment();
            state.counters.downstream_rq_active.increment();
            if head_begun {
                self.session_timers.set(conn.index, self.after(state.idle_timeout));
            }
        }
        let Some(compiled) = self.compiled_listener(listener) else {
            // The listener went away while its connection stayed open.
            self.reply(key, Reply::NO_ROUTE);
            return;
        };
        let plan = Plan::for_listener(&compiled.listener);
        let pin = self.pins.pin();
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.plan = plan;
            exchange.pin = Some(pin);
            self.exchange_timers.set(key.index, exchange.deadline());
        }
        self.route(key);
    }

    fn request_body(&mut self, conn: ConnId, stream: StreamId, mut bytes: Chain) {
        let count = bytes.len();
        let Some(key) = self.exchange_of(conn) else {
            self.credit_dropped(conn, stream, count);
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        exchange.last_activity = self.wires.now;
        exchange.request_bytes += count as u64;
        if exchange.request_bytes > exchange.plan.body_max {
            drop(bytes);
            self.credit_dropped(conn, stream, count);
            self.body_too_large(key);
            return;
        }
        let Some(upstream) = exchange.upstream.filter(|_| exchange.takes_request_body()) else {
            drop(bytes);
            self.credit_dropped(conn, stream, count);
            return;
        };
        if !exchange.replay_lost {
            let repeatable = exchange.plan.retries_left > 0 && !exchange.response_begun;
            if repeatable && exchange.replay.len() + count <= REPLAY_BYTES_MAX {
                exchange.replay.append(&mut bytes.clone_range(0, count));
            } else {
                exchange.replay_lost = true;
                exchange.replay = Chain::new();
            }
        }
        let Some(session) = self.sessions.get_mut(upstream.conn) else { return };
        let written = session.encode_body(upstream.stream, &mut bytes, &mut self.wires);
        if let Some(session) = self.sessions.get_mut(conn) {
            session.owed += count as u32;
        }
        if written != Ok(count) {
            self.fail_local(key);
        }
    }

    fn end_request(&mut self, conn: ConnId, trailers: Option<Box<Head>>) {
        let now = self.wires.now;
        if let Some(key) = self.exchange_of(conn)
            && let Some(exchange) = self.exchanges.get_mut(key)
        {
            exchange.request_ended = true;
            exchange.last_activity = now;
            exchange.route_deadline =
                exchange.plan.timeout.map_or(Instant::NEVER, |timeout| now + timeout);
            // Trailers are not kept for a retry.
            exchange.replay_lost |= trailers.is_some();
            let upstream = exchange.upstream.filter(|_| exchange.takes_request_body());
            exchange.request_forwarded = upstream.is_some();
            self.exchange_timers.set_earlier(key.index, exchange.route_deadline);
            if let Some(upstream) = upstream
                && let Some(session) = self.sessions.get_mut(upstream.conn)
            {
                let ended =
                    session.encode_end(upstream.stream, trailers.as_deref(), &mut self.wires);
                if ended.is_err() {
                    self.fail_local(key);
                }
            }
        }
        if let Some(head) = trailers {
            self.wires.put_head(head);
        }
    }

    /// Body bytes that go nowhere: the client may send as many more.
    fn credit_dropped(&mut self, conn: ConnId, stream: StreamId, count: usize) {
        if let Some(session) = self.sessions.get_mut(conn) {
            session.credit_body(stream, count, &mut self.wires);
        }
        self.settle_credit(conn);
    }

    fn body_too_large(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        if let Some(state) = self.listener(exchange.plan.listener) {
            state.counters.downstream_rq_too_large.increment();
        }
        if exchange.head_sent {
            self.cut_downstream(key, ResponseFlags::NONE);
        } else {
            self.reply(key, Reply::BODY_TOO_LARGE);
        }
    }

    /// Decodes and drops what is already here of a request that we answer ourselves; whether it is
    /// complete then, so that the connection can go on.
    pub(crate) fn discard_request(&mut self, key: ExchangeKey) -> bool {
        let Some(exchange) = self.exchanges.get(key) else { return false };
        if exchange.request_ended {
            return true;
        }
        let conn = exchange.downstream;
        let expects = exchange.head.as_ref().is_some_and(|head| head.expects_continue());
        if expects && exchange.request_bytes == 0 {
            // The client waits to be told whether to send the body at all.
            return false;
        }
        loop {
            let Some(session) = self.sessions.get_mut(conn) else { return false };
            let limits = self.wires.response_limits;
            match session.decode(&limits, &mut self.wires) {
                Ok(Some(Event::Body { stream, bytes })) => {
                    let count = bytes.len();
                    drop(bytes);
                    if let Some(exchange) = self.exchanges.get_mut(key) {
                        exchange.request_bytes += count as u64;
                    }
                    self.credit_dropped(conn, stream, count);
                }
                Ok(Some(Event::End { trailers, .. })) => {
                    if let Some(head) = trailers {
                        self.wires.put_head(head);
                    }
                    if let Some(exchange) = self.exchanges.get_mut(key) {
                        exchange.request_ended = true;
                    }
                    return true;
                }
                Ok(Some(Event::Head { head, .. } | Event::Informational { head, .. })) => {
                    self.wires.put_head(head);
                    return false;
                }
                Ok(Some(Event::Room { .. } | Event::GoAway { .. })) => {}
                Ok(Some(Event::Reset { .. }) | None) | Err(_) => return false,
            }
        }
    }
}

/// Ends of a client's connection.
impl Proxy {
    /// Closes after what was written: FIN, and what still arrives is dropped for a while.
    pub(crate) fn close_downstream(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        debug_assert!(session.exchange.is_none(), "an exchange ends before its connection");
        if let Some(state) = session.downstream().and_then(|d| self.listener(d.listener)) {
            state.counters.downstream_cx_destroy_local.increment();
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
        if let Some(key) = session.exchange {
            self.cancel(key, flags);
        }
        self.wires.verbs.push_back(Verb::Abort { conn });
        self.forget(conn);
    }

    /// Says `Close` and waits for the peer to agree.
    pub(crate) fn linger(&mut self, conn: ConnId) {
        let now = self.wires.now;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let unread = session.input.len() + std::mem::take(&mut session.owed) as usize;
        session.input = Chain::new();
        let already = std::mem::replace(&mut session.status.closed, true);
        session.status.lingering = true;
        self.wires.credit(conn, unread);
        if !already {
            self.wires.verbs.push_back(Verb::Close { conn });
        }
        self.session_timers.set(conn.index, now + LINGER);
    }

    fn drop_lingering(&mut self, conn: ConnId, count: usize) {
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
        let Some(session) = self.sessions.remove(conn) else { return };
        debug_assert!(session.exchange.is_none(), "an exchange ends before its connection");
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
        session.exchange = None;
        let owed = std::mem::take(&mut session.owed) as usize;
        if owed > 0 {
            session.credit_body(StreamId::CONNECTION, owed, &mut self.wires);
            let bytes = session.codec.take_credit();
            self.wires.credit(conn, bytes);
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let close = session.codec.must_close() || draining;
        let more = !session.input.is_empty() || session.status.peer_closed;
        let listener = session.downstream().map(|downstream| downstream.listener);
        let state = listener.and_then(|id| self.listener(id));
        if close {
            if draining && let Some(state) = state {
                state.counters.downstream_cx_drain_close.increment();
            }
            self.close_downstream(conn);
            return;
        }
        let idle_timeout = state.and_then(|state| state.idle_timeout);
        self.session_timers.set(conn.index, self.after(idle_timeout));
        self.flush(conn);
        if more {
            self.make_ready(conn);
        }
    }

    #[inline]
    pub(crate) fn exchange_of(&self, conn: ConnId) -> Option<ExchangeKey> {
        self.sessions.get(conn)?.exchange
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
    pub(crate) fn release_credit_of_partner(&mut self, conn: ConnId) {
        let Some(key) = self.exchange_of(conn) else { return };
        let Some(exchange) = self.exchanges.get(key) else { return };
        let Some(upstream) = exchange.upstream else { return };
        let (partner, stream) = if upstream.conn == conn {
            (exchange.downstream, exchange.stream)
        } else {
            (upstream.conn, upstream.stream)
        };
        let relay = exchange.state == State::Relaying;
        let Some(session) = self.sessions.get_mut(partner) else { return };
        let owed = std::mem::take(&mut session.owed) as usize;
        if owed == 0 {
            return;
        }
        if relay {
            self.wires.credit(partner, owed);
        } else {
            session.credit_body(stream, owed, &mut self.wires);
            self.settle_credit(partner);
            self.flush(partner);
        }
    }
}
