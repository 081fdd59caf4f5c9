//! Bytes that arrived ahead of a hole.

use sluice_buf::{Chain, Pool};
use sluice_wire::SeqNumber;

use super::append_copy;
use crate::limits;

/// Ranges in order of their numbers; no two touch. What arrived first stays.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    ranges: Vec<Range>,
    /// Buffers of all ranges.
    buffers: u32,
    /// Where the peer's FIN is.
    fin: Option<SeqNumber>,
}

#[derive(Debug)]
struct Range {
    start: SeqNumber,
    chain: Chain,
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
        let inside = |range: &&Range| range.start.after(seq) && range.start.before(end);
        self.ranges.iter().filter(inside).count() as u32
    }

    fn place(&mut self, mut seq: SeqNumber, mut payload: Chain, pool: &Pool) -> Insert {
        let index = self.ranges.iter().take_while(|range| range.end().before(seq)).count();
        while !payload.is_empty() {
            let end = seq + payload.len() as u32;
            let Some(range) =
                self.ranges.get_mut(index).filter(|range| range.start.at_or_before(end))
            else {
                if self.ranges.len() >= limits::REASSEMBLY_RANGES_MAX {
                    return Insert::Full;
                }
                self.ranges.insert(index, Range { start: seq, chain: payload });
                return Insert::Kept;
            };
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
        self.ranges.is_empty() && self.fin.is_none()
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
