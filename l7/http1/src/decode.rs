//! From a head's bytes to a [`Head`], and to what its framing fields say.
//!
//! A head that arrived in one buffer is tried by the [`fast`] reader, which accepts the usual ones.
//! All others go through the [`Scan`](crate::scan::Scan), which finds the end, and then once through
//! the general parser, which knows what is wrong with those that are refused.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};
use sluice_l7_core::{
    BodyLength, CodecContext, Field, Head, HeadLimits, Method, NameId, NameSet, Role, Span, Start,
    Version, equal_lower, is_host,
};

use crate::error::{Fault, diagnose_fields, is_token};
use crate::fast;
use crate::limits::{self, BODY_MAX, FIELDS_MAX, FIELDS_USUAL};
use crate::recurring::Recurring;
use crate::target::{MissingPath, Target};

/// Where the bytes are that the general parser is given: exactly one head.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Text {
    /// In one buffer.
    Exact,
    /// Copied into the head's own text.
    Copied,
}

/// What a request's head says to the codec.
pub(crate) struct RequestFacts {
    /// Bytes of the head.
    pub(crate) len: usize,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) body: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    pub(crate) expects_continue: bool,
    pub(crate) missing_path: MissingPath,
}

/// What a response's head says to the codec, before what the request said is taken into account.
pub(crate) struct ResponseFacts {
    /// Bytes of the head.
    pub(crate) len: usize,
    pub(crate) status: u16,
    /// By Content-Length or Transfer-Encoding; None if neither is there.
    pub(crate) length: Option<BodyLength>,
    pub(crate) keep_alive: bool,
}

/// Parses a request's head into `head`.
pub(crate) fn request(
    text: &[u8],
    kind: Text,
    head: &mut Head,
    limits: &HeadLimits,
) -> Result<RequestFacts, Fault> {
    let most = limits::fields(limits);
    if most > FIELDS_USUAL {
        return many_request_fields(text, kind, head, most);
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_USUAL];
    request_with(text, kind, head, &mut fields[..most])
}

#[cold]
#[inline(never)]
fn many_request_fields(
    text: &[u8],
    kind: Text,
    head: &mut Head,
    most: usize,
) -> Result<RequestFacts, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    request_with(text, kind, head, &mut fields[..most])
}

fn request_with<'t>(
    text: &'t [u8],
    kind: Text,
    head: &mut Head,
    fields: &mut [MaybeUninit<Header<'t>>],
) -> Result<RequestFacts, Fault> {
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(text, fields) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Err(Fault::RequestLine),
        Err(error) => return Err(diagnose_request(error, text)),
    };
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Fault::RequestLine);
    };
    if len != text.len() {
        return Err(Fault::BareLf);
    }
    let place = Place::new(text, kind);
    let seen = index_fields(parsed.headers, &place, head)?;
    let line = fast::RequestLine {
        method: Method::parse(method.as_bytes()),
        method_text: method.as_bytes(),
        target: target.as_bytes(),
        no_fragment: false,
        version: if minor == 0 { Version::Http10 } else { Version::Http11 },
        len,
    };
    finish_request(&line, &seen, &place, head)
}

/// Reads a request's head at the start of what has arrived in one buffer; its end may be missing,
/// bytes may follow it. None where the fast reader does not like it: ask the scan.
#[inline(always)]
pub(crate) fn fast_request(
    text: &[u8],
    head: &mut Head,
    recurring: &mut Recurring,
    cx: &mut CodecContext<'_>,
) -> Option<RequestFacts> {
    let mut line = fast::RequestLine::parse(text)?;
    if line.len - b"\r\n".len() > cx.limits.request_line as usize {
        return None;
    }
    let seen;
    (seen, line.len) = fast_fields(text, line.len, Role::Server, head, recurring, cx)?;
    let facts = finish_request(&line, &seen, &Place::new(text, Text::Exact), head).ok()?;
    // Of an absolute target the authority overrides Host, and the path alone is written.
    if seen.plain && line.target[0] == b'/' && line.version == Version::Http11 {
        head.set_intact(line.len - b"\r\n".len());
    }
    Some(facts)
}

/// The fields at `at`, as they were before or by the fast reader: what they say about framing, and
/// where the head ends.
#[inline(always)]
fn fast_fields<'t>(
    text: &'t [u8],
    at: usize,
    role: Role,
    head: &mut Head,
    recurring: &mut Recurring,
    cx: &mut CodecContext<'_>,
) -> Option<(Seen<'t>, usize)> {
    let (limits, runs) = (cx.limits, cx.heads.runs());
    if let Some((seen, end)) = recurring.take(role, text, at, (head, limits), runs) {
        return (end <= limits::head_bytes(limits)).then_some((seen, end));
    }
    let mut seen = Seen::default();
    let end = fast::fields(text, at, limits::fields(limits), head, &mut seen)?;
    if end > limits::head_bytes(limits) {
        return None;
    }
    recurring.missed(role, (&text[..end], at), &seen, head, runs);
    Some((seen, end))
}

