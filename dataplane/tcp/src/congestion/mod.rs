//! How much may be in flight: the window and the algorithm that moves it.
//!
//! An algorithm decides two things: how the window grows in congestion avoidance, and how far it
//! falls on loss. Slow start, fast recovery and time-outs are the same for all (RFC 5681) and live
//! here and in `recovery.rs`. Everything is counted in bytes.

mod bbr;
mod cubic;
mod newreno;

use sluice_base::Instant;

use crate::limits;
use crate::spares::{Spare, Spares};
pub(crate) use bbr::{Bbr, Progress};
use cubic::Cubic;
use newreno::NewReno;

/// The algorithms, by the names that configuration uses.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum CongestionKind {
    /// RFC 9438.
    #[default]
    Cubic,
    /// RFC 5681 and 6582.
    NewReno,
    /// draft-cardwell-iccrg-bbr-congestion-control-00: rate instead of losses, and paced.
    Bbr,
}

/// What an algorithm may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// SMSS, bytes.
    pub(crate) mss: u32,
    /// SRTT, microseconds; 0 if unknown.
    pub(crate) rtt_us: u32,
    pub(crate) now: Instant,
}

/// An algorithm of congestion avoidance.
pub(crate) trait Controller {
    /// The window after `acked` bytes were acknowledged in congestion avoidance.
    fn on_acknowledged(&mut self, window: u32, acked: u32, path: Path) -> u32;
    /// ssthresh after a loss with that window and `flight` bytes under way.
    fn on_loss(&mut self, window: u32, flight: u32, path: Path) -> u32;
    /// The loss was found by the timer.
    fn on_timeout(&mut self) {}
    /// The window is not what holds the sender back.
    fn on_limited(&mut self, _now: Instant) {}
    /// Nothing was sent for a while: time stood still.
    fn on_idle(&mut self);
}

#[derive(Debug)]
enum Algorithm {
    Cubic(Cubic),
    NewReno(NewReno),
    /// Out of line. What the window may be is decided with every ACK and every tick of the pacer, see
    /// `pacing.rs`; of what losses do to it here, nothing stays.
    Bbr(Spare<Bbr>),
}

impl Algorithm {
    /// A copy of what a loss changes.
    fn copy(&self) -> Self {
        match self {
            Self::Cubic(cubic) => Self::Cubic(cubic.clone()),
            Self::NewReno(newreno) => Self::NewReno(newreno.clone()),
            Self::Bbr(_) => Self::Bbr(Spare::NONE),
        }
    }
}

impl Controller for Algorithm {
    fn on_acknowledged(&mut self, window: u32, acked: u32, path: Path) -> u32 {
        match self {
            Self::Cubic(cubic) => cubic.on_acknowledged(window, acked, path),
            Self::NewReno(newreno) => newreno.on_acknowledged(window, acked, path),
            Self::Bbr(_) => window,
        }
    }

    fn on_loss(&mut self, window: u32, flight: u32, path: Path) -> u32 {
        match self {
            Self::Cubic(cubic) => cubic.on_loss(window, flight, path),
            Self::NewReno(newreno) => newreno.on_loss(window, flight, path),
            Self::Bbr(_) => window,
        }
    }

    fn on_timeout(&mut self) {
        match self {
            Self::Cubic(cubic) => cubic.on_timeout(),
            Self::NewReno(_) | Self::Bbr(_) => {}
        }
    }

    #[inline]
    fn on_limited(&mut self, now: Instant) {
        match self {
            Self::Cubic(cubic) => cubic.on_limited(now),
            Self::NewReno(_) | Self::Bbr(_) => {}
        }
    }

    fn on_idle(&mut self) {
        match self {
            Self::Cubic(cubic) => cubic.on_idle(),
            Self::NewReno(newreno) => newreno.on_idle(),
            Self::Bbr(_) => {}
        }
    }
}

/// cwnd, ssthresh and what moves them.
#[derive(Debug)]
pub(crate) struct Congestion {
    /// cwnd, bytes.
    pub(crate) window: u32,
    /// ssthresh, bytes.
    pub(crate) slow_start_threshold: u32,
    algorithm: Algorithm,
}

