//! Floods: each class of frame has its budget, each refusal its reason; memory stays flat.

mod support;

use sluice_l7_core::{BodyLength, Codec};
use sluice_l7_http2::Config;
use sluice_l7_http2::frame::{FrameKind, flag};
use support::{
    END_HEADERS, GET, Peer, block, data, frame, get, headers, post, rst, settings, window_update,
};

const CALM: u32 = 0xb;

/// Sends `next(n)` until the connection is refused; how many passed, and why. Answers go nowhere.
fn flood(mut peer: Peer, mut next: impl FnMut(u32) -> Vec<u8>) -> (u32, String) {
    let before = peer.codec.memory();
    for nth in 0..200_000 {
        peer.receive(&next(nth));
        let said = peer.run();
        if let Some(reason) = said.last().and_then(|line| line.strip_prefix("error ")) {
            let written = peer.written();
            let goaway = written.last().expect("GOAWAY");
            assert!(goaway.contains(&format!(" {CALM:#x} {reason}")), "{goaway}");
            assert!(peer.codec.must_close());
            let reason = reason.to_owned();
            peer.census();
            return (nth, reason);
        }
        if nth % 100 == 0 {
            peer.written();
            // A block that is not whole yet is kept in a buffer of 64 kB.
            let memory = peer.codec.memory();
            assert!(memory < before + 8_192 + 65_536, "{memory} bytes");
        }
    }
    panic!("nobody minded");
}

#[test]
fn each_class_has_its_budget() {
    for (reason, most, kind, flags, stream, payload) in [
        ("settings-flood", 50, FrameKind::Settings, 0, 0, &[][..]),
        ("settings-flood", 50, FrameKind::Settings, flag::ACK, 0, &[]),
        ("ping-flood", 200, FrameKind::Ping, 0, 0, &[0; 8]),
        ("ping-flood", 200, FrameKind::Ping, flag::ACK, 0, &[0; 8]),
        ("priority-flood", 1_000, FrameKind::Priority, 0, 9, &[0; 5]),
        ("priority-flood", 1_000, FrameKind::PriorityUpdate, 0, 0, &[0, 0, 0, 1]),
        ("empty-frame-flood", 200, FrameKind::Data, 0, 1, &[]),
        ("empty-frame-flood", 200, FrameKind::Data, flag::PADDED, 1, &[3, 0, 0, 0]),
        ("window-update-flood", 20_000, FrameKind::WindowUpdate, 0, 0, &[0, 0, 0, 1]),
        ("window-update-flood", 20_000, FrameKind::WindowUpdate, 0, 1, &[0, 0, 0, 1]),
        ("unknown-frame-flood", 200, FrameKind::Unknown(0x77), 0, 0, b"anything"),
        ("reset-flood", 500, FrameKind::RstStream, 0, 1, &[0; 4]),
    ] {
        let mut peer = Peer::server();
        peer.answer(&post(1));
        let (passed, why) = flood(peer, |_| frame(kind, flags, stream, payload));
        assert_eq!(why, reason);
        // Saying hello took some.
        assert!(passed <= most && passed + 3 >= most, "{reason}: {passed}");
    }
}

/// gRPC sends a PING for every round trip in which it received something.
#[test]
fn who_is_sent_much_may_ping_much() {
    let mut peer = Peer::server();
    for nth in 0..2_000 {
        let stream = nth * 2 + 1;
        peer.receive(&get(stream));
        peer.receive(&frame(FrameKind::Ping, 0, 0, b"measured"));
        assert_eq!(peer.run().len(), 1, "request {nth}");
        peer.respond(stream, 200, BodyLength::None).expect("it was asked for");
        assert_eq!(peer.written()[0], "PING ack measured");
    }
    peer.census();
}

/// CVE-2023-44487: streams opened and reset at once, which no limit on open ones sees.
#[test]
fn rapid_reset() {
    let (passed, why) = flood(Peer::server(), |nth| {
        let stream = nth * 2 + 1;
        [get(stream), rst(stream, 8)].concat()
    });
    assert_eq!((passed, &*why), (500, "reset-flood"));
    // Half of what is served may be reset, at any rate and for ever.
    let mut peer = Peer::server();
    for nth in 0..3_000 {
        let stream = nth * 2 + 1;
        peer.receive(&get(stream));
        if nth % 2 == 0 {
            peer.receive(&rst(stream, 8));
            assert_eq!(peer.run().len(), 2);
        } else {
            peer.run();
            peer.respond(stream, 200, BodyLength::None).expect("it was asked for");
        }
        peer.output.clear();
    }
    peer.census();
}