/// What both readers of requests do with what they read; `line.len` is the head's.
#[inline(always)]
fn finish_request(
    line: &fast::RequestLine<'_>,
    seen: &Seen<'_>,
    place: &Place,
    head: &mut Head,
) -> Result<RequestFacts, Fault> {
    let (version, method) = (line.version, line.method);
    let target = match line.target {
        [b'/', ..] if line.no_fragment && method != Method::Connect => Target::origin(line.target),
        target => Target::parse(method, target)?,
    };

    let authority = match seen.host {
        Some(_) if !target.authority.is_empty() => target.authority,
        Some(host) => host,
        None if version == Version::Http11 => return Err(Fault::HostMissing),
        None => target.authority,
    };
    if let Some(length) = seen.content_length.filter(|_| !seen.padded) {
        head.set_content_length(length);
    }
    head.set_nominates_none(!seen.options);
    let body = match seen.length(version)? {
        None | Some(BodyLength::Known(0)) => BodyLength::None,
        Some(_) if method == Method::Connect => return Err(Fault::ConnectBody),
        Some(length) => length,
    };
    head.set_start(
        Start::Request {
            method,
            method_text: place.span(line.method_text),
            path: place.span(target.path),
            authority: place.span(authority),
            scheme: target.scheme,
            protocol: Span::EMPTY,
        },
        version,
    );
    let upgrade = seen.upgrade && seen.upgrade_token && version == Version::Http11;
    head.set_upgrade(upgrade);
    Ok(RequestFacts {
        len: line.len,
        method,
        version,
        body,
        keep_alive: seen.keep_alive(version),
        upgrade,
        expects_continue: seen.expect && version == Version::Http11,
        missing_path: target.missing_path,
    })
}

/// Parses a response's head into `head`.
pub(crate) fn response(
    text: &[u8],
    kind: Text,
    head: &mut Head,
    limits: &HeadLimits,
) -> Result<ResponseFacts, Fault> {
    let most = limits::fields(limits);
    if most > FIELDS_USUAL {
        return many_response_fields(text, kind, head, most);
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_USUAL];
    response_with(text, kind, head, &mut fields[..most])
}

#[cold]
#[inline(never)]
fn many_response_fields(
    text: &[u8],
    kind: Text,
    head: &mut Head,
    most: usize,
) -> Result<ResponseFacts, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    response_with(text, kind, head, &mut fields[..most])
}

fn response_with<'t>(
    text: &'t [u8],
    kind: Text,
    head: &mut Head,
    fields: &mut [MaybeUninit<Header<'t>>],
) -> Result<ResponseFacts, Fault> {
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut parsed, text, fields) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Err(Fault::StatusLine),
        Err(error) => return Err(diagnose_response(error, text)),
    };
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(Fault::StatusLine);
    };
    if len != text.len() {
        return Err(Fault::BareLf);
    }
    if status < 100 {
        return Err(Fault::StatusLine);
    }
    let place = Place::new(text, kind);
    let seen = index_fields(parsed.headers, &place, head)?;
    let line = fast::StatusLine {
        version: if minor == 0 { Version::Http10 } else { Version::Http11 },
        status,
        reason: parsed.reason.unwrap_or_default().as_bytes(),
        plain: false,
        len,
    };
    finish_response(&line, &seen, &place, head)
}

/// As [`fast_request`].
#[inline(always)]
pub(crate) fn fast_response(
    text: &[u8],
    head: &mut Head,
    recurring: &mut Recurring,
    cx: &mut CodecContext<'_>,
) -> Option<ResponseFacts> {
    let mut line = fast::StatusLine::parse(text)?;
    if line.len - b"\r\n".len() > cx.limits.request_line as usize {
        return None;
    }
    let seen;
    (seen, line.len) = fast_fields(text, line.len, Role::Client, head, recurring, cx)?;
    let facts = finish_response(&line, &seen, &Place::new(text, Text::Exact), head).ok()?;
    if seen.plain && line.plain && seen.host.is_none() {
        head.set_intact(line.len - b"\r\n".len());
    }
    Some(facts)
}

