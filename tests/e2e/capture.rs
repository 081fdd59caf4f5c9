//! DPDK's PCAP device: packets in from a file, packets out compared one by one, and the process ends
//! with 0 when every input file has ended.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::slice::from_ref;

use crate::lab::{Frame, Lab, Mac, Sluice, core, read_pcap, write_pcap};

/// A host on the left, 192.0.2.9, and one on the right, 198.51.100.9; Sluice is .1 of both networks.
const LEFT: Mac = [2, 0, 0, 0, 0, 0x11];
const RIGHT: Mac = [2, 0, 0, 0, 0, 0x22];
const LEFT_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const LEFT_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RIGHT_HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const RIGHT_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ICMP: u8 = 1;
const UDP: u8 = 17;

/// Runs Sluice between the two networks with these frames coming in; the frames that went out.
#[track_caller]
fn run(lab: &Lab, left: &[Frame], right: &[Frame]) -> [Vec<Frame>; 2] {
    let addresses = [LEFT_ADDRESS, RIGHT_ADDRESS].map(|address| format!("{address}/24"));
    run_with(lab, &addresses, left, right)
}

#[track_caller]
fn run_with(
    lab: &Lab,
    [left_address, right_address]: &[String; 2],
    left: &[Frame],
    right: &[Frame],
) -> [Vec<Frame>; 2] {
    let interfaces = |dir: &str| {
        format!(
            r#"[[interface]]
name = "left"
device = "pcap:{dir}left-in.pcap,{dir}left-out.pcap"
addresses = ["{left_address}"]
[[interface]]
name = "right"
device = "pcap:{dir}right-in.pcap,{dir}right-out.pcap"
addresses = ["{right_address}"]
"#
        )
    };
    run_interfaces(lab, interfaces, left, right)
}

#[track_caller]
fn run_interfaces(
    lab: &Lab,
    interfaces: impl Fn(&str) -> String,
    left: &[Frame],
    right: &[Frame],
) -> [Vec<Frame>; 2] {
    write_pcap(&lab.path("left-in.pcap"), left);
    write_pcap(&lab.path("right-in.pcap"), right);
    let dir = lab.path("");
    let config = format!(
        "[runtime]\ncores = [{}]\nbuffers = 12288\n{}",
        core(),
        interfaces(&dir.display().to_string())
    );
    let mut sluice = Sluice::spawn(lab, "capture", "run", &config);
    assert_eq!(sluice.wait(30), 0, "{}", sluice.stderr());
    ["left-out.pcap", "right-out.pcap"].map(|name| read_pcap(&lab.path(name)))
}

/// What Sluice says its addresses on the wire are: it answers ARP.
#[track_caller]
fn learn_addresses(lab: &Lab) -> [Mac; 2] {
    let asks = [
        [Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS)],
        [Frame::arp_request(RIGHT, RIGHT_HOST, RIGHT_ADDRESS)],
    ];
    let outputs = run(lab, &asks[0], &asks[1]);
    let replies = outputs.map(|frames| {
        let mut replies = frames.into_iter().filter(|f| f.is_arp() && f.arp_fields().0 == 2);
        let reply = replies.next().expect("an ARP reply");
        assert_eq!(replies.next(), None, "one question, one answer");
        reply
    });
    let [left, right] = replies.clone().map(|reply| reply.source());
    let expected = [
        Frame::arp_reply(left, LEFT_ADDRESS, LEFT, LEFT_HOST),
        Frame::arp_reply(right, RIGHT_ADDRESS, RIGHT, RIGHT_HOST),
    ];
    for (reply, expected) in replies.iter().zip(&expected) {
        // Drivers may pad to the least length of a frame.
        assert_eq!(reply.0[..expected.0.len()], expected.0);
    }
    [left, right]
}

