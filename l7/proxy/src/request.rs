//! A request on its way in: head, body, end, and what is dropped of it.

use sluice_base::ConnId;
use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, Event, Head, ResetReason, StreamId};

use crate::call::{Direction, LASTING};
use crate::exchange::{ExchangeKey, Kind};
use crate::flags::ResponseFlags;
use crate::multiplex::Side;
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::responses::Reply;

impl Proxy {
    pub(crate) fn begin_request(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        head: Box<Head>,
        body: BodyLength,
    ) {
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
        let multiplexed = session.codec.is_multiplexed();
        let Some((key, exchange)) = self.exchanges.begin(Kind::Http, conn, stream, now) else {
            self.wires.put_head(head);
            self.counters.exchange_table_full.increment();
            if multiplexed {
                self.reset_downstream(conn, stream, ResetReason::Refused);
            } else {
                self.reply_without_exchange(conn, stream, Reply::OVERLOAD);
            }
            return;
        };
        exchange.body = body;
        exchange.request_ended = body.is_none();
        exchange.head = Some(head);
        let compiled = self.pins.current().and_then(|snapshot| snapshot.listener(listener));
        let known = compiled.is_some();
        if let Some(compiled) = compiled {
            exchange.plan = compiled.plan;
            exchange.pin = Some(self.pins.pin());
        } else {
            exchange.plan = Plan::default();
        }
        session.attach(stream, key);
        if multiplexed {
            self.count_stream(conn);
        }
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_rq_total.increment();
            state.counters.downstream_rq_active.increment();
            let is_last = state.life.max_requests.is_some_and(|most| stream.number() >= most);
            if head_begun {
                self.session_timers.set(conn.index, self.after(state.idle_timeout));
            }
            if is_last && !multiplexed {
                self.requests_reached(conn);
            }
        }
        if known {
            self.route(key);
        } else {
            // The listener went away while its connection stayed open.
            self.reply(key, Reply::NO_ROUTE);
        }
    }

    pub(crate) fn request_body(&mut self, conn: ConnId, stream: StreamId, mut bytes: Chain) {
        let count = bytes.len();
        let Some(key) = self.exchange_on(conn, stream) else {
            self.credit_dropped(conn, stream, count);
            return;
        };
        let now = self.wires.now;
        let Some(mut exchange) = self.exchanges.get_mut(key) else { return };
        exchange.last_activity = now;
        exchange.request_bytes += count as u64;
        if exchange.call.is_call() {
            exchange.call.request.pass(&bytes);
            if exchange.started + LASTING < now {
                self.count_messages(key, Direction::Request);
                let Some(again) = self.exchanges.get_mut(key) else { return };
                exchange = again;
            }
        }
        if exchange.request_bytes > exchange.plan.body_max {
            drop(bytes);
            self.credit_dropped(conn, stream, count);
            self.body_too_large(key);
            return;
        }
        if exchange.keeps_early_parts() {
            // Only of a connection that carries others as well: it cannot wait.
            exchange.request_owed += count as u32;
            exchange.early.append(&mut bytes);
        } else if exchange.upstream.is_some() && exchange.takes_request_body() {
            let upstream = exchange.upstream.map_or(conn, |upstream| upstream.conn);
            if self.is_multiplexed(upstream) {
                self.forward_to_stream(key, bytes);
            } else {
                self.owe(conn, key, count);
                self.forward_request_body(key, bytes);
            }
        } else {
            drop(bytes);
            self.credit_dropped(conn, stream, count);
        }
    }

    /// Passes body bytes on, which their sender is owed; false: the request has been answered.
    pub(crate) fn forward_request_body(&mut self, key: ExchangeKey, mut bytes: Chain) -> bool {
        let count = bytes.len();
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let Some(upstream) = exchange.upstream else { return false };
        let Some(session) = self.sessions.get_mut(upstream.conn) else { return false };
        exchange.copy_for_replay(&bytes, session.codec.is_multiplexed());
        let written = session.encode_body(upstream.stream, &mut bytes, &mut self.wires);
        let multiplexed = session.codec.is_multiplexed();
        self.touch_output(upstream.conn);
        match written {
            Ok(written) if multiplexed => {
                self.repay(key, Side::Downstream, written);
                true
            }
            Ok(written) if written == count => true,
            Ok(_) | Err(_) => {
                self.fail_local(key);
                false
            }
        }
    }

    /// The same where the endpoint's connection carries many exchanges; with the end of the request
    /// if that is known.
    fn forward_to_stream(&mut self, key: ExchangeKey, mut bytes: Chain) {
        let (now, count) = (self.wires.now, bytes.len());
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(upstream) = exchange.upstream else { return };
        let Some((from, to)) = self.sessions.pair(exchange.downstream, upstream.conn) else {
            return;
        };
        exchange.copy_for_replay(&bytes, true);
        let written = if from.codec.take_end() {
            exchange.request_ended = true;
            exchange.request_forwarded = true;
            exchange.await_response(now);
            self.exchange_timers.set_earlier(key.index, exchange.route_deadline);
            to.encode_last_multiplexed(upstream.stream, &mut bytes, &mut self.wires)
        } else {
            to.encode_body(upstream.stream, &mut bytes, &mut self.wires)
        };
        let on_its_way = *written.as_ref().unwrap_or(&0);
        from.owe_or_credit(
            exchange.stream,
            (count, on_its_way),
            &mut exchange.request_owed,
            &mut self.wires,
        );
        self.touch_output(upstream.conn);
        if written.is_err() {
            self.fail_local(key);
        }
    }

    pub(crate) fn end_request(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        mut trailers: Option<Box<Head>>,
    ) {
        let now = self.wires.now;
        if let Some(key) = self.exchange_on(conn, stream)
            && let Some(exchange) = self.exchanges.get_mut(key)
        {
            exchange.request_ended = true;
            exchange.last_activity = now;
            exchange.await_response(now);
            // Trailers are not kept for a retry.
            exchange.replay_lost |= trailers.is_some();
            if exchange.waits_for_connection() {
                exchange.trailers = trailers.take();
            }
            let upstream = exchange.upstream.filter(|_| exchange.takes_request_body());
            exchange.request_forwarded |= upstream.is_some();
            self.exchange_timers.set_earlier(key.index, exchange.route_deadline);
            if exchange.tunnel.is_open() {
                self.end_tunnel(key);
            } else if let Some(upstream) = upstream
                && let Some(session) = self.sessions.get_mut(upstream.conn)
            {
                let ended =
                    session.encode_end(upstream.stream, trailers.as_deref(), &mut self.wires);
                if ended.is_err() {
                    self.fail_local(key);
                } else {
                    self.touch_output(upstream.conn);
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
        self.wake(key);
        let Some(exchange) = self.exchanges.get(key) else { return false };
        if exchange.request_ended {
            return true;
        }
        let conn = exchange.downstream;
        if self.is_multiplexed(conn) {
            return false;
        }
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
                Ok(Some(Event::GoAway { .. })) => {}
                Ok(Some(Event::Reset { .. }) | None) | Err(_) => return false,
            }
        }
    }
}
