//! IPv4 addresses that are asked about before they are used (RFC 5227).

mod common;

use std::time::Duration;

use common::*;
use sluice_stack::DropReason;
use sluice_wire::{ArpPacket, EtherType, EthernetHeader, MacAddress, VlanTags};

const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 99, 0]);
const PROBE: &str = "who-has 10.0.0.1 tell 0.0.0.0";
const ANNOUNCED: &str = "who-has 10.0.0.1 tell 10.0.0.1";

/// Host 0 asks for 10.0.0.1 first; host 1 is 10.0.0.2.
fn asking(workers: u16) -> Net {
    let mut net = Net::new();
    let mut first = config(vec![interface(1, 0, "10.0.0.1")]);
    first.workers = workers;
    net.add(&first);
    net.add(&config(vec![interface(2, 0, "10.0.0.2")]));
    net.join((0, IF0), (1, IF0));
    for stack in &mut net.hosts[0].stacks {
        stack.probe_addresses(IF0);
    }
    net
}

fn arp(packet: &ArpPacket) -> Vec<u8> {
    let ethernet = EthernetHeader {
        destination: MacAddress::BROADCAST,
        source: OTHER,
        tags: VlanTags::None,
        ether_type: EtherType::Arp,
    };
    let mut frame = vec![0; 14 + packet.header_len()];
    ethernet.emit(&mut frame);
    packet.emit(&mut frame[14..]);
    frame
}

#[test]
fn an_address_is_ours_after_three_questions() {
    let mut net = asking(2);
    net.listen(0, "10.0.0.1:80");
    let start = net.now;
    net.run(Duration::from_millis(900));
    net.connect(1, "10.0.0.1:80");
    net.run(Duration::from_millis(1100));
    assert!(net.logged("is-at").is_empty(), "nobody answers for it yet: {:#?}", net.log);
    net.run(Duration::from_secs(6));
    assert_eq!(net.logged(PROBE).len(), 3, "{:#?}", net.log);
    assert!(net.logged(ANNOUNCED).is_empty() || net.now > start + Duration::from_secs(4));
    net.run(Duration::from_secs(4));
    assert_eq!(net.logged(ANNOUNCED).len(), 2, "{:#?}", net.log);
    let id = net.connect(1, "10.0.0.1:80");
    net.settle();
    assert!(net.stack(1).connection(id).is_some());
    let accepted: u64 =
        net.hosts[0].stacks.iter().map(|stack| stack.counters().tcp_accepts.value()).sum();
    assert!(accepted >= 1, "every worker uses it: {:#?}", net.log);
}

/// RFC 5227, 2.1.1: somebody has it, or wants it at the same time.
#[test]
fn an_address_that_another_station_has_is_not_used() {
    let has_it = ArpPacket::announcement(OTHER, ip("10.0.0.1"));
    let wants_it = ArpPacket::request(OTHER, ip("0.0.0.0"), ip("10.0.0.1"));
    for objection in [has_it, wants_it] {
        let mut net = asking(2);
        net.run(Duration::from_millis(1500));
        net.inject(0, IF0, &arp(&objection));
        net.run(Duration::from_secs(20));
        assert!(net.logged(ANNOUNCED).is_empty(), "{:#?}", net.log);
        assert_eq!(net.stack(0).counters().duplicate_addresses.value(), 1);
        assert_eq!(net.drops(0, DropReason::ArpConflict), 1);
        net.log.clear();
        net.connect(1, "10.0.0.1:80");
        net.run(Duration::from_secs(5));
        assert!(net.logged("is-at").is_empty(), "{:#?}", net.log);
        net.census();
    }
}

/// What others say about other addresses does not matter.
#[test]
fn other_addresses_are_no_objection() {
    let mut net = asking(1);
    net.run(Duration::from_millis(1500));
    net.inject(0, IF0, &arp(&ArpPacket::request(OTHER, ip("10.0.0.9"), ip("10.0.0.1"))));
    net.inject(0, IF0, &arp(&ArpPacket::announcement(OTHER, ip("10.0.0.9"))));
    net.run(Duration::from_secs(10));
    assert_eq!(net.logged(ANNOUNCED).len(), 2, "{:#?}", net.log);
    assert_eq!(net.stack(0).counters().duplicate_addresses.value(), 0);
}
