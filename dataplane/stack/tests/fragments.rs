//! Fragments in and out: put together, refused, let go of, cut again.

mod common;

use std::time::Duration;

use common::{IF0, Net, echo_request, ip};
use sluice_stack::DropReason;
use sluice_wire::Ipv4View;
use sluice_wire::checksum::ones_complement_sum;

const MORE: u16 = 0x2000;

/// Bytes `from..to` of a packet's payload as a fragment.
fn cut(frame: &[u8], from: usize, to: usize) -> Vec<u8> {
    let end = to.min(frame.len() - 34);
    let more = if end < frame.len() - 34 { MORE } else { 0 };
    raw(frame, from, &frame[34 + from..34 + end], more)
}

/// Any bytes as a fragment of a packet.
fn raw(frame: &[u8], offset: usize, payload: &[u8], flags: u16) -> Vec<u8> {
    let mut bytes = frame[..34].to_vec();
    bytes.extend_from_slice(payload);
    bytes[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    bytes[20..22].copy_from_slice(&((offset / 8) as u16 | flags).to_be_bytes());
    bytes[24..26].fill(0);
    let sum = !ones_complement_sum(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Two hosts that know each other, so that answers leave at once.
fn pair() -> Net {
    let mut net = Net::pair();
    net.settle();
    net.inject(0, IF0, &echo_request("10.0.0.2", "10.0.0.1", 1, 8));
    net.settle();
    net.log.clear();
    net
}

fn replies(net: &mut Net) -> Vec<String> {
    net.settle();
    net.log.iter().filter(|line| line.starts_with("0 ")).cloned().collect()
}

#[test]
fn fragments_in_any_order_are_one_packet() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let mut net = pair();
        let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
        let pieces = [cut(&whole, 0, 400), cut(&whole, 400, 800), cut(&whole, 800, 2000)];
        for at in order {
            net.inject(0, IF0, &pieces[at]);
        }
        assert_eq!(
            replies(&mut net),
            ["0 IP 10.0.0.1 > 10.0.0.2: ICMP echo reply, id 1, seq 7, length 1008"]
        );
        assert_eq!(net.stack(0).counters().reassembled.value(), 1);
        net.census_idle();
    }
}

/// Frames are padded to 60 bytes; what is behind a fragment's end is not part of it.
#[test]
fn padding_is_not_payload() {
    let mut net = pair();
    let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 24);
    for (from, to) in [(24, 99), (0, 24)] {
        let mut piece = cut(&whole, from, to);
        piece.resize(60, 0xee);
        net.inject(0, IF0, &piece);
    }
    assert_eq!(replies(&mut net).len(), 1);
}

/// What is larger than the link leaves in fragments, and those are put together at the other end.
#[test]
fn a_large_answer_is_cut() {
    let mut net = pair();
    let whole = echo_request("10.0.0.2", "10.0.0.1", 9, 4000);
    for from in (0..4008).step_by(1480) {
        net.inject(0, IF0, &cut(&whole, from, from + 1480));
    }
    let replies = replies(&mut net);
    assert_eq!(replies.len(), 3, "{replies:#?}");
    assert_eq!(net.stack(0).counters().fragments_out.value(), 3);
    assert_eq!(net.stack(1).counters().reassembled.value(), 1);
    assert_eq!(net.drops(1, DropReason::IcmpUnsolicited), 2, "both replies arrived, to nobody");
    net.census_idle();
}

/// RFC 5722 for both families: what a filter saw and what we would see must not differ.
#[test]
fn overlapping_fragments_end_their_datagram() {
    for (from, to) in [(392, 800), (0, 408), (408, 600), (0, 8)] {
        let mut net = pair();
        let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
        net.inject(0, IF0, &cut(&whole, 0, 400));
        net.inject(0, IF0, &cut(&whole, 400, 800));
        net.inject(0, IF0, &cut(&whole, from, to));
        assert_eq!(net.drops(0, DropReason::FragmentOverlap), 3, "{from}..{to}");
        // What still comes of it is dropped as well.
        net.inject(0, IF0, &cut(&whole, 0, 400));
        net.inject(0, IF0, &cut(&whole, 800, 2000));
        assert_eq!(net.drops(0, DropReason::FragmentOverlap), 5);
        assert_eq!(replies(&mut net).len(), 0);
        net.run(Duration::from_secs(31));
        assert!(replies(&mut net).is_empty(), "nothing is said about what was refused");
        net.census_idle();
    }
}

