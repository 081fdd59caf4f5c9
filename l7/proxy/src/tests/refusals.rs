//! Endpoints that refuse: a stream, all streams from one on, or to speak HTTP/2 at all. What they have not
//! looked at is sent once more, what they may have acted on is not.

use sluice_l7_core::{BodyLength, Method, ResetReason, StreamId};
use sluice_l7_http2::ErrorCode;
use sluice_l7_http2::frame;

use super::far::{Ended, Version};
use super::net::Net;

use Version::{One, Two};

/// RFC 9113, 8.7: who was refused has not been looked at, so it is sent again without being asked to,
/// whatever the method; once.
#[test]
pub(super) fn a_refused_stream_is_sent_again_once() {
    let bodies = [BodyLength::None, BodyLength::Known(4), BodyLength::Chunked];
    for (down, framing) in [One, Two].into_iter().flat_map(|down| bodies.map(|body| (down, body))) {
        for (refusals, status) in [(1, "200 Whole"), (2, "503 Whole")] {
            let mut net = Net::with(Two, |config| super::world::routes(config)[0].retries = 0);
            let client = net.client(down);
            let place = net.ask(client, Method::Post, "/", &[], framing);
            let body = if framing.is_none() { &b""[..] } else { b"body" };
            if !framing.is_none() {
                net.body(place, b"bo");
                net.body(place, b"dy");
                net.end(place, &[]);
            }
            for _ in 0..refusals {
                net.reset(net.only(), ResetReason::Refused);
            }
            if let [at] = net.asked()[..] {
                assert_eq!((&*net.seen(at).body, net.seen(at).ended), (body, Ended::Whole));
                net.answer_all(at, 200, b"hi");
            }
            assert_eq!(net.outcome(place), status, "{down:?} {framing:?}");
            assert_eq!(net.world.cluster_counters().upstream_rq_retry.value(), 1);
            net.census();
        }
    }
}

/// Who has answered anything has looked at the request, and what is not here any more cannot be sent.
#[test]
pub(super) fn a_refused_stream_that_cannot_be_sent_again() {
    for down in [One, Two] {
        for begun in [true, false] {
            let mut net = Net::new(Two);
            let client = net.client(down);
            let place = net.ask(client, Method::Post, "/", &[], BodyLength::Chunked);
            if begun {
                net.body(place, b"body");
                net.answer(net.only(), 103, &[], BodyLength::None);
            } else {
                // More than is kept.
                net.body(place, &[b'x'; 20_000]);
            }
            net.reset(net.only(), ResetReason::Refused);
            assert_eq!((net.outcome(place).as_str(), net.asked().len()), ("503 Whole", 0));
            net.census();
        }
    }
}

/// Any other reason leaves open what the endpoint did: a POST is not sent again.
#[test]
pub(super) fn a_stream_that_was_reset_is_not_sent_again() {
    let reasons = [
        ResetReason::NoError,
        ResetReason::Cancelled,
        ResetReason::Protocol,
        ResetReason::Internal,
        ResetReason::EnhanceYourCalm,
        ResetReason::Http11Required,
        ResetReason::Other(77),
    ];
    for down in [One, Two] {
        for reason in reasons {
            let mut net = Net::new(Two);
            let client = net.client(down);
            let place = net.ask(client, Method::Post, "/", &[], BodyLength::None);
            net.reset(net.only(), reason);
            assert_eq!(net.asked(), []);
            let status = if reason == ResetReason::Protocol { "502 Whole" } else { "503 Whole" };
            assert_eq!(net.outcome(place), status, "{reason:?}");
            assert_eq!(net.world.cluster_counters().upstream_rq_retry.value(), 0);
            net.census();
        }
    }
}

/// GOAWAY with a last stream in the middle: those up to it go on where they are, the others go
/// elsewhere, and so do new ones.
#[test]
pub(super) fn goaway_in_the_middle_of_streams() {
    for down in [One, Two] {
        let mut net = Net::single(Two);
        let clients: Vec<_> = (0..3).map(|_| net.client(down)).collect();
        let places: Vec<_> = clients
            .iter()
            .map(|client| net.ask(*client, Method::Post, "/", &[], BodyLength::None))
            .collect();
        let asked = net.asked();
        let old = asked[0].0;
        net.answer(asked[0], 200, &[], BodyLength::Known(4));
        net.body(asked[0], b"ab");
        let mut goaway = Vec::new();
        frame::goaway(asked[1].1, ErrorCode::NO_ERROR, "", &mut goaway);
        net.say(old, &goaway);
        // The far end's machine does not know that it said so.
        let moved: Vec<_> = net.asked().into_iter().filter(|(at, _)| *at != old).collect();
        assert_eq!(moved.len(), 1, "{down:?}: the third goes elsewhere");
        net.answer_all(moved[0], 200, b"3");
        net.body(asked[0], b"cd");
        net.end(asked[0], &[]);
        net.answer_all(asked[1], 200, b"2");
        for (place, body) in places.iter().zip([&b"abcd"[..], b"2", b"3"]) {
            assert_eq!(
                (net.outcome(*place).as_str(), &*net.seen(*place).body),
                ("200 Whole", body)
            );
        }
        assert!(net.has_ended(old), "{down:?}: it carried its last");
        assert_eq!(net.world.cluster_counters().upstream_rq_retry.value(), 1);
        net.serves(down);
        net.census();
    }
}

