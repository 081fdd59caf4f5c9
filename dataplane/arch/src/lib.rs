//! The machine behind safe functions.
//!
//! * [`cycles`]: the time-stamp counter, for stage costs. It decides nothing.
//! * [`prefetch_read`]: a hint that a cache line will be read.
//! * [`relax`]: the pause of a spinning loop.
//! * [`Lanes`], [`find()`], [`all()`], [`none()`]: sixteen bytes of text in one register.
//! * [`MonotonicClock`], [`pin_current_thread`], [`Waker`]: time, place and sleep of a worker thread.
//!
//! Every function has a portable fallback, so all of Sluice builds and runs (slower) elsewhere.

#![expect(unsafe_code, reason = "processor instructions")]

mod clock;
mod cpu;
mod lanes;
mod thread;
mod wake;

pub use clock::MonotonicClock;
pub use cpu::{cycles, prefetch_read, relax};
pub use lanes::{Lanes, all, find, none};
pub use thread::{PinError, pin_current_thread, set_timer_slack};
pub use wake::Waker;
