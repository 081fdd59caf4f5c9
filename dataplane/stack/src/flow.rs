//! From a 4-tuple to a connection: a keyed hash table that is sized once.
//!
//! ```text
//!   bucket, one cache line:  10 tags of 16 bits | overflow | 10 values of 32 bits
//! ```
//!
//! A look-up reads one line, compares ten tags, and touches a connection only when a tag is equal
//! (a wrong one once in 6,500 look-ups). An entry that finds its bucket full goes to the next one;
//! `overflow` counts how many entries passed by, so that a search ends where nobody passed, and
//! removal leaves no tombstones. At the load that [`FlowTable::new`] plans for, one entry in a
//! hundred passes by.
//!
//! For a vector of packets, [`FlowTable::prefetch`] is called for all of them before the first
//! [`FlowTable::find`]. Positions come from a seeded key, never from the RSS hash.

use sluice_arch::{huge_table, prefetch_read};

const WAYS: usize = 10;
const EMPTY: u16 = 0;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u16; WAYS],
    overflow: u32,
    values: [u32; WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

const FREE: Bucket = Bucket { tags: [EMPTY; WAYS], overflow: 0, values: [0; WAYS] };

/// The table; values are 32-bit names of something that knows its tuple.
#[derive(Debug)]
pub(crate) struct FlowTable {
    buckets: Vec<Bucket>,
    len: u32,
    limit: u32,
}

/// As many entries exist as the table was made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FlowTableFull;

impl FlowTable {
    /// A table for up to `limit` entries, six of ten places in use at most.
    pub(crate) fn new(limit: u32) -> Self {
        let buckets = (limit as usize).div_ceil(6).next_power_of_two().max(2);
        Self { buckets: huge_table(buckets, FREE), len: 0, limit }
    }

    /// Asks for the line that a look-up will read.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch_read(&self.buckets[self.home(hash)]);
    }

    /// The first value under `hash` for which `is_it` holds. The first tag that is equal is nearly
    /// always the one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for (way, other) in bucket.tags.iter().enumerate() {
                if *other == tag && is_it(bucket.values[way]) {
                    return Some(bucket.values[way]);
                }
            }
            if bucket.overflow == 0 {
                return None;
            }
            at = self.behind(at);
        }
        None
    }

    /// Adds a value. That no equal tuple is there yet is the caller's to know.
    pub(crate) fn insert(&mut self, hash: u64, value: u32) -> Result<(), FlowTableFull> {
        if self.len >= self.limit {
            return Err(FlowTableFull);
        }
        let mut at = self.home(hash);
        // Ends: there are more places than entries.
        loop {
            let next = self.behind(at);
            let bucket = &mut self.buckets[at];
            if let Some(way) = bucket.tags.iter().position(|tag| *tag == EMPTY) {
                bucket.tags[way] = tag_of(hash);
                bucket.values[way] = value;
                self.len += 1;
                return Ok(());
            }
            bucket.overflow += 1;
            at = next;
        }
    }

    /// Takes a value out. False if it is not there.
    pub(crate) fn remove(&mut self, hash: u64, value: u32) -> bool {
        let Some((place, way)) = self.place(hash, value) else { return false };
        self.buckets[place].tags[way] = EMPTY;
        self.len -= 1;
        let mut at = self.home(hash);
        while at != place {
            self.buckets[at].overflow -= 1;
            at = self.behind(at);
        }
        true
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    fn place(&self, hash: u64, value: u32) -> Option<(usize, usize)> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let way =
                (0..WAYS).find(|way| bucket.tags[*way] == tag && bucket.values[*way] == value);
            if let Some(way) = way {
                return Some((at, way));
            }
            if bucket.overflow == 0 {
                return None;
            }
            at = self.behind(at);
        }
        None
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    #[inline]
    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.buckets.len() - 1)
    }
}

/// From the bits that do not choose the bucket.
#[inline]
fn tag_of(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sluice_base::{HashKey, Rng};

    use super::*;

    #[test]
    fn finds_and_removes() {
        let mut table = FlowTable::new(100);
        table.insert(77, 1).expect("room");
        table.insert(77, 2).expect("room");
        assert_eq!(table.find(77, |value| value == 2), Some(2), "equal hashes are told apart");
        assert_eq!(table.find(77, |value| value == 1), Some(1));
        assert!(table.remove(77, 1) && !table.remove(77, 1));
        assert_eq!((table.find(77, |value| value == 1), table.len()), (None, 1));
    }

    #[test]
    fn full_is_an_answer() {
        let mut table = FlowTable::new(20);
        for value in 0..20 {
            // One bucket for all: they overflow into the next.
            table.insert(3, value).expect("room for twenty");
        }
        assert_eq!(table.insert(3, 20), Err(FlowTableFull));
        for value in 0..20 {
            assert_eq!(table.find(3, |other| other == value), Some(value));
            assert!(table.remove(3, value));
        }
        assert!(table.buckets.iter().all(|bucket| bucket.overflow == 0), "no trace is left");
    }

    #[test]
    fn agrees_with_a_map() {
        let (mut rng, key) = (Rng::new(1), HashKey::new([5, 6]));
        let mut table = FlowTable::new(1000);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        for step in 0..20_000u32 {
            let id = rng.below(1500);
            // Few bits decide the bucket, so that buckets overflow.
            let hash = key.hash_word(u64::from(id)) & !0xf8;
            if model.remove(&id).is_some() {
                assert!(table.remove(hash, id), "step {step}");
            } else if table.insert(hash, id).is_ok() {
                model.insert(id, hash);
            } else {
                assert_eq!(model.len(), 1000);
            }
            let probe = rng.below(1500);
            let hash = key.hash_word(u64::from(probe)) & !0xf8;
            let found = table.find(hash, |value| value == probe);
            assert_eq!(found.is_some(), model.contains_key(&probe), "step {step}");
        }
        for (id, hash) in model {
            assert!(table.remove(hash, id));
        }
        assert!(table.buckets.iter().all(|bucket| bucket.overflow == 0), "no trace is left");
    }
}
