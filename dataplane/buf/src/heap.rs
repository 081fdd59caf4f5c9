//! A pool in ordinary memory, for one allocating thread and any number of freeing ones.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::header::{
    DATA_ROOM, HEADER_SIZE, HEADROOM, Header, PRIVATE_SIZE, Private, Segment, flags,
};
use crate::pool::PoolOps;

/// Bytes of one buffer with header and private area, whole cache lines.
const STRIDE: usize = (HEADER_SIZE + PRIVATE_SIZE + DATA_ROOM).next_multiple_of(64);
const NO_THREAD: u64 = 0;

/// Two free lists, both threaded through `Header::next`.
///
/// `local` belongs to the home thread, the first one that allocated. Other threads push onto
/// `remote`; the home thread takes that list as a whole when its own is empty, so there is no ABA.
pub(crate) struct HeapPool {
    base: *mut u8,
    layout: Layout,
    local: UnsafeCell<*mut Header>,
    local_count: AtomicU32,
    remote: AtomicPtr<Header>,
    remote_count: AtomicU32,
    home: AtomicU64,
    capacity: u32,
}

// SAFETY: `local` is touched by the home thread alone (checked against `home` on every use), the
// rest is atomic or never written.
unsafe impl Send for HeapPool {}
// SAFETY: as for `Send`.
unsafe impl Sync for HeapPool {}

impl HeapPool {
    pub(crate) const OPS: PoolOps = PoolOps { alloc, free, available };

