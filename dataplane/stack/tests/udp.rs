//! UDP between stacks: flows of both sides, checks, errors of others, fragments, workers.

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use common::*;
use sluice_base::{ListenerId, Rng, UdpId};
use sluice_buf::{Capabilities, Packet};
use sluice_stack::{ConnectError, DropReason, InterfaceConfig, ListenError, StackConfig, UdpEvent};
use sluice_wire::{
    EtherType, EthernetHeader, IpProtocol, Ipv4Header, Ipv6Header, UdpHeader, VlanTags, udp,
};

const ECHO: ListenerId = ListenerId(7);

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

/// 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2 on one wire.
fn pair_with(
    change_interface: impl Fn(&mut InterfaceConfig),
    change: impl Fn(&mut StackConfig),
) -> Net {
    let mut net = Net::pair_with(
        |interface| {
            let last = interface.mac.0[4];
            let address: IpAddr = v6(&format!("fd00::{last}")).into();
            interface.addresses.push((address, 64));
            change_interface(interface);
        },
        change,
    );
    net.run(Duration::from_secs(2));
    net.log.clear();
    net
}

fn pair() -> Net {
    pair_with(|_| {}, |_| {})
}

fn payload(net: &Net, host: usize, bytes: &[u8]) -> Packet {
    let stack = &net.hosts[host].stacks[0];
    let mut packet = stack.rx_pool().alloc().expect("a buffer");
    let mut chunks = bytes.chunks(1024);
    assert!(packet.append_bytes(chunks.next().unwrap_or_default()));
    for chunk in chunks {
        let mut more = stack.rx_pool().alloc().expect("a buffer");
        assert!(more.append_bytes(chunk));
        packet.append_packet(more);
    }
    packet
}

fn bytes_of(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; packet.len()];
    packet.copy_to(0, &mut bytes);
    bytes
}

impl Net {
    fn bind(&mut self, host: usize, address: &str) {
        for stack in &mut self.hosts[host].stacks {
            stack.bind(ECHO, at(address)).expect("a free address");
        }
    }

    fn flow(&mut self, host: usize, remote: &str, token: u32) -> UdpId {
        let now = self.now;
        self.stack(host).udp_connect(at(remote), token, now).expect("a flow")
    }

    fn send(&mut self, host: usize, flow: UdpId, bytes: &[u8]) -> Result<(), DropReason> {
        let packet = payload(self, host, bytes);
        let now = self.now;
        self.stack(host).send_datagram(flow, packet, now)
    }

    /// Every datagram goes back to where it came from; the peers that were new.
    fn echo_datagrams(&mut self, host: usize) -> Vec<SocketAddr> {
        let (now, mut peers) = (self.now, Vec::new());
        for stack in &mut self.hosts[host].stacks {
            while let Some(event) = stack.next_datagram() {
                let (flow, payload) = match event {
                    UdpEvent::Datagram { flow, payload, token } => {
                        assert_eq!(token, 99);
                        (flow, payload)
                    }
                    UdpEvent::Arrived { listener, local, peer, payload } => {
                        assert_eq!(listener, ECHO);
                        peers.push(peer);
                        (stack.udp_accept(local, peer, 99, now).expect("a flow"), payload)
                    }
                    UdpEvent::Unreachable { .. } => continue,
                };
                let _ = stack.send_datagram(flow, payload, now);
            }
        }
        peers
    }

    /// What came on flows of a host: worker, token, payload.
    fn datagrams(&mut self, host: usize) -> Vec<(usize, u32, Vec<u8>)> {
        let mut all = Vec::new();
        for (worker, stack) in self.hosts[host].stacks.iter_mut().enumerate() {
            while let Some(event) = stack.next_datagram() {
                match event {
                    UdpEvent::Datagram { token, payload, .. } => {
                        all.push((worker, token, bytes_of(&payload)));
                    }
                    UdpEvent::Unreachable { token, .. } => {
                        all.push((worker, token, b"unreachable".to_vec()));
                    }
                    UdpEvent::Arrived { peer, .. } => panic!("{peer} was not asked"),
                }
            }
        }
        all
    }
}

