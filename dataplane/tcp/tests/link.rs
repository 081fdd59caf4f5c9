//! Two connections over a link that loses, delays, reorders and duplicates: both applications get
//! the bytes that the other wrote, both connections end, nothing leaks.
//!
//! Everything follows from a seed. `SEED=n cargo test -p sluice-tcp --test link` replays one.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_base::{Instant, Rng};
use sluice_buf::Pressure;
use sluice_tcp::{CloseReason, Config, CongestionKind, Connection, Spares, State};
use sluice_wire::{Flags, SeqNumber, TcpHeader};

use support::bench::Bench;

/// Nothing takes longer than this, virtual time.
const BOUND: Duration = Duration::from_secs(3_600);

/// How bad a link is, in events per million.
#[derive(Clone, Copy, Debug)]
struct Weather {
    loss: u32,
    duplication: u32,
    /// Part of the segments that take up to this many times as long.
    reordering: u32,
    delay_us: u32,
}

enum Event {
    Segment { to: usize, header: TcpHeader, payload: Vec<u8> },
    Application { side: usize },
}

/// One side's application: writes so many bytes in pieces, reads when it likes, then closes.
struct Application {
    to_write: u64,
    uncredited: usize,
    has_closed: bool,
    laziness_us: u32,
}

struct World {
    rng: Rng,
    weather: Weather,
    benches: [Bench; 2],
    applications: [Application; 2],
    events: BTreeMap<(Instant, u64), Event>,
    count: u64,
    now: Instant,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let weather = Weather {
            loss: [0, 0, 10_000, 50_000, 200_000][rng.below(5) as usize],
            duplication: [0, 20_000, 200_000][rng.below(3) as usize],
            reordering: [0, 50_000, 500_000][rng.below(3) as usize],
            delay_us: [20, 1_000, 30_000][rng.below(3) as usize],
        };
        let benches = [0, 1].map(|_| Self::bench(&mut rng));
        let applications = [0, 1].map(|_| Application {
            to_write: [0, 1, 700, 30_000, 300_000][rng.below(5) as usize],
            uncredited: 0,
            has_closed: false,
            laziness_us: [10, 1_000, 100_000][rng.below(3) as usize],
        });
        let now = benches[0].now;
        Self { rng, weather, benches, applications, events: BTreeMap::new(), count: 0, now }
    }

    fn bench(rng: &mut Rng) -> Bench {
        let receive_buffers = [4, 8, 44, 512][rng.below(4) as usize];
        let mss = [536, 1_460][rng.below(2) as usize];
        let config = Config {
            mss,
            receive_buffers,
            window_scale: rng.below(5) as u8,
            timestamps: rng.chance(500_000),
            sack: rng.chance(700_000),
            send_queue_max: [2_000, 100_000][rng.below(2) as usize],
            congestion: [CongestionKind::Cubic, CongestionKind::NewReno][rng.below(2) as usize],
            // So that no weather looks like a dead peer.
            syn_retries: 40,
            data_retries: 60,
            rto_max_us: 5_000_000,
            ..Config::default()
        };
        let mut bench = Bench::new(config);
        bench.max_payload = [0, 9_000, 65_535][rng.below(3) as usize];
        bench.iss = SeqNumber(rng.next_u32());
        // Sometimes there is no scoreboard, or none behind the next loss.
        bench.spares = Spares::of([0, 1, 64, 64][rng.below(4) as usize]);
        bench
    }

    fn schedule(&mut self, after_us: u32, event: Event) {
        let at = self.now + Duration::from_micros(after_us.into());
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    /// Puts what a side sent on the link.
    fn carry(&mut self, from: usize) {
        while let Some(sent) = self.benches[from].sent.pop_front() {
            let size = match sent.outgoing.segment_size {
                0 => sent.payload.len().max(1),
                size => usize::from(size),
            };
            if sent.payload.is_empty() {
                self.send(from, sent.header, &[]);
                continue;
            }
            // Half of the time the other side's device merges what ours would cut.
            let merges = self.rng.chance(500_000);
            let size = if merges { sent.payload.len() } else { size };
            let count = sent.payload.chunks(size).count();
            for (index, part) in sent.payload.chunks(size).enumerate() {
                let mut header = sent.header;
                header.seq += (index * size) as u32;
                if index + 1 < count {
                    header.flags = header.flags.without(Flags::FIN | Flags::PSH);
                }
                self.send(from, header, part);
            }
        }
    }

    fn send(&mut self, from: usize, header: TcpHeader, payload: &[u8]) {
        let copies = 1 + u32::from(self.rng.chance(self.weather.duplication));
        for _ in 0..copies {
            if self.rng.chance(self.weather.loss) {
                continue;
            }
            let mut delay_us = self.weather.delay_us;
            if self.rng.chance(self.weather.reordering) {
                delay_us += self.rng.below(3 * self.weather.delay_us);
            }
            let event = Event::Segment { to: 1 - from, header, payload: payload.to_vec() };
            self.schedule(delay_us, event);
        }
    }

    fn deliver(&mut self, to: usize, header: &TcpHeader, payload: &[u8]) {
        let bench = &mut self.benches[to];
        if bench.connection.is_none() {
            if header.flags == Flags::SYN {
                bench.accept(header, &[]);
                self.schedule(0, Event::Application { side: to });
            }
        } else {
            // Receive memory of the whole stack is scarce at times.
            bench.pressure =
                if self.rng.chance(20_000) { Pressure::Scarce } else { Pressure::None };
            bench.segment(header, payload);
        }
    }

    fn act(&mut self, side: usize) {
        let (bench, application) = (&mut self.benches[side], &mut self.applications[side]);
        bench.pressure = Pressure::None;
        let rng = &mut self.rng;
        let room = bench.send_room() as u64;
        let len = u64::from(rng.below(40_000)).min(application.to_write).min(room);
        if len > 0 {
            bench.write(len as usize);
            application.to_write -= len;
        }
        // Closing in SYN-SENT would give the attempt up.
        let may_close = bench.connection().state() != State::SynSent;
        if application.to_write == 0 && !application.has_closed && may_close {
            application.has_closed = true;
            bench.act(Connection::close);
        }
        application.uncredited += bench.read(rng.below(20_000) as usize);
        let credit = match rng.below(3) {
            0 => 0,
            1 => rng.below(application.uncredited as u32 + 1) as usize,
            _ => application.uncredited,
        };
        application.uncredited -= credit;
        bench.credit(credit);
        // From TIME-WAIT on there is nothing left to do.
        if !self.is_ending(side) {
            let is_busy = len > 0 || self.applications[side].uncredited > 0;
            let laziness_us = self.applications[side].laziness_us;
            let pause_us = 1 + self.rng.below(laziness_us) + if is_busy { 0 } else { 1_000 };
            self.schedule(pause_us, Event::Application { side });
        }
    }

    fn is_over(&self, side: usize) -> bool {
        let connection = self.benches[side].connection();
        connection.state() == State::Closed && connection.readable() == 0
    }

    fn is_ending(&self, side: usize) -> bool {
        let connection = self.benches[side].connection();
        let has_ended = matches!(connection.state(), State::TimeWait | State::Closed);
        has_ended && connection.readable() == 0 && self.applications[side].uncredited == 0
    }

    fn step(&mut self) -> bool {
        let event_at = self.events.first_key_value().map(|((at, _), _)| *at);
        let timer_at = self.benches[0].wheel().min(self.benches[1].wheel());
        let next = event_at.unwrap_or(Instant::NEVER).min(timer_at);
        if next == Instant::NEVER {
            return false;
        }
        self.now = self.now.max(next);
        for bench in &mut self.benches {
            bench.run_until(self.now);
        }
        if event_at.is_some_and(|at| at <= self.now)
            && let Some((_, event)) = self.events.pop_first()
        {
            match event {
                Event::Segment { to, header, payload } => self.deliver(to, &header, &payload),
                Event::Application { side } => self.act(side),
            }
        }
        self.carry(0);
        self.carry(1);
        true
    }

    /// Runs to the end and checks it.
    fn run(mut self) {
        let totals = [self.applications[0].to_write, self.applications[1].to_write];
        let start = self.now;
        self.benches[0].connect();
        self.carry(0);
        self.schedule(0, Event::Application { side: 0 });
        while self.step() {
            assert!(self.now - start < BOUND, "it ends: {:?}", self.states());
        }
        for side in [0, 1] {
            let bench = &self.benches[side];
            assert!(self.is_over(side), "both sides end: {:?}", self.states());
            assert_eq!(bench.connection().close_reason(), Some(CloseReason::Normal));
            assert_eq!(bench.written, totals[side], "everything was written");
            assert_eq!(bench.read, totals[1 - side], "everything was read");
        }
        for bench in &mut self.benches {
            bench.connection = None;
        }
        let [first, second] = self.benches;
        first.census();
        second.census();
    }

    fn states(&self) -> [Option<State>; 2] {
        [0, 1].map(|side| self.benches[side].connection.as_ref().map(Connection::state))
    }
}

#[test]
fn bytes_arrive_and_connections_end_in_any_weather() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        return World::new(seed).run();
    }
    for seed in 0..600 {
        let outcome = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(outcome.is_ok(), "SEED={seed} fails, see above");
    }
}
