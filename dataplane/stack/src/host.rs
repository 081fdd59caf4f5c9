//! Hosts of either family, named in 32 bits.
//!
//! An IPv4 address names itself. An IPv6 address gets a number while somebody needs it: a connection,
//! a TIME-WAIT record, a neighbour, an address of ours, or the packet in hand. Numbers lie in
//! 240.0.0.0/4, which no host has (RFC 1112, 4; both input and configuration refuse it). So tuples,
//! next hops and neighbours are as small, and are compared and hashed as fast, as with IPv4 alone,
//! and an IPv6 packet pays for one look-up more.
//!
//! Why so: `docs/adr/0007-hosts-in-32-bits.md`.
//!
//! A link-local address says nothing without its link (RFC 4007, 6): its zone is part of the key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_base::HashKey;

use crate::addresses::is_link_local_v6;

/// The first number of an IPv6 address.
const FIRST_V6: u32 = 0xf000_0000;
/// As many as there can be numbers, less the last, which is [`Host::ANY_V6`].
const NUMBERS_MAX: u32 = u32::MAX - FIRST_V6 - 1;

const NIL: u32 = u32::MAX;

/// One host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Host(u32);

impl Host {
    /// All of our IPv4 addresses.
    pub(crate) const ANY_V4: Self = Self(0);
    /// All of our IPv6 addresses.
    pub(crate) const ANY_V6: Self = Self(u32::MAX);

    #[inline]
    pub(crate) const fn is_v6(self) -> bool {
        self.0 >= FIRST_V6
    }

    /// The address of an IPv4 host.
    #[inline]
    pub(crate) const fn v4(self) -> Option<Ipv4Addr> {
        if self.is_v6() { None } else { Some(Ipv4Addr::from_bits(self.0)) }
    }

    /// What is hashed.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

impl From<Ipv4Addr> for Host {
    #[inline]
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_bits())
    }
}

/// The link on which a link-local address has a meaning; none for every other address.
#[inline]
pub(crate) fn zone_of(address: Ipv6Addr, interface: u16) -> Option<u16> {
    is_link_local_v6(address).then_some(interface)
}

#[derive(Debug)]
struct Record {
    address: Ipv6Addr,
    zone: Option<u16>,
    users: u32,
    /// The next of the bucket, or of the free ones.
    next: u32,
}

/// The IPv6 addresses that have numbers.
#[derive(Debug)]
pub(crate) struct Hosts {
    key: HashKey,
    buckets: Vec<u32>,
    records: Vec<Record>,
    free: u32,
    limit: u32,
    len: u32,
}

impl Hosts {
    /// A table for `limit` addresses; memory is touched as they come.
    pub(crate) fn new(limit: u32, key: HashKey) -> Self {
        let limit = limit.min(NUMBERS_MAX);
        Self {
            key,
            buckets: vec![NIL; (limit as usize).next_power_of_two()],
            records: Vec::with_capacity(limit as usize),
            free: NIL,
            limit,
            len: 0,
        }
    }

    /// The host with this address, if it has a number.
    #[inline]
    pub(crate) fn find(&self, address: Ipv6Addr, zone: Option<u16>) -> Option<Host> {
        let mut at = self.buckets[self.bucket(address, zone)];
        while at != NIL {
            let record = &self.records[at as usize];
            if record.address == address && record.zone == zone {
                return Some(Host(FIRST_V6 + at));
            }
            at = record.next;
        }
        None
    }

    /// The host with this address, with one more user. None if there are too many.
    #[inline]
    pub(crate) fn acquire(&mut self, address: Ipv6Addr, zone: Option<u16>) -> Option<Host> {
        match self.find(address, zone) {
            Some(host) => {
                self.retain(host);
                Some(host)
            }
            None => self.insert(address, zone),
        }
    }

    fn insert(&mut self, address: Ipv6Addr, zone: Option<u16>) -> Option<Host> {
        let bucket = self.bucket(address, zone);
        let record = Record { address, zone, users: 1, next: self.buckets[bucket] };
        let at = self.free;
        let at = if at != NIL {
            self.free = self.records[at as usize].next;
            self.records[at as usize] = record;
            at
        } else if (self.records.len() as u32) < self.limit {
            self.records.push(record);
            self.records.len() as u32 - 1
        } else {
            return None;
        };
        self.buckets[bucket] = at;
        self.len += 1;
        Some(Host(FIRST_V6 + at))
    }

    /// One more user. An IPv4 host needs none.
    #[inline]
    pub(crate) fn retain(&mut self, host: Host) {
        if let Some(record) = self.record_mut(host) {
            record.users += 1;
        }
    }

    /// One user less; the last one takes the number with him.
    #[inline]
    pub(crate) fn release(&mut self, host: Host) {
        if let Some(record) = self.record_mut(host) {
            debug_assert!(record.users > 0, "a host is released by its users");
            record.users -= 1;
            if record.users == 0 {
                self.remove(host.0 - FIRST_V6);
            }
        }
    }

