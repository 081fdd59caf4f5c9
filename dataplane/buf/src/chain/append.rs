//! Copies behind a chain's bytes, in the room that its last buffer has.

use super::Chain;
use crate::header::Segment;
use crate::nodes;
use crate::pool::{Pool, PoolEmpty};

impl Chain {
    /// Appends a copy of `bytes`, first into the last buffer's tailroom if nobody else refers to
    /// that buffer, then into fresh ones of `pool`.
    ///
    /// # Errors
    /// [`PoolEmpty`] if the pool runs out; the bytes copied so far are cut off again.
    #[inline]
    pub fn append_copy(&mut self, bytes: &[u8], pool: &Pool) -> Result<(), PoolEmpty> {
        if let Some((segment, end)) = self.last()
            && room(segment, end) >= bytes.len()
        {
            // SAFETY: there is room, and the chain holds the only reference to this buffer, so no
            // slice covers the bytes behind it.
            unsafe { segment.bytes_mut(end, bytes.len()) }.copy_from_slice(bytes);
            self.lengthen(bytes.len());
            return Ok(());
        }
        self.append_to_more(bytes, pool)
    }

    /// The same where it takes another buffer.
    #[inline(never)]
    fn append_to_more(&mut self, bytes: &[u8], pool: &Pool) -> Result<(), PoolEmpty> {
        let before = self.len();
        let taken = self.fill_tail(bytes);
        for rest in bytes[taken..].chunks(crate::DATA_ROOM - crate::HEADROOM) {
            match pool.alloc() {
                Ok(mut packet) => {
                    let fits = packet.append_bytes(rest);
                    debug_assert!(fits, "a fresh buffer has room for its data room");
                    packet.into_chain(0, rest.len(), self);
                }
                Err(empty) => {
                    self.truncate(before);
                    return Err(empty);
                }
            }
        }
        Ok(())
    }

    /// Appends all of `other`: a copy of its bytes where they are as few as a segment would copy
    /// anyway (`COPY_MAX`) and the last buffer has room for them, since then a reference costs more
    /// than they do.
    #[inline]
    pub fn append_small(&mut self, other: &mut Self) {
        if let (Some((segment, end)), Some((from, offset))) = (self.last(), other.one())
            && other.len() <= crate::COPY_MAX
            && room(segment, end) >= other.len()
        {
            let count = other.len();
            // SAFETY: there is room, and the chain holds the only reference to this buffer, so no
            // slice covers the bytes behind it.
            let place = unsafe { segment.bytes_mut(end, count) };
            // SAFETY: `other` is borrowed; its reference keeps the bytes alive and unwritten.
            place.copy_from_slice(unsafe { from.bytes(usize::from(offset), count) });
            self.lengthen(count);
            return other.clear();
        }
        self.append(other);
    }

    /// Appends a copy of `header` and then all of `other`, as [`Chain::append_copy`] and
    /// [`Chain::append_small`] do.
    ///
    /// # Errors
    /// [`PoolEmpty`] if the pool runs out; nothing was appended.
    #[inline]
    pub fn append_framed<const N: usize>(
        &mut self,
        header: &[u8; N],
        other: &mut Self,
        pool: &Pool,
    ) -> Result<(), PoolEmpty> {
        if let (Some((segment, end)), Some((from, offset))) = (self.last(), other.one())
            && other.len() <= crate::COPY_MAX
            && room(segment, end) >= N + other.len()
        {
            let count = N + other.len();
            // SAFETY: there is room, and the chain holds the only reference to this buffer, so no
            // slice covers the bytes behind it.
            let place = unsafe { segment.bytes_mut(end, count) };
            let (front, back) = place.split_at_mut(N);
            front.copy_from_slice(header);
            // SAFETY: `other` is borrowed; its reference keeps the bytes alive and unwritten.
            back.copy_from_slice(unsafe { from.bytes(usize::from(offset), other.len()) });
            self.lengthen(count);
            other.clear();
            return Ok(());
        }
        self.append_copy(header, pool)?;
        self.append_small(other);
        Ok(())
    }

    /// The last slice's buffer, and where the slice ends in it.
    #[inline]
    fn last(&self) -> Option<(Segment, usize)> {
        if let Some((segment, offset)) = self.one() {
            return Some((segment, usize::from(offset) + self.len()));
        }
        let node = nodes::copy(self.list()?.last);
        node.segment.map(|segment| (segment, usize::from(node.offset) + usize::from(node.len)))
    }

    /// The last slice has grown by `count` bytes.
    #[inline]
    fn lengthen(&mut self, count: usize) {
        if let Some(ends) = self.list() {
            nodes::update(ends.last, |node| node.len += count as u16);
        }
        self.bytes += count as u32;
    }

    /// Bytes that [`Chain::append_copy`] would copy without another buffer.
    #[inline]
    #[must_use]
    pub fn tail_room(&self) -> usize {
        self.last().map_or(0, |(segment, end)| room(segment, end))
    }

    /// Copies what fits into the last buffer's tailroom; returns how many bytes that were.
    fn fill_tail(&mut self, bytes: &[u8]) -> usize {
        let Some((segment, end)) = self.last() else { return 0 };
        let taken = fill(segment, end, bytes);
        self.lengthen(taken);
        taken
    }
}

/// How much may be written behind the only slice of a buffer, which ends at `end`.
#[inline]
fn room(segment: Segment, end: usize) -> usize {
    let indirect = segment.ol_flags() & crate::flags::INDIRECT != 0;
    if segment.refcnt() != 1 || indirect {
        return 0;
    }
    usize::from(segment.buf_len()) - end
}

/// Copies what fits behind the only slice of a buffer, which ends at `end`.
#[inline]
fn fill(segment: Segment, end: usize, bytes: &[u8]) -> usize {
    let count = bytes.len().min(room(segment, end));
    if count == 0 {
        return 0;
    }
    // SAFETY: the chain holds the only reference, so no slice covers the bytes behind it.
    let room = unsafe { segment.bytes_mut(end, count) };
    room.copy_from_slice(&bytes[..count]);
    count
}
