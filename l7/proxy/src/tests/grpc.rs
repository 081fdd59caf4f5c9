//! Calls of gRPC: deadlines, and answers after which they are made again. Over HTTP/1.1, in which a
//! transcript can be read; the proxy does not ask in what they come.

use std::time::Duration;

use sluice_config_model::{GrpcTimeout, RetryOn};
use sluice_l7_core::{BodyLength, Method, ResetReason};

use super::far::{Ended, Version};
use super::net::Net;
use super::world::{Behaviour, World, cluster, routes, web};
use crate::GrpcStatus;

use Version::{One, Two};

/// A call whose message is not all here.
fn open(fields: &str) -> String {
    format!(
        "POST /shop.Cart/Add HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\
         te: trailers\r\n{fields}transfer-encoding: chunked\r\n\r\n"
    )
}

/// A call of one message of two bytes.
fn call(fields: &str) -> String {
    format!("{}7\r\n\0\0\0\0\x02hi\r\n0\r\n\r\n", open(fields))
}

/// An answer that is a status alone.
fn status(code: u8) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {code}\r\n\
         content-length: 0\r\n\r\n"
    )
}

/// An answer with a message.
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\
                      transfer-encoding: chunked\r\n\r\n7\r\n\0\0\0\0\x02yo\r\n";
const END: &str = "0\r\ngrpc-status: 0\r\n\r\n";

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn retrying(on: &[RetryOn], retries: u8) -> World {
    World::with(|config| {
        let route = &mut routes(config)[0];
        (route.retry_on, route.retries) = (on.to_vec(), retries);
    })
}

#[test]
fn the_endpoint_hears_how_much_time_is_left() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, open("grpc-timeout: 2S\r\n"));
    let upstream = world.asked();
    let head = world.take(upstream);
    assert_eq!(field(&head, "grpc-timeout"), Some("2000000u"));
    world.reset(client);

    // The connection takes 300 ms to come about.
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    world.behave(1, Behaviour::Silent);
    let client = world.client();
    world.send(client, call("grpc-timeout: 2S\r\n"));
    world.advance(Duration::from_millis(300));
    let upstream = world.upstream();
    world.event(upstream, crate::StreamEvent::Connected);
    let head = world.take(upstream);
    assert_eq!(field(&head, "grpc-timeout"), Some("1700000u"), "{head}");
    world.census();
}

#[test]
fn a_deadline_that_is_over_ends_the_call_on_both_sides() {
    for sent in [call("grpc-timeout: 2S\r\n"), open("grpc-timeout: 2S\r\n")] {
        let mut world = World::new();
        let client = world.client();
        world.send(client, sent);
        let upstream = world.asked();
        world.advance(Duration::from_millis(1_990));
        assert_eq!(world.take(client), "");
        world.advance(Duration::from_millis(20));
        let answer = world.take(client);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(field(&answer, "grpc-status"), Some("4"));
        assert_eq!(field(&answer, "grpc-message"), Some("deadline exceeded"));
        assert!(world.streams[upstream].aborted, "nobody waits for it");
        assert_eq!(world.last_log(), "200 UT");
        assert_eq!(world.listener_counters().downstream_rq_max_duration_reached.value(), 1);
        assert_eq!(world.listener_counters().downstream_rq_timeout.value(), 0);
        assert_eq!(world.cluster_counters().upstream_rq_tx_reset.value(), 1);
        world.census();
    }
}

#[test]
fn a_deadline_that_was_over_before_is_not_sent_on() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, call("grpc-timeout: 0n\r\n"));
    assert_eq!(field(&world.take(client), "grpc-status"), Some("4"));
    assert!(world.upstreams().is_empty());
    world.census();
}

#[test]
fn a_response_that_is_late_is_cut() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, call("grpc-timeout: 2S\r\n"));
    world.answer(ANSWER);
    world.advance(Duration::from_millis(2_010));
    let answer = world.take(client);
    assert!(answer.ends_with("\0\0\0\0\x02yo\r\n"), "{answer:?}");
    assert!(world.streams[client].fin, "without its end");
    world.census();
}

