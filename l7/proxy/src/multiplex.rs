//! Connections that carry many exchanges: whose stream it is, what is owed for which, and what is
//! done after decoding.
//!
//! ```text
//!   decode -> request_event, response_event -> encode on the other connection ─┐
//!   Drained <- poll_body <- queued in the codec, by stream, without a window  <─┘
//! ```
//!
//! A ping-pong connection stops decoding while its exchange waits, and so slows its peer by TCP's
//! window. Here others would wait as well: everything is decoded, and what may not be passed on is
//! bounded by the stream's window, which opens only for bytes that went on. So TCP's window opens
//! at once, and a body byte is *owed* by its exchange until the other side has taken it.

use sluice_base::{ConnId, Instant};
use sluice_l7_core::{Codec, Event, ProtocolError, ResetReason, StreamId};

use crate::codec::SessionCodec;
use crate::exchange::ExchangeKey;
use crate::faults::is_flood;
use crate::flags::ResponseFlags;
use crate::limits::{EVENTS_PER_TURN, OUTPUT_PER_CALL, STREAM_BURST, TRIM};
use crate::proxy::Proxy;
use crate::retry::Failure;
use crate::sessions::{Role, Upstream};

/// One side of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// The client's.
    Downstream,
    /// The endpoint's.
    Upstream,
}

/// Who is who, and who is owed what.
impl Proxy {
    #[inline]
    pub(crate) fn is_multiplexed(&self, conn: ConnId) -> bool {
        self.sessions.get(conn).is_some_and(|session| session.codec.is_multiplexed())
    }

    /// The exchange that a stream of a connection carries, at hand.
    #[inline]
    pub(crate) fn exchange_on(&mut self, conn: ConnId, stream: StreamId) -> Option<ExchangeKey> {
        let key = self.sessions.get(conn)?.exchange_on(stream)?;
        Some(self.at_hand(key))
    }

    /// Body bytes of the request were taken that are to be credited when they went on.
    pub(crate) fn owe(&mut self, conn: ConnId, key: ExchangeKey, count: usize) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if !session.codec.is_multiplexed() {
            session.owed += count as u32;
        } else if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.request_owed += count as u32;
        }
    }

    /// So many of the bytes that `side` sent have gone on: it may send as many more.
    pub(crate) fn repay(&mut self, key: ExchangeKey, side: Side, count: usize) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let (conn, stream, owed) = match (side, exchange.upstream) {
            (Side::Downstream, _) => {
                (exchange.downstream, exchange.stream, &mut exchange.request_owed)
            }
            (Side::Upstream, Some(upstream)) => {
                (upstream.conn, upstream.stream, &mut exchange.response_owed)
            }
            (Side::Upstream, None) => return,
        };
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let multiplexed = session.codec.is_multiplexed();
        let owed = if multiplexed { owed } else { &mut session.owed };
        let count = count.min(*owed as usize);
        if count == 0 {
            return;
        }
        *owed -= count as u32;
        session.credit_body(stream, count, &mut self.wires);
        self.settle_credit(conn);
        if multiplexed {
            self.touch_output(conn);
        }
    }

    /// The connection is to be settled at the end of the call, or flushed if it carries one exchange.
    #[inline]
    pub(crate) fn touch_output(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let known = match &mut session.codec {
            SessionCodec::Http2(coded) => std::mem::replace(&mut coded.more.touched, true),
            SessionCodec::Http1(_) | SessionCodec::Opaque => self.touched.last() == Some(&conn),
        };
        if !known {
            self.touched.push(conn);
        }
    }

    /// Hands on what was written to other connections meanwhile.
    #[inline]
    pub(crate) fn flush_touched(&mut self) {
        if !self.touched.is_empty() {
            self.flush_all_touched();
        }
    }

    #[inline(never)]
    fn flush_all_touched(&mut self) {
        while let Some(conn) = self.touched.pop() {
            let Some(session) = self.sessions.get_mut(conn) else { continue };
            if let SessionCodec::Http2(coded) = &mut session.codec {
                coded.more.touched = false;
                self.settle_multiplexed(conn);
            } else {
                self.flush(conn);
            }
        }
    }
}

