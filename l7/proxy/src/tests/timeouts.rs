//! Every deadline, a moment before and a moment after.

use std::time::Duration;

use super::world::{Behaviour, TCP, World, routes, web};
use super::{GET, OK};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const MARGIN: Duration = Duration::from_millis(20);

#[test]
fn the_routes_timeout_is_504() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.advance(seconds(15) - MARGIN);
    assert_eq!(world.take(client), "");
    world.advance(2 * MARGIN);
    assert!(world.take(client).starts_with("HTTP/1.1 504 "));
    assert_eq!(world.last_log(), "504 UT");
    assert!(world.streams[upstream].aborted);
    assert!(!world.streams[client].fin);
    assert_eq!(world.cluster_counters().upstream_rq_timeout.value(), 1);
    world.census();
}

/// It counts from the end of the request: a slow upload is not the endpoint's fault.
#[test]
fn the_routes_timeout_begins_with_the_end_of_the_request() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
    world.advance(seconds(60));
    world.send(client, "abc");
    world.advance(seconds(14));
    assert_eq!(world.take(client), "");
    world.advance(seconds(2));
    assert!(world.take(client).starts_with("HTTP/1.1 504 "));
    world.census();
}

#[test]
fn the_routes_timeout_cuts_a_response_that_does_not_end() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.send(upstream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc");
    world.advance(seconds(16));
    assert!(world.streams[client].fin && world.streams[upstream].aborted);
    assert_eq!(world.last_log(), "200 UT");
    world.census();
}

#[test]
fn a_route_without_timeout_waits() {
    let mut world = World::with(|config| routes(config)[0].timeout = None);
    let client = world.client();
    world.send(client, GET);
    world.advance(seconds(299));
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

#[test]
fn an_idle_stream_ends() {
    let mut world = World::with(|config| routes(config)[0].timeout = None);
    let client = world.client();
    world.send(client, GET);
    world.advance(seconds(301));
    assert!(world.take(client).starts_with("HTTP/1.1 504 "));
    assert_eq!(world.last_log(), "504 SI");

    let client = world.client();
    world.send(client, "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc");
    world.advance(seconds(200));
    world.send(client, "abc");
    world.advance(seconds(200));
    assert_eq!(world.take(client), "", "a byte moved");
    world.advance(seconds(101));
    assert!(world.take(client).starts_with("HTTP/1.1 408 "));
    assert_eq!(world.last_log(), "408 SI");
    assert!(world.streams[client].fin);
    world.census();
}

#[test]
fn a_slow_head_is_408() {
    let mut world = World::new();
    let client = world.client();
    world.advance(seconds(60));
    world.send(client, "GET / HT");
    world.advance(seconds(5));
    world.send(client, "TP/1.1\r\n");
    world.advance(seconds(5) - MARGIN);
    assert_eq!(world.take(client), "");
    world.advance(2 * MARGIN);
    assert!(world.take(client).starts_with("HTTP/1.1 408 "));
    assert_eq!(world.last_log(), "408 -");
    assert!(world.streams[client].fin);
    assert_eq!(world.listener_counters().downstream_rq_header_timeout.value(), 1);
    world.census();
}

#[test]
fn a_head_in_time_ends_its_timer() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, &GET[..10]);
    world.advance(seconds(9));
    world.send(client, &GET[10..]);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.advance(seconds(60));
    assert!(!world.streams[client].fin);
    world.send(client, GET);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

#[test]
fn idle_connections_close_on_both_sides() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    let upstream = world.upstream();
    world.advance(seconds(3_599));
    assert!(!world.streams[client].fin && !world.streams[upstream].fin);
    world.advance(seconds(2));
    assert!(world.streams[client].fin && world.streams[upstream].fin);
    assert_eq!(world.listener_counters().downstream_cx_idle_timeout.value(), 1);
    assert_eq!(world.cluster_counters().upstream_cx_idle_timeout.value(), 1);
    world.census();
}

#[test]
fn a_silent_endpoint_is_given_up_for_the_other_one() {
    let mut world = World::new();
    world.behave(1, Behaviour::Silent);
    for _ in 0..2 {
        let client = world.client();
        world.send(client, GET);
        world.advance(seconds(5) + MARGIN);
        world.answer(OK);
        assert!(world.take(client).ends_with("hi"));
    }
    assert!(world.cluster_counters().upstream_cx_connect_timeout.value() >= 1);
    world.census();
}

#[test]
fn endpoints_that_are_all_silent_are_503() {
    let mut world = World::new();
    world.behave(1, Behaviour::Silent);
    world.behave(2, Behaviour::Silent);
    let client = world.client();
    world.send(client, GET);
    world.advance(seconds(10) + 2 * MARGIN);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UF,URX");
    world.census();
}

#[test]
fn an_idle_relay_ends() {
    let mut world = World::with(|config| config.listeners[1].idle_timeout = Some(seconds(60)));
    let client = world.client_of(TCP);
    let upstream = world.upstream();
    world.advance(seconds(50));
    world.send(client, "ping");
    world.advance(seconds(50));
    assert!(!world.streams[client].fin);
    world.advance(seconds(11));
    assert!(world.streams[client].fin && world.streams[upstream].fin);
    world.census();
}

#[test]
fn header_timeout_can_be_off() {
    let mut world = World::with(|config| web(config).header_timeout = None);
    let client = world.client();
    world.send(client, "GET ");
    world.advance(seconds(600));
    assert!(!world.streams[client].fin);
    world.census();
}
