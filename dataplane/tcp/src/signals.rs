//! What a verb tells its caller.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of things that a verb brought about.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
#[must_use]
pub struct Signals(u16);

impl Signals {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// ESTABLISHED was reached.
    pub const CONNECTED: Self = Self(1);
    /// In-order bytes arrived.
    pub const READABLE: Self = Self(1 << 1);
    /// Send room came back after `send_room` had been 0.
    pub const WRITABLE: Self = Self(1 << 2);
    /// The peer's FIN arrived in order: behind what is readable there comes nothing more.
    pub const PEER_CLOSED: Self = Self(1 << 3);
    /// The connection is over, see `close_reason`. Said once, when nothing is left to read; the
    /// slot may be freed as soon as `has_output` is false (a RST may still be owed).
    pub const CLOSED: Self = Self(1 << 4);
    /// TIME-WAIT was reached and nothing is left to read. Said once; as soon as `has_output` is
    /// false (the ACK of the peer's FIN is owed) `time_wait` may take the slot's place.
    pub const TIME_WAIT: Self = Self(1 << 5);
    /// Segments are owed: the connection belongs on the output list.
    pub const OUTPUT: Self = Self(1 << 6);
    /// `next_deadline` moved to an earlier instant.
    pub const TIMER: Self = Self(1 << 7);
    /// The handshake of a connection is over that was open for the application before (RFC 7413).
    pub const ACKNOWLEDGED: Self = Self(1 << 8);

    /// Whether every one of `other` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in the set.
    #[inline]
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Signals {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Signals {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Signals, &str); 9] = [
            (Signals::CONNECTED, "connected"),
            (Signals::READABLE, "readable"),
            (Signals::WRITABLE, "writable"),
            (Signals::PEER_CLOSED, "peer-closed"),
            (Signals::CLOSED, "closed"),
            (Signals::TIME_WAIT, "time-wait"),
            (Signals::OUTPUT, "output"),
            (Signals::TIMER, "timer"),
            (Signals::ACKNOWLEDGED, "acknowledged"),
        ];
        let mut separator = "";
        for (signal, name) in NAMES {
            if self.contains(signal) {
                write!(f, "{separator}{name}")?;
                separator = " ";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signals({self})")
    }
}