#[test]
fn question_and_answer_over_both_families() {
    for (bound, remote) in [
        ("0.0.0.0:53", "10.0.0.2:53"),
        ("10.0.0.2:53", "10.0.0.2:53"),
        ("[::]:53", "[fd00::2]:53"),
        ("[fd00::2]:53", "[fd00::2]:53"),
    ] {
        let mut net = pair();
        net.bind(1, bound);
        let flow = net.flow(0, remote, 5);
        for round in 0..3 {
            net.send(0, flow, b"who?").expect("sent");
            net.settle();
            let peers = net.echo_datagrams(1);
            assert_eq!(peers.len(), usize::from(round == 0), "then the flow is known");
            net.settle();
            assert_eq!(net.datagrams(0), [(0, 5, b"who?".to_vec())], "{bound}: {:#?}", net.log);
        }
        assert_eq!(net.stack(1).tx_pool().in_use(), 0, "answers leave in the questions' buffers");
        assert_eq!((net.stack(0).udp_flow_count(), net.stack(1).udp_flow_count()), (1, 1));
        let info = net.stack(1).udp_flows().next().expect("one flow");
        assert_eq!((info.local, info.listener), (at(remote), Some(ECHO)));
        net.stack(0).udp_close(flow);
        assert_eq!(net.send(0, flow, b"late"), Err(DropReason::UdpNoSocket));
        net.census();
    }
}

#[test]
fn a_link_local_peer_is_answered_on_its_link() {
    let mut net = pair();
    net.bind(1, "[::]:53");
    let (from, to) = (sluice_wire::ipv6::link_local(mac(9, 0)), v6("fd00::2"));
    let mut known = datagram(to, from, b"who?", |_| {});
    known[6..12].copy_from_slice(&mac(9, 0).0);
    net.inject(1, IF0, &known);
    let now = net.now;
    let Some(UdpEvent::Arrived { local, peer, payload, .. }) = net.stack(1).next_datagram() else {
        panic!("a stranger's datagram");
    };
    let SocketAddr::V6(peer) = peer else { panic!("IPv6") };
    assert_eq!((*peer.ip(), peer.scope_id()), (from, 1), "the link is said");
    let flow = net.stack(1).udp_accept(local, peer.into(), 99, now).expect("a flow");
    net.stack(1).send_datagram(flow, payload, now).expect("it waits for its neighbour");
    net.transmit();
    assert_eq!(net.logged("who has fe80").len(), 1, "{:#?}", net.log);
}

/// A stranger's datagram to host `to`, changed behind the link header.
fn datagram(
    to: impl Into<IpAddr>,
    from: impl Into<IpAddr>,
    data: &[u8],
    change: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let (to, from) = (to.into(), from.into());
    let mut l4 = vec![0; 8];
    UdpHeader { src_port: 4000, dst_port: 53, payload_len: data.len() as u16 }.emit(&mut l4);
    l4.extend_from_slice(data);
    udp::fill_checksum(from, to, &mut l4);
    change(&mut l4);
    let (ether_type, l3) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut l3 = vec![0; 20];
            Ipv4Header::new(from, to, IpProtocol::Udp, l4.len() as u16).emit(&mut l3);
            (EtherType::Ipv4, l3)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut l3 = vec![0; 40];
            Ipv6Header::new(from, to, IpProtocol::Udp, l4.len() as u16).emit(&mut l3);
            (EtherType::Ipv6, l3)
        }
        _ => panic!("one family"),
    };
    let ethernet = EthernetHeader {
        destination: mac(2, 0),
        source: mac(9, 0),
        tags: VlanTags::None,
        ether_type,
    };
    let mut frame = vec![0; 14];
    ethernet.emit(&mut frame);
    frame.extend_from_slice(&l3);
    frame.extend_from_slice(&l4);
    frame
}

