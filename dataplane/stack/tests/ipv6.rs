//! IPv6 between stacks: neighbour discovery, duplicate addresses, pings, errors, forwarding, TCP,
//! and what is refused.

mod common;

use std::time::Duration;

use common::v6::*;
use common::*;
use sluice_buf::Capabilities;
use sluice_stack::{DropReason, InterfaceConfig, StackConfig};
use sluice_wire::icmpv6::Icmpv6Message;
use sluice_wire::{IpProtocol, Ipv6Header, MacAddress, NdpMessage, NdpOptions, ipv6, ndp};

/// fd00::1 and fd00::2 on one wire, sure of their addresses.
fn pair() -> Net {
    pair_with(|_| {}, |_| {})
}

fn pair_with(
    change_interface: impl Fn(&mut InterfaceConfig),
    change: impl Fn(&mut StackConfig),
) -> Net {
    let mut net = Net::new();
    for host in 1..=2 {
        let mut interface = interface_v6(host, 0, &format!("fd00::{host}"));
        change_interface(&mut interface);
        let mut config = config(vec![interface]);
        change(&mut config);
        net.add(&config);
    }
    net.join((0, IF0), (1, IF0));
    net.run(Duration::from_secs(2));
    net.log.clear();
    net
}

/// fd00::1, a router (fd00::fe, fd01::fe) as host 1, fd01::2 as host 2.
fn routed(change_router: impl Fn(&mut StackConfig)) -> Net {
    let mut net = Net::new();
    let mut left = config(vec![interface_v6(1, 0, "fd00::1")]);
    left.routes = vec![route_v6("::", 0, "fd00::fe")];
    let mut right = config(vec![interface_v6(3, 0, "fd01::2")]);
    right.routes = vec![route_v6("::", 0, "fd01::fe")];
    let mut router = config(vec![interface_v6(2, 0, "fd00::fe"), interface_v6(2, 1, "fd01::fe")]);
    change_router(&mut router);
    net.add(&left);
    net.add(&router);
    net.add(&right);
    net.join((0, IF0), (1, IF0));
    net.join((1, IF1), (2, IF0));
    net.run(Duration::from_secs(2));
    net.log.clear();
    net
}

fn advertisement(
    target: &str,
    mac: MacAddress,
    (solicited, overrides): (bool, bool),
) -> NdpMessage {
    let options = NdpOptions::target(mac);
    NdpMessage::NeighborAdvertisement {
        target: ip6(target),
        router: false,
        solicited,
        overrides,
        options,
    }
}

fn solicitation(target: &str, options: NdpOptions) -> NdpMessage {
    NdpMessage::NeighborSolicitation { target: ip6(target), options }
}

#[test]
fn an_address_is_asked_for_and_announced() {
    let mut net = Net::new();
    net.add(&config(vec![interface_v6(1, 0, "fd00::1")]));
    net.add(&config(vec![interface_v6(2, 0, "fd00::2")]));
    net.join((0, IF0), (1, IF0));
    net.run(Duration::from_secs(2));
    let probe = "0 IP6 :: > ff02::1:ff00:1: ICMP6, neighbor solicitation, who has fd00::1";
    let told = "0 IP6 fd00::1 > ff02::1: ICMP6, neighbor advertisement, tgt is fd00::1, router, \
                override, target 02:00:00:00:01:00";
    assert_eq!((net.logged(probe).len(), net.logged(told).len()), (1, 1), "{:#?}", net.log);
    assert!(has(&net, "who has fe80::ff:fe00:100"), "the link-local one too: {:#?}", net.log);
    net.census_idle();
}

