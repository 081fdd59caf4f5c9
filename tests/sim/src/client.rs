//! A client: requests in order, on keep-alive connections, with or without pipelining; and opaque
//! echoes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use sluice_base::{ConnId, Instant};
use sluice_stack::{Ready, UdpEvent};

use crate::app::{App, Io};
use crate::client_http2::Streamer;
use crate::datagrams::{Datagrams, handle_at_client};
use crate::hostile::Hostile;
use crate::http::{End, Incomplete, chunked, parse, pattern};
use crate::ledger::{Behaviour, Outcome, Request, Shared};

/// How long a client waits before it gives a connection up.
pub(crate) const PATIENCE_NANOS: u64 = 120_000_000_000;
/// Bytes queued at a connection before the client waits for room.
const QUEUE_MAX: usize = 256 * 1024;

/// The requests of one user, in order.
#[derive(Debug)]
pub struct Session {
    /// When the first one is made.
    pub starts: Instant,
    /// How many may be under way at once on a connection.
    pub pipeline: usize,
    /// What is still to be asked.
    pub requests: VecDeque<Request>,
    /// Whether the user leaves in the middle of a response now and then.
    pub leaves: bool,
    /// Whether the user speaks HTTP/2.
    pub http2: bool,
}

/// An opaque exchange: these bytes must come back.
#[derive(Debug)]
pub struct Echo {
    /// When it starts.
    pub starts: Instant,
    /// Its number, which gives its bytes.
    pub id: u64,
    /// How many.
    pub bytes: usize,
    /// After half of them nothing is said until then: a relay that outlives reloads.
    pub resumes: Instant,
}

/// The application of a client host.
pub struct Client {
    ledger: Shared,
    web: SocketAddr,
    raw: SocketAddr,
    users: Vec<User>,
    streamers: Vec<Streamer>,
    hostiles: Vec<Hostile>,
    echoes: Vec<Echoing>,
    datagrams: Datagrams,
}

struct User {
    session: Session,
    conn: Option<ConnId>,
    connected: bool,
    asked: VecDeque<Request>,
    input: Vec<u8>,
    output: Vec<u8>,
    last_progress: Instant,
    peer_closed: bool,
    left: bool,
}

struct Echoing {
    echo: Echo,
    conn: Option<ConnId>,
    connected: bool,
    sent: usize,
    received: Vec<u8>,
    done: bool,
    half_closed: bool,
    is_pausing: bool,
    expected: Vec<u8>,
    last_progress: Instant,
}

impl Client {
    /// A client of the HTTP listener `web` and the opaque listener `raw`.
    #[must_use]
    pub fn new(
        ledger: Shared,
        web: SocketAddr,
        raw: SocketAddr,
        sessions: Vec<Session>,
        echoes: Vec<Echo>,
        datagrams: Datagrams,
    ) -> Self {
        let (two, one): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|session| session.http2);
        let streamers = two.into_iter().map(Streamer::new).collect();
        let users = one.into_iter().map(|session| User {
            last_progress: session.starts,
            session,
            conn: None,
            connected: false,
            asked: VecDeque::new(),
            input: Vec::new(),
            output: Vec::new(),
            peer_closed: false,
            left: false,
        });
        let echoes = echoes.into_iter().map(|echo| Echoing {
            conn: None,
            connected: false,
            sent: 0,
            received: Vec::new(),
            done: false,
            half_closed: false,
            is_pausing: false,
            expected: pattern(echo.id ^ 0xec40, echo.bytes),
            last_progress: echo.starts,
            echo,
        });
        let (users, echoes) = (users.collect(), echoes.collect());
        let hostiles = Vec::new();
        Self { ledger, web, raw, users, streamers, hostiles, echoes, datagrams }
    }

    /// The same with some who want to do harm.
    #[must_use]
    pub fn with_hostiles(mut self, hostiles: Vec<Hostile>) -> Self {
        self.hostiles = hostiles;
        self
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.users.iter().all(|user| user.session.requests.is_empty() && user.asked.is_empty())
            && self.streamers.iter().all(Streamer::is_done)
            && self.hostiles.iter().all(Hostile::is_done)
            && self.echoes.iter().all(|echo| echo.done)
            && self.datagrams.is_done()
    }

    /// Closes what is still open.
    pub fn close_all(&mut self, io: &mut Io<'_>) {
        for user in &mut self.users {
            if let Some(conn) = user.conn.take() {
                io.stack.close(conn, io.now);
            }
        }
        for streamer in &mut self.streamers {
            streamer.close(io);
        }
    }

    /// What is wrong with its connections of HTTP/2, where nothing has moved for long.
    pub fn faults_at_rest(&self) -> impl Iterator<Item = String> {
        self.streamers.iter().filter_map(Streamer::fault_at_rest)
    }
}

