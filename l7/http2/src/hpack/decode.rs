//! From a header block to lines.

use sluice_arch::none;
use sluice_l7_core::{NameId, Run, Runs};

use super::hash::hash;
use super::runs::{Indexes, Known, KnownRuns, LANES};
use super::static_table::{ENTRIES, STATIC_LEN};
use super::table::{NewEntry, OVERHEAD, Table};
use super::{HpackError, Pseudo, TABLE_SIZE, huffman, integer};

/// What a field is, found out once per name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A field; its number if its name is a well-known one.
    Field(NameId),
    /// A pseudo-header field.
    Pseudo(Pseudo),
    /// Its name must not be: not a token, upper case, or an unknown pseudo-header field.
    Invalid,
}

/// A field as a line of the text: `name: value` CRLF.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// Whether its value may stand in a field (RFC 9113, 8.2.1; RFC 9110, 5.5).
    pub valid_value: bool,
    /// Whether it must not enter anybody's table (7.1.3).
    pub never_indexed: bool,
    /// Where the line starts.
    pub at: u32,
    /// Bytes of the name.
    pub name_len: u32,
    /// Bytes of the value.
    pub value_len: u32,
    /// What an encoder's table finds it by; 0 where that is not known.
    pub hash: u32,
}

impl Line {
    /// Where the value starts.
    #[inline]
    #[must_use]
    pub const fn value_at(&self) -> u32 {
        self.at + self.name_len + 2
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let from = self.value_at() as usize;
        text.get(from..from + self.value_len as usize).unwrap_or_default()
    }

    /// The name.
    #[inline]
    #[must_use]
    pub fn name<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let from = self.at as usize;
        text.get(from..from + self.name_len as usize).unwrap_or_default()
    }
}

/// How a block was decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decoded {
    /// All fields were yielded.
    Complete,
    /// The fields are larger than the limit. Those beyond were decoded for the table's sake alone.
    TooLarge,
}

/// The receiving side of one connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What the peer's encoder says that it uses.
    size: u32,
    /// What it may use: `TABLE_SIZE`, or less that it has acknowledged.
    allowed: u32,
    /// Runs that were met. Out of line: a connection on which nothing came twice has none.
    runs: Option<Box<KnownRuns>>,
}

/// Who hears of the fields of a block.
pub(crate) trait Lines {
    /// A field, with all of the text.
    fn line(&mut self, text: &[u8], line: &Line);

    /// All of a run's fields, whose text will lie from `at` on. False: they are wanted one by one.
    fn run(&mut self, run: &Run, at: usize) -> bool;

    /// Fields from here on may be a run.
    fn run_begins(&mut self, at: usize, run: FreshRun);

    /// Up to here.
    fn run_ends(&mut self, at: usize);
}

/// Whoever hears of each field alone.
struct Each<F>(F);

impl<F: FnMut(&[u8], &Line)> Lines for Each<F> {
    #[inline]
    fn line(&mut self, text: &[u8], line: &Line) {
        (self.0)(text, line);
    }

    fn run(&mut self, _: &Run, _: usize) -> bool {
        false
    }

    fn run_begins(&mut self, _: usize, _: FreshRun) {}

    fn run_ends(&mut self, _: usize) {}
}

/// A run to remember: it was met before, and has no number yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreshRun(Known);

impl FreshRun {
    /// Fields in it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::default(), size: TABLE_SIZE, allowed: TABLE_SIZE, runs: None }
    }
}

/// What is still allowed, and where lines go.
struct Sink<'a> {
    text: &'a mut Vec<u8>,
    /// Bytes of fields still allowed, as RFC 9113, 6.5.2 counts.
    left: u32,
    too_large: bool,
}

impl Sink<'_> {
    /// Whether a field of this size may be yielded: asked before its text exists.
    #[inline]
    fn admits(&mut self, name_len: u32, value_len: u32) -> bool {
        match self.left.checked_sub(name_len + value_len + OVERHEAD) {
            Some(left) if !self.too_large => {
                self.left = left;
                true
            }
            _ => {
                self.too_large = true;
                false
            }
        }
    }
}

impl Decoder {
    /// The peer has acknowledged that its table is no larger than this: it says so with its next
    /// block (RFC 7541, 4.2).
    pub fn set_size_max(&mut self, allowed: u32) {
        self.allowed = allowed.min(TABLE_SIZE);
    }

