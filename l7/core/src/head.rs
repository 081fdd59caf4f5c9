//! A message's head.

use std::fmt;

use sluice_arch::{Lanes, none};
use sluice_buf::{Chain, Slice};

use crate::{Field, HeadPool, Method, Name, NameId, NameSet, Span, Version};

/// A request's or response's head, or a trailer section.
///
/// One text and an index into it. The text is the received buffer itself ([`Slice`]) or, for a head
/// that straddled buffers or came out of HPACK, a copy in `own`; what is added later goes behind
/// `own`. Nothing is allocated once the vectors have grown to what traffic needs: heads are recycled
/// through a [`HeadPool`].
///
/// What every protocol says in its own way is said here once: the authority of a request is
/// [`Head::authority`] (Host, `:authority`, or the target's), never a field, though `get` and
/// `append` of [`NameId::HOST`] reach it. Transfer-Encoding never appears; Content-Length does, and
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
    /// Names of fields that were added here.
    added: NameSet,
    fields: Vec<Field>,
    received: Option<Slice>,
    own: Vec<u8>,
}

/// What a head starts with; text by [`Head::text`].
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// A request line, or the pseudo-header fields of a request.
    Request {
        /// The method.
        method: Method,
        /// Its name; empty for a known method that was set here.
        method_text: Span,
        /// Path and query, `*`, or nothing (CONNECT).
        path: Span,
        /// Host and port.
        authority: Span,
        /// The target's scheme, if it said one.
        scheme: Scheme,
        /// `:protocol` of an extended CONNECT (RFC 8441).
        protocol: Span,
    },
    /// A status line.
    Response {
        /// 100 to 999.
        status: u16,
        /// The phrase as received.
        reason: Span,
    },
    /// A trailer section has no start line.
    Trailers,
}

/// The scheme a request's target named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// None: origin-form. The connection decides.
    Implied,
    /// `http`
    Http,
    /// `https`
    Https,
}

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
            added: NameSet::EMPTY,
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
        self.added = NameSet::EMPTY;
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
        self.intact = 0;
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

/// For decoders: building a head from what arrived.
impl Head {
    /// Takes the received bytes that spans will refer to.
    #[inline]
    pub fn set_received(&mut self, bytes: Slice) {
        self.received = Some(bytes);
    }

    /// Copies the first `len` bytes of `chain` into the own text, for a head that straddles
    /// buffers; the large buffer for it comes from `heads`.
    pub fn copy_received(&mut self, chain: &Chain, len: usize, heads: &mut HeadPool) {
        heads.enlarge(self, len);
        let mut left = len;
        for piece in chain.pieces() {
            let here = left.min(piece.len());
            self.own.extend_from_slice(&piece[..here]);
            left -= here;
        }
    }

    /// Lends out the own text, so that spans into it can be pushed while it is read.
    #[inline]
    #[must_use]
    pub fn take_own(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.own)
    }

    /// Gives back what [`Head::take_own`] lent.
    #[inline]
    pub fn set_own(&mut self, own: Vec<u8>) {
        self.own = own;
    }

    /// Sets what it starts with.
    #[inline]
    pub fn set_start(&mut self, start: Start, version: Version) {
        self.start = start;
        self.version = version;
        self.intact = 0;
    }

    /// Says whether what Connection fields there are name nothing but `close` and `keep-alive`.
    #[inline]
    pub fn set_nominates_none(&mut self, none: bool) {
        self.nominates_none = none;
    }

    /// Says that the first `len` received bytes are the first line and one line for each field, Host
    /// included, and all as a writer of HTTP/1.1 would write them: it may copy them in one piece.
    #[inline]
    pub fn set_intact(&mut self, len: usize) {
        debug_assert!(self.own.is_empty(), "said before anything is added");
        self.intact = len as u32;
    }

    /// Says the value of the one Content-Length field.
    #[inline]
    pub fn set_content_length(&mut self, length: u64) {
        self.content_length = Some(length);
    }

    /// Notes that the sender asks to upgrade the connection.
    #[inline]
    pub fn set_upgrade(&mut self, upgrade: bool) {
        self.upgrade = upgrade;
    }

    /// Appends a field whose text is already there, and has been checked.
    #[inline]
    pub fn push_field(&mut self, field: Field) {
        debug_assert!(!self.removed.contains(field.id), "decoders push before anything is removed");
        self.known.insert(field.id);
        self.fields.push(field);
    }

    /// Copies `text`, which has been checked, behind the own text.
    #[inline]
    #[must_use]
    pub fn add_text(&mut self, text: &[u8]) -> Span {
        let at = self.own.len();
        self.own.extend_from_slice(text);
        Span::own(at, text.len())
    }
}

