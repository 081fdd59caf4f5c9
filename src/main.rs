//! The `sluice` binary: command line, process start and stop. No logic.

fn main() {}
