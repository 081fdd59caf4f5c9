//! HTTP/1.0 and HTTP/1.1 as a sans-IO codec.
//!
//! The main type is [`Http1`], one connection in the server's or the client's role; it implements
//! [`Codec`](sluice_l7_core::Codec), whose crate has the order of calls. Follows RFC 9112 (messages)
//! and the parts of RFC 9110 that framing depends on.
//!
//! What it does: heads in and out, body framing both ways (Content-Length, chunked with trailers,
//! until close), persistence and pipelining, 100-continue, HEAD, 204, 304, HTTP/1.0 peers, 101 and
//! CONNECT as tunnels. What it is not: it routes nothing, removes no hop-by-hop fields but those it
//! writes itself, and sets no timers.
//!
//! # Where things are
//!
//! | file | concept |
//! |---|---|
//! | `connection.rs` | the machine: [`Http1`], the calls that both roles share |
//! | `server.rs`, `client.rs` | requests in and responses out; requests out and responses in |
//! | `state.rs` | the picture of both halves of an exchange |
//! | `scan.rs` | the search for the end of a head, which remembers its place |
//! | `decode.rs` | a head's bytes to `Head` and framing facts, by the general parser |
//! | `fast.rs` | the same for heads of the usual shape, in one pass |
//! | `recurring.rs` | fields that are the same as in an earlier head, which are not read again |
//! | `target.rs` | request targets and hosts |
//! | `frame.rs` | the chunked coding, received |
//! | `encode.rs`, `writer.rs` | a `Head` to its bytes, in one pass into one buffer |
//! | `limits.rs`, `error.rs` | bounds, and the list of every rule a peer can break |
//!
//! # What a peer may not do
//!
//! Anything that two recipients could read in two ways is refused with 400 and the end of the
//! connection, because a proxy that guesses is how requests are smuggled: see [`Fault`] for the
//! list. The same bytes give the same events however they are cut: limits are checked where they
//! are crossed, and a head is parsed once, when it is whole.
//!
//! # What moves and what is copied
//!
//! Body bytes never are copied: slices move from `input` to events and from `encode_body` to
//! `output`. A head inside one buffer is used where it is; one that straddles is copied once into a
//! large buffer that is recycled. Written heads fill a fresh buffer; neighbouring field lines that
//! nobody changed are copied in one piece. Chunk lines are a few bytes behind the last buffer's data.

mod client;
mod connection;
mod decode;
mod encode;
mod error;
mod fast;
mod frame;
mod limits;
mod recurring;
mod scan;
mod server;
mod state;
mod target;
mod writer;

pub use connection::Http1;
pub use error::Fault;