/// Changing a head.
impl Head {
    /// Adds a field behind the others. The authority, for [`NameId::HOST`] of a request.
    // Inlined always: for a well-known name little is left of it.
    #[inline(always)]
    pub fn append<'a>(&mut self, name: impl Into<Name<'a>>, value: &[u8]) {
        let name = name.into();
        let id = name.id();
        if id == NameId::HOST && self.is_request() {
            self.set_authority(value);
            return;
        }
        // As a line, so that writers of HTTP/1.1 copy what was added in one piece.
        match name {
            Name::Text(text) if id == NameId::OTHER => self.append_other(text, value),
            Name::Text(_) | Name::Known(_) => self.append_line(id, value, value.len()),
        }
    }

    /// The first look is cheap and sees too much: few values have controls.
    #[inline(always)]
    fn check_value(&mut self, value: &[u8]) {
        if !none(value, |lanes| lanes.at_most(b'\r')) {
            self.look_for_line_ends(value);
        }
    }

    #[cold]
    fn look_for_line_ends(&mut self, value: &[u8]) {
        self.unprintable |= value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    }

    /// Really removes what was removed: another field of the name comes.
    #[cold]
    fn purge(&mut self, id: NameId) {
        self.intact = 0;
        self.removed = self.removed.without(id);
        self.fields.retain(|field| field.id != id);
    }

    /// Adds a field and removes all others of the name.
    #[inline(always)]
    pub fn set<'a>(&mut self, name: impl Into<Name<'a>>, value: &[u8]) {
        let name = name.into();
        match name.id() {
            // Nearly always it is not there.
            id if id != NameId::OTHER && !self.known.contains(id) => {}
            _ => drop(self.remove(name)),
        }
        self.append(name, value);
    }

    /// Adds a field with the first `len` bytes of `value`, which holds nothing that ends a line
    /// behind them either: copying all of a few bytes takes fewer instructions than some of them.
    #[inline(always)]
    pub fn append_padded<const N: usize>(&mut self, id: NameId, value: &[u8; N], len: usize) {
        self.append_line(id, value, len.min(N));
    }

    #[inline(always)]
    fn append_line(&mut self, id: NameId, value: &[u8], len: usize) {
        if self.removed.contains(id) {
            self.purge(id);
        }
        match id {
            NameId::CONTENT_LENGTH => self.content_length = None,
            NameId::CONNECTION => self.nominates_none = false,
            _ => {}
        }
        self.check_value(value);
        let (at, start) = (self.own.len(), id.line_start());
        self.own.reserve(start.len() + value.len() + 2);
        self.own.extend_from_slice(start);
        let value_at = self.own.len();
        self.own.extend_from_slice(value);
        if len < value.len() {
            self.own.truncate(value_at + len);
        }
        self.own.extend_from_slice(b"\r\n");
        self.added.insert(id);
        let (name, value) = (Span::own(at, start.len() - 2), Span::own(value_at, len));
        self.push_field(Field { id, name, value, plain: true });
    }

    /// Adds a field whose name is not well known.
    fn append_other(&mut self, name: &[u8], value: &[u8]) {
        self.unprintable |= !is_token(name);
        self.check_value(value);
        let at = self.own.len();
        for part in [name, b": ", value, b"\r\n"] {
            self.own.extend_from_slice(part);
        }
        let (name, value) =
            (Span::own(at, name.len()), Span::own(at + name.len() + 2, value.len()));
        self.push_field(Field { id: NameId::OTHER, name, value, plain: true });
    }

    /// Removes every field of the name; returns how many there were.
    #[inline]
    pub fn remove<'a>(&mut self, name: impl Into<Name<'a>>) -> usize {
        let name = name.into();
        match (name.id(), name) {
            (NameId::OTHER, Name::Text(text)) => self.remove_text(text),
            (NameId::OTHER, Name::Known(_)) => 0,
            (id, _) => {
                let count = self.get_all_fields(id).count();
                self.remove_all(NameSet::of(&[id]));
                count
            }
        }
    }

    /// Removes every field of these well-known names.
    #[inline]
    pub fn remove_all(&mut self, names: NameSet) {
        let present = names.without(NameId::OTHER).and(self.known);
        self.known = self.known.minus(present);
        self.removed = self.removed.or(present);
    }

    fn remove_text(&mut self, text: &[u8]) -> usize {
        self.intact = 0;
        let before = self.fields.len();
        let (received, own) = (self.received.as_deref(), &self.own);
        self.fields.retain(|field| {
            field.id != NameId::OTHER
                || !bytes(received, own, field.name).eq_ignore_ascii_case(text)
        });
        before - self.fields.len()
    }

    /// Keeps the fields for which `keep` says so, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(NameId, &[u8], &[u8]) -> bool) {
        self.intact = 0;
        let (received, own, removed) = (self.received.as_deref(), &self.own, self.removed);
        self.fields.retain(|field| {
            !removed.contains(field.id)
                && keep(field.id, name_of(received, own, field), bytes(received, own, field.value))
        });
        self.removed = NameSet::EMPTY;
    }

    /// Replaces a request's path and query.
    pub fn set_path(&mut self, text: &[u8]) {
        let text = self.add_word(text);
        self.intact = 0;
        if let Start::Request { path, .. } = &mut self.start {
            *path = text;
        }
    }

    /// Replaces a request's host and port.
    pub fn set_authority(&mut self, text: &[u8]) {
        let text = self.add_word(text);
        self.intact = 0;
        if let Start::Request { authority, .. } = &mut self.start {
            *authority = text;
        }
    }

    /// Replaces a response's status; its phrase becomes the usual one.
    pub fn set_status(&mut self, to: u16) {
        self.intact = 0;
        if let Start::Response { status, reason } = &mut self.start {
            *status = to;
            *reason = Span::EMPTY;
        }
    }

    /// Adds a part of a request line, which no white space may split.
    fn add_word(&mut self, text: &[u8]) -> Span {
        self.unprintable |= !none(text, ends_word);
        self.add_text(text)
    }
}

