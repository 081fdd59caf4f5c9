//! From a [`Head`] to a header block (RFC 9113, 8.2, 8.3).

use sluice_l7_core::{Field, Head, Method, NameId, NameSet, Scheme};

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

/// A request's block.
pub(crate) fn request(encoder: &mut Encoder, head: &Head, length: Length, out: &mut Vec<u8>) {
    encoder.begin(out);
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
    fields(encoder, head, length, out);
    let is_said = |head: &Head| {
        head.get(NameId::TE) == Some(b"trailers") || head.has_token(NameId::TE, b"trailers")
    };
    if head.names().contains(NameId::TE) && is_said(head) {
        encoder.field(NameId::TE, b"te", b"trailers", false, out);
    }
}

/// A response's block.
pub(crate) fn response(encoder: &mut Encoder, head: &Head, length: Length, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.status(head.status(), out);
    fields(encoder, head, length, out);
}

fn fields(encoder: &mut Encoder, head: &Head, length: Length, out: &mut Vec<u8>) {
    let mut skipped = SKIPPED;
    let mut say = None;
    match length {
        Length::Inherited => {}
        Length::Known(length) if head.content_length() == Some(length) => {}
        Length::Known(length) => {
            say = Some(length);
            skipped = skipped.with(NameId::CONTENT_LENGTH);
        }
        Length::Unsaid => skipped = skipped.with(NameId::CONTENT_LENGTH),
    }
    for field in head.fields_without(skipped) {
        write_field(encoder, head, field, out);
    }
    if let Some(length) = say {
        let (digits, from) = decimal(length);
        let value = &digits[from..];
        encoder.field(NameId::CONTENT_LENGTH, b"content-length", value, false, out);
    }
}

/// A trailer section's block.
pub(crate) fn trailers(encoder: &mut Encoder, head: &Head, out: &mut Vec<u8>) {
    encoder.begin(out);
    for field in head.fields_without(NOT_IN_TRAILERS) {
        write_field(encoder, head, field, out);
    }
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
        let value = head.text(field.value);
        with_lower_name(head, field, |name| {
            Encoder::detached_field(field.id, name, value, field.never_indexed, out);
        });
    }
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
