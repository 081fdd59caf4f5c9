//! What leaves, and why.
//!
//! The reasons to send, in the order in which they are served:
//!
//! 1. a RST ends everything else
//! 2. a SYN or SYN+ACK, first or repeated
//! 3. the segment that fast retransmit found missing
//! 4. a probe of a closed window
//! 5. data, new or after a time-out again, with a FIN if it is the last; it carries the ACK
//! 6. a FIN alone
//! 7. an ACK alone: every second full segment, out-of-order data, a window update, a challenge
//!
//! A segment is decided and built in one step, when the caller has room for it: ACK and window are
//! never stale, and nothing is ever built twice.

use sluice_base::Instant;
use sluice_wire::{Flags, PlainHeader, SeqNumber, TcpHeader, TcpOptions};

use crate::connection::Connection;
use crate::context::Context;
use crate::ecn::Ecn;
use crate::flight::{Stamp, nanos_of};
use crate::limits;
use crate::state::State;
use crate::timer::Timer;

/// A segment to be sent now. The caller knows the ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// The header, all of it unless `has_more_options`.
    pub header: PlainHeader,
    /// There are options beside timestamps: ask [`Connection::options_of`] for all of them before
    /// the connection does anything else.
    pub has_more_options: bool,
    /// Where the payload starts in [`Connection::send_queue`].
    pub payload_offset: usize,
    /// Bytes of payload.
    pub payload_len: usize,
    /// Cut the payload into segments of this many bytes; 0: it is one segment.
    pub segment_size: u16,
    /// Routers may mark it instead of dropping it: ECT(0) in the IP header (RFC 3168, 5).
    pub is_ect: bool,
    /// May use the transmit reserve: ACK, RST, SYN, probe, retransmission.
    pub reserved: bool,
}

/// A set of reasons to send that are not data.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Owed(u8);

impl Owed {
    pub(crate) const ACK: Self = Self(1);
    pub(crate) const RESET: Self = Self(1 << 1);
    pub(crate) const SYN: Self = Self(1 << 2);
    pub(crate) const STRAY_RESET: Self = Self(1 << 3);
    pub(crate) const RETRANSMISSION: Self = Self(1 << 4);
    pub(crate) const PROBE: Self = Self(1 << 5);
    /// The next data segment may be smaller than silly window avoidance likes.
    pub(crate) const SMALL: Self = Self(1 << 6);
    /// The probe of a silent tail (RFC 8985, 7).
    pub(crate) const TAIL: Self = Self(1 << 7);
    /// What is owed for something that may be lost.
    pub(crate) const REPAIRS: Self = Self(Self::RETRANSMISSION.0 | Self::TAIL.0);
    pub(crate) const ANY: Self = Self(u8::MAX);
    /// What goes before data.
    const URGENT: Self =
        Self(Self::RESET.0 | Self::SYN.0 | Self::STRAY_RESET.0 | Self::REPAIRS.0 | Self::PROBE.0);