    /// Decodes a whole block; its lines are appended to `text`, and `each` hears of every one with
    /// all of the text. `limit` bounds the sum of names, values and 32 for each field, before they
    /// are written: what a bomb would expand to never exists.
    ///
    /// # Errors
    /// [`HpackError`]: the connection cannot go on.
    #[inline]
    pub fn decode(
        &mut self,
        block: &[u8],
        limit: u32,
        text: &mut Vec<u8>,
        each: impl FnMut(&[u8], &Line),
    ) -> Result<Decoded, HpackError> {
        let mut sink = Sink { text, left: limit, too_large: false };
        self.decode_into(block, &mut sink, &mut Each(each), None)
    }

    /// The same, with what is known of runs.
    #[inline]
    pub(crate) fn decode_runs(
        &mut self,
        block: &[u8],
        limit: u32,
        text: &mut Vec<u8>,
        lines: &mut impl Lines,
        (part, runs): (u8, &mut Runs),
    ) -> Result<Decoded, HpackError> {
        let mut sink = Sink { text, left: limit, too_large: false };
        self.decode_into(block, &mut sink, lines, Some((part, runs)))
    }

    /// `known`: which part of a message it is, and the worker's runs.
    #[inline(always)]
    fn decode_into(
        &mut self,
        block: &[u8],
        sink: &mut Sink<'_>,
        lines: &mut impl Lines,
        mut known: Option<(u8, &mut Runs)>,
    ) -> Result<Decoded, HpackError> {
        if self.size > self.allowed && !matches!(block.first(), Some(0x20..0x40)) {
            return Err(HpackError::TableSize);
        }
        let (mut rest, mut updates) = (block, 0);
        // Indexes in front of which no run is looked for.
        let mut run_left = 0;
        while let Some((&first, behind)) = rest.split_first() {
            if first >= 0x80
                && run_left == 0
                && let Some((part, runs)) = &mut known
            {
                let indexes = Indexes::at_start_of(rest);
                run_left = indexes.len();
                if (run_left > 1 || run_left == block.len())
                    && self.take_run(indexes, *part, runs, sink, lines)
                {
                    rest = &rest[run_left..];
                    (run_left, updates) = (0, 2);
                    continue;
                }
            }
            rest = behind;
            match first {
                0x80.. => {
                    let index = integer::decode(first, 7, &mut rest)?;
                    self.indexed(index, sink, lines)?;
                    run_left = run_left.saturating_sub(1);
                    if run_left == 0 {
                        lines.run_ends(sink.text.len());
                    }
                }
                0x40..0x80 => {
                    self.literal(first, 6, Indexing::Incremental, &mut rest, sink, lines)?;
                }
                0x20..0x40 => {
                    updates += 1;
                    if updates > 2 {
                        return Err(HpackError::TableSize);
                    }
                    self.update(integer::decode(first, 5, &mut rest)?)?;
                    continue;
                }
                0x10..0x20 => {
                    self.literal(first, 4, Indexing::Never, &mut rest, sink, lines)?;
                }
                _ => {
                    if !plain_literal(first, &mut rest, sink, lines) {
                        self.literal(first, 4, Indexing::Without, &mut rest, sink, lines)?;
                    }
                }
            }
            // No update behind a field (4.2).
            updates = 2;
        }
        Ok(if sink.too_large { Decoded::TooLarge } else { Decoded::Complete })
    }

    /// The number of the run that is all of a block, if it is known.
    #[inline]
    pub(crate) fn known_run(&mut self, block: &[u8], part: u8) -> Option<u64> {
        if !(1..=LANES).contains(&block.len()) || self.size > self.allowed {
            return None;
        }
        let known = self.runs.as_mut()?;
        if let Some(id) = known.find_again(block, part, &self.table) {
            return Some(id);
        }
        let indexes = Indexes::at_start_of(block);
        if indexes.len() < block.len() {
            return None;
        }
        known.find(indexes, part, &self.table)
    }

    /// Yields all of a run at once, if it is known.
    #[inline(always)]
    fn take_run(
        &mut self,
        indexes: Indexes,
        part: u8,
        runs: &mut Runs,
        sink: &mut Sink<'_>,
        lines: &mut impl Lines,
    ) -> bool {
        let at = sink.text.len();
        if let Some(known) = &mut self.runs
            && let Some(id) = known.find(indexes, part, &self.table)
            && let Some(run) = runs.get(id)
            && sink.left >= run.size
            && lines.run(run, at)
        {
            sink.left -= run.size;
            sink.text.extend_from_slice(&run.text);
            return true;
        }
        let known = self.runs.get_or_insert_with(|| Box::new(KnownRuns::NONE));
        if known.is_seen(indexes, part, &self.table) {
            lines.run_begins(at, FreshRun(Known::new(indexes, part, 0, &self.table)));
        }
        false
    }

