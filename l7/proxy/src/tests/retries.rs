//! Once more, elsewhere, and only where nothing can happen twice.

use std::time::Duration;

use sluice_config_model::RetryOn;
use sluice_l7_core::{BodyLength, Method, ResetReason};

use super::far::{Ended, Version};
use super::net::Net;
use super::world::{Behaviour, TCP, World, cluster, endpoint, routes};
use super::{GET, OK};

#[test]
fn a_refused_connection_is_tried_at_the_other_endpoint() {
    for broken in [1, 2] {
        for behaviour in [Behaviour::Refuse, Behaviour::NoPort] {
            let mut world = World::new();
            world.behave(broken, behaviour);
            for _ in 0..4 {
                let client = world.client();
                world.send(client, GET);
                let upstream = world.asked();
                assert_eq!(world.streams[upstream].remote, Some(endpoint(3 - broken)));
                world.answer(OK);
                assert!(world.take(client).ends_with("hi"));
                assert_eq!(world.last_log(), "200 -");
            }
            assert!(world.cluster_counters().upstream_rq_retry.value() >= 1);
            assert!(world.cluster_counters().upstream_rq_retry_success.value() >= 1);
            world.census();
        }
    }
}

/// By two random choices the same endpoint could come again; a retry leaves it out.
#[test]
fn a_retry_goes_elsewhere_whatever_the_balancer() {
    let mut world = World::with(|config| {
        config.clusters[0].load_balancing = sluice_config_model::LoadBalancing::LeastRequest;
    });
    world.behave(1, Behaviour::Refuse);
    for _ in 0..30 {
        let client = world.client();
        world.send(client, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        world.answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi");
        assert!(world.take(client).ends_with("hi"));
        world.reset(client);
    }
    assert!(world.cluster_counters().upstream_rq_retry.value() > 5);
    world.census();
}

#[test]
fn without_retries_the_first_failure_is_the_answer() {
    let mut world = World::with(|config| routes(config)[0].retries = 0);
    world.behave(1, Behaviour::Refuse);
    world.behave(2, Behaviour::Refuse);
    let client = world.client();
    world.send(client, GET);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UF");
    assert_eq!(world.cluster_counters().upstream_rq_retry.value(), 0);
    world.census();
}

/// The endpoint closes a kept connection at the very moment we use it: the client never knows.
#[test]
fn a_kept_connection_that_closes_as_we_use_it() {
    for close in [World::fin, World::reset] {
        let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
        let client = world.client();
        world.send(client, GET);
        world.answer(OK);
        world.take(client);
        world.send(client, GET);
        let stale = world.asked();
        world.take(stale);
        close(&mut world, stale);
        assert_ne!(world.asked(), stale);
        assert!(world.answer(OK).starts_with("GET /a"));
        assert!(world.take(client).ends_with("hi"));
        assert_eq!(world.last_log(), "200 -");
        world.census();
    }
}

#[test]
fn an_idle_connection_that_closes_is_not_used() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    let old = world.upstream();
    world.fin(old);
    assert!(world.streams[old].dead, "both sides have closed");
    world.send(client, GET);
    assert_ne!(world.asked(), old);
    world.answer(OK);
    assert_eq!(world.cluster_counters().upstream_rq_retry.value(), 0);
    assert_eq!(world.cluster_counters().upstream_cx_destroy_remote.value(), 1);
    world.census();
}

/// RFC 9110, 9.2.2: who knows what the endpoint did with a POST before it died.
#[test]
fn a_post_is_not_sent_twice() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    let upstream = world.asked();
    world.take(upstream);
    world.reset(upstream);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UC");
    assert_eq!(world.upstreams().len(), 1);
    world.census();
}

#[test]
fn a_post_that_was_never_sent_is_tried_again_with_its_body() {
    let mut world = World::new();
    world.behave(1, Behaviour::Refuse);
    for _ in 0..2 {
        let client = world.client();
        world.send(client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
        assert!(world.answer(OK).ends_with("\r\n\r\nabc"));
        assert!(world.take(client).ends_with("hi"));
    }
    world.census();
}

#[test]
fn a_put_is_repeated_with_the_body_sent_so_far() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc");
    let first = world.asked();
    assert!(world.take(first).ends_with("abc"));
    world.reset(first);
    let second = world.asked();
    assert!(world.take(second).ends_with("\r\n\r\nabc"));
    world.send(client, "def");
    assert_eq!(world.take(second), "def");
    world.send(second, OK);
    assert!(world.take(client).ends_with("hi"));
    assert_eq!(world.streams[client].credited, world.streams[client].sent);
    world.census();
}

#[test]
fn a_body_too_long_to_keep_is_not_repeated() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 40000\r\n\r\n");
    for _ in 0..3 {
        world.send(client, [b'x'; 8_000]);
    }
    let upstream = world.asked();
    world.reset(upstream);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.upstreams().len(), 1);
    world.census();
}

#[test]
fn after_a_byte_of_the_response_nothing_is_repeated() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
    let upstream = world.asked();
    world.send(upstream, "HTTP/1.1 100 Continue\r\n\r\n");
    world.take(client);
    world.reset(upstream);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UC");
    world.census();
}

/// Of a client's request the connection to the endpoint ends: the one on which it is sent again, if
/// it is.
fn send_twice(world: &mut World, client: usize) -> Option<usize> {
    world.send(client, GET);
    let upstream = world.asked();
    world.take(upstream);
    send_again(world, upstream)
}

