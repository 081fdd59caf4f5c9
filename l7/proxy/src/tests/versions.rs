//! Every pair of versions carries every kind of message: HTTP/1.1 and HTTP/2 on either side.

use sluice_l7_core::{BodyLength, Method};
use sluice_l7_grpc::Status;

use super::far::{Ended, PAIRS, Version};
use super::net::Net;
use crate::methods::MethodCounters;

/// Bytes that differ everywhere.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    let mut rng = sluice_base::Rng::new(len as u64);
    (0..len).map(|_| rng.next_u32() as u8).collect()
}

#[test]
pub(super) fn a_get_is_answered() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        for round in 0..3 {
            let fields = [("x-a", "1"), ("cookie", "a=b; c=d"), ("te", "trailers")];
            let place = net.ask(client, Method::Get, "/a?b=c", &fields, BodyLength::None);
            let at = net.only();
            let request = net.seen(at);
            assert_eq!(request.start, "GET http://example.com/a?b=c");
            assert_eq!((request.ended, request.body.len()), (Ended::Whole, 0));
            assert_eq!(request.field("x-a"), Some("1"));
            assert_eq!(request.field("cookie"), Some("a=b; c=d"));
            for gone in ["keep-alive", "transfer-encoding", "upgrade"] {
                assert_eq!(request.field(gone), None, "{down:?} {up:?} {gone}");
            }
            // RFC 9110, 10.1.4: HTTP/1.1 names it as being about the connection.
            let named = (up == Version::One).then_some("te");
            assert_eq!(
                (request.field("connection"), request.field("te")),
                (named, Some("trailers"))
            );
            net.answer(at, 200, &[("x-b", "2")], BodyLength::Known(5));
            net.body(at, b"hello");
            net.end(at, &[]);
            let response = net.seen(place);
            assert_eq!((response.start.as_str(), response.ended), ("200", Ended::Whole));
            assert_eq!((response.field("x-b"), response.length), (Some("2"), Some(5)));
            assert_eq!(response.body, b"hello", "round {round}");
        }
        assert_eq!(net.world.upstreams().len(), 2, "one to each endpoint, kept");
        net.census();
    }
}

#[test]
pub(super) fn bodies_of_either_framing_go_both_ways() {
    for (down, up) in PAIRS {
        for (asked, answered) in [(true, false), (false, true), (true, true), (false, false)] {
            let mut net = Net::new(up);
            let client = net.client(down);
            // Larger than a stream's window, and than the packets of one.
            let (there, back) = (pattern(150_000), pattern(170_001));
            let framing = |known, bytes: &[u8]| match known {
                true => BodyLength::Known(bytes.len() as u64),
                false => BodyLength::Chunked,
            };
            let place = net.ask(client, Method::Post, "/", &[], framing(asked, &there));
            let at = net.only();
            assert_eq!(net.seen(at).ended, Ended::No);
            for piece in there.chunks(40_000) {
                net.body(place, piece);
            }
            net.end(place, &[]);
            let request = net.seen(at);
            assert_eq!(request.length, asked.then_some(there.len() as u64));
            assert_eq!((request.ended, request.body == there), (Ended::Whole, true));
            net.answer(at, 200, &[], framing(answered, &back));
            for piece in back.chunks(50_000) {
                net.body(at, piece);
            }
            net.end(at, &[]);
            let response = net.seen(place);
            assert_eq!(response.length, answered.then_some(back.len() as u64));
            assert_eq!((response.ended, response.body == back), (Ended::Whole, true));
            net.serves(down);
            net.census();
        }
    }
}

#[test]
pub(super) fn trailers_go_both_ways() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        let fields = [("te", "trailers")];
        let place = net.ask(client, Method::Post, "/", &fields, BodyLength::Chunked);
        let at = net.only();
        net.body(place, b"there");
        net.end(place, &[("x-there", "1")]);
        let request = net.seen(at);
        assert_eq!((&*request.body, request.ended), (&b"there"[..], Ended::Whole));
        assert_eq!(request.trailers, [("x-there".to_owned(), "1".to_owned())], "{down:?} {up:?}");
        net.answer(at, 200, &[], BodyLength::Chunked);
        net.body(at, b"back");
        net.end(at, &[("x-back", "2")]);
        let response = net.seen(place);
        assert_eq!((&*response.body, response.ended), (&b"back"[..], Ended::Whole));
        assert_eq!(response.trailers, [("x-back".to_owned(), "2".to_owned())], "{down:?} {up:?}");
        net.census();
    }
}

/// A message without a body stays one, whatever its fields say of the body that it does not have.
#[test]
pub(super) fn responses_without_a_body() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        for (method, status, fields) in [
            (Method::Head, 200, &[("content-length", "77")][..]),
            (Method::Head, 200, &[]),
            (Method::Get, 204, &[]),
            (Method::Get, 304, &[("etag", "\"a\"")]),
            (Method::Get, 200, &[]),
        ] {
            let place = net.ask(client, method, "/", &[], BodyLength::None);
            let at = net.only();
            assert!(net.seen(at).start.starts_with(method.as_str()));
            let length = fields.iter().find(|(name, _)| *name == "content-length");
            let body = length.map_or(BodyLength::None, |_| BodyLength::Known(77));
            net.answer(at, status, fields, body);
            if length.is_some() {
                net.end(at, &[]);
            }
            let response = net.seen(place);
            assert_eq!(
                (response.start.clone(), response.ended),
                (status.to_string(), Ended::Whole)
            );
            assert!(response.body.is_empty());
            if length.is_some() {
                assert_eq!(response.length, Some(77), "{down:?} {up:?} {status}");
            }
        }
        net.census();
    }
}

