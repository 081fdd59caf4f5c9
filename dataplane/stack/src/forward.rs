//! Packets for others: RFC 1812, 5.2 and 5.3.
//!
//! A packet is forwarded in the buffer it came in: TTL and header checksum are corrected, the link
//! header is replaced. What the device found out about the transport checksum becomes a request to
//! the device that sends it on; nothing behind the IP header is read, unless that device cannot do
//! what is missing.

use sluice_base::Instant;
use sluice_buf::{L4Checksum, Packet, RxChecksum, TxOffload};
use sluice_wire::icmp::{IcmpMessage, TimeExceeded, Unreachable};
use sluice_wire::{IpProtocol, Ipv4View, TcpView, ipv4, tcp, udp};

use crate::addresses::is_forwardable;
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::fragments::may_fragment;
use crate::host::Host;
use crate::ipv4_input::{Ipv4Info, transport_sum};
use crate::neighbor::TEMPLATE_LEN;
use crate::stack::Stack;

impl Stack {
    pub(crate) fn forward(
        &mut self,
        mut packet: Packet,
        frame: Frame,
        info: Ipv4Info,
        route: Option<NextHop>,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !self.forwarding {
            return Err(DropReason::ForwardingOff);
        }
        if !is_forwardable(info.source) || !is_forwardable(info.destination) {
            return Err(DropReason::Ipv4Destination);
        }
        let l2_len = usize::from(frame.l2_len);
        let Some(header) = packet.head().get(l2_len..) else {
            return Err(DropReason::Ipv4Truncated);
        };
        if header[ipv4::TTL_OFFSET] <= 1 {
            let why = IcmpMessage::TimeExceeded(TimeExceeded::InTransit);
            self.icmp_error(&packet, l2_len, why, now);
            return Err(DropReason::TtlExceeded);
        }
        let (interface, next_hop) = match route {
            Some(NextHop::Connected { interface }) => (interface, Host::from(info.destination)),
            Some(NextHop::Via { interface, gateway }) => (interface, gateway),
            Some(NextHop::Group { group }) => {
                let flow = self.flow_of(header);
                self.hop_of(group, flow)
            }
            Some(NextHop::Local { .. } | NextHop::Broadcast { .. }) | None => {
                let why = IcmpMessage::DestinationUnreachable(Unreachable::Network);
                self.icmp_error(&packet, l2_len, why, now);
                return Err(DropReason::NoRoute);
            }
        };
        let mtu = self.interfaces[usize::from(interface)].mtu;
        if !fits(&packet, &info, l2_len, mtu) {
            let is_one = packet.gso().is_none();
            let header = packet.head_mut().get_mut(l2_len..).unwrap_or_default();
            if is_one && may_fragment(header) {
                ipv4::decrement_ttl(header).ok_or(DropReason::TtlExceeded)?;
                self.counters.forwarded.increment();
                let way = (interface, next_hop);
                return self.send_fragmented(packet, l2_len, &info, way, now);
            }
            let why = Unreachable::FragmentationNeeded { mtu };
            self.icmp_error(&packet, l2_len, IcmpMessage::DestinationUnreachable(why), now);
            return Err(DropReason::FragmentationNeeded);
        }
        let header = packet.head_mut().get_mut(l2_len..).unwrap_or_default();
        ipv4::decrement_ttl(header).ok_or(DropReason::TtlExceeded)?;
        packet.truncate(l2_len + info.total_len());
        let cut = self.prepare_offload(&mut packet, l2_len, &info, interface)?;
        if !packet.trim_front(l2_len) {
            return Err(DropReason::Ipv4Truncated);
        }
        self.counters.forwarded.increment();
        if let Some(segment_size) = cut {
            return self.send_segmented(&packet, segment_size, interface, next_hop, now);
        }
        self.send_ip(packet, interface, next_hop, now)
    }

    /// Turns what is known about the received packet into what is left to be done when sending.
    /// The answer is a segment size where we must cut the packet ourselves.
    fn prepare_offload(
        &self,
        packet: &mut Packet,
        l2_len: usize,
        info: &Ipv4Info,
        interface: u16,
    ) -> Result<Option<u16>, DropReason> {
        let is_partial = packet.rx_checksum() == RxChecksum::Partial;
        let is_merged = packet.gso().is_some();
        if !is_partial && !is_merged {
            packet.set_tx_offload(TxOffload::default());
            return Ok(None);
        }
        let capabilities = self.interfaces[usize::from(interface)].capabilities;
        let at = l2_len + usize::from(info.header_len);
        let bytes = packet.head().get(at..).unwrap_or_default();
        let (kind, l4_len, field) = match info.protocol {
            IpProtocol::Tcp => {
                let view = TcpView::parse(bytes).map_err(|_| DropReason::ForwardHeader)?;
                (L4Checksum::Tcp, view.header_len(), tcp::CHECKSUM_OFFSET)
            }
            IpProtocol::Udp => (L4Checksum::Udp, udp::HEADER_LEN, udp::CHECKSUM_OFFSET),
            IpProtocol::Icmp | IpProtocol::Icmpv6 | IpProtocol::Other(_) => {
                return Err(DropReason::ForwardHeader);
            }
        };
        if let Some(gso) = packet.gso() {
            if kind != L4Checksum::Tcp {
                return Err(DropReason::SegmentationUnsupported);
            }
            if packet.len() > capabilities.tx_segmentation_max as usize {
                return Ok(Some(gso.segment_size));
            }
        } else if !capabilities.tx_l4_checksum {
            complete_checksum(packet, at, info, field)?;
            return Ok(None);
        }
        let lens = (TEMPLATE_LEN as u8, info.header_len, l4_len as u8);
        packet.rx_to_tx(lens, kind, false);
        Ok(None)
    }
}

/// Whether the packet, or each of the segments it will be cut into, fits the next link.
fn fits(packet: &Packet, info: &Ipv4Info, l2_len: usize, mtu: u16) -> bool {
    let Some(gso) = packet.gso() else { return info.total_len() <= usize::from(mtu) };
    let at = l2_len + usize::from(info.header_len);
    let transport = packet.head().get(at..).and_then(|bytes| TcpView::parse(bytes).ok());
    let headers = usize::from(info.header_len) + transport.map_or(0, |view| view.header_len());
    headers + usize::from(gso.segment_size) <= usize::from(mtu)
}

/// Fills in a transport checksum of which only the pseudo header was summed.
#[cold]
pub(crate) fn complete_checksum(
    packet: &mut Packet,
    at: usize,
    info: &Ipv4Info,
    field: usize,
) -> Result<(), DropReason> {
    let range = at + field..at + field + 2;
    packet.head_mut().get_mut(range.clone()).ok_or(DropReason::ForwardHeader)?.fill(0);
    let checksum = transport_sum(packet, at, info).finish_udp();
    packet.head_mut()[range].copy_from_slice(&checksum.to_be_bytes());
    packet.set_tx_offload(TxOffload::default());
    Ok(())
}

/// The header of the packet that starts at `at`, if there is a whole one.
pub(crate) fn view_at(packet: &Packet, at: usize) -> Option<Ipv4View<'_>> {
    Ipv4View::parse_quoted(packet.head().get(at..)?).ok()
}
