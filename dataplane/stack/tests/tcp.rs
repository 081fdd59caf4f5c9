//! Connections between two stacks.

mod common;

use std::time::Duration;

use common::{IF0, Net, at, ip};
use sluice_buf::Capabilities;
use sluice_stack::{CloseReason, ConnectError, DropReason, ListenError, ReadySignals};
use sluice_tcp::Config;

#[test]
fn a_connection_from_syn_to_time_wait() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    let ready = net.ready(0);
    assert_eq!(ready.len(), 1);
    assert_eq!((ready[0].1, ready[0].2.signals), (client, ReadySignals::CONNECTED));
    let info = net.stack(0).connection(client).expect("it lives");
    assert_eq!((info.peer, info.token, info.listener), (at("10.0.0.2:80"), 7, None));

    let accepted = net.ready(1);
    let (_, server, ready) = accepted[0];
    assert_eq!(ready.signals, ReadySignals::ACCEPTED | ReadySignals::CONNECTED);
    let peer = net.stack(1).connection(server).expect("it lives");
    assert_eq!((peer.peer, peer.listener.map(|id| id.0)), (info.local, Some(80)));

    assert!(net.write(0, client, b"hello") > 0);
    net.settle();
    assert!(net.ready(1)[0].2.signals.contains(ReadySignals::READABLE));
    assert_eq!(net.read(1, server), b"hello");
    net.write(1, server, b"world, and more");
    let now = net.now;
    net.stack(1).close(server, now);
    net.settle();
    let signals = net.ready(0)[0].2.signals;
    assert!(signals.contains(ReadySignals::READABLE | ReadySignals::PEER_CLOSED));
    assert_eq!(net.read(0, client), b"world, and more");
    let now = net.now;
    net.stack(0).close(client, now);
    net.run(Duration::from_millis(100));
    for host in 0..2 {
        let (_, id, ready) = net.ready(host)[0];
        assert!(ready.signals.contains(ReadySignals::CLOSED), "{ready:?}");
        assert_eq!(ready.reason, Some(CloseReason::Normal));
        assert!(net.stack(host).connection(id).is_none(), "the id is dead");
        assert_eq!(net.stack(host).flows().count(), 0, "the slot is free");
    }
    // The side that closed first remembers.
    let counters = net.stack(1).counters().clone();
    assert_eq!(counters.tcp_time_waits.value(), 1);
    net.run(Duration::from_secs(61));
    assert_eq!(counters.tcp_time_waits.value(), 0);
    net.census_idle();
}

fn transfer(net: &mut Net, bytes: usize) {
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    let data: Vec<u8> = (0..bytes).map(|i| (i * 31 % 251) as u8).collect();
    let (mut sent, mut received) = (0, Vec::new());
    let limit = net.now + Duration::from_secs(60);
    while received.len() < data.len() && net.now < limit {
        let room = net.stack(0).send_room(client).min(32 * 1024).min(data.len() - sent);
        if room > 0 && net.stack(0).tx_pool().available() > 1024 {
            net.write(0, client, &data[sent..sent + room]);
            sent += room;
        }
        net.step(limit);
        net.echo(1);
        net.ready(0);
        received.extend(net.read(0, client));
    }
    assert_eq!(received.len(), data.len());
    assert!(received == data, "what comes back is what was sent");
    let now = net.now;
    net.stack(0).close(client, now);
    for _ in 0..100 {
        net.step(now + Duration::from_secs(1));
        net.echo(1);
        net.ready(0);
    }
}

#[test]
fn a_megabyte_comes_back_as_it_went() {
    let mut net = Net::pair();
    transfer(&mut net, 1_000_000);
    assert_eq!(net.drops(0, DropReason::TcpChecksum) + net.drops(1, DropReason::TcpChecksum), 0);
    net.census_idle();
}

#[test]
fn a_device_that_takes_one_segment_gets_one() {
    let mut net = Net::pair_of(&Capabilities::default());
    transfer(&mut net, 200_000);
    assert_eq!(net.drops(0, DropReason::TxLinearise), 0);
    net.census_idle();
}

#[test]
fn checksums_and_segmentation_are_left_to_a_device_that_can() {
    let mut net = Net::pair_of(&Capabilities {
        tx_ipv4_checksum: true,
        tx_l4_checksum: true,
        tx_segmentation_max: 65_535,
        rx_checksum: true,
        multi_segment: true,
    });
    transfer(&mut net, 1_000_000);
    let is_large = |line: &&String| {
        let len = line.rsplit("length ").next().and_then(|len| len.parse::<usize>().ok());
        len > Some(10_000)
    };
    assert!(net.log.iter().any(|line| is_large(&line)), "units of many segments were sent");
    net.census_idle();
}