/// Looking at a head.
impl Head {
    /// What it starts with.
    #[inline]
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// Whether it is a request's.
    #[inline]
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The version it was received with.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Whether the sender asks, with Connection and Upgrade, to change the protocol.
    #[inline]
    #[must_use]
    pub const fn is_upgrade(&self) -> bool {
        self.upgrade
    }

    /// The request's method; `Other` for what is no request.
    #[inline]
    #[must_use]
    pub const fn method(&self) -> Method {
        match self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } | Start::Trailers => Method::Other,
        }
    }

    /// The method's name.
    #[inline]
    #[must_use]
    pub fn method_text(&self) -> &[u8] {
        match self.start {
            Start::Request { method: Method::Other, method_text, .. } => self.text(method_text),
            Start::Request { method, .. } => method.as_str().as_bytes(),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The request's path and query; `*` for OPTIONS of a whole server; empty for CONNECT.
    #[inline]
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self.start {
            Start::Request { path, .. } => self.text(path),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The request's host and port, as sent; empty if it named none.
    #[inline]
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        match self.start {
            Start::Request { authority, .. } => self.text(authority),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The scheme that the request's target named.
    #[inline]
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self.start {
            Start::Request { scheme, .. } => scheme,
            Start::Response { .. } | Start::Trailers => Scheme::Implied,
        }
    }

    /// The protocol that an extended CONNECT asks for (RFC 8441); empty otherwise.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> &[u8] {
        match self.start {
            Start::Request { protocol, .. } => self.text(protocol),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The response's status; 0 for what is no response.
    #[inline]
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self.start {
            Start::Response { status, .. } => status,
            Start::Request { .. } | Start::Trailers => 0,
        }
    }

    /// The response's reason phrase, as received.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Response { reason, .. } => self.text(reason),
            Start::Request { .. } | Start::Trailers => &[],
        }
    }

    /// The first value of a well-known field.
    #[inline]
    #[must_use]
    pub fn get(&self, id: NameId) -> Option<&[u8]> {
        if !self.known.contains(id) {
            return self.host(id);
        }
        self.fields.iter().find(|field| field.id == id).map(|field| self.text(field.value))
    }

    /// A request's authority as the Host field it stands for.
    fn host(&self, id: NameId) -> Option<&[u8]> {
        let authority = self.authority();
        (id == NameId::HOST && !authority.is_empty()).then_some(authority)
    }

    /// Well-known names that may be among the fields: a name outside the set is not.
    #[inline]
    #[must_use]
    pub const fn names(&self) -> NameSet {
        self.known
    }

    /// Every value of a well-known field, in order.
    pub fn get_all(&self, id: NameId) -> impl Iterator<Item = &[u8]> {
        self.get_all_fields(id).map(|field| self.text(field.value)).chain(self.host(id))
    }

    #[inline]
    fn get_all_fields(&self, id: NameId) -> impl Iterator<Item = &Field> {
        let fields = if self.known.contains(id) { &self.fields[..] } else { &[] };
        fields.iter().filter(move |field| field.id == id)
    }

    /// The first value of a field, by any name in any case.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        match NameId::lookup(name) {
            NameId::OTHER => self
                .fields
                .iter()
                .filter(|field| field.id == NameId::OTHER)
                .find(|field| self.text(field.name).eq_ignore_ascii_case(name))
                .map(|field| self.text(field.value)),
            id => self.get(id),
        }
    }

    /// Whether there is a field of this name.
    #[inline]
    #[must_use]
    pub fn contains(&self, id: NameId) -> bool {
        self.get(id).is_some()
    }

    /// Whether one of a field's comma-separated values is `token`, in any case.
    #[must_use]
    pub fn has_token(&self, id: NameId, token: &[u8]) -> bool {
        self.get_all(id).any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
        })
    }

    /// Whether the client waits for a 100 before it sends the body (RFC 9110, 10.1.1).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.version != Version::Http10 && self.has_token(NameId::EXPECT, b"100-continue")
    }

    /// Names and values in order; names as received.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields().map(|field| (self.name(field), self.text(field.value)))
    }

    /// The index of the fields, in order.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.fields_without(NameSet::EMPTY)
    }

    /// The index of the fields, in order, those that were removed too.
    #[inline]
    #[must_use]
    pub fn all_fields(&self) -> &[Field] {
        &self.fields
    }

    /// The index of the fields, in order, without those of some well-known names.
    #[inline]
    pub fn fields_without(&self, names: NameSet) -> impl Iterator<Item = &Field> {
        let names = names.or(self.removed);
        self.fields.iter().filter(move |field| !names.contains(field.id))
    }

    /// Whether Connection is known to name no field (RFC 9110, 7.6.1).
    #[inline]
    #[must_use]
    pub const fn nominates_none(&self) -> bool {
        self.nominates_none
    }

    /// The received lines, if they can be copied in one piece, and the lines that were added.
    #[inline]
    #[must_use]
    pub fn intact(&self) -> Option<Intact<'_>> {
        let received = self.received.as_deref()?.get(..self.intact as usize)?;
        if received.is_empty() || self.added.meets(self.removed) {
            return None;
        }
        Some(Intact { received, added: &self.own, added_names: self.added, removed: self.removed })
    }

    /// Whether text was added that a line of HTTP/1.1 cannot carry: an end of line, NUL, a name that
    /// is no token, white space in a target.
    #[inline]
    #[must_use]
    pub const fn is_unprintable(&self) -> bool {
        self.unprintable
    }

    /// The value of the only Content-Length field, if a decoder said it and it is still there.
    #[inline]
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length.filter(|_| self.known.contains(NameId::CONTENT_LENGTH))
    }

    /// A field's name.
    #[inline]
    #[must_use]
    pub fn name(&self, field: &Field) -> &[u8] {
        name_of(self.received.as_deref(), &self.own, field)
    }

    /// The text of a span of this head.
    #[inline]
    #[must_use]
    pub fn text(&self, span: Span) -> &[u8] {
        bytes(self.received.as_deref(), &self.own, span)
    }

    /// The whole received text (empty if there is none), for a reader of many spans.
    #[inline]
    #[must_use]
    pub fn received_text(&self) -> &[u8] {
        self.received.as_deref().unwrap_or_default()
    }

    /// The whole own text, for a reader of many spans.
    #[inline]
    #[must_use]
    pub fn own_text(&self) -> &[u8] {
        &self.own
    }

    pub(crate) fn own_mut(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    pub(crate) fn fields_capacity(&self) -> usize {
        self.fields.capacity()
    }
}