/// The route's timeout is the operator's word about every request.
#[test]
fn which_timeout_comes_first() {
    let seconds = Duration::from_secs;
    let besides = GrpcTimeout::Besides;
    let table = [
        (besides, "60S", 15, "14"),
        (besides, "2S", 2, "4"),
        (GrpcTimeout::Instead(None), "60S", 60, "4"),
        (GrpcTimeout::Instead(None), "2S", 2, "4"),
        (GrpcTimeout::Instead(Some(seconds(30))), "60S", 30, "4"),
        (GrpcTimeout::Instead(Some(seconds(30))), "20S", 20, "4"),
        // What cannot be read is none.
        (GrpcTimeout::Instead(Some(seconds(30))), "20s", 15, "14"),
    ];
    for (grpc_timeout, said, lasts, code) in table {
        let mut world = World::with(|config| routes(config)[0].grpc_timeout = grpc_timeout);
        let client = world.client();
        world.send(client, call(&format!("grpc-timeout: {said}\r\n")));
        world.advance(seconds(lasts) - Duration::from_millis(10));
        assert_eq!(world.take(client), "", "{said}");
        world.advance(Duration::from_millis(20));
        assert_eq!(field(&world.take(client), "grpc-status"), Some(code), "{said}");
        world.census();
    }
}

/// A time for a call is nothing to other requests.
#[test]
fn only_calls_have_deadlines() {
    let mut world = World::new();
    let client = world.client();
    world.send(
        client,
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ngrpc-timeout: 2S\r\n\
         content-length: 2\r\n\r\n{}",
    );
    let upstream = world.asked();
    let head = world.take(upstream);
    assert_eq!(field(&head, "grpc-timeout"), Some("2S"));
    world.advance(Duration::from_secs(3));
    assert_eq!(world.take(client), "");
    world.census();
}

#[test]
fn a_status_that_the_route_names_is_tried_elsewhere() {
    let codes = [(1, RetryOn::Cancelled), (4, RetryOn::DeadlineExceeded), (13, RetryOn::Internal)];
    let more = [(8, RetryOn::ResourceExhausted), (14, RetryOn::Unavailable)];
    for (code, condition) in codes.into_iter().chain(more) {
        let mut world = retrying(&[condition], 1);
        let client = world.client();
        world.send(client, call(""));
        let first = world.asked();
        assert_eq!(field(&world.answer(&status(code)), "grpc-previous-rpc-attempts"), None);
        assert_eq!(world.take(client), "");
        let second = world.asked();
        assert_ne!(world.streams[second].remote, world.streams[first].remote);
        let again = world.answer(ANSWER);
        assert_eq!(field(&again, "grpc-previous-rpc-attempts"), Some("1"));
        assert!(again.contains("7\r\n\0\0\0\0\x02hi\r\n"), "the message as well: {again:?}");
        world.send(second, END);
        assert!(world.take(client).ends_with("grpc-status: 0\r\n\r\n"));
        assert_eq!(world.last_log(), "200 -");
        let counters = world.cluster_counters();
        assert_eq!(counters.upstream_rq_retry.value(), 1);
        assert_eq!(counters.upstream_rq_retry_success.value(), 1);
        assert_eq!(counters.upstream_rq_completed.value(), 2);
        assert_eq!(counters.upstream_cx_destroy_local.value(), 0, "both are kept");
        world.census();
    }
}

#[test]
fn attempts_of_the_caller_count_as_well() {
    let mut world = retrying(&[RetryOn::Unavailable], 2);
    let client = world.client();
    world.send(client, call("grpc-previous-rpc-attempts: 3\r\n"));
    world.answer(&status(14));
    assert_eq!(field(&world.answer(&status(14)), "grpc-previous-rpc-attempts"), Some("4"));
    assert_eq!(field(&world.answer(&status(14)), "grpc-previous-rpc-attempts"), Some("5"));
    assert_eq!(field(&world.take(client), "grpc-status"), Some("14"), "as the last one said");
    assert_eq!(world.last_log(), "200 URX");
    assert_eq!(world.cluster_counters().upstream_rq_retry_limit_exceeded.value(), 1);
    assert_eq!(world.cluster_counters().upstream_rq_retry_success.value(), 0);
    world.census();
}

