//! Bulk transfer over a bottleneck, in virtual time: how much of it arrives, against what the
//! theory of the algorithm promises. `SEED=n` replays one, `--nocapture` prints all figures.

#![expect(clippy::disallowed_macros, reason = "the figures are what is looked for")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_base::{Instant, Rng};
use sluice_tcp::{Config, CongestionKind, Spares};
use sluice_wire::TcpHeader;

use support::bench::Bench;

/// A path between sender (0) and receiver (1).
#[derive(Clone, Copy, Debug)]
struct Path {
    /// Bottleneck towards the receiver, bits per second.
    rate: u64,
    one_way: Duration,
    /// Bytes that the bottleneck queues.
    queue_max: u64,
    /// Of a million data segments, lost at random.
    loss: u32,
    /// Losses come in runs of about so many.
    burst: u32,
    /// Of a million data segments, late by up to so much.
    reordering: (u32, Duration),
    /// Of a million ACKs, lost.
    ack_loss: u32,
    timestamps: bool,
    /// Whether there is a scoreboard and a reassembly queue to be had.
    has_spares: bool,
}

const CLEAN: Path = Path {
    rate: 100_000_000,
    one_way: Duration::from_millis(25),
    queue_max: 625_000,
    loss: 0,
    burst: 1,
    reordering: (0, Duration::ZERO),
    ack_loss: 0,
    timestamps: true,
    has_spares: true,
};

/// Bytes of Ethernet, IPv4 and TCP headers around a segment's data.
const OVERHEAD: u64 = 14 + 20 + 32;

/// Time between two lines of `TRACE=1`.
const TRACE_EVERY: Duration = Duration::from_millis(50);

struct World {
    rng: Rng,
    path: Path,
    benches: [Bench; 2],
    events: BTreeMap<(Instant, u64), (usize, TcpHeader, Vec<u8>)>,
    count: u64,
    now: Instant,
    /// Until when the bottleneck is busy.
    busy_until: Instant,
    /// Losses left of the present run.
    losing: u32,
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    mbit: f64,
    retransmitted: f64,
    timeouts: u64,
    fast: u64,
    undone: u64,
    probes: u64,
    /// Smoothed, at the end.
    round_trip_ms: f64,
}

impl World {
    fn new(seed: u64, path: Path, congestion: CongestionKind, sack: bool) -> Self {
        let config = Config { congestion, sack, timestamps: path.timestamps, ..Config::default() };
        let mut benches = [0, 1].map(|_| Bench::with_pool(config.clone(), 16_384));
        if !path.has_spares {
            benches[0].spares = Spares::of(0);
        }
        benches[0].spares.stock(congestion);
        benches[0].iss = sluice_wire::SeqNumber(seed as u32 ^ 0xffff_0000);
        let now = benches[0].now;
        let (events, rng) = (BTreeMap::new(), Rng::new(seed));
        let busy_until = now;
        Self { rng, path, benches, events, count: 0, now, busy_until, losing: 0 }
    }

    fn is_lost(&mut self) -> bool {
        if self.losing > 0 {
            self.losing -= 1;
            return true;
        }
        let begins = self.rng.chance(self.path.loss / self.path.burst);
        if begins && self.path.burst > 1 {
            self.losing = self.rng.below(2 * self.path.burst - 1);
        }
        begins
    }

    fn carry(&mut self, from: usize) {
        while let Some(sent) = self.benches[from].sent.pop_front() {
            let mut at = self.now + self.path.one_way;
            if sent.payload.is_empty() {
                let is_ack = from == 1;
                // The handshake is not what is measured.
                let has_begun = self.benches[1].read > 0;
                if is_ack && has_begun && self.rng.chance(self.path.ack_loss) {
                    continue;
                }
            } else {
                if self.is_lost() {
                    continue;
                }
                let bytes = sent.payload.len() as u64 + OVERHEAD;
                let waiting = self.busy_until.max(self.now) - self.now;
                let queued = waiting.as_nanos() as u64 * self.path.rate / 8_000_000_000;
                if queued + bytes > self.path.queue_max {
                    continue;
                }
                let time = Duration::from_nanos(bytes * 8_000_000_000 / self.path.rate);
                self.busy_until = self.busy_until.max(self.now) + time;
                at = self.busy_until + self.path.one_way;
                let (chance, late) = self.path.reordering;
                if self.rng.chance(chance) {
                    at += late.mul_f64(f64::from(self.rng.below(1_000)) / 1_000.0);
                }
            }
            self.count += 1;
            let event = (1 - from, sent.header, sent.payload);
            self.events.insert((at, self.count), event);
        }
    }

