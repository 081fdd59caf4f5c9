//! A packet: exclusively owned, received or to be sent.

use std::fmt;
use std::ptr::NonNull;

use crate::chain::Chain;
use crate::header::{Header, Segment, flags};
use crate::meta::{Gso, L4Checksum, RxChecksum, TxOffload};
use crate::pool::{Pool, PoolEmpty};
use crate::slice::Slice;

/// Up to this many payload bytes are copied behind fresh headers rather than linked in: measured
/// per segment, a copy of that size costs as much as an indirect buffer (42 to 70 cycles).
pub const COPY_MAX: usize = 256;

/// As [`COPY_MAX`], for bytes in several slices: each takes a buffer to be linked in, and the device
/// another look at memory.
pub const COPY_MANY_MAX: usize = 512;

/// One packet in one or several segments.
///
/// The first segment is exclusively owned and may be written. Further segments, linked in by
/// [`Packet::attach`], may be shared with slices and are only read. Dropping it sends every segment
/// home.
#[repr(transparent)]
pub struct Packet {
    head: Segment,
}

impl Packet {
    #[inline]
    pub(crate) fn from_segment(head: Segment) -> Self {
        Self { head }
    }

    /// Takes over a packet from a driver.
    ///
    /// # Safety
    /// `head` is a live packet made of buffers of our pools, the caller owns it, and its first
    /// segment has no other reference.
    #[inline]
    #[must_use]
    pub unsafe fn from_raw(head: NonNull<Header>) -> Self {
        Self { head: Segment(head) }
    }

    /// Hands the packet to a driver, which frees it segment by segment.
    #[inline]
    #[must_use]
    pub fn into_raw(self) -> NonNull<Header> {
        let head = self.head.0;
        std::mem::forget(self);
        head
    }

    /// The packet's header, for a driver to look at.
    #[inline]
    #[must_use]
    pub fn as_raw(&self) -> NonNull<Header> {
        self.head.0
    }

