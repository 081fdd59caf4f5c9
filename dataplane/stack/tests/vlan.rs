//! VLAN sub-interfaces: tagged in and out, apart from each other and from the untagged link.

mod common;

use common::{IF0, IF1, Net, config, echo_request, interface, ip, segment};
use sluice_base::InterfaceId;
use sluice_rules::{Rule, RuleAction, RuleTable};
use sluice_stack::{DropReason, InterfaceConfig, Vlan};
use sluice_wire::{EthernetView, Flags, VlanId, VlanTags};

const IF2: InterfaceId = InterfaceId(2);

fn id(number: u16) -> VlanId {
    VlanId::new(number).expect("an id that a VLAN can have")
}

/// Two hosts, 10.0.V.1 and 10.0.V.2: untagged for V = 0, in VLAN 100 for 1, in 300 of 200 for 2.
fn pair(workers: u16) -> Net {
    let mut net = Net::new();
    for host in 1..=2 {
        let interfaces = (0..3).map(|at| InterfaceConfig {
            mac: common::mac(host, 0),
            ..interface(host, at, &format!("10.0.{at}.{host}"))
        });
        let mut config = config(interfaces.collect());
        config.workers = workers;
        net.add(&config);
        for stack in &mut net.hosts[usize::from(host) - 1].stacks {
            stack.set_vlan(IF1, Vlan { parent: IF0, outer: id(100), inner: None });
            stack.set_vlan(IF2, Vlan { parent: IF0, outer: id(200), inner: Some(id(300)) });
        }
    }
    net.join((0, IF0), (1, IF0));
    net
}

/// Puts tags into a frame.
fn tagged(mut frame: Vec<u8>, tags: &[u8]) -> Vec<u8> {
    frame.splice(12..12, tags.iter().copied());
    frame
}

#[test]
fn connections_run_in_every_vlan() {
    for workers in [1, 3] {
        let mut net = pair(workers);
        for vlan in 0..3 {
            net.listen(0, &format!("10.0.{vlan}.1:{}", 80 + vlan));
        }
        // Every frame on the wire has the tags of its addresses.
        net.filter = Some(Box::new(|frame| {
            let view = EthernetView::parse(&frame.bytes).expect("a frame");
            let at = view.header_len();
            let is_arp = frame.bytes[at - 2..at] == [8, 6];
            let third = frame.bytes[at + if is_arp { 16 } else { 14 }];
            let tags = match view.tags() {
                VlanTags::None => 0,
                VlanTags::One(tag) => usize::from(tag.id() == id(100)),
                VlanTags::Two(outer, inner) => {
                    assert_eq!(
                        (outer.protocol.number(), inner.protocol.number()),
                        (0x88a8, 0x8100)
                    );
                    2 * usize::from((outer.id(), inner.id()) == (id(200), id(300)))
                }
            };
            assert_eq!(tags, usize::from(third), "{:02x?}", &frame.bytes[..40]);
            true
        }));
        let mut connect = |vlan| net.connect(1, &format!("10.0.{vlan}.1:{}", 80 + vlan));
        let ids: Vec<_> = (0..3).map(&mut connect).collect();
        net.settle();
        for id in ids {
            net.write(1, id, b"hello");
            net.settle();
            net.echo(0);
            net.settle();
            assert_eq!(net.read(1, id), b"hello", "{:?}", net.stack(1).connection(id));
        }
        let stacks = &net.hosts[0].stacks;
        for interface in [1, 2] {
            let sum = |of: fn(&sluice_stack::VlanCounters) -> u64| -> u64 {
                stacks.iter().map(|stack| of(&stack.counters().vlans[interface])).sum()
            };
            assert!(sum(|vlan| vlan.rx_packets.value()) >= 4);
            assert!(sum(|vlan| vlan.tx_bytes.value()) > 4 * 58);
        }
    }
}