/// The default MSS is for 1,500 bytes; a smaller link must never see a packet larger than its MTU.
#[test]
fn segments_fit_the_link() {
    let mut net = Net::pair_with(|interface| interface.mtu = 600, |_| {});
    let largest = std::rc::Rc::new(std::cell::Cell::new(0));
    let seen = largest.clone();
    net.filter = Some(Box::new(move |frame| {
        seen.set(seen.get().max(frame.bytes.len() - 14));
        true
    }));
    transfer(&mut net, 100_000);
    assert_eq!(largest.get(), 600);
    net.census_idle();
}

#[test]
fn who_holds_most_is_reset_when_hardly_a_buffer_is_left() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let (hog, modest) = (net.connect(0, "10.0.0.2:80"), net.connect(0, "10.0.0.2:80"));
    net.settle();
    net.ready(0);
    net.ready(1);
    // The server reads nothing.
    net.write(0, hog, &[1; 200_000]);
    net.write(0, modest, b"little");
    net.run(Duration::from_secs(1));
    let mut held = Vec::new();
    while let Ok(packet) = net.stack(1).rx_pool().alloc() {
        held.push(packet);
    }
    // Enough for the frames of the wire, too little for comfort.
    held.truncate(held.len() - 50);
    for _ in 0..5 {
        net.write(0, modest, b"little");
        net.run(Duration::from_millis(100));
    }
    assert!(net.stack(1).counters().tcp_shed_resets.value() > 0);
    drop(held);
    net.run(Duration::from_secs(1));
    let reset: Vec<_> = net.ready(0).into_iter().filter(|(.., ready)| ready.closed()).collect();
    assert_eq!(reset.len(), 1);
    assert_eq!((reset[0].1, reset[0].2.reason), (hog, Some(CloseReason::Reset)));
    assert!(net.stack(0).connection(modest).is_some());
    net.census();
}

#[test]
fn losses_are_made_good() {
    let mut net = Net::pair();
    let mut count = 0;
    net.filter = Some(Box::new(move |_| {
        count += 1;
        count % 23 != 0
    }));
    transfer(&mut net, 200_000);
    net.run(Duration::from_secs(30));
    net.ready(0);
    net.echo(1);
    net.run(Duration::from_secs(70));
    net.ready(0);
    net.echo(1);
    net.census_idle();
}

#[test]
fn a_thousand_connections() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let clients: Vec<_> = (0..1000).map(|_| net.connect(0, "10.0.0.2:80")).collect();
    let limit = net.now + Duration::from_secs(20);
    let (mut connected, mut closed, mut echoed) = (0, 0, 0);
    while closed < 1000 && net.now < limit {
        net.step(limit);
        net.echo(1);
        for (_, id, ready) in net.ready(0) {
            if ready.signals.contains(ReadySignals::CONNECTED) {
                connected += 1;
                net.write(0, id, b"ping");
            }
            if ready.signals.contains(ReadySignals::READABLE) {
                echoed += usize::from(net.read(0, id) == b"ping");
                let now = net.now;
                net.stack(0).close(id, now);
            }
            closed += usize::from(ready.signals.contains(ReadySignals::CLOSED));
        }
    }
    assert_eq!((connected, echoed, closed), (1000, 1000, 1000));
    assert_eq!(clients.len(), 1000);
    net.run(Duration::from_secs(1));
    net.echo(1);
    assert_eq!((net.stack(0).flows().count(), net.stack(1).flows().count()), (0, 0));
    assert_eq!(net.stack(0).counters().tcp_time_waits.value(), 1000);
    net.census_idle();
}

#[test]
fn a_closed_port_refuses() {
    let mut net = Net::pair();
    let client = net.connect(0, "10.0.0.2:81");
    net.settle();
    let (_, id, ready) = net.ready(0)[0];
    assert_eq!((id, ready.signals), (client, ReadySignals::CLOSED));
    assert_eq!(ready.reason, Some(CloseReason::Refused));
    assert_eq!(net.stack(1).counters().tcp_resets_out.value(), 1);
    assert_eq!(net.drops(1, DropReason::TcpNoConnection), 1);
    assert_eq!(net.stack(0).flows().count(), 0);
    net.census_idle();
}

