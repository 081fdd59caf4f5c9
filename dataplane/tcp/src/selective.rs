//! Acknowledgements on a connection with SACK, and what they set off.
//!
//! In the order in which it is done for each: what arrived is noted on the scoreboard (RFC 2018,
//! 6675), mistakes are undone (RFC 3522, 2883, 5682), losses are found by time (RFC 8985), the window
//! follows (RFC 6937). `recovery.rs` does the same for peers without SACK.

use sluice_wire::{SackBlocks, SeqNumber, TcpHeader};

use crate::congestion::initial_window;
use crate::connection::Connection;
use crate::context::Context;
use crate::flight::{News, Reduction, Stamp, nanos_of, ticks_of_us};
use crate::output::Owed;
use crate::recovery::Phase;
use crate::signals::Signals;
use crate::timer::Timer;

impl Connection {
    /// RFC 9293, 3.10.7.4, fifth, on a connection with SACK; SEG.ACK is in range.
    pub(crate) fn acknowledge_selectively(
        &mut self,
        header: &TcpHeader,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) {
        let is_advance = header.ack.after(self.send.unacknowledged);
        let has_blocks = !header.options.sack.is_empty();
        if self.flight.is_none() {
            let is_needed = has_blocks && self.send.in_flight() > 0;
            if !(is_needed && self.has_flight(cx)) {
                return self.acknowledge_without(header.ack, is_needed, signals, cx);
            }
        }
        let mut news = News::default();
        let in_flight = self.send.in_flight();
        let (mut acked, mut is_fin) = (0, false);
        if is_advance {
            if let Some(flight) = self.flight.get_mut() {
                flight.advance(header.ack, Stamp::of(cx.now), &mut news);
            }
            let acknowledged = self.send.acknowledge(header.ack);
            (acked, is_fin) = (acknowledged.bytes, acknowledged.fin);
            self.time_acknowledgment(header, cx);
            self.retries = 0;
        }
        let duplicate = self.take_blocks(header, &mut news, cx);
        if let Some((left, right)) = duplicate {
            self.handle_duplicate_report(left, right, cx);
        }
        if news.is_reordered {
            self.recovery.reordering.on_reordered();
        }
        let was_repairing = self.recovery.phase.is_repairing();
        let is_undone = self.undo_by_acknowledgment(header, is_advance, &news, cx);
        if let (false, Some(flight)) = (is_undone, self.flight.get_mut()) {
            flight.rack.deliver_again(&news, Stamp::of(cx.now));
        }
        let was_tail_lost = self.resolve_probe(header, duplicate, in_flight, &news, cx);
        self.leave_phase(header.ack);
        let (lost, wait) = self.detect_losses(in_flight, &news, cx);
        if was_repairing && !self.recovery.phase.is_repairing() {
            // What arrived during the repair does not count as growth.
            acked = news.bytes;
        }
        if !was_tail_lost {
            self.move_window(is_advance, acked, in_flight, lost, &news, cx);
        }
        if is_advance {
            self.recovery.follow(header.ack);
        }
        self.settle_flight(is_advance, wait, cx);
        if self.congestion.is_paced() {
            self.pace_acknowledged(news.bytes, cx);
        }
        if self.is_write_blocked {
            self.unblock_writer(signals, cx);
        }
        if is_fin {
            self.handle_fin_acknowledged(cx);
        }
    }

    /// There is no scoreboard: it is not needed, or none is to be had.
    fn acknowledge_without(
        &mut self,
        ack: SeqNumber,
        is_needed: bool,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) {
        if ack.after(self.send.unacknowledged) {
            self.acknowledge(ack, signals, cx);
        } else if is_needed && ack == self.send.unacknowledged {
            // Blocks tell that something arrived ahead of a hole, as a duplicate does without SACK.
            self.handle_duplicate_ack(cx);
        }
    }

