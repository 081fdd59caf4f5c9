//! From a [`Head`] to its bytes.

use sluice_l7_core::{EncodeError, Field, Head, Intact, NameId, NameSet, Span, Start, status};

use crate::decode::{is_padded, parse_length};
use crate::writer::{Sink, Write, put_decimal};

/// What the codec says about framing in place of what the head may say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    /// Nothing, not even a length that the head names.
    Silent,
    /// The head's Content-Length, if it names one: of the body that is not sent.
    Inherited,
    /// A Content-Length.
    Length(u64),
    /// The chunked coding.
    Chunked,
}

/// The options of the Connection field to write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    pub(crate) te: bool,
}

/// A head with what the codec adds to it.
pub(crate) struct HeadLines<'a> {
    head: &'a Head,
    framing: Framing,
    options: Options,
    /// Fields of the head that are not written.
    skipped: NameSet,
}

/// Fields about the connection: the codec knows better.
const CONNECTION_FIELDS: NameSet = NameSet::of(&[
    NameId::CONNECTION,
    NameId::KEEP_ALIVE,
    NameId::PROXY_CONNECTION,
    NameId::TRANSFER_ENCODING,
    NameId::HOST,
]);

impl<'a> HeadLines<'a> {
    /// Settles which lines to write.
    ///
    /// # Errors
    /// Text was added to the head that one of its lines cannot carry.
    #[inline]
    pub(crate) fn new(
        head: &'a Head,
        framing: Framing,
        mut options: Options,
    ) -> Result<Self, EncodeError> {
        if head.is_unprintable() {
            return Err(EncodeError::Unprintable);
        }
        let names = head.names();
        options.te = head.is_request() && names.contains(NameId::TE);
        options.upgrade &= names.contains(NameId::UPGRADE);
        let mut skipped = CONNECTION_FIELDS;
        if !options.upgrade {
            skipped = skipped.with(NameId::UPGRADE);
        }
        let mut framing = framing;
        if names.contains(NameId::CONTENT_LENGTH) {
            // A length that is said already, and right, is written where it stands.
            match framing {
                Framing::Inherited => {}
                Framing::Length(length) if is_said(head, length) => framing = Framing::Inherited,
                Framing::Silent | Framing::Length(_) | Framing::Chunked => {
                    skipped = skipped.with(NameId::CONTENT_LENGTH);
                }
            }
        }
        Ok(Self { head, framing, options, skipped })
    }

    /// The first line and the fields, copied from where they stand. False: they cannot be.
    #[inline]
    fn write_intact(&self, sink: &mut impl Sink) -> bool {
        let Some(intact) = self.head.intact() else { return false };
        if intact.added_names.meets(self.skipped) {
            return false;
        }
        // Host is part of what was received, though not a field.
        if intact.removed.is_empty() && !self.head.names().meets(self.skipped) {
            sink.put(intact.received);
        } else {
            self.write_rest(&intact, sink);
        }
        if !intact.added.is_empty() {
            sink.put(intact.added);
        }
        true
    }

    /// What was received without the lines that are left out.
    #[inline]
    fn write_rest(&self, intact: &Intact<'_>, sink: &mut impl Sink) {
        let (left_out, mut at) = (self.skipped.or(intact.removed), 0);
        for field in self.head.all_fields() {
            if left_out.contains(field.id) {
                let end = field.value.end() + b"\r\n".len();
                sink.put(intact.received.get(at..field.name.start()).unwrap_or_default());
                at = end;
            }
        }
        if at < intact.received.len() {
            sink.put(&intact.received[at..]);
        }
    }

    #[inline(never)]
    fn write_start(&self, sink: &mut impl Sink) {
        let head = self.head;
        match *head.start() {
            Start::Request { .. } => {
                sink.put(head.method_text());
                sink.put(b" ");
                let (path, authority) = (head.path(), head.authority());
                sink.put(if path.is_empty() { authority } else { path });
                sink.put(b" HTTP/1.1\r\nhost: ");
                sink.put(authority);
                sink.put(b"\r\n");
            }
            Start::Response { status, .. } => {
                sink.put(b"HTTP/1.1 ");
                put_decimal(sink, u64::from(status));
                sink.put(b" ");
                let phrase = status::reason_phrase(status).as_bytes();
                sink.put(if phrase.is_empty() { head.reason() } else { phrase });
                sink.put(b"\r\n");
            }
            Start::Trailers => {}
        }
    }

    #[inline]
    fn write_framing(&self, sink: &mut impl Sink) {
        match self.framing {
            Framing::Silent | Framing::Inherited => {}
            Framing::Length(length) => {
                sink.put(b"content-length: ");
                put_decimal(sink, length);
                sink.put(b"\r\n");
            }
            Framing::Chunked => sink.put(b"transfer-encoding: chunked\r\n"),
        }
    }

