//! Fast retransmit and fast recovery for peers without SACK, and connections that got no scoreboard,
//! (RFC 5681, 3.2; NewReno, RFC 6582), and
//! what both kinds of recovery have in common. With SACK: `selective.rs`.

use sluice_base::Instant;
use sluice_wire::SeqNumber;

use crate::config::Config;
use crate::congestion::Path;
use crate::connection::Connection;
use crate::context::Context;
use crate::flight::Reordering;
use crate::limits;
use crate::output::Owed;
use crate::timer::Timer;

/// What repairing a loss needs to remember.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// `recover` of RFC 6582, 3.2: the highest number sent when the last loss was found.
    pub(crate) recover: SeqNumber,
    /// Duplicate ACKs in a row.
    pub(crate) duplicates: u8,
    pub(crate) phase: Phase,
    /// With SACK: how far segments overtake each other.
    pub(crate) reordering: Reordering,
}

/// What is being done about losses. Without SACK a time-out is repaired in `Open`, by sending
/// everything again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing is missing.
    Open,
    /// A silent tail is being probed (RFC 8985, 7); only with SACK.
    TailProbe,
    /// Something arrived ahead of a hole that may be reordering; only with SACK.
    Disorder,
    /// Fast recovery.
    Recovery,
    /// The same, and a partial ACK was seen: the timer has had its one restart; only without SACK.
    RecoveryPartial,
    /// The timer expired and what it found lost is being sent again; only with SACK.
    Loss,
}

impl Phase {
    /// Whether the window was reduced for the losses being repaired.
    pub(crate) fn is_repairing(self) -> bool {
        matches!(self, Self::Recovery | Self::RecoveryPartial | Self::Loss)
    }
}

impl Recovery {
    pub(crate) fn new(iss: SeqNumber) -> Self {
        Self { recover: iss, duplicates: 0, phase: Phase::Open, reordering: Reordering::default() }
    }

    /// Keeps `recover` right behind SND.UNA once everything up to it is acknowledged. Left where the
    /// last loss was, it would lie in the future after 2 GB, and no loss would be repaired fast.
    #[inline]
    pub(crate) fn follow(&mut self, unacknowledged: SeqNumber) {
        if unacknowledged.after(self.recover) {
            self.recover = unacknowledged - 1;
        }
    }
}

impl Connection {
    /// RFC 5681, 2: an ACK that repeats SND.UNA, without data and without news about the window.
    #[cold]
    pub(crate) fn handle_duplicate_ack(&mut self, cx: &Context<'_>) {
        let mss = u32::from(self.options.mss);
        if self.recovery.phase.is_repairing() {
            // RFC 6582, 3.2, step 3: a segment left the network. No more of them can have left than
            // are under way, whatever a peer claims.
            let inflated = self.congestion.window.saturating_add(mss);
            let bound = self.congestion.slow_start_threshold.saturating_add(self.send.in_flight());
            self.congestion.window = inflated.min(bound.max(self.congestion.window));
            return;
        }
        self.recovery.duplicates = self.recovery.duplicates.saturating_add(1);
        // RFC 6582, 3.2, step 2: duplicates that a time-out's own repetitions cause are no loss.
        let is_new_loss = self.send.unacknowledged.after(self.recovery.recover);
        if self.recovery.duplicates != limits::DUPLICATE_ACKS || !is_new_loss {
            return;
        }
        cx.counters.fast_retransmits.increment();
        let path = self.path(cx.now);
        self.congestion.on_loss(self.send.in_flight(), path);
        self.congestion.window = self.congestion.slow_start_threshold + 3 * mss;
        self.recovery.recover = self.send.max - 1;
        self.recovery.phase = Phase::Recovery;
        self.owed |= Owed::RETRANSMISSION;
    }