#[test]
fn what_is_not_tried_again() {
    let table = [
        // Not named, or nothing is.
        (&[RetryOn::Unavailable][..], 1, call(""), status(13)),
        (&[][..], 1, call(""), status(14)),
        // No more retries.
        (&[RetryOn::Unavailable][..], 0, call(""), status(14)),
        // A message came before the status.
        (&[RetryOn::Unavailable][..], 1, call(""), format!("{ANSWER}0\r\ngrpc-status: 14\r\n\r\n")),
        // No call.
        (
            &[RetryOn::Unavailable][..],
            1,
            "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
            status(14),
        ),
        // The caller has heard of the endpoint.
        (
            &[RetryOn::Unavailable][..],
            1,
            call(""),
            format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", status(14)),
        ),
    ];
    for (on, retries, sent, answer) in table {
        let mut world = retrying(on, retries);
        let client = world.client();
        world.send(client, &sent);
        world.answer(&answer);
        assert!(world.take(client).contains("grpc-status: 1"), "{sent:?} {answer:?}");
        assert_eq!(world.cluster_counters().upstream_rq_retry.value(), 0);
        world.census();
    }
}

/// More was sent than is kept: nobody could say it again.
#[test]
fn a_long_message_is_not_tried_again() {
    let mut world = retrying(&[RetryOn::Unavailable], 1);
    let client = world.client();
    world.send(client, open(""));
    world.send(client, format!("5000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x5000)));
    world.answer(&status(14));
    assert_eq!(field(&world.take(client), "grpc-status"), Some("14"));
    world.census();
}

/// The rest of the request is still to come: it goes to who answers next.
#[test]
fn a_call_that_is_not_all_here_is_tried_again() {
    let mut world = retrying(&[RetryOn::Unavailable], 1);
    let client = world.client();
    world.send(client, open(""));
    world.send(client, "7\r\n\0\0\0\0\x02hi\r\n");
    let first = world.asked();
    world.answer(&status(14));
    let second = world.asked();
    assert_ne!(world.streams[second].remote, world.streams[first].remote);
    world.send(client, "7\r\n\0\0\0\0\x02ho\r\n0\r\n\r\n");
    let again = world.take(second);
    assert!(again.contains("\0\0\0\0\x02hi") && again.ends_with("\0\0\0\0\x02ho\r\n0\r\n\r\n"));
    world.send(second, status(0));
    assert_eq!(field(&world.take(client), "grpc-status"), Some("0"));
    world.census();
}

/// Service, method, status, messages each way, calls.
fn counted(world: &World) -> Vec<String> {
    let methods = world.cluster_counters().methods.iter();
    let lines = methods.flat_map(|entry| {
        let name = format!("{}/{}", entry.service(), entry.method());
        let (up, down) = (entry.request_messages.value(), entry.response_messages.value());
        let statuses = GrpcStatus::ALL.iter().filter(|status| entry.calls(**status) > 0);
        let calls = statuses.map(|status| format!("{status} {}", entry.calls(*status)));
        let calls: Vec<_> = calls.collect();
        (up + down > 0 || !calls.is_empty())
            .then(|| format!("{name}: {up} up, {down} down; {}", calls.join(", ")))
    });
    lines.collect()
}

#[test]
fn calls_are_counted_by_method_and_status() {
    let mut world = World::new();
    let client = world.client();
    for (end, status) in [("0", "0"), ("7", "7")] {
        let sent = call("").replace("0\r\n\r\n", "5\r\n\0\0\0\0\0\r\n0\r\n\r\n");
        world.send(client, sent);
        world.answer(&format!("{ANSWER}0\r\ngrpc-status: {end}\r\n\r\n"));
        assert!(world.take(client).ends_with(&format!("grpc-status: {status}\r\n\r\n")));
    }
    world.send(client, call("").replace("Add", "Clear?x=1"));
    world.answer(&status(5));
    assert_eq!(
        counted(&world),
        [
            "shop.Cart/Add: 4 up, 2 down; ok 1, permission-denied 1",
            "shop.Cart/Clear: 1 up, 0 down; not-found 1"
        ]
    );
    world.census();
}

/// What only a caller made up takes no place; what is there is counted where it is.
#[test]
fn how_a_call_may_end_without_an_endpoint() {
    let mut world = World::with(|config| routes(config)[0].retries = 0);
    let client = world.client();
    world.send(client, call(""));
    world.answer(&status(12));
    assert_eq!(counted(&world), ["other/other: 1 up, 0 down; unimplemented 1"]);
    world.send(client, call(""));
    world.answer(&status(0));
    // An HTTP status alone, then nobody, then nobody in time, then a caller who hangs up.
    world.send(client, call(""));
    world.answer("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    world.send(client, call(""));
    let upstream = world.asked();
    world.reset(upstream);
    world.send(client, call("grpc-timeout: 1S\r\n"));
    world.advance(Duration::from_secs(2));
    world.send(client, call("").replace("Add", "Never"));
    world.reset(client);
    let mut counted = counted(&world);
    counted.sort();
    assert_eq!(
        counted,
        [
            "other/other: 2 up, 0 down; cancelled 1, unimplemented 1",
            "shop.Cart/Add: 4 up, 0 down; ok 1, deadline-exceeded 1, permission-denied 1, unavailable 1",
        ]
    );
    world.census();
}

/// A stream that lasts for hours is seen while it lasts.
#[test]
fn messages_are_counted_as_they_pass() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, call(""));
    world.answer(&status(0));
    world.send(client, open(""));
    world.answer(ANSWER);
    world.send(client, "7\r\n\0\0\0\0\x02hi\r\n");
    // What is over soon is counted then.
    assert_eq!(counted(&world), ["shop.Cart/Add: 1 up, 0 down; ok 1"]);
    world.advance(Duration::from_secs(2));
    for _ in 0..2 {
        world.send(client, "7\r\n\0\0\0\0\x02hi\r\n");
    }
    assert_eq!(counted(&world), ["shop.Cart/Add: 4 up, 0 down; ok 1"]);
    world.census();
}

#[test]
fn what_is_no_call_is_not_counted() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "GET /a/b HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\r\n");
    world.answer(&status(0));
    let json = "POST /a/b HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    world.send(client, format!("{json}content-length: 2\r\n\r\n{{}}"));
    world.answer(super::OK);
    assert_eq!(world.cluster_counters().methods.iter().count(), 0);
    world.census();
}

