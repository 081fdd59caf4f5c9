//! TIME-WAIT as a record of 32 bytes (RFC 9293, 3.6.1 and 3.10.7.4).
//!
//! What is left of a connection while old segments die out: enough to repeat the last ACK, and to
//! let a new connection with the same addresses begin (RFC 6191).

use std::time::Duration;

use sluice_base::Instant;
use sluice_wire::{Flags, SeqNumber, TcpHeader, TcpOptions};

use crate::config::Config;
use crate::connection::Connection;
use crate::options::Negotiated;
use crate::output::plain_ack;

/// A connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeWait {
    expires: Instant,
    /// SND.NXT.
    send_next: SeqNumber,
    /// RCV.NXT.
    receive_next: SeqNumber,
    /// TS.Recent.
    recent: u32,
    /// Offset of our timestamp clock.
    offset: u32,
    /// 2 MSL, milliseconds.
    lifetime_ms: u32,
    /// The window field, as last announced.
    window: u16,
    has_timestamps: bool,
}

const _: () = assert!(size_of::<TimeWait>() <= 32);

/// What to do with a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimeWaitAction {
    /// Nothing.
    Drop,
    /// Send this ACK (ports are 0).
    Ack(TcpHeader),
    /// The segment is a SYN that may open a new connection (RFC 6191, 2). Its initial sequence
    /// number must be at or behind this one (RFC 9293, 3.6.1, MAY-2).
    Reopen(SeqNumber),
    /// The time is over: the segment belongs to no connection.
    Forget,
}

impl TimeWait {
    /// When the record may be forgotten.
    #[inline]
    #[must_use]
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// RFC 9293, 3.10.7.4 for this state.
    pub fn handle_segment(
        &mut self,
        header: &TcpHeader,
        payload_len: u32,
        now: Instant,
    ) -> TimeWaitAction {
        if now >= self.expires {
            return TimeWaitAction::Forget;
        }
        if header.flags.contains(Flags::RST) {
            // RFC 1337, 3, F1: a RST must not cut TIME-WAIT short.
            return TimeWaitAction::Drop;
        }
        if header.flags.contains(Flags::SYN) && !header.flags.contains(Flags::ACK) {
            return if self.is_new(header) {
                // Further than any segment of the old connection could be.
                TimeWaitAction::Reopen(self.send_next + (u32::from(u16::MAX) + 2))
            } else {
                TimeWaitAction::Ack(self.ack(now))
            };
        }
        if header.flags.contains(Flags::FIN) {
            if header.seq + header.segment_len(payload_len) == self.receive_next {
                // The peer missed our last ACK: the time begins anew.
                self.expires = now + Duration::from_millis(self.lifetime_ms.into());
            }
            return TimeWaitAction::Ack(self.ack(now));
        }
        let is_expected = header.seq == self.receive_next && header.segment_len(payload_len) == 0;
        if is_expected || !header.flags.contains(Flags::ACK) {
            return TimeWaitAction::Drop;
        }
        TimeWaitAction::Ack(self.ack(now))
    }

    /// RFC 6191, 2: a later timestamp, or with none a later number.
    fn is_new(&self, header: &TcpHeader) -> bool {
        match header.options.timestamps {
            Some(stamp) if self.has_timestamps => {
                let distance = stamp.value.wrapping_sub(self.recent).cast_signed();
                distance > 0 || (distance == 0 && header.seq.after(self.receive_next))
            }
            _ => header.seq.after(self.receive_next),
        }
    }

    fn ack(&self, now: Instant) -> TcpHeader {
        let options = if self.has_timestamps {
            let value = (now.as_millis() as u32).wrapping_add(self.offset);
            TcpOptions::with_timestamps(value, self.recent)
        } else {
            TcpOptions::NONE
        };
        plain_ack(self.send_next, self.receive_next, self.window, options)
    }
}

impl Connection {
    /// The record that takes this connection's place once it said
    /// [`TIME_WAIT`](crate::Signals::TIME_WAIT) and owes no segment.
    #[must_use]
    pub fn time_wait(&self, config: &Config, now: Instant) -> TimeWait {
        let options: &Negotiated = &self.options;
        let lifetime_ms = u32::try_from(config.time_wait.as_millis()).unwrap_or(u32::MAX);
        TimeWait {
            expires: now + config.time_wait,
            send_next: self.send.max,
            receive_next: self.receive.next,
            recent: options.recent(),
            offset: options.offset(),
            lifetime_ms,
            window: (self.receive.window() >> options.receive_shift).min(u16::MAX.into()) as u16,
            has_timestamps: options.has_timestamps(),
        }
    }
}