#[test]
fn resets_are_limited() {
    let mut net = Net::pair_with(|_| {}, |config| config.resets_per_second = 10);
    for _ in 0..50 {
        net.connect(0, "10.0.0.2:81");
    }
    net.settle();
    let counters = net.stack(1).counters().clone();
    assert_eq!((counters.tcp_resets_out.value(), counters.tcp_resets_limited.value()), (5, 45));
    net.census();
}

#[test]
fn an_abort_reaches_both_ends() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    let server = net.ready(1)[0].1;
    net.ready(0);
    net.write(0, client, b"never mind");
    let now = net.now;
    net.stack(0).abort(client, now);
    let (_, _, ready) = net.ready(0)[0];
    assert_eq!((ready.signals, ready.reason), (ReadySignals::CLOSED, Some(CloseReason::Aborted)));
    assert_eq!(net.stack(0).flows().count(), 1, "the reset is owed");
    net.stack(0).abort(client, now);
    assert_eq!(net.write(0, client, b"dead"), 0, "verbs on a dead id do nothing");
    net.settle();
    assert_eq!(net.stack(0).flows().count(), 0);
    let (_, id, ready) = *net.ready(1).last().expect("the peer hears of it");
    assert_eq!((id, ready.reason), (server, Some(CloseReason::Reset)));
    assert!(net.ready(0).is_empty());
    net.census_idle();
}

#[test]
fn a_full_table_refuses_and_recovers() {
    let mut net = Net::pair_with(|_| {}, |config| config.connections_max = 3);
    net.listen(1, "10.0.0.2:80");
    let first = net.connect(0, "10.0.0.2:80");
    net.connect(0, "10.0.0.2:80");
    net.connect(0, "10.0.0.2:80");
    let now = net.now;
    let fourth = net.stack(0).connect(at("10.0.0.2:80"), &Config::default(), 0, now);
    assert_eq!(fourth, Err(ConnectError::TableFull));
    net.settle();
    assert_eq!(net.ready(0).len(), 3);
    let now = net.now;
    net.stack(0).abort(first, now);
    net.ready(0);
    net.settle();
    net.connect(0, "10.0.0.2:80");
    net.ready(1);
    net.settle();
    assert_eq!(net.ready(0)[0].2.signals, ReadySignals::CONNECTED);
    net.census();
}

#[test]
fn a_full_server_drops_the_newest() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    for _ in 0..5 {
        net.connect(0, "10.0.0.2:80");
    }
    net.hosts[1] = {
        let mut other = Net::pair_with(|_| {}, |config| config.connections_max = 4);
        other.listen(1, "10.0.0.2:80");
        other.hosts.remove(1)
    };
    net.settle();
    assert_eq!(net.ready(0).len(), 4);
    assert_eq!(net.drops(1, DropReason::TcpTableFull), 1);
    net.census();
}

#[test]
fn half_open_connections_are_bounded() {
    let mut net = Net::pair_with(|_| {}, |config| config.half_open_max = 4);
    net.listen(1, "10.0.0.2:80");
    // The handshake's last segment never arrives.
    net.filter = Some(Box::new(|frame| frame.bytes.get(47).is_none_or(|flags| *flags != 0x10)));
    for _ in 0..10 {
        net.connect(0, "10.0.0.2:80");
    }
    net.run(Duration::from_millis(300));
    let half_open = |net: &mut Net| net.stack(1).listeners().next().map(|l| l.half_open);
    assert_eq!(half_open(&mut net), Some(4));
    assert_eq!(net.stack(1).counters().tcp_cookies_sent.value(), 6);
    assert!(net.ready(1).is_empty(), "nobody is told of half-open connections");
    // They end by themselves, and nobody is told of that either.
    net.run(Duration::from_secs(400));
    assert_eq!(half_open(&mut net), Some(0));
    assert_eq!(net.stack(1).flows().count(), 0);
    assert!(net.ready(1).is_empty());
    net.census();
}

#[test]
fn listening_twice_or_elsewhere_is_refused() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let config = Config::default();
    let id = sluice_base::ListenerId(5);
    let stack = net.stack(1);
    assert_eq!(stack.listen(id, at("10.0.0.2:80"), &config), Err(ListenError::InUse));
    assert_eq!(stack.listen(id, at("10.0.0.9:80"), &config), Err(ListenError::NotLocal));
    stack.listen(id, at("0.0.0.0:80"), &config).expect("all is another address");
    net.census();
}