    /// Bytes of the packet, all segments.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.pkt_len() as usize
    }

    /// Whether there is no byte.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many segments hold it.
    #[inline]
    #[must_use]
    pub fn segment_count(&self) -> usize {
        usize::from(self.head.nb_segs())
    }

    /// The bytes of the first segment. Receiving guarantees 192 of them, or all.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &[u8] {
        let (offset, len) = (self.head.data_off(), self.head.data_len());
        // SAFETY: the data of a segment lies in its buffer, and `&self` keeps writers away.
        unsafe { self.head.bytes(usize::from(offset), usize::from(len)) }
    }

    /// The bytes of the first segment, to write.
    #[inline]
    #[must_use]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let (offset, len) = (self.head.data_off(), self.head.data_len());
        // SAFETY: the first segment is exclusively owned (type invariant).
        unsafe { self.head.bytes_mut(usize::from(offset), usize::from(len)) }
    }

    /// The bytes of each segment in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = Some(self.head);
        std::iter::from_fn(move || {
            let segment = at?;
            at = segment.next();
            let (offset, len) = (segment.data_off(), segment.data_len());
            // SAFETY: the data of a segment lies in its buffer; shared bytes are never written.
            Some(unsafe { segment.bytes(usize::from(offset), usize::from(len)) })
        })
    }

    /// Copies the bytes from `offset` on into `out`; returns how many there were.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        let (mut skip, mut copied) = (offset, 0);
        for bytes in self.segments() {
            let from = skip.min(bytes.len());
            skip -= from;
            let count = (bytes.len() - from).min(out.len() - copied);
            out[copied..copied + count].copy_from_slice(&bytes[from..from + count]);
            copied += count;
        }
        copied
    }

    /// Makes room for `len` bytes in front and returns them to be filled in.
    ///
    /// None if the headroom is smaller.
    #[inline]
    pub fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let offset = usize::from(self.head.data_off()).checked_sub(len)?;
        self.head.set_data_off(offset as u16);
        self.head.set_data_len(self.head.data_len() + len as u16);
        self.head.set_pkt_len(self.head.pkt_len() + len as u32);
        // SAFETY: the first segment is exclusively owned (type invariant).
        Some(unsafe { self.head.bytes_mut(offset, len) })
    }

    /// Makes room for `len` bytes behind the first segment's data and returns them to be filled in.
    ///
    /// None if the tailroom is smaller or further segments follow.
    #[inline]
    pub fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.head.tailroom() < len || self.head.nb_segs() != 1 {
            return None;
        }
        let offset = usize::from(self.head.data_off()) + usize::from(self.head.data_len());
        self.head.set_data_len(self.head.data_len() + len as u16);
        self.head.set_pkt_len(self.head.pkt_len() + len as u32);
        // SAFETY: the first segment is exclusively owned (type invariant).
        Some(unsafe { self.head.bytes_mut(offset, len) })
    }

    /// The room behind the first segment's data, for a device to write into before it says by
    /// [`Packet::append`] how much it wrote.
    #[inline]
    #[must_use]
    pub fn tail_mut(&mut self) -> &mut [u8] {
        let offset = usize::from(self.head.data_off()) + usize::from(self.head.data_len());
        // SAFETY: the first segment is exclusively owned (type invariant); pools hand out
        // initialised memory.
        unsafe { self.head.bytes_mut(offset, self.head.tailroom()) }
    }

    /// Appends a copy of `bytes`; false (and nothing done) if there is no room for all.
    #[inline]
    pub fn append_bytes(&mut self, bytes: &[u8]) -> bool {
        match self.append(bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Bytes free in front of the data.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.head.data_off())
    }

    /// Bytes free behind the first segment's data.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.head.tailroom()
    }

    /// Moves the (empty) packet's data start so that `len` bytes of headroom are in front.
    pub fn set_headroom(&mut self, len: usize) {
        debug_assert!(self.is_empty(), "only an empty packet may move its start");
        self.head.set_data_off(len.min(usize::from(self.head.buf_len())) as u16);
    }

    /// Removes `len` bytes from the front; they must lie in the first segment, else nothing happens
    /// and the answer is false.
    #[inline]
    pub fn trim_front(&mut self, len: usize) -> bool {
        if len > usize::from(self.head.data_len()) {
            return false;
        }
        self.head.set_data_off(self.head.data_off() + len as u16);
        self.head.set_data_len(self.head.data_len() - len as u16);
        self.head.set_pkt_len(self.head.pkt_len() - len as u32);
        true
    }

    /// Cuts the packet to `len` bytes; segments behind that are freed. No effect if it is shorter.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        self.head.set_pkt_len(len as u32);
        let (mut segment, mut left, mut count) = (self.head, len, 1);
        loop {
            let here = usize::from(segment.data_len());
            if left <= here {
                segment.set_data_len(left as u16);
                break;
            }
            left -= here;
            count += 1;
            let Some(next) = segment.next() else { break };
            segment = next;
        }
        let rest = segment.next();
        segment.set_next(None);
        self.head.set_nb_segs(count);
        release_all(rest);
    }

    /// Links another packet's segments behind this one's; the other's metadata is forgotten.
    pub fn append_packet(&mut self, other: Self) {
        let (bytes, segments) = (other.head.pkt_len(), other.head.nb_segs());
        let first = Segment(other.into_raw());
        self.last().set_next(Some(first));
        self.head.set_pkt_len(self.head.pkt_len() + bytes);
        self.head.set_nb_segs(self.head.nb_segs() + segments);
    }

    /// Appends `len` bytes of `chain` from `offset` on: few are copied, more are linked in.
    ///
    /// That holds for all together, of which [`COPY_MANY_MAX`] are few where they lie in several
    /// slices, and for each slice, so that bytes in many tiny slices take few buffers: at most two per
    /// [`COPY_MAX`] bytes. A buffer without another reference than the chain's is linked as it is; one
    /// that the driver or another slice also holds is lent by an indirect buffer from `pool`. The chain
    /// keeps its references.
    ///
    /// # Errors
    /// [`PoolEmpty`] if another buffer was needed and none is left; the packet then is not fit to be
    /// sent.
    #[inline]
    pub fn attach(
        &mut self,
        chain: &Chain,
        offset: usize,
        len: usize,
        pool: &Pool,
    ) -> Result<(), PoolEmpty> {
        debug_assert!(offset + len <= chain.len(), "the range lies in the chain");
        let copy_max = if chain.buffers() > 1 { COPY_MANY_MAX } else { COPY_MAX };
        if len <= copy_max && self.head.nb_segs() == 1 && len <= self.head.tailroom() {
            if let Some(room) = self.append(len) {
                chain.copy_to(offset, room);
            }
            return Ok(());
        }
        self.attach_slices(chain, offset, len, pool)
    }

    /// The rest of `attach`: slice by slice.
    fn attach_slices(
        &mut self,
        chain: &Chain,
        offset: usize,
        len: usize,
        pool: &Pool,
    ) -> Result<(), PoolEmpty> {
        let mut last = self.last();
        // Whether bytes may be written behind the last segment's: the head, or a buffer of copies.
        let mut is_open = self.head.nb_segs() == 1;
        for (segment, from, count) in chain.ranges(offset, len) {
            if count <= COPY_MAX {
                if !(is_open && count <= last.tailroom()) {
                    last = self.link_empty(last, pool)?;
                    is_open = true;
                }
                let end = usize::from(last.data_off()) + usize::from(last.data_len());
                // SAFETY: the head is exclusively owned, and so is a buffer that was just taken.
                let room = unsafe { last.bytes_mut(end, count) };
                // SAFETY: the chain's references keep the bytes alive and unwritten.
                room.copy_from_slice(unsafe { segment.bytes(from, count) });
                last.set_data_len(last.data_len() + count as u16);
                self.head.set_pkt_len(self.head.pkt_len() + count as u32);
                continue;
            }
            is_open = false;
            let linked = if segment.refcnt() == 1 && segment.ol_flags() & flags::INDIRECT == 0 {
                segment.retain();
                segment
            } else {
                borrow_buffer(segment, pool)?
            };
            // Offsets are relative to the buffer, which an indirect segment shares with its owner.
            linked.set_data_off(from as u16);
            linked.set_data_len(count as u16);
            linked.set_next(None);
            last.set_next(Some(linked));
            last = linked;
            self.head.set_nb_segs(self.head.nb_segs() + 1);
            self.head.set_pkt_len(self.head.pkt_len() + count as u32);
        }
        Ok(())
    }

    /// Links a fresh buffer behind `last`, to copy into.
    fn link_empty(&mut self, last: Segment, pool: &Pool) -> Result<Segment, PoolEmpty> {
        let fresh = Segment(pool.alloc_reserved()?.into_raw());
        fresh.set_data_off(0);
        last.set_next(Some(fresh));
        self.head.set_nb_segs(self.head.nb_segs() + 1);
        Ok(fresh)
    }

    /// Puts all bytes into the first segment, for devices without multi-segment support.
    ///
    /// False if they do not fit; the packet is unchanged then.
    pub fn linearise(&mut self) -> bool {
        let Some(rest) = self.head.next() else { return true };
        let missing = self.len() - usize::from(self.head.data_len());
        if missing > self.head.tailroom() {
            return false;
        }
        let start = usize::from(self.head.data_off()) + usize::from(self.head.data_len());
        let skip = usize::from(self.head.data_len());
        // SAFETY: the first segment is exclusively owned; its tailroom overlaps no segment's data.
        let room = unsafe { self.head.bytes_mut(start, missing) };
        self.copy_to(skip, room);
        self.head.set_data_len((skip + missing) as u16);
        self.head.set_next(None);
        self.head.set_nb_segs(1);
        release_all(Some(rest));
        true
    }

    /// As [`Packet::into_chain`], a chain of its own.
    #[inline]
    #[must_use]
    pub fn into_payload(self, offset: usize, len: usize) -> Chain {
        let here = usize::from(self.head.data_len());
        if self.head.nb_segs() == 1 && len > 0 && offset + len <= here {
            let head = Segment(self.into_raw());
            let start = usize::from(head.data_off()) + offset;
            return Chain::of_one(head, start as u16, len as u16);
        }
        let mut chain = Chain::new();
        self.into_chain(offset, len, &mut chain);
        chain
    }

    /// Turns `len` bytes from `offset` on into slices behind `chain`'s; the rest is freed.
    ///
    /// A range that reaches over the end is cut at the end.
    pub fn into_chain(self, offset: usize, len: usize, chain: &mut Chain) {
        let head = Segment(self.into_raw());
        if head.next().is_none() {
            // The common case: one buffer, all of the range in it.
            let here = usize::from(head.data_len());
            let count = here.saturating_sub(offset).min(len);
            if count == 0 {
                return head.release();
            }
            let start = usize::from(head.data_off()) + offset;
            return chain.push(Slice::from_segment(head, start as u16, count as u16));
        }
        let mut at = Some(head);
        let (mut skip, mut left) = (offset, len);
        while let Some(segment) = at {
            at = segment.next();
            segment.set_next(None);
            segment.set_nb_segs(1);
            let here = usize::from(segment.data_len());
            let from = skip.min(here);
            skip -= from;
            let count = (here - from).min(left);
            left -= count;
            if count == 0 {
                segment.release();
                continue;
            }
            let start = usize::from(segment.data_off()) + from;
            chain.push(Slice::from_segment(segment, start as u16, count as u16));
        }
    }

    /// Checks that nobody else refers to any segment, so that the packet may change threads.
    ///
    /// # Errors
    /// Gives the packet back if a segment is shared or borrowed.
    pub fn try_into_send(self) -> Result<SendPacket, Self> {
        let mut at = Some(self.head);
        while let Some(segment) = at {
            if segment.refcnt() != 1 || segment.ol_flags() & flags::INDIRECT != 0 {
                return Err(self);
            }
            at = segment.next();
        }
        Ok(SendPacket(self))
    }

    fn last(&self) -> Segment {
        let mut segment = self.head;
        while let Some(next) = segment.next() {
            segment = next;
        }
        segment
    }
}

