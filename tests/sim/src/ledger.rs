//! What was asked, and what must come out.

use std::cell::RefCell;
use std::rc::Rc;

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
}

impl Behaviour {
    /// Every one, with how often it comes up in a hundred.
    pub const ALL: [(Self, u32); 9] = [
        (Self::Length, 45),
        (Self::Chunked, 25),
        (Self::UntilClose, 8),
        (Self::Continue, 6),
        (Self::ResetInBody, 4),
        (Self::CloseInBody, 4),
        (Self::Garbage, 3),
        (Self::CloseAtOnce, 3),
        (Self::Hang, 2),
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
        matches!(self, Self::Length | Self::Chunked | Self::UntilClose | Self::Continue)
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
}

impl Request {
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