#[test]
fn what_is_no_datagram_is_dropped_by_name() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, Option<DropReason>, Option<DropReason>); 8] = [
        ("as it is", |_| {}, None, None),
        ("no checksum", |b| b[6..8].fill(0), None, Some(DropReason::UdpNoChecksum)),
        (
            "a wrong one",
            |b| b[9] ^= 1,
            Some(DropReason::UdpChecksum),
            Some(DropReason::UdpChecksum),
        ),
        (
            "cut off",
            |b| b.truncate(7),
            Some(DropReason::UdpTruncated),
            Some(DropReason::UdpTruncated),
        ),
        (
            "longer than IP says",
            |b| b[5] += 1,
            Some(DropReason::UdpLength),
            Some(DropReason::UdpLength),
        ),
        (
            "shorter than its header",
            |b| b[5] = 7,
            Some(DropReason::UdpLength),
            Some(DropReason::UdpLength),
        ),
        ("longer than UDP says", |b| b.extend_from_slice(b"more"), None, None),
        (
            "from port 0",
            |b| {
                b[0..2].fill(0);
                // 4000 less in the sum.
                let sum = u32::from(u16::from_be_bytes([b[6], b[7]])) + 4000;
                let sum = (sum & 0xffff) + (sum >> 16);
                b[6..8].copy_from_slice(&(sum as u16).to_be_bytes());
            },
            Some(DropReason::UdpSourcePort),
            Some(DropReason::UdpSourcePort),
        ),
    ];
    for (name, change, v4_reason, v6_reason) in cases {
        let frames = [
            (datagram(ip("10.0.0.2"), ip("10.0.0.9"), b"hello", change), v4_reason),
            (datagram(v6("fd00::2"), v6("fd00::9"), b"hello", change), v6_reason),
        ];
        for (frame, reason) in frames {
            let mut net = pair();
            net.bind(1, "0.0.0.0:53");
            net.stack(1).bind(ListenerId(8), at("[::]:53")).expect("the other family");
            net.inject(1, IF0, &frame);
            let event = net.stack(1).next_datagram();
            match (reason, event) {
                (None, Some(UdpEvent::Arrived { payload, .. })) => {
                    assert_eq!(bytes_of(&payload), b"hello", "{name}");
                }
                (Some(reason), None) => assert_eq!(net.drops(1, reason), 1, "{name}: {reason:?}"),
                (_, event) => panic!("{name}: {event:?}"),
            }
        }
    }
}

#[test]
fn who_asks_where_nobody_listens_hears_of_it() {
    for remote in ["10.0.0.2:53", "[fd00::2]:53"] {
        let mut net = pair();
        let flow = net.flow(0, remote, 5);
        net.send(0, flow, b"who?").expect("sent");
        net.settle();
        assert_eq!(net.drops(1, DropReason::UdpNoSocket), 1);
        assert_eq!(net.datagrams(0), [(0, 5, b"unreachable".to_vec())], "{:#?}", net.log);
        assert_eq!(net.stack(0).counters().icmp_errors_in.value(), 1);
        // An error about a flow that is gone is nobody's.
        net.send(0, flow, b"who?").expect("sent");
        net.stack(0).udp_close(flow);
        net.settle();
        assert_eq!(net.drops(0, DropReason::IcmpUnsolicited), 1);
        assert_eq!(net.datagrams(0), []);
        net.census_idle();
    }
}

#[test]
fn port_unreachable_is_said_no_more_often_than_allowed() {
    let mut net = pair_with(|_| {}, |config| config.icmp_errors_per_second = 20);
    for _ in 0..50 {
        net.inject(1, IF0, &datagram(ip("10.0.0.2"), ip("10.0.0.1"), b"x", |_| {}));
    }
    let counters = net.stack(1).counters();
    let (said, limited) = (counters.icmp_errors_out.value(), counters.icmp_errors_limited.value());
    assert!((1..=11).contains(&said), "{said}");
    assert_eq!(said + limited, 50);
}

