//! A peer for the machine: frames in, a readable transcript of events and of frames out.
#![allow(dead_code, reason = "each test file uses its own part")]

use sluice_base::Instant;
use sluice_buf::{Chain, Pool, chain_nodes_in_use};
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, EncodeError, Event, Head, HeadLimits, HeadPool, Method,
    ProtocolError, Role, StreamId,
};
use sluice_l7_http2::frame::{FrameHeader, FrameKind, HEADER_LEN, PREFACE, flag};
use sluice_l7_http2::hpack::Decoder;
use sluice_l7_http2::{Config, Http2};

thread_local! {
    /// Every test has a thread; its peers take turns with one pool.
    static POOL: Pool = Pool::heap(16_384);
}

pub(crate) const END_STREAM: u8 = flag::END_STREAM;
pub(crate) const END_HEADERS: u8 = flag::END_HEADERS;
/// A whole message in one frame.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

/// One machine with what a worker would lend it.
pub(crate) struct Peer {
    pub(crate) codec: Http2,
    pub(crate) input: Chain,
    pub(crate) output: Chain,
    pub(crate) pool: Pool,
    pub(crate) heads: HeadPool,
    pub(crate) limits: HeadLimits,
    pub(crate) now: Instant,
    /// Reads what the machine writes.
    decoder: Decoder,
    /// Body bytes are given back as they come.
    pub(crate) credits: bool,
}

impl Peer {
    pub(crate) fn with(role: Role, config: &Config) -> Self {
        Self {
            codec: Http2::new(role, config),
            input: Chain::new(),
            output: Chain::new(),
            pool: POOL.with(Pool::share),
            heads: HeadPool::new(4, 16),
            limits: HeadLimits::default(),
            now: Instant::from_millis(1_000),
            decoder: Decoder::default(),
            credits: true,
        }
    }

    /// A server that nobody has spoken to.
    pub(crate) fn fresh_server() -> Self {
        Self::with(Role::Server, &Config::default())
    }

    /// A server whose client has said hello.
    pub(crate) fn server() -> Self {
        Self::server_with(&Config::default())
    }

    pub(crate) fn server_with(config: &Config) -> Self {
        let mut peer = Self::with(Role::Server, config);
        peer.receive(PREFACE);
        peer.receive(&settings(&[]));
        peer.receive(&frame(FrameKind::Settings, flag::ACK, 0, b""));
        assert_eq!(peer.run(), [""; 0]);
        peer.written();
        peer
    }

    /// A client whose server has said hello.
    pub(crate) fn client() -> Self {
        Self::client_with(&Config::default())
    }

    pub(crate) fn client_with(config: &Config) -> Self {
        let mut peer = Self::with(Role::Client, config);
        peer.receive(&settings(&[]));
        peer.receive(&frame(FrameKind::Settings, flag::ACK, 0, b""));
        assert_eq!(peer.run(), [""; 0]);
        peer.written();
        peer
    }

    /// A client that has sent a request with this method.
    pub(crate) fn client_after(method: Method) -> Self {
        let mut peer = Self::client();
        peer.request(method, BodyLength::None);
        peer.written();
        peer
    }

    /// Opens a stream and writes a request's head.
    pub(crate) fn request(&mut self, method: Method, body: BodyLength) -> StreamId {
        let mut head = Head::new();
        head.reset_to_request(method, b"a", b"/");
        self.send(&head, body)
    }

    pub(crate) fn send(&mut self, head: &Head, body: BodyLength) -> StreamId {
        let stream = self.codec.open_stream().expect("the connection takes streams");
        self.encode_head(stream, head, body).expect("a request may be written");
        stream
    }

    /// A response's head without fields.
    pub(crate) fn respond(
        &mut self,
        stream: u32,
        status: u16,
        body: BodyLength,
    ) -> Result<(), EncodeError> {
        let mut head = Head::new();
        head.reset_to_response(status);
        self.encode_head(StreamId::new(stream), &head, body)
    }

