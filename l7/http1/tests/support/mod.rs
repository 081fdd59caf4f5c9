//! A peer for a codec: bytes in, a readable transcript out.
#![allow(dead_code, reason = "each test file uses its own part")]

use sluice_base::Instant;
use sluice_buf::{Chain, Pool, chain_nodes_in_use};
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, EncodeError, Event, Head, HeadLimits, HeadPool, Method,
    NameId, ProtocolError, Role, StreamId,
};
use sluice_l7_http1::Http1;

thread_local! {
    /// Every test has a thread; its peers take turns with one pool.
    static POOL: Pool = Pool::heap(4_096);
}

/// One codec with what a worker would lend it.
pub(crate) struct Peer {
    pub(crate) codec: Http1,
    pub(crate) input: Chain,
    pub(crate) output: Chain,
    pub(crate) pool: Pool,
    pub(crate) heads: HeadPool,
    pub(crate) limits: HeadLimits,
    pub(crate) stream: StreamId,
}

impl Peer {
    pub(crate) fn new(role: Role) -> Self {
        Self::with_limits(role, HeadLimits::default())
    }

    pub(crate) fn with_limits(role: Role, limits: HeadLimits) -> Self {
        Self {
            codec: Http1::new(role),
            input: Chain::new(),
            output: Chain::new(),
            pool: POOL.with(Pool::share),
            heads: HeadPool::new(4, 16),
            limits,
            stream: StreamId::CONNECTION,
        }
    }

    pub(crate) fn server() -> Self {
        Self::new(Role::Server)
    }

    /// A client that has sent a request with this method.
    pub(crate) fn client_after(method: Method) -> Self {
        let mut peer = Self::new(Role::Client);
        let mut head = Head::new();
        head.reset_to_request(method, b"a.example", b"/");
        peer.request(&head, BodyLength::None);
        peer.output = Chain::new();
        peer
    }

    /// Opens a stream and writes a request's head.
    pub(crate) fn request(&mut self, head: &Head, body: BodyLength) {
        self.stream = self.codec.open_stream().expect("the connection is free");
        self.encode_head(head, body).expect("a request may be written");
    }

    /// Bytes arrive, in a buffer of their own.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let mut chain = Chain::copy_from(bytes, &self.pool).expect("the pool has room");
        self.input.append(&mut chain);
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Http1, &mut Chain, &mut CodecContext<'_>) -> R) -> R {
        let mut cx = CodecContext {
            output: &mut self.output,
            pool: &self.pool,
            heads: &mut self.heads,
            limits: &self.limits,
            now: Instant::ZERO,
        };
        f(&mut self.codec, &mut self.input, &mut cx)
    }

    pub(crate) fn decode(&mut self) -> Result<Option<Event>, ProtocolError> {
        self.with(Codec::decode)
    }

    pub(crate) fn end_of_input(&mut self) -> Result<Option<Event>, ProtocolError> {
        self.with(|codec, _, cx| codec.handle_end_of_input(cx))
    }

    pub(crate) fn encode_head(&mut self, head: &Head, body: BodyLength) -> Result<(), EncodeError> {
        let stream = self.stream;
        self.with(|codec, _, cx| codec.encode_head(stream, head, body, cx))
    }

    /// A response's head with one field.
    pub(crate) fn respond(&mut self, status: u16, body: BodyLength) -> Result<(), EncodeError> {
        let mut head = Head::new();
        head.reset_to_response(status);
        self.encode_head(&head, body)
    }

    pub(crate) fn encode_body(&mut self, bytes: &[u8]) -> Result<usize, EncodeError> {
        let stream = self.stream;
        let mut chain = Chain::copy_from(bytes, &self.pool).expect("the pool has room");
        self.with(|codec, _, cx| codec.encode_body(stream, &mut chain, cx))
    }

    pub(crate) fn encode_end(&mut self, trailers: Option<&Head>) -> Result<(), EncodeError> {
        let stream = self.stream;
        self.with(|codec, _, cx| codec.encode_end(stream, trailers, cx))
    }

    pub(crate) fn drain(&mut self) {
        self.with(|codec, _, cx| codec.drain(cx));
    }

    /// Takes what was written.
    pub(crate) fn written(&mut self) -> String {
        let bytes = std::mem::take(&mut self.output).to_vec();
        bytes.escape_ascii().to_string().replace("\\r\\n", "\n")
    }

    /// Decodes until nothing comes, answering each complete request with an empty 200.
    pub(crate) fn run(&mut self, said: &mut Transcript) {
        loop {
            let event = match self.decode() {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    said.end_body();
                    said.lines.push(format!("error {} {}", error.status(), error.reason));
                    return;
                }
            };
            let complete = match &event {
                Event::Head { body, .. } => body.is_none(),
                Event::End { .. } => true,
                _ => false,
            };
            said.hear(event, &mut self.heads);
            if complete && said.answers {
                let answered = self.respond(200, BodyLength::None);
                said.lines.push(format!("answered {answered:?}"));
            }
        }
    }

    /// Ends the test: everything went home.
    pub(crate) fn census(self) {
        let Self { input, output, pool, heads, .. } = self;
        drop((input, output, heads));
        assert_eq!(pool.in_use(), 0, "every buffer is home");
        assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
    }
}

