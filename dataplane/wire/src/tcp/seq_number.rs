//! Sequence numbers: a circle of 2^32 (RFC 9293, 3.4).

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A point in sequence space. There is no `Ord`: on a circle "before" holds only between numbers
/// less than 2^31 apart, so it is asked by name.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Zero, for a field that has no meaning, such as the acknowledgement of a first SYN.
    pub const ZERO: Self = Self(0);

    /// `self < other` (RFC 9293, 3.4).
    #[inline]
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }

    /// `self <= other`.
    #[inline]
    #[must_use]
    pub const fn at_or_before(self, other: Self) -> bool {
        self.0 == other.0 || self.before(other)
    }

    /// `self > other`.
    #[inline]
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// `self >= other`.
    #[inline]
    #[must_use]
    pub const fn at_or_after(self, other: Self) -> bool {
        self.0 == other.0 || other.before(self)
    }

    /// How far `self` lies behind `start`, in bytes, going forward around the circle.
    #[inline]
    #[must_use]
    pub const fn since(self, start: Self) -> u32 {
        self.0.wrapping_sub(start.0)
    }

    /// Whether `start <= self < start + len`; never in an empty window.
    #[inline]
    #[must_use]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.since(start) < len
    }

    /// The later of two.
    #[inline]
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two.
    #[inline]
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }
}

impl Add<u32> for SeqNumber {
    type Output = Self;

    #[inline]
    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl AddAssign<u32> for SeqNumber {
    #[inline]
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;

    #[inline]
    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

impl Sub for SeqNumber {
    type Output = i32;

    /// The signed distance from `other` to `self`.
    #[inline]
    fn sub(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

impl From<u32> for SeqNumber {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let last = SeqNumber(u32::MAX);
        let first = last + 1;
        assert_eq!(first, SeqNumber::ZERO);
        assert!(last.before(first));
        assert!(first.after(last));
        assert!(!first.before(last));
        assert_eq!(first - last, 1);
        assert_eq!(last - first, -1);
        assert_eq!(first.since(last), 1);
        assert_eq!(first - 1, last);
        assert_eq!(last.max(first), first);
        assert_eq!(last.min(first), last);
    }

    #[test]
    fn equal_is_neither_before_nor_after() {
        let here = SeqNumber(7);
        assert!(!here.before(here));
        assert!(!here.after(here));
        assert!(here.at_or_before(here));
        assert!(here.at_or_after(here));
    }

    #[test]
    fn half_the_circle_is_the_edge() {
        let zero = SeqNumber::ZERO;
        assert!(zero.before(SeqNumber(0x7fff_ffff)));
        assert!(!zero.before(SeqNumber(0x8000_0001)));
        assert!(zero.after(SeqNumber(0x8000_0001)));
    }

    #[test]
    fn windows_are_half_open() {
        let start = SeqNumber(u32::MAX - 1);
        assert!(!(start - 1).in_window(start, 4));
        assert!(start.in_window(start, 4));
        assert!((start + 3).in_window(start, 4));
        assert!(!(start + 4).in_window(start, 4));
        assert!(!start.in_window(start, 0));
    }
}
