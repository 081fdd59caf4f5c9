//! Every frame type at every length edge, on every kind of stream, with flags that do not belong.

mod support;

use sluice_l7_http2::frame::{FrameKind, PREFACE, flag};
use support::{
    END_HEADERS, END_STREAM, GET, Peer, block, data, frame, get, goaway, post, rst, settings,
    window_update,
};

const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

/// A server refuses the frame, alone on a connection that has said hello; one that is of no stream
/// also where there are some.
fn refused(kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) -> (String, u32) {
    let frame = frame(kind, flags, stream, payload);
    let alone = Peer::server().refuse(&frame);
    if stream == 0 {
        let mut busy = Peer::server();
        busy.answer(&post(1));
        busy.answer(&post(3));
        assert_eq!(busy.refuse(&frame), alone, "{kind:?} on stream 0, with others open");
    }
    alone
}

fn is(reason: &str, code: u32) -> (String, u32) {
    (reason.to_owned(), code)
}

#[test]
fn the_preface_comes_first_however_it_is_cut() {
    for cut in 0..=PREFACE.len() {
        let mut peer = Peer::fresh_server();
        peer.receive(&PREFACE[..cut]);
        assert_eq!(peer.run(), [""; 0], "{cut}");
        peer.receive(&PREFACE[cut..]);
        let (said, written) = peer.answer(&settings(&[(3, 7)]));
        assert_eq!(said, [""; 0]);
        assert_eq!(
            written,
            ["SETTINGS 3=100 4=65535 6=61440 8=1", "WINDOW_UPDATE 0 +196609", "SETTINGS ack",]
        );
        peer.census();
    }
    for wrong in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSX", "P\0"] {
        let refused = Peer::fresh_server().refuse(wrong.as_bytes());
        assert_eq!(refused, is("invalid-preface", PROTOCOL));
    }
}

#[test]
fn settings_come_first() {
    for (frame, reason) in [
        (get(1), "settings-not-first"),
        (frame(FrameKind::Settings, flag::ACK, 0, b""), "settings-not-first"),
        (frame(FrameKind::Ping, 0, 0, b"12345678"), "settings-not-first"),
        (data(1, 0, b""), "settings-not-first"),
    ] {
        let refused = Peer::fresh_server().refuse(&[PREFACE, &frame[..]].concat());
        assert_eq!(refused, is(reason, PROTOCOL));
    }
}

#[test]
fn frames_of_wrong_lengths() {
    use FrameKind::{GoAway, Headers, Ping, PriorityUpdate, RstStream, Settings, WindowUpdate};
    for (kind, flags, stream, right) in [
        (Settings, 0, 0, 6),
        (Settings, flag::ACK, 0, 0),
        (Ping, 0, 0, 8),
        (WindowUpdate, 0, 0, 4),
        (WindowUpdate, 0, 1, 4),
        (RstStream, 0, 1, 4),
    ] {
        for wrong in [right + 1, if right == 0 { 6 } else { right - 1 }] {
            let mut peer = Peer::server();
            peer.answer(&post(1));
            let payload = vec![0; wrong];
            let refused = peer.refuse(&frame(kind, flags, stream, &payload));
            assert_eq!(refused, is("invalid-frame-length", SIZE), "{kind:?} of {wrong}");
        }
    }
    for len in 0..8 {
        let refused = refused(GoAway, 0, 0, &vec![0; len]);
        assert_eq!(refused, is("invalid-frame-length", SIZE), "GOAWAY of {len}");
    }
    for len in 0..4 {
        let refused = refused(PriorityUpdate, 0, 0, &vec![0; len]);
        assert_eq!(refused, is("invalid-frame-length", SIZE), "PRIORITY_UPDATE of {len}");
    }
    for (flags, len) in [(flag::PADDED, 0), (flag::PRIORITY, 4), (flag::PADDED | flag::PRIORITY, 5)]
    {
        let refused = refused(Headers, END_HEADERS | flags, 1, &vec![0; len]);
        assert_eq!(refused, is("invalid-frame-length", SIZE), "HEADERS of {len}");
    }
    assert_eq!(refused(FrameKind::Data, flag::PADDED, 1, b""), is("invalid-frame-length", SIZE));
    // PRIORITY of another length is the stream's fault where there is a stream (RFC 9113, 6.3).
    for len in [4, 6] {
        let mut peer = Peer::server();
        peer.answer(&get(1));
        let (said, written) = peer.answer(&frame(FrameKind::Priority, 0, 1, &vec![0; len]));
        assert_eq!(said, ["1 reset Other(6) invalid-priority-length"]);
        assert_eq!(written, ["RST_STREAM 1 0x6"]);
        peer.census();
    }
}

