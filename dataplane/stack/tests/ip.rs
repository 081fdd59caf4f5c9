//! ARP, ping, forwarding and their errors, as transcripts.

mod common;

use std::time::Duration;

use common::{IF0, IF1, Net, config, interface, ip, mac, route};
use sluice_base::Instant;
use sluice_buf::Capabilities;
use sluice_stack::{CloseReason, DropReason, NeighborState, StackConfig};
use sluice_wire::icmp::{self, IcmpMessage};
use sluice_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, IpProtocol, Ipv4Header, Ipv4View,
    MacAddress, UdpHeader, VlanTag, VlanTags, udp,
};

/// An IPv4 packet in a frame.
struct Packet {
    destination: MacAddress,
    source: MacAddress,
    tags: VlanTags,
    header: Ipv4Header,
    payload: Vec<u8>,
}

impl Packet {
    fn new(from: &str, to: &str, protocol: IpProtocol, payload: Vec<u8>) -> Self {
        Self {
            destination: mac(1, 0),
            source: mac(9, 0),
            tags: VlanTags::None,
            header: Ipv4Header::new(ip(from), ip(to), protocol, payload.len() as u16),
            payload,
        }
    }

    fn echo(from: &str, to: &str, data: usize) -> Self {
        let mut message = vec![0x5a; icmp::HEADER_LEN + data];
        IcmpMessage::EchoRequest { ident: 1, sequence: 2 }.emit(&mut message);
        icmp::fill_checksum(&mut message);
        Self::new(from, to, IpProtocol::Icmp, message)
    }

    fn udp(from: &str, to: &str, data: usize) -> Self {
        let mut datagram = vec![0x5a; udp::HEADER_LEN + data];
        UdpHeader { src_port: 1000, dst_port: 2000, payload_len: data as u16 }.emit(&mut datagram);
        udp::fill_checksum(ip(from), ip(to), &mut datagram);
        Self::new(from, to, IpProtocol::Udp, datagram)
    }

    fn ttl(mut self, ttl: u8) -> Self {
        self.header.ttl = ttl;
        self
    }

