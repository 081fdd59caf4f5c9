//! RFC 9293, 3.10.7.4, eighth: check the FIN bit.

use sluice_wire::{Flags, TcpHeader};

use crate::connection::Connection;
use crate::context::Context;
use crate::output::Owed;
use crate::signals::Signals;
use crate::state::State;

impl Connection {
    /// RFC 9293, 3.10.7.4, eighth. Everything in front of this segment's end has arrived.
    pub(super) fn handle_fin(
        &mut self,
        header: &TcpHeader,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) {
        let is_early =
            self.receive.early_fin().is_some_and(|fin| self.receive.next.at_or_after(fin));
        if !header.flags.contains(Flags::FIN) && !is_early {
            return;
        }
        self.owed |= Owed::ACK;
        match self.state {
            State::SynReceived | State::Established => {
                self.take_fin(signals);
                self.state = State::CloseWait;
            }
            // Our FIN is not acknowledged, or the fifth step would have moved on.
            State::FinWait1 => {
                self.take_fin(signals);
                self.state = State::Closing;
            }
            State::FinWait2 => {
                self.take_fin(signals);
                self.become_time_wait(cx);
            }
            // The same FIN again lies in front of the window (the first step); this is another.
            State::CloseWait | State::Closing | State::LastAck | State::TimeWait => {}
            State::SynSent | State::Closed => {}
        }
    }

    /// Advances RCV.NXT over the FIN.
    fn take_fin(&mut self, signals: &mut Signals) {
        self.receive.next += 1;
        // A FIN needs no memory: it may lie on the edge of the window.
        self.receive.edge = self.receive.edge.max(self.receive.next);
        self.receive.drop_reassembly();
        *signals |= Signals::PEER_CLOSED;
    }
}
