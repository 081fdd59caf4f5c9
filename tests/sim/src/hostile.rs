//! Clients that open a connection of HTTP/2 to do harm: floods of every frame, frames without sense, frames
//! that were damaged. What they ask for is nobody's request; all that counts is that others are served.

use std::net::SocketAddr;

use sluice_base::{ConnId, Instant, Rng};
use sluice_l7_core::StreamId;
use sluice_l7_http2::ErrorCode;
use sluice_l7_http2::frame::{self, FrameHeader, FrameKind, PREFACE, flag};
use sluice_stack::Ready;

use crate::app::Io;

/// What a hostile client asks for.
const PATH: &str = "/hostile";
/// Frames that each sends.
const FRAMES_MAX: u32 = 3_000;
/// Bytes queued at a connection before it waits.
const QUEUE_MAX: usize = 64 * 1024;
/// How long it waits for what it provoked.
const LASTS_NANOS: u64 = 90_000_000_000;

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Harm {
    /// Requests that are given up at once (CVE-2023-44487).
    Resets,
    /// Requests whose answers may not be sent: the window stays shut.
    ShutWindows,
    /// One kind of frame after the other.
    Flood(u8),
    /// A header block without end (CVE-2024-27316).
    Continuations,
    /// Frames of any kind with anything in them.
    Noise,
    /// Requests with a byte changed here and there.
    Damage,
}

/// Whether a hostile client asked for this; a byte of it may be another.
#[must_use]
pub fn asked(path: &str) -> bool {
    !path.starts_with("/r/")
}

/// One of them.
pub struct Hostile {
    starts: Instant,
    harm: Harm,
    rng: Rng,
    conn: Option<ConnId>,
    connected: bool,
    output: Vec<u8>,
    frames: u32,
    stream: u32,
    gives_up: Instant,
    done: bool,
}

impl Hostile {
    /// One who begins at `starts`.
    #[must_use]
    pub fn new(starts: Instant, mut rng: Rng) -> Self {
        let harm = match rng.below(8) {
            0 => Harm::Resets,
            1 => Harm::ShutWindows,
            2 => Harm::Continuations,
            3 | 4 => Harm::Noise,
            5 => Harm::Damage,
            _ => Harm::Flood(rng.below(8) as u8),
        };
        let mut output = PREFACE.to_vec();
        let entries = if harm == Harm::ShutWindows { &[(4, 0)][..] } else { &[] };
        frame::settings(entries, &mut output);
        Self {
            starts,
            harm,
            rng,
            conn: None,
            connected: false,
            output,
            frames: 0,
            stream: 1,
            gives_up: Instant::NEVER,
            done: false,
        }
    }

