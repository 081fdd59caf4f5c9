//! The segment that was expected (header prediction).
//!
//! ESTABLISHED, nothing but ACK and perhaps PSH, the next number, an ACK of something sent, no hole
//! open and no recovery under way. A request, a response, a bulk segment and its ACK are all of
//! that kind; each costs a few dozen instructions here.

use sluice_buf::Chain;
use sluice_wire::{Flags, PlainHeader};

use crate::connection::Connection;
use crate::context::Context;
use crate::output::Owed;
use crate::recovery::Phase;
use crate::signals::Signals;
use crate::state::State;

impl Connection {
    #[inline]
    pub(crate) fn is_predicted(&self, header: &PlainHeader, payload: &Chain) -> bool {
        let acked = header.ack.since(self.send.unacknowledged);
        self.state == State::Established
            && header.flags.without(Flags::PSH) == Flags::ACK
            && header.seq == self.receive.next
            && payload.len() as u32 <= self.receive.window()
            && acked <= self.send.max.since(self.send.unacknowledged)
            && (acked != 0 || !payload.is_empty())
            && header.timestamps.is_some() == self.options.has_timestamps()
            && self.receive.reassembly.is_none()
            && self.recovery.phase == Phase::Open
            && !self.is_read_closed
    }

    #[inline]
    pub(crate) fn handle_predicted(
        &mut self,
        header: &PlainHeader,
        payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) {
        cx.counters.predicted.increment();
        self.timers.is_heard = true;
        if let Some(stamp) = header.timestamps {
            let acknowledged = self.receive.acknowledged;
            let checked = self.options.check(stamp, header.seq, acknowledged, cx.now);
            if checked.is_err() && !self.take_overtaken(stamp, cx) {
                cx.counters.old_timestamp.increment();
                self.owed |= Owed::ACK;
                return;
            }
        }
        if header.ack != self.send.unacknowledged {
            self.acknowledge(header.ack, signals, cx);
        }
        // In order, so newer than what told the window before.
        let window = u32::from(header.window) << self.options.send_shift;
        self.send.take_window(header.seq, header.ack, window);
        if !payload.is_empty() {
            self.take_text(payload, signals, cx);
        }
        self.settle_send_timers_here(cx);
    }
}
