//! Fragments become datagrams again, in bounded memory (RFC 791, 3.2; RFC 8200, 4.5).
//!
//! Both families use it: their input says where a fragment's payload lies ([`Fragment`]) and
//! corrects the headers of what comes out ([`Whole`]). The first fragment's buffer stays the head;
//! the payloads of the others are linked behind it, nothing is copied.
//!
//! ```text
//!   key -> bucket -> datagram -> part 0..1480 -> part 2960..4440      a list by offset
//!                       |           1480..2960 is missing
//!                       +-- age list, oldest first: all wait equally long
//! ```
//!
//! What a stranger can make us hold:
//!
//! | attack | answer |
//! |---|---|
//! | datagrams that are never completed | each ends after 30 seconds; when there are too many, or all buffers that reassembly may hold are held, the oldest gives way |
//! | one source that sends only those | it may hold an eighth of the buffers; sources share 1,024 counts by a keyed hash |
//! | many tiny fragments | 64 per datagram |
//! | fragments that overlap, to show one thing to a filter and another to us | the datagram is refused, with all that still comes of it (RFC 5722; the same for IPv4) |
//! | a datagram longer than IP can say | the fragment is refused |

use std::net::IpAddr;

use sluice_base::{HashKey, Instant, Slab, SlabKey};
use sluice_buf::Packet;

use crate::counters::StackCounters;
use crate::drop_reason::DropReason;
use crate::queue::{Links, NIL, Queue};

/// How long a datagram waits for its last fragment. RFC 8200, 4.5 has 60 seconds, RFC 1122, 3.3.2 at
/// least 60; Linux, like us, gives a shorter time to what is most likely an attack.
const TIMEOUT_NS: u64 = 30_000_000_000;
/// Fragments of one datagram: 64 kB over links of 1,500 bytes takes 45.
const PARTS_MAX: u32 = 64;
/// The share of all buffers that one source may hold.
const SOURCE_SHARE: u32 = 8;
const SOURCES: usize = 1024;

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FragmentKey {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Of IPv4; 0 for IPv6, where it does not count (RFC 8200, 4.5).
    pub(crate) protocol: u8,
    pub(crate) identification: u32,
}

/// One fragment: what its header says, and where it lies in its packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) key: FragmentKey,
    /// Where its payload belongs, bytes.
    pub(crate) offset: u16,
    /// Where its payload starts in the packet, bytes.
    pub(crate) payload_at: u16,
    /// Bytes of payload; nothing lies behind it in the packet.
    pub(crate) payload_len: u16,
    pub(crate) has_more: bool,
    /// Bytes that the datagram's headers will take of the 65,535 that IP can say.
    pub(crate) headers_len: u16,
    /// Position of the interface it came in by, and bytes before its network header.
    pub(crate) interface: u16,
    pub(crate) l2_len: u16,
}

/// A datagram that is complete: the first fragment with its headers as they were, and all payload.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) packet: Packet,
    /// What the first fragment said.
    pub(crate) first: Fragment,
    pub(crate) payload_len: u16,
}

/// A datagram that was not completed in time.
#[derive(Debug)]
pub(crate) struct Expired {
    /// The first fragment, if it had arrived, and what it said.
    pub(crate) first: Option<(Packet, Fragment)>,
}

#[derive(Debug)]
struct Datagram {
    key: FragmentKey,
    deadline: Instant,
    parts: u32,
    part_count: u32,
    buffers: u32,
    /// Payload bytes that arrived.
    received: u32,
    /// Payload bytes of the datagram, once its last fragment is there.
    total: Option<u32>,
    /// Fragments overlapped: all that still comes is dropped.
    is_refused: bool,
    hash_next: u32,
}

#[derive(Debug)]
struct Part {
    packet: Packet,
    fragment: Fragment,
    next: u32,
}

