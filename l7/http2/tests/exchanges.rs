//! Whole exchanges: two machines that speak with each other, and the ends of connections.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_buf::Chain;
use sluice_l7_core::{
    BodyLength, Codec, EncodeError, Event, Head, Method, ResetReason, Role, StreamId,
};
use sluice_l7_http2::Config;
use sluice_l7_http2::frame::{FrameKind, PREFACE, flag};
use support::{
    END_HEADERS, END_STREAM, Peer, WHOLE, data, frame, get, goaway, headers, post, rst, settings,
};

/// What one wrote reaches the other; `true` while there was something.
fn carry(from: &mut Peer, to: &mut Peer, step: usize) -> bool {
    let mut bytes = std::mem::take(&mut from.output);
    let some = !bytes.is_empty();
    while !bytes.is_empty() {
        let copy = bytes.split_to(step).to_vec();
        to.receive(&copy);
    }
    some
}

fn converse(client: &mut Peer, server: &mut Peer) -> (Vec<String>, Vec<String>) {
    let (mut by_client, mut by_server) = (Vec::new(), Vec::new());
    loop {
        let there = carry(client, server, usize::MAX);
        by_client.extend(server.run());
        let back = carry(server, client, usize::MAX);
        by_server.extend(client.run());
        if !there && !back {
            return (by_client, by_server);
        }
    }
}

fn two() -> (Peer, Peer) {
    (Peer::with(Role::Client, &Config::default()), Peer::fresh_server())
}

#[test]
fn a_call_with_bodies_and_trailers() {
    let (mut client, mut server) = two();
    let stream = client.request(Method::Post, BodyLength::Chunked);
    client.encode_body(1, b"question").expect("sent");
    client.encode_end(1, None).expect("ended");
    let (asked, _) = converse(&mut client, &mut server);
    assert_eq!(asked, ["1 POST / host=a => Chunked", "1 body question", "1 end"]);
    server.lend(|codec, _, _| codec.set_token(stream, 77));
    assert_eq!(server.codec.token(stream), Some(77));
    assert_eq!(server.codec.streams().collect::<Vec<_>>(), [(stream, 77)]);
    server.respond(1, 200, BodyLength::Chunked).expect("answered");
    server.encode_body(1, b"answer").expect("sent");
    let mut trailers = Head::new();
    trailers.append("grpc-status", b"0");
    trailers.append("Connection", b"close");
    server.encode_end(1, Some(&trailers)).expect("ended");
    assert_eq!(server.codec.token(stream), None, "it is over");
    let (_, answered) = converse(&mut client, &mut server);
    assert_eq!(answered, ["1 200 => Chunked", "1 body answer", "1 end trailers | grpc-status: 0"]);
    assert!(client.codec.is_idle() && server.codec.is_idle());
    assert!(client.codec.is_reusable());
    let credit = client.codec.take_credit();
    assert!(credit > 0, "everything received is given back to TCP");
    client.census();
    server.census();
}

#[test]
fn the_end_goes_with_the_last_announced_bytes() {
    let mut peer = Peer::server();
    peer.answer(&get(1));
    peer.respond(1, 200, BodyLength::Known(5)).expect("answered");
    peer.written();
    assert_eq!(peer.encode_body(1, b"he"), Ok(2));
    assert_eq!(peer.encode_body(1, b"llo"), Ok(3));
    assert_eq!(peer.written(), ["DATA 1 2"]);
    peer.encode_end(1, None).expect("ended");
    assert_eq!(peer.written(), ["DATA 1 end 3"]);
    // With trailers they follow.
    peer.answer(&get(3));
    peer.respond(3, 200, BodyLength::Known(5)).expect("answered");
    peer.written();
    peer.encode_body(3, b"hello").expect("sent");
    let mut trailers = Head::new();
    trailers.append("X-Sum", b"1");
    peer.encode_end(3, Some(&trailers)).expect("ended");
    assert_eq!(peer.written(), ["DATA 3 5", "HEADERS 3 end | x-sum: 1"]);
    assert!(peer.codec.is_idle());
    // A length that lies.
    for (bytes, wrong) in [(&b"hell"[..], "short"), (b"hello!", "long")] {
        let mut peer = Peer::server();
        peer.answer(&get(1));
        peer.respond(1, 200, BodyLength::Known(5)).expect("answered");
        let written = peer.encode_body(1, bytes);
        let ended = peer.encode_end(1, None);
        let mismatch = Err(EncodeError::LengthMismatch);
        assert!(written == mismatch.map(|()| 0) || ended == mismatch, "{wrong}");
    }
    peer.census();
}

