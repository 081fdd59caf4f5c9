//! What routers told about our links (RFC 4861, 6.3): prefixes that are on them, addresses of ours
//! made of such prefixes, and the router of last resort.
//!
//! Worker 0 hears the routers (`router_discovery`) and tells the others; this is what every worker
//! keeps of it. Look-ups walk over it, since it is short; where no interface listens to routers it
//! is empty, and they pay one branch.

use std::net::Ipv6Addr;

use sluice_base::InterfaceId;
use sluice_tcp::{CloseReason, Connection, State};
use sluice_wire::MacAddress;

use crate::drop_reason::DropReason;
use crate::fib::NextHop;
use crate::fib_v6::mask;
use crate::host::{Host, zone_of};
use crate::interface::{AddressState, OwnV6};
use crate::message::FormedState;
use crate::neighbor::Learned as Heard;
use crate::stack::Stack;

/// Addresses of one interface that are made of prefixes, and prefixes that are on its link. Linux
/// has 16 addresses.
pub(crate) const FORMED_MAX: usize = 8;
pub(crate) const ON_LINK_MAX: usize = 8;

/// A prefix whose addresses are on a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct OnLink {
    interface: u16,
    prefix: Ipv6Addr,
    prefix_len: u8,
}

/// All that was learned, of all links.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    on_link: Vec<OnLink>,
    own: Vec<(Ipv6Addr, u16)>,
    router: Option<(u16, Host)>,
}

impl Learned {
    /// Room for what one more interface may learn.
    pub(crate) fn make_room(&mut self) {
        self.on_link.reserve_exact(ON_LINK_MAX);
        self.own.reserve_exact(FORMED_MAX);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.router.is_none() && self.on_link.is_empty() && self.own.is_empty()
    }

    /// The router of last resort.
    pub(crate) fn router(&self) -> Option<(u16, Host)> {
        self.router
    }

    /// Whether a router said that an address is on a link.
    pub(crate) fn is_on_link(&self, interface: u16, address: Ipv6Addr) -> bool {
        let holds = |on_link: &OnLink| mask(address, on_link.prefix_len) == on_link.prefix;
        self.on_link.iter().any(|on_link| on_link.interface == interface && holds(on_link))
    }

    fn longest(&self, address: Ipv6Addr) -> Option<OnLink> {
        let holds = |on_link: &&OnLink| mask(address, on_link.prefix_len) == on_link.prefix;
        self.on_link.iter().filter(holds).max_by_key(|on_link| on_link.prefix_len).copied()
    }
}

impl Stack {
    /// As a look-up in the table of routes, of which the longest prefix counts here too; the router
    /// of last resort comes after all of them.
    #[cold]
    pub(crate) fn lookup_learned(&self, address: Ipv6Addr) -> Option<NextHop> {
        if let Some((_, interface)) = self.learned.own.iter().find(|(own, _)| *own == address) {
            return Some(NextHop::Local { interface: *interface });
        }
        let configured = self.fib_v6.find_with_len(address);
        let on_link = self.learned.longest(address);
        match (configured, on_link) {
            (Some((next_hop, len)), Some(on_link)) if len >= on_link.prefix_len => Some(next_hop),
            (_, Some(OnLink { interface, .. })) => Some(NextHop::Connected { interface }),
            (Some((next_hop, _)), None) => Some(next_hop),
            (None, None) => {
                let (interface, gateway) = self.learned.router?;
                Some(NextHop::Via { interface, gateway })
            }
        }
    }

    /// Whether the router of last resort is the one at this address of a link.
    pub(crate) fn is_router(&self, interface: InterfaceId, address: Ipv6Addr) -> bool {
        self.learned.router.is_some_and(|(at, host)| {
            self.interfaces[usize::from(at)].id == interface
                && self.hosts.v6(host).is_some_and(|(known, _)| known == address)
        })
    }

    /// A prefix is on a link from now on, or not any more.
    pub(crate) fn set_on_link(
        &mut self,
        interface: u16,
        (prefix, prefix_len): (Ipv6Addr, u8),
        is_on_link: bool,
    ) {
        let row = OnLink { interface, prefix, prefix_len };
        let known = self.learned.on_link.iter().position(|other| *other == row);
        match (known, is_on_link) {
            (None, true) if self.learned.on_link.len() < self.learned.on_link.capacity() => {
                self.learned.on_link.push(row);
            }
            (Some(at), false) => {
                self.learned.on_link.swap_remove(at);
            }
            (None | Some(_), _) => {}
        }
        self.count_learned();
    }

