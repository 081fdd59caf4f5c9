//! The record that a connection leaves behind.

mod support;

use std::time::Duration;

use sluice_base::Instant;
use sluice_tcp::{Config, State, TimeWait, TimeWaitAction};
use sluice_wire::{Flags, SeqNumber, TcpHeader, TcpOptions, Timestamps};

use support::bench::Bench;
use support::script::{given, plain_config};

/// Both FINs are number 1; what is expected next is 2.
fn record() -> (Bench, TimeWait) {
    let config = Config { time_wait: Duration::from_secs(10), ..plain_config() };
    let bench = given("time-wait", config);
    assert_eq!(bench.connection().state(), State::TimeWait);
    let record = bench.connection().time_wait(&bench.config, bench.now);
    (bench, record)
}

fn segment(bench: &Bench, flags: Flags, seq: u32) -> TcpHeader {
    let (seq, ack) = (bench.irs + seq, bench.iss + 2);
    TcpHeader { seq, ack, flags, window: 1_000, ..TcpHeader::default() }
}

fn after(bench: &Bench, ms: u64) -> Instant {
    bench.now + Duration::from_millis(ms)
}

#[test]
fn a_repeated_fin_is_acked_and_begins_the_time_anew() {
    let (bench, mut record) = record();
    let now = after(&bench, 9_000);
    let fin = segment(&bench, Flags::FIN | Flags::ACK, 1);
    let TimeWaitAction::Ack(ack) = record.handle_segment(&fin, 0, now) else {
        panic!("a FIN is acknowledged");
    };
    assert_eq!((ack.seq, ack.ack, ack.flags), (bench.iss + 2, bench.irs + 2, Flags::ACK));
    assert_eq!(record.expires(), after(&bench, 19_000));
    bench.census();
}

/// Else whoever knows the addresses could keep the record for ever.
#[test]
fn a_fin_with_another_number_is_acked_and_renews_nothing() {
    let (bench, mut record) = record();
    let before = record.expires();
    let fin = segment(&bench, Flags::FIN | Flags::ACK, 5_000);
    let action = record.handle_segment(&fin, 0, after(&bench, 9_000));
    assert!(matches!(action, TimeWaitAction::Ack(_)));
    assert_eq!(record.expires(), before);
    bench.census();
}

#[test]
fn a_reset_does_not_end_it_and_time_does() {
    let (bench, mut record) = record();
    let reset = segment(&bench, Flags::RST, 2);
    assert_eq!(record.handle_segment(&reset, 0, after(&bench, 9_999)), TimeWaitAction::Drop);
    let syn = segment(&bench, Flags::SYN, 2);
    assert_eq!(record.handle_segment(&syn, 0, after(&bench, 10_000)), TimeWaitAction::Forget);
    bench.census();
}

#[test]
fn a_later_syn_opens_a_new_connection_behind_the_old_numbers() {
    let (bench, mut record) = record();
    let now = after(&bench, 1);
    let old = segment(&bench, Flags::SYN, 2);
    assert!(matches!(record.handle_segment(&old, 0, now), TimeWaitAction::Ack(_)));
    let new = segment(&bench, Flags::SYN, 3);
    let TimeWaitAction::Reopen(iss) = record.handle_segment(&new, 0, now) else {
        panic!("a later SYN opens");
    };
    assert!(iss.after(bench.iss + 2 + 65_535));
    bench.census();
}

/// RFC 6191, 2: with timestamps a SYN may even have an earlier number.
#[test]
fn a_syn_with_a_later_timestamp_opens() {
    let config = Config { timestamps: true, ..plain_config() };
    let mut bench = Bench::new(config);
    let stamp = |value| TcpOptions::with_timestamps(value, 0);
    bench.connect();
    let theirs = |bench: &Bench, flags, seq: u32, ack: u32, value| TcpHeader {
        seq: bench.irs + seq,
        ack: bench.iss + ack,
        flags,
        window: 1_000,
        options: stamp(value),
        ..TcpHeader::default()
    };
    let header = theirs(&bench, Flags::SYN | Flags::ACK, 0, 1, 100);
    bench.segment(&header, &[]);
    bench.act(sluice_tcp::Connection::close);
    let header = theirs(&bench, Flags::FIN | Flags::ACK, 1, 2, 200);
    bench.segment(&header, &[]);
    assert_eq!(bench.connection().state(), State::TimeWait);
    let mut record = bench.connection().time_wait(&bench.config, bench.now);
    let now = after(&bench, 5);
    let syn = |value| TcpHeader {
        flags: Flags::SYN,
        seq: bench.irs - 5_000,
        options: stamp(value),
        ..TcpHeader::default()
    };
    let TimeWaitAction::Ack(ack) = record.handle_segment(&syn(200), 0, now) else {
        panic!("the same timestamp and an earlier number is old");
    };
    let echo = ack.options.timestamps.map(|Timestamps { echo, .. }| echo);
    assert_eq!(echo, Some(200));
    assert!(matches!(record.handle_segment(&syn(201), 0, now), TimeWaitAction::Reopen(_)));
    bench.census();
}

#[test]
fn old_data_is_acked_and_a_bare_ack_is_not() {
    let (bench, mut record) = record();
    let now = after(&bench, 1);
    let data = segment(&bench, Flags::ACK, 0);
    assert!(matches!(record.handle_segment(&data, 1, now), TimeWaitAction::Ack(_)));
    let ack = segment(&bench, Flags::ACK, 2);
    assert_eq!(record.handle_segment(&ack, 0, now), TimeWaitAction::Drop);
    let nothing = TcpHeader { seq: SeqNumber(7), ..TcpHeader::default() };
    assert_eq!(record.handle_segment(&nothing, 0, now), TimeWaitAction::Drop);
    bench.census();
}
