//! IPv4 packets: is it one, is it ours, whose is it (RFC 1122, 3.2.1; RFC 1812, 5.2).

use std::net::Ipv4Addr;

use sluice_base::Instant;
use sluice_buf::{Packet, RxChecksum};
use sluice_wire::icmp::{IcmpMessage, Unreachable};
use sluice_wire::{Checksum, IcmpView, IpProtocol, Ipv4View, PlainHeader, TcpView, UdpView, ipv4};

use crate::addresses::{is_group, is_host};
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::owner::Subject;
use crate::stack::Stack;
use crate::tcp_input::Segment;
use crate::tuple::Tuple;

/// IPv4 options: RFC 791, 3.1.
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LOOSE_ROUTE: u8 = 131;
const OPTION_STRICT_ROUTE: u8 = 137;

/// RFC 3376, 4.
const IGMP: u8 = 2;

/// A header that was found to be good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv4Info {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: IpProtocol,
    /// Bytes of the header.
    pub(crate) header_len: u16,
    /// Bytes behind the header, in all segments.
    pub(crate) payload_len: u16,
    pub(crate) is_fragment: bool,
    /// A router says that it is congested (RFC 3168, 5).
    pub(crate) is_marked: bool,
}

impl Ipv4Info {
    pub(crate) fn total_len(&self) -> usize {
        usize::from(self.header_len) + usize::from(self.payload_len)
    }
}

impl Stack {
    pub(crate) fn ipv4_input(
        &mut self,
        packet: Packet,
        frame: Frame,
        now: Instant,
    ) -> Result<(), DropReason> {
        let info = check_header(&packet, usize::from(frame.l2_len))?;
        match self.fib.find(info.destination) {
            Some(NextHop::Local { .. }) => self.local_input(packet, frame, info, now),
            Some(NextHop::Broadcast { interface }) if interface != frame.interface => {
                Err(DropReason::DirectedBroadcast)
            }
            Some(NextHop::Broadcast { .. }) => {
                self.unowned(frame.interface, packet, DropReason::Ipv4Broadcast)
            }
            _ if is_group(info.destination) => match info.protocol {
                IpProtocol::Other(IGMP) => {
                    self.unowned(frame.interface, packet, DropReason::IgmpIgnored)
                }
                _ => self.unowned(frame.interface, packet, DropReason::Ipv4Broadcast),
            },
            // A gateway answers for what it does not have; a group frame is a host's mistake.
            _ if frame.is_group => Err(DropReason::Ipv4LinkBroadcast),
            route => self.forward(packet, frame, info, route, now),
        }
    }

    pub(crate) fn local_input(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: Ipv4Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        if frame.is_group {
            return Err(DropReason::Ipv4LinkBroadcast);
        }
        let mut packet = packet;
        if self.workers > 1 {
            let subject = subject_of(&packet, usize::from(frame.l2_len), &info);
            match self.steer(&subject, packet, &frame) {
                Some(ours) => packet = ours,
                None => return Ok(()),
            }
        }
        if info.is_fragment {
            return self.fragment_input(packet, frame, info, now);
        }
        // Short frames are padded.
        packet.truncate(usize::from(frame.l2_len) + info.total_len());
        match info.protocol {
            IpProtocol::Tcp => self.tcp_enqueue(packet, frame, info),
            IpProtocol::Icmp => self.icmp_input(packet, frame, info, now),
            IpProtocol::Udp => self.udp_input(packet, frame, info),
            IpProtocol::Icmpv6 | IpProtocol::Other(_) if self.has_twin(frame.interface) => {
                self.unowned(frame.interface, packet, DropReason::Ipv4Protocol)
            }
            IpProtocol::Icmpv6 | IpProtocol::Other(_) => {
                let message = IcmpMessage::DestinationUnreachable(Unreachable::Protocol);
                self.icmp_error(&packet, usize::from(frame.l2_len), message, now);
                Err(DropReason::Ipv4Protocol)
            }
        }
    }

    /// Checks a segment and puts it on the list of those whose connections are looked up together.
    fn tcp_enqueue(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: Ipv4Info,
    ) -> Result<(), DropReason> {
        let at = usize::from(frame.l2_len) + usize::from(info.header_len);
        let view = TcpView::parse(packet.head().get(at..).unwrap_or_default())?;
        // The header may not reach into the padding, nor into a payload that IP does not have.
        let payload_len = usize::from(info.payload_len)
            .checked_sub(view.header_len())
            .ok_or(DropReason::TcpMalformed)?;
        let payload_at = at + view.header_len();
        let header = view.header()?;
        let is_plain = !info.is_marked && PlainHeader::len_in(&packet.head()[at..]).is_some();
        let is_good = match packet.rx_checksum() {
            RxChecksum::Good | RxChecksum::Partial => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => transport_sum(&packet, at, &info).is_valid(),
        };
        if !is_good {
            return Err(DropReason::TcpChecksum);
        }
        let tuple = Tuple {
            local: info.destination.into(),
            remote: info.source.into(),
            local_port: header.dst_port,
            remote_port: header.src_port,
        };
        let hash = tuple.hash(&self.flow_key);
        self.flows.prefetch(hash);
        self.counters.tcp_segments_in.increment();
        self.segments.push(Segment {
            packet: Some(packet),
            hash,
            tuple,
            is_plain,
            is_marked: info.is_marked,
            interface: frame.interface,
            // Headers lie in the first piece of a packet, the rest is at most what IP can say.
            header_at: at as u16,
            payload_at: payload_at as u16,
            payload_len: payload_len as u16,
            candidate: None,
        });
        Ok(())
    }
}

