//! Bytes that arrived ahead of a hole, and what the peer is told of them (RFC 2018, RFC 2883).

use std::rc::Rc;

use sluice_buf::{Chain, Pool};
use sluice_wire::{SackBlocks, SeqNumber};

use super::append_copy;
use crate::limits;
use crate::spares::{Recycle, Shelf, Spare};

/// Ranges in order of their numbers; no two touch. What arrived first stays.
///
/// The table begins small and is exchanged for a large one, once, if there is one.
#[derive(Debug)]
pub(crate) struct Reassembly {
    ranges: Vec<Range>,
    /// The small table, in exchange for which `ranges` is a large one.
    exchanged: Spare<Pieces>,
    /// Where large ones are.
    shelf: Rc<Shelf<Pieces>>,
    /// Buffers of all ranges.
    buffers: u32,
    /// Where the peer's FIN is.
    fin: Option<SeqNumber>,
    /// What arrived twice and was not reported yet (RFC 2883, 4).
    duplicate: Option<(SeqNumber, SeqNumber)>,
    /// Counts insertions, so that the latest can be told first.
    clock: u32,
}

/// A table's memory.
#[derive(Debug)]
pub(crate) struct Pieces(Vec<Range>);

impl Pieces {
    pub(crate) fn large() -> Self {
        Self(Vec::with_capacity(limits::REASSEMBLY_RANGES_MAX))
    }
}

impl Recycle for Pieces {
    fn recycle(&mut self) {
        self.0.clear();
    }
}

impl Recycle for Reassembly {
    fn recycle(&mut self) {
        self.ranges.clear();
        if let Some(small) = self.exchanged.get_mut() {
            std::mem::swap(&mut self.ranges, &mut small.0);
            self.exchanged.give_back();
        }
        (self.buffers, self.clock) = (0, 0);
        (self.fin, self.duplicate) = (None, None);
    }
}

#[derive(Debug)]
struct Range {
    start: SeqNumber,
    chain: Chain,
    /// `clock` when something of it last arrived.
    touched: u32,
}

impl Range {
    fn end(&self) -> SeqNumber {
        self.start + self.chain.len() as u32
    }
}

/// What became of bytes ahead of a hole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Insert {
    /// Kept, or known already.
    Kept,
    /// No range or no buffer is left for them.
    Full,
}

impl Reassembly {
    /// An empty one, whose large table comes from `shelf`.
    pub(crate) fn spare(shelf: Rc<Shelf<Pieces>>) -> Self {
        let ranges = Vec::with_capacity(limits::REASSEMBLY_RANGES);
        Self {
            ranges,
            exchanged: Spare::NONE,
            shelf,
            buffers: 0,
            fin: None,
            duplicate: None,
            clock: 0,
        }
    }

    /// Whether another range has room; a small table that is full is exchanged.
    fn has_room(&mut self) -> bool {
        if self.exchanged.is_some() {
            return self.ranges.len() < limits::REASSEMBLY_RANGES_MAX;
        }
        if self.ranges.len() < limits::REASSEMBLY_RANGES {
            return true;
        }
        self.exchanged = self.shelf.take();
        let Some(large) = self.exchanged.get_mut() else { return false };
        large.0.append(&mut self.ranges);
        std::mem::swap(&mut self.ranges, &mut large.0);
        true
    }

    /// Keeps `payload` from `seq` on, in at most `room` buffers more.
    pub(crate) fn insert(
        &mut self,
        seq: SeqNumber,
        payload: Chain,
        is_fin: bool,
        room: u32,
        pool: &Pool,
    ) -> Insert {
        let end = seq + payload.len() as u32;
        if is_fin && self.fin.is_none() {
            self.fin = Some(end);
        }
        if payload.is_empty() {
            return Insert::Kept;
        }
        // Each gap that it covers may split a slice in two: one more node than it has slices.
        let worst = payload.buffers() as u32 + self.covered(seq, end);
        if worst > room {
            return Insert::Full;
        }
        let outcome = self.place(seq, payload, pool);
        self.buffers = self.ranges.iter().map(|range| range.chain.buffers() as u32).sum();
        outcome
    }

    /// How many ranges lie between `seq` and `end`.
    fn covered(&self, seq: SeqNumber, end: SeqNumber) -> u32 {
        let first = self.ranges.partition_point(|range| range.start.at_or_before(seq));
        let behind = self.ranges.partition_point(|range| range.start.before(end));
        behind.saturating_sub(first) as u32
    }

