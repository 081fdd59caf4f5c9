//! Connections and streams of HTTP/2 that wait: what one of them costs the proxy.
//!
//! The product's worker between clients and an origin that keep nothing of a stream, so that the
//! memory of the process grows by what the proxy keeps: they write frames as bytes, and of what they
//! receive they look at the frame headers. Streams pass through three states, which are those of a
//! long call: asked and not answered, answered and not ended, over.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

use sluice_base::{ConnId, Instant};
use sluice_buf::{Packet, Pool};
use sluice_l7_core::StreamId;
use sluice_l7_http2::frame::{self, FrameHeader, FrameKind, HEADER_LEN, PREFACE, flag};
use sluice_stack::Ready;

use crate::host::{App, Host, Io};
use crate::sluice::{BACK, FRONT, Sluice, SluiceConfig};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const PORT: u16 = 80;
const ROUND_NANOS: u64 = 20_000;
const BUFFERS: u32 = 8_192;
/// Connections that begin in one round, or go on with all their streams.
const WAVE: u32 = 32;
/// Streams that begin in one round.
const WAVE_STREAMS: u32 = 64;
/// Connections that carry streams at a time while there shall be many connections.
const GROUP: u32 = 64;
/// Rounds without news after which a run has failed.
const IDLE_ROUNDS_MAX: u32 = 100_000;
/// Until memory of the time when much was going on is given up, and no timer of a handshake is left.
const SETTLE_MILLIS: u32 = 5_000;
/// Milliseconds per round meanwhile.
const SETTLE_ROUND: u32 = 5;
/// Streams that go on together where all shall come to rest, and how long they are left alone then.
const CALM_STREAMS: u32 = 640;
const CALM_MILLIS: u32 = 1_500;

/// A call as a client of gRPC in Go begins it, behind a mesh's ingress.
const REQUEST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/shop.v1.Cart/Watch"),
    (":authority", "shop.example:8080"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "grpc-go/1.68.0"),
    ("grpc-accept-encoding", "gzip"),
    ("x-tenant", "blue"),
    ("x-request-id", "000000000000000000009e3779b97f4a"),
];
const RESPONSE: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/grpc")];
const TRAILERS: &[(&str, &str)] = &[("grpc-status", "0")];

/// How far a stream goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// It has been asked.
    Asked,
    /// Its head was answered.
    Answered,
    /// It is over.
    Over,
}

/// The proxy, clients, origin and clock.
pub struct Streams {
    client: Host<Askers>,
    origin: Host<Answerers>,
    sluice: Sluice,
    now: Instant,
    _pools: [Pool; 2],
}

/// Streams that did not get as far as they should.
#[derive(Clone, Copy, Debug)]
pub struct Halted {
    /// Those that did.
    pub done: u64,
}

impl Streams {
    /// `connections` clients with up to `streams` streams each, and as many connections with as many
    /// streams to the origin.
    ///
    /// # Panics
    /// If there is too little memory.
    #[must_use]
    pub fn new(connections: u32, streams: u32) -> Self {
        let pools = [Pool::heap(BUFFERS), Pool::heap(BUFFERS)];
        let connections_max = 2 * connections + 1_024;
        let config = SluiceConfig {
            text: config(streams),
            routes: Vec::new(),
            connections_max,
            exchanges_max: 131_072,
            buffers: BUFFERS,
            segmentation_max: 0,
        };
        let [front_pool, back_pool] = &pools;
        let (sluice, [front, back]) = Sluice::start(&config, [front_pool, back_pool]);
        let stack = sluice.worker().stack();
        for pool in [front_pool, back_pool, stack.rx_pool(), stack.tx_pool()] {
            touch(pool);
        }
        let askers = Askers {
            target: SocketAddrV4::new(FRONT, PORT),
            members: Vec::with_capacity(connections as usize),
            member_of: vec![u32::MAX; connections_max as usize],
            head: headers(REQUEST, flag::END_HEADERS | flag::END_STREAM),
            goal: [0, 0],
            next: 0,
            seen: [0; 3],
            failures: 0,
        };
        let client = Host::new(askers, CLIENT, FRONT, connections_max, front_pool, front);
        let mut ended = headers(RESPONSE, flag::END_HEADERS);
        ended.extend(headers(TRAILERS, flag::END_HEADERS | flag::END_STREAM));
        let answerers = Answerers {
            connections: vec![None; connections_max as usize],
            streams,
            heads: headers(RESPONSE, flag::END_HEADERS),
            trailers: headers(TRAILERS, flag::END_HEADERS | flag::END_STREAM),
            ended,
            stage: Stage::Asked,
            next: 0,
            asked: 0,
        };
        let mut origin = Host::new(answerers, ORIGIN, BACK, connections_max, back_pool, back);
        origin.listen(SocketAddrV4::new(ORIGIN, PORT), &sluice_tcp::Config::default());
        let now = Instant::from_millis(1_000);
        let mut world = Self { client, origin, sluice, now, _pools: pools };
        // Sluice listens before anybody asks.
        for _ in 0..8 {
            world.round(ROUND_NANOS);
        }
        world
    }

