//! What a packet must be for the driver to take it, and what is done when it is not.

use std::ffi::c_void;
use std::ptr;

use sluice_buf::{DATA_ROOM, HEADER_SIZE, HEADROOM, Header, Packet, Pool, flags};

use crate::pool::is_mbuf;
use crate::port::PortInner;

/// Packets dropped instead of sent, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TxDrops {
    /// Longer than the device sends, or in more segments than it takes and too long for one.
    pub too_long: u64,
    /// It had to be copied and the pool was empty.
    pub no_buffer: u64,
    /// The driver refused the offload request.
    pub offload: u64,
}

/// Why a packet is not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    TooLong,
    NoBuffer,
}

impl TxDrops {
    pub(crate) fn count(&mut self, reason: Refusal) {
        match reason {
            Refusal::TooLong => self.too_long += 1,
            Refusal::NoBuffer => self.no_buffer += 1,
        }
    }

    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.too_long + self.no_buffer + self.offload
    }
}

/// The check that every packet passes on its way to the driver.
///
/// A driver frees what it has sent to the mempool that the header names, so a buffer from a heap
/// pool, or one that borrows from a heap pool, must never reach it.
#[derive(Debug)]
pub(crate) struct Admission {
    frame_bytes_max: u32,
    segments_max: u16,
    hands_over: bool,
    /// Mempools seen last; nearly all packets come from a worker's two pools.
    known: [*mut c_void; 2],
    /// For copies.
    pool: Option<Pool>,
}

// SAFETY: the remembered pool addresses are compared, never followed.
unsafe impl Send for Admission {}

impl Admission {
    pub(crate) fn new(port: &PortInner, queue: u16) -> Self {
        Self {
            frame_bytes_max: port.frame_bytes_max,
            segments_max: port.segments_max,
            hands_over: port.quirks.hands_over,
            known: [ptr::null_mut(); 2],
            pool: port.pool_handle(queue),
        }
    }

    /// The packet, or one like it, as the driver can take it.
    #[inline]
    pub(crate) fn admit(&mut self, packet: Packet) -> Result<Packet, Refusal> {
        // SAFETY: a live header that is ours.
        let header = unsafe { packet.as_raw().as_ref() };
        let is_plain = header.nb_segs == 1
            && header.pkt_len <= self.frame_bytes_max
            && self.known.contains(&header.pool);
        if is_plain { Ok(packet) } else { self.admit_slowly(packet) }
    }

    #[cold]
    fn admit_slowly(&mut self, mut packet: Packet) -> Result<Packet, Refusal> {
        // SAFETY: a live header that is ours.
        let header = unsafe { packet.as_raw().as_ref() };
        let is_segmented = header.ol_flags & flags::TX_TCP_SEG != 0;
        if header.pkt_len > self.frame_bytes_max && !is_segmented {
            return Err(Refusal::TooLong);
        }
        if header.nb_segs > self.segments_max && !is_segmented && !packet.linearise() {
            return self.copy(&packet);
        }
        if self.is_sendable(&packet) { Ok(packet) } else { self.copy(&packet) }
    }

    /// Whether the driver may free every segment, and the receiver of a hand-over own it.
    fn is_sendable(&mut self, packet: &Packet) -> bool {
        let mut at: *const Header = packet.as_raw().as_ptr();
        while !at.is_null() {
            // SAFETY: the segments of a live packet are live headers.
            let header = unsafe { &*at };
            let is_indirect = header.ol_flags & flags::INDIRECT != 0;
            if self.hands_over && (is_indirect || header.refcnt > 1) {
                return false;
            }
            if !self.is_ours(at) || (is_indirect && !self.is_ours(lender(header))) {
                return false;
            }
            at = header.next;
        }
        true
    }

    fn is_ours(&mut self, header: *const Header) -> bool {
        // SAFETY: the caller has a live header.
        let pool = unsafe { (*header).pool };
        if self.known.contains(&pool) {
            return true;
        }
        // SAFETY: the caller has a live header.
        if !unsafe { is_mbuf(header) } {
            return false;
        }
        self.known = [pool, self.known[0]];
        true
    }

    /// The same packet in buffers of our own.
    fn copy(&self, packet: &Packet) -> Result<Packet, Refusal> {
        const PIECE: usize = DATA_ROOM - HEADROOM;
        let len = packet.len();
        let pieces = len.div_ceil(PIECE).max(1);
        if pieces > usize::from(self.segments_max) {
            return Err(Refusal::TooLong);
        }
        let pool = self.pool.as_ref().ok_or(Refusal::NoBuffer)?;
        let mut whole: Option<Packet> = None;
        for piece in 0..pieces {
            let from = piece * PIECE;
            let mut copy = pool.alloc().map_err(|_| Refusal::NoBuffer)?;
            let room = copy.append(PIECE.min(len - from)).ok_or(Refusal::TooLong)?;
            packet.copy_to(from, room);
            match &mut whole {
                Some(whole) => whole.append_packet(copy),
                None => whole = Some(copy),
            }
        }
        let mut whole = whole.ok_or(Refusal::NoBuffer)?;
        whole.set_tx_offload(packet.tx_offload());
        Ok(whole)
    }
}

/// The header whose buffer an indirect segment borrows.
fn lender(indirect: &Header) -> *const Header {
    let behind = HEADER_SIZE + usize::from(indirect.priv_size);
    // SAFETY: an indirect segment's buffer lies that far behind the lender's header.
    unsafe { indirect.buf_addr.sub(behind) }.cast()
}
