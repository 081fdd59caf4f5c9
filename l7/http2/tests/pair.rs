//! Both roles against each other, by seed: whatever they do in whatever order, the books of each agree
//! after every step, and with the other's whenever nothing is on its way; in the end every stream ended
//! on both sides alike, and no window has leaked.

mod support;

use std::collections::BTreeMap;

use sluice_base::Rng;
use sluice_l7_core::{BodyLength, Codec, Event, Head, Method, ResetReason, Role, StreamId};
use sluice_l7_http2::Config;
use support::Peer;

/// What one side knows of a stream.
#[derive(Debug, Default)]
struct Known {
    /// Body bytes received, and those of them that were not credited.
    received: usize,
    held: usize,
    /// Body bytes said.
    sent: usize,
    begun: bool,
    said_all: bool,
    heard_all: bool,
    /// Given up by either side.
    reset: bool,
}

impl Known {
    fn is_speaking(&self) -> bool {
        self.begun && !self.said_all && !self.reset
    }
}

struct Side {
    peer: Peer,
    role: Role,
    streams: BTreeMap<u32, Known>,
    /// Bytes on their way to here.
    wire: Vec<u8>,
}

impl Side {
    fn new(role: Role, rng: &mut Rng) -> Self {
        let mut size = |least: u32, more: u32| least + rng.below(more);
        let config = Config {
            streams_max: size(1, 20),
            stream_window: size(4_000, 70_000),
            connection_window: size(65_535, 100_000),
            stream_window_max: size(4_000, 300_000),
            ..Config::default()
        };
        let peer = Peer::with(role, &config);
        Self { peer, role, streams: BTreeMap::new(), wire: Vec::new() }
    }

    /// Some bytes arrive, cut anywhere.
    fn arrive(&mut self, count: usize) {
        let rest = self.wire.split_off(count.min(self.wire.len()));
        let bytes = std::mem::replace(&mut self.wire, rest);
        self.peer.receive(&bytes);
        loop {
            match self.peer.lend(Codec::decode) {
                Ok(Some(event)) => self.hear(event),
                Ok(None) => return,
                Err(error) => panic!("{:?} found a fault: {}", self.role, error.reason),
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Head { stream, head, body } => {
                let known = self.streams.entry(stream.number()).or_default();
                known.heard_all = body.is_none();
                self.peer.heads.put(head);
            }
            Event::Body { stream, bytes } => {
                let known = self.streams.get_mut(&stream.number()).expect("a head came");
                known.received += bytes.len();
                known.held += bytes.len();
            }
            Event::End { stream, .. } => {
                self.streams.get_mut(&stream.number()).expect("a head came").heard_all = true;
            }
            Event::Reset { stream, fault, .. } => {
                assert_eq!(fault, None, "{:?} found a fault", self.role);
                self.streams.entry(stream.number()).or_default().reset = true;
            }
            other => panic!("nobody says {other:?}"),
        }
    }

    fn pick(&self, rng: &mut Rng, which: impl Fn(&Known) -> bool) -> Option<u32> {
        let ids: Vec<u32> =
            self.streams.iter().filter(|(_, known)| which(known)).map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| ids[rng.below(ids.len() as u32) as usize])
    }

    fn begin(&mut self, rng: &mut Rng) {
        if self.role == Role::Server {
            let Some(id) = self.pick(rng, |known| !known.begun && !known.reset) else { return };
            self.peer.respond(id, 200, BodyLength::Chunked).expect("it was asked for");
            self.streams.get_mut(&id).expect("it is there").begun = true;
        } else if let Some(stream) = self.peer.codec.open_stream() {
            let mut head = Head::new();
            head.reset_to_request(Method::Post, b"a", b"/");
            self.peer.encode_head(stream, &head, BodyLength::Chunked).expect("a request");
            self.streams.insert(stream.number(), Known { begun: true, ..Known::default() });
        }
    }

    fn end(&mut self, id: u32, rng: &mut Rng) {
        let mut trailers = Head::new();
        trailers.append("x-end", b"1");
        let trailers = rng.chance(500_000).then_some(&trailers);
        self.peer.encode_end(id, trailers).expect("it was begun");
        self.streams.get_mut(&id).expect("it is there").said_all = true;
    }

    fn credit(&mut self, id: u32, count: usize) {
        self.streams.get_mut(&id).expect("it is there").held -= count;
        self.peer.credit(id, count);
    }

