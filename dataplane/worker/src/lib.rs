//! One core's heartbeat.
//!
//! A [`Worker`] owns its queues of every interface, its [`Stack`](sluice_stack::Stack) and its
//! [`Proxy`](sluice_l7_proxy::Proxy), and is the one place that knows both TCP and layer 7: it
//! carries stream events up and verbs down, and neither side knows the other.
//!
//! [`Worker::heartbeat`] is a function of what its devices, rings and mailbox hold and of `now`;
//! the simulator and the benches call it with a virtual clock. [`thread::run`] is the loop around
//! it that has a clock, a core and sleep.
//!
//! ```text
//!   1 adopt the newest snapshot, work off its changed listeners          adopt.rs
//!   2 receive from devices (under load at intervals) and rings           heartbeat.rs, coalesce.rs, mesh.rs
//!   3-5 ethernet .. tcp input, on vectors                                sluice-stack
//!   6 timers                                                             sluice-stack, -l7-proxy
//!   7 ready connections: codec, filters, route, balance, upstream        serve.rs, sluice-l7-proxy
//!   8-9 tcp output, built only where the device has room; transmit       heartbeat.rs, sluice-stack
//!   10 counters, and sleep when nothing happened                         status.rs, thread.rs
//! ```
//!
//! A worker without a queue of some device sends through the worker that has one: [`lend_queue`].
//!
//! Between threads there are four shapes only: the [`mailbox()`]; rings (of the [`Mesh`], home for
//! snapshots, for the access log, of lent queues); the counters of [`WorkerStatus`]; and the proxy's
//! leases.

mod adopt;
mod coalesce;
mod heartbeat;
mod listing;
mod mailbox;
mod mesh;
mod port;
mod port_counters;
mod serve;
mod shared_queue;
mod stages;
mod status;
pub mod thread;
mod twins;
mod worker;

pub use heartbeat::Beat;
pub use listing::{Listing, ListingDesk, ListingLink, ROWS_MAX, Rows, listing};
pub use mailbox::{MailboxReceiver, MailboxSender, mailbox};
pub use mesh::Mesh;
pub use port::Port;
pub use port_counters::PortCounters;
pub use shared_queue::{BorrowedQueue, LentQueue, lend_queue};
pub use stages::{STAGES, Stage};
pub use status::{Command, WorkerStatus};
pub use worker::{HOME_RING, LOG_RING, Worker, WorkerLinks, WorkerParts};
