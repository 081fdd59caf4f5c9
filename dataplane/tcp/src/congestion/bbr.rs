//! BBR (draft-cardwell-iccrg-bbr-congestion-control-00, "version 1"): sends at the rate at which the
//! path was seen to deliver, with about as much under way as that rate fills, whatever is lost.
//!
//! ```text
//!   Startup   rate x 2.89 each round trip, until it grew by less than a quarter three times
//!   Drain     as much less, until the queue of that is gone
//!   ProbeBw   x 1.25, x 0.75, then x 1 for six round trips; and again
//!   ProbeRtt  half of the window for 200 ms, when no round trip was as short as the least for 5 s
//! ```
//!
//! `delivery` measures the rate, `pacer` spreads what leaves. From version 3
//! (draft-ietf-ccwg-bbr) are the gentler ProbeRtt and the percent below the measured rate; not its
//! bounds that losses lower, so a path whose queue is short loses more than with CUBIC.
//!
//! Out of line: a connection has this only if its listener or cluster asks for BBR.

mod delivery;
mod pacer;

use sluice_base::Instant;
use sluice_wire::SeqNumber;

use crate::flight::{Stamp, nanos_of, ticks_of_us};
use crate::spares::Recycle;
use delivery::{Delivery, Sample};
use pacer::Pacer;

/// 2 / ln 2, in 256ths: the least gain that doubles the rate every round trip.
const GAIN_HIGH: u64 = 739;
/// Its inverse.
const GAIN_DRAIN: u64 = 88;
const GAIN_ONE: u64 = 256;
/// Of the window, where the path is full.
const GAIN_WINDOW: u64 = 512;
/// One round trip each.
const CYCLE: [u64; 8] = [320, 192, 256, 256, 256, 256, 256, 256];
/// Round trips for which a rate counts.
const ROUNDS: usize = 10;
/// How long the least round trip is believed (version 3; 10 s in version 1).
const ROUND_TRIP_VALID_NS: u64 = 5_000_000_000;
/// How long the queue is emptied to measure it.
const PROBE_RTT_NS: u64 = 200_000_000;
/// Least window, segments.
const WINDOW_MIN: u32 = 4;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Startup,
    Drain,
    /// Phase of the cycle.
    ProbeBw(u8),
    /// Until then; None before the queue is gone.
    ProbeRtt(Option<Instant>),
}

/// What an ACK brought about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes that it told of.
    pub(crate) delivered: u32,
    /// The highest number that the peer has.
    pub(crate) highest: SeqNumber,
    /// Bytes under way after it.
    pub(crate) pipe: u32,
    /// Losses are being repaired.
    pub(crate) is_repairing: bool,
    pub(crate) mss: u32,
    pub(crate) now: Instant,
}

#[derive(Debug)]
pub(crate) struct Bbr {
    mode: Mode,
    delivery: Delivery,
    pacer: Pacer,
    /// The highest rate of each of the last round trips that told one, bytes per second.
    rates: [u64; ROUNDS],
    /// The one that is being measured, and whether it is over.
    slot: usize,
    is_slot_over: bool,
    /// Round trips so far.
    round: usize,
    /// The round trip ends when what leaves from here on arrives.
    round_end: u32,
    /// Least round trip, ticks, and when it was measured.
    round_trip_min: u32,
    measured_at: Instant,
    /// The rate that must be surpassed by a quarter, and round trips in which it was not.
    full_rate: u64,
    full_rounds: u8,
    /// When the phase began.
    phase_at: Instant,
    /// cwnd, bytes.
    window: u32,
    /// What it was before a loss, or before ProbeRtt.
    window_before: u32,
    was_repairing: bool,
    /// The round trip after a loss in which no more leaves than arrives.
    conserving_until: Option<usize>,
}

const UNKNOWN: u32 = u32::MAX;

impl Bbr {
    pub(crate) fn new() -> Self {
        Self {
            mode: Mode::Startup,
            delivery: Delivery::new(),
            pacer: Pacer::new(),
            rates: [0; ROUNDS],
            slot: 0,
            is_slot_over: false,
            round: 0,
            round_end: 0,
            round_trip_min: UNKNOWN,
            measured_at: Instant::ZERO,
            full_rate: 0,
            full_rounds: 0,
            phase_at: Instant::ZERO,
            window: 0,
            window_before: 0,
            was_repairing: false,
            conserving_until: None,
        }
    }

    /// The handshake is over, which took `round_trip_us`.
    pub(crate) fn begin(&mut self, window: u32, round_trip_us: u32, now: Instant) {
        self.window = window;
        self.measured_at = now;
        // draft, 4.2.1: before anything is known, the initial window in a round trip, or in 1 ms.
        let round_trip_us = u64::from(if round_trip_us == 0 { 1_000 } else { round_trip_us });
        self.pacer.rate = u64::from(window) * 1_000_000 / round_trip_us * GAIN_HIGH / GAIN_ONE;
    }

