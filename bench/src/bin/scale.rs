//! What a million connections cost: memory of each, and how much harder they make the work on one;
//! and what open streams of HTTP/2 cost.
//!
//! Every run is a process of its own, so that nothing is left over from another: this program
//! starts itself with `--play`, under valgrind where instructions are counted. Bytes and
//! instructions depend on the code alone: each has a gate, which is what was reached last and a
//! little, and a goal, which is what the project promises and may not hold yet. Cycles depend on
//! the machine and are shown.

use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, ValueEnum};
use sluice_bench::pairs::Pairs;
use sluice_bench::server::{Server, Stopped, Unit};
use sluice_bench::streams::{Halted, Stage, Streams};
use sluice_bench::{kernel, machine};
use sluice_tcp::Config;

/// Connections between which slopes and ratios are taken.
const FEW: u32 = 10_000;
const FEWEST: u32 = 1_000;
const MANY: u32 = 1_000_000;
/// The same where instructions are counted: a million take half an hour to open under valgrind.
const MANY_COUNTED: u32 = 200_000;
/// What a figure may be, and what it shall be.
#[derive(Clone, Copy)]
struct Limit {
    gate: f64,
    goal: f64,
}

/// Bytes of state per idle established connection, and per proxied pair.
const CONNECTION: Limit = Limit { gate: 370.0, goal: 400.0 };
const PAIR: Limit = Limit { gate: 985.0, goal: 1_000.0 };
/// Bytes per open request, HTTP/2 on both sides: streams, exchange, head, and what the connections to
/// the endpoints grow by. Before its answer it may have to be sent again.
const STREAM_ASKED: Limit = Limit { gate: 350.0, goal: 400.0 };
const STREAM_ANSWERED: Limit = Limit { gate: 350.0, goal: 400.0 };
/// Bytes of an idle connection of HTTP/2 that has carried requests, beyond what TCP keeps of it.
const HTTP2_CONNECTION: Limit = Limit { gate: 3_500.0, goal: 4_096.0 };
/// Connections with streams, and streams of each, between which the slope is taken.
const STREAM_CONNECTIONS: u32 = 1_000;
const STREAMS: [u32; 2] = [10, 100];
/// Connections of HTTP/2 between which the slope is taken, and streams that each has carried.
const HTTP2_CONNECTIONS: [u32; 2] = [1_000, 10_000];
const CARRIED: u32 = 10;
/// Instructions among many, of those among few.
const AMONG_MANY: Limit = Limit { gate: 1.08, goal: 1.1 };
/// An exchange on one of many pairs sends a segment more: an ACK that no request comes to carry.
const PAIR_AMONG_MANY: Limit = Limit { gate: 1.25, goal: 1.25 };
/// Cycles among many, of those among few.
const CYCLES_GOAL: f64 = 1.3;
/// Cycles of the server per connection.
const CONNECTION_CYCLES_GOAL: f64 = 4_600.0;

impl Limit {
    fn verdict(self, figure: f64) -> String {
        match figure {
            figure if figure > self.gate => format!("MORE than the {} of the gate", self.gate),
            figure if figure > self.goal => format!("above the goal of {}", self.goal),
            _ => format!("at most {}, holds", self.goal),
        }
    }
}

