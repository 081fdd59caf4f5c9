//! How long a message's body is.

/// What is known about a body when its head is there (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyLength {
    /// No body: the message is complete with its head.
    None,
    /// Exactly so many bytes, by Content-Length. Decoders yield `None` instead of 0.
    Known(u64),
    /// Not known: the chunked coding, or DATA frames without Content-Length, ends it.
    Chunked,
    /// The end of the connection ends it: a response to an old client or from an old server, and
    /// whatever follows a 101 or a 2xx to CONNECT.
    UntilClose,
}

impl BodyLength {
    /// Whether the message is complete with its head.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None | Self::Known(0))
    }
}
