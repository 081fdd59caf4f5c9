//! Connections that are opened, written to, half closed, given up and forgotten at random, over a
//! wire that loses frames. At the end nothing is left: no flow, no buffer, no half-open count.

mod common;

use std::time::Duration;

use common::{IF0, Net, at, config, interface};
use sluice_base::{ConnId, Rng};
use sluice_stack::{ReadySignals, StackConfig};
use sluice_tcp::Config;

struct Client {
    id: ConnId,
    is_open: bool,
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut net = Net::new();
    let small = |interface| StackConfig {
        connections_max: 40,
        time_wait_max: 8,
        half_open_max: 10,
        upstream_ports: 50_000..=50_029,
        ..config(vec![interface])
    };
    net.add(&small(interface(1, 0, "10.0.0.1")));
    net.add(&StackConfig { workers: 2, ..small(interface(2, 0, "10.0.0.2")) });
    net.join((0, IF0), (1, IF0));
    net.listen(1, "10.0.0.2:80");
    let (mut wire, loss) = (Rng::new(seed ^ 1), rng.below(100_000));
    net.filter = Some(Box::new(move |_| !wire.chance(loss)));

    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..400 {
        let now = net.now;
        match rng.below(10) {
            0..=3 => {
                let port = if rng.chance(100_000) { 81 } else { 80 };
                let remote = at(&format!("10.0.0.2:{port}"));
                if let Ok(id) = net.stack(0).connect(remote, &Config::default(), 0, now) {
                    clients.push(Client { id, is_open: false });
                }
            }
            4..=6 if !clients.is_empty() => {
                let client = &clients[rng.below(clients.len() as u32) as usize];
                let (id, len) = (client.id, rng.below(5000) as usize);
                if client.is_open {
                    net.write(0, id, &vec![1; len]);
                }
            }
            7 if !clients.is_empty() => {
                let client = rng.below(clients.len() as u32) as usize;
                net.stack(0).close(clients[client].id, now);
            }
            8 if !clients.is_empty() => {
                let client = rng.below(clients.len() as u32) as usize;
                net.stack(0).abort(clients[client].id, now);
            }
            _ => net.run(Duration::from_millis(u64::from(rng.below(2000)))),
        }
        serve(&mut net, &mut rng, &mut clients);
    }

    let accepts = net.hosts[1].stacks.iter().map(|stack| stack.counters().tcp_accepts.value());
    assert!(accepts.sum::<u64>() > 30, "seed {seed} has something to do");
    net.filter = None;
    let now = net.now;
    for client in &clients {
        net.stack(0).abort(client.id, now);
    }
    for _ in 0..40 {
        serve(&mut net, &mut rng, &mut clients);
        net.run(Duration::from_secs(20));
    }
    assert!(clients.is_empty(), "every connection was told its end");
    // Whose peer's RST was lost, and who has nothing to send, does not know: its own side gives up.
    let now = net.now;
    for stack in &mut net.hosts[1].stacks {
        let left: Vec<_> = stack.flows().map(|flow| flow.id).collect();
        left.into_iter().for_each(|id| stack.abort(id, now));
    }
    serve(&mut net, &mut rng, &mut clients);
    net.run(Duration::from_secs(20));
    serve(&mut net, &mut rng, &mut clients);
    for host in &net.hosts {
        for stack in &host.stacks {
            let left: Vec<_> = stack.flows().collect();
            assert!(left.is_empty(), "{left:?}");
            let counters = stack.counters();
            let gauges = [&counters.tcp_connections, &counters.tcp_half_open];
            assert!(gauges.iter().all(|gauge| gauge.value() == 0));
            assert_eq!(counters.tcp_time_waits.value(), 0);
            assert!(stack.listeners().all(|listener| listener.half_open == 0));
        }
    }
    net.census_idle();
}

/// What the applications do: clients read, the server echoes, and sometimes gives up.
fn serve(net: &mut Net, rng: &mut Rng, clients: &mut Vec<Client>) {
    for (_, id, ready) in net.ready(0) {
        let client = clients.iter_mut().find(|client| client.id == id);
        let client = client.expect("only living connections are told of");
        client.is_open |= ready.signals.contains(ReadySignals::CONNECTED);
        if ready.readable() {
            net.read(0, id);
        }
        if ready.peer_closed() {
            let now = net.now;
            net.stack(0).close(id, now);
        }
        if ready.closed() {
            clients.retain(|client| client.id != id);
        }
    }
    let now = net.now;
    for worker in 0..2 {
        if rng.chance(50_000) {
            let stack = &mut net.hosts[1].stacks[worker];
            let first = stack.flows().next().map(|flow| flow.id);
            if let Some(id) = first {
                stack.abort(id, now);
            }
        }
    }
    net.echo(1);
}

#[test]
fn nothing_is_left_of_many_short_lives() {
    for seed in 0..60 {
        run(seed);
    }
}
