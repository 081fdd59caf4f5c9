//! Windows of both levels, both ways; whose turn it is; windows that grow.

mod support;

use sluice_l7_core::{BodyLength, Codec, Head, Method, ResetReason, StreamId};
use sluice_l7_http2::Config;
use sluice_l7_http2::frame::{FrameKind, flag};
use support::{
    END_HEADERS, END_STREAM, POST, Peer, data, frame, get, headers, post, rst, settings,
    window_update,
};

fn small() -> Config {
    Config { stream_window: 1_000, stream_window_max: 1_000, ..Config::default() }
}

/// A server with a request on each of these streams, whose responses have begun.
fn responding(peer: &mut Peer, streams: &[u32]) {
    for stream in streams {
        peer.answer(&get(*stream));
        peer.respond(*stream, 200, BodyLength::Chunked).expect("it was asked for");
    }
    peer.written();
}

#[test]
fn a_peer_may_send_what_it_was_given_and_no_more() {
    let mut peer = Peer::server_with(&small());
    peer.credits = false;
    peer.answer(&post(1));
    assert_eq!(peer.answer(&data(1, 0, &[7; 1_000])).0, ["1 body (1000)"], "exactly");
    assert_eq!(peer.answer(&data(1, 0, b"")).0, [""; 0], "nothing is always allowed");
    let (said, written) = peer.answer(&data(1, 0, b"x"));
    assert_eq!(said, ["1 reset Other(3) stream-window-exceeded"]);
    assert_eq!(written, ["RST_STREAM 1 0x3"]);
    peer.census();
    // Padding counts.
    let mut peer = Peer::server_with(&small());
    peer.credits = false;
    peer.answer(&[post(1), data(1, 0, &[7; 990])].concat());
    let (said, _) = peer.answer(&data(1, flag::PADDED, b"\x0812xxxxxxxx"));
    assert_eq!(said, ["1 reset Other(3) stream-window-exceeded"], "eleven bytes");
}

#[test]
fn all_streams_together_may_send_what_the_connection_was_given() {
    let config = Config { connection_window: 65_535, ..Config::default() };
    let mut peer = Peer::server_with(&config);
    peer.credits = false;
    peer.answer(&[post(1), post(3)].concat());
    for (stream, len) in [(1, 16_384), (3, 16_384), (1, 16_384), (3, 16_383)] {
        assert_eq!(peer.answer(&data(stream, 0, &vec![7; len])).0.len(), 1);
    }
    let refused = peer.refuse(&data(3, 0, b"x"));
    assert_eq!(refused, ("connection-window-exceeded".to_owned(), 3));
}

#[test]
fn windows_are_given_back_by_the_quarter() {
    let mut peer = Peer::server_with(&small());
    peer.credits = false;
    peer.answer(&post(1));
    peer.answer(&data(1, 0, &[7; 600]));
    peer.credit(1, 250);
    assert_eq!(peer.written(), [""; 0]);
    peer.credit(1, 1);
    assert_eq!(peer.written(), ["WINDOW_UPDATE 1 +251"]);
    peer.credit(1, 349);
    assert_eq!(peer.written(), ["WINDOW_UPDATE 1 +349"]);
    // Nothing is given to a stream that has ended; the connection gets it back by its own quarter.
    peer.answer(&data(1, END_STREAM, &[7; 900]));
    peer.credit(1, 900);
    assert_eq!(peer.written(), [""; 0]);
    peer.census();
}

/// The quarter of a window that is about to shrink would wait for bytes that cannot come.
#[test]
fn a_window_that_shrinks_gives_back_what_it_owes() {
    // Before the client has our SETTINGS, it uses the default.
    let mut peer = Peer::with(sluice_l7_core::Role::Server, &small());
    peer.receive(sluice_l7_http2::frame::PREFACE);
    peer.receive(&settings(&[]));
    let (said, written) = peer.answer(&[post(1), data(1, 0, &[7; 1_000])].concat());
    assert_eq!(said.len(), 2);
    assert_eq!(written.last().map(String::as_str), Some("WINDOW_UPDATE 1 +1000"));
    // And when a large one is taken back.
    let mut peer = Peer::server();
    peer.answer(&post(1));
    for _ in 0..8 {
        peer.answer(&data(1, 0, &[7; 16_383]));
    }
    peer.answer(&frame(FrameKind::Ping, flag::ACK, 0, b"slui\0\0\0\x01"));
    peer.lend(|codec, _, cx| codec.grant_window(1 << 20, cx));
    assert!(peer.codec.window_granted() > 0);
    peer.answer(&frame(FrameKind::Settings, flag::ACK, 0, b""));
    let (_, written) = peer.answer(&data(1, 0, &[7; 16_000]));
    assert!(!written.iter().any(|line| line.starts_with("WINDOW_UPDATE 1")), "{written:?}");
    let granted = peer.codec.window_granted();
    assert_eq!(peer.lend(|codec, _, cx| codec.take_window_back(cx)), granted);
    let written = peer.written();
    assert!(written[1].starts_with("WINDOW_UPDATE 1 +"), "{written:?}");
}

