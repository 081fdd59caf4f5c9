//! Runs: indexes one behind the other, as either side remembers them.
//!
//! An index says how long ago its entry was inserted, so the same fields have other indexes after
//! every insertion. Remembered are the entries' numbers instead, up to sixteen in the lanes of one
//! word:
//!
//! ```text
//!   received:    0x83 0x86 0xc1 0xbf ...      indexes: 3, 6, 65, 63
//!   remembered:  0x83 0x86 0x12 0x14 ...      static; entries 18 and 20, modulo 128
//! ```
//!
//! An index of one byte reaches the 65 newest entries, so a number modulo 128 means one entry as long
//! as the oldest of the run is among those, which is looked at before anything else.

use super::static_table::STATIC_LEN;
use super::table::Table;

/// Indexes of a run at most.
pub(super) const LANES: usize = 16;
/// Newest entries that an index of one byte reaches.
const REACH: u32 = 126 - STATIC_LEN;
/// Runs that a side remembers.
const KEPT: usize = 8;
/// Parts of a message that runs are told apart by, beyond which nothing is found at first sight.
const PARTS: usize = 5;

/// Every lane.
const ONES: u128 = u128::from_le_bytes([1; LANES]);
const HIGH: u128 = ONES << 7;
const LOW: u128 = !HIGH;
/// What, added to an index, has the high bit if the index is in the dynamic table.
const DYNAMIC: u128 = u128::from_le_bytes([0x7f - STATIC_LEN as u8; LANES]);

