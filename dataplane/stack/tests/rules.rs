//! Packet rules before an interface: what goes on, what does not, and where it is counted.

mod common;

use std::sync::Arc;

use common::{IF0, IF1, Net, at, segment};
use sluice_rules::{IpNetwork, PortRange, Rule, RuleAction, RuleTable};
use sluice_stack::DropReason;
use sluice_wire::{Flags, IpProtocol, Ipv6Header};

fn port(port: u16) -> Vec<PortRange> {
    vec![PortRange { first: port, last: port }]
}

fn tcp(action: RuleAction, to_ports: Vec<PortRange>) -> Rule {
    Rule { protocol: Some(Rule::TCP), to_ports, ..Rule::any(action) }
}

fn from(action: RuleAction, network: &str, prefix_len: u8) -> Rule {
    let network = IpNetwork::new(network.parse().expect("an address"), prefix_len);
    Rule { from: network.into_iter().collect(), ..Rule::any(action) }
}

fn table(rules: &[Rule]) -> Arc<RuleTable> {
    RuleTable::compile_shared(rules, 1, None).expect("rules")
}

fn counts(table: &RuleTable) -> Vec<u64> {
    table.counts().map(|count| count.packets).collect()
}

fn syn(to_port: u16) -> Vec<u8> {
    segment(("10.0.0.2", 4000), ("10.0.0.1", to_port), 1, Flags::SYN)
}

/// Sets flags and fragment offset, and corrects the checksum.
fn fragment(mut frame: Vec<u8>, field: u16, payload_len: usize) -> Vec<u8> {
    frame.truncate(34 + payload_len);
    frame[16..18].copy_from_slice(&(20 + payload_len as u16).to_be_bytes());
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame[24..26].fill(0);
    let sum = !sluice_wire::checksum::ones_complement_sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn the_first_match_decides_and_every_match_counts() {
    let mut net = Net::pair();
    net.listen(0, "10.0.0.1:80");
    let rules = table(&[
        Rule::any(RuleAction::Count),
        tcp(RuleAction::Allow, port(80)),
        tcp(RuleAction::Deny, Vec::new()),
        tcp(RuleAction::Allow, port(22)),
    ]);
    net.stack(0).set_rules(IF0, Some(rules.clone()));
    let id = net.connect(1, "10.0.0.1:80");
    net.settle();
    assert!(net.stack(1).connection(id).is_some_and(|c| c.peer == at("10.0.0.1:80")));
    assert_eq!(net.ready(0).len(), 1, "the connection was accepted");
    let before = net.log.len();
    net.inject(0, IF0, &syn(22));
    net.settle();
    assert_eq!(net.log.len(), before, "no reset: a denied packet is met with silence");
    assert_eq!(net.drops(0, DropReason::RuleDenied), 1);
    let counted = counts(&rules);
    assert_eq!(counted[2..], [1, 0]);
    assert_eq!(counted[0], counted[1] + 1, "ARP is not asked about");
}

/// An interface whose rules are taken away is open again.
#[test]
fn rules_come_and_go_while_running() {
    let mut net = Net::pair();
    net.stack(0).set_rules(IF0, Some(table(&[Rule::any(RuleAction::Deny)])));
    net.inject(0, IF0, &syn(80));
    assert_eq!(net.drops(0, DropReason::TcpNoConnection), 0);
    net.stack(0).set_rules(IF0, None);
    net.inject(0, IF0, &syn(80));
    assert_eq!(net.drops(0, DropReason::TcpNoConnection), 1);
    assert_eq!(net.drops(0, DropReason::RuleDenied), 1);
}

#[test]
fn forwarded_packets_are_asked_about_where_they_come_in() {
    let mut net = Net::routed();
    let rules = table(&[from(RuleAction::Deny, "10.0.0.1", 32)]);
    net.stack(1).set_rules(IF1, Some(rules.clone()));
    net.listen(2, "10.0.1.2:80");
    net.connect(0, "10.0.1.2:80");
    net.settle();
    assert_eq!(net.ready(2).len(), 1, "rules of the way out do not matter");
    assert_eq!(counts(&rules), [0]);
    net.stack(1).set_rules(IF0, Some(rules.clone()));
    let forwarded = net.stack(1).counters().forwarded.value();
    net.connect(0, "10.0.1.2:80");
    net.settle();
    assert_eq!(counts(&rules), [1]);
    assert_eq!(net.stack(1).counters().forwarded.value(), forwarded);
}

/// RFC 1858: ports or flags that come in a second fragment are not seen by rules.
#[test]
fn what_hides_its_ports_is_dropped() {
    let mut net = Net::pair();
    let rules = table(&[tcp(RuleAction::Deny, port(22))]);
    net.stack(0).set_rules(IF0, Some(rules.clone()));
    for (field, payload_len) in [(0x2000, 8), (0x2000, 0), (0x0001, 12), (0x0000, 3)] {
        let before = net.drops(0, DropReason::RuleUnreadable);
        net.inject(0, IF0, &fragment(syn(22), field, payload_len));
        let after = net.drops(0, DropReason::RuleUnreadable);
        assert_eq!(after - before, 1, "{field:04x} {payload_len}");
    }
    net.inject(0, IF0, &fragment(syn(22), 0x2000, 16));
    assert_eq!(counts(&rules), [1], "a first fragment with its flags is asked about");
}

fn v6(protocol: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to) = ("fd00::2".parse().expect("an address"), "fd00::1".parse().expect("one"));
    let protocol = IpProtocol::from_number(protocol);
    let header =
        Ipv6Header { hop_limit, ..Ipv6Header::new(from, to, protocol, payload.len() as u16) };
    let mut frame = syn(22);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame.truncate(14);
    frame.resize(14 + header.header_len(), 0);
    header.emit(&mut frame[14..]);
    frame.extend_from_slice(payload);
    frame
}