    fn fill(&mut self) {
        let bench = &mut self.benches[0];
        let room = bench.send_room();
        if room >= 256 * 1024 {
            bench.write_any(256 * 1024);
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
                let read = self.benches[1].with(|it, _| it.read(usize::MAX)).len();
                self.benches[1].read += read as u64;
                self.benches[1].credit(read);
            }
        }
        self.carry(1);
        self.fill();
        self.carry(0);
    }

    /// A line of what the sender thinks of the path, for `TRACE=1`.
    fn trace(&self, start: Instant) {
        let connection = self.benches[0].connection();
        let (window, queued) = (connection.congestion_window(), connection.queued());
        println!(
            "{:6} ms  cwnd {window:8}  sent {:8}  queued {queued:8}  rtt {:6} us  read {:9}  \
             recoveries {} undone {} duplicates {}",
            (self.now - start).as_millis(),
            queued - connection.unsent(),
            connection.round_trip_us().unwrap_or(0),
            self.benches[1].read,
            self.counter("fast-retransmits") + self.counter("timeouts"),
            self.counter("reductions-undone"),
            self.counter("duplicates-reported"),
        );
    }

    fn round_trip_ms(&self) -> f64 {
        f64::from(self.benches[0].connection().round_trip_us().unwrap_or(0)) / 1_000.0
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = &self.benches[0].counters;
        counters.iter().find(|(it, _)| *it == name).map_or(0, |(_, value)| value)
    }

    /// Sends for so long after the handshake.
    fn run(mut self, duration: Duration) -> Figures {
        self.benches[0].connect();
        self.carry(0);
        let start = self.now;
        let trace = std::env::var_os("TRACE").is_some();
        let mut next_line = start;
        while self.now - start < duration {
            self.step();
            if trace && self.now >= next_line {
                next_line += TRACE_EVERY;
                self.trace(start);
            }
        }
        let counter = |name: &str| self.counter(name);
        let read = self.benches[1].read;
        let figures = Figures {
            mbit: read as f64 * 8.0 / duration.as_secs_f64() / 1e6,
            retransmitted: counter("retransmitted-bytes") as f64 / read as f64,
            timeouts: counter("timeouts"),
            fast: counter("fast-retransmits"),
            undone: counter("reductions-undone"),
            probes: counter("tail-probes"),
            round_trip_ms: self.round_trip_ms(),
        };
        self.events.clear();
        for bench in &mut self.benches {
            bench.connection = None;
        }
        for bench in self.benches {
            bench.census();
        }
        figures
    }
}

/// The mean of several seeds.
fn mean(name: &str, path: Path, congestion: CongestionKind, sack: bool) -> Figures {
    // A path that loses at random carries little, and must be watched for long.
    let is_slow = path.loss > 0 && congestion != CongestionKind::Bbr;
    let (seconds, count) = if is_slow { (30, 5) } else { (10, 2) };
    let one = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = one.map_or_else(|| (1..=count).collect(), |seed| vec![seed]);
    let all: Vec<_> = seeds
        .iter()
        .map(|seed| World::new(*seed, path, congestion, sack).run(Duration::from_secs(seconds)))
        .collect();
    let count = all.len() as f64;
    let sum = |part: fn(&Figures) -> u64| all.iter().map(part).sum::<u64>();
    let figures = Figures {
        mbit: all.iter().map(|it| it.mbit).sum::<f64>() / count,
        retransmitted: all.iter().map(|it| it.retransmitted).sum::<f64>() / count,
        timeouts: sum(|it| it.timeouts),
        fast: sum(|it| it.fast),
        undone: sum(|it| it.undone),
        probes: sum(|it| it.probes),
        round_trip_ms: all.iter().map(|it| it.round_trip_ms).sum::<f64>() / count,
    };
    let each: Vec<_> = all.iter().map(|it| format!("{:.2}", it.mbit)).collect();
    println!("{name}: {figures:.4?} [{}]", each.join(" "));
    figures
}