/// What nobody is told of must not be lost: of padding, of streams that are gone, of late frames.
#[test]
fn the_connections_window_never_leaks() {
    let config = Config { connection_window: 65_535, stall_timeout_ms: 1_000, ..Config::default() };
    let mut peer = Peer::server_with(&config);
    let mut given = 0_u64;
    let mut sent = 0_u64;
    for nth in 0..200_u32 {
        let stream = nth * 2 + 1;
        peer.receive(&post(stream));
        peer.receive(&data(stream, flag::PADDED, &[&[100][..], &[7; 1_100]].concat()));
        sent += 1_101;
        peer.run();
        match nth % 4 {
            0 => peer.lend(|codec, _, cx| {
                codec.encode_reset(StreamId::new(stream), ResetReason::Cancelled, cx);
            }),
            1 => peer.receive(&rst(stream, 8)),
            2 => {
                peer.receive(&data(stream, END_STREAM, b"end"));
                sent += 3;
            }
            _ => peer.respond(stream, 200, BodyLength::None).expect("it was asked for"),
        }
        peer.run();
        if nth % 4 == 0 {
            peer.receive(&data(stream, 0, &[7; 900]));
            sent += 900;
        }
        assert_eq!(peer.run(), [""; 0]);
        for line in peer.written() {
            if let Some(more) = line.strip_prefix("WINDOW_UPDATE 0 +") {
                given += more.parse::<u64>().expect("a number");
            }
        }
        assert!(sent - given <= 65_535 / 4 + 2_001, "{sent} sent, {given} given back");
        if nth % 4 >= 2 {
            peer.lend(|codec, _, cx| {
                codec.encode_reset(StreamId::new(stream), ResetReason::Cancelled, cx);
            });
        }
    }
    peer.census();
}

#[test]
fn we_send_what_we_were_given_and_no_more() {
    let mut peer = Peer::server();
    peer.answer(&settings(&[(4, 1_000)]));
    responding(&mut peer, &[1]);
    assert_eq!(peer.encode_body(1, &[7; 900]), Ok(900));
    assert_eq!(peer.encode_body(1, &[7; 900]), Ok(100));
    assert_eq!(peer.written(), ["DATA 1 900", "DATA 1 100"]);
    assert_eq!(peer.encode_body(1, &[7; 10]), Ok(0), "behind what waits");
    assert_eq!(peer.drain_output(100), []);
    assert!(!peer.codec.has_output(), "a stream without a window is in no list");
    peer.answer(&window_update(1, 300));
    assert_eq!(peer.drain_output(200), [(1, 200), (1, 100)]);
    assert_eq!(peer.written(), ["DATA 1 200", "DATA 1 100"]);
    peer.encode_end(1, None).expect("the end waits too");
    assert_eq!(peer.written(), [""; 0]);
    peer.answer(&window_update(1, 10_000));
    assert_eq!(peer.drain_output(10_000), [(1, 510)]);
    assert_eq!(peer.written(), ["DATA 1 end 510"]);
    assert!(peer.codec.is_idle());
    peer.census();
}

/// RFC 9113, 6.9.2: a smaller setting makes windows negative, and a larger one opens them.
#[test]
fn settings_move_every_window() {
    let mut peer = Peer::server();
    responding(&mut peer, &[1, 3]);
    assert_eq!(peer.encode_body(1, &[7; 50_000]), Ok(50_000));
    peer.written();
    peer.answer(&settings(&[(4, 40_000)]));
    assert_eq!(peer.encode_body(1, b"x"), Ok(0), "10,000 below zero");
    peer.answer(&window_update(1, 10_000));
    assert_eq!(peer.drain_output(9), [], "zero");
    peer.written();
    peer.answer(&settings(&[(4, 40_001)]));
    assert_eq!(peer.drain_output(9), [(1, 1)]);
    peer.lend(|codec, _, cx| codec.encode_reset(StreamId::new(1), ResetReason::Cancelled, cx));
    peer.lend(|codec, _, cx| codec.encode_reset(StreamId::new(3), ResetReason::Cancelled, cx));
    peer.census();
}