#[test]
fn connections_outlive_their_listener() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    net.echo(1);
    net.stack(1).unlisten(sluice_base::ListenerId(80));
    net.write(0, client, b"still there?");
    net.settle();
    net.echo(1);
    net.settle();
    assert_eq!(net.read(0, client), b"still there?");
    net.connect(0, "10.0.0.2:80");
    net.settle();
    let refused = net.ready(0).into_iter().any(|(_, _, r)| r.reason == Some(CloseReason::Refused));
    assert!(refused, "no new connection comes");
    net.census();
}

#[test]
fn no_way_no_port_and_not_to_ourselves() {
    let mut net = Net::pair_with(|_| {}, |config| config.upstream_ports = 50_000..=50_001);
    let now = net.now;
    let mut connect =
        |address: &str| net.stack(0).connect(at(address), &Config::default(), 0, now).err();
    assert_eq!(connect("192.0.2.1:80"), Some(ConnectError::NoRoute));
    assert_eq!(connect("10.0.0.1:80"), Some(ConnectError::NoRoute));
    assert_eq!(connect("10.0.0.255:80"), Some(ConnectError::NoRoute));
    assert_eq!(connect("10.0.0.2:80"), None);
    assert_eq!(connect("10.0.0.2:80"), None);
    assert_eq!(connect("10.0.0.2:80"), Some(ConnectError::NoPort));
    assert_eq!(connect("10.0.0.2:81"), None, "a port is free when the 4-tuple is");
    net.census();
}

#[test]
fn time_wait_records_are_used_again_when_there_are_too_many() {
    let mut net = Net::pair_with(|_| {}, |config| config.time_wait_max = 3);
    net.listen(1, "10.0.0.2:80");
    for _ in 0..5 {
        let client = net.connect(0, "10.0.0.2:80");
        net.settle();
        net.echo(1);
        let now = net.now;
        net.stack(0).close(client, now);
        net.settle();
        net.echo(1);
        net.run(Duration::from_millis(100));
        net.ready(0);
        net.echo(1);
    }
    let counters = net.stack(0).counters().clone();
    assert_eq!((counters.tcp_time_waits.value(), counters.tcp_time_waits_reused.value()), (3, 2));
    net.census_idle();
}

/// Sixty seconds of TIME-WAIT and a handful of ports must not stop a proxy that closes first.
#[test]
fn a_port_in_time_wait_is_used_again_when_no_other_is_free() {
    let mut net = Net::pair_with(|_| {}, |config| config.upstream_ports = 50_000..=50_002);
    net.listen(1, "10.0.0.2:80");
    for round in 0..9 {
        let client = net.connect(0, "10.0.0.2:80");
        net.settle();
        net.echo(1);
        assert!(net.ready(0)[0].2.connected(), "round {round}");
        let now = net.now;
        net.stack(0).close(client, now);
        net.settle();
        net.echo(1);
        net.run(Duration::from_millis(500));
        assert!(net.ready(0)[0].2.closed(), "round {round}");
        net.echo(1);
    }
    let counters = net.stack(0).counters().clone();
    assert_eq!((counters.tcp_time_waits.value(), counters.tcp_time_waits_reused.value()), (3, 6));
    net.census_idle();
}

/// RFC 9293, 3.10.7.4: the last ACK may be lost; the record must repeat it.
#[test]
fn a_time_wait_record_answers_a_repeated_fin() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    net.echo(1);
    let now = net.now;
    net.stack(0).close(client, now);
    net.settle();
    // The next pure ACK of host 0 is lost.
    let mut lost = false;
    net.filter = Some(Box::new(move |frame| {
        let is_it = !lost && frame.bytes[47] == 0x10 && frame.bytes[26..30] == [10, 0, 0, 1];
        lost |= is_it;
        !is_it
    }));
    net.echo(1);
    net.run(Duration::from_millis(10));
    assert_eq!(net.ready(0).len(), 1);
    assert_eq!(net.stack(0).counters().tcp_time_waits.value(), 1);
    assert_eq!(net.stack(1).flows().count(), 1, "the server still waits for the ACK");
    net.run(Duration::from_secs(3));
    assert_eq!(net.echo(1), 1, "its FIN was repeated and acknowledged");
    assert_eq!(net.stack(1).flows().count(), 0);
    net.census_idle();
}

