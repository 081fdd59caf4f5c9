//! A user who speaks HTTP/2: requests side by side on one connection; some are read late, some given up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_base::{ConnId, Instant};
use sluice_l7_core::{BodyLength, Method, ResetReason, Role};
use sluice_stack::Ready;

use crate::app::Io;
use crate::client::{PATIENCE_NANOS, Session, check};
use crate::http::{Message, pattern};
use crate::ledger::{Outcome, Request, Shared};
use crate::speaker::{Ending, Said, Speaker};

/// More than any session asks for at once.
const STREAMS_MAX: u32 = 64;

/// The time-out of the scenario's route.
const TIMEOUT_NANOS: u64 = 30_000_000_000;

/// The user.
pub struct Streamer {
    session: Session,
    conn: Option<ConnId>,
    speaker: Option<Speaker>,
    asked: BTreeMap<u32, Asked>,
    last_progress: Instant,
    left: bool,
}

/// A request that has not been answered.
struct Asked {
    request: Request,
    answer: Message,
    asked_at: Instant,
    /// When anything came or went.
    last_progress: Instant,
    /// When this user reads what has come.
    reads_at: Option<Instant>,
}

impl Streamer {
    /// A user who has not begun.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self {
            last_progress: session.starts,
            session,
            conn: None,
            speaker: None,
            asked: BTreeMap::new(),
            left: false,
        }
    }

    /// Whether it is this user's connection.
    #[must_use]
    pub fn is_on(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.session.requests.is_empty() && self.asked.is_empty()
    }

    /// When something is due.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let own = self.speaker.as_ref().map_or(Instant::NEVER, Speaker::next_deadline);
        let next = if self.conn.is_none() {
            self.session.starts.max(self.last_progress)
        } else if self.speaker.is_none() {
            self.last_progress.plus_nanos(PATIENCE_NANOS)
        } else {
            let oldest = self.asked.values().map(|asked| asked.last_progress).min();
            oldest.map_or(Instant::NEVER, |at| at.plus_nanos(PATIENCE_NANOS))
        };
        if self.conn.is_none() && self.session.requests.is_empty() { own } else { own.min(next) }
    }

    /// Something happened on the connection.
    pub fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>, ledger: &Shared) {
        if ready.connected() {
            self.speaker = Some(Speaker::new(conn, Role::Client, STREAMS_MAX));
            self.last_progress = io.now;
        }
        self.run(io, ledger);
        if self.conn == Some(conn) && (ready.closed() || ready.peer_closed()) {
            io.stack.close(conn, io.now);
            self.connection_is_gone(ledger, io.now);
        }
    }

    /// Takes what came, and says what there is to say.
    fn run(&mut self, io: &mut Io<'_>, ledger: &Shared) {
        let Some(speaker) = &mut self.speaker else { return };
        for (said, fault) in [speaker.receive(io), speaker.wake(io)] {
            for one in said {
                self.hear(one, io, ledger);
            }
            if let Some(fault) = fault {
                ledger.borrow_mut().violation(format!("a client's stream: {fault}"));
                self.abort(io, ledger);
                return;
            }
        }
    }

    fn hear(&mut self, said: Said, io: &mut Io<'_>, ledger: &Shared) {
        let Some(speaker) = &mut self.speaker else { return };
        match said {
            Said::Head(stream, start, fields) => {
                let Some(asked) = self.asked.get_mut(&stream) else { return };
                asked.last_progress = io.now;
                (asked.answer.start, asked.answer.fields) = (start, fields);
            }
            Said::Informational(stream) => {
                if let Some(asked) = self.asked.get_mut(&stream) {
                    asked.last_progress = io.now;
                }
            }
            Said::Body(stream, bytes) => {
                let count = bytes.len();
                let Some(asked) = self.asked.get_mut(&stream) else {
                    return speaker.credit(stream, count, io);
                };
                asked.last_progress = io.now;
                asked.answer.body.extend(bytes);
                if asked.request.stalls_nanos == 0 {
                    speaker.credit(stream, count, io);
                } else {
                    let later = io.now.plus_nanos(asked.request.stalls_nanos);
                    let reads_at = *asked.reads_at.get_or_insert(later);
                    speaker.credit_at(reads_at.max(io.now), stream, count);
                }
                // Some give a stream up while it comes, once.
                if self.session.leaves && !self.left && asked.answer.body.len() > 2_000 {
                    self.left = true;
                    speaker.reset(stream, ResetReason::Cancelled, io);
                    self.finish(stream, Outcome::Failed, io.now, ledger);
                }
            }
            Said::End(stream, trailers) => {
                let Some(asked) = self.asked.get_mut(&stream) else { return };
                asked.answer.trailers = trailers;
                check(&asked.request, &asked.answer, ledger);
                let status = asked.answer.status();
                self.finish(stream, Outcome::Answered(status), io.now, ledger);
            }
            Said::Reset(stream) => {
                let at = self.asked.get(&stream).map(|asked| (asked.request.id, asked.asked_at));
                if let Some((id, _)) = at.filter(|(_, at)| at.plus_nanos(TIMEOUT_NANOS) <= io.now) {
                    ledger.borrow_mut().entries[id as usize].late = true;
                }
                self.finish(stream, Outcome::Failed, io.now, ledger);
            }
        }
    }

    fn finish(&mut self, stream: u32, outcome: Outcome, now: Instant, ledger: &Shared) {
        if let Some(asked) = self.asked.remove(&stream) {
            let took = now.nanos_since(asked.asked_at);
            ledger.borrow_mut().entries[asked.request.id as usize].took_nanos = took;
            ledger.borrow_mut().finish(asked.request.id, outcome);
        }
    }

    fn abort(&mut self, io: &mut Io<'_>, ledger: &Shared) {
        if let Some(conn) = self.conn {
            io.stack.abort(conn, io.now);
        }
        self.connection_is_gone(ledger, io.now);
    }

    /// What was asked and not answered has failed, and the user knows it.
    fn connection_is_gone(&mut self, ledger: &Shared, now: Instant) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            ledger.borrow_mut().finish(asked.request.id, Outcome::Failed);
        }
        (self.conn, self.speaker, self.last_progress) = (None, None, now);
    }

    /// Asks, says and waits.
    pub fn poll(&mut self, io: &mut Io<'_>, web: SocketAddr, ledger: &Shared) {
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
        self.run(io, ledger);
        while self.asked.len() < self.session.pipeline && self.ask(io, ledger) {}
        let Some(speaker) = &mut self.speaker else { return self.check_patience(io, ledger) };
        if speaker.is_used_up() && self.asked.is_empty() {
            // GOAWAY: the rest is asked on another one.
            speaker.close(io);
            return self.connection_is_gone(ledger, io.now);
        }
        speaker.flush(io);
        for stream in std::mem::take(&mut speaker.said_all) {
            if let Some(asked) = self.asked.get_mut(&stream) {
                asked.last_progress = io.now;
            }
        }
        self.check_patience(io, ledger);
    }

    /// Asks for one more; whether that was possible.
    fn ask(&mut self, io: &mut Io<'_>, ledger: &Shared) -> bool {
        let Some(speaker) = &mut self.speaker else { return false };
        let Some(request) = self.session.requests.front() else { return false };
        let method = Method::parse(request.method.as_bytes());
        let body = match method {
            Method::Post if request.upload_chunked => BodyLength::Chunked,
            Method::Post => BodyLength::Known(request.upload as u64),
            _ => BodyLength::None,
        };
        let Some(stream) = speaker.ask(method, &request.path(), body, io) else { return false };
        let Some(request) = self.session.requests.pop_front() else { return false };
        ledger.borrow_mut().entries[request.id as usize].http2.0 = true;
        if !body.is_none() {
            let trailers = request.upload_chunked.then_some(("x-sum", request.id));
            speaker.say(stream, pattern(!request.id, request.upload), Ending::Whole(trailers));
        }
        let asked = Asked {
            request,
            answer: Message::default(),
            asked_at: io.now,
            last_progress: io.now,
            reads_at: None,
        };
        self.asked.insert(stream, asked);
        true
    }

    fn check_patience(&mut self, io: &mut Io<'_>, ledger: &Shared) {
        let waits = self.conn.is_some() && (self.speaker.is_none() || !self.asked.is_empty());
        if waits && self.deadline() <= io.now && self.starved(io.now) {
            let asked = self.asked.values().map(|asked| asked.request.id).next();
            let text = format!("a stream waited two minutes in vain (request {asked:?})");
            ledger.borrow_mut().violation(text);
            self.abort(io, ledger);
        }
    }

    fn starved(&self, now: Instant) -> bool {
        let gone = |since: Instant| since.plus_nanos(PATIENCE_NANOS) <= now;
        match &self.speaker {
            None => gone(self.last_progress),
            Some(_) => self.asked.values().any(|asked| gone(asked.last_progress)),
        }
    }

    /// Closes what is still open.
    pub fn close(&mut self, io: &mut Io<'_>) {
        if let Some(conn) = self.conn.take() {
            io.stack.close(conn, io.now);
        }
        self.speaker = None;
    }

    /// What is wrong with the connection, where nothing has moved for long.
    #[must_use]
    pub fn fault_at_rest(&self) -> Option<String> {
        self.speaker.as_ref()?.fault_at_rest()
    }
}