/// The first lanes, by how many. Shifts by a number that is not known take more instructions.
static FIRST: [u128; LANES + 1] = {
    let mut masks = [u128::MAX; LANES + 1];
    let mut len = 0;
    while len < LANES {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

/// Indexes of one byte each, the first in the lowest lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Indexes {
    lanes: u128,
    len: u8,
}

impl Indexes {
    /// Those that `block` starts with.
    #[inline]
    pub(super) fn at_start_of(block: &[u8]) -> Self {
        let lanes = lanes(block);
        // A lane of 0xff starts an index of several bytes, one below 0x80 is none.
        let longer = ((lanes & LOW) + ONES) & lanes & HIGH;
        let others = (!lanes & HIGH) | longer;
        let len = others.trailing_zeros() / 8;
        Self { lanes: lanes & FIRST[len as usize], len: len as u8 }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        usize::from(self.len)
    }

    /// These as numbers of entries, or such numbers as indexes: lanes without a high bit are numbers.
    #[inline]
    fn turned(self, are_numbers: bool, inserted: u32) -> Self {
        // Which lanes are about the dynamic table, as their high bits.
        let dynamic = match are_numbers {
            true => !self.lanes & HIGH,
            false => ((self.lanes & LOW) + DYNAMIC) & HIGH,
        };
        let dynamic = dynamic & FIRST[self.len() % (LANES + 1)];
        let sum = (u128::from(inserted.wrapping_add(STATIC_LEN + 1) & 0x7f) * ONES) | HIGH;
        let turned = (sum - (self.lanes & LOW)) & LOW;
        let (mask, high) = ((dynamic >> 7) * 0xff, if are_numbers { HIGH } else { 0 });
        Self { lanes: (self.lanes & !mask) | ((turned | high) & mask), len: self.len }
    }

    /// The oldest entry that they name.
    fn oldest(self, inserted: u32) -> Option<u32> {
        let indexes = self.lanes.to_le_bytes().map(|byte| u32::from(byte & 0x7f));
        let most = indexes.into_iter().max().filter(|most| *most > STATIC_LEN)?;
        Some(inserted.wrapping_sub(most - STATIC_LEN - 1))
    }
}

/// The first bytes of a block, the first one in the lowest lane; lanes beyond its end are 0.
#[inline]
fn lanes(block: &[u8]) -> u128 {
    if let Some(bytes) = block.first_chunk::<LANES>() {
        return u128::from_le_bytes(*bytes);
    }
    // Two words that overlap.
    let len = block.len() as u32;
    if let (Some(first), Some(last)) = (block.first_chunk::<8>(), block.last_chunk::<8>()) {
        let behind = u64::from_le_bytes(*last).checked_shr(8 * (16 - len)).unwrap_or(0);
        return u128::from(u64::from_le_bytes(*first)) | u128::from(behind) << 64;
    }
    let word = match (block.first_chunk::<4>(), block.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (len - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ => block.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    u128::from(word)
}

/// A run that was met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its numbers.
    lanes: u128,
    /// What it is known as to whom remembers it; 0: nothing is remembered here.
    id: u64,
    /// The oldest entry that it names; of one that names none, the newest when it was met.
    oldest: u32,
    len: u8,
    /// Which part of a message it is.
    part: u8,
    is_static: bool,
}

const _: () = assert!(size_of::<Known>() == 32);

impl Known {
    const NONE: Self = Self { lanes: 0, id: 0, oldest: 0, len: 0, part: 0, is_static: true };

    pub(super) fn new(indexes: Indexes, part: u8, id: u64, table: &Table) -> Self {
        let Indexes { lanes, len } = indexes.turned(false, table.inserted());
        let oldest = indexes.oldest(table.inserted());
        let is_static = oldest.is_none();
        Self { lanes, id, oldest: oldest.unwrap_or(0), len, part, is_static }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether its numbers mean what they did.
    #[inline]
    fn holds(&self, table: &Table) -> bool {
        let behind = table.inserted().wrapping_sub(self.oldest);
        self.is_static || (behind < REACH && behind < table.len())
    }
}

/// What a side of a connection remembers of runs.
#[derive(Debug)]
pub(super) struct KnownRuns {
    slots: [Known; KEPT],
    /// What was met once and is not known, by some of its hash.
    seen: [u32; KEPT],
    /// What was found or written last of each part of a message, which is what comes next as well.
    last: [Found; PARTS],
}

/// A run by its very indexes: until the table changes they mean the same.
#[derive(Clone, Copy, Debug)]
struct Found {
    indexes: Indexes,
    changes: u64,
    id: u64,
}

impl KnownRuns {
    pub(super) const NONE: Self = Self {
        slots: [Known::NONE; KEPT],
        seen: [0; KEPT],
        last: [Found { indexes: Indexes { lanes: 0, len: 0 }, changes: 0, id: 0 }; PARTS],
    };

    /// The id of a block that is the very one that was found last in this part of a message.
    #[inline]
    pub(super) fn find_again(&self, block: &[u8], part: u8, table: &Table) -> Option<u64> {
        let last = self.last.get(usize::from(part))?;
        let same = last.indexes.len() == block.len()
            && last.indexes.lanes == lanes(block)
            && last.changes == table.changes();
        (same && last.id != 0).then_some(last.id)
    }

    /// The id of these indexes, met in this part of a message.
    #[inline]
    pub(super) fn find(&mut self, indexes: Indexes, part: u8, table: &Table) -> Option<u64> {
        if let Some(last) = self.last.get(usize::from(part))
            && last.indexes == indexes
            && last.changes == table.changes()
            && last.id != 0
        {
            return Some(last.id);
        }
        self.find_by_numbers(indexes, part, table)
    }

    fn find_by_numbers(&mut self, indexes: Indexes, part: u8, table: &Table) -> Option<u64> {
        let run = indexes.turned(false, table.inserted());
        let known = &self.slots[place(run, part).0];
        let same = known.lanes == run.lanes && known.len == run.len && known.part == part;
        if !same || known.id == 0 || !known.holds(table) {
            return None;
        }
        if let Some(last) = self.last.get_mut(usize::from(part)) {
            *last = Found { indexes, changes: table.changes(), id: known.id };
        }
        Some(known.id)
    }

    /// Whether these, which are not known, were met before: then they are worth remembering.
    #[inline]
    pub(super) fn is_seen(&mut self, indexes: Indexes, part: u8, table: &Table) -> bool {
        let (place, tag) = place(indexes.turned(false, table.inserted()), part);
        std::mem::replace(&mut self.seen[place], tag) == tag
    }

    /// From now on it is known by `id`.
    pub(super) fn learn(&mut self, known: Known, id: u64) {
        let run = Indexes { lanes: known.lanes, len: known.len };
        self.slots[place(run, known.part).0] = Known { id, ..known };
    }

    /// The indexes that were written for this id, of this part, if they can be written again.
    #[inline]
    pub(super) fn written(
        &mut self,
        id: u64,
        part: u8,
        table: &Table,
    ) -> Option<([u8; LANES], usize)> {
        if let Some(last) = self.last.get(usize::from(part))
            && last.id == id
            && last.changes == table.changes()
        {
            return Some((last.indexes.lanes.to_le_bytes(), last.indexes.len()));
        }
        self.written_before(id, part, table)
    }

    fn written_before(&mut self, id: u64, part: u8, table: &Table) -> Option<([u8; LANES], usize)> {
        let known = &self.slots[place_of_id(id, part)];
        if known.id != id || known.part != part || !known.holds(table) {
            return None;
        }
        let run = Indexes { lanes: known.lanes, len: known.len };
        let indexes = run.turned(true, table.inserted());
        if let Some(last) = self.last.get_mut(usize::from(part)) {
            *last = Found { indexes, changes: table.changes(), id };
        }
        Some((indexes.lanes.to_le_bytes(), run.len()))
    }

    /// These were written for this id.
    pub(super) fn wrote(&mut self, id: u64, part: u8, indexes: Indexes, table: &Table) {
        self.slots[place_of_id(id, part)] = Known::new(indexes, part, id, table);
    }
}

/// Where a run is remembered, and what else tells it from others.
#[inline]
fn place(run: Indexes, part: u8) -> (usize, u32) {
    let folded = run.lanes as u64 ^ (run.lanes >> 64) as u64;
    let mixed = (folded ^ u64::from(part)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 61) as usize % KEPT, (mixed >> 29) as u32 | 1)
}

#[inline]
fn place_of_id(id: u64, part: u8) -> usize {
    // Numbers that follow each other, as most do, differ.
    (id * 4 + u64::from(part)).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 61
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::Kind;
    use crate::hpack::table::NewEntry;
    use sluice_l7_core::NameId;

    fn insert(table: &mut Table, count: usize) {
        let kind = Kind::Field(NameId::OTHER);
        let entry = NewEntry { hash: 1, name_len: 1, value_len: 0, kind, valid_value: true };
        for _ in 0..count {
            assert!(table.insert(b"a: \r\n", entry, 4_096));
        }
    }

    #[test]
    fn indexes_are_those_of_one_byte_up_to_the_first_other() {
        for (block, len) in [
            (&[0x82, 0x86, 0xfe, 0x41, 0x82][..], 3),
            (&[0x82, 0xff, 0x00], 1),
            (&[0x40], 0),
            (&[], 0),
            (&[0x82; 7], 7),
            (&[0x82; 8], 8),
            (&[0x82; 13], 13),
            (&[0x82; 16], 16),
            (&[0x82; 40], 16),
        ] {
            let indexes = Indexes::at_start_of(block);
            assert_eq!(indexes.len(), len, "{block:x?}");
            assert_eq!(indexes.lanes.to_le_bytes()[..len], block[..len]);
            for inserted in [0, 1, 63, 64, 127, 128, 1_000, u32::MAX] {
                let numbers = indexes.turned(false, inserted);
                assert_eq!(numbers.turned(true, inserted), indexes, "{block:x?} {inserted}");
            }
        }
    }

    #[test]
    fn a_run_is_known_as_long_as_one_byte_reaches_its_oldest_entry() {
        let mut table = Table::default();
        insert(&mut table, 10);
        let (mut known, block) = (KnownRuns::NONE, [0x82, 0xbe, 0xc0, 0xbf]);
        let indexes = Indexes::at_start_of(&block);
        known.learn(Known::new(indexes, 0, 0, &table), 7);
        known.wrote(7, 0, indexes, &table);
        assert_eq!(known.find(indexes, 0, &table), Some(7));
        for part in 1..64 {
            assert_eq!(known.find(indexes, part, &table), None, "in another part it is another");
        }
        assert_eq!(known.written(7, 1, &table), None);
        assert_eq!(known.written(8, 0, &table), None);
        for inserted in 1..=62 {
            insert(&mut table, 1);
            assert_eq!(known.find(indexes, 0, &table), None, "they name others now");
            let moved = [0x82, 0xbe + inserted, 0xc0 + inserted, 0xbf + inserted];
            assert_eq!(known.find(Indexes::at_start_of(&moved), 0, &table), Some(7));
            let (lanes, len) = known.written(7, 0, &table).expect("all can be reached");
            assert_eq!(lanes[..len], moved);
        }
        insert(&mut table, 1);
        assert!(table.len() > 70, "they are still there");
        assert_eq!(known.written(7, 0, &table), None, "but not in one byte");
    }

    #[test]
    fn a_run_with_an_evicted_entry_is_not_known() {
        let mut table = Table::default();
        insert(&mut table, 3);
        let (mut known, indexes) = (KnownRuns::NONE, Indexes::at_start_of(&[0xbe, 0xc0]));
        known.learn(Known::new(indexes, 0, 0, &table), 7);
        assert_eq!(known.find(indexes, 0, &table), Some(7));
        assert_eq!(known.find(indexes, 0, &table), Some(7), "at first sight");
        table.evict_to(2 * 33);
        assert_eq!(known.find(indexes, 0, &table), None);
        let fixed = Indexes::at_start_of(&[0x82, 0x86]);
        known.learn(Known::new(fixed, 0, 0, &table), 8);
        table.evict_to(0);
        assert_eq!(known.find(fixed, 0, &table), Some(8), "these are in nobody's table");
    }
}
