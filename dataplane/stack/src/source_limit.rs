//! How often one source address may do something: a token bucket per source, in a table of fixed
//! size.
//!
//! A place for every address there is does not exist, so sources compete for eight places by a keyed
//! hash; the one that has used up least gives way, which forgives it at most what it has used. So
//! spoofed sources cost nobody else his limit, and a source that is over its limit keeps its place.

use std::net::IpAddr;

use sluice_base::{HashKey, Instant};

const WAYS: usize = 8;
/// Sets of eight places of 32 bytes: 16,384 sources in 512 kB.
const SETS: usize = 2048;
/// What may be done at once: a second's worth.
const BURST_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Place {
    source: u128,
    /// Until when the permits that were taken are paid for; the future is not lent.
    paid_until: Instant,
}

/// Permits per source and second.
#[derive(Debug)]
pub(crate) struct SourceLimit {
    places: Box<[[Place; WAYS]]>,
    key: HashKey,
    interval_ns: u64,
}

impl SourceLimit {
    /// `per_second` permits for each source; none: no limit, and no memory.
    pub(crate) fn new(per_second: u32, key: HashKey) -> Option<Self> {
        let interval_ns = BURST_NS.checked_div(u64::from(per_second))?.max(1);
        let nobody = Place { source: 0, paid_until: Instant::ZERO };
        Some(Self { places: vec![[nobody; WAYS]; SETS].into(), key, interval_ns })
    }

    /// Takes one permit of a source, if it has one left.
    pub(crate) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        // Time begins a burst later, so that a place that nobody had is as good as a full one.
        let now = now.plus_nanos(BURST_NS);
        let source = match source {
            IpAddr::V4(address) => u128::from(address.to_bits()) | 0xffff << 32,
            // A host has all addresses of its link to choose from.
            IpAddr::V6(address) => address.to_bits() >> 64 << 64,
        };
        let hash = self.key.hash_pair((source >> 64) as u64, source as u64);
        let set = &mut self.places[(hash >> 32) as usize % SETS];
        let place = match set.iter().position(|place| place.source == source) {
            Some(at) => &mut set[at],
            None => {
                let Some(place) = set.iter_mut().min_by_key(|place| place.paid_until) else {
                    return true;
                };
                *place = Place { source, paid_until: Instant::ZERO };
                place
            }
        };
        let earliest = Instant::from_nanos(now.as_nanos().saturating_sub(BURST_NS));
        let paid_until = place.paid_until.max(earliest).plus_nanos(self.interval_ns);
        if paid_until > now {
            return false;
        }
        place.paid_until = paid_until;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn limit(per_second: u32) -> SourceLimit {
        SourceLimit::new(per_second, HashKey::new([1, 2])).expect("a limit")
    }

    #[test]
    fn each_source_has_a_second_of_its_own() {
        let mut limit = limit(10);
        let start = Instant::from_millis(5);
        let taken = |limit: &mut SourceLimit, number, now| {
            (0..100).filter(|_| limit.take(source(number), now)).count()
        };
        assert_eq!(taken(&mut limit, 1, start), 10);
        assert_eq!(taken(&mut limit, 2, start), 10, "another one is not held back");
        assert_eq!(taken(&mut limit, 1, start.plus_nanos(99_000_000)), 0);
        assert_eq!(taken(&mut limit, 1, start.plus_nanos(350_000_000)), 3);
        assert_eq!(taken(&mut limit, 1, start.plus_nanos(9_000_000_000)), 10);
        assert!(SourceLimit::new(0, HashKey::new([1, 2])).is_none(), "0 is no limit");
    }

    /// A flood of spoofed sources must not free one that is over its limit.
    #[test]
    fn spoofed_sources_do_not_push_out_who_is_over_the_limit() {
        let mut limit = limit(10);
        let now = Instant::from_millis(1000);
        for _ in 0..10 {
            assert!(limit.take(source(1), now));
        }
        for number in 2..1_000_000 {
            assert!(limit.take(source(number), now), "each of them is new");
        }
        assert!(!limit.take(source(1), now));
    }

    #[test]
    fn a_link_of_ipv6_is_one_source() {
        let mut limit = limit(1);
        let now = Instant::from_millis(1000);
        assert!(limit.take("2001:db8::1".parse().expect("an address"), now));
        assert!(!limit.take("2001:db8::2".parse().expect("an address"), now));
        assert!(limit.take("2001:db8:0:1::1".parse().expect("an address"), now));
    }
}
