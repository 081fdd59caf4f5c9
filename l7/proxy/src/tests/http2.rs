//! What is configured of connections of HTTP/2.

use std::time::Duration;

use sluice_config_model::{Cluster, Config, Http2Settings, HttpVersion};
use sluice_l7_core::{BodyLength, Method};
use sluice_l7_http2::frame::PREFACE;

use super::far::{Ended, Version};
use super::net::Net;
use super::world::{Behaviour, World, endpoint, routes, web};
use crate::StreamEvent;

use Version::{One, Two};

fn cluster(config: &mut Config) -> &mut Cluster {
    config.clusters[0].endpoints.truncate(1);
    config.clusters[0].http = HttpVersion::Http2;
    &mut config.clusters[0]
}

/// Settings that are all unlike the defaults.
fn special() -> Http2Settings {
    Http2Settings {
        max_concurrent_streams: 7,
        initial_stream_window_size: 100_000,
        initial_connection_window_size: 165_535,
        hpack_table_size: 1_024,
        ..Http2Settings::default()
    }
}

#[test]
fn peers_are_told() {
    let mut world = World::with(|config| {
        web(config).http2 = special();
        cluster(config).http2 = special();
    });
    let window = [0, 4, 0, 1, 0x86, 0xa0];
    let table = [0, 1, 0, 0, 4, 0];
    let client = world.client();
    world.send(client, PREFACE);
    let said = std::mem::take(&mut world.streams[client].received);
    assert_eq!(said[..9], [0, 0, 24, 4, 0, 0, 0, 0, 0], "four settings");
    let entries: Vec<_> = said[9..33].chunks(6).collect();
    for entry in [[0, 3, 0, 0, 0, 7], window, table] {
        assert!(entries.contains(&&entry[..]), "{entry:?} in {entries:?}");
    }
    // The connection's window is made larger by a WINDOW_UPDATE.
    assert_eq!(said[33..], [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 1, 0x86, 0xa0]);

    let other = world.client();
    world.send(other, super::GET);
    let upstream = world.asked();
    let said = std::mem::take(&mut world.streams[upstream].received);
    assert!(said.starts_with(PREFACE));
    let entries: Vec<_> = said[PREFACE.len() + 9..][..24].chunks(6).collect();
    for entry in [window, table] {
        assert!(entries.contains(&&entry[..]), "{entry:?} in {entries:?}");
    }
    world.census();
}

#[test]
pub(super) fn a_client_s_connection_carries_so_many_requests() {
    let mut net = Net::with(One, |config| {
        web(config).http2.max_requests_per_connection = Some(3);
    });
    let client = net.client(Two);
    let mut places: Vec<_> = (0..2).map(|_| net.get(client, "/")).collect();
    assert!(!net.far(client).goaway);
    places.push(net.get(client, "/"));
    assert!(net.far(client).goaway, "it has been told");
    assert_eq!(net.world.listener_counters().downstream_cx_max_requests_reached.value(), 1);
    for at in net.asked() {
        net.answer_all(at, 200, b"hi");
    }
    for place in places {
        assert_eq!(net.outcome(place), "200 Whole");
    }
    assert!(net.has_ended(client) || net.world.streams[client].fin, "it closes behind the last");
    net.serves(Two);
    net.census();
}

#[test]
pub(super) fn an_endpoint_s_connection_carries_so_many_requests() {
    let mut net = Net::with(Two, |config| {
        cluster(config).http2.max_requests_per_connection = Some(3);
    });
    let client = net.client(Two);
    let places: Vec<_> = (0..7).map(|_| net.get(client, "/")).collect();
    assert_eq!(net.asked().len(), 7);
    assert_eq!(net.world.upstreams().len(), 3, "three, three and one");
    for at in net.asked() {
        net.answer_all(at, 200, b"hi");
    }
    for place in places {
        assert_eq!(net.outcome(place), "200 Whole");
    }
    let closed = net.world.upstreams().into_iter().filter(|at| net.world.streams[*at].fin);
    assert_eq!(closed.count(), 2);
    assert_eq!(net.world.cluster_counters().upstream_cx_max_requests.value(), 2);
    net.census();
}

/// What is on it goes on.
#[test]
pub(super) fn connections_last_so_long() {
    let mut net = Net::with(Two, |config| {
        web(config).http2.max_connection_duration = Some(Duration::from_secs(10));
        cluster(config).http2.max_connection_duration = Some(Duration::from_secs(5));
    });
    let client = net.client(Two);
    let slow = net.ask(client, Method::Post, "/", &[], BodyLength::Chunked);
    let first = net.only();
    net.advance(5_100);
    assert_eq!(net.world.cluster_counters().upstream_cx_max_duration_reached.value(), 1);
    let other = net.get(client, "/other");
    assert_eq!(net.world.upstreams().len(), 2, "on another connection");
    let second = *net.asked().iter().find(|at| **at != first).expect("the other request");
    net.answer_all(second, 200, b"hi");
    assert_eq!(net.outcome(other), "200 Whole");
    net.advance(5_000);
    assert_eq!(net.world.listener_counters().downstream_cx_max_duration_reached.value(), 1);
    assert!(net.far(client).goaway);
    net.body(slow, b"late");
    net.end(slow, &[]);
    assert_eq!((net.seen(first).ended, &net.seen(first).body[..]), (Ended::Whole, &b"late"[..]));
    net.answer_all(first, 200, b"hi");
    assert_eq!(net.outcome(slow), "200 Whole");
    assert!(net.world.streams[first.0].fin && net.world.streams[client].fin);
    net.census();
}