    /// One verb or another.
    fn act(&mut self, rng: &mut Rng) {
        match rng.below(16) {
            0..2 => self.begin(rng),
            2..7 => {
                let Some(id) = self.pick(rng, Known::is_speaking) else { return };
                let most = [300, 20_000, 60_000][rng.below(3) as usize];
                let len = 1 + rng.below(most) as usize;
                self.peer.encode_body(id, &vec![7; len]).expect("it was begun");
                self.streams.get_mut(&id).expect("it is there").sent += len;
            }
            7..11 => {
                let Some(id) = self.pick(rng, |known| known.held > 0) else { return };
                let held = self.streams[&id].held as u32;
                let count = if rng.chance(500_000) { held } else { 1 + rng.below(held) };
                self.credit(id, count as usize);
            }
            11 => {
                let Some(id) = self.pick(rng, Known::is_speaking) else { return };
                self.end(id, rng);
            }
            12 => self.peer.codec.hold_output(rng.chance(300_000)),
            13 if rng.chance(100_000) => {
                let Some(id) = self.pick(rng, |known| known.begun && !known.reset) else { return };
                let stream = StreamId::new(id);
                self.peer
                    .lend(|codec, _, cx| codec.encode_reset(stream, ResetReason::Cancelled, cx));
                self.streams.get_mut(&id).expect("it is there").reset = true;
            }
            14 if rng.chance(50_000) => {
                self.peer.lend(|codec, _, cx| codec.take_window_back(cx));
            }
            _ => {
                let wanted = self.peer.codec.window_wanted();
                self.peer.lend(|codec, _, cx| codec.grant_window(wanted, cx));
                let loan = self.peer.codec.loan_wanted();
                self.peer.lend(|codec, _, cx| codec.lend_window(loan, cx));
                let burst = 1 + rng.below(40_000) as usize;
                self.peer.lend(|codec, _, cx| codec.poll_body(burst, cx));
            }
        }
    }
}

/// What each wrote goes on its way.
fn carry(sides: &mut [Side; 2]) {
    let [one, other] = sides;
    other.wire.extend(std::mem::take(&mut one.peer.output).to_vec());
    one.wire.extend(std::mem::take(&mut other.peer.output).to_vec());
}

/// Nobody acts of their own accord until nothing is on its way.
fn rest(sides: &mut [Side; 2]) {
    loop {
        carry(sides);
        if sides.iter().all(|side| side.wire.is_empty()) {
            return;
        }
        for side in sides.iter_mut() {
            side.arrive(usize::MAX);
        }
    }
}

/// While nothing is on its way, what one may send is what the other may receive.
fn compare(sides: &[Side; 2], seed: u64) {
    if sides.iter().any(|side| !side.wire.is_empty()) {
        return;
    }
    for (from, to) in [(&sides[0], &sides[1]), (&sides[1], &sides[0])] {
        let both = |stream| {
            let send = from.peer.codec.send_window(stream);
            (send, to.peer.codec.receive_window(stream))
        };
        let (send, receive) = both(StreamId::CONNECTION);
        assert_eq!(send, receive, "seed {seed}: the connection towards {:?}", to.role);
        for (id, known) in &to.streams {
            if let (Some(send), Some(receive)) = both(StreamId::new(*id))
                && !known.heard_all
            {
                assert_eq!(send, receive, "seed {seed}: stream {id} towards {:?}", to.role);
            }
        }
    }
}

fn play(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut sides = [Side::new(Role::Client, &mut rng), Side::new(Role::Server, &mut rng)];
    sides[0].arrive(0);
    rest(&mut sides);
    for step in 0..600 {
        let side = &mut sides[rng.below(2) as usize];
        side.act(&mut rng);
        assert_eq!(side.peer.codec.check(), Ok(()), "seed {seed} step {step}");
        carry(&mut sides);
        let side = &mut sides[rng.below(2) as usize];
        let count = if rng.chance(500_000) { usize::MAX } else { rng.below(9_000) as usize };
        side.arrive(count);
        assert_eq!(side.peer.codec.check(), Ok(()), "seed {seed} step {step}");
        carry(&mut sides);
        if rng.chance(100_000) {
            rest(&mut sides);
        }
        compare(&sides, seed);
    }
    // Everybody reads, and says what is left to be said.
    for round in 0.. {
        assert!(round < 10_000, "seed {seed}: they come to no end");
        rest(&mut sides);
        let mut moved = false;
        for side in &mut sides {
            side.peer.codec.hold_output(false);
            let held: Vec<_> = side.streams.iter().map(|(id, known)| (*id, known.held)).collect();
            for (id, held) in held.into_iter().filter(|(_, held)| *held > 0) {
                side.credit(id, held);
                moved = true;
            }
            moved |= !side.peer.drain_output(20_000).is_empty();
            if side.role == Role::Server {
                side.begin(&mut rng);
            }
            if let Some(id) = side.pick(&mut rng, Known::is_speaking) {
                side.end(id, &mut rng);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    compare(&sides, seed);
    let [client, server] = &sides;
    for (id, asked) in &client.streams {
        let Some(answered) = server.streams.get(id) else {
            assert!(asked.reset, "seed {seed}: {id} never came");
            continue;
        };
        let what = format!("seed {seed} stream {id}: {asked:?} {answered:?}");
        if asked.reset || answered.reset {
            continue;
        }
        assert!(asked.heard_all && answered.heard_all, "{what}");
        assert_eq!((asked.sent, answered.sent), (answered.received, asked.received), "{what}");
    }
    for side in sides {
        assert!(side.peer.codec.is_idle(), "seed {seed}: {:?} has streams left", side.role);
        assert_eq!(side.peer.codec.uncredited(), 0, "seed {seed}: a window leaked");
        side.peer.census();
    }
}

#[test]
fn books_agree_on_both_sides() {
    for seed in 0..300 {
        play(seed);
    }
}
