//! Connections that carry many exchanges: streams that take turns, that are refused, and that end with
//! their connection.

use sluice_l7_core::{BodyLength, Method, ResetReason};
use sluice_l7_http2::frame::FrameKind;

use sluice_l7_http2::Config as Http2Config;

use super::far::{Ended, Version};
use super::net::Net;
use super::versions::pattern;

use Version::{One, Two};

#[test]
pub(super) fn streams_take_turns() {
    for up in [One, Two] {
        let mut net = Net::single(up);
        let client = net.client(Two);
        let places: Vec<_> =
            (0..8).map(|_| net.ask(client, Method::Post, "/", &[], BodyLength::Chunked)).collect();
        let asked = net.asked();
        assert_eq!(asked.len(), 8);
        assert_eq!(net.world.upstreams().len(), if up == One { 8 } else { 1 });
        let bodies: Vec<_> = (0..8).map(|n| pattern(20_000 + n)).collect();
        for part in 0..4 {
            for (place, body) in places.iter().zip(&bodies) {
                net.body(*place, body.chunks(5_002).nth(part).expect("four parts"));
            }
        }
        // They end in another order than they began, and are answered in a third.
        for place in places.iter().rev() {
            net.end(*place, &[]);
        }
        for (n, at) in asked.iter().enumerate() {
            assert_eq!(net.seen(*at).ended, Ended::Whole);
            assert!(net.seen(*at).body == bodies[n], "stream {n}");
        }
        for n in [3, 0, 7, 1, 6, 2, 5, 4] {
            net.answer(asked[n], 200, &[], BodyLength::Chunked);
        }
        for part in 0..4 {
            for (at, body) in asked.iter().zip(&bodies) {
                net.body(*at, body.chunks(5_002).nth(part).expect("four parts"));
            }
        }
        for at in &asked {
            net.end(*at, &[("x-end", "1")]);
        }
        for (n, place) in places.iter().enumerate() {
            assert_eq!(net.outcome(*place), "200 Whole");
            assert!(net.seen(*place).body == bodies[n], "stream {n}");
        }
        net.census();
    }
}

/// Of four that share a connection to their endpoint one does not read: its own window closes, and
/// the others get theirs, however much more than any window that is.
#[test]
pub(super) fn a_slow_reader_stalls_nobody_else() {
    for down in [One, Two] {
        let mut net = Net::single(Two);
        let clients: Vec<_> = (0..4).map(|_| net.client(down)).collect();
        let places: Vec<_> = clients.iter().map(|client| net.get(*client, "/")).collect();
        let asked = net.asked();
        assert_eq!(net.world.upstreams().len(), 1, "they share a connection");
        let slow = clients[0];
        match down {
            One => net.world.streams[slow].room = 0,
            Two => {
                net.far(slow).stalled.insert(places[0].1);
            }
        }
        for at in &asked {
            net.answer(*at, 200, &[], BodyLength::Chunked);
        }
        let body = pattern(50_000);
        for _ in 0..12 {
            for at in &asked {
                net.body(*at, &body);
            }
        }
        for at in &asked {
            net.end(*at, &[]);
        }
        for place in &places[1..] {
            assert_eq!(net.outcome(*place), "200 Whole", "{down:?}");
            assert_eq!(net.seen(*place).body.len(), 600_000);
        }
        let (held, of) = (net.seen(places[0]).ended, net.seen(places[0]).body.len());
        assert_eq!(held, Ended::No);
        // No more is held for it than windows allow, which have grown: what the endpoint could not send is
        // there still.
        let upstream = net.world.upstream();
        let there = net.world.streams[upstream].sent;
        assert!(there < 3 * 600_000 + 300_000 + of, "{down:?}: {there} came");
        match down {
            One => {
                net.world.streams[slow].room = 1 << 20;
                net.world.event(slow, crate::StreamEvent::Writable);
                net.settle();
            }
            Two => net.read_on(places[0]),
        }
        assert_eq!(net.outcome(places[0]), "200 Whole", "{down:?}");
        assert_eq!(net.seen(places[0]).body.len(), 600_000);
        net.census();
    }
}

