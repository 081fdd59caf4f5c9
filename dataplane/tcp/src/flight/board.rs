//! The scoreboard: what of the numbers between SND.UNA and SND.MAX is under way, lost or there.
//!
//! Ranges in order, without gaps. Neighbours that are alike are one range, so that a window sent in
//! bursts is a handful of ranges, whatever its size. Every operation is a walk over at most
//! [`limits::SCOREBOARD_RANGES_MAX`] of them. A table begins small and is exchanged for a large one,
//! once, if there is one; nothing is ever allocated.

use std::collections::VecDeque;
use std::rc::Rc;

use sluice_wire::SeqNumber;

use super::stamp::Stamp;
use crate::limits;
use crate::spares::{Recycle, Shelf, Spare};

/// What became of a range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// Nobody knows yet.
    UnderWay,
    /// Believed lost, and not sent again yet.
    Lost,
    /// The peer has it (RFC 2018), ahead of a hole.
    Sacked,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    /// Behind its last number; it starts where the one before it ends.
    end: SeqNumber,
    /// When it was last sent.
    sent: Stamp,
    fate: Fate,
    /// Sent more than once.
    is_again: bool,
}

impl Range {
    fn is_like(&self, other: &Self) -> bool {
        // When something was sent matters only while it is under way.
        let is_same_time = self.sent == other.sent || self.fate != Fate::UnderWay;
        self.fate == other.fate && self.is_again == other.is_again && is_same_time
    }
}

/// A range that was delivered, as it was before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) end: SeqNumber,
    pub(crate) sent: Stamp,
    pub(crate) fate: Fate,
    pub(crate) is_again: bool,
    pub(crate) bytes: u32,
}

/// What loss detection decides about one range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Keep,
    Lose,
}

/// A table's memory.
#[derive(Debug)]
pub(crate) struct Ranges(VecDeque<Range>);

impl Ranges {
    pub(crate) fn large() -> Self {
        Self(VecDeque::with_capacity(limits::SCOREBOARD_RANGES_MAX))
    }
}

impl Recycle for Ranges {
    fn recycle(&mut self) {
        self.0.clear();
    }
}

#[derive(Debug)]
pub(crate) struct Board {
    /// SND.UNA.
    start: SeqNumber,
    ranges: VecDeque<Range>,
    /// The small table, in exchange for which `ranges` is a large one.
    exchanged: Spare<Ranges>,
    /// Where large ones are.
    shelf: Rc<Shelf<Ranges>>,
    /// Numbers that are `Sacked`.
    sacked: u32,
    /// Numbers that are `Lost`.
    lost: u32,
}

impl Board {
    pub(crate) fn spare(shelf: Rc<Shelf<Ranges>>) -> Self {
        let ranges = VecDeque::with_capacity(limits::SCOREBOARD_RANGES);
        Self { start: SeqNumber::ZERO, ranges, exchanged: Spare::NONE, shelf, sacked: 0, lost: 0 }
    }

    /// Everything from `start` to `end` was sent at `sent`.
    pub(crate) fn begin(&mut self, start: SeqNumber, end: SeqNumber, sent: Stamp) {
        self.start = start;
        self.ranges.push_back(Range { end, sent, fate: Fate::UnderWay, is_again: false });
    }

    /// How many ranges there may be. Near the end of a small table it is exchanged.
    fn limit(&mut self) -> usize {
        if self.exchanged.is_some() {
            return limits::SCOREBOARD_RANGES_MAX;
        }
        if self.ranges.len() + RESERVE + 2 > limits::SCOREBOARD_RANGES {
            self.exchanged = self.shelf.take();
        }
        let Some(large) = self.exchanged.get_mut() else { return limits::SCOREBOARD_RANGES };
        large.0.extend(self.ranges.drain(..));
        std::mem::swap(&mut self.ranges, &mut large.0);
        limits::SCOREBOARD_RANGES_MAX
    }

    pub(crate) fn sacked(&self) -> u32 {
        self.sacked
    }

    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    /// SND.MAX.
    pub(crate) fn end(&self) -> SeqNumber {
        self.ranges.back().map_or(self.start, |last| last.end)
    }

    /// New numbers up to `end` leave at `now`. What leaves within `quantum` ticks is one burst.
    pub(crate) fn extend(&mut self, end: SeqNumber, now: Stamp, quantum: u32) {
        let limit = self.limit();
        let is_full = self.ranges.len() >= limit - RESERVE;
        if self.ranges.len() >= limit {
            self.reopen_last();
        }
        if let Some(last) = self.ranges.back_mut()
            && last.fate == Fate::UnderWay
            && !last.is_again
            && (now.since(last.sent) <= quantum || is_full)
        {
            last.end = end;
            if is_full {
                // Later rather than earlier: nothing is taken for lost because of a full table.
                last.sent = now;
            }
            return;
        }
        self.ranges.push_back(Range { end, sent: now, fate: Fate::UnderWay, is_again: false });
    }

