//! The two halves of an exchange.
//!
//! ```text
//!   Receive, server                              Receive, client
//!
//!   Head <------------------------------+        Done <----------------------+ (idle)
//!    | request head                     |          | request head written     |
//!    +-> Sized | Chunked ---> Ending    | both     v                          | both
//!    |     | last byte          | End   | done    Head -- 1xx --> Head        | done
//!    |     +-> Trailers --------+       |          | final head              |
//!    v                          v       |          +-> Sized | Chunked | UntilClose --> Ending
//!   Done <----------------------+ ------+          +-> Tunnel (101, 2xx to CONNECT)
//!    | 101 or 2xx to CONNECT written                v
//!    +-> Tunnel --> TunnelEnded                    Done
//!
//!   Send: Idle --> Head --> Sized | Chunked | UntilClose | Discard --> Done --> Idle
//!                    +----> Tunnel --> TunnelEnded
//!
//!   any --> Failed: the connection must close
//! ```

use crate::error::Fault;
use crate::frame::ChunkReader;
use crate::scan::Scan;

/// What the next byte received is part of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Receive {
    /// A head, whose end is looked for.
    Head(Scan),
    /// A body with a length; `left` is above 0.
    Sized { left: u64 },
    /// A chunked body.
    Chunked(ChunkReader),
    /// The section behind the last chunk.
    Trailers(Scan),
    /// A body that the connection's end ends.
    UntilClose,
    /// Nothing: the body is complete, the caller has not been told.
    Ending,
    /// Nothing until the exchange has ended.
    Done,
    /// Whatever the tunnel's ends say to each other.
    Tunnel,
    /// Nothing: the tunnel's other end has finished.
    TunnelEnded,
    /// Nothing: this rule was broken behind bytes that were fine; the caller is told next.
    Broken(Fault),
    /// Nothing: the peer broke the protocol, or the exchange was given up.
    Failed,
}

/// What may be written next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Send {
    /// Nothing: no exchange.
    Idle,
    /// A head.
    Head,
    /// So many body bytes.
    Sized { left: u64 },
    /// Chunks, the last chunk. `line_end`: the last chunk's data still lacks its CRLF.
    Chunked { line_end: bool },
    /// Body bytes; then the connection closes.
    UntilClose,
    /// A body that is not sent, since a response to HEAD or of this status has none.
    Discard,
    /// Nothing until the exchange has ended.
    Done,
    /// Whatever the tunnel's ends say to each other.
    Tunnel,
    /// Nothing: our side of the tunnel has finished.
    TunnelEnded,
    /// Nothing: the exchange was given up.
    Failed,
}

/// What the request of the exchange in progress said that its response depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exchange {
    /// HEAD: the response has no body.
    pub(crate) head: bool,
    /// CONNECT: a 2xx makes a tunnel.
    pub(crate) connect: bool,
    /// A 101 makes a tunnel.
    pub(crate) upgrade: bool,
    /// HTTP/1.0: no chunks, no 1xx, keep-alive is said.
    pub(crate) http10: bool,
    /// The client waits for a 100, which has not been written, nor has body arrived.
    pub(crate) awaits_continue: bool,
    /// 1xx responses so far.
    pub(crate) informational: u8,
}
