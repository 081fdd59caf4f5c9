//! What was cut arrives as cut, whoever cut it and whatever the two sides speak; and what is given up
//! on one side is given up on the other.

use sluice_l7_core::{BodyLength, Method, ResetReason, StreamId};
use sluice_l7_http2::frame::{FrameKind, flag};

use super::far::{Ended, PAIRS, Place, Version};
use super::net::Net;

use Version::{One, Two};

/// How an end of a connection can stop in the middle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stop {
    /// RST_STREAM, or TCP's reset.
    Stream,
    /// FIN.
    Close,
    /// TCP's reset.
    Abort,
}

const STOPS: [Stop; 3] = [Stop::Stream, Stop::Close, Stop::Abort];

fn stop(net: &mut Net, place: Place, how: Stop) {
    match how {
        Stop::Stream => net.reset(place, ResetReason::Internal),
        Stop::Close => net.close(place.0),
        Stop::Abort => net.abort(place.0),
    }
}

const FRAMINGS: [BodyLength; 2] = [BodyLength::Known(10), BodyLength::Chunked];

#[test]
pub(super) fn a_response_that_is_cut_never_looks_whole() {
    for (down, up) in PAIRS {
        for framing in FRAMINGS {
            for how in STOPS {
                let mut net = Net::new(up);
                let client = net.client(down);
                let place = net.get(client, "/");
                let at = net.only();
                net.answer(at, 200, &[], framing);
                net.body(at, b"01234");
                stop(&mut net, at, how);
                let what = format!("{down:?} {up:?} {framing:?} {how:?}");
                let response = net.seen(place);
                assert_eq!((response.start.as_str(), &*response.body), ("200", &b"01234"[..]));
                let expected = match down {
                    One => Ended::Cut,
                    Two => Ended::Reset(ResetReason::Internal),
                };
                assert_eq!(response.ended, expected, "{what}");
                assert_eq!(net.world.last_log(), "200 UC", "{what}");
                if down == Two {
                    // The client's connection goes on.
                    let next = net.get(client, "/");
                    net.answer_all(net.only(), 200, b"hi");
                    assert_eq!(net.outcome(next), "200 Whole", "{what}");
                }
                net.serves(down);
                net.census();
            }
        }
    }
}

/// A body that only its connection's end would end: of HTTP/1.1, whole by FIN, cut by a reset.
#[test]
pub(super) fn a_response_until_close_is_whole_by_fin_alone() {
    for down in [One, Two] {
        for whole in [true, false] {
            let mut net = Net::new(One);
            net.raw_from = 1;
            let client = net.client(down);
            let place = net.get(client, "/");
            net.say(1, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n01234");
            if whole {
                net.world.fin(1);
            } else {
                net.world.reset(1);
            }
            net.settle();
            let response = net.seen(place);
            assert_eq!(&*response.body, b"01234");
            assert_eq!(response.ended == Ended::Whole, whole, "{down:?}");
            net.census();
        }
    }
}

#[test]
pub(super) fn a_request_that_is_cut_never_looks_whole() {
    for (down, up) in PAIRS {
        for framing in FRAMINGS {
            for how in STOPS {
                let mut net = Net::new(up);
                let client = net.client(down);
                let place = net.ask(client, Method::Post, "/", &[], framing);
                let at = net.only();
                net.body(place, b"01234");
                assert_eq!(&*net.seen(at).body, b"01234");
                stop(&mut net, place, how);
                let what = format!("{down:?} {up:?} {framing:?} {how:?}");
                let expected = match up {
                    One => Ended::Cut,
                    Two => Ended::Reset(ResetReason::Cancelled),
                };
                assert_eq!(net.seen(at).ended, expected, "{what}");
                assert_eq!(net.has_ended(at.0), up == One, "{what}");
                assert_eq!(net.world.last_log(), "0 DC", "{what}");
                net.serves(down);
                net.census();
            }
        }
    }
}

/// Nobody waits for the answer any more: the endpoint is told, and only of that stream.
#[test]
pub(super) fn a_request_that_is_cancelled_is_cancelled_at_its_endpoint() {
    for (down, up) in PAIRS {
        for answered in [false, true] {
            let mut net = Net::with(up, |config| config.clusters[0].endpoints.truncate(1));
            let clients = [net.client(down), net.client(down)];
            let (place, other) = (net.get(clients[0], "/a"), net.get(clients[1], "/b"));
            let asked = net.asked();
            let (at, at_other) = (asked[0], asked[1]);
            if answered {
                net.answer(at, 200, &[], BodyLength::Known(10));
                net.body(at, b"01234");
            }
            net.reset(place, ResetReason::Cancelled);
            let cancelled = match up {
                One => net.has_ended(at.0),
                Two => net.seen(at).ended == Ended::Whole && !net.has_ended(at.0),
            };
            assert!(cancelled, "{down:?} {up:?}");
            assert_eq!(net.world.cluster_counters().upstream_rq_tx_reset.value(), 1);
            net.answer_all(at_other, 200, b"hi");
            assert_eq!(net.outcome(other), "200 Whole", "{down:?} {up:?}");
            if up == Two {
                assert_eq!(at.0, at_other.0, "they shared the connection");
                // It is not written to any more.
                let late = net.seen(at).body.len();
                net.serves(down);
                assert_eq!(net.seen(at).body.len(), late);
            }
            net.census();
        }
    }
}

/// The answer comes whole although the request does not end, and the client can go on where its
/// protocol lets it.
#[test]
pub(super) fn an_answer_that_comes_before_the_end_of_its_request() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        let place = net.ask(client, Method::Post, "/", &[], BodyLength::Known(100_000));
        let at = net.only();
        net.body(place, &[b'x'; 10_000]);
        net.answer_all(at, 413, b"too large");
        let response = net.seen(place);
        assert_eq!((response.start.as_str(), &*response.body), ("413", &b"too large"[..]));
        assert_eq!(response.ended, Ended::Whole, "{down:?} {up:?}");
        assert_ne!(net.seen(at).ended, Ended::Whole, "{down:?} {up:?}");
        assert_eq!(net.has_ended(client), down == One);
        if down == Two {
            let again = net.get(client, "/");
            net.answer_all(net.only(), 200, b"hi");
            assert_eq!(net.outcome(again), "200 Whole");
        }
        assert_eq!(
            net.world.listener_counters().downstream_rq_completed.value(),
            1 + u64::from(down == Two)
        );
        net.census();
    }
}

