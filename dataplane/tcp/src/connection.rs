//! One connection: its parts, and the verbs that belong to no RFC step.

use sluice_base::Instant;
use sluice_buf::{Chain, Pressure};

use crate::config::{Config, nanos};
use crate::congestion::Congestion;
use crate::context::Context;
use crate::fast_open::Opening;
use crate::flight::Flight;
use crate::limits;
use crate::options::Negotiated;
use crate::output::Owed;
use crate::path_mtu::PathSearch;
use crate::recovery::Recovery;
use crate::recv::ReceiveQueue;
use crate::rtt::RttEstimator;
use crate::send::{Fin, SendQueue};
use crate::signals::Signals;
use crate::spares::Spare;
use crate::state::{CloseReason, State};
use crate::timer::{Timer, Timers};

use sluice_wire::SeqNumber;

/// Time-outs in a row that make the way to the peer doubtful.
const PATH_DOUBTED_AFTER: u8 = 2;

/// One TCP connection: plain data and chains. See the crate's tour.
///
/// The fields that a predicted segment touches come first.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    pub(crate) state: State,
    /// Segments owed for another reason than data.
    pub(crate) owed: Owed,
    /// Consecutive time-outs or probes without an answer.
    pub(crate) retries: u8,
    /// `send_room` was 0 when the application last wrote.
    pub(crate) is_write_blocked: bool,
    /// The application stopped reading: data that still arrives is answered with a RST.
    pub(crate) is_read_closed: bool,
    /// By whom and how it was opened.
    pub(crate) opening: Opening,
    /// CLOSED or TIME_WAIT was said.
    pub(crate) is_end_reported: bool,
    pub(crate) close_reason: Option<CloseReason>,
    pub(crate) receive: ReceiveQueue,
    pub(crate) send: SendQueue,
    pub(crate) options: Negotiated,
    pub(crate) recovery: Recovery,
    /// RCV.NXT when the receive window was last measured.
    pub(crate) tuned_from: SeqNumber,
    pub(crate) congestion: Congestion,
    pub(crate) timers: Timers,
    pub(crate) rtt: RttEstimator,
    /// The scoreboard: with SACK, and more than one burst under way or a loss.
    pub(crate) flight: Spare<Flight>,
    /// Segments are smaller than the SYNs allow, and larger ones are looked for.
    pub(crate) path_search: Option<Box<PathSearch>>,
}

const _: () = assert!(size_of::<Connection>() <= 256, "four cache lines, and idle under 400 bytes");

/// What a send queue may hold while receive memory is scarce.
#[cold]
fn limited_queue(least: u32, pressure: Pressure) -> u32 {
    if pressure >= Pressure::Scarce { least / limits::SCARCE_QUEUE_SHARE } else { least }
}

impl Connection {
    /// RFC 9293, 3.10.3, RECEIVE: takes up to `max` in-order bytes. They stay charged to the
    /// connection's receive memory until [`credit`](Self::credit)ed.
    #[inline]
    pub fn read(&mut self, max: usize) -> Chain {
        self.receive.read(max)
    }

    /// In-order bytes that wait to be read.
    #[inline]
    #[must_use]
    pub fn readable(&self) -> usize {
        self.receive.queue.len()
    }

    /// The application let go of `bytes` that it read: the window may open again.
    #[inline]
    pub fn credit(&mut self, bytes: usize, cx: &Context<'_>) -> Signals {
        if self.let_go(bytes, cx.pressure) { self.settle_credit(cx) } else { Signals::NONE }
    }

    /// As [`credit`](Self::credit), for who has no context in hand: mostly nothing follows from it. If
    /// something does, `settle_credit` must be called.
    #[inline]
    #[must_use]
    pub fn let_go(&mut self, bytes: usize, pressure: Pressure) -> bool {
        self.receive.credit(bytes);
        if self.state.may_receive() {
            let shift = self.options.receive_shift;
            return self.receive.is_update_due(shift, pressure);
        }
        self.state as u8 >= State::TimeWait as u8
    }

    /// Does what follows from bytes that were let go of.
    #[cold]
    pub fn settle_credit(&mut self, cx: &Context<'_>) -> Signals {
        if self.state.may_receive() {
            self.owed |= Owed::ACK;
        }
        self.finish(Signals::NONE, cx)
    }

    /// The application will not read any more: what is queued is dropped, and data that still
    /// arrives is answered with a RST (RFC 9293, 3.6.1, as amended by RFC 1122, 4.2.2.13).
    pub fn stop_reading(&mut self, cx: &Context<'_>) -> Signals {
        let unread = !self.receive.queue.is_empty();
        self.is_read_closed = true;
        self.receive.queue = Chain::new();
        self.receive.drop_reassembly();
        self.receive.credit(usize::MAX);
        if unread && !matches!(self.state, State::TimeWait | State::Closed) {
            // The peer must learn that its data was lost (RFC 2525, 2.17).
            return self.abort(cx);
        }
        if self.state == State::FinWait2 {
            self.arm_linger(nanos(cx.config.fin_wait_2), cx.now);
        }
        self.finish(Signals::NONE, cx)
    }

