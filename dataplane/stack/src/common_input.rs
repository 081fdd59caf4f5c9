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

use crate::addresses::{is_host, is_link_local};
use crate::drop_reason::DropReason;
use crate::ethernet_input::Arrival;
use crate::fib::NextHop;
use crate::interface::Interface;
use crate::ipv4_input::add_packet;
use crate::neighbor::TEMPLATE_LEN;
use crate::owner::Subject;
use crate::stack::Stack;
use crate::tcp_input::Segment;
use crate::tuple::Tuple;

const L4_AT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
/// Version 4, and a header of five words.
const PLAIN_HEADER: u32 = 0x45;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// What is the same for all packets of a vector, and what they add up to.
pub(crate) struct Vector {
    interface: u16,
    arrival: Arrival,
    now: Instant,
    /// The interface's address in the upper six bytes.
    own: u64,
    /// The next hop of the last packet that passed through: the next one mostly has the same.
    hop: Option<Hop>,
    forwarded: u64,
    segments: u64,
}

struct Hop {
    interface: u16,
    address: Ipv4Addr,
    template: [u8; TEMPLATE_LEN],
}

/// The fields of an IPv4 header that was found to be good.
#[derive(Clone, Copy)]
struct Addressed {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    total_len: usize,
}

impl Vector {
    pub(crate) fn new(interface: &Interface, arrival: Arrival, now: Instant) -> Self {
        let [a, b, c, d, e, f] = interface.mac.0;
        Self {
            interface: interface.id.0,
            arrival,
            now,
            own: u64::from_be_bytes([a, b, c, d, e, f, 0, 0]),
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

    #[inline]
    fn common_input(&mut self, packet: Packet, vector: &mut Vector) -> Result<(), Packet> {
        let Some(ip) = check(&packet, vector.own) else { return Err(packet) };
        match self.fib.find(ip.destination) {
            Some(NextHop::Local { .. }) => self.common_segment(packet, ip, vector),
            Some(NextHop::Connected { interface }) => {
                self.pass(packet, ip, (interface, ip.destination), vector)
            }
            Some(NextHop::Via { interface, gateway }) => {
                self.pass(packet, ip, (interface, gateway), vector)
            }
            Some(NextHop::Broadcast { .. }) | None => Err(packet),
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
    #[inline]
    fn common_segment(
        &mut self,
        mut packet: Packet,
        ip: Addressed,
        vector: &mut Vector,
    ) -> Result<(), Packet> {
        let head = packet.head();
        let Some((l4_len, l4)) = transport(head, &ip) else { return Err(packet) };
        let Some(header) = PlainHeader::parse(l4) else { return Err(packet) };
        let Some(payload_len) = l4_len.checked_sub(header.header_len()) else {
            return Err(packet);
        };
        let tuple = Tuple {
            local: ip.destination,
            remote: ip.source,
            local_port: u16::from_be_bytes([l4[2], l4[3]]),
            remote_port: u16::from_be_bytes([l4[0], l4[1]]),
        };
        if self.workers > 1 && vector.arrival == Arrival::Device {
            let Tuple { local, remote, local_port, remote_port } = tuple;
            let subject = Subject::Flow { local, local_port, remote, remote_port };
            let owner = self.owners.owner(&subject);
            if owner != self.worker {
                self.hand_off(owner, vector.interface, packet);
                return Ok(());
            }
        }
        // Short frames are padded.
        packet.truncate(ethernet::HEADER_LEN + ip.total_len);
        let is_good = match packet.rx_checksum() {
            RxChecksum::Good | RxChecksum::Partial => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => has_good_sum(&packet, &ip, l4_len),
        };
        if !is_good {
            return Err(packet);
        }
        let hash = tuple.hash(&self.flow_key);
        self.flows.prefetch(hash);
        vector.segments += 1;
        self.segments.push(Segment {
            packet: Some(packet),
            hash,
            header,
            tuple,
            is_plain: true,
            interface: vector.interface,
            header_at: L4_AT as u16,
            payload_at: (L4_AT + header.header_len()) as u16,
            payload_len: payload_len as u16,
            candidate: None,
        });
        Ok(())
    }

    /// Sends a packet on in its buffer, the link header written over.
    #[inline]
    fn pass(
        &mut self,
        mut packet: Packet,
        ip: Addressed,
        (interface, address): (u16, Ipv4Addr),
        vector: &mut Vector,
    ) -> Result<(), Packet> {
        let out = &mut self.interfaces[usize::from(interface)];
        let is_common = self.forwarding
            && !packet.is_unfinished()
            && ip.total_len <= usize::from(out.mtu)
            && (packet.segment_count() == 1 || out.capabilities.multi_segment)
            && is_host(ip.destination)
            && !is_link_local(ip.source)
            && !is_link_local(ip.destination);
        if !is_common {
            return Err(packet);
        }
        let is_last = |hop: &&Hop| hop.address == address && hop.interface == interface;
        if vector.hop.as_ref().filter(is_last).is_none() {
            let Some(template) = self.neighbors.known(interface, address, vector.now) else {
                return Err(packet);
            };
            vector.hop = Some(Hop { interface, address, template: *template });
        }
        let Some(Hop { template, .. }) = &vector.hop else { return Err(packet) };
        let Some(head) = packet.head_mut().first_chunk_mut::<L4_AT>() else { return Err(packet) };
        let (l2, l3) = head.split_at_mut(TEMPLATE_LEN);
        if ipv4::decrement_ttl(l3).is_none() {
            return Err(packet);
        }
        l2.copy_from_slice(template);
        packet.truncate(TEMPLATE_LEN + ip.total_len);
        packet.set_tx_offload(TxOffload::default());
        vector.forwarded += 1;
        if let Err(packet) = out.control.try_push(packet) {
            drop(packet);
            self.counters.drops.count(DropReason::EgressFull);
        }
        Ok(())
    }
}

/// Looks at link and network header: `own` is the only address of a common frame, in the upper six
/// bytes.
#[inline]
fn check(packet: &Packet, own: u64) -> Option<Addressed> {
    let head: &[u8; L4_AT] = packet.head().first_chunk()?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let double = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    let (to, from) = (double(0) >> 16, double(6));
    let is_unicast = from >> 56 & 1 == 0 && from >> 16 != 0;
    let is_frame = to == own >> 16 && is_unicast && from as u16 == EtherType::Ipv4.number();
    let first = word(14);
    let total_len = first as usize & 0xffff;
    let is_whole = first >> 24 == PLAIN_HEADER
        && total_len >= ipv4::HEADER_LEN
        && total_len <= packet.len() - ethernet::HEADER_LEN;
    if !(is_frame && is_whole) {
        return None;
    }
    let is_good = packet.rx_ipv4_checksum().unwrap_or_else(|| {
        let words = [first, word(18), word(22), word(26), word(30)];
        // All ones in ones' complement (RFC 1071, 1).
        words.into_iter().map(u64::from).sum::<u64>() % 0xffff == 0
    });
    let source = Ipv4Addr::from_bits(word(26));
    let destination = Ipv4Addr::from_bits(word(30));
    (is_good && is_host(source)).then_some(Addressed { source, destination, total_len })
}

/// The TCP segment in an IPv4 packet that is no fragment: how long it is, and the part of it that
/// lies in the packet's first piece.
#[inline]
fn transport<'p>(head: &'p [u8], ip: &Addressed) -> Option<(usize, &'p [u8])> {
    let (headers, l4) = head.split_first_chunk::<L4_AT>()?;
    let fragment = u16::from_be_bytes([headers[20], headers[21]]) & FRAGMENT;
    let is_segment = headers[23] == IpProtocol::Tcp.number() && fragment == 0;
    is_segment.then_some((ip.total_len - ipv4::HEADER_LEN, l4))
}

/// Whether the checksum of a segment is right.
fn has_good_sum(packet: &Packet, ip: &Addressed, l4_len: usize) -> bool {
    let number = IpProtocol::Tcp.number();
    let mut sum = Checksum::pseudo_header_v4(ip.source, ip.destination, number, l4_len as u32);
    add_packet(&mut sum, packet, L4_AT);
    sum.is_valid()
}
