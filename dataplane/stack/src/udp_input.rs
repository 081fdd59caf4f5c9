//! Datagrams in: is it one, and whose is it?
//!
//! ```text
//!  udp_input -> the vector -> handle_datagrams: flow? bound address? -> pending -> next_datagram
//!   checks, bucket asked for      no: ICMP, port unreachable
//! ```

use sluice_base::{Instant, SlabKey};
use sluice_buf::{Packet, RxChecksum};
use sluice_wire::icmp::{IcmpMessage, Unreachable};
use sluice_wire::icmpv6::{Icmpv6Message, UnreachableV6};
use sluice_wire::{Checksum, IpProtocol, Ipv4View, Ipv6View, UdpView, udp};

use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::host::{Host, zone_of};
use crate::ipv4_input::{Ipv4Info, add_packet};
use crate::ipv6_input::Ipv6Info;
use crate::stack::Stack;
use crate::tuple::Tuple;
use crate::udp::{Arrived, Pending, UdpEvent};

/// What a UDP header says, and where it stands.
struct Header {
    at: usize,
    /// Bytes of header and payload.
    len: u16,
    src_port: u16,
    dst_port: u16,
    checksum: u16,
}

impl Stack {
    /// Takes in a datagram over IPv4.
    pub(crate) fn udp_input(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: Ipv4Info,
    ) -> Result<(), DropReason> {
        let at = usize::from(frame.l2_len) + usize::from(info.header_len);
        let (packet, header) = parse(packet, at, usize::from(info.payload_len))?;
        // Over IPv4 a sender may leave the checksum out (RFC 768).
        if header.checksum != 0 {
            let len = u32::from(header.len);
            let number = IpProtocol::Udp.number();
            let seed = || Checksum::pseudo_header_v4(info.source, info.destination, number, len);
            check(&packet, at, seed)?;
        }
        self.udp_enqueue(packet, frame, &header, info.destination.into(), info.source.into());
        Ok(())
    }

    /// Takes in a datagram over IPv6.
    pub(crate) fn udp_input_v6(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: Ipv6Info,
    ) -> Result<(), DropReason> {
        let at = usize::from(frame.l2_len) + info.headers_len();
        let (packet, header) = parse(packet, at, info.transport_len())?;
        // RFC 8200, 8.1: nothing else protects the addresses.
        if header.checksum == 0 && packet.rx_checksum() != RxChecksum::Partial {
            return Err(DropReason::UdpNoChecksum);
        }
        let len = u32::from(header.len);
        let number = IpProtocol::Udp.number();
        let seed = || Checksum::pseudo_header_v6(info.source, info.destination, number, len);
        check(&packet, at, seed)?;
        let interface = frame.interface;
        // An address of ours has its number for as long as it is ours.
        let local = self.hosts.find(info.destination, zone_of(info.destination, interface));
        let local = local.ok_or(DropReason::Ipv6Duplicate)?;
        // The datagram is a user until it was worked on.
        let remote = self.hosts.acquire(info.source, zone_of(info.source, interface));
        let remote = remote.ok_or(DropReason::HostTable)?;
        self.udp_enqueue(packet, frame, &header, local, remote);
        Ok(())
    }

    /// Puts a datagram on the list of those whose flows are looked up together.
    fn udp_enqueue(
        &mut self,
        packet: Packet,
        frame: Frame,
        header: &Header,
        local: Host,
        remote: Host,
    ) {
        let (local_port, remote_port) = (header.dst_port, header.src_port);
        let tuple = Tuple { local, remote, local_port, remote_port };
        let hash = tuple.hash(&self.flow_key);
        self.udp.index.prefetch(hash);
        self.counters.udp_datagrams_in.increment();
        self.udp.vector.push(Arrived {
            packet,
            hash,
            tuple,
            flow: None,
            interface: frame.interface,
            l2_len: frame.l2_len,
            // Headers lie in the first piece of a packet.
            payload_at: (header.at + udp::HEADER_LEN) as u16,
            payload_len: header.len - udp::HEADER_LEN as u16,
        });
    }

    /// Finds out whose the datagrams of a vector are.
    #[inline]
    pub(crate) fn handle_datagrams(&mut self, now: Instant) {
        if !self.udp.vector.is_empty() {
            self.look_up_datagrams(now);
        }
    }