/// An endpoint that has answered says that it wants no more: RFC 9113, 8.1.
#[test]
pub(super) fn an_endpoint_that_wants_no_more_of_a_request() {
    for down in [One, Two] {
        let mut net = Net::new(Two);
        let client = net.client(down);
        let place = net.ask(client, Method::Post, "/", &[], BodyLength::Chunked);
        let at = net.only();
        net.answer_all(at, 200, b"enough");
        net.reset(at, ResetReason::NoError);
        assert_eq!(net.outcome(place), "200 Whole", "{down:?}");
        net.serves(down);
        net.census();
    }
}

/// Bytes as frames, and what each side is told of a length that lies.
fn lies(net: &mut Net, place: Place, there: usize) {
    net.inject(place, FrameKind::Data, flag::END_STREAM, &vec![b'x'; there]);
}

#[test]
pub(super) fn a_length_that_lies_about_a_response() {
    for (down, up) in PAIRS {
        for there in [5, 15] {
            let mut net = Net::new(up);
            let client = net.client(down);
            let place = net.get(client, "/");
            let at = net.only();
            net.answer(at, 200, &[], BodyLength::Known(10));
            match up {
                Two => lies(&mut net, at, there),
                One => {
                    net.say(at.0, &vec![b'x'; there]);
                    if there == 5 {
                        net.close(at.0);
                    }
                }
            }
            let response = net.seen(place);
            let (what, surplus) = (format!("{down:?} {up:?} {there}"), there > 10 && up == One);
            // What comes behind an answer of HTTP/1.1 is not part of it.
            assert_eq!(response.ended == Ended::Whole, surplus, "{what}");
            assert!(response.body.len() <= 10, "{what}");
            if surplus {
                assert!(net.has_ended(at.0), "{what}: it cannot be trusted with a request");
            }
            net.serves(down);
            net.census();
        }
    }
}

#[test]
pub(super) fn a_length_that_lies_about_a_request() {
    for up in [One, Two] {
        for there in [5, 15] {
            let mut net = Net::new(up);
            let client = net.client(Two);
            let place = net.ask(client, Method::Post, "/", &[], BodyLength::Known(10));
            let at = net.only();
            lies(&mut net, place, there);
            assert_ne!(net.seen(at).ended, Ended::Whole, "{up:?} {there}");
            assert_eq!(net.seen(place).ended, Ended::Reset(ResetReason::Protocol));
            assert!(!net.has_ended(client), "the others go on");
            net.serves(Two);
            net.census();
        }
    }
}

/// A backend that sends a body without a head, or trailers that end nothing.
#[test]
pub(super) fn an_endpoint_that_breaks_the_rules_of_a_stream() {
    for down in [One, Two] {
        for begun in [false, true] {
            let mut net = Net::new(Two);
            let client = net.client(down);
            let place = net.get(client, "/");
            let at = net.only();
            if begun {
                net.answer(at, 200, &[], BodyLength::Chunked);
                net.body(at, b"01234");
                // An indexed `:status: 200`, and no END_STREAM.
                net.inject(at, FrameKind::Headers, flag::END_HEADERS, &[0x88]);
            } else {
                net.inject(at, FrameKind::Data, 0, b"hello");
            }
            assert_eq!(net.seen(at).ended, Ended::Whole, "the request was");
            let response = net.seen(place);
            if begun {
                assert!(matches!(response.ended, Ended::Cut | Ended::Reset(_)), "{response:?}");
            } else {
                assert_eq!((response.start.as_str(), response.ended), ("502", Ended::Whole));
            }
            assert!(!net.has_ended(at.0), "the others go on");
            let again = net.client(down);
            let place = net.get(again, "/");
            let next = net.asked().into_iter().find(|next| *next != at);
            net.answer_all(next.expect("a request arrived"), 200, b"hi");
            assert_eq!(net.outcome(place), "200 Whole");
            net.census();
        }
    }
}

/// An endpoint that answers what nobody has asked: the connection cannot be trusted.
#[test]
pub(super) fn an_endpoint_that_answers_first() {
    for (down, up) in PAIRS {
        let mut net = Net::new(up);
        let client = net.client(down);
        let place = net.get(client, "/");
        let at = net.only();
        net.answer_all(at, 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
        match up {
            One => net.say(at.0, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
            Two => {
                let next = StreamId::new(at.1.number() + 2);
                net.inject((at.0, next), FrameKind::Headers, flag::END_HEADERS, &[0x88]);
            }
        }
        assert!(net.has_ended(at.0), "{down:?} {up:?}");
        assert_eq!(net.world.cluster_counters().upstream_cx_protocol_error.value(), 1);
        net.serves(down);
        net.census();
    }
}