    /// From now on this run is known by the number that it has among the worker's.
    pub(crate) fn learn(&mut self, run: FreshRun, id: u64) {
        if let Some(known) = &mut self.runs {
            known.learn(run.0, id);
        }
    }

    /// Makes it a fresh one, in the same memory.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        (self.size, self.allowed) = (TABLE_SIZE, TABLE_SIZE);
        if let Some(runs) = &mut self.runs {
            **runs = KnownRuns::NONE;
        }
    }

    /// Gives up what memory the table needs no more: what is in it is the peer's to evict.
    pub(crate) fn trim(&mut self) {
        self.table.trim();
        self.runs = None;
    }

    /// Bytes of memory that the table holds.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory() + self.runs.as_ref().map_or(0, |_| size_of::<KnownRuns>())
    }

    /// The size of the table, as the RFC counts.
    #[must_use]
    pub fn table_size(&self) -> u32 {
        self.table.size()
    }

    #[cold]
    fn update(&mut self, size: u32) -> Result<(), HpackError> {
        if size > self.allowed {
            return Err(HpackError::TableSize);
        }
        self.size = size;
        self.table.evict_to(size);
        Ok(())
    }

    /// RFC 7541, 6.1.
    #[inline]
    fn indexed(
        &mut self,
        index: u32,
        sink: &mut Sink<'_>,
        lines: &mut impl Lines,
    ) -> Result<(), HpackError> {
        let (kind, valid_value, name_len, value_len, hash, line);
        if let Some(entry) = ENTRIES.get((index as usize).wrapping_sub(1)) {
            (kind, valid_value, line) = (entry.kind, true, entry.line.as_bytes());
            (name_len, value_len) = (u32::from(entry.name_len), u32::from(entry.value_len));
            hash = 0;
        } else {
            let behind = index.checked_sub(STATIC_LEN + 1).ok_or(HpackError::Index)?;
            let (entry, text) = self.table.get(behind).ok_or(HpackError::Index)?;
            (kind, valid_value, line) = (entry.kind, entry.valid_value, text);
            (name_len, value_len) = (u32::from(entry.name_len), u32::from(entry.value_len));
            hash = entry.hash;
        }
        if !sink.admits(name_len, value_len) {
            return Ok(());
        }
        let at = sink.text.len() as u32;
        sink.text.extend_from_slice(line);
        let never_indexed = false;
        let line = Line { kind, valid_value, never_indexed, at, name_len, value_len, hash };
        lines.line(sink.text, &line);
        Ok(())
    }

    /// RFC 7541, 6.2.
    fn literal(
        &mut self,
        first: u8,
        bits: u32,
        indexing: Indexing,
        rest: &mut &[u8],
        sink: &mut Sink<'_>,
        lines: &mut impl Lines,
    ) -> Result<(), HpackError> {
        let index = integer::decode(first, bits, rest)?;
        let at = sink.text.len();
        // What is beyond the list's limit is still needed for the table, but no more of it.
        let keep = match indexing {
            Indexing::Incremental => self.size as usize,
            Indexing::Without | Indexing::Never => 0,
        };
        let room = keep.max(if sink.too_large { 0 } else { sink.left as usize });
        let (name_len, kind) = match index {
            0 => {
                let name_len = string(rest, room, sink.text)?;
                (name_len, Kind::of_name(&sink.text[at..]))
            }
            index => self.name_of(index, sink.text)?,
        };
        let name_written = sink.text.len() - at;
        sink.text.extend_from_slice(b": ");
        let value_len = string(rest, room, sink.text)?;
        let value_at = at + name_written + 2;
        let valid_value = is_value(sink.text.get(value_at..).unwrap_or_default());
        sink.text.extend_from_slice(b"\r\n");
        if indexing == Indexing::Incremental {
            self.insert(at, name_len, value_len, kind, valid_value, sink.text);
        }
        if !sink.admits(name_len as u32, value_len as u32) {
            sink.text.truncate(at);
            return Ok(());
        }
        let line = Line {
            kind,
            valid_value,
            never_indexed: indexing == Indexing::Never,
            at: at as u32,
            name_len: name_len as u32,
            value_len: value_len as u32,
            hash: 0,
        };
        lines.line(sink.text, &line);
        Ok(())
    }

    /// Appends the name of entry `index`; its length, and what it is.
    #[inline]
    fn name_of(&self, index: u32, text: &mut Vec<u8>) -> Result<(usize, Kind), HpackError> {
        if let Some(entry) = ENTRIES.get(index as usize - 1) {
            text.extend_from_slice(entry.name());
            return Ok((entry.name().len(), entry.kind));
        }
        let behind = index.checked_sub(STATIC_LEN + 1).ok_or(HpackError::Index)?;
        let (entry, line) = self.table.get(behind).ok_or(HpackError::Index)?;
        let name_len = usize::from(entry.name_len);
        text.extend_from_slice(&line[..name_len]);
        Ok((name_len, entry.kind))
    }

    fn insert(
        &mut self,
        at: usize,
        name_len: usize,
        value_len: usize,
        kind: Kind,
        valid_value: bool,
        text: &[u8],
    ) {
        if name_len + value_len + OVERHEAD as usize > self.size as usize {
            self.table.evict_to(0);
            return;
        }
        let line = &text[at..];
        let hash = hash(kind, &line[..name_len], &line[name_len + 2..][..value_len]);
        let (name_len, value_len) = (name_len as u16, value_len as u16);
        let entry = NewEntry { hash, name_len, value_len, kind, valid_value };
        self.table.insert(line, entry, self.size);
    }
}

