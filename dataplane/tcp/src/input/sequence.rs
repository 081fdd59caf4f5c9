//! RFC 9293, 3.10.7.4, first: check the sequence number. Timestamps are looked at before.

use sluice_wire::{Flags, TcpHeader, Timestamps};

use super::{Done, Step};
use crate::connection::Connection;
use crate::context::Context;
use crate::limits;
use crate::output::Owed;
use crate::state::State;

/// Of the units in which a connection keeps when it challenged last.
const CHALLENGE_SHIFT: u32 = 26;

impl Connection {
    /// RFC 7323, 5.3, R1: a segment from before the last one is acknowledged and dropped, unless it
    /// was only overtaken. A RST is never judged by its timestamp (RFC 7323, 5.2).
    pub(super) fn check_timestamps(
        &mut self,
        header: &TcpHeader,
        segment_len: u32,
        cx: &Context<'_>,
    ) -> Step {
        if !self.options.has_timestamps() || header.flags.contains(Flags::RST) {
            return Ok(());
        }
        let Some(stamp) = header.options.timestamps else {
            // RFC 7323, 3.2. A SYN goes on to be challenged.
            if header.flags.contains(Flags::SYN) {
                return Ok(());
            }
            cx.counters.missing_timestamp.increment();
            return Err(Done);
        };
        if self.options.compare(stamp, cx.now).is_err() && !self.take_overtaken(stamp, cx) {
            cx.counters.old_timestamp.increment();
            self.answer_unacceptable(segment_len > 0, cx);
            return Err(Done);
        }
        Ok(())
    }

    /// RFC 7323, 5.3, R3: renews TS.Recent. The RFC does that before it looks at the ACK, which would
    /// let a blind segment with the right number and any ACK make all that follows look old; so here
    /// it comes after RFC 5961, 5.2.
    pub(super) fn renew_timestamp(&mut self, header: &TcpHeader, cx: &Context<'_>) {
        if let (true, Some(stamp)) = (self.options.has_timestamps(), header.options.timestamps) {
            self.options.renew(stamp, header.seq, self.receive.acknowledged, cx.now);
        }
    }

    /// Whether a segment with an old timestamp is good all the same. RFC 7323, 5.3 drops them all,
    /// which on a path that reorders costs a round trip for each: a retransmission renews TS.Recent,
    /// and originals that were sent before it come after it. They can be told from those of another
    /// turn of the sequence numbers while less than half a turn was received since `floor`.
    #[cold]
    pub(super) fn take_overtaken(&mut self, stamp: Timestamps, cx: &Context<'_>) -> bool {
        let received = self.receive.next.since(self.tuned_from);
        let is_good = received < limits::OVERTAKEN_BYTES_MAX && self.options.is_overtaken(stamp);
        if is_good {
            cx.counters.overtaken.increment();
        }
        is_good
    }

    /// RFC 9293, 3.10.7.4, first: a segment outside the window is acknowledged and dropped.
    pub(super) fn check_sequence(
        &mut self,
        header: &TcpHeader,
        segment_len: u32,
        cx: &Context<'_>,
    ) -> Step {
        if self.is_in_window(header, segment_len) {
            return Ok(());
        }
        if header.flags.contains(Flags::RST) {
            // RFC 5961, 3.2: silently.
            cx.counters.reset_ignored.increment();
            return Err(Done);
        }
        cx.counters.outside_window.increment();
        let is_again = header.seq + 1 == self.receive.next;
        if self.is_syn_again(header) {
            self.owed |= Owed::SYN;
            return Err(Done);
        }
        let payload_len = segment_len - u32::from(header.flags.contains(Flags::FIN));
        if header.seq.before(self.receive.next)
            && payload_len > 0
            && !header.flags.contains(Flags::SYN)
            && self.state.may_receive()
        {
            cx.counters.duplicate_data.increment();
            self.note_duplicate(header.seq, payload_len, cx);
        }
        let is_last_fin =
            header.flags.contains(Flags::FIN) && header.seq + segment_len == self.receive.next;
        if self.state == State::TimeWait && is_last_fin {
            // RFC 9293, 3.10.7.4, eighth, TIME-WAIT: the peer missed our last ACK.
            self.arm_linger(crate::config::nanos(cx.config.time_wait), cx.now);
        }
        self.answer_unacceptable(segment_len > 0 || is_again, cx);
        Err(Done)
    }

    /// Whether the peer sends its SYN again, with whatever else: it did not get our SYN+ACK, and an
    /// ACK alone would tell it nothing.
    pub(super) fn is_syn_again(&self, header: &TcpHeader) -> bool {
        // With Fast Open RCV.NXT is behind the data that came with it, a segment's at most.
        let taken_max = if self.opening.is_fast() { u32::from(u16::MAX) } else { 0 };
        self.state == State::SynReceived
            && self.receive.next.since(header.seq + 1) <= taken_max
            && header.flags.contains(Flags::SYN)
            && !header.flags.intersects(Flags::ACK | Flags::FIN)
    }

    /// Owes an ACK to whoever waits for one: data, a FIN, or a probe was sent. Two ends that
    /// disagree would answer each other's bare ACKs for ever, so these are challenged at most.
    fn answer_unacceptable(&mut self, is_waiting: bool, cx: &Context<'_>) {
        if is_waiting {
            self.owed |= Owed::ACK;
        } else {
            self.challenge_ack(cx);
        }
    }

    /// The table of RFC 9293, 3.10.7.4. A segment of no length is also good at the very edge: it is
    /// what a peer sends whose data filled the window and was lost.
    fn is_in_window(&self, header: &TcpHeader, segment_len: u32) -> bool {
        let (start, window) = (self.receive.next, self.receive.window());
        match (segment_len, window) {
            (0, _) => header.seq.since(start) <= window,
            // RFC 9293, 3.10.7.4: its ACK is taken all the same, its text is cut off later.
            (_, 0) => header.seq == start,
            (len, _) => {
                let last = header.seq + (len - 1);
                header.seq.in_window(start, window) || last.in_window(start, window)
            }
        }
    }

    /// RFC 5961: an ACK that makes an honest peer prove itself. Rate limited per stack.
    pub(super) fn challenge(&mut self, cx: &Context<'_>) {
        if cx.challenges.take(cx.now) {
            cx.counters.challenge_acks.increment();
            self.owed |= Owed::ACK;
        } else {
            cx.counters.challenge_acks_limited.increment();
        }
    }

    /// The same for what is no RST or SYN, rarely: two ends that somebody made disagree would challenge
    /// each other's challenges for ever, as fast as the path is.
    pub(super) fn challenge_ack(&mut self, cx: &Context<'_>) {
        let at = (cx.now.as_nanos() >> CHALLENGE_SHIFT) as u16;
        let last = self.send.challenged_at;
        if last != 0 && at.wrapping_sub(last) < limits::CHALLENGE_ACK_EVERY {
            return cx.counters.challenge_acks_limited.increment();
        }
        self.send.challenged_at = at.max(1);
        self.challenge(cx);
    }
}
