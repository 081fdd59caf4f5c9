//! Whole-path benches over in-memory links, and criterion micro benches.
//!
//! The path is the product's own: a real [`Worker`](sluice_worker::Worker) with stack and proxy
//! between a client and an origin that run on the same stack. One thread steps the three in turn,
//! and only the proxy's heartbeats are counted:
//!
//! ```text
//!   load.rs / http2.rs         sluice.rs                origin.rs
//!   flood.rs                                            http2.rs
//!   client ── LinkPeer ─ LinkHost [worker] LinkHost ─ LinkPeer ── origin
//!     host.rs    copies     counted, never copies      copies     host.rs
//!                        world.rs steps and samples
//! ```
//!
//! The proxy's ends of the links are what a NIC with checksum offload would leave it to do; the
//! peers' ends copy every frame, in time that is not the proxy's.
//!
//! * [`Scenario`]: what is played, by a name that is kept for years.
//! * [`World`]: plays it for a number of units and gives [`Sample`]s.
//! * `path` (binary): requests per second of the proxy's core, cycles by stage, latency, memory.
//! * `scale` (binary): what a million connections cost, and open streams of HTTP/2 ([`streams`]).
//! * `icount` (binary): instructions per unit under callgrind, beside the table `icount.toml`.

pub mod crowd;
pub mod flood;
pub mod host;
pub mod http2;
pub mod kernel;
pub mod load;
pub mod machine;
pub mod origin;
pub mod pairs;
pub mod peers;
pub mod rules;
pub mod scenario;
pub mod server;
pub mod sluice;
pub mod streams;
pub mod world;

pub use scenario::Scenario;
pub use world::{Clock, Sample, Stuck, World};
