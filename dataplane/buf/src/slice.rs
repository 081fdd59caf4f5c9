//! A counted reference to bytes that nobody writes any more.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;

use crate::header::Segment;

/// Bytes `offset..offset + len` of one buffer, of which it holds one reference.
///
/// Invariant: the range is inside the buffer, and while any slice covers a byte, nobody writes it.
pub struct Slice {
    segment: Segment,
    offset: u16,
    len: u16,
}

impl Slice {
    /// Takes over the caller's reference to `segment`.
    #[inline]
    pub(crate) fn from_segment(segment: Segment, offset: u16, len: u16) -> Self {
        debug_assert!(
            usize::from(offset) + usize::from(len) <= usize::from(segment.buf_len()),
            "a slice lies inside its buffer"
        );
        Self { segment, offset, len }
    }

    /// The parts, with the reference.
    #[inline]
    pub(crate) fn into_parts(self) -> (Segment, u16, u16) {
        let parts = ManuallyDrop::new(self);
        (parts.segment, parts.offset, parts.len)
    }

    /// The bytes from `at` on, which this slice gives up. `at` is at most its length.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let at = at.min(usize::from(self.len)) as u16;
        self.segment.retain();
        let rest = Self::from_segment(self.segment, self.offset + at, self.len - at);
        self.len = at;
        rest
    }

    /// Gives up the first `count` bytes.
    pub fn advance(&mut self, count: usize) {
        let count = count.min(usize::from(self.len)) as u16;
        self.offset += count;
        self.len -= count;
    }
}

impl Clone for Slice {
    /// Another reference to the same bytes; nothing is copied.
    #[inline]
    fn clone(&self) -> Self {
        self.segment.retain();
        Self::from_segment(self.segment, self.offset, self.len)
    }
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: inside the buffer and unwritten (type invariant); our reference keeps it alive.
        unsafe { self.segment.bytes(usize::from(self.offset), usize::from(self.len)) }
    }
}

impl Drop for Slice {
    #[inline]
    fn drop(&mut self) {
        self.segment.release();
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} bytes)", self.len)
    }
}
