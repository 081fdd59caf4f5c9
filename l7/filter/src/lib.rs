//! What every request and response passes through between two codecs.
//!
//! * [`Filter`]: four hooks over a head or over body bytes; decode towards the endpoint, encode
//!   towards the client.
//! * [`FilterChain`]: the filters of one listener, compiled; decode in order, encode in reverse.
//! * [`FilterStates`]: what the filters remember of one exchange, an array of plain enums.
//! * [`FilterContext`]: what a call may look at and use.
//! * Stock filters, one per file: [`HopByHop`], [`Forwarded`], [`RequestId`], [`RouteEdits`].
//!
//! What it is not: it knows no protocol's framing (codecs do), and chooses no route.
//!
//! # Order of calls
//!
//! ```text
//! chain.start()                       the states of a new exchange
//! decode_head, decode_body*           once the route is known: its edits are in the context
//! encode_head, encode_body*           the final response, also one made here; not 1xx but 101
//! ```
//!
//! Nothing is allocated after warm-up: text goes into the head's own text or the context's scratch.
//! A body filter reads, drops, inserts or replaces slices of the chain; it never writes in place.

mod chain;
mod filter;
mod forwarded;
mod header_edits;
mod hop_by_hop;
mod request_id;

pub use chain::{FILTERS_MAX, FilterChain, FilterStates};
pub use filter::{Filter, FilterContext, FilterResult, FilterState, LocalReply, Said};
pub use forwarded::Forwarded;
pub use header_edits::RouteEdits;
pub use hop_by_hop::HopByHop;
pub use request_id::RequestId;
