//! When to look at the devices again: receive coalescing, as NICs do it for interrupts.
//!
//! A worker that has time looks at its devices so often that it finds packets singly, and every
//! packet then pays for a heartbeat, for calls of the driver, and for a packet of its own on the way
//! out, where responses on one connection could have shared one. So under load it leaves what comes
//! lying for a little while after each look that found something:
//!
//! - for a [`SHARE`] of what requests take on average, so that none notices;
//! - not longer than configured, nor than [`WANTED`] packets take to come;
//! - not at all where fewer than [`LEAST`] would gather, or where fewer than [`REQUESTS`] ended: a
//!   transfer of many packets is kept going by how soon each is answered.
//!
//! All of it is as it was in the last [`WINDOW`]. A client that waits for each answer before it asks
//! again makes requests that take so little, and packets so far apart, that nothing is left lying.

use std::time::Duration;

use sluice_base::Instant;
use sluice_l7_proxy::Completed;

/// An interval is decided upon after so long, at the next look that finds packets: nanoseconds.
const WINDOW: u64 = 1_000_000;
/// The part of a request's time that packets may lie.
const SHARE: u64 = 8;
/// Packets that are worth waiting for.
const LEAST: u64 = 4;
/// Requests that make an average.
const REQUESTS: u64 = 8;
/// Packets beyond which more in a heartbeat make none of them cheaper.
const WANTED: u64 = 64;

/// When packets are due to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Coalescing {
    /// The longest interval, nanoseconds; 0: none ever.
    longest: u64,
    /// Between a look that found packets and the next one, nanoseconds.
    interval: u64,
    /// The last look that found packets.
    found_at: Instant,
    /// What [`Self::defers`] said last.
    defers: bool,
    /// When the window began, and what has happened since.
    window: Instant,
    packets: u64,
    /// Requests that had ended when it began.
    before: Completed,
}

impl Coalescing {
    pub(crate) fn new(longest: Duration) -> Self {
        let longest = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Self { longest, ..Self::default() }
    }