    /// Notes the blocks; returns the one that reports a duplicate (RFC 2883, 4).
    fn take_blocks(
        &mut self,
        header: &TcpHeader,
        news: &mut News,
        cx: &Context<'_>,
    ) -> Option<(SeqNumber, SeqNumber)> {
        let blocks = header.options.sack.as_slice();
        let duplicate = duplicate_report(blocks, header.ack);
        let flight = self.flight.get_mut()?;
        let now = Stamp::of(cx.now);
        let mut order = [(SeqNumber::ZERO, SeqNumber::ZERO); SackBlocks::MAX];
        let order = &mut order[..blocks.len()];
        order.copy_from_slice(blocks);
        // From below: an older block that is told late is not one that was overtaken.
        order.sort_unstable_by_key(|(left, _)| left.since(header.ack));
        for &mut (left, right) in order {
            if duplicate == Some((left, right)) {
                continue;
            }
            let first = left.since(self.send.unacknowledged);
            let behind = right.since(self.send.unacknowledged);
            let is_valid =
                first < behind && behind <= self.send.max.since(self.send.unacknowledged);
            if !is_valid {
                // Old ones come late; of what was never sent only a liar tells.
                cx.counters.sack_ignored.increment();
            } else if !flight.sack((left, right), now, news) {
                cx.counters.sack_full.increment();
            }
        }
        duplicate
    }

    /// RFC 2883, 5: the peer had `left..right` already.
    fn handle_duplicate_report(&mut self, left: SeqNumber, right: SeqNumber, cx: &Context<'_>) {
        cx.counters.duplicates_reported.increment();
        let Some(flight) = self.flight.get_mut() else { return };
        let is_of_last = flight.undo.as_ref().is_some_and(|undo| undo.is_of_it(left));
        if !is_of_last {
            return self.undo_earlier(left, right, cx);
        }
        self.widen_reordering();
        let Some(flight) = self.flight.get_mut() else { return };
        if flight.undo.as_mut().is_some_and(|undo| undo.on_duplicate(left, right)) {
            self.undo(cx);
        }
    }

    /// Something was sent again for nothing: the reordering window widens, once per round trip.
    fn widen_reordering(&mut self) {
        let Some(flight) = self.flight.get_mut() else { return };
        if self.send.unacknowledged.at_or_after(flight.widened_until) {
            flight.widened_until = self.send.max;
            self.recovery.reordering.on_needless();
        }
    }

    /// As [`undo`](Self::undo), if the duplicate was the last one of an earlier reduction's.
    #[cold]
    fn undo_earlier(&mut self, left: SeqNumber, right: SeqNumber, cx: &Context<'_>) {
        let Some(flight) = self.flight.get_mut() else { return };
        let Some((saved, replaced)) = flight.undo_before(left, right) else { return };
        cx.counters.reductions_undone.increment();
        match replaced {
            Some(wrong) => self.congestion.raise(&saved, &wrong),
            None => self.congestion.restore(saved, self.room_after_undo()),
        }
    }

    /// Up to where the window opens at once when it is restored (RFC 4015, 3.2).
    fn room_after_undo(&self) -> u32 {
        self.send.in_flight() + initial_window(self.options.mss.into())
    }

    /// RFC 6298, 3 and RFC 7323, 4: what was sent once measures the round trip; of what was sent
    /// again only the echoed timestamp can tell which copy is answered.
    fn time_acknowledgment(&mut self, header: &TcpHeader, cx: &Context<'_>) {
        let is_measured = self.rtt.on_acknowledged(header.ack, cx.config, cx.now);
        if is_measured || !self.recovery.phase.is_repairing() {
            return;
        }
        if let Some(stamp) = header.options.timestamps
            && self.options.has_timestamps()
        {
            self.rtt.on_echo(self.options.age_of(stamp.echo, cx.now), cx.config);
        }
    }

