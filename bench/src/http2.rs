//! Client and origin of HTTP/2: they speak it by the product's own codec, in time that is not the
//! proxy's.

use std::net::SocketAddrV4;

use hdrhistogram::Histogram;
use sluice_base::{ConnId, Instant};
use sluice_buf::{Chain, Pool};
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, Event, Head, HeadLimits, HeadPool, Method, NameId, Role,
    StreamId,
};
use sluice_l7_http2::{Config, Http2};
use sluice_stack::Ready;

use crate::host::{App, Io};

/// Requests that a client connection has in flight.
pub const STREAMS: u32 = 16;
/// Bytes of a request's body, and of a response's.
pub const BODY: usize = 128;

/// What both of them need for any call of a codec.
struct Wires {
    heads: HeadPool,
    limits: HeadLimits,
}

impl Wires {
    fn new() -> Self {
        Self { heads: HeadPool::new(64, 4_096), limits: HeadLimits::default() }
    }

    /// Gives back the head of an event.
    fn put(&mut self, head: Option<Box<Head>>) {
        if let Some(head) = head {
            self.heads.put(head);
        }
    }
}

/// A connection and its bytes on both sides.
struct Connection {
    codec: Http2,
    input: Chain,
    output: Chain,
    /// Body bytes received, and whether its head was good, by what the stream's token names.
    messages: Vec<Message>,
}

#[derive(Clone, Copy, Default)]
struct Message {
    since: Option<Instant>,
    body: usize,
    good: bool,
}

impl Connection {
    fn new(role: Role) -> Self {
        Self {
            codec: Http2::new(role, &Config::default()),
            input: Chain::new(),
            output: Chain::new(),
            messages: Vec::new(),
        }
    }

    /// Calls the codec.
    fn with<T>(
        &mut self,
        wires: &mut Wires,
        io: &Io<'_>,
        call: impl FnOnce(&mut Http2, &mut Chain, &mut CodecContext<'_>) -> T,
    ) -> T {
        let cx = &mut CodecContext {
            output: &mut self.output,
            pool: io.pool,
            heads: &mut wires.heads,
            limits: &wires.limits,
            now: io.now,
        };
        call(&mut self.codec, &mut self.input, cx)
    }

    fn receive(&mut self, conn: ConnId, io: &mut Io<'_>) {
        self.input.append(&mut io.stack.read(conn, usize::MAX));
    }

    /// Hands on what was written, and gives back what was read.
    fn flush(&mut self, conn: ConnId, io: &mut Io<'_>) {
        let credit = self.codec.take_credit();
        if credit > 0 {
            io.stack.credit(conn, credit, io.now);
        }
        if !self.output.is_empty() {
            io.stack.write(conn, &mut self.output, io.now);
        }
    }

    /// The message that a stream carries.
    fn message(&mut self, stream: StreamId) -> Option<&mut Message> {
        let token = self.codec.token(stream)?;
        self.messages.get_mut(token as usize)
    }
}

/// The client: every connection has [`STREAMS`] requests in flight.
pub struct Http2Load {
    target: SocketAddrV4,
    wires: Wires,
    slots: Vec<(Option<ConnId>, Connection)>,
    /// Which slot a connection belongs to, by its own slot.
    slot_of: Vec<u32>,
    request: Head,
    /// Whether requests and responses are gRPC's: of no announced length, the latter with trailers.
    grpc: bool,
    body: Chain,
    asked: u64,
    /// Whether connections close behind [`STREAMS`] requests, and how many each has still to see
    /// answered.
    closes: bool,
    left: Vec<u32>,
    to_open: Vec<u32>,
    /// Answers that came.
    pub done: u64,
    /// Connections that ended, and answers that were not expected.
    pub failures: u64,
    /// Nanoseconds from when a request was sent to the end of its answer.
    pub latency: Histogram<u64>,
}

impl Http2Load {
    /// `connections` clients of `target`, whose requests live in `pool`.
    ///
    /// # Panics
    /// When the pool is too small for one request.
    #[must_use]
    pub fn new(target: SocketAddrV4, connections: u32, grpc: bool, pool: &Pool) -> Self {
        let fresh = |_| (None, Connection::new(Role::Client));
        Self {
            target,
            wires: Wires::new(),
            slots: (0..connections).map(fresh).collect(),
            slot_of: Vec::new(),
            request: request(grpc),
            grpc,
            body: Chain::copy_from(&body(b'q', grpc), pool).expect("the pool has room for one"),
            asked: 0,
            closes: false,
            left: vec![0; connections as usize],
            to_open: (0..connections).collect(),
            done: 0,
            failures: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds"),
        }
    }

    /// From now on every connection closes when [`STREAMS`] requests were answered, and another one
    /// opens; requests have cookies.
    pub fn close_behind_calls(&mut self) {
        self.closes = true;
        self.request.append(NameId::COOKIE, b"session=5f1c");
        self.request.append(NameId::COOKIE, b"theme=dark");
    }

