//! Pools of mbufs, and how `sluice_buf` takes from and gives back to them.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sluice_buf::{DATA_ROOM, Header, PRIVATE_SIZE, Pool, PoolOps, Private};
use sluice_dpdk_sys as sys;

use crate::eal::Eal;
use crate::worker::highest_lcore;

/// Why a pool was not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PoolError {
    /// Too few buffers to be of use.
    #[error("a pool of {buffers} buffers is too small: at least {BUFFERS_MIN}")]
    TooSmall {
        /// Buffers asked for.
        buffers: u32,
    },
    /// The memory is not there.
    #[error(
        "no memory for {buffers} buffers ({mib} MiB): give EAL more, reserve more huge pages, or \
         lower the number of buffers"
    )]
    Memory {
        /// Buffers asked for.
        buffers: u32,
        /// MiB they take.
        mib: u64,
    },
}

const BUFFERS_MIN: u32 = 64;
/// Buffers that a thread keeps for itself at most; half a burst's round trip hides in it.
const CACHE_MAX: u32 = 256;

/// A mempool whose elements are `sluice_buf` buffers.
///
/// Clones are handles. It is freed when the last handle (here, in a `sluice_buf::Pool`, in a port)
/// is gone and every buffer is back; if one is still out its memory stays.
#[derive(Clone, Debug)]
pub struct MbufPool {
    inner: Arc<PoolInner>,
}

#[derive(Debug)]
pub(crate) struct PoolInner {
    raw: NonNull<sys::rte_mempool>,
    buffers: u32,
}

// SAFETY: a mempool serves every thread: its ring is multi-producer and multi-consumer, its caches
// belong to one registered thread each.
unsafe impl Send for PoolInner {}
// SAFETY: as for `Send`.
unsafe impl Sync for PoolInner {}

impl Eal {
    /// Makes a pool of `buffers` buffers on any memory node.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn pool(&self, buffers: u32) -> Result<MbufPool, PoolError> {
        self.pool_on_node(buffers, sys::SOCKET_ID_ANY)
    }

    /// Makes a pool of `buffers` buffers on memory node `node`.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn pool_on_node(&self, buffers: u32, node: i32) -> Result<MbufPool, PoolError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if buffers < BUFFERS_MIN {
            return Err(PoolError::TooSmall { buffers });
        }
        let memory = PoolError::Memory { buffers, mib: (u64::from(buffers) * 2_560) >> 20 };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let Ok(name) = CString::new(format!("sluice-pool-{number}")) else { return Err(memory) };
        // rte_mempool: the cache is at most two thirds of the pool; ours is at most an eighth.
        let cache = CACHE_MAX.min(buffers / 8);
        // SAFETY: EAL runs; sizes are within the types' ranges (see `layout`).
        let raw = unsafe {
            sys::rte_pktmbuf_pool_create(
                name.as_ptr(),
                buffers,
                cache,
                PRIVATE_SIZE as u16,
                DATA_ROOM as u16,
                node,
            )
        };
        let Some(raw) = NonNull::new(raw) else { return Err(memory) };
        // SAFETY: the pool is new and nobody else knows it; the callback writes inside each object.
        unsafe {
            sys::rte_mempool_obj_iter(raw.as_ptr(), Some(write_private), std::ptr::null_mut())
        };
        Ok(MbufPool { inner: Arc::new(PoolInner { raw, buffers }) })
    }
}

impl MbufPool {
    /// A handle for the thread that allocates from it.
    #[must_use]
    pub fn handle(&self) -> Pool {
        let raw = self.inner.raw.as_ptr().cast();
        let owner: Arc<PoolInner> = Arc::clone(&self.inner);
        // SAFETY: `OPS` fits a mempool, `write_private` put it into every buffer, and `PoolInner`
        // frees the mempool only when no handle and no buffer is left.
        unsafe { Pool::from_raw(&OPS, raw, self.inner.buffers, owner) }
    }

