//! Limits and queues.

use std::time::Duration;

use super::world::{Behaviour, World, cluster};
use super::{GET, OK};

fn limited(connections: u32, pending: u32) -> World {
    World::with(|config| {
        let mut only = cluster(0, &[1]);
        (only.max_connections, only.max_pending) = (connections, pending);
        config.clusters = vec![only];
    })
}

#[test]
fn beyond_max_pending_is_503() {
    let mut world = limited(1, 2);
    let clients: Vec<_> = (0..4).map(|_| world.client()).collect();
    for &client in &clients {
        world.send(client, GET);
    }
    assert_eq!(world.upstreams().len(), 1);
    assert_eq!(world.take(clients[0]), "");
    assert!(world.take(clients[3]).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UO");
    assert_eq!(world.cluster_counters().upstream_rq_pending_overflow.value(), 1);
    for &client in &clients[..3] {
        world.answer(OK);
        assert!(world.take(client).ends_with("hi"), "oldest first");
    }
    assert_eq!(world.upstreams().len(), 1, "one connection served them all");
    assert!(world.cluster_counters().upstream_cx_overflow.value() > 0);
    world.census();
}

#[test]
fn nobody_may_wait_when_max_pending_is_zero() {
    let mut world = limited(1, 0);
    let client = world.client();
    world.send(client, GET);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UO");
    world.census();
}

#[test]
fn a_connection_that_ends_makes_room_for_who_waits() {
    let mut world = limited(1, 10);
    let (first, second) = (world.client(), world.client());
    world.send(first, GET);
    world.send(second, GET);
    world.answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n11");
    assert!(world.take(first).ends_with("11"));
    assert_eq!(world.upstreams().len(), 2);
    world.answer(OK);
    assert!(world.take(second).ends_with("hi"));
    world.census();
}

#[test]
fn who_waits_may_leave() {
    let mut world = limited(1, 10);
    let clients: Vec<_> = (0..4).map(|_| world.client()).collect();
    for &client in &clients {
        world.send(client, GET);
    }
    world.reset(clients[2]);
    world.reset(clients[1]);
    world.answer(OK);
    assert!(world.take(clients[0]).ends_with("hi"));
    world.answer(OK);
    assert!(world.take(clients[3]).ends_with("hi"));
    assert_eq!(world.cluster_counters().upstream_rq_cancelled.value(), 2);
    world.census();
}

#[test]
fn who_waits_too_long_is_told() {
    let mut world = limited(1, 10);
    let (first, second) = (world.client(), world.client());
    world.send(first, GET);
    world.send(second, GET);
    world.advance(Duration::from_secs(16));
    for client in [first, second] {
        assert!(world.take(client).starts_with("HTTP/1.1 504 "));
        assert_eq!(world.last_log(), "504 UT");
    }
    world.census();
}

/// All permits are with another worker: nobody here will wake us, so time does.
#[test]
fn permits_of_other_workers_are_polled_for() {
    let mut world = limited(1, 10);
    let (_, leases) = world.registry.cluster(&world.config.clusters[0]);
    let mut other = sluice_l7_balance::WorkerLease::new(leases.connections);
    assert!(other.try_take());
    let client = world.client();
    world.send(client, GET);
    assert!(world.upstreams().is_empty());
    world.advance(Duration::from_millis(100));
    assert!(world.upstreams().is_empty());
    other.give_back();
    drop(other);
    world.advance(Duration::from_millis(20));
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

/// At the limit any idle connection of the cluster is better than waiting.
#[test]
fn at_the_limit_another_endpoints_connection_will_do() {
    let mut world = World::with(|config| {
        let mut pair = cluster(0, &[1, 2]);
        pair.max_connections = 1;
        config.clusters = vec![pair];
    });
    let client = world.client();
    for _ in 0..4 {
        world.send(client, GET);
        world.answer(OK);
        assert!(world.take(client).ends_with("hi"));
    }
    assert_eq!(world.upstreams().len(), 1);
    world.census();
}

#[test]
fn the_youngest_idle_connection_is_taken_first() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let clients: Vec<_> = (0..3).map(|_| world.client()).collect();
    for &client in &clients {
        world.send(client, GET);
    }
    let upstreams = world.upstreams();
    for &at in &[upstreams[1], upstreams[0], upstreams[2]] {
        world.take(at);
        world.send(at, OK);
    }
    world.send(clients[0], GET);
    assert_eq!(world.asked(), upstreams[2]);
    world.answer(OK);
    // One in the middle of the lists goes away.
    world.fin(upstreams[0]);
    for (client, expected) in [(0, upstreams[2]), (1, upstreams[1])] {
        world.send(clients[client], GET);
        assert!(!world.streams[expected].received.is_empty());
        world.streams[expected].received.clear();
    }
    world.census();
}

#[test]
fn bytes_on_an_idle_connection_end_it() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    let upstream = world.upstream();
    world.send(upstream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert!(world.streams[upstream].aborted, "an answer to nothing must not answer the next");
    world.send(client, GET);
    world.answer(OK);
    world.census();
}

#[test]
fn more_than_was_asked_for_ends_the_connection() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.take(upstream);
    world.send(upstream, format!("{OK}{OK}"));
    assert_eq!(world.take(client).matches("HTTP/1.1 200").count(), 1);
    assert!(world.streams[upstream].fin || world.streams[upstream].aborted);
    world.census();
}

/// The smuggler's dream: an answer that nobody asked for, ready for whoever comes next.
#[test]
fn leftover_bytes_never_answer_who_waits() {
    let mut world = limited(1, 10);
    let (first, second) = (world.client(), world.client());
    world.send(first, GET);
    world.send(second, GET);
    let upstream = world.asked();
    world.take(upstream);
    world.send(upstream, format!("{OK}{}", OK.replace("hi", "no")));
    assert!(world.take(first).ends_with("hi"));
    assert_eq!(world.take(second), "");
    assert_ne!(world.asked(), upstream, "on a connection of its own");
    world.answer(OK);
    assert!(world.take(second).ends_with("hi"));
    world.census();
}

#[test]
fn a_refused_connection_gives_its_permits_back() {
    let mut world = limited(1, 1);
    world.behave(1, Behaviour::Refuse);
    for _ in 0..5 {
        let client = world.client();
        world.send(client, GET);
        assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    }
    world.behave(1, Behaviour::Accept);
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}