#[test]
fn a_second_end_is_an_overlap() {
    let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
    // The end comes first, then something behind it; and the other way round.
    let end = raw(&whole, 400, &whole[434..500], 0);
    let behind = raw(&whole, 800, &whole[834..850], MORE);
    for pieces in [[&end, &behind], [&behind, &end]] {
        let mut net = pair();
        pieces.into_iter().for_each(|piece| net.inject(0, IF0, piece));
        assert_eq!(net.drops(0, DropReason::FragmentOverlap), 2);
    }
}

/// A fragment that the network doubled is no attack.
#[test]
fn duplicates_are_dropped_alone() {
    let mut net = pair();
    let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
    for (from, to) in [(0, 400), (0, 400), (400, 800), (400, 800), (800, 2000)] {
        net.inject(0, IF0, &cut(&whole, from, to));
    }
    assert_eq!(net.drops(0, DropReason::FragmentDuplicate), 2);
    assert_eq!(replies(&mut net).len(), 1);
}

#[test]
fn impossible_fragments_are_refused_one_by_one() {
    let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
    let cases = [
        raw(&whole, 0, &[], MORE),
        raw(&whole, 0, &whole[34..41], MORE),
        raw(&whole, 65_528, &whole[34..60], 0),
        raw(&whole, 65_512, &whole[34..40], 0),
    ];
    let mut net = pair();
    for case in &cases {
        net.inject(0, IF0, case);
    }
    assert_eq!(net.drops(0, DropReason::FragmentMalformed), 4);
    // The largest that IP can say has 65,535 bytes.
    net.inject(0, IF0, &raw(&whole, 65_512, &whole[34..37], 0));
    assert_eq!(net.drops(0, DropReason::FragmentMalformed), 4);
    net.run(Duration::from_secs(31));
    net.census_idle();
}

/// RFC 792: the sender hears of it if the first fragment is there to be quoted.
#[test]
fn what_is_never_completed_ends_after_thirty_seconds() {
    for (first, answers) in [(0, 1), (400, 0)] {
        let mut net = pair();
        let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
        net.inject(0, IF0, &cut(&whole, first, first + 400));
        net.run(Duration::from_millis(29_900));
        assert_eq!(net.drops(0, DropReason::FragmentTimeout), 0);
        net.run(Duration::from_millis(200));
        assert_eq!(net.drops(0, DropReason::FragmentTimeout), 1);
        assert_eq!(net.stack(0).counters().reassembly_timeouts.value(), 1);
        let said = net.logged("ip reassembly time exceeded").len();
        assert_eq!(said, answers, "{:#?}", net.log);
        net.run(Duration::from_secs(40));
        net.census_idle();
    }
}

/// Neither one source nor many can make us hold more than the bound.
#[test]
fn memory_is_bounded_by_source_and_in_total() {
    let mut net = pair();
    let held = |net: &mut Net| net.stack(0).reassembly_buffers();
    for datagram in 0..200u16 {
        let mut whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
        whole[18..20].copy_from_slice(&datagram.to_be_bytes());
        net.inject(0, IF0, &cut(&whole, 0, 400));
    }
    // Buffers of the pool / 16, of which one source may hold an eighth.
    assert_eq!((held(&mut net), net.drops(0, DropReason::FragmentLimit)), (32, 168));
    for source in 0..2000u32 {
        let from = format!("10.1.{}.{}", source / 250, source % 250 + 1);
        let whole = echo_request(&from, "10.0.0.1", 7, 1000);
        net.inject(0, IF0, &cut(&whole, 0, 400));
    }
    assert_eq!(held(&mut net), 256);
    assert!(net.drops(0, DropReason::FragmentEvicted) > 1000);
    // A datagram whose fragments come together still gets through.
    let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
    net.inject(0, IF0, &cut(&whole, 0, 400));
    net.inject(0, IF0, &cut(&whole, 400, 2000));
    assert_eq!(net.stack(0).counters().reassembled.value(), 1);
    net.run(Duration::from_secs(40));
    assert_eq!(held(&mut net), 0);
    net.census_idle();
}

#[test]
fn tiny_fragments_are_bounded_too() {
    let mut net = pair();
    let whole = echo_request("10.0.0.2", "10.0.0.1", 7, 1000);
    for from in (0..1000).step_by(8) {
        net.inject(0, IF0, &cut(&whole, from, from + 8));
    }
    assert_eq!(net.drops(0, DropReason::FragmentLimit), 125 - 32, "the source's share");
    net.run(Duration::from_secs(40));
    net.census_idle();
}

