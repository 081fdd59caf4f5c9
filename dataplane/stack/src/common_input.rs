//! The packets that nearly all are, on a short way: an untagged frame for us alone, in it a whole
//! and good IPv4 packet without options, in that either a segment with a plain TCP header for us, or
//! something that only passes through towards a next hop that answers.
//!
//! What is anything else, in whatever respect, is given back as it came and takes the steps of
//! `ethernet_input`, which would do the same with these, and which knows why a packet goes no
//! further. So nothing is decided here but whether a packet is common, and nothing is dropped but
//! what finds its queue full.

use std::net::Ipv4Addr;

use sluice_base::Instant;
use sluice_buf::{Packet, RxChecksum, TxOffload};
use sluice_wire::{Checksum, EtherType, IpProtocol, PlainHeader, ethernet, ipv4};

use crate::addresses::is_host;
use crate::drop_reason::DropReason;
use crate::ethernet_input::Arrival;
use crate::fib::NextHop;
use crate::host::Host;
use crate::interface::Interface;
use crate::ipv4_input::add_packet;
use crate::neighbor::TEMPLATE_LEN;
use crate::owner::Subject;
use crate::stack::Stack;
use crate::tcp_input::Segment;
use crate::tuple::Tuple;

const L4_AT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
/// Version 4, and a header of five words.
const PLAIN_HEADER: u8 = 0x45;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// What is the same for all packets of a vector, and what they add up to.
pub(crate) struct Vector {
    interface: u16,
    arrival: Arrival,
    now: Instant,
    /// The interface's address, as its bytes lie at the start of a frame, and two zeros.
    own: u64,
    /// The next hop of the last packet that passed through: the next one mostly has the same.
    hop: Option<Hop>,
    forwarded: u64,
    segments: u64,
}

struct Hop {
    /// The route's cell in the FIB.
    cell: u32,
    interface: u16,
    mtu: u16,
    template: [u8; TEMPLATE_LEN],
}

/// The fields of an IPv4 header that was found to be good; addresses as numbers.
#[derive(Clone, Copy)]
struct Addressed {
    source: u32,
    destination: u32,
    total_len: usize,
}

impl Vector {
    pub(crate) fn new(interface: &Interface, arrival: Arrival, now: Instant) -> Self {
        let [a, b, c, d, e, f] = interface.mac.0;
        Self {
            interface: interface.id.0,
            arrival,
            now,
            own: u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]),
            hop: None,
            forwarded: 0,
            segments: 0,
        }
    }
}

impl Stack {
    /// Takes in a packet: on the short way, or on the one for all.
    #[inline]
    pub(crate) fn handle_packet(&mut self, packet: Packet, vector: &mut Vector) {
        if let Err(packet) = self.common_input(packet, vector) {
            self.handle_uncommon(packet, vector);
        }
    }

    #[cold]
    fn handle_uncommon(&mut self, packet: Packet, vector: &mut Vector) {
        let Vector { interface, arrival, now, .. } = *vector;
        let handled = self.ethernet_input(interface, packet, arrival, now);
        self.note(handled);
        // It may have been about the next hop.
        vector.hop = None;
    }

    #[inline(always)]
    fn common_input(&mut self, packet: Packet, vector: &mut Vector) -> Result<(), Packet> {
        let Some(ip) = check(&packet, vector.own) else { return Err(packet) };
        let cell = self.fib.find_cell(ip.destination);
        if let Some(hop) = vector.hop.as_ref().filter(|hop| hop.cell == cell) {
            let Hop { interface, mtu, template, .. } = hop;
            let passed = self.pass(packet, ip, (*interface, *mtu), template);
            vector.forwarded += u64::from(passed.is_ok());
            return passed;
        }
        match self.fib.next_hop(cell) {
            Some(NextHop::Local { .. }) => self.common_segment(packet, ip, vector),
            Some(NextHop::Connected { interface }) => {
                let address = Ipv4Addr::from_bits(ip.destination).into();
                self.pass_first(packet, ip, cell, (interface, address), vector)
            }
            Some(NextHop::Via { interface, gateway }) => {
                self.pass_first(packet, ip, cell, (interface, gateway), vector)
            }
            Some(NextHop::Broadcast { .. } | NextHop::Group { .. }) | None => Err(packet),
        }
    }