    fn place(&mut self, mut seq: SeqNumber, mut payload: Chain, pool: &Pool) -> Insert {
        self.clock = self.clock.wrapping_add(1);
        let index = self.ranges.partition_point(|range| range.end().before(seq));
        while !payload.is_empty() {
            let end = seq + payload.len() as u32;
            let is_touched = |range: &Range| range.start.at_or_before(end);
            let is_new = !self.ranges.get(index).is_some_and(is_touched);
            if is_new && !self.has_room() {
                return Insert::Full;
            }
            let Some(range) = self.ranges.get_mut(index).filter(|_| !is_new) else {
                let touched = self.clock;
                self.ranges.insert(index, Range { start: seq, chain: payload, touched });
                return Insert::Kept;
            };
            range.touched = self.clock;
            if seq.before(range.start) {
                // The part in front of the range grows it to the left.
                let front_len = range.start.since(seq);
                let mut front = payload.split_to(front_len as usize);
                front.append(&mut range.chain);
                range.chain = front;
                range.start = seq;
                seq += front_len;
            }
            let known = range.end().since(seq).min(payload.len() as u32);
            payload.advance(known as usize);
            if known > 0 && self.duplicate.is_none() {
                self.duplicate = Some((seq, seq + known));
            }
            seq += known;
            if payload.is_empty() {
                break;
            }
            // The part behind it reaches at most to the next range, which then joins it.
            let end = range.end();
            let next_start = self.ranges.get(index + 1).map(|next| next.start);
            let gap = next_start.map_or(u32::MAX, |start| start.since(end));
            let part = payload.split_to(gap as usize);
            seq += part.len() as u32;
            let joins = next_start == Some(seq);
            self.join(index, part, pool);
            if joins {
                let next = self.ranges.remove(index + 1);
                self.join(index, next.chain, pool);
            }
        }
        Insert::Kept
    }

    /// Appends to a range, small payloads by copying.
    fn join(&mut self, index: usize, mut part: Chain, pool: &Pool) {
        let Some(range) = self.ranges.get_mut(index) else { return };
        let is_small = part.len() < limits::COALESCE_BELOW;
        if !(is_small && append_copy(&mut range.chain, &part, pool)) {
            range.chain.append(&mut part);
        }
    }

    /// Moves everything that is in order at `next` to `queue` and advances it.
    pub(crate) fn drain(&mut self, next: &mut SeqNumber, queue: &mut Chain) -> bool {
        let ready = self.ranges.iter().take_while(|range| range.start.at_or_before(*next)).count();
        let mut moved = false;
        for mut range in self.ranges.drain(..ready) {
            self.buffers -= range.chain.buffers() as u32;
            if range.end().at_or_before(*next) {
                continue;
            }
            range.chain.advance(next.since(range.start) as usize);
            *next += range.chain.len() as u32;
            queue.append(&mut range.chain);
            moved = true;
        }
        moved
    }

    #[inline]
    pub(crate) fn buffers(&self) -> u32 {
        self.buffers
    }

    pub(crate) fn fin(&self) -> Option<SeqNumber> {
        self.fin
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.fin.is_none() && self.duplicate.is_none()
    }

    /// Notes that what lies between the two arrived again (RFC 2883, 4.1).
    pub(crate) fn note_duplicate(&mut self, start: SeqNumber, end: SeqNumber) {
        self.duplicate = Some((start, end));
    }

    /// Blocks that [`blocks`](Self::blocks) would give, at most.
    pub(crate) fn block_count(&self) -> usize {
        self.ranges.len() + usize::from(self.duplicate.is_some())
    }

    /// What the next segment tells of: what came twice, once only (RFC 2883, 4), then what arrived
    /// last, and what arrived before that, as often as there is room (RFC 2018, 4).
    pub(crate) fn blocks(&mut self, max: usize) -> SackBlocks {
        let duplicate = self.duplicate.take();
        let mut blocks: SackBlocks = duplicate.into_iter().collect();
        let mut age_told = None;
        while blocks.len() < max {
            let age = |range: &&Range| self.clock.wrapping_sub(range.touched);
            let older = |range: &&Range| age_told.is_none_or(|told| age(range) > told);
            let Some(next) = self.ranges.iter().filter(older).min_by_key(age) else { break };
            age_told = Some(self.clock.wrapping_sub(next.touched));
            blocks.push(next.start, next.end());
        }
        blocks
    }

    pub(crate) fn invariants(&self, next: SeqNumber) {
        debug_assert!(self.ranges.len() <= limits::REASSEMBLY_RANGES_MAX);
        let mut end = next;
        for range in &self.ranges {
            debug_assert!(end.before(range.start), "a hole lies in front of every range");
            debug_assert!(!range.chain.is_empty(), "an empty range is no range");
            end = range.end();
        }
    }
}