#[test]
pub(super) fn informational_responses_pass() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        let place = net.get(client, "/");
        let at = net.only();
        net.answer(at, 103, &[("link", "</a>")], BodyLength::None);
        net.answer(at, 103, &[], BodyLength::None);
        assert_eq!(net.seen(place).informational, [103, 103]);
        net.answer_all(at, 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
        net.census();
    }
}

/// The client waits for 100 before it sends: it comes from the endpoint, who has the expectation.
#[test]
pub(super) fn a_hundred_continue_comes_from_the_endpoint() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        let expects = [("expect", "100-continue")];
        let place = net.ask(client, Method::Post, "/", &expects, BodyLength::Known(4));
        let at = net.only();
        assert_eq!(net.seen(at).field("expect"), Some("100-continue"), "{down:?} {up:?}");
        assert_eq!(net.seen(place).informational, [0; 0], "nobody promised yet");
        net.answer(at, 100, &[], BodyLength::None);
        assert_eq!(net.seen(place).informational, [100], "{down:?} {up:?}");
        net.body(place, b"body");
        net.end(place, &[]);
        assert_eq!((&*net.seen(at).body, net.seen(at).ended), (&b"body"[..], Ended::Whole));
        net.answer_all(at, 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
        net.census();
    }
}

/// A final answer instead of 100: the client does not send its body, and the endpoint is not left
/// waiting for it.
#[test]
pub(super) fn an_expectation_that_is_refused() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        let expects = [("expect", "100-continue")];
        let place = net.ask(client, Method::Post, "/", &expects, BodyLength::Known(4));
        let at = net.only();
        net.answer_all(at, 417, b"no");
        assert_eq!(net.outcome(place), "417 Whole", "{down:?} {up:?}");
        assert_ne!(net.seen(at).ended, Ended::Whole);
        net.serves(down);
        net.census();
    }
}

/// RFC 9113, 8.2.3: crumbs of a cookie are one field for HTTP/1.1, and for the routes.
#[test]
pub(super) fn cookie_crumbs_are_joined() {
    for up in [Version::One, Version::Two] {
        let mut net = Net::new(up);
        let client = net.client(Version::Two);
        let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")];
        net.ask(client, Method::Get, "/", &crumbs, BodyLength::None);
        assert_eq!(net.seen(net.only()).field("cookie"), Some("a=1; b=2"));
        net.census();
    }
}

/// What waits because it arrived before there was a connection is not lost, nor is its end.
#[test]
pub(super) fn a_body_that_came_before_its_connection() {
    for (down, up) in PAIRS {
        let mut net = Net::with(up, |config| config.clusters[0].max_connections = 1);
        let other = net.client(down);
        let first = net.get(other, "/first");
        let busy = net.only();
        let client = net.client(down);
        let place = net.ask(client, Method::Post, "/", &[], BodyLength::Chunked);
        net.body(place, b"early");
        net.end(place, &[("x-sum", "1")]);
        net.answer_all(busy, 200, b"hi");
        assert_eq!(net.outcome(first), "200 Whole");
        let request = net.seen(net.only());
        assert_eq!((&*request.body, request.ended), (&b"early"[..], Ended::Whole));
        assert_eq!(request.trailers.len(), 1, "{down:?} {up:?}");
        net.answer_all(net.only(), 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
        net.census();
    }
}

/// What a connection, a worker or a table remembers of a request changes nothing about the next one
/// that is the same, or nearly.
#[test]
fn requests_that_come_again_are_what_they_were() {
    type Kind = (Method, &'static str, &'static str, &'static [(&'static str, &'static str)]);
    const CALL: (&str, &str) = ("content-type", "application/grpc");
    const KINDS: [Kind; 6] = [
        (Method::Get, "/a/../b?c=%7e", "/b?c=%7e", &[("te", "trailers")]),
        (Method::Get, "/b?c=%7e", "/b?c=%7e", &[("te", "trailers")]),
        (Method::Post, "/a.B/C", "/a.B/C", &[CALL, ("te", "trailers"), ("grpc-timeout", "9S")]),
        (Method::Post, "/a.B/C", "/a.B/C", &[("content-type", "text/plain")]),
        (Method::Post, "/a.B/%43", "/a.B/C", &[CALL, ("te", "trailers")]),
        (Method::Get, "/a.B/C", "/a.B/C", &[CALL, ("te", "trailers")]),
    ];
    for (down, up) in PAIRS {
        let mut net = Net::single(up);
        let client = net.client(down);
        let mut first: Vec<Option<String>> = vec![None; KINDS.len()];
        for round in 0..12 {
            for (at, (method, path, is, fields)) in KINDS.iter().enumerate() {
                let asked = net.ask(client, *method, path, fields, BodyLength::None);
                let there = *net.asked().last().expect("it is there");
                let seen = net.seen(there);
                assert!(seen.start.ends_with(is), "{up:?} {down:?} {round}: {}", seen.start);
                let kept = seen.fields.iter().filter(|(name, _)| name != "x-request-id");
                let mut kept: Vec<_> = kept.filter(|(name, _)| name != "grpc-timeout").collect();
                kept.sort();
                let said = format!("{} {kept:?}", seen.start);
                let before = first[at].get_or_insert_with(|| said.clone());
                assert_eq!(*before, said, "{up:?} {down:?} {round} {path}");
                net.answer_all(there, 200, b"yes");
                assert_eq!(net.outcome(asked), "200 Whole", "{up:?} {down:?} {round}");
            }
        }
        // Two of a round are calls.
        let calls = net.world.cluster_counters().methods.iter();
        let of_all = |method: &MethodCounters| -> u64 {
            Status::ALL.iter().map(|status| method.calls(*status)).sum()
        };
        let calls: u64 = calls.map(of_all).sum();
        assert_eq!(calls, 24, "{up:?} {down:?}");
        net.census();
    }
}
