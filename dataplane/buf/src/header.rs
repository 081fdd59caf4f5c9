//! The buffer header, laid out like `rte_mbuf` of DPDK 22.11.

use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::ptr::NonNull;

use crate::pool::PoolOps;

/// Bytes of a [`Header`].
pub const HEADER_SIZE: usize = 128;
/// Bytes of the [`Private`] area behind each header.
pub const PRIVATE_SIZE: usize = 64;
/// Bytes in front of the data of a fresh buffer: room for every header we prepend.
pub const HEADROOM: usize = 128;
/// Bytes of a buffer, headroom included.
pub const DATA_ROOM: usize = 2048 + HEADROOM;

/// A segment of packet memory, field by field where `rte_mbuf` has it.
///
/// `ffi/dpdk` asserts every offset against the installed headers at compile time.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Header {
    /// Start of the buffer (not of the data).
    pub buf_addr: *mut u8,
    /// Bus address of `buf_addr`.
    pub buf_iova: u64,
    /// Data starts here, relative to `buf_addr`.
    pub data_off: u16,
    /// References: slices, packets and the driver.
    pub refcnt: u16,
    /// Segments of the packet, in its first segment.
    pub nb_segs: u16,
    /// The port it arrived on.
    pub port: u16,
    /// Offload flags, see [`flags`].
    pub ol_flags: u64,
    /// What the device recognised.
    pub packet_type: u32,
    /// Bytes of the packet, in its first segment.
    pub pkt_len: u32,
    /// Bytes of this segment.
    pub data_len: u16,
    /// VLAN tag control information, CPU order.
    pub vlan_tci: u16,
    /// RSS hash in the first word.
    pub hash: [u32; 2],
    /// Outer VLAN tag control information.
    pub vlan_tci_outer: u16,
    /// Bytes of the buffer.
    pub buf_len: u16,
    /// The pool it goes back to.
    pub pool: *mut c_void,
    /// The next segment of the packet.
    pub next: *mut Self,
    /// Packed lengths and segment size, see `TxOffload`.
    pub tx_offload: u64,
    /// Shared info of external buffers; unused by us.
    pub shinfo: *mut c_void,
    /// Bytes between header and buffer.
    pub priv_size: u16,
    /// Unused by us.
    pub timesync: u16,
    /// DPDK's dynamic fields.
    pub dynfield1: [u32; 9],
}

/// Our own bytes behind each header.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Private {
    /// How this buffer is freed. Written once, when the pool is made.
    pub ops: &'static PoolOps,
    /// For trace and capture.
    pub trace: [u8; 56],
}

const _: () = assert!(size_of::<Header>() == HEADER_SIZE);
const _: () = assert!(size_of::<Private>() == PRIVATE_SIZE);
const _: () = assert!(offset_of!(Header, next) == 64, "next opens the second cache line");
const _: () = assert!(offset_of!(Header, dynfield1) == 92);

/// Offload flags of `rte_mbuf.ol_flags`.
pub mod flags {
    /// `hash[0]` holds the RSS hash.
    pub const RX_RSS_HASH: u64 = 1 << 1;
    /// The device saw a wrong TCP or UDP checksum.
    pub const RX_L4_CKSUM_BAD: u64 = 1 << 3;
    /// The device saw a wrong IPv4 header checksum.
    pub const RX_IP_CKSUM_BAD: u64 = 1 << 4;
    /// The device verified the IPv4 header checksum.
    pub const RX_IP_CKSUM_GOOD: u64 = 1 << 7;
    /// The device verified the TCP or UDP checksum.
    pub const RX_L4_CKSUM_GOOD: u64 = 1 << 8;
    /// The checksum field is not filled in, but the data is known to be right.
    pub const RX_L4_CKSUM_NONE: u64 = RX_L4_CKSUM_BAD | RX_L4_CKSUM_GOOD;
    /// Several segments were merged into this packet.
    pub const RX_LRO: u64 = 1 << 16;
    /// Segment it: `tso_segsz` bytes of payload each.
    pub const TX_TCP_SEG: u64 = 1 << 50;
    /// Fill in the TCP checksum.
    pub const TX_TCP_CKSUM: u64 = 1 << 52;
    /// Fill in the UDP checksum.
    pub const TX_UDP_CKSUM: u64 = 3 << 52;
    /// Both bits of the layer-4 request.
    pub const TX_L4_MASK: u64 = 3 << 52;
    /// Fill in the IPv4 header checksum.
    pub const TX_IP_CKSUM: u64 = 1 << 54;
    /// The packet is IPv4.
    pub const TX_IPV4: u64 = 1 << 55;
    /// The packet is IPv6.
    pub const TX_IPV6: u64 = 1 << 56;
    /// The segment borrows another's buffer.
    pub const INDIRECT: u64 = 1 << 62;
}

/// A pointer to a live header.
///
/// Invariant: it points to a [`Header`] that a pool initialised and that is not free, followed by a
/// [`Private`]; whoever holds a `Segment` accounts for one reference (or is the free list).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub(crate) struct Segment(pub(crate) NonNull<Header>);