/// What was heard, one line for each event; body bytes are joined.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) lines: Vec<String>,
    body: Vec<u8>,
    answers: bool,
}

impl Transcript {
    pub(crate) fn hear(&mut self, event: Event, heads: &mut HeadPool) {
        match event {
            Event::Body { bytes, .. } => {
                assert!(!bytes.is_empty(), "a body event has bytes");
                self.body.extend(bytes.to_vec());
            }
            Event::Head { head, body, .. } => {
                self.end_body();
                self.lines.push(format!("{head:?} => {body:?}"));
                heads.put(head);
            }
            Event::Informational { head, .. } => {
                self.end_body();
                self.lines.push(format!("informational {head:?}"));
                heads.put(head);
            }
            Event::End { trailers, .. } => {
                self.end_body();
                match trailers {
                    Some(head) => {
                        self.lines.push(format!("end {head:?}"));
                        heads.put(head);
                    }
                    None => self.lines.push("end".to_owned()),
                }
            }
            other => self.lines.push(format!("{other:?}")),
        }
    }

    pub(crate) fn end_body(&mut self) {
        if !self.body.is_empty() {
            let body = std::mem::take(&mut self.body);
            let text = if body.len() > 200 {
                format!("{} bytes", body.len())
            } else {
                body.escape_ascii().to_string()
            };
            self.lines.push(format!("body {text}"));
        }
    }
}

/// Feeds `bytes` cut at `cuts` to `peer`, then the end of input; what was said, written, and left.
pub(crate) fn transcript(
    mut peer: Peer,
    bytes: &[u8],
    cuts: impl Iterator<Item = usize>,
) -> Vec<String> {
    let answers = peer.codec.is_idle();
    let mut said = Transcript { answers, ..Transcript::default() };
    let mut at = 0;
    for cut in cuts.chain([bytes.len()]) {
        if cut > at {
            peer.receive(&bytes[at..cut]);
            at = cut;
            peer.run(&mut said);
        }
    }
    match peer.end_of_input() {
        Ok(Some(event)) => {
            said.end_body();
            said.hear(event, &mut peer.heads);
        }
        Ok(None) => {}
        Err(error) => {
            said.end_body();
            said.lines.push(format!("error {} {}", error.status(), error.reason));
        }
    }
    said.end_body();
    said.lines.push(format!("close={} written={}", peer.codec.must_close(), peer.written().len()));
    peer.census();
    said.lines
}

/// The transcript of `bytes`, which is the same however they are cut: whole, one byte at a time, and
/// in two at every position (at most 2,000 of them).
pub(crate) fn every_way(peer: impl Fn() -> Peer, bytes: &[u8]) -> Vec<String> {
    let whole = transcript(peer(), bytes, std::iter::empty());
    if bytes.len() < 2_000 {
        let single = transcript(peer(), bytes, 1..bytes.len());
        assert_eq!(single, whole, "byte by byte: {}", bytes.escape_ascii());
    }
    let step = bytes.len() / 500 + 1;
    for cut in (1..bytes.len()).step_by(step) {
        let two = transcript(peer(), bytes, std::iter::once(cut));
        assert_eq!(two, whole, "cut at {cut}: {}", bytes.escape_ascii());
    }
    whole
}

/// What a server says to `bytes`, without the last line.
pub(crate) fn served(bytes: &[u8]) -> Vec<String> {
    let mut lines = every_way(Peer::server, bytes);
    lines.pop();
    lines.retain(|line| !line.starts_with("answered Ok"));
    lines
}

/// What a client says to `bytes` after a request of this method, without the last line.
pub(crate) fn answered(method: Method, bytes: &[u8]) -> Vec<String> {
    let mut lines = every_way(|| Peer::client_after(method), bytes);
    lines.pop();
    lines
}

/// A request asking for an upgrade.
pub(crate) fn upgrade_request() -> Head {
    let mut head = Head::new();
    head.reset_to_request(Method::Get, b"a.example", b"/chat");
    head.append(NameId::UPGRADE, b"websocket");
    head.set_upgrade(true);
    head
}
