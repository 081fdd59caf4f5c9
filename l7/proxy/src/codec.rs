//! The codec of a session: an enum, so that the hot path has no virtual call.

use sluice_buf::Chain;
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, EncodeError, Event, Head, ProtocolError, ResetReason, StreamId,
};
use sluice_l7_http1::Http1;

/// What is spoken on a connection.
#[derive(Debug, Default)]
pub(crate) enum SessionCodec {
    /// Nothing that we look into: a relay, or a connection that is not up yet.
    #[default]
    Opaque,
    /// HTTP/1.1. Out of line: a relay has two sessions and speaks it on neither.
    Http1(Box<Http1>),
}

/// Calls the codec; an opaque connection has none to ask.
macro_rules! each {
    ($self:ident, $codec:ident => $call:expr, $opaque:expr) => {
        match $self {
            Self::Opaque => $opaque,
            Self::Http1($codec) => $call,
        }
    };
}

impl SessionCodec {
    pub(crate) fn is_opaque(&self) -> bool {
        matches!(self, Self::Opaque)
    }
}

impl Codec for SessionCodec {
    #[inline]
    fn decode(
        &mut self,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        each!(self, codec => codec.decode(input, cx), Ok(None))
    }

    #[inline]
    fn take_end(&mut self) -> bool {
        each!(self, codec => codec.take_end(), false)
    }

    fn handle_end_of_input(
        &mut self,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        each!(self, codec => codec.handle_end_of_input(cx), Ok(None))
    }

    #[inline]
    fn take_credit(&mut self) -> usize {
        each!(self, codec => codec.take_credit(), 0)
    }

    #[inline]
    fn credit(&mut self, stream: StreamId, bytes: usize, cx: &mut CodecContext<'_>) {
        each!(self, codec => codec.credit(stream, bytes, cx), ());
    }

    #[inline]
    fn open_stream(&mut self) -> Option<StreamId> {
        each!(self, codec => codec.open_stream(), None)
    }

    #[inline]
    fn encode_head(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        let opaque = Err(EncodeError::WrongState);
        each!(self, codec => codec.encode_head(stream, head, body, cx), opaque)
    }

    #[inline]
    fn encode_body(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError> {
        let opaque = Err(EncodeError::WrongState);
        each!(self, codec => codec.encode_body(stream, bytes, cx), opaque)
    }

    #[inline]
    fn encode_end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        let opaque = Err(EncodeError::WrongState);
        each!(self, codec => codec.encode_end(stream, trailers, cx), opaque)
    }

    fn encode_reset(&mut self, stream: StreamId, reason: ResetReason, cx: &mut CodecContext<'_>) {
        each!(self, codec => codec.encode_reset(stream, reason, cx), ());
    }

    fn shows_cut(&self, stream: StreamId) -> bool {
        each!(self, codec => codec.shows_cut(stream), false)
    }

    fn body_room(&self, stream: StreamId) -> usize {
        each!(self, codec => codec.body_room(stream), usize::MAX)
    }

    fn drain(&mut self, cx: &mut CodecContext<'_>) {
        each!(self, codec => codec.drain(cx), ());
    }

    fn is_idle(&self) -> bool {
        each!(self, codec => codec.is_idle(), true)
    }

    #[inline]
    fn is_reusable(&self) -> bool {
        each!(self, codec => codec.is_reusable(), false)
    }

    #[inline]
    fn must_close(&self) -> bool {
        each!(self, codec => codec.must_close(), false)
    }

    fn streams_max(&self) -> u32 {
        each!(self, codec => codec.streams_max(), 1)
    }

    fn is_upgraded(&self) -> bool {
        each!(self, codec => codec.is_upgraded(), false)
    }
}
