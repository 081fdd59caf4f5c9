//! Tail loss probe (RFC 8985, 7): when the end of what was sent is lost, no later arrival tells of
//! it. After two round trips of silence one more segment makes the peer tell what it has.

use sluice_wire::{SeqNumber, TcpHeader};

use crate::connection::Connection;
use crate::context::Context;
use crate::flight::{News, TailProbe};
use crate::output::Owed;
use crate::recovery::Phase;

impl Connection {
    /// RFC 8985, 7.3: nothing was heard of the tail. One segment, new if there is one, else the last
    /// one again, is owed.
    pub(crate) fn handle_tail_timer(&mut self, cx: &Context<'_>) {
        if self.recovery.phase == Phase::Open && self.send.in_flight() > 0 {
            if self.has_flight(cx) {
                // From now on an ACK means something for the probe.
                self.recovery.phase = Phase::TailProbe;
                self.owed |= Owed::TAIL;
            } else {
                // No scoreboard: the time-out it is.
                self.retries = self.retries.max(1);
            }
        }
        self.restart_retransmit_timer(cx.config, cx.now);
    }

    /// The probe leaves: up to `end`, again or for the first time.
    pub(crate) fn note_probe(&mut self, end: SeqNumber, is_again: bool, cx: &Context<'_>) {
        cx.counters.tail_probes.increment();
        let stamp = self.options.has_timestamps().then(|| self.options.stamp(cx.now).value);
        if let Some(flight) = self.flight.get_mut() {
            flight.probe = Some(TailProbe { end, is_again, stamp });
        }
    }

    /// RFC 8985, 7.4.2: what an ACK says about the probe of the tail; true if it repaired a loss.
    /// `in_flight` is what was before this ACK.
    pub(crate) fn resolve_probe(
        &mut self,
        header: &TcpHeader,
        duplicate: Option<(SeqNumber, SeqNumber)>,
        in_flight: u32,
        news: &News,
        cx: &Context<'_>,
    ) -> bool {
        if self.owed.contains(Owed::TAIL) && news.bytes > 0 {
            // The peer spoke before the probe left.
            self.owed = self.owed.without(Owed::TAIL);
            self.recovery.phase = Phase::Open;
        }
        let Some(flight) = self.flight.get_mut() else { return false };
        let Some(probe) = flight.probe else { return false };
        if header.ack.before(probe.end) {
            return false;
        }
        let is_needless = duplicate.is_some_and(|(_, right)| right == probe.end);
        // An ACK of the end alone may answer the original, unless it echoes the probe's timestamp.
        let is_answer = header.ack.after(probe.end) || probe.is_echoed(header);
        let is_repeated = news.bytes == 0 && header.options.sack.is_empty();
        if probe.is_again && !is_needless && !is_answer && !is_repeated {
            return false;
        }
        flight.probe = None;
        if self.recovery.phase != Phase::TailProbe {
            return false;
        }
        self.recovery.phase = Phase::Open;
        if !probe.is_again || is_needless || !is_answer {
            return false;
        }
        // What the probe repaired, congestion may have caused.
        cx.counters.tail_losses.increment();
        let path = self.path(cx.now);
        self.congestion.on_loss(in_flight, path);
        let threshold = self.congestion.slow_start_threshold;
        self.congestion.window = self.congestion.window.min(threshold);
        true
    }
}

impl TailProbe {
    /// Whether the ACK answers the probe or something sent after it (RFC 7323, 4.3).
    fn is_echoed(&self, header: &TcpHeader) -> bool {
        let (Some(sent), Some(stamp)) = (self.stamp, header.options.timestamps) else {
            return false;
        };
        stamp.echo.wrapping_sub(sent).cast_signed() >= 0
    }
}
