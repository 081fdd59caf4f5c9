//! CONNECT, ended here or sent on, in every pair of versions.

use std::time::Duration;

use sluice_config_model::{Config, Connect, PathMatch, Route, RouteAction};
use sluice_l7_core::{BodyLength, Method, ResetReason, Scheme, Span, Start};

use super::far::{Ended, PAIRS, Place, Version};
use super::net::Net;
use super::world::{APP, Behaviour, World, cluster, endpoint, route, routes, web};
use crate::StreamEvent;

use Version::{One, Two};

/// A route for CONNECT beside the one for all paths.
fn connect_route(connect: Connect) -> Route {
    let mut route = route(1, "/", RouteAction::Cluster(APP));
    route.matcher.path = PathMatch::Connect(connect);
    route
}

fn allow(connect: Connect) -> impl Fn(&mut Config) {
    move |config| routes(config).push(connect_route(connect))
}

/// Asks for a tunnel to `authority`.
fn ask(net: &mut Net, client: usize, authority: &[u8]) -> Place {
    net.ask_as(client, |head| {
        let authority = head.add_text(authority);
        let (method, method_text, scheme) = (Method::Connect, Span::EMPTY, Scheme::Implied);
        let (path, protocol) = (Span::EMPTY, Span::EMPTY);
        let start = Start::Request { method, method_text, path, authority, scheme, protocol };
        head.set_start(start, sluice_l7_core::Version::Http2);
    })
}

const DB: &[u8] = b"db.example:5432";

/// A client that has a tunnel which ends here, and the TCP connection behind it.
fn terminated(client: Version, change: impl FnOnce(&mut Config)) -> (Net, Place, usize) {
    let mut net = Net::with(One, |config| {
        allow(Connect::Terminate)(config);
        change(config);
    });
    net.raw_from = 0;
    let at = net.client(client);
    net.settle();
    let place = ask(&mut net, at, DB);
    let upstream = net.world.upstream();
    (net, place, upstream)
}

#[test]
pub(super) fn a_tunnel_that_ends_here() {
    for client in [One, Two] {
        let (mut net, place, db) = terminated(client, |config| {
            web(config).max_body = Some(3);
            // Whatever is spoken there otherwise.
            config.clusters[0].http = sluice_config_model::HttpVersion::Http2;
        });
        assert_eq!(net.seen(place).start, "200", "{client:?}");
        assert_eq!((net.seen(place).length, net.seen(place).ended), (None, Ended::No));
        assert_eq!(net.world.take(db), "", "nothing but what the client says");
        net.body(place, b"SELECT 1;");
        assert_eq!(net.world.take(db), "SELECT 1;");
        net.say(db, b"1");
        assert_eq!(net.seen(place).body, b"1");
        net.advance(60_000);
        net.body(place, b"SELECT 2;");
        assert_eq!(net.world.take(db), "SELECT 2;");
        // Either direction ends by itself.
        net.world.fin(db);
        net.settle();
        assert_eq!(net.seen(place).ended, Ended::Whole, "{client:?}");
        net.body(place, b"bye");
        assert_eq!(net.world.take(db), "bye");
        net.end(place, &[]);
        if client == One {
            net.world.fin(place.0);
            net.settle();
        }
        assert!(net.world.streams[db].dead, "{client:?}");
        assert_eq!((net.world.proxy.active(), net.world.last_log().as_str()), (0, "200 -"));
        let stream = &net.world.streams[db];
        assert_eq!(stream.sent, stream.credited, "{client:?}");
        assert_eq!(net.world.cluster_counters().upstream_rq_completed.value(), 1);
        assert_eq!(net.world.listener_counters().downstream_cx_upgrades_total.value(), 1);
        net.census();
    }
}

/// What the client says before it is answered waits for the connection.
#[test]
pub(super) fn a_tunnel_s_early_bytes() {
    for client in [One, Two] {
        let mut world = World::with(allow(Connect::Terminate));
        world.behave(1, Behaviour::Silent);
        world.behave(2, Behaviour::Silent);
        let at = world.client();
        if client == One {
            world.send(at, "CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\nearly");
        } else {
            let head = [&[0, 15, 7][..], b":method", &[7], b"CONNECT"].concat();
            let mut block = vec![0, 7];
            block.extend_from_slice(&head[3..10]);
            block.extend_from_slice(&head[10..]);
            block.extend_from_slice(&[0x01, 7]);
            block.extend_from_slice(b"db:5432");
            world.send(at, sluice_l7_http2::frame::PREFACE);
            world.send(at, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
            world.send(at, [&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1], &block[..]].concat());
            world.send(at, [&[0, 0, 5, 0, 0, 0, 0, 0, 1][..], b"early"].concat());
        }
        world.take(at);
        let db = world.upstream();
        assert_eq!(world.take(db), "");
        world.event(db, StreamEvent::Connected);
        assert_eq!(world.take(db), "early", "{client:?}");
        assert!(!world.take(at).is_empty(), "it is told");
        world.census();
    }
}