/// Many who do not read hold more than the connection's window together: it grows by what they hold.
#[test]
pub(super) fn many_slow_readers_stall_nobody_else() {
    for down in [One, Two] {
        // Windows of streams stay as they are: it is the connection's that is looked at.
        let mut net = Net::with(Two, |config| {
            config.clusters[0].endpoints.truncate(1);
            for cluster in &mut config.clusters {
                cluster.http2.max_stream_window_size = cluster.http2.initial_stream_window_size;
            }
        });
        let clients: Vec<_> = (0..16).map(|_| net.client(down)).collect();
        let places: Vec<_> = clients.iter().map(|client| net.get(*client, "/")).collect();
        let asked = net.asked();
        assert_eq!(net.world.upstreams().len(), 1, "they share a connection");
        for place in &places[..12] {
            match down {
                One => net.world.streams[place.0].room = 0,
                Two => {
                    net.far(place.0).stalled.insert(place.1);
                }
            }
        }
        let body = pattern(10_000);
        for at in &asked {
            net.answer(*at, 200, &[], BodyLength::Chunked);
        }
        for _ in 0..15 {
            for at in &asked {
                net.body(*at, &body);
            }
        }
        for at in &asked {
            net.end(*at, &[]);
        }
        for place in &places[12..] {
            assert_eq!(net.outcome(*place), "200 Whole", "{down:?}");
        }
        for place in &places[..12] {
            assert_eq!(net.seen(*place).ended, Ended::No);
            match down {
                One => {
                    net.world.streams[place.0].room = 1 << 20;
                    net.world.event(place.0, crate::StreamEvent::Writable);
                    net.settle();
                }
                Two => net.read_on(*place),
            }
            assert_eq!(net.outcome(*place), "200 Whole", "{down:?}");
            assert_eq!(net.seen(*place).body.len(), 150_000);
        }
        net.serves(down);
        net.census();
    }
}

/// The other way: one endpoint's stream that does not read holds up no other upload of that client.
#[test]
pub(super) fn a_slow_endpoint_stalls_no_other_upload() {
    for up in [One, Two] {
        let mut net = Net::single(up);
        let client = net.client(Two);
        let places: Vec<_> =
            (0..3).map(|_| net.ask(client, Method::Post, "/", &[], BodyLength::Chunked)).collect();
        let asked = net.asked();
        match up {
            One => net.world.streams[asked[0].0].room = 0,
            Two => {
                net.far(asked[0].0).stalled.insert(asked[0].1);
            }
        }
        let body = pattern(50_000);
        for _ in 0..8 {
            for place in &places {
                net.body(*place, &body);
            }
        }
        for place in &places {
            net.end(*place, &[]);
        }
        for at in &asked[1..] {
            assert_eq!((net.seen(*at).ended, net.seen(*at).body.len()), (Ended::Whole, 400_000));
        }
        assert_eq!(net.seen(asked[0]).ended, Ended::No, "{up:?}");
        match up {
            One => {
                net.world.streams[asked[0].0].room = 1 << 20;
                net.world.event(asked[0].0, crate::StreamEvent::Writable);
                net.settle();
            }
            Two => net.read_on(asked[0]),
        }
        assert_eq!(
            (net.seen(asked[0]).ended, net.seen(asked[0]).body.len()),
            (Ended::Whole, 400_000)
        );
        net.census();
    }
}

/// Streams in progress end as they would have, then the connection does.
#[test]
pub(super) fn draining_with_streams_in_progress() {
    for up in [One, Two] {
        let mut net = Net::single(up);
        let (busy, idle) = (net.client(Two), net.client(Two));
        net.serves(Two);
        let warm = net.get(idle, "/");
        net.answer_all(net.only(), 200, b"hi");
        assert_eq!(net.outcome(warm), "200 Whole");
        let place = net.get(busy, "/");
        let at = net.only();
        net.world.proxy.start_drain(net.world.now);
        net.advance(100);
        assert!(net.far(idle).goaway, "{up:?}");
        assert!(net.has_ended(idle), "{up:?}");
        assert!(!net.has_ended(busy));
        net.answer(at, 200, &[], BodyLength::Known(4));
        net.body(at, b"ab");
        net.advance(1_000);
        net.body(at, b"cd");
        net.end(at, &[]);
        assert_eq!(net.outcome(place), "200 Whole", "{up:?}");
        net.advance(1_000);
        assert!(net.far(busy).goaway && net.has_ended(busy), "{up:?}");
        net.census();
    }
}

