//! From a header block to a [`Head`], and to what its fields say about the stream (RFC 9113, 8.2, 8.3).
//!
//! Fields are pushed as the decoder yields them: a known name is a number already, and whether text
//! is valid was found out when it entered the table. What remains per field is one test whether its
//! name is among those that mean something to framing.

use sluice_l7_core::{
    Field, HEAD_BYTES_MAX, Head, HeadLimits, HeadPool, Method, NameId, NameSet, Parts, Run, RunAt,
    Scheme, Span, Start, Version, is_host,
};

use crate::error::Fault;
use crate::hpack::{Decoded, Decoder, FreshRun, HpackError, Kind, Line, Lines, Pseudo};
use crate::limits::BODY_MAX;
use crate::recurring::{Fresh, Said, keep_run, run_alone};
use crate::state::URGENCY;

/// Which part of a message a block is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Section {
    Request,
    Response,
    Trailers,
}

/// What a head says to the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) method: Method,
    pub(crate) status: u16,
    pub(crate) content_length: Option<u64>,
    pub(crate) urgency: u8,
}

/// Fields that are about one connection of HTTP/1.1 (8.2.2).
const CONNECTION_SPECIFIC: NameSet = NameSet::of(&[
    NameId::CONNECTION,
    NameId::KEEP_ALIVE,
    NameId::PROXY_CONNECTION,
    NameId::TRANSFER_ENCODING,
    NameId::UPGRADE,
]);

/// Fields that are looked at here.
const SPECIAL: NameSet = CONNECTION_SPECIFIC
    .with(NameId::CONTENT_LENGTH)
    .with(NameId::COOKIE)
    .with(NameId::HOST)
    .with(NameId::PRIORITY)
    .with(NameId::TE);

/// Fields that are left out of a trailer section (RFC 9110, 6.5.1): they would change what has been
/// decided by the head.
const NOT_IN_TRAILERS: NameSet = NameSet::of(&[
    NameId::AUTHORIZATION,
    NameId::CONTENT_ENCODING,
    NameId::CONTENT_LENGTH,
    NameId::CONTENT_RANGE,
    NameId::CONTENT_TYPE,
    NameId::EXPECT,
    NameId::HOST,
    NameId::MAX_FORWARDS,
    NameId::TE,
    NameId::TRAILER,
]);

const LOOKED_AT_IN_TRAILERS: NameSet = SPECIAL.or(NOT_IN_TRAILERS);

/// What the fields said so far.
struct Reader<'a> {
    head: &'a mut Head,
    section: Section,
    /// Names of fields that are not just kept.
    looked_at: NameSet,
    limits: &'a HeadLimits,
    fault: Option<Fault>,
    fields: u32,
    /// How many there may be.
    fields_max: u32,
    cookies: u32,
    parts: Parts,
    host: Option<Span>,
    /// There are two of TE: a run with one of them does not say all.
    te_again: bool,
    content_length: Option<u64>,
    urgency: Option<u8>,
    /// What it starts with, by a known run, which was looked at then.
    start: Option<Start>,
    /// The known run that saves most.
    known: Option<RunAt>,
    /// The first fields that may be a run.
    fresh: Option<Fresh>,
}

/// Decodes a block into `head`. The outer error breaks the connection, the inner one the stream.
#[inline]
pub(crate) fn head(
    decoder: &mut Decoder,
    block: &[u8],
    section: Section,
    head: &mut Head,
    limits: &HeadLimits,
    heads: &mut HeadPool,
) -> Result<Result<Facts, Fault>, HpackError> {
    if let Some(facts) = run_alone(decoder, block, section, head, limits, heads) {
        return Ok(Ok(facts));
    }
    any_head(decoder, block, section, head, limits, heads)
}

#[inline(never)]
fn any_head(
    decoder: &mut Decoder,
    block: &[u8],
    section: Section,
    head: &mut Head,
    limits: &HeadLimits,
    heads: &mut HeadPool,
) -> Result<Result<Facts, Fault>, HpackError> {
    let mut text = head.take_own();
    let mut reader = Reader {
        head: &mut *head,
        section,
        looked_at: if section == Section::Trailers { LOOKED_AT_IN_TRAILERS } else { SPECIAL },
        limits,
        fault: None,
        fields: 0,
        fields_max: u32::from(limits.headers),
        cookies: 0,
        parts: Parts::default(),
        host: None,
        te_again: false,
        content_length: None,
        urgency: None,
        start: None,
        known: None,
        fresh: None,
    };
    let most = limits.header_bytes.min(HEAD_BYTES_MAX);
    let runs = (section as u8, heads.runs());
    let decoded = decoder.decode_runs(block, most, &mut text, &mut reader, runs);
    let facts = match decoded {
        Ok(_) if reader.fault.is_some() => Err(reader.fault.unwrap_or(Fault::FieldName)),
        Ok(Decoded::TooLarge) => Err(Fault::HeadTooLarge),
        Ok(Decoded::Complete) => reader.finish(&text),
        Err(error) => {
            head.set_own(text);
            return Err(error);
        }
    };
    let (cookies, fresh) = (reader.cookies, reader.fresh);
    if let Some(fresh) = fresh
        && facts.is_ok()
    {
        keep_run(decoder, &fresh, &text, head, heads);
    }
    head.set_own(text);
    if cookies > 1 && facts.is_ok() {
        join_cookies(head, heads);
    }
    Ok(facts)
}

