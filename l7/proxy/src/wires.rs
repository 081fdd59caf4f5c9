//! What every codec call needs, and the two ways bytes leave the proxy: `Write` and `Credit`.

use std::collections::VecDeque;

use sluice_base::{ConnId, Instant};
use sluice_buf::{Chain, Pool};
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, EncodeError, Event, Head, HeadLimits, HeadPool, ProtocolError,
    StreamId,
};

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

macro_rules! context {
    ($output:expr, $wires:ident, $limits:expr) => {
        &mut CodecContext {
            output: $output,
            pool: &$wires.pool,
            heads: &mut $wires.heads,
            limits: $limits,
            now: $wires.now,
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
        let Self { codec, input, output, .. } = self;
        codec.decode(input, context!(output, wires, limits))
    }

    pub(crate) fn handle_end_of_input(
        &mut self,
        wires: &mut Wires,
    ) -> Result<Option<Event>, ProtocolError> {
        let Self { codec, output, .. } = self;
        codec.handle_end_of_input(context!(output, wires, &wires.response_limits))
    }

    #[inline]
    pub(crate) fn encode_head(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
        wires: &mut Wires,
    ) -> Result<(), EncodeError> {
        let Self { codec, output, .. } = self;
        codec.encode_head(stream, head, body, context!(output, wires, &wires.response_limits))
    }

    #[inline]
    pub(crate) fn encode_body(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        wires: &mut Wires,
    ) -> Result<usize, EncodeError> {
        let Self { codec, output, .. } = self;
        codec.encode_body(stream, bytes, context!(output, wires, &wires.response_limits))
    }

    #[inline]
    pub(crate) fn encode_end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        wires: &mut Wires,
    ) -> Result<(), EncodeError> {
        let Self { codec, output, .. } = self;
        codec.encode_end(stream, trailers, context!(output, wires, &wires.response_limits))
    }

    pub(crate) fn drain_codec(&mut self, wires: &mut Wires) {
        let Self { codec, output, .. } = self;
        codec.drain(context!(output, wires, &wires.response_limits));
    }

    /// `bytes` of a stream's body went on to the other side: gives them back to the peer.
    #[inline]
    pub(crate) fn credit_body(&mut self, stream: StreamId, bytes: usize, wires: &mut Wires) {
        let Self { codec, output, .. } = self;
        codec.credit(stream, bytes, context!(output, wires, &wires.response_limits));
    }
}
