//! The usual head, read in one pass.
//!
//! Of a proxied exchange's instructions in this crate the parsing of its two heads is the largest
//! part, so heads of the usual shape are read here, eight bytes at a time. Measured by
//! `examples/exchange.rs` under callgrind, name look-up included: 260 instructions a field, where the
//! general parser with the checks around it takes 450.
//! This reader only ever accepts. Whatever it does not like, a mistake, an odd shape or a missing
//! end, goes to the scan and the general parser, which know every rule by name. Both must say the
//! same of each head that is accepted here: every test feeds its input whole and cut, and heads that
//! come in pieces never get here.

use sluice_l7_core::{Field, Head, NameId, Version};

use crate::decode::{LOOKED_AT, Place, Seen};
use crate::error::is_token;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte of `word` that is below `bound` (at most 128), exact up to the first.
#[inline]
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word & HIGH
}

/// The high bit of each byte of `word` that is `byte`, exact up to the first.
#[inline]
const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * byte as u64), 1)
}

/// Where the first byte from `at` on is that `stops` (a word at a time; bytes of the tail are tried
/// in a word of their own, filled with NUL, which must stop it).
#[inline]
fn find(text: &[u8], mut at: usize, stops: impl Fn(u64) -> u64) -> Option<usize> {
    let mut rest = text.get(at..)?;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let hits = stops(u64::from_le_bytes(*chunk));
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        (rest, at) = (behind, at + 8);
    }
    find_in_tail(text, at, stops)
}

#[cold]
fn find_in_tail(text: &[u8], at: usize, stops: impl Fn(u64) -> u64) -> Option<usize> {
    let tail = text.get(at..)?;
    let mut chunk = [0; 8];
    chunk[..tail.len()].copy_from_slice(tail);
    let hits = stops(u64::from_le_bytes(chunk));
    let stop = at + (hits.trailing_zeros() / 8) as usize;
    (stop < text.len()).then_some(stop)
}

/// Whether a byte is below `bound` (at most 128).
#[inline]
pub(crate) fn has_below(text: &[u8], bound: u8) -> bool {
    let (words, tail) = text.as_chunks::<8>();
    words.iter().any(|word| below(u64::from_le_bytes(*word), bound) != 0)
        || tail.iter().any(|byte| *byte < bound)
}

/// A request's first line.
pub(crate) struct RequestLine<'t> {
    pub(crate) method: &'t [u8],
    pub(crate) target: &'t [u8],
    pub(crate) version: Version,
    /// Bytes, with the line's end.
    pub(crate) len: usize,
}

impl<'t> RequestLine<'t> {
    #[inline]
    pub(crate) fn parse(text: &'t [u8]) -> Option<Self> {
        let space = text.iter().take(16).position(|byte| *byte == b' ')?;
        let method = &text[..space];
        if !method.iter().all(u8::is_ascii_uppercase) {
            return None;
        }
        let start = space + 1;
        // The end, or what needs a closer look: controls, fragments, bytes that are not ASCII.
        let end = find(text, start, |word| {
            below(word, 0x21) | equal(word, b'#') | equal(word, 0x7f) | word & HIGH
        })?;
        let target = &text[start..end];
        let version = version(text.get(end + 1..end + 9)?)?;
        let ends = text[end] == b' ' && text.get(end + 9..end + 11)? == b"\r\n";
        (ends && !target.is_empty()).then_some(Self { method, target, version, len: end + 11 })
    }
}

/// A response's first line.
pub(crate) struct StatusLine<'t> {
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) reason: &'t [u8],
    /// Bytes, with the line's end.
    pub(crate) len: usize,
}

impl<'t> StatusLine<'t> {
    #[inline]
    pub(crate) fn parse(text: &'t [u8]) -> Option<Self> {
        let version = version(text.get(..8)?)?;
        let [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' '] = text.get(8..13)?
        else {
            return None;
        };
        let digit = |byte: &u8| u16::from(byte - b'0');
        let status = digit(a) * 100 + digit(b) * 10 + digit(c);
        let end = find(text, 13, |word| below(word, 0x20) | equal(word, 0x7f) | word & HIGH)?;
        let ends = text.get(end..end + 2)? == b"\r\n";
        ends.then_some(Self { version, status, reason: &text[13..end], len: end + 2 })
    }
}

#[inline]
fn version(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.1" => Some(Version::Http11),
        b"HTTP/1.0" => Some(Version::Http10),
        _ => None,
    }
}

/// Reads the fields from `at` on, and the empty line, into `head`; where the head ends.
#[inline]
pub(crate) fn fields<'t>(
    text: &'t [u8],
    mut at: usize,
    most: usize,
    place: &Place,
    head: &mut Head,
    seen: &mut Seen<'t>,
) -> Option<usize> {
    for _ in 0..=most {
        if text.get(at)? == &b'\r' {
            return (text.get(at + 1)? == &b'\n').then_some(at + 2);
        }
        let colon = find(text, at, |word| below(word, 0x21) | equal(word, b':'))?;
        let name = &text[at..colon];
        let id = NameId::lookup(name);
        let is_name = id != NameId::OTHER || is_other_name(name);
        if text[colon] != b':' || !is_name {
            return None;
        }
        let mut start = colon + 1;
        while text.get(start)? == &b' ' {
            start += 1;
        }
        let stop = find(text, start, |word| below(word, 0x20) | equal(word, 0x7f))?;
        if text.get(stop..stop + 2)? != b"\r\n" {
            return None;
        }
        let mut value = &text[start..stop];
        if value.last() == Some(&b' ') {
            value = value.trim_ascii_end();
        }
        at = stop + 2;
        if LOOKED_AT.contains(id) && !seen.look_at(id, value).ok()? {
            continue;
        }
        let plain = start == colon + 2 && start + value.len() == stop && !value.is_empty();
        let (name, value) = (place.span(name), place.span(value));
        head.push_field(Field { id, name, value, plain });
    }
    None
}

fn is_other_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_below_the_bound_is_seen_wherever_it_stands() {
        for len in 0..20 {
            assert!(!has_below(&vec![14; len], 14) && !has_below(&vec![0xff; len], 14));
            for at in 0..len {
                let mut text = vec![b' '; len];
                text[at] = 13;
                assert!(has_below(&text, 14));
            }
        }
    }

    #[test]
    fn the_first_stop_is_found_at_every_place_in_a_word() {
        let stops = |word| below(word, 0x20) | equal(word, 0x7f);
        for len in 0..20 {
            for at in 0..len {
                for stop in [0, b'\t', b'\r', 0x1f, 0x7f] {
                    let mut text = vec![b' '; len];
                    text[at] = stop;
                    text[at + 1..].fill(0x01);
                    assert_eq!(find(&text, 0, stops), Some(at));
                    assert_eq!(find(&text, at, stops), Some(at));
                }
            }
            assert_eq!(find(&vec![0xff; len], 0, stops), None);
            assert_eq!(find(&vec![b'~'; len], 0, stops), None);
        }
    }
}
