//! Answers from one connection to another in one piece, beside the same taken apart and put together
//! again: every byte that is written, and every window, must be the same.

mod support;

use sluice_base::Rng;
use sluice_l7_core::{BodyLength, Codec, Event, Head, Method, StreamId};
use sluice_l7_http2::Config;
use sluice_l7_http2::frame::PREFACE;
use support::{Peer, settings};

/// A worker's two connections: to an endpoint, and of a client.
struct Relay {
    from: Peer,
    to: Peer,
}

impl Relay {
    fn new(config: &Config) -> Self {
        Self { from: Peer::client_with(config), to: Peer::server() }
    }

    /// A worker's connections share what it knows of runs.
    fn share(&mut self) {
        std::mem::swap(&mut self.from.heads, &mut self.to.heads);
    }

    /// The client's request arrives and is sent on.
    fn ask(&mut self, bytes: &[u8]) -> (StreamId, StreamId) {
        self.to.receive(bytes);
        let event = self.to.lend(Codec::decode).expect("a good request");
        let Some(Event::Head { stream, head, .. }) = event else { panic!("{event:?}") };
        let sent = self.from.send(&head, BodyLength::None);
        self.to.heads.put(head);
        (stream, sent)
    }

    /// What has arrived goes on in parts.
    fn pass_parts(&mut self, stream: StreamId) {
        while let Some(event) = self.from.lend(Codec::decode).expect("a good answer") {
            self.share();
            match event {
                Event::Head { head, body, .. } => {
                    self.to.encode_head(stream, &head, body).expect("a head");
                    self.to.heads.put(head);
                    self.share();
                }
                Event::Body { stream: sent, mut bytes } => {
                    let count = bytes.len();
                    self.to.lend(|codec, _, cx| {
                        Codec::encode_body(codec, stream, &mut bytes, cx).expect("a body");
                    });
                    self.share();
                    self.from.credit(sent.number(), count);
                }
                Event::End { trailers, .. } => {
                    self.to.encode_end(stream.number(), trailers.as_deref()).expect("an end");
                    trailers.into_iter().for_each(|head| self.to.heads.put(head));
                    self.share();
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The same in one piece, if it can be; whether it could.
    fn pass(&mut self, stream: StreamId) -> bool {
        let found =
            self.from.lend(|codec, input, cx| codec.find_answer(input, cx.limits, cx.heads));
        let Some(answer) = found else {
            self.pass_parts(stream);
            return false;
        };
        let body = answer.body(&self.from.input).to_vec();
        self.share();
        let written = self.to.lend(|codec, _, cx| codec.write_answer(stream, &answer, &body, cx));
        self.share();
        if written {
            self.from.lend(|codec, input, cx| codec.take_answer(&answer, input, cx));
        }
        self.pass_parts(stream);
        written
    }

    /// What it has written, and its books.
    fn said(&mut self) -> ([Vec<u8>; 2], String) {
        let output =
            [&mut self.from, &mut self.to].map(|peer| std::mem::take(&mut peer.output).to_vec());
        let mut books = String::new();
        for peer in [&mut self.from, &mut self.to] {
            // Streams that are over leave with the next call.
            assert_eq!(peer.run(), [""; 0]);
            assert_eq!(peer.codec.check(), Ok(()));
            let all = StreamId::CONNECTION;
            books.push_str(&format!(
                "{:?} {:?} {} {} {}; ",
                peer.codec.send_window(all),
                peer.codec.receive_window(all),
                peer.codec.uncredited(),
                peer.codec.streams().count(),
                Codec::take_credit(&mut peer.codec),
            ));
        }
        (output, books)
    }
}

fn head(status: u16, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    if status > 0 {
        head.reset_to_response(status);
    }
    fields.iter().for_each(|(name, value)| head.append(*name, value.as_bytes()));
    head
}

#[test]
fn in_one_piece_or_in_parts_the_same_is_written() {
    let kind = ("content-type", "application/grpc");
    let heads: [&[(&str, &str)]; 5] = [
        &[kind],
        &[kind, ("x-a", "1"), ("x-b", "2")],
        &[],
        &[kind, ("set-cookie", "a=b"), ("date", "yesterday")],
        &[kind, ("authorization", "secret")],
    ];
    let ends: [&[(&str, &str)]; 4] = [
        &[("grpc-status", "0")],
        &[("grpc-status", "0"), ("x-c", "3")],
        &[("grpc-status", "5"), ("grpc-message", "none")],
        &[],
    ];
    // Both levels of windows of endpoints are given back now and then; of clients they run out.
    let config = Config { connection_window: 65_535, ..Config::default() };
    let narrow = Config { stream_window: 200, stream_window_max: 200, ..Config::default() };
    let mut rng = Rng::new(3);
    let mut passed = [0; 2];
    for seed in 0..40 {
        let is_narrow = seed % 4 == 3;
        let mut client = Peer::client_with(if is_narrow { &narrow } else { &config });
        let mut endpoint = Peer::fresh_server();
        let mut relays = [Relay::new(&config), Relay::new(&config)];
        // The endpoint hears what its clients have said before.
        endpoint.receive(PREFACE);
        endpoint.receive(&settings(&[]));
        endpoint.run();
        endpoint.output.clear();
        if is_narrow {
            for relay in &mut relays {
                relay.to.receive(&settings(&[(4, 200)]));
                assert_eq!(relay.to.run(), [""; 0]);
                relay.to.output.clear();
            }
        }
        for _ in 0..30 {
            let stream = client.request(Method::Get, BodyLength::None);
            let bytes = std::mem::take(&mut client.output).to_vec();
            let [(down, up), other] = relays.each_mut().map(|relay| relay.ask(&bytes));
            assert_eq!((down, (down, up)), (stream, other));
            let written = relays.each_mut().map(Relay::said);
            assert_eq!(written[0], written[1]);
            endpoint.receive(&written[0].0[0]);
            endpoint.run();
            let mut pick = |most: u32| rng.below(most) as usize;
            let usual = pick(4) > 0;
            let mut one_of = |most: u32| if usual { 0 } else { pick(most) };
            let status = [200, 503, 204][one_of(3)];
            let (fields, end) = (heads[one_of(5)], ends[one_of(4)]);
            let most = if status == 204 { 1 } else { [300, 200, 3][one_of(3)] };
            let body = vec![b'b'; pick(most)];
            endpoint.encode_head(up, &head(status, fields), BodyLength::Chunked).expect("a head");
            endpoint.encode_body(up.number(), &body).expect("a body");
            let end = (!end.is_empty()).then(|| head(0, end));
            endpoint.encode_end(up.number(), end.as_ref()).expect("an end");
            let answer = std::mem::take(&mut endpoint.output).to_vec();
            // Now and then in two buffers.
            let cut = if pick(6) == 0 { pick(answer.len() as u32) } else { answer.len() };
            for relay in &mut relays {
                relay.from.receive(&answer[..cut]);
                if cut < answer.len() {
                    relay.from.receive(&answer[cut..]);
                }
            }
            let sizes = (pick(12) == 0).then(|| settings(&[(1, pick(4_097) as u32)]));
            for relay in &mut relays {
                if let Some(sizes) = &sizes {
                    relay.to.receive(sizes);
                    assert_eq!(relay.to.run(), [""; 0]);
                }
            }
            relays[0].pass_parts(down);
            passed[usize::from(relays[1].pass(down))] += 1;
            let written = relays.each_mut().map(Relay::said);
            assert_eq!(written[0], written[1], "seed {seed}");
            let [to_endpoint, to_client] = &written[0].0;
            endpoint.receive(to_endpoint);
            endpoint.run();
            client.receive(to_client);
            let heard = client.run();
            assert!(!heard.iter().any(|line| line.starts_with("error")), "{heard:?}");
            let more = std::mem::take(&mut client.output).to_vec();
            for relay in &mut relays {
                relay.to.receive(&more);
                assert_eq!(relay.to.run(), [""; 0]);
            }
        }
    }
    assert!(passed[0] > 200 && passed[1] > 200, "{passed:?}");
}

/// The same of ends of requests, until windows are used up.
#[test]
fn ends_of_requests_are_charged_and_credited_as_others() {
    // In one piece here, in parts there.
    let mut servers = [Peer::server(), Peer::server()];
    let mut clients = [Peer::client(), Peer::client()];
    let (mut rng, mut written) = (Rng::new(9), 0);
    for round in 0..700 {
        if round > written + 9 {
            break;
        }
        let len = [1, 100, 256][rng.below(3) as usize];
        let length = match rng.below(2) {
            0 => BodyLength::Chunked,
            _ => BodyLength::Known(len as u64),
        };
        let bytes = vec![b'l'; len];
        let mut said = Vec::new();
        for (at, (server, client)) in servers.iter_mut().zip(&mut clients).enumerate() {
            let stream = client.request(Method::Post, length);
            let in_one =
                at == 0 && client.lend(|codec, _, cx| codec.write_last(stream, &bytes, cx));
            if !in_one {
                let gone = client.encode_last(stream.number(), &bytes).expect("an end");
                assert!(at == 1 || gone < len, "what has a window goes in one piece");
            }
            written += usize::from(in_one);
            let all = StreamId::CONNECTION;
            let left = [client.codec.send_window(all), client.codec.send_window(stream)];
            let output = std::mem::take(&mut client.output).to_vec();
            server.receive(&output);
            let head = server.lend(Codec::decode);
            assert!(matches!(head, Ok(Some(Event::Head { .. }))), "{head:?}");
            let found = match at {
                0 => server.lend(|codec, input, _| codec.find_last(input)),
                _ => None,
            };
            assert_eq!(found.is_some(), in_one);
            match found {
                Some(last) => {
                    assert_eq!((last.stream, last.body(&server.input)), (stream, &bytes[..]));
                    let taken = server.lend(|codec, input, cx| codec.take_last(&last, input, cx));
                    assert_eq!(taken.to_vec(), bytes);
                }
                None => drop(server.run()),
            }
            assert_eq!(server.run(), [""; 0]);
            assert_eq!((server.codec.check(), server.codec.uncredited()), (Ok(()), 0));
            let windows = [server.codec.receive_window(all), server.codec.receive_window(stream)];
            let given_back = std::mem::take(&mut server.output).to_vec();
            said.push((output, left, windows, server.codec.take_credit(), given_back.clone()));
            server.respond(stream.number(), 200, BodyLength::None).expect("a response");
            let answer = std::mem::take(&mut server.output).to_vec();
            client.receive(&[given_back, answer].concat());
            client.run();
            client.output.clear();
        }
        assert_eq!(said[0], said[1], "round {round}");
    }
    // The window of all together is used up before any of it is given back: the last ones wait.
    assert!((200..660).contains(&written), "{written}");
}
