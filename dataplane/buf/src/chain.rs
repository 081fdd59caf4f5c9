//! A queue of slices.

mod append;

use std::fmt;

use crate::header::Segment;
use crate::nodes::{self, NIL, Node};
use crate::pool::{Pool, PoolEmpty};
use crate::slice::Slice;

/// Bytes in order, as slices of the buffers they arrived in.
///
/// Cutting and joining moves references; bytes are copied only where a function says so. A chain is
/// 16 bytes: one slice lies in the chain itself, several in nodes of the thread's slab (see
/// [`reserve_chain_nodes`](crate::reserve_chain_nodes)).
///
/// ```text
///   nothing     -                | bytes = 0 | form = 0
///   one slice   segment          | bytes     | form = ONE | offset
///   a list      first, last node | bytes     | form = number of nodes
/// ```
pub struct Chain {
    place: Place,
    bytes: u32,
    form: u32,
    /// Reference counts and node slab belong to this thread.
    not_send: std::marker::PhantomData<*const ()>,
}

const _: () = assert!(size_of::<Chain>() == 16);

/// In [`Chain::form`]: the only slice is in the chain itself, its offset in the low half.
const ONE: u32 = 1 << 31;

/// Where the slices are; [`Chain::form`] says which field holds.
#[derive(Clone, Copy)]
union Place {
    one: Segment,
    list: Ends,
}

#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

const NOWHERE: Place = Place { list: Ends { first: NIL, last: NIL } };

