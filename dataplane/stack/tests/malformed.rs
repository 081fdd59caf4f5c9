//! Bytes that lie. Nothing panics, every buffer comes home, every drop has its name, and the other
//! connections go on.

mod common;

use common::{IF0, Net};
use proptest::prelude::*;
use sluice_base::ConnId;
use sluice_stack::DropReason;
use sluice_wire::Ipv4View;

/// A pair with an open connection, and the frames that host 0 sent while opening it and writing.
fn busy() -> (Net, ConnId, Vec<Vec<u8>>) {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    let frames = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = frames.clone();
    net.filter = Some(Box::new(move |frame| {
        if frame.bytes[6..12] == common::mac(1, 0).0 {
            seen.borrow_mut().push(frame.bytes.clone());
        }
        true
    }));
    net.settle();
    net.echo(1);
    net.write(0, client, b"GET / HTTP/1.1\r\n\r\n");
    net.settle();
    net.echo(1);
    net.settle();
    net.filter = None;
    let frames = frames.take();
    assert!(frames.len() >= 4, "announcement, question, SYN, ACK, data");
    (net, client, frames)
}

/// The connection of `busy` still works.
fn still_open(net: &mut Net, client: ConnId) {
    net.read(0, client);
    net.write(0, client, b"still there?");
    net.settle();
    net.echo(1);
    net.settle();
    assert_eq!(net.read(0, client), b"still there?");
}

fn checksummed(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].fill(0);
    let sum = !sluice_wire::checksum::ones_complement_sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn data_frame(frames: &[Vec<u8>]) -> Vec<u8> {
    let is_data = |frame: &&Vec<u8>| frame.windows(4).any(|bytes| bytes == b"GET ");
    frames.iter().find(is_data).expect("data was sent").clone()
}

#[test]
fn frames_cut_at_every_length() {
    let (mut net, client, frames) = busy();
    let mut dropped = 0;
    for frame in &frames {
        for len in 0..frame.len() {
            let before = net.stack(1).counters().drops.total();
            net.inject(1, IF0, &frame[..len]);
            dropped += net.stack(1).counters().drops.total() - before;
        }
    }
    let lens: usize = frames.iter().map(Vec::len).sum();
    // All but those of which only padding was cut: none here has any.
    assert_eq!(dropped as usize, lens, "each is dropped by name");
    net.settle();
    still_open(&mut net, client);
    net.census();
}

#[test]
fn padding_behind_the_packet_is_not_data() {
    let (mut net, client, _) = busy();
    net.read(0, client);
    net.filter = Some(Box::new(|frame| {
        frame.bytes.resize(frame.bytes.len() + 40, 0xee);
        true
    }));
    still_open(&mut net, client);
    net.census();
}

#[test]
fn ip_headers_that_lie() {
    let (mut net, client, frames) = busy();
    let frame = data_frame(&frames);
    let len = (frame.len() - 14) as u16;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = frame.clone();
        change(&mut bytes);
        checksummed(bytes)
    };
    let total = |len: u16| with(&move |bytes| bytes[16..18].copy_from_slice(&len.to_be_bytes()));
    let cases = [
        (with(&|bytes| bytes[14] = 0x65), DropReason::Ipv4Version),
        (with(&|bytes| bytes[14] = 0x44), DropReason::Ipv4HeaderLength),
        (with(&|bytes| bytes[14] = 0x40), DropReason::Ipv4HeaderLength),
        (total(0), DropReason::Ipv4TotalLength),
        (total(19), DropReason::Ipv4TotalLength),
        (total(len + 1), DropReason::Ipv4TotalLength),
        (total(u16::MAX), DropReason::Ipv4TotalLength),
        (total(20), DropReason::TcpMalformed),
        (total(39), DropReason::TcpMalformed),
        (total(len - 1), DropReason::TcpChecksum),
        (
            with(&|bytes| bytes[20..22].copy_from_slice(&[0x3f, 0xff])),
            DropReason::FragmentMalformed,
        ),
        (
            with(&|bytes| bytes[20..22].copy_from_slice(&[0x1f, 0xff])),
            DropReason::FragmentMalformed,
        ),
        (with(&|bytes| bytes[26] = 127), DropReason::Ipv4Source),
        (with(&|bytes| bytes[26] = 224), DropReason::Ipv4Source),
        (with(&|bytes| bytes[26] = 255), DropReason::Ipv4Source),
        (with(&|bytes| bytes[26] = 0), DropReason::Ipv4Source),
        (with(&|bytes| bytes[30] = 127), DropReason::Ipv4Destination),
        (with(&|bytes| bytes[30] = 240), DropReason::Ipv4Destination),
        (with(&|bytes| bytes[30] = 0), DropReason::Ipv4Destination),
    ];
    for (bytes, reason) in cases {
        let before = net.drops(1, reason);
        net.inject(1, IF0, &bytes);
        assert_eq!(net.drops(1, reason), before + 1, "{}", reason.name());
    }
    let mut wrong = frame.clone();
    wrong[22] ^= 1;
    net.inject(1, IF0, &wrong);
    assert_eq!(net.drops(1, DropReason::Ipv4Checksum), 1);
    still_open(&mut net, client);
    net.census();
}