/// Decodes a block that nobody wants, for the table's sake.
#[cold]
pub(crate) fn skip(
    decoder: &mut Decoder,
    block: &[u8],
    heads: &mut HeadPool,
) -> Result<(), HpackError> {
    let mut text = heads.take_large();
    let decoded = decoder.decode(block, 0, &mut text, |_, _| {});
    heads.put_large(text);
    decoded.map(|_| ())
}

impl Lines for Reader<'_> {
    #[inline(always)]
    fn line(&mut self, text: &[u8], line: &Line) {
        // Nearly every field means nothing to framing.
        if let Kind::Field(id) = line.kind
            && line.valid_value
            && self.fields < self.fields_max
            && !self.looked_at.contains(id)
        {
            self.fields += 1;
            self.push(id, line);
        } else {
            self.note(text, line);
        }
    }

    #[inline]
    fn run(&mut self, run: &Run, at: usize) -> bool {
        let fields = self.fields + run.fields.len() as u32;
        let starts = run.parts.are_any();
        if fields > self.fields_max || starts && (self.fields > 0 || self.parts.are_any()) {
            return false;
        }
        if run.names.contains(NameId::TE) && self.head.names().contains(NameId::TE) {
            return false;
        }
        if starts {
            self.parts = run.parts.moved(at);
            self.start = run.start.filter(|_| at == 0);
        }
        self.urgency = run.urgency.or(self.urgency);
        self.cookies += run.cookies;
        let (first, count) = (self.fields as u16, run.fields.len() as u16);
        self.fields = fields;
        self.head.push_run(run, at);
        // Of several, the one that saves most.
        if self.known.is_none_or(|known| known.count < count && !known.starts) {
            let starts = self.start.is_some();
            let (id, names) = (run.id(), run.names);
            self.known = Some(RunAt { id, names, hides: false, first, count, starts });
        }
        true
    }

    #[cold]
    fn run_begins(&mut self, at: usize, run: FreshRun) {
        if self.fresh.is_none() {
            let (fields, said) = (self.head.all_fields().len(), self.said());
            let (text, fields) = ((at, 0), (fields, 0));
            self.fresh = Some(Fresh { run, text, fields, before: said, after: said });
        }
    }

    #[inline]
    fn run_ends(&mut self, at: usize) {
        if self.fresh.is_some_and(|fresh| fresh.text.1 == 0) {
            self.fresh_ends(at);
        }
    }
}