    /// Takes a reduction back, and says so, if this ACK shows that nothing was lost.
    fn undo_by_acknowledgment(
        &mut self,
        header: &TcpHeader,
        is_advance: bool,
        news: &News,
        cx: &Context<'_>,
    ) -> bool {
        let Some(undo) = self.flight.get().and_then(|flight| flight.undo.as_ref()) else {
            return false;
        };
        if !self.recovery.phase.is_repairing() {
            return false;
        }
        let is_echo_older = is_advance
            && self.options.has_timestamps()
            && header
                .options
                .timestamps
                .is_some_and(|stamp| undo.is_echo_older(header.ack, stamp.echo));
        // RFC 5682, 3.1, step 3b, with SACK: not if everything is acknowledged at once, which a
        // retransmission may have brought about.
        let is_original = self.recovery.phase == Phase::Loss
            && news.is_original
            && header.ack.at_or_before(self.recovery.recover);
        if is_echo_older || is_original {
            // RFC 8985, 6.2 asks for a D-SACK; this tells as much, and sooner.
            self.widen_reordering();
            self.undo(cx);
        }
        is_echo_older || is_original
    }

    /// RFC 4015, 3.2; RFC 5682, 3.1: everything as it was before.
    #[cold]
    fn undo(&mut self, cx: &Context<'_>) {
        let Some(flight) = self.flight.get_mut() else { return };
        let Some(undo) = flight.undo.take() else { return };
        cx.counters.reductions_undone.increment();
        flight.board.forget_lost();
        self.congestion.restore(undo.saved, self.room_after_undo());
        self.rtt.backoff = 0;
        self.recovery.phase = Phase::Disorder;
        self.recovery.recover = self.send.unacknowledged - 1;
    }

    /// Recovery ends when everything is acknowledged that had been sent when it began.
    fn leave_phase(&mut self, ack: SeqNumber) {
        if !ack.after(self.recovery.recover) || !self.recovery.phase.is_repairing() {
            return;
        }
        if self.recovery.phase == Phase::Recovery {
            self.congestion.window = self.congestion.slow_start_threshold;
            self.recovery.reordering.on_recovered();
        }
        self.recovery.phase = Phase::Disorder;
    }

    /// RFC 8985, 6.2, steps 4 and 5: bytes that are lost by now, and in how many ticks more may be.
    /// `in_flight` is what was before this ACK.
    pub(crate) fn detect_losses(
        &mut self,
        in_flight: u32,
        news: &News,
        cx: &Context<'_>,
    ) -> (u32, Option<u32>) {
        let window = self.reordering_window();
        let Some(flight) = self.flight.get_mut() else { return (0, None) };
        let (lost, wait) = flight.detect(window, Stamp::of(cx.now));
        let is_news = lost > 0 && !self.recovery.phase.is_repairing();
        if is_news && !self.is_probe_lost_alone(lost, cx) {
            self.enter_recovery(in_flight, news, cx);
        }
        (lost, wait)
    }

    pub(crate) fn reordering_window(&self) -> u32 {
        let Some(flight) = self.flight.get() else { return 0 };
        // RFC 6675, 4 (2): more than two segments are ahead of the hole.
        let is_certain = self.recovery.phase.is_repairing()
            || flight.board.sacked() > 2 * u32::from(self.options.mss);
        let smoothed = ticks_of_us(self.rtt.smoothed_us().unwrap_or(0));
        self.recovery.reordering.window(flight.rack.round_trip_min(), smoothed, is_certain)
    }

    /// RFC 6675, 5, step 4 and RFC 6937: something is lost and nothing is being repaired yet.
    fn enter_recovery(&mut self, in_flight: u32, news: &News, cx: &Context<'_>) {
        cx.counters.fast_retransmits.increment();
        let saved = self.congestion.save();
        // RFC 3168, 6.1.2: not twice in a round trip, if a mark came first.
        if self.send.unacknowledged.after(self.recovery.recover) {
            let path = self.path(cx.now);
            self.congestion.on_loss(in_flight, path);
        }
        self.recovery.recover = self.send.max - 1;
        self.recovery.phase = Phase::Recovery;
        self.owed = self.owed.without(Owed::TAIL);
        let (unacknowledged, under_way) = (self.send.unacknowledged, self.send.in_flight());
        if let Some(flight) = self.flight.get_mut() {
            flight.reduction = Reduction::new(under_way - flight.board.sacked() + news.bytes);
            flight.begin_undo(saved, unacknowledged);
            flight.probe = None;
        }
        self.rtt.on_retransmitted();
    }