/// The IPv4 packets of an output, in order and without padding, with right checksums; besides them
/// only ARP may be there.
#[track_caller]
fn packets(frames: Vec<Frame>) -> Vec<Frame> {
    let mut packets = Vec::new();
    for mut frame in frames {
        if frame.is_arp() {
            continue;
        }
        assert_eq!(frame.ethertype(), 0x0800, "{frame:?}");
        frame.expect_checksums();
        let length = 14 + frame.payload().len();
        frame.0.truncate(length);
        packets.push(frame);
    }
    packets
}

/// The same without the identification and header checksum, which the sender of a new packet chooses.
fn chosen(mut frame: Frame) -> Frame {
    for range in [18..20, 24..26] {
        frame.0[range].fill(0);
    }
    // Don't-fragment, too.
    frame.0[20] &= !0x40;
    frame
}

#[test]
fn arp_requests_are_answered() {
    let lab = Lab::new();
    let [left, right] = learn_addresses(&lab);
    assert_ne!(left, right);
    // Not for us: no answer, not even to a host that pretends to have our address.
    let others = [
        Frame::arp_request(LEFT, LEFT_HOST, Ipv4Addr::new(192, 0, 2, 77)),
        Frame::arp_request(LEFT, LEFT_HOST, RIGHT_ADDRESS),
    ];
    let [out, _] = run(&lab, &others, &[]);
    let replies = out.iter().filter(|frame| frame.is_arp() && frame.arp_fields().0 == 2);
    assert_eq!(replies.count(), 0, "{out:?}");
}

#[test]
fn echo_requests_are_answered_in_order() {
    let lab = Lab::new();
    let [left, _] = learn_addresses(&lab);
    let mut input = vec![Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS)];
    let mut expected = Vec::new();
    let sizes = [0, 1, 56, 57, 255, 256, 1_000, 1_472];
    for (sequence, size) in (1u16..).zip(sizes.into_iter().cycle().take(100)) {
        let data: Vec<u8> = (0..size).map(|index| (index % 256) as u8).collect();
        let (request, reply) = (Frame::echo(8, sequence, &data), Frame::echo(0, sequence, &data));
        input.push(Frame::ipv4([left, LEFT], LEFT_HOST, LEFT_ADDRESS, (64, ICMP), &request));
        expected.push(Frame::ipv4([LEFT, left], LEFT_ADDRESS, LEFT_HOST, (64, ICMP), &reply));
    }
    // A wrong checksum, a cut packet, a packet to somebody else's hardware: no answer.
    let good =
        Frame::ipv4([left, LEFT], LEFT_HOST, LEFT_ADDRESS, (64, ICMP), &Frame::echo(8, 9, b"x"));
    let mut bad = good.clone();
    bad.0[24] ^= 0xff;
    input.push(bad);
    let mut cut = good.clone();
    cut.0.truncate(30);
    input.push(cut);
    let mut other = good;
    other.0[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    input.push(other);

    let [out, _] = run(&lab, &input, &[]);
    let out: Vec<Frame> = packets(out).into_iter().map(chosen).collect();
    let expected: Vec<Frame> = expected.into_iter().map(chosen).collect();
    assert_eq!(out.len(), expected.len());
    for (index, (have, want)) in out.iter().zip(&expected).enumerate() {
        assert_eq!(have, want, "packet {index}");
    }
}