#[test]
fn an_endpoint_that_gives_no_sign_of_life_is_given_up() {
    let mut world = World::with(|config| {
        let http2 = &mut cluster(config).http2;
        http2.ping_interval = Some(Duration::from_secs(3));
        http2.ping_timeout = Duration::from_secs(2);
    });
    let client = world.client();
    world.send(client, super::GET);
    let upstream = world.asked();
    // SETTINGS, and an acknowledgement of ours; then nothing.
    world.send(upstream, [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]);
    world.advance(Duration::from_millis(4_900));
    assert_eq!(world.take(client), "");
    world.advance(Duration::from_millis(200));
    assert!(world.take(client).starts_with("HTTP/1.1 502 "));
    let faults = &world.cluster_counters().faults;
    assert_eq!(faults.iter().find(|(_, count)| *count > 0), Some(("ping-timeout", 1)));
    world.census();
}

/// Connections are replaced by such as the new configuration wants, and those that are open finish.
#[test]
pub(super) fn a_reload_replaces_connections_to_endpoints() {
    let mut net = Net::with(Two, |config| cluster(config).http = HttpVersion::Http2);
    let client = net.client(One);
    let place = net.get(client, "/");
    let at = net.only();
    net.answer_all(at, 200, b"hi");
    assert_eq!(net.outcome(place), "200 Whole");
    net.world.reload(|config| cluster(config).http2.max_concurrent_streams = 5);
    net.serves(One);
    assert_eq!(net.world.upstreams().len(), 2);
    assert!(net.world.streams[at.0].fin);
    net.census();
}

/// One connection would have carried all: nobody waits for it once more.
#[test]
fn who_waits_for_a_connection_that_fails_fails_with_it() {
    for refused in [false, true] {
        let mut world = World::with(|config| {
            cluster(config).connect_timeout = Duration::from_secs(5);
            routes(config)[0].retries = 0;
        });
        world.behave(1, Behaviour::Silent);
        let clients: Vec<_> = (0..5).map(|_| world.client()).collect();
        for client in &clients {
            world.send(*client, super::GET);
        }
        assert_eq!(world.upstreams().len(), 1, "one connection for all");
        if refused {
            let upstream = world.upstream();
            world.reset(upstream);
        } else {
            world.advance(Duration::from_millis(5_010));
        }
        for client in clients {
            assert!(world.take(client).starts_with("HTTP/1.1 503 "), "refused: {refused}");
            assert_eq!(world.last_log(), "503 UF");
        }
        let counters = world.cluster_counters();
        assert_eq!(counters.upstream_rq_pending_failure_eject.value(), 5);
        assert_eq!(counters.upstream_cx_connect_fail.value(), 1);
        world.census();
    }
}

/// They are tried elsewhere together as well; what came for another endpoint meanwhile goes on.
#[test]
fn who_waited_in_vain_tries_another_endpoint() {
    let mut world = World::with(|config| {
        config.clusters[0].http = HttpVersion::Http2;
        config.clusters[0].connect_timeout = Duration::from_secs(5);
    });
    world.behave(1, Behaviour::Silent);
    world.behave(2, Behaviour::Silent);
    let clients: Vec<_> = (0..8).map(|_| world.client()).collect();
    for client in &clients {
        world.send(*client, super::GET);
    }
    let upstreams = world.upstreams();
    assert_eq!(upstreams.len(), 2, "one connection to each");
    let good = *upstreams
        .iter()
        .find(|at| world.streams[**at].remote == Some(endpoint(2)))
        .expect("a connection to the second");
    world.advance(Duration::from_millis(4_990));
    world.event(good, StreamEvent::Connected);
    world.advance(Duration::from_millis(20));
    let asked = world.take(good);
    assert_eq!(world.upstreams().len(), 2, "and no other");
    assert_eq!(world.cluster_counters().upstream_rq_active.value(), 8, "{asked}");
    world.census();
}

/// What is configured of floods is what a client's frames are counted by.
#[test]
fn a_client_may_send_as_many_frames_as_is_configured() {
    for (most, ends) in [(3, true), (4, false)] {
        let mut world = World::with(|config| web(config).http2.max_ping_frames = most);
        let client = world.client();
        world.send(client, PREFACE);
        world.send(client, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        for _ in 0..4 {
            world.send(client, [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"are you?"].concat());
        }
        assert_eq!(world.streams[client].fin, ends, "{most}");
        let faults = &world.listener_counters().faults;
        let flood = ends.then_some(("ping-flood", 1));
        assert_eq!(faults.iter().find(|(_, count)| *count > 0), flood);
        world.census();
    }
}

/// RFC 9113, 6.1: DATA belongs to a stream. 0 is none, whatever the table of streams holds.
#[test]
fn data_on_no_stream_ends_the_connection() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, PREFACE);
    world.send(client, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    world.send(client, [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x01, 1, b'a']);
    world.send(client, [0, 0, 4, 0, 0, 0, 0, 0, 0, b'd', b'a', b't', b'a']);
    assert!(world.streams[client].fin);
    assert_eq!(world.listener_counters().downstream_cx_protocol_error.value(), 1);
    world.census();
}
