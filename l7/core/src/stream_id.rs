//! Which exchange of a connection.

/// The number of an exchange on its connection.
///
/// HTTP/2: the stream identifier of RFC 9113, 5.1.1. Ping-pong protocols count their exchanges from
/// 1 on; since they carry one at a time, they do not look at the number that a verb names.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(u32);

impl StreamId {
    /// The connection itself; never an exchange.
    pub const CONNECTION: Self = Self(0);

    /// The stream with this number.
    #[inline]
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}
