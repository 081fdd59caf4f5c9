//! What goes wrong around the hosts: cables, hosts that stop for a while, time that jumps, little
//! memory, short rings, an attacker.

use sluice_base::{Instant, Rng};
use sluice_buf::Impairment;

use crate::network::Cable;

/// The conditions of a run, drawn from its seed.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The cables of clients.
    pub clients: Cable,
    /// The cables of backends.
    pub backends: Cable,
    /// When cables become perfect, so that everything can end.
    pub ends: Instant,
    /// When Sluice does nothing, as if its cores were taken away: from, until.
    pub pauses: Vec<(Instant, Instant)>,
    /// Places of each ring of a link.
    pub ring_depth: usize,
    /// Buffers of each pool of a worker of Sluice.
    pub buffers: u32,
    /// Whether somebody on the clients' side floods, forges and mangles.
    pub attacked: bool,
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
/// Faults are over then.
const ENDS_MILLIS: u64 = 60_000;

impl Weather {
    /// Two thirds of the cables are bad in one or several ways; everything else is rare.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        let (clients, backends) = (cable(rng), cable(rng));
        let pauses = if rng.chance(150_000) { intervals(rng, 3, 2_000) } else { Vec::new() };
        let ring_depth = [512, 512, 512, 64, 16][rng.below(5) as usize];
        let buffers = [8_192, 8_192, 8_192, 2_048][rng.below(4) as usize];
        let attacked = rng.chance(200_000);
        let ends = Instant::from_millis(ENDS_MILLIS);
        Self { clients, backends, ends, pauses, ring_depth, buffers, attacked }
    }

    /// Nothing goes wrong.
    pub fn calm(&mut self) {
        self.clients.calm();
        self.backends.calm();
        self.pauses.clear();
        (self.ring_depth, self.buffers, self.attacked) = (512, 8_192, false);
    }

    /// Whether some cable inverts bits.
    #[must_use]
    pub fn corrupts(&self) -> bool {
        let cables = [&self.clients, &self.backends];
        cables.iter().any(|cable| cable.up.corruption + cable.down.corruption > 0)
    }

    /// Whether a frame may be lost, or as good as.
    #[must_use]
    pub fn loses(&self) -> bool {
        let ways = |cable: &Cable| [cable.up, cable.down];
        let bad = |way: Impairment| way.loss + way.corruption > 0 || way.bits_per_second > 0;
        [&self.clients, &self.backends]
            .into_iter()
            .any(|cable| !cable.partitions.is_empty() || ways(cable).into_iter().any(bad))
            || !self.pauses.is_empty()
            || self.ring_depth < 512
            || self.attacked
    }

    /// How often a datagram may arrive at an endpoint: each cable that copies doubles it.
    #[must_use]
    pub fn copies_there(&self) -> u32 {
        (1 + u32::from(self.clients.up.duplication > 0))
            * (1 + u32::from(self.backends.down.duplication > 0))
    }

    /// How often an answer may arrive at its client.
    #[must_use]
    pub fn copies_back(&self) -> u32 {
        (1 + u32::from(self.backends.up.duplication > 0))
            * (1 + u32::from(self.clients.down.duplication > 0))
    }

    /// Whether Sluice stands still at `now`, and until when.
    #[must_use]
    pub fn paused(&self, now: Instant) -> Option<Instant> {
        let pause = self.pauses.iter().find(|(from, until)| (*from..*until).contains(&now));
        pause.map(|(_, until)| *until)
    }
}

fn cable(rng: &mut Rng) -> Cable {
    let latency_nanos = u64::from(rng.below(20_000)) * MICROSECOND;
    if rng.chance(333_333) {
        let good = Impairment { latency_nanos, ..Impairment::default() };
        return Cable { up: good, down: good, partitions: Vec::new() };
    }
    let up = impairment(rng, latency_nanos);
    // Asymmetric now and then: another way back.
    let down = if rng.chance(300_000) {
        let latency_nanos = u64::from(rng.below(60_000)) * MICROSECOND;
        impairment(rng, latency_nanos)
    } else {
        up
    };
    let partitions = if rng.chance(100_000) { intervals(rng, 2, 4_000) } else { Vec::new() };
    Cable { up, down, partitions }
}

fn impairment(rng: &mut Rng, latency_nanos: u64) -> Impairment {
    let mut rate = |limit: u32| if rng.chance(400_000) { rng.below(limit) } else { 0 };
    let (loss, duplication) = (rate(50_000), rate(30_000));
    let (corruption, reordering) = (rate(20_000), rate(100_000));
    let jitter_micros = rate(5_000);
    let loss_burst = if rng.chance(300_000) { 2 + rng.below(10) } else { 1 };
    // A bottleneck with a queue of 5 ms to 2 s.
    let (bits_per_second, queue_bytes) = if rng.chance(250_000) {
        let bits = 2_000_000 + u64::from(rng.below(98_000_000));
        let queue_millis = 5 + u64::from(rng.below(2_000)) * u64::from(rng.below(2));
        (bits, ((bits / 8_000 * queue_millis) as u32).max(4_000))
    } else {
        (0, 0)
    };
    Impairment {
        loss,
        loss_burst,
        duplication,
        corruption,
        reordering,
        latency_nanos,
        jitter_nanos: u64::from(jitter_micros) * MICROSECOND,
        bits_per_second,
        queue_bytes,
        bytes_max: 0,
    }
}

/// Up to `count` intervals of at most `millis` within the first seconds.
fn intervals(rng: &mut Rng, count: u32, millis: u32) -> Vec<(Instant, Instant)> {
    (0..=rng.below(count))
        .map(|_| {
            let from = Instant::from_millis(u64::from(rng.below(8_000)));
            let length = u64::from(1 + rng.below(millis)) * MILLISECOND;
            (from, from.plus_nanos(length))
        })
        .collect()
}
