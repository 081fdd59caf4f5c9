//! RFC 9293, 3.10.7.4, fifth: check the ACK field.

use sluice_buf::Chain;
use sluice_wire::{Flags, SeqNumber, TcpHeader};

use super::{Done, Step};
use crate::connection::Connection;
use crate::context::Context;
use crate::ecn::Ecn;
use crate::flight::Pace;
use crate::output::Owed;
use crate::signals::Signals;
use crate::state::State;
use crate::timer::Timer;

impl Connection {
    /// RFC 9293, 3.10.7.4, fifth.
    pub(super) fn check_acknowledgment(
        &mut self,
        header: &TcpHeader,
        payload: &Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) -> Step {
        if !header.flags.contains(Flags::ACK) {
            cx.counters.without_ack.increment();
            return Err(Done);
        }
        if self.state == State::SynReceived {
            self.check_syn_acknowledged(header, signals, cx)?;
        }
        self.check_ack_range(header.ack, cx)?;
        self.renew_timestamp(header, cx);
        self.take_user_timeout(header, cx.config);
        self.timers.is_heard = true;
        let window = self.congestion.window;
        if self.timers.is_armed(Timer::Persist) {
            // The peer lives: RFC 9293, 3.8.6.1 forbids giving up now.
            self.retries = 0;
        }
        if self.options.has_sack() {
            self.acknowledge_selectively(header, signals, cx);
            if self.state == State::Closed {
                return Err(Done);
            }
        } else if header.ack.after(self.send.unacknowledged) {
            self.acknowledge(header.ack, signals, cx);
            if self.state == State::Closed {
                // LAST-ACK: that was it.
                return Err(Done);
            }
        } else if self.is_duplicate(header, payload) {
            self.handle_duplicate_ack(cx);
        }
        if self.options.ecn.contains(Ecn::AGREED)
            && header.flags.intersects(Flags::ECE | Flags::CWR)
        {
            self.handle_ecn_flags(header.flags, !payload.is_empty(), window, cx);
        }
        self.update_window(header);
        Ok(())
    }

    /// RFC 9293, 3.10.7.4, fifth, SYN-RECEIVED: only an ACK of our SYN opens; with Fast Open it may be
    /// one of data behind the SYN, which the steps that follow look at.
    fn check_syn_acknowledged(
        &mut self,
        header: &TcpHeader,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) -> Step {
        let syn_end = self.send.unacknowledged + 1;
        if header.ack.before(syn_end) || header.ack.after(self.send.max) {
            cx.counters.unacceptable_ack.increment();
            self.reject_ack(header.ack);
            return Err(Done);
        }
        self.acknowledge_syn(syn_end, cx);
        *signals |= self.become_established(cx);
        // RFC 9293, 3.10.7.4: SND.WND, WL1 and WL2 come from this segment.
        self.take_window(header);
        Ok(())
    }

    /// Owes a RST for an ACK of something that was never sent.
    pub(super) fn reject_ack(&mut self, ack: SeqNumber) {
        // Nothing can be lost while the SYN is on its way.
        self.recovery.recover = ack;
        self.owed |= Owed::STRAY_RESET;
    }

    /// Our SYN is acknowledged by `ack`.
    pub(super) fn acknowledge_syn(&mut self, ack: SeqNumber, cx: &Context<'_>) {
        self.send.acknowledge(ack);
        self.rtt.on_acknowledged(ack, cx.config, cx.now);
        self.timers.cancel(Timer::Retransmit);
    }

    /// RFC 5961, 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, else challenged and dropped.
    fn check_ack_range(&mut self, ack: SeqNumber, cx: &Context<'_>) -> Step {
        let oldest = self.send.unacknowledged - self.send.window_max;
        let sent = self.send.max.since(oldest);
        if ack.since(oldest) <= sent {
            return Ok(());
        }
        cx.counters.unacceptable_ack.increment();
        self.challenge_ack(cx);
        Err(Done)
    }

    /// RFC 5681, 2, "duplicate acknowledgment": all five conditions.
    fn is_duplicate(&self, header: &TcpHeader, payload: &Chain) -> bool {
        header.ack == self.send.unacknowledged
            && self.send.in_flight() > 0
            && payload.is_empty()
            && !header.flags.contains(Flags::FIN)
            && self.scaled_window(header) == self.send.window
    }

    /// Takes SEG.ACK, which covers something new: frees the queue, times, grows the window.
    #[inline]
    pub(crate) fn acknowledge(&mut self, ack: SeqNumber, signals: &mut Signals, cx: &Context<'_>) {
        let flight = self.send.in_flight();
        let pace = if self.flight.is_some() { self.advance_flight(ack, cx) } else { Pace::Full };
        let acked = self.send.acknowledge(ack);
        self.rtt.on_acknowledged(ack, cx.config, cx.now);
        self.retries = 0;
        self.recovery.duplicates = 0;
        if self.recovery.phase.is_repairing() {
            self.handle_ack_in_recovery(ack, acked.bytes, cx);
        } else {
            self.grow_window(ack, acked.bytes, flight, pace, cx);
            self.recovery.follow(ack);
            // RFC 6298, 5.3; with nothing under way `settle_send_timers` stops it (5.2).
            if self.send.in_flight() > 0 {
                self.restart_retransmit_timer(cx.config, cx.now);
            }
        }
        if self.congestion.is_paced() {
            self.pace_acknowledged(acked.bytes, cx);
        }
        if self.is_write_blocked {
            self.unblock_writer(signals, cx);
        }
        if acked.fin {
            self.handle_fin_acknowledged(cx);
        }
    }

    #[inline]
    fn grow_window(
        &mut self,
        ack: SeqNumber,
        bytes: u32,
        flight: u32,
        pace: Pace,
        cx: &Context<'_>,
    ) {
        if pace != Pace::Full {
            return self.grow_at(pace, bytes, flight, cx);
        }
        let is_repairing = ack.at_or_before(self.recovery.recover);
        let step_max = if is_repairing { self.options.mss.into() } else { u32::MAX };
        let path = self.path(cx.now);
        self.congestion.on_acknowledged(bytes, flight, step_max, path);
    }

    /// Half of what may wait beyond the congestion window must have gone: a writer is not woken for
    /// every segment, and has time to write before there is nothing left to send.
    #[cold]
    pub(crate) fn unblock_writer(&mut self, signals: &mut Signals, cx: &Context<'_>) {
        let limit = self.send_limit(cx);
        let window = self.congestion.window.min(limit);
        let low = limit / 2 + window / 2;
        if self.send.queue.len() <= low as usize && self.state.may_write() {
            self.is_write_blocked = false;
            *signals |= Signals::WRITABLE;
        }
    }

    /// RFC 9293, 3.10.7.4, fifth: only a segment that is not older than the last one may tell the
    /// window.
    fn update_window(&mut self, header: &TcpHeader) {
        let is_newer = self.send.window_seq.before(header.seq)
            || (self.send.window_seq == header.seq
                && self.send.window_ack.at_or_before(header.ack));
        if header.ack.at_or_after(self.send.unacknowledged) && is_newer {
            self.take_window(header);
        }
    }

    /// SND.WND := SEG.WND.
    #[inline]
    pub(super) fn take_window(&mut self, header: &TcpHeader) {
        let window = self.scaled_window(header);
        self.send.take_window(header.seq, header.ack, window);
    }

    #[inline]
    fn scaled_window(&self, header: &TcpHeader) -> u32 {
        u32::from(header.window) << self.options.send_shift
    }
}
