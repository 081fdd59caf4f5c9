//! Client, Sluice and origin, stepped in turn.

use std::net::{Ipv4Addr, SocketAddrV4};

use hdrhistogram::Histogram;
use sluice_arch::{MonotonicClock, cycles};
use sluice_base::Instant;
use sluice_buf::Pool;
use sluice_stack::RouteConfig;
use sluice_worker::STAGES;

use crate::flood::{Flood, Sink};
use crate::host::Host;
use crate::http2::{Http2Load, Http2Origin};
use crate::load::{Load, Pace};
use crate::origin::Origin;
use crate::peers::{Client, Server};
use crate::scenario::Scenario;
use crate::sluice::{BACK, FRONT, Sluice, SluiceConfig};

/// Nanoseconds that a virtual clock moves per round.
const ROUND_NANOS: u64 = 10_000;
/// Rounds without an answer after which a run has failed: ten seconds of the virtual clock, and
/// about a second of a real one.
const IDLE_ROUNDS_MAX: u32 = 1_000_000;
/// Rounds between looks at what the control thread does.
const COLLECT_EVERY: u64 = 1024;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);

/// Where time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// It moves by 10 us per round: the same run every time.
    Virtual(u64),
    /// It is the machine's.
    Real(MonotonicClock),
}

impl Clock {
    fn now(&mut self) -> Instant {
        match self {
            Self::Virtual(nanos) => {
                *nanos += ROUND_NANOS;
                Instant::from_nanos(*nanos)
            }
            // Time zero means never in places, as at the start of a process.
            Self::Real(clock) => Instant::from_nanos(clock.nanos() + 1_000_000),
        }
    }
}

/// Nothing is answered any more.
#[derive(Clone, Copy, Debug)]
pub struct Stuck {
    /// What was answered before.
    pub done: u64,
}

/// What the proxy did between two looks.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Units that were answered.
    pub units: u64,
    /// Nanoseconds that passed, everybody's work included.
    pub elapsed_nanos: u64,
    /// Cycles of the proxy's heartbeats that found work.
    pub busy_cycles: u64,
    /// The same by stage.
    pub stage_cycles: [u64; STAGES],
    /// Heartbeats that found work.
    pub busy_heartbeats: u64,
    /// Of those, how many took more than eight times the median: on a shared machine somebody else
    /// had the processor meanwhile.
    pub interrupted: u64,
    /// Cycles of all busy heartbeats if the interrupted ones had taken as long as the others.
    pub quiet_cycles: f64,
    /// Packets received and sent by the proxy.
    pub packets: [u64; 2],
    /// Latency, nanoseconds.
    pub latency: Histogram<u64>,
    /// Answers that were wrong, connections that broke.
    pub failures: u64,
    /// Buffers of the proxy's receive and transmit pools that are in use at the end.
    pub buffers: [u32; 2],
    /// Connections of the proxy at the end.
    pub connections: usize,
}

enum Traffic {
    Exchanges { client: Box<Host<Client>>, origin: Box<Host<Server>> },
    Forwarding { flood: Box<Flood>, sink: Box<Host<Sink>> },
}

/// Everything that exists in a run.
///
/// The far ends of links go before the near ones, so traffic is dropped first.
pub struct World {
    traffic: Traffic,
    sluice: Sluice,
    clock: Clock,
    now: Instant,
    rounds: u64,
    /// Cycles of each heartbeat that found work.
    beats: Vec<u64>,
    /// Last, for the same reason as in `Sluice`.
    _pools: [Pool; 2],
}

/// Totals at one moment.
struct Totals {
    done: u64,
    now: Instant,
    busy_cycles: u64,
    stage_cycles: [u64; STAGES],
    busy_heartbeats: u64,
    packets: [u64; 2],
}