/// Bytes in.
impl Proxy {
    /// Decodes what arrived on a connection that carries many exchanges.
    pub(crate) fn run_multiplexed(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let listener = session.downstream().map(|downstream| downstream.listener);
        let limits = match listener.and_then(|id| self.listener(id)) {
            Some(state) => state.limits,
            None => self.wires.response_limits,
        };
        // What an endpoint says was asked for.
        let mut turn = if listener.is_some() { EVENTS_PER_TURN } else { u32::MAX };
        loop {
            let Some(session) = self.sessions.get_mut(conn) else { return };
            if session.status.lingering {
                return;
            }
            if listener.is_none() && self.pass_answer(conn) {
                continue;
            }
            let Some(session) = self.sessions.get_mut(conn) else { return };
            turn -= 1;
            if turn == 0 {
                (turn, self.budget) = (EVENTS_PER_TURN, 0);
            }
            if listener.is_some() && self.budget == 0 && !session.codec.is_input_empty() {
                self.interrupt(conn);
                break;
            }
            if listener.is_some() && self.pass_last(conn) {
                continue;
            }
            let Some(session) = self.sessions.get_mut(conn) else { return };
            match session.decode_http2(&limits, &mut self.wires) {
                Ok(None) => {
                    if session.codec.take_pause() && !session.codec.is_input_empty() {
                        self.interrupt(conn);
                    }
                    break;
                }
                Ok(Some(event)) if listener.is_some() && !is_reset(&event) => {
                    self.request_event(conn, event);
                }
                Ok(Some(event)) => self.multiplexed_event(conn, event),
                Err(error) => return self.multiplexed_broken(conn, error),
            }
        }
        if listener.is_none() {
            self.look_for_awaiting(conn);
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.status.peer_closed && !session.status.queued {
            match session.handle_end_of_input(&mut self.wires) {
                Ok(Some(event)) => self.multiplexed_event(conn, event),
                // What opens windows would come from there: nothing goes on for long.
                Ok(None) | Err(_) => return self.multiplexed_over(conn),
            }
        }
        self.settle_credit(conn);
        self.touch_output(conn);
    }

    fn multiplexed_event(&mut self, conn: ConnId, event: Event) {
        if let Event::Reset { fault: Some(error), .. } = event {
            self.count_fault(conn, error);
        }
        if self.sessions.get(conn).is_some_and(|session| session.downstream().is_some()) {
            self.request_event(conn, event);
            return;
        }
        let stream = match &event {
            Event::Head { stream, .. }
            | Event::Informational { stream, .. }
            | Event::Body { stream, .. }
            | Event::End { stream, .. }
            | Event::Reset { stream, .. } => *stream,
            Event::GoAway { .. } => return self.pools.unpark(conn, &mut self.sessions),
        };
        let key = self.exchange_on(conn, stream);
        let of = |key| Some((key, self.exchanges.get(key)?.downstream));
        let Some((key, downstream)) = key.and_then(of) else {
            return self.drop_event(conn, event);
        };
        if let Event::Reset { reason: ResetReason::Refused, .. } = event {
            // No part of an answer: what was sent of the request is needed again.
            return self.response_reset(key, ResetReason::Refused);
        }
        // What follows it may be long in coming.
        let waits = matches!(event, Event::Head { .. } | Event::Informational { .. });
        self.response_event(conn, key, event);
        if waits {
            self.touch_output(downstream);
        }
    }

    /// Of a stream whose exchange is over.
    fn drop_event(&mut self, conn: ConnId, event: Event) {
        match event {
            Event::Head { head, .. } | Event::Informational { head, .. } => {
                self.wires.put_head(head);
            }
            Event::End { trailers: Some(head), .. } => self.wires.put_head(head),
            Event::Body { stream, bytes } => {
                if let Some(session) = self.sessions.get_mut(conn) {
                    session.credit_body(stream, bytes.len(), &mut self.wires);
                }
            }
            Event::End { .. } | Event::Reset { .. } | Event::GoAway { .. } => {}
        }
    }

    /// After anything: credit, output, deadlines, and the end of a connection that is done with.
    pub(crate) fn settle_multiplexed(&mut self, conn: ConnId) {
        self.settle_credit(conn);
        self.settle_window(conn);
        self.pump(conn);
        self.flush(conn);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.status.lingering {
            return;
        }
        let is_idle = session.codec.is_idle();
        session.assert_books(is_idle);
        let is_over = session.codec.must_close() || (session.status.peer_closed && is_idle);
        let is_client = session.downstream().is_some();
        if is_over && is_client {
            self.cancel_all(conn, ResponseFlags::DOWNSTREAM_TERMINATION);
            return self.close_downstream(conn);
        }
        if is_over {
            return self.close_upstream(conn);
        }
        let trim_at = self.wires.now + TRIM;
        let idle_at = self.after(self.idle_timeout_of(conn));
        let whole_at = self.after(self.header_timeout_of(conn));
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let SessionCodec::Http2(coded) = &mut session.codec else { return };
        let more = &mut coded.more;
        let since = |known: &mut Instant, is_so: bool, at: Instant| {
            *known = if is_so { at.min(*known) } else { Instant::NEVER };
        };
        since(&mut more.idle_at, is_idle, idle_at);
        let is_partial = !coded.input.is_empty() || coded.codec.is_inside_block();
        since(&mut more.whole_at, is_partial && !session.status.queued, whole_at);
        since(&mut more.trim_at, coded.codec.is_roomy(), trim_at);
        let deadline = more.idle_at.min(more.whole_at).min(more.ends_at).min(more.trim_at);
        let deadline = deadline.min(coded.codec.next_deadline());
        self.session_timers.set_earlier(conn.index, deadline);
    }

    /// Bytes of window that a connection was granted beyond those of every connection.
    pub(crate) fn granted(&self, conn: ConnId) -> u32 {
        match self.sessions.get(conn).map(|session| &session.codec) {
            Some(SessionCodec::Http2(coded)) => coded.more.granted,
            _ => 0,
        }
    }

    /// Lets windows grow that are used, as far as there is memory for all, and counts those that
    /// have shrunk.
    fn settle_window(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let SessionCodec::Http2(coded) = &session.codec else { return };
        let (wanted, loan) = (coded.codec.window_wanted(), coded.codec.loan_wanted());
        if loan > 0 {
            session.lend_window(loan.min(self.windows_left), &mut self.wires);
        }
        if wanted > 0 {
            session.grant_window(wanted.min(self.windows_left), &mut self.wires);
        }
        let SessionCodec::Http2(coded) = &mut session.codec else { return };
        let granted = coded.codec.window_granted();
        let before = std::mem::replace(&mut coded.more.granted, granted);
        self.windows_left = (self.windows_left + before).saturating_sub(granted);
    }

    fn idle_timeout_of(&self, conn: ConnId) -> Option<std::time::Duration> {
        match &self.sessions.get(conn)?.role {
            Role::Downstream(downstream) => self.listener(downstream.listener)?.idle_timeout,
            Role::Upstream(upstream) => self.pools.cluster(upstream.cluster)?.idle_timeout,
            Role::Vacant => None,
        }
    }

    fn header_timeout_of(&self, conn: ConnId) -> Option<std::time::Duration> {
        self.listener(self.sessions.get(conn)?.downstream()?.listener)?.header_timeout
    }
}

#[inline]
fn is_reset(event: &Event) -> bool {
    matches!(event, Event::Reset { .. })
}

/// Bytes out.
impl Proxy {
    /// Writes body bytes that waited for a window or for their turn, and pays for them.
    fn pump(&mut self, conn: ConnId) {
        let mut left = OUTPUT_PER_CALL;
        while left > 0 {
            let Some(session) = self.sessions.get_mut(conn) else { return };
            let SessionCodec::Http2(coded) = &session.codec else { return };
            if !coded.codec.has_output() || coded.more.held {
                return;
            }
            let Some(drained) = session.poll_body(STREAM_BURST, &mut self.wires) else { return };
            let side =
                if session.downstream().is_some() { Side::Upstream } else { Side::Downstream };
            left = left.saturating_sub(drained.bytes);
            if let Some(key) = crate::sessions::key_of(drained.token) {
                let key = self.at_hand(key);
                self.touch(key);
                self.repay(key, side, drained.bytes);
            }
        }
        // The rest follows when the stack has taken this.
    }

