//! Configuration files of tests.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A core for a worker: tests that run side by side take turns.
pub(crate) fn core() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    NEXT.fetch_add(1, Ordering::Relaxed) % cores
}

/// The demo's network: Sluice at 10.9.0.2 behind the TAP `sl0`, the kernel at 10.9.0.1. The access
/// log is `access.log`, as JSON. `rest` is appended: listeners and clusters.
pub(crate) fn tap_config(rest: &str) -> String {
    with_cores(&[core()], rest)
}

/// The same with these cores.
pub(crate) fn with_cores(cores: &[usize], rest: &str) -> String {
    format!(
        r#"[runtime]
cores = {cores:?}
control_core = 0
buffers = 24576
drain_timeout = "10s"

[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24"]
host_addresses = ["10.9.0.1/24"]

[access_log]
path = "access.log"
format = "json"

{rest}"#
    )
}
