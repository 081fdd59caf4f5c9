//! What happens when an endpoint fails a request: once more elsewhere, an answer of our own, or a
//! response that is visibly cut.

use crate::exchange::{Exchange, ExchangeKey, Kind, State};
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;
use crate::responses::Reply;

/// How an endpoint failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// No connection: refused, no answer in time, no port. It has seen nothing of the request.
    Connect,
    /// The connection ended. `reused`: it had carried a response before, so the endpoint may have
    /// closed it just as we wrote.
    Reset {
        /// See above.
        reused: bool,
    },
    /// It said that it has not looked at the request (RFC 9113, 8.7).
    Refused,
    /// The answer is not HTTP.
    Protocol,
}

/// Whether the request may be sent again.
///
/// Never twice to somebody who may have acted on it: after a connection failure nothing was sent;
/// after a reset only methods that may be repeated are (RFC 9110, 9.2.2: a proxy must not repeat
/// others by itself), and only while every byte of the body that was sent is still here.
fn may_retry(exchange: &Exchange, failure: Failure) -> bool {
    if exchange.tried.is_full() || exchange.replay_lost {
        return false;
    }
    if failure == Failure::Refused {
        // Once without being asked to: it costs nobody anything.
        let again = !exchange.resent || exchange.plan.retries_left > 0;
        return again && !exchange.response_begun;
    }
    if exchange.plan.retries_left == 0 {
        return false;
    }
    match failure {
        Failure::Connect => true,
        Failure::Reset { .. } => {
            let idempotent =
                exchange.head.as_ref().is_some_and(|head| head.method().is_idempotent());
            idempotent && !exchange.response_begun
        }
        Failure::Refused | Failure::Protocol => false,
    }
}

impl Proxy {
    /// The endpoint failed; the exchange holds no connection any more.
    pub(crate) fn fail_upstream(&mut self, key: ExchangeKey, failure: Failure) {
        self.wake(key);
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        debug_assert!(exchange.upstream.is_none(), "a failed connection is let go first");
        exchange.state = State::Local;
        if exchange.head_sent {
            let flag = match failure {
                Failure::Protocol => ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                Failure::Connect | Failure::Refused | Failure::Reset { .. } => {
                    ResponseFlags::UPSTREAM_TERMINATION
                }
            };
            self.cut_downstream(key, flag);
            return;
        }
        let retries_used = exchange.retried && exchange.plan.retries_left == 0;
        let asked_to = failure != Failure::Refused || exchange.resent;
        // Who closes a connection that was kept, just as we use it, has no trouble.
        let at_once = !asked_to || failure == Failure::Reset { reused: true };
        let mut overflow = false;
        if may_retry(exchange, failure)
            && let Some(at) = if at_once { Some(self.wires.now) } else { self.retry_time(key) }
            && (!asked_to || self.draw_retry(key, &mut overflow))
            && let Some(exchange) = self.exchanges.get_mut(key)
        {
            exchange.resent |= failure == Failure::Refused;
            if asked_to {
                exchange.plan.retries_left -= 1;
            }
            exchange.retried = true;
            exchange.request_forwarded = false;
            if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster(id)) {
                state.counters.upstream_rq_retry.increment();
            }
            // After a reset on a reused connection the other idle ones are no better.
            self.send_again(key, true, at);
            return;
        }
        let Some(exchange) = self.exchanges.get(key) else { return };
        if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster(id)) {
            if failure == Failure::Connect {
                state.counters.upstream_rq_pending_failure_eject.increment();
            }
            if retries_used {
                state.counters.upstream_rq_retry_limit_exceeded.increment();
            }
        }
        let mut reply = match failure {
            Failure::Connect => Reply::CONNECT_FAILURE,
            Failure::Refused | Failure::Reset { .. } => Reply::UPSTREAM_RESET,
            Failure::Protocol => Reply::UPSTREAM_GARBAGE,
        };
        if retries_used {
            reply.flags = reply.flags.with(ResponseFlags::RETRY_LIMIT);
        }
        if overflow {
            reply.flags = reply.flags.with(ResponseFlags::UPSTREAM_OVERFLOW);
        }
        if exchange.kind == Kind::Tcp {
            let conn = exchange.downstream;
            self.abort_downstream(conn, reply.flags);
        } else {
            self.reply(key, reply);
        }
    }

    /// A permit of the cluster's `max_retries`, held until the answer's head or the request's end:
    /// endpoints that fail because of their load get little more of it by our doing. False: there is
    /// none, which is counted, and said by `overflow`.
    pub(crate) fn draw_retry(&mut self, key: ExchangeKey, overflow: &mut bool) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        // A relay's attempts to connect are bounded by its `retries` alone.
        if exchange.retry_permit || exchange.kind == Kind::Tcp {
            return true;
        }
        let cluster = exchange.cluster().and_then(|id| self.pools.cluster_mut(id));
        let Some(state) = cluster else { return false };
        exchange.retry_permit = state.retries.try_take();
        *overflow = !exchange.retry_permit;
        if *overflow {
            state.counters.upstream_rq_retry_overflow.increment();
        }
        exchange.retry_permit
    }

    /// The request that was sent again has its answer, or is over.
    #[cold]
    pub(crate) fn give_retry_back(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        if !std::mem::take(&mut exchange.retry_permit) {
            return;
        }
        if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster_mut(id)) {
            state.retries.give_back();
        }
    }
}
