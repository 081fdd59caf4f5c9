//! Instructions per proxied request and per forwarded packet, beside their budgets.
//!
//! Each row of `icount.toml` is played twice under callgrind, for a small and for a large number of
//! units; only [`sluice_bench::sluice::proxy_heartbeat`] is counted, and the difference of the two
//! divided by the difference of units is free of start-up. Time is virtual, so a figure changes
//! only when code does. What asks the system for memory in the longer run alone fails as well.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Deserialize;
use sluice_bench::load::Pace;
use sluice_bench::{Clock, Scenario, World};

/// How much more than its table a figure may be, in thousandths.
const TOLERANCE: u64 = 30;
/// How long one run under callgrind may take.
const RUN_MAX: Duration = Duration::from_secs(60);
const HEAD: &str = "\
# Instructions of the proxy's heartbeats per unit, as `make icount` counted them when this table was
# last written (`icount --bless`). A figure more than 3 % above its row fails. `goal` is what the
# project promises and may not hold yet: it is shown, and does not fail. `low` and `high` are the
# units played: the figure is the slope between the two.
";

#[derive(Debug, Parser)]
struct Options {
    /// Only rows of these scenarios.
    scenarios: Vec<Scenario>,
    /// Write what was counted into the table.
    #[arg(long)]
    bless: bool,
    /// The table.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/icount.toml"))]
    table: PathBuf,
    /// Keep callgrind's files in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Only play the first scenario named for so many units: what runs under callgrind.
    #[arg(long)]
    play: Option<u64>,
    /// Client connections when playing.
    #[arg(long, default_value_t = 8)]
    connections: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    scenario: String,
    connections: u32,
    low: u64,
    high: u64,
    /// Instructions per unit.
    instructions: u64,
    /// What the project promises, whatever was counted last.
    goal: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match (options.play, options.scenarios.first()) {
        (Some(units), Some(scenario)) => play(*scenario, options.connections, units),
        (Some(_), None) => Err("--play needs a scenario".to_owned()),
        (None, _) => count(&options),
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            eprintln!("icount: {message}");
            ExitCode::FAILURE
        }
    }
}

fn play(scenario: Scenario, connections: u32, units: u64) -> Result<ExitCode, String> {
    let mut world = World::new(scenario, connections, Pace::Closed, Clock::Virtual(0));
    let sample = world.sample(units).map_err(|stuck| {
        format!("nothing is answered after {} units\n{}", stuck.done, world.diagnosis())
    })?;
    if sample.failures > 0 {
        return Err(format!("{} answers were not as expected", sample.failures));
    }
    println!("{}", sample.units);
    Ok(ExitCode::SUCCESS)
}

fn count(options: &Options) -> Result<ExitCode, String> {
    let text = std::fs::read_to_string(&options.table)
        .map_err(|error| format!("{}: {error}", options.table.display()))?;
    let mut table: Table = toml::from_str(&text).map_err(|error| error.to_string())?;
    println!(
        "{:<32} {:>5} {:>13} {:>10} {:>8}",
        "scenario", "conns", "instructions", "table", "change"
    );
    let mut over = 0;
    for row in &mut table.row {
        let scenario: Scenario = row.scenario.parse()?;
        if !options.scenarios.is_empty() && !options.scenarios.contains(&scenario) {
            continue;
        }
        let Counted { instructions: counted, allocates } = measure(row, options.keep.as_deref())?;
        let change = (counted as f64 / row.instructions.max(1) as f64 - 1.0) * 100.0;
        let above_table = counted * 1000 > row.instructions * (1000 + TOLERANCE);
        let remark = match above_table {
            true if options.bless => "  more than before".to_owned(),
            true => "  over its budget".to_owned(),
            false if change < -3.0 && !options.bless => "  less: --bless".to_owned(),
            false => match row.goal {
                Some(goal) if counted > goal => format!("  above the goal of {goal}"),
                Some(_) | None => String::new(),
            },
        };
        let remark = if allocates { format!("{remark}  allocates") } else { remark };
        println!(
            "{:<32} {:>5} {counted:>13} {:>10} {change:>+7.1}%{remark}",
            row.scenario, row.connections, row.instructions
        );
        over += u32::from((above_table && !options.bless) || allocates);
        row.instructions = counted;
    }
    if options.bless {
        std::fs::write(&options.table, render(&table))
            .map_err(|error| format!("{}: {error}", options.table.display()))?;
    }
    Ok(u8::from(over > 0).into())
}