impl Congestion {
    pub(crate) fn new(kind: CongestionKind, mss: u32, spares: &Spares) -> Self {
        let algorithm = match kind {
            CongestionKind::Cubic => Algorithm::Cubic(Cubic::default()),
            CongestionKind::NewReno => Algorithm::NewReno(NewReno::default()),
            CongestionKind::Bbr => match spares.models.take() {
                model if model.is_some() => Algorithm::Bbr(model),
                _ => Algorithm::Cubic(Cubic::default()),
            },
        };
        Self {
            window: initial_window(mss),
            // RFC 5681, 3.1: as high as possible at first.
            slow_start_threshold: limits::CONGESTION_WINDOW_MAX,
            algorithm,
        }
    }

    /// Whether nothing was lost yet: the window still looks for what the path carries.
    #[inline]
    pub(crate) fn is_first_slow_start(&self) -> bool {
        self.slow_start_threshold == limits::CONGESTION_WINDOW_MAX
            && self.window < self.slow_start_threshold
    }

    /// Whether what leaves is spread over time, and the window follows [`bbr`](Self::bbr).
    #[inline]
    pub(crate) fn is_paced(&self) -> bool {
        matches!(self.algorithm, Algorithm::Bbr(_))
    }

    /// The model of the path, if that is what decides.
    pub(crate) fn bbr(&mut self) -> Option<&mut Bbr> {
        match &mut self.algorithm {
            Algorithm::Bbr(bbr) => bbr.get_mut(),
            Algorithm::Cubic(_) | Algorithm::NewReno(_) => None,
        }
    }

    /// Without SACK nothing says what was delivered and when: then it is CUBIC.
    pub(crate) fn give_up_model(&mut self) {
        if self.is_paced() {
            self.algorithm = Algorithm::Cubic(Cubic::default());
        }
    }

    /// The SYNs are exchanged and `mss` is known. RFC 5681, 3.1: if a SYN was lost, begin with one
    /// segment.
    pub(crate) fn on_connected(&mut self, mss: u32, was_syn_lost: bool) {
        self.window = if was_syn_lost { mss } else { initial_window(mss) };
    }

    /// `acked` bytes left the network outside recovery, of a `flight` that was under way before.
    ///
    /// `step_max` bounds the growth in slow start: one segment while a time-out is being repaired,
    /// when an ACK may cover what left the network long ago (RFC 3465, 2.3).
    #[inline]
    pub(crate) fn on_acknowledged(&mut self, acked: u32, flight: u32, step_max: u32, path: Path) {
        // A window that was not used tells nothing about the path (RFC 9438, 5.8; RFC 7661).
        if flight.saturating_mul(2) < self.window {
            return self.algorithm.on_limited(path.now);
        }
        self.grow(acked, flight, step_max, path);
    }

    fn grow(&mut self, acked: u32, flight: u32, step_max: u32, path: Path) {
        let mut left = acked;
        if self.window < self.slow_start_threshold {
            let room = self.slow_start_threshold - self.window;
            let step = acked.min(step_max).min(room);
            self.window += step;
            left -= step;
            if self.window < self.slow_start_threshold || step_max < acked {
                left = 0;
            }
        }
        if left > 0 && flight + path.mss > self.window {
            self.window = self.algorithm.on_acknowledged(self.window, left, path);
        } else if left > 0 {
            self.algorithm.on_limited(path.now);
        }
        self.window = self.window.min(limits::CONGESTION_WINDOW_MAX);
    }

    /// Duplicate ACKs say that something is lost: ssthresh falls. The window follows in recovery.
    pub(crate) fn on_loss(&mut self, flight: u32, path: Path) {
        self.slow_start_threshold = self.algorithm.on_loss(self.window, flight, path);
    }

    /// As it is, to be [restored](Self::restore) if the loss that is about to change it was none.
    pub(crate) fn save(&self) -> Saved {
        Saved {
            window: self.window,
            slow_start_threshold: self.slow_start_threshold,
            algorithm: self.algorithm.copy(),
        }
    }

    /// Nothing was lost: as it was before, at once as far as `room` goes (RFC 4015, 3.2).
    pub(crate) fn restore(&mut self, saved: Saved, room: u32) {
        self.window = self.window.max(saved.window.min(room));
        self.slow_start_threshold = self.slow_start_threshold.max(saved.slow_start_threshold);
        if self.window < saved.window {
            // Slow start the rest of the way.
            self.slow_start_threshold = self.slow_start_threshold.max(saved.window);
        }
        if !self.is_paced() {
            self.algorithm = saved.algorithm;
        }
    }