/// CVE-2025-8671: resets that a client makes us send cost as much as its own.
#[test]
fn made_to_reset() {
    let (passed, why) = flood(Peer::server(), |nth| {
        let stream = nth * 2 + 1;
        [get(stream), window_update(stream, 0)].concat()
    });
    assert_eq!((passed, &*why), (500, "reset-flood"));
    let (passed, why) =
        flood(Peer::server(), |nth| headers(nth * 2 + 1, END_HEADERS, &[(":method", "GET")]));
    assert_eq!((passed, &*why), (500, "reset-flood"));
    // And streams beyond the limit.
    let mut peer = Peer::server_with(&Config { streams_max: 10, ..Config::default() });
    for nth in 0..10 {
        peer.answer(&get(nth * 2 + 1));
    }
    let (said, written) = peer.answer(&get(21));
    assert_eq!(said, ["21 reset Refused too-many-streams"]);
    assert_eq!(written, ["RST_STREAM 21 0x7"]);
    let (passed, why) = flood(peer, |nth| get(nth * 2 + 23));
    assert_eq!((passed, &*why), (499, "reset-flood"));
}

/// CVE-2024-27316 and relatives.
#[test]
fn continuation_flood() {
    for payload in [&[][..], &[0; 100], &[0; 16_384]] {
        let mut peer = Peer::server();
        peer.receive(&frame(FrameKind::Headers, 0, 1, b""));
        let (passed, why) = flood(peer, |_| frame(FrameKind::Continuation, 0, 1, payload));
        match payload.len() {
            16_384 => assert_eq!((passed, &*why), (4, "header-block-too-large")),
            _ => assert_eq!((passed, &*why), (8, "continuation-flood")),
        }
    }
}

/// A small block that stands for a large head, again and again.
#[test]
fn hpack_bombs() {
    let mut peer = Peer::server();
    let large = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4_000]].concat();
    let first = [block(&GET), large].concat();
    let said = peer.answer(&frame(FrameKind::Headers, support::WHOLE, 1, &first)).0;
    assert!(said[0].ends_with("=> None"), "{}", said.len());
    let bomb = [block(&GET), vec![0xbe; 16_000]].concat();
    let (said, written) = peer.answer(&frame(FrameKind::Headers, support::WHOLE, 3, &bomb));
    assert_eq!(said, ["3 reset EnhanceYourCalm head-too-long"]);
    assert_eq!(written, ["HEADERS 3 end | :status: 431"]);
    let memory = peer.codec.memory();
    let (passed, why) =
        flood(peer, |nth| frame(FrameKind::Headers, support::WHOLE, nth * 2 + 5, &bomb));
    assert_eq!((passed, &*why), (499, "reset-flood"), "{memory}");
}

/// Frames on streams that we have reset: what was on its way, and no more.
#[test]
fn frames_on_reset_streams() {
    let mut peer = Peer::server();
    peer.answer(&headers(1, END_HEADERS, &[(":method", "POST")]));
    let (passed, why) = flood(peer, |_| data(1, 0, b"x"));
    assert_eq!((passed, &*why), (5_000, "frames-on-reset-streams"));
}

#[test]
fn answers_wait_for_memory_and_nothing_overtakes_them() {
    let mut peer = Peer::server();
    peer.answer(&get(1));
    let mut hoard = Vec::new();
    while let Ok(packet) = peer.pool.alloc() {
        hoard.push(packet);
    }
    drop(hoard.pop());
    // The last buffer holds the frame: a slice of it is kept, so that nobody may write behind it.
    peer.receive(&frame(FrameKind::Ping, 0, 0, b"12345678"));
    let kept = peer.input.clone_range(0, 1);
    assert_eq!(peer.run(), [""; 0]);
    assert_eq!(peer.written(), [""; 0], "no memory for the answer");
    let refused = peer.respond(1, 200, BodyLength::None);
    assert_eq!(refused, Err(sluice_l7_core::EncodeError::NoMemory));
    drop((kept, hoard));
    peer.respond(1, 200, BodyLength::None).expect("the same call succeeds later");
    assert_eq!(peer.written(), ["PING ack 12345678", "HEADERS 1 end | :status: 200"]);
    peer.census();
}