    #[inline(never)]
    fn look_up_datagrams(&mut self, now: Instant) {
        let mut vector = std::mem::take(&mut self.udp.vector);
        for mut arrived in vector.drain(..) {
            arrived.flow = self.udp.find(arrived.hash, &arrived.tuple);
            let remote = arrived.tuple.remote;
            if arrived.flow.is_none() && self.is_for_twin(&arrived) {
                self.hosts.release(remote);
                let Arrived { packet, interface, .. } = arrived;
                let given = self.unowned(interface, packet, DropReason::UdpNoSocket);
                self.note(given);
                continue;
            }
            let accepted = match arrived.flow {
                Some(_) => Ok(()),
                None => self.may_begin(&arrived, now),
            };
            let queued = accepted.and_then(|()| {
                let pushed = self.udp.pending.push(Pending::Datagram(arrived));
                pushed.map_err(|_| DropReason::UdpQueueFull)
            });
            if let Err(reason) = queued {
                self.hosts.release(remote);
                self.counters.drops.count(reason);
            }
        }
        self.udp.vector = vector;
    }

    /// Whether the kernel's twin gets a datagram that belongs to no flow.
    #[cold]
    fn is_for_twin(&self, arrived: &Arrived) -> bool {
        let Tuple { local, local_port, .. } = arrived.tuple;
        self.has_twin(arrived.interface) && self.udp.bound.find(local, local_port).is_none()
    }

    /// Whether a datagram that belongs to no flow is for anybody at all; if not, its sender hears.
    #[cold]
    fn may_begin(&mut self, arrived: &Arrived, now: Instant) -> Result<(), DropReason> {
        let Tuple { local, remote, local_port, remote_port } = arrived.tuple;
        if matches!(self.destination(remote), Some(NextHop::Local { .. })) {
            let is_v6 = remote.is_v6();
            return Err(if is_v6 { DropReason::Ipv6SourceOwn } else { DropReason::Ipv4SourceOwn });
        }
        if remote_port == 0 {
            return Err(DropReason::UdpSourcePort);
        }
        if self.udp.bound.find(local, local_port).is_some() {
            return Ok(());
        }
        let at = usize::from(arrived.l2_len);
        if local.is_v6() {
            let interface = self.hosts.v6(remote).and_then(|(_, zone)| zone).unwrap_or(0);
            let why = Icmpv6Message::DestinationUnreachable(UnreachableV6::Port);
            self.icmpv6_error_on(interface, &arrived.packet, at, why, now);
        } else {
            let why = IcmpMessage::DestinationUnreachable(Unreachable::Port);
            self.icmp_error(&arrived.packet, at, why, now);
        }
        Err(DropReason::UdpNoSocket)
    }

