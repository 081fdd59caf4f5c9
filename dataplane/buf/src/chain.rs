//! A queue of slices.

use std::fmt;

use crate::header::Segment;
use crate::nodes::{NIL, with};
use crate::pool::{Pool, PoolEmpty};
use crate::slice::Slice;

/// Bytes in order, as slices of the buffers they arrived in.
///
/// Cutting and joining moves references; bytes are copied only where a function says so. The nodes
/// live in the thread's slab (see [`reserve_chain_nodes`](crate::reserve_chain_nodes)), the chain
/// itself is 16 bytes.
pub struct Chain {
    head: u32,
    tail: u32,
    bytes: u32,
    nodes: u32,
    /// Reference counts and node slab belong to this thread.
    not_send: std::marker::PhantomData<*const ()>,
}

const _: () = assert!(size_of::<Chain>() == 16);

impl Chain {
    /// No bytes.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { head: NIL, tail: NIL, bytes: 0, nodes: 0, not_send: std::marker::PhantomData }
    }

    /// A copy of `bytes` in buffers of `pool`.
    ///
    /// # Errors
    /// [`PoolEmpty`] if the pool runs out; what was taken went back.
    pub fn copy_from(bytes: &[u8], pool: &Pool) -> Result<Self, PoolEmpty> {
        let mut chain = Self::new();
        chain.append_copy(bytes, pool)?;
        Ok(chain)
    }

    /// Appends a slice; an empty one is dropped.
    #[inline]
    pub fn push(&mut self, slice: Slice) {
        if slice.is_empty() {
            return;
        }
        let (segment, offset, len) = slice.into_parts();
        self.push_parts(segment, offset, len);
    }

    #[inline]
    fn push_parts(&mut self, segment: Segment, offset: u16, len: u16) {
        let tail = self.tail;
        let index = with(|nodes| {
            let index = nodes.insert(segment, offset, len);
            if tail != NIL {
                nodes.get_mut(tail).next = index;
            }
            index
        });
        if tail == NIL {
            self.head = index;
        }
        self.tail = index;
        self.bytes += u32::from(len);
        self.nodes += 1;
    }

    /// Puts a slice in front; an empty one is dropped.
    pub fn push_front(&mut self, slice: Slice) {
        let mut front = Self::new();
        front.push(slice);
        front.append(self);
        std::mem::swap(self, &mut front);
    }

    /// Moves all of `other` behind this chain's bytes.
    #[inline]
    pub fn append(&mut self, other: &mut Self) {
        if other.head == NIL {
            return;
        }
        if self.head == NIL {
            std::mem::swap(self, other);
            return;
        }
        let (tail, next) = (self.tail, other.head);
        with(|nodes| nodes.get_mut(tail).next = next);
        self.tail = other.tail;
        self.bytes += other.bytes;
        self.nodes += other.nodes;
        (other.head, other.tail, other.bytes, other.nodes) = (NIL, NIL, 0, 0);
    }

    /// Appends a copy of `bytes`, first into the last buffer's tailroom if nobody else refers to
    /// that buffer, then into fresh ones of `pool`.
    ///
    /// # Errors
    /// [`PoolEmpty`] if the pool runs out; the bytes copied so far are cut off again.
    pub fn append_copy(&mut self, bytes: &[u8], pool: &Pool) -> Result<(), PoolEmpty> {
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

    /// Copies what fits into the last buffer's tailroom; returns how many bytes that were.
    fn fill_tail(&mut self, bytes: &[u8]) -> usize {
        if self.tail == NIL || bytes.is_empty() {
            return 0;
        }
        let tail = self.tail;
        let taken = with(|nodes| {
            let node = nodes.get_mut(tail);
            let Some(segment) = node.segment else { return 0 };
            let indirect = segment.ol_flags() & crate::flags::INDIRECT != 0;
            if segment.refcnt() != 1 || indirect {
                return 0;
            }
            let end = usize::from(node.offset) + usize::from(node.len);
            let count = bytes.len().min(usize::from(segment.buf_len()) - end);
            // SAFETY: the node holds the only reference, so no slice covers the bytes behind it.
            let room = unsafe { segment.bytes_mut(end, count) };
            room.copy_from_slice(&bytes[..count]);
            node.len += count as u16;
            count
        });
        self.bytes += taken as u32;
        taken
    }

    /// Takes the first slice.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Slice> {
        if self.head == NIL {
            return None;
        }
        let node = with(|nodes| nodes.remove(self.head));
        self.head = node.next;
        if self.head == NIL {
            self.tail = NIL;
        }
        self.bytes -= u32::from(node.len);
        self.nodes -= 1;
        node.segment.map(|segment| Slice::from_segment(segment, node.offset, node.len))
    }

    /// Gives up the first `count` bytes (all, if there are fewer).
    pub fn advance(&mut self, count: usize) {
        let mut left = count.min(self.len());
        while left > 0 {
            let here = with(|nodes| {
                let node = nodes.get_mut(self.head);
                let here = usize::from(node.len);
                if left < here {
                    node.offset += left as u16;
                    node.len -= left as u16;
                }
                here
            });
            if left < here {
                self.bytes -= left as u32;
                return;
            }
            left -= here;
            drop(self.pop_front());
        }
    }

    /// Takes the first `count` bytes (all, if there are fewer) as a chain of their own.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        if count >= self.len() {
            return std::mem::take(self);
        }
        let mut front = Self::new();
        let mut left = count;
        while left > 0 {
            let Some(mut slice) = self.pop_front() else { break };
            if slice.len() > left {
                let rest = slice.split_off(left);
                self.push_front(rest);
            }
            left -= slice.len();
            front.push(slice);
        }
        front
    }

    /// Cuts the chain to its first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            let front = self.split_to(len);
            *self = front;
        }
    }

    /// More references to `len` bytes from `offset` on; nothing is copied.
    #[must_use]
    pub fn clone_range(&self, offset: usize, len: usize) -> Self {
        let mut clone = Self::new();
        for (segment, from, count) in self.ranges(offset, len) {
            segment.retain();
            clone.push_parts(segment, from as u16, count as u16);
        }
        clone
    }

    /// Bytes in the chain.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Whether there is no byte.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Slices in the chain: what receive memory is charged in, since each pins a buffer (two slices
    /// of one buffer count twice).
    #[inline]
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.nodes as usize
    }

    /// The first contiguous bytes.
    #[inline]
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.pieces().next().unwrap_or_default()
    }

    /// The contiguous pieces in order.
    #[inline]
    #[must_use]
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { ranges: self.ranges(0, self.len()), chain: std::marker::PhantomData }
    }

    /// Copies the bytes from `offset` on into `out`; returns how many there were.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut copied = 0;
        let len = out.len().min(self.len().saturating_sub(offset));
        for (segment, from, count) in self.ranges(offset, len) {
            // SAFETY: the chain's references keep the bytes alive and unwritten.
            let bytes = unsafe { segment.bytes(from, count) };
            out[copied..copied + count].copy_from_slice(bytes);
            copied += count;
        }
        copied
    }

    /// All bytes in one vector, for tests and the cold path.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().flatten().copied().collect()
    }

    /// (segment, offset in its buffer, bytes) for `len` bytes from `offset` on.
    #[inline]
    pub(crate) fn ranges(&self, offset: usize, len: usize) -> Ranges {
        Ranges { at: self.head, skip: offset, left: len.min(self.len().saturating_sub(offset)) }
    }
}