/// Fragments belong to a worker by their addresses, the packet to another by its ports.
#[test]
fn a_whole_packet_goes_to_the_owner_of_its_flow() {
    let mut net = Net::pair_with(|_| {}, |config| config.workers = 4);
    net.listen(0, "10.0.0.1:80");
    // Fragments of SYNs from sixteen ports.
    let mut syns = Vec::new();
    for from_port in 5000..5016 {
        let flags = sluice_wire::Flags::SYN;
        syns.push(common::segment(("10.0.0.2", from_port), ("10.0.0.1", 80), 1, flags));
    }
    for (number, mut syn) in syns.into_iter().enumerate() {
        syn[18..20].copy_from_slice(&(number as u16).to_be_bytes());
        net.inject(0, IF0, &cut(&syn, 8, 99));
        net.inject(0, IF0, &cut(&syn, 0, 8));
    }
    net.run(Duration::from_millis(1));
    let stacks = &net.hosts[0].stacks;
    let accepted: Vec<u64> = stacks.iter().map(|s| s.counters().tcp_accepts.value()).collect();
    let whole: Vec<u64> = stacks.iter().map(|s| s.counters().reassembled.value()).collect();
    assert_eq!((accepted.iter().sum::<u64>(), whole.iter().sum::<u64>()), (16, 16));
    assert_eq!(whole.iter().filter(|count| **count > 0).count(), 1, "one pair of addresses");
    assert!(accepted.iter().filter(|count| **count > 0).count() > 1, "{accepted:?}");
}

/// RFC 1812, 5.3.1: what may be cut is cut; what may not is refused, and its sender told.
#[test]
fn a_router_cuts_what_may_be_cut() {
    let narrow = |config: &mut sluice_stack::StackConfig| config.interfaces[1].mtu = 600;
    for (df, cut_into) in [(0u16, 3), (0x4000, 0)] {
        let mut net = Net::routed_with(narrow);
        // Everybody knows everybody.
        net.inject(1, IF0, &common::ping("10.0.0.1", "10.0.1.2"));
        net.settle();
        let mut whole = echo_request("10.0.0.1", "10.0.1.2", 7, 1400);
        whole[..6].copy_from_slice(&common::mac(2, 0).0);
        let whole = raw(&whole, 0, &whole[34..], df);
        let (before, forwarded) = (net.stack(2).counters().reassembled.value(), 1);
        net.inject(1, IF0, &whole);
        net.settle();
        assert_eq!(net.stack(1).counters().fragments_out.value(), cut_into);
        let after = net.stack(2).counters().reassembled.value();
        assert_eq!(after - before, u64::from(cut_into > 0) * forwarded);
        let refused = net.drops(1, DropReason::FragmentationNeeded);
        assert_eq!(refused, u64::from(cut_into == 0));
        net.census_idle();
    }
}

/// A fragment may be cut again: offsets add up, and only the last piece of the last one is last.
#[test]
fn a_fragment_is_cut_again() {
    let mut net = Net::routed_with(|config| config.interfaces[1].mtu = 576);
    net.inject(1, IF0, &common::ping("10.0.0.1", "10.0.1.2"));
    net.settle();
    let mut whole = echo_request("10.0.0.1", "10.0.1.2", 7, 2400);
    whole[..6].copy_from_slice(&common::mac(2, 0).0);
    net.log.clear();
    net.inject(1, IF0, &cut(&whole, 0, 1480));
    net.inject(1, IF0, &cut(&whole, 1480, 9999));
    net.settle();
    assert_eq!(net.stack(2).counters().reassembled.value(), 1);
    assert_eq!(net.stack(2).counters().icmp_echoes.value(), 2);
    assert_eq!(net.stack(1).counters().fragments_out.value(), 3 + 2);
}

/// The counters of what is dropped add up: every fragment has one fate.
#[test]
fn every_fragment_is_accounted_for() {
    let mut net = Net::pair();
    let mut seed = 7u64;
    let mut random = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    let mut sent = 0;
    for _ in 0..3000 {
        let from = format!("10.0.0.{}", 2 + random(3));
        let mut whole = echo_request(&from, "10.0.0.1", 7, 600);
        whole[18..20].copy_from_slice(&(random(5) as u16).to_be_bytes());
        let start = random(80) as usize * 8;
        let len = (1 + random(20) as usize) * 8;
        let piece = cut(&whole, start.min(600), start.min(600) + len);
        assert!(Ipv4View::parse(&piece[14..]).is_ok_and(|view| view.src() == ip(&from)));
        sent += u64::from(piece[20] & 0x3f != 0 || piece[21] != 0);
        net.inject(0, IF0, &piece);
    }
    net.run(Duration::from_secs(60));
    assert_eq!(net.stack(0).counters().fragments_in.value(), sent);
    assert_eq!(net.stack(0).reassembly_buffers(), 0);
    net.census_idle();
}