    fn to(mut self, destination: MacAddress) -> Self {
        self.destination = destination;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let ethernet = EthernetHeader {
            destination: self.destination,
            source: self.source,
            tags: self.tags,
            ether_type: EtherType::Ipv4,
        };
        let mut bytes = vec![0; ethernet.header_len() + self.header.header_len()];
        let at = ethernet.emit(&mut bytes);
        self.header.emit(&mut bytes[at..]);
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

fn arp(packet: &ArpPacket, destination: MacAddress) -> Vec<u8> {
    let ethernet = EthernetHeader {
        destination,
        source: packet.sender_mac,
        tags: VlanTags::None,
        ether_type: EtherType::Arp,
    };
    let mut bytes = vec![0; 60];
    let at = ethernet.emit(&mut bytes);
    packet.emit(&mut bytes[at..]);
    bytes
}

/// One host, 10.0.0.1, whose announcement was sent, and nobody on the wire.
fn alone() -> Net {
    alone_with(|_| {})
}

fn alone_with(change: impl Fn(&mut StackConfig)) -> Net {
    let mut net = Net::new();
    let mut config = config(vec![interface(1, 0, "10.0.0.1")]);
    change(&mut config);
    net.add(&config);
    // The far end of the wire is a host that does not listen to anything.
    let mut deaf = common::config(vec![interface(8, 0, "10.9.9.9")]);
    deaf.forwarding = false;
    net.add(&deaf);
    net.join((0, IF0), (1, IF0));
    net.settle();
    net.log.clear();
    net
}

fn neighbor_states(net: &mut Net, host: usize) -> Vec<(String, NeighborState)> {
    let stack = net.stack(host);
    stack.neighbors().map(|n| (n.address.to_string(), n.state)).collect()
}

/// Answers a question that 10.0.0.1 asked for `address`.
fn answer(net: &mut Net, address: &str) {
    let reply = ArpPacket {
        operation: ArpOperation::Reply,
        sender_mac: mac(9, 0),
        sender_ip: ip(address),
        target_mac: mac(1, 0),
        target_ip: ip("10.0.0.1"),
    };
    net.inject(0, IF0, &arp(&reply, mac(1, 0)));
}

#[test]
fn addresses_are_announced_at_start() {
    let mut net = Net::pair();
    net.settle();
    assert_eq!(
        net.log,
        [
            "0 ARP, Request who-has 10.0.0.1 tell 10.0.0.1",
            "1 ARP, Request who-has 10.0.0.2 tell 10.0.0.2"
        ]
    );
    assert!(neighbor_states(&mut net, 0).is_empty(), "an announcement alone makes no entry");
    net.census_idle();
}

#[test]
fn a_ping_is_answered_and_both_sides_learn() {
    let mut net = alone();
    net.inject(0, IF0, &Packet::echo("10.0.0.9", "10.0.0.1", 32).bytes());
    net.settle();
    assert_eq!(net.log, ["0 ARP, Request who-has 10.0.0.9 tell 10.0.0.1"]);
    answer(&mut net, "10.0.0.9");
    net.settle();
    assert_eq!(net.log[1..], ["0 IP 10.0.0.1 > 10.0.0.9: ICMP echo reply, id 1, seq 2, length 40"]);
    assert_eq!(neighbor_states(&mut net, 0), [("10.0.0.9".into(), NeighborState::Reachable)]);
    assert_eq!(net.stack(0).counters().icmp_echoes.value(), 1);
    net.census_idle();
}

#[test]
fn a_large_ping_in_several_buffers_is_answered() {
    let mut net = Net::pair_with(|interface| interface.mtu = 9000, |_| {});
    net.settle();
    let ping = Packet::echo("10.0.0.2", "10.0.0.1", 8000);
    net.inject(0, IF0, &Packet { source: mac(2, 0), ..ping }.bytes());
    net.settle();
    assert_eq!(net.logged("ICMP echo reply, id 1, seq 2, length 8008").len(), 1);
    // Host 1 asked for nothing.
    assert_eq!(net.drops(1, DropReason::IcmpUnsolicited), 1);
    net.census_idle();
}

#[test]
fn questions_for_us_are_answered_and_remembered_as_stale() {
    let mut net = alone();
    let question = ArpPacket::request(mac(9, 0), ip("10.0.0.9"), ip("10.0.0.1"));
    net.inject(0, IF0, &arp(&question, MacAddress::BROADCAST));
    net.settle();
    assert_eq!(net.log, ["0 ARP, Reply 10.0.0.1 is-at 02:00:00:00:01:00"]);
    assert_eq!(neighbor_states(&mut net, 0), [("10.0.0.9".into(), NeighborState::Stale)]);
    // Its use makes us ask it, and it alone.
    net.inject(0, IF0, &Packet::echo("10.0.0.9", "10.0.0.1", 0).bytes());
    net.settle();
    assert_eq!(net.log.len(), 3, "{:?}", net.log);
    assert!(net.log[1].contains("who-has 10.0.0.9") && net.log[2].contains("echo reply"));
    assert_eq!(neighbor_states(&mut net, 0), [("10.0.0.9".into(), NeighborState::Probe)]);
    net.census_idle();
}

#[test]
fn arp_from_strangers_changes_nothing() {
    let mut net = alone();
    let reply = |sender_mac: MacAddress, sender: &str| ArpPacket {
        operation: ArpOperation::Reply,
        sender_mac,
        sender_ip: ip(sender),
        target_mac: mac(1, 0),
        target_ip: ip("10.0.0.1"),
    };
    let cases = [
        (reply(mac(9, 0), "10.0.0.9"), DropReason::ArpUnsolicited),
        (reply(mac(9, 0), "192.0.2.9"), DropReason::ArpSender),
        (reply(mac(9, 0), "10.0.0.255"), DropReason::ArpSender),
        (reply(mac(9, 0), "10.0.0.1"), DropReason::ArpConflict),
        (reply(MacAddress::ZERO, "10.0.0.9"), DropReason::EthernetSource),
        (ArpPacket::announcement(mac(9, 0), ip("10.0.0.1")), DropReason::ArpConflict),
    ];
    for (packet, reason) in cases {
        let before = net.drops(0, reason);
        net.inject(0, IF0, &arp(&packet, mac(1, 0)));
        assert_eq!(net.drops(0, reason), before + 1, "{packet}");
    }
    net.inject(0, IF0, &arp(&ArpPacket::announcement(mac(9, 0), ip("10.0.0.9")), mac(1, 0)));
    let other = ArpPacket::request(mac(9, 0), ip("10.0.0.9"), ip("10.0.0.8"));
    net.inject(0, IF0, &arp(&other, MacAddress::BROADCAST));
    assert_eq!(net.stack(0).counters().arp_ignored.value(), 2);
    assert!(neighbor_states(&mut net, 0).is_empty());
    // RFC 5227, 2.4 (b): ours is ours, but we do not shout at each other.
    let defence = "0 ARP, Request who-has 10.0.0.1 tell 10.0.0.1";
    assert_eq!(net.log, [defence]);
    net.log.clear();
    net.run(Duration::from_secs(10));
    let conflict = ArpPacket::announcement(mac(9, 0), ip("10.0.0.1"));
    net.inject(0, IF0, &arp(&conflict, MacAddress::BROADCAST));
    assert_eq!(net.log, [defence]);
    net.log.clear();
    // A probe for our address is defended against (RFC 5227, 2.4).
    let probe = ArpPacket::request(mac(9, 0), ip("0.0.0.0"), ip("10.0.0.1"));
    net.inject(0, IF0, &arp(&probe, MacAddress::BROADCAST));
    net.settle();
    assert_eq!(net.log, ["0 ARP, Reply 10.0.0.1 is-at 02:00:00:00:01:00"]);
    assert!(neighbor_states(&mut net, 0).is_empty());
    net.census_idle();
}

#[test]
fn a_neighbour_that_moves_is_followed_and_probed() {
    let mut net = alone();
    net.inject(0, IF0, &Packet::echo("10.0.0.9", "10.0.0.1", 0).bytes());
    answer(&mut net, "10.0.0.9");
    let moved = ArpPacket::announcement(mac(7, 7), ip("10.0.0.9"));
    net.inject(0, IF0, &arp(&moved, MacAddress::BROADCAST));
    let neighbor = net.stack(0).neighbors().next().expect("an entry");
    assert_eq!((neighbor.mac, neighbor.state), (Some(mac(7, 7)), NeighborState::Stale));
    net.census();
}

#[test]
fn a_silent_neighbour_fails_after_three_questions() {
    let mut net = alone();
    for _ in 0..70 {
        net.inject(0, IF0, &Packet::echo("10.0.0.9", "10.0.0.1", 0).bytes());
    }
    assert_eq!(net.drops(0, DropReason::NeighborQueue), 6, "64 wait, the oldest gave way");
    net.run(Duration::from_secs(5));
    assert_eq!(net.logged("who-has 10.0.0.9").len(), 3, "{:?}", net.log);
    assert_eq!(net.drops(0, DropReason::NeighborFailed), 64);
    assert_eq!(net.stack(0).counters().neighbors_failed.value(), 1);
    assert_eq!(neighbor_states(&mut net, 0), [("10.0.0.9".into(), NeighborState::Failed)]);
    net.census_idle();
}

#[test]
fn a_connection_to_a_silent_neighbour_times_out() {
    let mut net = Net::pair();
    net.settle();
    net.filter = Some(Box::new(|_| false));
    net.connect(0, "10.0.0.2:80");
    net.run(Duration::from_millis(2900));
    assert!(net.ready(0).is_empty(), "it is still being asked for");
    net.run(Duration::from_millis(200));
    let ready = net.ready(0);
    assert_eq!(ready.len(), 1, "not only when the SYN's retries are used up");
    assert_eq!(ready[0].2.reason, Some(CloseReason::TimedOut));
    net.settle();
    assert_eq!(net.stack(0).flows().count(), 0);
    net.census_idle();
}

/// The neighbour is gone, the connection is not: it ends by its own timers, or goes on.
#[test]
fn an_open_connection_survives_a_neighbour_that_is_away() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    net.echo(1);
    net.ready(0);
    // Long enough for the entry to be doubted, asked, and found to have failed.
    net.filter = Some(Box::new(|_| false));
    net.run(Duration::from_secs(31));
    net.write(0, client, b"are you there?");
    net.run(Duration::from_secs(10));
    assert!(net.drops(0, DropReason::NeighborFailed) > 0);
    assert!(net.stack(0).connection(client).is_some());
    net.filter = None;
    for _ in 0..30 {
        net.run(Duration::from_secs(1));
        net.echo(1);
    }
    assert_eq!(net.read(0, client), b"are you there?");
    net.census();
}

#[test]
fn a_neighbour_that_comes_late_is_used() {
    let mut net = Net::pair();
    net.settle();
    net.listen(1, "10.0.0.2:80");
    let opens = net.now + Duration::from_millis(1500);
    net.connect(0, "10.0.0.2:80");
    net.filter = Some(Box::new(|_| false));
    net.run(opens - net.now);
    net.filter = None;
    net.run(Duration::from_secs(10));
    assert!(net.ready(0)[0].2.reason.is_none(), "connected");
    net.census();
}

#[test]
fn a_full_neighbour_table_gives_up_the_oldest_that_nobody_waits_for() {
    let mut net = alone_with(|config| config.neighbors_max = 4);
    for last in 10..20 {
        let from = format!("10.0.0.{last}");
        let question = ArpPacket::request(mac(9, last), ip(&from), ip("10.0.0.1"));
        net.inject(0, IF0, &arp(&question, MacAddress::BROADCAST));
    }
    assert_eq!(net.stack(0).neighbors().count(), 4);
    assert_eq!(net.stack(0).counters().neighbors_evicted.value(), 6);
    // Packets wait for these four; a fifth finds no place.
    for last in 30..35 {
        net.inject(0, IF0, &Packet::echo(&format!("10.0.0.{last}"), "10.0.0.1", 0).bytes());
    }
    assert_eq!(net.drops(0, DropReason::NeighborTable), 1);
    net.census();
}

#[test]
fn a_packet_is_forwarded_in_place() {
    let mut net = Net::routed();
    net.settle();
    net.log.clear();
    let ping = Packet::udp("10.0.0.1", "10.0.1.2", 100).ttl(9).to(mac(2, 0));
    net.inject(1, IF0, &Packet { source: mac(1, 0), ..ping }.bytes());
    net.settle();
    assert_eq!(net.stack(1).counters().forwarded.value(), 2, "and the answer on its way back");
    let log: Vec<&str> = net.log.iter().map(String::as_str).collect();
    assert_eq!(log[0], "1 ARP, Request who-has 10.0.1.2 tell 10.0.1.254");
    assert!(log.contains(&"1 IP 10.0.0.1.1000 > 10.0.1.2.2000: UDP, length 100"), "{log:?}");
    let port = "2 IP 10.0.1.2 > 10.0.0.1: ICMP port unreachable, length 136";
    assert!(log.contains(&port), "{log:?}");
    assert_eq!(net.drops(2, DropReason::UdpNoSocket), 1);
    assert_eq!(net.drops(2, DropReason::Ipv4Checksum), 0);
    net.census_idle();
}

#[test]
fn a_connection_goes_through_a_router() {
    let mut net = Net::routed();
    net.listen(2, "10.0.1.2:80");
    let client = net.connect(0, "10.0.1.2:80");
    net.settle();
    net.echo(2);
    net.write(0, client, &[7; 5000]);
    net.run(Duration::from_millis(50));
    net.echo(2);
    net.run(Duration::from_millis(50));
    net.echo(2);
    net.run(Duration::from_millis(50));
    assert_eq!(net.read(0, client).len(), 5000);
    net.census();
}

#[test]
fn offload_requests_cross_a_router() {
    let able = Capabilities {
        tx_ipv4_checksum: true,
        tx_l4_checksum: true,
        tx_segmentation_max: 65_535,
        rx_checksum: true,
        multi_segment: true,
    };
    for (left, right) in [(able, able), (Capabilities { tx_segmentation_max: 0, ..able }, able)] {
        let mut net = Net::new();
        let with = |mut interface: sluice_stack::InterfaceConfig, capabilities| {
            interface.capabilities = capabilities;
            interface
        };
        let mut one = config(vec![with(interface(1, 0, "10.0.0.1"), left)]);
        one.routes = vec![route("0.0.0.0", 0, "10.0.0.254")];
        let mut two = config(vec![with(interface(3, 0, "10.0.1.2"), right)]);
        two.routes = vec![route("0.0.0.0", 0, "10.0.1.254")];
        net.add(&one);
        net.add(&config(vec![
            with(interface(2, 0, "10.0.0.254"), left),
            with(interface(2, 1, "10.0.1.254"), Capabilities { tx_l4_checksum: false, ..right }),
        ]));
        net.add(&two);
        net.join((0, IF0), (1, IF0));
        net.join((1, IF1), (2, IF0));
        net.listen(2, "10.0.1.2:80");
        let client = net.connect(0, "10.0.1.2:80");
        net.settle();
        net.write(0, client, &[7; 30_000]);
        for _ in 0..20 {
            net.run(Duration::from_millis(10));
            net.echo(2);
        }
        assert!(net.read(0, client) == [7; 30_000], "both ways, byte for byte");
        assert!(net.stack(1).counters().forwarded.value() > 0);
        for reason in [DropReason::SegmentationUnsupported, DropReason::ForwardHeader] {
            assert_eq!(net.drops(1, reason), 0);
        }
        assert_eq!(net.drops(2, DropReason::TcpChecksum), 0);
        net.census();
    }
}

#[test]
fn the_last_hop_is_told() {
    let mut net = Net::routed();
    net.settle();
    let send = |net: &mut Net, ttl| {
        let packet = Packet::udp("10.0.0.1", "10.0.1.2", 10).ttl(ttl).to(mac(2, 0));
        net.inject(1, IF0, &Packet { source: mac(1, 0), ..packet }.bytes());
        net.settle();
    };
    send(&mut net, 1);
    assert_eq!(net.drops(1, DropReason::TtlExceeded), 1);
    let told = "1 IP 10.0.0.254 > 10.0.0.1: ICMP time exceeded in-transit, length 46";
    assert_eq!(net.logged(told).len(), 1, "{:?}", net.log);
    send(&mut net, 2);
    assert_eq!(net.drops(1, DropReason::TtlExceeded), 1, "two hops are enough");
    net.census_idle();
}

#[test]
fn what_is_too_large_is_sent_back() {
    let mut net = Net::routed_with(|config| config.interfaces[1].mtu = 1000);
    net.settle();
    for (data, dropped) in [(972, 0), (973, 1)] {
        let packet = Packet::udp("10.0.0.1", "10.0.1.2", data).to(mac(2, 0));
        net.inject(1, IF0, &Packet { source: mac(1, 0), ..packet }.bytes());
        net.settle();
        assert_eq!(net.drops(1, DropReason::FragmentationNeeded), dropped);
    }
    assert_eq!(net.logged("unreachable - need to frag (mtu 1000)").len(), 1);
    net.census_idle();
}

#[test]
fn no_route_is_told() {
    let mut net = Net::routed();
    net.settle();
    let packet = Packet::udp("10.0.0.1", "192.0.2.1", 10).to(mac(2, 0));
    net.inject(1, IF0, &Packet { source: mac(1, 0), ..packet }.bytes());
    net.settle();
    assert_eq!(net.drops(1, DropReason::NoRoute), 1);
    assert_eq!(net.logged("ICMP net unreachable").len(), 1);
    net.census_idle();
}

#[test]
fn a_silent_next_hop_is_told() {
    let mut net = Net::routed();
    net.settle();
    let packet = Packet::udp("10.0.0.1", "10.0.1.77", 10).to(mac(2, 0));
    net.inject(1, IF0, &Packet { source: mac(1, 0), ..packet }.bytes());
    net.run(Duration::from_secs(4));
    assert_eq!(net.drops(1, DropReason::NeighborFailed), 1);
    assert_eq!(net.logged("ICMP host unreachable").len(), 1);
    net.census_idle();
}

#[test]
fn a_host_does_not_forward() {
    let mut net = Net::routed_with(|config| config.forwarding = false);
    net.settle();
    let packet = Packet::udp("10.0.0.1", "10.0.1.2", 10).to(mac(2, 0));
    net.inject(1, IF0, &packet.bytes());
    assert_eq!(net.drops(1, DropReason::ForwardingOff), 1);
    net.census();
}

/// RFC 1122, 3.2.2: what must never be answered with an error.
#[test]
fn errors_that_must_not_be_sent() {
    let mut net = alone();
    let echo_of_error = {
        let mut message = vec![0; 60];
        IcmpMessage::Other { kind: 3, code: 77, rest: [0; 4] }.emit(&mut message);
        icmp::fill_checksum(&mut message);
        message
    };
    let own = mac(1, 0);
    let before = net.stack(0).counters().drops.total();
    let mut fragment = Packet::udp("10.0.0.9", "192.0.2.1", 10);
    fragment.header.fragment_offset = 8;
    fragment.header.dont_fragment = false;
    let cases = [
        Packet::udp("10.0.0.9", "10.0.0.255", 10).to(own),
        Packet::udp("10.0.0.9", "224.0.0.1", 10).to(own),
        Packet::udp("10.0.0.9", "255.255.255.255", 10).to(MacAddress::BROADCAST),
        Packet::udp("10.0.0.9", "10.0.0.1", 10).to(MacAddress::BROADCAST),
        Packet::udp("10.0.0.255", "10.0.0.1", 10).to(own),
        Packet::udp("127.0.0.1", "10.0.0.1", 10).to(own),
        Packet::udp("0.0.0.0", "10.0.0.1", 10).to(own),
        Packet::udp("10.0.0.1", "10.0.0.1", 10).to(own),
        Packet::new("10.0.0.9", "192.0.2.1", IpProtocol::Icmp, echo_of_error).to(own),
        fragment.to(own),
    ];
    for packet in cases {
        net.inject(0, IF0, &packet.bytes());
        assert_eq!(net.stack(0).counters().icmp_errors_out.value(), 0, "{}", packet.header);
    }
    net.settle();
    assert!(net.log.is_empty(), "{:?}", net.log);
    assert_eq!(net.stack(0).counters().drops.total(), before + 10, "each was counted");
    net.inject(0, IF0, &Packet::udp("10.0.0.9", "10.0.0.1", 10).bytes());
    assert_eq!(net.stack(0).counters().icmp_errors_out.value(), 1, "a plain one is answered");
    net.census();
}

#[test]
fn errors_are_limited() {
    let mut net = alone_with(|config| {
        config.icmp_errors_per_second = 20;
        config.neighbor_queue_max = 100;
    });
    for _ in 0..100 {
        net.inject(0, IF0, &Packet::udp("10.0.0.9", "10.0.0.1", 10).bytes());
    }
    let counters = net.stack(0).counters().clone();
    assert_eq!(counters.icmp_errors_out.value(), 10, "half a second's worth");
    assert_eq!(counters.icmp_errors_limited.value(), 90);
    net.census();
}

#[test]
fn an_error_ends_a_connection_that_is_not_open_yet_and_only_that() {
    let mut net = Net::pair();
    net.settle();
    net.listen(1, "10.0.0.2:80");
    let open = net.connect(0, "10.0.0.2:80");
    net.settle();
    net.ready(0);
    net.log.clear();
    // A SYN that gets lost, and an error that quotes it.
    net.filter = Some(Box::new(|frame| frame.bytes[12..14] != [8, 0]));
    let opening = net.connect(0, "10.0.0.2:81");
    net.settle();
    let info = net.stack(0).connection(opening).expect("it lives");
    let iss = {
        let line = net.logged("Flags [S]")[0];
        let seq = line.split("seq ").nth(1).and_then(|rest| rest.split(',').next());
        seq.and_then(|seq| seq.parse::<u32>().ok()).expect("a number")
    };
    let error = |local_port: u16, remote_port: u16, seq: u32| {
        let mut message = vec![0; icmp::HEADER_LEN + 28];
        let why = icmp::Unreachable::Port;
        IcmpMessage::DestinationUnreachable(why).emit(&mut message);
        Ipv4Header::new(ip("10.0.0.1"), ip("10.0.0.2"), IpProtocol::Tcp, 20)
            .emit(&mut message[icmp::HEADER_LEN..]);
        message[28..30].copy_from_slice(&local_port.to_be_bytes());
        message[30..32].copy_from_slice(&remote_port.to_be_bytes());
        message[32..36].copy_from_slice(&seq.to_be_bytes());
        icmp::fill_checksum(&mut message);
        Packet::new("10.0.0.2", "10.0.0.1", IpProtocol::Icmp, message).bytes()
    };
    let port = info.local.port();
    net.inject(0, IF0, &error(port, 81, iss.wrapping_add(5)));
    net.inject(0, IF0, &error(port, 82, iss));
    assert_eq!(net.drops(0, DropReason::IcmpUnsolicited), 2, "it must quote what is on its way");
    assert!(net.ready(0).is_empty());
    net.inject(0, IF0, &error(port, 81, iss));
    let (_, id, ready) = net.ready(0)[0];
    assert_eq!((id, ready.reason), (opening, Some(CloseReason::Refused)));

    // The open one: a segment is on its way, and the error quotes it rightly.
    let local = net.stack(0).connection(open).expect("it lives").local.port();
    net.write(0, open, b"data");
    net.transmit();
    let line = net.logged("length 4").last().expect("a segment").to_string();
    let seq = line.split("seq ").nth(1).and_then(|rest| rest.split(':').next());
    let seq = seq.and_then(|seq| seq.parse::<u32>().ok()).expect("a number");
    let heard = net.stack(0).counters().icmp_errors_in.value();
    net.inject(0, IF0, &error(local, 80, seq));
    assert_eq!(net.stack(0).counters().icmp_errors_in.value(), heard + 1);
    assert!(net.stack(0).connection(open).is_some(), "it goes on");
    net.census();
}

#[test]
fn tags_name_vlans_that_are_not_there() {
    let mut net = alone();
    let tagged = |control| {
        let tag = VlanTag { protocol: sluice_wire::TagProtocol::Customer, control };
        let echo = Packet::echo("10.0.0.9", "10.0.0.1", 0);
        Packet { tags: VlanTags::One(tag), ..echo }.bytes()
    };
    net.inject(0, IF0, &tagged(5));
    assert_eq!(net.drops(0, DropReason::VlanNotConfigured), 1);
    net.inject(0, IF0, &tagged(0xe000));
    assert_eq!(net.stack(0).counters().icmp_echoes.value(), 1, "a priority alone is no VLAN");
    net.census();
}

#[test]
fn frames_for_others_and_unknown_protocols_are_counted() {
    let mut net = alone();
    net.inject(0, IF0, &Packet::echo("10.0.0.9", "10.0.0.1", 0).to(mac(5, 5)).bytes());
    assert_eq!(net.drops(0, DropReason::EthernetNotOurs), 1);
    net.inject(0, IF1, &Packet::echo("10.0.0.9", "10.0.0.1", 0).bytes());
    assert_eq!(net.drops(0, DropReason::InterfaceUnknown), 1);
    let unknown = Packet::new("10.0.0.9", "10.0.0.1", IpProtocol::Other(99), vec![0; 20]);
    net.inject(0, IF0, &unknown.bytes());
    assert_eq!(net.drops(0, DropReason::Ipv4Protocol), 1);
    net.settle();
    answer(&mut net, "10.0.0.9");
    net.settle();
    assert_eq!(net.logged("ICMP protocol unreachable").len(), 1);
    net.census_idle();
}

#[test]
fn idle_stacks_ask_for_no_time() {
    let mut net = alone();
    assert_eq!(net.stack(0).next_deadline(), Instant::NEVER);
    net.inject(0, IF0, &Packet::echo("10.0.0.9", "10.0.0.1", 0).bytes());
    assert!(net.stack(0).next_deadline() < Instant::NEVER, "a question is out");
    net.run(Duration::from_secs(10));
    assert_eq!(net.stack(0).next_deadline(), Instant::NEVER);
    net.census_idle();
}

#[test]
fn a_full_egress_queue_drops_and_counts() {
    let mut net = Net::pair_with(|_| {}, |config| config.egress_queue_max = 4);
    let question = ArpPacket::request(mac(9, 0), ip("10.0.0.9"), ip("10.0.0.1"));
    net.settle();
    let mut batch = sluice_buf::Batch::burst();
    let now = net.now;
    let stack = net.stack(0);
    for _ in 0..10 {
        let mut packet = stack.rx_pool().alloc().expect("a buffer");
        assert!(packet.append_bytes(&arp(&question, MacAddress::BROADCAST)));
        batch.push(packet);
    }
    stack.handle_batch(IF0, &mut batch, now);
    assert_eq!(net.drops(0, DropReason::EgressFull), 6);
    net.census();
}

/// The short way of a packet that only passes through does what the long way does: the first packet
/// to a stale neighbour takes the long one, those behind it the short one.
#[test]
fn both_ways_through_a_router_are_the_same() {
    let mut net = Net::routed();
    net.settle();
    let question = ArpPacket::request(mac(3, 0), ip("10.0.1.2"), ip("10.0.1.254"));
    let padded = |len: usize, ttl: u8, padding: usize| {
        let packet = Packet::udp("10.0.0.1", "10.0.1.2", len).ttl(ttl).to(mac(2, 0));
        let mut bytes = packet.bytes();
        bytes.extend(vec![0xee; padding]);
        bytes
    };
    let frames = [padded(0, 2, 18), padded(100, 255, 0), padded(1_400, 64, 3), padded(7, 77, 1)];
    for frame in frames {
        // It asks us: its entry is stale, and the next packet is the first to use it.
        net.inject(1, IF1, &arp(&question, mac(2, 1)));
        net.settle();
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let sink = seen.clone();
        net.filter = Some(Box::new(move |out| {
            let is_it = out.bytes[12..14] == [8, 0] && out.bytes[6..12] == mac(2, 1).0;
            if is_it {
                sink.borrow_mut().push(out.bytes.clone());
            }
            !is_it
        }));
        for _ in 0..3 {
            net.inject(1, IF0, &frame);
        }
        net.filter = None;
        let seen = seen.take();
        assert_eq!(seen.len(), 3);
        assert!(seen[0] == seen[1] && seen[1] == seen[2]);
        let view = Ipv4View::parse(&seen[2][14..]).expect("a packet");
        assert!(view.checksum_ok());
        assert_eq!(
            (view.ttl(), usize::from(view.total_len())),
            (frame[22] - 1, seen[2].len() - 14)
        );
        net.settle();
    }
    net.census();
}
