//! From a [`Head`] to a header block (RFC 9113, 8.2, 8.3).

use sluice_l7_core::{Field, Head, Method, NameId, NameSet, RunAt, Runs, Scheme};

use crate::hpack::{Encoder, Pseudo};

/// What the machine says about the body's length in place of what the head may say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Length {
    /// The head's Content-Length, if it names one: of a body that is not sent.
    Inherited,
    /// A Content-Length.
    Known(u64),
    /// None: the end of the stream says it.
    Unsaid,
}

/// Fields about an HTTP/1.1 connection (8.2.2), and those that pseudo-header fields stand for.
const SKIPPED: NameSet = NameSet::of(&[
    NameId::CONNECTION,
    NameId::HOST,
    NameId::HTTP2_SETTINGS,
    NameId::KEEP_ALIVE,
    NameId::PROXY_CONNECTION,
    NameId::TE,
    NameId::TRANSFER_ENCODING,
    NameId::UPGRADE,
]);

/// What must not stand in a trailer section beside those.
const NOT_IN_TRAILERS: NameSet =
    SKIPPED.with(NameId::CONTENT_LENGTH).with(NameId::TRAILER).with(NameId::EXPECT);

/// How a run is written: with what a message starts with, with `te: trailers`.
const WITH_START: u8 = 1;
const WITH_TE: u8 = 2;
/// Of fields that were added here.
const ADDED: u8 = 4;

/// A request's block.
pub(crate) fn request(
    encoder: &mut Encoder,
    head: &Head,
    length: Length,
    runs: &mut Runs,
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    let skipped = length.skipped(head);
    let run = head.run(skipped.without(NameId::TE)).copied();
    let mut te = head.names().contains(NameId::TE) && says_trailers(head, run.as_ref());
    let mut written = 0;
    if let Some(run) = run {
        let with_te = te && run.contains(NameId::TE);
        let start = if run.starts { WITH_START } else { 0 };
        let part = start | if with_te { WITH_TE } else { 0 };
        if !run.starts {
            request_start(encoder, head, out);
        }
        write_to_run(encoder, head, &run, skipped, out);
        if write_run(encoder, head, &run, part, runs, out) {
            te &= !with_te;
            written = usize::from(run.first + run.count);
        } else {
            written = usize::from(run.first);
        }
    } else {
        request_start(encoder, head, out);
        if std::mem::take(&mut te) {
            // Among what comes again, as clients of gRPC write it.
            encoder.field(NameId::TE, b"te", b"trailers", false, out);
        }
    }
    if let Some(run) = head.added_run(skipped).copied() {
        let first = usize::from(run.first);
        write_fields(encoder, head, (written, first), skipped, out);
        let known = write_run(encoder, head, &run, ADDED, runs, out);
        written = first + if known { usize::from(run.count) } else { 0 };
    }
    fields(encoder, head, written, skipped, out);
    length.write(encoder, head, out);
    if te {
        encoder.field(NameId::TE, b"te", b"trailers", false, out);
    }
}

/// Whether TE says that trailers are wanted; a known run with it was looked at when it came.
#[inline]
fn says_trailers(head: &Head, run: Option<&RunAt>) -> bool {
    run.is_some_and(|run| run.contains(NameId::TE))
        || head.get(NameId::TE) == Some(b"trailers")
        || head.has_token(NameId::TE, b"trailers")
}

/// The pseudo-header fields of a request.
fn request_start(encoder: &mut Encoder, head: &Head, out: &mut Vec<u8>) {
    encoder.pseudo(Pseudo::Method, head.method_text(), out);
    let protocol = head.protocol();
    if head.method() != Method::Connect || !protocol.is_empty() {
        let scheme: &[u8] = match head.scheme() {
            Scheme::Https => b"https",
            Scheme::Http | Scheme::Implied => b"http",
        };
        encoder.pseudo(Pseudo::Scheme, scheme, out);
        encoder.pseudo(Pseudo::Path, head.path(), out);
    }
    encoder.pseudo(Pseudo::Authority, head.authority(), out);
    if !protocol.is_empty() {
        encoder.pseudo(Pseudo::Protocol, protocol, out);
    }
}

