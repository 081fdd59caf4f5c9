//! Rows of bits: which rules hold for one answer to one question.
//!
//! ```text
//!   | aggregate: a bit per word below | word 0: rules 0..64 | word 1 | ...
//! ```

use std::collections::BTreeMap;

use sluice_base::HashKey;

pub(crate) const BITS: usize = 64;

/// A row under construction: a bit per rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn new(rules: usize) -> Self {
        Self(vec![0; rules.div_ceil(BITS)])
    }

    /// The row of the rules at the positions where `holds` is true.
    pub(crate) fn of(rules: usize, mut holds: impl FnMut(usize) -> bool) -> Self {
        let mut bits = Self::new(rules);
        (0..rules).filter(|at| holds(*at)).for_each(|at| bits.set(at));
        bits
    }

    pub(crate) fn set(&mut self, at: usize) {
        self.0[at / BITS] |= 1 << (at % BITS);
    }

    pub(crate) fn clear(&mut self, at: usize) {
        self.0[at / BITS] &= !(1 << (at % BITS));
    }

    pub(crate) fn into_words(self) -> Vec<u64> {
        self.0
    }
}

/// All rows of a table, equal ones once.
#[derive(Debug)]
pub(crate) struct Rows {
    words: Vec<u64>,
    /// Words of an aggregate.
    aggregates: usize,
    /// Words of a row.
    stride: usize,
}

/// Where rows are made.
pub(crate) struct RowBuilder {
    rows: Rows,
    /// Offsets by the hash of what is there.
    known: BTreeMap<u64, Vec<u32>>,
    key: HashKey,
}

impl RowBuilder {
    pub(crate) fn new(rules: usize) -> Self {
        let words = rules.div_ceil(BITS);
        let aggregates = words.div_ceil(BITS);
        Self {
            rows: Rows { words: Vec::new(), aggregates, stride: aggregates + words },
            known: BTreeMap::new(),
            // Nobody is attacked by a table of the operator's own.
            key: HashKey::new([0x5ca1_ab1e, 0x00dd_ba11]),
        }
    }

    /// Adds a row, or finds it; the answer is its offset.
    pub(crate) fn add(&mut self, bits: &Bits) -> u32 {
        let words = &bits.0;
        let pairs = words.chunks(2).map(|pair| (pair[0], pair.get(1).copied().unwrap_or(0)));
        let hash = pairs.fold(0u64, |hash, (a, b)| {
            hash.rotate_left(23).wrapping_add(self.key.hash_pair(a ^ hash, b))
        });
        let candidates = self.known.entry(hash).or_default();
        let (aggregates, stride) = (self.rows.aggregates, self.rows.stride);
        let is_same = |at: &&u32| {
            let at = **at as usize;
            self.rows.words[at + aggregates..at + stride] == **words
        };
        if let Some(at) = candidates.iter().find(is_same) {
            return *at;
        }
        let at = self.rows.words.len() as u32;
        candidates.push(at);
        let mut aggregate = Bits::new(words.len());
        (0..words.len()).filter(|word| words[*word] != 0).for_each(|word| aggregate.set(word));
        self.rows.words.extend_from_slice(&aggregate.0);
        self.rows.words.extend_from_slice(words);
        at
    }

    pub(crate) fn finish(mut self) -> Rows {
        self.rows.words.shrink_to_fit();
        self.rows
    }
}

impl Rows {
    /// Calls `visit` with every word in which all four rows have a bit in common.
    #[inline]
    pub(crate) fn intersect(&self, rows: [u32; 4], mut visit: impl FnMut(usize, u64)) {
        // Slices of one known length: one check serves all four.
        let (words, stride) = (&*self.words, self.stride);
        let [a, b, c, d] = rows;
        let (a, b) = (&words[a as usize..][..stride], &words[b as usize..][..stride]);
        let (c, d) = (&words[c as usize..][..stride], &words[d as usize..][..stride]);
        for group in 0..self.aggregates {
            let mut some = a[group] & b[group] & c[group] & d[group];
            while some != 0 {
                let word = group * BITS + some.trailing_zeros() as usize;
                some &= some - 1;
                let at = self.aggregates + word;
                let common = a[at] & b[at] & c[at] & d[at];
                if common != 0 {
                    visit(word, common);
                }
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 8
    }
}
