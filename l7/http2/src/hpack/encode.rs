//! From fields to a header block.
//!
//! What goes into the table is found out by looking: a field is sent as a literal the first time, is
//! inserted the second time, and is an index from the third on. Values that differ in every request
//! (identifiers, paths, dates) never come a second time, so they never push out what does. Text is
//! coded by Huffman only where it is inserted: it is sent once then, and the bytes it saves on every
//! other literal are worth less than the instructions.

use sluice_l7_core::NameId;

use super::hash::hash;
use super::runs::{Indexes, KnownRuns};
use super::static_table::{ENTRIES, STATIC_LEN, number_of};
use super::table::{NewEntry, OVERHEAD, Table};
use super::{Kind, Pseudo, TABLE_SIZE, huffman, integer};

/// Buckets by which entries are found; a table of 4,096 bytes has 128 entries at most.
const BUCKETS: usize = 64;
/// Fields that share a bucket before one of them is forgotten.
const WAYS: usize = 4;

/// How entries are found. Out of line: a connection that sends nothing twice has none.
#[derive(Debug)]
struct Index {
    /// Number of the entry, counted from 1 over the connection's life; 0: none. What has been
    /// evicted is recognised by its number.
    slots: [[u32; WAYS]; BUCKETS],
    /// Half of the hash of fields that were sent once, the newest first.
    seen: [[u16; WAYS]; BUCKETS],
}

/// The sending side of one connection.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    index: Option<Box<Index>>,
    /// What we use: at most what the peer allows and `TABLE_SIZE`.
    size: u32,
    /// The smallest size since the last block, to be said at the start of the next one (4.2).
    announce: Option<u32>,
    /// Runs that were written. Out of line, as the index.
    runs: Option<Box<KnownRuns>>,
}

/// Values that are nobody else's business: a table would let an attacker who can make us send fields
/// find them out by the size of what follows (7.1.3).
const SECRET: &[NameId] = &[NameId::AUTHORIZATION, NameId::PROXY_AUTHORIZATION, NameId::COOKIE];

/// Values that are not the same twice, or not for long: not even remembered.
const FLEETING: &[NameId] = &[
    NameId::AGE,
    NameId::CONTENT_LENGTH,
    NameId::CONTENT_RANGE,
    NameId::DATE,
    NameId::ETAG,
    NameId::EXPIRES,
    NameId::GRPC_MESSAGE,
    NameId::IF_MODIFIED_SINCE,
    NameId::IF_NONE_MATCH,
    NameId::LAST_MODIFIED,
    NameId::LOCATION,
    NameId::RANGE,
    NameId::SET_COOKIE,
    NameId::TRACEPARENT,
    NameId::TRACESTATE,
    NameId::X_ENVOY_UPSTREAM_SERVICE_TIME,
    NameId::X_REQUEST_ID,
];

/// How a field is written, by its name.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Class {
    Remembered,
    Fleeting,
    Secret,
    /// It is in the static table with the value that most clients send.
    AcceptEncoding,
}

static CLASSES: [Class; NameId::COUNT] = {
    let mut classes = [Class::Remembered; NameId::COUNT];
    let mut at = 0;
    while at < FLEETING.len() {
        classes[FLEETING[at].index()] = Class::Fleeting;
        at += 1;
    }
    let mut at = 0;
    while at < SECRET.len() {
        classes[SECRET[at].index()] = Class::Secret;
        at += 1;
    }
    classes[NameId::ACCEPT_ENCODING.index()] = Class::AcceptEncoding;
    classes
};

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Table::default(), index: None, size: TABLE_SIZE, announce: None, runs: None }
    }
}

impl Encoder {
    /// One that uses so much at most, whatever the peer allows.
    #[must_use]
    pub fn with_size_max(size: u32) -> Self {
        let mut encoder = Self::default();
        encoder.set_size_max(size);
        encoder
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. What we use is announced with the next block.
    pub fn set_size_max(&mut self, allowed: u32) {
        let size = allowed.min(TABLE_SIZE);
        if size == self.size {
            return;
        }
        self.announce = Some(self.announce.map_or(size, |smallest| smallest.min(size)));
        self.size = size;
        self.table.evict_to(size);
    }

    /// Starts a block: says which sizes the table had and has (RFC 7541, 4.2).
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.announce.take() {
            if smallest < self.size {
                integer::encode(0x20, 5, smallest, out);
            }
            integer::encode(0x20, 5, self.size, out);
        }
    }