#[test]
fn frames_that_are_too_large_are_refused_by_their_header() {
    use FrameKind::{Data, Headers, Ping, Settings, Unknown};
    for kind in [Data, Headers, Settings, Ping, Unknown(0xf0)] {
        let mut large = frame(kind, 0, 1, b"");
        large[..3].copy_from_slice(&[0, 0x40, 1]);
        assert_eq!(Peer::server().refuse(&large), is("frame-too-large", SIZE), "{kind:?}");
    }
    // Exactly as large as allowed.
    let largest = [post(1), data(1, END_STREAM, &[7; 16_384])].concat();
    let (said, _) = Peer::server().answer(&largest);
    assert_eq!(said, ["1 POST / host=a => Chunked", "1 body (16384)", "1 end"]);
}

#[test]
fn frames_on_streams_that_are_not_theirs() {
    use FrameKind::{Data, GoAway, Headers, Ping, Priority, PriorityUpdate, RstStream, Settings};
    for (kind, payload) in
        [(Settings, &[0; 6][..]), (Ping, &[0; 8]), (GoAway, &[0; 8]), (PriorityUpdate, &[0; 4])]
    {
        let refused = refused(kind, 0, 1, payload);
        assert_eq!(refused, is("connection-frame-on-stream", PROTOCOL), "{kind:?}");
    }
    for (kind, payload) in
        [(Data, &b"x"[..]), (Headers, b""), (Priority, &[0; 5]), (RstStream, &[0; 4])]
    {
        let refused = refused(kind, END_HEADERS, 0, payload);
        assert_eq!(refused, is("frame-without-stream", PROTOCOL), "{kind:?}");
    }
    // Idle ones (RFC 9113, 5.1).
    for idle in [data(1, 0, b"x"), window_update(1, 1), rst(1, 8)] {
        assert_eq!(Peer::server().refuse(&idle), is("frame-on-idle-stream", PROTOCOL));
    }
    // Even ones are the server's, who opens none.
    let refused = Peer::server().refuse(&frame(Headers, END_HEADERS, 2, &block(&GET)));
    assert_eq!(refused, is("invalid-stream-id", PROTOCOL));
    let refused = Peer::client().refuse(&frame(Headers, END_HEADERS, 2, &block(&[])));
    assert_eq!(refused, is("invalid-stream-id", PROTOCOL));
    let refused = Peer::client().refuse(&frame(Headers, END_HEADERS, 1, &block(&[])));
    assert_eq!(refused, is("frame-on-idle-stream", PROTOCOL));
    assert_eq!(refused_push(), is("push-promise", PROTOCOL));
}

fn refused_push() -> (String, u32) {
    Peer::client().refuse(&frame(FrameKind::PushPromise, END_HEADERS, 1, &[0, 0, 0, 2]))
}

#[test]
fn streams_that_both_sides_ended_are_closed() {
    let closed = || {
        let mut peer = Peer::server();
        peer.answer(&get(5));
        peer.respond(5, 200, sluice_l7_core::BodyLength::None).expect("it was asked for");
        assert_eq!(peer.written(), ["HEADERS 5 end | :status: 200"]);
        peer
    };
    assert_eq!(closed().refuse(&data(5, 0, b"x")), is("frame-on-closed-stream", CLOSED));
    assert_eq!(closed().refuse(&get(5)), is("frame-on-closed-stream", CLOSED));
    assert_eq!(
        closed().refuse(&get(3)),
        is("frame-on-closed-stream", CLOSED),
        "skipped, so closed"
    );
    // What may have been on its way is none.
    for late in [window_update(5, 1), rst(5, 8), frame(FrameKind::Priority, 0, 5, &[0; 5])] {
        let (said, written) = closed().answer(&late);
        assert_eq!((said.len(), written.len()), (0, 0));
    }
    // Of a stream that we reset, everything may have been.
    let mut peer = Peer::server();
    peer.answer(&post(1));
    peer.lend(|codec, _, cx| {
        use sluice_l7_core::Codec;
        codec.encode_reset(
            sluice_l7_core::StreamId::new(1),
            sluice_l7_core::ResetReason::Cancelled,
            cx,
        );
    });
    assert_eq!(peer.written(), ["RST_STREAM 1 0x8"]);
    let late = [data(1, 0, b"late"), frame(FrameKind::Headers, 0x5, 1, &block(&[("x", "y")]))];
    let (said, written) = peer.answer(&late.concat());
    assert_eq!((said.len(), written.len()), (0, 0), "{said:?} {written:?}");
    assert_eq!(peer.answer(&get(3)).0, ["3 GET / host=a => None"], "the table is alike");
    peer.census();
}

#[test]
fn a_stream_half_closed_by_the_client_takes_no_more() {
    for late in [data(1, 0, b"x"), post(1)] {
        let mut peer = Peer::server();
        peer.answer(&get(1));
        let (said, written) = peer.answer(&late);
        assert_eq!(said, ["1 reset Other(5) frame-on-half-closed-stream"]);
        assert_eq!(written, ["RST_STREAM 1 0x5"]);
        assert_eq!(peer.answer(&get(3)).0, ["3 GET / host=a => None"], "the others go on");
        peer.census();
    }
}

