//! Writing, closing, aborting (RFC 9293, 3.10.2, 3.10.4 and 3.10.5).

use sluice_buf::{Chain, Pressure};

use crate::config::Config;
use crate::connection::Connection;
use crate::context::Context;
use crate::output::Owed;
use crate::send::Fin;
use crate::signals::Signals;
use crate::state::{CloseReason, State};
use crate::timer::Timer;

impl Connection {
    /// RFC 9293, 3.10.2, SEND: takes all of `bytes`. After `close` or an end they are dropped.
    ///
    /// In SYN-SENT and SYN-RECEIVED they wait for the connection.
    #[inline]
    pub fn write(&mut self, bytes: &mut Chain, cx: &Context<'_>) -> Signals {
        self.write_for_room(bytes, cx).0
    }

    /// As [`write`](Self::write); also gives what [`send_room`](Self::send_room) is then.
    #[inline]
    pub fn write_for_room(&mut self, bytes: &mut Chain, cx: &Context<'_>) -> (Signals, usize) {
        match self.append(bytes, cx.config, cx.pressure) {
            Some(room) => (Signals::OUTPUT, room),
            None => self.settle_written(cx),
        }
    }

    /// As [`write_for_room`](Self::write_for_room), for who has no context in hand: mostly all that
    /// follows is that a segment is owed ([`OUTPUT`](Signals::OUTPUT)), and this gives the room. None:
    /// `settle_written` must be called.
    #[inline]
    #[must_use]
    pub fn append(
        &mut self,
        bytes: &mut Chain,
        config: &Config,
        pressure: Pressure,
    ) -> Option<usize> {
        if !self.may_append() {
            drop(std::mem::take(bytes));
            return None;
        }
        self.send.queue.append(bytes);
        if self.congestion.is_paced() {
            return None;
        }
        let room = self.room_for(config, pressure);
        self.is_write_blocked = room == 0;
        // Timed when it leaves; nothing else has changed.
        (self.sendable() > 0 && !self.timers.is_armed(Timer::Persist)).then_some(room)
    }

    /// Does what follows from bytes that were appended; says how much room is left.
    #[cold]
    pub fn settle_written(&mut self, cx: &Context<'_>) -> (Signals, usize) {
        if !self.may_append() {
            return (Signals::NONE, self.send_room(cx));
        }
        if self.congestion.is_paced() {
            self.settle_pacing(cx);
        }
        let room = self.send_room(cx);
        self.is_write_blocked = room == 0;
        if self.sendable() > 0 && !self.timers.is_armed(Timer::Persist) {
            return (Signals::OUTPUT, room);
        }
        self.settle_send_timers(cx);
        (self.finish(Signals::NONE, cx), room)
    }

    #[inline]
    fn may_append(&self) -> bool {
        self.state.may_write() && self.send.fin == Fin::None
    }

    /// RFC 9293, 3.10.4, CLOSE: our FIN follows what is queued. Reading goes on.
    pub fn close(&mut self, cx: &Context<'_>) -> Signals {
        // What it waited for, keepalive, is another state's.
        if matches!(self.state, State::Established | State::CloseWait) {
            self.timers.cancel(Timer::Linger);
        }
        match self.state {
            // Nobody knows of it yet: nothing to tell.
            State::SynSent => self.become_closed(CloseReason::Aborted),
            // Queued until the SYN is acknowledged.
            State::SynReceived => self.send.fin = Fin::Queued,
            State::Established => {
                self.send.fin = Fin::Queued;
                self.state = State::FinWait1;
            }
            State::CloseWait => {
                self.send.fin = Fin::Queued;
                self.state = State::LastAck;
            }
            State::FinWait1
            | State::FinWait2
            | State::Closing
            | State::LastAck
            | State::TimeWait
            | State::Closed => {}
        }
        self.settle_send_timers(cx);
        self.finish(Signals::NONE, cx)
    }

    /// RFC 9293, 3.10.5, ABORT: both queues are dropped; a RST is owed where the peer may still
    /// wait for something.
    pub fn abort(&mut self, cx: &Context<'_>) -> Signals {
        self.become_aborted();
        self.finish(Signals::NONE, cx)
    }

    pub(crate) fn become_aborted(&mut self) {
        let is_reset_owed = match self.state {
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait => true,
            State::SynSent | State::Closing | State::LastAck | State::TimeWait => false,
            State::Closed => return,
        };
        self.become_closed(CloseReason::Aborted);
        if is_reset_owed {
            self.owed |= Owed::RESET;
        }
    }

    /// Our FIN is acknowledged (RFC 9293, 3.10.7.4, fifth).
    pub(crate) fn handle_fin_acknowledged(&mut self, cx: &Context<'_>) {
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.is_read_closed {
                    self.arm_linger(crate::config::nanos(cx.config.fin_wait_2), cx.now);
                }
            }
            State::Closing => self.become_time_wait(cx),
            State::LastAck => self.become_closed(CloseReason::Normal),
            State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait2
            | State::CloseWait
            | State::TimeWait
            | State::Closed => {}
        }
    }

    /// Both FINs are acknowledged and ours was first: wait for old segments to die out.
    pub(crate) fn become_time_wait(&mut self, cx: &Context<'_>) {
        self.state = State::TimeWait;
        self.timers.cancel(Timer::Retransmit);
        self.timers.cancel(Timer::Persist);
        self.arm_linger(crate::config::nanos(cx.config.time_wait), cx.now);
    }
}