    /// The stack took what was written, and has so much room left.
    pub(crate) fn multiplexed_wrote(&mut self, conn: ConnId, room: usize) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let SessionCodec::Http2(coded) = &mut session.codec else { return };
        coded.more.held = room == 0;
        coded.codec.hold_output(room == 0);
        if room > 0 && coded.codec.has_output() {
            self.pump(conn);
            self.flush(conn);
            self.flush_touched();
        }
    }
}

/// Ends.
impl Proxy {
    /// The exchange of a stream is over, its response written; `whole`: so is its request.
    pub(crate) fn stream_over(&mut self, conn: ConnId, stream: StreamId, whole: bool) {
        if !whole && let Some(session) = self.sessions.get_mut(conn) {
            // RFC 9113, 8.1: the response is complete without the rest of the request.
            session.reset_stream(stream, ResetReason::NoError, &mut self.wires);
        }
        self.touch_output(conn);
    }

    /// Gives up one stream of a client's connection; its exchange is over.
    pub(crate) fn reset_downstream(&mut self, conn: ConnId, stream: StreamId, why: ResetReason) {
        if let Some(session) = self.sessions.get_mut(conn) {
            session.reset_stream(stream, why, &mut self.wires);
        }
        self.settle_multiplexed(conn);
    }

    /// A request went out: whether there is room for another.
    pub(crate) fn request_sent(&mut self, conn: ConnId) {
        self.count_stream(conn);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if !session.codec.is_reusable() {
            self.pools.unpark(conn, &mut self.sessions);
        }
        self.touch_output(conn);
    }