#[test]
fn a_silent_neighbour_is_told_to_the_flow() {
    for remote in ["10.0.0.77:53", "[fd00::77]:53"] {
        let mut net = pair();
        let flow = net.flow(0, remote, 5);
        net.send(0, flow, b"who?").expect("it waits for its neighbour");
        for _ in 0..50 {
            net.run(Duration::from_millis(100));
            if net.drops(0, DropReason::NeighborFailed) > 0 {
                break;
            }
        }
        assert_eq!(net.datagrams(0), [(0, 5, b"unreachable".to_vec())], "{:#?}", net.log);
        // While it is known to be silent, at once.
        assert_eq!(net.send(0, flow, b"who?"), Err(DropReason::NeighborFailed));
        assert_eq!(net.datagrams(0), [(0, 5, b"unreachable".to_vec())]);
        net.census_idle();
    }
}

#[test]
fn large_datagrams_travel_in_fragments() {
    for (remote, most) in [("10.0.0.2:53", 65_507), ("[fd00::2]:53", 65_527)] {
        for offload in [false, true] {
            let capabilities = Capabilities {
                multi_segment: true,
                tx_l4_checksum: offload,
                ..Capabilities::default()
            };
            // One source may hold an eighth of what fragments may hold.
            let mut net = pair_with(
                |interface| interface.capabilities = capabilities,
                |config| config.reassembly_buffers_max = 4096,
            );
            net.bind(1, "0.0.0.0:53");
            net.stack(1).bind(ListenerId(8), at("[::]:53")).expect("the other family");
            let flow = net.flow(0, remote, 5);
            for len in [0, 1, 1471, 1472, 1473, 2953, 20_000] {
                let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                net.send(0, flow, &bytes).expect("sent");
                net.settle();
                let event = net.stack(1).next_datagram();
                let Some(UdpEvent::Arrived { payload, .. }) = event else {
                    panic!("{len} bytes to {remote}: {event:?} {:#?}", net.log);
                };
                assert_eq!(bytes_of(&payload), bytes);
                drop(payload);
            }
            assert!(net.stack(0).counters().fragments_out.value() > 0);
            assert_eq!(net.send(0, flow, &vec![0; most + 1]), Err(DropReason::UdpTooLarge));
            net.send(0, flow, &vec![0; most]).expect("the most there can be");
            net.settle();
            // More than one source may have in pieces: it is let go of in the end.
            net.run(Duration::from_secs(40));
            net.census_idle();
        }
    }
}

#[test]
fn a_router_s_word_about_the_path_makes_later_datagrams_fragments() {
    let mut net = pair();
    let flow = net.flow(0, "[fd00::2]:53", 5);
    let port = net.stack(0).udp_flows().next().expect("one").local.port();
    let told = |mtu: u32, len: u16| {
        let (us, peer) = (v6("fd00::1"), v6("fd00::2"));
        let mut message = vec![2, 0, 0, 0, 0, 0, 0, 0];
        message[4..8].copy_from_slice(&mtu.to_be_bytes());
        let mut quoted = vec![0; 48];
        Ipv6Header::new(us, peer, IpProtocol::Udp, len).emit(&mut quoted);
        quoted[40..42].copy_from_slice(&port.to_be_bytes());
        quoted[42..44].copy_from_slice(&53u16.to_be_bytes());
        message.extend_from_slice(&quoted);
        sluice_wire::icmpv6::fill_checksum(peer, us, &mut message);
        let ethernet = EthernetHeader {
            destination: mac(1, 0),
            source: mac(2, 0),
            tags: VlanTags::None,
            ether_type: EtherType::Ipv6,
        };
        let mut frame = vec![0; 54];
        ethernet.emit(&mut frame);
        Ipv6Header::new(peer, us, IpProtocol::Icmpv6, message.len() as u16).emit(&mut frame[14..]);
        frame.extend_from_slice(&message);
        frame
    };
    let fragments = |net: &mut Net| {
        let before = net.stack(0).counters().fragments_out.value();
        net.send(0, flow, &[0; 1400]).expect("sent");
        net.settle();
        net.stack(0).counters().fragments_out.value() - before
    };
    assert_eq!(fragments(&mut net), 0);
    net.inject(0, IF0, &told(600, 1408));
    assert_eq!(fragments(&mut net), 0, "every link carries 1280");
    net.inject(0, IF0, &told(1300, 1000));
    assert_eq!(fragments(&mut net), 0, "that one fitted");
    net.inject(0, IF0, &told(1300, 1408));
    assert_eq!(fragments(&mut net), 2);
}

