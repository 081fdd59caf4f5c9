//! What is sent, first or again, on a connection with SACK, and what its timers decide.

use sluice_base::Instant;
use sluice_wire::SeqNumber;

use crate::connection::Connection;
use crate::context::Context;
use crate::flight::{Flight, GROWTH_DIVISOR, News, Pace, Stamp, ticks_of_us};
use crate::output::Owed;
use crate::recovery::Phase;

/// What leaves within this part of a round trip is one burst: the scoreboard of a large window stays
/// small, and times are wrong by less than a percent.
const BURST_SHIFT: u32 = 7;

impl Connection {
    /// New numbers from SND.NXT as it was, `from`, to `end` leave now. Called before `send.max` moves.
    #[inline]
    pub(crate) fn note_sent(&mut self, from: SeqNumber, end: SeqNumber, cx: &Context<'_>) {
        let stamp = Stamp::of(cx.now);
        if self.congestion.is_paced() {
            self.pace_sent(from, end, cx);
        }
        if from == self.send.unacknowledged {
            self.timers.sent_at = stamp;
        } else if self.options.has_sack() {
            self.note_sent_behind(from, end, stamp, cx);
        } else {
            self.timers.sent_at = stamp;
        }
    }

    /// Ticks within which what leaves is one burst.
    #[inline]
    fn burst_quantum(&self) -> u32 {
        ticks_of_us(self.rtt.smoothed_us().unwrap_or(0)) >> BURST_SHIFT
    }

    /// As above, with something under way already.
    #[inline(never)]
    fn note_sent_behind(&mut self, from: SeqNumber, end: SeqNumber, now: Stamp, cx: &Context<'_>) {
        if self.send.is_syn_pending {
            // With Fast Open: what leaves before the handshake is over counts as one burst.
            self.timers.sent_at = now;
            return;
        }
        let quantum = self.burst_quantum();
        if let Some(flight) = self.flight.get_mut() {
            flight.board.extend(end, now, quantum);
            flight.reduction.on_sent(end.since(from));
            self.timers.sent_at = now;
        } else if now.since(self.timers.sent_at) > quantum {
            // Before `send.next` moved, nothing but this is new.
            if from == self.send.max
                && let Some(flight) = self.begin_flight(from, cx)
            {
                flight.board.extend(end, now, quantum);
            }
            self.timers.sent_at = now;
        }
    }

    /// The scoreboard, from now on: up to `end` everything was sent in one burst. None if none is to
    /// be had, or if losses are already being repaired without.
    #[cold]
    pub(crate) fn begin_flight(&mut self, end: SeqNumber, cx: &Context<'_>) -> Option<&mut Flight> {
        if self.recovery.phase.is_repairing() {
            return None;
        }
        self.flight = cx.spares.flights.take();
        let Some(flight) = self.flight.get_mut() else {
            cx.counters.spares_exhausted.increment();
            return None;
        };
        flight.begin(self.send.unacknowledged, end, self.timers.sent_at);
        self.recovery.duplicates = 0;
        Some(flight)
    }

    /// Whether there is a scoreboard of everything that was sent, from now on if not before.
    pub(crate) fn has_flight(&mut self, cx: &Context<'_>) -> bool {
        let is_whole = self.send.next == self.send.max && self.send.in_flight() > 0;
        self.flight.is_some() || (is_whole && self.begin_flight(self.send.max, cx).is_some())
    }

    /// An ACK in order while nothing is wrong: all that the scoreboard has to learn.
    /// Says at what pace slow start goes on.
    #[inline(never)]
    pub(crate) fn advance_flight(&mut self, ack: SeqNumber, cx: &Context<'_>) -> Pace {
        let Some(flight) = self.flight.get_mut() else { return Pace::Full };
        let mut news = News::default();
        flight.advance(ack, Stamp::of(cx.now), &mut news);
        let pace = self.pace_of(ack, &news);
        if ack == self.send.max {
            self.end_flight();
        }
        pace
    }

    /// RFC 9406, 1: in the first slow start, at what pace it goes on.
    pub(crate) fn pace_of(&mut self, ack: SeqNumber, news: &News) -> Pace {
        if !self.congestion.is_first_slow_start() {
            return Pace::Full;
        }
        let next = self.send.next;
        let Some(flight) = self.flight.get_mut() else { return Pace::Full };
        flight.hystart.on_acknowledged(ack, next, news.round_trip)
    }

