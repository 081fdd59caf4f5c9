//! Attackers who come again: their source is held back for a while, and nobody else is.

use std::time::Duration;

use sluice_config_model::Config;
use sluice_l7_core::StreamId;
use sluice_l7_http2::ErrorCode;
use sluice_l7_http2::frame::{self, FrameKind, PREFACE};

use super::GET;
use super::far::Version;
use super::floods::{ask, put};
use super::net::Net;
use super::world::{WEB, endpoint, web};

/// Where attackers of these tests are, as the last number of an address; the other clients of a
/// [`Net`] are elsewhere.
const ATTACKER: u8 = 66;

/// Connects from there and says hello; none if the connection is refused.
fn connect(net: &mut Net, from: u8) -> Option<usize> {
    let at = net.world.client_from(from, WEB);
    if net.world.streams[at].dead {
        assert!(net.world.streams[at].aborted, "it is reset");
        return None;
    }
    let mut hello = PREFACE.to_vec();
    frame::settings(&[], &mut hello);
    net.say(at, &hello);
    Some(at)
}

fn pings(net: &mut Net, at: usize, count: usize) {
    net.say(at, &frame::ping([7; 8], false).repeat(count));
}

/// Opens streams and gives them up.
fn resets(net: &mut Net, at: usize, count: u32) {
    let pair = |nth| {
        let stream = nth * 2 + 1;
        let reset = frame::rst_stream(StreamId::new(stream), ErrorCode::CANCEL);
        [&ask(stream, true)[..], &reset].concat()
    };
    // As many requests as a call begins: the rest would wait for the next.
    for nth in (0..count).step_by(50) {
        let bytes: Vec<u8> = (nth..count.min(nth + 50)).flat_map(pair).collect();
        net.say(at, &bytes);
    }
}

/// Connects and floods, again and again without a pause; how often it was let in.
fn come_again(net: &mut Net, times: usize) -> usize {
    let flood = |net: &mut Net| {
        let Some(at) = connect(net, ATTACKER) else { return false };
        pings(net, at, 300);
        assert!(net.world.streams[at].fin, "the flood ends its connection");
        net.world.reset(at);
        true
    };
    (0..times).filter(|_| flood(net)).count()
}

#[test]
fn a_source_that_floods_is_held_back_and_nobody_else() {
    let mut net = Net::single(Version::Two);
    net.serves(Version::Two);
    let early = connect(&mut net, ATTACKER).expect("nothing has happened");
    assert_eq!(come_again(&mut net, 300), 12, "eleven, and one while it is held back");
    let counters = net.world.listener_counters();
    assert_eq!(counters.downstream_cx_flood_close.value(), 12);
    assert_eq!(counters.downstream_cx_flood_reject.value(), 288);
    assert_eq!(counters.downstream_cx_flood_suspect.value(), 0);
    let total = counters.downstream_cx_total.value();
    assert_eq!(total, 14, "who is refused has not begun");
    // From there nothing else comes in either, whatever it would have spoken.
    let at = net.world.client_from(ATTACKER, WEB);
    assert!(net.world.streams[at].aborted);
    // What was there goes on, and others connect.
    net.say(early, &ask(1, true));
    let place = net.only();
    net.answer_all(place, 200, b"hi");
    assert!(!net.world.streams[early].fin);
    net.serves(Version::Two);
    net.serves(Version::One);
    // Ten a second, and all of them when it is forgiven.
    for _ in 0..10 {
        net.advance(100);
        assert_eq!(come_again(&mut net, 50), 1);
    }
    net.advance(10_000);
    let at = net.world.client_from(ATTACKER, WEB);
    net.say(at, GET.as_bytes());
    let place = net.only();
    net.answer_all(place, 200, b"hi");
    assert!(net.world.take(at).ends_with("hi"), "it is served again");
    net.world.reset(early);
    net.world.reset(at);
    net.advance(1);
    net.census();
}

/// Whoever closes before the budget is used up has spent nearly all of it.
#[test]
fn closing_just_before_the_end_does_not_help() {
    for how in ["FIN", "RST"] {
        let mut net = Net::single(Version::Two);
        net.serves(Version::Two);
        let mut served = 0;
        while let Some(at) = connect(&mut net, ATTACKER) {
            resets(&mut net, at, 499);
            assert!(!net.world.streams[at].fin, "no flood yet");
            match how {
                "FIN" => net.world.fin(at),
                _ => net.world.reset(at),
            }
            served += 1;
            assert!(served < 100, "{how}: it is never held back");
        }
        assert_eq!(served, 12, "{how}");
        let counters = net.world.listener_counters();
        assert_eq!(counters.downstream_cx_flood_close.value(), 0);
        assert_eq!(counters.downstream_cx_flood_suspect.value(), 12);
        net.serves(Version::Two);
        net.census();
    }
}

