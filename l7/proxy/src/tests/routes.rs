//! What routes and filters do to requests and responses, and what the log says.

use super::world::{APP, WEB, World, cluster, endpoint, route, routes};
use super::{GET, OK};
use crate::Text;
use sluice_base::ClusterId;
use sluice_config_model::{
    DirectResponse, HeaderValue, Redirect, RedirectPath, RouteAction, WeightedCluster,
};

fn field(name: &str, value: &str) -> HeaderValue {
    HeaderValue { name: name.to_owned(), value: value.to_owned() }
}

#[test]
fn a_direct_response() {
    let mut world = World::with(|config| {
        let action = DirectResponse { status: 418, body: "short and stout".to_owned() };
        *routes(config) = vec![route(0, "/", RouteAction::DirectResponse(action))];
        routes(config)[0].response_headers_add = vec![field("x-pot", "tea")];
    });
    let client = world.client();
    for _ in 0..2 {
        world.send(client, GET);
        let response = world.take(client);
        assert!(response.starts_with("HTTP/1.1 418 "), "{response}");
        assert!(response.contains("x-pot: tea\r\n"), "{response}");
        assert!(response.ends_with("\r\n\r\nshort and stout"), "{response}");
    }
    assert_eq!(world.last_log(), "418 -");
    assert_eq!(world.listener_counters().rq_direct_response.value(), 2);
    world.census();
}

#[test]
fn a_redirect() {
    let mut world = World::with(|config| {
        let action = Redirect {
            scheme: None,
            host: Some("new.example".to_owned()),
            port: None,
            path: Some(RedirectPath::Prefix("/b".to_owned())),
            strip_query: false,
            status: 308,
        };
        *routes(config) = vec![route(0, "/a", RouteAction::Redirect(action))];
    });
    let client = world.client();
    world.send(client, GET.replace("/a", "/a/x?y=1"));
    let response = world.take(client);
    assert!(response.starts_with("HTTP/1.1 308 "), "{response}");
    assert!(response.contains("location: http://new.example/b/x?y=1\r\n"), "{response}");
    assert!(response.contains("content-length: 0\r\n"), "{response}");
    assert_eq!(world.listener_counters().rq_redirect.value(), 1);
    world.census();
}

/// A body behind a request that we answer ourselves is read and dropped, so that the next request
/// is found behind it.
#[test]
fn a_local_answer_skips_the_body_that_is_there() {
    let mut world = World::with(|config| {
        let action = DirectResponse { status: 200, body: "yes".to_owned() };
        *routes(config) = vec![route(0, "/", RouteAction::DirectResponse(action))];
    });
    let client = world.client();
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
    world.send(client, format!("{post}{GET}"));
    assert_eq!(world.take(client).matches("HTTP/1.1 200").count(), 2);
    assert!(!world.streams[client].fin);
    assert_eq!(world.streams[client].credited, world.streams[client].sent);
    world.send(client, &post[..post.len() - 2]);
    let response = world.take(client);
    assert!(response.contains("connection: close\r\n"), "the rest is not waited for: {response}");
    assert!(world.streams[client].fin);
    world.census();
}

#[test]
fn rewrites_and_edits() {
    let mut world = World::with(|config| {
        let rule = &mut routes(config)[0];
        *rule = route(0, "/api/", RouteAction::Cluster(APP));
        rule.prefix_rewrite = Some("/v2/".to_owned());
        rule.host_rewrite = Some("inner.example".to_owned());
        rule.request_headers_add = vec![field("x-from", "sluice")];
        rule.request_headers_remove = vec!["x-secret".to_owned()];
        rule.response_headers_add = vec![field("x-via", "sluice")];
        rule.response_headers_remove = vec!["server".to_owned()];
    });
    let client = world.client();
    world.send(
        client,
        "GET /api/x?q=1 HTTP/1.1\r\nhost: outer.example\r\nx-secret: 1\r\nuser-agent: test\r\n\r\n",
    );
    let request = world
        .answer("HTTP/1.1 200 OK\r\nserver: nginx\r\ncontent-length: 2\r\n\r\nhi")
        .to_lowercase();
    assert!(request.starts_with("get /v2/x?q=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("host: inner.example\r\n"), "{request}");
    assert!(request.contains("x-from: sluice\r\n") && !request.contains("x-secret"), "{request}");
    assert!(request.contains("x-envoy-original-path: /api/x?q=1\r\n"), "{request}");
    let response = world.take(client);
    assert!(response.contains("x-via: sluice\r\n") && !response.contains("nginx"), "{response}");
    let record = world.logs.pop().expect("a record");
    assert_eq!(record.text(Text::Path), b"/api/x?q=1");
    assert_eq!(record.text(Text::UserAgent), b"test");
    assert_eq!(record.text(Text::Method), b"GET");
    assert_eq!((record.bytes_received, record.bytes_sent), (0, 2));
    assert!([Some(endpoint(1)), Some(endpoint(2))].contains(&record.upstream));
    assert_eq!((record.cluster, record.protocol), (Some(APP), "HTTP/1.1"));
    world.census();
}

#[test]
fn who_asked_is_said_and_what_was_for_us_is_not() {
    let mut world = World::new();
    let client = world.client();
    world.send(
        client,
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nte: gzip\r\n\
         proxy-connection: keep-alive\r\n\r\n",
    );
    let request = world.answer(OK).to_lowercase();
    assert!(request.contains("x-forwarded-for: 10.0.0.100\r\n"), "{request}");
    assert!(request.contains("x-request-id: "), "{request}");
    for gone in ["x-hop", "proxy-connection", "te: gzip"] {
        assert!(!request.contains(gone), "{gone}: {request}");
    }
    let record = world.logs.pop().expect("a record");
    assert_eq!(record.text(Text::RequestId).len(), 36);
    assert_eq!(record.text(Text::ForwardedFor), b"10.0.0.100");
    world.census();
}

/// What is kept of a connection is not said of the next one in its place.
#[test]
fn who_asked_is_said_of_everybody() {
    let mut world = World::new();
    for host in [7, 8, 7] {
        let client = world.client_from(host, WEB);
        for _ in 0..5 {
            world.send(client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let request = world.answer(OK);
            assert!(request.contains(&format!("x-forwarded-for: 10.0.0.{host}\r\n")), "{request}");
        }
        world.reset(client);
    }
    world.census();
}

#[test]
fn weights_divide_requests() {
    let mut world = World::with(|config| {
        let shares = [(0, 3), (1, 1)];
        let entry = |(id, weight)| WeightedCluster { cluster: ClusterId(id), weight };
        let action = RouteAction::WeightedClusters(shares.map(entry).to_vec());
        *routes(config) = vec![route(0, "/", action)];
        config.clusters = vec![cluster(0, &[1]), cluster(1, &[2])];
    });
    let client = world.client();
    let mut to_second = 0;
    for _ in 0..400 {
        world.send(client, GET);
        let upstream = world.asked();
        to_second += u32::from(world.streams[upstream].remote == Some(endpoint(2)));
        world.answer(OK);
        world.take(client);
    }
    assert!((70..130).contains(&to_second), "{to_second} of 100 expected");
    assert_eq!(world.upstreams().len(), 2);
    world.census();
}

#[test]
fn a_path_that_climbs_out_is_400() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET.replace("/a", "/%00"));
    assert!(world.take(client).starts_with("HTTP/1.1 400 "));
    world.send(client, GET.replace("/a", "/x/../y"));
    assert!(world.answer(OK).starts_with("GET /y HTTP/1.1\r\n"), "routed and sent normalised");
    world.census();
}