#[test]
fn unknown_tags_are_dropped_by_name() {
    let mut net = pair(1);
    let frame = segment(("10.0.1.2", 4000), ("10.0.1.1", 80), 1, Flags::SYN);
    let unknown: [&[u8]; 4] = [
        &[0x81, 0, 0, 101],
        &[0x88, 0xa8, 0, 200],
        &[0x88, 0xa8, 0, 200, 0x81, 0, 0x01, 0x2d],
        &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 100],
    ];
    for tags in unknown {
        net.inject(0, IF0, &tagged(frame.clone(), tags));
    }
    assert_eq!(net.drops(0, DropReason::VlanNotConfigured), 4);
    // A priority changes nothing, with a VLAN or without.
    for tags in [[0x81, 0, 0xe0, 100], [0x81, 0, 0xe0, 0]] {
        net.inject(0, IF0, &tagged(frame.clone(), &tags));
    }
    assert_eq!(net.drops(0, DropReason::TcpNoConnection), 2);
}

#[test]
fn a_vlan_has_rules_of_its_own() {
    let mut net = pair(1);
    let nothing = RuleTable::compile_shared(&[Rule::any(RuleAction::Deny)], 1, None);
    net.stack(0).set_rules(IF1, nothing);
    net.inject(0, IF0, &tagged(echo_request("10.0.1.2", "10.0.1.1", 1, 8), &[0x81, 0, 0, 100]));
    net.inject(0, IF0, &echo_request("10.0.0.2", "10.0.0.1", 1, 8));
    assert_eq!(net.drops(0, DropReason::RuleDenied), 1);
    assert_eq!(net.stack(0).counters().icmp_echoes.value(), 1);
}

/// A router between VLANs of one device: in by one tag, out by another.
#[test]
fn packets_are_routed_from_one_vlan_to_another() {
    let mut net = pair(1);
    net.settle();
    let mut frame = echo_request("10.0.1.2", "10.0.2.2", 1, 8);
    frame[..6].copy_from_slice(&common::mac(1, 0).0);
    net.log.clear();
    net.inject(0, IF0, &tagged(frame, &[0x81, 0, 0, 100]));
    net.settle();
    assert_eq!(net.stack(0).counters().forwarded.value(), 1);
    assert_eq!(net.drops(1, DropReason::Ipv4SourceOwn), 1, "it arrived: {:#?}", net.log);
    assert!(ip("10.0.2.2").is_private());
}

/// Neither the device's own packets nor one VLAN's keep the others from sending.
#[test]
fn room_is_shared() {
    let mut net = pair(1);
    net.settle();
    let links: [&[u8]; 3] = [&[], &[0x81, 0, 0, 100], &[0x88, 0xa8, 0, 200, 0x81, 0, 1, 0x2c]];
    let ping = |vlan: usize, sequence| {
        let (from, to) = (format!("10.0.{vlan}.2"), format!("10.0.{vlan}.1"));
        tagged(echo_request(&from, &to, sequence, 8), links[vlan])
    };
    // Who asks is known from now on.
    for vlan in 0..3 {
        net.inject(0, IF0, &ping(vlan, 0));
        net.settle();
    }
    for vlan in 0..3 {
        for sequence in 0..50 {
            let now = net.now;
            let stack = net.stack(0);
            let mut packet = stack.rx_pool().alloc().expect("a buffer");
            assert!(packet.append_bytes(&ping(vlan, sequence)));
            let mut batch = sluice_buf::Batch::burst();
            batch.push(packet);
            stack.handle_batch(IF0, &mut batch, now);
        }
    }
    let now = net.now;
    let mut out = sluice_buf::Batch::with_capacity(12);
    net.stack(0).transmit(IF0, 12, &mut out, now);
    let mut counts = [0; 3];
    for packet in out.drain() {
        counts[(packet.head().len() - 50) / 4] += 1;
    }
    assert_eq!(counts, [6, 3, 3]);
}
