//! Requests that fail, and what the client and the log are told.

use std::time::Duration;

use super::world::{APP, Behaviour, World, cluster, route, routes, web};
use super::{GET, OK};
use sluice_config_model::RouteAction;

#[test]
fn no_route_is_404() {
    let mut world = World::with(|config| {
        *routes(config) = vec![route(0, "/only", RouteAction::Cluster(APP))];
    });
    let client = world.client();
    world.send(client, GET);
    assert!(world.take(client).starts_with("HTTP/1.1 404 "));
    assert_eq!(world.last_log(), "404 NR");
    assert_eq!(world.listener_counters().no_route.value(), 1);
    world.send(client, GET.replace("/a", "/only"));
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"), "the connection went on");
    world.census();
}

#[test]
fn a_cluster_without_endpoints_is_503() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[])]);
    let client = world.client();
    world.send(client, GET);
    let response = world.take(client);
    assert!(response.starts_with("HTTP/1.1 503 "));
    assert!(response.ends_with("no healthy upstream"));
    assert_eq!(world.last_log(), "503 UH");
    world.census();
}

#[test]
fn a_refused_connection_is_503_after_the_retry() {
    let mut world = World::new();
    world.behave(1, Behaviour::Refuse);
    world.behave(2, Behaviour::NoPort);
    let client = world.client();
    world.send(client, GET);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UF,URX");
    assert_eq!(world.cluster_counters().upstream_cx_connect_fail.value(), 2);
    assert!(!world.streams[client].fin, "not the client's fault");
    world.census();
}

#[test]
fn a_reset_before_the_response_is_503() {
    let mut world = World::with(|config| routes(config)[0].retries = 0);
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.reset(upstream);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UC");
    world.census();
}

#[test]
fn an_endpoint_that_closes_without_an_answer_is_503() {
    let mut world = World::with(|config| routes(config)[0].retries = 0);
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.fin(upstream);
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UC");
    world.census();
}

#[test]
fn garbage_from_the_endpoint_is_502() {
    for garbage in
        ["hello\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]
    {
        let mut world = World::new();
        let client = world.client();
        world.send(client, GET);
        let upstream = world.asked();
        world.send(upstream, garbage);
        assert!(world.take(client).starts_with("HTTP/1.1 502 "), "{garbage}");
        assert_eq!(world.last_log(), "502 UPE");
        assert!(world.streams[upstream].aborted);
        assert_eq!(world.cluster_counters().upstream_cx_protocol_error.value(), 1);
        world.census();
    }
}

/// A body that is cut must look cut. Length and chunks show it, so it is closed, which arrives for
/// sure; a body until close has only the reset.
#[test]
fn a_response_cut_in_mid_body_is_cut_for_the_client() {
    for (head, end) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\nabc", false),
    ] {
        let mut world = World::new();
        let client = world.client();
        world.send(client, GET);
        let upstream = world.asked();
        world.send(upstream, head);
        assert!(world.take(client).contains("abc"));
        if end {
            world.fin(upstream);
        } else {
            world.reset(upstream);
        }
        let rest = world.take(client);
        assert!(!rest.contains("0\r\n\r\n"), "the last chunk would make it whole: {rest}");
        assert!(world.streams[client].fin && !world.streams[client].aborted, "{head}");
        assert_eq!(world.last_log(), "200 UC");
        world.census();
    }
}

#[test]
fn a_cut_body_that_only_the_close_would_end_is_reset() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "GET /a HTTP/1.0\r\nhost: a\r\n\r\n");
    let upstream = world.asked();
    world.send(upstream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert!(world.take(client).ends_with("abc"));
    world.fin(upstream);
    assert!(world.streams[client].aborted);
    assert_eq!(world.last_log(), "200 UC");
    world.census();
}