    /// The table is full to the last place: what is known of the last range is forgotten.
    #[cold]
    fn reopen_last(&mut self) {
        let count = self.ranges.len();
        let start = if count < 2 { self.start } else { self.ranges[count - 2].end };
        let Some(last) = self.ranges.back_mut() else { return };
        let bytes = last.end.since(start);
        match last.fate {
            Fate::Sacked => self.sacked -= bytes,
            Fate::Lost => self.lost -= bytes,
            Fate::UnderWay => {}
        }
        (last.fate, last.is_again) = (Fate::UnderWay, false);
    }

    /// SND.UNA := `ack`. Tells what was not known to be there before.
    pub(crate) fn advance(&mut self, ack: SeqNumber, mut told: impl FnMut(Delivered)) {
        while let Some(first) = self.ranges.front_mut() {
            let start = self.start;
            let is_whole = first.end.at_or_before(ack);
            let end = if is_whole { first.end } else { ack };
            let bytes = end.since(start);
            if bytes == 0 {
                break;
            }
            let Range { sent, fate, is_again, .. } = *first;
            if is_whole {
                self.ranges.pop_front();
            }
            self.start = end;
            match fate {
                Fate::Sacked => self.sacked -= bytes,
                Fate::Lost => self.lost -= bytes,
                Fate::UnderWay => {}
            }
            if fate != Fate::Sacked {
                told(Delivered { end, sent, fate, is_again, bytes });
            }
        }
    }

    /// The peer has `left..right`, which lies within the board. Tells what is news. False, and
    /// nothing done, if the table is full.
    pub(crate) fn sack(
        &mut self,
        left: SeqNumber,
        right: SeqNumber,
        mut told: impl FnMut(Delivered),
    ) -> bool {
        let (first, last) = (self.find(left), self.find(right - 1));
        if self.ranges.range(first..=last).all(|range| range.fate == Fate::Sacked) {
            return true;
        }
        if self.ranges.len() + 2 > self.limit() - RESERVE {
            return false;
        }
        self.split(left);
        self.split(right);
        let mut index = self.find(left);
        let mut start = left;
        while let Some(range) = self.ranges.get_mut(index)
            && range.end.at_or_before(right)
        {
            let Range { end, sent, fate, is_again } = *range;
            let bytes = end.since(start);
            if fate != Fate::Sacked {
                range.fate = Fate::Sacked;
                self.sacked += bytes;
                if fate == Fate::Lost {
                    self.lost -= bytes;
                }
                told(Delivered { end, sent, fate, is_again, bytes });
            }
            // What it was does not matter any more, so that neighbours merge.
            range.is_again = true;
            start = end;
            index += 1;
        }
        self.merge_around(left, right);
        true
    }

    /// Asks about every range that is under way whether it is lost; returns how many numbers are.
    pub(crate) fn judge(&mut self, mut verdict: impl FnMut(SeqNumber, Stamp) -> Verdict) -> u32 {
        let mut start = self.start;
        let mut found = 0;
        for range in &mut self.ranges {
            let bytes = range.end.since(start);
            start = range.end;
            if range.fate == Fate::UnderWay && verdict(range.end, range.sent) == Verdict::Lose {
                range.fate = Fate::Lost;
                found += bytes;
            }
        }
        self.lost += found;
        if found > 0 {
            self.merge_all();
        }
        found
    }

    /// The first range in front is taken for lost, whatever is known about it.
    pub(crate) fn lose_first(&mut self) {
        let start = self.start;
        if let Some(first) = self.ranges.front_mut()
            && first.fate == Fate::UnderWay
        {
            first.fate = Fate::Lost;
            self.lost += first.end.since(start);
        }
    }

    /// The peer took back what it told of (RFC 2018, 8): it tells of it, but not as received.
    pub(crate) fn is_reneged(&self) -> bool {
        self.ranges.front().is_some_and(|first| first.fate == Fate::Sacked)
    }

    /// What the peer told is forgotten.
    pub(crate) fn forget_sacked(&mut self) {
        for range in &mut self.ranges {
            if range.fate == Fate::Sacked {
                range.fate = Fate::UnderWay;
            }
        }
        self.sacked = 0;
        self.merge_all();
    }

    /// Nothing was lost after all: what was not sent again is under way.
    pub(crate) fn forget_lost(&mut self) {
        for range in &mut self.ranges {
            if range.fate == Fate::Lost {
                range.fate = Fate::UnderWay;
            }
        }
        self.lost = 0;
        self.merge_all();
    }

