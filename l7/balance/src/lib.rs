//! Which endpoint a request goes to, and what all workers together may use.
//!
//! * [`EndpointSet`]: the endpoints of one cluster, immutable, part of a snapshot; it
//!   [`pick`](EndpointSet::pick)s one by the cluster's policy, or by a hash
//!   ([`pick_by_hash`](EndpointSet::pick_by_hash)).
//! * [`LoadTable`]: what one worker knows about endpoints and clusters, in arrays by id, so that it
//!   survives a reload: requests in flight, and where round robin stands.
//! * [`Lease`] and [`WorkerLease`]: a limit that all workers share, drawn in batches.
//!
//! What it is not: it keeps no connections (`l7/proxy`'s pools do) and judges no endpoint's health
//! (the control thread will, one byte per endpoint, beside the load).
//!
//! Order of calls: [`LoadTable::grow`] when a snapshot is adopted; per request
//! [`EndpointSet::pick`], [`LoadTable::begin`], and [`LoadTable::end`] when it is over.

mod endpoint_set;
mod lease;
mod least_request;
mod load;
mod maglev;
mod round_robin;

pub use endpoint_set::{Endpoint, EndpointSet};
pub use lease::{Lease, WorkerLease};
pub use load::LoadTable;
pub use maglev::hash_source;