/// A frame less, where the caller knows that nothing follows.
#[test]
fn the_end_goes_with_the_last_bytes() {
    let mut peer = Peer::server();
    for (stream, length) in [(1, BodyLength::Chunked), (3, BodyLength::Known(5))] {
        peer.answer(&get(stream));
        peer.respond(stream, 200, length).expect("answered");
        peer.written();
        assert_eq!(peer.encode_last(stream, b"hello"), Ok(5));
        assert_eq!(peer.written(), [format!("DATA {stream} end 5")]);
        assert!(peer.codec.is_idle());
    }
    // An announced length that lies, and nothing at all.
    for (bytes, length) in [(&b"hell"[..], 5), (b"hello!", 5)] {
        let mut peer = Peer::server();
        peer.answer(&get(1));
        peer.respond(1, 200, BodyLength::Known(length)).expect("answered");
        assert_eq!(peer.encode_last(1, bytes), Err(EncodeError::LengthMismatch));
    }
    peer.answer(&get(5));
    peer.respond(5, 200, BodyLength::Chunked).expect("answered");
    peer.written();
    assert_eq!(peer.encode_last(5, b""), Ok(0));
    assert_eq!(peer.written(), ["DATA 5 end 0"]);
    // What has no window takes the end with it when it has.
    peer.answer(&settings(&[(4, 3)]));
    peer.answer(&get(7));
    peer.respond(7, 200, BodyLength::Chunked).expect("answered");
    peer.written();
    assert_eq!(peer.encode_last(7, b"hello"), Ok(3));
    assert_eq!(peer.written(), ["DATA 7 3"]);
    peer.answer(&support::window_update(7, 100));
    assert_eq!(peer.drain_output(1_000), [(7, 2)]);
    assert_eq!(peer.written(), ["DATA 7 end 2"]);
    assert!(peer.codec.is_idle());
    peer.census();
}

#[test]
fn trailers_behind_bytes_that_wait() {
    let mut peer = Peer::server();
    peer.answer(&settings(&[(4, 3)]));
    peer.answer(&get(1));
    peer.respond(1, 200, BodyLength::Chunked).expect("answered");
    peer.encode_body(1, b"hello").expect("two wait");
    let mut trailers = Head::new();
    trailers.append("grpc-status", b"0");
    peer.encode_end(1, Some(&trailers)).expect("ended");
    assert_eq!(peer.written()[1..], ["DATA 1 3"]);
    // Other blocks go out meanwhile, and the table's size changes: twice, so that one is replaced.
    peer.answer(&settings(&[(1, 100)]));
    peer.answer(&settings(&[(1, 0)]));
    peer.written();
    peer.answer(&support::window_update(1, 100));
    peer.drain_output(1_000);
    let bytes = peer.output.to_vec();
    let block = &bytes[9 + 2 + 9..];
    assert_eq!(block[0], 0x20, "a table of 0 is announced: {block:x?}");
    assert_eq!(block.len(), 1 + 1 + 1 + 11 + 1 + 1, "once");
    peer.output.clear();
    peer.census();
}

#[test]
fn informational_responses_and_early_answers() {
    let (mut client, mut server) = two();
    client.request(Method::Post, BodyLength::Chunked);
    converse(&mut client, &mut server);
    server.respond(1, 100, BodyLength::None).expect("any number");
    server.respond(1, 103, BodyLength::None).expect("any number");
    assert_eq!(server.respond(1, 101, BodyLength::None), Err(EncodeError::WrongState));
    let (_, said) = converse(&mut client, &mut server);
    assert_eq!(said, ["1 informational 100", "1 informational 103"]);
    server.respond(1, 413, BodyLength::None).expect("before the request has ended");
    let (_, said) = converse(&mut client, &mut server);
    assert_eq!(said, ["1 413 => None"]);
    assert_eq!(server.respond(1, 200, BodyLength::None), Err(EncodeError::WrongState), "once");
    client.encode_body(1, b"more").expect("the client goes on");
    server.lend(|codec, _, cx| codec.encode_reset(StreamId::new(1), ResetReason::NoError, cx));
    let (heard, said) = converse(&mut client, &mut server);
    assert_eq!(heard, [""; 0], "what comes behind our reset is nobody's");
    assert_eq!(said, ["1 reset NoError"]);
    assert!(client.codec.is_idle() && server.codec.is_idle());
    client.census();
    server.census();
}

