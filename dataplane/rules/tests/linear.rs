//! The compiled table beside a walk over the list, with random rules and packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::prelude::*;
use sluice_base::WorkerId;
use sluice_config_model::{IpNetwork, PortRange, Rule, RuleAction};
use sluice_rules::{RuleTable, Transport, Verdict};

const W0: WorkerId = WorkerId(0);

#[derive(Clone, Copy, Debug)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    transport: Transport,
}

/// Whether one rule holds, as its definition reads.
fn holds(rule: &Rule, packet: &Packet) -> bool {
    let in_one = |networks: &[IpNetwork], address| {
        networks.is_empty() || networks.iter().any(|network| network.contains(address))
    };
    let in_range = |ranges: &[PortRange], port| {
        ranges.is_empty() || ranges.iter().any(|range| range.contains(port))
    };
    let is = |number| rule.protocol.is_none_or(|protocol| protocol == number);
    let transport = match packet.transport {
        Transport::Tcp { from, to } => {
            is(6) && in_range(&rule.from_ports, from) && in_range(&rule.to_ports, to)
        }
        Transport::Udp { from, to } => {
            is(17) && in_range(&rule.from_ports, from) && in_range(&rule.to_ports, to)
        }
        Transport::Later { protocol: protocol @ (6 | 17) } => {
            is(protocol) && (!rule.has_ports() || rule.action == RuleAction::Allow)
        }
        Transport::Later { protocol } | Transport::Other { protocol } => {
            is(protocol) && !rule.has_ports()
        }
    };
    transport && in_one(&rule.from, packet.source) && in_one(&rule.to, packet.destination)
}

/// The walk; adds what it counts to `counts`.
fn walk(rules: &[Rule], packet: &Packet, counts: &mut [u64]) -> Verdict {
    for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| holds(rule, packet)) {
        counts[number] += 1;
        match rule.action {
            RuleAction::Allow => return Verdict::Allow,
            RuleAction::Deny => return Verdict::Deny,
            RuleAction::Count => {}
        }
    }
    Verdict::Allow
}

fn decide(table: &RuleTable, packet: &Packet, worker: WorkerId) -> Verdict {
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            table.decide_v4(source, destination, packet.transport, worker)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            table.decide_v6(source, destination, packet.transport, worker)
        }
        other => panic!("two families in one packet: {other:?}"),
    }
}

fn counts(table: &RuleTable) -> Vec<u64> {
    table.counts().map(|count| count.packets).collect()
}

/// Few distinct bytes, so that networks nest and packets hit them.
fn address(is_v4: bool) -> BoxedStrategy<IpAddr> {
    if is_v4 {
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits & 0x0301_0303).into()).boxed()
    } else {
        let narrow = 0x0300_0000_0000_0001_0000_0000_0000_0303;
        any::<u128>().prop_map(move |bits| Ipv6Addr::from_bits(bits & narrow).into()).boxed()
    }
}

fn network() -> impl Strategy<Value = IpNetwork> {
    (any::<bool>(), 0u8..=128).prop_flat_map(|(is_v4, len)| {
        let len = if is_v4 { len % 33 } else { len };
        address(is_v4).prop_map(move |address| {
            IpNetwork::around(address, len).expect("a prefix no longer than an address")
        })
    })
}

fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    let edge = prop_oneof![0u16..12, 65_530u16..=65_535, any::<u16>()];
    let range =
        (edge.clone(), edge).prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) });
    prop_oneof![2 => Just(Vec::new()), 3 => proptest::collection::vec(range, 1..4)]
}

fn networks() -> impl Strategy<Value = Vec<IpNetwork>> {
    proptest::collection::vec(network(), 0..3)
}

