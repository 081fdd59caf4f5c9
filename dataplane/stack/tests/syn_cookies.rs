//! SYN cookies: a full table of half-open connections turns nobody away (RFC 4987).

mod common;

use std::time::Duration;

use common::{IF0, Net, at, segment};
use sluice_stack::ReadySignals;
use sluice_tcp::Config;
use sluice_wire::Flags;

/// A pair whose server keeps no half-open connection at all.
fn full() -> Net {
    let mut net = Net::pair_with(|_| {}, |config| config.half_open_max = 0);
    net.listen(1, "10.0.0.2:80");
    net
}

/// Of the client, 10.0.0.1.
fn is_bare_ack(frame: &[u8]) -> bool {
    frame.get(29) == Some(&1) && frame.get(47) == Some(&0x10)
}

#[test]
fn a_connection_begins_although_nothing_was_kept() {
    let mut net = full();
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    assert!(net.ready(0).iter().any(|(_, _, it)| it.signals.contains(ReadySignals::CONNECTED)));
    let counters = net.stack(1).counters();
    assert_eq!(counters.tcp_cookies_sent.value(), 1);
    assert_eq!(counters.tcp_cookies_accepted.value(), 1);
    assert_eq!(counters.tcp_half_open.value(), 0);
    // More than an unscaled window of both sides' data, so the scale was kept.
    net.write(0, client, &vec![7; 200_000]);
    net.echo(1);
    net.settle();
    let now = net.now;
    net.stack(0).abort(client, now);
    net.settle();
    net.census();
}

#[test]
fn timestamps_carry_window_scale_and_sack() {
    for timestamps in [true, false] {
        let mut net = full();
        let (config, now) = (Config { timestamps, ..Config::default() }, net.now);
        let id = net.stack(0).connect(at("10.0.0.2:80"), &config, 0, now).expect("room");
        net.settle();
        let flow = net.stack(1).flows().next().expect("the server has it");
        let mss = if timestamps { 1_448 } else { 1_460 };
        assert_eq!(flow.congestion_window, 10 * mss);
        let now = net.now;
        net.stack(0).abort(id, now);
        net.settle();
        net.census();
    }
}

/// The client's ACK is lost: its first data brings the cookie too.
#[test]
fn data_brings_the_cookie_if_the_ack_was_lost() {
    let mut net = full();
    let client = net.connect(0, "10.0.0.2:80");
    let mut lost = false;
    net.filter = Some(Box::new(move |frame| {
        // A bare ACK from the client, once.
        let is_ack = is_bare_ack(&frame.bytes);
        let is_first = is_ack && !lost;
        lost |= is_ack;
        !is_first
    }));
    net.settle();
    assert_eq!(net.stack(1).flows().count(), 0);
    net.write(0, client, b"hello");
    net.settle();
    assert_eq!(net.stack(1).counters().tcp_cookies_accepted.value(), 1);
    let now = net.now;
    net.stack(0).abort(client, now);
    net.settle();
    net.census();
}

/// A flood leaves what is there alone and lets the honest in.
#[test]
fn a_flood_of_syns_keeps_nobody_out() {
    let mut net = Net::pair_with(|_| {}, |config| config.half_open_max = 16);
    net.listen(1, "10.0.0.2:80");
    let before = net.connect(0, "10.0.0.2:80");
    net.settle();
    for port in 1_024..6_024 {
        let syn = segment(("10.0.0.77", port), ("10.0.0.2", 80), port.into(), Flags::SYN);
        net.inject(1, IF0, &syn);
    }
    assert_eq!(net.stack(1).flows().count(), 17);
    let during = net.connect(0, "10.0.0.2:80");
    net.run(Duration::from_millis(10));
    assert_eq!(net.stack(1).counters().tcp_cookies_accepted.value(), 1);
    for id in [before, during] {
        net.write(0, id, b"hello");
    }
    net.run(Duration::from_millis(100));
    net.echo(1);
    net.run(Duration::from_millis(100));
    for id in [before, during] {
        assert_eq!(net.read(0, id), b"hello");
    }
    net.run(Duration::from_secs(400));
    let now = net.now;
    for id in [before, during] {
        net.stack(0).abort(id, now);
    }
    net.settle();
    net.census();
}

/// Nobody begins a connection by guessing, and nobody is answered for long after the flood.
#[test]
fn a_cookie_gets_old() {
    let mut net = full();
    let client = net.connect(0, "10.0.0.2:80");
    net.filter = Some(Box::new(|frame| !is_bare_ack(&frame.bytes)));
    net.settle();
    net.run(Duration::from_secs(130));
    net.filter = None;
    assert_eq!(net.stack(1).counters().tcp_cookies_accepted.value(), 0);
    net.write(0, client, b"late");
    net.settle();
    assert_eq!(net.stack(1).counters().tcp_cookies_accepted.value(), 0);
    assert_eq!(net.stack(1).flows().count(), 0);
    net.settle();
    net.census();
}
