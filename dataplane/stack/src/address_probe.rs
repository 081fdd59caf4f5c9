//! Whether our IPv4 addresses are ours alone, asked before they are used (RFC 5227, 2.1), on the
//! interfaces that are told to.
//!
//! Until nobody objected an address is no more than one of the link: packets to it are not ours, ARP
//! about it is not answered, nothing leaves in its name. When it is ours it is announced twice. When
//! somebody has it, it is not used, counted, and the operator hears of it. As with neighbours, worker 0
//! speaks and tells the others. Interfaces that are not told to ask announce their addresses at the
//! start and defend them; they pay nothing for this.

use std::net::Ipv4Addr;

use sluice_base::{Instant, InterfaceId};
use sluice_wire::{ArpPacket, EtherType, MacAddress};

use crate::drop_reason::DropReason;
use crate::fib::NextHop;
use crate::message::{Message, Target};
use crate::stack::Stack;

/// RFC 5227, 1.1, in nanoseconds: PROBE_WAIT, PROBE_MIN, PROBE_MAX, ANNOUNCE_WAIT and
/// ANNOUNCE_INTERVAL; then PROBE_NUM and ANNOUNCE_NUM.
const PROBE_WAIT_NS: u64 = 1_000_000_000;
const PROBE_MIN_NS: u64 = 1_000_000_000;
const PROBE_MAX_NS: u64 = 2_000_000_000;
const ANNOUNCE_WAIT_NS: u64 = 2_000_000_000;
const ANNOUNCE_INTERVAL_NS: u64 = 2_000_000_000;
const PROBES: u8 = 3;
const ANNOUNCEMENTS: u8 = 2;

/// An address that is not ours yet, or only just.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) address: Ipv4Addr,
    prefix_len: u8,
    /// Where it stands among the addresses of the interface, the first of which is a source.
    position: usize,
    state: ClaimState,
    /// When the next step is due.
    next: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ClaimState {
    /// The clock was not seen yet.
    Fresh,
    /// So many probes were sent.
    Probing(u8),
    /// It is ours, and was announced so often.
    Announcing(u8),
    /// Another station has it.
    Lost,
}

impl Claim {
    /// Whether it is still to be found out.
    fn is_open(&self) -> bool {
        matches!(self.state, ClaimState::Fresh | ClaimState::Probing(_))
    }
}

impl Stack {
    /// Lets an interface ask for its IPv4 addresses before it uses them. For the start, before
    /// anything was sent by it.
    pub fn probe_addresses(&mut self, interface: InterfaceId) {
        let at = interface.0;
        let Some(link) = self.interfaces.get_mut(interface.index()) else { return };
        let addresses = std::mem::take(&mut link.addresses);
        link.addresses.reserve_exact(addresses.len());
        // What was to be announced at once is not.
        for _ in 0..link.control.len() {
            let Some(packet) = link.control.pop() else { break };
            if packet.head().get(12..14) != Some(&EtherType::Arp.number().to_be_bytes()) {
                drop(link.control.try_push(packet));
            }
        }
        for (position, (address, prefix_len)) in addresses.into_iter().enumerate() {
            let state = ClaimState::Fresh;
            link.claims.push(Claim { address, prefix_len, position, state, next: Instant::ZERO });
            self.fib.redirect(address, NextHop::Connected { interface: at });
        }
        if self.worker == sluice_base::WorkerId(0) {
            self.next_detection = Instant::ZERO;
        }
    }

    /// Whether an address is configured, if not ours yet: listeners may wait for it.
    pub(crate) fn is_claimed(&self, address: Ipv4Addr) -> bool {
        let mut claims = self.interfaces.iter().flat_map(|link| &link.claims);
        claims.any(|claim| claim.address == address && claim.is_open())
    }

    /// What is due about addresses that are not ours yet.
    pub(crate) fn handle_claims(&mut self, now: Instant) {
        if !self.speaks_arp() {
            return;
        }
        for interface in 0..self.interfaces.len() as u16 {
            for at in 0..self.interfaces[usize::from(interface)].claims.len() {
                let claim = self.interfaces[usize::from(interface)].claims[at];
                if claim.state == ClaimState::Lost || claim.next == Instant::NEVER {
                    continue;
                }
                let next =
                    if now < claim.next { claim.next } else { self.next_step(interface, at, now) };
                self.interfaces[usize::from(interface)].claims[at].next = next;
                self.next_detection = self.next_detection.min(next);
            }
        }
    }