/// A stream lives by its own rule: connections that are idle for far less are closed, and this one,
/// which moves a byte now and then, is not.
#[test]
pub(super) fn a_long_lived_stream_outlives_idle_timeouts() {
    for (up, down) in [(Two, Two), (One, Two), (Two, One), (One, One)] {
        let mut net = Net::with(up, |config| {
            config.listeners[0].idle_timeout = Some(Duration::from_secs(10));
            config.clusters[0].idle_timeout = Some(Duration::from_secs(10));
            config.clusters[0].endpoints.truncate(1);
            routes(config)[0].timeout = None;
            web(config).stream_idle_timeout = Some(Duration::from_secs(60));
        });
        let client = net.client(down);
        let kind = [("content-type", "application/grpc")];
        let call = net.ask(client, Method::Post, "/a.B/Watch", &kind, BodyLength::Chunked);
        let place = net.only();
        net.answer(place, 200, &kind, BodyLength::Chunked);
        for _ in 0..10 {
            net.advance(50_000);
            net.body(place, b"\0\0\0\0\x01x");
            net.advance(50_000);
            net.body(call, b"\0\0\0\0\x01y");
        }
        assert_eq!((net.seen(call).body.len(), net.seen(place).body.len()), (60, 60));
        assert_eq!(net.seen(call).ended, Ended::No, "{up:?} {down:?}");
        net.advance(60_100);
        assert_ne!(net.seen(call).ended, Ended::No, "{up:?} {down:?}");
        assert_ne!(net.seen(call).ended, Ended::Whole, "{up:?} {down:?}");
        net.census();
    }
}

/// One whole message.
const MESSAGE: &[u8] = b"\0\0\0\0\x01x";
const GRPC: [(&str, &str); 1] = [("content-type", "application/grpc")];

