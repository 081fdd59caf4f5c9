//! What the figures depend on.

use sluice_arch::{MonotonicClock, cycles};

/// Cycles of the time-stamp counter per nanosecond, measured over 50 ms. Not the core's clock.
#[must_use]
pub fn cycles_per_nano() -> f64 {
    let clock = MonotonicClock::start();
    let (from_nanos, from_cycles) = (clock.nanos(), cycles());
    while clock.nanos() - from_nanos < 50_000_000 {
        sluice_arch::relax();
    }
    let (nanos, cycles) = (clock.nanos() - from_nanos, cycles() - from_cycles);
    cycles as f64 / nanos as f64
}

/// One line about processor and kernel, as far as they tell.
#[must_use]
pub fn description() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{model}, {count} processors, Linux {}", kernel.trim())
}

/// Bytes of memory that the process has touched.
#[must_use]
pub fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// Bytes of private memory that the process has asked for, whether it has touched it or not.
#[must_use]
pub fn allocated_bytes() -> u64 {
    status_bytes("VmData:")
}

fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Time that this thread has had a processor; nanoseconds, what the kernel did for it included.
#[must_use]
pub fn thread_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// How often the kernel took this thread's processor away.
#[must_use]
pub fn involuntary_switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
}