#[test]
fn packets_are_forwarded_both_ways() {
    let lab = Lab::new();
    let [left, right] = learn_addresses(&lab);
    let mut inputs = [
        vec![Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS)],
        vec![Frame::arp_request(RIGHT, RIGHT_HOST, RIGHT_ADDRESS)],
    ];
    let mut expected = [Vec::new(), Vec::new()];
    // Fewer than may wait while a neighbour is looked for: nothing is lost, whoever is faster.
    for count in 0..10u16 {
        let data = vec![count as u8; usize::from(count) * 140];
        let datagram = Frame::udp(5_000 + count, 53, &data);
        let ttl = 2 + count as u8 * 20;
        let there = (LEFT_HOST, RIGHT_HOST);
        let back = (RIGHT_HOST, LEFT_HOST);
        inputs[0].push(Frame::ipv4([left, LEFT], there.0, there.1, (ttl, UDP), &datagram));
        inputs[1].push(Frame::ipv4([right, RIGHT], back.0, back.1, (ttl, UDP), &datagram));
        // One hop less, from us to the host; everything else as it was.
        expected[1].push(Frame::ipv4([RIGHT, right], there.0, there.1, (ttl - 1, UDP), &datagram));
        expected[0].push(Frame::ipv4([LEFT, left], back.0, back.1, (ttl - 1, UDP), &datagram));
    }
    let outputs = run(&lab, &inputs[0], &inputs[1]).map(packets);
    for (output, expected) in outputs.iter().zip(&expected) {
        assert_eq!(output.len(), expected.len(), "{output:?}");
        for (index, (have, want)) in output.iter().zip(expected).enumerate() {
            assert_eq!(have, want, "packet {index}");
        }
    }
}

/// The last hop and the unknown destination are told by ICMP errors that quote the packet.
#[test]
fn what_cannot_be_forwarded_is_told() {
    let lab = Lab::new();
    let [left, _] = learn_addresses(&lab);
    let datagram = Frame::udp(5_000, 53, b"hello");
    let nowhere = Ipv4Addr::new(203, 0, 113, 5);
    let dying = Frame::ipv4([left, LEFT], LEFT_HOST, RIGHT_HOST, (1, UDP), &datagram);
    let lost = Frame::ipv4([left, LEFT], LEFT_HOST, nowhere, (64, UDP), &datagram);
    let input = [Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS), dying.clone(), lost.clone()];
    let [out, right] = run(&lab, &input, &[]);
    assert!(packets(right).is_empty(), "nothing is forwarded");
    let out = packets(out);
    assert_eq!(out.len(), 2, "{out:?}");
    // RFC 792: time exceeded in transit; destination unreachable (net or host).
    for (error, (kind, codes), quoted) in
        [(&out[0], (11, &[0][..]), &dying), (&out[1], (3, &[0, 1]), &lost)]
    {
        assert_eq!((error.destination(), error.source()), (LEFT, left));
        let packet = error.payload();
        assert_eq!(packet[9], ICMP);
        assert_eq!(packet[12..20], [LEFT_ADDRESS.octets(), LEFT_HOST.octets()].concat());
        let message = &packet[20..];
        assert_eq!(message[0], kind, "{error:?}");
        assert!(codes.contains(&message[1]), "{error:?}");
        // At least the header and eight bytes; RFC 1812 wants more, up to 576.
        let quote = &message[8..];
        assert!(quote.len() >= 28 && quoted.payload().starts_with(quote), "{error:?}");
    }
}

const LEFT_V6: [Ipv6Addr; 2] = [v6(1, 1), v6(1, 9)];
const RIGHT_V6: [Ipv6Addr; 2] = [v6(2, 1), v6(2, 9)];
const ICMPV6: u8 = 58;

/// Sluice is host 1 of networks 1 (left) and 2 (right), the other host is 9.
const fn v6(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host)
}

/// RFC 4861, 4.3: who has our address, asked by the other host.
fn solicitation([ours, host]: [Ipv6Addr; 2], source: Mac) -> Frame {
    let [.., a, b, c] = ours.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&ours.octets());
    message.extend_from_slice(&[1, 1]);
    message.extend_from_slice(&source);
    let message = Frame::icmpv6(host, group, &message);
    Frame::ipv6([[0x33, 0x33, 0xff, a, b, c], source], host, group, (255, ICMPV6), &message)
}

/// RFC 4861, 4.4: the answer; it comes from a router, and as long as nobody had the time to object
/// it pushes nobody out of a cache (RFC 4429, 3.2).
fn advertisement([ours, host]: [Ipv6Addr; 2], [destination, source]: [Mac; 2]) -> Frame {
    let mut message = vec![136, 0, 0, 0, 0xc0, 0, 0, 0];
    message.extend_from_slice(&ours.octets());
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&source);
    let message = Frame::icmpv6(ours, host, &message);
    Frame::ipv6([destination, source], ours, host, (255, ICMPV6), &message)
}