/// Metadata.
impl Packet {
    /// What the device found out about the layer-4 checksum.
    #[inline]
    #[must_use]
    pub fn rx_checksum(&self) -> RxChecksum {
        match self.head.ol_flags() & flags::RX_L4_CKSUM_NONE {
            0 => RxChecksum::Unknown,
            flags::RX_L4_CKSUM_GOOD => RxChecksum::Good,
            flags::RX_L4_CKSUM_BAD => RxChecksum::Bad,
            _ => RxChecksum::Partial,
        }
    }

    /// Says what is known about the layer-4 checksum.
    #[inline]
    pub fn set_rx_checksum(&mut self, checksum: RxChecksum) {
        let bits = match checksum {
            RxChecksum::Unknown => 0,
            RxChecksum::Good => flags::RX_L4_CKSUM_GOOD,
            RxChecksum::Bad => flags::RX_L4_CKSUM_BAD,
            RxChecksum::Partial => flags::RX_L4_CKSUM_NONE,
        };
        let rest = self.head.ol_flags() & !flags::RX_L4_CKSUM_NONE;
        self.head.set_ol_flags(rest | bits);
    }

    /// Whether whoever sends the packet on has to finish it: fill in a checksum, cut it.
    #[inline]
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        let set = self.head.ol_flags();
        set & flags::RX_LRO != 0 || set & flags::RX_L4_CKSUM_NONE == flags::RX_L4_CKSUM_NONE
    }

    /// Whether the device verified (`Some(true)`) or refuted the IPv4 header checksum.
    #[inline]
    #[must_use]
    pub fn rx_ipv4_checksum(&self) -> Option<bool> {
        match self.head.ol_flags() & (flags::RX_IP_CKSUM_GOOD | flags::RX_IP_CKSUM_BAD) {
            flags::RX_IP_CKSUM_GOOD => Some(true),
            flags::RX_IP_CKSUM_BAD => Some(false),
            _ => None,
        }
    }

    /// The segments this packet was merged from, if it was.
    #[inline]
    #[must_use]
    pub fn gso(&self) -> Option<Gso> {
        if self.head.ol_flags() & flags::RX_LRO == 0 {
            return None;
        }
        let segment_size = ((self.head.tx_offload() >> 24) & 0xffff) as u16;
        Some(Gso { segment_size })
    }

    /// Says that this packet was merged from segments.
    pub fn set_gso(&mut self, gso: Gso) {
        self.head.set_ol_flags(self.head.ol_flags() | flags::RX_LRO);
        self.head.set_tx_offload(u64::from(gso.segment_size) << 24);
    }

    /// What the sending device is asked to do.
    #[inline]
    #[must_use]
    pub fn tx_offload(&self) -> TxOffload {
        TxOffload::unpack(self.head.ol_flags(), self.head.tx_offload())
    }

    /// Asks the sending device; forgets all receive flags.
    #[inline]
    pub fn set_tx_offload(&mut self, request: TxOffload) {
        self.head.set_ol_flags(request.flags());
        self.head.set_tx_offload(request.packed());
    }

    /// Turns a received packet's metadata into a request to the device that sends it on: a partial
    /// checksum becomes one to fill in, a merged packet one to be segmented again.
    pub fn rx_to_tx(&mut self, lens: (u8, u16, u8), l4: L4Checksum, is_v6: bool) {
        let partial = self.rx_checksum() == RxChecksum::Partial;
        let segment_size = self.gso().map_or(0, |gso| gso.segment_size);
        self.set_tx_offload(TxOffload {
            l2_len: lens.0,
            l3_len: lens.1,
            l4_len: lens.2,
            segment_size,
            is_v6,
            ipv4_checksum: false,
            l4_checksum: if partial || segment_size > 0 { l4 } else { L4Checksum::None },
        });
    }

    /// The RSS hash, a hint for steering, if the device gave one.
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.head.ol_flags() & flags::RX_RSS_HASH != 0).then(|| self.head.hash()[0])
    }

    /// The number of the port it arrived on, as the device set it.
    #[inline]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.head.port()
    }

    /// Notes the port it arrived on.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.head.set_port(port);
    }

    /// 56 bytes for trace and capture; they keep their value until the buffer is used again.
    #[inline]
    #[must_use]
    pub fn trace_mut(&mut self) -> &mut [u8; 56] {
        // SAFETY: the private area of the exclusively owned first segment.
        unsafe { &mut *self.head.trace() }
    }
}

