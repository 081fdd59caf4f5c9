//! CUBIC (RFC 9438), in integers.
//!
//! ```text
//!  W_cubic(t) = C * (t - K)^3 + W_max        C = 0.4 segments / s^3, beta = 0.7
//!
//!  window |                          /    probing: convex
//!   W_max |  \             ________ /
//!         |   \        /            :
//!         |    |    /               :     K: when W_max is reached again
//!         |    | /  concave         :
//!         +----+--------------------+------> t since the last loss
//! ```

use sluice_base::Instant;

use super::{Controller, Path};

/// Milliseconds beyond which (t - K) counts as this much: its cube times 4 x MSS fits 63 bits.
const DISTANCE_MAX_MS: i64 = 60_000;
/// Inverse of C: K^3 = (W_max - cwnd) / C with C = 4 / 10.
const C_NUMERATOR: i64 = 4;
const C_DENOMINATOR: i64 = 10;

#[derive(Clone, Debug, Default)]
pub(crate) struct Cubic {
    /// W_max, bytes: where the last loss happened.
    window_max: u32,
    /// W_est, bytes: what standard congestion control would have by now (RFC 9438, 4.3).
    reno_window: u32,
    /// Bytes acknowledged that have not moved `reno_window` yet, scaled by its growth factor.
    reno_acked: u32,
    /// Remainder of the last growth: bytes x bytes of window.
    growth_rest: u32,
    /// K, milliseconds.
    k_ms: u32,
    /// Start of the current congestion avoidance, milliseconds of the clock (wraps in 49 days); while
    /// the application holds back, how long it had lasted when that began.
    epoch_ms: u32,
    in_epoch: bool,
    /// The application holds back, or the peer's window does: time stands still.
    is_paused: bool,
    /// `window_max` is below where the last loss happened, by fast convergence.
    is_converging: bool,
}

impl Cubic {
    /// RFC 9438, 4.2 and 4.8: a new stage of congestion avoidance begins.
    fn start_epoch(&mut self, window: u32, path: Path) {
        (self.in_epoch, self.is_paused) = (true, false);
        self.epoch_ms = millis(path.now);
        self.reno_window = window;
        self.reno_acked = 0;
        self.growth_rest = 0;
        if self.window_max <= window {
            // After a slow start without loss there is no W_max: begin convex, right here.
            (self.window_max, self.is_converging) = (window, false);
            self.k_ms = 0;
            return;
        }
        // K = cbrt((W_max - cwnd_epoch) / C) seconds, windows in segments.
        let gap = u64::from(self.window_max - window) * 1_000_000_000;
        let cube = gap / u64::from(path.mss) * C_DENOMINATOR as u64 / C_NUMERATOR as u64;
        self.k_ms = cube_root(cube);
    }

    /// W_cubic(t + RTT), bytes: the target one round trip ahead (RFC 9438, 4.2).
    fn target(&self, window: u32, path: Path) -> u32 {
        let elapsed = i64::from(millis(path.now).wrapping_sub(self.epoch_ms));
        let ahead = elapsed + i64::from(path.rtt_us / 1_000);
        let distance = (ahead - i64::from(self.k_ms)).clamp(-DISTANCE_MAX_MS, DISTANCE_MAX_MS);
        let cube = distance * distance * distance;
        let segments_e9 = cube / C_DENOMINATOR * C_NUMERATOR;
        // Micro-segments first: the product with the segment size stays within 63 bits.
        let bytes = segments_e9 / 1_000 * i64::from(path.mss) / 1_000_000;
        let target = i64::from(self.window_max) + bytes;
        // At least where we are, at most half as much again per round trip.
        target.clamp(i64::from(window), i64::from(window) + i64::from(window / 2)) as u32
    }

    /// RFC 9438, 4.3: alpha = 3 * (1 - beta) / (1 + beta) = 9 / 17 until the window is what it was
    /// before the loss (cwnd_prior), then 1; alpha segments for a window of acknowledged ones.
    fn grow_reno(&mut self, window: u32, acked: u32, path: Path) {
        let window_max = self.window_max;
        let prior = if self.is_converging { scale(window_max, 20, 17) } else { window_max };
        let scaled =
            if self.reno_window < prior { u64::from(acked) * 9 / 17 } else { u64::from(acked) };
        self.reno_acked = self.reno_acked.saturating_add(scaled as u32);
        if self.reno_acked >= window {
            self.reno_acked -= window;
            self.reno_acked = self.reno_acked.min(window);
            self.reno_window = self.reno_window.saturating_add(path.mss);
        }
    }
}