    /// Counts what the packets of a vector added up to.
    #[inline]
    pub(crate) fn end_vector(&mut self, vector: &mut Vector) {
        self.counters.forwarded.add(std::mem::take(&mut vector.forwarded));
        self.counters.tcp_segments_in.add(std::mem::take(&mut vector.segments));
        vector.hop = None;
    }

    /// Puts a segment on the list of those whose connections are looked up together.
    #[inline(never)]
    fn common_segment(
        &mut self,
        mut packet: Packet,
        ip: Addressed,
        vector: &mut Vector,
    ) -> Result<(), Packet> {
        let head = packet.head();
        let Some((l4_len, l4)) = transport(head, &ip) else { return Err(packet) };
        let Some(header_len) = PlainHeader::len_in(l4) else { return Err(packet) };
        let Some(payload_len) = l4_len.checked_sub(header_len) else { return Err(packet) };
        let tuple = Tuple {
            local: Ipv4Addr::from_bits(ip.destination).into(),
            remote: Ipv4Addr::from_bits(ip.source).into(),
            local_port: u16::from_be_bytes([l4[2], l4[3]]),
            remote_port: u16::from_be_bytes([l4[0], l4[1]]),
        };
        if self.workers > 1 && vector.arrival == Arrival::Device {
            let Tuple { local_port, remote_port, .. } = tuple;
            let local = Ipv4Addr::from_bits(ip.destination);
            let remote = Ipv4Addr::from_bits(ip.source);
            let subject = Subject::Flow { local, local_port, remote, remote_port };
            let owner = self.owners.owner(&subject);
            if owner != self.worker {
                self.hand_off(owner, vector.interface, packet);
                return Ok(());
            }
        }
        // Short frames are padded.
        if packet.len() != ethernet::HEADER_LEN + ip.total_len {
            packet.truncate(ethernet::HEADER_LEN + ip.total_len);
        }
        let is_good = match packet.rx_checksum() {
            RxChecksum::Good | RxChecksum::Partial => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => has_good_sum(&packet, &ip, l4_len),
        };
        if !is_good {
            return Err(packet);
        }
        let hash = tuple.hash(&self.flow_key);
        vector.segments += 1;
        self.segments.push(Segment {
            packet: Some(packet),
            hash,
            tuple,
            is_plain: true,
            is_marked: false,
            interface: vector.interface,
            header_at: L4_AT as u16,
            payload_at: (L4_AT + header_len) as u16,
            payload_len: payload_len as u16,
            candidate: None,
        });
        Ok(())
    }

    /// Sends on a packet with another next hop than the last one.
    fn pass_first(
        &mut self,
        packet: Packet,
        ip: Addressed,
        cell: u32,
        (interface, address): (u16, Host),
        vector: &mut Vector,
    ) -> Result<(), Packet> {
        let Some(template) = self.neighbors.known(interface, address, vector.now) else {
            return Err(packet);
        };
        let template = *template;
        let mtu = self.interfaces[usize::from(interface)].mtu;
        self.pass(packet, ip, (interface, mtu), &template)?;
        vector.forwarded += 1;
        // On a link each destination is its own next hop.
        if let Some(NextHop::Via { .. }) = self.fib.next_hop(cell) {
            vector.hop = Some(Hop { cell, interface, mtu, template });
        }
        Ok(())
    }

