//! RFC 9293, 3.10.7.4, seventh: process the segment text.

use sluice_buf::Chain;
use sluice_wire::{Flags, SeqNumber, TcpHeader};

use super::{Done, Step};
use crate::config::nanos;
use crate::connection::Connection;
use crate::context::Context;
use crate::output::Owed;
use crate::recv::{Insert, Push};
use crate::signals::Signals;
use crate::timer::Timer;

impl Connection {
    /// RFC 9293, 3.10.7.4, seventh. Passes on only when RCV.NXT reached the segment's end, so that
    /// the next step may look at its FIN.
    pub(super) fn handle_text(
        &mut self,
        header: &TcpHeader,
        mut payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) -> Step {
        if !self.state.may_receive() {
            // The peer's FIN was there already, so this cannot be new (or its FIN again).
            return if header.flags.contains(Flags::FIN) { Ok(()) } else { Err(Done) };
        }
        if payload.is_empty() && !header.flags.contains(Flags::FIN) {
            return Err(Done);
        }
        if header.seq.before(self.receive.next) && !payload.is_empty() {
            self.note_duplicate(header.seq, payload.len() as u32, cx);
        }
        let is_trimmed = self.trim(header, &mut payload);
        if is_trimmed {
            // Whoever sends behind the window does not know where it ends.
            cx.counters.outside_window.increment();
            self.owed |= Owed::ACK;
        }
        if self.is_read_closed && !payload.is_empty() {
            // RFC 9293, 3.6.1: nobody will ever read it.
            cx.counters.data_after_close.increment();
            self.become_aborted();
            return Err(Done);
        }
        let seq = header.seq.max(self.receive.next);
        if seq != self.receive.next {
            let is_fin = header.flags.contains(Flags::FIN) && !is_trimmed;
            self.keep_for_later(seq, payload, is_fin, cx);
            return Err(Done);
        }
        if !payload.is_empty() && !self.take_text(payload, signals, cx) {
            return Err(Done);
        }
        if self.receive.reassembly.is_some() {
            self.fill_hole();
        }
        if is_trimmed { Err(Done) } else { Ok(()) }
    }

    /// Lets the next ACK say what came twice (RFC 2883, 4.1): the peer learns that a retransmission
    /// was not needed.
    #[cold]
    pub(super) fn note_duplicate(&mut self, seq: SeqNumber, len: u32, cx: &Context<'_>) {
        if self.options.has_sack() {
            let end = (seq + len).min(self.receive.next);
            self.receive.note_duplicate(seq, end, cx);
        }
    }

    /// Cuts off what was received before and what lies behind the window; true in the latter case.
    fn trim(&self, header: &TcpHeader, payload: &mut Chain) -> bool {
        if header.seq.before(self.receive.next) {
            payload.advance(self.receive.next.since(header.seq) as usize);
        }
        let seq = header.seq.max(self.receive.next);
        let room = self.receive.edge.since(seq) as usize;
        let is_too_long = payload.len() > room;
        payload.truncate(room);
        is_too_long
    }

    /// Takes bytes whose first is RCV.NXT, and lets them be acknowledged; false if there is no
    /// memory for them.
    #[inline]
    pub(super) fn take_text(
        &mut self,
        payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) -> bool {
        let len = payload.len() as u32;
        match self.receive.push(payload, cx) {
            Push::Queued => {}
            Push::Coalesced => cx.counters.coalesced.increment(),
            Push::Refused => {
                cx.counters.receive_budget.increment();
                self.owed |= Owed::ACK;
                return false;
            }
        }
        *signals |= Signals::READABLE;
        self.owe_ack(len, cx);
        true
    }

    /// RFC 9293, 3.8.6.3; RFC 5681, 4.2: an ACK for at least every second full-sized segment, and
    /// within the delay for less.
    #[inline]
    fn owe_ack(&mut self, len: u32, cx: &Context<'_>) {
        let receive = &mut self.receive;
        if len > u32::from(receive.segment_size) {
            // Several segments may have been merged into one.
            receive.segment_size = len.min(cx.config.mss.into()) as u16;
        }
        if receive.next.since(receive.acknowledged) >= 2 * u32::from(receive.segment_size) {
            self.owed |= Owed::ACK;
        } else if self.timers.quick_acks > 0 && len >= self.options.mss.into() {
            self.timers.quick_acks -= 1;
            self.owed |= Owed::ACK;
        } else if !self.timers.is_armed(Timer::DelayedAck) {
            self.timers.arm(Timer::DelayedAck, cx.now.plus_nanos(nanos(cx.config.delayed_ack)));
        }
    }

    /// RFC 5681, 4.2: out-of-order data is acknowledged at once, so that the peer learns of a loss.
    #[cold]
    fn keep_for_later(&mut self, seq: SeqNumber, payload: Chain, is_fin: bool, cx: &Context<'_>) {
        cx.counters.out_of_order.increment();
        self.owed |= Owed::ACK;
        if Self::must_drop_reassembly(cx.pressure) {
            if self.receive.drop_reassembly() {
                cx.counters.reassembly_dropped.increment();
            }
            return;
        }
        if self.receive.insert(seq, payload, is_fin, cx) == Insert::Full {
            cx.counters.reassembly_full.increment();
        }
        self.tune_window_ahead(cx);
    }

    /// The hole is filled, or a part of it: acknowledged at once (RFC 5681, 4.2).
    #[cold]
    fn fill_hole(&mut self) {
        self.receive.drain_reassembly();
        self.owed |= Owed::ACK;
    }
}