/// An endpoint that says goodbye as soon as anybody comes: a request is not passed on for ever.
#[test]
pub(super) fn goaway_at_once() {
    for down in [One, Two] {
        let mut net = Net::single(Two);
        net.raw_from = 1;
        let client = net.client(down);
        let place = net.get(client, "/");
        for round in 0..20 {
            let Some(at) = net.world.upstreams().into_iter().nth(round) else { break };
            let mut bytes = Vec::new();
            frame::settings(&[], &mut bytes);
            frame::goaway(StreamId::CONNECTION, ErrorCode::NO_ERROR, "", &mut bytes);
            net.say(at, &bytes);
        }
        assert_eq!(net.outcome(place), "503 Whole", "{down:?}");
        assert!(net.world.upstreams().len() <= 3, "{:?}", net.world.upstreams());
        net.census();
    }
}

/// Graceful: the endpoint announces, what is on its way arrives, and nobody notices.
#[test]
pub(super) fn an_endpoint_that_drains() {
    for down in [One, Two] {
        let mut net = Net::single(Two);
        let client = net.client(down);
        let place = net.get(client, "/");
        let at = net.only();
        net.drain(at.0);
        net.answer_all(at, 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
        assert!(net.has_ended(at.0), "{down:?}");
        net.serves(down);
        assert_eq!(net.world.cluster_counters().upstream_rq_retry.value(), 0);
        net.census();
    }
}

/// SETTINGS_MAX_CONCURRENT_STREAMS of 0: nobody is served there, nothing spins, and time answers.
#[test]
pub(super) fn settings_that_forbid_streams() {
    for down in [One, Two] {
        let mut net = Net::single(Two);
        net.raw_from = 1;
        let clients: Vec<_> = (0..3).map(|_| net.client(down)).collect();
        let mut forbid = Vec::new();
        frame::settings(&[(3, 0)], &mut forbid);
        forbid.extend(frame::settings_ack());
        let first = net.get(clients[0], "/");
        let mut told = 0;
        let mut tell = |net: &mut Net| {
            let all = net.world.upstreams();
            for at in &all[told..] {
                net.say(*at, &forbid);
            }
            told = all.len();
        };
        tell(&mut net);
        let others = [net.get(clients[1], "/"), net.get(clients[2], "/")];
        for _ in 0..400 {
            tell(&mut net);
            net.advance(50);
        }
        for place in [first, others[0], others[1]] {
            assert_eq!(net.outcome(place), "504 Whole", "{down:?}");
        }
        let count = net.world.upstreams().len();
        assert!(count <= 3, "{down:?}: {count} connections");
        net.census();
    }
}

/// An endpoint that never says a word, and one that speaks HTTP/1.1 after all.
#[test]
pub(super) fn an_endpoint_that_does_not_speak_it() {
    for down in [One, Two] {
        let mut net = Net::single(Two);
        net.raw_from = 1;
        let client = net.client(down);
        let place = net.ask(client, Method::Post, "/", &[], BodyLength::None);
        let at = net.world.upstream();
        assert!(net.world.streams[at].received.starts_with(frame::PREFACE));
        net.advance(20_000);
        assert!(net.seen(place).start.starts_with("50"), "{}", net.outcome(place));
        assert!(net.world.streams[at].fin || net.world.streams[at].aborted, "it is given up");

        let client = net.client(down);
        let place = net.ask(client, Method::Post, "/", &[], BodyLength::None);
        let at = net.world.upstream();
        net.say(at, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(net.outcome(place), "502 Whole", "{down:?}");
        assert!(net.world.streams[at].fin || net.world.streams[at].aborted);
        assert_eq!(net.world.cluster_counters().upstream_rq_retry.value(), 0);
        net.census();
    }
}
