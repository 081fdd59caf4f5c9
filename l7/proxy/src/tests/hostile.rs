//! Peers that mean harm, and machines that misbehave: nothing panics, nothing leaks.

use std::time::Duration;

use super::world::{Behaviour, TCP, World, cluster, web};
use super::{GET, OK};
use crate::StreamEvent;
use sluice_base::{ConnId, Rng};

#[test]
fn events_for_connections_that_are_gone_are_counted() {
    let mut world = World::new();
    let client = world.client();
    let conn = world.streams[client].conn;
    let stale = ConnId { generation: conn.generation + 7, ..conn };
    let unknown = ConnId { index: 9_999, generation: 1 };
    for id in [stale, unknown] {
        world.proxy.handle(id, StreamEvent::Writable, world.now);
        world.proxy.handle(id, StreamEvent::PeerClosed, world.now);
        world.proxy.handle(id, StreamEvent::Connected, world.now);
        world.proxy.handle(id, StreamEvent::Closed(crate::CloseReason::Reset), world.now);
        world.proxy.wrote(id, 5);
    }
    assert_eq!(world.proxy.counters().stale_event.value(), 8);
    assert!(world.proxy.pop_verb().is_none());
    world.census();
}

#[test]
fn connections_beyond_the_table_are_reset() {
    let mut world = World::new();
    let clients: Vec<_> = (0..300).map(|_| world.client()).collect();
    let reset = clients.iter().filter(|&&at| world.streams[at].aborted).count();
    assert_eq!(reset, 44);
    assert_eq!(world.proxy.counters().session_table_full.value(), 44);
    world.census();
}

#[test]
fn requests_beyond_the_table_are_503() {
    let mut world = World::new();
    world.behave(1, Behaviour::Silent);
    world.behave(2, Behaviour::Silent);
    let clients: Vec<_> = (0..126).map(|_| world.client()).collect();
    for &client in &clients {
        world.send(client, GET);
    }
    let refused = clients.iter().filter(|&&at| world.streams[at].fin).count();
    assert_eq!(refused, 6);
    assert_eq!(world.proxy.counters().exchange_table_full.value(), 6);
    world.census();
}

/// Bytes that are nearly HTTP, events in any order, time in jumps; both sides, every state.
#[test]
fn random_peers() {
    const CLIENT: &[&str] = &[
        GET,
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n",
        "PUT /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "01234567890123456789",
        "GET /c HTTP/1.0\r\n\r\n",
        "HEAD /d HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        "PUT /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
        "\r\n",
        "\0",
        "GET /",
    ];
    const ENDPOINT: &[&str] = &[
        OK,
        OK,
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "junk",
        "HTTP/1.1 2",
    ];
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut world = World::with(|config| {
            let mut tight = cluster(0, &[1, 2, 3]);
            (tight.max_connections, tight.max_pending) = (3, 3);
            config.clusters = vec![tight];
            web(config).max_body = Some(200);
        });
        for last in 1..=3 {
            let all = [Behaviour::Accept, Behaviour::Accept, Behaviour::Refuse, Behaviour::Silent];
            world.behave(last, all[rng.below(4) as usize]);
        }
        for _ in 0..200 {
            if rng.chance(150_000) {
                let listener = if rng.chance(200_000) { TCP } else { super::world::WEB };
                world.client_of(listener);
            }
            if rng.chance(20_000) {
                world.reload(|config| {
                    let all = [&[1u8, 2, 3][..], &[2, 3], &[1], &[]];
                    config.clusters[0].endpoints = cluster(0, all[rng.below(4) as usize]).endpoints;
                });
            }
            if rng.chance(5_000) {
                world.proxy.start_drain(world.now);
            }
            if rng.chance(100_000) {
                let longest = [10, 1_000, 20_000, 4_000_000][rng.below(4) as usize];
                world.advance(Duration::from_millis(u64::from(rng.below(longest))));
            }
            let live: Vec<_> =
                (0..world.streams.len()).filter(|&at| !world.streams[at].dead).collect();
            let Some(&at) = live.get(rng.below(live.len() as u32) as usize) else { continue };
            let upstream = world.streams[at].remote.is_some();
            let lines = if upstream { ENDPOINT } else { CLIENT };
            match rng.below(20) {
                0 => world.reset(at),
                1 if !world.streams[at].we_fin => world.fin(at),
                2 => world.streams[at].room = 0,
                3 => {
                    world.streams[at].room = 1_000;
                    world.event(at, StreamEvent::Writable);
                }
                4 if upstream => world.event(at, StreamEvent::Connected),
                _ if world.streams[at].we_fin => {}
                _ => {
                    let line = lines[rng.below(lines.len() as u32) as usize].as_bytes();
                    let cut = if rng.chance(300_000) { rng.below(line.len() as u32) } else { 0 };
                    let (front, back) = line.split_at(cut as usize);
                    if !front.is_empty() {
                        world.send(at, front);
                    }
                    if !world.streams[at].dead {
                        world.send(at, back);
                    }
                }
            }
        }
        world.census();
    }
}

/// A pool that has run dry refuses, it does not break.
#[test]
fn without_buffers_requests_fail_and_the_proxy_goes_on() {
    let mut world = World::new();
    let client = world.client();
    let held = world.exhaust_transmit();
    world.send(client, GET);
    assert_eq!(world.proxy.active(), 0);
    drop(held);
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

/// Each rule has a name, and who broke it a count.
#[test]
fn rules_that_are_broken_are_counted_by_name() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let count = |faults: &crate::FaultCounters, name: &str| {
        let found = faults.iter().find(|(reason, _)| *reason == name);
        found.expect("a rule of this name").1
    };
    let mut world = World::with(|config| {
        config.clusters[0].http = sluice_config_model::HttpVersion::Http2;
    });
    let client = world.client();
    world.send(client, sluice_l7_http2::frame::PREFACE);
    world.send(client, SETTINGS);
    // WINDOW_UPDATE of 0 for the connection.
    world.send(client, [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(world.streams[client].fin);
    let faults = &world.listener_counters().faults;
    assert_eq!(count(faults, "connection-window-update-zero"), 1);
    assert_eq!(faults.iter().map(|(_, count)| count).sum::<u64>(), 1);

    // A request without a path breaks a rule of its stream.
    let client = world.client();
    world.send(client, sluice_l7_http2::frame::PREFACE);
    world.send(client, SETTINGS);
    world.send(client, [0, 0, 2, 1, 5, 0, 0, 0, 1, 0x82, 0x86]);
    assert!(!world.streams[client].fin);
    let faults = &world.listener_counters().faults;
    assert_eq!(faults.iter().map(|(_, count)| count).sum::<u64>(), 2);

    let other = world.client();
    world.send(other, GET);
    let upstream = world.asked();
    world.send(upstream, SETTINGS);
    // PUSH_PROMISE of stream 2 on stream 1.
    world.send(upstream, [0, 0, 5, 5, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0x82]);
    assert_eq!(count(&world.cluster_counters().faults, "push-promise"), 1);
    world.census();
}
