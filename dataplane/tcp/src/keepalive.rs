//! Peers that are silent: keepalive, and closed windows that nobody waits for.

use crate::config::nanos;
use crate::connection::Connection;
use crate::context::Context;
use crate::output::Owed;
use crate::state::{CloseReason, State};

impl Connection {
    /// The connection is open: from now on the peer may not be silent for long.
    pub(crate) fn begin_keepalive(&mut self, cx: &Context<'_>) {
        if let Some(keepalive) = cx.config.keepalive {
            self.arm_linger(nanos(keepalive.idle), cx.now);
        }
    }

    /// RFC 9293, 3.8.4: asks a peer of which nothing was heard, and gives up when it does not answer.
    /// While something of ours is under way its own timer does that.
    pub(crate) fn handle_keepalive_timer(&mut self, cx: &Context<'_>) {
        let Some(keepalive) = cx.config.keepalive else { return };
        let is_asking = self.send.in_flight() == 0 && self.send.unsent() == 0;
        if self.timers.is_heard || !is_asking {
            if self.timers.is_heard && is_asking {
                self.retries = 0;
            }
            self.timers.is_heard = false;
            self.arm_linger(nanos(keepalive.idle), cx.now);
            return;
        }
        if self.retries >= keepalive.probes {
            return self.give_up(cx);
        }
        self.retries += 1;
        cx.counters.keepalives.increment();
        self.owed |= Owed::PROBE;
        self.arm_linger(nanos(keepalive.interval), cx.now);
    }

    /// Nobody reads and nobody writes any more, and the peer's window lets neither the rest of the
    /// data nor the FIN out: such connections end, lest a peer hold as many as it likes.
    pub(crate) fn limit_orphan(&mut self, cx: &Context<'_>) {
        if self.is_orphan() && !self.timers.is_armed(crate::timer::Timer::Linger) {
            self.arm_linger(nanos(cx.config.fin_wait_2), cx.now);
        }
    }

    fn is_orphan(&self) -> bool {
        let is_closing = matches!(self.state, State::FinWait1 | State::Closing | State::LastAck);
        is_closing && self.is_read_closed
    }

    /// The time of an orphan is over.
    pub(crate) fn handle_orphan_timer(&mut self, cx: &Context<'_>) {
        if self.is_orphan() && self.is_blocked_by_window() {
            self.give_up(cx);
        }
    }

    /// Ends the connection with a RST, since the peer may still think that there is one.
    fn give_up(&mut self, cx: &Context<'_>) {
        cx.counters.timed_out.increment();
        self.become_closed(CloseReason::TimedOut);
        self.owed |= Owed::RESET;
    }
}
