//! Where the parts of a head are.

use crate::NameId;

/// A range of a head's text: of the received bytes, or of the text that was added.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// Offset; the highest bit tells the head's own text from the received bytes.
    offset: u32,
    len: u32,
}

/// Marks an offset in the head's own text.
const OWN: u32 = 1 << 31;

impl Span {
    /// Nothing.
    pub const EMPTY: Self = Self { offset: 0, len: 0 };

    /// `len` bytes from `offset` of the received bytes.
    #[inline]
    #[must_use]
    pub const fn received(offset: usize, len: usize) -> Self {
        Self { offset: offset as u32, len: len as u32 }
    }

    /// `len` bytes from `offset` of the head's own text.
    #[inline]
    #[must_use]
    pub const fn own(offset: usize, len: usize) -> Self {
        Self { offset: offset as u32 | OWN, len: len as u32 }
    }

    /// Bytes.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Whether there is no byte.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether it lies in the head's own text.
    #[inline]
    #[must_use]
    pub const fn is_own(self) -> bool {
        self.offset & OWN != 0
    }

    /// Where it starts in its text.
    #[inline]
    #[must_use]
    pub const fn start(self) -> usize {
        (self.offset & !OWN) as usize
    }

    /// Where it ends in its text.
    #[inline]
    #[must_use]
    pub const fn end(self) -> usize {
        self.start() + self.len as usize
    }

    /// From this span's start to `other`'s end, which lies behind it in the same text.
    #[inline]
    #[must_use]
    pub const fn through(self, other: Self) -> Self {
        Self { offset: self.offset, len: other.offset.wrapping_add(other.len) - self.offset }
    }

    /// Whether `other` starts where this one ends, in the same text.
    #[inline]
    #[must_use]
    pub const fn is_followed_by(self, other: Self) -> bool {
        self.len != 0 && self.offset + self.len == other.offset
    }

    /// `len` bytes from this span's start on.
    #[inline]
    #[must_use]
    pub const fn extended(self, len: usize) -> Self {
        Self { offset: self.offset, len: len as u32 }
    }

    /// The same range of its text, moved by `by`.
    #[inline]
    #[must_use]
    pub const fn moved(self, by: usize) -> Self {
        Self { offset: self.offset + by as u32, len: self.len }
    }

    /// The same range of a text of which the first `by` bytes are gone.
    #[must_use]
    pub const fn moved_back(self, by: usize) -> Self {
        Self { offset: self.offset - by as u32, len: self.len }
    }

    /// The same range of the other kind of text, moved by `by`.
    pub(crate) const fn into_own(self, by: usize) -> Self {
        Self::own(self.start() + by, self.len())
    }

    /// `count` bytes from `from` on of this span, both inside it.
    #[inline]
    #[must_use]
    pub const fn slice(self, from: usize, count: usize) -> Self {
        Self { offset: self.offset + from as u32, len: count as u32 }
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, if it is a well-known one.
    pub id: NameId,
    /// Its name as received; empty for a well-known name that was added here.
    pub name: Span,
    /// Its value, without surrounding white space.
    pub value: Span,
    /// Whether it was received as exactly `name: value` CRLF, with name and value where the spans
    /// say: a writer of the same format may copy the line as it is.
    pub plain: bool,
    /// Whether it was received with the demand to keep it out of everybody's compression tables
    /// (RFC 7541, 7.1.3), which holds for whoever sends it on.
    pub never_indexed: bool,
    /// What a compression table of the kind it came from finds it by; 0: not known.
    pub hash: u32,
}