#[derive(Debug, Parser)]
struct Options {
    /// Which questions; all if none is named.
    questions: Vec<Question>,
    /// The larger number of connections; a million by itself, 200,000 where instructions are counted.
    #[arg(long)]
    many: Option<u32>,
    /// Units per run in which cycles are taken.
    #[arg(long, default_value_t = 400_000)]
    count: u64,
    /// Runs of each kind in which cycles are taken, in turn.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// One run: what is played.
    #[arg(long)]
    play: Option<Play>,
    /// One run: the unit of a server.
    #[arg(long, default_value = "exchange")]
    unit: String,
    /// One run: connections, or pairs.
    #[arg(long, default_value_t = FEW)]
    connections: u32,
    /// One run: how many units, in turn; the last ones count. Of streams: how many each connection has.
    #[arg(long, default_value_t = 0)]
    units: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Question {
    /// Bytes per idle connection and per pair.
    Memory,
    /// Instructions among many and among few.
    Instructions,
    /// Cycles among many and among few.
    Cycles,
    /// Cycles of a connection from SYN to FIN.
    Connections,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Play {
    Server,
    Pairs,
    /// Streams that are asked and not answered.
    Asked,
    /// Streams that are answered and not ended.
    Answered,
    /// Connections that have carried streams.
    Carriers,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.play {
        Some(what) => play(what, &options),
        None => ask(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("scale: {message}");
            ExitCode::FAILURE
        }
    }
}

/// One run: prints bytes allocated and resident before and after the connections were opened, and
/// cycles per unit.
fn play(what: Play, options: &Options) -> Result<bool, String> {
    let Options { connections, units, .. } = *options;
    let stopped = |stopped: Stopped| format!("nothing happened after {} units", stopped.done);
    let unit = Unit::ALL.into_iter().find(|(name, _)| *name == options.unit);
    let (_, unit) = unit.ok_or_else(|| format!("no unit {:?}", options.unit))?;
    let (cycles, interrupted, failures) = match what {
        Play::Server => {
            let mut server = Server::new(connections + 8_192, connections, &Config::default());
            server.fill().map_err(stopped)?;
            say_memory();
            let (cycles, interrupted) = if units == 0 {
                (0.0, 0)
            } else {
                // The TIME-WAIT table is full before it counts.
                let warm_up = if unit == Unit::ConnectionTimeWait { 50_000 } else { units / 10 };
                server.play(unit, warm_up).map_err(stopped)?;
                server.play(unit, units).map_err(stopped)?
            };
            (cycles, interrupted, server.crowd.failures)
        }
        Play::Pairs => {
            let mut pairs = Pairs::new(connections + 4_096, connections, 0);
            pairs.fill().map_err(stopped)?;
            say_memory();
            let (cycles, interrupted) = if units == 0 {
                (0.0, 0)
            } else {
                pairs.play(units / 10).map_err(stopped)?;
                pairs.play(units).map_err(stopped)?
            };
            (cycles, interrupted, pairs.crowd.failures)
        }
        Play::Asked | Play::Answered | Play::Carriers => {
            let failures = play_streams(what, connections, units as u32);
            (0.0, 0, failures.map_err(|halted| format!("{} streams did", halted.done))?)
        }
    };
    println!("cycles {cycles}\ninterrupted {interrupted}");
    if failures > 0 {
        return Err(format!("{failures} segments were not as expected"));
    }
    Ok(true)
}

/// Prints what is resident while streams wait, or when none is left.
fn play_streams(what: Play, connections: u32, streams: u32) -> Result<u64, Halted> {
    let mut world = Streams::new(connections, streams);
    match what {
        Play::Asked => world.play_calmly(connections, streams, Stage::Asked)?,
        Play::Answered => world.play_calmly(connections, streams, Stage::Answered)?,
        Play::Carriers | Play::Server | Play::Pairs => {
            world.fill(connections, streams)?;
        }
    }
    say_memory();
    Ok(world.failures())
}

fn say_memory() {
    println!("allocated {}", machine::allocated_bytes());
    println!("resident {}", machine::resident_bytes());
}

fn ask(options: &Options) -> Result<bool, String> {
    let all = [Question::Memory, Question::Instructions, Question::Cycles, Question::Connections];
    let chosen = if options.questions.is_empty() { &all[..] } else { &options.questions };
    println!("{}, TSC {:.3} GHz", machine::description(), machine::cycles_per_nano());
    let mut holds = true;
    for question in chosen {
        holds &= match question {
            Question::Memory => memory(options)?,
            Question::Instructions => instructions(options)?,
            Question::Cycles => cycles(options)?,
            Question::Connections => connections(options)?,
        };
    }
    Ok(holds)
}

/// What one run said.
struct Said {
    lines: String,
    instructions: Option<u64>,
}

impl Said {
    fn value(&self, name: &str) -> Result<f64, String> {
        let value =
            self.lines.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("a run said nothing of {name}: {:?}", self.lines))
    }
}

fn run(what: &str, unit: &str, connections: u32, units: u64, count: bool) -> Result<Said, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let file = std::env::temp_dir().join(format!("callgrind.scale.{}", std::process::id()));
    let mut command = if count {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
            .args(["--toggle-collect=*serve_vector*", "--toggle-collect=*proxy_heartbeat*"])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    let output = command
        .args(["--play", what, "--unit", unit])
        .args(["--connections", &connections.to_string(), "--units", &units.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{what}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{what} {unit} of {connections} ended with {}", output.status));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let instructions = if count {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let _ = std::fs::remove_file(&file);
        let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
        Some(totals.and_then(|total| total.trim().parse().ok()).ok_or("no totals")?)
    } else {
        None
    };
    Ok(Said { lines, instructions })
}

fn memory(options: &Options) -> Result<bool, String> {
    let more = options.many.unwrap_or(MANY);
    println!("\nbytes of state, slope from {FEW} to {more} (allocated, resident)");
    let mut holds = true;
    let mut connection = 0.0;
    for (what, name, limit) in
        [("server", "idle established connection", CONNECTION), ("pairs", "proxied TCP pair", PAIR)]
    {
        let few = run(what, "exchange", FEW, 0, false)?;
        let many = run(what, "exchange", more, 0, false)?;
        let slope = |name: &str| -> Result<f64, String> {
            Ok((many.value(name)? - few.value(name)?) / f64::from(more - FEW))
        };
        let (allocated, resident) = (slope("allocated")?, slope("resident")?);
        let most = allocated.max(resident);
        if what == "server" {
            connection = most;
        }
        holds &= most <= limit.gate;
        let verdict = limit.verdict(most);
        println!("  {name:<28} {allocated:>7.1} {resident:>7.1}   {verdict}");
    }
    Ok(holds & http2_memory(connection)?)
}

/// What HTTP/2 adds; `connection` is what TCP has of one connection.
fn http2_memory(connection: f64) -> Result<bool, String> {
    let [low, high] = STREAMS;
    let count = STREAM_CONNECTIONS;
    println!(
        "\nHTTP/2, resident bytes: {count} connections of each side, slope from {low} to {high} streams"
    );
    let mut holds = true;
    for (stage, name, limit) in [
        ("asked", "idle stream, not answered", STREAM_ASKED),
        ("answered", "idle stream, answered", STREAM_ANSWERED),
    ] {
        let few = run(stage, "exchange", count, low.into(), false)?.value("resident")?;
        let many = run(stage, "exchange", count, high.into(), false)?.value("resident")?;
        let slope = (many - few) / f64::from(count * (high - low));
        holds &= slope <= limit.gate;
        println!("  {name:<36} {slope:>7.1}   {}", limit.verdict(slope));
    }
    let [low, high] = HTTP2_CONNECTIONS;
    let few = run("carriers", "exchange", low, CARRIED.into(), false)?.value("resident")?;
    let many = run("carriers", "exchange", high, CARRIED.into(), false)?.value("resident")?;
    // The client's end of it is in the same process.
    let beyond = (many - few) / f64::from(high - low) - 2.0 * connection;
    holds &= beyond <= HTTP2_CONNECTION.gate;
    let verdict = HTTP2_CONNECTION.verdict(beyond);
    println!("  {:<36} {beyond:>7.1}   {verdict}", "idle connection, beyond its TCP state");
    Ok(holds)
}

const UNITS: [(&str, &str, &str); 4] = [
    ("server", "exchange", "server: exchange on a random connection"),
    ("server", "connection", "server: new connection, SYN to FIN"),
    ("server", "connection-time-wait", "server: the same, closing first"),
    ("pairs", "exchange", "proxy: exchange on a random pair"),
];

fn instructions(options: &Options) -> Result<bool, String> {
    let more = options.many.unwrap_or(MANY_COUNTED);
    println!("\ninstructions per unit among {FEWEST} and among {more}");
    let mut holds = true;
    for (what, unit, name) in UNITS {
        let count = |connections: u32| -> Result<f64, String> {
            // Between them timers come up as they will for ever.
            let (low, high) = (50_000, 150_000);
            let low_run = run(what, unit, connections, low, true)?;
            let high_run = run(what, unit, connections, high, true)?;
            let taken = [low_run, high_run].map(|said| said.instructions.unwrap_or(0) as f64);
            // A tenth more of each is played before, except where a table is filled.
            let tenth = if unit == "connection-time-wait" { 1.0 } else { 1.1 };
            Ok((taken[1] - taken[0]) / ((high - low) as f64 * tenth))
        };
        let (few, many) = (count(FEWEST)?, count(more)?);
        let limit = if what == "pairs" { PAIR_AMONG_MANY } else { AMONG_MANY };
        let ratio = many / few;
        holds &= ratio <= limit.gate;
        let verdict = limit.verdict(ratio);
        println!("  {name:<42} {few:>7.0} {many:>7.0}   x {ratio:.3}, {verdict}");
    }
    Ok(holds)
}

fn cycles(options: &Options) -> Result<bool, String> {
    let more = options.many.unwrap_or(MANY);
    println!("\nbusy cycles per unit among {FEWEST} and among {more}, medians");
    for (what, unit, name) in UNITS {
        let (mut few, mut many) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            few.push(run(what, unit, FEWEST, options.count, false)?.value("cycles")?);
            many.push(run(what, unit, more, options.count, false)?.value("cycles")?);
        }
        let (few, many) = (median(&mut few), median(&mut many));
        let goal = match what {
            "pairs" => "with a segment more".to_owned(),
            _ => format!("the goal is {CYCLES_GOAL}"),
        };
        println!("  {name:<42} {few:>7.0} {many:>7.0}   x {:.2}, {goal}", many / few);
    }
    Ok(true)
}

fn connections(options: &Options) -> Result<bool, String> {
    println!(
        "\nbusy cycles of the server per connection with one exchange of 64 bytes, SYN to FIN"
    );
    for (what, unit, name) in &UNITS[1..3] {
        let mut all = Vec::new();
        for _ in 0..options.rounds {
            all.push(run(what, unit, FEWEST, options.count, false)?.value("cycles")?);
        }
        let middle = median(&mut all);
        println!(
            "  {name:<42} {middle:>7.0} ({:.0} .. {:.0}), the goal is {CONNECTION_CYCLES_GOAL}",
            all[0],
            all[all.len() - 1]
        );
    }
    let mut all = Vec::new();
    for _ in 0..options.rounds {
        let cycles = kernel::cycles_per_connection(options.count / 8);
        all.push(cycles.map_err(|error| format!("over the loopback interface: {error}"))?);
    }
    let middle = median(&mut all);
    println!(
        "  {:<42} {middle:>7.0} ({:.0} .. {:.0}), half of what both ends take, system calls included",
        "the kernel, over its loopback interface",
        all[0],
        all[all.len() - 1]
    );
    Ok(true)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
