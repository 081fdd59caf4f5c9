//! What the attacker sends: frames that are well formed but for what the program says.

use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_wire::icmp::{self, IcmpMessage};
use sluice_wire::icmpv6::{self, Icmpv6Message};
use sluice_wire::ndp::{self, NdpMessage, RouterInfo};
use sluice_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Flags, IpProtocol, Ipv4Header, Ipv6Header,
    MacAddress, NdpOptions, SeqNumber, TcpHeader, VlanTags, ipv6, tcp, udp,
};

use super::host::{PORT_DATAGRAMS, PORT_WEB, mac_of};
use super::program::Program;
use super::tracker::{Flow, Half, Key, Tracker, addresses};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
const ATTACKER_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x66);
const ATTACKER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x66]);
const FRAME_LEN_MAX: usize = 1_514;

pub(super) struct Attack {
    pub(super) bytes: Vec<u8>,
    /// It may send others' packets elsewhere, as everybody on a link can.
    pub(super) disturbs: bool,
}

/// The next frame for host `victim`.
pub(super) fn frame(victim: usize, program: &mut Program<'_>, tracker: &Tracker) -> Attack {
    let kind = program.u8() % 12;
    let is_v6 = program.bit();
    let mut disturbs = false;
    let mut bytes = match kind {
        0..=3 => segment(victim, program, tracker, is_v6),
        4 | 5 => icmp_error(victim, program, tracker, is_v6),
        6 if !is_v6 => {
            disturbs = true;
            arp(victim, program)
        }
        6 => {
            disturbs = true;
            neighbor(victim, program)
        }
        7 => {
            disturbs = true;
            router(victim, program)
        }
        8 => fragment(victim, program, is_v6),
        9 => datagram(victim, program, is_v6),
        10 => {
            // A packet of any kind behind good addresses.
            let (protocol, len) = (program.u8(), program.u8());
            let payload = program.bytes(len.into()).to_vec();
            // It could be of neighbour discovery.
            disturbs = true;
            packet(victim, is_v6, sender(victim, program), protocol, &payload)
        }
        _ => {
            disturbs = true;
            let len = program.u8();
            program.bytes(len.into()).to_vec()
        }
    };
    bytes.truncate(FRAME_LEN_MAX);
    Attack { bytes, disturbs }
}

/// Whom the attacker pretends to be.
fn sender(victim: usize, program: &mut Program<'_>) -> (Ipv4Addr, Ipv6Addr) {
    match program.u8() % 4 {
        0 => (ATTACKER, ATTACKER_V6),
        // Where nobody is, and the victim itself.
        1 => (Ipv4Addr::new(10, 0, 0, 77), Ipv6Addr::from_bits(ATTACKER_V6.to_bits() + 1)),
        2 => addresses(victim),
        _ => addresses(1 - victim),
    }
}

fn ethernet(victim: usize, ether_type: EtherType) -> Vec<u8> {
    let header = EthernetHeader {
        destination: mac_of(victim),
        source: ATTACKER_MAC,
        tags: VlanTags::None,
        ether_type,
    };
    let mut frame = vec![0; 14];
    header.emit(&mut frame);
    frame
}

fn packet(
    victim: usize,
    is_v6: bool,
    from: (Ipv4Addr, Ipv6Addr),
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let protocol_name = IpProtocol::from_number(protocol);
    let (to, len) = (addresses(victim), payload.len() as u16);
    let mut frame;
    if is_v6 {
        frame = ethernet(victim, EtherType::Ipv6);
        frame.resize(54, 0);
        let header = Ipv6Header::new(from.1, to.1, protocol_name, len);
        Ipv6Header { next_header: protocol, ..header }.emit(&mut frame[14..]);
    } else {
        frame = ethernet(victim, EtherType::Ipv4);
        frame.resize(34, 0);
        Ipv4Header::new(from.0, to.0, protocol_name, len).emit(&mut frame[14..]);
    }
    frame.extend_from_slice(payload);
    frame
}

/// A number near the true one, or any.
fn number(program: &mut Program<'_>, near: SeqNumber) -> SeqNumber {
    let how = program.u8();
    match how & 3 {
        0 => near,
        1 => near + u32::from(program.u16()),
        2 => near - u32::from(program.u16()),
        _ => SeqNumber(program.u32()),
    }
}

fn flow<'a>(program: &mut Program<'_>, tracker: &'a Tracker) -> Option<&'a Flow> {
    let at = usize::from(program.u8()).checked_rem(tracker.flows().len())?;
    tracker.flows().get(at)
}

/// Ports from `from` to the other host.
fn ports(key: Key, from: usize) -> (u16, u16) {
    if key.client == from { (key.port, PORT_WEB) } else { (PORT_WEB, key.port) }
}

