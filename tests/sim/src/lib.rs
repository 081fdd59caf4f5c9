//! The deterministic simulator.
//!
//! Hosts that are the real worker, stack and proxy, clients and backends on the same stack, links
//! with latency, loss (single and in bursts), reordering, duplication, corruption, bottlenecks and
//! partitions, pauses, little memory, short rings, and a virtual clock: one thread, one seed, any run
//! can be had again.
//!
//! ```text
//!   client.rs ──┐                                  ┌── backend.rs
//!   client.rs ──┼── network.rs ── sluice.rs ── network.rs ──┼── backend.rs
//!   client.rs ──┘   (faults)     (the product)    (faults)  └── backend.rs
//!                weather.rs: what goes wrong    world.rs moves time; ledger.rs knows what must come out
//! ```
//!
//! [`run()`] makes a [`Scenario`] of a seed, plays it to its end, and checks: every request is
//! answered once or fails visibly; the bytes that arrive are the bytes that were sent, both ways; a
//! response that was cut is never taken for a whole one; everything ends within a bound; afterwards
//! no connection, buffer or chain node is held, and every retired snapshot came home.
//!
//! Datagrams through `protocol = "udp"`, many in fragments, arrive unchanged, and at most as often as cables
//! copied them; their sessions end by their idle time-out.
//!
//! Clients and backends speak HTTP/1.1 or HTTP/2 as the seed says, the latter by the product's own machine
//! (`speaker.rs`), so that all four pairs occur. Then also: every stream that somebody believes to be
//! complete the other side completed, trailers arrive, no POST is looked at twice, and where nothing moves
//! any more no stream is open and no window has leaked. Some clients only want to do harm (`hostile.rs`).
//!
//! A failure names seed and commit on one line and leaves a pcap per host; what it does not need is
//! left out one by one (`trim.rs`), and the line says how to play the rest.

pub mod app;
pub mod attacker;
pub mod backend;
pub mod backend_http2;
pub mod client;
pub mod client_http2;
pub mod datagrams;
pub mod hostile;
pub mod http;
pub mod ledger;
pub mod network;
pub mod pcap;
pub mod scenario;
pub mod sluice;
pub mod speaker;
pub mod trim;
pub mod weather;
pub mod world;

mod run;

pub use run::{Failure, Report, run};
pub use scenario::{Crowd, Scenario};
pub use trim::{Trim, shrink};
