//! The dynamic table (RFC 7541, 2.3.2 and 4), as either side keeps it.
//!
//! ```text
//!   text:     .... gone .... | oldest line | ... | newest line
//!   entries:                   oldest        ...   newest = index 62
//! ```
//!
//! Lines lie one behind the other; what has been evicted leaves a hole in front, which is closed when
//! it is as large as what is there: an entry is moved once, on average. So no entry is ever in two
//! pieces, nothing is allocated per field, and a table that was never used has no memory at all.

use sluice_l7_core::NameId;

use super::{Kind, Pseudo};

/// What the RFC adds to an entry's size for its keeping (4.1).
pub(super) const OVERHEAD: u32 = 32;

/// Entries that a ring has room for at first.
const RING: usize = 8;

/// A field in the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where its line starts, in all text ever inserted (modulo 2^32).
    at: u32,
    /// [`hash()`](super::hash::hash) of the field.
    pub(super) hash: u32,
    pub(super) name_len: u16,
    pub(super) value_len: u16,
    pub(super) kind: Kind,
    /// Whether the value may stand in a field.
    pub(super) valid_value: bool,
}

const _: () = assert!(size_of::<Entry>() <= 16);

/// A dynamic table.
#[derive(Debug, Default)]
pub(super) struct Table {
    text: Vec<u8>,
    /// Entries by number, modulo its length, which is a power of two, or zero.
    ring: Vec<Entry>,
    /// Entries in the table.
    len: u32,
    /// What `at` of an entry at the start of `text` would be.
    base: u32,
    /// As the RFC counts.
    size: u32,
    /// Entries inserted so far (modulo 2^32): the number of the newest.
    inserted: u32,
    /// Entries inserted and evicted so far.
    changes: u64,
}

impl Table {
    /// Appends an entry after evicting what leaves no room for it within `limit` (4.4); one that is
    /// larger than `limit` empties the table and is not inserted. False: it was not.
    pub(super) fn insert(&mut self, line: &[u8], entry: NewEntry, limit: u32) -> bool {
        let size = u32::from(entry.name_len) + u32::from(entry.value_len) + OVERHEAD;
        if size > limit {
            self.evict_to(0);
            return false;
        }
        self.evict_to(limit - size);
        self.close_hole();
        let at = self.base.wrapping_add(self.text.len() as u32);
        self.text.extend_from_slice(line);
        let NewEntry { hash, name_len, value_len, kind, valid_value } = entry;
        let entry = Entry { at, hash, name_len, value_len, kind, valid_value };
        if self.len as usize == self.ring.len() {
            self.grow(entry);
        }
        self.inserted = self.inserted.wrapping_add(1);
        self.changes += 1;
        let place = self.place(0);
        self.ring[place] = entry;
        self.len += 1;
        self.size += size;
        true
    }

    /// Twice the room; `filler` is what nobody reads.
    #[cold]
    fn grow(&mut self, filler: Entry) {
        let mut ring = vec![filler; (self.ring.len() * 2).max(RING)];
        let mask = ring.len() - 1;
        for index in 0..self.len {
            let number = self.inserted.wrapping_sub(index) as usize;
            ring[number & mask] = self.ring[self.place(index)];
        }
        self.ring = ring;
    }

    /// Where the entry at `index` lies; the ring is not empty.
    #[inline]
    fn place(&self, index: u32) -> usize {
        self.inserted.wrapping_sub(index) as usize & self.ring.len().wrapping_sub(1)
    }

    /// Evicts the oldest entries until the rest is at most `size` (4.3).
    pub(super) fn evict_to(&mut self, size: u32) {
        while self.size > size && self.len > 0 {
            let entry = self.ring[self.place(self.len - 1)];
            self.len -= 1;
            self.changes += 1;
            self.size -= u32::from(entry.name_len) + u32::from(entry.value_len) + OVERHEAD;
        }
    }

    /// Moves what is there to the front where the hole is larger.
    fn close_hole(&mut self) {
        let start = match self.len.checked_sub(1) {
            Some(oldest) => self.ring[self.place(oldest)].at.wrapping_sub(self.base) as usize,
            None => self.text.len(),
        };
        if start > self.text.len() / 2 {
            self.text.copy_within(start.., 0);
            self.text.truncate(self.text.len() - start);
            self.base = self.base.wrapping_add(start as u32);
        }
    }

