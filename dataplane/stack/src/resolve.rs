//! The way to the next hop: routes, neighbours, and what waits for them.

use std::net::IpAddr;

use sluice_base::{Instant, SlabKey, WorkerId};
use sluice_buf::Packet;
use sluice_tcp::CloseReason;
use sluice_wire::MacAddress;
use sluice_wire::icmp::{IcmpMessage, Unreachable};
use sluice_wire::icmpv6::{Icmpv6Message, UnreachableV6};

use crate::drop_reason::DropReason;
use crate::fib::NextHop;
use crate::host::Host;
use crate::interface::AddressState;
use crate::message::{Message, Target};
use crate::neighbor::{Learned, NeighborEvent, Reach};
use crate::stack::Stack;

impl Stack {
    /// Interface and next hop towards a destination that is not ours.
    #[inline]
    pub(crate) fn route(&mut self, destination: Host) -> Result<(u16, Host), DropReason> {
        self.route_flow(destination, u64::from(destination.bits()))
    }

    /// The same for one of many flows to a destination, which share its next hops.
    #[inline]
    pub(crate) fn route_flow(
        &mut self,
        destination: Host,
        flow: u64,
    ) -> Result<(u16, Host), DropReason> {
        match self.destination(destination) {
            Some(NextHop::Group { group }) => {
                Ok(self.hop_of(group, self.spread_key.hash_word(flow)))
            }
            Some(NextHop::Connected { interface }) => Ok((interface, destination)),
            Some(NextHop::Via { interface, gateway }) => Ok((interface, gateway)),
            Some(NextHop::Local { .. } | NextHop::Broadcast { .. }) | None => {
                Err(DropReason::NoRoute)
            }
        }
    }

    /// The neighbour's entry, made if need be.
    pub(crate) fn neighbor(
        &mut self,
        interface: u16,
        address: Host,
        now: Instant,
    ) -> Option<SlabKey> {
        if let Some(key) = self.neighbors.find(interface, address) {
            return Some(key);
        }
        let source = self.interfaces[usize::from(interface)].mac;
        self.make_neighbor(interface, source, address, now)
    }

    #[cold]
    pub(crate) fn make_neighbor(
        &mut self,
        interface: u16,
        source: MacAddress,
        address: Host,
        now: Instant,
    ) -> Option<SlabKey> {
        if self.neighbors.is_full() {
            let victim = self.neighbors.victim(now)?;
            let evicted = self.neighbors.get(victim).map(|neighbor| neighbor.address);
            self.neighbors.remove(victim);
            self.counters.neighbors_evicted.increment();
            evicted.into_iter().for_each(|host| self.hosts.release(host));
        }
        let key = self.neighbors.insert(interface, source, address)?;
        self.hosts.retain(address);
        Some(key)
    }

    /// Whether the neighbour can be sent to; asks for its address if that must be known first.
    #[inline]
    pub(crate) fn reach(&mut self, key: SlabKey, now: Instant) -> Reach {
        let (reach, ask) = self.neighbors.reach(key, now);
        if let Some(ask) = ask {
            self.ask(&ask);
        }
        reach
    }

    /// RFC 9293, 3.8.3: a connection that sends in vain says so, and its neighbour is asked whether
    /// it is still there. Without this a wrong address is believed as long as a right one.
    #[cold]
    pub(crate) fn doubt_path(&mut self, index: u32, now: Instant) {
        let Some(entry) = self.connections.at_mut(index) else { return };
        let (interface, next_hop) = (entry.interface, entry.next_hop);
        let Some(key) = self.neighbors.find(interface, next_hop) else { return };
        self.suspect(key, now);
    }

    fn suspect(&mut self, key: SlabKey, now: Instant) {
        let Some(ask) = self.neighbors.suspect(key, now) else { return };
        self.counters.neighbors_suspected.increment();
        if self.speaks_arp() {
            return self.ask(&ask);
        }
        let interface = self.interfaces[usize::from(ask.interface)].id;
        let address = self.hosts.ip(ask.address);
        self.send_message(Target::Worker(WorkerId(0)), Message::Suspect { interface, address });
    }

    /// Sends an IP packet, or lets it wait until the next hop's address is known.
    pub(crate) fn send_ip(
        &mut self,
        packet: Packet,
        interface: u16,
        next_hop: Host,
        now: Instant,
    ) -> Result<(), DropReason> {
        let key = self.neighbor(interface, next_hop, now).ok_or(DropReason::NeighborTable)?;
        match self.reach(key, now) {
            Reach::Usable => self.send_to_neighbor(packet, key),
            Reach::Waiting => match self.neighbors.park(key, packet) {
                Some(_dropped) => Err(DropReason::NeighborQueue),
                None => Ok(()),
            },
            Reach::Failed => {
                self.unreachable(&packet, now);
                Err(DropReason::NeighborFailed)
            }
        }
    }

    /// Puts the link header in front and the packet on the interface's queue.
    #[inline]
    pub(crate) fn send_to_neighbor(
        &mut self,
        mut packet: Packet,
        key: SlabKey,
    ) -> Result<(), DropReason> {
        let neighbor = self.neighbors.get(key).ok_or(DropReason::NeighborEvicted)?;
        let room = packet.prepend(neighbor.template.len()).ok_or(DropReason::TxHeadroom)?;
        room.copy_from_slice(&neighbor.template);
        let interface = neighbor.interface;
        self.push_control(interface, packet)
    }

