//! From frames to protocols.

use sluice_base::{Instant, WorkerId};
use sluice_buf::Packet;
use sluice_wire::{EtherType, EthernetView};

use crate::drop_reason::DropReason;
use crate::owner::Subject;
use crate::stack::Stack;

/// How a packet came to this worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Arrival {
    /// From a queue of a device: it may belong to another worker.
    Device,
    /// From another worker, which found that it is ours.
    Steered,
}

/// What the link layer says about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Position of the interface it came in by.
    pub(crate) interface: u16,
    /// Where the network header starts.
    pub(crate) l2_len: u16,
    /// Whether the frame was for several stations.
    pub(crate) is_group: bool,
    pub(crate) arrival: Arrival,
}

impl Stack {
    /// Takes in one frame. What comes back is why it went no further.
    pub(crate) fn ethernet_input(
        &mut self,
        interface: u16,
        packet: Packet,
        arrival: Arrival,
        now: Instant,
    ) -> Result<(), DropReason> {
        let own = self.interfaces[usize::from(interface)].mac;
        let view = EthernetView::parse(packet.head())?;
        let destination = view.destination();
        if destination != own && !destination.is_multicast() {
            return Err(DropReason::EthernetNotOurs);
        }
        if !view.source().is_unicast() {
            return Err(DropReason::EthernetSource);
        }
        let known = self.vlan_of(interface, view.tags());
        let device = interface;
        let ether_type = view.ether_type();
        let l2_len = view.header_len() as u16;
        let is_group = destination != own;
        let Some(interface) = known else {
            return self.unowned(device, packet, DropReason::VlanNotConfigured);
        };
        if interface != device {
            self.count_vlan_input(interface, &packet);
        }
        let frame = Frame { interface, l2_len, is_group, arrival };
        match ether_type {
            EtherType::Ipv4 => self.ipv4_input(packet, frame, now),
            EtherType::Arp => match self.steer(&Subject::Arp, packet, &frame) {
                Some(packet) if self.has_twin(interface) => self.arp_for_both(packet, &frame, now),
                Some(packet) => self.arp_input(&packet, &frame, now),
                None => Ok(()),
            },
            EtherType::Ipv6 => self.ipv6_input(packet, frame, now),
            EtherType::Other(_) => self.unowned(interface, packet, DropReason::EthernetType),
        }
    }

    /// Gives a packet that another worker owns to that worker; returns it if it is ours.
    #[inline]
    pub(crate) fn steer(
        &mut self,
        subject: &Subject,
        packet: Packet,
        frame: &Frame,
    ) -> Option<Packet> {
        if self.workers == 1 || frame.arrival == Arrival::Steered {
            return Some(packet);
        }
        let owner = self.owners.owner(subject);
        if owner == self.worker {
            return Some(packet);
        }
        self.hand_off(owner, frame.interface, packet);
        None
    }

    /// Puts a packet on the queue for its owner.
    pub(crate) fn hand_off(&mut self, owner: WorkerId, interface: u16, packet: Packet) {
        let interface = self.interfaces[usize::from(interface)].id;
        match self.handoff.push((owner, interface, packet)) {
            Ok(()) => self.counters.handed_off.increment(),
            Err((.., packet)) => self.handoff_failed(packet),
        }
    }
}