#[inline]
fn bytes<'a>(received: Option<&'a [u8]>, own: &'a [u8], span: Span) -> &'a [u8] {
    let text = if span.is_own() { own } else { received.unwrap_or_default() };
    let text = text.get(span.start()..span.end());
    debug_assert!(text.is_some() || span.is_empty(), "a span lies in its head's text");
    text.unwrap_or_default()
}

#[inline]
fn name_of<'a>(received: Option<&'a [u8]>, own: &'a [u8], field: &Field) -> &'a [u8] {
    if field.name.is_empty() {
        field.id.as_str().as_bytes()
    } else {
        bytes(received, own, field.name)
    }
}

/// What must not stand in a target or a host: it would end the word.
#[inline(always)]
fn ends_word(lanes: Lanes) -> Lanes {
    lanes.at_most(b' ') | lanes.equal(0x7f)
}

/// RFC 9110, 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_special = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_special(byte))
}

/// A head whose received lines stand where they stood.
#[derive(Clone, Copy, Debug)]
pub struct Intact<'a> {
    /// First line and fields, also those that were removed.
    pub received: &'a [u8],
    /// The lines of the fields that were added.
    pub added: &'a [u8],
    /// The names of those.
    pub added_names: NameSet,
    /// Names of received fields that are to be left out.
    pub removed: NameSet,
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Head {
    /// The head as HTTP/1.1 would write it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            Start::Request { .. } => write!(
                f,
                "{} {} host={}",
                self.method_text().escape_ascii(),
                self.path().escape_ascii(),
                self.authority().escape_ascii()
            )?,
            Start::Response { status, .. } => write!(f, "{status}")?,
            Start::Trailers => f.write_str("trailers")?,
        }
        for (name, value) in self.iter() {
            write!(f, " | {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}