    /// All buffers.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.inner.buffers
    }

    /// Buffers that are not free now, wherever they are: the leak census.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.inner.buffers.saturating_sub(count_available(self.inner.raw))
    }

    pub(crate) fn raw(&self) -> *mut sys::rte_mempool {
        self.inner.raw.as_ptr()
    }
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        if count_available(self.raw) == self.buffers {
            // SAFETY: every buffer is back and this was the last handle.
            unsafe { sys::rte_mempool_free(self.raw.as_ptr()) };
        }
    }
}

/// How `sluice_buf` reaches a mempool.
static OPS: PoolOps = PoolOps { alloc, free, available };

/// Whether the buffer belongs to one of DPDK's pools, so that a driver may free it.
///
/// # Safety
/// `header` is a live buffer of some pool.
pub(crate) unsafe fn is_mbuf(header: *const Header) -> bool {
    // SAFETY: behind every header lies its private area.
    let private: *const Private = unsafe { header.add(1) }.cast();
    // SAFETY: written when the pool was made, never again.
    let ops = unsafe { (*private).ops };
    std::ptr::eq(ops, &raw const OPS)
}

unsafe extern "C" fn write_private(
    _pool: *mut sys::rte_mempool,
    _argument: *mut c_void,
    object: *mut c_void,
    _index: std::ffi::c_uint,
) {
    // SAFETY: the pool was made with room for the private area behind the mbuf.
    let private: *mut Private = unsafe { object.cast::<Header>().add(1) }.cast();
    // SAFETY: inside the object, aligned to 64 as objects and headers are.
    unsafe { private.write(Private { ops: &OPS, trace: [0; 56] }) };
}

unsafe fn alloc(pool: *mut c_void, out: &mut [*mut Header]) -> usize {
    let pool: *mut sys::rte_mempool = pool.cast();
    let mbufs: *mut *mut sys::rte_mbuf = out.as_mut_ptr().cast();
    // SAFETY: the pool is alive (the caller's promise) and there is room for that many pointers.
    if unsafe { sys::sluice_mbuf_alloc_bulk(pool, mbufs, out.len() as u32) } == 0 {
        return out.len();
    }
    // All or nothing is not what we promise, so take what there is.
    let mut taken = 0;
    for slot in out {
        // SAFETY: the pool is alive.
        let mbuf = unsafe { sys::sluice_mbuf_alloc(pool) };
        if mbuf.is_null() {
            break;
        }
        *slot = mbuf.cast();
        taken += 1;
    }
    taken
}

unsafe fn free(segment: NonNull<Header>) {
    // Resets `next` and the count of segments, and lets go of a borrowed buffer, as drivers do.
    // SAFETY: a segment of ours with one reference, which the caller gives up.
    unsafe { sys::sluice_mbuf_free_seg(segment.as_ptr().cast()) };
}

unsafe fn available(pool: *mut c_void) -> u32 {
    NonNull::new(pool.cast()).map_or(0, count_available)
}

/// What `rte_mempool_avail_count` counts, without looking into the caches of a hundred threads that
/// do not exist.
fn count_available(pool: NonNull<sys::rte_mempool>) -> u32 {
    // SAFETY: the pool is alive as long as its handles are.
    let shared = unsafe { sys::sluice_mempool_shared_count(pool.as_ptr()) };
    // SAFETY: a live pool's header is readable, and after the pool is made nobody writes it.
    let header = unsafe { pool.as_ref() };
    let caches = header.local_cache;
    if header.cache_size == 0 || caches.is_null() {
        return shared;
    }
    let lcores = highest_lcore() as usize;
    let cached = (0..=lcores).map(|lcore| {
        // SAFETY: a pool has RTE_MAX_LCORE caches, and lcore numbers are below that.
        let cache = unsafe { caches.add(lcore) };
        // SAFETY: inside the cache.
        let len = unsafe { &raw const (*cache).len };
        // SAFETY: another thread may be writing the count; a stale value is as good as a fresh one.
        unsafe { len.read_volatile() }
    });
    shared + cached.sum::<u32>()
}
