//! A stack that is fed frames, and a connection that is fed segments.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use sluice_base::{HashKey, Instant, InterfaceId, ListenerId};
use sluice_buf::{Batch, Capabilities, Chain, Pool, Pressure, chain_nodes_in_use};
use sluice_stack::{InterfaceConfig, ReversePath, Stack, StackConfig, UdpEvent};
use sluice_tcp::{ChallengeAcks, Config, Connection, Context, Numbers, Spares, TcpCounters};
use sluice_wire::{MacAddress, SeqNumber, TcpView};

const PORT: InterfaceId = InterfaceId(0);
const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const US_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);

/// `data` is a row of records: length (1 byte), milliseconds that pass (1 byte), a frame.
///
/// The stack listens on 10.0.0.1:80 and [fd09::1]:80, accepts, reads, echoes, and connects out now and then; it does
/// the same with datagrams on port 53. Whatever
/// arrives, it does not panic, what it sends is whole, and in the end every buffer is home. Once as it
/// is, and once with all that an interface may be told: to listen to routers, to ask for its address
/// first, to check sources, to have a twin in the kernel.
pub fn stack_frames(data: &[u8]) {
    feed(data, |_| {});
    feed(data, |stack| {
        stack.discover_routers(PORT, true);
        stack.set_source_checks(PORT, ReversePath::Loose, true);
        stack.set_twin(PORT);
        if data.first().is_some_and(|first| first & 1 == 1) {
            stack.probe_addresses(PORT);
        }
    });
}

fn feed(data: &[u8], prepare: impl FnOnce(&mut Stack)) {
    let (rx, tx) = (Pool::heap(256), Pool::heap(256));
    {
        let mut stack = stack(&rx, &tx);
        prepare(&mut stack);
        let mut now = Instant::from_millis(1_000);
        let mut rest = data;
        let (mut batch, mut out) = (Batch::burst(), Batch::with_capacity(64));
        while let [len, wait, tail @ ..] = rest {
            let (frame, tail) = tail.split_at(usize::from(*len).min(tail.len()));
            rest = tail;
            now = now.plus_nanos(u64::from(*wait) * 1_000_000);
            if let Ok(mut packet) = rx.alloc() {
                packet.append_bytes(frame);
                batch.push(packet);
            }
            stack.handle_batch(PORT, &mut batch, now);
            assert!(batch.is_empty(), "every packet is taken");
            stack.handle_timers(now);
            while let Some((conn, ready)) = stack.next_ready() {
                if ready.readable() {
                    let mut bytes = stack.read(conn, usize::MAX);
                    let count = bytes.len();
                    stack.write(conn, &mut bytes, now);
                    stack.credit(conn, count, now);
                }
                if ready.peer_closed() {
                    stack.close(conn, now);
                }
            }
            while let Some(event) = stack.next_datagram() {
                match event {
                    UdpEvent::Datagram { flow, payload, .. } => {
                        let _ = stack.send_datagram(flow, payload, now);
                    }
                    UdpEvent::Arrived { local, peer, payload, .. } => {
                        if let Ok(flow) = stack.udp_accept(local, peer, 0, now) {
                            let _ = stack.send_datagram(flow, payload, now);
                        }
                    }
                    UdpEvent::Unreachable { flow, .. } => stack.udp_close(flow),
                }
            }
            if *wait == 255 {
                let remote = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 2).into(), 53);
                if let (Ok(flow), Ok(payload)) = (stack.udp_connect(remote, 1, now), tx.alloc()) {
                    let _ = stack.send_datagram(flow, payload, now);
                }
                let remote = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 80);
                let _ = stack.connect(remote, &Config::default(), 0, now);
                let remote = SocketAddr::new(Ipv6Addr::from_bits(US_V6.to_bits() + 1).into(), 80);
                let _ = stack.connect(remote, &Config::default(), 0, now);
            }
            stack.transmit(PORT, 64, &mut out, now);
            let kernel_has = stack.has_twin_output(PORT);
            for packet in out.drain() {
                assert!(packet.len() >= 14, "a frame has its header");
                assert!(packet.len() <= 1_514, "a frame fits its link");
            }
            stack.transmit_twin(PORT, 64, &mut out);
            assert_eq!(out.is_empty(), !kernel_has, "what waits for the kernel is given out");
            // What went to the kernel comes from it, too.
            stack.handle_twin(PORT, &mut out, now);
            assert!(out.is_empty(), "every packet is taken");
        }
    }
    assert_eq!((rx.in_use(), tx.in_use()), (0, 0), "every buffer is home");
    assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
}

