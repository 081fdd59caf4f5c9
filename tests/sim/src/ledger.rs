//! What was asked, and what must come out.

use std::cell::RefCell;
use std::rc::Rc;

use sluice_base::Instant;

use crate::http::{Message, pattern};

/// How a backend behaves for one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// Answers with `content-length`.
    Length,
    /// Answers in chunks with a trailer.
    Chunked,
    /// Answers until it closes.
    UntilClose,
    /// Sends 100 Continue first, then as `Length`.
    Continue,
    /// Resets in the middle of the body.
    ResetInBody,
    /// Closes in the middle of the body.
    CloseInBody,
    /// Answers what is not HTTP.
    Garbage,
    /// Closes without an answer.
    CloseAtOnce,
    /// Never answers.
    Hang,
    /// Does not look at the request the first time (REFUSED_STREAM); the second as `Length`.
    Refuse,
    /// As `Length`, with the head of the request already.
    Early,
}

impl Behaviour {
    /// Every one, with how often it comes up in a hundred.
    pub const ALL: [(Self, u32); 11] = [
        (Self::Length, 39),
        (Self::Chunked, 25),
        (Self::UntilClose, 8),
        (Self::Continue, 6),
        (Self::ResetInBody, 4),
        (Self::CloseInBody, 4),
        (Self::Garbage, 3),
        (Self::CloseAtOnce, 3),
        (Self::Hang, 2),
        (Self::Refuse, 3),
        (Self::Early, 3),
    ];

    /// Its letter in a path.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Length => 'l',
            Self::Chunked => 'c',
            Self::UntilClose => 'u',
            Self::Continue => 'k',
            Self::ResetInBody => 'r',
            Self::CloseInBody => 'x',
            Self::Garbage => 'g',
            Self::CloseAtOnce => 'n',
            Self::Hang => 'h',
            Self::Refuse => 'f',
            Self::Early => 'e',
        }
    }

    /// The one that a letter stands for.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.iter().map(|(one, _)| *one).find(|one| one.letter() == letter)
    }

    /// Whether the backend gives a whole answer.
    #[must_use]
    pub fn is_whole(self) -> bool {
        !matches!(
            self,
            Self::ResetInBody | Self::CloseInBody | Self::Garbage | Self::CloseAtOnce | Self::Hang
        )
    }
}

/// A request as planned.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number, unique in the run.
    pub id: u64,
    /// `GET`, `HEAD` or `POST`.
    pub method: &'static str,
    /// Bytes that it carries.
    pub upload: usize,
    /// Whether they go in chunks.
    pub upload_chunked: bool,
    /// Bytes that the answer carries.
    pub download: usize,
    /// What the backend does.
    pub behaviour: Behaviour,
    /// How long a client of HTTP/2 leaves the answer unread, nanoseconds.
    pub stalls_nanos: u64,
}

impl Request {
    /// Whether a backend of HTTP/2 takes its time over the body.
    #[must_use]
    pub fn is_read_late(&self) -> bool {
        self.method == "POST" && self.id.is_multiple_of(5)
    }

    /// `/r/ID/DOWNLOAD/BEHAVIOUR`: all that the backend needs to know.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/r/{}/{}/{}", self.id, self.download, self.behaviour.letter())
    }
}

/// How a request ended, as the client saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A whole response with this status and the right bytes.
    Answered(u16),
    /// The connection ended before a whole response: the client knows that it failed.
    Failed,
}

/// Everything about one request.
#[derive(Debug)]
pub struct Entry {
    /// The plan.
    pub request: Request,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// How often a backend got it whole.
    pub arrived: u32,
    /// How often a backend looked at it.
    pub begun: u32,
    /// How often one refused to, and when last.
    pub refused: u32,
    /// See there.
    pub refused_at: Instant,
    /// How often one answered it to the end.
    pub completed: u32,
    /// Whether the client, and the backend that looked at it last, speak HTTP/2.
    pub http2: (bool, bool),
    /// Whether it was cut when its time was over.
    pub late: bool,
    /// How long it took, nanoseconds; of clients of HTTP/2.
    pub took_nanos: u64,
}