    fn ask(&mut self, index: u32, message: usize, io: &Io<'_>) {
        self.asked += 1;
        // As every mesh does: an identifier that is never the same.
        let id =
            format!("{:032x}", u128::from(self.asked).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c));
        self.request.set(NameId::X_REQUEST_ID, id.as_bytes());
        let (_, connection) = &mut self.slots[index as usize];
        connection.messages[message] = Message { since: Some(io.now), ..Message::default() };
        let length = if self.grpc { BodyLength::Chunked } else { BodyLength::Known(BODY as u64) };
        let mut body = self.body.clone_range(0, BODY);
        let request = &self.request;
        let sent = connection.with(&mut self.wires, io, |codec, _, cx| {
            let stream = codec.open_stream()?;
            codec.set_token(stream, message as u64);
            codec.encode_head(stream, request, length, cx).ok()?;
            codec.encode_last(stream, &mut body, cx).ok()
        });
        self.failures += u64::from(sent.is_none());
    }

    fn receive(&mut self, index: u32, conn: ConnId, io: &mut Io<'_>) {
        self.slots[index as usize].1.receive(conn, io);
        loop {
            let (_, connection) = &mut self.slots[index as usize];
            let event = connection.with(&mut self.wires, io, Codec::decode);
            match event {
                Ok(None) => return,
                Ok(Some(event)) => self.handle_event(index, event, io),
                Err(_) => {
                    self.failures += 1;
                    return;
                }
            }
        }
    }

    fn handle_event(&mut self, index: u32, event: Event, io: &mut Io<'_>) {
        let (_, connection) = &mut self.slots[index as usize];
        match event {
            Event::Head { stream, head, .. } => {
                if let Some(message) = connection.message(stream) {
                    message.good = head.status() == 200;
                }
                self.wires.heads.put(head);
            }
            Event::Body { stream, bytes } => {
                if let Some(message) = connection.message(stream) {
                    message.body += bytes.len();
                }
                connection.with(&mut self.wires, io, |codec, _, cx| {
                    codec.credit(stream, bytes.len(), cx);
                });
            }
            Event::End { stream, trailers } => {
                let Some(token) = connection.codec.token(stream) else { return };
                let message = connection.messages[token as usize];
                let said = trailers.as_ref().and_then(|head| head.get(NameId::GRPC_STATUS));
                let good = message.good
                    && message.body == BODY
                    && said == self.grpc.then_some(b"0".as_slice());
                self.wires.put(trailers);
                self.failures += u64::from(!good);
                if let Some(since) = message.since {
                    self.latency.saturating_record(io.now.nanos_since(since).max(1));
                }
                self.done += 1;
                let left = &mut self.left[index as usize];
                *left -= u32::from(self.closes);
                if *left > 0 {
                    if !self.closes {
                        self.ask(index, token as usize, io);
                    }
                } else if let Some(conn) = self.slots[index as usize].0.take() {
                    io.stack.close(conn, io.now);
                    self.to_open.push(index);
                }
            }
            Event::Informational { head, .. } => self.wires.heads.put(head),
            Event::Reset { .. } | Event::GoAway { .. } => self.failures += 1,
        }
    }
}

impl App for Http2Load {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        let Some(index) = self.slot_of.get(conn.index as usize).copied() else { return };
        if self.slots[index as usize].0 != Some(conn) {
            // One that we have closed.
            return;
        }
        if ready.connected() {
            let messages = vec![Message::default(); STREAMS as usize];
            self.slots[index as usize].1.messages = messages;
            self.left[index as usize] = STREAMS;
            for message in 0..STREAMS as usize {
                self.ask(index, message, io);
            }
        }
        if ready.readable() {
            self.receive(index, conn, io);
        }
        if ready.peer_closed() || ready.closed() {
            self.failures += 1;
            self.slots[index as usize].0 = None;
            return;
        }
        if self.slots[index as usize].0 == Some(conn) {
            self.slots[index as usize].1.flush(conn, io);
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        while let Some(index) = self.to_open.pop() {
            let config = sluice_tcp::Config::default();
            let result = io.stack.connect(self.target, &config, index, io.now);
            let conn = result.expect("a client has ports and memory for its scenario");
            let place = conn.index as usize;
            if self.slot_of.len() <= place {
                self.slot_of.resize(place + 1, u32::MAX);
            }
            self.slot_of[place] = index;
            self.slots[index as usize] = (Some(conn), Connection::new(Role::Client));
        }
    }
}

/// The origin: answers every request with [`BODY`] bytes.
pub struct Http2Origin {
    wires: Wires,
    connections: Vec<Option<Connection>>,
    response: Head,
    trailers: Option<Head>,
    body: Chain,
}

impl Http2Origin {
    /// An origin whose responses live in `pool`.
    ///
    /// # Panics
    /// When the pool is too small for one response.
    #[must_use]
    pub fn new(grpc: bool, pool: &Pool) -> Self {
        let mut trailers = Head::new();
        trailers.append(NameId::GRPC_STATUS, b"0");
        trailers.append(NameId::GRPC_MESSAGE, b"");
        Self {
            wires: Wires::new(),
            connections: Vec::new(),
            response: response(grpc),
            trailers: grpc.then_some(trailers),
            body: Chain::copy_from(&body(b'a', grpc), pool).expect("the pool has room for one"),
        }
    }

