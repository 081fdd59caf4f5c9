//! Source ports for connections that we open.
//!
//! A worker uses the ports of the upstream range for which `port mod workers` is its number, so that
//! what comes back is its own (see [`owner`](crate::owner)). A port is free when the 4-tuple is:
//! 28,000 ports serve as many connections *per endpoint*. The search starts at a random place (RFC
//! 6056, 3.3.1) and goes on from there.

use std::ops::RangeInclusive;

use sluice_base::{Rng, WorkerId};

/// How many ports are tried before the answer is that there is none: bounds the work for an endpoint
/// whose ports are nearly all in use.
const TRIES_MAX: u32 = 4096;

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

    /// The first port for which `is_free` holds, from a random one on.
    pub(crate) fn choose(
        &self,
        rng: &mut Rng,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let start = rng.below(self.count);
        (0..self.count.min(TRIES_MAX))
            .map(|step| self.port((start + step) % self.count))
            .find(|port| is_free(*port))
    }

    fn port(&self, index: u32) -> u16 {
        // Inside the range that `new` was given, so it fits.
        (u32::from(self.first) + index * u32::from(self.step)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_belongs_to_the_worker() {
        let mut rng = Rng::new(3);
        for workers in 1..=5 {
            let mut all = Vec::new();
            for worker in 0..workers {
                let ports = Ports::new(&(1000..=1020), WorkerId(worker), workers);
                let mut seen = Vec::new();
                while let Some(port) = ports.choose(&mut rng, |port| !seen.contains(&port)) {
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
        assert_eq!(last.choose(&mut rng, |_| true), Some(u16::MAX));
        assert_eq!(last.choose(&mut rng, |_| false), None);
        let none = Ports::new(&(10..=10), WorkerId(1), 2);
        assert_eq!(none.choose(&mut rng, |_| true), None);
    }

    /// RFC 6056: the next port must not be guessed from the last.
    #[test]
    fn the_start_is_random() {
        let mut rng = Rng::new(3);
        let ports = Ports::new(&(32_768..=60_999), WorkerId(0), 1);
        let chosen: Vec<_> = (0..8).map(|_| ports.choose(&mut rng, |_| true)).collect();
        assert!(chosen.windows(2).all(|pair| pair[0] != pair[1]), "{chosen:?}");
    }
}
