//! The timers of a connection and its next deadline.
//!
//! Re-arming is lazy: cancelling or postponing a timer only stores its deadline, and `next` stays
//! where it was, too early at worst. The stack's wheel then wakes the connection once for nothing
//! instead of being touched for every segment.

use sluice_base::Instant;

use crate::flight::Stamp;

/// What may be waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Timer {
    /// The peer has not acknowledged what was sent (RFC 6298).
    Retransmit,
    /// Nothing was heard of the tail of what was sent (RFC 8985, 7).
    Tail,
    /// Something that may be lost may also have been overtaken (RFC 8985, 6).
    Reorder,
    /// The peer's window is closed, or too small to be worth a segment (RFC 9293, 3.8.6.1).
    Persist,
    /// An ACK waits for data to travel with (RFC 9293, 3.8.6.3).
    DelayedAck,
    /// TIME-WAIT; FIN-WAIT-2 without a reader, or a closed window in front of a FIN; keepalive.
    Linger,
}

impl Timer {
    /// Where its deadline is. Of the first four, one at most is waited for.
    const fn slot(self) -> usize {
        match self {
            Self::Retransmit | Self::Tail | Self::Reorder | Self::Persist => SENDING,
            Self::DelayedAck => 1,
            Self::Linger => 2,
        }
    }

    /// Whether it waits for an acknowledgement of what was sent.
    const fn is_for_flight(self) -> bool {
        matches!(self, Self::Retransmit | Self::Tail | Self::Reorder)
    }
}

/// `next` became earlier than whoever wakes us knows.
const MOVED: u8 = 1;
/// Somebody waits for `next` who is none of the timers.
const WOKEN: u8 = 1 << 1;

const SENDING: usize = 0;
const SLOTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Timers {
    /// At or before every deadline.
    next: Instant,
    deadlines: [Instant; SLOTS],
    /// What the first of them is for.
    sending: Timer,
    /// [`MOVED`] and [`WOKEN`].
    flags: u8,
    /// Something came since the keepalive timer last asked.
    pub(crate) is_heard: bool,
    /// When the last burst of data began to leave.
    pub(crate) sent_at: Stamp,
    /// Full segments that are still acknowledged without waiting for company.
    pub(crate) quick_acks: u8,
}

impl Timers {
    pub(crate) const NONE: Self = Self {
        next: Instant::NEVER,
        deadlines: [Instant::NEVER; SLOTS],
        sending: Timer::Retransmit,
        flags: 0,
        is_heard: false,
        sent_at: Stamp(0),
        quick_acks: 0,
    };

    pub(crate) fn new(quick_acks: u8, now: Instant) -> Self {
        Self { quick_acks, sent_at: Stamp::of(now), ..Self::NONE }
    }

    #[inline]
    pub(crate) fn arm(&mut self, timer: Timer, at: Instant) {
        if timer.slot() == SENDING {
            self.sending = timer;
        }
        self.deadlines[timer.slot()] = at;
        if at < self.next {
            self.next = at;
            self.flags |= MOVED;
        }
    }

    /// Arms it instead of the one that shares its deadline, if it comes first.
    #[inline]
    pub(crate) fn hasten(&mut self, timer: Timer, at: Instant) {
        if at < self.deadlines[timer.slot()] {
            self.arm(timer, at);
        }
    }

    /// Asks to be called at `at`, for something that is not one of the timers.
    pub(crate) fn wake(&mut self, at: Instant) {
        self.flags |= WOKEN;
        if at < self.next {
            self.next = at;
            self.flags |= MOVED;
        }
    }

    /// Cancels it; of those that share its deadline only the one that is armed for the same end.
    #[inline]
    pub(crate) fn cancel(&mut self, timer: Timer) {
        if timer.slot() != SENDING || timer.is_for_flight() == self.sending.is_for_flight() {
            self.deadlines[timer.slot()] = Instant::NEVER;
        }
    }

    pub(crate) fn cancel_all(&mut self) {
        self.deadlines = Self::NONE.deadlines;
    }

