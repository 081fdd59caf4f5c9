//! What the application is told about a connection.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use sluice_tcp::{CloseReason, Signals};

/// What happened to a connection since it was last asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready {
    /// Everything that happened.
    pub signals: ReadySignals,
    /// With [`ReadySignals::CLOSED`]: why.
    pub reason: Option<CloseReason>,
}

impl Ready {
    /// A peer opened it.
    #[inline]
    #[must_use]
    pub const fn accepted(self) -> bool {
        self.signals.contains(ReadySignals::ACCEPTED)
    }

    /// It is open.
    #[inline]
    #[must_use]
    pub const fn connected(self) -> bool {
        self.signals.contains(ReadySignals::CONNECTED)
    }

    /// Bytes can be read.
    #[inline]
    #[must_use]
    pub const fn readable(self) -> bool {
        self.signals.contains(ReadySignals::READABLE)
    }

    /// Bytes can be written again.
    #[inline]
    #[must_use]
    pub const fn writable(self) -> bool {
        self.signals.contains(ReadySignals::WRITABLE)
    }

    /// Behind what can be read comes nothing more.
    #[inline]
    #[must_use]
    pub const fn peer_closed(self) -> bool {
        self.signals.contains(ReadySignals::PEER_CLOSED)
    }

    /// It is over and its name is dead.
    #[inline]
    #[must_use]
    pub const fn closed(self) -> bool {
        self.signals.contains(ReadySignals::CLOSED)
    }
}

/// A set of happenings.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct ReadySignals(u8);

impl ReadySignals {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A peer opened it; comes with `CONNECTED`.
    pub const ACCEPTED: Self = Self(1);
    /// It is open.
    pub const CONNECTED: Self = Self(1 << 1);
    /// Bytes can be read.
    pub const READABLE: Self = Self(1 << 2);
    /// Bytes can be written again.
    pub const WRITABLE: Self = Self(1 << 3);
    /// Behind what can be read comes nothing more.
    pub const PEER_CLOSED: Self = Self(1 << 4);
    /// It is over and its name is dead. Said last, when nothing is left to be read.
    pub const CLOSED: Self = Self(1 << 5);

    /// Whether all of `other` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What an application wants to know of what a connection says.
    #[inline]
    pub(crate) fn of(signals: Signals) -> Self {
        const PAIRS: [(Signals, ReadySignals); 4] = [
            (Signals::CONNECTED, ReadySignals::CONNECTED),
            (Signals::READABLE, ReadySignals::READABLE),
            (Signals::WRITABLE, ReadySignals::WRITABLE),
            (Signals::PEER_CLOSED, ReadySignals::PEER_CLOSED),
        ];
        let mut ready = Self::NONE;
        for (signal, flag) in PAIRS {
            if signals.contains(signal) {
                ready |= flag;
            }
        }
        ready
    }
}

impl BitOr for ReadySignals {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ReadySignals {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for ReadySignals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 6] =
            ["accepted", "connected", "readable", "writable", "peer-closed", "closed"];
        let mut list = f.debug_set();
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                list.entry(&format_args!("{name}"));
            }
        }
        list.finish()
    }
}
