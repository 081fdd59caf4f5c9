//! What becomes of a packet.

use sluice_base::{Instant, Rng};

use super::plan::Impairment;

const MILLION: u64 = 1_000_000;
const NANOS: u64 = 1_000_000_000;
/// A silence that ends a burst of losses: retransmissions that back off would else be all that it
/// lasts for.
const BURST_NANOS: u64 = 100_000_000;

/// Decides what a cable does to each packet, in order, from a plan and a random source.
#[derive(Clone, Debug)]
pub struct Judge {
    plan: Impairment,
    rng: Rng,
    /// The channel is in its bad state (`loss_burst`).
    bad: bool,
    /// When it was asked last.
    last: Instant,
    /// When the bottleneck has sent what it was given.
    free_at: Instant,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It never arrives.
    Lost(Loss),
    /// It arrives at `at`, with the bit `flip` (counted from behind the link-layer header)
    /// inverted, and once more at `again`.
    Arrives {
        /// When.
        at: Instant,
        /// Which bit is wrong.
        flip: Option<u32>,
        /// When its duplicate arrives.
        again: Option<Instant>,
    },
}

/// Why a packet never arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// By chance.
    Random,
    /// The queue of the bottleneck was full.
    QueueFull,
    /// It was larger than the cable silently takes.
    TooLarge,
}

/// Bytes of an Ethernet header: a flipped bit in there would only be another kind of loss.
const LINK_HEADER: u32 = 14;

impl Judge {
    /// A judge of one direction.
    #[must_use]
    pub fn new(plan: Impairment, rng: Rng) -> Self {
        Self { plan, rng, bad: false, last: Instant::ZERO, free_at: Instant::ZERO }
    }

    /// What this judge goes by.
    #[must_use]
    pub fn plan(&self) -> &Impairment {
        &self.plan
    }

    /// Replaces the plan; what is on its way is not changed.
    pub fn set_plan(&mut self, plan: Impairment) {
        self.plan = plan;
    }

    /// Judges a packet of `bytes` that is sent at `now`.
    pub fn judge(&mut self, bytes: u32, now: Instant) -> Verdict {
        if self.plan.bytes_max > 0 && bytes > self.plan.bytes_max {
            return Verdict::Lost(Loss::TooLarge);
        }
        if self.loses(now) {
            return Verdict::Lost(Loss::Random);
        }
        let Some(sent) = self.pass_bottleneck(bytes, now) else {
            return Verdict::Lost(Loss::QueueFull);
        };
        let at = sent.plus_nanos(self.delay());
        let again = self.rng.chance(self.plan.duplication).then(|| sent.plus_nanos(self.delay()));
        let flip = (self.rng.chance(self.plan.corruption) && bytes > LINK_HEADER)
            .then(|| self.rng.below((bytes - LINK_HEADER) * 8));
        Verdict::Arrives { at, flip, again }
    }

    /// Gilbert's channel: in the bad state everything is lost, and the two states alternate such
    /// that bursts have the mean length and all packets the mean loss.
    fn loses(&mut self, now: Instant) -> bool {
        let Impairment { loss, loss_burst, .. } = self.plan;
        self.bad &= now.nanos_since(self.last) < BURST_NANOS;
        self.last = now;
        if loss_burst <= 1 {
            return self.rng.chance(loss);
        }
        let leave = MILLION / u64::from(loss_burst);
        let enter = u64::from(loss) * leave / (MILLION - u64::from(loss)).max(1);
        let chance = if self.bad { MILLION.saturating_sub(leave) } else { enter };
        self.bad = self.rng.chance(u32::try_from(chance).unwrap_or(u32::MAX));
        self.bad
    }

    /// When the last bit has left the bottleneck; `None` when its queue is full.
    fn pass_bottleneck(&mut self, bytes: u32, now: Instant) -> Option<Instant> {
        let rate = self.plan.bits_per_second;
        if rate == 0 {
            return Some(now);
        }
        let starts = self.free_at.max(now);
        let waiting_nanos = starts.nanos_since(now);
        let waiting = u128::from(waiting_nanos) * u128::from(rate) / u128::from(8 * NANOS);
        if waiting > 0 && waiting + u128::from(bytes) > u128::from(self.plan.queue_bytes) {
            return None;
        }
        let nanos = u128::from(bytes) * u128::from(8 * NANOS) / u128::from(rate);
        self.free_at = starts.plus_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(self.free_at)
    }

