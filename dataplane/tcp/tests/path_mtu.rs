//! Paths that take less than the links at their ends, and do not say so; in virtual time.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_base::{Instant, Rng};
use sluice_tcp::Config;
use sluice_wire::TcpHeader;

use support::bench::Bench;

const ONE_WAY: Duration = Duration::from_millis(10);
/// IPv4, TCP and timestamps around a segment's data.
const HEADERS: usize = 52;
/// What the SYNs allow with timestamps.
const LARGEST: usize = 1_448;

/// A sender (0), a receiver (1) and what lies between them.
struct World {
    benches: [Bench; 2],
    events: BTreeMap<(Instant, u64), (usize, TcpHeader, Vec<u8>)>,
    count: u64,
    now: Instant,
    /// What the path takes, bytes; nothing larger arrives.
    mtu: usize,
    /// Of a million segments, lost at random.
    loss: u32,
    rng: Rng,
    /// Payload of the segments that arrived last, and of the largest of them.
    arrived: u64,
    largest: usize,
}

impl World {
    fn new(mtu: usize) -> Self {
        let config = Config { receive_buffers: 24, receive_buffers_max: 24, ..Config::default() };
        let mut world = Self {
            benches: [0, 1].map(|_| Bench::with_pool(config.clone(), 4_096)),
            events: BTreeMap::new(),
            count: 0,
            now: Instant::ZERO,
            mtu,
            loss: 0,
            rng: Rng::new(1),
            arrived: 0,
            largest: 0,
        };
        world.now = world.benches[0].now;
        world.benches[0].connect();
        world.carry(0);
        world
    }

    fn carry(&mut self, from: usize) {
        while let Some(sent) = self.benches[from].sent.pop_front() {
            let is_too_large = sent.payload.len() + HEADERS > self.mtu;
            if is_too_large || self.rng.chance(self.loss) {
                continue;
            }
            self.count += 1;
            let event = (1 - from, sent.header, sent.payload);
            self.events.insert((self.now + ONE_WAY, self.count), event);
        }
    }

    fn step(&mut self) {
        let event_at = self.events.first_key_value().map_or(Instant::NEVER, |((at, _), _)| *at);
        let timer_at = self.benches[0].wheel().min(self.benches[1].wheel());
        self.now = self.now.max(event_at.min(timer_at));
        for bench in &mut self.benches {
            bench.run_until(self.now);
        }
        if event_at <= self.now
            && let Some((_, (to, header, payload))) = self.events.pop_first()
        {
            if self.benches[to].connection.is_none() {
                self.benches[to].accept(&header, &[]);
            } else {
                self.benches[to].segment(&header, &payload);
            }
            if to == 1 {
                self.arrived += payload.len() as u64;
                self.largest = self.largest.max(payload.len());
                let read = self.benches[1].with(|it, _| it.read(usize::MAX)).len();
                self.benches[1].read += read as u64;
                self.benches[1].credit(read);
            }
        }
        self.carry(1);
        let bench = &mut self.benches[0];
        if bench.with(|it, cx| it.send_room(cx)) >= 64 * 1024 {
            bench.write_any(64 * 1024);
        }
        self.carry(0);
    }

    /// Sends for so long; returns the bytes that arrived and the largest segment among them.
    fn run(&mut self, duration: Duration) -> (u64, usize) {
        (self.arrived, self.largest) = (0, 0);
        let start = self.now;
        while self.now - start < duration {
            self.step();
        }
        (self.arrived, self.largest)
    }

    fn count(&self, name: &str) -> u64 {
        let counters = &self.benches[0].counters;
        counters.iter().find(|(it, _)| *it == name).map_or(0, |(_, value)| value)
    }

    fn end(mut self) {
        self.events.clear();
        for bench in &mut self.benches {
            bench.connection = None;
        }
        self.benches.into_iter().for_each(Bench::census);
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_black_hole_is_found_and_its_edge_is_searched() {
    let mut world = World::new(1_400);
    world.run(seconds(30));
    assert_eq!(world.count("path-mtu-black-holes"), 1, "the second time-out is enough");
    let timeouts = world.count("timeouts");
    let (arrived, largest) = world.run(seconds(30));
    assert!(largest <= 1_400 - HEADERS && largest > 1_400 - HEADERS - 40, "{largest}");
    assert_eq!(world.count("timeouts"), timeouts, "no probe costs a time-out");
    assert!(arrived > 10_000_000, "the window is used: {arrived}");
    world.end();
}

#[test]
fn a_path_that_takes_little_gets_little() {
    let mut world = World::new(600);
    world.run(seconds(60));
    let (_, largest) = world.run(seconds(10));
    assert!(largest <= 600 - HEADERS && largest > 600 - HEADERS - 40, "{largest}");
    world.end();
}

/// Nothing arrives for a while, whatever its size: segments become as large again as they were.
#[test]
fn an_outage_does_not_make_segments_small_for_ever() {
    let mut world = World::new(1_500);
    assert_eq!(world.run(seconds(5)).1, LARGEST);
    world.mtu = 0;
    world.run(seconds(8));
    assert!(world.count("path-mtu-black-holes") > 0);
    world.mtu = 1_500;
    world.run(seconds(30));
    assert_eq!(world.run(seconds(1)).1, LARGEST);
    assert_eq!(world.count("path-mtu-raised"), 1, "the old size is tried first");
    world.end();
}

#[test]
fn losses_by_chance_do_not_confuse_the_search() {
    for seed in 0..20 {
        let mut world = World::new(1_400);
        (world.loss, world.rng) = (10_000, Rng::new(seed));
        world.run(seconds(120));
        let (_, largest) = world.run(seconds(30));
        let fits = 1_400 - HEADERS;
        assert!(largest <= fits && largest > fits - 80, "seed {seed}: {largest}");
        world.end();
    }
}

/// RFC 1191, 6.3: routes change.
#[test]
fn what_a_router_said_is_doubted_after_ten_minutes() {
    let mut world = World::new(1_500);
    world.run(seconds(5));
    world.benches[0].act(|it, cx| it.handle_path_mtu(1_300, cx));
    world.carry(0);
    world.run(seconds(1));
    assert_eq!(world.run(seconds(590)).1, 1_300 - HEADERS);
    world.run(seconds(10));
    assert_eq!(world.run(seconds(1)).1, LARGEST);
    world.end();
}

/// A router that speaks answers the probe, and says how much would have passed.
#[test]
fn an_answer_to_a_probe_is_taken_at_its_word() {
    let mut world = World::new(1_400);
    while world.count("path-mtu-probes") == 0 {
        world.run(Duration::from_millis(10));
    }
    world.benches[0].act(|it, cx| it.handle_path_mtu(1_400, cx));
    world.carry(0);
    world.run(seconds(1));
    assert_eq!(world.run(seconds(500)).1, 1_400 - HEADERS);
    assert_eq!(world.count("path-mtu-probes"), 1);
    world.end();
}