#[test]
fn a_connection_resolves_carries_and_ends() {
    for capabilities in [
        Capabilities { multi_segment: true, ..Capabilities::default() },
        Capabilities {
            multi_segment: true,
            tx_l4_checksum: true,
            tx_segmentation_max: 60_000,
            ..Capabilities::default()
        },
    ] {
        let mut net = pair_with(|interface| interface.capabilities = capabilities, |_| {});
        net.listen(1, "[fd00::2]:80");
        let id = net.connect(0, "[fd00::2]:80");
        net.settle();
        let solicited = "0 IP6 fd00::1 > ff02::1:ff00:2: ICMP6, neighbor solicitation, who has \
                         fd00::2, source 02:00:00:00:01:00";
        assert_eq!(net.logged(solicited).len(), 1, "{:#?}", net.log);
        // RFC 6691: 1500 less 40 less 20.
        assert!(has(&net, "mss 1440"), "{:#?}", net.log);
        let info = net.stack(0).connection(id).expect("it lives");
        assert_eq!(info.peer, at("[fd00::2]:80"));
        assert_eq!(info.local.ip(), ip6("fd00::1"));

        let sent: Vec<u8> = (0..40_000u32).map(|n| (n * 7) as u8).collect();
        let (mut left, mut back) = (&sent[..], Vec::new());
        for _ in 0..2_000 {
            if !left.is_empty() {
                let room = net.stack(0).send_room(id).min(left.len()).min(8_000);
                net.write(0, id, &left[..room]);
                left = &left[room..];
            }
            net.step(net.now + Duration::from_millis(50));
            net.echo(1);
            back.extend(net.read(0, id));
            if back.len() == sent.len() {
                break;
            }
        }
        assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
        let now = net.now;
        net.stack(0).close(id, now);
        for _ in 0..20 {
            net.step(net.now + Duration::from_millis(50));
            net.echo(1);
            net.ready(0);
        }
        assert_eq!(net.stack(1).connection_count(), 0);
        assert_eq!(net.stack(0).connection_count(), 0);
        assert_eq!(net.stack(0).counters().tcp_time_waits.value(), 1);
        net.run(Duration::from_secs(300));
        assert_eq!(net.stack(0).counters().tcp_time_waits.value(), 0);
        net.census_idle();
    }
}

