//! The kernel's twin of an interface: what goes to it, and what may come from it.

mod common;

use std::time::Duration;

use common::v6::*;
use common::*;
use sluice_base::InterfaceId;
use sluice_buf::{Batch, Pool};
use sluice_stack::{DropReason, Vlan};
use sluice_wire::icmpv6::Icmpv6Message;
use sluice_wire::{
    ArpPacket, EtherType, EthernetHeader, Flags, IpProtocol, MacAddress, NdpMessage, NdpOptions,
    VlanId, VlanTags,
};

/// Host 0 (10.0.0.1, fd00::1) has a twin; host 1 (10.0.0.2, fd00::2) is a peer.
fn twinned(workers: u16) -> Net {
    let mut net = Net::new();
    for host in 1..=2 {
        let mut link = interface(host, 0, &format!("10.0.0.{host}"));
        link.addresses.push((ip6(&format!("fd00::{host}")).into(), 64));
        let mut config = config(vec![link]);
        if host == 1 {
            config.workers = workers;
        }
        net.add(&config);
    }
    net.join((0, IF0), (1, IF0));
    for stack in &mut net.hosts[0].stacks {
        stack.set_twin(IF0);
    }
    net.run(Duration::from_secs(2));
    net.log.clear();
    to_kernel(&mut net);
    net
}

/// What the kernel has got since it was asked last.
fn to_kernel(net: &mut Net) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for stack in &mut net.hosts[0].stacks {
        let mut out = Batch::with_capacity(512);
        stack.transmit_twin(IF0, 512, &mut out);
        for packet in out.drain() {
            let mut bytes = vec![0; packet.len()];
            packet.copy_to(0, &mut bytes);
            frames.push(bytes);
        }
    }
    frames
}

fn counted(net: &Net) -> u64 {
    net.hosts[0].stacks.iter().map(|stack| stack.counters().twin_in.value()).sum()
}

fn from_kernel(net: &mut Net, pool: &Pool, bytes: &[u8]) {
    let mut packet = pool.alloc().expect("a buffer");
    assert!(packet.append_bytes(bytes));
    let mut batch = Batch::burst();
    batch.push(packet);
    let now = net.now;
    net.stack(0).handle_twin(IF0, &mut batch, now);
    net.transmit();
}

fn arp(source: MacAddress, destination: MacAddress, packet: &ArpPacket) -> Vec<u8> {
    let ethernet =
        EthernetHeader { destination, source, tags: VlanTags::None, ether_type: EtherType::Arp };
    let mut frame = vec![0; 14 + packet.header_len()];
    ethernet.emit(&mut frame);
    packet.emit(&mut frame[14..]);
    frame
}