/// A response's block.
pub(crate) fn response(
    encoder: &mut Encoder,
    head: &Head,
    length: Length,
    runs: &mut Runs,
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    let skipped = length.skipped(head);
    let mut written = 0;
    if let Some(run) = head.run(skipped).copied() {
        if !run.starts {
            encoder.status(head.status(), out);
        }
        written = write_to_run(encoder, head, &run, skipped, out);
        let part = if run.starts { WITH_START } else { 0 };
        if write_run(encoder, head, &run, part, runs, out) {
            written += usize::from(run.count);
        }
    } else {
        encoder.status(head.status(), out);
    }
    fields(encoder, head, written, skipped, out);
    length.write(encoder, head, out);
}

impl Length {
    /// Fields that are not written as they are.
    #[inline]
    fn skipped(self, head: &Head) -> NameSet {
        match self {
            Self::Inherited => SKIPPED,
            Self::Known(length) if head.content_length() == Some(length) => SKIPPED,
            Self::Known(_) | Self::Unsaid => SKIPPED.with(NameId::CONTENT_LENGTH),
        }
    }

    /// What is said in their place.
    #[inline]
    fn write(self, encoder: &mut Encoder, head: &Head, out: &mut Vec<u8>) {
        match self {
            Self::Known(length) if head.content_length() != Some(length) => {
                let (digits, from) = decimal(length);
                let value = &digits[from..];
                encoder.field(NameId::CONTENT_LENGTH, b"content-length", value, false, out);
            }
            Self::Known(_) | Self::Inherited | Self::Unsaid => {}
        }
    }
}

/// The fields from place `from` on.
#[inline]
fn fields(encoder: &mut Encoder, head: &Head, from: usize, skipped: NameSet, out: &mut Vec<u8>) {
    write_fields(encoder, head, (from, usize::MAX), skipped, out);
}

#[inline]
fn write_fields(
    encoder: &mut Encoder,
    head: &Head,
    (from, to): (usize, usize),
    skipped: NameSet,
    out: &mut Vec<u8>,
) {
    for field in head.fields_between(from, to, skipped) {
        write_field(encoder, head, field, out);
    }
}

/// The fields in front of a run; its place.
#[inline]
fn write_to_run(
    encoder: &mut Encoder,
    head: &Head,
    run: &RunAt,
    skipped: NameSet,
    out: &mut Vec<u8>,
) -> usize {
    let first = usize::from(run.first);
    if first > 0 {
        write_fields(encoder, head, (0, first), skipped, out);
    }
    first
}

/// A run, with what the message starts with if it says that. False: it is not kept any more, and of
/// it only the start is written.
#[inline]
fn write_run(
    encoder: &mut Encoder,
    head: &Head,
    run: &RunAt,
    part: u8,
    runs: &mut Runs,
    out: &mut Vec<u8>,
) -> bool {
    let known = runs.get(run.id);
    if let Some(literals) = known.and_then(|known| known.literals.as_deref())
        && encoder.run(run.id, part, out)
    {
        if !literals.is_empty() {
            out.extend_from_slice(literals);
        }
        return true;
    }
    write_run_anew(encoder, head, run, part, runs, out)
}

/// A run that was written before, once more, where no size of the table is to be said first; whether it
/// could be.
#[inline]
pub(crate) fn run_again(
    encoder: &mut Encoder,
    id: u64,
    starts: bool,
    runs: &mut Runs,
    out: &mut Vec<u8>,
) -> bool {
    if encoder.has_news() {
        return false;
    }
    let Some(literals) = runs.get(id).and_then(|known| known.literals.as_deref()) else {
        return false;
    };
    let written = encoder.run(id, if starts { WITH_START } else { 0 }, out);
    if !literals.is_empty() {
        out.extend_from_slice(literals);
    }
    written
}