/// A literal as most are that enter no table: its strings plain, shorter than 127 bytes, all there
/// and within the limit; its name, if it is an index, the static table's. False: it is none.
#[inline]
fn plain_literal(first: u8, rest: &mut &[u8], sink: &mut Sink<'_>, lines: &mut impl Lines) -> bool {
    let (name, kind, behind) = match (first, *rest) {
        (0, block) => {
            let Some((name, behind)) = plain_string(block) else { return false };
            (name, None, behind)
        }
        (0x0f, [more, behind @ ..]) => {
            let Some(entry) = ENTRIES.get(14 + usize::from(*more)) else { return false };
            (entry.name(), Some(entry.kind), behind)
        }
        (index, behind) => {
            let Some(entry) = ENTRIES.get(usize::from(index) - 1) else { return false };
            (entry.name(), Some(entry.kind), behind)
        }
    };
    let Some((value, behind)) = plain_string(behind) else { return false };
    let (name_len, value_len) = (name.len() as u32, value.len() as u32);
    if sink.too_large || sink.left < name_len + value_len + OVERHEAD {
        return false;
    }
    sink.left -= name_len + value_len + OVERHEAD;
    *rest = behind;
    let at = sink.text.len() as u32;
    sink.text.reserve(name.len() + value.len() + b": \r\n".len());
    for part in [name, b": ", value, b"\r\n"] {
        sink.text.extend_from_slice(part);
    }
    let kind = kind.unwrap_or_else(|| Kind::of_name(name));
    let (valid_value, never_indexed, hash) = (is_value(value), false, 0);
    let line = Line { kind, valid_value, never_indexed, at, name_len, value_len, hash };
    lines.line(sink.text, &line);
    true
}

/// A string that is not coded, with its length in one byte; what is behind it.
#[inline]
fn plain_string(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len @ ..0x7f, behind) = block.split_first()? else { return None };
    behind.split_at_checked(usize::from(*len))
}

/// What a literal's encoder asked for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Indexing {
    Incremental,
    Without,
    Never,
}

/// RFC 7541, 5.2: appends a string, but no more than `room` bytes of it; its length.
#[inline]
fn string(rest: &mut &[u8], room: usize, text: &mut Vec<u8>) -> Result<usize, HpackError> {
    let Some((&first, behind)) = rest.split_first() else { return Err(HpackError::Truncated) };
    *rest = behind;
    let len = integer::decode(first, 7, rest)? as usize;
    let (string, behind) = rest.split_at_checked(len).ok_or(HpackError::Truncated)?;
    *rest = behind;
    if first & 0x80 != 0 {
        return huffman::decode(string, room, text);
    }
    text.extend_from_slice(&string[..len.min(room)]);
    Ok(len)
}

/// No controls, and no white space at either end. RFC 9113, 8.2.1 names CR, LF and NUL; the others
/// are left to us by RFC 9110, 5.5, and HTTP/1.1 on the other side would refuse them.
#[inline]
fn is_value(value: &[u8]) -> bool {
    let white = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if white(value.first()) || white(value.last()) {
        return false;
    }
    none(value, |lanes| lanes.at_most(0x1f) | lanes.equal(0x7f)) || has_tabs_alone(value)
}

#[cold]
fn has_tabs_alone(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}