    /// The entry at `index`, 0 being the newest.
    #[inline]
    pub(super) fn entry(&self, index: u32) -> Option<&Entry> {
        if index >= self.len {
            return None;
        }
        self.ring.get(self.place(index))
    }

    /// The line of an entry.
    #[inline]
    pub(super) fn line(&self, entry: &Entry) -> &[u8] {
        let start = entry.at.wrapping_sub(self.base) as usize;
        let len = usize::from(entry.name_len) + usize::from(entry.value_len) + b": \r\n".len();
        self.text.get(start..start + len).unwrap_or_default()
    }

    /// The entry at `index`, 0 being the newest, and its line.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<(&Entry, &[u8])> {
        let entry = self.entry(index)?;
        Some((entry, self.line(entry)))
    }

    /// Makes it a fresh one, in the same memory.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        (self.len, self.base, self.size, self.inserted) = (0, 0, 0, 0);
    }

    /// Gives up what memory it needs no more. Numbers go on.
    pub(super) fn trim(&mut self) {
        if self.len == 0 {
            self.base = self.base.wrapping_add(self.text.len() as u32);
            (self.text, self.ring) = (Vec::new(), Vec::new());
        }
    }

    /// As the RFC counts: at most its limit.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Entries inserted so far (modulo 2^32).
    #[inline]
    pub(super) fn inserted(&self) -> u32 {
        self.inserted
    }

    /// How often it has changed.
    #[inline]
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Entries in the table.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Bytes of memory that it holds.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.ring.capacity() * size_of::<Entry>()
    }
}

/// What an entry is to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewEntry {
    pub(super) hash: u32,
    pub(super) name_len: u16,
    pub(super) value_len: u16,
    pub(super) kind: Kind,
    pub(super) valid_value: bool,
}

impl Kind {
    /// What a field with this name is; the name is not known to be valid.
    #[inline]
    pub(super) fn of_name(name: &[u8]) -> Self {
        let id = NameId::lookup(name);
        if id != NameId::OTHER {
            // Known names are valid, but were found in any case.
            let lower = id.as_str().as_bytes() == name;
            return if lower { Self::Field(id) } else { Self::Invalid };
        }
        match name.first() {
            Some(b':') => Pseudo::parse(name).map_or(Self::Invalid, Self::Pseudo),
            Some(_) if name.iter().all(|byte| NAME[usize::from(*byte)]) => Self::Field(id),
            _ => Self::Invalid,
        }
    }
}

/// Bytes of a field name: a token without upper case (RFC 9113, 8.2.1).
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%'
            | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name_len: u16, value_len: u16) -> NewEntry {
        let kind = Kind::Field(NameId::OTHER);
        NewEntry { hash: 0, name_len, value_len, kind, valid_value: true }
    }

    #[test]
    fn the_oldest_go_first_and_text_is_never_in_two_pieces() {
        let mut table = Table::default();
        assert_eq!(table.memory(), 0, "an unused table has no memory");
        for number in 0..10_000_u32 {
            let value = number.to_string().repeat(1 + number as usize % 5);
            let line = format!("x: {value}\r\n");
            assert!(table.insert(line.as_bytes(), entry(1, value.len() as u16), 256));
            assert!(table.size() <= 256);
            let (_, newest) = table.get(0).expect("it was inserted");
            assert_eq!(newest, line.as_bytes());
            let (_, oldest) = table.get(table.len() - 1).expect("there is one");
            assert!(oldest.starts_with(b"x: ") && oldest.ends_with(b"\r\n"));
            assert!(table.get(table.len()).is_none());
        }
        assert!(table.memory() < 1_024, "{} bytes", table.memory());
    }

    #[test]
    fn one_that_is_too_large_empties_the_table() {
        let mut table = Table::default();
        assert!(table.insert(b"a: b\r\n", entry(1, 1), 34), "exactly");
        assert_eq!(table.len(), 1);
        assert!(!table.insert(b"a: bc\r\n", entry(1, 2), 34), "one more");
        assert_eq!((table.len(), table.size()), (0, 0));
        assert!(table.insert(b"a: \r\n", entry(1, 0), 34), "one less");
        table.evict_to(32);
        assert_eq!(table.len(), 0);
    }
}