    fn round(&mut self, nanos: u64) {
        self.now = self.now.plus_nanos(nanos);
        self.client.step(self.now);
        self.origin.step(self.now);
        self.sluice.step(self.now);
        self.sluice.collect();
    }

    /// Lets `clients` have `streams` streams more each, which go as far as `stage`; what went less far
    /// follows.
    ///
    /// # Errors
    /// [`Halted`] when some do not get there.
    pub fn play(&mut self, clients: Range<u32>, streams: u32, stage: Stage) -> Result<(), Halted> {
        let app = &mut self.client.app;
        app.goal = [clients.end, streams];
        app.next = clients.start;
        for member in app.members.iter_mut().skip(clients.start as usize) {
            member.left = streams;
        }
        let before = app.seen[Stage::Asked as usize];
        (self.origin.app.stage, self.origin.app.next) = (stage, 0);
        let goal = before + clients.len() as u64 * u64::from(streams);
        let (mut last, mut idle) = (0, 0);
        loop {
            let done = match stage {
                Stage::Asked => self.origin.app.asked,
                Stage::Answered | Stage::Over => self.client.app.seen[stage as usize],
            };
            let asked = self.client.app.seen[Stage::Asked as usize];
            if done >= goal && asked >= goal {
                return Ok(());
            }
            idle = if asked + done > last { 0 } else { idle + 1 };
            last = asked + done;
            if idle > IDLE_ROUNDS_MAX {
                return Err(Halted { done });
            }
            self.round(ROUND_NANOS);
        }
    }

    /// As [`Self::play`] for the first `clients` of them, a few at a time with some peace between: as
    /// long calls come, so that what only the first second of each needs is used again.
    ///
    /// # Errors
    /// [`Halted`] when some do not get there.
    pub fn play_calmly(&mut self, clients: u32, streams: u32, stage: Stage) -> Result<(), Halted> {
        let group = (CALM_STREAMS / self.origin.app.streams).max(1);
        let mut from = 0;
        while from < clients {
            let to = clients.min(from + group);
            self.play(from..to, streams, stage)?;
            self.rest(CALM_MILLIS);
            from = to;
        }
        self.settle();
        Ok(())
    }

    /// Lets time pass until nothing more comes of what was done.
    pub fn settle(&mut self) {
        self.rest(SETTLE_MILLIS);
    }

    fn rest(&mut self, millis: u32) {
        for _ in 0..millis / SETTLE_ROUND {
            self.round(u64::from(SETTLE_ROUND) * 1_000_000);
        }
    }

    /// Connects `clients` clients; each has `streams` streams that end, and rests, before many others
    /// begin.
    ///
    /// # Errors
    /// [`Halted`] when some do not end.
    pub fn fill(&mut self, clients: u32, streams: u32) -> Result<(), Halted> {
        let mut from = 0;
        while from < clients {
            let to = clients.min(from + GROUP);
            self.play(from..to, streams, Stage::Over)?;
            self.settle();
            from = to;
        }
        Ok(())
    }

    /// What broke: connections that ended, streams that were reset.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.client.app.failures
    }

    /// Connections of the proxy, both sides together.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.sluice.worker().stack().connection_count()
    }
}

/// Touches every buffer of a pool, so that none is new when memory is measured.
fn touch(pool: &Pool) {
    let mut all: Vec<Packet> = Vec::new();
    while let Ok(mut packet) = pool.alloc() {
        assert!(packet.append_bytes(&[1; 1_024]), "a fresh buffer has room");
        all.push(packet);
    }
}

/// Reads frame headers out of what arrives in pieces, and passes over payloads.
#[derive(Clone, Copy, Default)]
struct Frames {
    head: [u8; HEADER_LEN],
    have: u8,
    skip: u32,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8], mut see: impl FnMut(FrameHeader)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let count = bytes.len().min(self.skip as usize);
                self.skip -= count as u32;
                bytes = &bytes[count..];
                continue;
            }
            self.head[usize::from(self.have)] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if usize::from(self.have) == HEADER_LEN {
                let header = FrameHeader::read(&self.head);
                (self.have, self.skip) = (0, header.len);
                see(header);
            }
        }
    }
}