struct Counted {
    /// Per unit.
    instructions: u64,
    /// Whether memory was asked for after the shorter run had ended.
    allocates: bool,
}

fn measure(row: &Row, keep: Option<&Path>) -> Result<Counted, String> {
    let low = Run::start(row, row.low, keep)?;
    let high = Run::start(row, row.high, keep)?;
    let (low, high) = (low.finish()?, high.finish()?);
    let units = high.units.checked_sub(low.units);
    let instructions = high.instructions.checked_sub(low.instructions);
    match (units, instructions) {
        (Some(units @ 1..), Some(instructions)) => Ok(Counted {
            instructions: instructions / units,
            allocates: high.allocator > low.allocator,
        }),
        _ => Err(format!("{}: the longer run did not count more", row.scenario)),
    }
}

/// What one run counted.
struct Taken {
    units: u64,
    instructions: u64,
    /// Of those, the allocator's entry points' own.
    allocator: u64,
}

/// The allocator's entry points.
const ALLOCATOR: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Instructions of the allocator's entry points by a file of callgrind.
///
/// A function has a number, and its name where it is met first; lines of costs follow, of which the
/// one behind `calls=` is the callee's.
fn allocator_cost(text: &str) -> u64 {
    let (mut numbers, mut cost) = (Vec::new(), 0);
    let (mut here, mut is_callee) = (false, false);
    for line in text.lines() {
        let own = line.strip_prefix("fn=");
        if let Some(function) = own.or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if ALLOCATOR.contains(&name) {
                numbers.push(number);
            }
            if own.is_some() {
                here = numbers.contains(&number);
            }
        } else if line.starts_with("calls=") {
            is_callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
            if !std::mem::take(&mut is_callee) && here {
                cost += count.unwrap_or(0);
            }
        }
    }
    cost
}

/// One run under callgrind.
struct Run {
    child: Child,
    file: PathBuf,
    kept: bool,
    until: Instant,
}

impl Run {
    fn start(row: &Row, units: u64, keep: Option<&Path>) -> Result<Self, String> {
        let name = format!("callgrind.{}.{}.{units}", row.scenario, row.connections);
        let file = match keep {
            Some(directory) => directory.join(name),
            None => std::env::temp_dir().join(format!("{name}.{}", std::process::id())),
        };
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
            .arg("--toggle-collect=*proxy_heartbeat*")
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(program)
            .args(["--play", &units.to_string()])
            .args(["--connections", &row.connections.to_string(), &row.scenario])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("valgrind (Debian package of that name): {error}"))?;
        Ok(Self { child, file, kept: keep.is_some(), until: Instant::now() + RUN_MAX })
    }

    /// Waits for its end.
    fn finish(mut self) -> Result<Taken, String> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < self.until => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(None) => return Err(format!("a run took more than {RUN_MAX:?}")),
                Err(error) => return Err(error.to_string()),
            }
        };
        if !status.success() {
            return Err(format!("a run under callgrind ended with {status}"));
        }
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut said)
                .map_err(|error| error.to_string())?;
        }
        let units = said.trim().parse().map_err(|_| format!("a run said {said:?}"))?;
        let text = std::fs::read_to_string(&self.file).map_err(|error| error.to_string())?;
        let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
        let instructions = totals.and_then(|total| total.trim().parse().ok());
        let instructions = instructions.ok_or("callgrind's file has no totals")?;
        Ok(Taken { units, instructions, allocator: allocator_cost(&text) })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Both fail when it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.kept {
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

fn render(table: &Table) -> String {
    let mut text = HEAD.to_owned();
    for row in &table.row {
        let _ = write!(
            text,
            "\n[[row]]\nscenario = \"{}\"\nconnections = {}\nlow = {}\nhigh = {}\ninstructions = {}\n",
            row.scenario, row.connections, row.low, row.high, row.instructions
        );
        if let Some(goal) = row.goal {
            let _ = writeln!(text, "goal = {goal}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_allocator_takes_itself_is_found() {
        let text = "fn=(1) a::malloc_like\n10 7\ncfn=(2) malloc\ncalls=1 0\n10 900\n+1 3\n\n\
            fn=(2)\n0 20\n* 5\ncfn=(3) _int_malloc\ncalls=1 0\n* 800\n\nfn=(3)\n0 800\n\n\
            fn=(2)\n-4 1\ntotals: 836\n";
        assert_eq!(allocator_cost(text), 26);
        assert_eq!(allocator_cost("fn=(1) main\n10 7\n"), 0);
    }
}
