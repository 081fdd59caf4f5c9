//! What is under way on a connection with SACK, and how its losses are found and repaired.
//!
//! ```text
//!        SND.UNA                                                   SND.MAX
//!   ------|  sent 3.2  |#sacked#| lost |  sent 3.2 |  sent 4.1  |----> sequence numbers
//!         |<---------------------- board ----------------------->|
//!          pipe (RFC 6675) = everything but what is sacked or lost
//! ```
//!
//! A flight is out of line: a connection has one only while more than one burst of it is under way,
//! or something is wrong. Request and response, each in one burst, never need it.
//!
//! `board` remembers when each range was last sent and what became of it; `rack` decides from the
//! times what is lost (RFC 8985); `reduction` lets the window fall in proportion to what leaves the
//! network (RFC 6937); `hystart` ends the first slow start in time (RFC 9406); `undo` takes a reduction back that was a mistake (RFC 3522, 4015, 5682).
//! What they decide is carried out in `selective.rs`.

mod board;
mod hystart;
mod rack;
mod reduction;
mod stamp;
mod undo;

use std::rc::Rc;

use sluice_wire::SeqNumber;

use crate::congestion::Saved;
use crate::spares::{Recycle, Shelf};

pub(crate) use board::{Board, Delivered, Fate, Ranges, Verdict};
pub(crate) use hystart::{GROWTH_DIVISOR, HyStart, Pace};
pub(crate) use rack::{Rack, Reordering};
pub(crate) use reduction::Reduction;
pub(crate) use stamp::{Stamp, nanos_of, ticks_of_us};
pub(crate) use undo::Undo;

#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) board: Board,
    pub(crate) rack: Rack,
    pub(crate) reduction: Reduction,
    pub(crate) hystart: HyStart,
    /// What takes the last reduction back.
    pub(crate) undo: Option<Undo>,
    /// Those before it whose duplicates may still come, the latest first.
    pub(crate) undo_before: [Option<Undo>; 2],
    /// The probe of a silent tail that is under way (RFC 8985, 7).
    pub(crate) probe: Option<TailProbe>,
    /// Above it the next D-SACK widens the reordering window again: once per round trip.
    pub(crate) widened_until: SeqNumber,
}

/// TLP.end_seq and TLP.is_retrans of RFC 8985, 7.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailProbe {
    pub(crate) end: SeqNumber,
    pub(crate) is_again: bool,
    /// Our timestamp on it.
    pub(crate) stamp: Option<u32>,
}

/// What one acknowledgement, with its SACK blocks, delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News {
    /// Bytes that were not known to be there.
    pub(crate) bytes: u32,
    /// Some of them lay in front of others that had been there, and were sent once only.
    pub(crate) is_reordered: bool,
    /// Some of them were believed lost, and were not sent again.
    pub(crate) is_original: bool,
    /// The round trip of the one that was sent last, ticks, if it was sent once only.
    pub(crate) round_trip: Option<u32>,
    /// The one that was sent again last: end and time. Not taken for its answer before it is sure
    /// that this is not the original's.
    pub(crate) again: Option<(SeqNumber, Stamp)>,
}

impl Flight {
    /// One that nothing is under way of, whose large table comes from `shelf`.
    pub(crate) fn spare(shelf: Rc<Shelf<Ranges>>) -> Self {
        Self {
            board: Board::spare(shelf),
            rack: Rack::new(SeqNumber::ZERO),
            reduction: Reduction::default(),
            hystart: HyStart::new(SeqNumber::ZERO),
            undo: None,
            undo_before: [None, None],
            probe: None,
            widened_until: SeqNumber::ZERO,
        }
    }

    /// Everything from `start` to `end` left at `sent`.
    pub(crate) fn begin(&mut self, start: SeqNumber, end: SeqNumber, sent: Stamp) {
        self.board.begin(start, end, sent);
        self.rack = Rack::new(start);
        self.hystart = HyStart::new(end);
        self.widened_until = start;
    }

    /// Numbers that were sent and are not under way.
    pub(crate) fn absent(&self) -> u32 {
        self.board.sacked() + self.board.lost()
    }

    /// SND.UNA moved to `ack`.
    pub(crate) fn advance(&mut self, ack: SeqNumber, now: Stamp, news: &mut News) {
        let rack = &mut self.rack;
        self.board.advance(ack, |delivered| rack.deliver(&delivered, now, news));
    }

    /// The peer has `left..right`; false if the table is full.
    pub(crate) fn sack(
        &mut self,
        (left, right): (SeqNumber, SeqNumber),
        now: Stamp,
        news: &mut News,
    ) -> bool {
        let rack = &mut self.rack;
        self.board.sack(left, right, |delivered| rack.deliver(&delivered, now, news))
    }

    /// RFC 8985, 6.2, step 5: what is lost by now, bytes, and in how many ticks more may be.
    pub(crate) fn detect(&mut self, window: u32, now: Stamp) -> (u32, Option<u32>) {
        let rack = &self.rack;
        let mut wait = None;
        let lost = self.board.judge(|end, sent| match rack.remaining(end, sent, window, now) {
            None => Verdict::Keep,
            Some(0) => Verdict::Lose,
            Some(ticks) => {
                wait = wait.max(Some(ticks));
                Verdict::Keep
            }
        });
        (lost, wait)
    }

    /// Everything that the peer does not have is lost.
    pub(crate) fn lose_all(&mut self) {
        self.board.judge(|_, _| Verdict::Lose);
    }

    /// A reduction begins: what `saved` was before it can be restored.
    pub(crate) fn begin_undo(&mut self, saved: Saved, unacknowledged: SeqNumber) {
        let last = self.undo.replace(Undo::new(saved, unacknowledged));
        if last.as_ref().is_some_and(Undo::is_waiting) {
            let [before, _] = &mut self.undo_before;
            self.undo_before = [last, before.take()];
        }
    }

    /// Everything that one of the reductions before the last sent again arrived twice: nothing had
    /// been lost then. Gives what was before it, and if a later one still stands, what was before
    /// that, which from now on restores all of it.
    pub(crate) fn undo_before(
        &mut self,
        left: SeqNumber,
        right: SeqNumber,
    ) -> Option<(Saved, Option<Saved>)> {
        let of_it = |undo: &Option<Undo>| undo.as_ref().is_some_and(|undo| undo.is_of_it(left));
        let index = self.undo_before.iter().position(of_it)?;
        let undo = self.undo_before[index].as_mut()?;
        if !undo.on_duplicate(left, right) {
            return None;
        }
        let saved = self.undo_before[index].take()?.saved;
        let (newer, _) = self.undo_before.split_at_mut(index);
        let newer = newer.iter_mut().rev().chain([&mut self.undo]).flatten().next();
        let replaced = newer.map(|newer| std::mem::replace(&mut newer.saved, saved.clone()));
        Some((saved, replaced))
    }

    /// RFC 8985, 6.3: the retransmission timer expired.
    pub(crate) fn detect_at_timeout(&mut self, window: u32, now: Stamp) {
        let due = self.rack.round_trip() + window;
        self.board.judge(
            |_, sent| {
                if now.since(sent) >= due { Verdict::Lose } else { Verdict::Keep }
            },
        );
        self.board.lose_first();
        self.probe = None;
    }
}

impl Recycle for Flight {
    fn recycle(&mut self) {
        self.board.recycle();
        self.reduction = Reduction::default();
        (self.undo, self.undo_before, self.probe) = (None, [None, None], None);
    }
}
