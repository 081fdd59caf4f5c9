//! The clock of the scoreboard.

use sluice_base::Instant;

/// A point in time in ticks of 2^12 ns, about 4 microseconds; wraps in five hours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp(pub(crate) u32);

impl Stamp {
    #[inline]
    pub(crate) fn of(now: Instant) -> Self {
        Self((now.as_nanos() >> TICK_BITS) as u32)
    }

    /// Ticks since `earlier`.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this is later than `other`, half a wrap at most.
    #[inline]
    pub(crate) fn is_after(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) > 0
    }
}

const TICK_BITS: u32 = 12;

/// Ticks in so many microseconds; rounded down, saturating.
#[inline]
pub(crate) fn ticks_of_us(us: u32) -> u32 {
    ((u64::from(us) * 1_000) >> TICK_BITS) as u32
}

/// Nanoseconds that so many ticks take.
#[inline]
pub(crate) fn nanos_of(ticks: u32) -> u64 {
    u64::from(ticks) << TICK_BITS
}
