//! The rate at which data is delivered (draft-cheng-iccrg-delivery-rate-estimation-02).
//!
//! Every burst is remembered with what had been delivered when it left. When its end arrives, what
//! was delivered since, over the time that took, at the sender or at the receiver, whichever is
//! longer, is a sample of what the path carries.

use sluice_wire::SeqNumber;

use crate::flight::{Stamp, nanos_of};

/// Bursts remembered; what leaves beyond joins the last one.
const BURSTS: usize = 32;
/// What leaves within this part of a round trip is one burst.
const BURST_SHIFT: u32 = 5;

#[derive(Clone, Copy, Debug)]
struct Burst {
    /// Behind its last number.
    end: SeqNumber,
    sent: Stamp,
    /// What was known when it left.
    delivered: u32,
    delivered_at: Stamp,
    /// When the burst was sent whose arrival had been told last.
    first_sent: Stamp,
    is_app_limited: bool,
}

/// What an arrival tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Bytes per second; None when it took less than any round trip can.
    pub(super) rate: Option<u64>,
    /// Since its burst left, ticks.
    pub(super) round_trip: u32,
    /// `delivered` when it left.
    pub(super) delivered_before: u32,
    /// The application had nothing more to send: the path may carry more.
    pub(super) is_app_limited: bool,
}

#[derive(Debug)]
pub(super) struct Delivery {
    /// Bytes delivered so far; wraps.
    pub(super) delivered: u32,
    delivered_at: Stamp,
    first_sent: Stamp,
    /// Until `delivered` is there, the rate is the application's.
    app_limited_until: Option<u32>,
    /// The highest number of which an arrival told.
    told: SeqNumber,
    bursts: [Burst; BURSTS],
    first: usize,
    count: usize,
}

impl Delivery {
    pub(super) fn new() -> Self {
        let zero = Stamp(0);
        let burst = Burst {
            end: SeqNumber::ZERO,
            sent: zero,
            delivered: 0,
            delivered_at: zero,
            first_sent: zero,
            is_app_limited: false,
        };
        Self {
            delivered: 0,
            delivered_at: zero,
            first_sent: zero,
            app_limited_until: None,
            told: SeqNumber::ZERO,
            bursts: [burst; BURSTS],
            first: 0,
            count: 0,
        }
    }

    /// New numbers from `from` to `end` leave; nothing else is under way if `is_first`.
    pub(super) fn on_sent(
        &mut self,
        (from, end): (SeqNumber, SeqNumber),
        is_first: bool,
        smoothed: u32,
        now: Stamp,
    ) {
        if is_first {
            (self.count, self.told) = (0, from);
            (self.first_sent, self.delivered_at) = (now, now);
        }
        if self.count > 0 {
            let last = &mut self.bursts[(self.first + self.count - 1) % BURSTS];
            if self.count == BURSTS || now.since(last.sent) <= smoothed >> BURST_SHIFT {
                last.end = end;
                return;
            }
        }
        self.bursts[(self.first + self.count) % BURSTS] = Burst {
            end,
            sent: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            is_app_limited: self.app_limited_until.is_some(),
        };
        self.count += 1;
    }

    /// There is nothing more to send, with `pipe` bytes under way.
    pub(super) fn on_app_limited(&mut self, pipe: u32) {
        self.app_limited_until = Some(self.delivered.wrapping_add(pipe));
    }

    /// `bytes` more arrived, `highest` is the highest number that did.
    pub(super) fn on_delivered(
        &mut self,
        bytes: u32,
        highest: SeqNumber,
        round_trip_min: u32,
        now: Stamp,
    ) -> Option<Sample> {
        self.delivered = self.delivered.wrapping_add(bytes);
        self.delivered_at = now;
        if let Some(until) = self.app_limited_until
            && self.delivered.wrapping_sub(until).cast_signed() > 0
        {
            self.app_limited_until = None;
        }
        if !highest.after(self.told) {
            // Something that was sent again: which copy arrived, nobody knows.
            return None;
        }
        self.told = highest;
        // The burst in which `highest` lies; those before it have nothing more to tell.
        while self.count > 1 && self.bursts[self.first].end.before(highest) {
            self.first = (self.first + 1) % BURSTS;
            self.count -= 1;
        }
        let burst = self.bursts[self.first];
        if self.count == 0 || highest.after(burst.end) {
            return None;
        }
        if burst.end == highest {
            self.first = (self.first + 1) % BURSTS;
            self.count -= 1;
        }
        self.first_sent = burst.sent;
        let took = burst.sent.since(burst.first_sent).max(now.since(burst.delivered_at));
        let arrived = self.delivered.wrapping_sub(burst.delivered);
        let is_sound = took > 0 && took >= round_trip_min;
        Some(Sample {
            rate: is_sound.then(|| u64::from(arrived) * 1_000_000_000 / nanos_of(took)),
            round_trip: now.since(burst.sent).max(1),
            delivered_before: burst.delivered,
            is_app_limited: burst.is_app_limited,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u32 = 244;

    #[test]
    fn a_steady_flow_is_measured_and_a_pause_is_the_applications() {
        let mut delivery = Delivery::new();
        // 1,000 bytes a millisecond, 10 ms to arrive.
        let mut last = None;
        for ms in 0..30u32 {
            let now = Stamp(ms * MS);
            if ms >= 10 {
                last = delivery.on_delivered(1_000, SeqNumber((ms - 9) * 1_000), 10 * MS, now);
            }
            let range = (SeqNumber(ms * 1_000), SeqNumber((ms + 1) * 1_000));
            delivery.on_sent(range, ms == 0, 10 * MS, now);
        }
        let sample = last.expect("a burst arrived");
        let rate = sample.rate.expect("a round trip passed");
        assert!((980_000..1_020_000).contains(&rate), "{rate} bytes a second");
        assert_eq!((sample.round_trip, sample.is_app_limited), (10 * MS, false));
        delivery.on_app_limited(10_000);
        let range = (SeqNumber(30_000), SeqNumber(31_000));
        delivery.on_sent(range, false, 10 * MS, Stamp(35 * MS));
        let sample = delivery.on_delivered(11_000, SeqNumber(31_000), 10 * MS, Stamp(45 * MS));
        assert!(sample.is_some_and(|it| it.is_app_limited));
    }

    /// Many ACKs in one bunch would look like a fast path.
    #[test]
    fn what_took_less_than_a_round_trip_is_no_rate() {
        let mut delivery = Delivery::new();
        delivery.on_sent((SeqNumber(0), SeqNumber(1_000)), true, 10 * MS, Stamp(0));
        let sample = delivery.on_delivered(1_000, SeqNumber(1_000), 10 * MS, Stamp(5 * MS));
        assert!(sample.is_some_and(|it| it.rate.is_none()));
        // Nothing higher arrived: a sample of what was sent last would be of no round trip at all.
        delivery.on_sent((SeqNumber(1_000), SeqNumber(2_000)), false, 10 * MS, Stamp(9 * MS));
        let sample = delivery.on_delivered(0, SeqNumber(1_000), 10 * MS, Stamp(9 * MS));
        assert!(sample.is_none());
    }
}