#[test]
fn windows_that_overflow() {
    let mut peer = Peer::server();
    responding(&mut peer, &[1]);
    let (said, written) = peer.answer(&window_update(1, (1 << 31) - 1 - 65_535));
    assert_eq!((said.len(), written.len()), (0, 0), "exactly");
    let (said, written) = peer.answer(&window_update(1, 1));
    assert_eq!(said, ["1 reset Other(3) stream-window-overflow"]);
    assert_eq!(written, ["RST_STREAM 1 0x3"]);
    responding(&mut peer, &[3]);
    let (said, _) = peer.answer(&window_update(3, 0));
    assert_eq!(said, ["3 reset Protocol stream-window-update-zero"]);
    responding(&mut peer, &[5]);
    peer.answer(&window_update(5, (1 << 31) - 1 - 65_535));
    let refused = peer.refuse(&settings(&[(4, 65_536)]));
    assert_eq!(refused, ("initial-window-too-large".to_owned(), 3));
    let most = window_update(0, (1 << 31) - 1 - 65_535);
    let refused = Peer::server().refuse(&[most, window_update(0, 1)].concat());
    assert_eq!(refused, ("connection-window-overflow".to_owned(), 3));
    let refused = Peer::server().refuse(&window_update(0, 0));
    assert_eq!(refused, ("connection-window-update-zero".to_owned(), 1));
}

#[test]
fn streams_take_turns_the_urgent_ones_first() {
    let mut peer = Peer::server();
    for (stream, priority) in [(1, "u=5"), (3, "u=5"), (5, "u=1"), (7, "i")] {
        let fields = [&support::GET[..], &[("priority", priority)]].concat();
        peer.answer(&headers(stream, support::WHOLE, &fields));
        peer.respond(stream, 200, BodyLength::Chunked).expect("it was asked for");
    }
    peer.codec.hold_output(true);
    for stream in [1, 3, 5, 7] {
        assert_eq!(peer.encode_body(stream, &[7; 3_000]), Ok(0), "held back");
    }
    let turns: Vec<u32> = peer.drain_output(1_000).iter().map(|burst| burst.0).collect();
    assert_eq!(turns, [5, 5, 5, 7, 7, 7, 1, 3, 1, 3, 1, 3]);
    // The connection's window is everybody's.
    for stream in [1, 3, 5, 7] {
        peer.encode_body(stream, &[7; 60_000]).expect("kept");
    }
    let all: usize = peer.drain_output(10_000).iter().map(|burst| burst.1).sum();
    assert_eq!(all, 65_535 - 12_000, "of the connection's window");
    peer.answer(&window_update(0, 1_000_000));
    // RFC 9218, 7.1: another urgency while it waits.
    let update = [&1_u32.to_be_bytes()[..], b"u=0"].concat();
    peer.answer(&frame(FrameKind::PriorityUpdate, 0, 0, &update));
    assert_eq!(peer.drain_output(100)[0].0, 1);
    peer.written();
    for stream in [1, 3, 5, 7] {
        peer.receive(&rst(stream, 8));
    }
    peer.run();
    peer.census();
}

/// Strict urgencies would let a busy stream shut out the others for ever.
#[test]
fn nobody_starves() {
    let mut peer = Peer::server();
    peer.answer(&window_update(0, 1 << 30));
    for (stream, priority) in [(1, "u=7"), (3, "u=0")] {
        let fields = [&support::GET[..], &[("priority", priority)]].concat();
        peer.answer(&headers(stream, support::WHOLE, &fields));
        peer.answer(&window_update(stream, 1 << 30));
        peer.respond(stream, 200, BodyLength::Chunked).expect("it was asked for");
    }
    peer.codec.hold_output(true);
    for stream in [1, 3] {
        for _ in 0..4 {
            peer.encode_body(stream, &[7; 50_000]).expect("kept");
        }
    }
    let bursts = peer.drain_output(1_000);
    let first_hundred = bursts[..100].iter().filter(|burst| burst.0 == 1).count();
    assert_eq!(first_hundred, 6, "every sixteenth");
    peer.encode_end(1, None).expect("the end");
    peer.encode_end(3, None).expect("the end");
    peer.census();
}