/// It owes as soon as it says that it has no more to say: not when it has let our FIN wait until its
/// budgets are full again.
#[test]
fn closing_slowly_does_not_help_either() {
    let mut net = Net::single(Version::Two);
    let at = connect(&mut net, ATTACKER).expect("calm");
    resets(&mut net, at, 250);
    net.world.event(at, crate::StreamEvent::PeerClosed);
    assert!(net.world.streams[at].fin && !net.world.streams[at].dead, "it lingers");
    assert_eq!(net.world.listener_counters().downstream_cx_flood_suspect.value(), 1);
    net.advance(6_000);
    net.world.reset(at);
    assert_eq!(net.world.listener_counters().downstream_cx_flood_suspect.value(), 1, "once");
    net.census();
}

/// A page that is left, and come back to.
#[test]
fn who_cancels_what_he_asked_for_is_no_attacker() {
    let mut net = Net::single(Version::Two);
    for _ in 0..200 {
        let at = connect(&mut net, ATTACKER).expect("he is welcome");
        resets(&mut net, at, 100);
        net.world.fin(at);
    }
    let counters = net.world.listener_counters();
    assert_eq!(counters.downstream_cx_flood_suspect.value(), 0);
    net.census();
}

/// A frame, or a block of several, has as long to arrive as a head of HTTP/1.1, however it dribbles:
/// a block holds a large buffer. Its source is not charged: a network that fails does the same.
#[test]
fn what_begins_to_arrive_and_does_not_go_on() {
    let mut hello = PREFACE.to_vec();
    frame::settings(&[], &mut hello);
    let open = |more: &[u8]| [&hello[..], more].concat();
    let head = ask(1, false);
    let block = put(FrameKind::Headers, 0, 1, b"\x82");
    let more = put(FrameKind::Continuation, 0, 1, b"\x86");
    let cases = [
        ("the preface", PREFACE[..20].to_vec(), Vec::new()),
        ("the first SETTINGS", hello[..hello.len() - 1].to_vec(), Vec::new()),
        ("a header", open(&head[..5]), Vec::new()),
        ("a frame", open(&head[..head.len() - 1]), Vec::new()),
        ("a frame, byte by byte", open(&head[..1]), head[1..].to_vec()),
        ("a block", open(&block), Vec::new()),
        ("a block, frame by frame", open(&block), more.repeat(7)),
    ];
    let mut net = Net::with(Version::Two, |config| {
        config.clusters[0].endpoints.truncate(1);
        // Nobody acknowledges our settings either, which is another matter.
        web(config).http2.ping_timeout = Duration::from_secs(60);
    });
    for (name, first, then) in cases {
        let at = net.world.client_from(ATTACKER, WEB);
        net.say(at, &first);
        let parts = then.chunks(if name.ends_with("frame") { more.len() } else { 1 });
        let mut waited = 0;
        for part in parts.take(7) {
            net.advance(1_400);
            waited += 1_400;
            net.say(at, part);
        }
        net.advance(9_990 - waited);
        assert!(!net.world.streams[at].fin && !net.world.streams[at].dead, "{name}: it has time");
        net.advance(20);
        assert!(net.world.streams[at].fin || net.world.streams[at].dead, "{name}: that is over");
        net.world.reset(at);
    }
    let counters = net.world.listener_counters();
    assert_eq!(counters.downstream_rq_header_timeout.value(), 7);
    assert_eq!(counters.downstream_cx_flood_close.value(), 0);
    assert_eq!(counters.downstream_cx_flood_suspect.value(), 0);
    net.serves(Version::Two);
    net.census();
}

#[test]
fn it_can_be_off_or_not_for_everyone() {
    let never = |config: &mut Config| web(config).http2.max_floods_per_source = 0;
    let exempt = |config: &mut Config| {
        let network = sluice_config_model::IpCidr::new(endpoint(64).ip(), 26);
        web(config).http2.flood_exempt_sources = network.into_iter().collect();
    };
    let changes: [&dyn Fn(&mut Config); 2] = [&never, &exempt];
    for change in changes {
        let mut net = Net::with(Version::Two, |config| {
            config.clusters[0].endpoints.truncate(1);
            change(config);
        });
        assert_eq!(come_again(&mut net, 50), 50);
        let counters = net.world.listener_counters();
        assert_eq!(
            counters.downstream_cx_flood_close.value(),
            50,
            "floods are counted all the same"
        );
        // It holds for what comes after a reload.
        net.world.reload(|config| {
            web(config).http2.max_floods_per_source = 3;
            web(config).http2.flood_exempt_sources.clear();
        });
        assert_eq!(come_again(&mut net, 50), 5);
        net.census();
    }
}