    /// The exchanges of a connection, all of them, at hand: what one of them does to another must
    /// not change keys in the list. The list is to be given back.
    fn exchanges_on(&mut self, conn: ConnId) -> Vec<ExchangeKey> {
        let mut keys = std::mem::take(&mut self.scratch_keys);
        let Some(session) = self.sessions.get(conn) else { return keys };
        let SessionCodec::Http2(coded) = &session.codec else { return keys };
        let all = coded.codec.streams().filter_map(|(stream, _)| session.exchange_on(stream));
        keys.extend(all.filter(|key| self.exchanges.contains(*key)));
        for key in &mut keys {
            *key = self.at_hand(*key);
        }
        keys
    }

    /// Takes the list back.
    fn put_keys(&mut self, mut keys: Vec<ExchangeKey>) {
        keys.clear();
        self.scratch_keys = keys;
    }

    /// Gives up every exchange of a client's connection.
    pub(crate) fn cancel_all(&mut self, conn: ConnId, flags: ResponseFlags) {
        let keys = self.exchanges_on(conn);
        for key in &keys {
            self.cancel(*key, flags);
        }
        self.put_keys(keys);
    }

    /// The peer broke a rule of the connection, and has been told.
    #[cold]
    fn multiplexed_broken(&mut self, conn: ConnId, error: ProtocolError) {
        self.count_fault(conn, error);
        self.settle_credit(conn);
        let Some(session) = self.sessions.get(conn) else { return };
        match session.downstream().is_some() {
            true => {
                let listener = self.sessions.get(conn).and_then(|s| s.downstream());
                if let Some(state) = listener.and_then(|part| self.listener(part.listener)) {
                    state.counters.downstream_cx_protocol_error.increment();
                }
                if is_flood(error) {
                    self.flooded(conn);
                }
                self.cancel_all(conn, ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
                self.close_downstream(conn);
            }
            false => {
                let upstream = self.sessions.get(conn).and_then(|s| s.upstream()).copied();
                let Some(Upstream { cluster, endpoint, .. }) = upstream else { return };
                if let Some(state) = self.pools.cluster(cluster) {
                    state.counters.upstream_cx_protocol_error.increment();
                }
                let keys = self.exchanges_on(conn);
                self.close_upstream(conn);
                for key in &keys {
                    self.detach_dead(*key, endpoint);
                    self.fail_upstream(*key, Failure::Protocol);
                }
                self.put_keys(keys);
            }
        }
        self.flush_touched();
    }

    /// The peer sends no more.
    #[cold]
    fn multiplexed_over(&mut self, conn: ConnId) {
        self.settle_credit(conn);
        let upstream = self.sessions.get(conn).and_then(|session| session.upstream()).copied();
        match upstream {
            None => {
                self.cancel_all(conn, ResponseFlags::DOWNSTREAM_TERMINATION);
                self.close_downstream(conn);
            }
            Some(Upstream { endpoint, used, .. }) => {
                let keys = self.exchanges_on(conn);
                self.close_upstream(conn);
                for key in &keys {
                    self.detach_dead(*key, endpoint);
                    self.fail_upstream(*key, Failure::Reset { reused: used });
                }
                self.put_keys(keys);
            }
        }
        self.flush_touched();
    }

    /// An endpoint's connection is gone, with all that it carried.
    pub(crate) fn multiplexed_gone(&mut self, conn: ConnId, upstream: &Upstream) {
        self.fail_awaiting(conn);
        let keys = self.exchanges_on(conn);
        self.forget(conn);
        if let Some(state) = self.pools.cluster(upstream.cluster) {
            state.counters.upstream_cx_destroy_remote.increment();
            if !keys.is_empty() {
                state.counters.upstream_cx_destroy_with_active_rq.increment();
            }
        }
        for key in &keys {
            self.detach_dead(*key, upstream.endpoint);
        }
        self.connection_ended(upstream.cluster);
        for key in &keys {
            self.fail_upstream(*key, Failure::Reset { reused: upstream.used });
        }
        self.put_keys(keys);
    }

    /// The timer of a connection that carries many exchanges.
    pub(crate) fn handle_multiplexed_timer(&mut self, conn: ConnId) {
        let now = self.wires.now;
        loop {
            let Some(session) = self.sessions.get_mut(conn) else { return };
            let SessionCodec::Http2(coded) = &mut session.codec else { return };
            if coded.more.trim_at <= now {
                coded.codec.trim();
            }
            let (idle_at, whole_at) = (coded.more.idle_at, coded.more.whole_at);
            let ends_at = coded.more.ends_at;
            if ends_at <= now {
                coded.more.ends_at = Instant::NEVER;
            }
            if coded.codec.next_deadline() <= now {
                match session.handle_timeout(&mut self.wires) {
                    Ok(Some(event)) => {
                        self.multiplexed_event(conn, event);
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => return self.multiplexed_broken(conn, error),
                }
            }
            if idle_at <= now && self.multiplexed_idle(conn) {
                return;
            }
            if ends_at <= now {
                self.duration_reached(conn);
            }
            if whole_at <= now {
                return self.multiplexed_slow(conn);
            }
            break;
        }
        self.settle_multiplexed(conn);
        self.flush_touched();
    }

    /// A frame began and did not arrive, or a block of several.
    fn multiplexed_slow(&mut self, conn: ConnId) {
        let listener = self.sessions.get(conn).and_then(|s| s.downstream()).map(|d| d.listener);
        if let Some(state) = listener.and_then(|id| self.listener(id)) {
            state.counters.downstream_rq_header_timeout.increment();
        }
        self.cancel_all(conn, ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
        self.close_downstream(conn);
        self.flush_touched();
    }

    /// It has carried nothing for long enough. False: its client has been told, and the connection
    /// ends when it has heard so, unless there is a request on its way.
    fn multiplexed_idle(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.sessions.get_mut(conn) else { return true };
        let listener = session.downstream().map(|downstream| downstream.listener);
        let SessionCodec::Http2(coded) = &mut session.codec else { return true };
        if coded.codec.is_draining() {
            self.close_downstream(conn);
            return true;
        }
        if let Some(listener) = listener {
            coded.more.idle_at = Instant::NEVER;
            session.drain_codec(&mut self.wires);
            if let Some(state) = self.listener(listener) {
                state.counters.downstream_cx_idle_timeout.increment();
            }
            return false;
        }
        if let Some(cluster) = session.upstream().map(|upstream| upstream.cluster) {
            if let Some(state) = self.pools.cluster(cluster) {
                state.counters.upstream_cx_idle_timeout.increment();
            }
            self.close_upstream(conn);
        }
        true
    }
}