/// A window that is opened by a byte now and then holds what waits behind it for ever.
#[test]
fn streams_that_stand_still_are_reset() {
    for trickle in [false, true] {
        let mut peer = Peer::server();
        peer.answer(&settings(&[(4, 100)]));
        responding(&mut peer, &[1, 3]);
        peer.encode_body(1, &[7; 5_000]).expect("most of it waits");
        peer.encode_body(3, &[7; 50]).expect("it goes");
        let mut said = Vec::new();
        for second in 0..90 {
            if trickle {
                peer.answer(&window_update(1, 1));
                peer.drain_output(1_000);
            }
            said = peer.wait(1_000);
            if !said.is_empty() {
                assert!((55..80).contains(&second), "after {second} seconds");
                break;
            }
        }
        assert_eq!(said, ["1 reset Cancelled stream-stalled"], "{trickle}");
        assert!(peer.written().contains(&"RST_STREAM 1 0x8".to_owned()));
        peer.encode_end(3, None).expect("the other goes on");
        assert!(peer.codec.is_idle());
        peer.census();
    }
    // Who moves enough goes on.
    let mut peer = Peer::server();
    peer.answer(&settings(&[(4, 100)]));
    responding(&mut peer, &[1]);
    peer.encode_body(1, &[7; 50_000]).expect("most of it waits");
    for _ in 0..200 {
        peer.answer(&window_update(1, 100));
        peer.drain_output(1_000);
        assert_eq!(peer.wait(1_000), [""; 0]);
    }
    peer.answer(&rst(1, 8));
    peer.census();
}

/// We have answered, and the client's message never ends: it holds a place.
#[test]
fn half_closed_streams_do_not_stay_for_ever() {
    let mut peer = Peer::server();
    peer.answer(&post(1));
    peer.respond(1, 200, BodyLength::None).expect("an early answer");
    assert!(!peer.codec.is_idle());
    let mut said = Vec::new();
    for _ in 0..90 {
        said.extend(peer.wait(1_000));
    }
    assert_eq!(said, ["1 reset NoError half-closed-too-long"]);
    assert!(peer.written().contains(&"RST_STREAM 1 0x0".to_owned()));
    assert!(peer.codec.is_idle());
    assert_eq!(peer.codec.next_deadline(), sluice_base::Instant::NEVER);
    peer.census();
}

#[test]
fn a_window_that_limits_grows_by_what_the_path_carries() {
    let mut peer = Peer::server();
    peer.answer(&post(1));
    let mut window = 65_535_u32;
    for round in 0..5 {
        // A round trip's worth: as much as the window allows, given back as it comes.
        let mut left = window;
        let mut pings = 0;
        while left > 0 {
            let len = left.min(16_384);
            peer.answer(&data(1, 0, &vec![7; len as usize]));
            left -= len;
        }
        pings += 1;
        let number = round + 1;
        let ack = [&b"slui"[..], &(number as u32).to_be_bytes()].concat();
        peer.answer(&frame(FrameKind::Ping, flag::ACK, 0, &ack));
        let wanted = peer.codec.window_wanted();
        if round == 0 {
            assert!(pings == 1 && wanted > 0, "{wanted}");
        }
        let grant = wanted.min(100_000);
        peer.lend(|codec, _, cx| codec.grant_window(grant, cx));
        let written = peer.written();
        if grant > 0 {
            window += grant;
            assert!(written.contains(&format!("SETTINGS 4={window}")), "{written:?}");
            assert!(written.contains(&format!("WINDOW_UPDATE 0 +{grant}")), "{written:?}");
            peer.answer(&frame(FrameKind::Settings, flag::ACK, 0, b""));
        }
    }
    assert_eq!(peer.codec.window_granted(), window - 65_535);
    assert!(window > 200_000, "{window}");
    // When nothing large arrives for long, it is given back.
    for _ in 0..130 {
        assert_eq!(peer.wait(1_000), [""; 0]);
        if peer.written().contains(&"SETTINGS 4=65535".to_owned()) {
            peer.answer(&frame(FrameKind::Settings, flag::ACK, 0, b""));
        }
    }
    assert_eq!(peer.codec.window_granted(), 0);
    peer.answer(&data(1, END_STREAM, b""));
    peer.respond(1, 200, BodyLength::None).expect("it was asked for");
    peer.census();
}

fn pings(written: &[String]) -> usize {
    written.iter().filter(|frame| frame.starts_with("PING")).count()
}