    /// Another router is the one of last resort, or none. What went by the one before finds its way
    /// anew (RFC 4861, 6.3.5).
    pub(crate) fn set_router(&mut self, router: Option<(u16, Ipv6Addr)>) {
        let router = match router {
            Some((interface, address)) => {
                match self.hosts.acquire(address, zone_of(address, interface)) {
                    Some(host) => Some((interface, host)),
                    None => return self.note(Err(DropReason::HostTable)),
                }
            }
            None => None,
        };
        let before = std::mem::replace(&mut self.learned.router, router);
        self.count_learned();
        let Some((interface, host)) = before else { return };
        if before != router {
            self.forget_router(interface, host);
        }
        self.hosts.release(host);
    }

    /// Gauges of one worker alone: those of all are summed.
    fn count_learned(&self) {
        if self.speaks_arp() {
            self.counters.default_routers.set(u64::from(self.learned.router.is_some()));
            self.counters.learned_prefixes.set(self.learned.on_link.len() as u64);
            self.counters.formed_addresses.set(self.learned.own.len() as u64);
        }
    }

    /// Makes the neighbour's entry anew, so that connections, whose key of it names nothing then, look
    /// for their next hop again. One that is known to be silent stays: it must not be tried again at
    /// once, and they look anyway.
    fn forget_router(&mut self, interface: u16, host: Host) {
        let Some(key) = self.neighbors.find(interface, host) else { return };
        if self.neighbors.is_failed(key) {
            return;
        }
        while self.neighbors.pop_parked(key).is_some() {
            self.note(Err(DropReason::NeighborEvicted));
        }
        while let Some(index) = self.neighbors.pop_waiting(key, &mut self.connections) {
            if self.unqueued(index) {
                self.want_output(index);
            }
        }
        let mac = self.neighbors.get(key).map(|neighbor| neighbor.mac);
        self.neighbors.remove(key);
        self.hosts.release(host);
        let Some(mac) = mac.filter(|mac| *mac != MacAddress::ZERO) else { return };
        let (source, now) = (self.interfaces[usize::from(interface)].mac, self.now);
        if let Some(key) = self.make_neighbor(interface, source, host, now) {
            self.neighbors.learn(key, mac, Heard::Announcement, now);
        }
    }

    /// An address of ours was made of a prefix, or something else holds for it now. False if it
    /// cannot be had.
    pub(crate) fn set_formed(
        &mut self,
        interface: u16,
        address: Ipv6Addr,
        state: FormedState,
        detection: AddressState,
    ) -> bool {
        let Some(link) = self.interfaces.get_mut(usize::from(interface)) else { return false };
        let known = link.addresses_v6.iter().position(|own| own.address == address);
        match (known, state) {
            (Some(_), FormedState::Gone) => self.forget_formed(interface, address),
            (None, FormedState::Gone) => {}
            (Some(at), _) => {
                link.addresses_v6[at].is_deprecated = state == FormedState::Deprecated;
            }
            (None, _) => {
                let is_full = link.addresses_v6.len() == link.addresses_v6.capacity()
                    || self.learned.own.len() == self.learned.own.capacity();
                let host = if is_full { None } else { self.hosts.acquire(address, None) };
                let Some(host) = host else { return false };
                link.addresses_v6.push(OwnV6 {
                    address,
                    // What is on the link, prefixes say (RFC 5942, 4).
                    prefix_len: 128,
                    host,
                    state: detection,
                    is_deprecated: state == FormedState::Deprecated,
                });
                self.learned.own.push((address, interface));
            }
        }
        self.count_learned();
        true
    }

    /// RFC 4862, 5.5.4: an address whose time is over. What goes on with it ends, with the last that
    /// is said in its name.
    fn forget_formed(&mut self, interface: u16, address: Ipv6Addr) {
        let is_it = |(own, at): &(Ipv6Addr, u16)| *own == address && *at == interface;
        let Some(at) = self.learned.own.iter().position(is_it) else { return };
        self.learned.own.swap_remove(at);
        let link = &mut self.interfaces[usize::from(interface)];
        let at = link.addresses_v6.iter().position(|own| own.address == address);
        let Some(own) = at.map(|at| link.addresses_v6.remove(at)) else { return };
        if self.hosts.users(own.host) > 1 {
            self.end_connections_of(own.host);
        }
        self.hosts.release(own.host);
    }

    fn end_connections_of(&mut self, local: Host) {
        let of_it: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, entry)| entry.tuple.local == local && entry.tcp.state() != State::Closed)
            .map(|(key, _)| key)
            .collect();
        let now = self.now;
        for key in of_it {
            let Some(entry) = self.connections.get_mut(key) else { continue };
            entry.reason = Some(CloseReason::Aborted);
            self.drive(key.index, now, Connection::abort);
        }
    }
}
