//! What can go wrong, by whose fault.

use std::fmt;

/// The peer broke the protocol; the connection cannot go on.
///
/// In the server's role it is answered with [`ProtocolError::status`] and closed; in the client's
/// role the exchange fails as 502 and the connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProtocolError {
    /// What kind of mistake it was.
    pub kind: ProtocolErrorKind,
    /// The rule that was broken, in kebab-case: a stable name for counters and the log.
    pub reason: &'static str,
}

/// Kinds of mistakes, as far as they are answered differently.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProtocolErrorKind {
    /// A head or a body that breaks the grammar, or could be read in two ways.
    Malformed,
    /// The request line is longer than the limit.
    RequestLineTooLong,
    /// More header bytes or fields than the limits.
    HeadTooLarge,
    /// A transfer coding that is not implemented.
    UnknownTransferCoding,
    /// A major version that is not spoken here.
    UnknownVersion,
    /// The connection ended in the middle of a message.
    Truncated,
    /// A peer that asks for more than it may: floods of frames, resets or empty parts.
    Excessive,
}

impl ProtocolError {
    /// A mistake of this kind, with the broken rule's name.
    #[inline]
    #[must_use]
    pub const fn new(kind: ProtocolErrorKind, reason: &'static str) -> Self {
        Self { kind, reason }
    }

    /// The status code that a server answers with; the one place that says so.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self.kind {
            ProtocolErrorKind::Malformed => 400,
            ProtocolErrorKind::RequestLineTooLong => 414,
            ProtocolErrorKind::HeadTooLarge => 431,
            ProtocolErrorKind::UnknownTransferCoding => 501,
            ProtocolErrorKind::UnknownVersion => 505,
            ProtocolErrorKind::Truncated => 400,
            ProtocolErrorKind::Excessive => 429,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for ProtocolError {}

/// We could not write a message part. Nothing of it was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EncodeError {
    /// The buffer pool is empty; the same call may succeed later.
    NoMemory,
    /// The stream is not in a state in which this part may be written: our mistake, or the stream
    /// has been reset meanwhile.
    WrongState,
    /// More body bytes than the head announced, or fewer at the end. The connection must close.
    LengthMismatch,
    /// The head holds bytes that would be read as something else (a line end in a value).
    Unprintable,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "the buffer pool is empty",
            Self::WrongState => "the stream does not expect this part now",
            Self::LengthMismatch => "the body is not as long as its head announced",
            Self::Unprintable => "the head holds bytes that cannot be written",
        })
    }
}

impl std::error::Error for EncodeError {}

impl From<sluice_buf::PoolEmpty> for EncodeError {
    fn from(_: sluice_buf::PoolEmpty) -> Self {
        Self::NoMemory
    }
}