    /// What may be under way now.
    pub(crate) fn allowed(&mut self, pipe: u32, is_idle: bool, mss: u32, now: Instant) -> u32 {
        let tokens = self.pacer.refill(is_idle, mss, now);
        self.window.min(pipe.saturating_add(tokens))
    }

    /// When more may leave, if it is the rate that holds it back.
    pub(crate) fn release_at(&self, pipe: u32, mss: u32, now: Instant) -> Option<Instant> {
        let is_paced = self.window.saturating_sub(pipe) >= mss;
        is_paced.then(|| self.pacer.next(mss, now))
    }

    /// New numbers leave, from the first to behind the second.
    pub(crate) fn on_sent(
        &mut self,
        range: (SeqNumber, SeqNumber),
        is_first: bool,
        smoothed_us: u32,
        now: Instant,
    ) {
        self.pacer.on_sent(range.1.since(range.0));
        self.delivery.on_sent(range, is_first, ticks_of_us(smoothed_us), Stamp::of(now));
    }

    /// `bytes` leave again.
    pub(crate) fn on_sent_again(&mut self, bytes: u32) {
        self.pacer.on_sent(bytes);
    }

    /// The application has nothing more to send.
    pub(crate) fn on_app_limited(&mut self, pipe: u32) {
        if pipe < self.window {
            self.delivery.on_app_limited(pipe);
        }
    }

    /// draft, 4.2.4: the retransmission timer expired.
    pub(crate) fn on_timeout(&mut self, mss: u32) {
        self.save_window();
        self.was_repairing = true;
        self.window = mss;
        self.conserving_until = None;
    }

    /// An ACK came: model, state and window follow it, in the draft's order.
    pub(crate) fn on_acknowledged(&mut self, progress: Progress) {
        let Progress { delivered, highest, now, .. } = progress;
        let minimum = if self.round_trip_min == UNKNOWN { 0 } else { self.round_trip_min };
        let sample = self.delivery.on_delivered(delivered, highest, minimum, Stamp::of(now));
        let is_round = sample.is_some_and(|sample| self.take_rate(&sample));
        self.check_full(is_round, sample);
        self.move_on(progress);
        if let Some(sample) = sample {
            self.take_round_trip(&sample, progress);
        }
        self.set_rate();
        self.set_window(progress);
    }

    /// Bytes per second that the path was seen to deliver.
    fn rate(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or(0)
    }

    /// Bytes that fill the path, times a gain.
    fn fill(&self, gain: u64) -> u32 {
        if self.round_trip_min == UNKNOWN {
            return self.window;
        }
        let bytes = self.rate().saturating_mul(nanos_of(self.round_trip_min)) / 1_000_000_000;
        let bytes = bytes.saturating_mul(gain) / GAIN_ONE + 3 * u64::from(self.pacer.quantum());
        u32::try_from(bytes).unwrap_or(u32::MAX / 2)
    }

    /// draft, 4.1.1: the highest rate of ten round trips; true if a round trip ended.
    fn take_rate(&mut self, sample: &Sample) -> bool {
        let is_round = sample.delivered_before.wrapping_sub(self.round_end).cast_signed() >= 0;
        if is_round {
            self.round_end = self.delivery.delivered;
            self.round += 1;
            self.is_slot_over = true;
        }
        if let Some(rate) = sample.rate
            && (!sample.is_app_limited || rate >= self.rate())
        {
            // What the application held back says nothing, and makes nothing forgotten.
            if std::mem::take(&mut self.is_slot_over) {
                self.slot = (self.slot + 1) % ROUNDS;
                self.rates[self.slot] = 0;
            }
            self.rates[self.slot] = rate.max(self.rates[self.slot]);
        }
        is_round
    }

    fn is_full(&self) -> bool {
        self.full_rounds >= 3
    }

    /// draft, 4.3.2.2: the rate stopped growing.
    fn check_full(&mut self, is_round: bool, sample: Option<Sample>) {
        let is_app_limited = sample.is_none_or(|sample| sample.is_app_limited);
        if self.is_full() || !is_round || is_app_limited {
            return;
        }
        let rate = self.rate();
        if rate >= self.full_rate + self.full_rate / 4 {
            (self.full_rate, self.full_rounds) = (rate, 0);
        } else {
            self.full_rounds += 1;
        }
    }

