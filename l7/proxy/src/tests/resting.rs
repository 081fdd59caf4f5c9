//! Requests that wait for long: what they hold meanwhile, and that nobody can tell from outside.

use std::time::Duration;

use sluice_config_model::RouteAction;
use sluice_l7_core::{BodyLength, Method};

use super::far::{Ended, Version};
use super::net::Net;
use super::world::{APP, World, cluster, endpoint, routes};
use super::{GET, OK};
use crate::{GrpcStatus, Text};

use Version::{One, Two};

const REST: Duration = Duration::from_millis(1_100);
const REQUEST: &str = "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8\r\n\
                       X-Own: mine\r\nCookie: a=b\r\nX-Request-Id: 77\r\n\r\n";

/// Fields in their order, names in lower case, as both writers say them.
fn lines(request: &str) -> Vec<String> {
    let name = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_owned(),
    };
    let mut lines: Vec<_> = request.lines().map(name).collect();
    lines.sort();
    lines
}

#[test]
fn it_holds_no_buffer_and_is_sent_again_as_it_was() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, REQUEST);
    let first = world.asked();
    let sent = world.take(first);
    assert_eq!(world.rx.in_use(), 1, "the head lies in the buffer that it arrived in");
    world.advance(REST);
    assert_eq!(world.rx.in_use(), 0, "it has been packed");
    world.reset(first);
    let again = world.asked();
    assert_ne!(world.streams[again].remote, world.streams[first].remote);
    assert_eq!(lines(&world.answer(OK)), lines(&sent));
    assert!(world.take(client).ends_with("hi"));
    let record = world.logs.pop().expect("a record");
    for (text, said) in [
        (Text::Method, "GET"),
        (Text::Path, "/a?b=c"),
        (Text::Authority, "example.com"),
        (Text::UserAgent, "curl/8"),
        (Text::RequestId, "77"),
    ] {
        assert_eq!(record.text(text), said.as_bytes(), "{text:?}");
    }
    world.census();
}

/// Answered late it rests once more, and its end is logged like any other's.
#[test]
fn it_rests_as_often_as_it_is_woken() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client();
    world.send(client, REQUEST);
    world.advance(REST);
    world.answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh");
    assert_eq!(packed(&world), [false]);
    world.advance(REST);
    assert_eq!(packed(&world), [true]);
    let upstream = world.upstream();
    world.send(upstream, "i");
    assert!(world.take(client).ends_with("hi"));
    let record = world.logs.pop().expect("a record");
    assert_eq!(record.text(Text::Path), b"/a?b=c");
    world.census();
}

/// Of all exchanges that have a head, at hand or packed: whether it is packed.
fn packed(world: &World) -> Vec<bool> {
    let exchanges = &world.proxy.exchanges;
    let all = (0..exchanges.slots()).filter_map(|slot| exchanges.get(exchanges.key_at(slot)?));
    let at_hand = all.filter(|it| it.head.is_some() || it.packed.is_some());
    let folded = (0..exchanges.folded_slots()).filter_map(|slot| exchanges.folded_at(slot));
    at_hand
        .map(|it| it.packed.is_some())
        .chain(folded.filter(|key| exchanges.has_folded_head(*key)).map(|_| true))
        .collect()
}

#[test]
fn an_answered_one_keeps_no_head_where_nobody_will_ask_for_it() {
    for version in [One, Two] {
        let mut net = Net::with(version, |config| {
            config.access_log = None;
            config.clusters[0].endpoints.truncate(1);
        });
        let client = net.client(Two);
        let places: Vec<_> = (0..3).map(|_| net.get(client, "/watch")).collect();
        let asked = net.asked();
        net.advance(1_100);
        assert_eq!(packed(&net.world), [true; 3], "they may have to be sent again");
        for at in &asked {
            net.answer(*at, 200, &[], BodyLength::Chunked);
        }
        net.advance(1_100);
        assert_eq!(packed(&net.world), [true; 0]);
        for at in &asked {
            net.body(*at, b"news");
            net.end(*at, &[]);
        }
        for place in places {
            assert_eq!(
                (net.outcome(place).as_str(), &*net.seen(place).body),
                ("200 Whole", &b"news"[..])
            );
        }
        net.serves(Two);
        net.census();
    }
}

/// The first call of a method lasts for hours: it is counted by its method when it ends.
#[test]
fn a_call_without_a_head_is_counted_by_its_method() {
    let mut net = Net::with(Two, |config| config.access_log = None);
    let client = net.client(Two);
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let place = net.ask(client, Method::Post, "/shop.Cart/Watch?x=1", &fields, BodyLength::None);
    let at = net.only();
    net.answer(at, 200, &fields[..1], BodyLength::Chunked);
    net.advance(1_100);
    assert_eq!(packed(&net.world), [true; 0]);
    net.end(at, &[("grpc-status", "0")]);
    assert_eq!(net.outcome(place), "200 Whole");
    let methods = &net.world.cluster_counters().methods;
    let counted = methods.iter().map(|it| (it.method().to_owned(), it.calls(GrpcStatus::Ok)));
    let counted: Vec<_> = counted.filter(|(_, calls)| *calls > 0).collect();
    assert_eq!(counted, [("Watch".to_owned(), 1)]);
    net.census();
}

/// Whoever waits to be told whether to send its body must not be waited for.
#[test]
fn a_late_refusal_of_a_body_that_was_not_sent_closes() {
    for log in [true, false] {
        let mut world = World::with(|config| {
            if !log {
                config.access_log = None;
            }
        });
        let client = world.client();
        world.send(
            client,
            "PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                            content-length: 2\r\n\r\n",
        );
        world.advance(REST);
        world.answer("HTTP/1.1 417 No\r\ncontent-length: 2\r\n\r\n");
        world.advance(REST);
        let upstream = world.upstream();
        world.send(upstream, "no");
        assert!(world.take(client).ends_with("no"));
        assert!(world.streams[client].fin);
        world.census();
    }
}

/// Refused by everybody: our own answer knows that it answers a call.
#[test]
fn our_own_answer_to_a_call_that_rested_is_a_call_s() {
    let mut net = Net::with(Two, |config| {
        routes(config)[0].action = RouteAction::Cluster(APP);
        routes(config)[0].retries = 0;
        config.clusters[0].endpoints.truncate(1);
    });
    let client = net.client(Two);
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let place = net.ask(client, Method::Post, "/shop.Cart/Add", &fields, BodyLength::None);
    let (at, _) = net.only();
    assert_eq!(net.world.streams[at].remote, Some(endpoint(1)));
    net.advance(1_100);
    net.abort(at);
    assert_eq!(net.seen(place).ended, Ended::Whole);
    assert!(
        net.seen(place).fields.iter().any(|(name, value)| name == "grpc-status" && value == "14")
    );
    net.world.last_log();
    let other = net.get(client, "/");
    net.answer_all(net.only(), 200, b"");
    assert_eq!(net.outcome(other), "200 Whole");
    net.census();
}

#[test]
fn most_are_over_before() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    world.advance(Duration::from_millis(900));
    assert_eq!(packed(&world), [false]);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    assert_eq!(packed(&world), [false; 0]);
    world.census();
}