fn stack(rx: &Pool, tx: &Pool) -> Stack {
    let config = StackConfig {
        interfaces: vec![InterfaceConfig {
            id: PORT,
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1_500,
            addresses: vec![(US.into(), 24), (US_V6.into(), 64)],
            capabilities: Capabilities { multi_segment: true, ..Capabilities::default() },
        }],
        connections_max: 64,
        time_wait_max: 16,
        udp_flows_max: 64,
        neighbors_max: 16,
        parked_max: 16,
        ..StackConfig::default()
    };
    let mut stack = Stack::new(config, rx.share(), tx.share(), 1);
    let config = Config { fast_open_max: 4, ..Config::default() };
    let listening = stack.listen(ListenerId(0), SocketAddrV4::new(US, 80), &config);
    assert!(listening.is_ok(), "the address is ours");
    let address = SocketAddr::new(US_V6.into(), 80);
    let listening = stack.listen(ListenerId(1), address, &Config::default());
    assert!(listening.is_ok(), "the address is ours");
    for (id, address) in [(2, US.into()), (3, US_V6.into())] {
        let bound = stack.bind(ListenerId(id), SocketAddr::new(address, 53));
        assert!(bound.is_ok(), "the address is ours");
    }
    stack
}

/// `data` is a row of records: verb and length (1 byte), a TCP header with payload.
///
/// A connection opened passively takes them in any order; its invariants are checked after each by
/// its own debug assertions, and in the end every buffer is home.
pub fn tcp_segments(data: &[u8]) {
    let pool = Pool::heap(256);
    {
        let config = Config::default();
        let spares = Spares::new(1);
        let (counters, challenges) =
            (TcpCounters::default(), ChallengeAcks::new(HashKey::new([1, 2])));
        let mut now = Instant::from_millis(1_000);
        let mut connection: Option<Connection> = None;
        let mut rest = data;
        while let [first, tail @ ..] = rest {
            let (bytes, tail) = tail.split_at(usize::from(first & 0x7f).min(tail.len()));
            rest = tail;
            now = now.plus_nanos(10_000_000);
            let cx = Context {
                config: &config,
                pool: &pool,
                pressure: Pressure::None,
                counters: &counters,
                spares: &spares,
                challenges: &challenges,
                now,
            };
            let Ok(view) = TcpView::parse(bytes) else { continue };
            let Ok(header) = view.header() else { continue };
            let payload = &bytes[view.header_len()..];
            let Some(tcp) = &mut connection else {
                let numbers = Numbers { iss: SeqNumber(7), stamp_offset: 7 };
                connection = Some(Connection::accept(numbers, &header, &cx));
                continue;
            };
            let Ok(payload) = Chain::copy_from(payload, &pool) else { continue };
            let _ = tcp.handle_segment(&header, payload, &cx);
            if first & 0x80 != 0 {
                let mut bytes = tcp.read(usize::MAX);
                let count = bytes.len();
                let _ = tcp.write(&mut bytes, &cx);
                let _ = tcp.credit(count, &cx);
            }
            if tcp.next_deadline() <= now {
                let _ = tcp.handle_timer(&cx);
            }
            let mut sent = 0;
            while tcp.poll_output(0, &cx).is_some() {
                sent += 1;
                assert!(sent < 10_000, "output comes to an end");
            }
        }
    }
    assert_eq!(pool.in_use(), 0, "every buffer is home");
    assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
}