    /// Bytes arrive, in a buffer of their own.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let mut chain = Chain::copy_from(bytes, &self.pool).expect("the pool has room");
        self.input.append(&mut chain);
    }

    /// Lends the machine what a worker would.
    pub(crate) fn lend<R>(
        &mut self,
        f: impl FnOnce(&mut Http2, &mut Chain, &mut CodecContext<'_>) -> R,
    ) -> R {
        let mut cx = CodecContext {
            output: &mut self.output,
            pool: &self.pool,
            heads: &mut self.heads,
            limits: &self.limits,
            now: self.now,
        };
        f(&mut self.codec, &mut self.input, &mut cx)
    }

    pub(crate) fn encode_head(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
    ) -> Result<(), EncodeError> {
        self.lend(|codec, _, cx| codec.encode_head(stream, head, body, cx))
    }

    /// Gives a stream up.
    pub(crate) fn reset(&mut self, stream: StreamId) {
        let reason = sluice_l7_core::ResetReason::Cancelled;
        self.lend(|codec, _, cx| codec.encode_reset(stream, reason, cx));
        self.output.clear();
    }

    pub(crate) fn encode_body(&mut self, stream: u32, bytes: &[u8]) -> Result<usize, EncodeError> {
        let mut chain = Chain::copy_from(bytes, &self.pool).expect("the pool has room");
        self.lend(|codec, _, cx| codec.encode_body(StreamId::new(stream), &mut chain, cx))
    }

    pub(crate) fn encode_last(&mut self, stream: u32, bytes: &[u8]) -> Result<usize, EncodeError> {
        let mut chain = Chain::copy_from(bytes, &self.pool).expect("the pool has room");
        self.lend(|codec, _, cx| codec.encode_last(StreamId::new(stream), &mut chain, cx))
    }

    pub(crate) fn encode_end(
        &mut self,
        stream: u32,
        trailers: Option<&Head>,
    ) -> Result<(), EncodeError> {
        self.lend(|codec, _, cx| codec.encode_end(StreamId::new(stream), trailers, cx))
    }

    /// Writes what waits, burst by burst: (stream, bytes).
    pub(crate) fn drain_output(&mut self, burst: usize) -> Vec<(u32, usize)> {
        let mut bursts = Vec::new();
        while let Some(drained) = self.lend(|codec, _, cx| codec.poll_body(burst, cx)) {
            bursts.push((drained.stream.number(), drained.bytes));
        }
        bursts
    }

    /// Decodes until nothing comes: a line for each event.
    pub(crate) fn run(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.lend(Codec::decode) {
                Ok(Some(event)) => said.push(self.hear(event)),
                Ok(None) => return said,
                Err(error) => {
                    said.push(format!("error {}", error.reason));
                    return said;
                }
            }
        }
    }

    /// The clock moves on, and what comes due is done.
    pub(crate) fn wait(&mut self, millis: u64) -> Vec<String> {
        self.now = self.now.plus_nanos(millis * 1_000_000);
        let mut said = Vec::new();
        loop {
            match self.lend(|codec, _, cx| codec.handle_timeout(cx)) {
                Ok(Some(event)) => said.push(self.hear(event)),
                Ok(None) => return said,
                Err(error) => {
                    said.push(format!("error {}", error.reason));
                    return said;
                }
            }
        }
    }

    pub(crate) fn end_of_input(&mut self) -> Result<Option<Event>, ProtocolError> {
        self.lend(|codec, _, cx| codec.handle_end_of_input(cx))
    }

    fn hear(&mut self, event: Event) -> String {
        match event {
            Event::Head { stream, head, body } => {
                let line = format!("{} {head:?} => {body:?}", stream.number());
                self.heads.put(head);
                line
            }
            Event::Informational { stream, head } => {
                let line = format!("{} informational {head:?}", stream.number());
                self.heads.put(head);
                line
            }
            Event::Body { stream, bytes } => {
                assert!(!bytes.is_empty(), "a body event has bytes");
                let len = bytes.len();
                let text = match len {
                    0..=40 => bytes.to_vec().escape_ascii().to_string(),
                    _ => format!("({len})"),
                };
                drop(bytes);
                if self.credits {
                    self.credit(stream.number(), len);
                }
                format!("{} body {text}", stream.number())
            }
            Event::End { stream, trailers } => match trailers {
                Some(head) => {
                    let line = format!("{} end {head:?}", stream.number());
                    self.heads.put(head);
                    line
                }
                None => format!("{} end", stream.number()),
            },
            Event::Reset { stream, reason, fault } => {
                let fault = fault.map_or(String::new(), |fault| format!(" {}", fault.reason));
                format!("{} reset {reason:?}{fault}", stream.number())
            }
            Event::GoAway { last } => format!("goaway {}", last.number()),
        }
    }

    pub(crate) fn credit(&mut self, stream: u32, bytes: usize) {
        self.lend(|codec, _, cx| codec.credit(StreamId::new(stream), bytes, cx));
    }

    /// Takes what was written: a line for each frame.
    pub(crate) fn written(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.output).to_vec();
        let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(&bytes);
        let (mut lines, mut block) = (Vec::new(), Vec::new());
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::read(header);
            let (payload, behind) = behind.split_at(header.len as usize);
            rest = behind;
            lines.push(self.describe(&header, payload, &mut block));
        }
        assert!(rest.is_empty(), "frames are whole");
        lines
    }

    fn describe(&mut self, header: &FrameHeader, payload: &[u8], block: &mut Vec<u8>) -> String {
        let word = |at: usize| {
            let bytes = payload[at..at + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes)
        };
        let id = header.stream.number();
        let end = if header.has(END_STREAM) { " end" } else { "" };
        match header.kind {
            FrameKind::Data => format!("DATA {id}{end} {}", payload.len()),
            FrameKind::Headers | FrameKind::Continuation => {
                block.extend_from_slice(payload);
                let kind = format!("{:?}", header.kind).to_uppercase();
                let end = if header.kind == FrameKind::Headers { end } else { "" };
                if !header.has(END_HEADERS) {
                    return format!("{kind} {id}{end} ...");
                }
                let (mut text, mut fields) = (Vec::new(), String::new());
                self.decoder
                    .decode(block, 1 << 24, &mut text, |text, line| {
                        let (name, value) = (line.name(text), line.value(text));
                        let name = name.escape_ascii();
                        let value = match value.len() {
                            0..=100 => value.escape_ascii().to_string(),
                            len => format!("({len})"),
                        };
                        let mark = if line.never_indexed { "!" } else { "" };
                        fields.push_str(&format!(" | {name}: {value}{mark}"));
                    })
                    .expect("what the machine writes can be read");
                block.clear();
                format!("{kind} {id}{end}{fields}")
            }
            FrameKind::RstStream => format!("RST_STREAM {id} {:#x}", word(0)),
            FrameKind::Settings if header.has(flag::ACK) => "SETTINGS ack".to_owned(),
            FrameKind::Settings => {
                let entry = |entry: &[u8]| {
                    let value = u32::from_be_bytes(entry[2..].try_into().expect("four bytes"));
                    format!(" {}={value}", entry[1])
                };
                format!("SETTINGS{}", payload.chunks(6).map(entry).collect::<String>())
            }
            FrameKind::Ping if header.has(flag::ACK) => {
                format!("PING ack {}", payload.escape_ascii())
            }
            FrameKind::Ping => "PING".to_owned(),
            FrameKind::GoAway => {
                format!("GOAWAY {} {:#x} {}", word(0), word(4), payload[8..].escape_ascii())
            }
            FrameKind::WindowUpdate => format!("WINDOW_UPDATE {id} +{}", word(0)),
            other => panic!("the machine never writes {other:?}"),
        }
    }

    /// What the machine says and writes to a frame or several.
    pub(crate) fn answer(&mut self, frames: &[u8]) -> (Vec<String>, Vec<String>) {
        self.receive(frames);
        let said = self.run();
        (said, self.written())
    }

    /// The broken rule behind a connection error, and the code in GOAWAY.
    pub(crate) fn refuse(mut self, frames: &[u8]) -> (String, u32) {
        let (said, written) = self.answer(frames);
        let reason = said.last().and_then(|line| line.strip_prefix("error "));
        let reason = reason.unwrap_or_else(|| panic!("no error: {said:?} {written:?}")).to_owned();
        let goaway = written.last().filter(|line| line.starts_with("GOAWAY"));
        let goaway = goaway.unwrap_or_else(|| panic!("no GOAWAY: {written:?}")).clone();
        let code = goaway.split(' ').nth(2).and_then(|code| code.strip_prefix("0x"));
        let code = u32::from_str_radix(code.expect("a code"), 16).expect("a number");
        assert!(goaway.ends_with(&reason), "the peer is told: {goaway}");
        assert!(self.codec.must_close());
        assert_eq!(self.run(), [""; 0], "nothing further is decoded");
        self.census();
        (reason, code)
    }

    /// Ends the test: everything went home.
    pub(crate) fn census(self) {
        let Self { codec, input, output, pool, heads, .. } = self;
        drop((codec, input, output, heads));
        assert_eq!(pool.in_use(), 0, "every buffer is home");
        assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
    }
}

/// A frame.
pub(crate) fn frame(kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    sluice_l7_http2::frame::whole(kind, flags, StreamId::new(stream), payload)
}

/// SETTINGS.
pub(crate) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    sluice_l7_http2::frame::settings(entries, &mut out);
    out
}

/// A block of literals that touches no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "this helper writes short strings");
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// HEADERS with these fields.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(FrameKind::Headers, flags, stream, &block(fields))
}

/// What every request has.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
pub(crate) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

/// A request without a body.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    headers(stream, WHOLE, &GET)
}

/// A request whose body follows.
pub(crate) fn post(stream: u32) -> Vec<u8> {
    headers(stream, END_HEADERS, &POST)
}

/// DATA.
pub(crate) fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(FrameKind::Data, flags, stream, bytes)
}

/// WINDOW_UPDATE.
pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(FrameKind::WindowUpdate, 0, stream, &increment.to_be_bytes())
}

/// RST_STREAM.
pub(crate) fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(FrameKind::RstStream, 0, stream, &code.to_be_bytes())
}

/// GOAWAY.
pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(FrameKind::GoAway, 0, 0, &payload)
}
