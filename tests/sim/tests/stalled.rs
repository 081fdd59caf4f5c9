//! Readers who do not read, on a connection to a backend that others share.

use sluice_base::Instant;
use sluice_buf::Impairment;
use sluice_sim::ledger::Outcome;
use sluice_sim::world::World;
use sluice_sim::{Crowd, Scenario};

/// A hundred streams on one connection, but for one that may just be ending.
const CROWD: Crowd = Crowd {
    users: 33,
    streams: 3,
    rounds: 3,
    bytes: 140_000,
    stalled: 0,
    stalls_nanos: 20_000_000_000,
};

/// Two milliseconds away, at a gigabit a second.
fn cable() -> Impairment {
    Impairment {
        latency_nanos: 2_000_000,
        bits_per_second: 1_000_000_000,
        queue_bytes: 16 << 20,
        ..Impairment::default()
    }
}

/// What 99 of 100 requests took at most of those that were read at once, and what all did, nanoseconds of
/// virtual time.
fn took(crowd: Crowd) -> [u64; 2] {
    let mut world = World::new(&Scenario::crowd(crowd, cable()));
    let bound = Instant::from_millis(120_000);
    while !world.is_done() {
        assert!(world.now < bound && world.advance(bound), "it ends");
    }
    let mut took: Vec<u64> = {
        let ledger = world.ledger.borrow();
        assert_eq!(ledger.violations, [""; 0]);
        assert_eq!(ledger.connections, 1, "they share a connection");
        let all = |outcome| outcome == Some(Outcome::Answered(200));
        assert!(ledger.entries.iter().all(|entry| all(entry.outcome)), "everybody is answered");
        let read = ledger.entries.iter().filter(|entry| entry.request.stalls_nanos == 0);
        read.map(|entry| entry.took_nanos).collect()
    };
    let (at, last) = (took.len() * 99 / 100, took.len() - 1);
    took.sort_unstable();
    println!(
        "{} stalled: p99 {} us, most {} us",
        crowd.stalled,
        took[at] / 1_000,
        took[last] / 1_000
    );
    [took[at], took[last]]
}

#[test]
fn one_who_does_not_read_slows_nobody_else() {
    compare(1);
}

/// Whose windows together are more than the connection's at first.
#[test]
fn sixty_who_do_not_read_slow_nobody_else() {
    compare(60);
}

fn compare(stalled: usize) {
    let (alone, beside) = (took(CROWD), took(Crowd { stalled, ..CROWD }));
    for (alone, beside) in alone.into_iter().zip(beside) {
        assert!(beside * 10 <= alone * 12, "{alone} ns, beside {stalled} stalled ones {beside} ns");
    }
}