/// All datagrams that are being put together.
#[derive(Debug)]
pub(crate) struct Reassembly {
    datagrams: Slab<Datagram>,
    parts: Slab<Part>,
    buckets: Vec<u32>,
    /// Oldest first.
    ages: Queue,
    age_links: Links,
    key: HashKey,
    buffers: u32,
    buffers_max: u32,
    source_buffers: Vec<u32>,
    datagrams_max: u32,
}

impl Reassembly {
    /// Room for `datagrams_max` datagrams in `buffers_max` buffers altogether.
    pub(crate) fn new(datagrams_max: u32, buffers_max: u32, key: HashKey) -> Self {
        let datagrams_max = datagrams_max.max(1);
        Self {
            datagrams: Slab::new(datagrams_max, datagrams_max),
            parts: Slab::new(buffers_max, buffers_max),
            buckets: vec![NIL; (datagrams_max as usize * 2).next_power_of_two()],
            ages: Queue::new(),
            age_links: Links::new(datagrams_max),
            key,
            buffers: 0,
            buffers_max,
            source_buffers: vec![0; SOURCES],
            datagrams_max,
        }
    }

    /// Takes in a fragment; the answer is the datagram if it is complete now.
    pub(crate) fn insert(
        &mut self,
        packet: Packet,
        fragment: Fragment,
        now: Instant,
        counters: &StackCounters,
    ) -> Result<Option<Whole>, DropReason> {
        let (start, end) = span(&fragment);
        let is_cut_well = !fragment.has_more || fragment.payload_len.is_multiple_of(8);
        let is_possible = end + u32::from(fragment.headers_len) <= u32::from(u16::MAX);
        let is_at_hand = packet.head().len() >= usize::from(fragment.payload_at);
        if fragment.payload_len == 0 || !is_cut_well || !is_possible || !is_at_hand {
            return Err(DropReason::FragmentMalformed);
        }
        let bucket = self.bucket(&fragment.key);
        let found = self.find(bucket, &fragment.key);
        if let Some(datagram) = found.and_then(|key| self.datagrams.get(key)) {
            if datagram.is_refused {
                return Err(DropReason::FragmentOverlap);
            }
            if datagram.part_count >= PARTS_MAX {
                return Err(DropReason::FragmentLimit);
            }
        }
        let buffers = packet.segment_count() as u32;
        let source = self.source(&fragment.key.source);
        if self.source_buffers[source] + buffers > (self.buffers_max / SOURCE_SHARE).max(1) {
            return Err(DropReason::FragmentLimit);
        }
        self.make_room(buffers, found, counters)?;
        let key = match found {
            Some(key) => key,
            None => self.begin(bucket, fragment.key, now).ok_or(DropReason::FragmentLimit)?,
        };
        let place = match self.place(key, start, end, &fragment) {
            Ok(place) => place,
            Err(Misfit::Duplicate) => return Err(DropReason::FragmentDuplicate),
            Err(Misfit::Overlap) => {
                self.refuse(key, counters);
                return Err(DropReason::FragmentOverlap);
            }
        };
        self.link(key, place, packet, fragment)?;
        Ok(self.complete(key))
    }