    /// `bytes` were acknowledged in order, of `in_flight` that were under way.
    #[cold]
    pub(crate) fn grow_at(&mut self, pace: Pace, bytes: u32, in_flight: u32, cx: &Context<'_>) {
        let step_max = match pace {
            Pace::Full => u32::MAX,
            Pace::Conservative => bytes / GROWTH_DIVISOR,
            Pace::Done => {
                self.congestion.slow_start_threshold = self.congestion.window;
                u32::MAX
            }
        };
        let path = self.path(cx.now);
        self.congestion.on_acknowledged(bytes, in_flight, step_max, path);
    }

    /// Numbers under way as RFC 6675, 4 counts them (pipe).
    #[inline]
    pub(crate) fn pipe(&self) -> u32 {
        let sent = self.send.in_flight();
        match self.flight.get() {
            None => sent,
            Some(flight) => sent - flight.absent(),
        }
    }

    /// Nothing is under way any more.
    pub(crate) fn end_flight(&mut self) {
        self.flight.give_back();
        self.recovery.phase = Phase::Open;
        self.owed = self.owed.without(Owed::REPAIRS);
    }

    /// Keeps the promise of [`has_output`](Self::has_output) about what is lost.
    pub(crate) fn settle_retransmissions(&mut self) {
        self.owed = self.owed.without(Owed::RETRANSMISSION);
        if self.next_lost().is_some() {
            self.owed |= Owed::RETRANSMISSION;
        }
    }

    /// The numbers that are to be sent again now, if the window lets them.
    pub(crate) fn next_lost(&self) -> Option<(SeqNumber, SeqNumber)> {
        let (seq, end) = self.flight.get()?.board.first_lost()?;
        let len = end.since(seq).min(self.options.mss.into());
        let room = self.congestion.window.saturating_sub(self.pipe());
        (room >= len && self.state.may_transmit()).then_some((seq, end))
    }

    /// `len` numbers from `seq` on leave again.
    pub(crate) fn note_sent_again(&mut self, seq: SeqNumber, len: u32, now: Instant) {
        let quantum = self.burst_quantum();
        let stamp = self.options.has_timestamps().then(|| self.options.stamp(now).value);
        if let Some(flight) = self.flight.get_mut() {
            flight.board.sent_again(seq, len, Stamp::of(now), quantum);
            flight.reduction.on_sent(len);
            if let Some(bbr) = self.congestion.bbr() {
                bbr.on_sent_again(len);
            }
            if let Some(undo) = flight.undo.as_mut() {
                undo.on_sent_again(seq, len, stamp);
            }
        }
        self.settle_retransmissions();
    }

    /// RFC 8985, 6.3; RFC 6675, 5.1: the retransmission timer expired.
    pub(crate) fn handle_selective_timeout(&mut self, cx: &Context<'_>) {
        cx.counters.timeouts.increment();
        let is_first = self.retries == 0;
        self.retries = self.retries.saturating_add(1);
        let saved = self.congestion.save();
        let path = self.path(cx.now);
        self.congestion.on_timeout(self.send.in_flight(), is_first, path);
        self.rtt.on_retransmitted();
        self.rtt.back_off();
        let window = self.reordering_window();
        let unacknowledged = self.send.unacknowledged;
        let is_new = !self.recovery.phase.is_repairing();
        if let Some(flight) = self.flight.get_mut() {
            if flight.board.is_reneged() {
                cx.counters.sack_reneged.increment();
                flight.board.forget_sacked();
            }
            flight.detect_at_timeout(window, Stamp::of(cx.now));
            if is_new || flight.undo.is_none() {
                flight.begin_undo(saved, unacknowledged);
            }
        }
        self.owed = self.owed.without(Owed::REPAIRS);
        self.recovery.phase = Phase::Loss;
        self.recovery.recover = self.send.max - 1;
        self.congestion.window = self.pipe() + u32::from(self.options.mss);
        self.restart_retransmit_timer(cx.config, cx.now);
        self.settle_retransmissions();
    }

    /// RFC 8985, 6.2, last paragraph: reordering was waited for long enough.
    pub(crate) fn handle_reorder_timer(&mut self, cx: &Context<'_>) {
        let news = News::default();
        let in_flight = self.send.in_flight();
        let (lost, wait) = self.detect_losses(in_flight, &news, cx);
        self.move_window(false, 0, in_flight, lost, &news, cx);
        self.settle_flight(false, wait, cx);
    }

    /// What was sent counts as lost without congestion: its segments were too large for the path.
    pub(crate) fn lose_flight(&mut self) {
        if let Some(flight) = self.flight.get_mut() {
            flight.lose_all();
        }
        self.recovery.phase = Phase::Loss;
        self.recovery.recover = self.send.max - 1;
        self.settle_retransmissions();
    }
}