/// What went out but questions of Sluice's own.
fn without_solicitations(frames: Vec<Frame>) -> Vec<Frame> {
    let is_question = |frame: &Frame| frame.icmpv6_fields().is_some_and(|(.., m)| m[0] == 135);
    frames.into_iter().filter(|frame| !is_question(frame)).collect()
}

#[test]
fn ipv6_neighbours_are_answered_pinged_and_joined() {
    let lab = Lab::new();
    let addresses = [LEFT_V6, RIGHT_V6].map(|[ours, _]| format!("{ours}/64"));
    let (ask_left, ask_right) = (solicitation(LEFT_V6, LEFT), solicitation(RIGHT_V6, RIGHT));
    let outputs = run_with(&lab, &addresses, from_ref(&ask_left), from_ref(&ask_right));
    // RFC 4862, 5.4.2: each address is asked for first, from no address.
    for output in &outputs {
        let probes = output.iter().filter_map(Frame::icmpv6_fields);
        let probes = probes.filter(|(from, _, m)| m[0] == 135 && from.is_unspecified());
        assert_eq!(probes.count(), 2, "the link-local and the global one: {output:?}");
    }
    let [left, right] = outputs.map(|frames| {
        let mut answers = without_solicitations(frames);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    });
    let ours = [left.source(), right.source()];
    assert_eq!(left, advertisement(LEFT_V6, [LEFT, ours[0]]));
    assert_eq!(right, advertisement(RIGHT_V6, [RIGHT, ours[1]]));

    // Pings, a datagram through, one whose hops end here, one to nowhere.
    let ping = |kind: u8, from, to| Frame::icmpv6(from, to, &[kind, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3]);
    let datagram = Frame::udp(5_000, 53, b"hello");
    let (here, there) = (LEFT_V6[1], RIGHT_V6[1]);
    let packet = |to, hops, protocol, payload: &[u8]| {
        Frame::ipv6([ours[0], LEFT], here, to, (hops, protocol), payload)
    };
    let input = [
        ask_left,
        packet(LEFT_V6[0], 64, ICMPV6, &ping(128, here, LEFT_V6[0])),
        packet(there, 9, UDP, &datagram),
        packet(there, 1, UDP, &datagram),
        packet(v6(7, 7), 64, UDP, &datagram),
    ];
    let [out, through] = run_with(&lab, &addresses, &input, &[ask_right]);
    let out = without_solicitations(out);
    assert_eq!(out.len(), 4, "{out:?}");
    let reply = ping(129, LEFT_V6[0], here);
    let reply = Frame::ipv6([LEFT, ours[0]], LEFT_V6[0], here, (64, ICMPV6), &reply);
    assert_eq!(out[1], reply);
    // RFC 4443, 3.3 and 3.1: time exceeded; no route. Both quote the packet.
    for (error, kind, quoted) in [(&out[2], 3, &input[3]), (&out[3], 1, &input[4])] {
        let (from, to, message) = error.icmpv6_fields().expect("an ICMPv6 message");
        assert_eq!((from, to), (LEFT_V6[0], here));
        assert_eq!(message[..2], [kind, 0], "{error:?}");
        assert_eq!(message[8..], *quoted.payload());
    }
    let through = without_solicitations(through);
    let passed = Frame::ipv6([RIGHT, ours[1]], here, there, (8, UDP), &datagram);
    // Before or after the answer to the host on the right.
    assert!(through.contains(&passed), "{through:?}");
}