#[test]
fn resets_keep_their_meaning() {
    for (reason, code) in [
        (ResetReason::NoError, 0),
        (ResetReason::Protocol, 1),
        (ResetReason::Internal, 2),
        (ResetReason::Refused, 7),
        (ResetReason::Cancelled, 8),
        (ResetReason::ConnectError, 10),
        (ResetReason::EnhanceYourCalm, 11),
        (ResetReason::Http11Required, 13),
        (ResetReason::Other(99), 99),
    ] {
        let mut server = Peer::server();
        server.answer(&post(1));
        let (said, _) = server.answer(&rst(1, code));
        assert_eq!(said, [format!("1 reset {reason:?}")]);
        server.answer(&post(3));
        server.lend(|codec, _, cx| codec.encode_reset(StreamId::new(3), reason, cx));
        assert_eq!(server.written(), [format!("RST_STREAM 3 {code:#x}")]);
        server.lend(|codec, _, cx| codec.encode_reset(StreamId::new(3), reason, cx));
        assert_eq!(server.written(), [""; 0], "once");
        assert_eq!(server.encode_body(3, b"late"), Ok(4), "nobody wants it");
        assert_eq!(server.encode_end(3, None), Ok(()));
        server.census();
    }
}

#[test]
fn tunnels() {
    let (mut client, mut server) = two();
    let mut connect = Head::new();
    connect.reset_to_request(Method::Connect, b"a:443", b"");
    client.send(&connect, BodyLength::None);
    let (asked, _) = converse(&mut client, &mut server);
    assert_eq!(asked, ["1 CONNECT  host=a:443 => UntilClose"]);
    server.respond(1, 200, BodyLength::UntilClose).expect("a tunnel");
    server.encode_body(1, b"down").expect("sent");
    let (_, said) = converse(&mut client, &mut server);
    assert_eq!(said, ["1 200 => UntilClose", "1 body down"]);
    client.encode_body(1, b"up").expect("sent");
    client.encode_end(1, None).expect("half closed");
    let (said, _) = converse(&mut client, &mut server);
    assert_eq!(said, ["1 body up", "1 end"]);
    server.encode_body(1, b"more").expect("the other half is open");
    server.encode_end(1, None).expect("closed");
    let (_, said) = converse(&mut client, &mut server);
    assert_eq!(said, ["1 body more", "1 end"]);
    assert!(client.codec.is_idle() && server.codec.is_idle());
    client.census();
    server.census();
}

