//! How many packet buffers a worker gets.

use sluice_config_model::Buffers;

/// Buffers of one worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BufferPlan {
    /// Receive pool.
    pub(crate) rx: u32,
    /// Transmit pool.
    pub(crate) tx: u32,
    /// Of the transmit pool, for ACKs, RSTs, probes and retransmissions alone: an eighth.
    pub(crate) tx_reserve: u32,
}

/// Bytes that a buffer takes with its header.
const BUFFER_BYTES: u64 = 2_368;
/// Automatic sizing spends at most this part of the machine's memory on all workers together.
const MEMORY_SHARE: u64 = 16;
const AUTO_MAX: u32 = 49_152;
const AUTO_MIN: u32 = 6_144;

/// What a device queue pins: its receive and transmit rings, the driver's caches.
const PER_QUEUE: u32 = 1_024;
/// Below this a worker cannot hold a few connections' windows.
const WORKING_SET: u32 = 1_024;

/// Too few buffers were asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "buffers = {asked} is too few: {queues} device queues pin {pinned} buffers per worker, and the \
     stack needs {WORKING_SET} more and a reserve; say at least {least}, or \"auto\""
)]
pub(crate) struct TooFewBuffers {
    asked: u32,
    queues: u32,
    pinned: u32,
    least: u32,
}

impl BufferPlan {
    /// The plan for each of `workers` workers with `queues` device queues.
    pub(crate) fn new(asked: Buffers, workers: u32, queues: u32) -> Result<Self, TooFewBuffers> {
        let pinned = queues * PER_QUEUE;
        let least = (pinned + WORKING_SET) * 3 / 2;
        let total = match asked {
            Buffers::Count(count) if count < least => {
                return Err(TooFewBuffers { asked: count, queues, pinned, least });
            }
            Buffers::Count(count) => count,
            Buffers::Auto => automatic(machine_memory(), workers).max(least),
        };
        let tx = total / 3;
        Ok(Self { rx: total - tx, tx, tx_reserve: tx / 8 })
    }
}

fn automatic(memory_bytes: u64, workers: u32) -> u32 {
    let share = memory_bytes / MEMORY_SHARE / BUFFER_BYTES / u64::from(workers.max(1));
    u32::try_from(share).unwrap_or(u32::MAX).clamp(AUTO_MIN, AUTO_MAX)
}

/// Bytes of memory that are available, as the kernel sees it; a modest guess if it does not say.
fn machine_memory() -> u64 {
    const GUESS: u64 = 1 << 30;
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else { return GUESS };
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map_or(GUESS, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_sizing_stays_between_its_bounds() {
        assert_eq!(automatic(0, 1), AUTO_MIN);
        assert_eq!(automatic(1 << 40, 1), AUTO_MAX);
        let middle = automatic(1 << 30, 1);
        assert!((AUTO_MIN..AUTO_MAX).contains(&middle), "{middle}");
        assert_eq!(automatic(1 << 30, 2), middle / 2);
    }

    #[test]
    fn too_few_is_refused_with_the_least_that_would_do() {
        let error = BufferPlan::new(Buffers::Count(1_000), 1, 2).expect_err("too few");
        assert!(error.to_string().contains("say at least 4608"), "{error}");
        let plan = BufferPlan::new(Buffers::Count(4_608), 1, 2).expect("just enough");
        assert_eq!((plan.rx, plan.tx, plan.tx_reserve), (3_072, 1_536, 192));
    }
}
