//! Pools: where buffers come from and how scarcity is told.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::batch::BURST;
use crate::header::{Header, Segment};
use crate::heap::{HeapOwner, HeapPool};
use crate::packet::{Packet, SendPacket};

/// What a kind of pool can do; one static table per kind.
#[derive(Debug)]
pub struct PoolOps {
    /// Takes up to `out.len()` buffers, each with count 1, one segment, no data, default headroom;
    /// returns how many. The thread that takes from a pool stays the same.
    ///
    /// # Safety
    /// `pool` is the pointer given to [`Pool::from_raw`] and its owner is alive.
    pub alloc: unsafe fn(pool: *mut c_void, out: &mut [*mut Header]) -> usize,
    /// Gives back a segment of which the caller holds the only reference; an indirect one also
    /// gives up its reference to the buffer it borrows.
    ///
    /// # Safety
    /// The count is 1, and the caller does not use the segment again.
    pub free: unsafe fn(segment: NonNull<Header>),
    /// How many buffers are free now; may be approximate while other threads free.
    ///
    /// # Safety
    /// As for `alloc`.
    pub available: unsafe fn(pool: *mut c_void) -> u32,
}

/// No buffer is left (or none that this kind of packet may take).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolEmpty;

impl fmt::Display for PoolEmpty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer pool is empty")
    }
}

impl std::error::Error for PoolEmpty {}

/// How scarce receive memory is; each level asks for more than the one before.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Pressure {
    /// More than 25 % free.
    None,
    /// At most 25 % free: no window grows beyond a few segments.
    Tight,
    /// At most 12 %: out-of-order queues are dropped, queued data is compacted.
    Scarce,
    /// At most 6 %: new connections are refused, the largest holders are reset.
    Critical,
}

/// A handle to a pool, for the one thread that allocates from it.
///
/// Freeing needs no handle: every buffer knows its way home.
pub struct Pool {
    ops: &'static PoolOps,
    raw: *mut c_void,
    capacity: u32,
    reserve: u32,
    /// Free buffers as last read, less what was taken since.
    estimate: Cell<u32>,
    refused: Cell<u64>,
    owner: Owner,
}

/// Keeps the pool's memory alive as long as a handle exists.
#[derive(Clone)]
enum Owner {
    Heap(Arc<HeapOwner>),
    Foreign(#[expect(dead_code, reason = "held, not looked at")] Arc<dyn Send + Sync>),
}

// SAFETY: a handle may move to the thread that will allocate; the heap pool binds itself to the
// first thread that does and refuses others, DPDK's pools serve any registered thread.
unsafe impl Send for Pool {}

impl Pool {
    /// A pool of `buffers` buffers in ordinary memory.
    ///
    /// It serves the first thread that allocates from it; buffers may be freed anywhere.
    #[must_use]
    pub fn heap(buffers: u32) -> Self {
        let heap = HeapOwner::new(buffers);
        let raw = heap.as_raw();
        Self::new(&HeapPool::OPS, raw, buffers, Owner::Heap(Arc::new(heap)))
    }

    /// A handle to a pool of another kind.
    ///
    /// # Safety
    /// `ops` fits `raw`, every buffer's [`Private::ops`](crate::Private) is `ops`, and the pool
    /// lives as long as `owner` does and as long as any of its buffers: an owner that is dropped
    /// while buffers are out keeps the memory (a leak is counted, a dangling pointer is not).
    #[must_use]
    pub unsafe fn from_raw(
        ops: &'static PoolOps,
        raw: *mut c_void,
        capacity: u32,
        owner: Arc<dyn Send + Sync>,
    ) -> Self {
        Self::new(ops, raw, capacity, Owner::Foreign(owner))
    }

    fn new(ops: &'static PoolOps, raw: *mut c_void, capacity: u32, owner: Owner) -> Self {
        let estimate = Cell::new(capacity);
        Self { ops, raw, capacity, reserve: 0, estimate, refused: Cell::new(0), owner }
    }

    /// Another handle to the same pool, without the reserve. Both are used by one thread.
    #[must_use]
    pub fn share(&self) -> Self {
        Self::new(self.ops, self.raw, self.capacity, self.owner.clone())
    }

    /// Keeps the last `buffers` for [`Pool::alloc_reserved`]: ACKs, RSTs, probes, retransmissions.
    #[must_use]
    pub fn with_reserve(mut self, buffers: u32) -> Self {
        self.reserve = buffers.min(self.capacity);
        self
    }