    #[inline]
    fn write_options(&self, sink: &mut impl Sink) {
        let Options { close, keep_alive, upgrade, te } = self.options;
        let options: [(bool, &[u8]); 4] =
            [(close, b"close"), (keep_alive, b"keep-alive"), (upgrade, b"upgrade"), (te, b"te")];
        if !(close | keep_alive | upgrade | te) {
            return;
        }
        let mut before: &[u8] = b"connection: ";
        for (given, option) in options {
            if given {
                sink.put(before);
                sink.put(option);
                before = b", ";
            }
        }
        sink.put(b"\r\n");
    }
}

impl Write for HeadLines<'_> {
    #[inline]
    fn write(&self, sink: &mut impl Sink) {
        if !self.write_intact(sink) {
            self.write_start(sink);
            match self.head.own_lines(self.skipped) {
                Some(lines) => sink.put(lines),
                None => write_fields(self.head, self.skipped, sink),
            }
        }
        self.write_framing(sink);
        self.write_options(sink);
        sink.put(b"\r\n");
    }
}

/// The last chunk and the trailer section.
pub(crate) struct LastChunk<'a> {
    /// The line end that the previous chunk still lacks comes first.
    pub(crate) line_end: bool,
    pub(crate) trailers: Option<&'a Head>,
}

impl LastChunk<'_> {
    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        if self.trailers.is_some_and(Head::is_unprintable) {
            return Err(EncodeError::Unprintable);
        }
        Ok(())
    }
}

impl Write for LastChunk<'_> {
    fn write(&self, sink: &mut impl Sink) {
        const SKIPPED: NameSet = CONNECTION_FIELDS
            .with(NameId::CONTENT_LENGTH)
            .with(NameId::TRAILER)
            .with(NameId::UPGRADE)
            .with(NameId::TE);
        sink.put(if self.line_end { b"\r\n0\r\n" } else { b"0\r\n" });
        if let Some(trailers) = self.trailers {
            write_fields(trailers, SKIPPED, sink);
        }
        sink.put(b"\r\n");
    }
}

/// Writes the fields. Neighbours in the text that stand there as `name: value` lines are copied in
/// one piece.
#[inline(never)]
fn write_fields(head: &Head, skipped: NameSet, sink: &mut impl Sink) {
    let (mut lines, mut from) = (Span::EMPTY, 0);
    if let Some((first, run, end)) = run_of(head, skipped) {
        lines = write_between(head, (0, first), skipped, lines, sink);
        lines = joined(head, lines, run, sink);
        from = end;
    }
    lines = write_between(head, (from, usize::MAX), skipped, lines, sink);
    put_span(head, lines, sink);
}

/// The run that is part of the head, if all of it is written: the place of its first field, its
/// lines, and the place behind it.
#[inline]
fn run_of(head: &Head, skipped: NameSet) -> Option<(usize, Span, usize)> {
    let run = head.run(skipped).filter(|run| !run.hides)?;
    let (first, end) = (usize::from(run.first), usize::from(run.first + run.count));
    let [from, .., to] = head.all_fields().get(first..end)? else { return None };
    Some((first, line_of(from)?.through(line_of(to)?), end))
}

/// Writes the fields in a range of places, but for the last lines, which are returned: what follows
/// them may be their neighbour. `lines` are those in front of them.
#[inline]
fn write_between(
    head: &Head,
    (from, to): (usize, usize),
    skipped: NameSet,
    mut lines: Span,
    sink: &mut impl Sink,
) -> Span {
    for field in head.fields_between(from, to, skipped) {
        lines = match line_of(field) {
            Some(line) => joined(head, lines, line, sink),
            None => {
                put_span(head, lines, sink);
                put_field(head, field, sink);
                Span::EMPTY
            }
        };
    }
    lines
}

/// Both, if they are neighbours; if not, the first is written.
#[inline]
fn joined(head: &Head, lines: Span, next: Span, sink: &mut impl Sink) -> Span {
    if lines.is_followed_by(next) {
        return lines.through(next);
    }
    put_span(head, lines, sink);
    next
}

#[inline]
fn put_span(head: &Head, span: Span, sink: &mut impl Sink) {
    if !span.is_empty() {
        sink.put(head.text(span));
    }
}

#[cold]
fn put_field(head: &Head, field: &Field, sink: &mut impl Sink) {
    sink.put(head.name(field));
    sink.put(b": ");
    sink.put(head.text(field.value));
    sink.put(b"\r\n");
}

/// The whole line of a field that stands in its text the way we would write it.
#[inline]
fn line_of(field: &Field) -> Option<Span> {
    let len = field.name.len() + b": ".len() + field.value.len() + b"\r\n".len();
    field.plain.then(|| field.name.extended(len))
}

/// Whether the head's Content-Length says `length`, in the one way to write it.
#[inline]
fn is_said(head: &Head, length: u64) -> bool {
    match head.content_length() {
        Some(said) => said == length,
        None => is_only_value(head, length),
    }
}

#[cold]
fn is_only_value(head: &Head, length: u64) -> bool {
    let mut said = head.get_all(NameId::CONTENT_LENGTH);
    let only = said.next().filter(|value| !is_padded(value));
    only.and_then(parse_length) == Some(length) && said.next().is_none()
}