/// All exchanges of a connection end with it, whichever side it is on.
#[test]
pub(super) fn a_connection_ends_with_many_streams() {
    for client_ends in [true, false] {
        let mut net = Net::single(Two);
        let client = net.client(Two);
        let places: Vec<_> = (0..10).map(|_| net.get(client, "/")).collect();
        let asked = net.asked();
        for at in &asked[..5] {
            net.answer(*at, 200, &[], BodyLength::Known(10));
            net.body(*at, b"01234");
        }
        if client_ends {
            net.abort(client);
            assert!(!net.has_ended(asked[0].0), "the endpoint's connection goes on");
            assert_eq!(net.world.listener_counters().downstream_rq_rx_reset.value(), 10);
        } else {
            net.abort(asked[0].0);
            for place in &places[..5] {
                assert_eq!(net.seen(*place).ended, Ended::Reset(ResetReason::Internal));
            }
            // A GET may be asked again where nothing of its answer came.
            let again = net.asked();
            assert_eq!(again.len(), 5);
            for at in again {
                net.answer_all(at, 200, b"hi");
            }
            for place in &places[5..] {
                assert_eq!(net.outcome(*place), "200 Whole");
            }
        }
        net.serves(Two);
        net.census();
    }
}

/// A frame on a stream that was given up is no mistake of who had not heard of it.
#[test]
pub(super) fn what_was_on_its_way_when_a_stream_was_reset() {
    let mut net = Net::single(Two);
    let client = net.client(Two);
    let place = net.ask(client, Method::Post, "/", &[], BodyLength::Chunked);
    let at = net.only();
    net.answer(at, 200, &[], BodyLength::Chunked);
    net.reset(place, ResetReason::Cancelled);
    // Of the client, and of the endpoint.
    net.inject(place, FrameKind::WindowUpdate, 0, &1_u32.to_be_bytes());
    net.inject(at, FrameKind::Data, 0, &[b'x'; 1_000]);
    assert!(!net.has_ended(at.0));
    assert_eq!(net.world.cluster_counters().upstream_cx_protocol_error.value(), 0);
    net.serves(Two);
    net.census();
}

/// A call hands on so much at a time; the rest follows when the stack has taken that, whether or not
/// anything else comes. Without it a client with large windows would hear nothing until it spoke.
#[test]
pub(super) fn what_is_left_of_a_body_follows_by_itself() {
    let mut net = Net::new(One);
    let large = 4 << 20;
    let config = Http2Config {
        stream_window: large,
        connection_window: large,
        stream_window_max: large,
        ..Http2Config::default()
    };
    let client = net.client_with(&config);
    let place = net.get(client, "/");
    let at = net.only();
    net.world.streams[client].room = 0;
    let body = pattern(64_000);
    net.answer(at, 200, &[], BodyLength::Known(16 * 64_000));
    for _ in 0..16 {
        net.body(at, &body);
    }
    net.end(at, &[]);
    assert!(net.seen(place).body.len() <= 64_000, "the stack takes nothing");
    net.world.streams[client].room = 1 << 20;
    net.world.event(client, crate::StreamEvent::Writable);
    // Nobody has read, written or waited since.
    let there = net.world.streams[client].received.len() + net.seen(place).body.len();
    assert!(there >= 16 * 64_000, "{there} bytes came");
    net.settle();
    assert_eq!(net.outcome(place), "200 Whole");
    assert!(net.seen(place).body == body.repeat(16));
    net.census();
}
