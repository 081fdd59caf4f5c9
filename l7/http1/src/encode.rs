//! From a [`Head`] to its bytes.

use sluice_l7_core::{EncodeError, Field, Head, NameId, NameSet, Span, Start, status};

use crate::decode::parse_length;
use crate::fast;
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
    /// Checks what was added to the head since it was received, and settles which lines to write.
    #[inline]
    pub(crate) fn new(
        head: &'a Head,
        framing: Framing,
        mut options: Options,
    ) -> Result<Self, EncodeError> {
        check(head)?;
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

    #[inline]
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
            Start::Response { status: 200, .. } => sink.put(b"HTTP/1.1 200 OK\r\n"),
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
        self.write_start(sink);
        write_fields(self.head, self.skipped, sink);
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
        self.trailers.map_or(Ok(()), check)
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

/// Writes the fields. Neighbours in the text that came from the wire as `name: value` lines are
/// copied in one piece, as they are: most of a proxied head is.
#[inline]
fn write_fields(head: &Head, skipped: NameSet, sink: &mut impl Sink) {
    let (received, own) = (head.received_text(), head.own_text());
    let text_of = |span: Span| if span.is_own() { own } else { received };
    let flush = |run: Span, sink: &mut _| {
        if !run.is_empty() {
            Sink::put(sink, text_of(run).get(run.start()..run.end()).unwrap_or_default());
        }
    };
    let mut run = Span::EMPTY;
    for field in head.fields() {
        if skipped.contains(field.id) {
            continue;
        }
        match line_of(field) {
            Some(line) if run.is_followed_by(line) => run = run.through(line),
            Some(line) => {
                flush(run, sink);
                run = line;
            }
            None => {
                flush(run, sink);
                run = Span::EMPTY;
                sink.put(head.name(field));
                sink.put(b": ");
                sink.put(head.text(field.value));
                sink.put(b"\r\n");
            }
        }
    }
    flush(run, sink);
}

/// The whole line of a field that stands in its text the way we would write it.
#[inline]
fn line_of(field: &Field) -> Option<Span> {
    let len = field.name.len() + b": ".len() + field.value.len() + b"\r\n".len();
    field.plain.then(|| field.name.extended(len))
}

/// Whether the head's Content-Length says `length`.
#[inline]
fn is_said(head: &Head, length: u64) -> bool {
    let mut said = head.get_all(NameId::CONTENT_LENGTH);
    said.next().and_then(parse_length) == Some(length) && said.next().is_none()
}

/// Text that was added since the head was received must not be able to end its line.
#[inline]
fn check(head: &Head) -> Result<(), EncodeError> {
    if head.own_text().is_empty() {
        return Ok(());
    }
    check_added(head)
}

fn check_added(head: &Head) -> Result<(), EncodeError> {
    let ends_line = |span: Span| {
        // The first look is cheap and sees too much: these texts are short and have no controls.
        span.is_own()
            && fast::has_below(head.text(span), b'\r' + 1)
            && memchr::memchr3(b'\r', b'\n', 0, head.text(span)).is_some()
    };
    let splits_line = |span: Span| {
        span.is_own() && head.text(span).iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
    };
    let start_is_bad = match *head.start() {
        Start::Request { method_text, path, authority, .. } => {
            splits_line(method_text) || splits_line(path) || splits_line(authority)
        }
        Start::Response { reason, .. } => ends_line(reason),
        Start::Trailers => false,
    };
    let field_is_bad = |field: &Field| {
        ends_line(field.value)
            || field.name.is_own()
                && head.text(field.name).iter().any(|byte| !crate::error::is_token(*byte))
    };
    if start_is_bad || head.fields().iter().any(field_is_bad) {
        return Err(EncodeError::Unprintable);
    }
    Ok(())
}