/// First what the peer's table helps with, which is remembered if all of it is in the table; then
/// what is the same for every peer.
#[cold]
fn write_run_anew(
    encoder: &mut Encoder,
    head: &Head,
    run: &RunAt,
    part: u8,
    runs: &mut Runs,
    out: &mut Vec<u8>,
) -> bool {
    let (at, mut count) = (out.len(), 0);
    if part & WITH_START != 0 && head.is_request() {
        request_start(encoder, head, out);
        count = 4;
    } else if part & WITH_START != 0 {
        encoder.status(head.status(), out);
        count = 1;
    }
    let Some(known) = runs.get_mut(run.id) else { return false };
    let (first, end) = (usize::from(run.first), usize::from(run.first + run.count));
    let stands_alone = |field: &Field| {
        Encoder::stands_alone(field.id, head.text(field.value), field.never_indexed)
    };
    for field in head.fields_between(first, end, SKIPPED) {
        if !stands_alone(field) {
            write_field(encoder, head, field, out);
            count += 1;
        }
    }
    if part & WITH_TE != 0 {
        encoder.field(NameId::TE, b"te", b"trailers", false, out);
        count += 1;
    }
    encoder.wrote_run(run.id, part, &out[at..], count);
    let literals = known.literals.get_or_insert_with(|| {
        let mut literals = Vec::new();
        for field in head.fields_between(first, end, SKIPPED).filter(|field| stands_alone(field)) {
            write_detached(head, field, &mut literals);
        }
        literals.into()
    });
    out.extend_from_slice(literals);
    true
}

/// A trailer section's block.
pub(crate) fn trailers(encoder: &mut Encoder, head: &Head, runs: &mut Runs, out: &mut Vec<u8>) {
    encoder.begin(out);
    let mut written = 0;
    if let Some(run) = head.run(NOT_IN_TRAILERS).copied() {
        written = write_to_run(encoder, head, &run, NOT_IN_TRAILERS, out);
        if write_run(encoder, head, &run, 0, runs, out) {
            written += usize::from(run.count);
        }
    }
    fields(encoder, head, written, NOT_IN_TRAILERS, out);
}

#[inline(always)]
fn write_field(encoder: &mut Encoder, head: &Head, field: &Field, out: &mut Vec<u8>) {
    if field.hash != 0 {
        // It came out of such a table: its name is in lower case.
        let (name, value) = (head.name(field), head.text(field.value));
        let Field { hash, id, never_indexed, .. } = *field;
        encoder.field_of_hash(hash, id, name, value, never_indexed, out);
    } else {
        write_other(encoder, head, field, out);
    }
}

#[inline(never)]
fn write_other(encoder: &mut Encoder, head: &Head, field: &Field, out: &mut Vec<u8>) {
    let value = head.text(field.value);
    with_lower_name(head, field, |name| {
        encoder.field(field.id, name, value, field.never_indexed, out);
    });
}

/// A trailer section's block that may be sent behind blocks that are written after it.
pub(crate) fn detached_trailers(head: &Head, out: &mut Vec<u8>) {
    for field in head.fields_without(NOT_IN_TRAILERS) {
        write_detached(head, field, out);
    }
}

fn write_detached(head: &Head, field: &Field, out: &mut Vec<u8>) {
    let value = head.text(field.value);
    with_lower_name(head, field, |name| {
        Encoder::detached_field(field.id, name, value, field.never_indexed, out);
    });
}

/// Whether a trailer section has a field that may be written.
pub(crate) fn has_trailers(head: &Head) -> bool {
    head.fields_without(NOT_IN_TRAILERS).next().is_some()
}

/// Lends the field's name in lower case.
#[inline]
fn with_lower_name(head: &Head, field: &Field, f: impl FnOnce(&[u8])) {
    if field.id != NameId::OTHER {
        return f(field.id.as_str().as_bytes());
    }
    let name = head.name(field);
    if !name.iter().any(u8::is_ascii_uppercase) {
        return f(name);
    }
    // Names that came by HTTP/1.1 often have it; few are long.
    let mut lower = [0; 64];
    match lower.get_mut(..name.len()) {
        Some(lower) => {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            f(lower);
        }
        None => f(&name.to_ascii_lowercase()),
    }
}

/// A number in decimal, and where it starts.
fn decimal(mut number: u64) -> ([u8; 20], usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return (digits, at);
        }
    }
}
