//! How long requests take, for those who may make them wait.

/// What one request counts at most, nanoseconds: a few that live long do not stand for the others.
const LONGEST: u64 = 1_000_000;

/// Sums over the requests that endpoints have answered, since the proxy began. They wrap around.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Completed {
    /// How many.
    pub requests: u64,
    /// What they took from head to end, nanoseconds; none counts as more than a millisecond.
    pub nanos: u64,
}

impl Completed {
    /// One more, which took `nanos`.
    #[inline]
    pub(crate) fn add(&mut self, nanos: u64) {
        self.requests = self.requests.wrapping_add(1);
        self.nanos = self.nanos.wrapping_add(nanos.min(LONGEST));
    }
}
