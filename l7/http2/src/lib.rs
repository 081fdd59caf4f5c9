//! HTTP/2 as a sans-IO codec.
//!
//! The main type is [`Http2`], one connection in the server's or the client's role; it implements
//! [`Codec`](sluice_l7_core::Codec), whose crate has the order of calls. Follows RFC 9113 (frames,
//! streams, messages), RFC 7541 (header compression, in [`hpack`]), RFC 8441 (extended CONNECT) and
//! of RFC 9218 the urgency.
//!
//! What it does: heads in and out, bodies under both levels of flow control, trailers, 1xx, CONNECT,
//! SETTINGS, PING, GOAWAY in two steps, RST_STREAM with the right code for each fault, fair output.
//! What it is not: it routes nothing, opens no connection, and keeps no clock: it says when it wants
//! to be called ([`next_deadline`](sluice_l7_core::Codec::next_deadline)).
//!
//! # Where things are
//!
//! | file | concept |
//! |---|---|
//! | `connection.rs` | the machine: [`Http2`], the calls that both roles share |
//! | `ending.rs` | faults of a connection and of a stream, streams that are over |
//! | `server.rs`, `client.rs` | requests in and responses out; requests out and responses in |
//! | `state.rs`, `streams.rs` | the picture of one stream; all of them, and whose turn it is |
//! | `frame.rs` | frame headers and payloads |
//! | `control.rs`, `data.rs` | what each frame does |
//! | `decode.rs`, `encode.rs` | a header block to a `Head` and back |
//! | `recurring.rs` | blocks and parts of blocks that were met before |
//! | `output.rs` | header blocks and bodies, written |
//! | `answer.rs`, `last.rs` | answers, and ends of requests, that pass from one connection to another in one piece |
//! | `window.rs`, `timer.rs` | receiving windows and how they grow; deadlines |
//! | `settings.rs` | what both ends say about themselves; [`Config`] |
//! | `budget.rs`, `limits.rs`, `error.rs` | floods, bounds, and the list of every rule a peer can break |
//! | `check.rs` | whether the books agree |
//! | `hpack/` | header compression |
//!
//! # Streams, and who is told
//!
//! Every event and verb names its stream. A caller attaches a number of its own to a stream
//! ([`Http2::set_token`]) and finds it by [`Http2::token`] also while it handles the event that ends
//! the stream. A request that breaks a rule is reset and never yielded; the caller hears of it by
//! `Event::Reset` with the rule, to count it. Body bytes stay charged to stream and connection until
//! they are credited, also when their stream is over.
//!
//! # What moves and what is copied
//!
//! Body bytes never are copied: slices move from `input` to events, wait in their stream if they
//! must, and move to `output` behind nine bytes of header. A header block in one buffer is decoded
//! where it lies, into lines that HTTP/1.1 can write as they are.
//!
//! # Memory
//!
//! Nothing before it is used: both tables of an idle connection are empty, and a stream that is over
//! leaves nothing but, for a while, its number if we reset it.

pub mod frame;
pub mod hpack;

mod answer;
mod budget;
mod check;
mod client;
mod connection;
mod control;
mod data;
mod decode;
mod encode;
mod ending;
mod error;
mod last;
mod limits;
mod output;
mod recurring;
mod server;
mod settings;
mod state;
mod streams;
mod timer;
mod window;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use budget::FrameLimits;
pub use connection::Http2;
pub use error::{ErrorCode, Fault, Scope};
pub use last::Last;
pub use settings::Config;
