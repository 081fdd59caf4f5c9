//! A head that rests: as few bytes as say what it says.
//!
//! ```text
//!   request: method, scheme, version, bits | content length | four texts | fields
//!   text:    length in 7 bits per byte, bytes
//!   field:   number of its name, bits | its name, if the number does not say it | its value
//! ```
//!
//! Only requests rest: those that were sent on wait for their answers, some for hours. What a head
//! takes while it is worked on, 1.5 KiB and a received buffer, is free for others meanwhile.

use super::{Head, Scheme, Start};
use crate::{Field, Method, NameId, Span, Version};

/// A request's head, packed by [`Head::pack`].
#[derive(Debug, Eq, PartialEq)]
pub struct PackedHead(Box<[u8]>);

impl PackedHead {
    /// Bytes that it takes, itself not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte, which there always is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, for [`Head::unpack_bytes`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

// In the byte of bits of a head.
const UPGRADE: u8 = 1;
const UNPRINTABLE: u8 = 2;
const NOMINATES_NONE: u8 = 4;
const CONTENT_LENGTH: u8 = 8;
// In the byte of bits of a field.
const NEVER_INDEXED: u8 = 1;
const NAMED: u8 = 2;

const VERSIONS: [Version; 3] = [Version::Http10, Version::Http11, Version::Http2];
const SCHEMES: [Scheme; 3] = [Scheme::Implied, Scheme::Http, Scheme::Https];
const METHODS: [Method; 10] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Connect,
    Method::Options,
    Method::Trace,
    Method::Patch,
    Method::Other,
];

fn number_of<T: Copy + PartialEq>(all: &[T], one: T) -> u8 {
    all.iter().position(|it| *it == one).unwrap_or(0) as u8
}

impl Head {
    /// The same as few bytes; None for what is no request. `scratch` is empty before and after.
    #[must_use]
    pub fn pack(&self, scratch: &mut Vec<u8>) -> Option<PackedHead> {
        let Start::Request { method, scheme, method_text, path, authority, protocol } = self.start
        else {
            return None;
        };
        let bit = |is_so: bool, bit: u8| if is_so { bit } else { 0 };
        scratch.extend_from_slice(&[
            number_of(&METHODS, method),
            number_of(&SCHEMES, scheme),
            number_of(&VERSIONS, self.version),
            bit(self.upgrade, UPGRADE)
                | bit(self.unprintable, UNPRINTABLE)
                | bit(self.nominates_none, NOMINATES_NONE)
                | bit(self.content_length.is_some(), CONTENT_LENGTH),
        ]);
        if let Some(length) = self.content_length {
            scratch.extend_from_slice(&length.to_be_bytes());
        }
        for span in [method_text, path, authority, protocol] {
            put_text(self.text(span), scratch);
        }
        for field in self.fields.iter().filter(|field| !self.removed.contains(field.id)) {
            let name = self.name(field);
            let named = name != field.id.as_str().as_bytes();
            let bits = bit(field.never_indexed, NEVER_INDEXED) | bit(named, NAMED);
            scratch.extend_from_slice(&[field.id.index() as u8, bits]);
            if named {
                put_text(name, scratch);
            }
            put_text(self.text(field.value), scratch);
        }
        let packed = PackedHead(scratch.as_slice().into());
        scratch.clear();
        Some(packed)
    }

    /// Makes it what was packed.
    pub fn unpack(&mut self, packed: &PackedHead) {
        self.unpack_bytes(&packed.0);
    }

    /// The same from the bytes of a [`PackedHead`].
    pub fn unpack_bytes(&mut self, packed: &[u8]) {
        self.reset();
        let mut rest = packed;
        // We wrote it: what does not fit ends it.
        let _all = self.unpack_from(&mut rest);
        debug_assert!(rest.is_empty(), "what was packed is read to its end");
    }

    fn unpack_from(&mut self, rest: &mut &[u8]) -> Option<()> {
        let [method, scheme, version, bits] = *take::<4>(rest)?;
        self.version = VERSIONS.get(usize::from(version)).copied()?;
        self.upgrade = bits & UPGRADE != 0;
        self.unprintable = bits & UNPRINTABLE != 0;
        self.nominates_none = bits & NOMINATES_NONE != 0;
        if bits & CONTENT_LENGTH != 0 {
            self.content_length = Some(u64::from_be_bytes(*take::<8>(rest)?));
        }
        let mut texts = [Span::EMPTY; 4];
        for text in &mut texts {
            let bytes = take_text(rest)?;
            if !bytes.is_empty() {
                *text = Span::own(self.own.len(), bytes.len());
                self.own.extend_from_slice(bytes);
            }
        }
        let [method_text, path, authority, protocol] = texts;
        self.start = Start::Request {
            method: METHODS.get(usize::from(method)).copied()?,
            method_text,
            path,
            authority,
            scheme: SCHEMES.get(usize::from(scheme)).copied()?,
            protocol,
        };
        while !rest.is_empty() {
            let [id, bits] = *take::<2>(rest)?;
            let id = NameId::of_index(usize::from(id))?;
            let name = if bits & NAMED != 0 { take_text(rest)? } else { id.as_str().as_bytes() };
            let value = take_text(rest)?;
            // As a line, for writers that copy lines.
            let at = self.own.len();
            for part in [name, b": ", value, b"\r\n"] {
                self.own.extend_from_slice(part);
            }
            self.known.insert(id);
            self.fields.push(Field {
                id,
                name: Span::own(at, name.len()),
                value: Span::own(at + name.len() + 2, value.len()),
                plain: true,
                never_indexed: bits & NEVER_INDEXED != 0,
                hash: 0,
            });
        }
        Some(())
    }
}

/// Bytes of the first of a packed head's items: its start is number 0, its texts 1 to 4, the rest are
/// fields.
pub(super) fn item(bytes: &[u8], number: usize) -> Option<usize> {
    let mut rest = bytes;
    match number {
        0 => {
            let [.., bits] = *take::<4>(&mut rest)?;
            if bits & CONTENT_LENGTH != 0 {
                take::<8>(&mut rest)?;
            }
        }
        1..=4 => {
            take_text(&mut rest)?;
        }
        _ => {
            let [_, bits] = *take::<2>(&mut rest)?;
            if bits & NAMED != 0 {
                take_text(&mut rest)?;
            }
            take_text(&mut rest)?;
        }
    }
    Some(bytes.len() - rest.len())
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    let mut len = text.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(text);
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut len, mut shift) = (0, 0);
    loop {
        let [byte] = *take::<1>(rest)?;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (text, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(text)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(first)
}