/// Extension headers and fragments of IPv6 hide nothing; neighbour discovery is not asked about.
#[test]
fn ipv6_is_asked_about_as_well() {
    let ssh = [0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
    let behind = |headers: &[u8]| [headers, &ssh].concat();
    let discovery = [135, 0, 0, 0, 0, 0, 0, 0];
    let cases = [
        (v6(6, 64, &ssh), DropReason::RuleDenied),
        (v6(0, 64, &behind(&[6, 0, 1, 4, 0, 0, 0, 0])), DropReason::RuleDenied),
        (v6(44, 64, &behind(&[6, 0, 0, 1, 0, 0, 0, 1])), DropReason::RuleDenied),
        (v6(44, 64, &[6, 0, 0, 1, 0, 0, 0, 1, 0x9c, 0x40, 0, 22]), DropReason::RuleUnreadable),
        (v6(44, 64, &behind(&[60, 0, 0, 1, 0, 0, 0, 1])), DropReason::RuleUnreadable),
        (v6(58, 64, &discovery), DropReason::RuleDenied),
    ];
    let mut net = Net::pair();
    let icmp = Rule { protocol: Some(58), ..Rule::any(RuleAction::Deny) };
    net.stack(0).set_rules(IF0, Some(table(&[tcp(RuleAction::Deny, port(22)), icmp])));
    for (frame, reason) in cases {
        let before = net.drops(0, reason);
        net.inject(0, IF0, &frame);
        assert_eq!(net.drops(0, reason) - before, 1, "{frame:02x?}");
    }
    let denied = net.drops(0, DropReason::RuleDenied);
    net.inject(0, IF0, &v6(58, 255, &discovery));
    assert_eq!(net.drops(0, DropReason::RuleDenied), denied);
}

/// With several workers a packet is asked about once, by the worker that received it.
#[test]
fn a_steered_packet_is_not_asked_about_twice() {
    let mut net = Net::pair_with(|_| {}, |config| config.workers = 3);
    let rules = RuleTable::compile_shared(&[Rule::any(RuleAction::Count)], 3, None).expect("rules");
    for stack in &mut net.hosts[0].stacks {
        stack.set_rules(IF0, Some(rules.clone()));
    }
    for from_port in 0..50 {
        net.inject(0, IF0, &segment(("10.0.0.2", from_port), ("10.0.0.1", 80), 1, Flags::SYN));
    }
    assert_eq!(counts(&rules), [50]);
    let stacks = &net.hosts[0].stacks;
    let steered: u64 = stacks.iter().map(|stack| stack.counters().steered.value()).sum();
    assert!(steered > 10, "{steered} were handed over");
}
