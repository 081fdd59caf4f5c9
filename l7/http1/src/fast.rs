//! The usual head, read in one pass.
//!
//! Of a proxied exchange's instructions in this crate the parsing of its two heads is the largest
//! part, so heads of the usual shape are read here, sixteen bytes at a time. Measured by
//! `examples/exchange.rs` under callgrind, name look-up included: 125 instructions a field, where the
//! general parser with the checks around it takes 450.
//! This reader only ever accepts. Whatever it does not like, a mistake, an odd shape or a missing
//! end, goes to the scan and the general parser, which know every rule by name. Both must say the
//! same of each head that is accepted here: every test feeds its input whole and cut, and heads that
//! come in pieces never get here.

use sluice_arch::{Lanes, all, find};
use sluice_l7_core::status::reason_phrase;
use sluice_l7_core::{Field, Head, Method, NameId, Span, Version};

use crate::decode::Seen;
use crate::error::is_token;

/// Which bytes end the visible text of a line: its end, and controls, which no line may have. (HTAB
/// may stand in a value; the general parser knows.)
#[inline(always)]
fn controls(lanes: Lanes) -> Lanes {
    lanes.at_most(0x1f) | lanes.equal(0x7f)
}

/// A request's first line.
pub(crate) struct RequestLine<'t> {
    pub(crate) method: Method,
    pub(crate) method_text: &'t [u8],
    pub(crate) target: &'t [u8],
    /// Whether the target is known to be free of `#`.
    pub(crate) no_fragment: bool,
    pub(crate) version: Version,
    /// Bytes, with the line's end.
    pub(crate) len: usize,
}

impl<'t> RequestLine<'t> {
    #[inline]
    pub(crate) fn parse(text: &'t [u8]) -> Option<Self> {
        let (method, space) = match text.first_chunk()? {
            b"GET " => (Method::Get, 3),
            _ => method(text)?,
        };
        let (method_text, rest) = (text.get(..space)?, text.get(space + 1..)?);
        // The end, or what needs a closer look: controls, fragments, bytes that are not ASCII.
        let len =
            find(rest, |lanes| lanes.at_most(b' ') | lanes.equal(b'#') | lanes.equal(0x7f) | lanes);
        let version = match rest.get(len..)?.first_chunk()? {
            b" HTTP/1.1\r\n" => Version::Http11,
            b" HTTP/1.0\r\n" => Version::Http10,
            _ => return None,
        };
        let target = &rest[..len];
        let len = space + 1 + len + b" HTTP/1.1\r\n".len();
        let line = Self { method, method_text, target, no_fragment: true, version, len };
        (!target.is_empty()).then_some(line)
    }
}

/// The method, and where the space is that follows it.
fn method(text: &[u8]) -> Option<(Method, usize)> {
    let space = text.iter().take(16).position(|byte| *byte == b' ')?;
    let text = &text[..space];
    let method = Method::parse(text);
    let plain =
        method != Method::Other || !text.is_empty() && text.iter().all(u8::is_ascii_uppercase);
    plain.then_some((method, space))
}

/// A response's first line.
pub(crate) struct StatusLine<'t> {
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) reason: &'t [u8],
    /// Whether the line is as a writer would write it.
    pub(crate) plain: bool,
    /// Bytes, with the line's end.
    pub(crate) len: usize,
}

impl<'t> StatusLine<'t> {
    #[inline]
    pub(crate) fn parse(text: &'t [u8]) -> Option<Self> {
        const USUAL: &[u8; 17] = b"HTTP/1.1 200 OK\r\n";
        if text.first_chunk() == Some(USUAL) {
            let (reason, len) = (&text[13..15], USUAL.len());
            return Some(Self { version: Version::Http11, status: 200, reason, plain: true, len });
        }
        let version = match text.first_chunk()? {
            b"HTTP/1.1 " => Version::Http11,
            b"HTTP/1.0 " => Version::Http10,
            _ => return None,
        };
        let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' '] = text.get(9..13)? else {
            return None;
        };
        let digit = |byte: &u8| u16::from(byte - b'0');
        let status = digit(a) * 100 + digit(b) * 10 + digit(c);
        let rest = text.get(13..)?;
        let len = find(rest, |lanes| controls(lanes) | lanes);
        let ends = rest.get(len..len + 2)? == b"\r\n";
        let (reason, len) = (&rest[..len], 13 + len + 2);
        let usual = reason_phrase(status).as_bytes();
        let plain = version == Version::Http11 && !usual.is_empty() && usual == reason;
        ends.then_some(Self { version, status, reason, plain, len })
    }
}