impl World {
    /// The world of a scenario, in which nothing has happened.
    #[must_use]
    pub fn new(scenario: Scenario, connections: u32, pace: Pace, clock: Clock) -> Self {
        let connections_max = (4 * connections).max(4_096).next_power_of_two();
        let host_buffers = 16_384 + 8 * connections;
        let pools = [Pool::heap(host_buffers), Pool::heap(host_buffers)];
        let config = SluiceConfig {
            text: scenario.config(ORIGIN),
            routes: vec![RouteConfig {
                to: (Ipv4Addr::new(10, 99, 0, 0).into(), 16),
                via: vec![ORIGIN.into()],
                interface: None,
            }],
            connections_max,
            exchanges_max: 65_536,
            buffers: 16_384 + 4 * connections,
            segmentation_max: scenario.segmentation_max(),
        };
        let [front_pool, back_pool] = &pools;
        let (sluice, [front, back]) = Sluice::start(&config, [front_pool, back_pool]);
        let traffic = if scenario.floods() {
            let flood = Box::new(Flood::new(front_pool, front, scenario.is_udp()));
            let sink = Host::new(Sink, ORIGIN, BACK, connections_max, back_pool, back);
            Traffic::Forwarding { flood, sink: Box::new(sink) }
        } else {
            let (target, grpc) = (scenario.target(), scenario.is_grpc());
            let client = if scenario.asks_http2() {
                let mut load = Http2Load::new(target, connections, grpc, front_pool);
                if scenario == Scenario::Http2ConnectionPer16 {
                    load.close_behind_calls();
                }
                Client::Http2(Box::new(load))
            } else {
                Client::Plain(Box::new(Load::new(scenario.exchange(), target, connections, pace)))
            };
            let client = Host::new(client, CLIENT, FRONT, connections_max, front_pool, front);
            let origin = if scenario.answers_http2() {
                Server::Http2(Box::new(Http2Origin::new(grpc, back_pool)))
            } else {
                Server::Plain(Box::new(Origin::new(scenario.answer(), back_pool)))
            };
            let mut origin = Host::new(origin, ORIGIN, BACK, connections_max, back_pool, back);
            for port in [80, 7] {
                origin.listen(SocketAddrV4::new(ORIGIN, port), &sluice_tcp::Config::default());
            }
            Traffic::Exchanges { client: Box::new(client), origin: Box::new(origin) }
        };
        let (now, beats) = (Instant::ZERO, Vec::new());
        let mut world = Self { traffic, sluice, clock, now, rounds: 0, beats, _pools: pools };
        // Sluice listens before anybody asks.
        world.now = world.clock.now();
        for _ in 0..8 {
            world.sluice.step(world.now);
        }
        world
    }

