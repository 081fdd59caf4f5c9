//! A bad cable, on purpose: loss, delay, reordering, duplication, corruption, a bottleneck.
//!
//! ```text
//!   plan.rs     Impairment: what one direction does, as numbers
//!   judge.rs    Judge: what becomes of the next packet, from a plan and a seed; no clock of its own
//!   device.rs   ImpairedDevice: a Device behind two judges
//! ```
//!
//! The simulator asks judges about its links; an interface with an `impairment` asks them about
//! what it receives and sends, so that the same faults meet real peers.

mod device;
mod judge;
mod plan;

pub use device::{ImpairedDevice, WAITING_MAX};
pub use judge::{Judge, Loss, Verdict};
pub use plan::Impairment;