    /// Whether [`Encoder::begin`] has something to say.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.announce.is_some()
    }

    /// `:status`.
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        match status {
            200 => out.push(0x88),
            204 => out.push(0x89),
            206 => out.push(0x8a),
            304 => out.push(0x8b),
            400 => out.push(0x8c),
            404 => out.push(0x8d),
            500 => out.push(0x8e),
            _ => {
                let digits = [status / 100 % 10, status / 10 % 10, status % 10];
                self.pseudo(Pseudo::Status, &digits.map(|digit| b'0' + digit as u8), out);
            }
        }
    }

    /// A pseudo-header field.
    #[inline]
    pub fn pseudo(&mut self, pseudo: Pseudo, value: &[u8], out: &mut Vec<u8>) {
        let (number, name): (u32, &[u8]) = match (pseudo, value) {
            (Pseudo::Method, b"GET") => return out.push(0x82),
            (Pseudo::Method, b"POST") => return out.push(0x83),
            (Pseudo::Path, b"/") => return out.push(0x84),
            (Pseudo::Scheme, b"http") => return out.push(0x86),
            (Pseudo::Scheme, b"https") => return out.push(0x87),
            // Paths differ more than they are alike, but the few of a gRPC client do not.
            (Pseudo::Path, _) => (4, b":path"),
            (Pseudo::Authority, _) => (1, b":authority"),
            (Pseudo::Method, _) => (2, b":method"),
            (Pseudo::Scheme, _) => (6, b":scheme"),
            (Pseudo::Status, _) => (8, b":status"),
            (Pseudo::Protocol, _) => (0, b":protocol"),
        };
        let kind = Kind::Pseudo(pseudo);
        let hash = hash(kind, name, value);
        if !self.indexed(hash, kind, name, value, out) {
            self.literal(number, kind, name, value, hash, out);
        }
    }

    /// A field; `name` in lower case. `never_indexed`: as it was received (7.1.3).
    #[inline]
    pub fn field(
        &mut self,
        id: NameId,
        name: &[u8],
        value: &[u8],
        never_indexed: bool,
        out: &mut Vec<u8>,
    ) {
        self.field_of_hash(0, id, name, value, never_indexed, out);
    }

    /// The same field, of which the hash may be known from the table that it comes from; 0: not.
    // Inlined always, down to what is written for a field that is in the table.
    #[inline(always)]
    pub(crate) fn field_of_hash(
        &mut self,
        known: u32,
        id: NameId,
        name: &[u8],
        value: &[u8],
        never_indexed: bool,
        out: &mut Vec<u8>,
    ) {
        let class = if never_indexed { Class::Secret } else { CLASSES[id.index()] };
        match class {
            Class::Remembered => {}
            // Of a call without an error.
            Class::Fleeting if value.is_empty() => {}
            Class::Fleeting => return fleeting(id, name, value, out),
            Class::Secret => return literal(0x10, 4, number_of(id), name, value, out),
            Class::AcceptEncoding if value == ENTRIES[15].value() => return out.push(0x90),
            Class::AcceptEncoding => {}
        }
        let kind = Kind::Field(id);
        let hash = if known == 0 { hash(kind, name, value) } else { known };
        if !self.indexed(hash, kind, name, value, out) {
            self.literal(number_of(id), kind, name, value, hash, out);
        }
    }

    /// Whether a field is written without regard to what any peer has in its table.
    pub(crate) fn stands_alone(id: NameId, value: &[u8], never_indexed: bool) -> bool {
        match CLASSES[id.index()] {
            _ if never_indexed => true,
            Class::Secret => true,
            Class::Fleeting => !value.is_empty(),
            Class::Remembered | Class::AcceptEncoding => false,
        }
    }

    /// Writes a run of the worker's as it was written before; whether it was, and can be.
    #[inline(always)]
    pub(crate) fn run(&mut self, id: u64, part: u8, out: &mut Vec<u8>) -> bool {
        let Some(runs) = &mut self.runs else { return false };
        let Some((indexes, len)) = runs.written(id, part, &self.table) else { return false };
        let end = out.len() + len;
        out.extend_from_slice(&indexes);
        out.truncate(end);
        true
    }

    /// `block` was written for `count` fields of a run, all but those that stand alone: if it is
    /// nothing but indexes, it is remembered.
    pub(crate) fn wrote_run(&mut self, id: u64, part: u8, block: &[u8], count: usize) {
        let indexes = Indexes::at_start_of(block);
        if indexes.len() == count && block.len() == count {
            let runs = self.runs.get_or_insert_with(|| Box::new(KnownRuns::NONE));
            runs.wrote(id, part, indexes, &self.table);
        }
    }

    /// A field that refers to no table and enters none: it may be written now and sent later.
    pub fn detached_field(
        id: NameId,
        name: &[u8],
        value: &[u8],
        never_indexed: bool,
        out: &mut Vec<u8>,
    ) {
        let secret = never_indexed || CLASSES[id.index()] == Class::Secret;
        let pattern = if secret { 0x10 } else { 0x00 };
        literal(pattern, 4, number_of(id), name, value, out);
    }

    /// Makes it a fresh one, in the same memory.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        if let Some(index) = &mut self.index {
            **index = Index { slots: [[0; WAYS]; BUCKETS], seen: [[0; WAYS]; BUCKETS] };
        }
        if let Some(runs) = &mut self.runs {
            **runs = KnownRuns::NONE;
        }
        (self.size, self.announce) = (TABLE_SIZE, None);
    }

    /// Empties the table and gives its memory up; the peer hears of it with the next block (4.2).
    pub(crate) fn trim(&mut self) {
        if self.memory() > 0 {
            self.announce = Some(0);
            self.table.evict_to(0);
            self.table.trim();
            (self.index, self.runs) = (None, None);
        }
    }

    /// Bytes of memory that the table holds.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory()
            + self.index.as_ref().map_or(0, |_| size_of::<Index>())
            + self.runs.as_ref().map_or(0, |_| size_of::<KnownRuns>())
    }

    /// The size of the table, as the RFC counts.
    #[must_use]
    pub fn table_size(&self) -> u32 {
        self.table.size()
    }

    /// Writes the index of a field that is in the table; whether it is.
    #[inline(always)]
    fn indexed(&self, hash: u32, kind: Kind, name: &[u8], value: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(index) = &self.index else { return false };
        for slot in &index.slots[bucket(hash)] {
            let behind = self.table.inserted().wrapping_sub(*slot);
            if *slot != 0
                && let Some(entry) = self.table.entry(behind)
                && entry.hash == hash
                && entry.kind == kind
                && is_line(self.table.line(entry), kind, name, value)
            {
                integer::encode(0x80, 7, STATIC_LEN + 1 + behind, out);
                return true;
            }
        }
        false
    }

    /// An insertion, or a literal that is remembered.
    #[inline(never)]
    fn literal(
        &mut self,
        number: u32,
        kind: Kind,
        name: &[u8],
        value: &[u8],
        hash: u32,
        out: &mut Vec<u8>,
    ) {
        if self.size < OVERHEAD {
            // There is no room for any.
            return literal(0x00, 4, number, name, value, out);
        }
        let fresh = || Box::new(Index { slots: [[0; WAYS]; BUCKETS], seen: [[0; WAYS]; BUCKETS] });
        let index = self.index.get_or_insert_with(fresh);
        // The lowest bit is set, so that nothing looks like an empty place.
        let seen = &mut index.seen[(hash >> 8) as usize % BUCKETS];
        let half = (hash >> 16) as u16 | 1;
        let size = name.len() + value.len() + OVERHEAD as usize;
        // An entry that takes more than a quarter of the table pushes out too many others.
        if !seen.contains(&half) || size > self.size as usize / 4 {
            seen.rotate_right(1);
            seen[0] = half;
            return literal(0x00, 4, number, name, value, out);
        }
        literal_coded(number, name, value, out);
        let start = out.len();
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
        let (name_len, value_len) = (name.len() as u16, value.len() as u16);
        let entry = NewEntry { hash, name_len, value_len, kind, valid_value: true };
        if self.table.insert(&out[start..], entry, self.size) {
            let slots = &mut index.slots[bucket(hash)];
            slots.rotate_right(1);
            slots[0] = self.table.inserted();
        }
        out.truncate(start);
    }
}