#[test]
fn many_workers_agree_on_owners_and_neighbours() {
    let mut net = pair_with(|_| {}, |config| config.workers = 3);
    net.listen(1, "[fd00::2]:80");
    let now = net.now;
    for worker in 0..3 {
        for _ in 0..8 {
            let stack = &mut net.hosts[0].stacks[worker];
            let address = at("[fd00::2]:80");
            stack.connect(address, &sluice_tcp::Config::default(), 0, now).expect("a connection");
        }
    }
    net.run(Duration::from_secs(3));
    let open = net.ready(0).into_iter().filter(|(.., ready)| ready.connected()).count();
    assert_eq!(open, 24);
    assert_eq!(net.drops(1, DropReason::TcpNoConnection), 0);
    let counts: Vec<usize> =
        net.hosts[1].stacks.iter().map(sluice_stack::Stack::connection_count).collect();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn pings_to_an_address_and_to_all_nodes() {
    let mut net = pair();
    net.inject(1, IF0, &ping_from("fd00::1", "fd00::2"));
    net.settle();
    assert!(has(&net, "1 IP6 fd00::2 > fd00::1: ICMP6, echo reply, id 1, seq 1"), "{:#?}", net.log);
    net.log.clear();
    let local = ipv6::link_local(mac(1, 0)).to_string();
    net.inject(1, IF0, &ping_from(&local, "ff02::1"));
    net.settle();
    let own = ipv6::link_local(mac(2, 0));
    assert!(has(&net, &format!("1 IP6 {own} > {local}: ICMP6, echo reply")), "{:#?}", net.log);
    // What a stranger on no network of the link asks is answered by route alone: there is none.
    net.inject(1, IF0, &ping_from("2001:db8::1", "fd00::2"));
    assert_eq!(net.drops(1, DropReason::NoRoute), 1);
    net.census();
}

/// Bytes `from..to` of an ICMPv6 message, as a fragment of a packet behind `before`, which are
/// further extension headers.
fn fragment(frame: &[u8], before: &[u8], from: usize, to: usize) -> Vec<u8> {
    let end = to.min(frame.len() - 54);
    let more = u16::from(end < frame.len() - 54);
    let mut bytes = frame[..54].to_vec();
    bytes[20] = if before.is_empty() { 44 } else { 0 };
    bytes.extend_from_slice(before);
    let [high, low] = (from as u16 | more).to_be_bytes();
    bytes.extend_from_slice(&[58, 0, high, low, 0, 0, 0, 7]);
    bytes.extend_from_slice(&frame[54 + from..54 + end]);
    let len = (bytes.len() - 54) as u16;
    bytes[18..20].copy_from_slice(&len.to_be_bytes());
    bytes
}

#[test]
fn fragments_are_put_together_and_large_answers_cut() {
    let mut net = pair();
    net.inject(1, IF0, &ping_from("fd00::1", "fd00::2"));
    net.settle();
    let packet = Packet::new("fd00::1", "fd00::2", IpProtocol::Icmpv6);
    let whole = packet.icmp(Icmpv6Message::EchoRequest { ident: 1, sequence: 2 }, &[0x5a; 3000]);
    for (from, to) in [(2400, 9999), (0, 1200), (1200, 2400)] {
        net.inject(1, IF0, &fragment(&whole, &[], from, to));
    }
    net.settle();
    let counters = |net: &mut Net, host: usize| {
        let counters = net.stack(host).counters();
        (counters.reassembled.value(), counters.icmp_echoes.value(), counters.fragments_out.value())
    };
    assert_eq!(counters(&mut net, 1), (1, 2, 3));
    assert_eq!(counters(&mut net, 0), (1, 0, 0), "the answer was put together as well");
    // With other headers in front the fragment header stays, and pings with headers are ignored.
    let padding = [44, 0, 1, 4, 0, 0, 0, 0];
    for (from, to) in [(0, 1200), (1200, 2400), (2400, 9999)] {
        net.inject(1, IF0, &fragment(&whole, &padding, from, to));
    }
    assert_eq!(counters(&mut net, 1), (2, 2, 3));
    assert_eq!(net.drops(1, DropReason::IcmpIgnored), 1);
    // Overlapping ones end their packet, and one that is never completed is told of.
    net.inject(1, IF0, &fragment(&whole, &[], 0, 1200));
    net.inject(1, IF0, &fragment(&whole, &[], 1192, 2400));
    assert_eq!(net.drops(1, DropReason::FragmentOverlap), 2);
    net.run(Duration::from_secs(31));
    let errors = net.stack(1).counters().icmp_errors_out.value();
    net.inject(1, IF0, &fragment(&whole, &[], 0, 1200));
    net.run(Duration::from_secs(31));
    assert_eq!(net.drops(1, DropReason::FragmentTimeout), 1);
    assert_eq!(net.stack(1).counters().icmp_errors_out.value(), errors + 1);
    net.run(Duration::from_secs(10));
    net.census_idle();
}

#[test]
fn a_packet_goes_through_a_router() {
    let mut net = routed(|_| {});
    net.listen(2, "[fd01::2]:80");
    let id = net.connect(0, "[fd01::2]:80");
    net.settle();
    assert!(net.ready(0).iter().any(|(_, conn, ready)| *conn == id && ready.connected()));
    assert!(net.stack(1).counters().forwarded.value() >= 3);
    let through = net.logged("1 IP6 fd00::1.");
    assert!(!through.is_empty(), "the router sends it on: {:#?}", net.log);
    // The last hop: the limit ends there, and the sender hears of it.
    net.log.clear();
    let mut packet = Packet::new("fd00::1", "fd01::2", IpProtocol::Udp);
    packet.hop_limit = 1;
    net.inject(1, IF0, &packet.with(&[0, 53, 0, 99, 0, 8, 0, 0]));
    net.settle();
    assert!(
        has(&net, "1 IP6 fd00::fe > fd00::1: ICMP6, time exceeded in-transit"),
        "{:#?}",
        net.log
    );
    net.inject(1, IF0, &Packet::new("fd00::1", "fd07::1", IpProtocol::Udp).with(&[0; 8]));
    net.settle();
    let told = "1 IP6 fd00::fe > fd00::1: ICMP6, destination unreachable, unreachable route";
    assert!(has(&net, told), "{:#?}", net.log);
    // A silent neighbour.
    net.inject(1, IF0, &Packet::new("fd00::1", "fd01::77", IpProtocol::Udp).with(&[0; 8]));
    net.run(Duration::from_secs(5));
    let told = "1 IP6 fd00::fe > fd00::1: ICMP6, destination unreachable, unreachable address";
    assert!(has(&net, told), "{:#?}", net.log);
}

#[test]
fn link_local_addresses_stay_on_their_link() {
    let mut net = routed(|_| {});
    let local = ipv6::link_local(mac(1, 0)).to_string();
    net.inject(1, IF0, &Packet::new(&local, "fd01::2", IpProtocol::Udp).with(&[0; 8]));
    net.settle();
    assert!(has(&net, "beyond scope of the source address"), "{:#?}", net.log);
    net.inject(1, IF0, &Packet::new("fd00::1", "fe80::77", IpProtocol::Udp).with(&[0; 8]));
    assert_eq!(net.drops(1, DropReason::Ipv6Scope), 2);
    // The router's address on its other link is not reached by way of this one.
    let other = ipv6::link_local(mac(2, 1)).to_string();
    net.inject(1, IF0, &ping_from(&local, &other));
    assert_eq!(net.drops(1, DropReason::Ipv6Scope), 3);
}

#[test]
fn a_narrow_link_makes_segments_smaller() {
    let mut net = routed(|router| router.interfaces[1].mtu = 1300);
    net.listen(2, "[fd01::2]:80");
    let id = net.connect(0, "[fd01::2]:80");
    net.settle();
    net.ready(0);
    net.write(0, id, &[7; 6_000]);
    for _ in 0..50 {
        net.step(net.now + Duration::from_millis(100));
        net.echo(2);
    }
    let told = "1 IP6 fd00::fe > fd00::1: ICMP6, packet too big, mtu 1300";
    assert!(has(&net, told), "{:#?}", net.log);
    assert_eq!(net.read(0, id).len(), 6_000);
    assert!(net.stack(0).counters().tcp.path_mtu.value() >= 1);
}

/// RFC 8201, 4: no link is narrower than 1280 bytes, and who says so lies.
#[test]
fn lies_about_the_path_are_not_heeded() {
    let mut net = pair();
    net.listen(1, "[fd00::2]:80");
    let id = net.connect(0, "[fd00::2]:80");
    net.settle();
    net.ready(0);
    net.write(0, id, &[7; 5_000]);
    let info = net.stack(0).connection(id).expect("open");
    for (mtu, seq) in [(100, 1), (1279, 1), (1400, 0x7777_7777)] {
        let mut quote = vec![0; 60];
        Ipv6Header::new(ip6("fd00::1"), ip6("fd00::2"), IpProtocol::Tcp, 1460).emit(&mut quote);
        quote[40..42].copy_from_slice(&info.local.port().to_be_bytes());
        quote[42..44].copy_from_slice(&80u16.to_be_bytes());
        quote[44..48].copy_from_slice(&u32::to_be_bytes(seq));
        let mut packet = Packet::new("fd00::2", "fd00::1", IpProtocol::Icmpv6);
        packet.to = mac(1, 0);
        net.inject(0, IF0, &packet.icmp(Icmpv6Message::PacketTooBig { mtu }, &quote));
    }
    assert_eq!(net.stack(0).counters().tcp.path_mtu.value(), 0);
    assert!(net.drops(0, DropReason::IcmpUnsolicited) >= 1);
}

/// RFC 4862, 5.4: the second to ask for an address gives it up.
#[test]
fn a_duplicate_address_is_given_up() {
    let mut net = Net::new();
    net.add(&config(vec![interface_v6(1, 0, "fd00::1")]));
    net.join((0, IF0), (1, IF0));
    net.add(&config(Vec::new()));
    net.run(Duration::from_secs(2));
    // A second station with the same address starts.
    let mut late = Net::new();
    late.add(&config(vec![interface_v6(1, 0, "fd00::1")]));
    late.add(&config(vec![interface_v6(2, 0, "fd00::1")]));
    late.join((0, IF0), (1, IF0));
    late.run(Duration::from_secs(3));
    let lost = |host: usize| late.hosts[host].stacks[0].counters().duplicate_addresses.value();
    assert_eq!((lost(0), lost(1)), (1, 1), "who asks at the same time loses at the same time");
    // Against one that is sure.
    let packet = nd("fd00::1", "ff02::1", 255, &advertisement("fd00::1", STRANGER, (false, true)));
    net.inject(0, IF0, &packet);
    assert_eq!(net.drops(0, DropReason::NdConflict), 1);
    assert_eq!(net.stack(0).counters().duplicate_addresses.value(), 0);
    // It still answers who wants to know if the address is free.
    net.log.clear();
    let probe = solicitation("fd00::1", NdpOptions::default());
    net.inject(0, IF0, &nd("::", "ff02::1:ff00:1", 255, &probe));
    assert_eq!(net.drops(0, DropReason::NdSender), 0);
}

#[test]
fn a_given_up_address_is_not_used() {
    let mut net = Net::new();
    net.add(&config(vec![interface_v6(1, 0, "fd00::1")]));
    net.add(&config(vec![interface_v6(2, 0, "fd00::2")]));
    net.join((0, IF0), (1, IF0));
    let claim = advertisement("fd00::2", STRANGER, (false, true));
    net.inject(1, IF0, &nd("fd00::2", "ff02::1", 255, &claim));
    assert_eq!(net.drops(1, DropReason::NdDuplicate), 1);
    assert_eq!(net.stack(1).counters().duplicate_addresses.value(), 1);
    net.run(Duration::from_secs(2));
    net.inject(1, IF0, &ping_from("fd00::1", "fd00::2"));
    assert_eq!(net.drops(1, DropReason::Ipv6Duplicate), 1);
    let address = at("[fd00::1]:80");
    let now = net.now;
    let refused = net.stack(1).connect(address, &sluice_tcp::Config::default(), 0, now);
    assert!(refused.is_err(), "there is no source address left");
}

/// RFC 4861, 3.1, 7.1 and 11: what strangers say about neighbours.
#[test]
fn spoofed_neighbour_discovery_changes_nothing() {
    let mut net = pair();
    net.listen(1, "[fd00::2]:80");
    net.connect(0, "[fd00::2]:80");
    net.settle();
    let known = neighbor(&net, 1, "fd00::1");
    assert_eq!(known.map(|(_, mac)| mac), Some(Some(mac(1, 0))));
    let claim = |flags| advertisement("fd00::1", STRANGER, flags);
    let all = "ff02::1";
    // From behind a router.
    net.inject(1, IF0, &nd("fd00::1", all, 254, &claim((false, true))));
    assert_eq!(net.drops(1, DropReason::NdHopLimit), 1);
    // Solicited, to a group.
    net.inject(1, IF0, &nd("fd00::1", all, 255, &claim((true, true))));
    assert_eq!(net.drops(1, DropReason::NdSender), 1);
    // With a group's link-layer address.
    let group = advertisement("fd00::1", MacAddress([0x33; 6]), (false, true));
    net.inject(1, IF0, &nd("fd00::1", all, 255, &group));
    assert_eq!(net.drops(1, DropReason::NdSender), 2);
    // About somebody whom nobody asked for.
    let before = net.drops(1, DropReason::NdUnsolicited);
    let other = advertisement("fd00::77", STRANGER, (false, true));
    net.inject(1, IF0, &nd("fd00::77", all, 255, &other));
    assert_eq!(net.drops(1, DropReason::NdUnsolicited), before + 1);
    assert_eq!(neighbor(&net, 1, "fd00::77"), None);
    // From an address that is on no network of the link.
    let question = solicitation("fd00::2", NdpOptions::source(STRANGER));
    net.inject(1, IF0, &nd("2001:db8::1", "ff02::1:ff00:2", 255, &question));
    assert_eq!(net.drops(1, DropReason::NdSender), 3);
    assert_eq!(neighbor(&net, 1, "fd00::1"), known, "nothing of it was believed");
    // Not to override: what is known is doubted, and used on.
    net.inject(1, IF0, &nd("fd00::1", all, 255, &claim((false, false))));
    let (_, mac_now) = neighbor(&net, 1, "fd00::1").expect("known");
    assert_eq!(mac_now, Some(mac(1, 0)));
}

#[test]
fn a_question_without_a_link_layer_address_is_answered_after_asking_back() {
    let mut net = pair();
    let question = solicitation("fd00::2", NdpOptions::default());
    net.inject(1, IF0, &nd("fd00::1", "ff02::1:ff00:2", 255, &question));
    net.settle();
    assert!(has(
        &net,
        "1 IP6 fd00::2 > ff02::1:ff00:1: ICMP6, neighbor solicitation, who has fd00::1"
    ));
    let told = "1 IP6 fd00::2 > fd00::1: ICMP6, neighbor advertisement, tgt is fd00::2, router, \
                solicited, override";
    assert!(has(&net, told), "{:#?}", net.log);
}

#[test]
fn routers_words_are_not_listened_to() {
    let mut net = pair();
    let local = ipv6::link_local(STRANGER).to_string();
    let router = ndp::RouterInfo { lifetime_s: 1800, ..ndp::RouterInfo::default() };
    for _ in 0..1_000 {
        let message = NdpMessage::RouterAdvertisement { router, options: NdpOptions::default() };
        net.inject(1, IF0, &nd(&local, "ff02::1", 255, &message));
    }
    assert_eq!(net.drops(1, DropReason::NdIgnored), 1_000);
    assert_eq!(net.stack(1).neighbors().count(), 0);
}

#[test]
fn extension_headers_are_passed_or_refused_by_name() {
    let mut net = pair();
    // An echo request behind destination options that are only padding is heard, not answered.
    let padding = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let dropped = |net: &mut Net, next_header: u8, payload: &[u8], reason: DropReason| {
        let mut packet = Packet::new("fd00::1", "fd00::2", IpProtocol::Tcp);
        packet.next_header = next_header;
        let before = net.drops(1, reason);
        net.inject(1, IF0, &packet.with(payload));
        assert_eq!(net.drops(1, reason), before + 1, "{reason:?}");
        net.settle();
    };
    let routing = [6, 2, 0, 1, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    dropped(&mut net, 43, &routing, DropReason::Ipv6Routing);
    assert!(has(&net, "ICMP6, parameter problem, field - octet 42"), "{:#?}", net.log);
    dropped(&mut net, 60, &[6, 0, 0x9e, 4, 0, 0, 0, 0], DropReason::Ipv6Option);
    assert!(has(&net, "ICMP6, parameter problem, option - octet 42"), "{:#?}", net.log);
    dropped(&mut net, 60, &[6, 0, 0x5e, 4, 0, 0, 0, 0], DropReason::Ipv6Option);
    dropped(&mut net, 60, &[&padding(0)[..], &padding(6)].concat(), DropReason::Ipv6Extension);
    dropped(&mut net, 60, &padding(60).repeat(9), DropReason::Ipv6ExtensionLimit);
    dropped(&mut net, 44, &[6, 0, 0, 1, 0, 0, 0, 7], DropReason::FragmentMalformed);
    dropped(&mut net, 59, &[], DropReason::Ipv6NoNext);
    dropped(&mut net, 51, &[0; 16], DropReason::Ipv6NextHeader);
    assert!(has(&net, "ICMP6, parameter problem, next header - octet 6"), "{:#?}", net.log);
    dropped(&mut net, 60, &[6, 9], DropReason::Ipv6Extension);
    // Behind padding stands a segment that nobody waits for: it was read.
    let mut tcp = vec![0; 20];
    tcp[12] = 0x50;
    tcp[13] = 2;
    sluice_wire::tcp::fill_checksum(ip6("fd00::1"), ip6("fd00::2"), &mut tcp);
    dropped(&mut net, 60, &[&padding(6)[..], &tcp].concat(), DropReason::TcpNoConnection);
    let mut udp = [0, 1, 0, 2, 0, 8, 0, 0];
    dropped(&mut net, 17, &udp, DropReason::UdpNoChecksum);
    sluice_wire::udp::fill_checksum(ip6("fd00::1"), ip6("fd00::2"), &mut udp);
    dropped(&mut net, 17, &udp, DropReason::UdpNoSocket);
    assert!(has(&net, "ICMP6, destination unreachable, unreachable port"), "{:#?}", net.log);
}

#[test]
fn addresses_that_may_not_stand_there() {
    let mut net = pair();
    let mut refuse = |source: &str, destination: &str, reason: DropReason| {
        let mut packet = Packet::new(source, destination, IpProtocol::Udp);
        if reason != DropReason::Ipv6Multicast {
            packet.to = mac(2, 0);
        }
        let before = net.drops(1, reason);
        net.inject(1, IF0, &packet.with(&[0; 8]));
        assert_eq!(net.drops(1, reason), before + 1, "{source} > {destination}");
    };
    refuse("::1", "fd00::2", DropReason::Ipv6Source);
    refuse("::", "fd00::2", DropReason::Ipv6Source);
    refuse("ff02::1", "fd00::2", DropReason::Ipv6Source);
    refuse("::ffff:10.0.0.1", "fd00::2", DropReason::Ipv6Source);
    refuse("fd00::1", "::1", DropReason::Ipv6Destination);
    refuse("fd00::1", "::", DropReason::Ipv6Destination);
    refuse("fd00::1", "ff01::1", DropReason::Ipv6Destination);
    refuse("fd00::1", "ff02::fb", DropReason::Ipv6Multicast);
    let mut packet = Packet::new("fd00::1", "fd00::2", IpProtocol::Udp);
    packet.to = MacAddress::for_multicast_v6(ip6("ff02::1"));
    net.inject(1, IF0, &packet.with(&[0; 8]));
    assert_eq!(net.drops(1, DropReason::Ipv6LinkMulticast), 1);
    let report = Packet::new("fe80::1", "ff02::1", IpProtocol::Icmpv6);
    let report = report.icmp(Icmpv6Message::Other { kind: 130, code: 0, rest: [0; 4] }, &[0; 16]);
    net.inject(1, IF0, &report);
    assert_eq!(net.drops(1, DropReason::MldIgnored), 1);
}

#[test]
fn without_an_address_ipv6_is_not_spoken() {
    let mut net = Net::pair();
    net.inject(1, IF0, &ping_from("fd00::1", "fd00::2"));
    assert_eq!(net.drops(1, DropReason::Ipv6Off), 1);
    let now = net.now;
    let refused = net.stack(0).connect(at("[fd00::2]:80"), &sluice_tcp::Config::default(), 0, now);
    assert!(refused.is_err());
    let to =
        net.stack(0).listen(sluice_base::ListenerId(1), at("[fd00::1]:80"), &Default::default());
    assert!(to.is_err());
}

/// A flood of SYNs from made-up addresses leaves no number behind.
#[test]
fn a_flood_from_made_up_addresses_is_bounded() {
    let mut net = pair_with(|_| {}, |config| config.half_open_max = 50);
    net.listen(1, "[fd00::2]:80");
    for n in 0..3_000u32 {
        let source = format!("fd00::{:x}:{:x}", n / 60_000 + 1, n % 60_000 + 0x100);
        let mut tcp = vec![0; 20];
        tcp[..4].copy_from_slice(&[0x40, 0, 0, 80]);
        tcp[12] = 0x50;
        tcp[13] = 2;
        sluice_wire::tcp::fill_checksum(ip6(&source), ip6("fd00::2"), &mut tcp);
        let packet = Packet::new(&source, "fd00::2", IpProtocol::Tcp);
        net.inject(1, IF0, &packet.with(&tcp));
    }
    assert_eq!(net.stack(1).connection_count(), 50);
    assert!(net.stack(1).counters().tcp_cookies_sent.value() > 0, "the rest got cookies");
    assert_eq!(net.drops(1, DropReason::HostTable), 0);
    net.run(Duration::from_secs(600));
    assert_eq!(net.stack(1).connection_count(), 0);
    net.census_idle();
}

/// A next hop is good on the link that the route names.
#[test]
fn a_gateway_may_be_link_local() {
    let mut net = Net::new();
    let mut left = config(vec![interface_v6(1, 0, "fd00::1"), interface_v6(1, 1, "fd07::1")]);
    let mut route = route_v6("::", 0, "fe80::ff:fe00:200");
    route.interface = Some(IF1);
    left.routes = vec![route];
    net.add(&left);
    net.add(&config(vec![interface_v6(2, 0, "fd07::2"), interface_v6(2, 1, "fd01::fe")]));
    net.join((0, IF1), (1, IF0));
    net.run(Duration::from_secs(2));
    net.connect(0, "[fd01::fe]:80");
    net.settle();
    assert!(has(&net, "0 IP6 fe80::ff:fe00:101 > ff02::1:ff00:200"), "{:#?}", net.log);
    assert!(has(&net, "0 IP6 fd07::1.") && has(&net, "1 IP6 fd01::fe.80 > fd07::1."));
}

/// RFC 9293, 3.7.1: who names no segment size over IPv6 takes 1220 bytes, not 536.
#[test]
fn a_peer_that_names_no_segment_size_gets_what_ipv6_guarantees() {
    use std::cell::RefCell;
    use std::rc::Rc;

    use sluice_wire::{Flags, SeqNumber, TcpHeader, TcpView, tcp};

    let mut net = pair();
    net.listen(1, "[fd00::2]:80");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let kept = seen.clone();
    net.filter = Some(Box::new(move |frame| {
        if frame.bytes.get(20) == Some(&6) {
            kept.borrow_mut().push(frame.bytes[54..].to_vec());
            return false;
        }
        true
    }));
    // Sent in host 0's name, which must not hear of it: it would reset what it does not know.
    let segment = |seq: u32, ack: u32, flags: Flags| {
        let header = TcpHeader {
            src_port: 5000,
            dst_port: 80,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            window: 60_000,
            ..TcpHeader::default()
        };
        let mut bytes = vec![0; header.header_len()];
        header.emit(&mut bytes);
        let packet = Packet::new("fd00::1", "fd00::2", IpProtocol::Tcp);
        tcp::fill_checksum(packet.source, packet.destination, &mut bytes);
        packet.with(&bytes)
    };
    net.inject(1, IF0, &segment(1, 0, Flags::SYN));
    net.run(Duration::from_millis(1));
    let iss = {
        let seen = seen.borrow();
        TcpView::parse(&seen[0]).expect("a SYN and its ACK").seq().0
    };
    let before = net.ready(1).len();
    net.inject(1, IF0, &segment(2, iss.wrapping_add(1), Flags::ACK));
    let ready = net.ready(1);
    assert!(before + ready.len() > 0);
    let (_, id, _) = ready[0];
    net.write(1, id, &[7; 5000]);
    net.transmit();
    assert!(has(&net, "length 1220"), "{:#?}", net.log);
    assert!(!has(&net, "length 536"), "{:#?}", net.log);
}

/// RFC 8200, 4.5: the sender of a fragment that cannot be hears where it is wrong.
#[test]
fn a_fragment_that_is_cut_wrong_is_answered() {
    let fragment = |offset: u16, more: bool, len: usize| {
        let mut payload = vec![59, 0];
        payload.extend((offset << 3 | u16::from(more)).to_be_bytes());
        payload.extend([0, 0, 0, 9]);
        payload.resize(8 + len, 0x5a);
        Packet { next_header: 44, ..Packet::new("fd00::1", "fd00::2", IpProtocol::Tcp) }
            .with(&payload)
    };
    // Offset and length, whether it is not the last, and where the fault is.
    for (offset, more, len, pointer) in [
        (0, true, 9, Some(4)),
        (1, true, 15, Some(4)),
        (8191, false, 8, Some(42)),
        (8190, true, 16, Some(42)),
        (8190, false, 7, None),
        (0, true, 16, None),
        (3, false, 9, None),
    ] {
        let mut net = pair();
        net.inject(1, IF0, &fragment(offset, more, len));
        net.settle();
        let said = net.logged("1 IP6 fd00::2 > fd00::1: ICMP6, parameter problem").len();
        assert_eq!(said, usize::from(pointer.is_some()), "{offset} {len}: {:#?}", net.log);
        let refused = net.drops(1, DropReason::FragmentMalformed);
        assert_eq!(refused, u64::from(pointer.is_some()), "{offset} {len}");
        if let Some(pointer) = pointer {
            assert!(has(&net, &format!("octet {pointer}")), "{:#?}", net.log);
        }
    }
}