/// Mbit/s of additive increase by `alpha` segments and decrease to `beta` under random loss `p`:
/// RFC 9438, 4.3 gives the mean window as sqrt(alpha (1 + beta) / (2 (1 - beta) p)) segments.
fn aimd(alpha: f64, beta: f64, p: f64, round_trip: Duration) -> f64 {
    let segments = (alpha * (1.0 + beta) / (2.0 * (1.0 - beta) * p)).sqrt();
    segments * 1_448.0 * 8.0 / round_trip.as_secs_f64() / 1e6
}

const ROUND_TRIP: Duration = Duration::from_millis(50);

#[test]
fn one_percent_of_random_loss() {
    let path = Path { loss: 10_000, ..CLEAN };
    let theory = aimd(9.0 / 17.0, 0.7, 0.01, ROUND_TRIP);
    let figures = mean("1 % loss", path, CongestionKind::Cubic, true);
    println!("theory {theory:.2}");
    assert!(figures.mbit >= 0.95 * theory, "{figures:?} against {theory:.2} Mbit/s");
    assert!(figures.retransmitted < 0.013, "only what was lost is sent again: {figures:?}");
}

/// When all scoreboards are lent, losses are repaired as for a peer without SACK.
#[test]
fn one_percent_of_random_loss_without_a_scoreboard() {
    let path = Path { loss: 10_000, has_spares: false, ..CLEAN };
    let figures = mean("1 % loss, no scoreboard", path, CongestionKind::Cubic, true);
    assert!(figures.mbit > 1.5, "{figures:?}");
}

/// Without SACK a round trip repairs one segment, and the tail waits for a time-out.
#[test]
fn one_percent_of_random_loss_without_sack() {
    let path = Path { loss: 10_000, ..CLEAN };
    mean("1 % loss, no SACK", path, CongestionKind::Cubic, false);
}

#[test]
fn one_percent_of_random_loss_newreno() {
    let path = Path { loss: 10_000, ..CLEAN };
    let theory = aimd(1.0, 0.5, 0.01, ROUND_TRIP);
    let figures = mean("1 % loss, NewReno", path, CongestionKind::NewReno, true);
    println!("theory {theory:.2}");
    assert!(figures.mbit >= 0.95 * theory, "{figures:?} against {theory:.2} Mbit/s");
}

#[test]
fn a_clean_path_is_filled() {
    let figures = mean("clean", CLEAN, CongestionKind::Cubic, true);
    assert!(figures.mbit > 85.0, "{figures:?}");
}

/// Windows and queues grow to what a long path needs, from what short ones do.
#[test]
fn a_long_path_is_filled() {
    let path = Path { one_way: Duration::from_millis(100), queue_max: 2_500_000, ..CLEAN };
    let figures = mean("200 ms", path, CongestionKind::Cubic, true);
    assert!(figures.mbit > 75.0, "{figures:?}");
}

#[test]
fn a_short_queue_is_used() {
    let path = Path { queue_max: 60_000, ..CLEAN };
    let figures = mean("queue of a tenth", path, CongestionKind::Cubic, true);
    assert!(figures.mbit > 35.0, "{figures:?}");
}

#[test]
fn five_percent_of_random_loss() {
    let path = Path { loss: 50_000, ..CLEAN };
    let theory = aimd(9.0 / 17.0, 0.7, 0.05, ROUND_TRIP);
    let figures = mean("5 % loss", path, CongestionKind::Cubic, true);
    println!("theory {theory:.2}");
    assert!(figures.mbit > 0.5 * theory, "{figures:?}");
}

