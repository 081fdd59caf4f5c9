//! Cycles per stage of a heartbeat: a product feature, and it decides nothing.

use sluice_arch::cycles;

/// How many stages there are.
pub const STAGES: usize = 5;

/// A part of the heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum Stage {
    /// Adopting a snapshot, rings, and receive calls of the devices.
    Receive,
    /// Ethernet to TCP input.
    Input,
    /// Timers of stack and proxy.
    Timers,
    /// Codecs, filters, routing, balancing.
    Serve,
    /// TCP output and transmit calls of the devices.
    Transmit,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; STAGES] =
        [Self::Receive, Self::Input, Self::Timers, Self::Serve, Self::Transmit];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Input => "input",
            Self::Timers => "timers",
            Self::Serve => "serve",
            Self::Transmit => "transmit",
        }
    }
}

/// Reads the time-stamp counter at stage edges, over many heartbeats: the sums are handed on now and
/// then, which one heartbeat could not afford for its few packets.
#[derive(Debug, Default)]
pub(crate) struct StageClock {
    last: u64,
    spent: [u64; STAGES],
    /// `spent` as the heartbeat began.
    before: [u64; STAGES],
}

impl StageClock {
    /// A heartbeat begins.
    #[inline]
    pub(crate) fn start(&mut self) {
        self.before = self.spent;
        self.last = cycles();
    }

    /// The heartbeat found nothing to do: its cycles are nobody's.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.spent = self.before;
    }

    /// Books the cycles since the last edge on `stage`.
    #[inline]
    pub(crate) fn edge(&mut self, stage: Stage) {
        let now = cycles();
        self.spent[stage as usize] += now.saturating_sub(self.last);
        self.last = now;
    }

    /// The sums since they were last taken.
    pub(crate) fn take(&mut self) -> [u64; STAGES] {
        std::mem::take(&mut self.spent)
    }
}
