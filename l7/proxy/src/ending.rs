//! How exchanges end: completely, cut, or given up. Every end passes through [`Proxy::finish`].

use sluice_l7_core::ResetReason;

use crate::exchange::{Ended, ExchangeKey, Kind, State};
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;

impl Proxy {
    /// The response is written to its end.
    pub(crate) fn complete(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        // A tunnel that was refused: its endpoint has had all that there was for it.
        let forwarded = exchange.request_forwarded;
        let whole = exchange.request_ended && forwarded;
        if !whole && exchange.tunnel.is_open() {
            return self.tunnel_half_over(key);
        }
        let (conn, stream) = (exchange.downstream, exchange.stream);
        if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster(id)) {
            state.counters.upstream_rq_completed.increment();
            let took = self.wires.now.nanos_since(exchange.started);
            self.completed.add(took);
            if !forwarded {
                state.counters.upstream_rq_tx_reset.increment();
            }
        }
        self.release_upstream(key, forwarded);
        // What is here of the request but not forwarded is not needed any more.
        let ended = whole || self.discard_request(key);
        self.finish(key, ResponseFlags::NONE);
        if self.is_multiplexed(conn) {
            self.stream_over(conn, stream, ended);
        } else if ended {
            self.next_request(conn);
        } else {
            self.close_downstream(conn);
        }
    }

    /// A response whose head is out cannot end well: the client must see that it is cut.
    ///
    /// Where length or chunks show the cut, what there is is sent and the connection closed: a FIN
    /// is sent again until it arrives, while a lost reset would leave the client waiting for ever.
    /// Where the connection's end would be the body's end, only a reset tells.
    pub(crate) fn cut_downstream(&mut self, key: ExchangeKey, flags: ResponseFlags) {
        if self.end_late_call(key, flags) {
            return;
        }
        let Some(exchange) = self.exchanges.get(key) else { return };
        if let Some(state) = self.listener(exchange.plan.listener) {
            state.counters.downstream_rq_tx_reset.increment();
        }
        let (conn, stream) = (exchange.downstream, exchange.stream);
        let why = if exchange.call.is_over(self.wires.now) {
            // Which its caller, whose time is over as well, takes for the deadline.
            ResetReason::Cancelled
        } else if exchange.tunnel.is_open() && flags.contains(ResponseFlags::UPSTREAM_TERMINATION) {
            // RFC 9113, 8.5: as if a TCP connection had failed.
            ResetReason::ConnectError
        } else {
            ResetReason::Internal
        };
        let session = self.sessions.get(conn);
        if session.is_some_and(|session| session.codec.is_multiplexed()) {
            self.cancel(key, flags);
            self.reset_downstream(conn, stream, why);
        } else if session.is_some_and(|session| session.codec.shows_cut(stream)) {
            self.cancel(key, flags);
            self.close_downstream(conn);
        } else {
            self.abort_downstream(conn, flags);
        }
    }

    /// Gives the exchange up, whatever it waits for. The client's connection stays.
    pub(crate) fn cancel(&mut self, key: ExchangeKey, flags: ResponseFlags) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        if exchange.waits_for_connection()
            && let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster(id))
        {
            state.counters.upstream_rq_cancelled.increment();
        }
        if flags.contains(ResponseFlags::DOWNSTREAM_TERMINATION)
            && let Some(state) = self.listener(exchange.plan.listener)
        {
            state.counters.downstream_rq_rx_reset.increment();
        }
        self.detach(key);
        self.finish(key, flags);
    }

    /// Lets go of queue place, attempt or connection.
    pub(crate) fn detach(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        match exchange.state {
            State::Local => {}
            State::BackingOff { .. } => exchange.state = State::Local,
            State::Queued => {
                exchange.state = State::Local;
                if let Some(cluster) = exchange.cluster() {
                    self.pools.dequeue(cluster, key, &mut self.exchanges);
                }
            }
            State::Settling(index) => self.unawait(key, index),
            State::Connecting(token) => {
                exchange.state = State::Local;
                // The connection itself goes on: the next request will be glad of it. If it has
                // its id already, it finds a stale key there.
                let attempt = self.pools.attempt_key(token);
                if let Some(attempt) = attempt.and_then(|at| self.pools.attempts.get_mut(at))
                    && attempt.exchange == Some(key)
                {
                    attempt.exchange = None;
                }
            }
            State::Sent | State::Responding | State::Relaying => {
                if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster(id)) {
                    state.counters.upstream_rq_tx_reset.increment();
                }
                self.release_upstream(key, false);
            }
        }
        self.give_pending_back(key);
    }

    /// Counts, logs and frees. The exchange holds nothing upstream any more.
    pub(crate) fn finish(&mut self, key: ExchangeKey, flags: ResponseFlags) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        // One look for all: few have any of them.
        let holds = exchange.pending_permit | exchange.retry_permit | exchange.packed.is_some();
        if holds {
            return self.finish_unfinished(key, flags);
        }
        self.exchange_timers.clear(key.index);
        debug_assert!(exchange.upstream.is_none(), "the connection is let go before the exchange");
        exchange.flags = exchange.flags.with(flags);
        let (kind, status, listener) = (exchange.kind, exchange.status, exchange.plan.listener);
        let is_call = exchange.call.is_call();
        if kind != Kind::Tcp
            && let Some(state) = self.listener(listener)
        {
            state.counters.downstream_rq_active.subtract(1);
            if status != 0 {
                state.counters.count_status(status);
                state.counters.downstream_rq_completed.increment();
            }
        }
        if is_call {
            self.count_call(key, flags);
        }
        self.record(key);
        let Some(ended) = self.exchanges.end(key) else { return };
        let Ended { pin, head, trailers, downstream, stream, owed } = ended;
        if let Some(pin) = pin {
            self.pins.unpin(pin);
        }
        for head in [head, trailers].into_iter().flatten() {
            self.wires.put_head(head);
        }
        let Some(session) = self.sessions.get_mut(downstream) else { return };
        if session.codec.is_multiplexed() {
            if owed > 0 {
                session.credit_body(stream, owed as usize, &mut self.wires);
            }
        } else {
            session.set_exchange(None);
        }
    }

    /// As [`Proxy::finish`], for one that still holds permits, or rests.
    #[cold]
    fn finish_unfinished(&mut self, key: ExchangeKey, flags: ResponseFlags) {
        self.wake(key);
        self.give_pending_back(key);
        self.give_retry_back(key);
        self.finish(key, flags);
    }
}
