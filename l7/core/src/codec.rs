//! The trait that every protocol implements.

use sluice_base::Instant;
use sluice_buf::{Chain, Pool};

use crate::{
    BodyLength, EncodeError, Event, Head, HeadLimits, HeadPool, ProtocolError, ResetReason,
    StreamId,
};

/// Which side of the connection a codec plays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Receives requests: the listener's side.
    Server,
    /// Sends requests: the upstream side.
    Client,
}

/// What a codec works with during a call; it holds none of it.
pub struct CodecContext<'a> {
    /// Bytes to send, in order; the codec appends.
    pub output: &'a mut Chain,
    /// Where heads and framing are written.
    pub pool: &'a Pool,
    /// Where heads come from.
    pub heads: &'a mut HeadPool,
    /// Limits on heads received.
    pub limits: &'a HeadLimits,
    /// The time of this heartbeat.
    pub now: Instant,
}

/// Body bytes that a codec had kept and has written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Drained {
    /// Whose they were; it may be over with them.
    pub stream: StreamId,
    /// What the caller had attached to the stream.
    pub token: u64,
    /// How many.
    pub bytes: usize,
}

impl std::fmt::Debug for CodecContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodecContext")
            .field("output", &self.output)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// One connection of one protocol, in one role: bytes to events, message parts to bytes.
///
/// See the crate's page for the order of calls. Stream arguments name the exchange; a ping-pong
/// codec has one at a time and does not look at them.
pub trait Codec {
    /// The next event in `input`. None: more bytes are needed, or (ping-pong) the exchange in
    /// progress must end first; then what has not been taken stays in `input`.
    ///
    /// # Errors
    /// The peer broke the protocol. Nothing further is decoded; a server still may `encode_head` an
    /// answer (to any stream), after which the connection must close.
    fn decode(
        &mut self,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError>;

    /// The peer sends no more: call when `decode` has returned None on all that arrived.
    ///
    /// Ends a body that lasts until the connection's end. None: no message was in progress.
    ///
    /// # Errors
    /// The connection ended in the middle of a message.
    fn handle_end_of_input(
        &mut self,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError>;

    /// Takes the end of the message whose body bytes were decoded last, where it is known already
    /// and has no trailers: `Event::End` in short, which `decode` yields otherwise.
    #[inline]
    fn take_end(&mut self) -> bool {
        false
    }

    /// Received bytes that nobody needs any more, since the last call: give them back to TCP.
    fn take_credit(&mut self) -> usize;

    /// `bytes` of a stream's `Event::Body` are gone: the peer may send as many more.
    fn credit(&mut self, stream: StreamId, bytes: usize, cx: &mut CodecContext<'_>);

    /// Starts an exchange (client role). None: no more now, see [`Codec::is_reusable`].
    fn open_stream(&mut self) -> Option<StreamId>;

    /// Writes a head: a request, a 1xx, or a final response. What the head says about framing and
    /// persistence is replaced by what `body` and the connection's state ask for.
    ///
    /// # Errors
    /// See [`EncodeError`]; nothing was written.
    fn encode_head(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError>;

    /// Takes body bytes; returns how many of them are on their way. The rest, which flow control or
    /// the turn of others holds back, stays with the stream until [`Codec::poll_body`] writes it: its
    /// sender is credited then. Slices move, bytes are not copied.
    ///
    /// # Errors
    /// See [`EncodeError`]; nothing was taken.
    fn encode_body(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError>;

    /// Ends a message whose body was not `None`. In a tunnel: the writing side is to be closed.
    ///
    /// # Errors
    /// See [`EncodeError`]; nothing was written.
    fn encode_end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError>;

    /// Takes the last body bytes of a message without trailers, and ends it: `encode_body` and
    /// `encode_end` in one, which may take fewer bytes.
    ///
    /// # Errors
    /// See [`EncodeError`]; the message may be written in part.
    #[inline]
    fn encode_last(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError> {
        let written = self.encode_body(stream, bytes, cx)?;
        self.encode_end(stream, None, cx)?;
        Ok(written)
    }

    /// Gives a stream up. Ping-pong: the connection must close after what was written.
    fn encode_reset(&mut self, stream: StreamId, reason: ResetReason, cx: &mut CodecContext<'_>);

    /// Whether a peer that sees the connection end now knows that the message we are writing to
    /// `stream` is not complete: by its length, its chunks, or its frames. Where only the
    /// connection's end would end it, nothing but a reset tells.
    fn shows_cut(&self, stream: StreamId) -> bool;

    /// Writes up to `burst` body bytes that were kept, of the stream whose turn it is. None: nothing
    /// may be written now. Called while TCP takes more; a burst is what TCP sends at once.
    #[inline]
    fn poll_body(&mut self, _burst: usize, _cx: &mut CodecContext<'_>) -> Option<Drained> {
        None
    }

    /// When [`Codec::handle_timeout`] is to be called.
    #[inline]
    fn next_deadline(&self) -> Instant {
        Instant::NEVER
    }

    /// Does what has come due, one event at a time: called until None.
    ///
    /// # Errors
    /// As [`Codec::decode`]: the peer took too long.
    #[inline]
    fn handle_timeout(
        &mut self,
        _cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        Ok(None)
    }

    /// Takes no new streams from now on: `Connection: close` with the next response, or GOAWAY.
    fn drain(&mut self, cx: &mut CodecContext<'_>);

    /// Whether no exchange is in progress.
    fn is_idle(&self) -> bool;

    /// Client role: whether `open_stream` would give a stream now.
    fn is_reusable(&self) -> bool;

    /// Whether the connection is to be closed as soon as what was written has been sent.
    fn must_close(&self) -> bool;

    /// Exchanges that may be in progress at once: 1 for ping-pong, the peer's setting otherwise.
    fn streams_max(&self) -> u32;

    /// Whether a 101 or a 2xx to CONNECT turned the connection into a tunnel: bytes pass as `Body`
    /// both ways, `End` and `encode_end` stand for the end of each direction.
    fn is_upgraded(&self) -> bool;
}