    /// The next step towards an address; when the one after it is due.
    fn next_step(&mut self, interface: u16, at: usize, now: Instant) -> Instant {
        let claim = self.interfaces[usize::from(interface)].claims[at];
        let random = self.rng.next_u64();
        let mac = self.interfaces[usize::from(interface)].mac;
        let (state, packet, wait) = match claim.state {
            ClaimState::Fresh => (ClaimState::Probing(0), None, 1 + random % PROBE_WAIT_NS),
            ClaimState::Probing(sent) if sent < PROBES => {
                let wait = if sent + 1 == PROBES {
                    ANNOUNCE_WAIT_NS
                } else {
                    PROBE_MIN_NS + random % (PROBE_MAX_NS - PROBE_MIN_NS)
                };
                (
                    ClaimState::Probing(sent + 1),
                    Some(ArpPacket::request(mac, Ipv4Addr::UNSPECIFIED, claim.address)),
                    wait,
                )
            }
            ClaimState::Probing(_) => {
                self.take_address(interface, claim.address);
                self.tell_address(interface, claim.address, true);
                let announcement = ArpPacket::announcement(mac, claim.address);
                (ClaimState::Announcing(1), Some(announcement), ANNOUNCE_INTERVAL_NS)
            }
            ClaimState::Announcing(sent) if sent < ANNOUNCEMENTS => {
                let announcement = ArpPacket::announcement(mac, claim.address);
                (ClaimState::Announcing(sent + 1), Some(announcement), 0)
            }
            ClaimState::Announcing(_) | ClaimState::Lost => (claim.state, None, 0),
        };
        self.interfaces[usize::from(interface)].claims[at].state = state;
        if let Some(packet) = packet {
            let sent = self.send_arp(interface, MacAddress::BROADCAST, &packet);
            self.note(sent);
        }
        if wait == 0 { Instant::NEVER } else { now.plus_nanos(wait) }
    }

    /// RFC 5227, 2.1.1: whether an ARP packet says that another station has, or wants, an address
    /// that we ask for.
    pub(crate) fn contests_claim(&mut self, interface: u16, arp: &ArpPacket) -> bool {
        let link = &self.interfaces[usize::from(interface)];
        let is_probe = arp.is_probe();
        let contested = |claim: &&Claim| {
            claim.is_open()
                && (claim.address == arp.sender_ip || (is_probe && claim.address == arp.target_ip))
        };
        let Some(address) = link.claims.iter().find(contested).map(|claim| claim.address) else {
            return false;
        };
        self.set_claim(interface, address, false);
        self.tell_address(interface, address, false);
        self.counters.duplicate_addresses.increment();
        self.note(Err(DropReason::ArpConflict));
        true
    }

    fn tell_address(&mut self, interface: u16, address: Ipv4Addr, is_ours: bool) {
        let interface = InterfaceId(interface);
        self.send_message(Target::All, Message::Claim { interface, address, is_ours });
    }

    /// What became of an address.
    pub(crate) fn set_claim(&mut self, interface: u16, address: Ipv4Addr, is_ours: bool) {
        if is_ours {
            return self.take_address(interface, address);
        }
        let Some(link) = self.interfaces.get_mut(usize::from(interface)) else { return };
        for claim in link.claims.iter_mut().filter(|claim| claim.address == address) {
            claim.state = ClaimState::Lost;
        }
    }

    /// The address is ours from now on.
    fn take_address(&mut self, interface: u16, address: Ipv4Addr) {
        let Some(link) = self.interfaces.get_mut(usize::from(interface)) else { return };
        let is_it = |claim: &&mut Claim| claim.address == address && claim.is_open();
        let Some(claim) = link.claims.iter_mut().find(is_it) else { return };
        claim.state = ClaimState::Announcing(0);
        let position = claim.position;
        let prefix_len = claim.prefix_len;
        let before = |other: &(Ipv4Addr, u8)| {
            link.claims.iter().any(|claim| claim.address == other.0 && claim.position < position)
        };
        let at = link.addresses.iter().filter(|other| before(other)).count();
        link.addresses.insert(at, (address, prefix_len));
        self.fib.redirect(address, NextHop::Local { interface });
    }
}
