//! What a flood of HTTP/2 costs those who share the worker with it.
//!
//! Four connections of 16 calls of gRPC each, and beside them a client that floods as fast as its
//! connection takes it; closed, it comes again at once; or one that does not read. All of it over links
//! in memory and by a virtual clock: heartbeats per call are the same in every run, and so is what the
//! worker does for the attacker, counted in connections, bytes, requests and frames.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, PoisonError};

use sluice_base::{ConnId, Instant};
use sluice_bench::Scenario;
use sluice_bench::host::{App, Host, Io};
use sluice_bench::http2::{BODY, Http2Load, Http2Origin};
use sluice_bench::peers::Server;
use sluice_bench::sluice::{BACK, FRONT, Sluice, SluiceConfig};
use sluice_buf::Pool;
use sluice_l7_core::StreamId;
use sluice_l7_http2::ErrorCode;
use sluice_l7_http2::frame::{self, FrameHeader, FrameKind, PREFACE, flag};
use sluice_stack::Ready;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const CONNECTIONS: u32 = 4;
/// Calls that are compared.
const CALLS: u64 = 20_000;
/// Bytes that the attacker has on their way at most.
const QUEUE_MAX: usize = 64 << 10;

/// A frame.
fn put(kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame::whole(kind, flags, StreamId::new(stream), payload)
}

/// A request, of indexed fields and literals that touch no table.
fn ask(stream: u32, whole: bool) -> Vec<u8> {
    let mut block = vec![if whole { 0x82 } else { 0x83 }, 0x86, 0x84];
    block.extend_from_slice(b"\x01\x01a");
    let flags = flag::END_HEADERS | if whole { flag::END_STREAM } else { 0 };
    put(FrameKind::Headers, flags, stream, &block)
}

/// The `n`th thing that is sent on a connection.
type Next = fn(u32) -> Vec<u8>;

/// Each flood with what it is closed for.
const FLOODS: [(&str, &str, Next); 12] = [
    ("rapid reset", "reset-flood", |n| {
        let reset = frame::rst_stream(StreamId::new(n * 2 + 1), ErrorCode::CANCEL);
        [&ask(n * 2 + 1, true)[..], &reset].concat()
    }),
    ("made to reset", "reset-flood", |n| {
        [ask(n * 2 + 1, true), put(FrameKind::WindowUpdate, 0, n * 2 + 1, &[0; 4])].concat()
    }),
    ("too many streams", "reset-flood", |n| ask(n * 2 + 1, false)),
    ("empty CONTINUATION", "continuation-flood", |n| {
        let kind = if n == 0 { FrameKind::Headers } else { FrameKind::Continuation };
        put(kind, 0, 1, if n == 0 { b"\x82" } else { b"" })
    }),
    ("full CONTINUATION", "header-block-too-large", |n| {
        let kind = if n == 0 { FrameKind::Headers } else { FrameKind::Continuation };
        put(kind, 0, 1, &[0x82; 16_384])
    }),
    ("SETTINGS", "settings-flood", |_| put(FrameKind::Settings, 0, 0, b"")),
    ("PING", "ping-flood", |_| frame::ping([7; 8], false).to_vec()),
    ("PRIORITY", "priority-flood", |_| put(FrameKind::Priority, 0, 9, &[0; 5])),
    ("empty DATA", "empty-frame-flood", |n| {
        let data = put(FrameKind::Data, 0, 1, b"");
        if n == 0 { [ask(1, false), data].concat() } else { data }
    }),
    ("padded DATA", "empty-frame-flood", |n| {
        let data = put(FrameKind::Data, flag::PADDED, 1, b"\x04....");
        if n == 0 { [ask(1, false), data].concat() } else { data }
    }),
    ("WINDOW_UPDATE", "window-update-flood", |_| {
        frame::window_update(StreamId::CONNECTION, 1).to_vec()
    }),
    ("unknown frames", "unknown-frame-flood", |_| put(FrameKind::Unknown(77), 0, 0, b"what")),
];

/// What is measured is the memory of the process, and the processor's time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// One who floods.
struct Attacker {
    next: Next,
    conn: Option<ConnId>,
    connected: bool,
    count: u32,
    heard: Vec<u8>,
    /// Codes and reasons of the GOAWAYs that ended its connections, and of how many.
    told: Vec<(u32, String)>,
    closed: u32,
    /// What it sends all in all on a connection, and the windows of streams that it announces.
    most: u32,
    window: Option<u32>,
}

