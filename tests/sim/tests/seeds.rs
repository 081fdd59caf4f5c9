//! A few seeds with every `cargo test`; `make test` plays 200, `make sim MINUTES=60` many more.

use sluice_sim::run;

#[test]
fn the_first_seeds_keep_every_promise() {
    for seed in 1..=20 {
        if let Err(failure) = run(seed, &[], None) {
            panic!("{failure}");
        }
    }
}

/// The same seed gives the same run, to the nanosecond.
#[test]
fn a_seed_replays() {
    let (first, second) = (run(7, &[], None), run(7, &[], None));
    let (first, second) = (first.expect("it passes"), second.expect("it passes"));
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}

/// The checks can fail: most requests are answered, and the seeds do contain failures of backends.
#[test]
fn the_seeds_contain_both_answers_and_failures() {
    let mut answered = 0;
    let (mut refused, mut relayed, mut datagrams) = (0, 0, 0);
    let mut pairs = [0; 4];
    for seed in 21..=40 {
        let report = run(seed, &[], None).expect("it passes");
        answered += report.answered;
        pairs.iter_mut().zip(report.pairs).for_each(|(sum, count)| *sum += count);
        refused += report.refused + report.failed;
        relayed += report.relayed;
        datagrams += report.datagrams;
    }
    assert!(answered > 100, "{answered} answered");
    assert!(pairs.iter().all(|count| *count > 20), "by who spoke HTTP/2: {pairs:?}");
    assert!(refused > 10, "{refused} refused or failed");
    assert!(relayed > 10_000, "{relayed} bytes came back through the opaque listener");
    assert!(datagrams > 100, "{datagrams} datagrams came back");
}
