//! Every field of every header at its edges, in packets that are right otherwise, of connections that
//! are alive: a counted drop or the right answer, and what must survive does.
//!
//! Fields are a table of places in bits; values come from a generator, and so do lists of options of
//! every kind and length. Checksums are made right again, unless they are the field.

mod common;

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use common::v6::ip6;
use common::{IF0, Net, at, echo_request, ip};
use sluice_base::{ConnId, ListenerId};
use sluice_wire::{ArpPacket, Flags, NdpMessage, icmp, icmpv6, ndp, tcp, udp};

/// Where the headers of a TCP segment begin.
const ETHERNET: usize = 14;
const L4_V4: usize = ETHERNET + 20;
const L4_V6: usize = ETHERNET + 40;

/// A field: its name, its first bit, its bits (128 at most).
type Field = (&'static str, usize, usize);

const ETHERNET_FIELDS: [Field; 3] = [("destination", 0, 48), ("source", 48, 48), ("type", 96, 16)];
const IPV4: [Field; 14] = [
    ("version", 112, 4),
    ("header length", 116, 4),
    ("dscp", 120, 6),
    ("ecn", 126, 2),
    ("total length", 128, 16),
    ("identification", 144, 16),
    ("reserved flag", 160, 1),
    ("do not fragment", 161, 1),
    ("more fragments", 162, 1),
    ("fragment offset", 163, 13),
    ("time to live", 176, 8),
    ("protocol", 184, 8),
    ("source", 208, 32),
    ("destination", 240, 32),
];
const IPV6: [Field; 8] = [
    ("version", 112, 4),
    ("traffic class", 116, 8),
    ("flow label", 124, 20),
    ("payload length", 144, 16),
    ("next header", 160, 8),
    ("hop limit", 168, 8),
    ("source", 176, 128),
    ("destination", 304, 128),
];
/// From the header's first bit.
const TCP: [Field; 9] = [
    ("source port", 0, 16),
    ("destination port", 16, 16),
    ("sequence number", 32, 32),
    ("acknowledgment number", 64, 32),
    ("data offset", 96, 4),
    ("reserved", 100, 4),
    ("flags", 104, 8),
    ("window", 112, 16),
    ("urgent pointer", 144, 16),
];
const UDP: [Field; 4] = [
    ("source port", 0, 16),
    ("destination port", 16, 16),
    ("length", 32, 16),
    ("checksum", 48, 16),
];
const ARP: [Field; 9] = [
    ("hardware type", 112, 16),
    ("protocol type", 128, 16),
    ("hardware length", 144, 8),
    ("protocol length", 152, 8),
    ("operation", 160, 16),
    ("sender hardware", 176, 48),
    ("sender protocol", 224, 32),
    ("target hardware", 256, 48),
    ("target protocol", 304, 32),
];

fn bits(frame: &[u8], at: usize, count: usize) -> u128 {
    (at..at + count)
        .fold(0, |value, bit| value << 1 | u128::from(frame[bit / 8] >> (7 - bit % 8) & 1))
}

fn set_bits(frame: &mut [u8], at: usize, count: usize, value: u128) {
    for (place, bit) in (at..at + count).enumerate() {
        let mask = 0x80 >> (bit % 8);
        let is_set = value >> (count - 1 - place) & 1 == 1;
        frame[bit / 8] = if is_set { frame[bit / 8] | mask } else { frame[bit / 8] & !mask };
    }
}

/// The edges of a field: its ends, its middle, the neighbours of what it is; all of a small one.
fn edges(now: u128, count: usize) -> Vec<u128> {
    let most = u128::MAX >> (128 - count);
    if count <= 8 {
        return (0..=most).collect();
    }
    let mut values = vec![0, 1, 2, most / 2, most / 2 + 1, most - 1, most];
    values.extend([now.wrapping_sub(1) & most, now.wrapping_add(1) & most]);
    if count >= 32 {
        // Loopback, groups, broadcast, our own; as addresses of either family.
        let v4 = ["127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.2", "10.0.0.255", "0.0.0.1"];
        let v6 = ["::1", "ff02::1", "fe80::1", "fd09::2", "::ffff:10.0.0.1", "ff05::2", "2002::1"];
        values.extend(v4.map(|text| u128::from(ip(text).to_bits()) & most));
        values.extend(v6.map(|text| ip6(text).to_bits() & most));
    }
    values
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Transport {
    Tcp,
    Udp,
}

/// Makes the checksums right for what the headers say now.
fn checksummed(frame: &mut [u8], transport: Transport) {
    let is_v6 = frame[12] == 0x86;
    let l4 = if is_v6 { L4_V6 } else { L4_V4 };
    let (head, segment) = frame.split_at_mut(l4);
    if is_v6 {
        let address = |at: usize| Ipv6Addr::from_bits(bits(head, at * 8, 128));
        let (from, to) = (address(22), address(38));
        match transport {
            Transport::Tcp => tcp::fill_checksum(from, to, segment),
            Transport::Udp => udp::fill_checksum(from, to, segment),
        }
        return;
    }
    let address = |at: usize| Ipv4Addr::from_bits(bits(head, at * 8, 32) as u32);
    let (from, to) = (address(26), address(30));
    match transport {
        Transport::Tcp => tcp::fill_checksum(from, to, segment),
        Transport::Udp => udp::fill_checksum(from, to, segment),
    }
    let len = (usize::from(frame[14] & 15) * 4).clamp(20, frame.len() - ETHERNET);
    frame[24..26].fill(0);
    let sum = !sluice_wire::checksum::ones_complement_sum(&frame[ETHERNET..ETHERNET + len]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Two hosts of both families, a connection of each, and one that nobody tampers with.
struct World {
    net: Net,
    conns: [ConnId; 2],
    bystander: ConnId,
    cases: u32,
}

impl World {
    fn new() -> Self {
        let mut host = 0;
        let hosts = Rc::new(RefCell::new(&mut host));
        let mut net = Net::pair_with(
            |interface| {
                **hosts.borrow_mut() += 1;
                let address = format!("fd09::{}", **hosts.borrow());
                interface.addresses.push((ip6(&address).into(), 64));
            },
            |config| {
                (config.connections_max, config.time_wait_max) = (256, 64);
                config.icmp_errors_per_second = 1_000_000;
            },
        );
        net.keeps_log = false;
        net.run(Duration::from_secs(2));
        net.listen(1, "10.0.0.2:80");
        net.listen(1, "[fd09::2]:81");
        for (id, address) in [(53, "10.0.0.2:53"), (54, "[fd09::2]:53")] {
            net.stack(1).bind(ListenerId(id), at(address)).expect("a free port");
        }
        let conns = ["10.0.0.2:80", "[fd09::2]:81"].map(|address| net.connect(0, address));
        let bystander = net.connect(0, "10.0.0.2:80");
        net.settle();
        net.echo(1);
        net.settle();
        let mut world = Self { net, conns, bystander, cases: 0 };
        for conn in [conns[0], conns[1], bystander] {
            assert!(world.echoes(conn), "it is open");
        }
        world
    }

    /// Whether what is written comes back, and nothing else.
    fn echoes(&mut self, conn: ConnId) -> bool {
        self.net.read(0, conn);
        self.net.write(0, conn, b"still there?");
        self.comes_back(conn, b"still there?")
    }

    /// Whether this, and nothing else, comes back within ten seconds.
    fn comes_back(&mut self, conn: ConnId, text: &[u8]) -> bool {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            self.net.run(Duration::from_millis(100));
            self.net.echo(1);
            self.net.settle();
            bytes.extend(self.net.read(0, conn));
            if bytes.len() >= text.len() {
                break;
            }
        }
        bytes == text
    }

    /// The segment in which `text` leaves now; it does not arrive.
    fn next_segment(&mut self, conn: ConnId, text: &'static [u8]) -> Vec<u8> {
        let seen = Rc::new(RefCell::new(None));
        let slot = seen.clone();
        self.net.filter = Some(Box::new(move |frame| {
            let is_it = frame.bytes.ends_with(text);
            if is_it {
                *slot.borrow_mut() = Some(frame.bytes.clone());
            }
            !is_it
        }));
        self.net.write(0, conn, text);
        self.net.transmit();
        self.net.filter = None;
        seen.take().expect("it leaves at once")
    }

    /// Packets that were dropped, or taken for something, so far.
    fn accounted(&mut self) -> u64 {
        let counters = self.net.stack(1).counters().clone();
        let taken = [
            "forwarded",
            "arp_in",
            "arp_ignored",
            "nd_in",
            "nd_ignored",
            "icmp_echoes",
            "icmp_errors_in",
            "fragments_in",
            "udp_datagrams_in",
            "tcp_segments_in",
        ];
        let counts = counters.iter().filter(|(name, _)| taken.contains(name));
        counts.map(|(_, count)| count).sum::<u64>() + counters.drops.total()
    }

    /// Gives host 1 a frame: it is taken for something or dropped by name.
    fn inject(&mut self, what: &str, frame: &[u8]) {
        let before = self.accounted();
        self.net.inject(1, IF0, frame);
        assert!(self.accounted() > before, "{what}: the packet is not accounted for");
        while self.net.stack(1).next_datagram().is_some() {}
        self.cases += 1;
        if self.cases.is_multiple_of(256) {
            let bystander = self.bystander;
            assert!(self.echoes(bystander), "{what}: a connection beside it is hurt");
        }
    }

    /// At the end everybody lives whom nothing happened to, and no buffer is held.
    fn finish(mut self) {
        let [v4, v6] = self.conns;
        for conn in [v4, v6, self.bystander] {
            assert!(self.echoes(conn), "it survived {} cases", self.cases);
        }
        // Fragments that never became whole, and datagrams that nobody asked for.
        self.net.run(Duration::from_secs(90));
        while self.net.stack(1).next_datagram().is_some() {}
        assert!(self.cases > 20, "{} cases", self.cases);
        self.net.census();
    }
}

/// Whether a value is the peer's word that it is over, or may say something about the data.
fn may_hurt(name: &str, value: u128) -> bool {
    let ends = (Flags::RST | Flags::FIN).0;
    match name {
        "flags" => value as u8 & ends != 0,
        // In the window it is data of the peer's, at another place; a longer header is shorter data.
        "sequence number" | "data offset" | "header length" | "total length" | "payload length" => {
            true
        }
        _ => false,
    }
}

/// The field in the next segment of connection number `which`, which then comes as it was, too.
fn segment_fields(which: usize, offset: usize, fields: &[Field]) {
    const TEXT: &[u8] = b"GET /fields HTTP/1.1\r\n\r\n";
    let mut world = World::new();
    for (name, at, count) in fields {
        let first = { world.next_segment(world.conns[which], TEXT) };
        let known = bits(&first, offset * 8 + at, *count);
        for value in edges(known, *count) {
            let conn = world.conns[which];
            // What was not delivered comes again by its timer.
            world.net.run(Duration::from_millis(400));
            world.net.echo(1);
            world.net.settle();
            world.net.read(0, conn);
            let mut frame = world.next_segment(conn, TEXT);
            set_bits(&mut frame, offset * 8 + at, *count, value);
            checksummed(&mut frame, Transport::Tcp);
            let what = format!("{name} = {value:#x}");
            world.inject(&what, &frame);
            // A window that was closed is asked for again.
            let is_whole = world.comes_back(conn, TEXT) && world.echoes(conn);
            if !is_whole {
                assert!(may_hurt(name, value), "{what}: the connection is hurt");
                let cases = world.cases;
                let bystander = world.bystander;
                assert!(world.echoes(bystander), "{what}: a connection beside it is hurt");
                world = World { cases, ..World::new() };
            }
        }
    }
    world.finish();
}

#[test]
fn tcp_fields_over_ipv4() {
    segment_fields(0, L4_V4, &TCP);
}

#[test]
fn tcp_fields_over_ipv6() {
    segment_fields(1, L4_V6, &TCP);
}

#[test]
fn ipv4_fields() {
    segment_fields(0, 0, &IPV4);
}

#[test]
fn ipv6_fields() {
    segment_fields(1, 0, &IPV6);
}

#[test]
fn ethernet_fields() {
    segment_fields(0, 0, &ETHERNET_FIELDS);
}

/// A bare ACK of connection number `which` with these bytes of options behind its header.
fn with_options(world: &mut World, which: usize, options: &[u8]) -> Vec<u8> {
    let l4 = [L4_V4, L4_V6][which];
    let segment = world.next_segment(world.conns[which], b"again");
    world.net.run(Duration::from_millis(600));
    world.net.echo(1);
    world.net.settle();
    let mut frame = segment[..l4 + 20].to_vec();
    frame.extend_from_slice(options);
    frame[l4 + 12] = (((20 + options.len()) / 4) << 4) as u8;
    let len = (frame.len() - ETHERNET) as u16;
    match which {
        0 => frame[16..18].copy_from_slice(&len.to_be_bytes()),
        _ => frame[18..20].copy_from_slice(&(len - 40).to_be_bytes()),
    }
    checksummed(&mut frame, Transport::Tcp);
    frame
}

/// Every kind that means something and some that do not, with every length, in lists of every length.
#[test]
fn tcp_option_lists_of_every_length() {
    const KINDS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 8, 14, 19, 28, 29, 30, 34, 253, 255];
    let mut world = World::new();
    for which in [0, 1] {
        let template = with_options(&mut world, which, &[]);
        let l4 = [L4_V4, L4_V6][which];
        for words in 1..=10_u8 {
            for kind in KINDS {
                for len in (0..=words * 4 + 1).chain([254, 255]) {
                    let mut options = vec![1; usize::from(words) * 4];
                    // At the front, and with one byte in front of it.
                    for at in [0, 1] {
                        options[at] = kind;
                        options[at + 1] = len;
                        let mut frame = template[..l4 + 20].to_vec();
                        frame.extend_from_slice(&options);
                        frame[l4 + 12] = (5 + words) << 4;
                        let total = (frame.len() - ETHERNET) as u16;
                        match which {
                            0 => frame[16..18].copy_from_slice(&total.to_be_bytes()),
                            _ => frame[18..20].copy_from_slice(&(total - 40).to_be_bytes()),
                        }
                        for flags in [Flags::ACK, Flags::SYN] {
                            frame[l4 + 13] = flags.0;
                            checksummed(&mut frame, Transport::Tcp);
                            world.inject(
                                &format!("option {kind} of {len} in {words} words"),
                                &frame,
                            );
                        }
                    }
                }
            }
        }
    }
    world.finish();
}

/// IPv4 options: kinds, lengths and pointers, in headers of every length.
#[test]
fn ipv4_options_of_every_length() {
    let mut world = World::new();
    let template = world.next_segment(world.conns[0], b"options");
    for words in 1..=10_usize {
        for kind in [0, 1, 7, 68, 130, 131, 136, 137, 148, 255_u8] {
            for (len, pointer) in (0..=words as u8 * 4 + 1).flat_map(|len| [(len, 4), (len, 255)]) {
                let mut options = vec![1; words * 4];
                (options[0], options[1], options[2]) = (kind, len, pointer);
                let mut frame = template[..L4_V4].to_vec();
                frame.extend_from_slice(&options);
                frame.extend_from_slice(&template[L4_V4..]);
                frame[14] = 0x45 + words as u8;
                let total = (frame.len() - ETHERNET) as u16;
                frame[16..18].copy_from_slice(&total.to_be_bytes());
                frame[24..26].fill(0);
                let header = &frame[ETHERNET..L4_V4 + words * 4];
                let sum = !sluice_wire::checksum::ones_complement_sum(header);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
                world.inject(&format!("IPv4 option {kind} of {len} in {words} words"), &frame);
            }
        }
    }
    world.net.run(Duration::from_secs(1));
    world.net.echo(1);
    world.finish();
}

/// Extension headers in front of a good segment: kinds, lengths, options, routes and fragments.
#[test]
fn extension_headers_at_their_edges() {
    let mut world = World::new();
    let template = world.next_segment(world.conns[1], b"extended");
    let segment = template[L4_V6..].to_vec();
    for kind in [0, 43, 44, 50, 51, 59, 60, 135, 139, 140, 253, 254_u8] {
        for units in [0, 1, 2, 31, 255_u8] {
            for first in [0, 1, 2, 4, 5, 0x3e, 0x7e, 0xbe, 0xfe, 0xff_u8] {
                for second in [0, 1, 2, 4, 6, 254, 255_u8] {
                    let mut header = vec![6, units, first, second, 0, 0, 0, 0];
                    header.resize(8 * (1 + usize::from(units.min(4))), 0);
                    let mut payload = header;
                    payload.extend_from_slice(&segment);
                    let mut frame = template[..L4_V6].to_vec();
                    frame[20] = kind;
                    frame[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
                    frame.extend_from_slice(&payload);
                    world.inject(&format!("extension {kind} {units} {first} {second}"), &frame);
                }
            }
        }
    }
    // Chains of one kind, up to more than anybody needs.
    for count in 1..=20 {
        let mut payload = Vec::new();
        for at in 0..count {
            payload.extend_from_slice(&[if at + 1 == count { 6 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        payload.extend_from_slice(&segment);
        let mut frame = template[..L4_V6].to_vec();
        frame[20] = 60;
        frame[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        frame.extend_from_slice(&payload);
        world.inject(&format!("{count} headers"), &frame);
    }
    world.net.run(Duration::from_secs(1));
    world.net.echo(1);
    world.finish();
}

#[test]
fn udp_fields() {
    for (address, l4) in [("10.0.0.2:53", L4_V4), ("[fd09::2]:53", L4_V6)] {
        let mut world = World::new();
        let now = world.net.now;
        let flow = world.net.stack(0).udp_connect(at(address), 0, now).expect("a flow");
        let seen = Rc::new(RefCell::new(None));
        let slot = seen.clone();
        world.net.filter = Some(Box::new(move |frame| {
            *slot.borrow_mut() = Some(frame.bytes.clone());
            true
        }));
        let mut payload = world.net.stack(0).tx_pool().alloc().expect("a buffer");
        payload.append_bytes(b"a question");
        world.net.stack(0).send_datagram(flow, payload, now).expect("it is sent");
        world.net.transmit();
        world.net.filter = None;
        let template: Vec<u8> = seen.take().expect("a datagram");
        assert!(template.ends_with(b"a question"));
        for (name, at, count) in UDP {
            for value in edges(bits(&template, l4 * 8 + at, count), count) {
                let mut frame = template.clone();
                set_bits(&mut frame, l4 * 8 + at, count, value);
                if !matches!(name, "checksum" | "length") {
                    checksummed(&mut frame, Transport::Udp);
                }
                world.inject(&format!("UDP {name} = {value:#x}"), &frame);
            }
        }
        world.net.settle();
        world.finish();
    }
}

/// Types and codes of ICMP about a segment on its way, with every MTU at the edges: a connection that is
/// open hears of no end.
#[test]
fn icmp_fields() {
    let mut world = World::new();
    let quotes = [0, 1].map(|which| world.next_segment(world.conns[which], b"quoted"));
    let values = [0, 1, 67, 68, 575, 576, 1_279, 1_280, 1_499, 1_500, 0xffff, 0x1_0000, u32::MAX];
    for kind in 0..=255_u8 {
        for code in [0, 1, 3, 4, 15, 255_u8] {
            let rests = if matches!(kind, 2 | 3) { &values[..] } else { &values[..2] };
            for rest in rests {
                // Errors are about what host 0 sent, and said to it; here host 1 hears of its own.
                let mut message = vec![kind, code, 0, 0];
                message.extend_from_slice(&rest.to_be_bytes());
                message.extend_from_slice(&quotes[0][ETHERNET..L4_V4 + 20]);
                let mut frame = echo_request("10.0.0.1", "10.0.0.2", 1, message.len() - 8);
                frame.truncate(L4_V4);
                icmp::fill_checksum(&mut message);
                frame.extend_from_slice(&message);
                world.inject(&format!("ICMP {kind} {code} {rest}"), &frame);
                world.net.inject(0, IF0, &to_host_0(&frame));
                let mut message = vec![kind, code, 0, 0];
                message.extend_from_slice(&rest.to_be_bytes());
                message.extend_from_slice(&quotes[1][ETHERNET..L4_V6 + 20]);
                icmpv6::fill_checksum(ip6("fd09::1"), ip6("fd09::2"), &mut message);
                let mut frame = quotes[1][..L4_V6].to_vec();
                frame[20] = 58;
                frame[18..20].copy_from_slice(&(message.len() as u16).to_be_bytes());
                frame.extend_from_slice(&message);
                world.inject(&format!("ICMPv6 {kind} {code} {rest}"), &frame);
                world.net.inject(0, IF0, &to_host_0(&frame));
            }
        }
    }
    world.net.run(Duration::from_secs(2));
    world.net.echo(1);
    world.net.settle();
    world.finish();
}

/// The same packet from host 1 to host 0; both checksums stay right, since sums do not know order.
fn to_host_0(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let (source, destination) = if frame[12] == 0x86 { (22, 38) } else { (26, 30) };
    let len = destination - source;
    for at in 0..len {
        frame.swap(source + at, destination + at);
    }
    frame[..6].copy_from_slice(&common::mac(1, 0).0);
    frame
}

#[test]
fn arp_fields() {
    let mut world = World::new();
    for packet in [
        ArpPacket::request(common::mac(1, 0), ip("10.0.0.1"), ip("10.0.0.2")),
        ArpPacket::request(common::mac(2, 0), ip("10.0.0.2"), ip("10.0.0.1"))
            .reply_from(common::mac(1, 0)),
    ] {
        let mut template = echo_request("10.0.0.1", "10.0.0.2", 1, 8)[..ETHERNET].to_vec();
        template[12..14].copy_from_slice(&[0x08, 0x06]);
        template.resize(ETHERNET + packet.header_len(), 0);
        packet.emit(&mut template[ETHERNET..]);
        for (name, at, count) in ARP {
            for value in edges(bits(&template, at, count), count) {
                let mut frame = template.clone();
                set_bits(&mut frame, at, count, value);
                world.inject(&format!("ARP {name} = {value:#x}"), &frame);
                // A neighbour that moved, or is said to have, is asked.
                world.net.run(Duration::from_millis(50));
            }
        }
    }
    world.net.run(Duration::from_secs(60));
    world.finish();
}

/// Messages of neighbour discovery byte by byte, their options of every type and length among them.
#[test]
fn neighbour_discovery_bytes() {
    let mut world = World::new();
    world.net.stack(1).discover_routers(IF0, true);
    let target = ip6("fd09::2");
    let options = ndp::NdpOptions::source(common::mac(1, 0));
    let prefix = ndp::PrefixInfo {
        prefix: ip6("fd0a::"),
        prefix_len: 64,
        on_link: true,
        autonomous: true,
        valid_s: 3_600,
        preferred_s: 1_800,
    };
    let mut told = ndp::NdpOptions { mtu: Some(1_500), ..options };
    told.prefixes[0] = Some(prefix);
    let router = ndp::RouterInfo { lifetime_s: 1_800, ..Default::default() };
    let messages = [
        NdpMessage::NeighborSolicitation { target, options },
        NdpMessage::NeighborAdvertisement {
            target: ip6("fd09::1"),
            router: false,
            solicited: true,
            overrides: true,
            options: ndp::NdpOptions::target(common::mac(1, 0)),
        },
        NdpMessage::RouterAdvertisement { router, options: told },
        NdpMessage::RouterSolicitation { options },
        NdpMessage::Redirect { target, destination: ip6("fd0b::1"), options },
    ];
    for message in messages {
        let template = common::v6::nd("fe80::ff:fe00:63", "fd09::2", 255, &message);
        for at in L4_V6..template.len() {
            if (L4_V6 + 2..L4_V6 + 4).contains(&at) {
                continue;
            }
            for value in [0, 1, 2, 3, 5, 14, 24, 64, 127, 128, 129, 254, 255, template[at] ^ 1] {
                let mut frame = template.clone();
                frame[at] = value;
                let (head, body) = frame.split_at_mut(L4_V6);
                let from = Ipv6Addr::from_bits(bits(head, 176, 128));
                icmpv6::fill_checksum(from, target, body);
                world.inject(&format!("{message:?}: byte {} = {value}", at - L4_V6), &frame);
            }
            world.net.run(Duration::from_millis(20));
        }
    }
    // Neighbours that were said to be elsewhere are found again.
    world.net.run(Duration::from_secs(60));
    world.finish();
}

/// Tags in front of a good packet: every protocol, priority and the ids at the edges, up to three.
#[test]
fn vlan_tags() {
    let mut world = World::new();
    let template = world.next_segment(world.conns[0], b"tagged");
    for protocol in [0x8100, 0x88a8, 0x9100, 0x9200_u16] {
        for information in
            (0..16).flat_map(|high| [0, 1, 2, 0xffe, 0xfff].map(|id| high << 12 | id))
        {
            for count in 1..=3 {
                let mut frame = template[..12].to_vec();
                for _ in 0..count {
                    frame.extend_from_slice(&protocol.to_be_bytes());
                    frame.extend_from_slice(&u16::to_be_bytes(information));
                }
                frame.extend_from_slice(&template[12..]);
                world.inject(&format!("{count} tags {protocol:#x} {information:#x}"), &frame);
            }
        }
    }
    world.net.run(Duration::from_secs(1));
    world.net.echo(1);
    world.finish();
}
