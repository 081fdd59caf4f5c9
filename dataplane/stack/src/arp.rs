//! ARP (RFC 826): answering for our addresses, asking for others', announcing ourselves.
//!
//! Only worker 0 speaks ARP. Other workers ask it, and hear from it, by messages.

use std::net::Ipv4Addr;

use sluice_base::{Instant, SlabKey};
use sluice_buf::Packet;
use sluice_wire::{
    ArpOperation, ArpPacket, ArpView, EtherType, EthernetHeader, MacAddress, VlanTags,
};

use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::message::{Message, Target};
use crate::neighbor::{Ask, Learned, NeighborState};
use crate::stack::Stack;

/// RFC 5227, 1.1: DEFEND_INTERVAL.
pub(crate) const DEFEND_INTERVAL_NS: u64 = 10_000_000_000;

impl Stack {
    pub(crate) fn arp_input(
        &mut self,
        packet: &Packet,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = packet.head().get(usize::from(frame.l2_len)..).unwrap_or_default();
        let arp = ArpView::parse(bytes)?.packet();
        self.counters.arp_in.increment();
        let interface = &self.interfaces[usize::from(frame.interface)];
        if !arp.sender_mac.is_unicast() || arp.sender_mac == interface.mac {
            return Err(DropReason::ArpSender);
        }
        if !interface.claims.is_empty() && self.contests_claim(frame.interface, &arp) {
            return Ok(());
        }
        let interface = &self.interfaces[usize::from(frame.interface)];
        let is_for_us = interface.addresses.iter().any(|(own, _)| *own == arp.target_ip);
        let asks_us = is_for_us && arp.operation == ArpOperation::Request;
        if arp.is_probe() {
            // RFC 5227, 2.4: somebody wants to use an address; ours we defend.
            return if asks_us { self.answer(&arp, frame) } else { self.ignore_arp() };
        }
        match self.fib.find(arp.sender_ip) {
            Some(NextHop::Local { .. }) => return self.defend(arp.sender_ip, frame, now),
            Some(NextHop::Broadcast { .. }) => return Err(DropReason::ArpSender),
            Some(NextHop::Connected { .. } | NextHop::Via { .. } | NextHop::Group { .. })
            | None => {}
        }
        if !interface.is_on_link(arp.sender_ip) {
            return Err(DropReason::ArpSender);
        }
        let source = interface.mac;
        match self.neighbors.find(frame.interface, arp.sender_ip.into()) {
            Some(key) => {
                let how = if asks_us && !arp.is_gratuitous() {
                    Learned::Question
                } else if is_for_us && self.is_awaited(key) {
                    Learned::Answer
                } else {
                    Learned::Announcement
                };
                self.learn(key, arp.sender_mac, how, now);
            }
            None if asks_us => {
                if let Some(key) =
                    self.make_neighbor(frame.interface, source, arp.sender_ip.into(), now)
                {
                    self.learn(key, arp.sender_mac, Learned::Question, now);
                }
            }
            None => match arp.operation {
                ArpOperation::Request => return self.ignore_arp(),
                ArpOperation::Reply => return Err(DropReason::ArpUnsolicited),
            },
        }
        if asks_us { self.answer(&arp, frame) } else { Ok(()) }
    }

    /// RFC 5227, 2.4 (b): another station claims an address of ours. Others hear the truth from us,
    /// unless they did a moment ago: two who are both sure must not go on for ever.
    #[cold]
    fn defend(&mut self, address: Ipv4Addr, frame: &Frame, now: Instant) -> Result<(), DropReason> {
        let interface = &mut self.interfaces[usize::from(frame.interface)];
        let is_of_link = interface.addresses.iter().any(|(own, _)| *own == address);
        if is_of_link && now >= interface.defend_after {
            interface.defend_after = now.plus_nanos(DEFEND_INTERVAL_NS);
            let announcement = ArpPacket::announcement(interface.mac, address);
            self.send_arp(frame.interface, MacAddress::BROADCAST, &announcement)?;
        }
        Err(DropReason::ArpConflict)
    }