/// Everything about the header that does not depend on us.
fn check_header(packet: &Packet, at: usize) -> Result<Ipv4Info, DropReason> {
    let info = parse_header(packet, at)?;
    if !is_host(info.source) {
        return Err(DropReason::Ipv4Source);
    }
    if !is_host(info.destination) && !is_group(info.destination) {
        return Err(DropReason::Ipv4Destination);
    }
    Ok(info)
}

fn parse_header(packet: &Packet, at: usize) -> Result<Ipv4Info, DropReason> {
    let head = packet.head().get(at..).unwrap_or_default();
    let view = Ipv4View::parse_with_len(head, packet.len() - at)?;
    let is_good = packet.rx_ipv4_checksum().unwrap_or_else(|| view.checksum_ok());
    if !is_good {
        return Err(DropReason::Ipv4Checksum);
    }
    if has_source_route(view.options()) && is_host(view.src()) {
        return Err(DropReason::Ipv4SourceRoute);
    }
    Ok(Ipv4Info {
        source: view.src(),
        destination: view.dst(),
        protocol: view.protocol(),
        header_len: view.header_len() as u16,
        payload_len: view.payload_len(),
        is_fragment: view.is_fragment(),
        is_marked: view.dscp_ecn() & ipv4::CE == ipv4::CE,
    })
}

fn has_source_route(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        options = match *kind {
            OPTION_END => return false,
            OPTION_NOP => rest,
            OPTION_LOOSE_ROUTE | OPTION_STRICT_ROUTE => return true,
            _ => match rest.first() {
                Some(len @ 2..) => options.get(usize::from(*len)..).unwrap_or_default(),
                Some(_) | None => return false,
            },
        };
    }
    false
}

/// What decides who owns a packet to us.
fn subject_of(packet: &Packet, l2_len: usize, info: &Ipv4Info) -> Subject {
    let addresses = Subject::Addresses { source: info.source, destination: info.destination };
    if info.is_fragment {
        return addresses;
    }
    let at = l2_len + usize::from(info.header_len);
    let payload = packet.head().get(at..).unwrap_or_default();
    let (local, remote) = (info.destination, info.source);
    let flow = |local_port, remote_port| Subject::Flow { local, local_port, remote, remote_port };
    match info.protocol {
        IpProtocol::Tcp => match TcpView::parse(payload) {
            Ok(view) => flow(view.dst_port(), view.src_port()),
            Err(_) => addresses,
        },
        IpProtocol::Udp => match UdpView::parse_with_len(payload, usize::from(info.payload_len)) {
            Ok(view) => flow(view.dst_port(), view.src_port()),
            Err(_) => addresses,
        },
        IpProtocol::Icmp => quoted_subject(payload).unwrap_or(addresses),
        IpProtocol::Icmpv6 | IpProtocol::Other(_) => addresses,
    }
}

/// An ICMP error belongs to whom the packet belongs that it quotes.
fn quoted_subject(payload: &[u8]) -> Option<Subject> {
    let view = IcmpView::parse(payload).ok().filter(|view| view.message().is_error())?;
    let quote = view.quote().ok()?;
    let (local_port, remote_port) = quote.ports()?;
    let (local, remote) = (quote.header.src, quote.header.dst);
    Some(Subject::Flow { local, local_port, remote, remote_port })
}

/// The sum of pseudo header, transport header and data, wherever they lie.
pub(crate) fn transport_sum(packet: &Packet, at: usize, info: &Ipv4Info) -> Checksum {
    let (protocol, len) = (info.protocol.number(), u32::from(info.payload_len));
    let mut sum = Checksum::pseudo_header_v4(info.source, info.destination, protocol, len);
    add_packet(&mut sum, packet, at);
    sum
}

/// Adds the bytes from `at` on, in all segments.
pub(crate) fn add_packet(sum: &mut Checksum, packet: &Packet, at: usize) {
    let mut skip = at;
    for bytes in packet.segments() {
        let from = skip.min(bytes.len());
        skip -= from;
        sum.add_bytes(&bytes[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_routes_are_found_behind_other_options() {
        assert!(!has_source_route(&[]));
        assert!(!has_source_route(&[1, 1, 7, 4, 0, 0, 0]));
        assert!(has_source_route(&[1, 7, 3, 4, 131, 7, 4]));
        assert!(has_source_route(&[137]));
        assert!(!has_source_route(&[0, 131]), "behind the end is nothing");
        assert!(!has_source_route(&[7, 0, 131]), "a length that lies ends the list");
        assert!(!has_source_route(&[7, 40]), "so does one that overruns");
    }
}
