//! Several workers on one host. Their queues get the frames in turn, so that half of all frames
//! come to the wrong one.

mod common;

use std::time::Duration;

use common::{IF0, Net, at, config, interface};
use sluice_base::WorkerId;
use sluice_stack::{CloseReason, DropReason, ReadySignals, StackConfig};
use sluice_tcp::Config;

/// Host 0 has one worker, host 1 has `workers`.
fn net(workers: u16) -> Net {
    let mut net = Net::new();
    net.add(&config(vec![interface(1, 0, "10.0.0.1")]));
    net.add(&StackConfig { workers, ..config(vec![interface(2, 0, "10.0.0.2")]) });
    net.join((0, IF0), (1, IF0));
    net
}

fn count(net: &Net, pick: impl Fn(&sluice_stack::StackCounters) -> u64) -> Vec<u64> {
    net.hosts[1].stacks.iter().map(|stack| pick(stack.counters())).collect()
}

#[test]
fn connections_are_served_by_their_owner_whatever_the_queue() {
    let mut net = net(2);
    net.listen(1, "10.0.0.2:80");
    let limit = net.now + Duration::from_secs(20);
    for _ in 0..200 {
        net.connect(0, "10.0.0.2:80");
    }
    let (mut closed, mut echoed) = (0, 0);
    while closed < 200 && net.now < limit {
        net.step(limit);
        net.echo(1);
        for (_, id, ready) in net.ready(0) {
            if ready.signals.contains(ReadySignals::CONNECTED) {
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
    assert_eq!((echoed, closed), (200, 200));
    let accepts = count(&net, |counters| counters.tcp_accepts.value());
    assert_eq!(accepts.iter().sum::<u64>(), 200);
    assert!(accepts.iter().all(|accepts| *accepts > 60), "{accepts:?}");
    let handed = count(&net, |counters| counters.handed_off.value());
    assert!(handed.iter().all(|handed| *handed > 150), "{handed:?}");
    assert_eq!(net.drops(1, DropReason::TcpNoConnection), 0, "no worker answered for another");
    net.run(Duration::from_secs(1));
    net.echo(1);
    net.census_idle();
}

#[test]
fn upstream_connections_come_back_to_the_worker_that_began_them() {
    let mut net = net(3);
    net.listen(0, "10.0.0.1:80");
    let now = net.now;
    let mut ids = Vec::new();
    for worker in 0..3 {
        for _ in 0..20 {
            let stack = &mut net.hosts[1].stacks[worker];
            ids.push(stack.connect(at("10.0.0.1:80"), &Config::default(), worker as u32, now));
        }
    }
    net.run(Duration::from_millis(100));
    let ready = net.ready(1);
    assert_eq!(ready.len(), 60);
    for (worker, id, ready) in ready {
        assert_eq!(ready.signals, ReadySignals::CONNECTED);
        let info = net.hosts[1].stacks[worker].connection(id).expect("it lives");
        assert_eq!(info.token as usize, worker);
        assert_eq!(usize::from(info.local.port()) % 3, worker);
    }
    net.census();
}

#[test]
fn only_worker_0_speaks_arp_and_tells_the_others() {
    let mut net = net(2);
    net.settle();
    net.log.clear();
    let now = net.now;
    let other = &mut net.hosts[1].stacks[1];
    assert_eq!(other.worker(), WorkerId(1));
    other.connect(at("10.0.0.1:81"), &Config::default(), 0, now).expect("a connection");
    net.settle();
    assert_eq!(
        count(&net, |counters| counters.arp_out.value()),
        [3, 0],
        "to announce, ask, answer"
    );
    assert_eq!(net.logged("1 ARP, Request who-has 10.0.0.1 tell 10.0.0.2").len(), 1);
    assert_eq!(net.hosts[1].stacks[1].neighbors().count(), 1);
    let ready = net.ready(1);
    assert_eq!((ready[0].0, ready[0].2.reason), (1, Some(CloseReason::Refused)));
    net.census_idle();
}

#[test]
fn a_silent_neighbour_is_known_to_all() {
    let mut net = net(2);
    net.settle();
    net.filter = Some(Box::new(|_| false));
    let now = net.now;
    let other = &mut net.hosts[1].stacks[1];
    other.connect(at("10.0.0.1:80"), &Config::default(), 0, now).expect("a connection");
    net.run(Duration::from_secs(400));
    let ready = net.ready(1);
    assert_eq!(ready[0].2.reason, Some(CloseReason::TimedOut));
    assert!(count(&net, |counters| counters.neighbors_failed.value())[1] > 0);
    net.census_idle();
}

#[test]
fn a_full_ring_between_workers_drops_and_counts() {
    let mut net = Net::new();
    let mut two = StackConfig { workers: 2, ..config(vec![interface(2, 0, "10.0.0.2")]) };
    two.handoff_queue_max = 1;
    net.add(&config(vec![interface(1, 0, "10.0.0.1")]));
    net.add(&two);
    net.join((0, IF0), (1, IF0));
    net.settle();
    // ARP belongs to worker 0: worker 1 can give away one packet before somebody takes it.
    let frame = {
        let mut bytes = vec![0; 60];
        bytes[..6].fill(0xff);
        bytes[6..12].copy_from_slice(&common::mac(1, 0).0);
        bytes[12..14].copy_from_slice(&[8, 6]);
        bytes
    };
    let now = net.now;
    let stack = &mut net.hosts[1].stacks[1];
    let mut batch = sluice_buf::Batch::burst();
    for _ in 0..5 {
        let mut packet = stack.rx_pool().alloc().expect("a buffer");
        assert!(packet.append_bytes(&frame));
        batch.push(packet);
    }
    stack.handle_batch(IF0, &mut batch, now);
    assert_eq!(net.drops(1, DropReason::HandoffFull), 4);
    let (owner, interface, packet) =
        net.hosts[1].stacks[1].pop_handoff().expect("one is on its way");
    assert_eq!((owner, interface), (WorkerId(0), IF0));
    net.hosts[1].stacks[1].handoff_failed(packet);
    assert_eq!(net.drops(1, DropReason::HandoffFull), 5);
    net.census();
}

#[test]
fn errors_find_the_worker_whose_packet_they_quote() {
    // Host 0 is the way to everywhere and knows no way; it says so to whoever asked.
    let mut remote = config(vec![interface(2, 0, "10.0.0.2")]);
    remote.workers = 2;
    remote.routes = vec![common::route("0.0.0.0", 0, "10.0.0.1")];
    let mut net = Net::new();
    net.add(&config(vec![interface(1, 0, "10.0.0.1")]));
    net.add(&remote);
    net.join((0, IF0), (1, IF0));
    for round in 0..8u16 {
        let now = net.now;
        let worker = usize::from(round % 2);
        let stack = &mut net.hosts[1].stacks[worker];
        stack.connect(at("192.0.2.1:80"), &Config::default(), 0, now).expect("a connection");
        net.run(Duration::from_millis(20));
        let ready = net.ready(1);
        assert_eq!(ready.len(), 1, "round {round}");
        assert_eq!((ready[0].0, ready[0].2.reason), (worker, Some(CloseReason::Refused)));
    }
    net.census_idle();
}

/// Listeners with ports of the upstream range (50051 is one) are served by all workers, too.
#[test]
fn a_listener_inside_the_upstream_range_is_served_by_all() {
    let mut net = net(2);
    net.listen(1, "10.0.0.2:50051");
    let limit = net.now + Duration::from_secs(20);
    for _ in 0..200 {
        net.connect(0, "10.0.0.2:50051");
    }
    let mut echoed = 0;
    while echoed < 200 && net.step(limit) {
        net.echo(1);
        for (_, id, ready) in net.ready(0) {
            if ready.signals.contains(ReadySignals::CONNECTED) {
                net.write(0, id, b"ping");
            }
            if ready.signals.contains(ReadySignals::READABLE) {
                echoed += usize::from(net.read(0, id) == b"ping");
            }
        }
    }
    assert_eq!(echoed, 200);
    let accepts = count(&net, |counters| counters.tcp_accepts.value());
    assert!(accepts.iter().all(|accepts| *accepts > 60), "{accepts:?}");
    assert_eq!(net.drops(1, DropReason::TcpNoConnection), 0);
    net.census();
}

/// A listener that comes later takes the port out of the upstream range; connections that we began
/// from it go on, and no other one begins from there.
#[test]
fn a_new_listener_leaves_upstream_connections_alone() {
    let mut net = Net::new();
    net.add(&config(vec![interface(1, 0, "10.0.0.1")]));
    let mut two = StackConfig { workers: 2, ..config(vec![interface(2, 0, "10.0.0.2")]) };
    two.upstream_ports = 50_000..=50_031;
    net.add(&two);
    net.join((0, IF0), (1, IF0));
    net.listen(0, "10.0.0.1:80");
    let mut ids = Vec::new();
    for round in 0..16 {
        let now = net.now;
        let stack = &mut net.hosts[1].stacks[round % 2];
        let id = stack.connect(at("10.0.0.1:80"), &Config::default(), 0, now);
        ids.push((round % 2, id.expect("a port")));
    }
    net.settle();
    for port in 50_000..50_032 {
        net.listen(1, &format!("10.0.0.2:{port}"));
    }
    let now = net.now;
    let refused = net.hosts[1].stacks[0].connect(at("10.0.0.1:80"), &Config::default(), 0, now);
    assert_eq!(refused, Err(sluice_stack::ConnectError::NoPort));
    for (worker, id) in &ids {
        let stack = &mut net.hosts[1].stacks[*worker];
        let mut bytes = sluice_buf::Chain::copy_from(b"ping", stack.tx_pool()).expect("a buffer");
        stack.write(*id, &mut bytes, now);
    }
    for _ in 0..10 {
        net.settle();
        net.echo(0);
    }
    for (worker, id) in ids {
        let stack = &mut net.hosts[1].stacks[worker];
        assert_eq!(stack.read(id, 100).to_vec(), b"ping", "{id:?} of worker {worker}");
    }
    assert_eq!(net.drops(1, DropReason::TcpNoConnection), 0);
    net.census();
}
