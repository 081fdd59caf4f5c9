//! Packet rules: asked about every IP packet that comes in by an interface that has some, before
//! anything else is done with it. A packet that another worker found to be ours was asked about
//! there.
//!
//! What cannot be read goes on: the very same check, later, says by name what is wrong with it. Nor
//! are ARP and neighbour discovery asked about, without which the interface would be deaf.

use std::net::Ipv4Addr;
use std::sync::Arc;

use sluice_base::InterfaceId;
use sluice_buf::{Batch, Packet};
use sluice_rules::{RuleTable, Transport, Verdict};
use sluice_wire::ipv6::extension;
use sluice_wire::{EtherType, EthernetView, IpProtocol, Ipv4View, Ipv6View, ethernet, ipv4};

use crate::drop_reason::DropReason;
use crate::source_check::ReversePath;
use crate::source_limit::SourceLimit;
use crate::stack::Stack;

/// Flags and fragment offset of an IPv4 header.
const FRAGMENT_MASK: u16 = 0x3fff;
const OFFSET_MASK: u16 = 0x1fff;
/// RFC 1858, 3.2.1: a first fragment of TCP with less hides its flags from a filter.
const FIRST_TCP_FRAGMENT_MIN: usize = 16;
/// Messages of neighbour discovery (RFC 4861, 4) and the hop limit that proves they are of the link.
const NEIGHBOR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;
const LINK_HOP_LIMIT: u8 = 255;

impl Stack {
    /// Puts packet rules before an interface, in place of those it has.
    pub fn set_rules(&mut self, interface: InterfaceId, rules: Option<Arc<RuleTable>>) {
        if let Some(interface) = self.interfaces.get_mut(interface.index()) {
            interface.rules = rules;
        }
        self.update_filtering();
    }

    /// Whether vectors must be looked through before anything else.
    pub(crate) fn update_filtering(&mut self) {
        self.is_filtering = self.interfaces.iter().any(|interface| {
            interface.rules.is_some()
                || interface.reverse_path != ReversePath::Off
                || interface.refuses_martians
        });
    }

    /// Limits what each source address may do per second by an interface: SYNs, to whatever port, and
    /// connections begun. The limits are those of all workers together, over which a source's
    /// connections are spread; 0 is none. For the start: it takes memory.
    pub fn set_source_limits(&mut self, interface: InterfaceId, syns: u32, connections: u32) {
        let (workers, key) = (u32::from(self.workers), self.flow_key);
        if let Some(interface) = self.interfaces.get_mut(interface.index()) {
            let limit = |rate: u32| SourceLimit::new(rate.div_ceil(workers), key);
            interface.syn_limit = limit(syns);
            interface.connection_limit = limit(connections);
        }
    }

    /// How many interfaces there are; their ids are the numbers below.
    #[must_use]
    pub fn interface_count(&self) -> u16 {
        self.interfaces.len() as u16
    }

    /// Leaves in a vector what the rules of an interface allow, from where it may come. A vector that nobody filters pays one
    /// branch for that.
    #[cold]
    pub(crate) fn filter(&self, interface: u16, batch: &mut Batch) {
        for _ in 0..batch.len() {
            let Some(packet) = batch.pop() else { break };
            let interface = self.filtering_interface(interface, &packet);
            let checked = self.check_source(interface, &packet);
            match checked.and_then(|()| self.check_rules(interface, &packet)) {
                Ok(()) => drop(batch.try_push(packet)),
                Err(reason) => self.counters.drops.count(reason),
            }
        }
    }

    /// Asks the rules of an interface about a frame.
    #[inline]
    fn check_rules(&self, interface: u16, packet: &Packet) -> Result<(), DropReason> {
        let Some(rules) = &self.interfaces[usize::from(interface)].rules else { return Ok(()) };
        let head = packet.head();
        let (l2_len, ether_type) = match head.get(12..ethernet::HEADER_LEN) {
            Some([8, 0]) => (ethernet::HEADER_LEN, EtherType::Ipv4),
            _ => match EthernetView::parse(head) {
                Ok(view) => (view.header_len(), view.ether_type()),
                Err(_) => return Ok(()),
            },
        };
        let verdict = match ether_type {
            EtherType::Ipv4 => self.decide_v4(rules, packet, l2_len)?,
            EtherType::Ipv6 => self.decide_v6(rules, packet, l2_len)?,
            EtherType::Arp | EtherType::Other(_) => Verdict::Allow,
        };
        match verdict {
            Verdict::Allow => Ok(()),
            Verdict::Deny => Err(DropReason::RuleDenied),
        }
    }

