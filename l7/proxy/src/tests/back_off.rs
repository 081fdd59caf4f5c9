//! Requests that wait before they are sent again, in virtual time.

use std::time::Duration;

use sluice_base::Instant;
use sluice_config_model::{BackOff, Config, RetryOn};
use sluice_l7_core::{BodyLength, Method, ResetReason};

use super::far::{Ended, PAIRS, Version};
use super::net::Net;
use super::world::{Behaviour, World, cluster, endpoint, routes};
use super::{GET, OK};

use Version::{One, Two};

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn usual(config: &mut Config) {
    routes(config)[0].retry_back_off = BackOff::USUAL;
}

/// So long that what happens meanwhile can be looked at.
fn long(config: &mut Config) {
    let interval = Duration::from_secs(10);
    routes(config)[0].retry_back_off = BackOff { base_interval: interval, max_interval: interval };
}

/// A client whose request's first endpoint has refused, and which waits.
fn waiting(change: impl FnOnce(&mut Config)) -> (World, usize) {
    let mut world = World::with(|config| {
        long(config);
        change(config);
    });
    world.behave(1, Behaviour::Refuse);
    world.behave(2, Behaviour::Refuse);
    let client = world.client();
    world.send(client, GET);
    assert_eq!(world.upstreams().len(), 1);
    assert_eq!(world.cluster_counters().upstream_rq_retry_backoff_exponential.value(), 1);
    (world, client)
}

/// The n-th wait is anywhere below 25 ms x (2^n - 1), and below 250 ms.
#[test]
fn waits_are_random_and_grow() {
    let mut longest = [0; 5];
    for _ in 0..2 {
        let mut world = World::with(|config| {
            usual(config);
            routes(config)[0].retries = 5;
            config.clusters = vec![cluster(0, &[1, 2, 3, 4, 5, 6])];
        });
        for last in 1..=6 {
            world.behave(last, Behaviour::Refuse);
        }
        for _ in 0..40 {
            let client = world.client();
            let before = world.upstreams().len();
            let mut at = vec![world.now];
            world.send(client, GET);
            while world.upstreams().len() < before + 6 {
                let made = world.upstreams().len();
                let next = world.proxy.next_deadline();
                assert!(next != Instant::NEVER, "it goes on");
                world.advance(Duration::from_nanos(next.nanos_since(world.now).max(1)));
                at.extend(vec![world.now; world.upstreams().len() - made]);
            }
            for (nth, pair) in at.windows(2).enumerate() {
                longest[nth] = longest[nth].max(pair[1].nanos_since(pair[0]) / 1_000_000);
            }
            assert!(world.take(client).starts_with("HTTP/1.1 503 "));
            assert_eq!(world.last_log(), "503 UF,URX");
            world.reset(client);
        }
        world.census();
    }
    for (longest, bound) in longest.into_iter().zip([25, 75, 175, 250, 250]) {
        assert!((bound * 2 / 3..=bound + 1).contains(&longest), "{longest} of {bound} ms");
    }
}

#[test]
fn who_waited_is_served_elsewhere_with_its_body() {
    for (client, server) in PAIRS {
        let mut net = Net::with(server, |config| {
            usual(config);
            config.clusters[0].connect_timeout = Duration::from_secs(1);
        });
        net.world.behave(1, Behaviour::Refuse);
        for _ in 0..2 {
            let at = net.client(client);
            let place = net.ask(at, Method::Post, "/", &[], BodyLength::Chunked);
            if client == Two {
                net.body(place, b"said while it waits, ");
            }
            net.advance(30);
            let there = *net.asked().last().expect("it is there");
            assert_eq!(net.world.streams[there.0].remote, Some(endpoint(2)));
            net.body(place, b"and behind");
            net.end(place, &[("x-sum", "1")]);
            assert!(net.seen(there).body.ends_with(b"and behind"), "{client:?} {server:?}");
            assert_eq!(net.seen(there).body.starts_with(b"said"), client == Two);
            assert_eq!(net.seen(there).trailers.len(), 1);
            net.answer_all(there, 200, b"hi");
            assert_eq!(net.outcome(place), "200 Whole");
        }
        assert!(net.world.cluster_counters().upstream_rq_retry_backoff_exponential.value() >= 1);
        assert_eq!(net.world.cluster_counters().upstream_rq_pending_active.value(), 0);
        net.census();
    }
}