    fn delay(&mut self) -> u64 {
        let Impairment { latency_nanos, jitter_nanos, reordering, .. } = self.plan;
        let latency = if self.rng.chance(reordering) { 0 } else { latency_nanos };
        let jitter = if jitter_nanos > 0 { self.rng.next_u64() % jitter_nanos } else { 0 };
        latency + jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(plan: Impairment) -> Judge {
        Judge::new(plan, Rng::new(11))
    }

    fn lost(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Lost(_))
    }

    #[test]
    fn nothing_happens_by_default() {
        let mut judge = judge(Impairment::default());
        let now = Instant::from_millis(5);
        for bytes in [0, 14, 60, 65_535] {
            let fine = Verdict::Arrives { at: now, flip: None, again: None };
            assert_eq!(judge.judge(bytes, now), fine);
        }
        assert!(Impairment { queue_bytes: 7, ..Impairment::default() }.is_none());
        assert!(!Impairment { loss: 1, ..Impairment::default() }.is_none());
    }

    /// Both kinds of loss lose as many; bursts are as long as they should be.
    #[test]
    #[cfg_attr(miri, ignore = "statistics of many packets, with nothing unsafe in them")]
    fn bursts_lose_as_many_in_fewer_places() {
        const COUNT: u32 = 400_000;
        for burst in [1, 8] {
            let plan = Impairment { loss: 20_000, loss_burst: burst, ..Impairment::default() };
            let mut judge = judge(plan);
            let (mut total, mut bursts, mut before) = (0, 0, false);
            for _ in 0..COUNT {
                let now = lost(judge.judge(100, Instant::ZERO));
                total += u32::from(now);
                bursts += u32::from(now && !before);
                before = now;
            }
            let expected = COUNT / 50;
            assert!(total.abs_diff(expected) < expected / 10, "{burst}: {total} of {expected}");
            let length = f64::from(total) / f64::from(bursts);
            assert!((length - f64::from(burst)).abs() < 0.15 * f64::from(burst), "{length}");
        }
    }

    #[test]
    fn a_burst_ends_with_silence() {
        let plan = Impairment { loss: 10_000, loss_burst: 1_000, ..Impairment::default() };
        let mut judge = judge(plan);
        let mut now = Instant::ZERO;
        while !lost(judge.judge(100, now)) {
            now = now.plus_nanos(1_000);
        }
        assert!(lost(judge.judge(100, now.plus_nanos(BURST_NANOS - 1))));
        let later = now.plus_nanos(3 * BURST_NANOS);
        assert!(!lost(judge.judge(100, later)));
    }

    /// 8 Mbit/s are a byte per microsecond.
    #[test]
    fn a_bottleneck_queues_and_then_drops() {
        let plan = Impairment {
            bits_per_second: 8_000_000,
            queue_bytes: 3_000,
            latency_nanos: 1_000_000,
            ..Impairment::default()
        };
        let mut judge = judge(plan);
        let start = Instant::from_millis(1);
        for packet in 1..=3_u64 {
            let at = start.plus_nanos(packet * 1_000_000 + 1_000_000);
            let verdict = judge.judge(1_000, start);
            assert_eq!(verdict, Verdict::Arrives { at, flip: None, again: None });
        }
        assert_eq!(judge.judge(1_000, start), Verdict::Lost(Loss::QueueFull));
        assert!(!lost(judge.judge(1_000, start.plus_nanos(1_000_000))), "room for one again");
        // A packet larger than the queue passes when nothing waits.
        assert!(!lost(judge.judge(9_000, Instant::from_millis(100))));
    }

    #[test]
    fn large_packets_vanish_and_others_do_not() {
        let mut judge = judge(Impairment { bytes_max: 1_000, ..Impairment::default() });
        assert!(!lost(judge.judge(1_000, Instant::ZERO)));
        assert_eq!(judge.judge(1_001, Instant::ZERO), Verdict::Lost(Loss::TooLarge));
    }

    #[test]
    fn duplicates_flips_and_overtaking() {
        let plan = Impairment {
            duplication: 500_000,
            corruption: 500_000,
            reordering: 500_000,
            latency_nanos: 1_000,
            ..Impairment::default()
        };
        let mut judge = judge(plan);
        let (mut twice, mut flipped, mut early) = (0, 0, 0);
        for _ in 0..1_000 {
            let Verdict::Arrives { at, flip, again } = judge.judge(60, Instant::ZERO) else {
                panic!("nothing is lost here");
            };
            twice += u32::from(again.is_some());
            early += u32::from(at == Instant::ZERO);
            if let Some(bit) = flip {
                assert!(bit < (60 - 14) * 8, "{bit}");
                flipped += 1;
            }
        }
        for count in [twice, flipped, early] {
            assert!((400..600).contains(&count), "{twice} {flipped} {early}");
        }
    }
}
