//! Once more, elsewhere, and only where nothing can happen twice.

use super::world::{Behaviour, World, cluster, endpoint, routes};
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