/// IPv4 with some other protocol, to host 0.
fn other(protocol: u8, destination: &str) -> Vec<u8> {
    let mut frame = echo_request("10.0.0.2", "10.0.0.1", 1, 8);
    frame[23] = protocol;
    if protocol == 17 {
        // From port 7 to port 9, without a checksum.
        frame[34..42].copy_from_slice(&[0, 7, 0, 9, 0, 16, 0, 0]);
    }
    frame[30..34].copy_from_slice(&ip(destination).octets());
    if ip(destination).is_multicast() {
        frame[..6].copy_from_slice(&[0x01, 0, 0x5e, 0, 0, 5]);
    }
    let mut sum = 0u32;
    frame[24..26].fill(0);
    frame[14..34]
        .chunks(2)
        .for_each(|word| sum += u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Segments, datagrams and protocols that nothing here wants arrive as they came; none is refused.
#[test]
fn the_kernel_gets_what_nobody_here_wants() {
    for workers in [1, 3] {
        let mut net = twinned(workers);
        let before = counted(&net);
        net.listen(0, "10.0.0.1:80");
        let syn = segment(("10.0.0.2", 5000), ("10.0.0.1", 22), 1, Flags::SYN);
        for frame in [syn, other(89, "10.0.0.1"), other(17, "10.0.0.1"), other(89, "224.0.0.5")] {
            net.inject(0, IF0, &frame);
            assert_eq!(to_kernel(&mut net), [frame], "{workers} workers");
        }
        let reply = {
            let mut frame = echo_request("10.0.0.2", "10.0.0.1", 1, 8);
            frame[34] = 0;
            let sum = u16::from_be_bytes([frame[36], frame[37]]);
            frame[36..38].copy_from_slice(&(sum + 0x800).to_be_bytes());
            frame
        };
        net.inject(0, IF0, &reply);
        assert_eq!(to_kernel(&mut net).len(), 1, "an answer to the kernel's ping");
        assert!(net.log.is_empty(), "no reset, no ICMP error: {:#?}", net.log);
        // What is Sluice's does not go there.
        net.inject(0, IF0, &echo_request("10.0.0.2", "10.0.0.1", 1, 8));
        net.inject(0, IF0, &segment(("10.0.0.2", 5000), ("10.0.0.1", 80), 1, Flags::SYN));
        net.settle();
        let heard = to_kernel(&mut net);
        assert!(heard.iter().all(|frame| frame[12..14] == [8, 6]), "answers to our ARP at most");
        let carried = counted(&net) - before;
        assert_eq!(carried, 5 + heard.len() as u64);
    }
}

#[test]
fn ipv6_and_other_frames_too() {
    let mut net = twinned(1);
    let to_host_0 = |mut frame: Vec<u8>| {
        if frame[0] & 1 == 0 {
            frame[..6].copy_from_slice(&mac(1, 0).0);
        }
        frame
    };
    let other = |destination: &str, next_header: u8| {
        let packet = Packet { next_header, ..Packet::new("fd00::2", destination, IpProtocol::Tcp) };
        to_host_0(packet.with(&[7; 16]))
    };
    let reply = Packet::new("fd00::2", "fd00::1", IpProtocol::Icmpv6);
    let reply = to_host_0(reply.icmp(Icmpv6Message::EchoReply { ident: 1, sequence: 1 }, b""));
    let mut lldp = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 2, 0, 0x88, 0xcc];
    lldp.extend([0; 46]);
    for frame in [other("fd00::1", 89), other("ff02::5", 89), reply, lldp] {
        net.inject(0, IF0, &frame);
        assert_eq!(to_kernel(&mut net), [frame]);
    }
    net.inject(0, IF0, &to_host_0(ping_from("fd00::2", "fd00::1")));
    net.settle();
    let heard = to_kernel(&mut net);
    assert!(
        heard.iter().all(|frame| frame[54] == 136),
        "we answer pings; our question's answer is shared"
    );
    assert!(has(&net, "echo reply"));
}

/// RFC 826 and RFC 4861 want one answer. Questions are answered here; answers reach both.
#[test]
fn questions_are_answered_once_and_answers_reach_both() {
    let mut net = twinned(1);
    let pool = Pool::heap(64);
    let (ours, theirs) = (mac(1, 0), mac(2, 0));
    let asked = ArpPacket::request(theirs, ip("10.0.0.2"), ip("10.0.0.1"));
    net.inject(0, IF0, &arp(theirs, MacAddress::BROADCAST, &asked));
    assert_eq!(net.logged("0 ARP, Reply 10.0.0.1").len(), 1, "{:#?}", net.log);
    assert!(to_kernel(&mut net).is_empty());
    // The kernel asks for itself.
    let question = ArpPacket::request(ours, ip("10.0.0.1"), ip("10.0.0.9"));
    from_kernel(&mut net, &pool, &arp(ours, MacAddress::BROADCAST, &question));
    assert_eq!(net.logged("who-has 10.0.0.9").len(), 1, "{:#?}", net.log);
    let answer = question.reply_from(MacAddress([2, 0, 0, 0, 9, 9]));
    let answer = arp(MacAddress([2, 0, 0, 0, 9, 9]), ours, &answer);
    net.inject(0, IF0, &answer);
    assert_eq!(to_kernel(&mut net), [answer]);
    // What it says about our addresses does not leave.
    let before = net.log.len();
    for said in [
        arp(ours, theirs, &asked.reply_from(ours)),
        arp(ours, MacAddress::BROADCAST, &ArpPacket::announcement(ours, ip("10.0.0.1"))),
        arp(theirs, MacAddress::BROADCAST, &question),
    ] {
        from_kernel(&mut net, &pool, &said);
    }
    assert_eq!(net.log.len(), before, "{:#?}", net.log);
    assert_eq!(net.drops(0, DropReason::TwinRefused), 3);
    net.census();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn neighbour_discovery_is_shared_in_the_same_way() {
    let mut net = twinned(1);
    let pool = Pool::heap(64);
    let ours = mac(1, 0);
    let as_kernel = |mut frame: Vec<u8>| {
        frame[6..12].copy_from_slice(&ours.0);
        frame
    };
    let target = ip6("fd00::9");
    let options = NdpOptions::source(ours);
    let question = NdpMessage::NeighborSolicitation { target, options };
    from_kernel(&mut net, &pool, &as_kernel(nd("fd00::1", "ff02::1:ff00:9", 255, &question)));
    assert!(has(&net, "who has fd00::9"), "{:#?}", net.log);
    let options = NdpOptions::target(STRANGER);
    let answer = NdpMessage::NeighborAdvertisement {
        target,
        router: false,
        solicited: true,
        overrides: true,
        options,
    };
    let mut answer = nd("fd00::9", "fd00::1", 255, &answer);
    answer[..6].copy_from_slice(&ours.0);
    net.inject(0, IF0, &answer);
    assert_eq!(to_kernel(&mut net), [answer]);
    // Its detection of duplicates would find us, and its answers are ours to give.
    let before = net.log.len();
    let target = ip6("fd00::1");
    let probe = NdpMessage::NeighborSolicitation { target, options: NdpOptions::default() };
    from_kernel(&mut net, &pool, &as_kernel(nd("::", "ff02::1:ff00:1", 255, &probe)));
    let said = NdpMessage::NeighborAdvertisement {
        target,
        router: false,
        solicited: false,
        overrides: true,
        options: NdpOptions::target(ours),
    };
    from_kernel(&mut net, &pool, &as_kernel(nd("fd00::1", "ff02::1", 255, &said)));
    assert_eq!(net.log.len(), before, "{:#?}", net.log);
    assert_eq!(net.drops(0, DropReason::TwinRefused), 2);
}

/// A datagram in fragments is the kernel's as a whole.
#[test]
fn fragments_arrive_as_one() {
    let mut net = twinned(1);
    let whole = other(89, "10.0.0.1");
    let piece = |from: usize, to: usize, has_more: bool| {
        let mut frame = whole[..34].to_vec();
        frame.extend_from_slice(&whole[34 + from..34 + to]);
        frame[16..18].copy_from_slice(&(20 + (to - from) as u16).to_be_bytes());
        let field = (from as u16 / 8) | if has_more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        frame[24..26].fill(0);
        let mut sum = 0u32;
        let words = frame[14..34].chunks(2);
        words.for_each(|word| sum += u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    net.inject(0, IF0, &piece(0, 8, true));
    assert!(to_kernel(&mut net).is_empty());
    net.inject(0, IF0, &piece(8, 16, false));
    let frames = to_kernel(&mut net);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0][34..], whole[34..]);
}

/// Frames of VLANs that are not ours, and what a VLAN of ours does not want, arrive tagged.
#[test]
fn vlans_of_the_kernel_are_on_the_same_twin() {
    let mut net = Net::new();
    let vlan = interface(1, 1, "10.1.0.1");
    let vlan = sluice_stack::InterfaceConfig { mac: mac(1, 0), ..vlan };
    net.add(&config(vec![interface(1, 0, "10.0.0.1"), vlan]));
    let outer = VlanId::new(100).expect("a tag");
    let row = Vlan { parent: IF0, outer, inner: None };
    net.stack(0).set_vlan(InterfaceId(1), row);
    net.stack(0).set_twin(IF0);
    let tagged = |tag: u8, destination: &str| {
        let plain = other(89, destination);
        let mut frame = plain[..12].to_vec();
        frame.extend([0x81, 0, 0, tag]);
        frame.extend_from_slice(&plain[12..]);
        frame
    };
    for frame in [tagged(100, "10.1.0.1"), tagged(101, "10.7.0.1")] {
        net.inject(0, IF0, &frame);
        assert_eq!(to_kernel(&mut net), [frame]);
    }
}

/// Neither direction can take more than its share.
#[test]
fn both_ways_are_bounded_and_counted() {
    let mut net = twinned(1);
    let pool = Pool::heap(64);
    for _ in 0..300 {
        net.inject(0, IF0, &other(89, "10.0.0.1"));
    }
    assert_eq!(to_kernel(&mut net).len(), 256);
    assert_eq!(net.drops(0, DropReason::TwinFull), 44);
    let frame = other(89, "10.0.0.1");
    for _ in 0..60_000 {
        net.inject(0, IF0, &frame);
        drop(to_kernel(&mut net));
    }
    assert!(net.drops(0, DropReason::TwinLimited) > 10_000 - 300);
    let mut spoken = other(89, "10.0.0.1");
    spoken[6..12].copy_from_slice(&mac(1, 0).0);
    from_kernel(&mut net, &pool, &spoken);
    assert_eq!(net.stack(0).counters().twin_out.value(), 1);
}

/// Without a twin nothing changes: the peer hears that nobody is there.
#[test]
fn without_a_twin_the_peer_hears() {
    let mut net = Net::pair();
    net.settle();
    net.inject(0, IF0, &segment(("10.0.0.2", 5000), ("10.0.0.1", 22), 1, Flags::SYN));
    net.settle();
    assert_eq!(net.drops(0, DropReason::TcpNoConnection), 1);
    assert!(!net.logged("Flags [R.]").is_empty(), "{:#?}", net.log);
}