/// Answers come by any queue, in fragments too, and reach the worker that asked.
#[test]
fn every_worker_hears_its_own_answers() {
    let mut net = pair_with(|_| {}, |config| config.workers = 3);
    net.bind(1, "0.0.0.0:53");
    for stack in &mut net.hosts[1].stacks {
        stack.bind(ListenerId(8), at("[::]:53")).expect("the other family");
    }
    let mut flows = Vec::new();
    for worker in 0..3 {
        for number in 0..8 {
            let remote = if number % 2 == 0 { "10.0.0.2:53" } else { "[fd00::2]:53" };
            let (now, token) = (net.now, worker as u32 * 100 + number);
            let stack = &mut net.hosts[0].stacks[worker];
            let flow = stack.udp_connect(at(remote), token, now).expect("a flow");
            flows.push((worker, token, flow));
        }
    }
    for len in [10, 4000] {
        for (worker, token, flow) in &flows {
            let packet = payload(&net, 0, &vec![*token as u8; len]);
            let now = net.now;
            net.hosts[0].stacks[*worker].send_datagram(*flow, packet, now).expect("sent");
        }
        let mut heard = Vec::new();
        for _ in 0..20 {
            net.settle();
            for stack in 0..3 {
                let now = net.now;
                let stack = &mut net.hosts[1].stacks[stack];
                while let Some(event) = stack.next_datagram() {
                    let (flow, payload) = match event {
                        UdpEvent::Datagram { flow, payload, .. } => (flow, payload),
                        UdpEvent::Arrived { local, peer, payload, .. } => {
                            (stack.udp_accept(local, peer, 99, now).expect("a flow"), payload)
                        }
                        UdpEvent::Unreachable { .. } => panic!("everybody is there"),
                    };
                    stack.send_datagram(flow, payload, now).expect("sent");
                }
            }
            heard.extend(net.datagrams(0));
        }
        heard.sort();
        let mut wanted: Vec<_> = flows
            .iter()
            .map(|(worker, token, _)| (*worker, *token, vec![*token as u8; len]))
            .collect();
        wanted.sort();
        assert_eq!(heard, wanted, "{len} bytes");
    }
    let owners = net.hosts[1].stacks.iter().map(sluice_stack::Stack::udp_flow_count);
    assert_eq!(owners.sum::<usize>(), 24, "a peer's flow is one worker's");
    net.census_idle();
}