/// RFC 9113, 8.5: a connection that fails is a reset of its own kind; a client that leaves, too.
#[test]
pub(super) fn a_tunnel_that_is_cut() {
    for client in [One, Two] {
        let (mut net, place, db) = terminated(client, |_| {});
        net.body(place, b"some");
        net.world.reset(db);
        net.settle();
        match client {
            One => assert!(net.world.streams[place.0].aborted),
            Two => assert_eq!(net.seen(place).ended, Ended::Reset(ResetReason::ConnectError)),
        }
        assert_eq!(net.world.last_log(), "200 UC");
        net.census();
        let (mut net, place, db) = terminated(client, |_| {});
        net.body(place, b"some");
        net.reset(place, ResetReason::Cancelled);
        assert!(net.world.streams[db].aborted, "{client:?}");
        net.census();
        let (mut net, place, db) = terminated(client, |config| {
            web(config).stream_idle_timeout = Some(Duration::from_secs(20));
        });
        net.advance(19_000);
        net.say(db, b"x");
        net.advance(19_000);
        assert_eq!((net.seen(place).ended, net.world.proxy.active()), (Ended::No, 1));
        net.advance(2_000);
        assert_eq!(net.world.proxy.active(), 0, "{client:?}");
        assert_eq!(net.world.last_log(), "200 SI");
        net.census();
    }
}

/// As any request's connection: another endpoint, then 503; and no longer than the route allows.
#[test]
pub(super) fn a_tunnel_whose_endpoints_are_not_there() {
    for client in [One, Two] {
        let mut net = Net::with(One, allow(Connect::Terminate));
        net.raw_from = 0;
        net.world.behave(1, Behaviour::Refuse);
        for _ in 0..2 {
            let at = net.client(client);
            net.settle();
            let place = ask(&mut net, at, DB);
            assert_eq!(net.seen(place).start, "200");
            let db = net.world.upstream();
            assert_eq!(net.world.streams[db].remote, Some(endpoint(2)));
        }
        net.world.behave(2, Behaviour::Refuse);
        let at = net.client(client);
        net.settle();
        let place = ask(&mut net, at, DB);
        assert_eq!(net.outcome(place), "503 Whole", "{client:?}");
        assert_eq!(net.world.last_log(), "503 UF,URX");
        // A client of HTTP/1.1 goes on behind such an answer.
        net.world.behave(1, Behaviour::Silent);
        net.world.behave(2, Behaviour::Silent);
        net.world.reload(|config| {
            routes(config)[1].timeout = Some(Duration::from_secs(2));
        });
        let place = ask(&mut net, at, DB);
        net.advance(2_100);
        assert_eq!(net.outcome(place), "504 Whole", "{client:?}");
        net.census();
    }
}

/// Never on a connection that HTTP is spoken on, and never one given back to it.
#[test]
fn a_tunnel_has_a_connection_of_its_own() {
    let mut world = World::with(|config| {
        allow(Connect::Terminate)(config);
        config.clusters = vec![cluster(0, &[1])];
    });
    let client = world.client();
    world.send(client, super::GET);
    world.answer(super::OK);
    world.take(client);
    let idle = world.upstream();
    world.send(client, "CONNECT db:1 HTTP/1.1\r\nhost: db:1\r\n\r\n");
    assert!(world.take(client).starts_with("HTTP/1.1 200 "));
    let tunnel = world.upstream();
    assert_ne!(tunnel, idle);
    world.fin(client);
    world.fin(tunnel);
    assert!(world.streams[tunnel].dead);
    let client = world.client();
    world.send(client, super::GET);
    assert_eq!(world.asked(), idle);
    world.census();
}

#[test]
pub(super) fn a_connect_is_sent_on() {
    for (client, server) in PAIRS {
        let mut net = Net::with(server, |config| {
            allow(Connect::Forward)(config);
            routes(config)[1].request_headers_add.push(sluice_config_model::HeaderValue {
                name: "x-by".to_owned(),
                value: "us".to_owned(),
            });
        });
        let at = net.client(client);
        net.settle();
        let place = ask(&mut net, at, DB);
        let there = net.only();
        assert_eq!(net.seen(there).start, "CONNECT http://db.example:5432");
        assert_eq!(net.seen(there).field("x-by"), Some("us"));
        net.answer(there, 200, &[], BodyLength::UntilClose);
        assert_eq!(net.seen(place).start, "200", "{client:?} {server:?}");
        net.body(place, b"SELECT 1;");
        assert_eq!(net.seen(there).body, b"SELECT 1;");
        net.body(there, b"1");
        assert_eq!(net.seen(place).body, b"1", "{client:?} {server:?}");
        net.end(place, &[]);
        if client == One {
            net.world.fin(place.0);
            net.settle();
        }
        assert_eq!(net.seen(there).ended, Ended::Whole, "{client:?} {server:?}");
        net.body(there, b"the rest");
        assert_eq!(
            (&net.seen(place).body[..], net.seen(place).ended),
            (&b"1the rest"[..], Ended::No)
        );
        net.end(there, &[]);
        if server == One {
            net.world.fin(there.0);
            net.settle();
        }
        assert_eq!(net.seen(place).ended, Ended::Whole, "{client:?} {server:?}");
        assert_eq!(net.world.proxy.active(), 0);
        net.census();
    }
}

