//! RFC 9293, 3.10.7.3: a segment arrives in SYN-SENT.

use sluice_buf::Chain;
use sluice_wire::{Flags, TcpHeader};

use super::{Done, Step};
use crate::connection::Connection;
use crate::context::Context;
use crate::output::Owed;
use crate::signals::Signals;
use crate::state::{CloseReason, State};
use crate::timer::Timer;

/// When the SYN is sent again after an answer that shows an earlier connection: the millisecond clock
/// of timestamps has moved by then.
const SYN_AGAIN_NS: u64 = 2_000_000;

impl Connection {
    pub(super) fn handle_in_syn_sent(
        &mut self,
        header: &TcpHeader,
        payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) {
        // An `Err` only says that the steps behind it are not taken.
        let _ = self.handle_steps_of_syn_sent(header, payload, signals, cx);
        self.settle_send_timers(cx);
    }

    fn handle_steps_of_syn_sent(
        &mut self,
        header: &TcpHeader,
        payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) -> Step {
        self.check_ack_in_syn_sent(header, cx)?;
        self.check_reset_in_syn_sent(header, cx)?;
        if !header.flags.contains(Flags::SYN) {
            // Fifth: neither SYN nor RST.
            cx.counters.outside_window.increment();
            return Err(Done);
        }
        self.take_syn_in_syn_sent(header, payload, signals, cx)
    }

    /// RFC 9293, 3.10.7.3, first: an ACK must be of our SYN.
    fn check_ack_in_syn_sent(&mut self, header: &TcpHeader, cx: &Context<'_>) -> Step {
        if !header.flags.contains(Flags::ACK) {
            return Ok(());
        }
        let is_acceptable =
            header.ack == self.send.unacknowledged + 1 && header.ack == self.send.max;
        if is_acceptable {
            return Ok(());
        }
        cx.counters.unacceptable_ack.increment();
        if !header.flags.contains(Flags::RST) {
            self.reject_ack(header.ack);
            if self.retries == 0 {
                // What is left of an earlier connection is reset now, or opens to a later timestamp:
                // nobody has to wait a second for that.
                self.timers.hasten(Timer::Retransmit, cx.now.plus_nanos(SYN_AGAIN_NS));
            }
        }
        Err(Done)
    }

    /// RFC 9293, 3.10.7.3, second: a RST counts only with the ACK that the first step has seen.
    fn check_reset_in_syn_sent(&mut self, header: &TcpHeader, cx: &Context<'_>) -> Step {
        if !header.flags.contains(Flags::RST) {
            return Ok(());
        }
        if header.flags.contains(Flags::ACK) {
            cx.counters.resets_received.increment();
            self.become_closed(CloseReason::Refused);
        } else {
            cx.counters.reset_ignored.increment();
        }
        Err(Done)
    }

    /// RFC 9293, 3.10.7.3, fourth: the peer's SYN, with an ACK of ours or without.
    fn take_syn_in_syn_sent(
        &mut self,
        header: &TcpHeader,
        payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) -> Step {
        self.take_syn(header, cx);
        if !header.flags.contains(Flags::ACK) {
            // Simultaneous open: our SYN goes out again, now with an ACK.
            self.state = State::SynReceived;
            self.owed |= Owed::SYN;
            return Err(Done);
        }
        self.acknowledge_syn(header.ack, cx);
        *signals |= self.become_established(cx);
        self.owed |= Owed::ACK;
        // Data and FIN behind the SYN are processed at the sixth step of 3.10.7.4.
        let behind_syn =
            TcpHeader { seq: header.seq + 1, flags: header.flags.without(Flags::SYN), ..*header };
        self.handle_text(&behind_syn, payload, signals, cx)?;
        self.handle_fin(&behind_syn, signals, cx);
        Ok(())
    }
}