impl Attacker {
    fn new(next: Next) -> Self {
        Self {
            next,
            conn: None,
            connected: false,
            count: 0,
            heard: Vec::new(),
            told: Vec::new(),
            closed: 0,
            most: u32::MAX,
            window: None,
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        let Some(conn) = self.conn else {
            let target = SocketAddrV4::new(FRONT, 80);
            let conn = io.stack.connect(target, &sluice_tcp::Config::default(), 0, io.now);
            self.conn = conn.ok();
            (self.connected, self.count) = (false, 0);
            self.heard.clear();
            return;
        };
        while self.connected && self.count < self.most && io.stack.queued(conn) < QUEUE_MAX {
            let mut bytes = Vec::new();
            while bytes.len() < 4_096 && self.count < self.most {
                bytes.extend((self.next)(self.count));
                self.count += 1;
            }
            io.send(conn, &bytes);
        }
    }

    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        if ready.connected() {
            self.connected = true;
            let mut hello = PREFACE.to_vec();
            let window: Vec<_> = self.window.iter().map(|window| (4, *window)).collect();
            frame::settings(&window, &mut hello);
            io.send(conn, &hello);
        }
        io.receive(conn, |bytes| self.heard.extend_from_slice(bytes));
        if ready.peer_closed() || ready.closed() {
            self.closed += 1;
            self.told.extend(goaway(&self.heard));
            io.stack.abort(conn, io.now);
            self.conn = None;
        }
    }
}