#[test]
fn the_reserve_lets_acks_out_when_the_pool_is_empty() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    net.echo(1);
    let mut held = Vec::new();
    while let Ok(packet) = net.stack(1).tx_pool().alloc() {
        held.push(packet);
    }
    net.write(0, client, b"hello");
    net.run(Duration::from_millis(100));
    let acked = net.stack(0).flows().next().map(|flow| flow.queued);
    assert_eq!(acked, Some(0), "the ACK came out of the reserve");
    drop(held);
    net.census();
}

#[test]
fn a_segment_from_our_own_address_is_not_answered() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    net.connect(0, "10.0.0.2:80");
    // LAND: the source is rewritten to the destination, checksums with it.
    net.filter = Some(Box::new(|frame| {
        if frame.bytes[12..14] == [8, 0] {
            let target: [u8; 4] = frame.bytes[30..34].try_into().expect("four bytes");
            frame.bytes[26..30].copy_from_slice(&target);
            frame.bytes[24..26].fill(0);
            let sum = !sluice_wire::checksum::ones_complement_sum(&frame.bytes[14..34]);
            frame.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
            let (_, segment) = frame.bytes.split_at_mut(34);
            sluice_wire::tcp::fill_checksum(ip("10.0.0.2"), ip("10.0.0.2"), segment);
        }
        true
    }));
    net.settle();
    assert_eq!(net.drops(1, DropReason::Ipv4SourceOwn), 1);
    assert_eq!(net.stack(1).flows().count(), 0);
    assert!(!net.stack(1).has_output(IF0));
    net.census();
}

/// A link on the way takes less than both ends' links: its router says so, and is heeded.
#[test]
fn a_narrow_link_on_the_way_makes_segments_smaller() {
    let mut net = Net::routed_with(|router| router.interfaces[1].mtu = 1_000);
    net.listen(2, "10.0.1.2:80");
    let client = net.connect(0, "10.0.1.2:80");
    net.run(Duration::from_millis(10));
    net.write(0, client, &[7; 30_000]);
    net.run(Duration::from_millis(100));
    let (_, server, _) = net.ready(2)[0];
    assert_eq!(net.read(2, server), [7; 30_000]);
    let counters = net.stack(0).counters().clone();
    assert_eq!(counters.tcp.timeouts.value(), 0, "nobody waited for a timer");
    assert_eq!(counters.tcp.path_mtu.value(), 1, "those behind the first said nothing new");
    net.census();
}

/// Who claims a tiny MTU gets the least that the Internet knows, and not for a packet that fits.
#[test]
fn a_lie_about_the_path_costs_little() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    let local = net.stack(0).connection(client).expect("it lives").local.port();
    net.filter = Some(Box::new(|_| false));
    net.write(0, client, &[7; 1_000]);
    net.transmit();
    let line = net.logged("length 1000").last().expect("a segment").to_string();
    let seq = line.split("seq ").nth(1).and_then(|rest| rest.split(':').next());
    let seq = seq.and_then(|seq| seq.parse().ok()).expect("a number");
    for (mtu, quoted, heeded) in [(1_052, 1_052, 0), (1_052, 1_051, 0), (68, 1_052, 1), (0, 552, 1)]
    {
        let error = common::too_big("10.0.0.2", "10.0.0.1", (local, 80), seq, quoted, mtu);
        net.inject(0, IF0, &error);
        assert_eq!(net.stack(0).counters().tcp.path_mtu.value(), heeded, "{mtu} for {quoted}");
    }
    assert!(!net.logged("length 500").is_empty(), "552 less 40 and timestamps");
    net.census();
}

/// Where nobody listens, a SYN from nowhere must not end what protects the last connection.
#[test]
fn a_syn_does_not_end_time_wait_where_nobody_listens() {
    let mut net = Net::pair();
    net.listen(1, "10.0.0.2:80");
    let client = net.connect(0, "10.0.0.2:80");
    net.settle();
    net.echo(1);
    let local = net.stack(0).connection(client).expect("it lives").local.port();
    let now = net.now;
    net.stack(0).close(client, now);
    net.settle();
    net.echo(1);
    net.settle();
    net.ready(0);
    assert_eq!(net.stack(0).counters().tcp_time_waits.value(), 1);
    for seq in [0, 1 << 31] {
        let syn =
            common::segment(("10.0.0.2", 80), ("10.0.0.1", local), seq, sluice_wire::Flags::SYN);
        net.inject(0, IF0, &syn);
    }
    assert_eq!(net.stack(0).counters().tcp_time_waits.value(), 1);
    assert_eq!(net.stack(0).counters().tcp_resets_out.value(), 0);
    net.settle();
    net.echo(1);
    net.census_idle();
}