    #[inline]
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[inline]
    const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl std::ops::BitOrAssign for Owed {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Connection {
    /// The next segment, if one is owed and allowed. What it returns counts as sent, so the caller
    /// must have a buffer and room in the transmit queue before it asks.
    ///
    /// `max_payload` is what the device can cut into segments by itself, bytes; 0 means one segment
    /// at a time. Afterwards [`next_deadline`](Self::next_deadline) may be earlier than before.
    #[inline]
    pub fn poll_output(&mut self, max_payload: u32, cx: &Context<'_>) -> Option<Outgoing> {
        if self.owed.intersects(Owed::URGENT) {
            return self.poll_urgent(cx);
        }
        let outgoing = match self.data_to_send() {
            len @ 1.. => self.emit_data(len, max_payload, cx),
            0 if self.is_fin_to_send() => self.emit_fin(cx),
            0 if self.owed.contains(Owed::ACK) => self.emit_ack(cx),
            0 => return None,
        };
        self.finish_output(cx);
        Some(outgoing)
    }

    /// Bytes of data that [`poll_data`](Self::poll_data) may send now: 0 when there are none, or when
    /// another kind of segment goes first.
    #[inline]
    #[must_use]
    pub fn sendable(&self) -> u32 {
        if self.owed.intersects(Owed::URGENT) { 0 } else { self.data_to_send() }
    }

    /// The next segment of data, as [`poll_output`](Self::poll_output) would give it: for who asked
    /// for `sendable` just now and found that there is something.
    #[inline]
    pub fn poll_data(&mut self, sendable: u32, max_payload: u32, cx: &Context<'_>) -> Outgoing {
        debug_assert!(sendable > 0 && sendable == self.sendable(), "as was just said");
        let outgoing = self.emit_data(sendable, max_payload, cx);
        self.finish_output(cx);
        outgoing
    }

    /// Whether [`poll_output`](Self::poll_output) has a segment to give.
    #[inline]
    #[must_use]
    pub fn has_output(&self, _now: Instant) -> bool {
        self.data_to_send() > 0 || self.owes_more_than_data()
    }

    /// Whether [`poll_output`](Self::poll_output) has a segment to give that is not new data.
    #[inline]
    #[must_use]
    pub fn owes_more_than_data(&self) -> bool {
        self.owed.intersects(Owed(Owed::URGENT.0 | Owed::ACK.0)) || self.is_fin_to_send()
    }

    /// An ACK alone, if one is owed: for when the data that would carry it gets no buffer.
    #[cold]
    pub fn poll_ack(&mut self, cx: &Context<'_>) -> Option<Outgoing> {
        if !self.owes_ack() {
            return None;
        }
        let outgoing = self.emit_ack(cx);
        self.finish_output(cx);
        Some(outgoing)
    }

    /// All options of a segment that [`poll_output`](Self::poll_output) gave just now and that
    /// has more than timestamps.
    #[cold]
    #[must_use]
    pub fn options_of(&mut self, outgoing: &Outgoing, cx: &Context<'_>) -> TcpOptions {
        let flags = outgoing.header.flags;
        if !flags.contains(Flags::SYN) {
            let sack = self.receive.sack_blocks(self.options.sack_blocks_max());
            let tells = outgoing.payload_len == 0 && self.opening.tells_user_timeout();
            let user_timeout = cx.config.user_timeout_option().filter(|_| tells);
            if tells {
                self.opening.set_tells_user_timeout(false);
            }
            TcpOptions { sack, user_timeout, ..self.options.ordinary(cx.now) }
        } else if flags.contains(Flags::ACK) {
            self.options.answer(cx.config, cx.now)
        } else {
            self.options.offer(cx.config, cx.now)
        }
    }

    /// Whether an ACK is owed.
    #[inline]
    #[must_use]
    pub fn owes_ack(&self) -> bool {
        self.owed.contains(Owed::ACK)
    }

    /// Whether the next segment is one for which the transmit reserve is kept: anything but data
    /// that was never sent.
    #[inline]
    #[must_use]
    pub fn may_use_reserve(&self) -> bool {
        self.owed.intersects(Owed::URGENT)
            || self.send.next.before(self.send.max)
            || self.data_to_send() == 0
    }

    /// Bytes of the queue that window, congestion window and silly window avoidance allow now.
    #[inline]
    fn data_to_send(&self) -> u32 {
        let unsent = self.send.unsent();
        if unsent == 0 {
            return 0;
        }
        if !self.state.may_transmit() {
            return self.early_data_to_send();
        }
        // All of the queue fits into both windows, with what is under way of it.
        if self.send.queue.len() as u32 <= self.send.window.min(self.congestion.window) {
            return unsent;
        }
        let usable = self.send.usable_window().min(self.usable_congestion_window());
        let len = unsent.min(usable);
        if len == unsent || len >= self.options.mss.into() || self.is_small_allowed(len) {
            len
        } else {
            0
        }
    }

    /// Bytes that the congestion window still takes.
    #[inline]
    fn usable_congestion_window(&self) -> u32 {
        let mut window = self.congestion.window;
        if self.recovery.duplicates != 0 && !self.recovery.phase.is_repairing() {
            // Limited transmit (RFC 3042): the first two duplicates let one new segment out each.
            let extra = self.recovery.duplicates.min(limits::DUPLICATE_ACKS - 1);
            window += u32::from(extra) * u32::from(self.options.mss);
        }
        window.saturating_sub(self.pipe())
    }

    /// RFC 9293, 3.8.6.2.1 (3) and (4): half of the largest window, or the override timer. Never
    /// while it is the congestion window that is nearly used up: an ACK will open that.
    #[inline]
    fn is_small_allowed(&self, len: u32) -> bool {
        len > 0
            && len == self.send.usable_window()
            && (len >= self.send.window_max / 2 || self.owed.contains(Owed::SMALL))
    }

    /// Whether the FIN is next and the peer's window takes it.
    #[inline]
    fn is_fin_to_send(&self) -> bool {
        self.send.is_fin_next() && self.state.may_transmit() && self.send.usable_window() > 0
    }

    #[inline(always)]
    fn emit_data(&mut self, allowed: u32, max_payload: u32, cx: &Context<'_>) -> Outgoing {
        if self.send.in_flight() == 0 {
            self.restart_if_idle(cx);
        }
        if self.path_search.is_some()
            && let Some(probe) = self.emit_path_probe(allowed, cx)
        {
            return probe;
        }
        let mss = self.segment_size();
        let mut len = allowed.min(max_payload.max(mss));
        if len > mss && len < self.send.unsent() {
            // Only the last segment of the queue may be a small one.
            len -= len % mss;
        }
        self.emit_range(len, if len > mss { mss as u16 } else { 0 }, cx)
    }

    /// The next `len` bytes, to be cut into segments of `segment_size` unless that is 0.
    #[inline(always)]
    pub(crate) fn emit_range(&mut self, len: u32, segment_size: u16, cx: &Context<'_>) -> Outgoing {
        let seq = self.send.next;
        let is_again = seq.before(self.send.max);
        self.send.next += len;
        let is_last = self.send.next == self.send.end();
        let mut flags = Flags::ACK;
        if is_last {
            flags |= Flags::PSH;
            if self.is_fin_to_send() {
                flags |= Flags::FIN;
                self.send.next += 1;
            }
        }
        if is_again {
            self.rtt.on_retransmitted();
            cx.counters.retransmitted_bytes.add(len.into());
        } else {
            self.rtt.on_sent(self.send.next, cx.now);
            if self.options.ecn.contains(Ecn::REDUCED) {
                self.options.ecn.clear(Ecn::REDUCED);
                flags |= Flags::CWR;
            }
        }
        self.note_sent(seq, self.send.next, cx);
        self.send.max = self.send.max.max(self.send.next);
        self.owed = self.owed.without(Owed::SMALL);
        Outgoing {
            header: self.header(seq, flags, cx),
            has_more_options: self.has_sack_blocks(),
            payload_offset: seq.since(self.send.start()) as usize,
            payload_len: len as usize,
            segment_size,
            // RFC 3168, 6.1.5: never what is sent again.
            is_ect: self.options.ecn.contains(Ecn::AGREED) && !is_again,
            reserved: is_again,
        }
    }

    /// Whether a segment that leaves now tells of bytes ahead of a hole, or of duplicates.
    #[inline]
    fn has_sack_blocks(&self) -> bool {
        self.receive.reassembly.is_some() && self.options.has_sack()
    }

    /// Data bytes of the largest segment that leaves now: SACK blocks take their room from it.
    #[inline]
    fn segment_size(&self) -> u32 {
        let mss = u32::from(self.options.mss);
        match self.receive.reassembly.get() {
            None => mss,
            Some(reassembly) => mss - u32::from(self.options.sack_len(reassembly.block_count())),
        }
    }

    /// RFC 5681, 4.1.
    #[inline]
    fn restart_if_idle(&mut self, cx: &Context<'_>) {
        let idle_ns = nanos_of(Stamp::of(cx.now).since(self.timers.sent_at));
        if idle_ns > self.rtt.timeout_ns(cx.config) && self.retries == 0 {
            self.congestion.on_idle(self.options.mss.into());
        }
    }

    #[cold]
    fn emit_fin(&mut self, cx: &Context<'_>) -> Outgoing {
        let seq = self.send.next;
        let is_again = seq.before(self.send.max);
        self.send.next += 1;
        if is_again {
            self.rtt.on_retransmitted();
        } else {
            self.rtt.on_sent(self.send.next, cx.now);
        }
        self.note_sent(seq, self.send.next, cx);
        self.send.max = self.send.max.max(self.send.next);
        self.control(seq, Flags::FIN | Flags::ACK, cx)
    }

    #[inline]
    fn emit_ack(&mut self, cx: &Context<'_>) -> Outgoing {
        // SND.NXT of the RFC: after a time-out ours is behind it.
        self.control(self.send.max, Flags::ACK, cx)
    }

    #[cold]
    fn poll_urgent(&mut self, cx: &Context<'_>) -> Option<Outgoing> {
        let outgoing = if self.owed.contains(Owed::RESET) {
            self.owed = self.owed.without(Owed::ANY);
            cx.counters.resets_sent.increment();
            let mut outgoing = self.control(self.send.max, Flags::RST | Flags::ACK, cx);
            outgoing.header.window = 0;
            outgoing
        } else if self.owed.contains(Owed::STRAY_RESET) {
            self.owed = self.owed.without(Owed::STRAY_RESET);
            cx.counters.resets_sent.increment();
            self.stray_reset()
        } else if self.owed.contains(Owed::SYN) {
            self.owed = self.owed.without(Owed::SYN);
            self.emit_syn(cx)
        } else if self.owed.contains(Owed::RETRANSMISSION) {
            self.owed = self.owed.without(Owed::RETRANSMISSION);
            let found =
                if self.flight.is_some() { self.emit_lost(cx) } else { self.emit_first_again(cx) };
            match found {
                Some(outgoing) => outgoing,
                // It was acknowledged in the meantime.
                None => return self.poll_output(0, cx),
            }
        } else if self.owed.contains(Owed::TAIL) {
            self.owed = self.owed.without(Owed::TAIL);
            self.emit_tail_probe(cx)
        } else {
            self.owed = self.owed.without(Owed::PROBE);
            cx.counters.window_probes.increment();
            // One number in front of the window and no data: unacceptable, so it must be answered
            // (RFC 9293, 3.10.7.4, first), and there is nothing to take back. RFC 9293, 3.8.6.1
            // would send an octet.
            self.control(self.send.unacknowledged - 1, Flags::ACK, cx)
        };
        self.finish_output(cx);
        Some(outgoing)
    }

    fn emit_syn(&mut self, cx: &Context<'_>) -> Outgoing {
        let iss = self.send.unacknowledged;
        if self.send.max == iss {
            self.send.max = iss + 1;
            self.rtt.on_sent(self.send.max, cx.now);
        } else {
            cx.counters.syn_retransmits.increment();
            self.rtt.on_retransmitted();
            self.begin_plainly();
        }
        self.send.next = iss + 1;
        // RFC 7323, 2.2: not scaled.
        let (flags, ack, window) = if self.state == State::SynReceived {
            (Flags::SYN | Flags::ACK, self.receive.next, self.receive.window())
        } else {
            (Flags::SYN, SeqNumber::ZERO, self.receive.initial_window())
        };
        let window = window.min(u16::MAX.into()) as u16;
        let flags = flags | self.ecn_of_syn(flags, cx);
        self.owed = self.owed.without(Owed::ACK);
        let header = PlainHeader { seq: iss, ack, flags, window, timestamps: None };
        Outgoing { has_more_options: true, ..Outgoing::control(header) }
    }

    /// RFC 9293, 3.10.7.3 and 3.10.7.4, SYN-RECEIVED: `<SEQ=SEG.ACK><CTL=RST>`.
    fn stray_reset(&self) -> Outgoing {
        Outgoing::control(PlainHeader {
            seq: self.recovery.recover,
            ack: SeqNumber::ZERO,
            flags: Flags::RST,
            window: 0,
            timestamps: None,
        })
    }

    /// The first unacknowledged segment once more (RFC 5681, 3.2, step 3).
    fn emit_first_again(&mut self, cx: &Context<'_>) -> Option<Outgoing> {
        let sent = self.send.in_flight();
        if sent == 0 || !self.state.may_transmit() {
            return None;
        }
        let seq = self.send.unacknowledged;
        Some(self.emit_again(seq, seq + sent, cx).0)
    }

    /// The first of what the scoreboard believes lost (RFC 6675, 4, NextSeg, rule 1).
    fn emit_lost(&mut self, cx: &Context<'_>) -> Option<Outgoing> {
        let (seq, end) = self.next_lost()?;
        let (outgoing, len) = self.emit_again(seq, end, cx);
        self.note_sent_again(seq, len, cx.now);
        Some(outgoing)
    }

    /// RFC 8985, 7.3: one new segment beyond the congestion window, or else the last one again.
    fn emit_tail_probe(&mut self, cx: &Context<'_>) -> Outgoing {
        let mss = self.segment_size();
        let unsent = self.send.unsent().min(self.send.usable_window()).min(mss);
        if unsent > 0 {
            let outgoing = self.emit_data(unsent, 0, cx);
            self.note_probe(self.send.max, false, cx);
            return outgoing;
        }
        let end = self.send.max;
        let has_fin = end.after(self.send.end());
        let len = (mss + u32::from(has_fin)).min(self.send.in_flight());
        let (outgoing, len) = self.emit_again(end - len, end, cx);
        self.note_probe(end, true, cx);
        self.note_sent_again(end - len, len, cx.now);
        outgoing
    }

    /// One segment from `seq` on, at most to `end`, that was sent before; and the numbers it takes.
    fn emit_again(&mut self, seq: SeqNumber, end: SeqNumber, cx: &Context<'_>) -> (Outgoing, u32) {
        let data_end = self.send.end();
        let len = data_end.min(end).since(seq).min(self.segment_size());
        let mut taken = len;
        let mut flags = Flags::ACK;
        if seq + len == data_end {
            flags |= Flags::PSH;
            if end.after(data_end) {
                flags |= Flags::FIN;
                taken += 1;
            }
        }
        if len == 0 {
            flags = flags.without(Flags::PSH);
        }
        self.rtt.on_retransmitted();
        cx.counters.retransmitted_bytes.add(len.into());
        let mut outgoing = self.control(seq, flags, cx);
        outgoing.payload_offset = seq.since(self.send.start()) as usize;
        outgoing.payload_len = len as usize;
        (outgoing, taken)
    }

    /// A segment without data.
    #[inline]
    fn control(&mut self, seq: SeqNumber, flags: Flags, cx: &Context<'_>) -> Outgoing {
        let has_more_options = self.has_sack_blocks() || self.opening.tells_user_timeout();
        Outgoing { has_more_options, ..Outgoing::control(self.header(seq, flags, cx)) }
    }

    /// The header of any segment with an ACK. That ACK is then no longer owed.
    #[inline]
    fn header(&mut self, seq: SeqNumber, mut flags: Flags, cx: &Context<'_>) -> PlainHeader {
        if self.options.ecn.contains(Ecn::ECHO) {
            flags |= Flags::ECE;
        }
        self.owed = self.owed.without(Owed::ACK);
        self.timers.cancel(Timer::DelayedAck);
        let shift = self.options.receive_shift;
        let edge = self.receive.edge;
        let window = self.receive.announce(shift, cx.pressure);
        if edge != self.receive.edge {
            self.tune_window(cx);
        }
        let timestamps = self.options.has_timestamps().then(|| self.options.stamp(cx.now));
        PlainHeader { seq, ack: self.receive.next, flags, window, timestamps }
    }

    #[inline]
    fn finish_output(&mut self, cx: &Context<'_>) {
        if self.congestion.is_paced() {
            self.settle_pacing(cx);
        }
        self.settle_send_timers_here(cx);
        if cfg!(debug_assertions) {
            self.invariants();
            self.receive.invariants(cx.config);
        }
    }

    /// Keeps the two sending timers true: one runs while something is under way, the other while
    /// something waits for the peer's window, neither otherwise.
    pub(crate) fn settle_send_timers(&mut self, cx: &Context<'_>) {
        self.settle_send_timers_here(cx);
    }

    /// As above, for the straight lines that nearly all segments take.
    #[inline(always)]
    pub(crate) fn settle_send_timers_here(&mut self, cx: &Context<'_>) {
        let in_flight = self.send.in_flight();
        if in_flight > 0 {
            if !self.timers.is_armed(Timer::Retransmit) {
                self.restart_retransmit_timer(cx.config, cx.now);
            } else if in_flight > self.options.mss.into() {
                self.hasten_tail_probe(cx.now);
            }
            return;
        }
        self.timers.cancel(Timer::Retransmit);
        let waits = self.send.unsent() > 0 || self.send.is_fin_next();
        if waits || self.timers.is_armed(Timer::Persist) {
            self.settle_persist_timer(cx);
        }
    }

    /// Nothing is under way.
    #[cold]
    fn settle_persist_timer(&mut self, cx: &Context<'_>) {
        if self.is_blocked_by_window() {
            if !self.timers.is_armed(Timer::Persist) {
                let wait_ns =
                    self.rtt.timeout_ns(cx.config).max(u64::from(cx.config.rto_min_us) * 1_000);
                self.timers.arm(Timer::Persist, cx.now.plus_nanos(wait_ns));
            }
        } else if self.timers.is_armed(Timer::Persist) {
            // The window opened, so the path is not to blame for how long probing took.
            self.timers.cancel(Timer::Persist);
            self.rtt.backoff = 0;
        }
    }

    /// Nothing is under way, something waits, and the window does not let it out.
    #[inline]
    pub(crate) fn is_blocked_by_window(&self) -> bool {
        (self.send.unsent() > 0 || self.send.is_fin_next())
            && self.state.may_transmit()
            && self.data_to_send() == 0
            && !self.is_fin_to_send()
    }

    /// RFC 9293, 3.8.6.1: asks a closed window. Never gives up while the peer answers.
    #[cold]
    pub(crate) fn handle_persist_timer(&mut self, cx: &Context<'_>) {
        if self.is_given_up(cx) {
            return self.become_timed_out(cx);
        }
        self.limit_orphan(cx);
        self.retries += 1;
        self.rtt.back_off();
        self.owed |= if self.send.usable_window() > 0 { Owed::SMALL } else { Owed::PROBE };
    }

    /// RFC 6298, 5.4: what was sent first is sent again.
    #[cold]
    pub(crate) fn handle_retransmit_timer(&mut self, cx: &Context<'_>) {
        let is_syn = self.send.is_syn_pending;
        let is_over =
            if is_syn { self.retries >= cx.config.syn_retries } else { self.is_given_up(cx) };
        if is_over {
            return self.become_timed_out(cx);
        }
        if is_syn {
            self.retries += 1;
            self.rtt.back_off();
            self.owed |= Owed::SYN;
            self.restart_retransmit_timer(cx.config, cx.now);
        } else {
            self.handle_retransmission_timeout(cx);
        }
    }

    fn become_timed_out(&mut self, cx: &Context<'_>) {
        cx.counters.timed_out.increment();
        self.become_closed(crate::state::CloseReason::TimedOut);
    }
}

impl Outgoing {
    #[inline]
    fn control(header: PlainHeader) -> Self {
        Self {
            header,
            has_more_options: false,
            payload_offset: 0,
            payload_len: 0,
            segment_size: 0,
            is_ect: false,
            reserved: true,
        }
    }
}

/// For TIME-WAIT: an ACK that repeats where both sides stand.
pub(crate) fn plain_ack(
    seq: SeqNumber,
    ack: SeqNumber,
    window: u16,
    options: TcpOptions,
) -> TcpHeader {
    TcpHeader { seq, ack, flags: Flags::ACK, window, options, ..TcpHeader::default() }
}
