//! A limit that all workers share.
//!
//! ```text
//!                 draw: a batch, or one when few remain
//!     Lease  ----------------------------------------->  WorkerLease (spare) --take--> in use
//!   available                                                                            |
//!     ^  ^------- what exceeds the batch; everything when few remain ------- give back --+
//! ```
//!
//! Envelope: with 1,024 permits a batch is 16, so one request in sixteen touches the shared cache
//! line; the others cost an addition. A worker may hold spare permits that another could use: at
//! most a sixty-fourth of what was available when it drew them, and it gives them up as soon as it
//! gives anything back while few remain, or gives back the last one in use: a quiet worker holds
//! nothing.
//!
//! # Ordering
//!
//! Every access is `Relaxed`. A permit is a number: having one publishes no memory, and nobody
//! derives anything else from its absence. What must hold is conservation (available + held by
//! workers = limit), and that follows from each step being one atomic read-modify-write of one
//! variable, whose modification order is total in any ordering.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

/// Permits drawn at once, at most.
const BATCH_MAX: i64 = 32;
/// A batch is this fraction of what is available.
const BATCH_FRACTION: i64 = 64;

/// The shared side: how many permits nobody holds.
#[derive(Debug)]
#[repr(align(128))]
pub struct Lease {
    /// Below zero after the limit fell under what is held.
    available: AtomicI64,
    /// Written by the control thread alone.
    limit: AtomicU32,
}

impl Default for Lease {
    /// No permits yet.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Lease {
    /// `limit` permits.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { available: AtomicI64::new(limit as i64), limit: AtomicU32::new(limit) }
    }

    /// Changes the limit. Permits that are held stay valid: after a fall, new ones come only when
    /// enough have been given back. For one thread only.
    pub fn set_limit(&self, limit: u32) {
        let before = self.limit.swap(limit, Relaxed);
        if before != limit {
            self.available.fetch_add(i64::from(limit) - i64::from(before), Relaxed);
        }
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Permits that no worker holds, as of a moment ago; below zero after the limit fell.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.available.load(Relaxed)
    }

    /// Takes one permit or several; 0: there are none.
    fn draw(&self) -> u32 {
        let mut available = self.available.load(Relaxed);
        loop {
            if available <= 0 {
                return 0;
            }
            let batch = (available / BATCH_FRACTION).clamp(1, BATCH_MAX);
            match self.available.compare_exchange_weak(
                available,
                available - batch,
                Relaxed,
                Relaxed,
            ) {
                Ok(_) => return batch as u32,
                Err(now) => available = now,
            }
        }
    }

    fn give_back(&self, permits: u32) {
        self.available.fetch_add(i64::from(permits), Relaxed);
    }

    /// Whether permits are drawn one by one.
    #[inline]
    fn is_scarce(&self) -> bool {
        self.available() < 2 * BATCH_FRACTION
    }
}

/// One worker's side of a [`Lease`].
///
/// Dropping it gives every permit back, those in use too: what used them is gone with the worker.
#[derive(Debug)]
pub struct WorkerLease {
    lease: Arc<Lease>,
    spare: u32,
    in_use: u32,
}

impl WorkerLease {
    /// Holds nothing yet.
    #[must_use]
    pub const fn new(lease: Arc<Lease>) -> Self {
        Self { lease, spare: 0, in_use: 0 }
    }

    /// Takes a permit. False: the limit is reached.
    #[inline]
    #[must_use = "without a permit nothing may be started"]
    pub fn try_take(&mut self) -> bool {
        if self.spare == 0 {
            self.spare = self.lease.draw();
            if self.spare == 0 {
                return false;
            }
        }
        self.spare -= 1;
        self.in_use += 1;
        true
    }

    /// Gives a permit back.
    #[inline]
    pub fn give_back(&mut self) {
        debug_assert!(self.in_use > 0, "only a permit that was taken is given back");
        if self.in_use == 0 {
            return;
        }
        self.in_use -= 1;
        self.spare += 1;
        if self.in_use == 0 || self.spare > BATCH_MAX as u32 || self.lease.is_scarce() {
            self.release_spare();
        }
    }