    /// Sends a packet on in its buffer, the link header written over.
    #[inline(always)]
    fn pass(
        &mut self,
        mut packet: Packet,
        ip: Addressed,
        (interface, mtu): (u16, u16),
        template: &[u8; TEMPLATE_LEN],
    ) -> Result<(), Packet> {
        let is_common = self.forwarding
            && !packet.is_unfinished()
            && ip.total_len <= usize::from(mtu)
            && packet.segment_count() == 1
            && is_forwardable(ip.destination)
            && is_forwardable(ip.source);
        if !is_common {
            return Err(packet);
        }
        let Some(head) = packet.head_mut().first_chunk_mut::<L4_AT>() else { return Err(packet) };
        let (l2, l3) = head.split_at_mut(TEMPLATE_LEN);
        if ipv4::decrement_ttl(l3).is_none() {
            return Err(packet);
        }
        l2.copy_from_slice(template);
        if packet.len() != TEMPLATE_LEN + ip.total_len {
            packet.truncate(TEMPLATE_LEN + ip.total_len);
        }
        packet.set_tx_offload(TxOffload::default());
        let out = &mut self.interfaces[usize::from(interface)];
        if let Err(packet) = out.control.try_push(packet) {
            drop(packet);
            self.counters.drops.count(DropReason::EgressFull);
        }
        Ok(())
    }
}

#[inline(always)]
fn is_forwardable(address: u32) -> bool {
    crate::addresses::is_forwardable(Ipv4Addr::from_bits(address))
}

/// Looks at link and network header: `own` is the only address of a common frame, in the first six
/// bytes of the word.
#[inline(always)]
fn check(packet: &Packet, own: u64) -> Option<Addressed> {
    let head: &[u8; L4_AT] = packet.head().first_chunk()?;
    // In the order of the wire, so that what is only compared or summed need not be turned.
    let (to, from) = (double(head, 0), double(head, 6));
    let is_frame = mask_first_six(to ^ own) == 0
        && u64::from_be(from) & 0xffff == u64::from(EtherType::Ipv4.number())
        && u64::from_be(from) >> 56 & 1 == 0
        && mask_first_six(from) != 0;
    let total_len = usize::from(u16::from_be_bytes([head[16], head[17]]));
    let is_whole = head[14] == PLAIN_HEADER
        && total_len >= ipv4::HEADER_LEN
        && total_len <= packet.len() - ethernet::HEADER_LEN;
    if !(is_frame && is_whole) {
        return None;
    }
    let is_good = packet.rx_ipv4_checksum().unwrap_or_else(|| {
        let words =
            [word(head, 14), word(head, 18), word(head, 22), word(head, 26), word(head, 30)];
        // All ones in ones' complement, in whatever byte order (RFC 1071, 2).
        words.into_iter().map(u64::from).sum::<u64>() % 0xffff == 0
    });
    let (source, destination) = (u32::from_be(word(head, 26)), u32::from_be(word(head, 30)));
    let is_good = is_good && is_host(Ipv4Addr::from_bits(source));
    is_good.then_some(Addressed { source, destination, total_len })
}

#[inline(always)]
fn word(head: &[u8; L4_AT], at: usize) -> u32 {
    u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

#[inline(always)]
fn double(head: &[u8; L4_AT], at: usize) -> u64 {
    head[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// The word without its last two bytes.
#[inline(always)]
fn mask_first_six(word: u64) -> u64 {
    word & const { u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]) }
}

/// The TCP segment in an IPv4 packet that is no fragment: how long it is, and the part of it that
/// lies in the packet's first piece.
#[inline]
fn transport<'p>(head: &'p [u8], ip: &Addressed) -> Option<(usize, &'p [u8])> {
    let (headers, l4) = head.split_first_chunk::<L4_AT>()?;
    let fragment = u16::from_be_bytes([headers[20], headers[21]]) & FRAGMENT;
    // What a router marked goes the long way.
    let is_marked = headers[15] & ipv4::CE == ipv4::CE;
    let is_segment = headers[23] == IpProtocol::Tcp.number() && fragment == 0 && !is_marked;
    is_segment.then_some((ip.total_len - ipv4::HEADER_LEN, l4))
}

/// Whether the checksum of a segment is right.
fn has_good_sum(packet: &Packet, ip: &Addressed, l4_len: usize) -> bool {
    let number = IpProtocol::Tcp.number();
    let (source, destination) =
        (Ipv4Addr::from_bits(ip.source), Ipv4Addr::from_bits(ip.destination));
    let mut sum = Checksum::pseudo_header_v4(source, destination, number, l4_len as u32);
    add_packet(&mut sum, packet, L4_AT);
    sum.is_valid()
}

#[cfg(test)]
mod tests;