/// Cycles of a connection are counted when it turns out to flood, and from then on.
#[test]
fn cycles_of_floods_are_counted_and_no_others() {
    let mut net = Net::single(Version::Two);
    let [fine, bad] = [100, ATTACKER].map(|it| connect(&mut net, it).expect("calm"));
    let [fine_conn, bad_conn] = [fine, bad].map(|at| net.world.streams[at].conn);
    let counted = |net: &Net| net.world.listener_counters().downstream_cx_flood_cycles.value();
    for conn in [fine_conn, bad_conn] {
        net.world.proxy.note_cycles(conn, 1_000);
    }
    assert_eq!(counted(&net), 0);
    pings(&mut net, bad, 300);
    assert_eq!(counted(&net), 1_000);
    for conn in [fine_conn, bad_conn] {
        net.world.proxy.note_cycles(conn, 50);
    }
    assert_eq!(counted(&net), 1_050, "the end of it, too");
    net.world.reset(bad);
    net.world.proxy.note_cycles(bad_conn, 7);
    net.world.fin(fine);
    assert_eq!(counted(&net), 1_050);
    net.census();
}

/// Frames of one byte: so many have their turn, then those who wait, however many there are.
#[test]
fn frames_that_are_many_take_turns_with_others() {
    let mut net = Net::single(Version::Two);
    net.serves(Version::Two);
    let talker = connect(&mut net, ATTACKER).expect("calm");
    net.say(talker, &ask(1, false));
    let place = net.only();
    let frames = put(FrameKind::Data, 0, 1, b"x").repeat(5_000);
    net.world.send(talker, &frames);
    let arrived = |net: &mut Net| {
        net.settle();
        net.seen(place).body.len()
    };
    let first = arrived(&mut net);
    assert!((500..=1_024).contains(&first), "{first} in the first turn");
    let other = net.world.client();
    net.world.send(other, GET);
    assert_eq!(arrived(&mut net), first, "another one's turn is not its own");
    net.world.send(talker, put(FrameKind::Data, 0, 1, b"x"));
    assert_eq!(arrived(&mut net), first, "nor does more of it bring another turn");
    let mut turns = 0;
    while net.seen(place).body.len() < 5_001 {
        let before = arrived(&mut net);
        assert_eq!(net.world.proxy.next_deadline(), sluice_base::Instant::ZERO, "at once");
        net.world.resume();
        turns += 1;
        assert!(arrived(&mut net) <= before + 1_024, "one turn at a time");
        assert!(turns < 10, "the rest comes by itself");
    }
    net.world.reset(talker);
    net.settle();
    let asked = net.only();
    net.answer_all(asked, 200, b"hi");
    assert!(net.world.take(other).ends_with("hi"));
    net.census();
}

/// What is still on its way when a stream is reset is paid for, up to a limit.
#[test]
fn frames_on_streams_that_were_reset_are_limited() {
    for (limit, reset_first) in [(50, true), (60, true), (50, false)] {
        let mut net = Net::with(Version::Two, |config| {
            config.clusters[0].endpoints.truncate(1);
            web(config).http2.max_late_frames = limit;
        });
        let at = connect(&mut net, ATTACKER).expect("calm");
        net.say(at, &ask(1, false));
        if reset_first {
            net.say(at, &put(FrameKind::WindowUpdate, 0, 1, &[0; 4]));
        }
        let late = put(FrameKind::Data, 0, 1, b"late");
        net.say(at, &late.repeat(limit.into()));
        assert!(!net.world.streams[at].fin, "as many as may be");
        net.world.streams[at].received.clear();
        net.say(at, &late);
        let said = super::floods::goaway(&net.world.streams[at].received);
        let why = (ErrorCode::ENHANCE_YOUR_CALM.0, "frames-on-reset-streams".to_owned());
        assert_eq!(said, reset_first.then_some(why), "{limit}");
        net.world.reset(at);
        net.serves(Version::Two);
        net.census();
    }
}
