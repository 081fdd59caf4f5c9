//! One stream (RFC 9113, 5.1), as two halves.
//!
//! ```text
//!   receive, server:  (created by HEADERS)  Body --- END_STREAM ---> Done
//!   receive, client:  Head -- 1xx --> Head -- final --> Body --- END_STREAM ---> Done
//!
//!   send:  Head --> Body --> Ending (queued bytes, then END_STREAM) --> Done
//!
//!   both Done, or RST_STREAM either way: the stream is gone
//! ```
//!
//! `Body` and `Done` on the receiving side are RFC 9113's open and half-closed (remote), on the
//! sending side open and half-closed (local); idle and closed streams are those that are not in the
//! table, told apart by the highest id that was used.

use sluice_buf::Chain;

use crate::streams::NIL;

/// What may be received next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Receive {
    /// A response's head, 1xx or final.
    Head,
    /// DATA, or trailers.
    Body,
    /// Nothing.
    Done,
}

/// What may be written next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Send {
    /// A head.
    Head,
    /// Body bytes, the end.
    Body,
    /// Nothing; what is queued has not left yet.
    Ending,
    /// Nothing.
    Done,
}

/// No length was announced.
pub(crate) const NO_LENGTH: u64 = u64::MAX;

/// Urgency where nothing was said (RFC 9218, 4.1).
pub(crate) const URGENCY: u8 = 3;

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// 0: the slot is free.
    pub(crate) id: u32,
    /// Neighbours in a list of ready streams, or of free slots.
    pub(crate) next: u16,
    pub(crate) prev: u16,
    pub(crate) receive: Receive,
    pub(crate) send: Send,
    /// RFC 9218: 0 is the most urgent.
    pub(crate) urgency: u8,
    /// 1xx responses so far.
    pub(crate) informational: u8,
    /// The request was HEAD: its response has no body.
    pub(crate) head: bool,
    /// The request was CONNECT: a 2xx makes a tunnel.
    pub(crate) connect: bool,
    pub(crate) is_ready: bool,
    /// The last of the announced bytes wait for the end, to carry END_STREAM.
    pub(crate) held: bool,
    /// Bytes that the peer allows; negative after it lowered its setting.
    pub(crate) send_window: i32,
    /// Bytes received that no WINDOW_UPDATE has given back.
    pub(crate) outstanding: u32,
    /// Of those, what the caller has credited.
    pub(crate) credited: u32,
    /// When it began to stand still, in seconds; 0: it does not.
    pub(crate) still_since: u32,
    /// Bytes that moved since.
    pub(crate) moved: u32,
    /// Body bytes that are still to be received by Content-Length.
    pub(crate) expected: u64,
    /// Body bytes that are still to be written by Content-Length.
    pub(crate) announced: u64,
    /// Body bytes that wait for a window, or for their turn.
    pub(crate) queue: Chain,
    /// What ends the message behind them: a HEADERS frame with trailers; or nothing.
    pub(crate) tail: Chain,
    /// The caller's own.
    pub(crate) token: u64,
}

// 100,000 idle streams cost at most 400 bytes each, of which an exchange has most.
const _: () = assert!(size_of::<Stream>() <= 104);

impl Stream {
    pub(crate) fn new(id: u32, send_window: i32) -> Self {
        Self {
            id,
            next: NIL,
            prev: NIL,
            receive: Receive::Head,
            send: Send::Head,
            urgency: URGENCY,
            informational: 0,
            head: false,
            connect: false,
            is_ready: false,
            held: false,
            send_window,
            outstanding: 0,
            credited: 0,
            still_since: 0,
            moved: 0,
            expected: NO_LENGTH,
            announced: NO_LENGTH,
            queue: Chain::new(),
            tail: Chain::new(),
            token: 0,
        }
    }
}
