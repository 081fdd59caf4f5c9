//! Opaque bytes: tcp listeners and upgraded connections.

use super::world::{Behaviour, TCP, World};
use crate::StreamEvent;

#[test]
fn bytes_go_both_ways_as_they_come() {
    let mut world = World::new();
    let client = world.client_of(TCP);
    let upstream = world.upstream();
    world.send(client, "ping");
    assert_eq!(world.take(upstream), "ping");
    world.send(upstream, "pong");
    assert_eq!(world.take(client), "pong");
    assert_eq!((world.streams[client].credited, world.streams[upstream].credited), (4, 4));
    world.fin(client);
    assert!(world.streams[upstream].fin && !world.streams[upstream].dead);
    world.fin(upstream);
    assert!(world.streams[client].dead && world.streams[upstream].dead);
    assert_eq!(world.last_log(), "0 -");
    world.census();
}

#[test]
fn half_a_close_keeps_the_other_direction() {
    let mut world = World::new();
    let client = world.client_of(TCP);
    let upstream = world.upstream();
    world.send(client, "all I have to say");
    world.fin(client);
    world.take(upstream);
    for _ in 0..3 {
        world.send(upstream, "answer");
        assert_eq!(world.take(client), "answer");
    }
    assert_eq!(world.proxy.active(), 1);
    world.fin(upstream);
    assert_eq!(world.proxy.active(), 0);
    world.census();
}

#[test]
fn the_server_may_close_first() {
    let mut world = World::new();
    let client = world.client_of(TCP);
    let upstream = world.upstream();
    world.send(upstream, "banner");
    world.fin(upstream);
    assert_eq!(world.take(client), "banner");
    assert!(world.streams[client].fin);
    world.send(client, "late");
    assert_eq!(world.take(upstream), "late");
    world.fin(client);
    assert!(world.streams[client].dead && world.streams[upstream].dead);
    world.census();
}

#[test]
fn what_comes_before_the_endpoint_is_up_waits_in_the_window() {
    let mut world = World::new();
    world.behave(1, Behaviour::Silent);
    world.behave(2, Behaviour::Silent);
    let client = world.client_of(TCP);
    world.send(client, "early");
    world.fin(client);
    assert_eq!(world.streams[client].credited, 0);
    let upstream = world.upstream();
    world.event(upstream, StreamEvent::Connected);
    assert_eq!(world.take(upstream), "early");
    assert!(world.streams[upstream].fin, "the close came along");
    world.send(upstream, "answer");
    assert_eq!(world.take(client), "answer");
    world.fin(upstream);
    world.census();
}

#[test]
fn a_slow_reader_closes_the_writers_window() {
    let mut world = World::new();
    let client = world.client_of(TCP);
    let upstream = world.upstream();
    world.streams[upstream].room = 0;
    world.send(client, [b'x'; 1_000]);
    world.send(client, [b'x'; 1_000]);
    assert_eq!(world.take(upstream).len(), 2_000, "passed on at once");
    assert_eq!(world.streams[client].credited, 0, "but not credited");
    world.streams[upstream].room = 10;
    world.event(upstream, StreamEvent::Writable);
    assert_eq!(world.streams[client].credited, 2_000);
    world.send(upstream, "the other way is free");
    assert_eq!(world.streams[upstream].credited, 21);
    world.census();
}

#[test]
fn a_reset_passes_through() {
    let mut world = World::new();
    let client = world.client_of(TCP);
    let upstream = world.upstream();
    world.reset(upstream);
    assert!(world.streams[client].aborted);
    let client = world.client_of(TCP);
    let upstream = world.upstream();
    world.reset(client);
    assert!(world.streams[upstream].aborted);
    world.census();
}

#[test]
fn a_relay_tries_the_other_endpoint_and_then_resets() {
    let mut world = World::new();
    world.behave(1, Behaviour::Refuse);
    for _ in 0..2 {
        let client = world.client_of(TCP);
        world.send(client, "x");
        let upstream = world.asked();
        assert_eq!(world.take(upstream), "x");
    }
    world.behave(2, Behaviour::NoPort);
    let client = world.client_of(TCP);
    assert!(world.streams[client].aborted);
    assert_eq!(world.last_log(), "0 UF,URX");
    world.census();
}

