//! Neighbour discovery (RFC 4861): answering for our addresses, asking for others'.
//!
//! Only worker 0 speaks it, as with ARP; both share the neighbour table and its states. What a
//! stranger may say is checked here: hop limit 255 shows that no router passed the message on
//! (RFC 4861, 3.1), a source and a link-layer address are one station's, an answer changes only what
//! was asked for.

use std::net::Ipv6Addr;

use sluice_base::Instant;
use sluice_buf::Packet;
use sluice_wire::{
    EtherType, EthernetHeader, IpProtocol, Ipv6Header, MacAddress, NdpMessage, NdpOptions,
    VlanTags, icmpv6, ipv6, ndp,
};

use crate::addresses::is_link_local_v6;
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::host::zone_of;
use crate::interface::AddressState;
use crate::ipv6_input::Ipv6Info;
use crate::neighbor::{Ask, Learned, NeighborState};
use crate::stack::Stack;

impl Stack {
    /// RFC 4861, 6.1, 7.1 and 8.1: what every message must satisfy, and then what it says.
    pub(crate) fn nd_input(
        &mut self,
        packet: &Packet,
        frame: &Frame,
        info: &Ipv6Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.counters.nd_in.increment();
        if info.hop_limit != ndp::HOP_LIMIT {
            return Err(DropReason::NdHopLimit);
        }
        let at = usize::from(frame.l2_len) + info.headers_len();
        let message = NdpMessage::parse(packet.head().get(at..).unwrap_or_default())?;
        let options = *message.options();
        let macs = [options.source_mac, options.target_mac];
        if macs.into_iter().flatten().any(|mac| !mac.is_unicast()) {
            return Err(DropReason::NdSender);
        }
        match message {
            NdpMessage::NeighborSolicitation { target, options } => {
                self.solicited(target, &options, frame, info, now)
            }
            NdpMessage::NeighborAdvertisement { target, solicited, overrides, options, .. } => {
                let claim = Claim { target, mac: options.target_mac, solicited, overrides };
                self.advertised(&claim, frame, info, now)
            }
            NdpMessage::RouterAdvertisement { router, options } => {
                self.router_advertised(&router, &options, frame, info, now)
            }
            // We advertise no prefixes, and take no redirections from strangers.
            NdpMessage::RouterSolicitation { .. } | NdpMessage::Redirect { .. } => {
                Err(DropReason::NdIgnored)
            }
        }
    }

    /// RFC 4861, 7.2.3; RFC 4862, 5.4.3.
    fn solicited(
        &mut self,
        target: Ipv6Addr,
        options: &NdpOptions,
        frame: &Frame,
        info: &Ipv6Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        let is_probe = info.source.is_unspecified();
        let link = &self.interfaces[usize::from(frame.interface)];
        let own_mac = link.mac;
        if is_probe
            && (info.destination != ipv6::solicited_node(target) || options.source_mac.is_some())
        {
            return Err(DropReason::NdSender);
        }
        let Some(own) = link.own_v6(target).filter(|own| own.is_usable()).copied() else {
            self.counters.nd_ignored.increment();
            return Ok(());
        };
        if is_probe {
            return match own.state {
                // Two ask for the same address at the same time: neither may have it.
                AddressState::Fresh | AddressState::Optimistic { .. }
                    if options.nonce != Some(link.nonce) =>
                {
                    self.duplicate(frame.interface, target)
                }
                AddressState::Fresh | AddressState::Optimistic { .. } => Err(DropReason::NdSender),
                AddressState::Preferred | AddressState::Duplicate => {
                    self.advertise(frame.interface, target, None)
                }
            };
        }
        if matches!(self.lookup_v6(frame.interface, info.source), Some(NextHop::Local { .. })) {
            return Err(DropReason::Ipv6SourceOwn);
        }
        // Who is on no network of the link has no business to be a neighbour.
        let link = &self.interfaces[usize::from(frame.interface)];
        let is_on_link = link.is_on_link_v6(info.source)
            || is_link_local_v6(info.source)
            || self.learned.is_on_link(frame.interface, info.source);
        if !is_on_link {
            return Err(DropReason::NdSender);
        }
        let Some(mac) = options.source_mac else {
            // RFC 4861, 7.2.4: it knows where we are, so we ask where it is.
            return self.advertise(frame.interface, target, Some(info.source));
        };
        if mac == own_mac {
            return Err(DropReason::NdSender);
        }
        let interface = frame.interface;
        self.with_host(interface, info.source, |stack, host| {
            let key = stack.neighbor(interface, host, now).ok_or(DropReason::NeighborTable)?;
            stack.learn(key, mac, Learned::Question, now);
            Ok(())
        })?;
        self.advertise(interface, target, Some(info.source))
    }

    /// RFC 4861, 7.2.5; RFC 4862, 5.4.4.
    fn advertised(
        &mut self,
        claim: &Claim,
        frame: &Frame,
        info: &Ipv6Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        // A group cannot have asked.
        if claim.solicited && info.destination.is_multicast() {
            return Err(DropReason::NdSender);
        }
        let link = &self.interfaces[usize::from(frame.interface)];
        if let Some(own) = link.own_v6(claim.target) {
            return match own.state {
                AddressState::Fresh | AddressState::Optimistic { .. } => {
                    self.duplicate(frame.interface, claim.target)
                }
                AddressState::Preferred => self.defend_v6(claim.target, frame, now),
                AddressState::Duplicate => Err(DropReason::NdDuplicate),
            };
        }
        let zone = zone_of(claim.target, frame.interface);
        let key = self
            .hosts
            .find(claim.target, zone)
            .and_then(|host| self.neighbors.find(frame.interface, host));
        // RFC 4861, 7.2.5: nobody makes an entry by telling.
        let Some(key) = key else { return Err(DropReason::NdUnsolicited) };
        let Some(neighbor) = self.neighbors.get(key) else {
            return Err(DropReason::NdUnsolicited);
        };
        let (state, known) = (neighbor.state, neighbor.mac);
        let is_known = !matches!(state, NeighborState::Incomplete | NeighborState::Failed);
        let mac = match claim.mac {
            Some(mac) if mac == link.mac => return Err(DropReason::NdSender),
            Some(mac) if is_known && mac != known && !claim.overrides => {
                self.neighbors.doubt(key);
                return Ok(());
            }
            Some(mac) => mac,
            None if is_known => known,
            None => return Err(DropReason::NdSender),
        };
        let is_answer = claim.solicited && self.is_awaited(key);
        let how = if is_answer { Learned::Answer } else { Learned::Announcement };
        self.learn(key, mac, how, now);
        Ok(())
    }