    /// Puts the connections that wait for a neighbour back on the list of those that owe segments.
    pub(crate) fn release_waiting(&mut self, key: SlabKey) {
        while let Some(index) = self.neighbors.pop_waiting(key, &mut self.connections) {
            if self.unqueued(index) {
                self.want_output(index);
            }
        }
    }

    /// Works off what the neighbours' timers ask for.
    pub(crate) fn handle_neighbor_timers(&mut self, now: Instant) {
        self.neighbors.advance(now);
        while let Some(event) = self.neighbors.next_event(now) {
            match event {
                NeighborEvent::Ask(ask) => self.ask(&ask),
                NeighborEvent::Failed(key) => {
                    if self.speaks_arp() {
                        self.tell_neighbor(key, Target::All);
                    }
                    self.neighbor_failed(key, now);
                }
            }
        }
    }

    fn neighbor_failed(&mut self, key: SlabKey, now: Instant) {
        self.counters.neighbors_failed.increment();
        if let Some((interface, address)) =
            self.neighbors.get(key).map(|n| (n.interface, n.address))
        {
            self.router_failed(interface, address);
        }
        while let Some(packet) = self.neighbors.pop_parked(key) {
            self.unreachable(&packet, now);
            self.note(Err(DropReason::NeighborFailed));
        }
        // Who was about to open a connection hears of it now; one that is open waits for its own
        // timers, the neighbour may come back.
        while let Some(index) = self.neighbors.pop_waiting(key, &mut self.connections) {
            if !self.unqueued(index) {
                continue;
            }
            let key = self.connections.key_at(index);
            let goes_on = key.is_some_and(|key| self.reroute(key));
            self.want_output(index);
            if !goes_on {
                self.fail_connecting(index, CloseReason::TimedOut, now);
            }
        }
    }

    /// RFC 1812, 5.3.3.4; RFC 4443, 3.1: the sender of a packet that we forward hears that its next hop is silent.
    fn unreachable(&mut self, packet: &Packet, now: Instant) {
        if let Some(flow) = self.own_flow(packet) {
            return self.flow_undeliverable(flow);
        }
        match packet.head().first().map(|first| first >> 4) {
            Some(6) => {
                let message = Icmpv6Message::DestinationUnreachable(UnreachableV6::Address);
                self.icmpv6_error(packet, 0, message, now);
            }
            _ => {
                let message = IcmpMessage::DestinationUnreachable(Unreachable::Host);
                self.icmp_error(packet, 0, message, now);
            }
        }
    }

    /// Takes in what another worker has to say.
    pub fn handle_message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Resolve { worker, interface, address } => {
                self.handle_resolve(worker, interface.0, address, now);
            }
            Message::Suspect { interface, address } => {
                let Some(host) = self.find_host(address, interface.0) else { return };
                let Some(key) = self.neighbors.find(interface.0, host) else { return };
                self.suspect(key, now);
            }
            Message::Neighbor { interface, address, mac } => {
                let Some(host) = self.find_host(address, interface.0) else { return };
                let Some(key) = self.neighbors.find(interface.0, host) else { return };
                match mac {
                    Some(mac) => self.learn(key, mac, Learned::Answer, now),
                    None => {
                        self.neighbors.fail(key, now);
                        self.neighbor_failed(key, now);
                    }
                }
            }
            Message::Router { interface, address } => {
                let router = address.map(|address| (interface.0, address));
                let known = self.learned.router();
                let known = known.map(|(at, host)| (at, self.hosts.ip(host)));
                if known != router.map(|(at, address)| (at, address.into())) {
                    self.set_router(router);
                }
            }
            Message::OnLink { interface, prefix, prefix_len, is_on_link } => {
                self.set_on_link(interface.0, (prefix, prefix_len), is_on_link);
            }
            Message::Formed { interface, address, state } => {
                self.set_formed(interface.0, address, state, AddressState::Preferred);
            }
            Message::Link { interface, mtu, reachable_ms, retransmit_ms } => {
                self.set_link(interface.0, mtu, (reachable_ms, retransmit_ms));
            }
            Message::Claim { interface, address, is_ours } => {
                self.set_claim(interface.0, address, is_ours);
            }
            Message::Duplicate { interface, address } => {
                self.lose_address(interface.0, address);
            }
        }
    }

    fn handle_resolve(&mut self, worker: WorkerId, interface: u16, address: IpAddr, now: Instant) {
        if !self.speaks_arp() || usize::from(interface) >= self.interfaces.len() {
            return;
        }
        let Some(host) = self.acquire_host(address, interface) else { return };
        let key = self.neighbor(interface, host, now);
        self.hosts.release(host);
        let Some(key) = key else { return };
        match self.reach(key, now) {
            // While it is being probed, the worker hears the outcome like everybody.
            Reach::Usable | Reach::Failed => self.tell_neighbor(key, Target::Worker(worker)),
            Reach::Waiting => {}
        }
    }
}