    #[inline]
    fn decide_v4(
        &self,
        rules: &RuleTable,
        packet: &Packet,
        l2_len: usize,
    ) -> Result<Verdict, DropReason> {
        let head = packet.head().get(l2_len..).unwrap_or_default();
        let Some(header) = head.first_chunk::<{ ipv4::HEADER_LEN }>() else {
            return Ok(Verdict::Allow);
        };
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
        let (header_len, total_len) = (usize::from(header[0] & 0x0f) * 4, usize::from(half(2)));
        let is_plain = header[0] == 0x45
            && total_len >= ipv4::HEADER_LEN
            && total_len <= packet.len() - l2_len;
        if !is_plain && Ipv4View::parse_with_len(head, packet.len() - l2_len).is_err() {
            return Ok(Verdict::Allow);
        }
        let (fragment, protocol) = (half(6) & FRAGMENT_MASK, header[9]);
        let payload = head.get(header_len..).unwrap_or_default();
        let payload_len = total_len - header_len;
        let transport = if fragment == 0 {
            whole(protocol, payload, payload_len)
        } else {
            piece(protocol, fragment & OFFSET_MASK, payload, payload_len)
        };
        let transport = transport.ok_or(DropReason::RuleUnreadable)?;
        let (source, destination) = (Ipv4Addr::from_bits(word(12)), Ipv4Addr::from_bits(word(16)));
        Ok(rules.decide_v4(source, destination, transport, self.worker))
    }

    fn decide_v6(
        &self,
        rules: &RuleTable,
        packet: &Packet,
        l2_len: usize,
    ) -> Result<Verdict, DropReason> {
        let head = packet.head().get(l2_len..).unwrap_or_default();
        let Ok(view) = Ipv6View::parse_with_len(head, packet.len() - l2_len) else {
            return Ok(Verdict::Allow);
        };
        let payload = view.payload();
        let Ok(upper) = extension::walk(view.next_header(), payload) else {
            return Err(DropReason::RuleUnreadable);
        };
        let at = usize::from(upper.offset);
        let transport = payload.get(at..).unwrap_or_default();
        let transport_len = usize::from(view.payload_len()).saturating_sub(at);
        let protocol = upper.protocol.number();
        if extension::is_extension(protocol) {
            // A fragment that begins with more headers (RFC 7112).
            return Err(DropReason::RuleUnreadable);
        }
        let offset = upper.fragment.map_or(0, |fragment| fragment.offset);
        let is_discovery = upper.protocol == IpProtocol::Icmpv6
            && offset == 0
            && view.hop_limit() == LINK_HOP_LIMIT
            && transport.first().is_some_and(|kind| NEIGHBOR_DISCOVERY.contains(kind));
        if is_discovery {
            return Ok(Verdict::Allow);
        }
        let transport = match upper.fragment.filter(|fragment| !fragment.is_atomic()) {
            None => whole(protocol, transport, transport_len),
            Some(_) => piece(protocol, offset, transport, transport_len),
        };
        let transport = transport.ok_or(DropReason::RuleUnreadable)?;
        Ok(rules.decide_v6(view.src(), view.dst(), transport, self.worker))
    }
}

/// What rules can know of a packet's payload; none if it hides the ports that they ask for.
#[inline]
fn whole(protocol: u8, payload: &[u8], payload_len: usize) -> Option<Transport> {
    const TCP: u8 = IpProtocol::Tcp.number();
    const UDP: u8 = IpProtocol::Udp.number();
    if !matches!(protocol, TCP | UDP) {
        return Some(Transport::Other { protocol });
    }
    let ports: &[u8; 4] = payload.first_chunk().filter(|_| payload_len >= 4)?;
    let from = u16::from_be_bytes([ports[0], ports[1]]);
    let to = u16::from_be_bytes([ports[2], ports[3]]);
    Some(match protocol {
        TCP => Transport::Tcp { from, to },
        _ => Transport::Udp { from, to },
    })
}

/// The same of a fragment, whose payload begins at `offset` units of eight bytes.
#[cold]
fn piece(protocol: u8, offset: u16, payload: &[u8], payload_len: usize) -> Option<Transport> {
    let is_tcp = protocol == IpProtocol::Tcp.number();
    match offset {
        0 if is_tcp && payload_len < FIRST_TCP_FRAGMENT_MIN => None,
        0 => whole(protocol, payload, payload_len),
        // RFC 1858, 3.2.2 and RFC 3128: it could overwrite the flags of the first one.
        1 if is_tcp => None,
        _ => Some(Transport::Later { protocol }),
    }
}
