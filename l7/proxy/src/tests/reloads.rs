//! Snapshots that change under running requests, and the end of the process.

use std::time::Duration;

use super::world::{APP, World, cluster, route, routes};
use super::{GET, OK};
use sluice_config_model::{DirectResponse, RouteAction};

fn direct(config: &mut sluice_config_model::Config, body: &str) {
    let response = DirectResponse { status: 200, body: body.to_owned() };
    *routes(config) = vec![route(0, "/", RouteAction::DirectResponse(response))];
}

#[test]
fn a_request_in_flight_keeps_its_snapshot() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    assert_eq!(world.proxy.pinned(), 1);
    world.reload(|config| direct(config, "new"));
    assert_eq!(world.retired, 0, "the old one is still read");
    let other = world.client();
    world.send(other, GET);
    assert!(world.take(other).ends_with("new"));
    let upstream = world.asked();
    world.take(upstream);
    world.send(upstream, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
    assert_eq!((world.proxy.pinned(), world.retired), (0, 1), "let go with the response head");
    world.send(upstream, "old");
    assert!(world.take(client).ends_with("old"));
    world.census();
}

#[test]
fn a_relay_holds_no_snapshot() {
    let mut world = World::new();
    let client = world.client_of(super::world::TCP);
    world.reload(|config| direct(config, "new"));
    assert_eq!(world.retired, 1);
    let upstream = world.upstream();
    world.send(client, "x");
    assert_eq!(world.take(upstream), "x");
    world.census();
}

/// With every slot pinned a snapshot is skipped, not waited for.
#[test]
fn sixty_four_pinned_snapshots_are_enough() {
    let mut world = World::with(|config| routes(config)[0].timeout = None);
    let mut skipped = 0;
    for round in 0..70 {
        let client = world.client();
        world.send(client, GET);
        let next = crate::Snapshot::compile(&world.config, &mut world.registry, None);
        let next = std::sync::Arc::new(next.expect("it compiles"));
        if world.proxy.adopt(next, world.now).is_err() {
            skipped += 1;
        }
        assert!(round < 63 || skipped > 0);
    }
    assert_eq!(world.proxy.counters().snapshot_skipped.value(), skipped);
    world.census();
}

#[test]
fn a_changed_endpoint_list_keeps_what_it_can() {
    let mut world = World::new();
    let client = world.client();
    for _ in 0..2 {
        world.send(client, GET);
        world.answer(OK);
    }
    let upstreams = world.upstreams();
    let of = |world: &World, last: u8| {
        let address = Some(super::world::endpoint(last));
        upstreams.iter().copied().find(|&at| world.streams[at].remote == address)
    };
    let (first, second) = (of(&world, 1).expect("one"), of(&world, 2).expect("two"));
    world.reload(|config| config.clusters = vec![cluster(0, &[1, 3])]);
    world.advance(Duration::from_millis(10));
    assert!(!world.streams[first].fin, "endpoint 1 is still there");
    assert!(world.streams[second].fin, "endpoint 2 is not");
    assert_eq!(world.cluster_counters().upstream_rq_total.value(), 2, "counters survive");
    world.census();
}

#[test]
fn a_busy_connection_to_a_vanished_endpoint_closes_after_its_response() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.reload(|config| config.clusters = vec![cluster(0, &[2])]);
    world.advance(Duration::from_millis(10));
    assert!(!world.streams[upstream].fin);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    assert!(world.streams[upstream].fin);
    world.census();
}

#[test]
fn a_vanished_cluster_closes_its_pool() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    world.take(client);
    let upstream = world.upstream();
    world.reload(|config| {
        direct(config, "alone");
        config.listeners.truncate(1);
        config.clusters.clear();
    });
    world.advance(Duration::from_millis(10));
    assert!(world.streams[upstream].fin);
    world.send(client, GET);
    assert!(world.take(client).ends_with("alone"), "the client's connection stayed");
    world.census();
}

#[test]
fn a_changed_limit_lets_who_waits_go() {
    let mut world = World::with(|config| config.clusters[0].max_connections = 1);
    let (first, second) = (world.client(), world.client());
    world.send(first, GET);
    world.send(second, GET);
    assert_eq!(world.upstreams().len(), 1);
    world.reload(|config| config.clusters[0].max_connections = 2);
    world.advance(Duration::from_millis(10));
    assert_eq!(world.upstreams().len(), 2);
    world.census();
}

#[test]
fn a_vanished_listener_lets_its_connections_go() {
    let mut world = World::new();
    let (idle, busy) = (world.client(), world.client());
    world.send(busy, GET);
    world.reload(|config| {
        config.listeners.remove(0);
    });
    world.advance(Duration::from_millis(10));
    assert!(world.streams[idle].fin && !world.streams[busy].fin);
    world.answer(OK);
    assert!(world.take(busy).ends_with("hi"), "what was in flight is answered");
    assert!(world.streams[busy].fin);
    world.census();
}

#[test]
fn a_drain_finishes_what_is_in_flight() {
    let mut world = World::new();
    let (idle, busy) = (world.client(), world.client());
    world.send(busy, GET);
    let relay = world.client_of(super::world::TCP);
    world.proxy.start_drain(world.now);
    world.advance(Duration::from_millis(10));
    assert!(world.streams[idle].fin);
    assert_eq!(world.proxy.active(), 2);
    world.answer(OK);
    let response = world.take(busy);
    assert!(response.contains("connection: close\r\n") && response.ends_with("hi"), "{response}");
    assert!(world.streams[busy].fin);
    assert_eq!(world.proxy.active(), 1, "a relay goes on until the drain's own end");
    assert!(!world.streams[relay].fin);
    assert_eq!(world.listener_counters().downstream_cx_drain_close.value(), 2);
    world.census();
}

#[test]
fn a_request_during_a_drain_is_answered_and_its_connection_closed() {
    let mut world = World::new();
    world.proxy.start_drain(world.now);
    world.advance(Duration::from_millis(10));
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    assert!(world.take(client).contains("connection: close\r\n"));
    assert!(world.streams[client].fin);
    world.census();
}

#[test]
fn unchanged_parts_are_shared_between_snapshots() {
    let mut world = World::new();
    let first = crate::Snapshot::compile(&world.config, &mut world.registry, None).expect("ok");
    world.config.clusters.push(cluster(1, &[9]));
    let second =
        crate::Snapshot::compile(&world.config, &mut world.registry, Some(&first)).expect("ok");
    let same = |a: &crate::Snapshot, b: &crate::Snapshot| {
        std::ptr::eq(a.cluster(APP).expect("it is there"), b.cluster(APP).expect("it is there"))
    };
    assert!(same(&first, &second));
    assert_eq!(second.clusters().count(), 2);
    world.config.clusters.truncate(1);
    world.census();
}