    fn remove(&mut self, at: u32) {
        let Record { address, zone, next, .. } = self.records[at as usize];
        let bucket = self.bucket(address, zone);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket];
            while before != NIL && self.records[before as usize].next != at {
                before = self.records[before as usize].next;
            }
            debug_assert_ne!(before, NIL, "every record is in its bucket");
            if let Some(record) = self.records.get_mut(before as usize) {
                record.next = next;
            }
        }
        self.records[at as usize].next = self.free;
        self.free = at;
        self.len -= 1;
    }

    /// The IPv6 address of a host, and its link if that is part of it.
    #[inline]
    pub(crate) fn v6(&self, host: Host) -> Option<(Ipv6Addr, Option<u16>)> {
        let record = self.records.get(host.0.checked_sub(FIRST_V6)? as usize)?;
        Some((record.address, record.zone))
    }

    /// The address of a host.
    pub(crate) fn ip(&self, host: Host) -> IpAddr {
        match (host.v4(), self.v6(host)) {
            (Some(address), _) => address.into(),
            (None, Some((address, _))) => address.into(),
            (None, None) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// How many need the number of a host; an IPv4 one has none.
    pub(crate) fn users(&self, host: Host) -> u32 {
        let record = host.0.checked_sub(FIRST_V6).and_then(|at| self.records.get(at as usize));
        record.map_or(0, |record| record.users)
    }

    /// Makes room for more addresses. For the start.
    pub(crate) fn make_room(&mut self, more: u32) {
        self.limit = self.limit.saturating_add(more).min(NUMBERS_MAX);
        self.records.reserve_exact(self.limit as usize - self.records.len());
        self.buckets = vec![NIL; (self.limit as usize).next_power_of_two()];
        for at in 0..self.records.len() as u32 {
            let Record { address, zone, users, .. } = self.records[at as usize];
            if users > 0 {
                let bucket = self.bucket(address, zone);
                self.records[at as usize].next = self.buckets[bucket];
                self.buckets[bucket] = at;
            }
        }
    }

    /// How many addresses have numbers.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    fn record_mut(&mut self, host: Host) -> Option<&mut Record> {
        self.records.get_mut(host.0.checked_sub(FIRST_V6)? as usize)
    }

    #[inline]
    fn bucket(&self, address: Ipv6Addr, zone: Option<u16>) -> usize {
        let (high, low) = ((address.to_bits() >> 64) as u64, address.to_bits() as u64);
        let zone = zone.map_or(0, |zone| u64::from(zone) + 1);
        self.key.hash_pair(high ^ zone, low) as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sluice_base::Rng;

    use super::*;

    fn address(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, last)
    }

    #[test]
    fn ipv4_names_itself() {
        let host = Host::from(Ipv4Addr::new(10, 0, 0, 1));
        assert!(!host.is_v6());
        assert_eq!(host.v4(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        let mut hosts = Hosts::new(0, HashKey::new([1, 2]));
        hosts.retain(host);
        hosts.release(host);
        assert_eq!(hosts.ip(host).to_string(), "10.0.0.1");
        assert_eq!(hosts.acquire(address(1), None), None, "none has room for none");
    }

    #[test]
    fn a_number_lives_as_long_as_its_users() {
        let mut hosts = Hosts::new(2, HashKey::new([1, 2]));
        let one = hosts.acquire(address(1), None).expect("room");
        assert!(one.is_v6() && one.v4().is_none());
        assert_eq!(hosts.acquire(address(1), None), Some(one));
        let two = hosts.acquire(address(2), None).expect("room");
        assert_ne!(one, two);
        assert_eq!(hosts.acquire(address(3), None), None, "full is an answer");
        hosts.release(one);
        assert_eq!(hosts.find(address(1), None), Some(one), "one user is left");
        hosts.release(one);
        assert_eq!((hosts.find(address(1), None), hosts.len()), (None, 1));
        assert!(hosts.acquire(address(3), None).is_some());
        assert_eq!(hosts.v6(two), Some((address(2), None)));
    }

    #[test]
    fn the_link_is_part_of_a_link_local_address() {
        let mut hosts = Hosts::new(4, HashKey::new([1, 2]));
        let local: Ipv6Addr = "fe80::1".parse().expect("an address");
        let one = hosts.acquire(local, zone_of(local, 0)).expect("room");
        let two = hosts.acquire(local, zone_of(local, 1)).expect("room");
        assert_ne!(one, two);
        assert_eq!(zone_of(address(1), 7), None);
    }

    #[test]
    fn agrees_with_a_map() {
        let (mut rng, mut model) = (Rng::new(1), BTreeMap::new());
        let mut hosts = Hosts::new(50, HashKey::new([3, 4]));
        for _ in 0..20_000 {
            let last = rng.below(80) as u16;
            let known: Option<&mut (Host, u32)> = model.get_mut(&last);
            match (known, rng.below(2)) {
                (Some((host, users)), 0) => {
                    hosts.release(*host);
                    *users -= 1;
                    if *users == 0 {
                        model.remove(&last);
                    }
                }
                (Some((host, users)), _) => {
                    assert_eq!(hosts.acquire(address(last), None), Some(*host));
                    *users += 1;
                }
                (None, _) => match hosts.acquire(address(last), None) {
                    Some(host) => drop(model.insert(last, (host, 1))),
                    None => assert_eq!(model.len(), 50),
                },
            }
            assert_eq!(hosts.len() as usize, model.len());
        }
    }
}
