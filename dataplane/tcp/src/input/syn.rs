//! RFC 9293, 3.10.7.4, fourth: check the SYN bit.

use sluice_wire::{Flags, TcpHeader};

use super::{Done, Step};
use crate::connection::Connection;
use crate::context::Context;
use crate::output::Owed;

impl Connection {
    /// RFC 9293, 3.10.7.4, fourth; RFC 5961, 4.2: whatever its number, a SYN on a connection that
    /// has one is challenged. A peer that restarted answers the challenge with a RST.
    pub(super) fn check_syn(&mut self, header: &TcpHeader, cx: &Context<'_>) -> Step {
        if !header.flags.contains(Flags::SYN) {
            return Ok(());
        }
        if self.is_syn_again(header) {
            // Data made it reach into the window.
            self.owed |= Owed::SYN;
            return Err(Done);
        }
        cx.counters.unexpected_syn.increment();
        self.challenge(cx);
        Err(Done)
    }
}
