//! The machine behind safe functions.
//!
//! * [`cycles`]: the time-stamp counter, for stage costs. It decides nothing.
//! * [`prefetch_read`], [`prefetch_bytes`]: hints that cache lines will be read.
//! * [`huge_table`], [`huge_capacity`], [`prefer_huge_pages`]: tables that every packet touches somewhere.
//! * [`relax`]: the pause of a spinning loop.
//! * [`Lanes`], [`find()`], [`all()`], [`none()`]: sixteen bytes of text in one register.
//! * [`MonotonicClock`], [`pin_current_thread`], [`Waker`]: time, place and sleep of a worker thread.
//!
//! Every function has a portable fallback, so all of Sluice builds and runs (slower) elsewhere.

#![expect(unsafe_code, reason = "processor instructions")]

mod clock;
mod cpu;
mod lanes;
mod memory;
mod thread;
mod wake;

pub use clock::MonotonicClock;
pub use cpu::{cycles, prefetch_bytes, prefetch_read, relax};
pub use lanes::{Lanes, all, find, none};
pub use memory::{huge_capacity, huge_table, prefer_huge_pages};
pub use thread::{PinError, pin_current_thread, set_timer_slack};
pub use wake::Waker;
