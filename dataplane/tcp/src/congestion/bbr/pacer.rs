//! When bytes may leave: tokens that come at the pacing rate.
//!
//! The wheel's ticks are about a millisecond long, so what leaves at a time is a millisecond's worth,
//! and a worker that comes late finds at most four of them.

use sluice_base::Instant;

/// One tick of the stack's wheel, nanoseconds: deadlines between two would come early.
const TICK_NS: u64 = 1 << 20;
/// Ticks' worth of tokens that may wait.
const TICKS_MAX: u64 = 4;

#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes per second.
    pub(super) rate: u64,
    /// Bytes that may leave now.
    tokens: u32,
    refilled_at: Instant,
}

impl Pacer {
    pub(super) fn new() -> Self {
        Self { rate: 0, tokens: 0, refilled_at: Instant::ZERO }
    }

    /// Bytes that may leave in one go.
    fn tokens_max(&self, mss: u32) -> u32 {
        (self.worth(TICKS_MAX * TICK_NS)).max(3 * mss)
    }

    /// A burst between two ticks, bytes.
    pub(super) fn quantum(&self) -> u32 {
        self.worth(TICK_NS)
    }

    /// Bytes that come in so many nanoseconds, at most a second.
    fn worth(&self, nanos: u64) -> u32 {
        let nanos = nanos.min(1_000_000_000);
        u32::try_from(self.rate.saturating_mul(nanos) / 1_000_000_000).unwrap_or(u32::MAX / 2)
    }

    /// Bytes that may leave now; all that may wait if nothing is under way.
    pub(super) fn refill(&mut self, is_idle: bool, mss: u32, now: Instant) -> u32 {
        let most = self.tokens_max(mss);
        let came = self.worth((now - self.refilled_at).as_nanos() as u64);
        self.tokens = if is_idle { most } else { self.tokens.saturating_add(came).min(most) };
        // What is less than a byte is not lost.
        if came > 0 || is_idle {
            self.refilled_at = now;
        }
        self.tokens
    }

    pub(super) fn on_sent(&mut self, bytes: u32) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// When a segment may leave: at a tick.
    pub(super) fn next(&self, mss: u32, now: Instant) -> Instant {
        let missing = u64::from(mss.saturating_sub(self.tokens));
        let wait = missing * 1_000_000_000 / self.rate.max(1);
        let at = now.as_nanos() + wait.clamp(1, 1_000_000_000);
        Instant::from_nanos(at.next_multiple_of(TICK_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_at_the_rate_and_a_few_may_wait() {
        let mut pacer = Pacer { rate: 10_000_000, ..Pacer::new() };
        let mut now = Instant::from_millis(100);
        let mut sent = u64::from(pacer.refill(true, 1_000, now));
        pacer.on_sent(u32::MAX);
        for _ in 0..100 {
            assert_eq!(pacer.refill(false, 1_000, now), 0);
            now = pacer.next(1_000, now);
            let tokens = pacer.refill(false, 1_000, now);
            assert!((1_000..12_000).contains(&tokens), "{tokens}");
            sent += u64::from(tokens);
            pacer.on_sent(tokens);
        }
        let expected = (now - Instant::from_millis(100)).as_millis() as u64 * 10_000;
        assert!(sent.abs_diff(expected) < 60_000, "{sent} for {expected}");
        let late = Instant::from_nanos(now.as_nanos() + 1_000_000_000);
        assert_eq!(pacer.refill(false, 1_000, late), 41_943, "four ticks");
    }
}
