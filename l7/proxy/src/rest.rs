//! Requests that rest: sent on, and not answered for so long that their memory is better used
//! elsewhere.
//!
//! ```text
//!   at hand ---- a second old, sent ----> packed ---- answered, failed, over ----> at hand
//!      |                                                                             |
//!      +---- a second old, answered, and nobody will ask for the head again ---------+--> gone
//! ```
//!
//! A head at hand has 1.5 KiB of its own, and may hold the buffer that it arrived in. Packed, it is
//! about as long as its text. A stream that stays open for hours has usually been answered, and has
//! none.

use sluice_base::Instant;

use crate::exchange::{Exchange, ExchangeKey, State};
use crate::limits::REST;
use crate::proxy::Proxy;
use crate::tunnel::Tunnel;

impl Exchange {
    /// Whether its head may be asked for once more: where the request may have to be sent again, or
    /// said yes to. The log aside.
    fn needs_head(&self) -> bool {
        !self.head_sent || !self.request_ended
    }
}

impl Proxy {
    /// Packs the head of a request that is in nobody's hands, or gives it up; when to look again.
    pub(crate) fn rest(&mut self, key: ExchangeKey) -> Instant {
        let now = self.wires.now;
        let logs = self.logs();
        let Some(exchange) = self.exchanges.get_mut(key) else { return Instant::NEVER };
        let rests_at = exchange.started + REST;
        // Who asked for a tunnel has places in its head still to look at.
        let is_sent = matches!(exchange.state, State::Sent | State::Responding)
            && !matches!(exchange.tunnel, Tunnel::Asked(_));
        let Some(head) = exchange.head.take_if(|_| is_sent && rests_at <= now) else {
            return match exchange.head {
                Some(_) if rests_at > now => rests_at,
                Some(_) => now + REST,
                None => Instant::NEVER,
            };
        };
        if logs || exchange.needs_head() {
            let mut scratch = self.wires.heads.take_large();
            exchange.packed = head.pack(&mut scratch);
            self.wires.heads.put_large(scratch);
        } else if exchange.call.is_call() && exchange.call.place.is_none() {
            let path = head.path().split(|byte| *byte == b'?').next();
            self.place_answered(key, path.unwrap_or_default());
        }
        self.wires.put_head(head);
        Instant::NEVER
    }

    /// The head of the request is at hand again, if it rested.
    #[inline]
    pub(crate) fn wake(&mut self, key: ExchangeKey) {
        if self.exchanges.get(key).is_some_and(|exchange| exchange.packed.is_some()) {
            self.wake_up(key);
        }
    }

    #[cold]
    fn wake_up(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(packed) = exchange.packed.take() else { return };
        let mut head = self.wires.heads.take();
        head.unpack(&packed);
        exchange.head = Some(head);
        // It may go on for long.
        self.exchange_timers.set_earlier(key.index, self.wires.now + REST);
    }
}
