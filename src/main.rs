//! The `sluice` binary: command line, process start and stop.
//!
//! ```text
//!   cli.rs       what can be typed
//!   start.rs     configuration -> devices, pools, workers, control thread; and down again
//!   devices.rs   `device = "..."` -> queues, by TAP or by DPDK
//!   memory.rs    how many buffers, and from where
//!   explain.rs   sluice explain      show.rs   sluice show
//! ```
//!
//! Exit status: 0 done; 1 configuration or start error; 2 usage; `explain`: 3 no route. Messages go
//! to stderr, results to stdout.

mod cli;
mod devices;
mod explain;
mod impair;
mod logging;
mod memory;
mod show;
mod start;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Run { config } => start::run(&config, start::Backends::None),
        Command::Demo { config } => start::run(&config, start::Backends::Sample),
        Command::Check { config } => start::check(&config),
        Command::Explain(request) => explain::explain(&request),
        Command::Show(question) => show::show(&question),
    }
}

/// Exit status of a configuration or start error.
const FAILED: u8 = 1;
/// Exit status of `explain` when no route matches.
const NO_ROUTE: u8 = 3;