fn send_again(world: &mut World, upstream: usize) -> Option<usize> {
    let before = world.cluster_counters().upstream_rq_retry.value();
    world.reset(upstream);
    (world.cluster_counters().upstream_rq_retry.value() > before).then(|| {
        let again = world.asked();
        world.take(again);
        again
    })
}

/// A request that has been sent again counts until its answer's head is here, or nobody waits for it.
#[test]
fn no_more_are_sent_again_at_a_time_than_may() {
    let mut world = World::with(|config| config.clusters[0].max_retries = 2);
    let clients: Vec<_> = (0..4).map(|_| world.client()).collect();
    let first = send_twice(&mut world, clients[0]).expect("a permit");
    let second = send_twice(&mut world, clients[1]).expect("a permit");
    assert_eq!(send_twice(&mut world, clients[2]), None);
    assert!(world.take(clients[2]).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UC,UO");
    assert_eq!(world.cluster_counters().upstream_rq_retry_overflow.value(), 1);
    assert_eq!(world.cluster_counters().upstream_rq_retry_limit_exceeded.value(), 0);
    // Its head is here, its body is not: it cannot be sent again any more.
    world.send(first, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    let third = send_twice(&mut world, clients[2]).expect("a permit");
    assert_eq!(send_twice(&mut world, clients[3]), None);
    assert_eq!(world.last_log(), "503 UC,UO");
    world.take(clients[3]);
    // The client leaves.
    world.reset(clients[1]);
    assert!(world.streams[second].dead);
    let fourth = send_twice(&mut world, clients[3]).expect("a permit");
    assert_eq!(world.cluster_counters().upstream_rq_retry_overflow.value(), 2);
    for (upstream, client) in [(third, clients[2]), (fourth, clients[3])] {
        world.send(upstream, OK);
        assert!(world.take(client).ends_with("hi"));
    }
    world.send(first, "hi");
    assert!(world.take(clients[0]).ends_with("hi"));
    assert_eq!(world.cluster_counters().upstream_rq_retry_success.value(), 3);
    world.census();
}

/// It is its own permit that a request uses when it is sent again once more, also where it rested
/// in between; and a reload changes how many there are.
#[test]
fn a_permit_is_kept_from_one_attempt_to_the_next() {
    let mut world = World::with(|config| {
        config.clusters = vec![cluster(0, &[1, 2, 3])];
        config.clusters[0].max_retries = 1;
        routes(config)[0].retries = 2;
    });
    let (client, other) = (world.client(), world.client());
    let second = send_twice(&mut world, client).expect("a permit");
    world.advance(Duration::from_millis(1_100));
    let third = send_again(&mut world, second).expect("it has one");
    world.reload(|config| config.clusters[0].max_retries = 0);
    assert_eq!(send_twice(&mut world, other), None);
    assert_eq!(world.last_log(), "503 UC,UO");
    world.take(other);
    world.reload(|config| config.clusters[0].max_retries = 2);
    let last = send_twice(&mut world, other).expect("a permit");
    world.send(last, OK);
    assert!(world.take(other).ends_with("hi"));
    assert_eq!(send_again(&mut world, third), None);
    assert_eq!(world.last_log(), "503 UC,URX");
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    world.census();
}

/// What nobody has looked at costs nobody anything a second time.
#[test]
fn what_was_refused_unseen_is_sent_again_without_a_permit() {
    let mut net = Net::with(Version::Two, |config| config.clusters[0].max_retries = 0);
    let client = net.client(Version::Two);
    let place = net.get(client, "/");
    net.reset(net.only(), ResetReason::Refused);
    assert_eq!(net.seen(place).ended, Ended::No);
    net.reset(net.only(), ResetReason::Refused);
    assert_eq!(net.outcome(place), "503 Whole");
    assert_eq!(net.world.last_log(), "503 UC,UO");
    net.census();
}

/// Its answer is there, so that is what its caller hears.
#[test]
fn a_call_that_may_not_be_made_again_is_answered_as_it_was() {
    let mut net = Net::with(Version::Two, |config| {
        routes(config)[0].retry_on = vec![RetryOn::Unavailable];
        config.clusters[0].max_retries = 0;
    });
    let client = net.client(Version::Two);
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let place = net.ask(client, Method::Post, "/a.B/C", &fields, BodyLength::None);
    let status = [("content-type", "application/grpc"), ("grpc-status", "14")];
    net.answer(net.only(), 200, &status, BodyLength::None);
    assert_eq!(net.outcome(place), "200 Whole");
    assert_eq!(net.seen(place).field("grpc-status"), Some("14"));
    assert_eq!(net.world.last_log(), "200 UO");
    assert_eq!(net.world.cluster_counters().upstream_rq_retry_overflow.value(), 1);
    assert_eq!(net.world.cluster_counters().upstream_rq_retry.value(), 0);
    net.census();
}

/// Attempts of a relay to find an endpoint are not retries of requests.
#[test]
fn relays_need_no_permit() {
    let mut world = World::with(|config| config.clusters[0].max_retries = 0);
    world.behave(1, Behaviour::Refuse);
    for _ in 0..2 {
        let client = world.client_of(TCP);
        world.send(client, "hello");
        assert_eq!(world.answer("you"), "hello");
        assert_eq!(world.take(client), "you");
    }
    assert!(world.cluster_counters().upstream_rq_retry.value() >= 1);
    world.census();
}