    fn ignore_arp(&self) -> Result<(), DropReason> {
        self.counters.arp_ignored.increment();
        Ok(())
    }

    pub(crate) fn is_awaited(&self, key: SlabKey) -> bool {
        let state = self.neighbors.get(key).map(|neighbor| neighbor.state);
        matches!(state, Some(NeighborState::Incomplete | NeighborState::Probe))
    }

    fn answer(&mut self, question: &ArpPacket, frame: &Frame) -> Result<(), DropReason> {
        let mac = self.interfaces[usize::from(frame.interface)].mac;
        self.send_arp(frame.interface, question.sender_mac, &question.reply_from(mac))
    }

    /// Takes in an address, and lets go what waited for it.
    pub(crate) fn learn(&mut self, key: SlabKey, mac: MacAddress, how: Learned, now: Instant) {
        if !self.neighbors.learn(key, mac, how, now) {
            return;
        }
        if self.speaks_arp() {
            self.tell_neighbor(key, Target::All);
        }
        self.release_waiting(key);
        while let Some(packet) = self.neighbors.pop_parked(key) {
            let sent = self.send_to_neighbor(packet, key);
            self.note(sent);
        }
    }

    /// Tells other workers what is known about a neighbour.
    pub(crate) fn tell_neighbor(&mut self, key: SlabKey, target: Target) {
        let Some(neighbor) = self.neighbors.get(key) else { return };
        let mac = match neighbor.state {
            NeighborState::Reachable | NeighborState::Stale | NeighborState::Probe => {
                Some(neighbor.mac)
            }
            NeighborState::Incomplete => return,
            NeighborState::Failed => None,
        };
        let interface = self.interfaces[usize::from(neighbor.interface)].id;
        let address = self.hosts.ip(neighbor.address);
        self.send_message(target, Message::Neighbor { interface, address, mac });
    }

    /// Sends the question about a neighbour, or has worker 0 send it.
    pub(crate) fn ask(&mut self, ask: &Ask) {
        let interface = &self.interfaces[usize::from(ask.interface)];
        if !self.speaks_arp() {
            let (worker, interface) = (self.worker, interface.id);
            let address = self.hosts.ip(ask.address);
            let leader = Target::Worker(sluice_base::WorkerId(0));
            return self.send_message(leader, Message::Resolve { worker, interface, address });
        }
        let Some(target) = ask.address.v4() else { return self.solicit(ask) };
        let Some(source) = interface.source_for(target) else { return };
        let request = ArpPacket::request(interface.mac, source, target);
        let destination = ask.mac.unwrap_or(MacAddress::BROADCAST);
        let sent = self.send_arp(ask.interface, destination, &request);
        self.note(sent);
    }

    /// Announces every address of ours on its link (RFC 5227, 3).
    pub(crate) fn announce(&mut self) {
        for interface in 0..self.interfaces.len() {
            for at in 0..self.interfaces[interface].addresses.len() {
                let (mac, address): (MacAddress, Ipv4Addr) = {
                    let interface = &self.interfaces[interface];
                    (interface.mac, interface.addresses[at].0)
                };
                let announcement = ArpPacket::announcement(mac, address);
                let sent = self.send_arp(interface as u16, MacAddress::BROADCAST, &announcement);
                self.note(sent);
            }
        }
    }

    pub(crate) fn send_arp(
        &mut self,
        interface: u16,
        destination: MacAddress,
        arp: &ArpPacket,
    ) -> Result<(), DropReason> {
        // From the reserve: nothing that waits for the answer could leave otherwise.
        let mut packet = self.tx_pool.alloc_reserved().map_err(|_| DropReason::TxPoolEmpty)?;
        let header = EthernetHeader {
            destination,
            source: self.interfaces[usize::from(interface)].mac,
            tags: VlanTags::None,
            ether_type: EtherType::Arp,
        };
        let room =
            packet.append(header.header_len() + arp.header_len()).ok_or(DropReason::TxHeadroom)?;
        let at = header.emit(room);
        arp.emit(&mut room[at..]);
        self.counters.arp_out.increment();
        self.push_control(interface, packet)
    }
}
