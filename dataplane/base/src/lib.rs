//! Vocabulary without behaviour, shared by every Sluice crate.
//!
//! * [`Instant`]: a point on the one clock that is passed in everywhere; nanoseconds.
//! * [`ids`]: small integer names for workers, interfaces, connections and configured things.
//! * [`Rng`]: the one source of randomness, seeded from outside, never from the machine.
//! * [`HashKey`]: a keyed hash for tables that a peer can fill.
//! * [`SipKey`]: a keyed hash whose results a peer may see.
//! * [`Counter`]: one writer, any reader.
//! * [`Slab`] and [`Ring`]: bounded collections that are sized once.
//!
//! Nothing here reads a clock, spawns, allocates after construction, or knows a protocol.

mod counter;
mod hash;
pub mod ids;
mod instant;
mod ring;
mod rng;
mod siphash;
mod slab;

pub use counter::Counter;
pub use hash::HashKey;
pub use ids::{
    ClusterId, ConnId, EndpointId, InterfaceId, ListenerId, RouteId, UdpId, VirtualHostId, WorkerId,
};
pub use instant::Instant;
pub use ring::Ring;
pub use rng::Rng;
pub use siphash::SipKey;
pub use slab::{CacheLine, Slab, SlabKey};
