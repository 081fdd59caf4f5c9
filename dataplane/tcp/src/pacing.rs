//! What BBR asks of a connection: the window opens as the pacer's tokens come.
//!
//! The congestion window of a paced connection is what is under way and the tokens at hand, if BBR's
//! own window allows that. So nothing that sends needs to know of pacing, and a connection without
//! it pays for one comparison per ACK and per turn. Where the tokens are what is missing, the next
//! deadline is the tick at which they come.

use sluice_wire::SeqNumber;

use crate::congestion::Progress;
use crate::connection::Connection;
use crate::context::Context;

impl Connection {
    /// The connection is open, and BBR was asked for.
    #[cold]
    pub(crate) fn begin_pacing(&mut self, cx: &Context<'_>) {
        if !self.options.has_sack() {
            return self.congestion.give_up_model();
        }
        let window = self.congestion.window;
        let round_trip_us = self.rtt.smoothed_us().unwrap_or(0);
        if let Some(bbr) = self.congestion.bbr() {
            bbr.begin(window, round_trip_us, cx.now);
        }
        self.settle_pacing(cx);
    }

    /// An ACK told of `delivered` bytes.
    #[cold]
    pub(crate) fn pace_acknowledged(&mut self, delivered: u32, cx: &Context<'_>) {
        let una = self.send.unacknowledged;
        let progress = Progress {
            delivered,
            highest: self.flight.get().map_or(una, |flight| flight.rack.highest().max(una)),
            pipe: self.pipe(),
            is_repairing: self.recovery.phase.is_repairing(),
            mss: self.options.mss.into(),
            now: cx.now,
        };
        if let Some(bbr) = self.congestion.bbr() {
            bbr.on_acknowledged(progress);
        }
        self.settle_pacing(cx);
    }

    /// New numbers from `from` to `end` leave.
    #[cold]
    pub(crate) fn pace_sent(&mut self, from: SeqNumber, end: SeqNumber, cx: &Context<'_>) {
        if self.send.is_syn_pending {
            // With Fast Open: nothing is paced yet.
            return;
        }
        let is_first = from == self.send.unacknowledged;
        let smoothed_us = self.rtt.smoothed_us().unwrap_or(0);
        if let Some(bbr) = self.congestion.bbr() {
            bbr.on_sent((from, end), is_first, smoothed_us, cx.now);
        }
    }

    /// Opens the window as far as tokens have come, and has itself woken when more will have.
    #[cold]
    pub(crate) fn settle_pacing(&mut self, cx: &Context<'_>) {
        let (pipe, mss) = (self.pipe(), u32::from(self.options.mss));
        let (is_idle, unsent) = (self.send.in_flight() == 0, self.send.unsent());
        let lost = self.flight.get().map_or(0, |flight| flight.board.lost());
        let Some(bbr) = self.congestion.bbr() else { return };
        if unsent == 0 && lost == 0 {
            bbr.on_app_limited(pipe);
        }
        let window = bbr.allowed(pipe, is_idle, mss, cx.now);
        let is_waiting = (unsent > 0 || lost > 0) && window.saturating_sub(pipe) < mss;
        let release = if is_waiting { bbr.release_at(pipe, mss, cx.now) } else { None };
        // A window of nothing would never open again.
        self.congestion.window = window.max(mss.min(1 + pipe));
        if let Some(at) = release {
            self.timers.wake(at);
        }
        if self.flight.is_some() {
            self.settle_retransmissions();
        }
    }
}
