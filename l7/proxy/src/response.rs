//! What an endpoint answers, on its way to the client.

use sluice_base::ConnId;
use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, Event, Head, ResetReason, status};
use sluice_l7_filter::FilterResult;

use crate::call::{Direction, LASTING};
use crate::exchange::{ExchangeKey, State};
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::retry::Failure;
use crate::sessions::Role;
use crate::tunnel::Tunnel;

impl Proxy {
    /// Decodes what the endpoint sent.
    pub(crate) fn run_upstream(&mut self, conn: ConnId) {
        let limits = self.wires.response_limits;
        let (mut downstream, mut seen) = (None, None);
        while let Some(session) = self.sessions.get_mut(conn) {
            if session.status.lingering {
                break;
            }
            if session.codec.is_opaque() {
                break;
            }
            let Some(key) = session.exchange() else {
                if session.codec.is_input_empty() && seen.is_some() {
                    // The exchange is complete, which settled and flushed both sides.
                    return;
                }
                self.unasked_bytes(conn);
                break;
            };
            if seen != Some(key) {
                seen = Some(key);
                downstream = self.exchanges.get(key).map(|exchange| exchange.downstream);
            }
            let (event, last) = match session.decode(&limits, &mut self.wires) {
                Ok(Some(event)) => (event, false),
                Ok(None) if session.status.peer_closed => match self.response_cut(conn, key) {
                    Some(event) => (event, true),
                    None => break,
                },
                Ok(None) => break,
                Err(_) => {
                    self.response_garbage(conn, key);
                    break;
                }
            };
            self.response_event(conn, key, event);
            if last {
                break;
            }
        }
        self.settle_credit(conn);
        self.flush(conn);
        if let Some(downstream) = downstream {
            self.flush(downstream);
        }
    }