/// Two thirds of a window of 65,535 bytes, what came just before the PING among them.
#[test]
fn what_fills_most_of_a_window_in_a_round_trip_makes_it_grow() {
    for (round_trip, wanted) in [(43_690, 4 * 43_690 - 65_535), (43_689, 0)] {
        let mut peer = Peer::server();
        peer.answer(&post(1));
        let (_, written) = peer.answer(&data(1, 0, &[7; 16_383]));
        assert_eq!(pings(&written), 0, "{written:?}");
        let (_, written) = peer.answer(&data(1, 0, &[7]));
        assert_eq!(pings(&written), 1, "{written:?}");
        peer.answer(&data(1, 0, &[7; 16_384]));
        peer.answer(&data(1, 0, &vec![7; round_trip - 2 * 16_384]));
        let ack = [&b"slui"[..], &1_u32.to_be_bytes()].concat();
        peer.answer(&frame(FrameKind::Ping, flag::ACK, 0, &ack));
        assert_eq!(peer.codec.window_wanted(), wanted, "{round_trip} bytes in a round trip");
        peer.answer(&data(1, END_STREAM, b""));
        peer.respond(1, 200, BodyLength::None).expect("it was asked for");
        peer.census();
    }
}

/// A round trip fills the window, but who reads leaves most of it where it is: a larger window would
/// only hold more of it.
#[test]
fn what_is_left_unread_asks_for_no_growth() {
    let mut peer = Peer::server();
    peer.answer(&post(1));
    let (_, written) = peer.answer(&data(1, 0, &[7; 16_384]));
    assert_eq!(pings(&written), 1, "{written:?}");
    peer.credits = false;
    for _ in 0..3 {
        peer.answer(&data(1, 0, &[7; 16_000]));
    }
    peer.credit(1, 27_305);
    let ack = [&b"slui"[..], &1_u32.to_be_bytes()].concat();
    peer.answer(&frame(FrameKind::Ping, flag::ACK, 0, &ack));
    assert_eq!(peer.codec.window_wanted(), 0, "43,689 of 65,535 bytes went on");
    peer.credit(1, 3 * 16_000 - 27_305);
    peer.answer(&data(1, END_STREAM, b""));
    peer.respond(1, 200, BodyLength::None).expect("it was asked for");
    peer.census();
}

/// The connection's window is given back anywhere in what a round trip carries: measuring from there, a
/// part would be missed, and in the next round trip the same part.
#[test]
fn what_is_measured_begins_with_a_stream_s_window() {
    let mut peer = Peer::server();
    let mut all = Vec::new();
    for stream in [1, 3, 5, 7, 9] {
        peer.answer(&post(stream));
        all.extend(peer.answer(&data(stream, 0, &[7; 16_383])).1);
    }
    assert!(all.iter().any(|frame| frame.starts_with("WINDOW_UPDATE 0 +")), "{all:?}");
    assert_eq!(pings(&all), 0, "{all:?}");
    for stream in [1, 3, 5, 7, 9] {
        peer.answer(&data(stream, END_STREAM, b""));
        peer.respond(stream, 200, BodyLength::None).expect("it was asked for");
    }
    peer.census();
}

/// Small messages never limit, so nobody measures.
#[test]
fn unary_calls_cost_no_pings() {
    let mut peer = Peer::server();
    for nth in 0..200 {
        let stream = nth * 2 + 1;
        peer.receive(&headers(stream, END_HEADERS, &POST));
        peer.receive(&data(stream, END_STREAM, &[7; 100]));
        peer.run();
        peer.respond(stream, 200, BodyLength::None).expect("it was asked for");
        assert_eq!(peer.written(), [format!("HEADERS {stream} end | :status: 200")]);
    }
    assert_eq!(peer.codec.window_wanted(), 0);
    peer.census();
}

#[test]
fn memory_of_idle_connections_and_streams() {
    let mut peer = Peer::server_with(&Config { streams_max: 200, ..Config::default() });
    assert!(peer.codec.memory() <= 4_096, "{} bytes", peer.codec.memory());
    let before = peer.codec.memory();
    for nth in 0..100 {
        peer.answer(&post(nth * 2 + 1));
    }
    let each = (peer.codec.memory() - before) / 100;
    assert!(each <= 200, "{each} bytes per idle stream, without its exchange");
    let mut head = Head::new();
    head.reset_to_request(Method::Get, b"a", b"/");
    let mut client = Peer::client();
    assert!(client.codec.memory() <= 4_096, "{} bytes", client.codec.memory());
    client.send(&head, BodyLength::None);
}
