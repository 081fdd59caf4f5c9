//! `[interface.impairment]`: queues behind a bad cable.

use sluice_arch::MonotonicClock;
use sluice_base::{Instant, Rng};
use sluice_buf::{Device, ImpairedDevice, Impairment as Plan, Judge, Pool};
use sluice_config_model::{Direction, Impairment};

/// Bytes of an Ethernet header.
const LINK_HEADER: u32 = 14;

/// Puts a queue behind a cable of its own. `pool` is the transmit pool of the queue's worker.
pub(crate) fn impair(
    queue: Box<dyn Device>,
    number: usize,
    impairment: &Impairment,
    pool: &Pool,
) -> Box<dyn Device> {
    let mut rng = Rng::new(impairment.seed).fork(number as u64);
    let bad = plan(impairment);
    let good = Plan::default();
    let (receive, transmit) = match impairment.direction {
        Direction::Both => (bad, bad),
        Direction::Receive => (bad, good),
        Direction::Transmit => (good, bad),
    };
    let receive = Judge::new(receive, rng.fork(1));
    let transmit = Judge::new(transmit, rng.fork(2));
    let time = MonotonicClock::start();
    let clock = move || Instant::from_nanos(time.nanos());
    Box::new(ImpairedDevice::new(queue, receive, transmit, pool.share(), clock))
}

fn plan(impairment: &Impairment) -> Plan {
    let nanos =
        |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Plan {
        loss: impairment.loss,
        loss_burst: impairment.loss_burst,
        duplication: impairment.duplicate,
        corruption: impairment.corrupt,
        reordering: impairment.reorder,
        latency_nanos: nanos(impairment.latency),
        jitter_nanos: nanos(impairment.jitter),
        bits_per_second: impairment.rate.unwrap_or(0),
        queue_bytes: impairment.queue_bytes,
        bytes_max: impairment.black_hole_mtu.map_or(0, |mtu| u32::from(mtu) + LINK_HEADER),
    }
}
