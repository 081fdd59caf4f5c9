//! A SYN flood, through the whole product over links in memory.
//!
//! One test runs at a time here: what is measured is the memory of the process.

use std::time::Duration;

use sluice_bench::machine;
use sluice_bench::pairs::Pairs;

#[test]
fn a_flood_of_syns_costs_no_memory_and_nobody_an_answer() {
    flood_of(30_000);
}

/// The same at full length: `make scale`.
#[test]
#[ignore = "a minute: make scale"]
fn a_flood_of_a_million_syns_costs_no_memory_and_nobody_an_answer() {
    flood_of(1_000_000);
}

fn flood_of(syns: u32) {
    let mut pairs = Pairs::new(32_768, 1_000, syns / 100);
    pairs.fill().expect("all open");
    pairs.play(5_000).expect("answers");
    // The first part of the flood touches what a flood may touch: the half-open connections.
    pairs.flood(syns / 4).expect("answers");
    let table = pairs.worker().stack().connection_count();
    let before = (machine::allocated_bytes(), machine::resident_bytes());
    let (answered, opened) = (pairs.crowd.answered, pairs.crowd.opened);
    pairs.flood(syns - syns / 4).expect("answers");
    let after = (machine::allocated_bytes(), machine::resident_bytes());
    let newcomers = pairs.crowd.opened - opened;
    assert!(newcomers > u64::from(syns / 400), "{newcomers} opened");
    assert!(pairs.crowd.answered - answered > u64::from(syns / 16), "those that were there");
    assert_eq!(pairs.crowd.failures, 0, "nobody was reset");
    let stack = pairs.worker().stack();
    let counters = stack.counters();
    assert!(counters.tcp_cookies_sent.value() > u64::from(syns / 2));
    assert!(counters.tcp_half_open.value() <= 4_096);
    // Newcomers are two connections each, and few of their own.
    let grown = stack.connection_count() - table;
    assert!(grown <= 2 * newcomers as usize + 16, "{grown} connections more");
    let slots = 2_000 * newcomers;
    assert!(after.0 <= before.0 + slots, "{before:?} {after:?}");
    assert!(after.1 <= before.1 + slots + (1 << 20), "{before:?} {after:?}");
    // SYN+ACKs are not repeated for ever.
    pairs.rest(Duration::from_secs(300));
    let stack = pairs.worker().stack();
    assert_eq!(stack.counters().tcp_half_open.value(), 0);
    assert_eq!(stack.connection_count() as u64, 2 * pairs.crowd.opened);
    assert_eq!(pairs.crowd.failures, 0);
    pairs.play(1_000).expect("answers");
}
