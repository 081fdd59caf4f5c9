//! The same endpoint for the same hash, and few changes when the set changes: Maglev hashing
//! (Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer", 2016, 3.4).
//!
//! Every endpoint has a permutation of the table's places that follows from its address alone. In
//! turns each takes the next place of its own that is free, until none is. So places are shared
//! evenly to within one, any two processes that know the same endpoints agree, and what an endpoint
//! leaves or brings moves hardly anything of the others'.

use std::net::{IpAddr, SocketAddr};

use sluice_base::{EndpointId, HashKey};

use crate::Endpoint;

/// Places: a prime, and Envoy's default. A hundred endpoints then differ by 1 % at most.
const PLACES: u32 = 65_537;

/// Other places that are tried when an endpoint is to be passed over.
const TRIES: u64 = 16;

/// Not secret, and for ever the same: processes are to agree.
const KEY: HashKey = HashKey::new([0x6d61_676c_6576, 0x736c_7569_6365]);

/// Which endpoint each place belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Maglev {
    places: Box<[u32]>,
}

impl Maglev {
    /// The table of a set. Endpoints beyond as many as there are places get none.
    pub(crate) fn new(endpoints: &[Endpoint]) -> Self {
        const FREE: u32 = u32::MAX;
        let mut places = vec![FREE; if endpoints.is_empty() { 0 } else { PLACES as usize }];
        // The order of the configuration must not matter where two want one place.
        let mut order: Vec<u32> = (0..endpoints.len() as u32).collect();
        order.sort_by_key(|index| endpoints[*index as usize].address);
        let mut wishes: Vec<_> = order
            .iter()
            .map(|index| {
                let hash = hash_address(endpoints[*index as usize].address);
                let (offset, skip) = (hash as u32 % PLACES, (hash >> 32) as u32 % (PLACES - 1) + 1);
                (offset, skip)
            })
            .collect();
        let mut left = places.len();
        // Each turn takes at least one place, and there is one while there are endpoints.
        while left > 0 {
            for (index, (next, skip)) in order.iter().zip(&mut wishes).take(left) {
                while places[*next as usize] != FREE {
                    *next = (*next + *skip) % PLACES;
                }
                places[*next as usize] = *index;
                left -= 1;
            }
        }
        Self { places: places.into() }
    }

    /// The position of the endpoint for `hash`, which is not among `exclude` unless all that were
    /// looked at are.
    pub(crate) fn pick(&self, endpoints: &[Endpoint], hash: u64, exclude: &[EndpointId]) -> usize {
        let at = |hash: u64| {
            let place = (u128::from(hash) * self.places.len() as u128) >> 64;
            self.places.get(place as usize).map_or(0, |index| *index as usize)
        };
        let first = at(hash);
        let is_wanted = |index: usize| {
            endpoints.get(index).is_some_and(|endpoint| !exclude.contains(&endpoint.id))
        };
        if is_wanted(first) {
            return first;
        }
        let others = (1..=TRIES).map(|again| at(KEY.hash_pair(hash, again)));
        others.into_iter().find(|index| is_wanted(*index)).unwrap_or(first)
    }
}

/// What a client's requests are spread by: its address (`source_ip`).
#[must_use]
pub fn hash_source(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => KEY.hash_pair(4, u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            KEY.hash_pair((bits >> 64) as u64, bits as u64)
        }
    }
}

fn hash_address(address: SocketAddr) -> u64 {
    KEY.hash_pair(hash_source(address.ip()), u64::from(address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn endpoints(numbers: impl IntoIterator<Item = u32>) -> Vec<Endpoint> {
        let endpoint = |number| Endpoint {
            id: EndpointId(number),
            address: SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + number).into(), 53),
        };
        numbers.into_iter().map(endpoint).collect()
    }

    fn chosen(set: &[Endpoint]) -> Vec<EndpointId> {
        let table = Maglev::new(set);
        let hashes = (0..20_000u32).map(|client| hash_source(Ipv4Addr::from_bits(client).into()));
        hashes.map(|hash| set[table.pick(set, hash, &[])].id).collect()
    }

    #[test]
    fn places_are_shared_evenly() {
        let set = endpoints(0..100);
        let mut counts = vec![0u32; 100];
        for index in &Maglev::new(&set).places {
            counts[*index as usize] += 1;
        }
        assert!(counts.iter().all(|count| (655..=656).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_endpoint_that_goes_takes_hardly_anything_of_the_others_along() {
        let before = chosen(&endpoints(0..10));
        let after = chosen(&endpoints((0..10).filter(|number| *number != 4)));
        let pairs = || before.iter().zip(&after);
        let moved = pairs().filter(|(before, after)| before != after).count();
        let orphans = before.iter().filter(|id| id.0 == 4).count();
        assert!((1_600..2_400).contains(&orphans), "{orphans} of 20,000 were its own");
        assert!(moved < orphans + 20_000 / 20, "{moved} moved, {orphans} had to");
    }

    #[test]
    fn the_order_of_the_configuration_does_not_matter() {
        assert_eq!(chosen(&endpoints(0..7)), chosen(&endpoints((0..7).rev())));
    }

    #[test]
    fn an_excluded_endpoint_is_passed_over_if_there_is_another() {
        let set = endpoints(0..3);
        let table = Maglev::new(&set);
        for client in 0..1_000u32 {
            let hash = hash_source(Ipv4Addr::from_bits(client).into());
            let first = set[table.pick(&set, hash, &[])].id;
            let second = set[table.pick(&set, hash, &[first])].id;
            assert_ne!(first, second);
            let all = [EndpointId(0), EndpointId(1), EndpointId(2)];
            assert_eq!(set[table.pick(&set, hash, &all)].id, first, "better than nobody");
        }
        let one = endpoints(5..6);
        assert_eq!(Maglev::new(&one).pick(&one, 7, &[EndpointId(5)]), 0);
    }

    #[test]
    fn families_and_ports_are_told_apart() {
        let v4 = hash_source(Ipv4Addr::new(0, 0, 0, 9).into());
        let v6 = hash_source("::9".parse().expect("an address"));
        assert_ne!(v4, v6);
        let at = |port| hash_address(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        assert_ne!(at(1), at(2));
    }
}