impl Reader<'_> {
    #[cold]
    fn fresh_ends(&mut self, at: usize) {
        let (fields, said) = (self.head.all_fields().len(), self.said());
        if let Some(fresh) = &mut self.fresh {
            (fresh.text.1, fresh.fields.1, fresh.after) = (at, fields, said);
        }
    }

    fn said(&self) -> Said {
        let content_length = self.content_length.is_some() || self.host.is_some();
        Said { parts: self.parts, cookies: self.cookies, content_length }
    }

    #[inline(always)]
    fn push(&mut self, id: NameId, line: &Line) {
        let value = Span::own(line.value_at() as usize, line.value_len as usize);
        let name = Span::own(line.at as usize, line.name_len as usize);
        let (never_indexed, hash) = (line.never_indexed, line.hash);
        self.head.push_field(Field { id, name, value, plain: true, never_indexed, hash });
    }

    /// Any other.
    #[inline(never)]
    fn note(&mut self, text: &[u8], line: &Line) {
        if self.fault.is_none()
            && let Err(fault) = self.look_at(text, line)
        {
            self.fault = Some(fault);
            // None of those behind it matters.
            self.fields_max = 0;
        }
    }

    fn look_at(&mut self, text: &[u8], line: &Line) -> Result<(), Fault> {
        let id = match line.kind {
            Kind::Field(id) => id,
            Kind::Pseudo(pseudo) => return self.pseudo(pseudo, text, line),
            Kind::Invalid => return Err(Fault::FieldName),
        };
        if !line.valid_value {
            return Err(Fault::FieldValue);
        }
        self.fields += 1;
        if self.fields > self.fields_max {
            return Err(Fault::TooManyFields);
        }
        let value = Span::own(line.value_at() as usize, line.value_len as usize);
        if SPECIAL.contains(id) && !self.special(id, line.value(text), value)? {
            return Ok(());
        }
        if self.section != Section::Trailers || !NOT_IN_TRAILERS.contains(id) {
            self.push(id, line);
        }
        Ok(())
    }

    /// Whether the field stays among the head's fields.
    fn special(&mut self, id: NameId, value: &[u8], span: Span) -> Result<bool, Fault> {
        match id {
            NameId::CONTENT_LENGTH if self.section != Section::Trailers => {
                let length = parse_length(value).ok_or(Fault::ContentLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(Fault::ContentLength);
                }
                // Zeros in front, which some read as octal: a writer says it anew.
                if value.len() == 1 || value[0] != b'0' {
                    self.head.set_content_length(length);
                }
            }
            NameId::COOKIE => self.cookies += 1,
            NameId::HOST if self.section == Section::Request => {
                if self.host.replace(span).is_some() {
                    return Err(Fault::AuthorityMismatch);
                }
                return Ok(false);
            }
            NameId::PRIORITY => self.urgency = urgency(value).or(self.urgency),
            NameId::TE if self.section == Section::Request => {
                if value != b"trailers" && !value.eq_ignore_ascii_case(b"trailers") {
                    return Err(Fault::Te);
                }
                self.te_again |= self.head.names().contains(NameId::TE);
            }
            NameId::CONTENT_LENGTH | NameId::HOST | NameId::TE => {}
            _ => return Err(Fault::ConnectionField),
        }
        Ok(true)
    }

    fn pseudo(&mut self, pseudo: Pseudo, text: &[u8], line: &Line) -> Result<(), Fault> {
        if self.fields > 0 {
            return Err(Fault::PseudoLate);
        }
        let value = line.value(text);
        let span = Span::own(line.value_at() as usize, line.value_len as usize);
        let request = self.section == Section::Request;
        let repeated = match pseudo {
            Pseudo::Status if self.section == Section::Response => {
                let status = parse_status(value).ok_or(Fault::Status)?;
                self.parts.status.replace(status).is_some()
            }
            Pseudo::Method if request => {
                self.parts.method.replace((Method::parse(value), span)).is_some()
            }
            Pseudo::Path if request => self.parts.path.replace(span).is_some(),
            Pseudo::Authority if request => self.parts.authority.replace(span).is_some(),
            Pseudo::Protocol if request => self.parts.protocol.replace(span).is_some(),
            Pseudo::Scheme if request => {
                let scheme = match value {
                    b"http" => Some(Scheme::Http),
                    b"https" => Some(Scheme::Https),
                    _ => None,
                };
                self.parts.scheme.replace(scheme).is_some()
            }
            _ => return Err(Fault::PseudoUnexpected),
        };
        if repeated { Err(Fault::PseudoRepeated) } else { Ok(()) }
    }

    fn finish(&mut self, text: &[u8]) -> Result<Facts, Fault> {
        self.head.set_nominates_none(true);
        // But for Host all lines are fields, behind what is none.
        if self.host.is_none() && self.section != Section::Trailers {
            self.head.set_lines_own();
        }
        if self.parts.protocol.is_some() || self.host.is_some() {
            self.start = None;
        }
        if let Some(known) = self.known.filter(|_| !self.te_again) {
            let starts = known.starts && self.start.is_some();
            self.head.set_run(RunAt { starts, ..known });
        }
        let mut method = Method::Other;
        match self.section {
            Section::Request => method = self.finish_request(text)?,
            Section::Response => {
                let status = self.parts.status.ok_or(Fault::PseudoMissing)?;
                let start = Start::Response { status, reason: Span::EMPTY };
                self.head.set_start(start, Version::Http2);
            }
            Section::Trailers => self.head.set_start(Start::Trailers, Version::Http2),
        }
        Ok(Facts {
            method,
            status: self.parts.status.unwrap_or(0),
            content_length: self.content_length,
            urgency: self.urgency.unwrap_or(URGENCY),
        })
    }

    /// RFC 9113, 8.3.1 and 8.5; RFC 8441, 4.
    fn finish_request(&mut self, text: &[u8]) -> Result<Method, Fault> {
        if let Some(start @ Start::Request { method, path, .. }) = self.start {
            self.head.set_start(start, Version::Http2);
            let fits = path.len() <= self.limits.request_line as usize;
            return if fits { Ok(method) } else { Err(Fault::PathTooLong) };
        }
        let slice = |span: Span| text.get(span.start()..span.end()).unwrap_or_default();
        let (method, method_text) = self.parts.method.ok_or(Fault::PseudoMissing)?;
        if method == Method::Other && !is_token(slice(method_text)) {
            return Err(Fault::Method);
        }
        let authority = match (self.parts.authority, self.host) {
            (Some(authority), Some(host)) => {
                if !slice(authority).eq_ignore_ascii_case(slice(host)) {
                    return Err(Fault::AuthorityMismatch);
                }
                authority
            }
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return Err(Fault::AuthorityMissing),
        };
        if !is_host(slice(authority)) {
            return Err(Fault::Authority);
        }
        let plain_connect = method == Method::Connect && self.parts.protocol.is_none();
        let mut path = Span::EMPTY;
        let mut scheme = Scheme::Implied;
        if plain_connect {
            if self.parts.path.is_some() || self.parts.scheme.is_some() {
                return Err(Fault::PseudoUnexpected);
            }
        } else {
            scheme = self.parts.scheme.ok_or(Fault::PseudoMissing)?.ok_or(Fault::SchemeUnknown)?;
            path = self.parts.path.ok_or(Fault::PseudoMissing)?;
            if path.len() > self.limits.request_line as usize {
                return Err(Fault::PathTooLong);
            }
            if !is_path(slice(path), method) {
                return Err(Fault::Path);
            }
        }
        if let Some(protocol) = self.parts.protocol
            && (method != Method::Connect || !is_token(slice(protocol)))
        {
            return Err(Fault::ProtocolName);
        }
        let protocol = self.parts.protocol.unwrap_or(Span::EMPTY);
        let start = Start::Request { method, method_text, path, authority, scheme, protocol };
        self.head.set_start(start, Version::Http2);
        Ok(method)
    }
}

