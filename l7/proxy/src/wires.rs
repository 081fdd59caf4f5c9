//! What every codec call needs, and the two ways bytes leave the proxy: `Write` and `Credit`.

use std::collections::VecDeque;

use sluice_base::{ConnId, Instant};
use sluice_buf::{Chain, Pool};
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, EncodeError, Event, Head, HeadLimits, HeadPool, ProtocolError,
    StreamId,
};

use crate::codec::SessionCodec;
use crate::sessions::Session;
use crate::verbs::Verb;

/// Verbs that fit before the queue allocates; one call yields a handful.
const VERBS: usize = 1_024;

/// Memory, heads, time, and the verbs on their way out.
pub(crate) struct Wires {
    pub(crate) pool: Pool,
    pub(crate) heads: HeadPool,
    pub(crate) now: Instant,
    pub(crate) verbs: VecDeque<Verb>,
    /// Whose bytes the current call is about, and how many of them were let go: the usual case, in
    /// which no verb is queued for it.
    pub(crate) current: Option<ConnId>,
    pub(crate) earned: usize,
    /// Limits on response heads and trailers, which no listener configures.
    pub(crate) response_limits: HeadLimits,
}

impl Wires {
    pub(crate) fn new(pool: Pool, heads_max: usize) -> Self {
        Self {
            pool,
            heads: HeadPool::new(heads_max.min(256), heads_max),
            now: Instant::ZERO,
            verbs: VecDeque::with_capacity(VERBS),
            current: None,
            earned: 0,
            response_limits: HeadLimits::default(),
        }
    }

    #[inline]
    pub(crate) fn put_head(&mut self, head: Box<Head>) {
        self.heads.put(head);
    }

    /// The window of `conn` may open by `bytes`.
    #[inline]
    pub(crate) fn credit(&mut self, conn: ConnId, bytes: usize) {
        if self.current == Some(conn) {
            self.earned += bytes;
        } else if bytes > 0 {
            self.verbs.push_back(Verb::Credit { conn, bytes });
        }
    }
}

/// Calls the codec with its own chains; an opaque connection has none to ask.
macro_rules! coded {
    ($session:ident, $wires:ident, $limits:expr, |$coded:ident, $cx:ident| $call:expr, $opaque:expr) => {
        match &mut $session.codec {
            SessionCodec::Opaque => $opaque,
            SessionCodec::Http1(coded) => {
                let $coded = &mut **coded;
                let $cx = &mut CodecContext {
                    output: &mut $coded.output,
                    pool: &$wires.pool,
                    heads: &mut $wires.heads,
                    limits: $limits,
                    now: $wires.now,
                };
                $call
            }
        }
    };
}

/// The codec's verbs, with the session's own chains.
impl Session {
    #[inline]
    pub(crate) fn decode(
        &mut self,
        limits: &HeadLimits,
        wires: &mut Wires,
    ) -> Result<Option<Event>, ProtocolError> {
        coded!(self, wires, limits, |coded, cx| coded.codec.decode(&mut coded.input, cx), Ok(None))
    }

    pub(crate) fn handle_end_of_input(
        &mut self,
        wires: &mut Wires,
    ) -> Result<Option<Event>, ProtocolError> {
        let limits = &wires.response_limits;
        coded!(self, wires, limits, |coded, cx| coded.codec.handle_end_of_input(cx), Ok(None))
    }

    #[inline]
    pub(crate) fn encode_head(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
        wires: &mut Wires,
    ) -> Result<(), EncodeError> {
        let (limits, opaque) = (&wires.response_limits, Err(EncodeError::WrongState));
        coded!(
            self,
            wires,
            limits,
            |coded, cx| coded.codec.encode_head(stream, head, body, cx),
            opaque
        )
    }

    #[inline]
    pub(crate) fn encode_body(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        wires: &mut Wires,
    ) -> Result<usize, EncodeError> {
        let (limits, opaque) = (&wires.response_limits, Err(EncodeError::WrongState));
        coded!(self, wires, limits, |coded, cx| coded.codec.encode_body(stream, bytes, cx), opaque)
    }

    #[inline]
    pub(crate) fn encode_end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        wires: &mut Wires,
    ) -> Result<(), EncodeError> {
        let (limits, opaque) = (&wires.response_limits, Err(EncodeError::WrongState));
        coded!(
            self,
            wires,
            limits,
            |coded, cx| coded.codec.encode_end(stream, trailers, cx),
            opaque
        )
    }

    pub(crate) fn drain_codec(&mut self, wires: &mut Wires) {
        let limits = &wires.response_limits;
        coded!(self, wires, limits, |coded, cx| coded.codec.drain(cx), ());
    }

    /// `bytes` of a stream's body went on to the other side: gives them back to the peer.
    #[inline]
    pub(crate) fn credit_body(&mut self, stream: StreamId, bytes: usize, wires: &mut Wires) {
        let limits = &wires.response_limits;
        coded!(self, wires, limits, |coded, cx| coded.codec.credit(stream, bytes, cx), ());
    }
}
