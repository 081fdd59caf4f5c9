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

/// How many frames of a kind may come at once, besides resets; per second come again as many as have
/// the usual share of that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameLimits {
    /// SETTINGS, acknowledgements too.
    pub settings: u16,
    /// PING that was not asked for.
    pub pings: u16,
    /// PRIORITY and PRIORITY_UPDATE.
    pub priorities: u16,
    /// DATA without data that does not end a stream.
    pub empty: u16,
    /// WINDOW_UPDATE.
    pub window_updates: u16,
    /// frames of types that nobody knows.
    pub unknown: u16,
    /// frames on streams that were reset.
    pub late: u16,
}

impl Default for FrameLimits {
    fn default() -> Self {
        let usual = |class: Class| BUDGETS[class as usize].0;
        Self {
            settings: usual(Class::Settings),
            pings: usual(Class::Ping),
            priorities: usual(Class::Priority),
            empty: usual(Class::Empty),
            window_updates: usual(Class::WindowUpdate),
            unknown: usual(Class::Unknown),
            late: usual(Class::Closed),
        }
    }
}

impl FrameLimits {
    /// By class.
    const fn bursts(self, resets: u16) -> [u16; BUDGETS.len()] {
        let Self { settings, pings, priorities, empty, window_updates, unknown, late } = self;
        [resets, settings, pings, priorities, empty, window_updates, unknown, late]
    }
}

/// What is left of each class.
#[derive(Debug)]
pub(crate) struct Budgets {
    left: [u16; BUDGETS.len()],
    /// As configured.
    bursts: [u16; BUDGETS.len()],
    /// When the buckets were filled last; zero: not yet.
    filled: Instant,
}

const SECOND: u64 = 1_000_000_000;

impl Budgets {
    pub(crate) fn new(resets: u16, frames: FrameLimits) -> Self {
        let bursts = frames.bursts(resets);
        Self { left: bursts, bursts, filled: Instant::ZERO }
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
        *left = left.saturating_add(1).min(self.bursts[Class::Reset as usize]);
    }

    /// We sent a part of a message: one more PING may come. Peers that measure bandwidth (gRPC does)
    /// send one per round trip in which they receive anything.
    #[inline]
    pub(crate) fn earn_ping(&mut self) {
        let left = &mut self.left[Class::Ping as usize];
        *left = left.saturating_add(1).min(self.bursts[Class::Ping as usize]);
    }

    #[cold]
    fn fill(&mut self, now: Instant) {
        self.left = self.filled_at(now);
        self.filled = now;
    }

    /// What is left once what has come again by `now` is there.
    fn filled_at(&self, now: Instant) -> [u16; BUDGETS.len()] {
        let seconds = (now.nanos_since(self.filled) / SECOND).min(1_000);
        std::array::from_fn(|class| {
            let (burst, (usual, rate, _)) = (self.bursts[class], BUDGETS[class]);
            if self.left[class] == burst {
                return burst;
            }
            // As many per second as have the usual share of the burst.
            let rate = (u64::from(burst) * u64::from(rate)).div_ceil(u64::from(usual));
            let filled = u64::from(self.left[class]) + rate * seconds;
            filled.min(u64::from(burst)) as u16
        })
    }

    /// How much is used up of the class that is used most, in [`WHOLE`]ths. Of a burst that was set to
    /// less than the usual one, as a part of the usual one: the first SETTINGS are no flood.
    pub(crate) fn used(&self, now: Instant) -> u16 {
        let left = self.filled_at(now);
        let used =
            |class: usize| match u64::from(self.bursts[class] - left[class]) * u64::from(WHOLE) {
                0 => 0,
                used => used / u64::from(self.bursts[class].max(BUDGETS[class].0)),
            };
        (0..BUDGETS.len()).map(used).max().unwrap_or(0) as u16
    }
}

/// A budget that is used up altogether, for [`Budgets::used`].
pub(crate) const WHOLE: u16 = 256;

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
            let mut budgets = Budgets::new(RESETS, FrameLimits::default());
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

    #[test]
    fn what_is_used_comes_back_and_is_a_part_of_the_usual() {
        let now = Instant::from_millis(500);
        let mut budgets = Budgets::new(RESETS, FrameLimits::default());
        assert_eq!(budgets.used(now), 0);
        for _ in 0..RESETS / 4 {
            assert_eq!(budgets.take(Class::Reset, now), Ok(()));
        }
        assert_eq!(budgets.take(Class::Ping, now), Ok(()));
        assert_eq!(budgets.used(now), WHOLE / 4, "of the class that is used most");
        assert_eq!(budgets.used(Instant::from_millis(1_600)), WHOLE / 20, "100 came back");
        assert_eq!(budgets.used(Instant::from_millis(9_000)), 0);
        while budgets.take(Class::Reset, now).is_ok() {}
        assert_eq!(budgets.used(now), WHOLE);
        // One that may reset little has not flooded yet, one that may reset much neither.
        let mut small = Budgets::new(1, FrameLimits { settings: 2, ..FrameLimits::default() });
        for class in [Class::Reset, Class::Settings, Class::Settings] {
            assert_eq!(small.take(class, now), Ok(()));
        }
        assert_eq!(small.used(now), WHOLE * 2 / 50);
        let mut large = Budgets::new(RESETS * 10, FrameLimits::default());
        for _ in 0..RESETS {
            assert_eq!(large.take(Class::Reset, now), Ok(()));
        }
        assert_eq!(large.used(now), WHOLE / 10);
    }

    /// Each limit is that of its own kind.
    #[test]
    fn limits_are_those_that_were_set() {
        let limits = FrameLimits {
            settings: 2,
            pings: 3,
            priorities: 4,
            empty: 5,
            window_updates: 6,
            unknown: 7,
            late: 8,
        };
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
        for (class, burst) in classes.into_iter().zip(1..) {
            let mut budgets = Budgets::new(1, limits);
            let now = Instant::from_millis(500);
            let passed = (0..100).take_while(|_| budgets.take(class, now).is_ok()).count();
            assert_eq!(passed, burst, "{class:?}");
            // A part of it comes back, and at least one.
            let later = Instant::from_millis(1_600);
            assert_eq!(budgets.take(class, later), Ok(()), "{class:?}");
        }
    }
}