/// RFC 9113, 8.2.3: crumbs become one field, as everybody but HTTP/2 writes it.
#[cold]
fn join_cookies(head: &mut Head, heads: &mut HeadPool) {
    let mut joined = heads.take_large();
    for value in head.get_all(NameId::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(value);
    }
    head.set(NameId::COOKIE, &joined);
    heads.put_large(joined);
}

/// An absolute path with a query, or `*`; without what no target may have.
#[inline]
fn is_path(path: &[u8], method: Method) -> bool {
    match path.first() {
        Some(b'/') => {}
        Some(b'*') => return path.len() == 1 && method == Method::Options,
        _ => return false,
    }
    let refused =
        |lanes: sluice_arch::Lanes| lanes.at_most(b' ') | lanes.equal(0x7f) | lanes.equal(b'#');
    sluice_arch::none(path, refused) && (path.is_ascii() || std::str::from_utf8(path).is_ok())
}

/// RFC 9110, 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let special = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

fn parse_status(value: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = value else { return None };
    let digit = |byte: &u8| u16::from(byte - b'0');
    Some(digit(a) * 100 + digit(b) * 10 + digit(c))
}

/// Decimal digits alone, below 2^63.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length = 0_u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        length = length * 10 + u64::from(digit);
    }
    (length <= BODY_MAX).then_some(length)
}

/// `u=` of a Priority field (RFC 9218, 4.1), if it is there; the rest does not matter to us.
pub(crate) fn urgency(value: &[u8]) -> Option<u8> {
    value.split(|byte| *byte == b',').find_map(|member| match member.trim_ascii() {
        [b'u', b'=', digit @ b'0'..=b'7', rest @ ..] if !rest.starts_with(b".") => {
            matches!(rest.first(), None | Some(b';' | b' ')).then_some(digit - b'0')
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgencies() {
        for (value, is) in [
            ("u=0", Some(0)),
            ("i, u=7", Some(7)),
            ("u=1;x, i=?0", Some(1)),
            ("u=8", None),
            ("u=10", None),
            ("u=1.5", None),
            ("u", None),
            ("xu=1", None),
            ("", None),
        ] {
            assert_eq!(urgency(value.as_bytes()), is, "{value}");
        }
    }

    #[test]
    fn lengths_and_statuses() {
        assert_eq!(parse_length(b"9223372036854775807"), Some(BODY_MAX));
        for wrong in ["9223372036854775808", "", "+1", "1 ", "0x1", "10000000000000000000"] {
            assert_eq!(parse_length(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(parse_status(b"100"), Some(100));
        assert_eq!(parse_status(b"999"), Some(999));
        for wrong in ["", "20", "2000", "099", "2x0", " 20"] {
            assert_eq!(parse_status(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
