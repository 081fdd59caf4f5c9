//! One connection of HTTP/2 on the stack of a host: the product's machine, driven by an application that
//! copies everything and takes its time.

use std::collections::BTreeMap;

use sluice_base::{ConnId, Instant};
use sluice_buf::Chain;
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, Event, Head, HeadLimits, HeadPool, Method, ResetReason, Role,
    StreamId,
};
use sluice_l7_http2::{Config, Http2};

use crate::app::Io;

/// Bytes queued at a connection before the application waits for room.
const QUEUE_MAX: usize = 64 * 1024;
/// Body bytes that the machine is given at a time.
const PIECE: usize = 8 * 1024;
/// What every connection of the product lets its peer send at least, less what it may have been credited
/// without saying so.
const WINDOW_LEAST: i64 = 262_144 / 4 * 3;

/// What the peer said.
#[derive(Debug)]
pub enum Said {
    /// A head; `start` is that of HTTP/1.1. A body may follow.
    Head(u32, String, Vec<(String, String)>),
    /// A 1xx.
    Informational(u32),
    /// Body bytes, which are still to be credited.
    Body(u32, Vec<u8>),
    /// The message is complete.
    End(u32, Vec<(String, String)>),
    /// The stream was given up.
    Reset(u32),
}

/// How our message on a stream ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// As it should, perhaps with a trailer field.
    Whole(Option<(&'static str, u64)>),
    /// By RST_STREAM.
    Reset(ResetReason),
    /// With its connection.
    Close,
    /// With GOAWAY: the last that this connection takes.
    Drain,
    /// Not at all.
    Never,
}

/// A body that is being said.
struct Saying {
    bytes: Vec<u8>,
    said: usize,
    /// Given to the machine, and not on its way.
    waiting: usize,
    ending: Ending,
}

/// The connection. See the [module's page](self).
pub struct Speaker {
    conn: ConnId,
    codec: Box<Http2>,
    input: Chain,
    output: Chain,
    heads: HeadPool,
    limits: HeadLimits,
    saying: BTreeMap<u32, Saying>,
    /// Streams whose message has been said to its end.
    pub said_all: Vec<u32>,
    /// Credit that is given later: when, stream, bytes.
    owed: Vec<(Instant, u32, usize)>,
    /// No memory for what there was to say: again then.
    retry_at: Instant,
    closed: bool,
}

impl Speaker {
    /// A fresh connection.
    #[must_use]
    pub fn new(conn: ConnId, role: Role, streams_max: u32) -> Self {
        // Bad weather lasts a minute; whoever waits longer for an answer has a reason.
        let config = Config { streams_max, answer_timeout_ms: 100_000, ..Config::default() };
        Self {
            conn,
            codec: Box::new(Http2::new(role, &config)),
            input: Chain::new(),
            output: Chain::new(),
            heads: HeadPool::new(1, 64),
            limits: HeadLimits::default(),
            saying: BTreeMap::new(),
            said_all: Vec::new(),
            owed: Vec::new(),
            retry_at: Instant::NEVER,
            closed: false,
        }
    }

    fn lend<R>(
        &mut self,
        io: &Io<'_>,
        call: impl FnOnce(&mut Http2, &mut Chain, &mut CodecContext<'_>) -> R,
    ) -> R {
        let mut cx = CodecContext {
            output: &mut self.output,
            pool: io.pool,
            heads: &mut self.heads,
            limits: &self.limits,
            now: io.now,
        };
        call(&mut self.codec, &mut self.input, &mut cx)
    }

    /// Bytes that were read before it was known what is spoken; false: no memory.
    pub fn push(&mut self, bytes: &[u8], io: &Io<'_>) -> bool {
        match Chain::copy_from(bytes, io.pool) {
            Ok(mut chain) => {
                self.input.append(&mut chain);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes what has arrived. What was said, and the fault that ends the connection.
    pub fn receive(&mut self, io: &mut Io<'_>) -> (Vec<Said>, Option<&'static str>) {
        let mut chain = io.stack.read(self.conn, usize::MAX);
        let count = chain.len();
        self.input.append(&mut chain);
        if count > 0 {
            io.stack.credit(self.conn, count, io.now);
        }
        self.hear(io, Codec::decode)
    }

    /// Does what has come due.
    pub fn wake(&mut self, io: &Io<'_>) -> (Vec<Said>, Option<&'static str>) {
        let due: Vec<_> = self.owed.extract_if(.., |(at, ..)| *at <= io.now).collect();
        for (_, stream, bytes) in due {
            self.credit(stream, bytes, io);
        }
        if self.codec.next_deadline() > io.now {
            return (Vec::new(), None);
        }
        self.hear(io, |codec, _, cx| codec.handle_timeout(cx))
    }

    fn hear(
        &mut self,
        io: &Io<'_>,
        mut next: impl FnMut(
            &mut Http2,
            &mut Chain,
            &mut CodecContext<'_>,
        ) -> Result<Option<Event>, sluice_l7_core::ProtocolError>,
    ) -> (Vec<Said>, Option<&'static str>) {
        let mut said = Vec::new();
        loop {
            let event = match self.lend(io, &mut next) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return (said, Some(error.reason)),
            };
            match event {
                Event::Head { stream, head, body } => {
                    let id = stream.number();
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let start = match head.status() {
                        0 => format!("{} {}", text(head.method_text()), text(head.path())),
                        status => format!("HTTP/2 {status}"),
                    };
                    said.push(Said::Head(id, start, lines(&head)));
                    if body.is_none() {
                        said.push(Said::End(id, Vec::new()));
                    }
                    self.heads.put(head);
                }
                Event::Informational { stream, head } => {
                    self.heads.put(head);
                    said.push(Said::Informational(stream.number()));
                }
                Event::Body { stream, bytes } => {
                    said.push(Said::Body(stream.number(), bytes.to_vec()));
                }
                Event::End { stream, trailers } => {
                    let fields = trailers.as_deref().map(lines).unwrap_or_default();
                    if let Some(head) = trailers {
                        self.heads.put(head);
                    }
                    said.push(Said::End(stream.number(), fields));
                }
                Event::Reset { stream, fault, .. } => {
                    said.push(Said::Reset(stream.number()));
                    // What the product does of its own accord breaks no rule; time may.
                    let excused = ["too-many-streams", "stream-stalled", "half-closed-too-long"];
                    if let Some(fault) = fault.filter(|fault| !excused.contains(&fault.reason)) {
                        return (said, Some(fault.reason));
                    }
                }
                Event::GoAway { .. } => {}
            }
        }
        if let Err(what) = self.codec.check() {
            return (said, Some(what));
        }
        (said, None)
    }

    /// Opens a stream with a request.
    pub fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: BodyLength,
        io: &Io<'_>,
    ) -> Option<u32> {
        let mut head = Head::new();
        head.reset_to_request(method, b"sim.test", path.as_bytes());
        let stream = self.codec.open_stream()?;
        self.head(stream, &head, body, io).then_some(stream.number())
    }

    /// Answers a stream; false: no memory, and the stream is given up.
    pub fn answer(
        &mut self,
        stream: u32,
        status: u16,
        id: u64,
        body: BodyLength,
        io: &Io<'_>,
    ) -> bool {
        let mut head = Head::new();
        head.reset_to_response(status);
        head.append("x-id", id.to_string().as_bytes());
        self.head(StreamId::new(stream), &head, body, io)
    }

    fn head(&mut self, stream: StreamId, head: &Head, body: BodyLength, io: &Io<'_>) -> bool {
        let written = self.lend(io, |codec, _, cx| codec.encode_head(stream, head, body, cx));
        if written.is_err() {
            self.lend(io, |codec, _, cx| {
                codec.encode_reset(stream, ResetReason::Internal, cx);
            });
        }
        written.is_ok()
    }

    /// Says a body, as fast as it goes.
    pub fn say(&mut self, stream: u32, bytes: Vec<u8>, ending: Ending) {
        self.saying.insert(stream, Saying { bytes, said: 0, waiting: 0, ending });
    }

    /// Gives a stream up.
    pub fn reset(&mut self, stream: u32, reason: ResetReason, io: &Io<'_>) {
        self.saying.remove(&stream);
        self.lend(io, |codec, _, cx| codec.encode_reset(StreamId::new(stream), reason, cx));
    }

    /// Bytes that the peer may not expect, behind those that were written.
    pub fn scribble(&mut self, bytes: &[u8], io: &Io<'_>) {
        // Without memory it stays unsaid.
        let _lost = self.output.append_copy(bytes, io.pool);
    }

    /// Bytes have been read.
    pub fn credit(&mut self, stream: u32, bytes: usize, io: &Io<'_>) {
        self.lend(io, |codec, _, cx| codec.credit(StreamId::new(stream), bytes, cx));
    }

    /// Bytes will be read at `at`.
    pub fn credit_at(&mut self, at: Instant, stream: u32, bytes: usize) {
        self.owed.push((at, stream, bytes));
    }

    /// Says what there is to say.
    pub fn flush(&mut self, io: &mut Io<'_>) {
        if self.closed {
            return;
        }
        self.retry_at = Instant::NEVER;
        let (mut drains, mut closes) = (false, false);
        let streams: Vec<u32> = self.saying.keys().copied().collect();
        for stream in streams {
            match self.say_more(stream, io) {
                Some(Ending::Close) => closes = true,
                Some(Ending::Drain) => drains = true,
                Some(Ending::Whole(_) | Ending::Reset(_) | Ending::Never) | None => {}
            }
        }
        while !self.is_full(io)
            && let Some(drained) = self.lend(io, |codec, _, cx| codec.poll_body(PIECE, cx))
        {
            if let Some(saying) = self.saying.get_mut(&drained.stream.number()) {
                saying.waiting -= drained.bytes.min(saying.waiting);
            }
        }
        if drains {
            self.lend(io, |codec, _, cx| codec.drain(cx));
        }
        if !self.output.is_empty() {
            io.stack.write(self.conn, &mut self.output, io.now);
        }
        if closes || self.codec.must_close() {
            self.close(io);
        }
    }

    fn is_full(&self, io: &Io<'_>) -> bool {
        io.stack.queued(self.conn) + self.output.len() >= QUEUE_MAX
    }

    /// The next pieces of one body; how it ended, if it has.
    fn say_more(&mut self, stream: u32, io: &Io<'_>) -> Option<Ending> {
        let id = StreamId::new(stream);
        if self.codec.token(id).is_none() {
            // The peer gave it up.
            self.saying.remove(&stream);
            return None;
        }
        loop {
            let saying = self.saying.get(&stream)?;
            let rest = &saying.bytes[saying.said..];
            if saying.waiting > 0 || (!rest.is_empty() && self.is_full(io)) {
                return None;
            }
            if rest.is_empty() {
                break;
            }
            let piece = &rest[..rest.len().min(PIECE)];
            let Ok(mut chain) = Chain::copy_from(piece, io.pool) else {
                self.retry_at = io.now.plus_nanos(100_000_000);
                return None;
            };
            let count = chain.len();
            let written = self.lend(io, |codec, _, cx| codec.encode_body(id, &mut chain, cx));
            let written = written.expect("the message was begun, and is as long as it says");
            let saying = self.saying.get_mut(&stream)?;
            saying.said += count;
            saying.waiting = count - written;
        }
        let ending = self.saying.get(&stream)?.ending;
        let trailers = match ending {
            Ending::Reset(reason) => {
                self.reset(stream, reason, io);
                return Some(ending);
            }
            Ending::Never | Ending::Close => {
                self.saying.remove(&stream);
                return Some(ending);
            }
            Ending::Drain => None,
            Ending::Whole(trailers) => trailers,
        };
        let mut head = Head::new();
        if let Some((name, value)) = trailers {
            head.append(name, value.to_string().as_bytes());
        }
        let trailers = trailers.is_some().then_some(&head);
        if self.lend(io, |codec, _, cx| codec.encode_end(id, trailers, cx)).is_err() {
            self.retry_at = io.now.plus_nanos(100_000_000);
            return None;
        }
        self.saying.remove(&stream);
        self.said_all.push(stream);
        Some(ending)
    }

    /// Takes no new streams.
    pub fn drain(&mut self, io: &Io<'_>) {
        self.lend(io, |codec, _, cx| codec.drain(cx));
    }

    /// Closes the connection, whatever it carries.
    pub fn close(&mut self, io: &mut Io<'_>) {
        if !std::mem::replace(&mut self.closed, true) {
            if !self.output.is_empty() {
                io.stack.write(self.conn, &mut self.output, io.now);
            }
            io.stack.close(self.conn, io.now);
        }
    }

    /// Whether it will take no more requests.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.closed || self.codec.must_close()
    }

    /// Streams that are in progress.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.codec.streams().count()
    }

    /// What is wrong with a connection on which nothing has moved for long.
    #[must_use]
    pub fn fault_at_rest(&self) -> Option<String> {
        if self.closed || self.codec.must_close() {
            return None;
        }
        if self.streams() > 0 {
            return Some(format!("{} streams never ended", self.streams()));
        }
        let window = self.codec.send_window(StreamId::CONNECTION).unwrap_or(0);
        if window < WINDOW_LEAST {
            return Some(format!("only {window} bytes of the product's window are left"));
        }
        let uncredited = self.codec.uncredited();
        (uncredited > 0).then(|| format!("{uncredited} bytes of our own window are lost"))
    }

    /// When something is due.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let owed = self.owed.iter().map(|(at, ..)| *at).min().unwrap_or(Instant::NEVER);
        self.codec.next_deadline().min(owed).min(self.retry_at)
    }
}

fn lines(head: &Head) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.iter().map(|(name, value)| (text(name), text(value))).collect()
}
