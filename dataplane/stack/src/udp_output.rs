//! Datagrams out: headers in front of a payload that stays where it is.
//!
//! ```text
//!   headroom | ethernet 14 | IPv4 20 or IPv6 40 | UDP 8 | payload, as it arrived
//! ```
//!
//! What is larger than the link, or than a router said that the path is, leaves in fragments. Over
//! IPv4 routers may cut it as well: DF is clear, as nobody would send it again in smaller pieces.

use sluice_base::{Instant, SlabKey, UdpId};
use sluice_buf::{L4Checksum, Packet, TxOffload};
use sluice_wire::{Checksum, IpProtocol, Ipv4Header, Ipv6Header, UdpHeader, ipv4, ipv6, udp};

use crate::drop_reason::DropReason;
use crate::ipv4_input::{Ipv4Info, add_packet};
use crate::neighbor::TEMPLATE_LEN;
use crate::stack::Stack;
use crate::udp::UdpFlow;

/// The most that IP can carry behind its header, bytes.
const TRANSPORT_LEN_MAX_V4: usize = u16::MAX as usize - ipv4::HEADER_LEN;
const TRANSPORT_LEN_MAX_V6: usize = u16::MAX as usize;

const _: () = assert!(
    TEMPLATE_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN <= sluice_buf::HEADROOM,
    "all headers fit into the headroom"
);

impl Stack {
    /// Sends `payload` to the peer of a flow. It leaves with the next [`Stack::transmit`], or when
    /// the next hop's address is known.
    ///
    /// # Errors
    /// Why it was dropped, which is counted.
    #[inline]
    pub fn send_datagram(
        &mut self,
        id: UdpId,
        payload: Packet,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.now = now;
        let sent = self.emit_datagram(id.into(), payload, now);
        match sent {
            Ok(()) => self.counters.udp_datagrams_out.increment(),
            Err(reason) => self.counters.drops.count(reason),
        }
        sent
    }

    fn emit_datagram(
        &mut self,
        key: SlabKey,
        mut packet: Packet,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(flow) = self.udp.flows.get(key) else { return Err(DropReason::UdpNoSocket) };
        let flow = *flow;
        let link = &self.interfaces[usize::from(flow.interface)];
        let of_link = if flow.tuple.remote.is_v6() { link.mtu_v6 } else { link.mtu };
        let mtu = if flow.mtu == 0 { of_link } else { of_link.min(flow.mtu) };
        let transport_len = packet.len() + udp::HEADER_LEN;
        let l3_len = if flow.tuple.remote.is_v6() { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let is_whole = l3_len + transport_len <= usize::from(mtu);
        let is_offloaded = is_whole && link.capabilities.tx_l4_checksum;
        let sum = self.put_headers(&mut packet, &flow, transport_len)?;
        let checksum = if is_offloaded {
            packet.set_tx_offload(TxOffload {
                l2_len: TEMPLATE_LEN as u8,
                l3_len: l3_len as u16,
                l4_len: udp::HEADER_LEN as u8,
                is_v6: flow.tuple.remote.is_v6(),
                l4_checksum: L4Checksum::Udp,
                ..TxOffload::default()
            });
            sum.sum()
        } else {
            packet.set_tx_offload(TxOffload::default());
            let mut sum = sum;
            add_packet(&mut sum, &packet, l3_len);
            sum.finish_udp()
        };
        let field = l3_len + udp::CHECKSUM_OFFSET..l3_len + udp::HEADER_LEN;
        packet.head_mut()[field].copy_from_slice(&checksum.to_be_bytes());
        if !is_whole {
            return self.send_cut(packet, &flow, mtu, now);
        }
        let known = flow.neighbor.and_then(|neighbor| self.neighbors.template(neighbor, now));
        let Some(template) = known else { return self.send_uncommon(packet, key, now) };
        let room = packet.prepend(TEMPLATE_LEN).ok_or(DropReason::TxHeadroom)?;
        room.copy_from_slice(template);
        self.push_control(flow.interface, packet)
    }

    /// Network and transport header; the answer is the sum of the pseudo header.
    #[inline]
    fn put_headers(
        &mut self,
        packet: &mut Packet,
        flow: &UdpFlow,
        transport_len: usize,
    ) -> Result<Checksum, DropReason> {
        let tuple = &flow.tuple;
        let (number, len) = (IpProtocol::Udp.number(), transport_len as u32);
        let header = UdpHeader {
            src_port: tuple.local_port,
            dst_port: tuple.remote_port,
            payload_len: (transport_len - udp::HEADER_LEN) as u16,
        };
        if let (Some(local), Some(remote)) = (tuple.local.v4(), tuple.remote.v4()) {
            if transport_len > TRANSPORT_LEN_MAX_V4 {
                return Err(DropReason::UdpTooLarge);
            }
            self.udp.identification = self.udp.identification.wrapping_add(1);
            let room = packet.prepend(ipv4::HEADER_LEN + udp::HEADER_LEN);
            let (l3, l4) = room.ok_or(DropReason::TxHeadroom)?.split_at_mut(ipv4::HEADER_LEN);
            header.emit(l4);
            let header = Ipv4Header {
                identification: self.udp.identification,
                dont_fragment: false,
                ..Ipv4Header::new(local, remote, IpProtocol::Udp, transport_len as u16)
            };
            header.emit(l3);
            return Ok(Checksum::pseudo_header_v4(local, remote, number, len));
        }
        let (Some((local, _)), Some((remote, _))) =
            (self.hosts.v6(tuple.local), self.hosts.v6(tuple.remote))
        else {
            return Err(DropReason::NoRoute);
        };
        if transport_len > TRANSPORT_LEN_MAX_V6 {
            return Err(DropReason::UdpTooLarge);
        }
        let room = packet.prepend(ipv6::HEADER_LEN + udp::HEADER_LEN);
        let (l3, l4) = room.ok_or(DropReason::TxHeadroom)?.split_at_mut(ipv6::HEADER_LEN);
        header.emit(l4);
        Ipv6Header::new(local, remote, IpProtocol::Udp, transport_len as u16).emit(l3);
        Ok(Checksum::pseudo_header_v6(local, remote, number, len))
    }

    /// Sends a datagram whose next hop must be asked, or found.
    #[cold]
    fn send_uncommon(
        &mut self,
        packet: Packet,
        key: SlabKey,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(flow) = self.udp.flows.get(key).copied() else {
            return Err(DropReason::UdpNoSocket);
        };
        let sent = self.send_ip(packet, flow.interface, flow.next_hop, now);
        // Another way may have been found meanwhile.
        if let Some(flow) = self.udp.flows.get_mut(key) {
            flow.neighbor = self.neighbors.find(flow.interface, flow.next_hop);
        }
        sent
    }

    /// Sends a datagram in fragments.
    #[cold]
    fn send_cut(
        &mut self,
        packet: Packet,
        flow: &UdpFlow,
        mtu: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let way = (flow.interface, flow.next_hop);
        let (Some(source), Some(destination)) = (flow.tuple.local.v4(), flow.tuple.remote.v4())
        else {
            return self.send_fragmented_v6(&packet, mtu, way, now);
        };
        let info = Ipv4Info {
            source,
            destination,
            protocol: IpProtocol::Udp,
            header_len: ipv4::HEADER_LEN as u16,
            payload_len: (packet.len() - ipv4::HEADER_LEN) as u16,
            is_fragment: false,
            is_marked: false,
        };
        self.send_fragmented(packet, 0, &info, way, now)
    }
}