    fn round(&mut self) {
        self.now = self.clock.now();
        let now = self.now;
        match &mut self.traffic {
            Traffic::Exchanges { client, origin } => {
                client.step(now);
                origin.step(now);
            }
            Traffic::Forwarding { flood, sink } => {
                flood.step();
                sink.step(now);
            }
        }
        let before = cycles();
        if self.sluice.step(now) {
            self.beats.push(cycles().saturating_sub(before));
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(COLLECT_EVERY) {
            self.sluice.collect();
        }
    }

    fn done(&self) -> u64 {
        match &self.traffic {
            Traffic::Exchanges { client, .. } => client.app.done(),
            Traffic::Forwarding { sink, .. } => sink.packets_received(),
        }
    }

    /// Plays until `units` more were answered.
    ///
    /// # Errors
    /// [`Stuck`] when nothing is answered for long.
    pub fn play(&mut self, units: u64) -> Result<(), Stuck> {
        let goal = self.done() + units;
        let (mut last, mut idle) = (self.done(), 0);
        while self.done() < goal {
            self.round();
            idle += 1;
            if self.done() > last {
                (last, idle) = (self.done(), 0);
            }
            if idle > IDLE_ROUNDS_MAX {
                return Err(Stuck { done: last });
            }
        }
        Ok(())
    }

    /// As [`Self::play`], and what the proxy did meanwhile.
    ///
    /// # Errors
    /// [`Stuck`] when nothing is answered for long.
    pub fn sample(&mut self, units: u64) -> Result<Sample, Stuck> {
        let before = self.totals();
        self.beats.clear();
        if let Traffic::Exchanges { client, .. } = &mut self.traffic {
            client.app.latency().reset();
        }
        self.play(units)?;
        let after = self.totals();
        let (quiet_cycles, interrupted) = without_interruptions(&mut self.beats);
        let (latency, failures) = match &mut self.traffic {
            Traffic::Exchanges { client, .. } => {
                (client.app.latency().clone(), client.app.failures())
            }
            Traffic::Forwarding { .. } => (Histogram::new(1).expect("a constant precision"), 0),
        };
        let stack = self.sluice.worker().stack();
        Ok(Sample {
            units: after.done - before.done,
            elapsed_nanos: after.now.nanos_since(before.now),
            busy_cycles: after.busy_cycles - before.busy_cycles,
            stage_cycles: std::array::from_fn(|stage| {
                after.stage_cycles[stage] - before.stage_cycles[stage]
            }),
            busy_heartbeats: after.busy_heartbeats - before.busy_heartbeats,
            interrupted,
            quiet_cycles,
            packets: std::array::from_fn(|way| after.packets[way] - before.packets[way]),
            latency,
            failures,
            buffers: [stack.rx_pool().in_use(), stack.tx_pool().in_use()],
            connections: stack.connection_count(),
        })
    }

    fn totals(&self) -> Totals {
        let status = self.sluice.status();
        Totals {
            done: self.done(),
            now: self.now,
            busy_cycles: status.busy_cycles.value(),
            stage_cycles: std::array::from_fn(|stage| status.stage_cycles[stage].value()),
            busy_heartbeats: status.busy_heartbeats.value(),
            packets: std::array::from_fn(|way| status.packets[way].value()),
        }
    }

    /// Counters of the proxy's stack that are not zero, for the report of a failure.
    #[must_use]
    pub fn diagnosis(&self) -> String {
        let counters = &self.sluice.status().stack;
        let drops = counters.drops.iter().map(|(reason, count)| (reason.name(), count));
        let tcp = counters.tcp.iter();
        let all = counters.iter().chain(tcp).chain(drops).filter(|(_, count)| *count > 0);
        let lines: Vec<_> = all.map(|(name, count)| format!("  {name} {count}\n")).collect();
        lines.concat()
    }

    /// Answers that were wrong, connections that broke.
    #[must_use]
    pub fn failures(&self) -> u64 {
        match &self.traffic {
            Traffic::Exchanges { client, .. } => client.app.failures(),
            Traffic::Forwarding { .. } => 0,
        }
    }
}

/// So many times the median no heartbeat takes by itself: a tick's timers are among the work.
const INTERRUPTION: u64 = 32;

/// What heartbeats take when nobody takes the processor away, all together, and how many were
/// interrupted.
pub(crate) fn without_interruptions(beats: &mut [u64]) -> (f64, u64) {
    beats.sort_unstable();
    let limit = beats.get(beats.len() / 2).copied().unwrap_or(0).saturating_mul(INTERRUPTION);
    let kept = beats.partition_point(|cycles| *cycles <= limit);
    let sum: u64 = beats[..kept].iter().sum();
    (sum as f64 / kept.max(1) as f64 * beats.len() as f64, (beats.len() - kept) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_heartbeat_counts_as_an_ordinary_one() {
        assert_eq!(without_interruptions(&mut [90, 100, 1_000_000, 110]), (400.0, 1));
        assert_eq!(without_interruptions(&mut []), (0.0, 0));
    }

    #[test]
    fn every_scenario_answers_what_was_asked() {
        for scenario in Scenario::ALL {
            let mut world = World::new(scenario, 4, Pace::Closed, Clock::Virtual(0));
            let sample = world.sample(200);
            let sample = sample.unwrap_or_else(|stuck| panic!("{scenario:?}: {stuck:?}"));
            assert!(sample.units >= 200 && sample.failures == 0, "{scenario:?}: {sample:?}");
        }
    }

    /// In an open loop requests come by the clock, whether the last ones were answered or not.
    #[test]
    fn an_open_loop_sends_by_the_clock() {
        let pace = Pace::Open(100_000);
        let scenario = Scenario::HttpKeepalive128;
        let mut world = World::new(scenario, 4, pace, Clock::Virtual(0));
        let sample = world.sample(100).expect("answers");
        assert!(sample.elapsed_nanos > 90 * 100_000, "{sample:?}");
    }
}
