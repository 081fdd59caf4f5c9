//! The control thread: everything that is not a packet.
//!
//! [`run`] owns the configuration and the control ends of all workers ([`WorkerLinks`]). It
//! compiles snapshots and publishes them, takes retired ones home, serves the admin address, writes
//! the access log, and obeys signals. It is the only place with tokio, sockets of the kernel, and
//! threads beside the workers'; a worker never waits for it.
//!
//! ```text
//!   SIGHUP ──> reload.rs ──> publisher.rs ──> mailboxes          home rings ──> publisher.rs
//!   SIGTERM ─> control.rs ─> state.rs (drain, then return)       log rings ───> access_log/
//!   GET /... > admin/ <── counters (admin/scrape.rs), configuration, state.rs
//! ```
//!
//! One thread, so what the loop and the admin address share is a [`std::cell::RefCell`] that is
//! never borrowed across an `await`. Two things leave the thread, because they may block: reading a
//! configuration file, and writing access log lines.
//!
//! What operators read about all this: `docs/operations.md` and `docs/metrics.md`.

mod access_log;
mod admin;
mod client;
mod conflicts;
mod control;
mod log_levels;
mod publisher;
mod reload;
mod sample_backend;
mod state;
#[cfg(test)]
mod testing;

pub use access_log::{LogError, LogSink};
pub use client::{ClientError, get};
pub use control::{ControlError, ControlParts, Exit, InterfaceInfo, run};
pub use log_levels::LogLevels;
pub use publisher::Publisher;
pub use sample_backend::{SampleBackendError, SampleBackends};
pub use sluice_worker::WorkerLinks;
