//! Requests that rest: what nothing has happened to for a second takes little memory.
//!
//! ```text
//!   head:      at hand ---- a second old, sent ----> packed ---- needed again ----> at hand
//!                 +---- the same, answered, and nobody will ask for it again ----> gone
//!
//!   exchange:  at hand -- a second without news --> folded ---- an event, time ----> at hand
//! ```
//!
//! A head at hand has 1.5 KiB of its own, and may hold the buffer that it arrived in. Packed, it is
//! about as long as its text. A stream that stays open for hours has usually been answered, and has
//! none.
//!
//! An exchange between two streams of HTTP/2 is [folded](crate::exchange): its connections carry
//! others, so there may be very many of them. With HTTP/1.1 on one side there is a connection for each,
//! beside which it is small. Folded it has another key, which its two streams are told. So the ways
//! back are few: [`Proxy::at_hand`] where a stream names its exchange, its own timer, and the walk
//! over all exchanges of a connection.

use sluice_base::Instant;

use crate::exchange::{Exchange, ExchangeKey, State, is_folded, slot_of};
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
    /// Packs what the exchange does not need at hand; when to look again. None: it is folded, and its
    /// timer is set.
    pub(crate) fn rest(&mut self, key: ExchangeKey) -> Option<Instant> {
        let look_at = self.rest_head(key);
        let now = self.wires.now;
        let exchange = self.exchanges.get(key)?;
        let (client, upstream) = (exchange.downstream, exchange.upstream);
        let rests_at = exchange.last_activity.plus_nanos(self.rest_nanos);
        let is_foldable = exchange.is_foldable();
        let endpoint = upstream.map_or(client, |upstream| upstream.conn);
        if !self.is_multiplexed(client) || !self.is_multiplexed(endpoint) {
            return Some(look_at);
        }
        if is_foldable && rests_at <= now {
            self.fold(key);
            return None;
        }
        Some(look_at.min(if rests_at > now { rests_at } else { self.rested_at() }))
    }

    /// When what happens now is so long ago that it rests.
    #[inline]
    pub(crate) fn rested_at(&self) -> Instant {
        self.wires.now.plus_nanos(self.rest_nanos)
    }

    /// Packs the head of a request that is in nobody's hands, or gives it up; when to look again.
    fn rest_head(&mut self, key: ExchangeKey) -> Instant {
        let now = self.wires.now;
        let (logs, rest_nanos) = (self.logs(), self.rest_nanos);
        let Some(exchange) = self.exchanges.get_mut(key) else { return Instant::NEVER };
        let rests_at = exchange.started.plus_nanos(rest_nanos);
        // Who asked for a tunnel has places in its head still to look at.
        let is_sent = matches!(exchange.state, State::Sent | State::Responding)
            && !matches!(exchange.tunnel, Tunnel::Asked(_));
        let Some(head) = exchange.head.take_if(|_| is_sent && rests_at <= now) else {
            return match exchange.head {
                Some(_) if rests_at > now => rests_at,
                Some(_) => now.plus_nanos(rest_nanos),
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
        let look_at = self.rested_at();
        self.exchange_timers.set_earlier(key.index, look_at);
    }
}

/// Folding.
impl Proxy {
    /// Folds an exchange between two streams, which are told its key from now on.
    fn fold(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        let Some(upstream) = exchange.upstream else { return };
        let (deadline, named) = (exchange.deadline(), exchange.named);
        let (client, stream) = (exchange.downstream, exchange.stream);
        let mut scratch = self.wires.heads.take_large();
        let folded = self.exchanges.fold(key, &mut scratch);
        self.wires.heads.put_large(scratch);
        let Some(folded) = folded else { return };
        for (conn, stream) in [(client, stream), (upstream.conn, upstream.stream)] {
            if let Some(session) = self.sessions.get_mut(conn) {
                session.attach(stream, folded);
            }
        }
        // Its slot may be one that the walk has passed.
        self.named.note(named);
        self.exchange_timers.clear(key.index);
        self.folded_timers.set(slot_of(folded), deadline);
    }

    /// The key of an exchange as a stream names it, once the exchange is at hand.
    #[inline]
    pub(crate) fn at_hand(&mut self, key: ExchangeKey) -> ExchangeKey {
        if is_folded(key) { self.unfold(key) } else { key }
    }

    /// Its new key; one that is over keeps the old one, which names nothing.
    #[cold]
    fn unfold(&mut self, key: ExchangeKey) -> ExchangeKey {
        let unfolded = self.exchanges.unfold(key, &mut self.wires);
        let Some((at_hand, exchange)) = unfolded else { return key };
        self.named.note(exchange.named);
        let look_at = exchange.deadline().min(self.wires.now.plus_nanos(self.rest_nanos));
        if let Some(session) = self.sessions.get_mut(exchange.downstream) {
            session.attach(exchange.stream, at_hand);
        }
        if let Some(upstream) = exchange.upstream
            && let Some(session) = self.sessions.get_mut(upstream.conn)
        {
            session.attach(upstream.stream, at_hand);
            let known = session.upstream();
            exchange.endpoint = known.map(|known| known.endpoint);
            exchange.remote = known.map(|known| known.remote);
        }
        exchange.invariants();
        self.folded_timers.clear(slot_of(key));
        self.exchange_timers.set(at_hand.index, look_at);
        at_hand
    }

    /// Time is up for exchanges that are folded.
    pub(crate) fn handle_folded_timers(&mut self, now: Instant) {
        while let Some(slot) = self.folded_timers.pop_due(now) {
            if let Some(key) = self.exchanges.folded_at(slot) {
                let key = self.unfold(key);
                self.handle_exchange_timer(key.index);
            }
        }
    }
}

#[cfg(test)]
impl Proxy {
    /// Folds what may be, however young it is.
    pub(crate) fn fold_all(&mut self) {
        for index in 0..self.exchanges.slots() {
            let Some(key) = self.exchanges.key_at(index) else { continue };
            let Some(exchange) = self.exchanges.get_mut(key) else { continue };
            let (started, moved) = (exchange.started, exchange.last_activity);
            (exchange.started, exchange.last_activity) = (Instant::ZERO, Instant::ZERO);
            self.rest_head(key);
            let Some(exchange) = self.exchanges.get_mut(key) else { continue };
            (exchange.started, exchange.last_activity) = (started, moved);
            let Some(upstream) = exchange.upstream.filter(|_| exchange.is_foldable()) else {
                continue;
            };
            let client = exchange.downstream;
            if self.is_multiplexed(client) && self.is_multiplexed(upstream.conn) {
                self.fold(key);
            }
        }
    }
}