    /// The current interval, nanoseconds; 0 while packets are taken as they come.
    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }

    /// Whether the devices are left alone now.
    #[inline]
    pub(crate) fn defers(&mut self, now: Instant) -> bool {
        self.defers = now < self.found_at.plus_nanos(self.interval);
        self.defers
    }

    /// When they are looked at again, if they were left alone.
    #[inline]
    pub(crate) fn next_look(&self) -> Instant {
        if self.defers { self.found_at.plus_nanos(self.interval) } else { Instant::NEVER }
    }

    /// The devices were looked at, and had `packets`, at least one; `is_more` if some had more than
    /// that.
    #[inline]
    pub(crate) fn found(
        &mut self,
        packets: u64,
        is_more: bool,
        completed: Completed,
        now: Instant,
    ) {
        if self.longest == 0 {
            return;
        }
        self.packets += packets;
        if now.nanos_since(self.window) >= WINDOW {
            self.decide(completed, now);
        }
        if !is_more {
            self.found_at = now;
        }
    }

    /// The interval for the next window.
    fn decide(&mut self, completed: Completed, now: Instant) {
        let elapsed = now.nanos_since(self.window);
        let requests = completed.requests.wrapping_sub(self.before.requests);
        let nanos = completed.nanos.wrapping_sub(self.before.nanos);
        let apart = elapsed / self.packets;
        let patience = if requests < REQUESTS { 0 } else { nanos / requests / SHARE };
        let interval = patience.min(self.longest).min(apart.saturating_mul(WANTED));
        self.interval = if interval < apart.saturating_mul(LEAST) { 0 } else { interval };
        (self.window, self.packets, self.before) = (now, 0, completed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sluice_arch::Waker;
    use sluice_base::{InterfaceId, WorkerId};
    use sluice_buf::{Batch, Capabilities, Device, DeviceStatistics, MacBytes, Pool};
    use sluice_l7_proxy::{Proxy, ProxyConfig};
    use sluice_stack::{InterfaceConfig, Stack, StackConfig};

    use super::*;
    use crate::{Mesh, Port, Worker, WorkerParts};

    const US: u64 = 1_000;

    /// Two windows, in each of which a packet comes every `apart` nanoseconds and the requests of
    /// `per_packet` packets end, which took `nanos` each.
    fn after(longest: Duration, apart: u64, per_packet: u64, nanos: u64) -> (Coalescing, Instant) {
        let mut coalescing = Coalescing::new(longest);
        let mut completed = Completed::default();
        let mut now = Instant::from_millis(5);
        for _ in 0..(2 * WINDOW).div_ceil(apart) + 1 {
            now = now.plus_nanos(apart);
            completed.requests += per_packet;
            completed.nanos += per_packet * nanos;
            coalescing.found(1, false, completed, now);
        }
        (coalescing, now)
    }

    fn interval(longest_us: u64, apart: u64, nanos: u64) -> u64 {
        after(Duration::from_micros(longest_us), apart, 1, nanos).0.interval()
    }

    #[test]
    fn packets_lie_for_a_share_of_what_requests_take() {
        assert_eq!(interval(100, 5 * US, 400 * US), 50 * US);
        assert_eq!(interval(100, 5 * US, 640 * US), 80 * US);
    }

    #[test]
    fn they_lie_no_longer_than_configured_or_than_a_burst_takes() {
        assert_eq!(interval(100, 5 * US, 1_000 * US), 100 * US);
        assert_eq!(interval(60, 5 * US, 1_000 * US), 60 * US);
        assert_eq!(interval(100, 500, 1_000 * US), WANTED * 500);
    }

    #[test]
    fn they_are_taken_as_they_come_where_few_would_gather() {
        assert_eq!(interval(100, 25 * US, 1_000 * US), 100 * US, "four of them");
        assert_eq!(interval(100, 26 * US, 1_000 * US), 0);
        // One client that asks, waits and asks again: two packets in what a request takes.
        assert_eq!(interval(100, 30 * US, 60 * US), 0);
        // And eight of them.
        assert_eq!(interval(100, 4 * US, 60 * US), 0);
    }

    #[test]
    fn a_transfer_without_requests_is_not_slowed_down() {
        let (mut coalescing, now) = after(Duration::from_micros(100), 2 * US, 0, 0);
        assert_eq!(coalescing.interval(), 0);
        assert!(!coalescing.defers(now));
    }

    #[test]
    fn off_is_off() {
        assert_eq!(interval(0, US, 1_000 * US), 0);
    }

    #[test]
    fn the_devices_are_looked_at_again_when_the_interval_is_over() {
        let (mut coalescing, now) = after(Duration::from_micros(100), 5 * US, 1, 1_000 * US);
        assert!(coalescing.defers(now.plus_nanos(99 * US)));
        assert_eq!(coalescing.next_look(), now.plus_nanos(100 * US));
        assert!(!coalescing.defers(now.plus_nanos(100 * US)));
        assert_eq!(coalescing.next_look(), Instant::NEVER, "whoever looks waits for nothing");
    }

    #[test]
    fn what_did_not_fit_is_taken_at_once() {
        let (mut coalescing, now) = after(Duration::from_micros(100), 5 * US, 1, 1_000 * US);
        let later = now.plus_nanos(100 * US);
        coalescing.found(32, true, Completed::default(), later);
        assert!(!coalescing.defers(later));
    }

    #[test]
    fn the_first_packet_after_a_silence_does_not_wait_and_ends_the_interval() {
        let (mut coalescing, now) = after(Duration::from_micros(100), 5 * US, 1, 1_000 * US);
        assert!(coalescing.interval() > 0);
        let later = now.plus_nanos(3_000 * US);
        assert!(!coalescing.defers(later));
        coalescing.found(1, false, Completed::default(), later);
        assert_eq!(coalescing.interval(), 0);
        assert!(!coalescing.defers(later.plus_nanos(1)));
    }

    /// A device that has a packet of nothing whenever it is asked, and counts how often it is.
    struct Chatter(Pool, Arc<AtomicUsize>);

    impl Device for Chatter {
        fn rx_burst(&mut self, into: &mut Batch) -> usize {
            self.1.fetch_add(1, Ordering::Relaxed);
            into.push(self.0.alloc().expect("the last one was dropped"));
            1
        }

        fn tx_burst(&mut self, packets: &mut Batch) -> usize {
            std::iter::from_fn(|| packets.pop()).count()
        }

        fn tx_room(&mut self) -> usize {
            32
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::default()
        }

        fn mac(&self) -> MacBytes {
            [2; 6]
        }

        fn statistics(&self) -> DeviceStatistics {
            DeviceStatistics::default()
        }
    }

    #[test]
    fn a_worker_leaves_its_devices_alone_for_as_long() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (rx, tx) = (Pool::heap(8), Pool::heap(8));
        let interface = InterfaceConfig {
            id: InterfaceId(0),
            mac: sluice_wire::MacAddress([2; 6]),
            mtu: 1_500,
            addresses: Vec::new(),
            capabilities: Capabilities::default(),
        };
        let stack = StackConfig {
            interfaces: vec![interface],
            connections_max: 8,
            ..StackConfig::default()
        };
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let (mut worker, _links) = Worker::new(WorkerParts {
            id: WorkerId(0),
            ports: vec![Port::new(InterfaceId(0), Box::new(Chatter(rx.share(), asked.clone())))],
            twins: Vec::new(),
            proxy: Proxy::new(ProxyConfig::default(), tx.share()),
            stack: Stack::new(stack, rx, tx, 1),
            mesh: Mesh::for_workers(std::slice::from_ref(&waker)).remove(0),
            waker,
        });
        let (coalescing, now) = after(Duration::from_micros(100), 5 * US, 1, 1_000 * US);
        // What is due at the start, and is none of this.
        worker.heartbeat(now);
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
        worker.coalescing = coalescing;

        let early = worker.heartbeat(now.plus_nanos(60 * US));
        assert!(early.deferred && !early.worked);
        assert_eq!(early.deadline, now.plus_nanos(100 * US));
        assert_eq!(asked.load(Ordering::Relaxed), 0);

        let due = worker.heartbeat(now.plus_nanos(100 * US));
        assert!(!due.deferred && due.worked);
        assert!(due.deadline > now.plus_nanos(200 * US), "nobody needs to be woken for packets");
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        assert!(worker.heartbeat(now.plus_nanos(120 * US)).deferred, "from this look on again");
        worker.coalesce(Duration::ZERO);
        assert!(!worker.heartbeat(now.plus_nanos(130 * US)).deferred);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
