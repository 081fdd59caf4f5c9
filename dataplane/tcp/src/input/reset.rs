//! RFC 9293, 3.10.7.4, second: check the RST bit.

use sluice_wire::{Flags, TcpHeader};

use super::{Done, Step};
use crate::connection::Connection;
use crate::context::Context;
use crate::state::{CloseReason, State};

impl Connection {
    /// RFC 9293, 3.10.7.4, second; RFC 5961, 3.2: only the exact number resets, any other in the
    /// window is challenged.
    pub(super) fn check_reset(&mut self, header: &TcpHeader, cx: &Context<'_>) -> Step {
        if !header.flags.contains(Flags::RST) {
            return Ok(());
        }
        if self.state == State::TimeWait {
            // RFC 1337, 3, F1: a RST must not cut TIME-WAIT short.
            cx.counters.reset_ignored.increment();
            return Err(Done);
        }
        if header.seq != self.receive.next {
            cx.counters.reset_not_exact.increment();
            self.challenge(cx);
            return Err(Done);
        }
        cx.counters.resets_received.increment();
        let reason = match self.state {
            // A simultaneous open that the peer refuses (RFC 9293, 3.10.7.4, second).
            State::SynReceived if !self.opening.is_passive() => CloseReason::Refused,
            // Everything of ours arrived, everything of the peer's too, but for the ACK of a FIN.
            State::Closing | State::LastAck if self.send.queue.is_empty() => CloseReason::Normal,
            _ => CloseReason::Reset,
        };
        self.become_closed(reason);
        Err(Done)
    }
}
