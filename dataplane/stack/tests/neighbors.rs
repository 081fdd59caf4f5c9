//! Neighbours whose address is wrong, and connections that find out.

mod common;

use std::time::Duration;

use common::{IF0, Net, at, config, interface, ip, mac};
use sluice_stack::{NeighborState, ReadySignals, StackConfig};
use sluice_tcp::Config;
use sluice_wire::{ArpOperation, ArpPacket, EtherType, EthernetHeader, MacAddress, VlanTags};

/// The answer of 10.0.0.1 to 10.0.0.2, with a bit that went wrong behind the frame check sequence.
fn damaged_answer() -> Vec<u8> {
    let MacAddress(mut bytes) = mac(1, 0);
    bytes[5] ^= 0x10;
    let reply = ArpPacket {
        operation: ArpOperation::Reply,
        sender_mac: MacAddress(bytes),
        sender_ip: ip("10.0.0.1"),
        target_mac: mac(2, 0),
        target_ip: ip("10.0.0.2"),
    };
    let header = EthernetHeader {
        destination: mac(2, 0),
        source: mac(1, 0),
        tags: VlanTags::None,
        ether_type: EtherType::Arp,
    };
    let mut frame = vec![0; header.header_len() + reply.header_len()];
    let at = header.emit(&mut frame);
    reply.emit(&mut frame[at..]);
    frame
}

/// Host 1's last worker opens a connection to host 0, whose answer to ARP arrives damaged.
/// Returns how often a neighbour was suspected, per worker.
fn open_by_a_damaged_answer(workers: u16) -> Vec<u64> {
    let mut net = Net::new();
    net.add(&config(vec![interface(1, 0, "10.0.0.1")]));
    net.add(&StackConfig { workers, ..config(vec![interface(2, 0, "10.0.0.2")]) });
    net.join((0, IF0), (1, IF0));
    net.settle();
    net.listen(0, "10.0.0.1:80");
    net.filter = Some(Box::new(|frame| frame.bytes[12..14] != [8, 6] || frame.bytes[21] != 2));
    let now = net.now;
    let opener = usize::from(workers) - 1;
    let stack = &mut net.hosts[1].stacks[opener];
    stack.connect(at("10.0.0.1:80"), &Config::default(), 0, now).expect("a connection");
    net.settle();
    net.inject(1, IF0, &damaged_answer());
    net.settle();
    net.filter = None;
    let stack = &mut net.hosts[1].stacks[opener];
    let known: Vec<NeighborState> = stack.neighbors().map(|neighbor| neighbor.state).collect();
    assert_eq!(known, [NeighborState::Reachable], "it is believed");
    net.run(Duration::from_secs(10));
    let ready = net.ready(1);
    assert_eq!(ready.len(), 1, "the opening went on to the true address");
    assert_eq!((ready[0].0, ready[0].2.signals), (opener, ReadySignals::CONNECTED));
    let stack = &mut net.hosts[1].stacks[opener];
    let macs: Vec<Option<MacAddress>> = stack.neighbors().map(|neighbor| neighbor.mac).collect();
    assert_eq!(macs, [Some(mac(1, 0))]);
    let stacks = net.hosts[1].stacks.iter();
    let suspected = stacks.map(|stack| stack.counters().neighbors_suspected.value()).collect();
    net.census();
    suspected
}

#[test]
fn a_connection_outlives_a_damaged_answer_to_arp() {
    assert_eq!(open_by_a_damaged_answer(1), [1]);
}

#[test]
fn a_worker_has_worker_0_ask_again() {
    assert_eq!(open_by_a_damaged_answer(2), [1, 1]);
}

/// Who gives up waits on in the neighbour's line, named and listed nowhere, and is gone with it.
#[test]
fn who_gives_up_while_a_neighbor_is_asked_leaves_nothing_behind() {
    for answers in [true, false] {
        let mut net = Net::new();
        net.add(&config(vec![interface(1, 0, "10.0.0.1")]));
        net.add(&config(vec![interface(2, 0, "10.0.0.2")]));
        net.join((0, IF0), (1, IF0));
        net.settle();
        net.listen(0, "10.0.0.1:80");
        net.filter = Some(Box::new(|frame| frame.bytes[12..14] != [8, 6] || frame.bytes[21] != 2));
        let ids: Vec<_> = (0..5).map(|_| net.connect(1, "10.0.0.1:80")).collect();
        net.settle();
        let now = net.now;
        for id in [ids[0], ids[2], ids[4]] {
            net.stack(1).abort(id, now);
        }
        net.settle();
        assert_eq!(net.ready(1).len(), 3, "each hears of its end once");
        assert_eq!(net.stack(1).flows().count(), 2);
        let again = net.connect(1, "10.0.0.1:80");
        if answers {
            net.filter = None;
        }
        net.run(Duration::from_secs(10));
        let told: Vec<_> = net.ready(1).into_iter().map(|(_, id, it)| (id, it.signals)).collect();
        let told_of = |signals| told.iter().filter(|(_, it)| it.contains(signals)).count();
        let (opened, closed) = if answers { (3, 0) } else { (0, 3) };
        assert_eq!(told_of(ReadySignals::CONNECTED), opened, "{told:?}");
        assert_eq!(told_of(ReadySignals::CLOSED), closed, "{told:?}");
        assert!(told.iter().any(|(id, _)| *id == again));
        assert_eq!(net.stack(1).connection_count(), opened, "slots are free again");
    }
}
