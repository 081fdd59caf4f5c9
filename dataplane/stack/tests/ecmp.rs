//! Several next hops for one destination: who gets which flow, and what happens when one is silent.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Net, config, interface, ip};
use sluice_base::InterfaceId;
use sluice_stack::{DropReason, RouteConfig};
use sluice_wire::{EtherType, EthernetHeader, IpProtocol, Ipv4Header, VlanTags};

/// Host 0 is a router with three others behind interfaces 1 to 3, all on the way to 10.9.0.0/16.
fn net() -> Net {
    let mut net = Net::new();
    let interfaces = (0..4).map(|at| interface(1, at, &format!("10.0.{at}.254")));
    let mut router = config(interfaces.collect());
    let via = ["10.0.1.1", "10.0.2.1", "10.0.3.1"].map(|gateway| ip(gateway).into());
    router.routes =
        vec![RouteConfig { to: (ip("10.9.0.0").into(), 16), via: via.into(), interface: None }];
    net.add(&router);
    for host in 1..=3u8 {
        net.add(&config(vec![interface(host + 1, 0, &format!("10.0.{host}.1"))]));
        net.join((0, InterfaceId(host.into())), (usize::from(host), common::IF0));
    }
    // The first packets make the router ask for its neighbours.
    for flow in 0..64 {
        send(&mut net, flow);
    }
    net.settle();
    net
}

fn send(net: &mut Net, flow: u16) {
    let mut frame = vec![0; 14 + 20 + 8];
    let ethernet = EthernetHeader {
        destination: common::mac(1, 0),
        source: common::mac(99, 0),
        tags: VlanTags::None,
        ether_type: EtherType::Ipv4,
    };
    ethernet.emit(&mut frame);
    Ipv4Header::new(ip("10.0.0.1"), ip("10.9.0.1"), IpProtocol::Udp, 8).emit(&mut frame[14..]);
    frame[34..36].copy_from_slice(&flow.to_be_bytes());
    net.inject(0, common::IF0, &frame);
}

/// Which of the three hosts each of 200 flows goes to; none have a route further on.
fn ways(net: &mut Net) -> BTreeMap<u16, usize> {
    let mut ways = BTreeMap::new();
    for flow in 0..200 {
        let count = |net: &Net| [1, 2, 3].map(|host| net.drops(host, DropReason::NoRoute));
        let before = count(net);
        send(net, flow);
        net.settle();
        let after = count(net);
        let way = (0..3).find(|at| after[*at] > before[*at]);
        ways.insert(flow, way.expect("the packet arrived somewhere"));
    }
    ways
}

#[test]
fn flows_spread_and_stay() {
    let mut net = net();
    let first = ways(&mut net);
    for hop in 0..3 {
        let flows = first.values().filter(|way| **way == hop).count();
        assert!((35..110).contains(&flows), "hop {hop} has {flows} of 200");
    }
    assert_eq!(ways(&mut net), first);
}

/// Flows of a router that went silent move, all others stay; they come back with it.
#[test]
fn a_silent_hop_is_passed_over() {
    let mut net = net();
    let before = ways(&mut net);
    // Frames to the second host are lost from here on.
    let silent = common::mac(3, 0).0;
    net.filter = Some(Box::new(move |frame| {
        frame.bytes[..6] != silent
            && !(frame.bytes[12..14] == [8, 6] && frame.bytes[41] == 1 && frame.bytes[40] == 2)
    }));
    net.run(Duration::from_secs(31));
    for flow in 0..200 {
        send(&mut net, flow);
    }
    net.run(Duration::from_secs(5));
    let during = ways(&mut net);
    for (flow, way) in &before {
        match way {
            1 => assert_ne!(during[flow], 1),
            way => assert_eq!(during[flow], *way, "flow {flow} had no reason to move"),
        }
    }
    net.filter = None;
    net.run(Duration::from_secs(2));
    send(&mut net, 0);
    for flow in 0..200 {
        send(&mut net, flow);
    }
    net.run(Duration::from_secs(2));
    assert_eq!(ways(&mut net), before, "it was asked after, and its flows are back");
}

/// A connection does not end with the router that it was to go by.
#[test]
fn connections_pass_over_a_silent_hop() {
    let mut net = net();
    net.run(Duration::from_secs(40));
    // Nothing that leaves by interface 1 arrives, not even a question.
    let lost = common::mac(1, 1).0;
    net.filter = Some(Box::new(move |frame| frame.bytes[6..12] != lost));
    let before = [2, 3].map(|host| net.drops(host, DropReason::NoRoute));
    let ids: Vec<_> = (0..24).map(|_| net.connect(0, "10.9.0.1:80")).collect();
    net.run(Duration::from_secs(8));
    let after = [2, 3].map(|host| net.drops(host, DropReason::NoRoute));
    let arrived: u64 = after.iter().sum::<u64>() - before.iter().sum::<u64>();
    assert!(arrived >= 24, "{arrived} SYNs arrived at the other two");
    let now = net.now;
    for id in ids {
        assert!(net.stack(0).connection(id).is_some(), "it still tries");
        net.stack(0).abort(id, now);
    }
}
