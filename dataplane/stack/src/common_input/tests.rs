//! The short way and the one for all do the same with every packet, good or bad.

use proptest::prelude::*;
use sluice_base::InterfaceId;
use sluice_buf::{Batch, Capabilities, Gso, Pool};
use sluice_wire::{
    EtherType, EthernetHeader, Flags, Ipv4Header, MacAddress, TcpHeader, VlanTags, tcp,
};

use super::*;
use crate::config::{InterfaceConfig, RouteConfig, StackConfig};

const OURS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const MAC: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 1, 1]), MacAddress([2, 0, 0, 0, 2, 1])];
const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 9, 9]);
const NOW: Instant = Instant::from_millis(1_000);

/// A router with a next hop that answers.
fn router(pool: &Pool) -> Stack {
    let interface = |at: usize| InterfaceConfig {
        id: InterfaceId(at as u16),
        mac: MAC[at],
        mtu: 1_500,
        addresses: vec![(OURS[at].into(), 24)],
        capabilities: Capabilities { tx_l4_checksum: true, ..Capabilities::default() },
    };
    let config = StackConfig {
        interfaces: vec![interface(0), interface(1)],
        routes: vec![RouteConfig {
            to: (Ipv4Addr::new(10, 99, 0, 0).into(), 16),
            via: vec![GATEWAY.into()],
            interface: None,
        }],
        ..StackConfig::default()
    };
    let mut stack = Stack::new(config, pool.share(), pool.share(), 1);
    let key = stack.neighbor(1, GATEWAY.into(), NOW).expect("room for a neighbour");
    stack.reach(key, NOW);
    stack.learn(key, PEER_MAC, crate::neighbor::Learned::Answer, NOW);
    output(&mut stack);
    stack
}

/// Everything that the stack sends now.
fn output(stack: &mut Stack) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    let mut out = Batch::with_capacity(64);
    for interface in [0, 1] {
        stack.transmit(InterfaceId(interface), 64, &mut out, NOW);
        for packet in out.drain() {
            let offload = format!("{interface} {:?}", packet.tx_offload());
            let mut bytes = offload.into_bytes();
            packet.segments().for_each(|piece| bytes.extend_from_slice(piece));
            sent.push(bytes);
        }
    }
    sent
}

fn counters(stack: &Stack) -> Vec<(String, u64)> {
    let counters = stack.counters();
    let drops = counters.drops.iter().map(|(reason, count)| (reason.name().to_owned(), count));
    let others = counters.iter().map(|(name, count)| (name.to_owned(), count));
    drops.chain(others).filter(|(_, count)| *count > 0).collect()
}

/// A frame that takes the short way: a segment for us, or something for behind the gateway.
fn frame(to_us: bool, stamped: bool, payload: usize) -> Vec<u8> {
    let destination = if to_us { OURS[0] } else { Ipv4Addr::new(10, 99, 0, 7) };
    let plain = PlainHeader {
        seq: sluice_wire::SeqNumber(1),
        ack: sluice_wire::SeqNumber(2),
        flags: Flags::ACK,
        window: 100,
        timestamps: stamped.then_some(sluice_wire::Timestamps { value: 1, echo: 2 }),
    };
    let header: TcpHeader = plain.with_ports(40_000, 80);
    let mut l4 = vec![0; header.header_len()];
    header.emit(&mut l4);
    l4.extend(std::iter::repeat_n(7, payload));
    tcp::fill_checksum(CLIENT, destination, &mut l4);
    let mut bytes = vec![0; L4_AT];
    let link = EthernetHeader {
        destination: MAC[0],
        source: PEER_MAC,
        tags: VlanTags::None,
        ether_type: EtherType::Ipv4,
    };
    link.emit(&mut bytes);
    let ip = Ipv4Header::new(CLIENT, destination, IpProtocol::Tcp, l4.len() as u16);
    ip.emit(&mut bytes[ethernet::HEADER_LEN..]);
    bytes.extend(l4);
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// Where a byte is changed, and to what; whether the header's checksum is corrected behind it.
type Change = (usize, u8, bool);

fn mangle(bytes: &mut Vec<u8>, changes: &[Change], cut: Option<usize>) {
    for (at, value, corrected) in changes {
        let at = at % bytes.len();
        bytes[at] = *value;
        if *corrected && bytes.len() >= L4_AT {
            bytes[24..26].fill(0);
            let sum = !sluice_wire::checksum::ones_complement_sum(&bytes[14..L4_AT]);
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
    }
    bytes.truncate(cut.unwrap_or(usize::MAX));
}

proptest! {
    #[test]
    fn the_short_way_does_what_the_long_one_does(
        kind in (any::<bool>(), any::<bool>(), 0usize..80),
        changes in proptest::collection::vec((0usize..70, any::<u8>(), any::<bool>()), 0..3),
        cut in proptest::option::weighted(0.2, 0usize..80),
        checksum in prop_oneof![
            Just(RxChecksum::Unknown),
            Just(RxChecksum::Good),
            Just(RxChecksum::Bad),
            Just(RxChecksum::Partial),
        ],
        is_merged in proptest::bool::weighted(0.1),
    ) {
        let pool = Pool::heap(256);
        let mut bytes = frame(kind.0, kind.1, kind.2);
        mangle(&mut bytes, &changes, cut);
        let packet = || {
            let mut packet = pool.alloc().expect("room");
            assert!(packet.append_bytes(&bytes));
            packet.set_rx_checksum(checksum);
            if is_merged {
                packet.set_gso(Gso { segment_size: 20 });
            }
            packet
        };
        let (mut short, mut long) = (router(&pool), router(&pool));
        let mut batch = Batch::burst();
        // Twice, so that what is kept between packets counts too.
        for _ in 0..2 {
            batch.push(packet());
        }
        short.handle_batch(InterfaceId(0), &mut batch, NOW);
        for _ in 0..2 {
            long.counters.packets_in.increment();
            let handled = long.ethernet_input(0, packet(), Arrival::Device, NOW);
            long.note(handled);
        }
        long.handle_segments(NOW);
        prop_assert_eq!(output(&mut short), output(&mut long));
        prop_assert_eq!(counters(&short), counters(&long));
    }
}

/// Without this the property above could hold because no packet is common.
#[test]
fn what_is_meant_for_the_short_way_takes_it() {
    let pool = Pool::heap(64);
    for (to_us, payload) in [(true, 0), (true, 50), (false, 0), (false, 50)] {
        let mut stack = router(&pool);
        let mut vector = Vector::new(&stack.interfaces[0], Arrival::Device, NOW);
        for stamped in [false, true] {
            let mut packet = pool.alloc().expect("room");
            assert!(packet.append_bytes(&frame(to_us, stamped, payload)));
            let taken = stack.common_input(packet, &mut vector);
            assert!(taken.is_ok(), "to us {to_us}, {payload} bytes, stamped {stamped}");
        }
        assert_eq!((vector.segments, vector.forwarded), if to_us { (2, 0) } else { (0, 2) });
        stack.segments.clear();
    }
    assert_eq!(pool.in_use(), 0);
}
