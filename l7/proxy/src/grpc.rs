//! What gRPC hears from the proxy itself, and calls that are sent again.

use sluice_base::ConnId;
use sluice_l7_core::{BodyLength, Head, NameId, StreamId};
use sluice_l7_filter::FilterResult;
use sluice_l7_grpc::{CONTENT_TYPE, Status, message};

use crate::call::is_call;
use crate::exchange::ExchangeKey;
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;
use crate::responses::{Reply, ReplyParts};

/// Status of every answer of ours to a call: what happened is in `grpc-status`.
pub(crate) const GRPC_REPLY_STATUS: u16 = 200;

impl Proxy {
    /// The status of a call that is to hear of these parts; None: it is no call, or one that the
    /// parts are meant for as they are.
    pub(crate) fn grpc_status(&self, key: ExchangeKey, parts: &ReplyParts<'_>) -> Option<Status> {
        let exchange = self.exchanges.get(key)?;
        let is_error = parts.status != 200 && parts.location.is_none();
        if !is_error || !is_call(exchange.head.as_deref()?) {
            return None;
        }
        if parts.status == Reply::CALL_DEADLINE.status && exchange.call.is_over(self.wires.now) {
            return Some(Status::DeadlineExceeded);
        }
        Some(Status::of_http(parts.status))
    }

    /// An answer without a body: all that there is to say is in its head ("Trailers-Only").
    #[cold]
    pub(crate) fn write_grpc_reply(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        key: ExchangeKey,
        status: Status,
        parts: &ReplyParts<'_>,
    ) -> bool {
        let mut head = self.wires.heads.take();
        head.reset_to_response(GRPC_REPLY_STATUS);
        head.append(NameId::CONTENT_TYPE, CONTENT_TYPE);
        append_status(&mut head, status);
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        message::encode(&String::from_utf8_lossy(parts.body), &mut text);
        if !text.is_empty() {
            head.append(NameId::GRPC_MESSAGE, &text);
        }
        self.text = text;
        let (FilterResult::Continue | FilterResult::StopWithReply(_)) =
            self.filter_response(key, &mut head, BodyLength::None);
        let written = self.sessions.get_mut(conn).is_some_and(|session| {
            session.encode_head(stream, &head, BodyLength::None, &mut self.wires).is_ok()
        });
        self.wires.put_head(head);
        self.flush(conn);
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.call.status = Some(status);
        }
        written
    }
}

fn append_status(head: &mut Head, status: Status) {
    let code = status.code();
    let digits = [b'0' + code / 10, b'0' + code % 10];
    head.append(NameId::GRPC_STATUS, &digits[usize::from(code < 10)..]);
}

impl Proxy {
    /// Ends a call whose deadline is over while its messages were on their way: where none of them
    /// is cut, and the client's stream can say so, by trailers, as an endpoint would. A caller's own
    /// clock may be a little behind, and a reset would be news of something else to it. False: it
    /// has to be cut.
    #[cold]
    pub(crate) fn end_late_call(&mut self, key: ExchangeKey, flags: ResponseFlags) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let call = &mut exchange.call;
        if !call.is_call() || !call.is_over(self.wires.now) || !call.response.is_between() {
            return false;
        }
        let (conn, stream) = (exchange.downstream, exchange.stream);
        let whole = exchange.request_ended;
        let Some(session) = self.sessions.get_mut(conn) else { return false };
        if !session.codec.is_multiplexed() {
            return false;
        }
        let mut trailers = self.wires.heads.take();
        trailers.reset();
        append_status(&mut trailers, Status::DeadlineExceeded);
        trailers.append(NameId::GRPC_MESSAGE, Reply::CALL_DEADLINE.body.as_bytes());
        let written = session.encode_end(stream, Some(&trailers), &mut self.wires);
        self.wires.put_head(trailers);
        if written.is_err() {
            return false;
        }
        call.status = Some(Status::DeadlineExceeded);
        self.cancel(key, flags);
        self.stream_over(conn, stream, whole);
        true
    }

    /// Sends a call again whose answer is a status alone, one that the route says so for; false: the
    /// answer is the caller's.
    ///
    /// The endpoint has looked at the call: whether it may do so twice is the operator's to know.
    pub(crate) fn retry_call(&mut self, key: ExchangeKey, head: &Head, body: BodyLength) -> bool {
        let now = self.wires.now;
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let status = head.get(NameId::GRPC_STATUS).and_then(Status::parse);
        let wanted = status.is_some_and(|status| exchange.plan.retry_on.contains(status));
        if !wanted || !body.is_none() {
            exchange.forget_replay();
            return false;
        }
        let at = self.retry_time(key);
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let may = at.is_some()
            && !exchange.replay_lost
            && !exchange.tried.is_full()
            && exchange.plan.retries_left > 0
            && !exchange.call.is_over(now);
        let mut overflow = false;
        let may = may && self.draw_retry(key, &mut overflow);
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let counters = exchange.cluster().and_then(|id| self.pools.cluster(id));
        let counters = counters.map(|state| &state.counters);
        if !may {
            if overflow {
                exchange.flags = exchange.flags.with(ResponseFlags::UPSTREAM_OVERFLOW);
            } else if let Some(counters) = counters.filter(|_| exchange.retried) {
                counters.upstream_rq_retry_limit_exceeded.increment();
                exchange.flags = exchange.flags.with(ResponseFlags::RETRY_LIMIT);
            }
            exchange.forget_replay();
            return false;
        }
        if let Some(counters) = counters {
            counters.count_status(head.status());
            counters.upstream_rq_completed.increment();
            counters.upstream_rq_retry.increment();
        }
        let whole = exchange.request_ended && exchange.request_forwarded;
        exchange.plan.retries_left -= 1;
        exchange.retried = true;
        (exchange.request_forwarded, exchange.response_begun) = (false, false);
        exchange.call.count_attempt(exchange.head.as_deref_mut());
        self.release_upstream(key, whole);
        self.send_again(key, false, at.unwrap_or(now));
        true
    }
}