impl App for Client {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        if let Some(user) = self.users.iter_mut().find(|user| user.conn == Some(conn)) {
            user.handle(conn, ready, io, &self.ledger);
        } else if let Some(streamer) = self.streamers.iter_mut().find(|one| one.is_on(conn)) {
            streamer.handle(conn, ready, io, &self.ledger);
        } else if let Some(hostile) = self.hostiles.iter_mut().find(|one| one.is_on(conn)) {
            hostile.handle(conn, ready, io);
        } else if let Some(echo) = self.echoes.iter_mut().find(|echo| echo.conn == Some(conn)) {
            echo.handle(conn, ready, io, &self.ledger);
        }
    }

    fn handle_datagram(&mut self, event: UdpEvent, _: &mut Io<'_>) {
        handle_at_client(event, &self.ledger);
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        for user in &mut self.users {
            user.poll(io, self.web, &self.ledger);
        }
        for streamer in &mut self.streamers {
            streamer.poll(io, self.web, &self.ledger);
        }
        for hostile in &mut self.hostiles {
            hostile.poll(io, self.web);
        }
        for echo in &mut self.echoes {
            echo.poll(io, self.raw, &self.ledger);
        }
        self.datagrams.poll(io);
    }

    fn next_deadline(&self) -> Instant {
        let users = self.users.iter().filter_map(User::deadline);
        let echoes = self.echoes.iter().filter(|echo| !echo.done).map(Echoing::deadline);
        let streamers = self.streamers.iter().map(Streamer::deadline);
        users
            .chain(streamers)
            .chain(self.hostiles.iter().map(Hostile::deadline))
            .chain(echoes)
            .min()
            .unwrap_or(Instant::NEVER)
            .min(self.datagrams.next_deadline())
    }
}

impl User {
    fn deadline(&self) -> Option<Instant> {
        if !self.asked.is_empty() || (self.conn.is_some() && !self.connected) {
            return Some(self.last_progress.plus_nanos(PATIENCE_NANOS));
        }
        let idle = self.conn.is_none() && !self.session.requests.is_empty();
        idle.then_some(self.session.starts.max(self.last_progress))
    }

    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>, ledger: &Shared) {
        self.connected |= ready.connected();
        if ready.readable() && io.receive(conn, &mut self.input) > 0 {
            self.last_progress = io.now;
        }
        self.peer_closed |= ready.peer_closed();
        self.take_responses(conn, io, ledger);
        if ready.closed() {
            self.connection_is_gone(ledger, io.now);
        } else if self.peer_closed && self.conn == Some(conn) {
            io.stack.close(conn, io.now);
            self.connection_is_gone(ledger, io.now);
        }
    }

    fn take_responses(&mut self, conn: ConnId, io: &mut Io<'_>, ledger: &Shared) {
        while let Some(request) = self.asked.front() {
            let end = if request.method == "HEAD" { End::NoBody } else { End::ByFields };
            match parse(&self.input, end, self.peer_closed) {
                Ok((message, used)) => {
                    self.input.drain(..used);
                    if message.status() / 100 == 1 {
                        continue;
                    }
                    check(request, &message, ledger);
                    ledger.borrow_mut().finish(request.id, Outcome::Answered(message.status()));
                    self.asked.pop_front();
                }
                Err(Incomplete::Garbage) => {
                    let id = request.id;
                    let text = format!("the answer to request {id} is not HTTP");
                    ledger.borrow_mut().violation(text);
                    io.stack.abort(conn, io.now);
                    self.connection_is_gone(ledger, io.now);
                    return;
                }
                Err(_) => break,
            }
        }
        if self.asked.is_empty() && !self.input.is_empty() {
            let text = format!("{} bytes after the last response", self.input.len());
            ledger.borrow_mut().violation(text);
            self.input.clear();
        }
        // Some users leave while a response is coming.
        if self.session.leaves && !self.left && self.input.len() > 2_000 {
            self.left = true;
            io.stack.abort(conn, io.now);
            self.connection_is_gone(ledger, io.now);
        }
    }

    /// What was asked and not answered has failed, and the client knows it.
    fn connection_is_gone(&mut self, ledger: &Shared, now: Instant) {
        for request in self.asked.drain(..) {
            ledger.borrow_mut().finish(request.id, Outcome::Failed);
        }
        self.conn = None;
        self.connected = false;
        self.peer_closed = false;
        self.input.clear();
        self.output.clear();
        self.last_progress = now;
    }

    fn poll(&mut self, io: &mut Io<'_>, web: SocketAddr, ledger: &Shared) {
        if self.conn.is_none() && !self.session.requests.is_empty() {
            if io.now < self.session.starts.max(self.last_progress) {
                return;
            }
            self.last_progress = io.now;
            match io.stack.connect(web, &sluice_tcp::Config::default(), 0, io.now) {
                Ok(conn) => self.conn = Some(conn),
                // Out of ports or memory: try again in a second.
                Err(_) => self.last_progress = io.now.plus_nanos(1_000_000_000),
            }
        }
        let Some(conn) = self.conn else { return };
        while self.connected
            && self.asked.len() < self.session.pipeline
            && let Some(request) = self.session.requests.pop_front()
        {
            write_request(&request, &mut self.output);
            self.last_progress = io.now;
            self.asked.push_back(request);
        }
        let room = QUEUE_MAX.saturating_sub(io.stack.queued(conn));
        let count = room.min(self.output.len());
        if count > 0 {
            self.last_progress = io.now;
            io.send(conn, &self.output[..count]);
            self.output.drain(..count);
        }
        if self.deadline().is_some_and(|deadline| deadline <= io.now) {
            let asked = self.asked.front().map(|request| request.id);
            let text = format!("a client waited two minutes in vain (request {asked:?})");
            ledger.borrow_mut().violation(text);
            io.stack.abort(conn, io.now);
            self.connection_is_gone(ledger, io.now);
        }
    }
}

