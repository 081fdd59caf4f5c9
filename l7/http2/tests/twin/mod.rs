//! A decoder of RFC 7541 as simple as can be: no limits, no tables of bits, every string its own.
//! What it says is compared with what the product's decoder says.

use std::collections::VecDeque;

use sluice_l7_http2::hpack::{HpackError, huffman_encode};

/// Names and values of appendix A, `name value` per line.
const STATIC: &str = ":authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate";

type Field = (Vec<u8>, Vec<u8>);

pub(crate) struct Twin {
    dynamic: VecDeque<Field>,
    limit: usize,
}

fn size(field: &Field) -> usize {
    field.0.len() + field.1.len() + 32
}

impl Twin {
    pub(crate) fn new() -> Self {
        Self { dynamic: VecDeque::new(), limit: 4_096 }
    }

    #[allow(dead_code, reason = "each test file uses its own part")]
    pub(crate) fn size(&self) -> u32 {
        self.dynamic.iter().map(size).sum::<usize>() as u32
    }

    pub(crate) fn decode(&mut self, block: &[u8]) -> Result<Vec<Field>, HpackError> {
        let (mut at, mut fields, mut updates) = (0, Vec::new(), 0);
        while at < block.len() {
            let first = block[at];
            if first & 0x80 != 0 {
                let index = integer(block, &mut at, 7)?;
                fields.push(self.look_up(index)?);
            } else if first & 0xe0 == 0x20 {
                updates += 1;
                if updates > 2 || !fields.is_empty() {
                    return Err(HpackError::TableSize);
                }
                self.limit = integer(block, &mut at, 5)?;
                if self.limit > 4_096 {
                    return Err(HpackError::TableSize);
                }
                self.evict(self.limit);
            } else {
                let insert = first & 0x40 != 0;
                let index = integer(block, &mut at, if insert { 6 } else { 4 })?;
                let name =
                    if index == 0 { string(block, &mut at)? } else { self.look_up(index)?.0 };
                let field = (name, string(block, &mut at)?);
                if insert {
                    self.insert(field.clone());
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn look_up(&self, index: usize) -> Result<Field, HpackError> {
        let nth = index.checked_sub(1).ok_or(HpackError::Index)?;
        match STATIC.lines().nth(nth) {
            Some(line) => {
                let (name, value) = line.split_once(' ').unwrap_or((line, ""));
                Ok((name.into(), value.into()))
            }
            None => self.dynamic.get(nth - 61).cloned().ok_or(HpackError::Index),
        }
    }

    fn evict(&mut self, to: usize) {
        while self.dynamic.iter().map(size).sum::<usize>() > to {
            self.dynamic.pop_back();
        }
    }

    fn insert(&mut self, field: Field) {
        let size = size(&field);
        self.evict(self.limit.saturating_sub(size));
        if size <= self.limit {
            self.dynamic.push_front(field);
        }
    }
}

fn integer(block: &[u8], at: &mut usize, bits: u32) -> Result<usize, HpackError> {
    let byte = |at: &mut usize| {
        *at += 1;
        block.get(*at - 1).map(|byte| *byte as usize).ok_or(HpackError::Truncated)
    };
    let mask = (1 << bits) - 1;
    let mut value = byte(at)? & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let next = byte(at)?;
        value += (next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(HpackError::Integer)
}

fn string(block: &[u8], at: &mut usize) -> Result<Vec<u8>, HpackError> {
    let coded = block.get(*at).ok_or(HpackError::Truncated)? & 0x80 != 0;
    let len = integer(block, at, 7)?;
    let text = block.get(*at..*at + len).ok_or(HpackError::Truncated)?;
    *at += len;
    if coded { huffman(text) } else { Ok(text.to_vec()) }
}

/// Bit by bit: the code of every byte is asked of the encoder, and looked for among all of them.
fn huffman(text: &[u8]) -> Result<Vec<u8>, HpackError> {
    thread_local! {
        static CODES: std::collections::BTreeMap<Vec<bool>, u8> = (0..=255).map(code_of).collect();
    }
    let (mut word, mut out) = (Vec::new(), Vec::new());
    CODES.with(|codes| {
        for bit in bits(text) {
            word.push(bit);
            if let Some(byte) = codes.get(&word) {
                out.push(*byte);
                word.clear();
            }
        }
    });
    let padding = word.len() < 8 && word.iter().all(|bit| *bit);
    if padding { Ok(out) } else { Err(HpackError::Huffman) }
}

fn bits(text: &[u8]) -> impl Iterator<Item = bool> {
    text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
}

/// The code of a byte: what all lengths of runs of it have in common at the start, cut to its length.
fn code_of(byte: u8) -> (Vec<bool>, u8) {
    let mut eight = Vec::new();
    // Eight of them take as many bytes as one of them takes bits.
    huffman_encode(&[byte; 8], &mut eight);
    let len = eight.len();
    (bits(&eight).take(len).collect(), byte)
}
