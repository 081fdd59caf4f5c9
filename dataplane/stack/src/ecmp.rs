//! Several next hops for one destination (RFC 2992): flows are spread, and each stays where it is.
//!
//! A flow has one of 256 slots by its keyed hash. Each slot has all next hops in an order of its own,
//! by rendezvous: the order of two hops in a slot depends on nothing but the two. So a hop that is
//! taken away, or does not answer, moves only the flows that it had, and evenly; they are back when it
//! is. A hop that is passed over is asked after all the same, else nobody would hear of its return.

use std::net::IpAddr;

use sluice_base::{HashKey, SlabKey};
use sluice_wire::{IpProtocol, ipv4, ipv6};

use crate::host::Host;
use crate::neighbor::Reach;
use crate::stack::Stack;

/// Next hops of one group.
pub(crate) const HOPS_MAX: usize = 16;
const SLOTS: usize = 256;

/// The next hops of one destination.
#[derive(Debug)]
pub(crate) struct Group {
    hops: Vec<(u16, Host)>,
    /// Per slot, positions of hops in their order.
    order: Vec<[u8; HOPS_MAX]>,
}

impl Group {
    /// A group of the first [`HOPS_MAX`] of `hops`: position of the interface, and the router there,
    /// with the address that its places in the slots depend on.
    pub(crate) fn new(mut hops: Vec<(u16, IpAddr, Host)>, key: &HashKey) -> Self {
        hops.truncate(HOPS_MAX);
        let order = (0..SLOTS).map(|slot| {
            let mut order = [0; HOPS_MAX];
            (0u8..).zip(&mut order[..hops.len()]).for_each(|(at, place)| *place = at);
            order[..hops.len()].sort_by_key(|at| {
                let bits = match hops[usize::from(*at)].1 {
                    IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(address) => address.to_bits(),
                };
                key.hash_pair(key.hash_pair(slot as u64, (bits >> 64) as u64), bits as u64)
            });
            order
        });
        let order = order.collect();
        Self { order, hops: hops.into_iter().map(|(at, _, host)| (at, host)).collect() }
    }

    /// Positions of the hops' interfaces.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = u16> {
        self.hops.iter().map(|(interface, _)| *interface)
    }

    /// The hops in the order of a flow.
    #[inline]
    fn hops(&self, flow: u64) -> impl Iterator<Item = (u16, Host)> {
        let order = &self.order[(flow >> 32) as usize % SLOTS][..self.hops.len()];
        order.iter().map(|at| self.hops[usize::from(*at)])
    }
}

impl Stack {
    /// The next hop of a flow: the first in its order that can be sent to now; else the first that
    /// may turn up; else the first.
    pub(crate) fn hop_of(&mut self, group: u16, flow: u64) -> (u16, Host) {
        let now = self.now;
        let mut hops = [(0, Host::ANY_V4); HOPS_MAX];
        let mut count = 0;
        for (place, hop) in hops.iter_mut().zip(self.groups[usize::from(group)].hops(flow)) {
            *place = hop;
            count += 1;
        }
        let mut waiting = None;
        for (interface, gateway) in &hops[..count] {
            let Some(key) = self.neighbor(*interface, *gateway, now) else { continue };
            match self.reach(key, now) {
                Reach::Usable => return (*interface, *gateway),
                Reach::Waiting => waiting = waiting.or(Some((*interface, *gateway))),
                Reach::Failed => {}
            }
        }
        waiting.unwrap_or(hops[0])
    }

    /// Lets a connection whose next hop is silent, or is forgotten, go on by another one, if its route
    /// has one now: what it had sent counts as lost. True if it does.
    pub(crate) fn reroute(&mut self, key: SlabKey) -> bool {
        let Some(entry) = self.connections.get(key) else { return false };
        let (remote, before) = (entry.tuple.remote, (entry.interface, entry.next_hop));
        let flow = entry.tuple.hash(&self.flow_key);
        let Ok(way) = self.route_flow(remote, flow) else { return false };
        let Some(entry) = self.connections.get_mut(key).filter(|_| way != before) else {
            return false;
        };
        (entry.interface, entry.next_hop) = way;
        entry.neighbor = SlabKey::NONE;
        self.hosts.retain(way.1);
        self.hosts.release(before.1);
        true
    }

    /// The flow of an IPv4 packet whose header is `header` and what lies behind. Fragments have no
    /// ports, and all of a packet take one way.
    #[inline]
    pub(crate) fn flow_of(&self, header: &[u8]) -> u64 {
        let Some(fields) = header.first_chunk::<{ ipv4::HEADER_LEN }>() else { return 0 };
        let word = |at: usize| {
            u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]])
        };
        let is_fragment = word(4) & 0x3fff != 0;
        let protocol = fields[9];
        let has_ports =
            protocol == IpProtocol::Tcp.number() || protocol == IpProtocol::Udp.number();
        let ports = match header.get(usize::from(fields[0] & 0x0f) * 4..) {
            Some([a, b, c, d, ..]) if has_ports && !is_fragment => {
                u32::from_be_bytes([*a, *b, *c, *d])
            }
            _ => 0,
        };
        self.flow(word(12), word(16), u64::from(ports) << 8 | u64::from(protocol))
    }

    /// The flow of an IPv6 packet: RFC 6438 has its label stand for the ports, of all fragments too.
    pub(crate) fn flow_of_v6(&self, header: &[u8]) -> u64 {
        let Some(fields) = header.first_chunk::<{ ipv6::HEADER_LEN }>() else { return 0 };
        let words = fields.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word));
        let label =
            u64::from(u32::from_be_bytes([0, fields[1], fields[2], fields[3]]) & 0x000f_ffff);
        words.skip(1).fold(label, |flow, word| self.spread_key.hash_pair(flow, word))
    }

    /// The flow between two addresses.
    #[inline]
    pub(crate) fn flow(&self, source: u32, destination: u32, rest: u64) -> u64 {
        let addresses = u64::from(source) << 32 | u64::from(destination);
        self.spread_key.hash_pair(addresses, rest)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn group(hops: &[u8]) -> Group {
        let hops = hops.iter().map(|last| {
            let address = Ipv4Addr::new(10, 0, 0, *last);
            (0, address.into(), address.into())
        });
        Group::new(hops.collect(), &HashKey::new([1, 2]))
    }

    fn first(group: &Group, flow: u64) -> u8 {
        group
            .hops(flow << 32)
            .next()
            .expect("a hop")
            .1
            .v4()
            .map_or(0, |address| address.octets()[3])
    }

    /// Without this, one router's maintenance would move the flows of all others.
    #[test]
    fn taking_a_hop_away_moves_only_its_flows() {
        let (all, fewer) = (group(&[1, 2, 3, 4]), group(&[4, 2, 1]));
        let mut counts = [0; 5];
        let mut moved = [0; 5];
        for flow in 0..SLOTS as u64 {
            let (before, after) = (first(&all, flow), first(&fewer, flow));
            counts[usize::from(before)] += 1;
            if before == 3 {
                moved[usize::from(after)] += 1;
                let second = all.hops(flow << 32).nth(1).expect("another hop").1.v4();
                assert_eq!(second, Some(Ipv4Addr::new(10, 0, 0, after)), "the next in its order");
            } else {
                assert_eq!(before, after);
            }
        }
        assert!(counts[1..].iter().all(|count| (40..90).contains(count)), "{counts:?}");
        assert!([1, 2, 4].iter().all(|hop| moved[*hop] > 8), "{moved:?}");
    }
}