    fn receive(&mut self, conn: ConnId, io: &mut Io<'_>) {
        let slot = conn.index as usize;
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        connection.receive(conn, io);
        loop {
            let event = connection.with(&mut self.wires, io, Codec::decode);
            // A peer that breaks the protocol gets no more answers, which ends the run.
            let Ok(Some(event)) = event else { return };
            match event {
                Event::Head { stream, head, .. } => {
                    let message = stream.number() as usize / 2 % connection.messages.len();
                    connection.codec.set_token(stream, message as u64);
                    connection.messages[message] = Message::default();
                    self.wires.heads.put(head);
                }
                Event::Body { stream, bytes } => {
                    if let Some(message) = connection.message(stream) {
                        message.body += bytes.len();
                    }
                    connection.with(&mut self.wires, io, |codec, _, cx| {
                        codec.credit(stream, bytes.len(), cx);
                    });
                }
                Event::End { stream, trailers } => {
                    self.wires.put(trailers);
                    let whole = connection.message(stream).is_some_and(|it| it.body == BODY);
                    let mut body = self.body.clone_range(0, if whole { BODY } else { 0 });
                    let length = match self.trailers {
                        Some(_) => BodyLength::Chunked,
                        None => BodyLength::Known(BODY as u64),
                    };
                    let (response, trailers) = (&self.response, self.trailers.as_ref());
                    connection
                        .with(&mut self.wires, io, |codec, _, cx| {
                            codec.encode_head(stream, response, length, cx)?;
                            codec.encode_body(stream, &mut body, cx)?;
                            codec.encode_end(stream, trailers, cx)
                        })
                        .expect("the response of a bench can be written");
                }
                Event::Informational { head, .. } => self.wires.heads.put(head),
                Event::Reset { .. } | Event::GoAway { .. } => {}
            }
        }
    }
}

impl App for Http2Origin {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        let slot = conn.index as usize;
        if ready.accepted() {
            if self.connections.len() <= slot {
                self.connections.resize_with(slot + 1, || None);
            }
            let mut fresh = Connection::new(Role::Server);
            fresh.messages = vec![Message::default(); 1_024];
            self.connections[slot] = Some(fresh);
        }
        if ready.readable() {
            self.receive(conn, io);
        }
        if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) {
            connection.flush(conn, io);
        }
        if ready.peer_closed() || ready.closed() {
            io.stack.close(conn, io.now);
            if let Some(connection) = self.connections.get_mut(slot) {
                *connection = None;
            }
        }
    }

    fn poll(&mut self, _io: &mut Io<'_>) {}
}

/// A unary call as a client of gRPC in Go begins it, behind a mesh's ingress; without trailers and
/// with a length for those who are not to see gRPC.
fn request(grpc: bool) -> Head {
    let mut head = Head::new();
    head.reset_to_request(Method::Post, b"shop.example:8080", b"/shop.v1.Cart/AddItem");
    if grpc {
        head.append(NameId::CONTENT_TYPE, b"application/grpc");
        head.append(NameId::TE, b"trailers");
    } else {
        head.append(NameId::CONTENT_TYPE, b"application/json");
        head.append(NameId::CONTENT_LENGTH, b"128");
    }
    head.append(NameId::USER_AGENT, b"grpc-go/1.68.0");
    head.append("grpc-accept-encoding", b"gzip");
    head.append("x-tenant", b"blue");
    head
}

/// [`BODY`] bytes: of gRPC, one message.
fn body(filler: u8, grpc: bool) -> [u8; BODY] {
    let mut body = [filler; BODY];
    if grpc {
        body[..5].copy_from_slice(&[0, 0, 0, 0, BODY as u8 - 5]);
    }
    body
}

/// The same request as HTTP/1.1 says it.
#[must_use]
pub fn plain_request() -> Vec<u8> {
    let mut bytes = b"POST /shop.v1.Cart/AddItem HTTP/1.1\r\nHost: shop.example:8080\r\n\
        Content-Type: application/json\r\nContent-Length: 128\r\nUser-Agent: grpc-go/1.68.0\r\n\
        Grpc-Accept-Encoding: gzip\r\nX-Tenant: blue\r\n\
        X-Request-Id: 000000000000000000009e3779b97f4a7c15\r\n\r\n"
        .to_vec();
    bytes.resize(bytes.len() + BODY, b'q');
    bytes
}

fn response(grpc: bool) -> Head {
    let mut head = Head::new();
    head.reset_to_response(200);
    if grpc {
        head.append(NameId::CONTENT_TYPE, b"application/grpc");
    } else {
        head.append(NameId::CONTENT_TYPE, b"application/json");
        head.append(NameId::CONTENT_LENGTH, b"128");
    }
    head
}
