//! `sluice-pktgen`: load from Sluice's own stack, on any device that Sluice runs on.
//!
//! ```text
//!   cli.rs       what can be typed
//!   ends.rs      which device and addresses the client has, and the origin
//!   devices.rs   device -> queue, by TAP or by DPDK
//!   play.rs      both ends stepped in turn by the machine's clock, until the time is over
//!   report.rs    what came of it
//! ```
//!
//! The client asks in a closed loop, or at a rate: then a request that finds no idle connection waits,
//! and its latency counts from when it was due, so that a slow answer is not left out by not asking
//! meanwhile (coordinated omission). Client and origin are the ones of the whole-path benches
//! (`sluice_bench`), so what they say and check is the same.
//!
//! Exit status: 0 done; 1 nothing was answered, or something wrongly; 2 usage.

mod cli;
mod devices;
mod ends;
mod play;
mod report;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let text = if cli.json { report::json } else { report::text };
    match play::play(&cli) {
        Ok(outcome) => {
            // Who reads it may be gone.
            let _ = writeln!(std::io::stdout(), "{}", text(&outcome));
            let fine = outcome.done > 0 && outcome.failures == 0;
            if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("sluice-pktgen: {error}");
            ExitCode::FAILURE
        }
    }
}