    /// The first lost numbers.
    pub(crate) fn first_lost(&self) -> Option<(SeqNumber, SeqNumber)> {
        if self.lost == 0 {
            return None;
        }
        let mut start = self.start;
        for range in &self.ranges {
            if range.fate == Fate::Lost {
                return Some((start, range.end));
            }
            start = range.end;
        }
        None
    }

    /// `len` numbers from `seq` on, within one lost range or at the end of what was sent, leave
    /// again at `now`. What leaves within `quantum` ticks is one burst.
    pub(crate) fn sent_again(&mut self, seq: SeqNumber, len: u32, now: Stamp, quantum: u32) {
        let end = seq + len;
        let is_room = self.ranges.len() + 2 <= self.limit();
        if is_room {
            self.split(seq);
            self.split(end);
        }
        let index = self.find(seq);
        let start = if index == 0 { self.start } else { self.ranges[index - 1].end };
        let before = index.checked_sub(1).and_then(|index| self.ranges.get(index));
        let is_of_burst = |before: &&Range| {
            let is_again = before.fate == Fate::UnderWay && before.is_again;
            is_again && now.since(before.sent) <= quantum
        };
        let now = before.filter(is_of_burst).map_or(now, |before| before.sent);
        let Some(range) = self.ranges.get_mut(index) else { return };
        // Without room the whole range counts: what of it did not leave is found missing later.
        if range.fate == Fate::Lost {
            self.lost -= range.end.since(start);
        }
        if range.fate != Fate::Sacked {
            *range = Range { end: range.end, sent: now, fate: Fate::UnderWay, is_again: true };
        }
        self.merge_around(seq, end);
    }

    /// The range in which `seq` lies; one behind the last if it lies behind everything.
    fn find(&self, seq: SeqNumber) -> usize {
        let at = seq.since(self.start);
        self.ranges.partition_point(|range| range.end.since(self.start) <= at)
    }

    /// Makes a range begin at `seq`.
    fn split(&mut self, seq: SeqNumber) {
        let index = self.find(seq);
        let start = if index == 0 { self.start } else { self.ranges[index - 1].end };
        if let Some(range) = self.ranges.get(index)
            && seq != start
        {
            let front = Range { end: seq, ..*range };
            self.ranges.insert(index, front);
        }
    }

    fn merge_all(&mut self) {
        let mut kept: usize = 0;
        for index in 1..self.ranges.len() {
            let next = self.ranges[index];
            if self.ranges[kept].is_like(&next) {
                self.ranges[kept] = next;
            } else {
                kept += 1;
                self.ranges[kept] = next;
            }
        }
        self.ranges.truncate(kept + 1);
    }

    /// Joins ranges that became alike, from the one in front of `left` to the one behind `right`.
    fn merge_around(&mut self, left: SeqNumber, right: SeqNumber) {
        let mut index = self.find(left).saturating_sub(1);
        while let (Some(range), Some(next)) = (self.ranges.get(index), self.ranges.get(index + 1))
            && range.end.at_or_before(right)
        {
            if range.is_like(next) {
                self.ranges.remove(index);
            } else {
                index += 1;
            }
        }
    }

    pub(crate) fn invariants(&self, unacknowledged: SeqNumber, max: SeqNumber) {
        debug_assert_eq!(self.start, unacknowledged, "the scoreboard begins at SND.UNA");
        debug_assert_eq!(self.end(), max, "and ends with what was sent");
        debug_assert!(self.ranges.len() <= self.ranges.capacity(), "it is bounded");
        let (mut start, mut sacked, mut lost) = (self.start, 0, 0);
        for range in &self.ranges {
            debug_assert!(range.end.after(start), "an empty range is no range");
            let bytes = range.end.since(start);
            match range.fate {
                Fate::Sacked => sacked += bytes,
                Fate::Lost => lost += bytes,
                Fate::UnderWay => {}
            }
            start = range.end;
        }
        debug_assert_eq!(sacked, self.sacked, "what is there is counted");
        debug_assert_eq!(lost, self.lost, "what is lost is counted");
    }
}

impl Recycle for Board {
    fn recycle(&mut self) {
        self.ranges.clear();
        if let Some(small) = self.exchanged.get_mut() {
            std::mem::swap(&mut self.ranges, &mut small.0);
            self.exchanged.give_back();
        }
        (self.sacked, self.lost) = (0, 0);
    }
}

/// Ranges that a peer's SACKs and new data leave for retransmissions.
const RESERVE: usize = 16;