fn rule() -> impl Strategy<Value = Rule> {
    let action =
        prop_oneof![Just(RuleAction::Allow), Just(RuleAction::Deny), Just(RuleAction::Count)];
    let protocol = prop_oneof![Just(None), Just(Some(6)), Just(Some(17)), Just(Some(1))];
    (action, protocol, networks(), networks(), ports(), ports()).prop_map(
        |(action, protocol, from, to, from_ports, to_ports)| {
            // Only TCP and UDP have ports, as the reader of the file sees to it.
            let has_ports = matches!(protocol, Some(6 | 17));
            let only = |ports: Vec<PortRange>| if has_ports { ports } else { Vec::new() };
            let (from_ports, to_ports) = (only(from_ports), only(to_ports));
            Rule { action, protocol, from, to, from_ports, to_ports }
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let port = prop_oneof![0u16..14, 65_528u16..=65_535, any::<u16>()];
    let transport = prop_oneof![
        4 => (port.clone(), port.clone()).prop_map(|(from, to)| Transport::Tcp { from, to }),
        4 => (port.clone(), port).prop_map(|(from, to)| Transport::Udp { from, to }),
        1 => prop_oneof![Just(6u8), Just(17), Just(1)]
            .prop_map(|protocol| Transport::Later { protocol }),
        1 => prop_oneof![Just(1u8), Just(58), Just(255)]
            .prop_map(|protocol| Transport::Other { protocol }),
    ];
    any::<bool>().prop_flat_map(move |is_v4| {
        (address(is_v4), address(is_v4), transport.clone())
            .prop_map(|(source, destination, transport)| Packet { source, destination, transport })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn decides_and_counts_as_a_walk_would(
        rules in proptest::collection::vec(rule(), 0..200),
        packets in proptest::collection::vec(packet(), 1..60),
    ) {
        let table = RuleTable::compile(&rules, 2, None);
        let mut expected = vec![0; rules.len()];
        for (at, packet) in packets.iter().enumerate() {
            let verdict = walk(&rules, packet, &mut expected);
            prop_assert_eq!(decide(&table, packet, WorkerId(at as u16 % 2)), verdict, "{:?}", packet);
        }
        prop_assert_eq!(counts(&table), expected);
    }
}

fn tcp(to: u16) -> Packet {
    Packet {
        source: Ipv4Addr::new(10, 0, 0, 9).into(),
        destination: Ipv4Addr::new(10, 0, 0, 1).into(),
        transport: Transport::Tcp { from: 40_000, to },
    }
}

fn to_port(action: RuleAction, port: u16) -> Rule {
    let to_ports = vec![PortRange { first: port, last: port }];
    Rule { protocol: Some(Rule::TCP), to_ports, ..Rule::any(action) }
}

/// The rows of 10,000 rules have three words of aggregates.
#[test]
fn the_last_of_many_is_found() {
    let mut rules: Vec<Rule> = (0..10_000).map(|port| to_port(RuleAction::Allow, port)).collect();
    rules.push(Rule::any(RuleAction::Deny));
    let table = RuleTable::compile(&rules, 1, None);
    assert_eq!(decide(&table, &tcp(9_999), W0), Verdict::Allow);
    assert_eq!(decide(&table, &tcp(10_000), W0), Verdict::Deny);
    let counted = counts(&table);
    assert_eq!((counted[9_999], counted[10_000], counted.iter().sum::<u64>()), (1, 1, 2));
}

#[test]
fn no_rules_allow_everything() {
    let table = RuleTable::compile(&[], 1, None);
    assert_eq!(decide(&table, &tcp(1), W0), Verdict::Allow);
    assert!(RuleTable::compile_shared(&[], 1, None).is_none());
}

/// Without this a reload would set every counter of an operator's list back to zero.
#[test]
fn a_rule_that_stays_keeps_its_counter() {
    let old = [to_port(RuleAction::Deny, 1), to_port(RuleAction::Deny, 2)];
    let first = RuleTable::compile_shared(&old, 2, None).expect("rules");
    for (port, worker) in [(1, 0), (2, 0), (2, 1)] {
        let _ = decide(&first, &tcp(port), WorkerId(worker));
    }
    let same = RuleTable::compile_shared(&old, 2, Some(&first)).expect("rules");
    assert!(Arc::ptr_eq(&first, &same), "nothing was compiled again");
    let new =
        [to_port(RuleAction::Deny, 3), to_port(RuleAction::Deny, 2), to_port(RuleAction::Deny, 2)];
    let second = RuleTable::compile_shared(&new, 2, Some(&first)).expect("rules");
    // A worker that has not adopted the new table yet still counts.
    let _ = decide(&first, &tcp(2), W0);
    let _ = decide(&second, &tcp(2), W0);
    assert_eq!(counts(&second), [0, 4, 0]);
    assert_eq!(counts(&first), [1, 4]);
}

/// A later fragment without its first is of no use, so allowing it by its addresses gives nothing
/// away; denying it by a port that it does not have would be a guess.
#[test]
fn later_fragments_pass_what_allows_and_not_what_denies() {
    let rules = [
        to_port(RuleAction::Deny, 22),
        to_port(RuleAction::Allow, 80),
        Rule::any(RuleAction::Deny),
    ];
    let table = RuleTable::compile(&rules, 1, None);
    let later = |protocol| Packet { transport: Transport::Later { protocol }, ..tcp(0) };
    assert_eq!(decide(&table, &later(6), W0), Verdict::Allow);
    assert_eq!(decide(&table, &later(17), W0), Verdict::Deny);
    assert_eq!(counts(&table), [0, 1, 1]);
}
