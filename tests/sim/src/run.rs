//! One run: play a scenario to its end and check every promise.

use std::fmt;
use std::path::{Path, PathBuf};

use sluice_base::Instant;

use crate::ledger::Outcome;
use crate::scenario::Scenario;
use crate::trim::Trim;
use crate::world::World;

/// Virtual time within which everything must have ended.
const BOUND: Instant = Instant::from_millis(1_800_000);
/// Virtual time after the clients are done, for what was on its way to arrive, in the worst weather.
const REST_NANOS: u64 = 150_000_000_000;
/// Virtual time after that, for TIME-WAIT and idle time-outs.
const AFTERMATH_NANOS: u64 = 300_000_000_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Requests made.
    pub requests: usize,
    /// Requests answered with 200 and the right bytes.
    pub answered: usize,
    /// Of those, by who spoke HTTP/2: nobody, the backend, the client, both.
    pub pairs: [usize; 4],
    /// Requests answered with an error by Sluice.
    pub refused: usize,
    /// Requests that failed visibly.
    pub failed: usize,
    /// Bytes that came back from opaque echoes.
    pub relayed: u64,
    /// Datagrams that came to an endpoint, and back.
    pub datagrams: usize,
    /// Virtual time when the last client was done.
    pub ended: Instant,
    /// Rounds played.
    pub rounds: u64,
}

/// A run that broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// The scenario's seed.
    pub seed: u64,
    /// What was left out of it.
    pub trims: Vec<Trim>,
    /// What was broken.
    pub broken: Vec<String>,
    /// What Sluice dropped, by reason.
    pub drops: Vec<String>,
    /// Where the captures are.
    pub captures: Option<PathBuf>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "SIMULATION FAILED seed={} commit={}", self.seed, commit())?;
        write!(f, "  again: make sim SEED={}", self.seed)?;
        if !self.trims.is_empty() {
            let names: Vec<String> = self.trims.iter().map(Trim::to_string).collect();
            write!(f, " TRIM={}", names.join(","))?;
        }
        writeln!(f)?;
        for text in self.broken.iter().take(20) {
            writeln!(f, "  - {text}")?;
        }
        if self.broken.len() > 20 {
            writeln!(f, "  - and {} more", self.broken.len() - 20)?;
        }
        for text in &self.drops {
            writeln!(f, "  . {text}")?;
        }
        match &self.captures {
            Some(folder) => write!(f, "  captures: {}", folder.display()),
            None => write!(f, "  no captures were kept"),
        }
    }
}

/// The commit of this tree, with a + if it was changed since; only asked for when a run failed.
fn commit() -> String {
    let output = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty=+"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// Plays the scenario that `seed` names, without what `trims` leave out. Captures of a failure go to
/// `folder`/`seed`.
///
/// # Errors
/// [`Failure`] if a promise was broken.
pub fn run(seed: u64, trims: &[Trim], folder: Option<&Path>) -> Result<Report, Box<Failure>> {
    let mut scenario = Scenario::new(seed);
    trims.iter().for_each(|trim| trim.apply(&mut scenario));
    let mut world = World::new(&scenario);
    let mut broken = Vec::new();

    let mut reloads = scenario.reloads.clone();
    reloads.sort_unstable();
    let mut version = 0;
    while !world.is_done() && world.now < BOUND {
        while reloads.first().is_some_and(|at| *at <= world.now) {
            reloads.remove(0);
            version += 1;
            world.sluice.reload(&scenario.config(version));
        }
        if version > 0 && broken.is_empty() {
            broken.extend(world.sluice.misnamed());
        }
        let limit = reloads.first().copied().unwrap_or(BOUND).min(BOUND);
        if !world.advance(limit) {
            broken.push(format!("the world does not come to rest at {:?}", world.now));
            break;
        }
    }
    let ended = world.now;
    if !world.is_done() && broken.is_empty() {
        broken.push(format!("clients are not done after {BOUND:?} of virtual time"));
    }
    if broken.is_empty() {
        come_to_rest(&mut world, &mut broken);
    }
    aftermath(&mut world, &mut broken);

    let mut report = Report { ended, rounds: world.rounds, ..Report::default() };
    {
        let ledger = world.ledger.borrow();
        broken.extend(ledger.violations.iter().cloned());
        broken.extend(ledger.disagreements());
        if scenario.is_calm() {
            broken.extend(ledger.starved());
        }
        report.requests = ledger.entries.len();
        report.relayed = ledger.relayed;
        report.datagrams = ledger.datagrams.iter().filter(|one| one.back > 0).count();
        for entry in &ledger.entries {
            match entry.outcome {
                Some(Outcome::Answered(200)) => {
                    report.answered += 1;
                    let (client, backend) = entry.http2;
                    report.pairs[usize::from(client) * 2 + usize::from(backend)] += 1;
                }
                Some(Outcome::Answered(_)) => report.refused += 1,
                Some(Outcome::Failed) => report.failed += 1,
                None => broken.push(format!("request {} never ended", entry.request.id)),
            }
        }
    }
    let captures = match folder {
        Some(folder) if !broken.is_empty() => {
            write_captures(&world, &folder.join(seed.to_string()))
        }
        _ => None,
    };
    let drops = world.sluice.drops();
    broken.extend(world.census());
    if broken.is_empty() {
        Ok(report)
    } else {
        Err(Box::new(Failure { seed, trims: trims.to_vec(), broken, drops, captures }))
    }
}

/// Bad weather passes, and nobody asks any more: nothing may be going on.
fn come_to_rest(world: &mut World, broken: &mut Vec<String>) {
    let end = world.now.plus_nanos(REST_NANOS);
    while world.now < end {
        if !world.advance(end) {
            broken.push(format!("the world does not come to rest at {:?}", world.now));
            return;
        }
    }
    broken.extend(world.faults_at_rest());
}

/// Clients close, Sluice drains, time passes: then nothing may be left.
fn aftermath(world: &mut World, broken: &mut Vec<String>) {
    world.close_clients();
    world.sluice.drain();
    let end = world.now.plus_nanos(AFTERMATH_NANOS);
    while world.now < end {
        if !world.advance(end) {
            broken.push(format!("the world does not come to rest at {:?}", world.now));
            return;
        }
    }
    for (count, what) in [
        (world.sluice.active(), "requests or relays still run"),
        (world.sluice.connections(), "connections still exist"),
        (world.sluice.datagram_flows(), "flows of datagrams outlived their idle time-out"),
        (world.sluice.outstanding(), "replaced snapshots did not come home"),
        (world.sluice.quarantined(), "replaced configurations still have ids"),
    ] {
        if count > 0 {
            broken.push(format!("{count} {what} when everything has ended"));
        }
    }
}

fn write_captures(world: &World, folder: &Path) -> Option<PathBuf> {
    std::fs::create_dir_all(folder).ok()?;
    for capture in world.captures() {
        capture.write(folder).ok()?;
    }
    Some(folder.to_owned())
}
