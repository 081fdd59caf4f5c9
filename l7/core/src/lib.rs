//! What the protocols of layer 7 share.
//!
//! * [`Head`]: a request, a response or a trailer section: one text and an index into it, recycled
//!   through a [`HeadPool`], the same for HTTP/1.1 and for HPACK's output.
//! * [`NameId`], [`Method`], [`Version`], [`BodyLength`]: the vocabulary of a head.
//! * [`Event`]: what a peer said, one message part at a time.
//! * [`Codec`]: one connection of one protocol, in the server's or the client's role.
//! * [`ProtocolError`]: what a peer did wrong, with the one table that turns it into a status code.
//!
//! What it is not: a protocol. Nothing here knows how a head looks on the wire (`l7/http1` does),
//! what a header means for routing (`l7/route`), or who speaks next (`l7/proxy`).
//!
//! # One trait for ping-pong and multiplex
//!
//! A ping-pong connection carries one exchange at a time; a multiplexed one carries many, told
//! apart by [`StreamId`]. Both fit [`Codec`] because every event and every verb names its stream,
//! and because `decode` may write:
//!
//! | question | HTTP/1.1 | HTTP/2 |
//! |---|---|---|
//! | next event | of the one exchange | of any stream, interleaved as frames arrive |
//! | answers the protocol itself owes | none | SETTINGS and PING acknowledgements, RST_STREAM, WINDOW_UPDATE, written to `cx.output` during `decode` |
//! | when does `decode` pause | until the exchange in progress has ended | never |
//! | flow control, receiving | TCP's window: `credit` adds to `take_credit` | `credit` also writes WINDOW_UPDATE for stream and connection |
//! | flow control, sending | TCP's: `encode_body` writes all | `encode_body` writes what both windows and fairness allow and keeps the rest in its stream; `poll_body` writes that by turns and says whose it was |
//! | deadlines | none | SETTINGS and PING unanswered, a stream that stands still: `next_deadline`, `handle_timeout` |
//! | a message without body | `BodyLength::None` | END_STREAM on HEADERS |
//! | trailers | behind the last chunk | HEADERS with END_STREAM |
//! | 1xx | [`Event::Informational`], any number before the final head | the same |
//! | one side gives up a stream | the connection must close | RST_STREAM; [`Event::Reset`] |
//! | no new exchanges | `Connection: close` | GOAWAY; [`Event::GoAway`] names the last stream that was taken |
//! | tunnel | 101 or a 2xx to CONNECT: `is_upgraded`, bytes are `Event::Body` | (extended) CONNECT: DATA is `Event::Body` as ever, [`Head::protocol`] holds `:protocol` |
//! | a broken connection | `decode` fails | `decode` fails after GOAWAY was written to `cx.output` |
//! | a broken stream | is a broken connection | `Event::Reset` with the broken rule after RST_STREAM was written; the others go on. Also for a request whose head was never yielded |
//!
//! # Order of calls
//!
//! Server role: `decode` until None; for each [`Event::Head`] answer with `encode_head` (any number
//! of 1xx, then one final), `encode_body`, `encode_end`. Client role: `open_stream`, `encode_head`,
//! `encode_body`, `encode_end`, and `decode` for the answer. A head is written before the next stream
//! is opened. In both: `poll_body` while TCP has room, `credit` for body bytes that
//! left, `take_credit` after `decode` and `credit`, `must_close` and `is_reusable` after anything.
//!
//! A message whose [`BodyLength`] is `None` is complete with its head: no [`Event::End`] follows, and
//! no `encode_end` is needed. Every other message ends with `End`. Decoders never yield `Known(0)`.
//!
//! Follows RFC 9110 (semantics); RFC 9112, 9113 and 8441 were read for the table above.

mod body_length;
mod codec;
mod error;
mod event;
mod field;
mod head;
mod head_pool;
mod header_edits;
mod host;
mod limits;
mod method;
mod name;
mod run;
pub mod status;
mod stream_id;
mod version;

pub use body_length::BodyLength;
pub use codec::{Codec, CodecContext, Drained, Role};
pub use error::{EncodeError, ProtocolError, ProtocolErrorKind};
pub use event::{Event, ResetReason};
pub use field::{Field, Span};
pub use head::{Head, HeadPatterns, Intact, PackedHead, Scheme, Start};
pub use head_pool::HeadPool;
pub use header_edits::HeaderEdits;
pub use host::is_host;
pub use limits::{HEAD_BYTES_MAX, HeadLimits};
pub use method::Method;
pub use name::{Name, NameId, NameSet, equal_lower};
pub use run::{Framing, Looked, Parts, RUN_TEXT_MAX, Run, RunAt, Runs, run_hash};
pub use stream_id::StreamId;
pub use version::Version;

#[cfg(test)]
mod tests;