    /// A reduction was none, but a later one stands: as if that had come alone. It began from `wrong`
    /// instead of from `saved`.
    pub(crate) fn raise(&mut self, saved: &Saved, wrong: &Saved) {
        let threshold = u64::from(self.slow_start_threshold) * u64::from(saved.window);
        let raised = threshold / u64::from(wrong.window.max(1));
        let raised = u32::try_from(raised).unwrap_or(u32::MAX).min(saved.window);
        self.slow_start_threshold = self.slow_start_threshold.max(raised);
    }

    /// The timer says that something is lost (RFC 5681, 3.1): begin again with one segment.
    /// `is_first` is false when the same data was sent again before: ssthresh falls once.
    pub(crate) fn on_timeout(&mut self, flight: u32, is_first: bool, path: Path) {
        if is_first {
            self.on_loss(flight, path);
        }
        self.algorithm.on_timeout();
        self.window = path.mss;
        if let Some(bbr) = self.bbr() {
            bbr.on_timeout(path.mss);
        }
    }

    /// RFC 5681, 4.1: nothing was sent for longer than the timeout: what is known is old.
    pub(crate) fn on_idle(&mut self, mss: u32) {
        if self.is_paced() {
            return;
        }
        self.window = self.window.min(initial_window(mss));
        self.algorithm.on_idle();
    }

    pub(crate) fn invariants(&self) {
        debug_assert!(self.window > 0, "a window of nothing would never open again");
        debug_assert!(self.slow_start_threshold > 0);
    }
}

/// What a reduction changes.
#[derive(Debug)]
pub(crate) struct Saved {
    window: u32,
    slow_start_threshold: u32,
    algorithm: Algorithm,
}

impl Clone for Saved {
    fn clone(&self) -> Self {
        Self { algorithm: self.algorithm.copy(), ..*self }
    }
}

/// RFC 6928, 2.
pub(crate) fn initial_window(mss: u32) -> u32 {
    (limits::INITIAL_WINDOW_SEGMENTS * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn congestion(kind: CongestionKind) -> Congestion {
        Congestion::new(kind, 1_000, &Spares::of(0))
    }

    const PATH: Path = Path { mss: 1_000, rtt_us: 100_000, now: Instant::ZERO };

    #[test]
    fn the_initial_window_follows_the_segment_size() {
        assert_eq!(initial_window(1_460), 14_600);
        assert_eq!(initial_window(536), 5_360);
        assert_eq!(initial_window(8_960), 17_920);
    }

    #[test]
    fn slow_start_doubles_and_stops_at_the_threshold() {
        let mut congestion = congestion(CongestionKind::NewReno);
        congestion.on_acknowledged(10_000, 10_000, u32::MAX, PATH);
        assert_eq!(congestion.window, 20_000);
        congestion.slow_start_threshold = 22_000;
        congestion.on_acknowledged(2_000, 20_000, u32::MAX, PATH);
        assert_eq!(congestion.window, 22_000);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut congestion = congestion(CongestionKind::NewReno);
        congestion.on_acknowledged(1_000, 4_999, u32::MAX, PATH);
        assert_eq!(congestion.window, 10_000);
        congestion.on_acknowledged(1_000, 5_000, u32::MAX, PATH);
        assert_eq!(congestion.window, 11_000);
    }

    #[test]
    fn a_timeout_halves_the_threshold_once() {
        let mut congestion = congestion(CongestionKind::NewReno);
        congestion.on_timeout(8_000, true, PATH);
        assert_eq!((congestion.window, congestion.slow_start_threshold), (1_000, 4_000));
        congestion.on_timeout(1_000, false, PATH);
        assert_eq!(congestion.slow_start_threshold, 4_000);
    }

    #[test]
    fn idling_gives_back_what_is_above_the_initial_window() {
        let mut congestion = congestion(CongestionKind::Cubic);
        congestion.window = 500_000;
        congestion.on_idle(1_000);
        assert_eq!(congestion.window, 10_000);
        congestion.window = 3_000;
        congestion.on_idle(1_000);
        assert_eq!(congestion.window, 3_000);
        congestion.invariants();
    }
}
