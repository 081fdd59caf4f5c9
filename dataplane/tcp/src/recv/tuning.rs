//! Receive window auto-tuning: a window that a peer fills within a round trip is too small.
//!
//! The rate of a sender is at most one window per round trip, and half of that while a hole is
//! filled. When half of ours arrived within two, the window is what limits it, or soon will be; it
//! doubles then, up to a bound, as long as the application keeps up and receive memory is plentiful.
//! The round trip is what our own segments measured, the handshake's at least: queues that the sender
//! fills do not count.
//!
//! While a hole is open no rate can be told, and when it is filled much arrives at once. But a window
//! of which half lies ahead of a hole is too small as well: what repairs a loss takes a round trip, or
//! several if it is lost too, and until then the rest of the window is all that may be sent.

use sluice_buf::Pressure;

use crate::connection::Connection;
use crate::context::Context;
use crate::limits;

impl Connection {
    /// The edge of the window moved: is it time to ask whether the window is large enough?
    #[inline(never)]
    pub(crate) fn tune_window(&mut self, cx: &Context<'_>) {
        if self.receive.next.since(self.tuned_from) >= self.receive.tuning_step() {
            self.measure_window(cx);
        }
    }

    /// Half of the window arrived since this was last asked.
    #[cold]
    fn measure_window(&mut self, cx: &Context<'_>) {
        let now = (cx.now.as_nanos() >> 20) as u16;
        let took = now.wrapping_sub(self.rtt.tuned_at);
        (self.tuned_from, self.rtt.tuned_at) = (self.receive.next, now);
        self.options.raise_floor();
        // In such ticks too, about.
        let round_trip = self.rtt.smoothed_us().unwrap_or(0) >> 10;
        if cx.pressure != Pressure::None || u32::from(took) > 2 * round_trip + 1 {
            return;
        }
        self.grow_receive_window(cx);
    }

    /// Something more lies ahead of a hole. A peer can make the window grow by what it really sends,
    /// not by where it sends it.
    #[cold]
    pub(crate) fn tune_window_ahead(&mut self, cx: &Context<'_>) {
        if cx.pressure == Pressure::None && self.receive.is_half_ahead() {
            self.grow_receive_window(cx);
        }
    }

    fn grow_receive_window(&mut self, cx: &Context<'_>) {
        let share = cx.pool.capacity() / limits::RECEIVE_POOL_SHARE;
        if self.receive.grow(cx.config.receive_buffers_max.min(share)) {
            cx.counters.receive_windows_grown.increment();
        }
    }
}
