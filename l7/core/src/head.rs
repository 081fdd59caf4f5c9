//! A message's head.
//!
//! Its text and index here; `start`, what it starts with; `build`, for decoders; `change`,
//! `fields` and `look`, for everyone; `intact`, for writers that copy what was received; `packed` and
//! `patterns`, for requests that wait.

mod build;
mod change;
mod fields;
mod intact;
mod look;
mod packed;
mod patterns;
mod start;

use sluice_buf::Slice;

use crate::{Field, Method, NameSet, RunAt, Span, Version};

pub use intact::Intact;
pub use packed::PackedHead;
pub use patterns::HeadPatterns;
pub use start::{Scheme, Start};

/// A request's or response's head, or a trailer section.
///
/// One text and an index into it. The text is the received buffer itself ([`Slice`]) or, for a head
/// that straddled buffers or came out of HPACK, a copy in `own`; what is added later goes behind
/// `own`. Nothing is allocated once the vectors have grown to what traffic needs: heads are recycled
/// through a [`HeadPool`](crate::HeadPool).
///
/// What every protocol says in its own way is said here once: the authority of a request is
/// [`Head::authority`] (Host, `:authority`, or the target's), never a field, though `get` and
/// `append` of [`NameId::HOST`](crate::NameId::HOST) reach it. Transfer-Encoding never appears; Content-Length does, and
/// encoders replace it where it is not true.
pub struct Head {
    start: Start,
    version: Version,
    /// Whether a Connection field asks for the protocol in Upgrade.
    upgrade: bool,
    /// One bit per well-known name: set if it may be among the fields.
    known: NameSet,
    /// Well-known names that were removed. Their fields may still be in `fields`, and count for
    /// nothing: nearly every message loses one or two, and moving those behind them would cost more.
    removed: NameSet,
    /// Whether text was added that could end its line, or is no name.
    unprintable: bool,
    /// The value of the only Content-Length field, if a decoder has said it.
    content_length: Option<u64>,
    /// Whether a decoder has said that Connection names no field.
    nominates_none: bool,
    /// How many received bytes are the first line and the fields as they were received, if all of
    /// them stand there the way a writer of HTTP/1.1 would write them. Then `own` is the lines of the
    /// fields that were added since, and nothing else.
    intact: u32,
    /// Where in `own` the lines of all fields begin, in their order and with nothing else behind
    /// them; `NOWHERE` if they do not stand like that.
    lines_from: u32,
    /// Names of fields that were added here.
    added: NameSet,
    /// The run of fields that is part of it, as long as all of it is.
    run: Option<RunAt>,
    /// The same of fields that were added.
    added_run: Option<RunAt>,
    fields: Vec<Field>,
    received: Option<Slice>,
    own: Vec<u8>,
}

const NOWHERE: u32 = u32::MAX;

impl Head {
    /// An empty trailer section.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Start::Trailers,
            version: Version::Http11,
            upgrade: false,
            known: NameSet::EMPTY,
            removed: NameSet::EMPTY,
            unprintable: false,
            content_length: None,
            nominates_none: false,
            intact: 0,
            lines_from: NOWHERE,
            added: NameSet::EMPTY,
            run: None,
            added_run: None,
            fields: Vec::new(),
            received: None,
            own: Vec::new(),
        }
    }

    /// Room for `fields` fields and `own` bytes of added text.
    pub(crate) fn with_capacity(fields: usize, own: usize) -> Self {
        let mut head = Self::new();
        head.fields.reserve_exact(fields);
        head.own.reserve_exact(own);
        head
    }

    /// Makes it an empty trailer section again; gives up received bytes, keeps capacity.
    #[inline]
    pub fn reset(&mut self) {
        self.start = Start::Trailers;
        self.version = Version::Http11;
        self.upgrade = false;
        self.known = NameSet::EMPTY;
        self.removed = NameSet::EMPTY;
        self.unprintable = false;
        self.content_length = None;
        self.nominates_none = false;
        self.intact = 0;
        self.lines_from = NOWHERE;
        self.added = NameSet::EMPTY;
        (self.run, self.added_run) = (None, None);
        self.fields.clear();
        self.received = None;
        self.own.clear();
    }

    /// Makes it a request without fields.
    pub fn reset_to_request(&mut self, method: Method, authority: &[u8], path: &[u8]) {
        self.reset();
        let (authority, path) = (self.add_word(authority), self.add_word(path));
        self.start = Start::Request {
            method,
            method_text: Span::EMPTY,
            path,
            authority,
            scheme: Scheme::Implied,
            protocol: Span::EMPTY,
        };
    }

    /// Makes it a response without fields.
    pub fn reset_to_response(&mut self, status: u16) {
        self.reset();
        self.start = Start::Response { status, reason: Span::EMPTY };
    }

    /// Makes it a copy of `other` that holds no received bytes: what a retry or a log keeps.
    pub fn copy_from(&mut self, other: &Self) {
        self.reset();
        self.start = other.start;
        self.version = other.version;
        self.upgrade = other.upgrade;
        self.known = other.known;
        self.removed = other.removed;
        self.unprintable = other.unprintable;
        self.content_length = other.content_length;
        self.nominates_none = other.nominates_none;
        self.added = other.added;
        (self.run, self.added_run) = (other.run, other.added_run);
        self.fields.extend_from_slice(&other.fields);
        self.own.extend_from_slice(&other.own);
        self.move_received(other.received.as_deref().unwrap_or_default());
    }

    /// Copies the received text it refers to into its own, and lets go of the buffer.
    pub fn detach(&mut self) {
        if let Some(received) = self.received.take() {
            self.move_received(&received);
        }
    }

    /// Appends all of `received` to the own text and points every span there.
    fn move_received(&mut self, received: &[u8]) {
        (self.intact, self.lines_from) = (0, NOWHERE);
        let by = self.own.len();
        self.own.extend_from_slice(received);
        let moved = |span: &mut Span| {
            if !span.is_own() {
                *span = span.into_own(by);
            }
        };
        match &mut self.start {
            Start::Request { method_text, path, authority, protocol, .. } => {
                [method_text, path, authority, protocol].into_iter().for_each(moved);
            }
            Start::Response { reason, .. } => moved(reason),
            Start::Trailers => {}
        }
        for field in &mut self.fields {
            moved(&mut field.name);
            moved(&mut field.value);
        }
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}
