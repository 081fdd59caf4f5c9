//! What a peer said.

use sluice_buf::Chain;

use crate::{BodyLength, Head, ProtocolError, StreamId};

/// One part of a message, or a word about its stream or connection.
///
/// Of each stream: any number of `Informational` (client role), one `Head`, then unless its body is
/// `None` any number of `Body` and one `End`. `Reset` ends a stream at any point.
#[derive(Debug)]
pub enum Event {
    /// The head of a request, or the final head of a response.
    Head {
        /// Of this exchange.
        stream: StreamId,
        /// To be given back with `HeadPool::put`.
        head: Box<Head>,
        /// What follows it.
        body: BodyLength,
    },
    /// A 1xx head (not 101): the final one is still to come.
    Informational {
        /// Of this exchange.
        stream: StreamId,
        /// To be given back with `HeadPool::put`.
        head: Box<Head>,
    },
    /// Body bytes, where they arrived, without framing; never empty. They stay charged until
    /// `Codec::credit`.
    Body {
        /// Of this exchange.
        stream: StreamId,
        /// The bytes.
        bytes: Chain,
    },
    /// The message is complete.
    End {
        /// Of this exchange.
        stream: StreamId,
        /// The trailer section, if there was one with fields.
        trailers: Option<Box<Head>>,
    },
    /// The peer gave the stream up, or broke its rules.
    Reset {
        /// This exchange is over.
        stream: StreamId,
        /// Why.
        reason: ResetReason,
        /// The rule that the peer broke, if we gave the stream up for that: then no head of it may
        /// ever have been yielded.
        fault: Option<ProtocolError>,
    },
    /// The peer takes no streams above `last`: those may be tried elsewhere, the others go on.
    GoAway {
        /// The last stream that the peer took or may have taken.
        last: StreamId,
    },
}

/// Why a stream was given up, by us or by the peer (RFC 9113, 7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResetReason {
    /// The rest is not needed: a response was complete before its request.
    NoError,
    /// The exchange is no longer wanted.
    Cancelled,
    /// Not processed at all: safe to try again.
    Refused,
    /// The stream broke the protocol.
    Protocol,
    /// Our own or the peer's fault.
    Internal,
    /// The other connection of a proxied exchange failed.
    ConnectError,
    /// Too much was asked for.
    EnhanceYourCalm,
    /// The exchange needs HTTP/1.1.
    Http11Required,
    /// Any other code, as received.
    Other(u32),
}