/// The GOAWAY among frames: its code, and what it says.
fn goaway(mut bytes: &[u8]) -> Option<(u32, String)> {
    while let Some((header, behind)) = bytes.split_first_chunk::<{ frame::HEADER_LEN }>() {
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

/// Those who do as they should, and perhaps one who floods, on one host.
struct Crowd<A> {
    honest: A,
    attacker: Option<Attacker>,
}

impl<A> Crowd<A> {
    fn of(honest: A) -> Self {
        Self { honest, attacker: None }
    }
}

impl<A: App> App for Crowd<A> {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        match &mut self.attacker {
            Some(attacker) if attacker.conn == Some(conn) => attacker.handle(conn, ready, io),
            _ => self.honest.handle(conn, ready, io),
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        self.honest.poll(io);
        if let Some(attacker) = &mut self.attacker {
            attacker.poll(io);
        }
    }
}

struct World {
    client: Host<Crowd<Http2Load>>,
    origin: Host<Crowd<Server>>,
    sluice: Sluice,
    now: Instant,
    /// What a heartbeat takes.
    beat_nanos: u64,
    /// Cycles of the worker's heartbeats.
    cycles: u64,
    /// Last: the others hold what is theirs.
    _pools: [Pool; 2],
}

impl World {
    /// Clients that keep their connections.
    fn new() -> Self {
        Self::with(|text| text, |_| {})
    }

    fn with(file: impl Fn(String) -> String, change: impl Fn(&mut Http2Load)) -> Self {
        let pools = [Pool::heap(16_384), Pool::heap(16_384)];
        let config = SluiceConfig {
            text: file(Scenario::Http2Unary.config(ORIGIN)),
            routes: Vec::new(),
            connections_max: 4_096,
            exchanges_max: 4_096,
            buffers: 16_384,
            segmentation_max: 0,
        };
        let (sluice, [front, back]) = Sluice::start(&config, [&pools[0], &pools[1]]);
        let mut load = Http2Load::new(SocketAddrV4::new(FRONT, 80), CONNECTIONS, true, &pools[0]);
        change(&mut load);
        let client = Host::new(Crowd::of(load), CLIENT, FRONT, 4_096, &pools[0], front);
        let origin = Crowd::of(Server::Http2(Box::new(Http2Origin::new(true, &pools[1]))));
        let mut origin = Host::new(origin, ORIGIN, BACK, 4_096, &pools[1], back);
        origin.listen(SocketAddrV4::new(ORIGIN, 80), &sluice_tcp::Config::default());
        let mut world = Self {
            client,
            origin,
            sluice,
            now: Instant::from_millis(1_000),
            beat_nanos: 10_000,
            cycles: 0,
            _pools: pools,
        };
        for _ in 0..8 {
            world.sluice.step(world.now);
        }
        world.play(2_000);
        world
    }

    /// Until so many calls more were answered; heartbeats that took.
    fn play(&mut self, calls: u64) -> u64 {
        let goal = self.client.app.honest.done + calls;
        let mut beats = 0;
        while self.client.app.honest.done < goal {
            self.now = self.now.plus_nanos(self.beat_nanos);
            self.client.step(self.now);
            self.origin.step(self.now);
            let before = sluice_arch::cycles();
            self.sluice.step(self.now);
            self.cycles += sluice_arch::cycles().saturating_sub(before);
            beats += 1;
            if beats % 1_024 == 0 {
                self.sluice.collect();
            }
            assert!(beats < 1_000_000, "nothing is answered any more");
        }
        beats
    }

    fn buffers(&self) -> u32 {
        let stack = self.sluice.worker().stack();
        stack.rx_pool().in_use() + stack.tx_pool().in_use()
    }

    /// What the worker has done for all clients.
    fn work(&self) -> Work {
        let listener = self.sluice.listener("web");
        Work {
            refused: listener.downstream_cx_flood_reject.value(),
            requests: listener.downstream_rq_total.value(),
            bytes: listener.downstream_cx_rx_bytes_total.value(),
        }
    }
}

/// What was done for the clients of a listener.
#[derive(Clone, Copy, Debug)]
struct Work {
    refused: u64,
    requests: u64,
    bytes: u64,
}

impl Work {
    /// What came to it since `before`.
    fn since(self, before: Self) -> Self {
        Self {
            refused: self.refused - before.refused,
            requests: self.requests - before.requests,
            bytes: self.bytes - before.bytes,
        }
    }
}

#[test]
fn a_flood_costs_its_neighbours_few_heartbeats_and_no_memory() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failed = Vec::new();
    for (name, reason, next) in FLOODS {
        let unlimited = |text: String| {
            text.replacen(
                "[[listener.virtual_host]]",
                "[listener.http2]\nmax_floods_per_source = 0\n[[listener.virtual_host]]",
                1,
            )
        };
        let mut world = World::with(unlimited, |_| {});
        let before = world.cycles;
        let alone = world.play(CALLS);
        let (quiet, cycles_alone) = (world.buffers(), world.cycles - before);
        world.client.app.attacker = Some(Attacker::new(next));
        // What a flood may touch is touched in its first part.
        world.play(CALLS / 4);
        let memory = sluice_bench::machine::allocated_bytes();
        let before = world.cycles;
        let beside = world.play(CALLS);
        let cycles_beside = world.cycles - before;
        let grown = sluice_bench::machine::allocated_bytes().saturating_sub(memory);
        let most = world.buffers();
        let crowd = &world.client.app;
        let attacker = crowd.attacker.as_ref().expect("it was set");
        let counted = world.sluice.listener("web").downstream_cx_flood_cycles.value();
        println!(
            "{name:20} {alone} heartbeats alone, {beside} beside it ({:.2}); {:.2} x the cycles, \
             {:.2} of them counted as the flood's; {} connections ended; {quiet} buffers, then {most}; \
             {grown} bytes",
            beside as f64 / alone as f64,
            cycles_beside as f64 / cycles_alone as f64,
            counted as f64 / world.cycles as f64,
            attacker.closed,
        );
        let as_told = attacker
            .told
            .iter()
            .all(|(code, why)| *code == ErrorCode::ENHANCE_YOUR_CALM.0 && why == reason);
        let fine = beside * 10 <= alone * 12
            && attacker.closed > 0
            && !attacker.told.is_empty()
            && as_told
            && crowd.honest.failures == 0
            && most <= quiet + 512
            && grown <= 256 << 10
            && counted > 0;
        if !fine {
            failed.push((name, attacker.told.last().cloned(), crowd.honest.failures));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Floods of one source that are served before it is held back, by default.
const FLOODS_MAX: usize = 11;
/// Requests of one connection before a flood of resets ends it, and those that were read with the last.
const RESETS_MAX: u64 = 600;
/// Bytes of one connection before any flood ends it: 20,000 WINDOW_UPDATE, and the receive window of 512 KiB
/// that fills behind them while they take their turns.
const BYTES_MAX: u64 = 20_000 * 13 + (512 << 10) + (16 << 10);
/// Of its new connections one is served in so long while it is held back.
const PAUSE_NANOS: u64 = 100_000_000;

/// One who comes again as soon as he is closed has as much of the worker as his source may have, and then
/// no more than ten connections a second, in whatever way he floods; who comes from elsewhere, again and
/// again as well, is never refused.
#[test]
fn who_comes_again_is_held_back_and_nobody_else() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, reason, next) in FLOODS {
        let mut world = World::with(|text| text, Http2Load::close_behind_calls);
        // A heartbeat is half a millisecond, to see how it goes on.
        world.beat_nanos = 500_000;
        world.play(CALLS);
        let (calm, cycles) = (world.work(), world.cycles);
        let alone = world.play(CALLS);
        let of_calls = world.work().since(calm);
        let cycles_alone = world.cycles - cycles;
        let quiet = world.buffers();
        // From the other side of the worker: another source than that of those who call.
        world.origin.app.attacker = Some(Attacker::new(next));
        let floods =
            |world: &World| world.origin.app.attacker.as_ref().map_or(0, |it| it.told.len());
        let began = world.now;
        world.play(CALLS / 4);
        let (first, then) = (floods(&world), world.now);
        let (before, cycles) = (world.work(), world.cycles);
        let beside = world.play(CALLS);
        let work = world.work().since(before);
        let may = |since: Instant| 1 + (world.now.nanos_since(since) / PAUSE_NANOS) as usize;
        let more = floods(&world) - first;
        // Of what is counted for all, those who call have as much as before, give or take a round.
        let requests = work.requests.saturating_sub(of_calls.requests);
        let bytes = work.bytes.saturating_sub(of_calls.bytes);
        let most = world.buffers();
        println!(
            "{name:20} {beside} heartbeats beside it, {alone} alone; {:.2} x the cycles; {first} floods \
             at first, then {more} in {} ms and {} refused, of {requests} requests and {bytes} bytes; \
             {quiet} buffers, then {most}",
            (world.cycles - cycles) as f64 / cycles_alone as f64,
            world.now.nanos_since(then) / 1_000_000,
            work.refused,
        );
        assert!(beside * 10 <= alone * 12, "{name}: {beside} heartbeats, {alone} alone");
        assert!(first + more <= FLOODS_MAX + may(began), "{name}: {} floods", first + more);
        assert!(more <= may(then), "{name}: {more} floods");
        let may = may(then) as u64;
        assert!(work.refused > 10 * may, "{name}: {} refused", work.refused);
        assert!(requests <= may * RESETS_MAX, "{name}: {requests} requests");
        assert!(bytes <= may * BYTES_MAX, "{name}: {bytes} bytes");
        let attacker = world.origin.app.attacker.as_ref().expect("it was set");
        let codes = attacker
            .told
            .iter()
            .all(|(code, why)| (*code, &**why) == (ErrorCode::ENHANCE_YOUR_CALM.0, reason));
        assert!(codes && !attacker.told.is_empty(), "{name}: {:?}", attacker.told);
        assert_eq!(world.client.app.honest.failures, 0, "{name}");
        assert!(most <= quiet + 512, "{name}: {most} buffers");
    }
}

/// Calls between two looks at the cycles, and how many looks: the least that was seen is what calls take
/// where nobody else had the processor meanwhile.
const SHORT: u64 = 2_000;
const LOOKS: usize = 30;

/// One stream of 65 on the connection to the origin is never read.
#[test]
fn a_stream_that_nobody_reads_costs_the_others_nothing() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut alone, mut beside) = (World::new(), World::new());
    let call = |_| [ask(1, false), put(FrameKind::Data, flag::END_STREAM, 1, &[7; BODY])].concat();
    let silent = Attacker { most: 1, window: Some(0), ..Attacker::new(call) };
    beside.client.app.attacker = Some(silent);
    alone.play(SHORT);
    beside.play(SHORT);
    let look = |world: &mut World| {
        let before = world.cycles;
        (world.play(SHORT), world.cycles - before)
    };
    let (mut beats, mut cycles) = ([0, 0], [u64::MAX; 2]);
    for _ in 0..LOOKS {
        for (nth, world) in [&mut alone, &mut beside].into_iter().enumerate() {
            let seen = look(world);
            beats[nth] += seen.0;
            cycles[nth] = cycles[nth].min(seen.1);
        }
    }
    println!("{beats:?} heartbeats, at least {:?} cycles a call", cycles.map(|all| all / SHORT));
    assert!(beats[1] * 10 <= beats[0] * 12, "{beats:?} heartbeats");
    assert!(cycles[1] * 10 <= cycles[0] * 12, "{cycles:?} cycles");
    let attacker = beside.client.app.attacker.as_ref().expect("it was set");
    assert_eq!((attacker.closed, beside.client.app.honest.failures), (0, 0));
    let is_head = |bytes: &[u8]| bytes[..5] == [0, 0, bytes[2], 1, 4] && bytes[5..] == [0, 0, 0, 1];
    let frames = attacker.heard.windows(9);
    assert!(frames.clone().any(is_head), "the head of its answer came, and nothing behind it");
    assert!(!frames.clone().any(|bytes| bytes[3] == 0 && bytes[5..] == [0, 0, 0, 1]));
}