#[test]
pub(super) fn a_connect_that_is_declined_is_answered() {
    for (client, server) in PAIRS {
        let mut net = Net::single(server);
        net.world.reload(allow(Connect::Forward));
        let at = net.client(client);
        net.settle();
        let place = ask(&mut net, at, DB);
        let there = net.only();
        net.answer_all(there, 407, b"who?");
        assert_eq!(net.outcome(place), "407 Whole", "{client:?} {server:?}");
        let next = net.get(at, "/next");
        let there = *net.asked().last().expect("the next request");
        net.answer_all(there, 200, b"hi");
        assert_eq!(net.outcome(next), "200 Whole");
        assert_eq!((net.world.upstreams().len(), net.world.proxy.active()), (1, 0));
        net.census();
    }
}

/// Nobody connects anywhere but where a route for CONNECT leads.
#[test]
pub(super) fn without_a_route_of_its_own_no_connect_passes() {
    for client in [One, Two] {
        let mut net = Net::with(One, |config| {
            web(config).allow_connect = true;
            routes(config)[0].matcher.path = PathMatch::Regex(".*".to_owned());
        });
        let at = net.client(client);
        net.settle();
        let place = ask(&mut net, at, DB);
        assert_eq!(net.outcome(place), "404 Whole", "{client:?}");
        assert_eq!(net.world.last_log(), "404 NR");
        assert!(net.world.upstreams().is_empty());
        net.census();
    }
    // For a host of its own, and for nothing else.
    let mut net = Net::with(One, |config| {
        let mut host = web(config).virtual_hosts[0].clone();
        host.id = sluice_base::VirtualHostId(1);
        host.domains = vec![sluice_config_model::DomainPattern::Exact("db.example".to_owned())];
        host.routes = vec![connect_route(Connect::Terminate)];
        web(config).virtual_hosts.push(host);
    });
    net.raw_from = 0;
    for (authority, status) in [(DB, "200"), (b"other:5432", "404")] {
        let at = net.client(Two);
        net.settle();
        let place = ask(&mut net, at, authority);
        assert_eq!(net.seen(place).start, status);
    }
    net.census();
}

#[test]
pub(super) fn a_connect_names_a_port_and_has_no_body() {
    let mut world = World::with(allow(Connect::Terminate));
    for request in [
        "CONNECT db:1 HTTP/1.1\r\nhost: db:1\r\ncontent-length: 3\r\n\r\nabc",
        "CONNECT db:1 HTTP/1.1\r\nhost: db:1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT db HTTP/1.1\r\nhost: db\r\n\r\n",
        "CONNECT /db HTTP/1.1\r\nhost: db\r\n\r\n",
    ] {
        let client = world.client();
        world.send(client, request);
        assert!(world.take(client).starts_with("HTTP/1.1 400 "), "{request}");
    }
    assert!(world.upstreams().is_empty());
    world.census();
    let mut net = Net::with(One, allow(Connect::Terminate));
    for authority in [&b"db"[..], b"db:"] {
        let at = net.client(Two);
        net.settle();
        let place = ask(&mut net, at, authority);
        assert!(!net.seen(place).start.starts_with("200"), "{}", net.outcome(place));
    }
    assert!(net.world.upstreams().is_empty());
    net.census();
}

/// Sent on to an endpoint of HTTP/1.1 that leads nowhere: it can be asked for something else.
#[test]
fn a_proxy_that_refuses_keeps_its_connection() {
    let mut net = Net::with(One, |config| {
        allow(Connect::Forward)(config);
        config.clusters[0].endpoints.truncate(1);
    });
    net.raw_from = 0;
    let client = net.client(Two);
    net.settle();
    for _ in 0..2 {
        let place = ask(&mut net, client, DB);
        let upstream = net.world.upstream();
        assert!(net.world.take(upstream).starts_with("CONNECT db.example:5432 HTTP/1.1\r\n"));
        net.body(place, b"SELECT 1;");
        net.say(upstream, b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
        assert_eq!(net.outcome(place), "403 Whole");
        assert_eq!(net.world.take(upstream), "");
    }
    assert_eq!(net.world.upstreams().len(), 1);
    net.census();
}
