//! Deadlines of a connection.

use sluice_base::Instant;
use sluice_l7_core::{CodecContext, Event};

use crate::connection::{Drain, Http2};
use crate::error::Fault;
use crate::state::{Receive, Send};
use sluice_l7_core::Role;

/// What may come due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Timer {
    /// Our SETTINGS have not been acknowledged.
    Settings,
    /// Our PING has not been answered.
    Ping,
    /// Nothing was heard for so long that we ask.
    Alive,
    /// The round trip behind the announcing GOAWAY takes too long.
    Drain,
    /// Streams that stand still are looked at.
    Still,
    /// Windows that are not needed any more are given back.
    Shrink,
}

const TIMERS: usize = 6;

/// When each comes due.
#[derive(Debug)]
pub(crate) struct Timers {
    at: [Instant; TIMERS],
    /// SETTINGS sent and not acknowledged.
    pub(crate) settings_unanswered: u8,
    /// What our next PING says, and the last one said plus one.
    pub(crate) ping: u32,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self { at: [Instant::NEVER; TIMERS], settings_unanswered: 0, ping: 0 }
    }

    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = at;
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at[timer as usize] != Instant::NEVER
    }

    pub(crate) fn clear(&mut self) {
        self.at = [Instant::NEVER; TIMERS];
    }

    pub(crate) fn next(&self) -> Instant {
        self.at.iter().copied().min().unwrap_or(Instant::NEVER)
    }

    /// Whether it has come due; it is cleared then.
    fn take(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.at[timer as usize] <= now;
        if due {
            self.set(timer, Instant::NEVER);
        }
        due
    }
}

/// Bytes that must move within the stall time for a stream not to stand still. Answers windows that
/// are opened by a byte now and then.
const MOVED_MIN: u32 = 1_024;

impl Http2 {
    pub(crate) fn run_timers(&mut self, cx: &mut CodecContext<'_>) -> Result<Option<Event>, Fault> {
        let now = cx.now;
        if self.timers.take(Timer::Settings, now) {
            return Err(Fault::SettingsTimeout);
        }
        if self.timers.take(Timer::Ping, now) {
            return Err(Fault::PingTimeout);
        }
        if self.timers.take(Timer::Drain, now) && self.drain == Drain::Announced {
            self.finish_drain(cx);
        }
        if self.timers.take(Timer::Alive, now) {
            if !self.timers.is_set(Timer::Ping) {
                self.send_ping(cx);
            }
            self.heard(now);
        }
        if self.timers.take(Timer::Shrink, now) {
            self.shrink(cx);
        }
        if self.timers.take(Timer::Still, now) {
            return self.look_for_still(cx);
        }
        Ok(None)
    }

    /// The peer gave a sign of life.
    #[inline]
    pub(crate) fn heard(&mut self, now: Instant) {
        if self.config.ping_interval_ms != 0 {
            let interval = u64::from(self.config.ping_interval_ms) * 1_000_000;
            self.timers.set(Timer::Alive, now.plus_nanos(interval));
        }
    }

    /// A stream has bytes to send and no window, or is answered and still sends: it is looked at in
    /// a while.
    pub(crate) fn stands_still(&mut self, slot: u16, now: Instant) {
        let stream = self.streams.get_mut(slot);
        if stream.still_since != 0 {
            return;
        }
        stream.still_since = seconds(now);
        stream.moved = 0;
        self.arm_still(now);
    }

    fn arm_still(&mut self, now: Instant) {
        if !self.timers.is_set(Timer::Still) {
            // Often enough that no stream stands still for much longer than it may.
            let nanos = u64::from(self.config.stall_timeout_ms) * 1_000_000 / 4;
            self.timers.set(Timer::Still, now.plus_nanos(nanos.max(1_000_000)));
        }
    }

    /// Resets one stream that has stood still for too long; asked again until there is none.
    fn look_for_still(&mut self, cx: &mut CodecContext<'_>) -> Result<Option<Event>, Fault> {
        let now = seconds(cx.now);
        let most = (self.config.stall_timeout_ms / 1_000).max(1);
        let (mut from, mut still) = (0, false);
        while let Some(slot) = self.streams.next_used(from) {
            from = slot + 1;
            let role = self.role;
            let stream = self.streams.get_mut(slot);
            if stream.still_since == 0 {
                continue;
            }
            let waits_for_peer = role == Role::Server
                && stream.send == Send::Done
                && stream.receive == Receive::Body;
            if stream.queue.is_empty() && !waits_for_peer {
                stream.still_since = 0;
                continue;
            }
            still = true;
            if now.saturating_sub(stream.still_since) < most {
                continue;
            }
            if stream.moved >= MOVED_MIN {
                (stream.still_since, stream.moved) = (now, 0);
                continue;
            }
            let fault = if waits_for_peer { Fault::HalfClosedTooLong } else { Fault::Stalled };
            let id = stream.id;
            // The others are looked at when we are asked again.
            self.timers.set(Timer::Still, cx.now);
            return self.fail_stream(id, fault, cx);
        }
        if still {
            self.arm_still(cx.now);
        }
        Ok(None)
    }
}

/// Seconds on the clock, never 0.
fn seconds(now: Instant) -> u32 {
    (now.as_millis() / 1_000) as u32 + 1
}