/// A relay's connection is nobody else's afterwards, and it takes none from the pool.
#[test]
fn relays_share_no_connections() {
    let mut world = World::new();
    for count in 1..=4 {
        let client = world.client_of(TCP);
        let upstream = world.upstream();
        assert_eq!(world.upstreams().len(), count);
        world.fin(client);
        world.fin(upstream);
    }
    world.census();
}

/// An exchange only finds the endpoint: relays are as many as there are connections.
#[test]
fn relays_that_are_up_take_no_exchange() {
    let mut world = World::new();
    for count in 1..=125 {
        let client = world.client_of(TCP);
        let upstream = world.upstream();
        world.send(client, "x");
        assert_eq!(world.take(upstream), "x");
        assert_eq!(world.proxy.active(), count, "with 120 exchanges");
    }
    assert_eq!(world.proxy.counters().exchange_table_full.value(), 0);
    for at in 0..world.streams.len() {
        if world.streams[at].remote.is_none() {
            world.fin(at);
        }
    }
    for at in world.upstreams() {
        world.fin(at);
    }
    assert_eq!(world.proxy.active(), 0);
    world.census();
}

#[test]
fn bytes_before_the_endpoint_is_up_are_counted_once() {
    let mut world = World::new();
    world.behave(1, Behaviour::Silent);
    world.behave(2, Behaviour::Silent);
    let client = world.client_of(TCP);
    world.send(client, "early");
    world.send(client, " bird");
    let upstream = world.upstream();
    world.event(upstream, StreamEvent::Connected);
    assert_eq!(world.take(upstream), "early bird");
    world.send(upstream, "worm");
    assert_eq!((world.streams[client].credited, world.streams[upstream].credited), (10, 4));
    world.fin(client);
    world.fin(upstream);
    let record = world.logs.last().expect("a record");
    assert_eq!((record.bytes_received, record.bytes_sent), (10, 4));
    assert_eq!(world.listener_counters_of(TCP).downstream_cx_rx_bytes_total.value(), 10);
    assert_eq!(world.listener_counters_of(TCP).downstream_cx_tx_bytes_total.value(), 4);
    world.census();
}

/// The reset takes what waits along.
#[test]
fn a_client_that_gives_up_before_the_endpoint_is_up_leaves_nothing() {
    let mut world = World::new();
    world.behave(1, Behaviour::Silent);
    world.behave(2, Behaviour::Silent);
    let client = world.client_of(TCP);
    world.send(client, "early");
    world.reset(client);
    assert_eq!(world.proxy.active(), 0);
    let upstream = world.upstream();
    world.event(upstream, StreamEvent::Connected);
    assert!(world.take(upstream).is_empty());
    world.census();
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
                       upgrade: websocket\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                         upgrade: websocket\r\n\r\n";

#[test]
fn an_upgrade_becomes_a_relay() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, UPGRADE);
    let upstream = world.asked();
    let request = world.take(upstream).to_lowercase();
    assert!(request.contains("upgrade: websocket\r\n"), "{request}");
    assert!(request.contains("connection: upgrade\r\n"), "{request}");
    world.send(upstream, format!("{SWITCHING}hello"));
    let response = world.take(client);
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    assert!(response.ends_with("\r\n\r\nhello"), "bytes behind the head come along");
    world.send(client, "\u{1}frame");
    assert_eq!(world.take(upstream), "\u{1}frame");
    world.advance(std::time::Duration::from_secs(60));
    assert!(!world.streams[client].dead, "the route's timeout is for responses");
    world.fin(client);
    assert!(world.streams[upstream].fin);
    world.send(upstream, "bye");
    assert_eq!(world.take(client), "bye");
    world.fin(upstream);
    assert_eq!(world.last_log(), "101 -");
    assert_eq!(world.listener_counters().downstream_cx_upgrades_total.value(), 1);
    assert_eq!(world.proxy.pinned(), 0);
    for at in [client, upstream] {
        assert_eq!(world.streams[at].credited, world.streams[at].sent);
    }
    world.census();
}

#[test]
fn an_upgrade_that_is_declined_is_a_response() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, UPGRADE);
    world.answer(super::OK);
    assert!(world.take(client).ends_with("hi"));
    world.send(client, super::GET);
    world.answer(super::OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

#[test]
fn a_tunnel_that_is_reset_is_reset() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, UPGRADE);
    let upstream = world.asked();
    world.take(upstream);
    world.send(upstream, SWITCHING);
    world.reset(upstream);
    assert!(world.streams[client].aborted);
    assert_eq!(world.last_log(), "101 UC");
    world.census();
}
