//! What one source may do, and what is ignored by name.

mod common;

use std::time::Duration;

use common::{IF0, Net, config, echo_request, interface, segment};
use sluice_stack::DropReason;
use sluice_wire::{Flags, Ipv4View};

fn syn(from: &str, from_port: u16, to_port: u16) -> Vec<u8> {
    segment((from, from_port), ("10.0.0.1", to_port), 1, Flags::SYN)
}

#[test]
fn syns_are_limited_per_source_whatever_their_port() {
    let mut net = Net::pair();
    net.stack(0).set_source_limits(IF0, 10, 0);
    for port in 0..25 {
        net.inject(0, IF0, &syn("10.0.0.2", 4000, port));
        net.inject(0, IF0, &syn("10.0.0.3", 4000, port));
    }
    assert_eq!(net.drops(0, DropReason::SourceSynRate), 30);
    assert_eq!(net.drops(0, DropReason::TcpNoConnection), 20);
    // What is no SYN is not counted, and a tenth of a second earns another SYN.
    net.inject(0, IF0, &segment(("10.0.0.2", 4000), ("10.0.0.1", 80), 1, Flags::ACK));
    assert_eq!(net.drops(0, DropReason::TcpNoConnection), 21);
    net.run(Duration::from_millis(101));
    net.inject(0, IF0, &syn("10.0.0.2", 4000, 99));
    assert_eq!(net.drops(0, DropReason::TcpNoConnection), 22);
    assert_eq!(net.drops(0, DropReason::SourceSynRate), 30);
}

/// SYNs to where nobody listens do not count as connections.
#[test]
fn connections_are_limited_per_source() {
    let mut net = Net::pair();
    net.listen(0, "10.0.0.1:80");
    net.stack(0).set_source_limits(IF0, 0, 5);
    for port in 0..20 {
        net.inject(0, IF0, &syn("10.0.0.2", 4000 + port, 81));
    }
    for port in 0..20 {
        net.inject(0, IF0, &syn("10.0.0.2", 4000 + port, 80));
    }
    assert_eq!(net.stack(0).counters().tcp_accepts.value(), 5);
    assert_eq!(net.drops(0, DropReason::SourceConnectionRate), 15);
    net.inject(0, IF0, &syn("10.0.0.3", 4000, 80));
    assert_eq!(net.stack(0).counters().tcp_accepts.value(), 6);
}

/// Connections of one source are spread over the workers, and so is its limit.
#[test]
fn workers_share_a_limit() {
    let mut net = Net::pair_with(|_| {}, |config| config.workers = 4);
    for stack in &mut net.hosts[0].stacks {
        stack.set_source_limits(IF0, 40, 0);
    }
    for port in 0..400 {
        net.inject(0, IF0, &syn("10.0.0.2", port, 80));
    }
    assert_eq!(net.drops(0, DropReason::SourceSynRate), 360);
}

#[test]
fn pings_are_answered_up_to_a_rate() {
    let mut net = Net::pair_with(|_| {}, |config| config.icmp_echoes_per_second = 100);
    for sequence in 0..80 {
        net.inject(0, IF0, &echo_request("10.0.0.2", "10.0.0.1", sequence, 8));
    }
    assert_eq!(net.stack(0).counters().icmp_echoes.value(), 50);
    assert_eq!(net.drops(0, DropReason::IcmpEchoLimited), 30);
}

/// RFC 2644: nobody may make us shout on another link.
#[test]
fn directed_broadcasts_are_not_passed_on() {
    let mut net = Net::new();
    net.add(&config(vec![interface(1, 0, "10.0.0.1"), interface(1, 1, "10.0.1.1")]));
    for (to, reason, drops) in [
        ("10.0.1.255", DropReason::DirectedBroadcast, 1),
        ("10.0.1.0", DropReason::DirectedBroadcast, 2),
        ("10.0.0.255", DropReason::Ipv4Broadcast, 1),
        ("224.0.0.9", DropReason::Ipv4Broadcast, 2),
    ] {
        let mut frame = echo_request("10.0.0.2", to, 1, 8);
        frame[..6].copy_from_slice(&common::mac(1, 0).0);
        net.inject(0, IF0, &frame);
        assert_eq!(net.drops(0, reason), drops, "{to}");
    }
}

#[test]
fn igmp_is_ignored_by_name() {
    let mut net = Net::pair();
    let mut query = echo_request("10.0.0.2", "224.0.0.1", 1, 8);
    query[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]);
    query[23] = 2;
    query[24..26].fill(0);
    let sum = !sluice_wire::checksum::ones_complement_sum(&query[14..34]);
    query[24..26].copy_from_slice(&sum.to_be_bytes());
    assert!(Ipv4View::parse(&query[14..]).is_ok_and(|view| view.checksum_ok()));
    net.inject(0, IF0, &query);
    assert_eq!(net.drops(0, DropReason::IgmpIgnored), 1);
}
