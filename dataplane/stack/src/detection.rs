//! Whether our IPv6 addresses are ours alone: duplicate address detection (RFC 4862, 5.4) in the
//! optimistic way (RFC 4429).
//!
//! A gateway must serve as soon as it runs, so an address is used at once: who asks is answered, but
//! without pushing others out of caches, and nothing is asked in its name. When nobody objected for
//! a second it is announced to all. When somebody did, it is given up, counted, and every worker
//! hears of it; the control thread tells the operator.

use std::net::Ipv6Addr;

use sluice_base::Instant;
use sluice_wire::{MacAddress, NdpMessage, NdpOptions, ipv6};

use crate::drop_reason::DropReason;
use crate::interface::AddressState;
use crate::message::{Message, Target};
use crate::stack::Stack;

/// RFC 4861, 10: RETRANS_TIMER, how long an objection may take.
const WAIT_NS: u64 = 1_000_000_000;

impl Stack {
    /// Asks every link whether somebody has an address of ours, once for each (RFC 4862, 5.1:
    /// DupAddrDetectTransmits). The wait begins when the clock is first seen.
    pub(crate) fn detect_duplicates(&mut self) {
        for interface in 0..self.interfaces.len() as u16 {
            let [_, _, nonce @ ..] = self.rng.next_u64().to_be_bytes();
            self.interfaces[usize::from(interface)].nonce = nonce;
            for at in 0..self.interfaces[usize::from(interface)].addresses_v6.len() {
                let target = self.interfaces[usize::from(interface)].addresses_v6[at].address;
                self.ask_for_duplicate(interface, target);
            }
        }
    }

    /// Asks a link whether somebody has an address of ours.
    pub(crate) fn ask_for_duplicate(&mut self, interface: u16, target: Ipv6Addr) {
        let nonce = Some(self.interfaces[usize::from(interface)].nonce);
        let options = NdpOptions { nonce, ..NdpOptions::default() };
        let message = NdpMessage::NeighborSolicitation { target, options };
        let group = ipv6::solicited_node(target);
        let mac = MacAddress::for_multicast_v6(group);
        let sent = self.send_nd(interface, mac, Ipv6Addr::UNSPECIFIED, group, &message);
        self.note(sent);
    }

    /// Workers beside the first leave the question to it.
    pub(crate) fn trust_addresses(&mut self) {
        for link in &mut self.interfaces {
            link.addresses_v6.iter_mut().for_each(|own| own.state = AddressState::Preferred);
        }
        self.next_detection = Instant::NEVER;
    }

    /// Begins to wait, or takes silence as consent; and does what is due about routers.
    #[cold]
    pub(crate) fn handle_detection(&mut self, now: Instant) {
        self.next_detection = Instant::NEVER;
        for interface in 0..self.interfaces.len() as u16 {
            let mut is_new = false;
            for at in 0..self.interfaces[usize::from(interface)].addresses_v6.len() {
                let own = &mut self.interfaces[usize::from(interface)].addresses_v6[at];
                match own.state {
                    AddressState::Fresh => {
                        let until = now.plus_nanos(WAIT_NS);
                        own.state = AddressState::Optimistic { until };
                        self.next_detection = self.next_detection.min(until);
                    }
                    AddressState::Optimistic { until } if now < until => {
                        self.next_detection = self.next_detection.min(until);
                    }
                    AddressState::Optimistic { .. } => {
                        own.state = AddressState::Preferred;
                        is_new = true;
                        let address = own.address;
                        // RFC 4861, 7.2.6: caches that know another station are put right.
                        let sent = self.advertise(interface, address, None);
                        self.note(sent);
                    }
                    AddressState::Preferred | AddressState::Duplicate => {}
                }
            }
            if is_new {
                self.ask_again(interface);
            }
        }
        self.handle_claims(now);
        self.handle_discovery(now);
    }

    /// Asks what could not be asked before.
    fn ask_again(&mut self, interface: u16) {
        let asks: Vec<_> = self.neighbors.incomplete(interface).collect();
        for ask in asks.iter().filter(|ask| ask.address.is_v6()) {
            self.solicit(ask);
        }
    }

    /// Another station has the address: we do not use it any more.
    #[cold]
    pub(crate) fn duplicate(
        &mut self,
        interface: u16,
        address: Ipv6Addr,
    ) -> Result<(), DropReason> {
        self.lose_address(interface, address);
        let id = self.interfaces[usize::from(interface)].id;
        self.send_message(Target::All, Message::Duplicate { interface: id, address });
        self.counters.duplicate_addresses.increment();
        Err(DropReason::NdDuplicate)
    }

    /// Stops using an address of ours.
    pub(crate) fn lose_address(&mut self, interface: u16, address: Ipv6Addr) {
        let Some(link) = self.interfaces.get_mut(usize::from(interface)) else { return };
        for own in link.addresses_v6.iter_mut().filter(|own| own.address == address) {
            own.state = AddressState::Duplicate;
        }
    }
}
