//! Requests that wait before they are sent again, so that those which failed together do not come
//! again together: full jitter, exponential (Envoy's).
//!
//! ```text
//!   failed --> BackingOff --- time ---> dispatched
//!                  |    deadline: 504      client gone, or no room to wait: over at once
//!                  +-------------------> (gone)
//! ```
//!
//! The exchange's timer brings it back. Who waits holds a permit of `max_pending`, as those do who
//! wait for a connection: a cluster that fails holds no more requests than one that is slow.

use sluice_base::Instant;
use sluice_config_model::BackOff;

use crate::exchange::{ExchangeKey, State};
use crate::proxy::Proxy;

/// Microseconds that the wait in front of the `nth` retry takes at most, from 1 on.
fn longest_us(back_off: BackOff, nth: u32) -> u64 {
    let doubled = back_off.base_interval.saturating_mul((1u32 << nth.min(16)) - 1);
    u64::try_from(doubled.min(back_off.max_interval).as_micros()).unwrap_or(u64::MAX)
}

impl Proxy {
    /// When the request is sent again; None: its time would be over by then.
    pub(crate) fn retry_time(&mut self, key: ExchangeKey) -> Option<Instant> {
        let now = self.wires.now;
        let exchange = self.exchanges.get(key)?;
        let snapshot = exchange.pin.as_ref().and_then(|pin| self.pins.get(pin));
        let listener = snapshot.and_then(|it| it.listener(exchange.plan.listener));
        let route = listener.zip(exchange.plan.route).and_then(|(it, id)| it.routes.route(id));
        // A relay has no route, and is retried at once.
        let back_off = route.map_or(BackOff::NONE, |route| route.retry_back_off);
        let nth = exchange.tried.as_slice().len() as u32;
        let longest = u32::try_from(longest_us(back_off, nth)).unwrap_or(u32::MAX);
        if longest == 0 {
            return Some(now);
        }
        let until = now.plus_nanos(u64::from(self.rng.below(longest)) * 1_000);
        (until < exchange.deadline()).then_some(until)
    }

    /// Sends the request again when its time has come.
    pub(crate) fn send_again(&mut self, key: ExchangeKey, fresh: bool, at: Instant) {
        if at <= self.wires.now {
            return self.dispatch(key, fresh);
        }
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(cluster) = exchange.cluster() else { return self.dispatch(key, fresh) };
        if !self.draw_pending(key, cluster) {
            return;
        }
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_rq_retry_backoff_exponential.increment();
        }
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        exchange.state = State::BackingOff { fresh };
        exchange.retry_at = at;
        self.exchange_timers.set(key.index, exchange.deadline().min(at));
    }

    /// The timer of an exchange that is backing off, whose deadline has not come.
    pub(crate) fn back_off_timer(&mut self, key: ExchangeKey, fresh: bool) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let deadline = exchange.deadline();
        if exchange.retry_at > self.wires.now {
            self.exchange_timers.set(key.index, deadline.min(exchange.retry_at));
            return;
        }
        exchange.state = State::Local;
        self.exchange_timers.set(key.index, deadline.min(self.rested_at()));
        self.dispatch(key, fresh);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn intervals_double_up_to_the_longest() {
        let at = |nth| longest_us(BackOff::USUAL, nth) / 1_000;
        assert_eq!([1, 2, 3, 4, 5, 8].map(at), [25, 75, 175, 250, 250, 250]);
        assert_eq!(longest_us(BackOff::NONE, 3), 0);
        let endless = BackOff { base_interval: Duration::MAX, max_interval: Duration::MAX };
        assert_eq!(longest_us(endless, 40), u64::MAX);
    }
}