    /// Frees what can be freed under pressure: the reassembly queue, and the slack in small slices.
    /// True if any buffer went.
    pub fn shed(&mut self, cx: &Context<'_>) -> bool {
        let dropped = self.receive.drop_reassembly();
        if dropped {
            cx.counters.reassembly_dropped.increment();
        }
        self.receive.compact(cx.pool) || dropped
    }

    /// Does what is due. May be called early: then it does nothing.
    pub fn handle_timer(&mut self, cx: &Context<'_>) -> Signals {
        if cx.now < self.timers.next() {
            return Signals::NONE;
        }
        while let Some(timer) = self.timers.pop_expired(cx.now) {
            match timer {
                Timer::Retransmit => self.handle_retransmit_timer(cx),
                Timer::Tail => self.handle_tail_timer(cx),
                Timer::Reorder => self.handle_reorder_timer(cx),
                Timer::Persist => self.handle_persist_timer(cx),
                Timer::DelayedAck => {
                    cx.counters.delayed_acks.increment();
                    self.owed |= Owed::ACK;
                }
                Timer::Linger => self.handle_linger_timer(cx),
            }
        }
        self.settle_send_timers(cx);
        self.timers.settle();
        if self.congestion.is_paced() {
            self.settle_pacing(cx);
        }
        self.finish(Signals::NONE, cx)
    }

    /// Whether the peer has been silent for so long that the way to it may be broken: the same was
    /// sent three times. That is one less than R1 of RFC 9293, 3.8.3, so that an opening with the
    /// usual time limit of five seconds can still be saved.
    #[must_use]
    pub fn doubts_path(&self) -> bool {
        self.retries >= PATH_DOUBTED_AFTER && self.state != State::Closed
    }

