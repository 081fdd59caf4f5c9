//! Floods of HTTP/2: whoever sends more of something than its budget is told why and closed, counted by
//! reason, and nobody else notices: a neighbour is served in the middle of it, buffers stay flat.

use sluice_l7_core::StreamId;
use sluice_l7_http2::ErrorCode;
use sluice_l7_http2::frame::{self, FrameHeader, FrameKind, HEADER_LEN, PREFACE, flag};

use super::far::Version;
use super::net::Net;
use super::world::web;

/// A frame.
pub(super) fn put(kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame::whole(kind, flags, StreamId::new(stream), payload)
}

/// A request, of indexed fields and literals that touch no table.
pub(super) fn ask(stream: u32, whole: bool) -> Vec<u8> {
    let mut block = vec![if whole { 0x82 } else { 0x83 }, 0x86, 0x84];
    block.extend_from_slice(b"\x01\x01a");
    let flags = flag::END_HEADERS | if whole { flag::END_STREAM } else { 0 };
    put(FrameKind::Headers, flags, stream, &block)
}

/// The GOAWAY among frames: its code, and what it says.
pub(super) fn goaway(mut bytes: &[u8]) -> Option<(u32, String)> {
    while let Some((header, behind)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = FrameHeader::read(header);
        let (payload, behind) = behind.split_at_checked(header.len as usize)?;
        if let (FrameKind::GoAway, Some((code, debug))) =
            (header.kind, payload.get(4..).and_then(|rest| rest.split_first_chunk::<4>()))
        {
            return Some((u32::from_be_bytes(*code), String::from_utf8_lossy(debug).into_owned()));
        }
        bytes = behind;
    }
    None
}

/// Sends `next(n)` a hundred at a time until the connection is closed.
fn flood(name: &str, reason: &str, code: ErrorCode, next: impl Fn(u32) -> Vec<u8>) {
    let mut net = Net::single(Version::Two);
    net.serves(Version::Two);
    let attacker = net.world.client();
    let mut hello = PREFACE.to_vec();
    frame::settings(&[], &mut hello);
    net.say(attacker, &hello);
    let (mut sent, mut most) = (0, 0);
    let mut said = Vec::new();
    while !net.world.streams[attacker].fin && !net.world.streams[attacker].dead {
        assert!(sent < 100_000, "{name}: nobody minded");
        let bytes: Vec<u8> = (sent..sent + 100).flat_map(&next).collect();
        sent += 100;
        net.say(attacker, &bytes);
        while net.world.proxy.interrupted() > 0 {
            net.world.resume();
            net.settle();
        }
        said.append(&mut net.world.streams[attacker].received);
        if said.len() > 100_000 {
            // Answers; the last word comes at the end.
            said.clear();
        }
        most = most.max(net.world.rx.in_use());
        if sent % 5_000 == 0 {
            net.serves(Version::Two);
        }
    }
    assert_eq!(goaway(&said), Some((code.0, reason.to_owned())), "{name} after {sent}");
    assert!(most < 200, "{name}: {most} buffers were held");
    let counters = net.world.listener_counters();
    let counted: Vec<_> = counters.faults.iter().filter(|(_, count)| *count > 0).collect();
    assert!(counted.contains(&(reason, 1)), "{name}: {counted:?}");
    assert_eq!(counters.downstream_cx_protocol_error.value(), 1, "{name}");
    assert_eq!(counters.downstream_rq_active.value(), 0, "{name}: all it asked for is given up");
    // Whoever shares the listener, the cluster and its connections is served as before.
    net.serves(Version::Two);
    net.serves(Version::One);
    assert_eq!(net.world.cluster_counters().upstream_cx_protocol_error.value(), 0, "{name}");
    net.census();
}

const CALM: ErrorCode = ErrorCode::ENHANCE_YOUR_CALM;

#[test]
fn frames_that_cost_us_more_than_the_peer() {
    let mut settings = Vec::new();
    frame::settings(&[], &mut settings);
    flood("SETTINGS", "settings-flood", CALM, |_| settings.clone());
    flood("PING", "ping-flood", CALM, |_| frame::ping([7; 8], false).to_vec());
    flood("PRIORITY", "priority-flood", CALM, |_| put(FrameKind::Priority, 0, 9, &[0; 5]));
    flood("unknown", "unknown-frame-flood", CALM, |_| put(FrameKind::Unknown(77), 0, 0, b"what"));
    let more = frame::window_update(StreamId::CONNECTION, 1).to_vec();
    flood("WINDOW_UPDATE", "window-update-flood", CALM, |_| more.clone());
}