impl Controller for Cubic {
    fn on_acknowledged(&mut self, window: u32, acked: u32, path: Path) -> u32 {
        if !self.in_epoch {
            self.start_epoch(window, path);
        } else if self.is_paused {
            self.is_paused = false;
            self.epoch_ms = millis(path.now).wrapping_sub(self.epoch_ms);
        }
        self.grow_reno(window, acked, path);
        if self.reno_window > window {
            // Reno-friendly region: short round trips, small windows.
            return self.reno_window;
        }
        // cwnd += (target - cwnd) / cwnd for each acknowledged segment.
        let gap = u64::from(self.target(window, path) - window);
        let growth = gap * u64::from(acked.min(window)) + u64::from(self.growth_rest);
        let window_wide = u64::from(window);
        // Less than the window, so it fits.
        self.growth_rest = (growth % window_wide) as u32;
        window.saturating_add((growth / window_wide) as u32)
    }

    fn on_loss(&mut self, window: u32, flight: u32, path: Path) -> u32 {
        self.in_epoch = false;
        // RFC 9438, 4.7, fast convergence: a loss below the last one makes room for newcomers.
        self.is_converging = window < self.window_max;
        self.window_max = if self.is_converging { scale(window, 17, 20) } else { window };
        // RFC 9438, 4.6: beta = 0.7 of what was really under way.
        scale(flight.min(window), 7, 10).max(2 * path.mss)
    }

    fn on_timeout(&mut self) {
        // RFC 9438, 4.8: W_max is where congestion avoidance begins again, and K is 0.
        self.window_max = 0;
    }

    #[inline]
    fn on_limited(&mut self, now: Instant) {
        // RFC 9438, 5.8: t does not include the time in which the window was not used.
        if self.in_epoch && !self.is_paused {
            self.is_paused = true;
            self.epoch_ms = millis(now).wrapping_sub(self.epoch_ms);
        }
    }

    fn on_idle(&mut self) {
        // RFC 9438, 4.2: the epoch does not count the time without data.
        self.in_epoch = false;
    }
}

fn scale(window: u32, numerator: u64, denominator: u64) -> u32 {
    (u64::from(window) * numerator / denominator) as u32
}