#[test]
fn every_table_has_an_answer_to_full() {
    let mut net = pair_with(
        |_| {},
        |config| {
            config.udp_flows_max = 3;
            config.datagrams_max = 4;
            config.upstream_ports = 40_000..=40_001;
        },
    );
    let now = net.now;
    assert!(net.flow(0, "10.0.0.2:53", 1) != net.flow(0, "10.0.0.2:53", 2));
    let connect = |net: &mut Net, to: &str| net.stack(0).udp_connect(at(to), 3, now);
    assert_eq!(connect(&mut net, "10.0.0.2:53"), Err(ConnectError::NoPort));
    assert!(connect(&mut net, "10.0.0.2:54").is_ok(), "another endpoint, the same ports");
    assert_eq!(connect(&mut net, "10.0.0.2:55"), Err(ConnectError::TableFull));
    assert_eq!(connect(&mut net, "10.0.0.2:0"), Err(ConnectError::NoPort));
    for nowhere in ["10.0.0.1:53", "192.0.2.1:53", "127.0.0.1:53", "[fe80::1]:53", "[::1]:53"] {
        assert_eq!(connect(&mut net, nowhere), Err(ConnectError::NoRoute), "{nowhere}");
    }
    net.bind(1, "0.0.0.0:53");
    assert_eq!(net.stack(1).bind(ECHO, at("0.0.0.0:54")), Err(ListenError::InUse));
    assert_eq!(net.stack(1).bind(ListenerId(8), at("0.0.0.0:53")), Err(ListenError::InUse));
    assert_eq!(net.stack(1).bind(ListenerId(8), at("10.0.0.7:53")), Err(ListenError::NotLocal));
    for _ in 0..6 {
        net.inject(1, IF0, &datagram(ip("10.0.0.2"), ip("10.0.0.9"), b"x", |_| {}));
    }
    assert_eq!(net.drops(1, DropReason::UdpQueueFull), 2);
    net.stack(1).unbind(ECHO);
    assert!(net.stack(1).next_datagram().is_none(), "nobody wants them any more");
    assert_eq!(net.drops(1, DropReason::UdpNoSocket), 4);
    net.census_idle();
}

/// Of what a peer sends in one vector, the first begins the flow and the rest belongs to it.
#[test]
fn a_burst_of_a_new_peer_is_one_flow() {
    let mut net = pair();
    net.bind(1, "0.0.0.0:53");
    for _ in 0..5 {
        net.inject(1, IF0, &datagram(ip("10.0.0.2"), ip("10.0.0.9"), b"x", |_| {}));
    }
    assert_eq!(net.echo_datagrams(1), [at("10.0.0.9:4000")]);
    let now = net.now;
    let twice = net.stack(1).udp_accept(at("10.0.0.2:53"), at("10.0.0.9:4000"), 1, now);
    assert_eq!(twice, Err(ConnectError::NoPort));
    let unbound = net.stack(1).udp_accept(at("10.0.0.2:54"), at("10.0.0.9:4000"), 1, now);
    assert_eq!(unbound, Err(ConnectError::NoPort));
}

/// Bytes out are bytes in, whatever the wire loses: a datagram comes whole or not at all.
#[test]
fn datagrams_come_whole_or_not_at_all() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut net = pair();
        net.bind(1, "0.0.0.0:53");
        net.stack(1).bind(ListenerId(8), at("[::]:53")).expect("the other family");
        let flows = [net.flow(0, "10.0.0.2:53", 4), net.flow(0, "[fd00::2]:53", 6)];
        for flow in flows {
            net.send(0, flow, &[0]).expect("sent");
            net.settle();
            assert!(net.stack(1).next_datagram().is_some(), "they know each other");
        }
        let mut losses = Rng::new(seed + 1000);
        net.filter = Some(Box::new(move |_| losses.below(10) > 0));
        let (mut sent, mut arrived) = (Vec::new(), 0);
        for number in 0..60u32 {
            let len = 4 + if rng.below(4) == 0 { rng.below(9000) } else { rng.below(1500) };
            let mut bytes = number.to_be_bytes().to_vec();
            bytes.extend((4..len).map(|at| (at * 7 + number) as u8));
            let flow = flows[rng.below(2) as usize];
            let _ = net.send(0, flow, &bytes);
            sent.push(bytes);
            net.settle();
            while let Some(event) = net.stack(1).next_datagram() {
                let UdpEvent::Arrived { payload, .. } = event else { panic!("{event:?}") };
                let bytes = bytes_of(&payload);
                let number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                assert_eq!(bytes, sent[number as usize], "seed {seed}");
                arrived += 1;
            }
        }
        assert!(arrived >= 20, "seed {seed}: {arrived}");
        net.filter = None;
        net.run(Duration::from_secs(40));
        net.census_idle();
    }
}