/// A client's connection.
#[derive(Clone, Copy)]
struct Member {
    conn: ConnId,
    frames: Frames,
    up: bool,
    next_stream: u32,
    /// Streams still to be opened.
    left: u32,
}

/// All clients.
struct Askers {
    target: SocketAddrV4,
    members: Vec<Member>,
    member_of: Vec<u32>,
    /// HEADERS of a request, of no stream.
    head: Vec<u8>,
    /// Connections that there shall be, and streams that each opens.
    goal: [u32; 2],
    /// Whose turn it is to ask.
    next: u32,
    /// Streams by how far they got.
    seen: [u64; 3],
    failures: u64,
}

impl App for Askers {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        let Some(member) = self.members.get_mut(self.member_of[conn.index as usize] as usize)
        else {
            return;
        };
        if ready.connected() {
            member.up = true;
            let mut out = PREFACE.to_vec();
            frame::settings(&[], &mut out);
            io.send(conn, &out);
        }
        if ready.readable() {
            let (mut settings, frames) = (0, &mut member.frames);
            let (seen, failures) = (&mut self.seen, &mut self.failures);
            io.receive(conn, |piece| {
                frames.pass(piece, |header| match header.kind {
                    FrameKind::Headers if header.has(flag::END_STREAM) => {
                        seen[Stage::Over as usize] += 1;
                    }
                    FrameKind::Headers => seen[Stage::Answered as usize] += 1,
                    FrameKind::Settings if !header.has(flag::ACK) => settings += 1,
                    FrameKind::RstStream | FrameKind::GoAway => *failures += 1,
                    _ => {}
                });
            });
            for _ in 0..settings {
                io.send(conn, &ack());
            }
        }
        if ready.peer_closed() || ready.closed() {
            self.failures += 1;
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        let [connections, streams] = self.goal;
        for _ in 0..WAVE {
            let index = self.members.len() as u32;
            if index >= connections {
                break;
            }
            let config = sluice_tcp::Config::default();
            let conn = io.stack.connect(self.target, &config, index, io.now);
            let conn = conn.expect("a client has ports and memory for its scenario");
            self.member_of[conn.index as usize] = index;
            let frames = Frames::default();
            let member = Member { conn, frames, up: false, next_stream: 1, left: streams };
            self.members.push(member);
        }
        let mut room = WAVE_STREAMS;
        while room > 0 {
            let Some(member) = self.members.get_mut(self.next as usize).filter(|it| it.up) else {
                return;
            };
            let count = member.left.min(room);
            let mut out = Vec::new();
            for _ in 0..count {
                write(&self.head, member.next_stream, &mut out);
                member.next_stream += 2;
                self.seen[Stage::Asked as usize] += 1;
            }
            if count > 0 {
                io.send(member.conn, &out);
            }
            member.left -= count;
            room -= count;
            self.next += u32::from(member.left == 0);
        }
    }
}

/// A connection of the origin.
#[derive(Clone, Copy)]
struct Answerer {
    conn: ConnId,
    frames: Frames,
    preface: u8,
    /// The last stream that was asked, answered, and ended; 0: none.
    last: [u32; 3],
}

/// The origin.
struct Answerers {
    connections: Vec<Option<Answerer>>,
    /// Streams that it allows.
    streams: u32,
    heads: Vec<u8>,
    trailers: Vec<u8>,
    ended: Vec<u8>,
    /// How far it goes by itself.
    stage: Stage,
    /// Whose turn it is.
    next: u32,
    asked: u64,
}

impl Answerers {
    /// Goes on with all streams of a connection.
    fn answer(&mut self, slot: usize, io: &mut Io<'_>) {
        let Some(connection) = &mut self.connections[slot] else { return };
        let mut out = Vec::new();
        let [asked, answered, over] = connection.last;
        let between = |after: u32, last: u32| (after + 1..=last).filter(|stream| stream % 2 == 1);
        if self.stage == Stage::Over {
            for stream in between(over, answered) {
                write(&self.trailers, stream, &mut out);
            }
            connection.last[Stage::Over as usize] = asked;
        }
        if self.stage >= Stage::Answered {
            let text = if self.stage == Stage::Over { &self.ended } else { &self.heads };
            for stream in between(answered, asked) {
                write(text, stream, &mut out);
            }
            connection.last[Stage::Answered as usize] = asked;
        }
        if !out.is_empty() {
            io.send(connection.conn, &out);
        }
    }
}