/// A segment of a connection that exists, or of none.
fn segment(victim: usize, program: &mut Program<'_>, tracker: &Tracker, is_v6: bool) -> Vec<u8> {
    let flow = flow(program, tracker);
    let nobody = Half::default();
    let (own, other) =
        flow.map_or((&nobody, &nobody), |flow| (&flow.halves[victim], &flow.halves[1 - victim]));
    let is_v6 = flow.map_or(is_v6, |flow| flow.key.is_v6);
    let (src_port, dst_port) = match flow {
        Some(flow) => ports(flow.key, 1 - victim),
        None => (program.u16(), PORT_WEB),
    };
    let from = if flow.is_some() { addresses(1 - victim) } else { sender(victim, program) };
    let flags = Flags(program.u8());
    let seq = number(program, own.acked.unwrap_or(other.sent));
    let ack = number(program, own.sent);
    let window = program.u16();
    let (options_len, payload_len) = (program.u8() % 41, program.u16() % 1_400);
    let options = program.bytes((options_len & !3).into());
    let header = TcpHeader { src_port, dst_port, seq, ack, flags, window, ..TcpHeader::default() };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(options);
    bytes.resize(bytes.len().next_multiple_of(4), 1);
    bytes[12] = ((bytes.len() / 4) as u8) << 4;
    bytes.extend(std::iter::repeat_n(0xa5, payload_len.into()));
    let to = addresses(victim);
    if is_v6 {
        tcp::fill_checksum(from.1, to.1, &mut bytes);
    } else {
        tcp::fill_checksum(from.0, to.0, &mut bytes);
    }
    packet(victim, is_v6, from, IpProtocol::Tcp.number(), &bytes)
}

/// An error about a segment of the victim's, or one that it never sent.
fn icmp_error(victim: usize, program: &mut Program<'_>, tracker: &Tracker, is_v6: bool) -> Vec<u8> {
    let flow = flow(program, tracker);
    let is_v6 = flow.map_or(is_v6, |flow| flow.key.is_v6);
    let (src_port, dst_port) = match flow {
        Some(flow) => ports(flow.key, victim),
        None => (program.u16(), PORT_DATAGRAMS),
    };
    let near = flow.map_or(SeqNumber::ZERO, |flow| flow.halves[victim].sent);
    let seq = number(program, near);
    let (kind, code, rest) = (program.u8(), program.u8(), program.u32().to_be_bytes());
    let len = program.u16() % 2_000;
    let protocol = if program.bit() { IpProtocol::Udp } else { IpProtocol::Tcp };
    let (own, other) = (addresses(victim), addresses(1 - victim));
    let mut message = vec![0; 8];
    let mut quote = vec![0; if is_v6 { 40 } else { 20 }];
    if is_v6 {
        Ipv6Header::new(own.1, other.1, protocol, len).emit(&mut quote);
    } else {
        Ipv4Header::new(own.0, other.0, protocol, len).emit(&mut quote);
    }
    let header = TcpHeader { src_port, dst_port, seq, flags: Flags::ACK, ..TcpHeader::default() };
    let mut segment = vec![0; 20];
    header.emit(&mut segment);
    quote.extend_from_slice(&segment);
    let from = sender(victim, program);
    if is_v6 {
        Icmpv6Message::Other { kind, code, rest }.emit(&mut message);
        message.extend_from_slice(&quote);
        icmpv6::fill_checksum(from.1, own.1, &mut message);
        packet(victim, true, from, IpProtocol::Icmpv6.number(), &message)
    } else {
        IcmpMessage::Other { kind, code, rest }.emit(&mut message);
        message.extend_from_slice(&quote);
        icmp::fill_checksum(&mut message);
        packet(victim, false, from, IpProtocol::Icmp.number(), &message)
    }
}

fn mac(program: &mut Program<'_>) -> MacAddress {
    match program.u8() % 6 {
        0 | 1 => ATTACKER_MAC,
        2 => mac_of(0),
        3 => mac_of(1),
        4 => MacAddress::BROADCAST,
        _ => MacAddress::ZERO,
    }
}

fn arp(victim: usize, program: &mut Program<'_>) -> Vec<u8> {
    let operation = if program.bit() { ArpOperation::Reply } else { ArpOperation::Request };
    let packet = ArpPacket {
        operation,
        sender_mac: mac(program),
        sender_ip: sender(victim, program).0,
        target_mac: mac(program),
        target_ip: sender(victim, program).0,
    };
    let mut frame = ethernet(victim, EtherType::Arp);
    frame.resize(14 + packet.header_len(), 0);
    packet.emit(&mut frame[14..]);
    frame
}

/// A message of neighbour discovery, with the hop limit that it must have.
fn discovery(victim: usize, from: Ipv6Addr, to: Ipv6Addr, message: &NdpMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.header_len()];
    let len = message.emit(&mut bytes);
    bytes.truncate(len);
    icmpv6::fill_checksum(from, to, &mut bytes);
    let mut frame = ethernet(victim, EtherType::Ipv6);
    frame.resize(54, 0);
    let header = Ipv6Header::new(from, to, IpProtocol::Icmpv6, bytes.len() as u16);
    Ipv6Header { hop_limit: ndp::HOP_LIMIT, ..header }.emit(&mut frame[14..]);
    frame.extend_from_slice(&bytes);
    frame
}

