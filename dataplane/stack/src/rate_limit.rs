//! Token buckets for what a peer can make us send.

use sluice_base::Instant;

/// Permits that come back at a steady rate, up to a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    /// Nanoseconds for one permit.
    interval_ns: u64,
    /// How far the credit may reach back.
    burst_ns: u64,
    /// When the credit that was used up would have been earned (a virtual clock).
    spent_until: Instant,
}

impl TokenBucket {
    /// `per_second` permits a second, half a second's worth at once. None at all if it is 0.
    pub(crate) fn new(per_second: u32) -> Self {
        let interval_ns = 1_000_000_000_u64.checked_div(u64::from(per_second)).unwrap_or(u64::MAX);
        let burst_ns = interval_ns.max(500_000_000);
        Self { interval_ns, burst_ns, spent_until: Instant::ZERO }
    }

    /// Takes one permit, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.interval_ns == u64::MAX {
            return false;
        }
        let earliest = Instant::from_nanos(now.as_nanos().saturating_sub(self.burst_ns));
        let spent_until = self.spent_until.max(earliest).plus_nanos(self.interval_ns);
        // At the origin of time nothing was earned yet; the first burst is given.
        let limit = now.max(Instant::from_nanos(self.burst_ns));
        if spent_until > limit {
            return false;
        }
        self.spent_until = spent_until;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        for start in [Instant::ZERO, Instant::from_millis(1_000_000)] {
            let mut bucket = TokenBucket::new(100);
            let burst = (0..1000).filter(|_| bucket.take(start)).count();
            assert_eq!(burst, 50);
            let mut taken = 0;
            for ms in 1..=1000 {
                taken += u32::from(bucket.take(start.plus_nanos(ms * 1_000_000 + 500_000_000)));
            }
            assert!((100..=150).contains(&taken), "{taken}");
        }
    }

    #[test]
    fn zero_is_never() {
        let mut bucket = TokenBucket::new(0);
        assert!(!bucket.take(Instant::from_millis(10_000)));
    }
}