    /// Whether it is this one's connection.
    #[must_use]
    pub fn is_on(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    /// Whether it has nothing in mind any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// When it does something.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.conn {
            _ if self.done => Instant::NEVER,
            None => self.starts,
            Some(_) => self.gives_up,
        }
    }

    /// Something happened on the connection.
    pub fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        self.connected |= ready.connected();
        // It does not listen, but takes what comes.
        io.receive(conn, &mut Vec::new());
        if ready.peer_closed() || ready.closed() {
            io.stack.close(conn, io.now);
            (self.conn, self.done) = (None, true);
        }
    }

    /// Does harm.
    pub fn poll(&mut self, io: &mut Io<'_>, web: SocketAddr) {
        if self.done || io.now < self.starts {
            return;
        }
        let Some(conn) = self.conn else {
            match io.stack.connect(web, &sluice_tcp::Config::default(), 0, io.now) {
                Ok(conn) => self.conn = Some(conn),
                Err(_) => self.done = true,
            }
            self.gives_up = io.now.plus_nanos(LASTS_NANOS);
            return;
        };
        if self.gives_up <= io.now {
            io.stack.abort(conn, io.now);
            (self.conn, self.done) = (None, true);
            return;
        }
        while self.connected && io.stack.queued(conn) < QUEUE_MAX {
            while self.output.len() < 8_192 && self.frames < FRAMES_MAX {
                self.frames += 1;
                self.harm();
            }
            if self.output.is_empty() || !io.send(conn, &self.output) {
                return;
            }
            self.output.clear();
        }
    }

    fn put(&mut self, kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) {
        let (len, stream) = (payload.len() as u32, StreamId::new(stream));
        self.output.extend_from_slice(&FrameHeader { len, kind, flags, stream }.write());
        self.output.extend_from_slice(payload);
    }

    /// A request, whole or with a body to come.
    fn ask(&mut self, whole: bool) {
        // `:method: GET` (or POST), `:scheme: http`, `:path` and `:authority` as literals.
        let mut block = vec![if whole { 0x82 } else { 0x83 }, 0x86, 0x04, PATH.len() as u8];
        block.extend_from_slice(PATH.as_bytes());
        block.extend_from_slice(b"\x01\x08sim.test");
        let flags = flag::END_HEADERS | if whole { flag::END_STREAM } else { 0 };
        self.put(FrameKind::Headers, flags, self.stream, &block);
        self.stream += 2;
    }

    fn harm(&mut self) {
        match self.harm {
            Harm::Resets => {
                self.ask(true);
                let last = StreamId::new(self.stream - 2);
                self.output.extend_from_slice(&frame::rst_stream(last, ErrorCode::CANCEL));
            }
            Harm::ShutWindows => {
                if self.frames <= 50 {
                    self.ask(true);
                }
            }
            Harm::Continuations => {
                if self.frames == 1 {
                    self.put(FrameKind::Headers, 0, 1, b"\x82");
                }
                self.put(FrameKind::Continuation, 0, 1, b"");
            }
            Harm::Flood(kind) => self.flood(kind),
            Harm::Noise => {
                let bytes = noise(&mut self.rng, true);
                self.output.extend_from_slice(&bytes);
            }
            Harm::Damage => {
                let at = self.output.len();
                self.ask(true);
                let len = (self.output.len() - at) as u32;
                if self.rng.chance(20_000) {
                    let place = at + self.rng.below(len) as usize;
                    self.output[place] ^= 1 << self.rng.below(8);
                }
            }
        }
    }

    fn flood(&mut self, kind: u8) {
        match kind {
            0 => frame::settings(&[], &mut self.output),
            1 => self.output.extend_from_slice(&frame::ping([7; 8], false)),
            2 => self.put(FrameKind::Priority, 0, 1, &[0, 0, 0, 0, 9]),
            3 | 4 if self.stream == 1 => self.ask(false),
            3 => self.put(FrameKind::Data, 0, 1, b""),
            4 => self.put(FrameKind::Data, flag::PADDED, 1, b"\x04...."),
            5 => self.output.extend_from_slice(&frame::window_update(StreamId::CONNECTION, 1)),
            6 => self.put(FrameKind::Unknown(77), 0, 0, b"what"),
            _ => frame::goaway(StreamId::CONNECTION, ErrorCode::NO_ERROR, "", &mut self.output),
        }
    }
}

/// A frame of any kind, with anything in it; those that make messages, or say what was done with one,
/// only where it is `whole`.
pub fn noise(rng: &mut Rng, whole: bool) -> Vec<u8> {
    let kind = FrameKind::from_number(match rng.below(12) as u8 {
        0 | 1 | 3 | 7 | 9 if !whole => 6,
        kind => kind,
    });
    let len = match (kind, rng.below(4)) {
        (_, 0) => rng.below(40),
        (FrameKind::Settings, _) => 6 * rng.below(3),
        (FrameKind::Ping | FrameKind::GoAway, _) => 8,
        (FrameKind::Priority, _) => 5,
        _ => 4,
    };
    let flags = if rng.chance(500_000) { 0 } else { rng.next_u32() as u8 };
    let stream = StreamId::new(if rng.chance(400_000) { 0 } else { rng.below(9) });
    let mut bytes = FrameHeader { len, kind, flags, stream }.write().to_vec();
    bytes.extend((0..len).map(|_| if rng.chance(600_000) { 0 } else { rng.next_u32() as u8 }));
    bytes
}