impl App for Answerers {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        let slot = conn.index as usize;
        if ready.accepted() {
            let preface = PREFACE.len() as u8;
            let frames = Frames::default();
            self.connections[slot] = Some(Answerer { conn, frames, preface, last: [0; 3] });
            let mut out = Vec::new();
            frame::settings(&[(3, self.streams)], &mut out);
            io.send(conn, &out);
        }
        let Some(connection) = &mut self.connections[slot] else { return };
        if ready.readable() {
            let (mut settings, asked) = (0, &mut self.asked);
            let Answerer { frames, preface, last, .. } = connection;
            io.receive(conn, |piece| {
                let count = piece.len().min(usize::from(*preface));
                *preface -= count as u8;
                frames.pass(&piece[count..], |header| match header.kind {
                    FrameKind::Headers => {
                        *asked += 1;
                        last[Stage::Asked as usize] = header.stream.number();
                    }
                    FrameKind::Settings if !header.has(flag::ACK) => settings += 1,
                    _ => {}
                });
            });
            for _ in 0..settings {
                io.send(conn, &ack());
            }
            self.answer(slot, io);
        }
        if ready.peer_closed() || ready.closed() {
            io.stack.close(conn, io.now);
            self.connections[slot] = None;
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        for _ in 0..WAVE {
            if self.next as usize >= self.connections.len() {
                return;
            }
            self.answer(self.next as usize, io);
            self.next += 1;
        }
    }
}

fn ack() -> Vec<u8> {
    let (kind, stream) = (FrameKind::Settings, StreamId::CONNECTION);
    FrameHeader { len: 0, kind, flags: flag::ACK, stream }.write().to_vec()
}

/// A HEADERS frame of stream 0 with every field as a literal that enters no table.
fn headers(fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    let (kind, stream) = (FrameKind::Headers, StreamId::CONNECTION);
    let mut out = FrameHeader { len: block.len() as u32, kind, flags, stream }.write().to_vec();
    out.extend_from_slice(&block);
    out
}

/// Appends frames that [`headers`] made, as those of `stream`.
fn write(frames: &[u8], stream: u32, out: &mut Vec<u8>) {
    let mut rest = frames;
    while let Some((head, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
        let header = FrameHeader { stream: StreamId::new(stream), ..FrameHeader::read(head) };
        let (payload, next) = behind.split_at(header.len as usize);
        out.extend_from_slice(&header.write());
        out.extend_from_slice(payload);
        rest = next;
    }
}

fn config(streams: u32) -> String {
    let mut text = String::from(
        "[[interface]]\nname = \"front\"\ndevice = \"tap:front\"\naddresses = [\"10.1.0.1/24\"]\n\
         [[interface]]\nname = \"back\"\ndevice = \"tap:back\"\naddresses = [\"10.2.0.1/24\"]\n\
         [runtime]\ncores = [0]\n",
    );
    let _ = write!(
        text,
        "[[listener]]\nname = \"web\"\naddress = \"{FRONT}:{PORT}\"\nprotocol = \"http\"\n\
         [listener.http2]\nmax_concurrent_streams = {streams}\n\
         [[listener.virtual_host]]\ndomains = [\"*\"]\n\
         [[listener.virtual_host.route]]\nprefix = \"/\"\ncluster = \"calls\"\ntimeout = \"0s\"\n\
         [[cluster]]\nname = \"calls\"\nendpoints = [\"{ORIGIN}:{PORT}\"]\nhttp = \"2\"\n\
         max_connections = 1000000\nmax_pending = 1000000\n\
         [cluster.http2]\nmax_concurrent_streams = {streams}\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stop_where_they_are_told_to() {
        let mut world = Streams::new(40, 10);
        world.play(0..40, 10, Stage::Asked).expect("all ask");
        world.settle();
        assert_eq!(world.connections(), 80, "as many streams on each as it takes");
        assert_eq!(world.client.app.seen, [400, 0, 0]);
        world.play(0..40, 0, Stage::Answered).expect("all are answered");
        assert_eq!(world.client.app.seen, [400, 400, 0]);
        world.play(0..40, 0, Stage::Over).expect("all end");
        assert_eq!(world.client.app.seen, [400, 400, 400]);
        world.play(0..40, 10, Stage::Over).expect("all ask again");
        assert_eq!(world.client.app.seen, [800, 800, 800]);
        world.play_calmly(40, 10, Stage::Asked).expect("all ask once more");
        assert_eq!(world.client.app.seen, [1_200, 800, 800]);
        assert_eq!((world.failures(), world.connections()), (0, 80));
    }
}