/// The whole message comes while its head waits.
#[test]
fn a_request_that_ends_while_it_waits() {
    let mut net = Net::with(Two, usual);
    net.world.behave(1, Behaviour::Refuse);
    for _ in 0..2 {
        let at = net.client(Two);
        let place = net.ask(at, Method::Post, "/", &[], BodyLength::Known(4));
        net.body(place, b"body");
        net.end(place, &[]);
        net.advance(30);
        let there = *net.asked().last().expect("it is there");
        assert_eq!(
            (net.seen(there).ended, &net.seen(there).body[..]),
            (Ended::Whole, &b"body"[..])
        );
        net.answer_all(there, 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
    }
    net.census();
}

#[test]
fn a_client_that_leaves_while_it_waits() {
    let (mut world, client) = waiting(|_| {});
    world.reset(client);
    assert_eq!(world.proxy.active(), 0);
    assert_eq!(world.last_log(), "0 DC");
    assert_eq!(world.cluster_counters().upstream_rq_cancelled.value(), 1);
    world.advance(Duration::from_secs(20));
    assert_eq!(world.upstreams().len(), 1, "nobody is asked for it");
    world.census();
    let mut net = Net::with(One, long);
    net.world.behave(1, Behaviour::Refuse);
    net.world.behave(2, Behaviour::Refuse);
    let client = net.client(Two);
    let place = net.get(client, "/");
    net.reset(place, ResetReason::Cancelled);
    assert_eq!(net.world.proxy.active(), 0);
    net.advance(20_000);
    assert_eq!(net.world.upstreams().len(), 1);
    net.census();
}

/// A wait that would outlast the request is none: it is answered at once.
#[test]
fn a_deadline_is_not_waited_past() {
    let (mut early, mut late) = (0, 0);
    for seed in 0..40u64 {
        let mut world = World::with(|config| {
            long(config);
            routes(config)[0].timeout = Some(Duration::from_secs(5));
        });
        world.behave(1, Behaviour::Refuse);
        world.behave(2, Behaviour::Refuse);
        for _ in 0..seed {
            // Other draws of the same generator.
            let client = world.client();
            world.send(client, GET);
            world.reset(client);
        }
        let client = world.client();
        world.send(client, GET);
        let answered = world.take(client);
        if answered.is_empty() {
            world.advance(Duration::from_secs(5));
            assert!(world.take(client).starts_with("HTTP/1.1 503 "), "before its deadline");
            assert_eq!(world.last_log(), "503 UF,URX");
            late += 1;
        } else {
            assert!(answered.starts_with("HTTP/1.1 503 "));
            assert_eq!(world.last_log(), "503 UF");
            early += 1;
        }
        world.census();
    }
    assert!(early > 5 && late > 5, "{early} and {late}");
}

/// A client of HTTP/2 that is not done is not under the route's timeout, but may stop saying anything.
#[test]
fn a_client_that_falls_silent_while_it_waits() {
    let mut net = Net::with(One, |config| {
        long(config);
        super::world::web(config).stream_idle_timeout = Some(Duration::from_secs(11));
        config.clusters[0].connect_timeout = Duration::from_secs(60);
    });
    net.world.behave(1, Behaviour::Refuse);
    net.world.behave(2, Behaviour::Silent);
    for _ in 0..2 {
        let client = net.client(Two);
        let place = net.ask(client, Method::Post, "/", &[], BodyLength::Chunked);
        net.advance(10_500);
        assert_eq!(net.seen(place).ended, Ended::No);
        net.advance(600);
        assert_eq!(net.outcome(place), "408 Whole");
    }
    net.census();
}

/// Who waits is one of `max_pending`.
#[test]
fn no_more_wait_than_may() {
    let (mut world, client) = waiting(|config| config.clusters[0].max_pending = 1);
    let other = world.client();
    world.send(other, GET);
    assert!(world.take(other).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.last_log(), "503 UO");
    assert_eq!(world.cluster_counters().upstream_rq_pending_active.value(), 1);
    world.behave(1, Behaviour::Accept);
    world.behave(2, Behaviour::Accept);
    world.advance(Duration::from_secs(10));
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    assert_eq!(world.cluster_counters().upstream_rq_pending_active.value(), 0);
    world.census();
}

#[test]
fn a_drain_and_a_reload_wait_for_it() {
    let (mut world, client) = waiting(|_| {});
    world.reload(|config| {
        routes(config)[0].retry_back_off = BackOff::NONE;
        config.clusters[0].max_connections = 7;
    });
    world.proxy.start_drain(world.now);
    world.behave(1, Behaviour::Accept);
    world.behave(2, Behaviour::Accept);
    world.advance(millis(1));
    assert_eq!((world.proxy.active(), world.proxy.pinned()), (1, 1));
    world.advance(Duration::from_secs(10));
    world.answer(OK);
    let response = world.take(client);
    assert!(response.contains("connection: close") && response.ends_with("hi"), "{response}");
    assert_eq!((world.proxy.active(), world.proxy.pinned()), (0, 0));
    world.census();
    // Its cluster is gone when it comes back: the snapshot that it was routed by still has it.
    let (mut world, client) = waiting(|config| config.clusters.push(cluster(1, &[3])));
    world.reload(|config| {
        routes(config)[0].action =
            sluice_config_model::RouteAction::Cluster(sluice_base::ClusterId(1));
    });
    world.advance(Duration::from_secs(10));
    assert!(world.take(client).starts_with("HTTP/1.1 503 "));
    world.census();
}

/// Nothing is wrong with an endpoint that closes what was kept, or refuses a stream: no wait.
#[test]
fn what_says_nothing_about_an_endpoint_is_sent_again_at_once() {
    let mut world = World::with(|config| {
        long(config);
        config.clusters = vec![cluster(0, &[1])];
    });
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    world.take(client);
    world.send(client, GET);
    let stale = world.asked();
    world.take(stale);
    world.reset(stale);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
    let mut net = Net::with(Two, long);
    let client = net.client(Two);
    let place = net.get(client, "/");
    let at = net.only();
    net.reset(at, ResetReason::Refused);
    let at = net.only();
    net.answer_all(at, 200, b"hi");
    assert_eq!(net.outcome(place), "200 Whole");
    assert_eq!(net.world.cluster_counters().upstream_rq_retry_backoff_exponential.value(), 0);
    net.census();
}

#[test]
fn a_call_of_grpc_waits_as_well() {
    let mut net = Net::with(Two, |config| {
        usual(config);
        routes(config)[0].retry_on = vec![RetryOn::Unavailable];
        config.clusters[0].endpoints.truncate(1);
    });
    let client = net.client(Two);
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let place = net.ask(client, Method::Post, "/a.B/C", &fields, BodyLength::Chunked);
    net.body(place, &[0, 0, 0, 0, 1, 7]);
    net.end(place, &[]);
    let at = net.only();
    let status = [("content-type", "application/grpc"), ("grpc-status", "14")];
    net.answer(at, 200, &status, BodyLength::None);
    assert_eq!(net.seen(place).ended, Ended::No);
    assert_eq!(net.world.cluster_counters().upstream_rq_retry_backoff_exponential.value(), 1);
    net.advance(26);
    let again = net.only();
    assert_eq!(net.seen(again).field("grpc-previous-rpc-attempts"), Some("1"));
    assert_eq!(net.seen(again).body, [0, 0, 0, 0, 1, 7]);
    assert_eq!(again.0, at.0, "on the same connection");
    net.answer(again, 200, &[("grpc-status", "0")], BodyLength::None);
    assert_eq!(net.outcome(place), "200 Whole");
    net.census();
}