#[test]
fn extended_connect_needs_an_offer() {
    let fields = [
        (":method", "CONNECT"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a"),
        (":protocol", "websocket"),
    ];
    let mut server = Peer::server();
    server.receive(&headers(1, END_HEADERS, &fields));
    let event = server.lend(Codec::decode).expect("valid").expect("a head");
    let Event::Head { head, .. } = event else { panic!("{event:?}") };
    assert_eq!((head.protocol(), head.path()), (&b"websocket"[..], &b"/chat"[..]));
    let mut client = Peer::client();
    let stream = client.codec.open_stream().expect("a stream");
    let refused = client.encode_head(stream, &head, BodyLength::UntilClose);
    assert_eq!(refused, Err(EncodeError::WrongState), "the server has not offered it");
    client.lend(|codec, _, cx| codec.encode_reset(stream, ResetReason::Cancelled, cx));
    assert_eq!(client.written(), [""; 0], "nobody has heard of the stream");
    client.answer(&settings(&[(8, 1)]));
    let again = client.send(&head, BodyLength::UntilClose);
    assert_eq!(again, stream, "the number is used after all");
    assert_eq!(
        client.written(),
        ["HEADERS 1 | :method: CONNECT | :scheme: http | :path: /chat | :authority: a | \
          :protocol: websocket"]
    );
    server.heads.put(head);
}

#[test]
fn goaway_in_two_steps() {
    let mut peer = Peer::server();
    peer.answer(&post(1));
    peer.lend(|codec, _, cx| codec.drain(cx));
    assert_eq!(peer.written(), ["GOAWAY 2147483647 0x0 ", "PING"]);
    assert_eq!(peer.answer(&get(3)).0, ["3 GET / host=a => None"], "it was on its way");
    let (_, written) = peer.answer(&frame(FrameKind::Ping, flag::ACK, 0, b"slui\0\0\0\x01"));
    assert_eq!(written, ["GOAWAY 3 0x0 "]);
    assert!(!peer.codec.must_close(), "two streams are in progress");
    assert_eq!(peer.answer(&get(5)), (vec![], vec![]), "the client knows that it was not taken");
    peer.respond(3, 200, BodyLength::None).expect("answered");
    peer.respond(1, 200, BodyLength::None).expect("answered");
    assert_eq!(peer.answer(&data(1, END_STREAM, b"x")).0, ["1 body x", "1 end"]);
    peer.run();
    assert!(peer.codec.must_close());
    peer.census();
    // A client that never answers the PING.
    let mut peer = Peer::server();
    peer.lend(|codec, _, cx| codec.drain(cx));
    peer.written();
    assert_eq!(peer.wait(1_000), [""; 0]);
    assert_eq!(peer.written(), ["GOAWAY 0 0x0 "]);
    assert!(peer.codec.must_close());
}

/// The answer to a PING that was on its way says nothing about what the client knows of our GOAWAY.
#[test]
fn only_a_whole_round_trip_behind_the_announcement_counts() {
    let mut peer = Peer::server();
    let measure = [post(1), data(1, 0, &[7; 10_000]), data(1, 0, &[7; 10_000])].concat();
    let (_, written) = peer.answer(&measure);
    assert_eq!(written, ["WINDOW_UPDATE 1 +20000", "PING"]);
    peer.lend(|codec, _, cx| codec.drain(cx));
    assert_eq!(peer.written(), ["GOAWAY 2147483647 0x0 "]);
    let (_, written) = peer.answer(&frame(FrameKind::Ping, flag::ACK, 0, b"slui\0\0\0\x01"));
    assert_eq!(written, ["PING"], "now it begins");
    assert_eq!(peer.answer(&get(3)).0, ["3 GET / host=a => None"], "still taken");
    let (_, written) = peer.answer(&frame(FrameKind::Ping, flag::ACK, 0, b"slui\0\0\0\x02"));
    assert_eq!(written, ["GOAWAY 3 0x0 "]);
    peer.receive(&[rst(1, 8), rst(3, 8)].concat());
    peer.run();
    assert!(peer.codec.must_close());
    peer.census();
}

#[test]
fn the_servers_goaway_gives_back_what_it_did_not_take() {
    let mut peer = Peer::client();
    for _ in 0..4 {
        peer.request(Method::Get, BodyLength::None);
    }
    peer.written();
    let (said, _) = peer.answer(&goaway(3, 0));
    assert_eq!(said, ["goaway 3", "5 reset Refused", "7 reset Refused"]);
    assert!(!peer.codec.is_reusable() && !peer.codec.must_close());
    assert!(peer.codec.open_stream().is_none());
    for stream in [1, 3] {
        let answer = headers(stream, WHOLE, &[(":status", "200")]);
        assert_eq!(peer.answer(&answer).0, [format!("{stream} 200 => None")]);
    }
    assert!(peer.codec.must_close());
    peer.census();
}

#[test]
fn clients_keep_to_what_they_may_open() {
    let mut peer = Peer::client();
    peer.answer(&settings(&[(3, 2)]));
    assert_eq!(peer.codec.streams_max(), 2);
    peer.request(Method::Get, BodyLength::None);
    let stream = peer.codec.open_stream().expect("two");
    assert!(peer.codec.open_stream().is_none(), "a head comes before the next stream");
    let mut head = Head::new();
    head.reset_to_request(Method::Get, b"a", b"/");
    peer.encode_head(stream, &head, BodyLength::None).expect("sent");
    assert!(peer.codec.open_stream().is_none(), "no third");
    assert_eq!(peer.answer(&rst(1, 7)).0, ["1 reset Refused"]);
    assert!(peer.codec.is_reusable());
    peer.answer(&settings(&[(3, 0)]));
    assert!(!peer.codec.is_reusable());
    peer.answer(&rst(3, 8));
    peer.lend(|codec, _, cx| codec.drain(cx));
    assert!(peer.codec.must_close());
    peer.census();
}

#[test]
fn connections_that_end() {
    let mut peer = Peer::server();
    assert!(matches!(peer.end_of_input(), Ok(None)), "nothing was in progress");
    assert!(peer.codec.must_close());
    let mut peer = Peer::server();
    peer.answer(&post(1));
    let cut = peer.end_of_input().expect_err("a request is not complete");
    assert_eq!(cut.reason, "connection-cut");
    let mut peer = Peer::server();
    peer.answer(&get(1));
    assert!(matches!(peer.end_of_input(), Ok(None)), "it may still be answered");
    peer.respond(1, 200, BodyLength::None).expect("answered");
    let mut peer = Peer::client_after(Method::Get);
    assert_eq!(peer.end_of_input().expect_err("no response").reason, "connection-cut");
    let mut peer = Peer::client_after(Method::Get);
    let (said, _) = peer.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(said, ["error frame-too-large"], "HTTP/1.1 is no frame");
}

#[test]
fn the_client_says_hello_with_its_first_request() {
    let mut peer = Peer::with(Role::Client, &Config::default());
    peer.request(Method::Get, BodyLength::None);
    assert!(peer.output.to_vec().starts_with(PREFACE));
    let written = peer.written();
    assert_eq!(
        written[..2],
        ["SETTINGS 2=0 4=65535 6=61440", "WINDOW_UPDATE 0 +196609"],
        "{written:?}"
    );
    let (said, _) = peer.answer(&headers(1, WHOLE, &[(":status", "200")]));
    assert_eq!(said, ["error settings-not-first"]);
}

/// What one side of a random conversation does.
#[derive(Clone, Debug)]
enum Act {
    Open(BodyLength),
    Send(u8, u16),
    End(u8, bool),
    Reset(u8),
    Carry(u16),
    Burst(u16),
    Hold(bool),
    Window(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => prop_oneof![Just(BodyLength::None), Just(BodyLength::Chunked)].prop_map(Act::Open),
        6 => (any::<u8>(), 1..5_000_u16).prop_map(|(nth, len)| Act::Send(nth, len)),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(nth, trailers)| Act::End(nth, trailers)),
        1 => any::<u8>().prop_map(Act::Reset),
        6 => (1..3_000_u16).prop_map(Act::Carry),
        3 => (1..3_000_u16).prop_map(Act::Burst),
        1 => any::<bool>().prop_map(Act::Hold),
        1 => (0..20_000_u16).prop_map(Act::Window),
    ]
}

