//! Frames that cost us more than the peer: how many it may send.
//!
//! Each class has a bucket that starts full and is filled again by the second, so that an honest
//! burst passes and a flood does not last. A bucket is two bytes; nothing runs while nothing floods.

use sluice_base::Instant;

use crate::error::Fault;

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// RST_STREAM received, and stream errors that the peer made us send.
    Reset,
    /// SETTINGS, acknowledgements too.
    Settings,
    /// PING, acknowledgements too.
    Ping,
    /// PRIORITY, PRIORITY_UPDATE.
    Priority,
    /// DATA without data.
    Empty,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// Types that nobody knows.
    Unknown,
    /// Frames on streams that we have reset.
    Closed,
}

/// Burst of resets, unless it is configured.
pub(crate) const RESETS: u16 = 500;

/// (burst, per second, reason) by class.
///
/// * Reset: a browser that leaves a page cancels what it had asked for, some hundred at once; the
///   attack needs ten thousands a second.
/// * Settings: one at the start, then a handful over a connection's life.
/// * Ping: keep-alives; and one for each frame that we send, for those who measure bandwidth.
/// * Priority: one per stream of old browsers.
/// * Empty: an END_STREAM of its own is not counted, so that honest peers send next to none.
/// * WindowUpdate: two per DATA frame of ours is what careless peers send; our own frames are many.
/// * Unknown: greasing sends a few.
/// * Closed: what was on its way when we reset.
const BUDGETS: [(u16, u16, Fault); 8] = [
    (RESETS, RESETS / 5, Fault::ResetFlood),
    (50, 5, Fault::SettingsFlood),
    (200, 50, Fault::PingFlood),
    (1_000, 200, Fault::PriorityFlood),
    (200, 50, Fault::EmptyFrameFlood),
    (20_000, 40_000, Fault::WindowUpdateFlood),
    (200, 20, Fault::UnknownFrameFlood),
    (5_000, 2_000, Fault::ClosedStreamFlood),
];

/// What is left of each class.
#[derive(Debug)]
pub(crate) struct Budgets {
    left: [u16; BUDGETS.len()],
    /// Burst of resets, as configured; a fifth of it per second.
    resets: u16,
    /// When the buckets were filled last; zero: not yet.
    filled: Instant,
}

const SECOND: u64 = 1_000_000_000;

impl Budgets {
    pub(crate) fn new(resets: u16) -> Self {
        let mut left = BUDGETS.map(|(burst, _, _)| burst);
        left[Class::Reset as usize] = resets;
        Self { left, resets, filled: Instant::ZERO }
    }

    /// Takes one of the class; the fault if there is none left.
    #[inline]
    pub(crate) fn take(&mut self, class: Class, now: Instant) -> Result<(), Fault> {
        if now.nanos_since(self.filled) >= SECOND {
            self.fill(now);
        }
        let left = &mut self.left[class as usize];
        match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                Ok(())
            }
            None => Err(BUDGETS[class as usize].2),
        }
    }

    /// A stream was completed: one more may be reset. So half of all streams may be, at any rate.
    #[inline]
    pub(crate) fn earn_reset(&mut self) {
        let left = &mut self.left[Class::Reset as usize];
        *left = (*left + 1).min(self.resets);
    }

    /// We sent a part of a message: one more PING may come. Peers that measure bandwidth (gRPC does)
    /// send one per round trip in which they receive anything.
    #[inline]
    pub(crate) fn earn_ping(&mut self) {
        let left = &mut self.left[Class::Ping as usize];
        *left = (*left + 1).min(BUDGETS[Class::Ping as usize].0);
    }

    #[cold]
    fn fill(&mut self, now: Instant) {
        let seconds = (now.nanos_since(self.filled) / SECOND).min(1_000) as u32;
        let mut budgets = BUDGETS;
        let resets = &mut budgets[Class::Reset as usize];
        (resets.0, resets.1) = (self.resets, self.resets.div_ceil(5));
        for (left, (burst, rate, _)) in self.left.iter_mut().zip(budgets) {
            let filled = u32::from(*left) + u32::from(rate) * seconds;
            *left = filled.min(u32::from(burst)) as u16;
        }
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_pass_and_floods_do_not() {
        let classes = [
            Class::Reset,
            Class::Settings,
            Class::Ping,
            Class::Priority,
            Class::Empty,
            Class::WindowUpdate,
            Class::Unknown,
            Class::Closed,
        ];
        for (at, class) in classes.into_iter().enumerate() {
            let (burst, rate, fault) = BUDGETS[at];
            let mut budgets = Budgets::new(RESETS);
            let start = Instant::from_millis(500);
            for _ in 0..burst {
                assert_eq!(budgets.take(class, start), Ok(()));
            }
            assert_eq!(budgets.take(class, start), Err(fault));
            // A second later the rate, and no more.
            let later = Instant::from_millis(1_600);
            for _ in 0..rate.min(burst) {
                assert_eq!(budgets.take(class, later), Ok(()));
            }
            assert_eq!(budgets.take(class, later), Err(fault));
            // After a long time the burst, and no more.
            let late = Instant::from_millis(10_000_000);
            for _ in 0..burst {
                assert_eq!(budgets.take(class, late), Ok(()));
            }
            assert_eq!(budgets.take(class, late), Err(fault));
        }
    }
}