/// Frames that are cut, changed and made up at every layer: nothing to answer, nothing to fall over,
/// and what comes after them is served.
#[test]
fn mangled_frames_do_no_harm() {
    let lab = Lab::new();
    let [left, _] = learn_addresses(&lab);
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let echo = |n| Frame::echo(8, n, b"are you there?");
    let ping = |n| Frame::ipv4([left, LEFT], LEFT_HOST, LEFT_ADDRESS, (64, ICMP), &echo(n));
    let syn = [
        // Ports 4000 to 80, sequence, no acknowledgment, five words of header, SYN, window.
        &[0x0f, 0xa0, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x70, 2, 0xff, 0xff, 0, 0, 0, 0][..],
        // Options: MSS, then one whose length runs past the end.
        &[2, 4, 5, 0xb4, 3, 200, 7, 1],
    ]
    .concat();
    let seeds = [
        Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS),
        ping(1),
        Frame::ipv4([left, LEFT], LEFT_HOST, LEFT_ADDRESS, (64, 6), &syn),
        Frame::ipv4([left, LEFT], LEFT_HOST, RIGHT_HOST, (64, UDP), &Frame::udp(1, 2, b"x")),
    ];
    let mut input = vec![seeds[0].clone()];
    for index in 0..4_000 {
        let mut frame = seeds[index % seeds.len()].clone();
        for _ in 0..1 + random.below(4) {
            // Mostly in the headers, and never the destination: it must get in.
            let at = 12 + random.below(frame.0.len() - 12);
            frame.0[at] = random.below(256) as u8;
        }
        if random.below(3) == 0 {
            let length = 14 + random.below(frame.0.len() - 14);
            frame.0.truncate(length);
        }
        input.push(frame);
    }
    // Mangled ARP may have told lies about the host on the left: the truth again.
    input.push(Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS));
    input.push(ping(7));
    let [out, _] = run(&lab, &input, &[]);
    let answer = Frame::echo(0, 7, b"are you there?");
    let answered = out.iter().any(|frame| frame.payload().ends_with(&answer));
    assert!(answered, "the last echo request is answered");
}

/// Numbers that are the same in every run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A piece of an IPv4 packet's payload, as a frame.
fn fragment(frame: &Frame, from: usize, to: usize) -> Frame {
    let whole = frame.payload();
    let (header, data) = whole.split_at(20);
    let to = to.min(data.len());
    let more = u16::from(to < data.len()) << 13;
    let mut bytes = frame.0[..14].to_vec();
    bytes.extend_from_slice(header);
    bytes[16..18].copy_from_slice(&(20 + (to - from) as u16).to_be_bytes());
    bytes[18..20].copy_from_slice(&0x1234u16.to_be_bytes());
    bytes[20..22].copy_from_slice(&(more | (from / 8) as u16).to_be_bytes());
    bytes[24..26].fill(0);
    let words =
        bytes[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes[24..26].copy_from_slice(&(!((sum & 0xffff) as u16 + (sum >> 16) as u16)).to_be_bytes());
    bytes.extend_from_slice(&data[from..to]);
    Frame(bytes)
}

#[test]
fn fragments_come_together_in_any_order_and_overlaps_do_not() {
    let lab = Lab::new();
    let [left, _] = learn_addresses(&lab);
    let data: Vec<u8> = (0..1400).map(|index| (index % 251) as u8).collect();
    let (request, reply) = (Frame::echo(8, 1, &data), Frame::echo(0, 1, &data));
    let whole = Frame::ipv4([left, LEFT], LEFT_HOST, LEFT_ADDRESS, (64, ICMP), &request);
    let expected = Frame::ipv4([LEFT, left], LEFT_ADDRESS, LEFT_HOST, (64, ICMP), &reply);
    let cut = |from, to| fragment(&whole, from, to);
    let orders = [
        vec![cut(0, 504), cut(504, 1008), cut(1008, 2000)],
        vec![cut(1008, 2000), cut(504, 1008), cut(0, 504)],
        vec![cut(504, 1008), cut(0, 504), cut(0, 504), cut(1008, 2000)],
    ];
    for pieces in orders {
        let mut input = vec![Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS)];
        input.extend(pieces);
        let [out, _] = run(&lab, &input, &[]);
        let out: Vec<_> = packets(out).into_iter().map(chosen).collect();
        assert_eq!(out, [chosen(expected.clone())]);
    }
    let mut input = vec![Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS)];
    input.extend([cut(0, 504), cut(496, 1008), cut(1008, 2000), cut(504, 1008)]);
    let [out, _] = run(&lab, &input, &[]);
    assert_eq!(packets(out), [], "RFC 5722: an overlap is the end of all of them");
}

