//! Forwards packets between two interfaces, for counting instructions:
//!
//! ```sh
//! cargo build --release -p sluice-stack --example forward
//! for n in 1000 2000; do
//!     valgrind --tool=callgrind --toggle-collect='*heartbeat*' target/release/examples/forward $n
//! done
//! ```
//!
//! The difference of the two counts, divided by 32,000, is what a packet costs.

use std::net::Ipv4Addr;

use sluice_base::{Instant, InterfaceId};
use sluice_buf::{BURST, Batch, Capabilities, Packet, Pool, RxChecksum};
use sluice_stack::{InterfaceConfig, Secrets, Stack, StackConfig};
use sluice_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, IpProtocol, Ipv4Header, MacAddress,
    VlanTags,
};

const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

fn main() {
    let bursts = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let interface = |id: u16| InterfaceConfig {
        id: InterfaceId(id),
        mac: OURS,
        mtu: 1500,
        addresses: vec![(Ipv4Addr::new(10, 0, id as u8, 1).into(), 24)],
        capabilities: Capabilities { multi_segment: true, ..Capabilities::default() },
    };
    let config = StackConfig {
        interfaces: vec![interface(0), interface(1)],
        secrets: Secrets { flow: [1, 2], iss: [3, 4], owner: [5, 6] },
        ..StackConfig::default()
    };
    let rx = Pool::heap(1024);
    let mut stack = Stack::new(config, rx.share(), Pool::heap(1024), 1);
    let mut now = Instant::from_millis(1);
    let (mut batch, mut out) = (Batch::burst(), Batch::burst());
    for host in 2..34 {
        batch.push(question(&rx, host));
    }
    stack.handle_batch(InterfaceId(1), &mut batch, now);
    for interface in [InterfaceId(0), InterfaceId(1)] {
        stack.transmit(interface, BURST, &mut out, now);
        out.clear();
    }
    stack.transmit(InterfaceId(1), BURST, &mut out, now);
    out.clear();
    let mut sent = 0;
    for burst in 0..bursts {
        for host in 0..BURST as u8 {
            let packet = datagram(&rx, (host ^ (burst % 32) as u8) + 2);
            batch.push(packet);
        }
        now = now.plus_nanos(1_000);
        heartbeat(&mut stack, &mut batch, &mut out, now);
        sent += out.len();
        out.clear();
    }
    assert_eq!(sent, bursts * BURST, "every packet went on");
}

/// What is counted.
#[inline(never)]
fn heartbeat(stack: &mut Stack, batch: &mut Batch, out: &mut Batch, now: Instant) {
    stack.handle_batch(InterfaceId(0), batch, now);
    stack.transmit(InterfaceId(1), BURST, out, now);
}

fn frame(pool: &Pool, ether_type: EtherType, len: usize) -> Packet {
    let mut packet = pool.alloc().expect("a buffer");
    let (destination, source, tags) = (OURS, THEIRS, VlanTags::None);
    let header = EthernetHeader { destination, source, tags, ether_type };
    header.emit(packet.append(14 + len).expect("room"));
    packet
}

fn question(pool: &Pool, host: u8) -> Packet {
    let arp = ArpPacket {
        operation: ArpOperation::Request,
        sender_mac: THEIRS,
        sender_ip: Ipv4Addr::new(10, 0, 1, host),
        target_mac: MacAddress::ZERO,
        target_ip: Ipv4Addr::new(10, 0, 1, 1),
    };
    let mut packet = frame(pool, EtherType::Arp, 46);
    arp.emit(&mut packet.head_mut()[14..]);
    packet
}

fn datagram(pool: &Pool, host: u8) -> Packet {
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 1, host));
    let mut packet = frame(pool, EtherType::Ipv4, 46);
    Ipv4Header::new(from, to, IpProtocol::Udp, 26).emit(&mut packet.head_mut()[14..]);
    packet.set_rx_checksum(RxChecksum::Good);
    packet
}
