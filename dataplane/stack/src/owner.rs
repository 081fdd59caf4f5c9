//! Which worker a packet belongs to.
//!
//! One pure function of the packet and of what all workers share; every worker gives the same
//! answer, whatever queue the packet came in by. RSS and TAP's learning are hints that save the hop
//! between workers, never truth.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use sluice_base::{HashKey, WorkerId};

/// What about a packet decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// Address resolution, by ARP or neighbour discovery: neighbours have one writer.
    Arp,
    /// A transport packet to `local`, or an ICMP error about one from it.
    Flow {
        /// Our address.
        local: Ipv4Addr,
        /// Our port.
        local_port: u16,
        /// The peer's address.
        remote: Ipv4Addr,
        /// The peer's port.
        remote_port: u16,
    },
    /// A packet without ports: fragments, ICMP questions, other protocols.
    Addresses {
        /// Source address.
        source: Ipv4Addr,
        /// Destination address.
        destination: Ipv4Addr,
    },
    /// As `Flow`, over IPv6.
    FlowV6 {
        /// Our address.
        local: Ipv6Addr,
        /// Our port.
        local_port: u16,
        /// The peer's address.
        remote: Ipv6Addr,
        /// The peer's port.
        remote_port: u16,
    },
    /// As `Addresses`, over IPv6.
    AddressesV6 {
        /// Source address.
        source: Ipv6Addr,
        /// Destination address.
        destination: Ipv6Addr,
    },
}

/// What all workers share about ownership.
#[derive(Clone, Debug)]
pub struct Owners {
    key: HashKey,
    workers: u16,
    upstream_ports: RangeInclusive<u16>,
    /// Ports of that range that a listener took out of it, a bit each.
    listened: Vec<u64>,
}

impl Owners {
    /// `secret` and `upstream_ports` must be equal in all workers.
    #[must_use]
    pub fn new(secret: [u64; 2], workers: u16, upstream_ports: RangeInclusive<u16>) -> Self {
        let listened = vec![0; usize::from(u16::MAX / 64) + 1];
        Self { key: HashKey::new(secret), workers: workers.max(1), upstream_ports, listened }
    }

    /// Takes a listener's port out of the upstream range, for good: its connections outlive it.
    ///
    /// Workers hear of a listener one after the other, and a connection of ours may have the port
    /// already. So a worker without the flow asks [`Owners::owner_before`] whose it may be.
    pub(crate) fn listen(&mut self, port: u16) {
        self.listened[usize::from(port / 64)] |= 1 << (port % 64);
    }

    /// Whether a listener has, or had, the port.
    #[inline]
    pub(crate) fn is_listened(&self, port: u16) -> bool {
        self.listened[usize::from(port / 64)] & (1 << (port % 64)) != 0
    }

    /// Who owned a port of the upstream range before a listener took it out.
    pub(crate) fn owner_before(&self, local_port: u16) -> Option<WorkerId> {
        let was_upstream = self.upstream_ports.contains(&local_port);
        (was_upstream && self.is_listened(local_port)).then(|| WorkerId(local_port % self.workers))
    }

    /// The worker that answers for `subject`.
    ///
    /// A local port out of the upstream range belongs to worker `port mod workers`, so that a
    /// worker can choose its own source ports, unless a listener has it. The rest is spread by a
    /// keyed hash.
    #[inline]
    #[must_use]
    pub fn owner(&self, subject: &Subject) -> WorkerId {
        if self.workers == 1 {
            return WorkerId(0);
        }
        match *subject {
            Subject::Arp => WorkerId(0),
            Subject::Flow { local_port, .. } | Subject::FlowV6 { local_port, .. }
                if self.upstream_ports.contains(&local_port) && !self.is_listened(local_port) =>
            {
                WorkerId(local_port % self.workers)
            }
            Subject::Flow { local, local_port, remote, remote_port } => {
                let ports = u64::from(local_port) << 16 | u64::from(remote_port);
                self.spread(local, remote, ports)
            }
            Subject::Addresses { source, destination } => {
                self.spread(destination, source, u64::MAX)
            }
            Subject::FlowV6 { local, local_port, remote, remote_port } => {
                let ports = u64::from(local_port) << 16 | u64::from(remote_port);
                self.spread_v6(local, remote, ports)
            }
            Subject::AddressesV6 { source, destination } => {
                self.spread_v6(destination, source, u64::MAX)
            }
        }
    }

    fn spread(&self, local: Ipv4Addr, remote: Ipv4Addr, rest: u64) -> WorkerId {
        let addresses = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
        self.worker_of(self.key.hash_pair(addresses, rest))
    }

    fn spread_v6(&self, local: Ipv6Addr, remote: Ipv6Addr, rest: u64) -> WorkerId {
        self.worker_of(hash_v6(&self.key, local, remote, rest))
    }

    #[inline]
    fn worker_of(&self, hash: u64) -> WorkerId {
        let hash = hash >> 32;
        WorkerId(((hash * u64::from(self.workers)) >> 32) as u16)
    }
}

/// Two IPv6 addresses and another word, under a key.
#[inline]
pub(crate) fn hash_v6(key: &HashKey, local: Ipv6Addr, remote: Ipv6Addr, rest: u64) -> u64 {
    let pair = |address: Ipv6Addr, before: u64| {
        let bits = address.to_bits();
        key.hash_pair((bits >> 64) as u64 ^ before, bits as u64)
    };
    key.hash_word(pair(remote, pair(local, 0)) ^ rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(local_port: u16, remote_port: u16) -> Subject {
        let (local, remote) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        Subject::Flow { local, local_port, remote, remote_port }
    }

    #[test]
    fn upstream_ports_name_their_worker() {
        let owners = Owners::new([1, 2], 3, 32_768..=60_999);
        for port in [32_768, 40_000, 60_999] {
            assert_eq!(owners.owner(&flow(port, 80)), WorkerId(port % 3));
        }
        assert_eq!(owners.owner(&Subject::Arp), WorkerId(0));
    }

    #[test]
    fn ipv6_flows_spread_and_upstream_ports_name_their_worker() {
        let owners = Owners::new([1, 2], 4, 32_768..=60_999);
        let (local, remote) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let flow = |local_port, remote_port| {
            owners.owner(&Subject::FlowV6 { local, local_port, remote, remote_port })
        };
        assert_eq!(flow(40_001, 80), WorkerId(1));
        let mut counts = [0; 4];
        (0..40_000).for_each(|port| counts[flow(80, port).index()] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn clients_spread_over_all_workers() {
        let owners = Owners::new([1, 2], 4, 32_768..=60_999);
        let mut counts = [0; 4];
        for port in 0..40_000 {
            counts[owners.owner(&flow(80, port)).index()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn one_worker_owns_everything() {
        let owners = Owners::new([1, 2], 1, 1..=u16::MAX);
        assert_eq!(owners.owner(&flow(50_001, 80)), WorkerId(0));
    }
}