    /// A datagram whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, counters: &StackCounters) -> Option<Expired> {
        let key = self.oldest()?;
        let datagram = self.datagrams.get(key).filter(|datagram| datagram.deadline <= now)?;
        let is_refused = datagram.is_refused;
        let mut first = None;
        while let Some(part) = self.pop_part(key) {
            counters.drops.count(DropReason::FragmentTimeout);
            if part.fragment.offset == 0 {
                first = Some((part.packet, part.fragment));
            }
        }
        self.end(key);
        if !is_refused {
            counters.reassembly_timeouts.increment();
        }
        Some(Expired { first })
    }

    /// When the oldest datagram's time is over.
    pub(crate) fn next_deadline(&self) -> Instant {
        let oldest = self.oldest().and_then(|key| self.datagrams.get(key));
        oldest.map_or(Instant::NEVER, |datagram| datagram.deadline)
    }

    /// Buffers that are held.
    pub(crate) fn buffers(&self) -> u32 {
        self.buffers
    }

    fn oldest(&self) -> Option<SlabKey> {
        self.ages.peek().and_then(|index| self.datagrams.key_at(index))
    }

    /// Lets the oldest datagrams go until there is room for `buffers` more and, if none was `found`,
    /// for a datagram.
    fn make_room(
        &mut self,
        buffers: u32,
        found: Option<SlabKey>,
        counters: &StackCounters,
    ) -> Result<(), DropReason> {
        let slots = self.datagrams_max as usize;
        while self.buffers + buffers > self.buffers_max
            || (found.is_none() && self.datagrams.len() >= slots)
        {
            let oldest = self.oldest().filter(|oldest| Some(*oldest) != found);
            let oldest = oldest.ok_or(DropReason::FragmentLimit)?;
            while self.pop_part(oldest).is_some() {
                counters.drops.count(DropReason::FragmentEvicted);
            }
            self.end(oldest);
        }
        Ok(())
    }

    fn begin(&mut self, bucket: usize, key: FragmentKey, now: Instant) -> Option<SlabKey> {
        let datagram = Datagram {
            key,
            deadline: now.plus_nanos(TIMEOUT_NS),
            parts: NIL,
            part_count: 0,
            buffers: 0,
            received: 0,
            total: None,
            is_refused: false,
            hash_next: self.buckets[bucket],
        };
        let slot = self.datagrams.insert(datagram).ok()?;
        self.buckets[bucket] = slot.index;
        self.ages.push(&mut self.age_links, slot.index);
        Some(slot)
    }

    /// Forgets a datagram that has no parts left.
    fn end(&mut self, key: SlabKey) {
        let Some(datagram) = self.datagrams.remove(key) else { return };
        debug_assert_eq!((datagram.parts, datagram.buffers), (NIL, 0), "its buffers were let go");
        self.ages.remove(&mut self.age_links, key.index);
        let bucket = self.bucket(&datagram.key);
        if self.buckets[bucket] == key.index {
            self.buckets[bucket] = datagram.hash_next;
            return;
        }
        let mut at = self.buckets[bucket];
        while let Some(other) = self.datagrams.at_mut(at) {
            if other.hash_next == key.index {
                other.hash_next = datagram.hash_next;
                return;
            }
            at = other.hash_next;
        }
    }

    /// RFC 5722, 4: the whole datagram is discarded, and so are fragments that are still to come.
    fn refuse(&mut self, key: SlabKey, counters: &StackCounters) {
        while self.pop_part(key).is_some() {
            counters.drops.count(DropReason::FragmentOverlap);
        }
        if let Some(datagram) = self.datagrams.get_mut(key) {
            datagram.is_refused = true;
        }
    }

    /// The part behind which a fragment belongs, if it fits between those that are there.
    fn place(
        &self,
        key: SlabKey,
        start: u32,
        end: u32,
        fragment: &Fragment,
    ) -> Result<Option<u32>, Misfit> {
        let Some(datagram) = self.datagrams.get(key) else { return Err(Misfit::Overlap) };
        let (mut before, mut at) = (None, datagram.parts);
        let mut last_end = 0;
        while let Some(part) = self.part(at) {
            let (part_start, part_end) = span(&part.fragment);
            if (part_start, part_end) == (start, end) && part.fragment.has_more == fragment.has_more
            {
                return Err(Misfit::Duplicate);
            }
            if part_start < end && start < part_end {
                return Err(Misfit::Overlap);
            }
            if part_start < start {
                before = Some(at);
            }
            last_end = part_end;
            at = part.next;
        }
        let is_end_moved = match datagram.total {
            Some(total) if fragment.has_more => end >= total,
            Some(_) => true,
            None => !fragment.has_more && last_end > end,
        };
        if is_end_moved { Err(Misfit::Overlap) } else { Ok(before) }
    }

    fn link(
        &mut self,
        key: SlabKey,
        before: Option<u32>,
        packet: Packet,
        fragment: Fragment,
    ) -> Result<(), DropReason> {
        let buffers = packet.segment_count() as u32;
        let part = Part { packet, fragment, next: NIL };
        let slot = self.parts.insert(part).map_err(|_| DropReason::FragmentLimit)?;
        let source = self.source(&fragment.key.source);
        let (_, end) = span(&fragment);
        let Some(datagram) = self.datagrams.get_mut(key) else { return Ok(()) };
        datagram.part_count += 1;
        datagram.buffers += buffers;
        datagram.received += u32::from(fragment.payload_len);
        if !fragment.has_more {
            datagram.total = Some(end);
        }
        self.buffers += buffers;
        self.source_buffers[source] += buffers;
        let next = match before.and_then(|before| self.parts.at_mut(before)) {
            Some(before) => std::mem::replace(&mut before.next, slot.index),
            None => std::mem::replace(&mut datagram.parts, slot.index),
        };
        if let Some(part) = self.parts.at_mut(slot.index) {
            part.next = next;
        }
        Ok(())
    }

    /// Puts the datagram together if nothing is missing.
    fn complete(&mut self, key: SlabKey) -> Option<Whole> {
        let datagram = self.datagrams.get(key)?;
        let total = datagram.total.filter(|total| *total == datagram.received)?;
        let Part { mut packet, fragment: first, .. } = self.pop_part(key)?;
        while let Some(Part { packet: mut more, fragment, .. }) = self.pop_part(key) {
            // It was checked that the headers are in the first segment.
            if more.trim_front(usize::from(fragment.payload_at)) {
                packet.append_packet(more);
            }
        }
        self.end(key);
        Some(Whole { packet, first, payload_len: total as u16 })
    }

    /// Takes the part of the lowest offset out.
    fn pop_part(&mut self, key: SlabKey) -> Option<Part> {
        let datagram = self.datagrams.get_mut(key)?;
        let slot = self.parts.key_at(datagram.parts)?;
        let part = self.parts.remove(slot)?;
        let buffers = part.packet.segment_count() as u32;
        datagram.parts = part.next;
        datagram.part_count -= 1;
        datagram.buffers -= buffers;
        self.buffers -= buffers;
        let source = self.source(&part.fragment.key.source);
        self.source_buffers[source] -= buffers;
        Some(part)
    }

    fn part(&self, at: u32) -> Option<&Part> {
        self.parts.key_at(at).and_then(|key| self.parts.get(key))
    }

    fn find(&self, bucket: usize, key: &FragmentKey) -> Option<SlabKey> {
        let mut at = self.buckets[bucket];
        while let Some(slot) = self.datagrams.key_at(at) {
            let datagram = self.datagrams.get(slot)?;
            if datagram.key == *key {
                return Some(slot);
            }
            at = datagram.hash_next;
        }
        None
    }

    fn bucket(&self, key: &FragmentKey) -> usize {
        let rest = u64::from(key.identification) << 8 | u64::from(key.protocol);
        let addresses = self.hash(&key.source) ^ self.hash(&key.destination).rotate_left(32);
        self.key.hash_pair(addresses, rest) as usize & (self.buckets.len() - 1)
    }

    /// Where the buffers of a source are counted; a host has all IPv6 addresses of its link.
    fn source(&self, address: &IpAddr) -> usize {
        let hash = match address {
            IpAddr::V4(_) => self.hash(address),
            IpAddr::V6(address) => self.key.hash_word((address.to_bits() >> 64) as u64),
        };
        hash as usize % SOURCES
    }

    fn hash(&self, address: &IpAddr) -> u64 {
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        self.key.hash_pair((bits >> 64) as u64, bits as u64)
    }
}

/// Why a fragment cannot be added.
enum Misfit {
    Duplicate,
    Overlap,
}

/// First byte and end of a fragment's payload in the datagram.
fn span(fragment: &Fragment) -> (u32, u32) {
    let start = u32::from(fragment.offset);
    (start, start + u32::from(fragment.payload_len))
}