impl Drop for Packet {
    #[inline]
    fn drop(&mut self) {
        release_all(Some(self.head));
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.len())
            .field("segments", &self.segment_count())
            .finish_non_exhaustive()
    }
}

/// A packet to whose segments nobody else refers: the one form that changes threads.
#[derive(Debug)]
#[repr(transparent)]
pub struct SendPacket(Packet);

// SAFETY: every segment had count 1 and none borrows another's buffer when this was made, so the
// packet is the only way to them; freeing from another thread is what the pools are made for.
unsafe impl Send for SendPacket {}

impl SendPacket {
    /// The packet, on the thread that now owns it.
    #[inline]
    #[must_use]
    pub fn into_packet(self) -> Packet {
        self.0
    }
}

#[inline]
fn release_all(mut at: Option<Segment>) {
    while let Some(segment) = at {
        at = segment.next();
        if segment.refcnt() == 1 {
            // Buffers go home as single segments.
            segment.set_next(None);
            segment.set_nb_segs(1);
        }
        segment.release();
    }
}

/// An indirect segment over the whole buffer of `of`, which gets one more reference.
#[cold]
fn borrow_buffer(of: Segment, pool: &Pool) -> Result<Segment, PoolEmpty> {
    let indirect = Segment(pool.alloc_reserved()?.into_raw());
    let direct = if of.ol_flags() & flags::INDIRECT == 0 { of } else { direct_of(of) };
    direct.retain();
    indirect.set_buf_addr(direct.buf_addr());
    indirect.set_buf_iova(direct.buf_iova());
    indirect.set_buf_len(direct.buf_len());
    indirect.set_priv_size(direct.priv_size());
    indirect.set_ol_flags(flags::INDIRECT);
    Ok(indirect)
}

fn direct_of(indirect: Segment) -> Segment {
    let behind = crate::header::HEADER_SIZE + usize::from(indirect.priv_size());
    // SAFETY: an indirect segment's buffer lies `behind` bytes after its direct header.
    let direct = unsafe { indirect.buf_addr().sub(behind) };
    // SAFETY: an address inside an allocation is not null.
    Segment(unsafe { NonNull::new_unchecked(direct.cast()) })
}