    /// How the window follows what this ACK delivered.
    pub(crate) fn move_window(
        &mut self,
        is_advance: bool,
        acked: u32,
        in_flight: u32,
        lost: u32,
        news: &News,
        cx: &Context<'_>,
    ) {
        match self.recovery.phase {
            Phase::Recovery | Phase::RecoveryPartial => {
                if news.bytes == 0 && lost == 0 {
                    return;
                }
                let pipe = self.pipe();
                let mss = self.options.mss.into();
                let threshold = self.congestion.slow_start_threshold;
                let is_safe = is_advance && lost == 0;
                let Some(flight) = self.flight.get_mut() else { return };
                let reduction = &mut flight.reduction;
                self.congestion.window =
                    reduction.on_delivered(news.bytes, pipe, threshold, mss, is_safe).max(mss);
            }
            Phase::Loss => {
                // RFC 3465, 2.1: what one ACK tells of may be many segments' worth.
                let step_max = 2 * u32::from(self.options.mss);
                let path = self.path(cx.now);
                self.congestion.on_acknowledged(news.bytes, in_flight, step_max, path);
            }
            Phase::Open | Phase::Disorder | Phase::TailProbe => {
                if is_advance {
                    let pace = self.pace_of(self.send.unacknowledged, news);
                    self.grow_at(pace, acked, in_flight, cx);
                }
            }
        }
    }

    /// Whether the timer that runs suits the phase: nothing is probed while something is missing.
    fn is_waiting_well(&self) -> bool {
        let is_probing = self.timers.is_kind(Timer::Tail) && self.recovery.phase == Phase::Open;
        is_probing || self.timers.is_kind(Timer::Retransmit)
    }

    /// After an ACK: is all well, what is waited for, may something lost leave, is the flight still
    /// needed?
    pub(crate) fn settle_flight(&mut self, is_advance: bool, wait: Option<u32>, cx: &Context<'_>) {
        if self.send.in_flight() == 0 {
            return self.end_flight();
        }
        if let Some(flight) = self.flight.get() {
            let is_disordered = flight.absent() > 0;
            match self.recovery.phase {
                Phase::Open | Phase::TailProbe if is_disordered => {
                    self.recovery.phase = Phase::Disorder;
                }
                Phase::Disorder if !is_disordered => self.recovery.phase = Phase::Open,
                _ => {}
            }
        }
        if let Some(ticks) = wait {
            // One tick more: the clock's fraction of a tick must have passed too.
            self.timers.arm(
                Timer::Reorder,
                cx.now.plus_nanos(nanos_of(ticks + 1).next_multiple_of(1_000)),
            );
        } else if is_advance || !self.is_waiting_well() {
            self.restart_retransmit_timer(cx.config, cx.now);
        }
        self.settle_retransmissions();
    }
}

/// RFC 2883, 4: the first block reports a duplicate if it lies below SEG.ACK, or inside the second.
fn duplicate_report(
    blocks: &[(SeqNumber, SeqNumber)],
    ack: SeqNumber,
) -> Option<(SeqNumber, SeqNumber)> {
    let &(left, right) = blocks.first()?;
    let is_inside =
        |&(start, end): &(SeqNumber, SeqNumber)| left.at_or_after(start) && right.at_or_before(end);
    let is_report = right.at_or_before(ack) || blocks.get(1).is_some_and(is_inside);
    (is_report && left.before(right)).then_some((left, right))
}