/// The frame with tags behind its addresses: type and number.
fn tagged(frame: &Frame, tags: &[(u16, u16)]) -> Frame {
    let mut bytes = frame.0[..12].to_vec();
    for (kind, number) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend_from_slice(&frame.0[12..]);
    Frame(bytes)
}

#[test]
fn vlans_answer_with_their_tags_and_others_are_not_heard() {
    let lab = Lab::new();
    let [left, _] = learn_addresses(&lab);
    let interfaces = |dir: &str| {
        format!(
            r#"[[interface]]
name = "left"
device = "pcap:{dir}left-in.pcap,{dir}left-out.pcap"
addresses = ["10.99.0.1/24"]
[[interface]]
name = "blue"
parent = "left"
vlan = 100
addresses = ["192.0.2.1/24"]
[[interface]]
name = "red"
parent = "left"
vlan = [200, 7]
addresses = ["198.51.100.1/24"]
[[interface]]
name = "right"
device = "pcap:{dir}right-in.pcap,{dir}right-out.pcap"
addresses = ["10.98.0.1/24"]
"#
        )
    };
    let (blue, red) = ([(0x8100, 100)], [(0x88a8, 200), (0x8100, 7)]);
    let question = |to| {
        Frame::ipv4(
            [left, LEFT],
            LEFT_HOST,
            to,
            (64, ICMP),
            &Frame::echo(8, 1, b"tagged, and long enough"),
        )
    };
    let input = [
        tagged(&Frame::arp_request(LEFT, LEFT_HOST, LEFT_ADDRESS), &blue),
        tagged(&Frame::arp_request(RIGHT, RIGHT_HOST, RIGHT_ADDRESS), &red),
        tagged(&question(LEFT_ADDRESS), &blue),
        // From one VLAN to another.
        tagged(&question(RIGHT_HOST), &blue),
        // Not ours: another tag, one tag of two, none.
        tagged(&question(LEFT_ADDRESS), &[(0x8100, 101)]),
        tagged(&question(RIGHT_ADDRESS), &[(0x88a8, 200)]),
    ];
    let [out, other] = run_interfaces(&lab, interfaces, &input, &[]);
    let answer = Frame::echo(0, 1, b"tagged, and long enough");
    let answer = Frame::ipv4([LEFT, left], LEFT_ADDRESS, LEFT_HOST, (64, ICMP), &answer);
    let passed = Frame::echo(8, 1, b"tagged, and long enough");
    let passed = Frame::ipv4([RIGHT, left], LEFT_HOST, RIGHT_HOST, (63, ICMP), &passed);
    // The IPv4 packets behind these tags, which are taken off.
    let behind = |tags: &[(u16, u16)]| {
        let mut start = Vec::new();
        tags.iter().for_each(|(kind, number)| {
            start.extend(kind.to_be_bytes());
            start.extend(number.to_be_bytes());
        });
        start.extend([8, 0]);
        let of_it = out.iter().filter(|frame| frame.0[12..].starts_with(&start));
        let frames = of_it.map(|frame| {
            let mut bytes = frame.0.clone();
            drop(bytes.drain(12..12 + 4 * tags.len()));
            Frame(bytes)
        });
        packets(frames.collect())
    };
    let of_blue: Vec<_> = behind(&blue).into_iter().map(chosen).collect();
    assert_eq!(of_blue, [chosen(answer)], "{out:?}");
    assert_eq!(behind(&red), [passed], "{out:?}");
    assert!(other.iter().all(Frame::is_arp), "{other:?}");
}