#[test]
fn a_tenth_of_a_percent_of_random_loss() {
    let path = Path { loss: 1_000, ..CLEAN };
    let theory = aimd(9.0 / 17.0, 0.7, 0.001, ROUND_TRIP);
    let figures = mean("0.1 % loss", path, CongestionKind::Cubic, true);
    println!("theory {theory:.2}");
    assert!(figures.mbit > 0.95 * theory, "{figures:?}");
}

#[test]
fn bursts_of_loss() {
    let path = Path { loss: 10_000, burst: 8, ..CLEAN };
    let figures = mean("1 % loss in bursts of 8", path, CongestionKind::Cubic, true);
    assert!(figures.mbit > 3.0, "{figures:?}");
}

/// What BBR is for: losses that are no congestion do not slow it down.
#[test]
fn bbr_does_not_mind_random_loss() {
    for (loss, least) in [(0, 85.0), (1_000, 85.0), (10_000, 85.0), (50_000, 65.0)] {
        let path = Path { loss, ..CLEAN };
        let name = format!("BBR, {} % loss", f64::from(loss) / 10_000.0);
        let figures = mean(&name, path, CongestionKind::Bbr, true);
        assert!(figures.mbit > least, "{figures:?}");
    }
}

/// A receive window that did not grow while holes are open, which here they always are, would be what
/// limits the rate: it was, to half of it with some orders of losses.
#[test]
fn bbr_at_five_percent_of_loss_in_any_order() {
    let path = Path { loss: 50_000, ..CLEAN };
    for seed in 1..=8 {
        let world = World::new(seed, path, CongestionKind::Bbr, true);
        let figures = world.run(Duration::from_secs(5));
        println!("seed {seed}: {figures:.4?}");
        assert!(figures.mbit >= 60.0, "seed {seed}: {figures:?}");
    }
}

/// The bottleneck could queue for half a second; BBR fills the path, not the queue.
#[test]
fn bbr_keeps_a_large_queue_short() {
    let path = Path { queue_max: 6_250_000, ..CLEAN };
    let bbr = mean("BBR, 500 ms of queue", path, CongestionKind::Bbr, true);
    let cubic = mean("CUBIC, 500 ms of queue", path, CongestionKind::Cubic, true);
    assert!(bbr.mbit > 85.0, "{bbr:?}");
    assert!(bbr.round_trip_ms < 75.0, "{bbr:?}");
    assert!(cubic.round_trip_ms > 2.0 * bbr.round_trip_ms, "CUBIC fills it: {cubic:?}");
}

/// Without SACK nothing says what was delivered when.
#[test]
fn bbr_without_sack_is_cubic() {
    let path = Path { loss: 10_000, ..CLEAN };
    let figures = mean("BBR, 1 % loss, no SACK", path, CongestionKind::Bbr, false);
    assert!(figures.mbit < 10.0, "{figures:?}");
}

/// The reordering window of RACK adapts: what comes late is not taken for lost, and what was is taken
/// back.
#[test]
fn reordering() {
    for (chance, late_ms) in [(10_000, 10), (100_000, 10), (100_000, 40)] {
        for timestamps in [true, false] {
            let late = Duration::from_millis(late_ms);
            let path = Path { reordering: (chance, late), timestamps, ..CLEAN };
            let with = if timestamps { "" } else { ", no timestamps" };
            let name = format!("{} % late by up to {late_ms} ms{with}", chance / 10_000);
            let figures = mean(&name, path, CongestionKind::Cubic, true);
            assert!(figures.mbit > 70.0, "{figures:?}");
        }
    }
}

#[test]
fn a_third_of_the_acks_lost() {
    let path = Path { loss: 10_000, ack_loss: 333_000, ..CLEAN };
    let theory = aimd(9.0 / 17.0, 0.7, 0.01, ROUND_TRIP);
    let figures = mean("1 % loss, a third of the ACKs lost", path, CongestionKind::Cubic, true);
    assert!(figures.mbit > 0.8 * theory, "{figures:?}");
}