pub(crate) struct Ranges {
    at: u32,
    skip: usize,
    left: usize,
}

impl Iterator for Ranges {
    type Item = (Segment, usize, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 && self.at != NIL {
            let node = with(|nodes| *nodes.get(self.at));
            self.at = node.next;
            let here = usize::from(node.len);
            if self.skip >= here {
                self.skip -= here;
                continue;
            }
            let from = usize::from(node.offset) + self.skip;
            let count = (here - self.skip).min(self.left);
            self.skip = 0;
            self.left -= count;
            return node.segment.map(|segment| (segment, from, count));
        }
        None
    }
}

/// The contiguous pieces of a [`Chain`].
pub struct Pieces<'a> {
    ranges: Ranges,
    chain: std::marker::PhantomData<&'a Chain>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (segment, from, count) = self.ranges.next()?;
        // SAFETY: the chain is borrowed for 'a; its references keep the bytes alive and unwritten.
        Some(unsafe { segment.bytes(from, count) })
    }
}

impl fmt::Debug for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} bytes left)", self.ranges.left)
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Chain {
    #[inline]
    fn drop(&mut self) {
        while let Some(slice) = self.pop_front() {
            drop(slice);
        }
    }
}

impl From<Slice> for Chain {
    fn from(slice: Slice) -> Self {
        let mut chain = Self::new();
        chain.push(slice);
        chain
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} bytes in {} slices)", self.bytes, self.nodes)
    }
}