    /// The next thing that happened with UDP, oldest first.
    #[inline]
    pub fn next_datagram(&mut self) -> Option<UdpEvent> {
        loop {
            let event = match self.udp.pending.pop()? {
                Pending::Datagram(arrived) => self.give_out(arrived),
                Pending::Unreachable(key) => self
                    .udp
                    .flows
                    .get(key)
                    .map(|flow| UdpEvent::Unreachable { flow: key.into(), token: flow.token }),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn give_out(&mut self, arrived: Arrived) -> Option<UdpEvent> {
        let Arrived { packet, hash, tuple, flow, payload_at, payload_len, .. } = arrived;
        let known = flow.filter(|key| self.udp.flows.get(*key).is_some());
        // Those before it may have begun its flow, or ended it.
        let known = known.or_else(|| self.udp.find(hash, &tuple));
        let event = match known.and_then(|key| Some((key, self.udp.flows.get(key)?.token))) {
            Some((key, token)) => payload_of(packet, payload_at, payload_len)
                .map(|payload| UdpEvent::Datagram { flow: key.into(), token, payload }),
            None => self.arrived(packet, &tuple, payload_at, payload_len),
        };
        self.hosts.release(tuple.remote);
        self.note(event.as_ref().map(|_| ()).map_err(|reason| *reason));
        event.ok()
    }

    #[cold]
    fn arrived(
        &self,
        packet: Packet,
        tuple: &Tuple,
        payload_at: u16,
        payload_len: u16,
    ) -> Result<UdpEvent, DropReason> {
        // The address may have been given up meanwhile.
        let bound = self.udp.bound.find(tuple.local, tuple.local_port);
        let bound = bound.and_then(|key| self.udp.bound.get(key));
        let listener = bound.ok_or(DropReason::UdpNoSocket)?.id;
        let payload = payload_of(packet, payload_at, payload_len)?;
        let (local, peer) = self.udp_addresses(tuple);
        Ok(UdpEvent::Arrived { listener, local, peer, payload })
    }

    /// The flow with this tuple.
    pub(crate) fn find_flow(&self, tuple: &Tuple) -> Option<SlabKey> {
        self.udp.find(tuple.hash(&self.flow_key), tuple)
    }

    /// The flow that a packet of ours is of, which starts with its network header.
    pub(crate) fn own_flow(&self, packet: &Packet) -> Option<SlabKey> {
        let head = packet.head();
        let (protocol, local, remote, l4) = match head.first()? >> 4 {
            4 => {
                let view = Ipv4View::parse_quoted(head).ok()?;
                (view.protocol(), view.src().into(), view.dst().into(), view.payload())
            }
            _ => {
                let view = Ipv6View::parse_quoted(head).ok()?;
                let protocol = IpProtocol::from_number(view.next_header());
                let (local, remote) = (view.src(), view.dst());
                // Who speaks to a link-local address of two links is not told apart here.
                let zone = |address| {
                    (0..self.interfaces.len() as u16)
                        .find_map(|interface| self.hosts.find(address, zone_of(address, interface)))
                };
                (protocol, zone(local)?, zone(remote)?, view.payload())
            }
        };
        let ports = l4.get(..4).filter(|_| protocol == IpProtocol::Udp)?;
        let local_port = u16::from_be_bytes([ports[0], ports[1]]);
        let remote_port = u16::from_be_bytes([ports[2], ports[3]]);
        self.find_flow(&Tuple { local, remote, local_port, remote_port })
    }

    /// Somebody says that what the flow sent did not arrive.
    pub(crate) fn flow_unreachable(&mut self, flow: SlabKey) {
        if self.udp.pending.push(Pending::Unreachable(flow)).is_err() {
            self.counters.drops.count(DropReason::UdpQueueFull);
        }
    }

    /// The flow's next hop is silent: another one may serve its route.
    #[cold]
    pub(crate) fn flow_undeliverable(&mut self, flow: SlabKey) {
        let Some(entry) = self.udp.flows.get(flow).copied() else { return };
        let hash = entry.tuple.hash(&self.flow_key);
        let way = self.route_flow(entry.tuple.remote, hash);
        match way.ok().filter(|way| *way != (entry.interface, entry.next_hop)) {
            Some((interface, next_hop)) => {
                self.hosts.retain(next_hop);
                self.hosts.release(entry.next_hop);
                if let Some(entry) = self.udp.flows.get_mut(flow) {
                    *entry = crate::udp::UdpFlow { interface, next_hop, neighbor: None, ..*entry };
                }
            }
            None => self.flow_unreachable(flow),
        }
    }

    /// A router says how much the path of a flow carries.
    pub(crate) fn set_flow_mtu(&mut self, flow: SlabKey, mtu: u16) {
        if let Some(flow) = self.udp.flows.get_mut(flow) {
            flow.mtu = if flow.mtu == 0 { mtu } else { flow.mtu.min(mtu) };
        }
    }
}

/// The header, and the packet without what lies behind the datagram.
#[inline]
fn parse(mut packet: Packet, at: usize, available: usize) -> Result<(Packet, Header), DropReason> {
    let bytes = packet.head().get(at..).unwrap_or_default();
    let view = UdpView::parse_with_len(bytes, available)?;
    let (src_port, dst_port) = (view.src_port(), view.dst_port());
    let checksum = view.checksum();
    let len = view.header().payload_len + udp::HEADER_LEN as u16;
    if usize::from(len) != available {
        packet.truncate(at + usize::from(len));
    }
    Ok((packet, Header { at, len, src_port, dst_port, checksum }))
}

#[inline]
fn check(packet: &Packet, at: usize, seed: impl FnOnce() -> Checksum) -> Result<(), DropReason> {
    let is_good = match packet.rx_checksum() {
        RxChecksum::Good | RxChecksum::Partial => true,
        RxChecksum::Bad => false,
        RxChecksum::Unknown => {
            let mut sum = seed();
            add_packet(&mut sum, packet, at);
            sum.is_valid()
        }
    };
    if is_good { Ok(()) } else { Err(DropReason::UdpChecksum) }
}

/// The packet with its payload alone.
#[inline]
fn payload_of(mut packet: Packet, at: u16, len: u16) -> Result<Packet, DropReason> {
    packet.truncate(usize::from(at) + usize::from(len));
    if packet.trim_front(usize::from(at)) { Ok(packet) } else { Err(DropReason::UdpTruncated) }
}