/// What both readers of responses do with what they read; `line.len` is the head's.
#[inline(always)]
fn finish_response(
    line: &fast::StatusLine<'_>,
    seen: &Seen<'_>,
    place: &Place,
    head: &mut Head,
) -> Result<ResponseFacts, Fault> {
    if let Some(length) = seen.content_length.filter(|_| !seen.padded) {
        head.set_content_length(length);
    }
    head.set_nominates_none(!seen.options);
    let length = seen.length(line.version)?;
    let reason = place.span(line.reason);
    head.set_start(Start::Response { status: line.status, reason }, line.version);
    head.set_upgrade(seen.upgrade && seen.upgrade_token);
    let keep_alive = seen.keep_alive(line.version);
    Ok(ResponseFacts { len: line.len, status: line.status, length, keep_alive })
}

/// Parses a trailer section. Fields that must not be in one are left out (RFC 9110, 6.5.1): they
/// would change what has been decided by the head.
pub(crate) fn trailers(
    text: &[u8],
    kind: Text,
    head: &mut Head,
    limits: &HeadLimits,
) -> Result<(), Fault> {
    const FORBIDDEN: NameSet = NameSet::of(&[
        NameId::AUTHORIZATION,
        NameId::CONNECTION,
        NameId::CONTENT_ENCODING,
        NameId::CONTENT_LENGTH,
        NameId::CONTENT_RANGE,
        NameId::CONTENT_TYPE,
        NameId::EXPECT,
        NameId::HOST,
        NameId::KEEP_ALIVE,
        NameId::MAX_FORWARDS,
        NameId::PROXY_CONNECTION,
        NameId::TE,
        NameId::TRAILER,
        NameId::TRANSFER_ENCODING,
        NameId::UPGRADE,
    ]);
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let most = limits::fields(limits);
    let parsed = match httparse::parse_headers(text, &mut fields[..most]) {
        Ok(Status::Complete((len, parsed))) if len == text.len() => parsed,
        Ok(Status::Complete(_)) => return Err(Fault::BareLf),
        Ok(Status::Partial) => return Err(Fault::FieldName),
        Err(error) => return Err(diagnose_fields(error, text)),
    };
    let place = Place { base: text.as_ptr().addr(), own: kind == Text::Copied };
    for field in parsed {
        let id = NameId::lookup(field.name.as_bytes());
        if !FORBIDDEN.contains(id) {
            let (name, value) = (place.span(field.name.as_bytes()), place.span(field.value));
            head.push_field(Field { id, name, value, plain: false, never_indexed: false, hash: 0 });
        }
    }
    head.set_start(Start::Trailers, Version::Http11);
    Ok(())
}

/// Turns pieces of the parsed text into spans of the head.
pub(crate) struct Place {
    base: usize,
    own: bool,
}

impl Place {
    #[inline]
    fn new(text: &[u8], kind: Text) -> Self {
        Self { base: text.as_ptr().addr(), own: kind == Text::Copied }
    }

    #[inline]
    pub(crate) fn span(&self, piece: &[u8]) -> Span {
        if piece.is_empty() {
            // The parser gives some empty pieces that are not in the text.
            return Span::EMPTY;
        }
        let offset = piece.as_ptr().addr() - self.base;
        if self.own { Span::own(offset, piece.len()) } else { Span::received(offset, piece.len()) }
    }
}

/// What the fields that matter for framing said.
#[derive(Default)]
pub(crate) struct Seen<'t> {
    pub(crate) host: Option<&'t [u8]>,
    /// Whether every field line is as a writer would write it.
    pub(crate) plain: bool,
    pub(crate) content_length: Option<u64>,
    /// Whether the length is written with zeros in front, which some read as octal: a writer says
    /// it anew.
    pub(crate) padded: bool,
    pub(crate) transfer_encoding: Option<&'t [u8]>,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade_token: bool,
    pub(crate) upgrade: bool,
    pub(crate) expect: bool,
    /// Whether Connection names more than `close` or `keep-alive`.
    pub(crate) options: bool,
}

#[inline]
fn index_fields<'t>(
    fields: &[Header<'t>],
    place: &Place,
    head: &mut Head,
) -> Result<Seen<'t>, Fault> {
    let mut seen = Seen::default();
    for field in fields {
        let name = field.name.as_bytes();
        let id = NameId::lookup(name);
        if id.framing_index().is_some() && !seen.look_at(id, field.value)? {
            continue;
        }
        let (name, value) = (place.span(name), place.span(field.value));
        head.push_field(Field { id, name, value, plain: false, never_indexed: false, hash: 0 });
    }
    Ok(seen)
}