/// As many as a connection may send at once are not read at once: others have their turns in between,
/// and what comes behind them is heard, be it a request or the end.
#[test]
fn frames_of_which_nobody_hears_take_turns() {
    let kinds = [
        put(FrameKind::WindowUpdate, 0, 0, &[0, 0, 0, 1]),
        put(FrameKind::Priority, 0, 9, &[0; 5]),
        put(FrameKind::Unknown(77), 0, 0, b"what"),
        put(FrameKind::Settings, flag::ACK, 0, b""),
        put(FrameKind::Data, 0, 1, b""),
    ];
    let most = usize::from(crate::limits::SILENT_PER_TURN);
    for (nth, silent) in kinds.into_iter().enumerate() {
        let mut net = Net::with(Version::Two, |config| {
            let http2 = &mut web(config).http2;
            http2.max_priority_frames = u16::MAX;
            http2.max_unknown_frames = u16::MAX;
            http2.max_settings_frames = u16::MAX;
            http2.max_empty_frames = u16::MAX;
        });
        let sender = net.world.client();
        let mut hello = PREFACE.to_vec();
        frame::settings(&[], &mut hello);
        net.say(sender, &[hello, ask(1, false)].concat());
        net.world.streams[sender].received.clear();
        let ping = frame::ping(*b"behind!!", false);
        net.say(sender, &[&silent.repeat(9 * most + most / 2)[..], &ping[..]].concat());
        let mut turns = 1;
        while net.world.proxy.interrupted() > 0 {
            assert!(net.world.streams[sender].received.is_empty(), "{nth}: after {turns} turns");
            // What comes meanwhile waits its turn.
            net.say(sender, &silent);
            net.serves(Version::Two);
            net.world.resume();
            net.settle();
            turns += 1;
        }
        assert_eq!(turns, 10, "{nth}");
        let answer = frame::ping(*b"behind!!", true);
        assert!(net.world.streams[sender].received.starts_with(&answer), "{nth}");
        // The end is seen when what is in front of it has been read.
        net.say(sender, &silent.repeat(most + 1));
        net.world.fin(sender);
        assert!(!net.world.streams[sender].fin, "{nth}");
        net.world.resume();
        net.settle();
        assert!(net.world.streams[sender].fin || net.world.streams[sender].dead, "{nth}");
        net.census();
    }
}

/// In a body that goes to an endpoint.
#[test]
fn frames_without_anything_in_them() {
    for (name, flags, payload) in
        [("empty DATA", 0, &b""[..]), ("padded DATA", flag::PADDED, b"\x04....")]
    {
        flood(name, "empty-frame-flood", CALM, |nth| {
            let data = put(FrameKind::Data, flags, 1, payload);
            if nth == 0 { [ask(1, false), data].concat() } else { data }
        });
    }
}

/// CVE-2023-44487, and CVE-2025-8671 where the client makes us reset.
#[test]
fn streams_that_are_given_up_as_they_are_opened() {
    flood("rapid reset", "reset-flood", CALM, |nth| {
        let stream = nth * 2 + 1;
        let rst = frame::rst_stream(StreamId::new(stream), ErrorCode::CANCEL);
        [&ask(stream, true)[..], &rst].concat()
    });
    flood("made to reset", "reset-flood", CALM, |nth| {
        let stream = nth * 2 + 1;
        [ask(stream, true), put(FrameKind::WindowUpdate, 0, stream, &[0; 4])].concat()
    });
    // More at once than we allow: each is refused, and that costs as much.
    flood("too many streams", "reset-flood", CALM, |nth| ask(nth * 2 + 1, true));
}

/// CVE-2024-27316 and its relatives.
#[test]
fn header_blocks_without_end() {
    for (name, reason, payload) in
        [("empty", "continuation-flood", 0), ("full", "header-block-too-large", 16_384)]
    {
        flood(name, reason, CALM, |nth| {
            let (kind, fragment) = match nth {
                0 => (FrameKind::Headers, vec![0x82]),
                _ => (FrameKind::Continuation, vec![0x82; payload]),
            };
            if nth > 9 { Vec::new() } else { put(kind, 0, 1, &fragment) }
        });
    }
}

/// A window that stays shut keeps an answer: the stream is given up, its neighbours are not.
#[test]
fn a_window_that_stays_shut() {
    let mut net = Net::single(Version::Two);
    let attacker = net.world.client();
    let mut hello = PREFACE.to_vec();
    frame::settings(&[(4, 0)], &mut hello);
    hello.extend(frame::settings_ack());
    net.say(attacker, &[hello, ask(1, true)].concat());
    let at = net.only();
    net.answer_all(at, 200, &[b'x'; 5_000]);
    assert!(net.world.rx.in_use() > 0, "the answer waits");
    net.world.streams[attacker].received.clear();
    for _ in 0..13 {
        net.advance(5_000);
    }
    let received = &net.world.streams[attacker].received;
    let reset = frame::rst_stream(StreamId::new(1), ErrorCode::CANCEL);
    assert!(received.windows(13).any(|bytes| bytes == reset), "{received:?}");
    let counters = net.world.listener_counters();
    assert!(counters.faults.iter().any(|fault| fault == ("stream-stalled", 1)));
    assert_eq!(net.world.rx.in_use(), 0, "nothing is kept for it");
    net.serves(Version::Two);
    net.census();
}
