//! HyStart++ (RFC 9406): the first slow start ends when round trips become longer, not when the
//! path's queue has overflowed.
//!
//! A rise of the least round trip of a round, over that of the round before, begins conservative
//! slow start: the window grows at a quarter of the pace. If the rise was a flicker, slow start
//! goes on; after five rounds it is over.

use sluice_wire::SeqNumber;

use super::ticks_of_us;

/// RFC 9406, 4.3: MIN_RTT_THRESH and MAX_RTT_THRESH, microseconds.
const RISE_MIN_US: u32 = 4_000;
const RISE_MAX_US: u32 = 16_000;
/// MIN_RTT_DIVISOR.
const RISE_DIVISOR: u32 = 8;
/// N_RTT_SAMPLE.
const SAMPLES: u8 = 8;
/// CSS_GROWTH_DIVISOR.
pub(crate) const GROWTH_DIVISOR: u32 = 4;
/// CSS_ROUNDS.
const ROUNDS: u8 = 5;

/// At what pace the window grows in slow start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    /// As much as is acknowledged.
    Full,
    /// A quarter of it.
    Conservative,
    /// Slow start is over.
    Done,
}

/// Round trips in ticks, [`UNKNOWN`] where there is none yet.
#[derive(Debug)]
pub(crate) struct HyStart {
    /// windowEnd: the round ends when this is acknowledged.
    round_end: SeqNumber,
    /// lastRoundMinRTT.
    last: u32,
    /// currentRoundMinRTT.
    current: u32,
    /// rttSampleCount.
    samples: u8,
    /// cssBaselineMinRtt; UNKNOWN outside conservative slow start.
    baseline: u32,
    /// Rounds of conservative slow start.
    rounds: u8,
}

const UNKNOWN: u32 = u32::MAX;

impl HyStart {
    pub(crate) fn new(round_end: SeqNumber) -> Self {
        let (last, current, baseline) = (UNKNOWN, UNKNOWN, UNKNOWN);
        Self { round_end, last, current, samples: 0, baseline, rounds: 0 }
    }

    /// RFC 9406, 4.2: `ack` came with that round trip; `next` is SND.NXT.
    pub(crate) fn on_acknowledged(
        &mut self,
        ack: SeqNumber,
        next: SeqNumber,
        round_trip: Option<u32>,
    ) -> Pace {
        if let Some(ticks) = round_trip {
            self.current = self.current.min(ticks);
            self.samples = self.samples.saturating_add(1);
        }
        self.compare();
        if ack.at_or_after(self.round_end) {
            self.round_end = next;
            (self.last, self.current, self.samples) = (self.current, UNKNOWN, 0);
            if self.is_conservative() {
                self.rounds += 1;
            }
        }
        match self.is_conservative() {
            true if self.rounds >= ROUNDS => Pace::Done,
            true => Pace::Conservative,
            false => Pace::Full,
        }
    }

    fn compare(&mut self) {
        if self.samples < SAMPLES || self.current == UNKNOWN {
            return;
        }
        if self.is_conservative() {
            if self.current < self.baseline {
                // A flicker: slow start goes on.
                (self.baseline, self.rounds) = (UNKNOWN, 0);
            }
            return;
        }
        let rise =
            (self.last / RISE_DIVISOR).clamp(ticks_of_us(RISE_MIN_US), ticks_of_us(RISE_MAX_US));
        if self.last != UNKNOWN && self.current >= self.last + rise {
            (self.baseline, self.rounds) = (self.current, 0);
        }
    }

    fn is_conservative(&self) -> bool {
        self.baseline != UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One round of ten ACKs with that round trip.
    fn round(hystart: &mut HyStart, number: u32, ticks: u32) -> Pace {
        let mut pace = Pace::Full;
        for step in 1..=10 {
            let ack = SeqNumber(number * 1_000 + step * 100);
            pace = hystart.on_acknowledged(ack, SeqNumber((number + 2) * 1_000), Some(ticks));
        }
        pace
    }

    #[test]
    fn a_rise_of_an_eighth_slows_down_and_ends_after_five_rounds() {
        let mut hystart = HyStart::new(SeqNumber(1_000));
        assert_eq!(round(&mut hystart, 0, 12_207), Pace::Full);
        assert_eq!(round(&mut hystart, 1, 13_000), Pace::Full, "6 % more");
        assert_eq!(round(&mut hystart, 2, 15_000), Pace::Conservative);
        // The round in which it began counts.
        for number in 3..6 {
            assert_eq!(round(&mut hystart, 2 * number, 15_500), Pace::Conservative);
        }
        assert_eq!(round(&mut hystart, 12, 15_500), Pace::Done);
    }

    #[test]
    fn a_flicker_is_forgiven() {
        let mut hystart = HyStart::new(SeqNumber(1_000));
        round(&mut hystart, 0, 12_207);
        assert_eq!(round(&mut hystart, 1, 15_000), Pace::Conservative);
        assert_eq!(round(&mut hystart, 2, 12_300), Pace::Full);
    }
}
