//! The whole path over in-memory links: requests per second of the proxy's core.

use clap::Parser;
use sluice_arch::MonotonicClock;
use sluice_bench::load::Pace;
use sluice_bench::{Clock, Sample, Scenario, World, machine};
use sluice_worker::Stage;

/// Plays each scenario once per round, in turn, so that two builds or two scenarios can be
/// compared on a machine whose speed changes; prints the median of the rounds and their spread.
#[derive(Debug, Parser)]
struct Options {
    /// Which scenarios; all if none is named.
    scenarios: Vec<Scenario>,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Units per scenario and round.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// Client connections.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Requests per second in an open loop; closed if not given.
    #[arg(long)]
    rate: Option<u64>,
}

struct Runs {
    scenario: Scenario,
    samples: Vec<Sample>,
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let per_nano = machine::cycles_per_nano();
    println!("{}, TSC {per_nano:.3} GHz", machine::description());
    let pace = match options.rate {
        Some(rate) => Pace::Open(1_000_000_000 / rate.max(1)),
        None => Pace::Closed,
    };
    let chosen = if options.scenarios.is_empty() {
        Scenario::ALL.to_vec()
    } else {
        options.scenarios.clone()
    };
    let mut all: Vec<Runs> =
        chosen.iter().map(|scenario| Runs { scenario: *scenario, samples: Vec::new() }).collect();
    let switches = machine::involuntary_switches();
    let mut failed = false;
    for round in 0..options.rounds {
        for runs in &mut all {
            let clock = Clock::Real(MonotonicClock::start());
            let mut world = World::new(runs.scenario, options.connections, pace, clock);
            let warm_up = (options.count / 10).max(u64::from(options.connections));
            let result = world.play(warm_up).and_then(|()| world.sample(options.count));
            match result {
                Ok(sample) => {
                    failed |= sample.failures > 0;
                    runs.samples.push(sample);
                }
                Err(stuck) => {
                    eprintln!(
                        "{}: round {round}: nothing is answered after {} units\n{}",
                        runs.scenario.name(),
                        stuck.done,
                        world.diagnosis()
                    );
                    failed = true;
                }
            }
        }
    }
    for runs in &all {
        report(runs, per_nano, &options);
    }
    println!(
        "\nmemory {} MiB, involuntary context switches {}",
        machine::resident_bytes() >> 20,
        machine::involuntary_switches() - switches
    );
    u8::from(failed).into()
}

fn report(runs: &Runs, per_nano: f64, options: &Options) {
    let (scenario, samples) = (runs.scenario, &runs.samples);
    if samples.is_empty() {
        return;
    }
    let unit = scenario.unit();
    let per_second =
        |sample: &Sample| sample.units as f64 * per_nano * 1e9 / sample.quiet_cycles.max(1.0);
    println!(
        "\n{}, {} connections, {} rounds",
        scenario.name(),
        options.connections,
        samples.len()
    );
    let rates = Spread::of(samples.iter().map(per_second));
    println!("  proxy's core     {} per second: {}", unit, rates.show(0));
    if unit == "1448 bytes" {
        let bits = Spread::of(samples.iter().map(|s| per_second(s) * 1448.0 * 8.0 / 1e9));
        println!("                   Gbit/s: {}", bits.show(2));
    }
    let cycles = |sample: &Sample| sample.quiet_cycles / sample.units as f64;
    println!("  busy cycles      per {unit}: {}", Spread::of(samples.iter().map(cycles)).show(0));
    let (interrupted, busy) = samples.iter().fold((0, 0), |(interrupted, busy), sample| {
        (interrupted + sample.interrupted, busy + sample.busy_heartbeats)
    });
    let all = |sample: &Sample| sample.busy_cycles as f64 / sample.units as f64;
    println!(
        "    {interrupted} of {busy} heartbeats were interrupted and count as the others; as they are: {}",
        Spread::of(samples.iter().map(all)).show(0)
    );
    for stage in Stage::ALL {
        let share =
            |sample: &Sample| sample.stage_cycles[stage as usize] as f64 / sample.units as f64;
        println!("    {:<14} {}", stage.name(), Spread::of(samples.iter().map(share)).show(0));
    }
    let last = &samples[samples.len() - 1];
    let each = |count: u64| count as f64 / last.units as f64;
    println!(
        "  packets          per {unit}: {:.2} in, {:.2} out; {:.1} per busy heartbeat",
        each(last.packets[0]),
        each(last.packets[1]),
        (last.packets[0] + last.packets[1]) as f64 / last.busy_heartbeats.max(1) as f64
    );
    let latency = &last.latency;
    if !latency.is_empty() {
        println!(
            "  latency, us      p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} ({} loop, \
             client and origin on the same core)",
            latency.value_at_quantile(0.5) as f64 / 1e3,
            latency.value_at_quantile(0.9) as f64 / 1e3,
            latency.value_at_quantile(0.99) as f64 / 1e3,
            latency.value_at_quantile(0.999) as f64 / 1e3,
            latency.max() as f64 / 1e3,
            if options.rate.is_some() { "open" } else { "closed" },
        );
    }
    println!(
        "  at the end       {} connections, {} receive and {} transmit buffers in use, {} failures",
        last.connections, last.buffers[0], last.buffers[1], last.failures
    );
}

/// Median, least and greatest.
struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    fn show(&self, digits: usize) -> String {
        let (least, greatest) = (self.sorted[0], self.sorted[self.sorted.len() - 1]);
        let median = self.sorted[self.sorted.len() / 2];
        format!("{median:.digits$} ({least:.digits$} .. {greatest:.digits$})")
    }
}