/// One side, and what it knows of each stream: bytes sent and heard, and how it ended.
struct Side {
    peer: Peer,
    streams: std::collections::BTreeMap<u32, Half>,
}

#[derive(Default)]
struct Half {
    sent: Vec<u8>,
    heard: Vec<u8>,
    may_send: bool,
    ended: bool,
    heard_end: bool,
    reset: bool,
}

impl Side {
    fn hear(&mut self) {
        loop {
            let event = self.peer.lend(Codec::decode).expect("both keep the rules");
            let Some(event) = event else { return };
            match event {
                Event::Head { stream, head, body } => {
                    let half = self.streams.entry(stream.number()).or_default();
                    half.heard_end = body.is_none();
                    self.peer.heads.put(head);
                    if self.peer.codec.token(stream) == Some(0) {
                        self.peer
                            .respond(stream.number(), 200, BodyLength::Chunked)
                            .expect("asked");
                        self.peer.codec.set_token(stream, 1);
                        let half = self.streams.entry(stream.number()).or_default();
                        half.may_send = true;
                    }
                }
                Event::Body { stream, bytes } => {
                    let half = self.streams.entry(stream.number()).or_default();
                    half.heard.extend(bytes.to_vec());
                    let len = bytes.len();
                    drop(bytes);
                    self.peer.credit(stream.number(), len);
                }
                Event::End { stream, trailers } => {
                    let half = self.streams.entry(stream.number()).or_default();
                    half.heard_end = true;
                    if let Some(head) = trailers {
                        self.peer.heads.put(head);
                    }
                }
                Event::Reset { stream, fault, .. } => {
                    assert_eq!(fault, None, "both keep the rules");
                    self.streams.entry(stream.number()).or_default().reset = true;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn open_one(&self, nth: u8) -> Option<u32> {
        let open: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, h)| h.may_send && !h.reset)
            .map(|(id, _)| *id)
            .collect();
        (!open.is_empty()).then(|| open[usize::from(nth) % open.len()])
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Open(body) if self.peer.codec.is_reusable() => {
                let stream = self.peer.request(Method::Post, body);
                self.peer.codec.set_token(stream, 1);
                let half = self.streams.entry(stream.number()).or_default();
                half.may_send = !body.is_none();
                half.ended = body.is_none();
            }
            Act::Send(nth, len) => {
                let Some(id) = self.open_one(nth) else { return };
                let half = self.streams.get_mut(&id).expect("it is there");
                let from = half.sent.len();
                let bytes: Vec<u8> = (from..from + usize::from(len))
                    .map(|at| (at * 7 + id as usize) as u8)
                    .collect();
                half.sent.extend(&bytes);
                self.peer.encode_body(id, &bytes).expect("it may be sent");
            }
            Act::End(nth, trailers) => {
                let Some(id) = self.open_one(nth) else { return };
                let half = self.streams.get_mut(&id).expect("it is there");
                (half.may_send, half.ended) = (false, true);
                let mut head = Head::new();
                head.append("x-sum", b"1");
                self.peer.encode_end(id, trailers.then_some(&head)).expect("it may end");
            }
            Act::Reset(nth) => {
                let Some(id) = self.open_one(nth) else { return };
                self.streams.get_mut(&id).expect("it is there").reset = true;
                self.peer.lend(|codec, _, cx| {
                    codec.encode_reset(StreamId::new(id), ResetReason::Cancelled, cx);
                });
            }
            Act::Burst(burst) => {
                self.peer.lend(|codec, _, cx| codec.poll_body(usize::from(burst), cx));
            }
            Act::Hold(hold) => self.peer.codec.hold_output(hold),
            Act::Window(size) if !self.streams.is_empty() => {
                // A setting of ours that the machine does not make by itself.
                let mut chain =
                    Chain::copy_from(&settings(&[(4, u32::from(size) + 1)]), &self.peer.pool)
                        .expect("the pool has room");
                self.peer.output.append(&mut chain);
            }
            Act::Open(_) | Act::Carry(_) | Act::Window(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever two machines do, however their bytes are cut: what one sent on a stream is what the
    /// other hears, and every stream that ended is heard to end.
    #[test]
    fn two_machines_agree(acts in vec((any::<bool>(), act()), 1..200)) {
        let config = Config { stream_window: 3_000, stream_window_max: 9_000, ..Config::default() };
        let mut sides = [Role::Client, Role::Server].map(|role| Side {
            peer: Peer::with(role, &config),
            streams: std::collections::BTreeMap::new(),
        });
        // A window is enforced as it was announced by the machine: what the test announces is less.
        let acts: Vec<_> = acts
            .into_iter()
            .map(|(server, act)| match act {
                Act::Window(size) => (server, Act::Window(1_000 + size % 2_000)),
                act => (server, act),
            })
            .collect();
        for (server, act) in &acts {
            let [client, other] = &mut sides;
            let (one, two) = if *server { (other, client) } else { (client, other) };
            if let Act::Carry(step) = act {
                carry(&mut one.peer, &mut two.peer, usize::from(*step));
                two.hear();
            } else {
                one.act(act);
            }
        }
        // All that waits goes, as long as it goes.
        for _ in 0..2_000 {
            let [client, server] = &mut sides;
            let mut moved = false;
            for (one, two) in [(0, 1), (1, 0)] {
                let (from, to) = if one < two { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
                from.peer.codec.hold_output(false);
                moved |= !from.peer.drain_output(1_400).is_empty();
                moved |= carry(&mut from.peer, &mut to.peer, 1_400);
                to.hear();
            }
            if !moved {
                break;
            }
        }
        let [client, server] = &sides;
        for (id, half) in &client.streams {
            let Some(other) = server.streams.get(id) else {
                prop_assert!(half.reset || !half.ended || half.sent.is_empty(), "stream {id} was lost");
                continue;
            };
            for (from, to) in [(half, other), (other, half)] {
                if !from.reset && !to.reset {
                    prop_assert!(to.heard == from.sent, "stream {}: {} of {}", id, to.heard.len(), from.sent.len());
                    prop_assert_eq!(to.heard_end, from.ended, "stream {}", id);
                } else {
                    prop_assert!(from.sent.starts_with(&to.heard));
                }
            }
        }
        let [client, server] = sides;
        client.peer.census();
        server.peer.census();
    }
}
