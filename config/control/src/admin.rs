//! The admin address: what the process says about itself, over HTTP/1.1 on a socket of the kernel.
//!
//! ```text
//!   server.rs       accept, limits, timeouts, bodies
//!   paths.rs        path and method -> handler; 404, 405
//!   process.rs      /ready /server_info /drain_listeners /quitquitquit /logging
//!   resources.rs    /clusters /listeners
//!   config_dump.rs  /config_dump
//!   stats.rs        /stats           metrics.rs   /stats/prometheus
//!   scrape.rs       one reading of all counters, for both and for /show/counters
//!   http2.rs        of these, what has labels beside the name of a listener or cluster
//!   show.rs         /show/WHAT, printed by table.rs
//!   listing.rs      /show/neighbors /show/flows /show/routes, which workers are asked for
//! ```
//!
//! Paths, words and formats are Envoy's where Envoy has them, so probes, dashboards and scripts work
//! unchanged. A handler is a function of the state and the query; it answers from counters and from
//! what the control thread knows; only `listing.rs` waits for workers, half a second at most.

mod answer;
mod config_dump;
mod http2;
mod listing;
mod metrics;
mod paths;
mod process;
mod query;
mod resources;
mod scrape;
mod server;
mod show;
mod stack_help;
mod stats;
mod table;

pub(crate) use server::serve;

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