    fn new(buffers: u32) -> NonNull<Self> {
        static OPS: PoolOps = HeapPool::OPS;
        let size = STRIDE * (buffers as usize).max(1);
        let layout = Layout::from_size_align(size, 64).expect("a pool is smaller than memory");
        // SAFETY: the layout has a size above zero.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        let pool = Box::leak(Box::new(Self {
            base,
            layout,
            local: UnsafeCell::new(ptr::null_mut()),
            local_count: AtomicU32::new(buffers),
            remote: AtomicPtr::new(ptr::null_mut()),
            remote_count: AtomicU32::new(0),
            home: AtomicU64::new(NO_THREAD),
            capacity: buffers,
        }));
        let pool = NonNull::from(pool);
        let raw: *mut c_void = pool.as_ptr().cast();
        let mut first: *mut Header = ptr::null_mut();
        for index in (0..buffers as usize).rev() {
            // SAFETY: inside the allocation of `buffers` strides.
            let header: *mut Header = unsafe { base.add(index * STRIDE) }.cast();
            // SAFETY: room for the private area lies behind the header.
            let private: *mut Private = unsafe { header.add(1) }.cast();
            // SAFETY: ours, aligned, and large enough.
            unsafe { private.write(Private { ops: &OPS, trace: [0; 56] }) };
            // SAFETY: the buffer lies behind the private area.
            let buf_addr = unsafe { header.cast::<u8>().add(HEADER_SIZE + PRIVATE_SIZE) };
            // SAFETY: ours, aligned, and large enough.
            unsafe { header.write(fresh_header(buf_addr, raw, first)) };
            first = header;
        }
        // SAFETY: nobody else has the pool yet.
        unsafe { (*pool.as_ptr()).local = UnsafeCell::new(first) };
        pool
    }

    /// Gives up the right to allocate; the next thread that tries gets it.
    pub(crate) fn unbind(&self) {
        let me = thread_token();
        // Release: what this thread wrote to the list happens before the next home's Acquire.
        let _ = self.home.compare_exchange(me, NO_THREAD, Ordering::Release, Ordering::Relaxed);
    }

    /// Whether the calling thread is, or now becomes, the one that allocates.
    #[inline]
    fn is_home(&self) -> bool {
        let me = thread_token();
        let home = self.home.load(Ordering::Relaxed);
        home == me || (home == NO_THREAD && self.bind(me))
    }

    #[cold]
    fn bind(&self, me: u64) -> bool {
        self.home.compare_exchange(NO_THREAD, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn available(&self) -> u32 {
        // Acquire pairs with the count in `push_remote`, a freeing thread's last touch of the pool.
        // Its wrap-around below zero while `take_remote` overtakes a count cancels in the sum.
        let remote = self.remote_count.load(Ordering::Acquire);
        self.local_count.load(Ordering::Relaxed).wrapping_add(remote)
    }

    /// The buffer to be taken next.
    #[inline]
    fn first(&self) -> Option<NonNull<Header>> {
        // SAFETY: the home thread alone reaches this.
        let first = unsafe { *self.local.get() };
        if first.is_null() { NonNull::new(self.take_remote()) } else { NonNull::new(first) }
    }

    /// Moves what other threads freed to the local list, which is empty.
    #[cold]
    fn take_remote(&self) -> *mut Header {
        // Acquire pairs with the Release of `push_remote`: the freed headers are visible.
        let first = self.remote.swap(ptr::null_mut(), Ordering::Acquire);
        let mut count = 0;
        let mut at = NonNull::new(first);
        while let Some(header) = at {
            count += 1;
            at = Segment(header).next().map(|segment| segment.0);
        }
        self.remote_count.fetch_sub(count, Ordering::Relaxed);
        self.local_count.fetch_add(count, Ordering::Relaxed);
        // SAFETY: the home thread alone reaches this.
        unsafe { *self.local.get() = first };
        first
    }

    #[inline]
    fn push_local(&self, segment: Segment) {
        // SAFETY: the home thread alone reaches this.
        let first = unsafe { *self.local.get() };
        segment.set_next(NonNull::new(first).map(Segment));
        // SAFETY: as above.
        unsafe { *self.local.get() = segment.0.as_ptr() };
        self.local_count.store(self.local_count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    #[cold]
    fn push_remote(&self, segment: Segment) {
        let mut first = self.remote.load(Ordering::Relaxed);
        loop {
            segment.set_next(NonNull::new(first).map(Segment));
            let pushed = self.remote.compare_exchange_weak(
                first,
                segment.0.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match pushed {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        // Counted last: a pool that counts all of its buffers is touched by nobody any more.
        self.remote_count.fetch_add(1, Ordering::Release);
    }
}

/// What the handles of a pool share; the last one frees it.
pub(crate) struct HeapOwner(NonNull<HeapPool>);

// SAFETY: a pool is `Sync`, and the owner only reads it until it is the last one.
unsafe impl Send for HeapOwner {}
// SAFETY: as for `Send`.
unsafe impl Sync for HeapOwner {}

impl HeapOwner {
    pub(crate) fn new(buffers: u32) -> Self {
        Self(HeapPool::new(buffers))
    }

    pub(crate) fn as_raw(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    pub(crate) fn pool(&self) -> &HeapPool {
        // SAFETY: the pool is freed by our `drop` alone.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for HeapOwner {
    /// A pool whose buffers are still out is kept for ever: a leak is counted, a dangling pointer
    /// cannot be had back.
    fn drop(&mut self) {
        if self.pool().available() != self.pool().capacity {
            return;
        }
        let (base, layout) = (self.pool().base, self.pool().layout);
        // SAFETY: made by `Box::leak`; no handle and no buffer is left that could refer to it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        // SAFETY: allocated with this layout, and every buffer was on a free list.
        unsafe { dealloc(base, layout) };
    }
}

fn fresh_header(buf_addr: *mut u8, pool: *mut c_void, next: *mut Header) -> Header {
    Header {
        buf_addr,
        buf_iova: 0,
        data_off: HEADROOM as u16,
        refcnt: 1,
        nb_segs: 1,
        port: u16::MAX,
        ol_flags: 0,
        packet_type: 0,
        pkt_len: 0,
        data_len: 0,
        vlan_tci: 0,
        hash: [0; 2],
        vlan_tci_outer: 0,
        buf_len: DATA_ROOM as u16,
        pool,
        next,
        tx_offload: 0,
        shinfo: ptr::null_mut(),
        priv_size: PRIVATE_SIZE as u16,
        timesync: 0,
        dynfield1: [0; 9],
    }
}

/// A number that names the calling thread and is never used again.
#[inline]
fn thread_token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static TOKEN: Cell<u64> = const { Cell::new(NO_THREAD) };
    }
    // A thread that is being torn down frees like a stranger.
    TOKEN
        .try_with(|token| {
            if token.get() == NO_THREAD {
                token.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            token.get()
        })
        .unwrap_or(u64::MAX)
}

unsafe fn alloc(pool: *mut c_void, out: &mut [*mut Header]) -> usize {
    // SAFETY: `pool` came from `HeapOwner`, which the handle that calls keeps alive.
    let pool = unsafe { &*pool.cast_const().cast::<HeapPool>() };
    if !pool.is_home() {
        return 0;
    }
    let mut taken = 0;
    for slot in out {
        let Some(head) = pool.first() else { break };
        let segment = Segment(head);
        // SAFETY: the home thread alone reaches this.
        unsafe { *pool.local.get() = segment.next_raw() };
        segment.set_next(None);
        segment.set_nb_segs(1);
        segment.set_data_off(HEADROOM as u16);
        segment.set_data_len(0);
        segment.set_pkt_len(0);
        segment.set_ol_flags(0);
        segment.set_tx_offload(0);
        *slot = head.as_ptr();
        taken += 1;
    }
    let left = pool.local_count.load(Ordering::Relaxed) - taken;
    pool.local_count.store(left, Ordering::Relaxed);
    taken as usize
}

unsafe fn free(head: NonNull<Header>) {
    let segment = Segment(head);
    if segment.ol_flags() & flags::INDIRECT != 0 {
        detach(segment);
    }
    // SAFETY: the pool outlives its buffers: `HeapOwner` keeps it while any of them is out.
    let pool = unsafe { &*segment.pool().cast_const().cast::<HeapPool>() };
    let home = pool.home.load(Ordering::Relaxed);
    if home == thread_token() {
        pool.push_local(segment);
    } else {
        pool.push_remote(segment);
    }
}

/// Gives up the borrowed buffer and points the segment at its own again.
fn detach(segment: Segment) {
    let behind = HEADER_SIZE + usize::from(segment.priv_size());
    // SAFETY: an indirect segment's buffer address is that of a live buffer, whose header lies
    // `behind` bytes in front of it.
    let direct = unsafe { segment.buf_addr().sub(behind) };
    // SAFETY: an address inside an allocation is not null.
    let direct = unsafe { NonNull::new_unchecked(direct.cast::<Header>()) };
    // SAFETY: the segment's own buffer lies behind its own private area.
    let own = unsafe { segment.0.as_ptr().cast::<u8>().add(HEADER_SIZE + PRIVATE_SIZE) };
    segment.set_buf_addr(own);
    segment.set_buf_len(DATA_ROOM as u16);
    segment.set_priv_size(PRIVATE_SIZE as u16);
    segment.set_ol_flags(0);
    Segment(direct).release();
}

unsafe fn available(pool: *mut c_void) -> u32 {
    // SAFETY: `pool` came from `HeapOwner`, which the handle that calls keeps alive.
    let pool = unsafe { &*pool.cast_const().cast::<HeapPool>() };
    pool.available()
}