/// Whatever the versions: what was sent to the first endpoint is sent to the second, and what comes
/// later follows it. The client is given back every byte of its windows.
#[test]
pub(super) fn calls_are_tried_again_between_all_versions() {
    for (up, down) in [(Two, Two), (One, Two), (Two, One), (One, One)] {
        for (part, ends_before) in [(300, false), (300, true), (9_000, false), (9_000, true)] {
            let mut net = Net::with(up, |config| {
                routes(config)[0].retry_on = vec![RetryOn::Unavailable];
            });
            let client = net.client(down);
            let call = net.ask(client, Method::Post, "/a.B/C", &GRPC, BodyLength::Chunked);
            let body = super::versions::pattern(part);
            net.body(call, &body);
            if ends_before {
                net.end(call, &[]);
            }
            let first = net.only();
            let said = [GRPC[0], ("grpc-status", "14")];
            net.answer(first, 200, &said, BodyLength::None);
            let second = net.only();
            assert_ne!(first.0, second.0);
            assert_eq!(net.seen(second).field("grpc-previous-rpc-attempts"), Some("1"));
            if !ends_before {
                net.body(call, &body);
                net.end(call, &[]);
            }
            let seen = net.seen(second);
            let whole = if ends_before { body } else { [&body[..], &body[..]].concat() };
            assert!(seen.body == whole && seen.ended == Ended::Whole, "{up:?} {down:?} {part}");
            net.answer(second, 200, &GRPC, BodyLength::Chunked);
            net.body(second, b"\0\0\0\0\x01x");
            net.end(second, &[("grpc-status", "0")]);
            assert_eq!(net.outcome(call), "200 Whole");
            assert_eq!(net.seen(call).trailers, [("grpc-status".to_owned(), "0".to_owned())]);
            let open = net.world.streams.iter().filter(|stream| !stream.dead);
            let owed: Vec<_> = open.map(|stream| stream.sent - stream.credited).collect();
            assert!(owed.iter().all(|bytes| *bytes == 0), "{up:?} {down:?}: {owed:?} not credited");
            net.census();
        }
    }
}

/// Both sides hear that nobody waits, in the terms of their versions.
#[test]
pub(super) fn deadlines_between_all_versions() {
    let fields = [GRPC[0], ("grpc-timeout", "2S")];
    let bodies: [Option<&[u8]>; 4] = [None, Some(b""), Some(MESSAGE), Some(&MESSAGE[..5])];
    for (up, down) in [(Two, Two), (One, Two), (Two, One), (One, One)] {
        for body in bodies {
            let mut net = Net::single(up);
            let client = net.client(down);
            let call = net.ask(client, Method::Post, "/a.B/C", &fields, BodyLength::Chunked);
            let place = net.only();
            if let Some(body) = body {
                net.answer(place, 200, &GRPC, BodyLength::Chunked);
                if !body.is_empty() {
                    net.body(place, body);
                }
            }
            net.advance(2_010);
            let ended = match up {
                Two => Ended::Reset(ResetReason::Cancelled),
                One => Ended::Cut,
            };
            assert_eq!(net.seen(place).ended, ended, "{up:?} {down:?} {body:?}");
            match (body, down) {
                (None, _) => assert_eq!(net.seen(call).field("grpc-status"), Some("4")),
                // Whole messages, and a status behind them.
                (Some(b"" | MESSAGE), Two) => {
                    assert_eq!(net.outcome(call), "200 Whole", "{up:?}");
                    let said = &net.seen(call).trailers;
                    assert_eq!(said[0], ("grpc-status".to_owned(), "4".to_owned()));
                    assert_eq!(said[1].1, "deadline exceeded");
                }
                (Some(_), Two) => {
                    assert_eq!(net.outcome(call), "200 Reset(Cancelled)", "{up:?}");
                }
                (Some(_), One) => assert_eq!(net.outcome(call), "200 Cut", "{up:?}"),
            }
            if down == Two {
                assert!(!net.has_ended(client), "its other calls go on");
            }
            net.census();
        }
    }
}
