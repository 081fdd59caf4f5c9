//! The less loaded of two random endpoints: the power of two choices.
//!
//! Looking at two instead of at all keeps the choice at two cache lines however large the cluster,
//! and keeps workers, whose load counts are their own, from all falling upon the one endpoint that
//! looks idlest (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use sluice_base::{EndpointId, Rng};

use crate::{Endpoint, LoadTable};

/// The index of the endpoint to take; there are at least two.
#[inline]
pub(crate) fn pick(
    endpoints: &[Endpoint],
    load: &LoadTable,
    rng: &mut Rng,
    exclude: &[EndpointId],
) -> usize {
    if !exclude.is_empty() {
        return pick_other(endpoints, load, rng, exclude);
    }
    let (first, second) = two_of(endpoints.len(), rng);
    let active = |index: usize| load.active(endpoints[index].id);
    if active(second) < active(first) { second } else { first }
}

/// Two different numbers in `0..len`, each pair in each order equally likely; `len` is at least 2.
#[inline]
fn two_of(len: usize, rng: &mut Rng) -> (usize, usize) {
    let first = rng.below(len as u32) as usize;
    let second = rng.below(len as u32 - 1) as usize;
    (first, if second < first { second } else { second + 1 })
}

/// A retry: the same choice among those it has not been to; walks the set, as retries are few.
#[cold]
fn pick_other(
    endpoints: &[Endpoint],
    load: &LoadTable,
    rng: &mut Rng,
    exclude: &[EndpointId],
) -> usize {
    let fresh = |endpoint: &&Endpoint| !exclude.contains(&endpoint.id);
    let count = endpoints.iter().filter(fresh).count();
    let nth = |nth: usize| {
        let index = endpoints.iter().enumerate().filter(|(_, endpoint)| fresh(endpoint)).nth(nth);
        index.map_or(0, |(index, _)| index)
    };
    match count {
        0 => pick(endpoints, load, rng, &[]),
        1 => nth(0),
        _ => {
            let (first, second) = two_of(count, rng);
            let (first, second) = (nth(first), nth(second));
            let active = |index: usize| load.active(endpoints[index].id);
            if active(second) < active(first) { second } else { first }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    fn endpoints(count: u32) -> Vec<Endpoint> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1);
        (0..count).map(|id| Endpoint { id: EndpointId(id), address }).collect()
    }

    #[test]
    fn pairs_are_different_and_uniform() {
        let (mut rng, mut seen) = (Rng::new(3), [[0; 4]; 4]);
        for _ in 0..12_000 {
            let (first, second) = two_of(4, &mut rng);
            assert_ne!(first, second);
            seen[first][second] += 1;
        }
        for (first, row) in seen.iter().enumerate() {
            for (second, count) in row.iter().enumerate().filter(|(second, _)| *second != first) {
                assert!(
                    (850..1_150).contains(count),
                    "{first}, {second}: {count} of 1,000 expected"
                );
            }
        }
    }

    /// One slow endpoint keeps its requests; it must get fewer new ones than the others.
    #[test]
    fn a_busy_endpoint_gets_its_turn_only_against_a_busier_one() {
        let (endpoints, mut rng, mut load) = (endpoints(4), Rng::new(4), LoadTable::new());
        load.grow(4, 0);
        for _ in 0..10 {
            load.begin(EndpointId(2));
        }
        let mut turns = [0; 4];
        for _ in 0..3_000 {
            turns[pick(&endpoints, &load, &mut rng, &[])] += 1;
        }
        assert_eq!(turns[2], 0);
        assert!([0, 1, 3].iter().all(|i| (850..1_150).contains(&turns[*i])), "{turns:?}");
    }

    /// Balls into bins: with one random choice the fullest of 100 bins would hold about 20 of an
    /// average of 10; with two it stays within a few of the average.
    #[test]
    fn two_choices_keep_the_fullest_near_the_average() {
        let (endpoints, mut rng, mut load) = (endpoints(100), Rng::new(6), LoadTable::new());
        load.grow(100, 0);
        for _ in 0..1_000 {
            let index = pick(&endpoints, &load, &mut rng, &[]);
            load.begin(endpoints[index].id);
        }
        let fullest = endpoints.iter().map(|endpoint| load.active(endpoint.id)).max();
        assert!(fullest <= Some(13), "{fullest:?}");
    }

    #[test]
    fn a_retry_goes_elsewhere_if_it_can() {
        let (endpoints, mut rng, mut load) = (endpoints(3), Rng::new(5), LoadTable::new());
        load.grow(3, 0);
        load.begin(EndpointId(2));
        for _ in 0..100 {
            assert_eq!(pick(&endpoints, &load, &mut rng, &[EndpointId(0), EndpointId(2)]), 1);
            assert_eq!(pick(&endpoints, &load, &mut rng, &[EndpointId(0)]), 1, "2 is busier");
            assert_eq!(pick(&endpoints, &load, &mut rng, &[EndpointId(0), EndpointId(1)]), 2);
            let all = [EndpointId(2), EndpointId(0), EndpointId(1), EndpointId(9)];
            assert!(pick(&endpoints, &load, &mut rng, &all) < 3);
        }
    }
}