impl Chain {
    /// No bytes.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { place: NOWHERE, bytes: 0, form: 0, not_send: std::marker::PhantomData }
    }

    /// The only slice's segment and offset, if it lies here. The reference stays the chain's.
    #[inline]
    fn one(&self) -> Option<(Segment, u16)> {
        if self.form & ONE == 0 {
            return None;
        }
        // SAFETY: the form says that the place holds a segment.
        let segment = unsafe { self.place.one };
        Some((segment, self.form as u16))
    }

    /// The ends of the list, if there is one.
    #[inline]
    fn list(&self) -> Option<Ends> {
        if self.form & ONE != 0 || self.form == 0 {
            return None;
        }
        // SAFETY: the form says that the place holds the ends of a list.
        Some(unsafe { self.place.list })
    }

    #[inline]
    fn set_one(&mut self, segment: Segment, offset: u16, len: u16) {
        self.place = Place { one: segment };
        self.bytes = u32::from(len);
        self.form = ONE | u32::from(offset);
    }

    /// The only slice of a chain, not empty, with its reference.
    #[inline]
    pub(crate) fn of_one(segment: Segment, offset: u16, len: u16) -> Self {
        debug_assert!(len > 0, "a chain has no empty slices");
        let mut chain = Self::new();
        chain.set_one(segment, offset, len);
        chain
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
        if self.form == 0 {
            self.set_one(segment, offset, len);
        } else {
            self.push_node(segment, offset, len);
        }
    }

    /// Appends to a chain that is not empty.
    fn push_node(&mut self, segment: Segment, offset: u16, len: u16) {
        let Some(ends) = self.spill() else { return };
        let last = nodes::insert(segment, offset, len, NIL);
        nodes::update(ends.last, |node| node.next = last);
        self.place = Place { list: Ends { first: ends.first, last } };
        self.bytes += u32::from(len);
        self.form += 1;
    }

    /// Moves a slice that lies here to a node; the ends of the list, unless the chain is empty.
    #[inline]
    fn spill(&mut self) -> Option<Ends> {
        if let Some((segment, offset)) = self.one() {
            let node = nodes::insert(segment, offset, self.bytes as u16, NIL);
            self.place = Place { list: Ends { first: node, last: node } };
            self.form = 1;
        }
        self.list()
    }

    /// Puts a slice in front; an empty one is dropped.
    pub fn push_front(&mut self, slice: Slice) {
        if slice.is_empty() {
            return;
        }
        let (segment, offset, len) = slice.into_parts();
        let Some(ends) = self.spill() else {
            self.set_one(segment, offset, len);
            return;
        };
        let first = nodes::insert(segment, offset, len, ends.first);
        self.place = Place { list: Ends { first, last: ends.last } };
        self.bytes += u32::from(len);
        self.form += 1;
    }

    /// Moves all of `other` behind this chain's bytes.
    #[inline]
    pub fn append(&mut self, other: &mut Self) {
        if self.form == 0 {
            std::mem::swap(self, other);
        } else if other.form != 0 {
            self.append_some(other);
        }
    }

    fn append_some(&mut self, other: &mut Self) {
        if let Some((segment, offset)) = other.one() {
            self.push_node(segment, offset, other.bytes as u16);
        } else if let (Some(front), Some(back)) = (self.spill(), other.list()) {
            nodes::update(front.last, |node| node.next = back.first);
            self.place = Place { list: Ends { first: front.first, last: back.last } };
            self.bytes += other.bytes;
            self.form += other.form;
        }
        other.forget();
    }

    /// Empties the chain; its references are somebody else's now.
    #[inline]
    fn forget(&mut self) {
        (self.place, self.bytes, self.form) = (NOWHERE, 0, 0);
    }

    /// Takes the first slice.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Slice> {
        if let Some((segment, offset)) = self.one() {
            let len = self.bytes as u16;
            self.forget();
            return Some(Slice::from_segment(segment, offset, len));
        }
        self.pop_node()
    }

    fn pop_node(&mut self) -> Option<Slice> {
        let ends = self.list()?;
        let node = nodes::remove(ends.first);
        self.bytes -= u32::from(node.len);
        self.form -= 1;
        self.place = Place { list: Ends { first: node.next, last: ends.last } };
        if self.form == 1 {
            self.gather();
        }
        node.segment.map(|segment| Slice::from_segment(segment, node.offset, node.len))
    }

    /// The last slice of a list lies in the chain again, where it is cheaper to look at.
    #[inline]
    fn gather(&mut self) {
        if let Some(ends) = self.list() {
            let node = nodes::remove(ends.first);
            if let Some(segment) = node.segment {
                self.set_one(segment, node.offset, node.len);
            }
        }
    }

    /// Gives up the first `count` bytes (all, if there are fewer).
    #[inline]
    pub fn advance(&mut self, count: usize) {
        if count >= self.len() {
            self.clear();
        } else if self.form & ONE != 0 {
            // Less than the slice's length, which is 16 bits.
            self.form += count as u32;
            self.bytes -= count as u32;
        } else {
            self.advance_list(count);
        }
    }

    /// Less than there is.
    fn advance_list(&mut self, count: usize) {
        let mut left = count;
        while let Some(ends) = self.list() {
            let here = nodes::update(ends.first, |node| {
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
            drop(self.pop_node());
        }
        self.advance(left);
    }

    /// Gives up all bytes.
    #[inline]
    pub fn clear(&mut self) {
        if let Some((segment, _)) = self.one() {
            self.forget();
            segment.release();
        } else if self.form != 0 {
            self.clear_list();
        }
    }

    fn clear_list(&mut self) {
        while let Some(slice) = self.pop_front() {
            drop(slice);
        }
    }

    /// Takes the first `count` bytes (all, if there are fewer) as a chain of their own.
    #[inline]
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        if count >= self.len() {
            return std::mem::take(self);
        }
        self.split_some(count)
    }

    /// Less than there is.
    fn split_some(&mut self, count: usize) -> Self {
        let mut front = Self::new();
        let mut left = count;
        while left > 0 {
            if let Some((segment, offset)) = self.cut_front(left) {
                segment.retain();
                front.push_parts(segment, offset, left as u16);
                break;
            }
            let Some(slice) = self.pop_front() else { break };
            left -= slice.len();
            front.push(slice);
        }
        front
    }

    /// Gives up the first `skip` bytes and takes the `count` behind them (all, if there are fewer)
    /// as a chain of their own.
    #[inline]
    #[must_use]
    pub fn split_behind(&mut self, skip: usize, count: usize) -> Self {
        match self.cut_front(skip + count) {
            Some((segment, offset)) if count > 0 => {
                segment.retain();
                let mut front = Self::new();
                front.set_one(segment, offset + skip as u16, count as u16);
                front
            }
            Some(_) => Self::new(),
            None => {
                self.advance(skip);
                self.split_to(count)
            }
        }
    }

    /// Takes `count` bytes off the first slice, if it has more; where they lie.
    #[inline]
    fn cut_front(&mut self, count: usize) -> Option<(Segment, u16)> {
        let (segment, offset) = if let Some((segment, offset)) = self.one() {
            if count >= self.len() {
                return None;
            }
            self.form += count as u32;
            (segment, offset)
        } else {
            nodes::update(self.list()?.first, |node| {
                let offset = node.offset;
                if count >= usize::from(node.len) {
                    return None;
                }
                node.offset += count as u16;
                node.len -= count as u16;
                node.segment.map(|segment| (segment, offset))
            })?
        };
        self.bytes -= count as u32;
        Some((segment, offset))
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
        if self.form & ONE != 0 { 1 } else { self.form as usize }
    }

    /// The first contiguous bytes.
    #[inline]
    #[must_use]
    pub fn front(&self) -> &[u8] {
        match self.one() {
            // SAFETY: the chain is borrowed; its reference keeps the bytes alive and unwritten.
            Some((segment, offset)) => unsafe { segment.bytes(usize::from(offset), self.len()) },
            None => self.front_of_list(),
        }
    }

    #[inline]
    fn front_of_list(&self) -> &[u8] {
        let Some(ends) = self.list() else { return &[] };
        let node = nodes::copy(ends.first);
        let Some(segment) = node.segment else { return &[] };
        // SAFETY: the chain is borrowed; its reference keeps the bytes alive and unwritten.
        unsafe { segment.bytes(usize::from(node.offset), usize::from(node.len)) }
    }

    /// The contiguous pieces in order.
    #[inline]
    #[must_use]
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { ranges: self.ranges(0, self.len()), chain: std::marker::PhantomData }
    }

    /// Copies the bytes from `offset` on into `out`; returns how many there were.
    #[inline]
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        if let Some((segment, from)) = self.one()
            && offset + out.len() <= self.len()
        {
            // SAFETY: the chain's reference keeps the bytes alive and unwritten.
            out.copy_from_slice(unsafe { segment.bytes(usize::from(from) + offset, out.len()) });
            return out.len();
        }
        self.copy_ranges(offset, out)
    }

    fn copy_ranges(&self, offset: usize, out: &mut [u8]) -> usize {
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
        let here = if let Some((segment, from)) = self.one() {
            Node { segment: Some(segment), offset: from, len: self.bytes as u16, next: NIL }
        } else {
            self.list().map_or(Node::END, |ends| nodes::copy(ends.first))
        };
        Ranges { here, skip: offset, left: len.min(self.len().saturating_sub(offset)) }
    }
}

pub(crate) struct Ranges {
    here: Node,
    skip: usize,
    left: usize,
}

impl Iterator for Ranges {
    type Item = (Segment, usize, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            let Node { segment, offset, len, next } = self.here;
            let segment = segment?;
            let here = usize::from(len);
            if self.skip >= here {
                self.skip -= here;
                self.step(next);
                continue;
            }
            let from = usize::from(offset) + self.skip;
            let count = (here - self.skip).min(self.left);
            self.skip = 0;
            self.left -= count;
            if self.left > 0 {
                self.step(next);
            }
            return Some((segment, from, count));
        }
        None
    }
}

impl Ranges {
    #[inline]
    fn step(&mut self, next: u32) {
        self.here = if next == NIL { Node::END } else { nodes::copy(next) };
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
        self.clear();
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
        write!(f, "Chain({} bytes in {} slices)", self.bytes, self.buffers())
    }
}