macro_rules! field {
    ($name:ident, $set:ident, $type:ty) => {
        #[inline]
        pub(crate) fn $name(self) -> $type {
            // SAFETY: the pointer is to a live header (type invariant).
            unsafe { (*self.0.as_ptr()).$name }
        }

        #[inline]
        #[allow(dead_code, reason = "the accessors come in pairs")]
        pub(crate) fn $set(self, value: $type) {
            // SAFETY: the pointer is to a live header, and one thread uses it (type invariant).
            unsafe { (*self.0.as_ptr()).$name = value }
        }
    };
}

impl Segment {
    field!(buf_addr, set_buf_addr, *mut u8);
    field!(buf_iova, set_buf_iova, u64);
    field!(data_off, set_data_off, u16);
    field!(refcnt, set_refcnt, u16);
    field!(nb_segs, set_nb_segs, u16);
    field!(port, set_port, u16);
    field!(ol_flags, set_ol_flags, u64);
    field!(pkt_len, set_pkt_len, u32);
    field!(data_len, set_data_len, u16);
    field!(hash, set_hash, [u32; 2]);
    field!(buf_len, set_buf_len, u16);
    field!(pool, set_pool, *mut c_void);
    field!(tx_offload, set_tx_offload, u64);
    field!(priv_size, set_priv_size, u16);

    #[inline]
    pub(crate) fn next(self) -> Option<Self> {
        // SAFETY: the pointer is to a live header (type invariant).
        let next = unsafe { (*self.0.as_ptr()).next };
        NonNull::new(next).map(Self)
    }

    /// As [`Segment::next`], null for none.
    #[inline]
    pub(crate) fn next_raw(self) -> *mut Header {
        // SAFETY: the pointer is to a live header (type invariant).
        unsafe { (*self.0.as_ptr()).next }
    }

    #[inline]
    pub(crate) fn set_next(self, next: Option<Self>) {
        let next = next.map_or(std::ptr::null_mut(), |segment| segment.0.as_ptr());
        // SAFETY: the pointer is to a live header, and one thread uses it (type invariant).
        unsafe { (*self.0.as_ptr()).next = next }
    }

    #[inline]
    fn private(self) -> *mut Private {
        // SAFETY: the private area lies directly behind the header in the same allocation.
        let private = unsafe { self.0.as_ptr().add(1) };
        private.cast()
    }

    #[inline]
    pub(crate) fn ops(self) -> &'static PoolOps {
        // SAFETY: the pool wrote `ops` when it made the buffer, and nobody writes it again.
        unsafe { (*self.private()).ops }
    }

    #[inline]
    pub(crate) fn trace(self) -> *mut [u8; 56] {
        // SAFETY: `private` points to the live private area of this header.
        unsafe { &raw mut (*self.private()).trace }
    }

    /// The bytes `offset..offset + len` of the buffer.
    ///
    /// # Safety
    /// The range lies inside the buffer and is initialised, nobody writes it while the result
    /// lives, and the caller's reference outlives `'a`.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(self, offset: usize, len: usize) -> &'a [u8] {
        debug_assert!(offset + len <= usize::from(self.buf_len()), "range inside the buffer");
        // SAFETY: inside the buffer, by the caller's promise.
        let start = unsafe { self.buf_addr().add(offset) };
        // SAFETY: initialised, unwritten and alive, by the caller's promise.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The bytes `offset..offset + len` of the buffer, to write.
    ///
    /// # Safety
    /// As for [`Segment::bytes`], and nobody else reads or writes them while the result lives.
    #[inline]
    pub(crate) unsafe fn bytes_mut<'a>(self, offset: usize, len: usize) -> &'a mut [u8] {
        debug_assert!(offset + len <= usize::from(self.buf_len()), "range inside the buffer");
        // SAFETY: inside the buffer, by the caller's promise.
        let start = unsafe { self.buf_addr().add(offset) };
        // SAFETY: alive and ours alone, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Bytes of the buffer behind the data.
    #[inline]
    pub(crate) fn tailroom(self) -> usize {
        usize::from(self.buf_len())
            .saturating_sub(usize::from(self.data_off()) + usize::from(self.data_len()))
    }

    /// One more reference.
    #[inline]
    pub(crate) fn retain(self) {
        debug_assert!(self.refcnt() > 0, "a free buffer has no references to add to");
        self.set_refcnt(self.refcnt() + 1);
    }

    /// One reference less; the last one sends the buffer home.
    #[inline]
    pub(crate) fn release(self) {
        let count = self.refcnt();
        debug_assert!(count > 0, "a buffer is freed once");
        if count > 1 {
            self.set_refcnt(count - 1);
        } else {
            self.free();
        }
    }

    #[inline]
    fn free(self) {
        let free = self.ops().free;
        // SAFETY: the count is 1 and the caller's reference is the last one.
        unsafe { free(self.0) }
    }
}