/// Where numbers of entries with this hash are.
#[inline]
fn bucket(hash: u32) -> usize {
    // The lowest bit is always set.
    (hash >> 1) as usize % BUCKETS
}

/// Whether the line, which is of this kind, is of this name and value.
#[inline]
fn is_line(line: &[u8], kind: Kind, name: &[u8], value: &[u8]) -> bool {
    let from = name.len() + 2;
    line.len() == from + value.len() + 2
        && line.get(from..from + value.len()) == Some(value)
        && (kind != Kind::Field(NameId::OTHER) || line.starts_with(name))
}

/// How a literal begins whose name is well known: its index, or itself.
struct Beginning {
    bytes: [u8; BEGINNING],
    len: u8,
}

const BEGINNING: usize = 48;

static BEGINNINGS: [Beginning; NameId::COUNT] = {
    let mut all = [const { Beginning { bytes: [0; BEGINNING], len: 0 } }; NameId::COUNT];
    let mut at = 0;
    while at < all.len() {
        if let Some(id) = NameId::of_index(at) {
            all[at] = beginning(id);
        }
        at += 1;
    }
    all
};

const fn beginning(id: NameId) -> Beginning {
    let (mut bytes, number) = ([0; BEGINNING], number_of(id) as u8);
    // RFC 7541, 5.1: four bits of the first byte, of which all are set where more follows.
    if number >= 15 {
        (bytes[0], bytes[1]) = (15, number - 15);
        return Beginning { bytes, len: 2 };
    }
    bytes[0] = number;
    if number > 0 {
        return Beginning { bytes, len: 1 };
    }
    let name = id.as_str().as_bytes();
    bytes[1] = name.len() as u8;
    let mut at = 0;
    while at < name.len() {
        bytes[2 + at] = name[at];
        at += 1;
    }
    Beginning { bytes, len: 2 + name.len() as u8 }
}

