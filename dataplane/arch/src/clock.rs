//! The one place that reads the machine's clock for the data plane.

/// `CLOCK_MONOTONIC`, relative to when this value was made.
///
/// A worker reads it once per heartbeat and passes the result on (61 ns by vDSO).
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: std::time::Instant,
}

impl MonotonicClock {
    /// A clock that starts now. Copies of it agree, on every thread.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is where wall-clock time enters; everything above is handed its value"
    )]
    pub fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Nanoseconds since the start.
    #[inline]
    #[must_use]
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
