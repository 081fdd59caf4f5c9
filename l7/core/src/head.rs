//! A message's head.

use std::fmt;

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
        self.fields.clear();
        self.received = None;
        self.own.clear();
    }

    /// Makes it a request without fields.
    pub fn reset_to_request(&mut self, method: Method, authority: &[u8], path: &[u8]) {
        self.reset();
        let (authority, path) = (self.add_text(authority), self.add_text(path));
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
    }

    /// Notes that the sender asks to upgrade the connection.
    #[inline]
    pub fn set_upgrade(&mut self, upgrade: bool) {
        self.upgrade = upgrade;
    }

    /// Appends a field whose text is already there.
    #[inline]
    pub fn push_field(&mut self, field: Field) {
        self.known = self.known.with(field.id);
        self.fields.push(field);
    }

    /// Copies `text` behind the own text.
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
        let text = match name {
            Name::Text(text) if id == NameId::OTHER => self.add_text(text),
            Name::Text(_) | Name::Known(_) => Span::EMPTY,
        };
        let value = self.add_text(value);
        self.push_field(Field { id, name: text, value, plain: false });
    }

    /// Adds a field and removes all others of the name.
    #[inline(always)]
    pub fn set<'a>(&mut self, name: impl Into<Name<'a>>, value: &[u8]) {
        let name = name.into();
        self.remove(name);
        self.append(name, value);
    }

    /// Removes every field of the name; returns how many there were.
    #[inline]
    pub fn remove<'a>(&mut self, name: impl Into<Name<'a>>) -> usize {
        let before = self.fields.len();
        match name.into() {
            Name::Known(id) => self.remove_id(id),
            Name::Text(text) => match NameId::lookup(text) {
                NameId::OTHER => self.remove_text(text),
                id => self.remove_id(id),
            },
        }
        before - self.fields.len()
    }

    /// Removes every field of these well-known names, in one pass.
    #[inline]
    pub fn remove_all(&mut self, names: NameSet) {
        let names = names.without(NameId::OTHER);
        if self.known.meets(names) {
            self.known = self.known.minus(names);
            self.fields.retain(|field| !names.contains(field.id));
        }
    }

    #[inline]
    fn remove_id(&mut self, id: NameId) {
        if id != NameId::OTHER && self.known.contains(id) {
            self.remove_present(id);
        }
    }

    fn remove_present(&mut self, id: NameId) {
        self.known = self.known.without(id);
        self.fields.retain(|field| field.id != id);
    }

    fn remove_text(&mut self, text: &[u8]) {
        let (received, own) = (self.received.as_deref(), &self.own);
        self.fields.retain(|field| {
            field.id != NameId::OTHER
                || !bytes(received, own, field.name).eq_ignore_ascii_case(text)
        });
    }

    /// Keeps the fields for which `keep` says so, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(NameId, &[u8], &[u8]) -> bool) {
        let (received, own) = (self.received.as_deref(), &self.own);
        self.fields.retain(|field| {
            keep(field.id, name_of(received, own, field), bytes(received, own, field.value))
        });
    }

    /// Replaces a request's path and query.
    pub fn set_path(&mut self, text: &[u8]) {
        let text = self.add_text(text);
        if let Start::Request { path, .. } = &mut self.start {
            *path = text;
        }
    }

    /// Replaces a request's host and port.
    pub fn set_authority(&mut self, text: &[u8]) {
        let text = self.add_text(text);
        if let Start::Request { authority, .. } = &mut self.start {
            *authority = text;
        }
    }

    /// Replaces a response's status; its phrase becomes the usual one.
    pub fn set_status(&mut self, to: u16) {
        if let Start::Response { status, reason } = &mut self.start {
            *status = to;
            *reason = Span::EMPTY;
        }
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
        let fields = if !self.known.contains(id) { &[][..] } else { &self.fields[..] };
        let fields = fields.iter().filter(move |field| field.id == id);
        fields.map(|field| self.text(field.value)).chain(self.host(id))
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
        self.fields.iter().map(|field| (self.name(field), self.text(field.value)))
    }

    /// The index of the fields, in order.
    #[inline]
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
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
