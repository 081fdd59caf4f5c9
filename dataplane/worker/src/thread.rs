//! The loop around the heartbeat: a clock, a core, and sleep.

use std::time::Duration;

use sluice_arch::{MonotonicClock, relax, set_timer_slack};
use sluice_base::Instant;
use sluice_config_model::Idle;

use crate::worker::Worker;

/// Empty heartbeats before an adaptive worker sleeps: about 50 microseconds of looking.
const ADAPTIVE_SPINS: u32 = 256;
/// How long a worker sleeps at most when one of its devices cannot wake it.
const BLIND_SLEEP: Duration = Duration::from_micros(200);
/// Less than that is not worth a sleep, and so much of it goes into waking up.
const SLEEP_MIN: Duration = Duration::from_micros(30);
const WAKE_UP: Duration = Duration::from_micros(10);
/// How long it sleeps at most otherwise; commands and rings wake it, so this is only a backstop.
const LONG_SLEEP: Duration = Duration::from_secs(1);

/// Beats until the worker is told to stop, then returns it, so that the caller can take it apart.
///
/// The calling thread should be pinned to the worker's core already.
pub fn run(mut worker: Worker, clock: MonotonicClock, idle: Idle) -> Worker {
    set_timer_slack(1);
    let mut wake_fds: Vec<i32> = worker.ports.iter().filter_map(|p| p.device.wake_fd()).collect();
    let blind = wake_fds.len() < worker.ports.len();
    wake_fds.extend(worker.twins.wake_fds());
    let mut empty = 0u32;
    loop {
        let now = Instant::from_nanos(clock.nanos());
        let beat = worker.heartbeat(now);
        if beat.stop {
            return worker;
        }
        if beat.worked {
            let spent = clock.nanos().saturating_sub(now.as_nanos());
            worker.status.busy_nanos.add(spent);
            if spent > worker.status.longest_gap_nanos.value() {
                worker.status.longest_gap_nanos.set(spent);
            }
            empty = 0;
            continue;
        }
        if beat.deferred {
            // Not idleness: packets wait, and are asked for at the deadline and not earlier.
            let left = beat.deadline - Instant::from_nanos(clock.nanos());
            if idle != Idle::Spin && left >= SLEEP_MIN {
                doze(&worker, left - WAKE_UP);
            } else {
                relax();
            }
            continue;
        }
        empty = empty.saturating_add(1);
        let sleepy = match idle {
            Idle::Spin => false,
            Idle::Adaptive => empty > ADAPTIVE_SPINS,
            Idle::Interrupt => true,
        };
        if sleepy {
            let limit = if blind { BLIND_SLEEP } else { LONG_SLEEP };
            let now = Instant::from_nanos(clock.nanos());
            sleep(&worker, &wake_fds, limit.min(beat.deadline - now));
        } else {
            relax();
        }
    }
}

/// Announces, looks once more, and waits.
fn sleep(worker: &Worker, wake_fds: &[i32], limit: Duration) {
    if limit.is_zero() {
        return;
    }
    let waker = &worker.waker;
    waker.announce();
    if !worker.has_mail() {
        worker.status.sleeps.increment();
        waker.wait(wake_fds, limit);
    }
    waker.awake();
}

/// The same while packets are left lying, which must not wake it.
fn doze(worker: &Worker, limit: Duration) {
    let waker = &worker.waker;
    waker.announce();
    if !worker.has_orders() {
        worker.status.sleeps.increment();
        waker.wait(&[], limit);
    }
    waker.awake();
}