#[test]
fn blocks_in_pieces() {
    use FrameKind::{Continuation, Headers};
    let all = block(&GET);
    let cut = |at: usize, flags: u8| {
        [
            frame(Headers, flags, 1, &all[..at]),
            frame(Continuation, 0, 1, b""),
            frame(Continuation, END_HEADERS, 1, &all[at..]),
        ]
        .concat()
    };
    for at in 0..=all.len() {
        let mut peer = Peer::server();
        assert_eq!(peer.answer(&cut(at, END_STREAM)).0, ["1 GET / host=a => None"], "{at}");
        peer.census();
    }
    let begun = || {
        let mut peer = Peer::server();
        assert_eq!(peer.answer(&frame(Headers, 0, 1, &all[..5])).0, [""; 0]);
        peer
    };
    for other in [
        data(1, 0, b"x"),
        frame(FrameKind::Ping, 0, 0, b"12345678"),
        frame(Continuation, END_HEADERS, 3, &all[5..]),
        frame(FrameKind::Unknown(0xee), 0, 1, b""),
        get(3),
    ] {
        assert_eq!(begun().refuse(&other), is("continuation-missing", PROTOCOL));
    }
    for flags in [0, END_HEADERS] {
        let refused = refused(Continuation, flags, 1, &all);
        assert_eq!(refused, is("unexpected-continuation", PROTOCOL));
    }
}

#[test]
fn padding_is_taken_off_and_given_back() {
    let mut peer = Peer::server();
    let headers = [&[3][..], &block(&GET), &[0; 3]].concat();
    let (said, _) = peer.answer(&frame(FrameKind::Headers, 0x4 | flag::PADDED, 1, &headers));
    assert_eq!(said, ["1 GET / host=a => Chunked"]);
    let padded = flag::PADDED;
    for (payload, end, lines) in [
        (&b"\x03abcxxx"[..], 0, &["1 body abc"][..]),
        (b"\x00abc", 0, &["1 body abc"]),
        (b"\x02xx", 0, &[]),
        (b"\x00", 0, &[]),
        (b"\x04xxxx", END_STREAM, &["1 end"]),
    ] {
        assert_eq!(peer.answer(&data(1, padded | end, payload)).0, lines);
    }
    peer.census();
    // Bytes one at a time, all of which go home.
    let mut peer = Peer::server();
    peer.answer(&post(1));
    let mut said = Vec::new();
    for byte in data(1, padded | END_STREAM, b"\x02helloxx") {
        said.extend(peer.answer(&[byte]).0);
    }
    let letters = ["1 body h", "1 body e", "1 body l", "1 body l", "1 body o", "1 end"];
    assert_eq!(said, letters);
    peer.census();
    for payload in [&b"\x01"[..], b"\x05abcd", b"\xff"] {
        for kind in [FrameKind::Data, FrameKind::Headers] {
            let mut peer = Peer::server();
            peer.answer(&post(1));
            let refused = peer.refuse(&frame(kind, padded | END_HEADERS, 1, payload));
            assert_eq!(refused, is("invalid-padding", PROTOCOL), "{payload:?}");
        }
    }
}

#[test]
fn connection_frames() {
    let mut peer = Peer::server();
    let ping = frame(FrameKind::Ping, 0, 0, b"whatever");
    assert_eq!(peer.answer(&ping).1, ["PING ack whatever"]);
    let unasked = frame(FrameKind::Ping, flag::ACK, 0, b"whatever");
    assert_eq!(peer.answer(&unasked), (vec![], vec![]));
    let unasked = frame(FrameKind::Settings, flag::ACK, 0, b"");
    assert_eq!(peer.answer(&unasked), (vec![], vec![]));
    assert_eq!(peer.answer(&settings(&[(0xff, 1), (1, 0), (3, 0)])).1, ["SETTINGS ack"]);
    let unknown = frame(FrameKind::Unknown(0x42), 0xff, 77, b"anything");
    assert_eq!(peer.answer(&unknown), (vec![], vec![]));
    assert_eq!(peer.answer(&goaway(7, 0)).0, ["goaway 7"]);
    assert_eq!(peer.answer(&goaway(5, 0)).0, ["goaway 5"]);
    assert_eq!(peer.refuse(&goaway(7, 0)), is("goaway-raises-last-stream", PROTOCOL));
    assert_eq!(Peer::server().refuse(&settings(&[(2, 2)])), is("invalid-setting", PROTOCOL));
    let window = Peer::server().refuse(&settings(&[(4, 1 << 31)]));
    assert_eq!(window, is("initial-window-too-large", FLOW));
    let block = frame(FrameKind::Headers, END_HEADERS, 1, &[0x80]);
    assert_eq!(Peer::server().refuse(&block), is("hpack-index", COMPRESSION));
}