#[test]
fn chunk_garbage_in_mid_body_is_cut_for_the_client() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.send(upstream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcXX");
    assert!(world.streams[client].fin && world.streams[upstream].aborted);
    world.census();
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let mut world = World::with(|config| web(config).max_body = Some(10));
    let client = world.client();
    world.send(client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n");
    assert!(world.take(client).starts_with("HTTP/1.1 413 "));
    assert_eq!(world.last_log(), "413 -");
    assert!(world.upstreams().is_empty(), "its length was enough to know");
    assert!(world.streams[client].fin);

    let client = world.client();
    world.send(
        client,
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n",
    );
    world.send(client, "8\r\n12345678\r\n");
    assert!(world.take(client).starts_with("HTTP/1.1 413 "));
    assert!(world.streams[world.upstream()].aborted);
    assert_eq!(world.listener_counters().downstream_rq_too_large.value(), 2);

    let client = world.client();
    world.send(client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789");
    world.answer(OK);
    assert!(world.take(client).starts_with("HTTP/1.1 200 "), "exactly is allowed");
    world.census();
}

#[test]
fn what_is_not_http_is_told_once_and_closed() {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9_000));
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(62_000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(120));
    for (request, status) in [
        ("\x16\x03\x01\x02", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
        ),
        (&long, 414),
        (&large, 431),
        (&many, 431),
        ("GET / HTTP/3.0\r\nhost: a\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
    ] {
        let mut world = World::new();
        let client = world.client();
        world.send(client, request);
        let response = world.take(client);
        let shown = &request[..request.len().min(60)];
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {response}");
        assert!(response.contains("connection: close\r\n"), "{response}");
        assert!(world.streams[client].fin, "{shown:?}");
        assert_eq!(world.last_log(), format!("{status} DPE"));
        assert_eq!(world.listener_counters().downstream_cx_protocol_error.value(), 1);
        world.census();
    }
}

#[test]
fn chunk_garbage_from_the_client_frees_the_endpoint() {
    let mut world = World::new();
    let client = world.client();
    world.send(
        client,
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    );
    world.send(client, "zz\r\n");
    assert!(world.take(client).starts_with("HTTP/1.1 400 "));
    assert!(world.streams[world.upstream()].aborted);
    assert!(world.streams[client].fin);
    world.census();
}

#[test]
fn a_client_that_goes_away_frees_the_endpoint() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.reset(client);
    assert!(world.streams[upstream].aborted);
    assert_eq!(world.last_log(), "0 DC");
    assert_eq!(world.listener_counters().downstream_rq_rx_reset.value(), 1);

    // In the middle of its request.
    let client = world.client();
    world.send(client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc");
    let upstream = world.asked();
    world.fin(client);
    assert!(world.streams[upstream].aborted && world.streams[client].aborted);
    assert_eq!(world.last_log(), "0 DC");
    world.census();
}

/// The connection that was being opened is not thrown away: the next request takes it.
#[test]
fn a_client_that_goes_away_while_connecting_leaves_a_connection() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    world.behave(1, Behaviour::Silent);
    let client = world.client();
    world.send(client, GET);
    let upstream = world.upstream();
    world.reset(client);
    assert_eq!(world.cluster_counters().upstream_rq_cancelled.value(), 1);
    world.event(upstream, crate::StreamEvent::Connected);
    let client = world.client();
    world.send(client, GET);
    assert_eq!(world.upstreams().len(), 1);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

#[test]
fn a_listener_nobody_knows_resets() {
    let mut world = World::new();
    let client = world.client_of(sluice_base::ListenerId(77));
    assert!(world.streams[client].aborted);
    assert_eq!(world.proxy.counters().unknown_listener.value(), 1);
    world.census();
}

/// What a peer that neither closes nor reads can hold after we closed is bounded.
#[test]
fn lingering_ends() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "nonsense\r\n\r\n");
    assert!(world.streams[client].fin && !world.streams[client].dead);
    world.advance(Duration::from_secs(31));
    assert!(world.streams[client].aborted);
    assert_eq!(world.proxy.counters().linger_timeout.value(), 1);

    let client = world.client();
    world.send(client, "nonsense\r\n\r\n");
    for _ in 0..300 {
        if !world.streams[client].dead {
            world.send(client, [b'x'; 4_000]);
        }
    }
    assert!(world.streams[client].aborted);
    world.census();
}