#[test]
fn tcp_headers_that_lie() {
    let (mut net, client, frames) = busy();
    let frame = data_frame(&frames);
    let with = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = frame.clone();
        change(&mut bytes[34..]);
        let view = Ipv4View::parse(&bytes[14..]).expect("the IP header is good");
        let (source, destination) = (view.src(), view.dst());
        sluice_wire::tcp::fill_checksum(source, destination, &mut bytes[34..]);
        bytes
    };
    let cases = [
        (with(&|tcp| tcp[12] = 0x40), DropReason::TcpMalformed),
        (with(&|tcp| tcp[12] = 0), DropReason::TcpMalformed),
        (with(&|tcp| tcp[12] = 0xf0), DropReason::TcpMalformed),
        // An option that runs past the header.
        (with(&|tcp| tcp[20..24].copy_from_slice(&[1, 1, 8, 200])), DropReason::TcpMalformed),
        (with(&|tcp| tcp[20..24].copy_from_slice(&[8, 1, 8, 1])), DropReason::TcpMalformed),
        (with(&|tcp| tcp[2] ^= 0x40), DropReason::TcpNoConnection),
    ];
    for (bytes, reason) in cases {
        let before = net.drops(1, reason);
        net.inject(1, IF0, &bytes);
        assert_eq!(net.drops(1, reason), before + 1, "{}", reason.name());
    }
    let mut wrong = frame.clone();
    let last = wrong.len() - 1;
    wrong[last] ^= 0x10;
    net.inject(1, IF0, &wrong);
    assert_eq!(net.drops(1, DropReason::TcpChecksum), 1);
    still_open(&mut net, client);
    net.census();
}

#[test]
fn every_bit_flipped_once() {
    let (mut net, client, frames) = busy();
    for frame in &frames {
        for bit in 0..frame.len() * 8 {
            let mut bytes = frame.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            net.inject(1, IF0, &bytes);
        }
    }
    net.settle();
    net.echo(1);
    assert!(net.stack(0).connection(client).is_some());
    still_open(&mut net, client);
    net.census();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
        ether_type in prop_oneof![Just([8u8, 0]), Just([8, 6]), Just([0x81, 0]), any::<[u8; 2]>()],
    ) {
        let mut net = Net::pair();
        net.listen(1, "10.0.0.2:80");
        for mut bytes in frames {
            if bytes.len() > 14 {
                bytes[..6].copy_from_slice(&common::mac(2, 0).0);
                bytes[6] = 2;
                bytes[12..14].copy_from_slice(&ether_type);
            }
            net.inject(1, IF0, &bytes);
        }
        net.settle();
        net.census();
    }

    /// Good headers down to some layer, anything behind.
    #[test]
    fn arbitrary_transport_never_panics(
        packets in proptest::collection::vec(
            (prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()],
             any::<[u8; 4]>(), any::<bool>(),
             proptest::collection::vec(any::<u8>(), 0..120)), 1..30),
    ) {
        let mut net = Net::pair();
        net.listen(1, "10.0.0.2:80");
        for (protocol, source, to_us, payload) in packets {
            let mut bytes = vec![0; 34];
            bytes[..6].copy_from_slice(&common::mac(2, 0).0);
            bytes[6..12].copy_from_slice(&common::mac(1, 0).0);
            bytes[12..14].copy_from_slice(&[8, 0]);
            bytes[14] = 0x45;
            bytes[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
            bytes[22..24].copy_from_slice(&[64, protocol]);
            bytes[26..30].copy_from_slice(&source);
            bytes[30..34].copy_from_slice(&[10, 0, 0, if to_us { 2 } else { 77 }]);
            bytes.extend_from_slice(&payload);
            if protocol == 6 && payload.len() >= 20 {
                let source = std::net::Ipv4Addr::from(source);
                sluice_wire::tcp::fill_checksum(source, common::ip("10.0.0.2"), &mut bytes[34..]);
            } else if protocol == 1 && payload.len() >= 8 {
                sluice_wire::icmp::fill_checksum(&mut bytes[34..]);
            }
            net.inject(1, IF0, &checksummed(bytes));
        }
        net.settle();
        net.census();
    }
}