    /// When [`handle_timer`](Self::handle_timer) wants to be called; may be earlier than needed.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.timers.next()
    }

    /// From the start of a connection to where its deadlines are, bytes.
    pub const DEADLINES_AT: usize = std::mem::offset_of!(Self, timers);

    /// When to be woken again, for who was woken and may have been early: None if something is due.
    #[inline]
    pub fn later_deadline(&mut self, now: Instant) -> Option<Instant> {
        self.timers.settle_early(now)
    }

    /// Whether it need not be woken, until something arrives or is asked of it.
    #[inline]
    pub fn waits_for_nothing(&mut self) -> bool {
        self.timers.rest()
    }

    /// The bytes that [`Outgoing`](crate::Outgoing) refers to.
    #[inline]
    #[must_use]
    pub fn send_queue(&self) -> &Chain {
        &self.send.queue
    }

    /// Bytes that the application should write at most; 0 means wait for
    /// [`WRITABLE`](Signals::WRITABLE).
    #[inline]
    #[must_use]
    pub fn send_room(&self, cx: &Context<'_>) -> usize {
        self.room_for(cx.config, cx.pressure)
    }

    /// As above.
    #[inline]
    pub(crate) fn room_for(&self, config: &Config, pressure: Pressure) -> usize {
        (self.limit_for(config, pressure) as usize).saturating_sub(self.send.queue.len())
    }

    /// Bytes that the send queue takes: what is under way, as much again for the round trip in which
    /// the window doubles, and some for the application's own pace. Written bytes often lie in
    /// receive buffers, so less when those are scarce.
    #[inline]
    pub(crate) fn send_limit(&self, cx: &Context<'_>) -> u32 {
        self.limit_for(cx.config, cx.pressure)
    }

    /// As above.
    #[inline]
    fn limit_for(&self, config: &Config, pressure: Pressure) -> u32 {
        let (least, most) = (config.send_queue_min, config.send_queue_max);
        if pressure != Pressure::None {
            return limited_queue(least, pressure).min(most);
        }
        // Behind a hole lies more than the window.
        let window = self.congestion.window.max(self.send.in_flight());
        (2 * window + least).min(most)
    }

    /// Bytes written and not yet acknowledged.
    #[inline]
    #[must_use]
    pub fn queued(&self) -> usize {
        self.send.queue.len()
    }

    /// Bytes written and not yet sent.
    #[inline]
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.send.unsent() as usize
    }

    /// Whether `seq` is of a segment on its way: an ICMP error that quotes another is not about this
    /// connection (RFC 5927, 4.1).
    #[inline]
    #[must_use]
    pub fn is_in_flight(&self, seq: SeqNumber) -> bool {
        seq.at_or_after(self.send.unacknowledged) && seq.before(self.send.max)
    }

    /// Where the connection is.
    #[inline]
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it is closed, once it is.
    #[inline]
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.close_reason
    }

    /// Receive buffers charged to it: queued, ahead of a hole, read and not credited.
    #[inline]
    #[must_use]
    pub fn buffers_held(&self) -> u32 {
        self.receive.held()
    }

    /// Congestion window, bytes; for listings.
    #[must_use]
    pub fn congestion_window(&self) -> u32 {
        self.congestion.window
    }

    /// Smoothed round-trip time in microseconds, once measured; for listings.
    #[must_use]
    pub fn round_trip_us(&self) -> Option<u32> {
        self.rtt.smoothed_us()
    }

    /// Whether [`next_deadline`](Self::next_deadline) moved to an earlier instant since this was
    /// last asked, or said by [`Signals::TIMER`]: for who took segments.
    #[inline]
    pub fn deadline_moved(&mut self) -> bool {
        self.timers.take_moved()
    }

    /// Ends a public verb: adds what every verb may have brought about.
    pub(crate) fn finish(&mut self, signals: Signals, cx: &Context<'_>) -> Signals {
        self.finish_here(signals, cx)
    }

    /// As above, for the straight line that nearly all segments take.
    #[inline(always)]
    pub(crate) fn finish_here(&mut self, mut signals: Signals, cx: &Context<'_>) -> Signals {
        if self.state as u8 >= State::TimeWait as u8 {
            signals |= self.report_end();
        }
        if self.has_output(cx.now) {
            signals |= Signals::OUTPUT;
        }
        if self.timers.take_moved() {
            signals |= Signals::TIMER;
        }
        self.check(cx.config);
        signals
    }

    /// Says once that the connection is over, when there is nothing left to read.
    fn report_end(&mut self) -> Signals {
        if self.is_end_reported || !self.receive.queue.is_empty() {
            return Signals::NONE;
        }
        self.is_end_reported = true;
        if self.state == State::TimeWait { Signals::TIME_WAIT } else { Signals::CLOSED }
    }

    /// Ends the connection now. Both queues go, except what a normal end leaves to be read.
    pub(crate) fn become_closed(&mut self, reason: CloseReason) {
        // TIME-WAIT was an end already; leaving it is another.
        self.is_end_reported &= self.state != State::TimeWait;
        self.state = State::Closed;
        self.close_reason = Some(reason);
        self.owed = self.owed.without(Owed::ANY);
        self.timers.cancel_all();
        self.send.queue = Chain::new();
        self.send.fin = Fin::None;
        self.send.is_syn_pending = false;
        self.send.unacknowledged = self.send.max;
        self.send.next = self.send.max;
        self.end_flight();
        self.receive.drop_reassembly();
        if reason != CloseReason::Normal {
            self.receive.queue = Chain::new();
        }
    }

    pub(crate) fn arm_linger(&mut self, duration_ns: u64, now: Instant) {
        self.timers.arm(Timer::Linger, now.plus_nanos(duration_ns));
    }

    /// TIME-WAIT or an orphan's time is over, or a peer was silent.
    fn handle_linger_timer(&mut self, cx: &Context<'_>) {
        match self.state {
            State::TimeWait => self.become_closed(CloseReason::Normal),
            State::FinWait2 => self.become_closed(CloseReason::TimedOut),
            State::Established | State::CloseWait => self.handle_keepalive_timer(cx),
            State::FinWait1 | State::Closing | State::LastAck => self.handle_orphan_timer(cx),
            State::SynSent | State::SynReceived | State::Closed => {}
        }
    }

    /// Whether receive memory is so scarce that what lies ahead of a hole must go.
    #[inline]
    pub(crate) fn must_drop_reassembly(pressure: Pressure) -> bool {
        pressure >= Pressure::Scarce
    }

    #[inline]
    fn check(&self, config: &Config) {
        if cfg!(debug_assertions) {
            self.invariants();
            self.receive.invariants(config);
        }
    }

    /// What holds after every verb; checked on the way out of each in debug builds.
    pub fn invariants(&self) {
        self.send.invariants();
        self.timers.invariants();
        self.rtt.invariants();
        self.congestion.invariants();
        let is_closed = self.state == State::Closed;
        debug_assert_eq!(is_closed, self.close_reason.is_some(), "an end has a reason");
        if is_closed {
            debug_assert!(self.send.queue.is_empty(), "nothing is sent after the end");
            debug_assert!(!self.timers.is_armed(Timer::Retransmit));
        }
        let is_syn_state = matches!(self.state, State::SynSent | State::SynReceived);
        debug_assert_eq!(is_syn_state, self.send.is_syn_pending, "the SYN is what these wait for");
        if self.send.in_flight() > 0 && self.state.may_transmit() {
            debug_assert!(self.timers.is_armed(Timer::Retransmit), "something under way is timed");
            debug_assert!(!self.timers.is_armed(Timer::Persist), "or probed for, not both");
        }
        if let Some(flight) = self.flight.get() {
            flight.board.invariants(self.send.unacknowledged, self.send.max);
            debug_assert!(self.send.in_flight() > 0, "a flight is of something under way");
            debug_assert_eq!(self.send.next, self.send.max, "with SACK nothing is rewound");
        }
        if self.state.may_write() && self.state != State::SynReceived {
            debug_assert!(self.send.fin == Fin::None, "only `close` queues a FIN");
        }
    }
}