    // Inlined always: an event is too large to be handed on.
    #[inline(always)]
    pub(crate) fn response_event(&mut self, conn: ConnId, key: ExchangeKey, event: Event) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            if let Event::Head { head, .. } | Event::Informational { head, .. } = event {
                self.wires.put_head(head);
            }
            return;
        };
        exchange.last_activity = self.wires.now;
        exchange.response_begun = true;
        // The endpoint has the request: nothing is repeated any more, unless its answer asks for it.
        if !matches!(event, Event::Head { .. }) || exchange.plan.retry_on.is_empty() {
            exchange.forget_replay();
        }
        let (downstream, stream) = (exchange.downstream, exchange.stream);
        match event {
            Event::Head { head, body, .. } => self.response_head(conn, key, head, body),
            Event::Informational { head, .. } => self.informational(key, head),
            Event::Body { mut bytes, .. } => {
                let count = bytes.len();
                exchange.response_bytes += count as u64;
                if exchange.call.is_call() {
                    exchange.call.response.pass(&bytes);
                    if exchange.started + LASTING < self.wires.now {
                        self.count_messages(key, Direction::Response);
                    }
                }
                let Some((from, to)) = self.sessions.pair(conn, downstream) else { return };
                if from.codec.is_multiplexed() || to.codec.is_multiplexed() {
                    return self.response_body(conn, key, bytes);
                }
                let written = to.encode_body(stream, &mut bytes, &mut self.wires);
                from.owed += count as u32;
                if written != Ok(count) {
                    self.fail_local(key);
                } else if from.codec.take_end() {
                    if to.encode_end(stream, None, &mut self.wires).is_err() {
                        self.fail_local(key);
                    } else {
                        self.complete(key);
                    }
                }
            }
            Event::End { trailers, .. } => {
                if let Some(head) = trailers.as_deref().filter(|_| exchange.call.is_call()) {
                    self.note_status(key, head);
                }
                let ended = match self.sessions.get_mut(downstream) {
                    Some(session) => {
                        session.encode_end(stream, trailers.as_deref(), &mut self.wires)
                    }
                    None => Ok(()),
                };
                if let Some(head) = trailers {
                    self.wires.put_head(head);
                }
                if ended.is_err() {
                    self.fail_local(key);
                } else {
                    self.complete(key);
                }
            }
            Event::Reset { reason, .. } => self.response_reset(key, reason),
            Event::GoAway { .. } => {}
        }
    }

    /// Body bytes where one of the two connections carries many exchanges.
    #[inline(never)]
    fn response_body(&mut self, conn: ConnId, key: ExchangeKey, mut bytes: Chain) {
        let count = bytes.len();
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let (downstream, stream) = (exchange.downstream, exchange.stream);
        let Some((from, to)) = self.sessions.pair(conn, downstream) else { return };
        let ended = from.codec.take_end();
        let queues = to.codec.is_multiplexed();
        let written = match queues && ended {
            true => to.encode_last_multiplexed(stream, &mut bytes, &mut self.wires),
            false => to.encode_body(stream, &mut bytes, &mut self.wires),
        };
        let mut ends = Ok(());
        if written.is_ok() && ended && !queues {
            ends = to.encode_end(stream, None, &mut self.wires);
        }
        // What goes to HTTP/1.1 is credited when TCP has taken it.
        let on_its_way = written.as_ref().map_or(0, |written| if queues { *written } else { 0 });
        let from_stream = exchange.upstream.map_or(stream, |upstream| upstream.stream);
        from.owe_or_credit(
            from_stream,
            (count, on_its_way),
            &mut exchange.response_owed,
            &mut self.wires,
        );
        if written.is_err() || (!queues && written != Ok(count)) {
            return self.fail_local(key);
        }
        self.touch_output(downstream);
        if ends.is_err() {
            self.fail_local(key);
        } else if ended {
            self.complete(key);
        }
    }

    /// The endpoint gave the stream up.
    #[cold]
    pub(crate) fn response_reset(&mut self, key: ExchangeKey, reason: ResetReason) {
        if let Some(state) = self
            .exchanges
            .get(key)
            .and_then(|exchange| exchange.cluster().and_then(|cluster| self.pools.cluster(cluster)))
        {
            state.counters.upstream_rq_rx_reset.increment();
        }
        let Some(exchange) = self.exchanges.get(key) else { return };
        // RFC 9113, 8.1: whoever has answered completely may not need the rest of the request. The
        // answer would have ended the exchange.
        let failure = match reason {
            ResetReason::Refused => Failure::Refused,
            ResetReason::Protocol => Failure::Protocol,
            _ => Failure::Reset { reused: false },
        };
        debug_assert!(exchange.upstream.is_some(), "an event has a stream");
        self.release_upstream(key, false);
        self.fail_upstream(key, failure);
    }

    /// 100 and 103 pass; a client that does not know them (HTTP/1.0) does not get them.
    fn informational(&mut self, key: ExchangeKey, head: Box<Head>) {
        self.wake(key);
        if let Some(exchange) = self.exchanges.get_mut(key)
            && let Some(session) = self.sessions.get_mut(exchange.downstream)
        {
            // The client has heard of this endpoint: it is not sent to another one.
            exchange.replay_lost = true;
            let old = exchange
                .head
                .as_ref()
                .is_some_and(|head| head.version() == sluice_l7_core::Version::Http10);
            let listener = exchange.plan.listener;
            let cluster = exchange.cluster();
            if !old {
                // Without memory for it the client simply does not hear of it.
                let _lost =
                    session.encode_head(exchange.stream, &head, BodyLength::None, &mut self.wires);
            }
            if let Some(state) = self.listener(listener) {
                state.counters.downstream_rq_1xx.increment();
            }
            if let Some(state) = cluster.and_then(|id| self.pools.cluster(id)) {
                state.counters.upstream_rq_1xx.increment();
            }
        }
        self.wires.put_head(head);
    }

    pub(crate) fn response_head(
        &mut self,
        conn: ConnId,
        key: ExchangeKey,
        mut head: Box<Head>,
        body: BodyLength,
    ) {
        let now = self.wires.now;
        self.wake(key);
        if let Some(session) = self.sessions.get_mut(conn)
            && let Role::Upstream(upstream) = &mut session.role
        {
            upstream.used = true;
        }
        if let Some(exchange) = self.exchanges.get(key).filter(|it| it.call.is_call()) {
            if !exchange.plan.retry_on.is_empty() && self.retry_call(key, &head, body) {
                self.wires.put_head(head);
                return;
            }
            self.note_status(key, &head);
        }
        let asked = self.exchanges.get(key).is_some_and(|it| it.tunnel.is_asked());
        if asked && !self.tunnel_answered(key, &mut head) {
            self.wires.put_head(head);
            return;
        }
        if let FilterResult::StopWithReply(reply) = self.filter_response(key, &mut head, body) {
            self.wires.put_head(head);
            self.reply(key, Reply::of_filter(reply));
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(key) else {
            self.wires.put_head(head);
            return;
        };
        exchange.status = head.status();
        exchange.head_at = now;
        exchange.state = State::Responding;
        let (downstream, stream) = (exchange.downstream, exchange.stream);
        if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster(id)) {
            state.counters.count_status(exchange.status);
            if exchange.retried {
                let gave_up = ResponseFlags::RETRY_LIMIT.with(ResponseFlags::UPSTREAM_OVERFLOW);
                if !exchange.flags.intersects(gave_up) {
                    state.counters.upstream_rq_retry_success.increment();
                }
                self.give_retry_back(key);
            }
        }
        let draining = self.draining;
        let Some(session) = self.sessions.get_mut(downstream) else {
            self.wires.put_head(head);
            return;
        };
        if draining {
            session.drain_codec(&mut self.wires);
        }
        let written = session.encode_head(stream, &head, body, &mut self.wires);
        let upgraded = session.codec.is_upgraded();
        self.wires.put_head(head);
        if written.is_err() {
            self.fail_local(key);
            return;
        }
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.head_sent = true;
            if let Some(pin) = exchange.pin.take() {
                self.pins.unpin(pin);
            }
            exchange.invariants();
        }
        if asked && self.exchanges.get(key).is_some_and(|it| it.tunnel == Tunnel::Open) {
            self.tunnel_opened(key, body.is_none());
        } else if upgraded {
            self.upgrade(key);
        } else if body.is_none() {
            self.complete(key);
        }
    }

    /// The endpoint closed: the end of the response, or a response that was cut.
    #[cold]
    fn response_cut(&mut self, conn: ConnId, key: ExchangeKey) -> Option<Event> {
        let session = self.sessions.get_mut(conn)?;
        let reused = session.upstream().is_some_and(|upstream| upstream.used);
        match session.handle_end_of_input(&mut self.wires) {
            Ok(Some(event)) => Some(event),
            Ok(None) | Err(_) => {
                if let Some(state) = self.exchanges.get(key).and_then(|exchange| {
                    exchange.cluster().and_then(|cluster| self.pools.cluster(cluster))
                }) {
                    state.counters.upstream_rq_rx_reset.increment();
                }
                self.release_upstream(key, false);
                self.fail_upstream(key, Failure::Reset { reused });
                None
            }
        }
    }

    /// The endpoint does not speak HTTP.
    #[cold]
    fn response_garbage(&mut self, conn: ConnId, key: ExchangeKey) {
        let cluster = self.sessions.get(conn).and_then(|session| session.upstream());
        if let Some(state) = cluster.and_then(|upstream| self.pools.cluster(upstream.cluster)) {
            state.counters.upstream_cx_protocol_error.increment();
        }
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.response_begun = true;
        }
        self.release_upstream(key, false);
        self.fail_upstream(key, Failure::Protocol);
    }

    /// Bytes on a connection that nobody asked anything: it cannot be trusted with a request.
    fn unasked_bytes(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        if session.codec.is_input_empty() {
            return;
        }
        let cluster = session.upstream().map(|upstream| upstream.cluster);
        if let Some(state) = cluster.and_then(|id| self.pools.cluster(id)) {
            state.counters.upstream_cx_protocol_error.increment();
        }
        self.abort_upstream(conn);
    }

    /// We could not write a message part: no memory, or a head that cannot be said.
    pub(crate) fn fail_local(&mut self, key: ExchangeKey) {
        self.counters.no_buffer.increment();
        let Some(exchange) = self.exchanges.get(key) else { return };
        if exchange.head_sent {
            self.cut_downstream(key, ResponseFlags::OVERLOAD);
        } else {
            self.reply(key, Reply::OVERLOAD);
        }
    }
}

const _: () = assert!(!status::is_informational(101), "101 is a final head: it ends HTTP");