fn neighbor(victim: usize, program: &mut Program<'_>) -> Vec<u8> {
    let (flags, target) = (program.u8(), sender(victim, program).1);
    let from = match flags >> 6 {
        0 => Ipv6Addr::UNSPECIFIED,
        1 => ipv6::link_local(ATTACKER_MAC),
        _ => sender(victim, program).1,
    };
    let to = match flags & 3 {
        0 => ipv6::ALL_NODES,
        1 => ipv6::solicited_node(addresses(victim).1),
        _ => addresses(victim).1,
    };
    let options = match flags >> 2 & 3 {
        0 => NdpOptions::default(),
        1 => NdpOptions::source(mac(program)),
        _ => NdpOptions::target(mac(program)),
    };
    let message = if flags & 16 == 0 {
        NdpMessage::NeighborSolicitation { target, options }
    } else {
        let bits = program.u8();
        let (router, solicited, overrides) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        NdpMessage::NeighborAdvertisement { target, router, solicited, overrides, options }
    };
    discovery(victim, from, to, &message)
}

fn router(victim: usize, program: &mut Program<'_>) -> Vec<u8> {
    let router = RouterInfo {
        hop_limit: program.u8(),
        lifetime_s: program.u16(),
        reachable_ms: program.u16().into(),
        retransmit_ms: program.u16().into(),
        ..RouterInfo::default()
    };
    let mut options = NdpOptions::default();
    let what = program.u8();
    if what & 1 != 0 {
        options.mtu = Some(program.u16().into());
    }
    if what & 2 != 0 {
        options.source_mac = Some(mac(program));
    }
    for prefix in &mut options.prefixes[..usize::from(what >> 2 & 3)] {
        let bits = program.u8();
        *prefix = Some(ndp::PrefixInfo {
            prefix: Ipv6Addr::new(0xfd09, 0, 0, (bits >> 4).into(), 0, 0, 0, 0),
            prefix_len: if bits & 1 != 0 { 64 } else { program.u8() % 129 },
            on_link: bits & 2 != 0,
            autonomous: bits & 4 != 0,
            valid_s: program.u16().into(),
            preferred_s: program.u16().into(),
        });
    }
    let from = ipv6::link_local(ATTACKER_MAC);
    discovery(victim, from, ipv6::ALL_NODES, &NdpMessage::RouterAdvertisement { router, options })
}

/// A piece of something; several of these overlap, or never become whole.
fn fragment(victim: usize, program: &mut Program<'_>, is_v6: bool) -> Vec<u8> {
    let (id, place, bits) = (program.u8() & 3, program.u16(), program.u8());
    let protocol = [6, 17, 1, 58][usize::from(bits >> 1 & 3)];
    let len = usize::from(program.u16() % 1_400);
    let from = sender(victim, program);
    let more = bits & 1 == 1;
    let mut payload = program.bytes(len.min(64)).to_vec();
    payload.resize(len, 0x33);
    if is_v6 {
        let offset = place << 3 | u16::from(more);
        let mut bytes = vec![protocol, 0];
        bytes.extend_from_slice(&offset.to_be_bytes());
        bytes.extend_from_slice(&u32::from(id).to_be_bytes());
        bytes.extend_from_slice(&payload);
        return packet(victim, true, from, 44, &bytes);
    }
    let mut frame = ethernet(victim, EtherType::Ipv4);
    frame.resize(34, 0);
    let protocol = IpProtocol::from_number(protocol);
    let header = Ipv4Header::new(from.0, addresses(victim).0, protocol, len as u16);
    let header = Ipv4Header {
        identification: id.into(),
        dont_fragment: bits & 16 != 0,
        more_fragments: more,
        fragment_offset: place & 0x1fff,
        ..header
    };
    header.emit(&mut frame[14..]);
    frame.extend_from_slice(&payload);
    frame
}

fn datagram(victim: usize, program: &mut Program<'_>, is_v6: bool) -> Vec<u8> {
    let (from, src_port) = (sender(victim, program), program.u16());
    let (dst_port, len) = (program.u16(), program.u8());
    let dst_port = if dst_port & 1 == 0 { PORT_DATAGRAMS } else { dst_port };
    let payload = program.bytes(len.into());
    let header = sluice_wire::UdpHeader { src_port, dst_port, payload_len: payload.len() as u16 };
    let mut bytes = vec![0; 8];
    header.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    let to = addresses(victim);
    if is_v6 {
        udp::fill_checksum(from.1, to.1, &mut bytes);
    } else {
        udp::fill_checksum(from.0, to.0, &mut bytes);
    }
    packet(victim, is_v6, from, IpProtocol::Udp.number(), &bytes)
}