/// Reads the fields from `at` on, and the empty line, into `head`; where the head ends.
// Inlined always: for requests and for responses, which have different fields.
#[inline(always)]
pub(crate) fn fields<'t>(
    text: &'t [u8],
    at: usize,
    most: usize,
    head: &mut Head,
    seen: &mut Seen<'t>,
) -> Option<usize> {
    let (mut rest, mut left) = (text.get(at..)?, most);
    let mut framing = Framing::default();
    let mut every_line_plain = true;
    while rest.first_chunk()? != b"\r\n" {
        left = left.checked_sub(1)?;
        let at = text.len() - rest.len();
        let colon = find(rest, |lanes| lanes.equal(b':'));
        let id = NameId::lookup_prefix(rest, colon);
        if id == NameId::OTHER && !is_other_name(rest.get(..colon)?) {
            return None;
        }
        let behind = rest.get(colon + 1..)?;
        let stop = find(behind, controls);
        let (end, next) = behind.get(stop..)?.split_first_chunk()?;
        if end != b"\r\n" {
            return None;
        }
        rest = next;
        let (name, behind) = (Span::received(at, colon), &behind[..stop]);
        let plain = is_plain(behind);
        let value = if plain {
            Span::received(at + colon + 2, stop - 1)
        } else {
            trim(behind, at + colon + 1)
        };
        if let Some(index) = id.framing_index() {
            framing.note(index, value)?;
            if matches!(id, NameId::HOST | NameId::TRANSFER_ENCODING) {
                every_line_plain &= plain;
                continue;
            }
        }
        every_line_plain &= plain;
        head.push_field(Field { id, name, value, plain, never_indexed: false, hash: 0 });
    }
    framing.look_at(text, seen)?;
    // A writer says itself how the body is framed.
    seen.plain = every_line_plain && !framing.holds(NameId::TRANSFER_ENCODING);
    Some(text.len() - rest.len() + 2)
}

/// Values of the fields that the codec looks at itself, in the order of [`NameId::FRAMING`].
#[derive(Default)]
struct Framing {
    values: [Span; NameId::FRAMING.len()],
    /// A bit for each that was there.
    present: u8,
}

impl Framing {
    /// What is there twice, or says nothing, is left to the general parser.
    #[inline(always)]
    fn note(&mut self, index: usize, value: Span) -> Option<()> {
        let bit = 1 << index;
        if self.present & bit != 0 || value.is_empty() {
            return None;
        }
        self.present |= bit;
        self.values[index] = value;
        Some(())
    }

    #[inline(always)]
    fn holds(&self, id: NameId) -> bool {
        id.framing_index().is_some_and(|index| self.present & 1 << index != 0)
    }

    /// In a fixed order and not in a loop, so that each is known where it is looked at.
    #[inline(always)]
    fn look_at<'t>(&self, text: &'t [u8], seen: &mut Seen<'t>) -> Option<()> {
        macro_rules! look_at {
            ($($id:ident)*) => {$(
                if self.holds(NameId::$id) {
                    let value = self.values[NameId::$id.framing_index()?];
                    seen.look_at(NameId::$id, text.get(value.start()..value.end())?).ok()?;
                }
            )*};
        }
        look_at!(HOST CONTENT_LENGTH CONNECTION TRANSFER_ENCODING UPGRADE EXPECT);
        Some(())
    }
}

/// Whether one space leads to a value, and none follows it.
#[inline]
fn is_plain(behind_colon: &[u8]) -> bool {
    matches!(behind_colon, [b' ', first, ..] if *first != b' ')
        && behind_colon.last().is_some_and(|last| *last != b' ')
}

/// The value in what stands behind the colon at `at`.
#[cold]
fn trim(behind_colon: &[u8], at: usize) -> Span {
    let value = behind_colon.trim_ascii();
    let before = behind_colon.len() - behind_colon.trim_ascii_start().len();
    if value.is_empty() { Span::EMPTY } else { Span::received(at + before, value.len()) }
}

/// Whether a name that is not well known is a name.
#[inline(never)]
fn is_other_name(name: &[u8]) -> bool {
    // Letters, digits and hyphens are what nearly all are made of.
    let usual = |lanes: Lanes| {
        lanes.lowered().within(b'a', b'z') | lanes.within(b'0', b'9') | lanes.equal(b'-')
    };
    !name.is_empty() && (all(name, usual) || name.iter().all(|byte| is_token(*byte)))
}
