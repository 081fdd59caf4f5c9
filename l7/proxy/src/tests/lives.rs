//! Connections of HTTP/1.1 that carried enough; and how clients of HTTP/2 are told that there will be
//! no more.

use std::time::Duration;

use sluice_config_model::{Config, ConnectionLife};

use super::far::Version;
use super::net::Net;
use super::world::{World, cluster, web};
use super::{GET, OK};

use Version::{One, Two};

fn requests(most: u32) -> ConnectionLife {
    ConnectionLife { max_requests: Some(most), max_duration: None }
}

fn lasts(seconds: u64) -> ConnectionLife {
    ConnectionLife { max_requests: None, max_duration: Some(Duration::from_secs(seconds)) }
}

fn one_endpoint(config: &mut Config) {
    config.clusters = vec![cluster(0, &[1])];
}

#[test]
fn a_client_s_connection_carries_so_many_requests() {
    let mut world = World::with(|config| web(config).life = requests(3));
    let client = world.client();
    for nth in 1..=3 {
        assert!(!world.streams[client].fin);
        world.send(client, GET);
        world.answer(OK);
        let response = world.take(client);
        assert_eq!(response.contains("\r\nconnection: close\r\n"), nth == 3, "{nth}: {response}");
    }
    assert!(world.streams[client].fin, "it closes behind the last");
    assert_eq!(world.listener_counters().downstream_cx_max_requests_reached.value(), 1);
    world.census();
}

/// What was sent ahead of time is not answered on a connection that has said that it closes.
#[test]
fn what_is_pipelined_beyond_the_last_request_is_left() {
    let mut world = World::with(|config| web(config).life = requests(2));
    let client = world.client();
    world.send(client, GET.repeat(3));
    for _ in 0..2 {
        world.answer(OK);
    }
    assert_eq!(world.take(client).matches("HTTP/1.1 200").count(), 2);
    assert!(world.streams[client].fin);
    assert_eq!(world.cluster_counters().upstream_rq_total.value(), 2);
    world.census();
}

#[test]
fn an_endpoint_s_connection_carries_so_many_requests() {
    let mut world = World::with(|config| {
        one_endpoint(config);
        config.clusters[0].life = requests(2);
    });
    let client = world.client();
    for nth in 1..=5 {
        world.send(client, GET);
        let request = world.answer(OK);
        assert_eq!(request.contains("\r\nconnection: close\r\n"), nth % 2 == 0, "{nth}: {request}");
        assert!(world.take(client).ends_with("hi"));
    }
    assert_eq!(world.upstreams().len(), 3, "two, two and one");
    assert_eq!(world.cluster_counters().upstream_cx_max_requests.value(), 2);
    world.census();
}

#[test]
fn a_client_s_connection_lasts_so_long() {
    // Idle, in the middle of a head, and in the middle of a request.
    for at in 0..3 {
        let mut world = World::with(|config| web(config).life = lasts(8));
        let client = world.client();
        world.send(client, GET);
        world.answer(OK);
        assert!(!world.take(client).contains("connection: close"));
        world.advance(Duration::from_millis(7_500));
        assert!(!world.streams[client].fin);
        world.send(client, &GET.as_bytes()[..[0, 10, GET.len()][at]]);
        world.advance(Duration::from_millis(600));
        assert_eq!(world.streams[client].fin, at == 0, "{at}");
        assert_eq!(world.listener_counters().downstream_cx_max_duration_reached.value(), 1);
        if at > 0 {
            world.send(client, &GET.as_bytes()[[0, 10, GET.len()][at]..]);
            world.answer(OK);
            let response = world.take(client);
            assert!(response.contains("\r\nconnection: close\r\n"), "{at}: {response}");
            assert!(response.ends_with("hi") && world.streams[client].fin);
        }
        assert_eq!(world.listener_counters().downstream_cx_max_duration_reached.value(), 1);
        world.census();
    }
}

#[test]
fn an_endpoint_s_connection_lasts_so_long() {
    let change = |config: &mut Config| {
        one_endpoint(config);
        config.clusters[0].life = lasts(8);
    };
    // Idle: it closes; under a request: behind that.
    let mut world = World::with(change);
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    let upstream = world.upstream();
    world.advance(Duration::from_millis(7_900));
    assert!(!world.streams[upstream].fin);
    world.advance(Duration::from_millis(200));
    assert!(world.streams[upstream].fin);
    assert_eq!(world.cluster_counters().upstream_cx_max_duration_reached.value(), 1);
    world.census();
    let mut world = World::with(change);
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.advance(Duration::from_secs(9));
    assert!(!world.streams[upstream].fin);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    assert!(world.streams[upstream].fin);
    assert_eq!(world.cluster_counters().upstream_cx_max_duration_reached.value(), 1);
    world.census();
}

/// RFC 9113, 6.8: announced, a round trip, then the final word; a request that was on its way is
/// served.
#[test]
fn who_is_idle_hears_of_a_drain_in_two_steps() {
    let mut net = Net::new(One);
    let client = net.client(Two);
    net.settle();
    // The far end is slow to read: what it says meanwhile was on its way.
    net.world.proxy.start_drain(net.world.now);
    net.world.proxy.handle_timers(net.world.now);
    net.world.pump();
    assert!(!net.world.streams[client].fin);
    assert_eq!(net.world.proxy.active(), 1, "the process waits for it");
    let last_of = |bytes: &[u8]| {
        let goaway = bytes.windows(9).rposition(|at| at[..5] == [0, 0, 8, 7, 0]);
        let at = goaway.expect("a GOAWAY") + 9;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let said = net.world.streams[client].received.clone();
    assert_eq!(last_of(&said), 0x7fff_ffff, "announced");
    let ping = said.windows(9).position(|at| at[..5] == [0, 0, 8, 6, 0]);
    assert!(ping.is_some(), "and a PING behind it");
    let place = net.get_unsettled(client, "/late");
    net.settle();
    assert!(net.far(client).goaway);
    let at = net.only();
    net.answer_all(at, 200, b"hi");
    assert_eq!(net.outcome(place), "200 Whole");
    assert!(net.world.streams[client].fin);
    assert_eq!(net.world.proxy.active(), 0);
    net.census();
}

/// Who does not answer the PING has a second; who is idle for too long hears it in the same way.
#[test]
fn who_does_not_answer_is_left_behind() {
    for drain in [true, false] {
        let mut world = World::with(|config| {
            config.listeners[0].idle_timeout = Some(Duration::from_secs(5));
        });
        let client = world.client();
        world.send(client, sluice_l7_http2::frame::PREFACE);
        world.send(client, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        if drain {
            world.proxy.start_drain(world.now);
            world.advance(Duration::from_millis(900));
        } else {
            world.advance(Duration::from_millis(5_900));
        }
        assert!(!world.streams[client].fin, "drain: {drain}");
        assert_eq!(world.proxy.active(), usize::from(drain));
        world.advance(Duration::from_millis(300));
        assert!(world.streams[client].fin, "drain: {drain}");
        assert_eq!(world.proxy.active(), 0);
        let said = std::mem::take(&mut world.streams[client].received);
        let goaways = said.windows(5).filter(|at| *at == [0, 0, 8, 7, 0]).count();
        assert_eq!(goaways, 2, "drain: {drain}");
        let counters = world.listener_counters();
        assert_eq!(counters.downstream_cx_drain_close.value(), u64::from(drain));
        assert_eq!(counters.downstream_cx_idle_timeout.value(), u64::from(!drain));
        world.census();
    }
}
