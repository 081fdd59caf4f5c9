//! IPv6 packets for others (RFC 8200, 3; RFC 4443, 3).
//!
//! As for IPv4, a packet goes on in the buffer it came in, and nothing behind the IPv6 header is
//! read unless the next device cannot do what is missing. Extension headers are the hosts' business:
//! RFC 8200, 4.3 leaves hop-by-hop options to routers that are told to look.

use std::net::Ipv6Addr;

use sluice_base::Instant;
use sluice_buf::{L4Checksum, Packet, RxChecksum, TxOffload};
use sluice_wire::icmpv6::{Icmpv6Message, TimeExceededV6, UnreachableV6};
use sluice_wire::ipv6::{self, extension};
use sluice_wire::{IpProtocol, TcpView, tcp, udp};

use crate::addresses::is_link_local_v6;
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::host::{Host, zone_of};
use crate::ipv6_input::{Ipv6Info, transport_sum_v6};
use crate::neighbor::TEMPLATE_LEN;
use crate::stack::Stack;

impl Stack {
    pub(crate) fn forward_v6(
        &mut self,
        mut packet: Packet,
        frame: Frame,
        mut info: Ipv6Info,
        route: Option<NextHop>,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !self.forwarding {
            return Err(DropReason::ForwardingOff);
        }
        let l2_len = usize::from(frame.l2_len);
        // RFC 4291, 2.5.6: neither may leave its link; RFC 4443, 3.1 has us say so about the source.
        if is_link_local_v6(info.destination) {
            return Err(DropReason::Ipv6Scope);
        }
        if is_link_local_v6(info.source) {
            let why = Icmpv6Message::DestinationUnreachable(UnreachableV6::BeyondScope);
            self.icmpv6_error_on(frame.interface, &packet, l2_len, why, now);
            return Err(DropReason::Ipv6Scope);
        }
        if info.hop_limit <= 1 {
            let why = Icmpv6Message::TimeExceeded(TimeExceededV6::InTransit);
            self.icmpv6_error(&packet, l2_len, why, now);
            return Err(DropReason::TtlExceeded);
        }
        let (interface, gateway) = match route {
            Some(NextHop::Connected { interface }) => (interface, None),
            Some(NextHop::Via { interface, gateway }) => (interface, Some(gateway)),
            Some(NextHop::Group { group }) => {
                let flow = self.flow_of_v6(packet.head().get(l2_len..).unwrap_or_default());
                let (interface, gateway) = self.hop_of(group, flow);
                (interface, Some(gateway))
            }
            Some(NextHop::Local { .. } | NextHop::Broadcast { .. }) | None => {
                let why = Icmpv6Message::DestinationUnreachable(UnreachableV6::NoRoute);
                self.icmpv6_error(&packet, l2_len, why, now);
                return Err(DropReason::NoRoute);
            }
        };
        walk(&packet, l2_len, &mut info);
        let mtu = self.interfaces[usize::from(interface)].mtu_v6;
        if !fits(&packet, &info, l2_len, mtu) {
            let why = Icmpv6Message::PacketTooBig { mtu: mtu.into() };
            self.icmpv6_error(&packet, l2_len, why, now);
            return Err(DropReason::FragmentationNeeded);
        }
        let header = packet.head_mut().get_mut(l2_len..).unwrap_or_default();
        ipv6::decrement_hop_limit(header).ok_or(DropReason::TtlExceeded)?;
        packet.truncate(l2_len + info.total_len());
        let cut = self.prepare_offload_v6(&mut packet, l2_len, &info, interface)?;
        if !packet.trim_front(l2_len) {
            return Err(DropReason::Ipv6Truncated);
        }
        self.counters.forwarded.increment();
        match gateway {
            Some(gateway) => self.send_on(packet, cut, interface, gateway, now),
            None => self.with_host(interface, info.destination, |stack, host| {
                stack.send_on(packet, cut, interface, host, now)
            }),
        }
    }

    fn send_on(
        &mut self,
        packet: Packet,
        cut: Option<u16>,
        interface: u16,
        next_hop: Host,
        now: Instant,
    ) -> Result<(), DropReason> {
        match cut {
            Some(segment_size) => {
                self.send_segmented(&packet, segment_size, interface, next_hop, now)
            }
            None => self.send_ip(packet, interface, next_hop, now),
        }
    }

    /// Does something with the host that an address names, which is its user meanwhile.
    pub(crate) fn with_host<T>(
        &mut self,
        interface: u16,
        address: Ipv6Addr,
        work: impl FnOnce(&mut Self, Host) -> Result<T, DropReason>,
    ) -> Result<T, DropReason> {
        let host = self.hosts.acquire(address, zone_of(address, interface));
        let host = host.ok_or(DropReason::HostTable)?;
        let done = work(self, host);
        self.hosts.release(host);
        done
    }

    /// Turns what is known about the received packet into what is left to be done when sending.
    /// The answer is a segment size where we must cut the packet ourselves.
    fn prepare_offload_v6(
        &self,
        packet: &mut Packet,
        l2_len: usize,
        info: &Ipv6Info,
        interface: u16,
    ) -> Result<Option<u16>, DropReason> {
        let is_partial = packet.rx_checksum() == RxChecksum::Partial;
        if !is_partial && packet.gso().is_none() {
            packet.set_tx_offload(TxOffload::default());
            return Ok(None);
        }
        let capabilities = self.interfaces[usize::from(interface)].capabilities;
        let at = l2_len + info.headers_len();
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
            let range = at + field..at + field + 2;
            let place = packet.head_mut().get_mut(range.clone());
            place.ok_or(DropReason::ForwardHeader)?.fill(0);
            let checksum = transport_sum_v6(packet, at, info).finish_udp();
            packet.head_mut()[range].copy_from_slice(&checksum.to_be_bytes());
            packet.set_tx_offload(TxOffload::default());
            return Ok(None);
        }
        let lens = (TEMPLATE_LEN as u8, info.headers_len() as u16, l4_len as u8);
        packet.rx_to_tx(lens, kind, true);
        Ok(None)
    }
}

/// Finds the transport of a packet that a device left something to be done about.
fn walk(packet: &Packet, l2_len: usize, info: &mut Ipv6Info) {
    let is_finished = packet.rx_checksum() != RxChecksum::Partial && packet.gso().is_none();
    let next = info.protocol.number();
    if is_finished || !extension::is_extension(next) {
        return;
    }
    let payload = packet.head().get(l2_len + ipv6::HEADER_LEN..).unwrap_or_default();
    if let Ok(upper) = extension::walk(next, payload)
        && upper.offset <= info.payload_len
    {
        (info.extensions_len, info.protocol) = (upper.offset, upper.protocol);
    }
}

/// Whether the packet, or each of the segments it will be cut into, fits the next link.
fn fits(packet: &Packet, info: &Ipv6Info, l2_len: usize, mtu: u16) -> bool {
    let Some(gso) = packet.gso() else { return info.total_len() <= usize::from(mtu) };
    let at = l2_len + info.headers_len();
    let transport = packet.head().get(at..).and_then(|bytes| TcpView::parse(bytes).ok());
    let headers = info.headers_len() + transport.map_or(0, |view| view.header_len());
    headers + usize::from(gso.segment_size) <= usize::from(mtu)
}
