//! Source ports for connections that we open.
//!
//! A worker uses the ports of the upstream range for which `port mod workers` is its number, so that
//! what comes back is its own (see [`owner`](crate::owner)). A port is free when the 4-tuple is:
//! 28,000 ports serve as many connections *per endpoint*. The search starts at a random place (RFC
//! 6056, 3.3.1) and goes on from there.

use std::ops::RangeInclusive;

use sluice_base::WorkerId;

/// How many ports are tried for a free one when one in TIME-WAIT was already found.
const TRIES_FOR_FREE: u32 = 64;
/// How many ports are tried before the answer is that there is none: bounds the work for an endpoint
/// whose ports are nearly all in use.
const TRIES_MAX: u32 = 4096;

/// Whether a port can be used towards an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PortUse {
    /// Nobody uses it.
    Free,
    /// Its last connection is in TIME-WAIT and may be succeeded (RFC 6191 and its likes).
    Succeeds,
    /// A connection has it.
    Taken,
}

/// The ports of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    first: u16,
    step: u16,
    count: u32,
}

impl Ports {
    pub(crate) fn new(range: &RangeInclusive<u16>, worker: WorkerId, workers: u16) -> Self {
        let step = workers.max(1);
        let offset = (worker.0 % step + step - range.start() % step) % step;
        let first = u32::from(*range.start()) + u32::from(offset);
        let end = u32::from(*range.end()) + 1;
        let count = if range.is_empty() || first >= end {
            0
        } else {
            (end - first).div_ceil(u32::from(step))
        };
        Self { first: first.min(u32::from(u16::MAX)) as u16, step, count }
    }

    /// The first port that is free, from one that `random` names on; one in TIME-WAIT if free ones are rare.
    pub(crate) fn choose(&self, random: u32, mut usage: impl FnMut(u16) -> PortUse) -> Option<u16> {
        let start = ((u64::from(random) * u64::from(self.count)) >> 32) as u32;
        let mut second_best = None;
        for step in 0..self.count.min(TRIES_MAX) {
            if step >= TRIES_FOR_FREE && second_best.is_some() {
                break;
            }
            let port = self.port((start + step) % self.count);
            match usage(port) {
                PortUse::Free => return Some(port),
                PortUse::Succeeds => second_best = second_best.or(Some(port)),
                PortUse::Taken => {}
            }
        }
        second_best
    }

    fn port(&self, index: u32) -> u16 {
        // Inside the range that `new` was given, so it fits.
        (u32::from(self.first) + index * u32::from(self.step)) as u16
    }
}

#[cfg(test)]
mod tests {
    use sluice_base::Rng;

    use super::*;

    fn free_if(is_free: bool) -> PortUse {
        if is_free { PortUse::Free } else { PortUse::Taken }
    }

    #[test]
    fn every_port_belongs_to_the_worker() {
        let mut rng = Rng::new(3);
        for workers in 1..=5 {
            let mut all = Vec::new();
            for worker in 0..workers {
                let ports = Ports::new(&(1000..=1020), WorkerId(worker), workers);
                let mut seen = Vec::new();
                while let Some(port) =
                    ports.choose(rng.next_u32(), |port| free_if(!seen.contains(&port)))
                {
                    assert_eq!(port % workers, worker);
                    seen.push(port);
                }
                all.append(&mut seen);
            }
            all.sort_unstable();
            assert_eq!(all, (1000..=1020).collect::<Vec<u16>>(), "{workers} workers");
        }
    }

    #[test]
    fn the_edges_of_the_range() {
        let mut rng = Rng::new(3);
        let last = Ports::new(&(u16::MAX..=u16::MAX), WorkerId(0), 1);
        assert_eq!(last.choose(rng.next_u32(), |_| PortUse::Free), Some(u16::MAX));
        assert_eq!(last.choose(rng.next_u32(), |_| PortUse::Taken), None);
        let none = Ports::new(&(10..=10), WorkerId(1), 2);
        assert_eq!(none.choose(rng.next_u32(), |_| PortUse::Free), None);
    }

    #[test]
    fn a_free_port_is_better_than_one_in_time_wait() {
        let mut rng = Rng::new(3);
        let ports = Ports::new(&(1000..=1009), WorkerId(0), 1);
        let one_free = |port| if port == 1005 { PortUse::Free } else { PortUse::Succeeds };
        assert_eq!(ports.choose(rng.next_u32(), one_free), Some(1005));
        let one_ended = |port| if port == 1005 { PortUse::Succeeds } else { PortUse::Taken };
        assert_eq!(ports.choose(rng.next_u32(), one_ended), Some(1005));
    }

    /// RFC 6056: the next port must not be guessed from the last.
    #[test]
    fn the_start_is_random() {
        let mut rng = Rng::new(3);
        let ports = Ports::new(&(32_768..=60_999), WorkerId(0), 1);
        let chosen: Vec<_> =
            (0..8).map(|_| ports.choose(rng.next_u32(), |_| PortUse::Free)).collect();
        assert!(chosen.windows(2).all(|pair| pair[0] != pair[1]), "{chosen:?}");
    }
}