    /// Whether it is armed, or one that waits for the same end.
    #[inline]
    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.deadlines[timer.slot()] != Instant::NEVER
            && (timer.slot() != SENDING || timer.is_for_flight() == self.sending.is_for_flight())
    }

    /// Whether exactly this one of those that wait for sending is armed.
    #[inline]
    pub(crate) fn is_kind(&self, timer: Timer) -> bool {
        self.sending == timer && self.deadlines[SENDING] != Instant::NEVER
    }

    /// Takes one timer that is due.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Timer> {
        let slot = self.deadlines.iter().position(|deadline| *deadline <= now)?;
        self.deadlines[slot] = Instant::NEVER;
        Some(match slot {
            SENDING => self.sending,
            1 => Timer::DelayedAck,
            _ => Timer::Linger,
        })
    }

    /// Computes the next deadline anew: the one place that does. After a wake-up that is always
    /// news, since the wheel holds nothing for this connection any more.
    pub(crate) fn settle(&mut self) {
        self.next = self.deadlines.into_iter().min().unwrap_or(Instant::NEVER);
        self.flags = if self.next == Instant::NEVER { 0 } else { MOVED };
    }

    /// If nothing is due at `now`, computes the next deadline anew, for who holds none any more.
    #[inline]
    pub(crate) fn settle_early(&mut self, now: Instant) -> Option<Instant> {
        let next = self.deadlines.into_iter().min().unwrap_or(Instant::NEVER);
        if next <= now || self.flags & WOKEN != 0 {
            return None;
        }
        self.next = next;
        self.flags &= !MOVED;
        Some(next)
    }

    /// If nothing is armed, holds no deadline any more, not even one that was armed before.
    #[inline]
    pub(crate) fn rest(&mut self) -> bool {
        let is_armed = self.deadlines.into_iter().any(|deadline| deadline != Instant::NEVER);
        if is_armed || self.flags & WOKEN != 0 {
            return false;
        }
        self.next = Instant::NEVER;
        self.flags &= !MOVED;
        true
    }

    /// When to be woken; perhaps too early.
    #[inline]
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Whether `next` became earlier since the last call.
    #[inline]
    pub(crate) fn take_moved(&mut self) -> bool {
        let moved = self.flags & MOVED != 0;
        self.flags &= !MOVED;
        moved
    }

    pub(crate) fn invariants(&self) {
        for deadline in self.deadlines {
            debug_assert!(self.next <= deadline, "no timer is due before the next deadline");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postponing_keeps_the_early_wake_up_and_settling_finds_the_true_one() {
        let mut timers = Timers::NONE;
        timers.arm(Timer::Retransmit, Instant::from_millis(200));
        assert!(timers.take_moved());
        timers.arm(Timer::Retransmit, Instant::from_millis(900));
        assert!(!timers.take_moved());
        assert_eq!(timers.next(), Instant::from_millis(200));
        assert_eq!(timers.pop_expired(Instant::from_millis(200)), None);
        timers.settle();
        assert!(timers.take_moved());
        assert_eq!(timers.next(), Instant::from_millis(900));
        timers.invariants();
    }

    #[test]
    fn at_rest_no_deadline_is_left_to_be_woken_for() {
        let mut timers = Timers::NONE;
        timers.arm(Timer::Retransmit, Instant::from_millis(200));
        assert!(!timers.rest());
        timers.cancel(Timer::Retransmit);
        assert!(timers.rest() && !timers.take_moved());
        assert_eq!(timers.next(), Instant::NEVER);
        timers.arm(Timer::Retransmit, Instant::from_millis(900));
        assert!(timers.take_moved(), "the next one is news");
        timers.cancel(Timer::Retransmit);
        timers.wake(Instant::from_millis(5));
        assert!(!timers.rest(), "somebody waits who is none of them");
    }

    /// A pacer's tick is no deadline; without this it would be taken for one that was postponed.
    #[test]
    fn who_asked_to_be_woken_is() {
        let mut timers = Timers::NONE;
        timers.arm(Timer::Retransmit, Instant::from_millis(200));
        timers.wake(Instant::from_millis(5));
        assert_eq!(timers.next(), Instant::from_millis(5));
        assert_eq!(timers.settle_early(Instant::from_millis(5)), None);
        timers.settle();
        let later = timers.settle_early(Instant::from_millis(5));
        assert_eq!(later, Some(Instant::from_millis(200)));
    }

    #[test]
    fn each_due_timer_is_popped_once() {
        let mut timers = Timers::NONE;
        timers.arm(Timer::Linger, Instant::from_millis(1));
        timers.arm(Timer::DelayedAck, Instant::from_millis(2));
        let now = Instant::from_millis(2);
        assert_eq!(timers.pop_expired(now), Some(Timer::DelayedAck));
        assert_eq!(timers.pop_expired(now), Some(Timer::Linger));
        assert_eq!(timers.pop_expired(now), None);
        timers.settle();
        assert_eq!(timers.next(), Instant::NEVER);
        assert!(timers.deadlines.iter().all(|deadline| *deadline == Instant::NEVER));
    }
}