    /// Gives up the permits that are not in use.
    fn release_spare(&mut self) {
        if self.spare > 0 {
            self.lease.give_back(std::mem::take(&mut self.spare));
        }
    }

    /// Permits in use by this worker.
    #[must_use]
    pub const fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The shared side.
    #[must_use]
    pub const fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }
}

impl Drop for WorkerLease {
    fn drop(&mut self) {
        self.lease.give_back(self.spare + self.in_use);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn small_limits_are_exact_over_workers() {
        for limit in [0, 1, 2, 10, 127] {
            let lease = Arc::new(Lease::new(limit));
            let mut workers: Vec<_> =
                (0..3).map(|_| WorkerLease::new(Arc::clone(&lease))).collect();
            let mut taken = 0;
            while workers[taken as usize % 3].try_take() {
                taken += 1;
            }
            assert_eq!(taken, limit, "nothing is stranded as a spare");
            assert!(workers.iter_mut().all(|worker| !worker.try_take()));
            if limit > 0 {
                workers[0].give_back();
                assert!(workers[1].try_take(), "what one gives back another takes");
            }
        }
    }

    #[test]
    fn large_limits_are_drawn_in_batches_and_never_exceeded() {
        let lease = Arc::new(Lease::new(1_024));
        let mut worker = WorkerLease::new(Arc::clone(&lease));
        assert!(worker.try_take());
        assert_eq!((worker.in_use(), lease.available()), (1, 1_024 - 16));
        let mut other = WorkerLease::new(Arc::clone(&lease));
        let mut taken = 1;
        while other.try_take() {
            taken += 1;
        }
        assert_eq!(taken, 1_024 - 15, "the first worker's spares");
        worker.give_back();
        assert_eq!(lease.available(), 16, "given up at the first chance");
        drop((worker, other));
        assert_eq!(lease.available(), 1_024);
    }

    #[test]
    fn a_limit_that_falls_below_what_is_held_is_waited_for() {
        let lease = Arc::new(Lease::new(4));
        let mut worker = WorkerLease::new(Arc::clone(&lease));
        assert!((0..4).all(|_| worker.try_take()));
        lease.set_limit(2);
        assert_eq!((lease.limit(), lease.available()), (2, -2));
        for _ in 0..2 {
            worker.give_back();
            assert!(!worker.try_take());
        }
        worker.give_back();
        assert!(worker.try_take());
        lease.set_limit(2);
        lease.set_limit(u32::MAX);
        assert_eq!(lease.available(), i64::from(u32::MAX) - 2);
    }

    /// A step that were not one atomic read-modify-write would lose or invent permits here.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is about threads")]
    fn threads_never_hold_more_than_the_limit_and_lose_none() {
        for limit in [3, 200] {
            let lease = Arc::new(Lease::new(limit));
            let held = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for seed in 0..4 {
                    let (lease, held) = (&lease, &held);
                    scope.spawn(move || {
                        let mut worker = WorkerLease::new(Arc::clone(lease));
                        let mut rng = sluice_base::Rng::new(seed);
                        for _ in 0..20_000 {
                            if rng.chance(550_000) {
                                if worker.try_take() {
                                    let before = held.fetch_add(1, Relaxed);
                                    assert!(before < limit, "{before} were held already");
                                }
                            } else if worker.in_use() > 0 {
                                held.fetch_sub(1, Relaxed);
                                worker.give_back();
                            }
                        }
                        held.fetch_sub(worker.in_use(), Relaxed);
                    });
                }
            });
            assert_eq!(lease.available(), i64::from(limit));
        }
    }

    /// Above the point where few remain, too: what a worker drew in its busy time comes back.
    #[test]
    fn a_quiet_worker_holds_nothing() {
        let lease = Arc::new(Lease::new(10_000));
        let mut worker = WorkerLease::new(Arc::clone(&lease));
        for _ in 0..100 {
            assert!(worker.try_take());
        }
        assert!(lease.available() < 9_900, "some of what was drawn is spare");
        for _ in 0..100 {
            worker.give_back();
        }
        assert_eq!((lease.available(), worker.in_use()), (10_000, 0));
    }
}