impl Entry {
    /// Of a request that nobody has made yet.
    #[must_use]
    pub fn new(request: Request) -> Self {
        Self {
            request,
            outcome: None,
            arrived: 0,
            begun: 0,
            refused: 0,
            completed: 0,
            http2: (false, false),
            late: false,
            refused_at: Instant::ZERO,
            took_nanos: 0,
        }
    }
}

/// All requests of a run, and every broken promise.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By number.
    pub entries: Vec<Entry>,
    /// Datagrams by number.
    pub datagrams: Vec<crate::datagrams::Arrivals>,
    /// How often one may arrive at an endpoint, as far as cables copy.
    pub copies_there: u32,
    /// And back at its client.
    pub copies_back: u32,
    /// What must never happen, in words.
    pub violations: Vec<String>,
    /// Bytes relayed and echoed by opaque connections.
    pub relayed: u64,
    /// Whether frames may be lost, so that a peer may miss a reset.
    pub lossy: bool,
    /// When backends of HTTP/2 cut connections, or said what nobody understands.
    pub cuts: Vec<Instant>,
    /// Connections that backends took.
    pub connections: usize,
    /// Whether bits are inverted: two in two fragments may keep a datagram's sum as it was.
    pub corrupts: bool,
}

/// Shared by every host of a run; one thread.
pub type Shared = Rc<RefCell<Ledger>>;

impl Ledger {
    /// Notes how a request ended.
    pub fn finish(&mut self, id: u64, outcome: Outcome) {
        let entry = &mut self.entries[id as usize];
        if let Some(before) = entry.outcome.replace(outcome) {
            let text = format!("request {id} ended twice: {before:?}, then {outcome:?}");
            self.violations.push(text);
        }
    }

    /// Notes that a request arrived whole at a backend.
    pub fn arrived(&mut self, id: u64, message: &Message) {
        let entry = &mut self.entries[id as usize];
        entry.arrived += 1;
        let request = &entry.request;
        let sum = [("x-sum".to_owned(), id.to_string())];
        let has_trailers = request.method == "POST" && request.upload_chunked;
        let trailers = if has_trailers { &sum[..] } else { &[] };
        let (upload, same) = (request.upload, message.trailers == trailers);
        if message.body != pattern(!id, upload) {
            let got = message.body.len();
            self.violation(format!("request {id}: {got} body bytes arrived, wrong ones"));
        } else if !same {
            self.violation(format!("request {id}: trailers {:?}", message.trailers));
        }
    }

    /// What must hold of every request when all have ended: whoever believes in a whole answer has one
    /// that a backend believes to have given, and nothing that may not happen twice did.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in &self.entries {
            let Request { id, method, .. } = entry.request;
            // The answer to a HEAD is whole with its head, whatever comes behind.
            let answered = entry.outcome == Some(Outcome::Answered(200)) && method != "HEAD";
            if answered && entry.completed == 0 {
                found.push(format!("request {id} was answered, and no backend has answered it"));
            }
            if method == "POST" && entry.begun > 1 {
                found.push(format!("request {id} is a POST, and {} looked at it", entry.begun));
            }
        }
        found
    }

    /// What nobody had a reason not to answer in time, where the weather is good.
    #[must_use]
    pub fn starved(&self) -> Vec<String> {
        let in_vain = |outcome| matches!(outcome, Some(Outcome::Answered(408 | 504)));
        let starved = self.entries.iter().filter(|entry| {
            entry.request.behaviour.is_whole() && (entry.late || in_vain(entry.outcome))
        });
        let starved = starved.map(|entry| format!("request {} starved", entry.request.id));
        // A request without a body can be sent again whatever the route says.
        let given_up = self.entries.iter().filter(|entry| {
            // Where it was sent next may have been cut before anybody looked.
            let (from, until) = (entry.refused_at, entry.refused_at.plus_nanos(5_000_000_000));
            let is_cut = |cut: &Instant| cut.plus_nanos(1_000_000_000) >= from && *cut <= until;
            let again = entry.refused == 1
                && entry.begun == 0
                && entry.request.upload == 0
                && !self.cuts.iter().any(is_cut);
            again && entry.outcome == Some(Outcome::Answered(503))
        });
        let given_up =
            given_up.map(|entry| format!("request {} was refused, and given up", entry.request.id));
        starved.chain(given_up).collect()
    }

    /// Notes that a promise was broken.
    pub fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Whether every request has ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.entries.iter().all(|entry| entry.outcome.is_some())
    }
}