fn millis(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// The largest integer below 2^21 whose cube is at most `value`, bit by bit from above.
fn cube_root(value: u64) -> u32 {
    let mut root = 0u64;
    for bit in (0..21).rev() {
        let candidate = root | 1 << bit;
        if candidate * candidate * candidate <= value {
            root = candidate;
        }
    }
    root as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Path {
        Path { mss: 1_000, rtt_us: 100_000, now: Instant::from_millis(ms) }
    }

    #[test]
    fn cube_roots() {
        for root in [0u64, 1, 2, 1_000, 60_000, 2_097_151] {
            assert_eq!(u64::from(cube_root(root * root * root)), root);
        }
        assert_eq!(cube_root(26), 2);
        assert_eq!(cube_root(u64::MAX), (1 << 21) - 1);
    }

    /// RFC 9438, 4.1: after a loss the window comes back to W_max in K seconds, flat there.
    #[test]
    fn the_window_returns_to_where_the_loss_was_and_passes_it() {
        let mut cubic = Cubic::default();
        let mut window = 1_000_000;
        window = cubic.on_loss(window, window, at(0));
        assert_eq!(window, 700_000);
        // Gap of 300 segments: K = cbrt(300 / 0.4) = 9.08 s.
        let mut passed_at = 0;
        for ms in (0..20_000u64).step_by(100) {
            let acked = window;
            window = cubic.on_acknowledged(window, acked, at(ms));
            if window > 1_010_000 && passed_at == 0 {
                passed_at = ms;
            }
        }
        assert_eq!(cubic.k_ms, 9_085);
        assert!((9_000..14_000).contains(&passed_at), "passed W_max at {passed_at} ms");
        assert!(window > 1_200_000, "probing beyond: {window}");
    }

    #[test]
    fn a_short_round_trip_grows_at_least_like_reno() {
        let mut cubic = Cubic::default();
        let mut window = cubic.on_loss(20_000, 20_000, at(0));
        for _ in 0..100 {
            // 100 round trips within a millisecond.
            let acked = window;
            window = cubic.on_acknowledged(window, acked, Path { rtt_us: 10, ..at(1) });
        }
        assert!(window >= 14_000 + 40_000, "about 9/17, then 1 segment a round trip: {window}");
    }

    #[test]
    fn a_second_loss_below_the_first_makes_room() {
        let mut cubic = Cubic::default();
        cubic.on_loss(100_000, 100_000, at(0));
        assert_eq!(cubic.window_max, 100_000);
        cubic.on_loss(80_000, 80_000, at(500));
        assert_eq!(cubic.window_max, 68_000);
    }

    /// RFC 9438, 4.8: what the path carried before a time-out is no goal any more.
    #[test]
    fn after_a_timeout_the_window_grows_from_where_it_is() {
        let mut cubic = Cubic::default();
        cubic.on_loss(1_000_000, 1_000_000, at(0));
        cubic.on_timeout();
        let window = cubic.on_acknowledged(700_000, 7_000, at(5_000));
        assert_eq!((cubic.window_max, cubic.k_ms), (700_000, 0));
        assert!(window < 701_000, "flat at first: {window}");
    }

    /// RFC 9438, 4.2: without this the window would jump after a while without data.
    #[test]
    fn time_without_data_does_not_count() {
        let mut cubic = Cubic::default();
        let window = cubic.on_loss(100_000, 100_000, at(0));
        cubic.on_acknowledged(window, 1_000, at(100));
        cubic.on_idle();
        let after = cubic.on_acknowledged(window, window, at(20_000));
        assert!(after < window + 10_000, "{window} became {after}");
    }

    /// RFC 9438, 5.8: without this the window would jump once the application sends again.
    #[test]
    fn time_in_which_the_application_holds_back_does_not_count() {
        let windows = |pause_ms: u64| {
            let mut cubic = Cubic::default();
            let mut window = cubic.on_loss(1_000_000, 1_000_000, at(0));
            for ms in (0..3_000).step_by(100) {
                window = cubic.on_acknowledged(window, window, at(ms));
            }
            for ms in (3_000..3_000 + pause_ms).step_by(50) {
                cubic.on_limited(at(ms).now);
            }
            for ms in (3_000..6_000).step_by(100) {
                window = cubic.on_acknowledged(window, window, at(ms + pause_ms));
            }
            window
        };
        let (without, with) = (windows(0), windows(60_000));
        assert!(without.abs_diff(with) < 1_000, "{without} without a pause, {with} with one");
    }

    /// RFC 9438, 4.3: with fast convergence W_max is below cwnd_prior, which is what alpha asks for.
    #[test]
    fn the_reno_estimate_grows_slowly_up_to_where_the_loss_was() {
        let mut cubic = Cubic::default();
        cubic.on_loss(200_000, 200_000, at(0));
        let window = cubic.on_loss(100_000, 100_000, at(10));
        assert_eq!((window, cubic.window_max), (70_000, 85_000));
        cubic.on_acknowledged(window, 1_000, at(20));
        cubic.reno_window = 90_000;
        let before = cubic.reno_acked;
        cubic.grow_reno(90_000, 1_700, at(20));
        assert_eq!(cubic.reno_acked - before, 900, "nine seventeenths");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut cubic = Cubic::default();
        let path = |ms| Path { mss: 65_495, rtt_us: u32::MAX, now: Instant::from_millis(ms) };
        cubic.on_loss(1 << 30, 1 << 30, path(0));
        let window = cubic.on_acknowledged(1 << 20, u32::MAX, path(1 << 40));
        assert!(window > 1 << 20);
        assert!(cubic.on_acknowledged(1, 1, path(1 << 41)) >= 1);
    }
}