fn write_request(request: &Request, out: &mut Vec<u8>) {
    let body = pattern(!request.id, request.upload);
    let head = format!("{} {} HTTP/1.1\r\nHost: sim.test\r\n", request.method, request.path());
    out.extend_from_slice(head.as_bytes());
    if request.method == "POST" && request.upload_chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        out.extend(chunked(&body, 1 + request.upload / 3, &[("x-sum", &request.id.to_string())]));
    } else if request.method == "POST" {
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(&body);
    } else {
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether an answer is the one that was asked for.
pub(crate) fn check(request: &Request, message: &crate::http::Message, ledger: &Shared) {
    let id = request.id;
    let status = message.status();
    let mut ledger = ledger.borrow_mut();
    if status == 200 {
        let expected = if request.method == "HEAD" { 0 } else { request.download };
        if !request.behaviour.is_whole() && request.method != "HEAD" {
            let how = request.behaviour;
            ledger.violation(format!("request {id}: a cut response ({how:?}) looks whole"));
        }
        if message.field("x-id") != Some(id.to_string().as_str()) {
            ledger.violation(format!("request {id} got the answer to another: {message:?}"));
        } else if message.body != pattern(id, expected) {
            let got = message.body.len();
            ledger.violation(format!("request {id}: wrong bytes ({got} of {expected})"));
        } else if request.behaviour == Behaviour::Chunked
            && request.method != "HEAD"
            && message.trailers != [("x-end".to_owned(), id.to_string())]
        {
            ledger.violation(format!("request {id}: trailers {:?}", message.trailers));
        }
    } else if !matches!(status, 408 | 502 | 503 | 504) {
        ledger.violation(format!("request {id}: status {status}"));
    }
}

impl Echoing {
    fn deadline(&self) -> Instant {
        match self.conn {
            None => self.echo.starts,
            Some(_) if self.is_pausing => self.echo.resumes,
            Some(_) => self.patience(),
        }
    }

    fn patience(&self) -> Instant {
        self.last_progress.plus_nanos(PATIENCE_NANOS)
    }

    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>, ledger: &Shared) {
        self.connected |= ready.connected();
        if ready.readable() && io.receive(conn, &mut self.received) > 0 {
            self.last_progress = io.now;
        }
        let same = self.expected.starts_with(&self.received);
        if !same {
            ledger.borrow_mut().violation(format!("echo {}: wrong bytes", self.echo.id));
        }
        if ready.peer_closed() {
            if same && self.half_closed && self.received.len() < self.expected.len() {
                let (got, all) = (self.received.len(), self.expected.len());
                let text = format!("echo {}: a clean end after {got} of {all}", self.echo.id);
                ledger.borrow_mut().violation(text);
            }
            ledger.borrow_mut().relayed += self.received.len() as u64;
            io.stack.close(conn, io.now);
            self.done = true;
            self.conn = None;
        } else if ready.closed() || !same {
            self.done = true;
            self.conn = None;
        }
    }

    fn poll(&mut self, io: &mut Io<'_>, raw: SocketAddr, ledger: &Shared) {
        if self.done || io.now < self.echo.starts {
            return;
        }
        if let Some(conn) = self.conn.filter(|_| self.patience() <= io.now) {
            // A reset that is lost leaves us waiting for ever (RFC 9293, 3.5.1): only then.
            if !ledger.borrow().lossy {
                let text = format!("echo {} waited two minutes in vain", self.echo.id);
                ledger.borrow_mut().violation(text);
            }
            io.stack.abort(conn, io.now);
            self.done = true;
            self.conn = None;
            return;
        }
        if self.conn.is_none() {
            self.last_progress = io.now;
            match io.stack.connect(raw, &sluice_tcp::Config::default(), 0, io.now) {
                Ok(conn) => self.conn = Some(conn),
                Err(_) => self.echo.starts = io.now.plus_nanos(1_000_000_000),
            }
        }
        // A close before the connection is open would give it up (RFC 9293, 3.10.4).
        let Some(conn) = self.conn.filter(|_| self.connected) else { return };
        let room = QUEUE_MAX.saturating_sub(io.stack.queued(conn));
        let half = self.expected.len() / 2;
        self.is_pausing = io.now < self.echo.resumes;
        let end = if self.is_pausing { half } else { self.expected.len() };
        let count = room.min(end - self.sent);
        if count > 0 {
            io.send(conn, &self.expected[self.sent..self.sent + count]);
            self.sent += count;
            self.last_progress = io.now;
        }
        if self.sent == self.expected.len() && !self.half_closed {
            self.half_closed = true;
            io.stack.close(conn, io.now);
        }
    }
}