/// A literal of a well-known name that no table has.
#[inline]
fn fleeting(id: NameId, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let Some(beginning) = BEGINNINGS.get(id.index()).filter(|_| id != NameId::OTHER) else {
        return literal(0x00, 4, number_of(id), name, value, out);
    };
    let end = out.len() + usize::from(beginning.len);
    out.extend_from_slice(&beginning.bytes);
    out.truncate(end);
    plain(value, out);
}

/// A literal with plain strings.
#[inline(never)]
fn literal(pattern: u8, bits: u32, number: u32, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    integer::encode(pattern, bits, number, out);
    if number == 0 {
        plain(name, out);
    }
    plain(value, out);
}

#[inline]
fn plain(text: &[u8], out: &mut Vec<u8>) {
    integer::encode(0x00, 7, text.len() as u32, out);
    out.extend_from_slice(text);
}

/// A literal to be inserted, its strings coded where that is shorter.
#[cold]
fn literal_coded(number: u32, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    integer::encode(0x40, 6, number, out);
    if number == 0 {
        coded(name, out);
    }
    coded(value, out);
}

fn coded(text: &[u8], out: &mut Vec<u8>) {
    let len = huffman::encoded_len(text);
    if len >= text.len() {
        return plain(text, out);
    }
    integer::encode(0x80, 7, len as u32, out);
    huffman::encode(text, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::Decoder;

    /// Fields that came as indexes and go out as such.
    fn pass_on(decoder: &mut Decoder, encoder: &mut Encoder, block: &[u8]) -> Vec<u8> {
        let (mut text, mut out) = (Vec::new(), Vec::new());
        let decoded = decoder.decode(block, 4_096, &mut text, |text, line| {
            let Kind::Field(id) = line.kind else { panic!("a field") };
            let (name, value) = (line.name(text), line.value(text));
            encoder.field_of_hash(line.hash, id, name, value, line.never_indexed, &mut out);
        });
        assert_eq!(decoded, Ok(crate::hpack::Decoded::Complete));
        out
    }

    #[test]
    fn an_index_becomes_an_index_by_the_hash_that_its_entry_keeps() {
        let (mut decoder, mut encoder) = (Decoder::default(), Encoder::default());
        // x-tenant: blue, to be inserted; then twice as an index.
        let literal = b"\x40\x08x-tenant\x04blue";
        let first = pass_on(&mut decoder, &mut encoder, literal);
        assert_eq!(first, b"\x00\x08x-tenant\x04blue", "a literal, which is remembered");
        let second = pass_on(&mut decoder, &mut encoder, &[0xbe]);
        assert_eq!(second[0], 0x40, "an insertion");
        assert_eq!(pass_on(&mut decoder, &mut encoder, &[0xbe]), [0xbe]);
        // Who looks at the text finds the same entry.
        let mut out = Vec::new();
        encoder.field(NameId::OTHER, b"x-tenant", b"blue", false, &mut out);
        assert_eq!(out, [0xbe]);
    }

    /// Two fields may have one hash: then the text decides.
    #[test]
    fn a_hash_alone_finds_nothing() {
        let mut encoder = Encoder::default();
        let say = |encoder: &mut Encoder, id: NameId, name: &[u8], value: &[u8]| {
            let mut out = Vec::new();
            encoder.field_of_hash(7, id, name, value, false, &mut out);
            out
        };
        for _ in 0..2 {
            say(&mut encoder, NameId::USER_AGENT, b"user-agent", b"a");
        }
        assert_eq!(say(&mut encoder, NameId::USER_AGENT, b"user-agent", b"a"), [0xbe]);
        for (id, name, value) in [
            (NameId::USER_AGENT, "user-agent", "b"),
            (NameId::USER_AGENT, "user-agent", "aa"),
            (NameId::SERVER, "server", "a"),
            (NameId::OTHER, "user-agenx", "a"),
        ] {
            let out = say(&mut encoder, id, name.as_bytes(), value.as_bytes());
            assert_ne!(out[0] & 0x80, 0x80, "{name}: {value} is not what was inserted");
        }
    }
}