    /// draft, 4.3.3 and 4.3.4: the state follows what is under way.
    fn move_on(&mut self, progress: Progress) {
        let Progress { pipe, now, is_repairing, .. } = progress;
        if self.mode == Mode::Startup && self.is_full() {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && pipe <= self.fill(GAIN_ONE) {
            self.probe_bandwidth(now);
        }
        let Mode::ProbeBw(phase) = self.mode else { return };
        let is_long = (now - self.phase_at).as_nanos() as u64 > nanos_of(self.round_trip_min);
        let gain = CYCLE[usize::from(phase)];
        let is_over = match gain {
            320 => is_long && (is_repairing || pipe >= self.fill(gain)),
            192 => is_long || pipe <= self.fill(GAIN_ONE),
            _ => is_long,
        };
        if is_over {
            self.mode = Mode::ProbeBw((phase + 1) % CYCLE.len() as u8);
            self.phase_at = now;
        }
    }

    /// draft, 4.3.4.3: any phase first but the one that lets a queue drain, so that flows differ.
    fn probe_bandwidth(&mut self, now: Instant) {
        let random = (Stamp::of(now).0 % 7) as u8;
        self.mode = Mode::ProbeBw(if random == 0 { 0 } else { random + 1 });
        self.phase_at = now;
    }

    /// draft, 4.1.2 and 4.3.5: the least round trip, and emptying the queue to see it again.
    fn take_round_trip(&mut self, sample: &Sample, progress: Progress) {
        let Progress { pipe, now, mss, .. } = progress;
        let age = (now - self.measured_at).as_nanos() as u64;
        let is_old = age > ROUND_TRIP_VALID_NS;
        if is_old && self.is_full() && !matches!(self.mode, Mode::ProbeRtt(_)) {
            self.save_window();
            self.mode = Mode::ProbeRtt(None);
        }
        if sample.round_trip <= self.round_trip_min || is_old {
            (self.round_trip_min, self.measured_at) = (sample.round_trip, now);
        }
        let Mode::ProbeRtt(until) = self.mode else { return };
        match until {
            None if pipe <= self.probe_window(mss) => {
                let wait = PROBE_RTT_NS.max(nanos_of(self.round_trip_min));
                self.mode = Mode::ProbeRtt(Some(now.plus_nanos(wait)));
            }
            Some(until) if now >= until => {
                self.measured_at = now;
                self.window = self.window.max(self.window_before);
                self.probe_bandwidth(now);
            }
            _ => {}
        }
    }

    /// Version 3, 5.3.4.3: half of what fills the path.
    fn probe_window(&self, mss: u32) -> u32 {
        (self.fill(GAIN_ONE) / 2).max(WINDOW_MIN * mss)
    }

    fn gain(&self) -> u64 {
        match self.mode {
            Mode::Startup => GAIN_HIGH,
            Mode::Drain => GAIN_DRAIN,
            Mode::ProbeBw(phase) => CYCLE[usize::from(phase)],
            Mode::ProbeRtt(_) => GAIN_ONE,
        }
    }

    /// draft, 4.2.1; a percent less, so that no queue stays (version 3, 5.6.2).
    fn set_rate(&mut self) {
        let rate = self.rate() * self.gain() / GAIN_ONE;
        let rate = rate - rate / 100;
        if self.is_full() || rate > self.pacer.rate {
            self.pacer.rate = rate.max(1);
        }
    }

    /// draft, 4.2.3.
    fn set_window(&mut self, progress: Progress) {
        let Progress { delivered, pipe, is_repairing, mss, .. } = progress;
        self.follow_repair(delivered, pipe, is_repairing);
        let gain = if self.is_full() { GAIN_WINDOW } else { GAIN_HIGH };
        let target = self.fill(gain);
        if self.conserving_until.is_some() {
            self.window = self.window.max(pipe.saturating_add(delivered));
        } else if self.is_full() {
            self.window = self.window.saturating_add(delivered).min(target);
        } else if self.window < target {
            self.window = self.window.saturating_add(delivered);
        }
        self.window = self.window.max(WINDOW_MIN * mss);
        if matches!(self.mode, Mode::ProbeRtt(_)) {
            self.window = self.window.min(self.probe_window(mss));
        }
    }

    /// draft, 4.2.3.4: for one round trip after a loss no more leaves than arrives; when all is
    /// repaired, the window is what it was.
    fn follow_repair(&mut self, delivered: u32, pipe: u32, is_repairing: bool) {
        if is_repairing && !self.was_repairing {
            self.save_window();
            self.conserving_until = Some(self.round + 1);
            self.window = pipe.saturating_add(delivered);
        } else if !is_repairing && self.was_repairing {
            self.conserving_until = None;
            self.window = self.window.max(self.window_before);
        }
        if self.conserving_until.is_some_and(|round| self.round >= round) {
            self.conserving_until = None;
        }
        self.was_repairing = is_repairing;
    }

    fn save_window(&mut self) {
        let is_reduced = self.was_repairing || matches!(self.mode, Mode::ProbeRtt(_));
        self.window_before =
            if is_reduced { self.window_before.max(self.window) } else { self.window };
    }
}

impl Recycle for Bbr {
    fn recycle(&mut self) {
        *self = Self::new();
    }
}
