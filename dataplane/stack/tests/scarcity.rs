//! Tables and pools at their end: nobody is forgotten, nobody is shut out by others.

mod common;

use std::time::Duration;

use common::{IF0, Net, at, config, interface, ip};
use sluice_buf::Chain;
use sluice_stack::{CloseReason, DropReason, ReadySignals, StackConfig};
use sluice_tcp::Config;
use sluice_wire::Flags;

/// A SYN from some station of host 0's link to 10.0.0.2:80.
fn syn(source: &str, port: u16) -> Vec<u8> {
    common::segment((source, port), ("10.0.0.2", 80), 1, Flags::SYN)
}

/// A segment that can not even wait for its next hop is as good as lost. Otherwise a connection
/// whose first segment never left would have no timer and stay for ever: a few thousand SYNs from
/// addresses of the link close a listener.
#[test]
fn connections_end_though_the_neighbour_table_is_full() {
    let mut net = Net::pair_with(|_| {}, |config| config.neighbors_max = 1);
    net.listen(1, "10.0.0.2:80");
    net.settle();
    for host in 50..60 {
        let frame = syn(&format!("10.0.0.{host}"), 1_000);
        net.inject(1, IF0, &frame);
    }
    let now = net.now;
    net.stack(1).connect(at("10.0.0.70:80"), &Config::default(), 0, now).expect("a connection");
    net.transmit();
    assert!(net.drops(1, DropReason::NeighborTable) >= 9);
    assert_eq!(net.stack(1).counters().tcp_half_open.value(), 10);
    net.run(Duration::from_secs(300));
    let ready = net.ready(1);
    assert_eq!(ready.len(), 1, "{ready:?}");
    assert_eq!(ready[0].2.reason, Some(CloseReason::TimedOut));
    assert_eq!(net.stack(1).counters().tcp_half_open.value(), 0);
    assert_eq!(net.stack(1).connection_count(), 0);
    net.census_idle();
}

/// What a peer sends is charged to receive memory, also when it is copied together: else clients
/// that do not read could keep every transmit buffer of the worker.
#[test]
fn small_payloads_do_not_hold_transmit_buffers() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    for _ in 0..2_000 {
        net.write(0, client, &[7; 200]);
        net.transmit();
        net.run(Duration::from_micros(200));
    }
    net.run(Duration::from_secs(1));
    let (_, server, _) = net.ready(1)[0];
    assert_eq!(net.stack(1).readable(server), 400_000);
    assert!(net.stack(1).counters().tcp.coalesced.value() > 1_500);
    assert_eq!(net.stack(1).tx_pool().in_use(), 0);
    net.census();
}

/// Bytes in many small slices, as a chunked body of tiny chunks leaves them, go out in few segments
/// of memory: one indirect buffer per slice would empty the pool, and no device takes so many.
#[test]
fn tiny_slices_are_sent_in_few_buffers() {
    for tso in [0, 65_535] {
        let mut net = Net::pair_with(
            |interface| {
                interface.capabilities.tx_segmentation_max = tso;
                interface.capabilities.tx_l4_checksum = tso > 0;
            },
            |_| {},
        );
        net.listen(1, "10.0.0.2:80");
        let client = net.connect(0, "10.0.0.2:80");
        net.settle();
        let data: Vec<u8> = (0..60_000).map(|i| (i % 251) as u8).collect();
        let now = net.now;
        let stack = net.stack(0);
        let mut whole = Chain::copy_from(&data, stack.tx_pool()).expect("buffers");
        let mut tiny = Chain::new();
        while !whole.is_empty() {
            tiny.append(&mut whole.split_to(6));
        }
        assert!(tiny.buffers() >= 10_000);
        stack.write(client, &mut tiny, now);
        let (mut received, limit) = (Vec::new(), now + Duration::from_secs(5));
        while received.len() < data.len() && net.step(limit) {
            for (_, id, ready) in net.ready(1) {
                if ready.signals.contains(ReadySignals::READABLE) {
                    received.extend(net.read(1, id));
                }
            }
        }
        assert!(received == data, "{} of {} bytes with units of {tso}", received.len(), data.len());
        assert_eq!(net.drops(0, DropReason::TxPoolEmpty), 0);
        net.census();
    }
}

/// The reserve is for ACKs, too, when the same connection has new data that must wait.
#[test]
fn data_that_waits_for_buffers_does_not_hold_back_acks() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    let (_, server, _) = net.ready(1)[0];
    let mut hoard = Vec::new();
    let mut answer = Chain::copy_from(&[1; 1_000], net.stack(1).tx_pool()).expect("a buffer");
    while let Ok(packet) = net.stack(1).tx_pool().alloc() {
        hoard.push(packet);
    }
    let now = net.now;
    net.stack(1).write(server, &mut answer, now);
    net.write(0, client, &[2; 100]);
    net.run(Duration::from_millis(150));
    assert_eq!(net.stack(0).queued(client), 0, "it was acknowledged");
    assert_eq!(net.stack(1).queued(server), 1_000);
    assert_eq!(net.stack(0).counters().tcp.timeouts.value(), 0);
    drop(hoard);
    net.run(Duration::from_millis(150));
    assert_eq!(net.read(0, client), [1; 1_000]);
    net.census();
}

/// Strangers' addresses do not push out a neighbour that is in use.
#[test]
fn a_neighbour_in_use_is_kept() {
    let mut net = Net::new();
    net.add(&config(vec![interface(1, 0, "10.0.0.1")]));
    let small = StackConfig { neighbors_max: 4, ..config(vec![interface(2, 0, "10.0.0.2")]) };
    net.add(&small);
    net.join((0, IF0), (1, IF0));
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    for host in 50..60 {
        let frame = syn(&format!("10.0.0.{host}"), 1_000);
        net.inject(1, IF0, &frame);
    }
    net.settle();
    let known: Vec<_> = net.stack(1).neighbors().map(|neighbor| neighbor.address).collect();
    assert!(known.contains(&ip("10.0.0.1").into()), "{known:?}");
    net.write(0, client, b"still there?");
    net.settle();
    net.echo(1);
    net.settle();
    assert_eq!(net.read(0, client), b"still there?");
    net.census();
}

/// What is forwarded comes first, but not alone: a flood through the router must not silence its own
/// connections.
#[test]
fn connections_send_beside_a_flood_of_forwarded_packets() {
    let mut net = Net::routed();
    net.settle();
    net.listen(0, "10.0.0.1:80");
    let now = net.now;
    let router = net.stack(1);
    let ours = router.connect(at("10.0.0.1:80"), &Config::default(), 0, now).expect("a port");
    net.settle();
    net.write(1, ours, &[7; 14_000]);
    // A ping of the router itself, often: the answers are control packets, too.
    let ping = common::ping("10.0.0.1", "10.0.0.254");
    let (rx, now) = (net.stack(1).rx_pool().share(), net.now);
    for _ in 0..500 {
        let mut packet = rx.alloc().expect("a buffer");
        assert!(packet.append_bytes(&ping));
        let mut batch = sluice_buf::Batch::burst();
        batch.push(packet);
        net.stack(1).handle_batch(IF0, &mut batch, now);
    }
    for (room, segments) in [(32, 8), (3, 1), (1, 1), (1, 0), (0, 0)] {
        let mut out = sluice_buf::Batch::burst();
        let before = net.stack(1).counters().tcp_segments_out.value();
        net.stack(1).transmit(IF0, room, &mut out, now);
        assert_eq!(out.len(), room, "the room is used");
        assert_eq!(net.stack(1).counters().tcp_segments_out.value() - before, segments);
        out.clear();
    }
    net.census();
}