impl<'t> Seen<'t> {
    /// Takes note of a field; whether it stays among the head's fields.
    // Inlined always: the fast reader knows which field it is.
    #[inline(always)]
    pub(crate) fn look_at(&mut self, id: NameId, value: &'t [u8]) -> Result<bool, Fault> {
        match id {
            NameId::HOST => {
                if self.host.is_some() {
                    return Err(Fault::HostRepeated);
                }
                if !is_host(value) {
                    return Err(Fault::HostInvalid);
                }
                self.host = Some(value);
                return Ok(false);
            }
            NameId::CONTENT_LENGTH => {
                if self.content_length.is_some() {
                    return Err(Fault::ContentLengthRepeated);
                }
                self.content_length = Some(parse_length(value).ok_or(Fault::ContentLength)?);
                self.padded = is_padded(value);
            }
            NameId::TRANSFER_ENCODING => {
                if self.transfer_encoding.is_some() {
                    return Err(Fault::TransferEncodingRepeated);
                }
                self.transfer_encoding = Some(value);
                return Ok(false);
            }
            NameId::CONNECTION => self.look_at_connection(value),
            NameId::UPGRADE => self.upgrade = true,
            _ => self.expect |= has_token(value, b"100-continue"),
        }
        Ok(true)
    }

    /// Nearly all say one of the first two, alone.
    #[inline]
    fn look_at_connection(&mut self, value: &'t [u8]) {
        if equal_lower(value, b"keep-alive") {
            self.keep_alive = true;
        } else if equal_lower(value, b"close") {
            self.close = true;
        } else {
            self.look_at_options(value);
        }
    }

    #[cold]
    fn look_at_options(&mut self, value: &'t [u8]) {
        self.options = true;
        for token in value.split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade_token |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// RFC 9112, 6.3: the length that the fields give, refused where two recipients could differ.
    fn length(&self, version: Version) -> Result<Option<BodyLength>, Fault> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(None),
            (None, Some(length)) => Ok(Some(BodyLength::Known(length))),
            (Some(_), Some(_)) => Err(Fault::BothLengths),
            (Some(_), None) if version == Version::Http10 => Err(Fault::TransferEncodingInHttp10),
            (Some(coding), None) => check_coding(coding).map(|()| Some(BodyLength::Chunked)),
        }
    }

    /// RFC 9112, 9.3.
    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (self.keep_alive || version == Version::Http11)
    }
}

#[cold]
fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// Decimal digits alone, below 2^63.
#[inline]
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
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

/// Whether a number has zeros in front.
#[inline]
pub(crate) fn is_padded(digits: &[u8]) -> bool {
    digits.len() > 1 && digits[0] == b'0'
}

/// Whether a Transfer-Encoding is exactly `chunked`.
#[inline]
fn check_coding(value: &[u8]) -> Result<(), Fault> {
    if value.eq_ignore_ascii_case(b"chunked") { Ok(()) } else { Err(diagnose_coding(value)) }
}

#[cold]
fn diagnose_coding(value: &[u8]) -> Fault {
    let is_chunked = |part: &[u8]| part.eq_ignore_ascii_case(b"chunked");
    let mut parts: Vec<&[u8]> = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    if !parts.pop().is_some_and(is_chunked) || parts.iter().any(|part| part.is_empty()) {
        return Fault::NotChunked;
    }
    if parts.iter().any(|part| is_chunked(part)) {
        return Fault::TransferEncodingRepeated;
    }
    Fault::TransferCoding
}

/// Which rule a request breaks that the parser refused.
#[cold]
fn diagnose_request(error: httparse::Error, text: &[u8]) -> Fault {
    let (line, fields) = split_line(text);
    if line.contains(&0) {
        return Fault::Nul;
    }
    if line.contains(&b'\r') {
        return Fault::BareCr;
    }
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if parts[0].is_empty() || !parts[0].iter().all(|byte| is_token(*byte)) {
        return Fault::Method;
    }
    let [_, target, version] = parts[..] else { return Fault::RequestLine };
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => {}
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Fault::Version,
        _ => return Fault::VersionSyntax,
    }
    let printable = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    if target.is_empty() || !target.iter().all(printable) || std::str::from_utf8(target).is_err() {
        return Fault::Target;
    }
    diagnose_fields(error, fields)
}

/// Which rule a response breaks that the parser refused.
#[cold]
fn diagnose_response(error: httparse::Error, text: &[u8]) -> Fault {
    let (line, fields) = split_line(text);
    let version_like =
        matches!(line, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b' ', ..]);
    match error {
        httparse::Error::Version if version_like => Fault::Version,
        httparse::Error::Version => Fault::StatusLine,
        httparse::Error::Status | httparse::Error::Token => diagnose_fields(error, line),
        _ => diagnose_fields(error, fields),
    }
}

/// The first line without its end, and what follows.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memmem::find(text, b"\r\n").unwrap_or(text.len());
    (&text[..end], text.get(end + 2..).unwrap_or_default())
}
