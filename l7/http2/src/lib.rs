//! HTTP/2 as a sans-IO codec.
//!
//! So far its header compression: [`hpack`], which follows RFC 7541. Nothing uses the crate yet.

pub mod hpack;