    /// An empty packet of one segment with [`HEADROOM`](crate::HEADROOM) bytes in front.
    ///
    /// # Errors
    /// [`PoolEmpty`] when only the reserve is left.
    #[inline]
    pub fn alloc(&self) -> Result<Packet, PoolEmpty> {
        if self.estimate.get() <= self.reserve && self.refresh() <= self.reserve {
            self.refused.set(self.refused.get() + 1);
            return Err(PoolEmpty);
        }
        self.take()
    }

    /// As [`Pool::alloc`], out of the reserve if need be.
    ///
    /// # Errors
    /// [`PoolEmpty`] when nothing is left.
    #[inline]
    pub fn alloc_reserved(&self) -> Result<Packet, PoolEmpty> {
        self.take()
    }

    /// Puts an empty packet in each of `out`'s places, from the front, as long as there are any;
    /// says how many. That there are fewer is not counted as refused.
    ///
    /// Nobody else refers to a fresh packet, so it may change threads.
    #[inline]
    pub fn alloc_to_send(&self, out: &mut [MaybeUninit<SendPacket>]) -> usize {
        let wanted = out.len().min(BURST);
        if self.estimate.get() < self.reserve.saturating_add(wanted as u32) {
            self.refresh();
        }
        let free = self.estimate.get().saturating_sub(self.reserve) as usize;
        let out = &mut out[..wanted.min(free)];
        let heads: *mut *mut Header = out.as_mut_ptr().cast();
        // SAFETY: a `SendPacket` is a pointer to a header (`repr(transparent)` all the way).
        let heads = unsafe { std::slice::from_raw_parts_mut(heads, out.len()) };
        heads.fill(std::ptr::null_mut());
        // SAFETY: `raw` belongs to `ops` and `owner` keeps it alive.
        let taken = unsafe { (self.ops.alloc)(self.raw, heads) };
        self.estimate.set(self.estimate.get().saturating_sub(taken as u32));
        taken
    }

    #[inline]
    fn take(&self) -> Result<Packet, PoolEmpty> {
        let mut out = [std::ptr::null_mut()];
        // SAFETY: `raw` belongs to `ops` and `owner` keeps it alive.
        let taken = unsafe { (self.ops.alloc)(self.raw, &mut out) };
        let Some(head) = NonNull::new(out[0]).filter(|_| taken == 1) else {
            self.refused.set(self.refused.get() + 1);
            return Err(PoolEmpty);
        };
        self.estimate.set(self.estimate.get().saturating_sub(1));
        Ok(Packet::from_segment(Segment(head)))
    }

    /// Reads how many buffers are free; once per heartbeat is often enough.
    pub fn refresh(&self) -> u32 {
        // SAFETY: `raw` belongs to `ops` and `owner` keeps it alive.
        let available = unsafe { (self.ops.available)(self.raw) };
        self.estimate.set(available);
        available
    }

    /// Free buffers as last read, less what was taken since.
    #[inline]
    pub fn available(&self) -> u32 {
        self.estimate.get()
    }

    /// All buffers, free or not.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Buffers that are not free, read now. Zero at the end of every test: the leak census.
    pub fn in_use(&self) -> u32 {
        self.capacity.saturating_sub(self.refresh())
    }

    /// How often an allocation was refused.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// How scarce buffers are, by the estimate.
    #[inline]
    pub fn pressure(&self) -> Pressure {
        let free = u64::from(self.estimate.get()) * 100;
        let capacity = u64::from(self.capacity);
        if free > capacity * 25 {
            Pressure::None
        } else if free > capacity * 12 {
            Pressure::Tight
        } else if free > capacity * 6 {
            Pressure::Scarce
        } else {
            Pressure::Critical
        }
    }

    /// The pointer that [`Pool::from_raw`] was given, for the crate that made it.
    #[must_use]
    pub fn as_raw(&self) -> *mut c_void {
        self.raw
    }

    /// Lets another thread allocate from a heap pool. Called by the thread that did so far.
    pub fn unbind(&self) {
        if let Owner::Heap(heap) = &self.owner {
            heap.pool().unbind();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("capacity", &self.capacity)
            .field("reserve", &self.reserve)
            .field("available", &self.estimate.get())
            .finish_non_exhaustive()
    }
}