#[test]
fn answers_that_never_come() {
    let mut peer = Peer::fresh_server();
    peer.receive(sluice_l7_http2::frame::PREFACE);
    peer.receive(&settings(&[]));
    peer.run();
    assert_eq!(peer.wait(9_999), [""; 0]);
    assert_eq!(peer.wait(1), ["error settings-timeout"]);
    let written = peer.written();
    assert_eq!(written.last().expect("GOAWAY"), "GOAWAY 0 0x4 settings-timeout");
    peer.census();
    // A connection that asks for signs of life.
    let mut peer = Peer::server_with(&Config { ping_interval_ms: 5_000, ..Config::default() });
    assert_eq!(peer.wait(5_000), [""; 0]);
    assert_eq!(peer.written(), ["PING"]);
    let ack = frame(FrameKind::Ping, flag::ACK, 0, b"slui\0\0\0\x01");
    peer.answer(&ack);
    assert_eq!(peer.wait(5_000), [""; 0]);
    assert_eq!(peer.written(), ["PING"]);
    assert_eq!(peer.wait(10_000), ["error ping-timeout"]);
    peer.census();
    // Who sends bodies is alive.
    let config = Config { ping_interval_ms: 5_000, stream_window_max: 65_535, ..Config::default() };
    let mut peer = Peer::server_with(&config);
    peer.answer(&post(1));
    for _ in 0..5 {
        assert_eq!(peer.wait(4_000), [""; 0]);
        let (said, written) = peer.answer(&data(1, 0, b"x"));
        assert_eq!((said.len(), written.len()), (1, 0), "nobody asks: {written:?}");
    }
    assert_eq!(peer.wait(5_000), [""; 0]);
    assert_eq!(peer.written(), ["PING"]);
    peer.census();
}

/// A proxy's clients may give up more than one server is ready to take from one connection.
#[test]
fn a_client_spares_its_servers_patience() {
    let mut peer = Peer::client();
    for nth in 0..2_000 {
        let stream = peer.request(sluice_l7_core::Method::Get, BodyLength::None);
        if nth % 2 == 0 {
            peer.reset(stream);
        } else {
            let end = frame(FrameKind::Headers, support::WHOLE, stream.number(), b"\x88");
            assert_eq!(peer.answer(&end).0.len(), 1);
        }
    }
    assert!(peer.codec.is_reusable(), "half of all may be, for ever");
    for nth in 0..250 {
        assert!(peer.codec.is_reusable(), "{nth}");
        let stream = peer.request(sluice_l7_core::Method::Get, BodyLength::None);
        peer.reset(stream);
    }
    assert!(!peer.codec.is_reusable() && peer.codec.must_close());
    peer.census();
}

/// Frames of which its caller hears nothing do not keep it for as long as they come: it is told that
/// there is more, and goes on where it stopped.
#[test]
fn decoding_pauses_among_frames_that_make_no_event() {
    let silent: [fn() -> Vec<u8>; 4] = [
        || window_update(0, 1),
        || frame(FrameKind::Priority, 0, 9, &[0; 5]),
        || frame(FrameKind::Unknown(0x77), 0, 0, b"anything"),
        || data(1, 0, b""),
    ];
    for (nth, silent) in silent.into_iter().enumerate() {
        let mut peer = Peer::server_with(&Config { pause_after: 30, ..Config::default() });
        peer.answer(&post(1));
        while peer.codec.take_pause() {}
        // Events do not count, and do not begin a new turn.
        let behind = silent().repeat(55);
        peer.receive(&[silent().repeat(20), get(3), behind, get(5)].concat());
        let mut turns = vec![(peer.run(), peer.codec.take_pause())];
        while turns.last().is_some_and(|(_, paused)| *paused) {
            turns.push((peer.run(), peer.codec.take_pause()));
        }
        let heard: Vec<_> = turns.iter().map(|(said, _)| said.len()).collect();
        assert_eq!(heard[..2], [1, 0], "{nth}: {turns:?}");
        assert_eq!(heard.iter().sum::<usize>(), 2, "{nth}: {turns:?}");
        assert_eq!(turns.len(), 3, "{nth}: {turns:?}");
        peer.written();
        peer.census();
        // Nobody else's does.
        let mut peer = Peer::server();
        peer.answer(&post(1));
        peer.receive(&[silent().repeat(75), get(3)].concat());
        assert_eq!((peer.run().len(), peer.codec.take_pause()), (1, false));
        peer.written();
        peer.census();
    }
}