    /// New data up to `ack` was acknowledged, `bytes` of it, during fast recovery.
    #[cold]
    pub(crate) fn handle_ack_in_recovery(&mut self, ack: SeqNumber, bytes: u32, cx: &Context<'_>) {
        let mss = u32::from(self.options.mss);
        if ack.after(self.recovery.recover) {
            // Full acknowledgement (RFC 6582, 3.2, step 3): deflate, and do not burst.
            let flight = self.send.in_flight().max(mss) + mss;
            self.congestion.window = self.congestion.slow_start_threshold.min(flight);
            self.recovery.phase = Phase::Open;
            // RFC 6298, 5.3: what was sent meanwhile is timed from here.
            self.restart_retransmit_timer(cx.config, cx.now);
            return;
        }
        // Partial acknowledgement: the next hole begins here.
        self.owed |= Owed::RETRANSMISSION;
        let deflated = self.congestion.window.saturating_sub(bytes);
        let added = if bytes >= mss { mss } else { 0 };
        self.congestion.window = deflated.saturating_add(added).max(mss);
        if self.recovery.phase == Phase::RecoveryPartial {
            // Only the first one restarts the timer, else many holes would take for ever.
            return;
        }
        self.recovery.phase = Phase::RecoveryPartial;
        self.restart_retransmit_timer(cx.config, cx.now);
    }

    /// RFC 6298, 5.4 to 5.7: the retransmission timer expired with data or a FIN under way.
    pub(crate) fn handle_retransmission_timeout(&mut self, cx: &Context<'_>) {
        self.suspect_path(cx);
        if self.options.has_sack() && self.has_flight(cx) {
            return self.handle_selective_timeout(cx);
        }
        cx.counters.timeouts.increment();
        let is_first = self.retries == 0;
        self.retries = self.retries.saturating_add(1);
        let path = self.path(cx.now);
        self.congestion.on_timeout(self.send.in_flight(), is_first, path);
        self.rtt.on_retransmitted();
        self.rtt.back_off();
        self.send_all_again();
    }

    /// Without a scoreboard, nothing that was sent is known to be there.
    pub(crate) fn send_all_again(&mut self) {
        self.recovery.phase = Phase::Open;
        self.recovery.duplicates = 0;
        self.recovery.recover = self.send.max - 1;
        self.owed = self.owed.without(Owed::RETRANSMISSION);
        self.send.rewind();
    }

    /// RFC 6298, 5.1 and 5.3. With SACK and more than a segment under way, a silent tail is probed
    /// before that (RFC 8985, 7.2).
    #[inline]
    pub(crate) fn restart_retransmit_timer(&mut self, config: &Config, now: Instant) {
        self.timers.arm(Timer::Retransmit, now.plus_nanos(self.rtt.timeout_ns(config)));
        if self.send.in_flight() > self.options.mss.into() {
            self.hasten_tail_probe(now);
        }
    }

    /// Arms the probe of the tail if that comes before the time-out; for more than one segment under
    /// way: the ACK of one alone may be delayed.
    #[inline(never)]
    pub(crate) fn hasten_tail_probe(&mut self, now: Instant) {
        // After a time-out nothing is probed; nor before the SYN is acknowledged, which has no answer
        // but an ACK; nor without a scoreboard that a probe would need.
        let is_waiting = self.timers.is_kind(Timer::Retransmit)
            && self.retries == 0
            && !self.send.is_syn_pending;
        if is_waiting && self.options.has_sack() && self.recovery.phase == Phase::Open {
            let at = now.plus_nanos(self.rtt.probe_ns());
            self.timers.hasten(Timer::Tail, at);
        }
    }

    pub(crate) fn path(&self, now: Instant) -> Path {
        Path { mss: self.options.mss.into(), rtt_us: self.rtt.smoothed_us().unwrap_or(0), now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without following, the comparison with `recover` turns around half-way through the numbers:
    /// from 2 to 4 GB behind the last loss, three duplicates would mean nothing.
    #[test]
    fn a_loss_is_new_however_long_ago_the_last_one_was() {
        let mut recovery = Recovery::new(SeqNumber(u32::MAX - 7));
        let mut unacknowledged = recovery.recover + 1;
        for _ in 0..200 {
            unacknowledged += 60_000_000;
            recovery.follow(unacknowledged);
            assert!(unacknowledged.after(recovery.recover));
        }
        // Not while what was lost is still missing.
        let recover = unacknowledged + 1_000;
        recovery.recover = recover;
        recovery.follow(unacknowledged + 1_000);
        assert_eq!(recovery.recover, recover);
    }
}
