//! The bodies of all fuzz targets, as plain functions: bytes in, a panic if a promise is broken.
//!
//! Three things call them: libFuzzer through `fuzz_targets/NAME.rs` (`make fuzz`, nightly), the
//! same binaries once per corpus file (`make fuzz-replay`, stable), and `tests/replay.rs`, which
//! also runs every corpus file cut at each length and with each byte changed (`cargo test` here).
//!
//! To add a target `NAME`:
//!
//! 1. write `pub fn NAME(data: &[u8])` in the module named for the crate it is about (a new crate:
//!    a new module, a `pub use` below, a dependency by path in `Cargo.toml`). Assert what must
//!    hold beyond "does not panic": what was understood survives being written and read again,
//!    lengths add up, bytes one at a time give the same events as all at once;
//! 2. copy a three-line file in `fuzz_targets/` and a `[[bin]]` entry in `Cargo.toml`;
//! 3. add it to [`TARGETS`];
//! 4. put small files with telling names into `corpus/NAME/`. What the fuzzer finds is added there
//!    in the same commit as its fix.
//!
//! `tests/replay.rs` fails when one of these is missing. A target is a function of `data` alone:
//! no clock, no global, no randomness, so that a file replays for ever.

mod config;
mod http1;
mod http2;
mod peer;
mod stack;
mod two_stacks;
mod versions;
mod wire;

pub use config::{config_toml, route_path};
pub use http1::{http1_chunked, http1_request, http1_response};
pub use http2::{http2_hpack, http2_requests, http2_responses};
pub use stack::{stack_frames, tcp_segments};
pub use two_stacks::two_stacks;
pub use versions::http_versions;
pub use wire::{
    wire_arp, wire_ethernet, wire_icmp, wire_icmpv6, wire_ipv4, wire_ipv6, wire_ndp, wire_tcp,
    wire_udp,
};

/// A target: takes any bytes, panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by the name of its binary and of its corpus folder.
pub const TARGETS: &[(&str, Target)] = &[
    ("config_toml", config_toml),
    ("http1_chunked", http1_chunked),
    ("http1_request", http1_request),
    ("http1_response", http1_response),
    ("http_versions", http_versions),
    ("http2_hpack", http2_hpack),
    ("http2_requests", http2_requests),
    ("http2_responses", http2_responses),
    ("route_path", route_path),
    ("stack_frames", stack_frames),
    ("tcp_segments", tcp_segments),
    ("two_stacks", two_stacks),
    ("wire_arp", wire_arp),
    ("wire_ethernet", wire_ethernet),
    ("wire_icmp", wire_icmp),
    ("wire_icmpv6", wire_icmpv6),
    ("wire_ipv4", wire_ipv4),
    ("wire_ipv6", wire_ipv6),
    ("wire_ndp", wire_ndp),
    ("wire_tcp", wire_tcp),
    ("wire_udp", wire_udp),
];
