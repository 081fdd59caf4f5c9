//! Requests that work.

use super::world::World;
use super::{GET, OK};

#[test]
fn a_request_and_its_response() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    let upstream = world.upstream();
    let request = world.take(upstream);
    assert!(request.starts_with("GET /a HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: example.com\r\n"), "{request}");
    world.send(upstream, OK);
    let response = world.take(client);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nhi"), "{response}");
    assert_eq!(world.last_log(), "200 -");
    assert_eq!(world.streams[client].credited, GET.len());
    assert_eq!(world.streams[upstream].credited, OK.len());
    world.census();
}

/// Keep-alive on both sides: the second request takes the connection that the first one left.
#[test]
fn connections_are_reused() {
    let mut world = World::new();
    let client = world.client();
    for _ in 0..6 {
        world.send(client, GET);
        assert!(world.answer(OK).starts_with("GET /a"));
        assert!(world.take(client).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(world.upstreams().len(), 2, "round robin over two endpoints: a connection each");
    assert_eq!(world.cluster_counters().upstream_rq_total.value(), 6);
    assert_eq!(world.listener_counters().downstream_rq_2xx.value(), 6);
    world.census();
}

#[test]
fn pipelined_requests_are_answered_one_by_one_in_order() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET.replace("/a", "/1") + &GET.replace("/a", "/2"));
    let first = world.asked();
    assert!(world.take(first).starts_with("GET /1 "));
    assert_eq!(world.upstreams().len(), 1, "the second waits for the first");
    world.send(first, OK.replace("hi", "11"));
    assert!(world.answer(&OK.replace("hi", "22")).starts_with("GET /2 "));
    let both = world.take(client);
    assert!(both.find("11") < both.find("22") && both.ends_with("22"), "{both}");
    world.census();
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let mut world = World::new();
    let client = world.client();
    for byte in GET.bytes() {
        world.send(client, [byte]);
    }
    let upstream = world.asked();
    for byte in OK.bytes() {
        world.send(upstream, [byte]);
    }
    assert!(world.take(client).ends_with("\r\n\r\nhi"));
    world.census();
}

#[test]
fn a_head_request_has_no_body() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET.replace("GET", "HEAD"));
    world.answer("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    let response = world.take(client);
    assert!(response.contains("content-length: 1000\r\n") && response.ends_with("\r\n\r\n"));
    world.send(client, GET);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

#[test]
fn an_old_client_gets_a_response_that_ends_with_the_connection() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "GET /a HTTP/1.0\r\n\r\n");
    world.answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let response = world.take(client);
    assert!(response.ends_with("\r\n\r\nabc"), "{response}");
    assert!(!response.contains("chunked"), "{response}");
    assert!(world.streams[client].fin);
    world.fin(client);
    assert!(world.streams[client].dead);
    world.census();
}

#[test]
fn a_client_that_says_close_is_closed_after_its_response() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    world.answer(OK);
    assert!(world.take(client).contains("connection: close\r\n"));
    assert!(world.streams[client].fin);
    assert!(!world.streams[world.upstream()].fin, "the other side is kept");
    world.census();
}

#[test]
fn an_endpoint_that_says_close_is_not_reused() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    world.answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi");
    assert!(world.take(client).ends_with("hi"));
    assert!(world.streams[world.upstream()].fin);
    assert!(!world.streams[client].fin);
    world.census();
}

/// `printf 'GET ...' | nc`: the client has said everything and still wants the answer.
#[test]
fn a_client_may_close_its_side_after_the_request() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    world.fin(client);
    assert!(!world.streams[client].dead);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    assert!(world.streams[client].dead, "both sides have closed");
    world.census();
}

#[test]
fn continue_passes_through() {
    let mut world = World::new();
    let client = world.client();
    let head = "PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    world.send(client, head);
    let upstream = world.asked();
    assert!(world.take(upstream).contains("expect: 100-continue\r\n"));
    world.send(upstream, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(world.take(client).starts_with("HTTP/1.1 100 "));
    world.send(client, "abc");
    assert_eq!(world.take(upstream), "abc");
    world.send(upstream, OK);
    assert!(world.take(client).ends_with("hi"));
    assert!(!world.streams[client].fin);
    world.census();
}

/// Hundreds of tiny requests in one window: a call works off some, the timer goes on.
#[test]
fn a_flood_of_pipelined_requests_is_worked_off_in_portions() {
    let mut world = World::with(|config| {
        config.listeners[0].protocol = {
            let mut http = super::world::web(config).clone();
            http.virtual_hosts[0].routes.clear();
            sluice_config_model::Protocol::Http(http)
        }
    });
    let client = world.client();
    world.send(client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(200));
    let first = world.take(client).matches("HTTP/1.1 404").count();
    assert!((1..200).contains(&first), "{first}");
    world.advance(std::time::Duration::from_millis(50));
    assert_eq!(first + world.take(client).matches("HTTP/1.1 404").count(), 200);
    world.census();
}