    /// Another station claims an address that we use: others hear the truth from us, unless they
    /// did a moment ago (RFC 4862 leaves it open; as RFC 5227, 2.4 (b)).
    #[cold]
    fn defend_v6(
        &mut self,
        address: Ipv6Addr,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), DropReason> {
        let link = &mut self.interfaces[usize::from(frame.interface)];
        if now >= link.defend_after {
            link.defend_after = now.plus_nanos(crate::arp::DEFEND_INTERVAL_NS);
            self.advertise(frame.interface, address, None)?;
        }
        Err(DropReason::NdConflict)
    }

    /// Says that we have `target`: to who asked, or to all nodes (RFC 4861, 7.2.4 and 7.2.6).
    pub(crate) fn advertise(
        &mut self,
        interface: u16,
        target: Ipv6Addr,
        asker: Option<Ipv6Addr>,
    ) -> Result<(), DropReason> {
        let link = &self.interfaces[usize::from(interface)];
        // RFC 4429, 3.2: who is not sure pushes nobody out of a cache.
        let overrides = link.own_v6(target).is_some_and(|own| own.state == AddressState::Preferred);
        let message = NdpMessage::NeighborAdvertisement {
            target,
            router: self.forwarding,
            solicited: asker.is_some(),
            overrides,
            options: NdpOptions::target(link.mac),
        };
        let destination = asker.unwrap_or(ipv6::ALL_NODES);
        let mac = asker.and_then(|asker| {
            let host = self.hosts.find(asker, zone_of(asker, interface))?;
            let neighbor = self.neighbors.get(self.neighbors.find(interface, host)?)?;
            (neighbor.mac != MacAddress::ZERO).then_some(neighbor.mac)
        });
        match (mac, asker) {
            (None, Some(asker)) => {
                // It gave no address of its link; what is sent to it waits for the answer to ours.
                let packet = self.build_nd(target, asker, &message)?;
                let now = self.now;
                self.with_host(interface, asker, |stack, host| {
                    stack.send_ip(packet, interface, host, now)
                })
            }
            (mac, _) => {
                let mac = mac.unwrap_or(MacAddress::for_multicast_v6(destination));
                self.send_nd(interface, mac, target, destination, &message)
            }
        }
    }

    /// Sends the question about a neighbour (RFC 4861, 7.2.2).
    pub(crate) fn solicit(&mut self, ask: &Ask) {
        let Some((target, _)) = self.hosts.v6(ask.address) else { return };
        let link = &self.interfaces[usize::from(ask.interface)];
        let Some(own) = link.source_for_v6(target) else { return };
        if own.state != AddressState::Preferred {
            // RFC 4429, 3.3: it waits until the address is surely ours, which asks again.
            return;
        }
        let (source, options) = (own.address, NdpOptions::source(link.mac));
        let message = NdpMessage::NeighborSolicitation { target, options };
        let (mac, destination) = match ask.mac {
            Some(mac) => (mac, target),
            None => {
                let group = ipv6::solicited_node(target);
                (MacAddress::for_multicast_v6(group), group)
            }
        };
        let sent = self.send_nd(ask.interface, mac, source, destination, &message);
        self.note(sent);
    }

    pub(crate) fn send_nd(
        &mut self,
        interface: u16,
        mac: MacAddress,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: &NdpMessage,
    ) -> Result<(), DropReason> {
        let mut packet = self.build_nd(source, destination, message)?;
        let header = EthernetHeader {
            destination: mac,
            source: self.interfaces[usize::from(interface)].mac,
            tags: VlanTags::None,
            ether_type: EtherType::Ipv6,
        };
        header.emit(packet.prepend(header.header_len()).ok_or(DropReason::TxHeadroom)?);
        self.push_control(interface, packet)
    }

    fn build_nd(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: &NdpMessage,
    ) -> Result<Packet, DropReason> {
        // From the reserve: nothing that waits for the answer could leave otherwise.
        let mut packet = self.tx_pool.alloc_reserved().map_err(|_| DropReason::TxPoolEmpty)?;
        let len = message.header_len();
        let room = packet.append(len).ok_or(DropReason::TxHeadroom)?;
        message.emit(room);
        icmpv6::fill_checksum(source, destination, room);
        let header = Ipv6Header {
            hop_limit: ndp::HOP_LIMIT,
            ..Ipv6Header::new(source, destination, IpProtocol::Icmpv6, len as u16)
        };
        header.emit(packet.prepend(ipv6::HEADER_LEN).ok_or(DropReason::TxHeadroom)?);
        self.counters.nd_out.increment();
        Ok(packet)
    }
}

/// What an advertisement says.
struct Claim {
    target: Ipv6Addr,
    mac: Option<MacAddress>,
    solicited: bool,
    overrides: bool,
}
