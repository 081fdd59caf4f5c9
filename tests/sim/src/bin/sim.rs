//! `make sim`: plays seeds and says what broke.
//!
//!     sim [--seed N [--trim NAME,...]] [--seeds N] [--minutes N] [--captures FOLDER]
//!
//! With `--seed` one run; with `--seeds` so many from 1 on; with `--minutes` random ones until the
//! time is over. Exit status 1 if any failed. A failure is played again with less and less, and what
//! is left of it is said; the captures are those of the smallest.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use sluice_sim::{Report, Trim, run, shrink};

/// Plays scenarios in the simulator.
#[derive(Parser)]
struct Options {
    /// One seed
    #[arg(long)]
    seed: Option<u64>,
    /// What to leave out of it
    #[arg(long, value_delimiter = ',', requires = "seed")]
    trim: Vec<Trim>,
    /// So many seeds, from 1 on
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Random seeds for so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Where captures of failures go
    #[arg(long, default_value = "target/sim")]
    captures: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut total = Total::default();
    if let Some(seed) = options.seed {
        total.play(seed, &options);
        total.verbose();
    } else if let Some(minutes) = options.minutes {
        let end = Instant::now() + Duration::from_secs(60 * minutes);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut seed = since.as_nanos() as u64;
        while Instant::now() < end {
            total.play(seed, &options);
            seed = seed.wrapping_add(1);
        }
    } else {
        for seed in 1..=options.seeds {
            total.play(seed, &options);
        }
    }
    println!(
        "{} runs: {} requests, {} answered, {} refused, {} failed visibly, {} bytes echoed, \
         {} datagrams answered",
        total.passed + total.failed,
        total.report.requests,
        total.report.answered,
        total.report.refused,
        total.report.failed,
        total.report.relayed,
        total.report.datagrams
    );
    let [neither, backend, client, both] = total.report.pairs;
    println!(
        "answered over HTTP/1.1 {neither}, HTTP/2 to clients {client}, to backends {backend}, to both {both}"
    );
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Total {
    passed: u64,
    failed: u64,
    report: Report,
}

impl Total {
    fn play(&mut self, seed: u64, options: &Options) {
        match run(seed, &options.trim, None) {
            Ok(report) => {
                self.passed += 1;
                self.report.requests += report.requests;
                self.report.answered += report.answered;
                for (sum, count) in self.report.pairs.iter_mut().zip(report.pairs) {
                    *sum += count;
                }
                self.report.refused += report.refused;
                self.report.failed += report.failed;
                self.report.relayed += report.relayed;
                self.report.datagrams += report.datagrams;
                self.report.rounds += report.rounds;
                self.report.ended = report.ended;
            }
            Err(failure) => {
                self.failed += 1;
                let trims = shrink(|trims| run(seed, trims, None).is_err());
                let trims = if options.trim.is_empty() { trims } else { options.trim.clone() };
                match run(seed, &trims, Some(&options.captures)) {
                    Err(smallest) => eprintln!("{smallest}"),
                    Ok(_) => eprintln!("{failure}"),
                }
            }
        }
    }

    fn verbose(&self) {
        println!("ended at {:?} of virtual time, {} rounds", self.report.ended, self.report.rounds);
    }
}