const _: () = assert!(RESERVE * 3 < limits::SCOREBOARD_RANGES);
const _: () = assert!(size_of::<Range>() == 12);

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Board {
        Board::spare(Shelf::new(1, |_| Ranges::large()))
    }

    fn board() -> Board {
        let mut board = fresh();
        board.begin(SeqNumber(u32::MAX - 999), SeqNumber(0), Stamp(0));
        for step in 1..4u32 {
            board.extend(SeqNumber(step * 1_000), Stamp(step * 10), 0);
        }
        board
    }

    fn check(board: &Board) {
        board.invariants(board.start, board.end());
    }

    #[test]
    fn what_leaves_within_a_quantum_is_one_range() {
        let mut board = fresh();
        board.begin(SeqNumber(0), SeqNumber(10), Stamp(100));
        board.extend(SeqNumber(20), Stamp(104), 4);
        board.extend(SeqNumber(30), Stamp(105), 4);
        assert_eq!(board.ranges.len(), 2);
        check(&board);
    }

    #[test]
    fn blocks_split_and_join() {
        let mut board = board();
        let mut news = Vec::new();
        assert!(board.sack(SeqNumber(500), SeqNumber(1_500), |it| news.push(it.bytes)));
        assert_eq!(news, [500, 500]);
        assert_eq!((board.sacked(), board.ranges.len()), (1_000, 5));
        check(&board);
        // Known already.
        assert!(board.sack(SeqNumber(600), SeqNumber(700), |_| panic!("no news")));
        assert!(board.sack(SeqNumber(1_400), SeqNumber(2_000), |it| assert_eq!(it.bytes, 500)));
        assert!(board.sack(SeqNumber(0), SeqNumber(600), |it| assert_eq!(it.bytes, 500)));
        check(&board);
        assert_eq!(board.sacked(), 2_000);
        let mut told = 0;
        board.advance(SeqNumber(2_500), |it| told += it.bytes);
        assert_eq!(told, 1_500, "1,000 in front of the block, 500 behind it");
        assert_eq!((board.sacked(), board.end()), (0, SeqNumber(3_000)));
        check(&board);
    }

    #[test]
    fn losses_are_found_and_sent_again_piece_by_piece() {
        let mut board = board();
        board.sack(SeqNumber(1_000), SeqNumber(2_000), |_| {});
        let found = board
            .judge(|_, sent| if Stamp(20).is_after(sent) { Verdict::Lose } else { Verdict::Keep });
        assert_eq!((found, board.lost()), (2_000, 2_000));
        check(&board);
        let (first, end) = board.first_lost().expect("something is lost");
        assert_eq!((first, end), (SeqNumber(u32::MAX - 999), SeqNumber(1_000)));
        board.sent_again(first, 400, Stamp(50), 0);
        check(&board);
        assert_eq!(board.lost(), 1_600);
        board.sent_again(first + 400, 600, Stamp(50), 0);
        check(&board);
        assert_eq!(board.first_lost(), Some((SeqNumber(0), SeqNumber(1_000))));
        board.forget_lost();
        assert_eq!((board.lost(), board.first_lost()), (0, None));
        check(&board);
    }

    #[test]
    fn a_flood_of_blocks_is_bounded_and_retransmissions_go_on() {
        let mut board = fresh();
        board.begin(SeqNumber(0), SeqNumber(1_000_000), Stamp(0));
        let taken = (1..500_000)
            .step_by(2)
            .filter(|at| board.sack(SeqNumber(*at), SeqNumber(at + 1), |_| {}));
        let taken = taken.count();
        assert!(taken <= limits::SCOREBOARD_RANGES_MAX / 2, "{taken} blocks");
        check(&board);
        board.judge(|_, _| Verdict::Lose);
        let mut sent = 0;
        while let Some((seq, end)) = board.first_lost() {
            board.sent_again(seq, end.since(seq).min(1_000), Stamp(9), 0);
            sent += 1;
            assert!(sent < 2_000, "it ends");
        }
        check(&board);
    }

    /// A loss must not allocate: tables keep the memory that they were made with.
    #[test]
    fn a_small_table_is_exchanged_for_a_large_one_while_there_is_one() {
        let shelf = Shelf::new(1, |_| Ranges::large());
        let mut boards = [0, 1].map(|_| Board::spare(Rc::clone(&shelf)));
        for board in &mut boards {
            board.begin(SeqNumber(0), SeqNumber(1_000_000), Stamp(0));
            for at in (1..2_000).step_by(2) {
                board.sack(SeqNumber(at), SeqNumber(at + 1), |_| {});
            }
            for step in 1..1_000u32 {
                board.extend(SeqNumber(1_000_000 + step), Stamp(step * 10), 0);
            }
            check(board);
        }
        let capacities = boards.each_ref().map(|board| board.ranges.capacity());
        assert_eq!(capacities, [limits::SCOREBOARD_RANGES_MAX, limits::SCOREBOARD_RANGES]);
        for board in &mut boards {
            board.recycle();
            assert_eq!(board.ranges.capacity(), limits::SCOREBOARD_RANGES);
        }
        assert!(shelf.take().is_some(), "the large one came back");
    }
}
