//! What every codec call needs, and the two ways bytes leave the proxy: `Write` and `Credit`.

use std::collections::VecDeque;

use sluice_base::{ConnId, Instant};
use sluice_buf::{Chain, Pool};
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, Drained, EncodeError, Event, Head, HeadLimits, HeadPool,
    ProtocolError, ResetReason, StreamId,
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
    /// A write in front of them, and more behind that: the usual case, in which nothing else is asked
    /// for, and mostly the first is all.
    first: Option<(ConnId, Chain)>,
    writes: VecDeque<(ConnId, Chain)>,
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
            first: None,
            writes: VecDeque::with_capacity(VERBS),
            current: None,
            earned: 0,
            response_limits: HeadLimits::default(),
        }
    }

    #[inline]
    pub(crate) fn put_head(&mut self, head: Box<Head>) {
        self.heads.put(head);
    }

    /// Asks for `bytes` to be sent.
    #[inline]
    pub(crate) fn write(&mut self, conn: ConnId, bytes: Chain) {
        if self.first.is_none() && self.writes.is_empty() && self.verbs.is_empty() {
            self.first = Some((conn, bytes));
        } else {
            self.write_behind(conn, bytes);
        }
    }

    #[inline(never)]
    fn write_behind(&mut self, conn: ConnId, bytes: Chain) {
        if self.verbs.is_empty() {
            self.writes.push_back((conn, bytes));
        } else {
            self.verbs.push_back(Verb::Write { conn, bytes });
        }
    }

    /// The next of the writes in front of all verbs.
    #[inline]
    pub(crate) fn pop_write(&mut self) -> Option<(ConnId, Chain)> {
        self.first.take().or_else(|| self.writes.pop_front())
    }

    /// What is asked for next.
    #[inline]
    pub(crate) fn pop_verb(&mut self) -> Option<Verb> {
        match self.pop_write() {
            Some((conn, bytes)) => Some(Verb::Write { conn, bytes }),
            None => self.verbs.pop_front(),
        }
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
            SessionCodec::Http1(coded) => coded!(@call coded, $wires, $limits, |$coded, $cx| $call),
            SessionCodec::Http2(coded) => coded!(@call coded, $wires, $limits, |$coded, $cx| $call),
        }
    };
    (@call $boxed:ident, $wires:ident, $limits:expr, |$coded:ident, $cx:ident| $call:expr) => {{
        let $coded = &mut **$boxed;
        let $cx = &mut CodecContext {
            output: &mut $coded.output,
            pool: &$wires.pool,
            heads: &mut $wires.heads,
            limits: $limits,
            now: $wires.now,
        };
        $call
    }};
}

/// The codec's verbs, with the session's own chains.
impl Session {
    // Inlined always: an event is too large to be handed on.
    #[inline(always)]
    pub(crate) fn decode(
        &mut self,
        limits: &HeadLimits,
        wires: &mut Wires,
    ) -> Result<Option<Event>, ProtocolError> {
        match &mut self.codec {
            SessionCodec::Http1(coded) => {
                coded!(@call coded, wires, limits, |coded, cx| coded.codec.decode(&mut coded.input, cx))
            }
            SessionCodec::Opaque => Ok(None),
            SessionCodec::Http2(_) => self.decode_multiplexed(limits, wires),
        }
    }

    // Out of line, so that HTTP/1.1 does not pay for it.
    #[inline(never)]
    fn decode_multiplexed(
        &mut self,
        limits: &HeadLimits,
        wires: &mut Wires,
    ) -> Result<Option<Event>, ProtocolError> {
        self.decode_http2(limits, wires)
    }

    /// The same where it is known to carry many exchanges.
    #[inline(always)]
    pub(crate) fn decode_http2(
        &mut self,
        limits: &HeadLimits,
        wires: &mut Wires,
    ) -> Result<Option<Event>, ProtocolError> {
        let SessionCodec::Http2(coded) = &mut self.codec else { return Ok(None) };
        coded!(@call coded, wires, limits, |coded, cx| coded.codec.decode(&mut coded.input, cx))
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

    #[inline(always)]
    pub(crate) fn encode_body(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        wires: &mut Wires,
    ) -> Result<usize, EncodeError> {
        match &mut self.codec {
            SessionCodec::Http1(coded) => {
                let limits = &wires.response_limits;
                coded!(@call coded, wires, limits, |coded, cx| {
                    coded.codec.encode_body(stream, bytes, cx)
                })
            }
            SessionCodec::Opaque => Err(EncodeError::WrongState),
            SessionCodec::Http2(_) => self.encode_body_multiplexed(stream, bytes, wires),
        }
    }

    #[inline(never)]
    fn encode_body_multiplexed(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        wires: &mut Wires,
    ) -> Result<usize, EncodeError> {
        let (limits, opaque) = (&wires.response_limits, Err(EncodeError::WrongState));
        coded!(self, wires, limits, |coded, cx| coded.codec.encode_body(stream, bytes, cx), opaque)
    }

    /// The last bytes of a body of HTTP/2, which has no trailers; whether it could be asked.
    #[inline(never)]
    pub(crate) fn encode_last_multiplexed(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        wires: &mut Wires,
    ) -> Result<usize, EncodeError> {
        let (limits, opaque) = (&wires.response_limits, Err(EncodeError::WrongState));
        coded!(self, wires, limits, |coded, cx| coded.codec.encode_last(stream, bytes, cx), opaque)
    }

    /// Of `count` body bytes that came on a stream of this connection, so many have gone on: it may
    /// send as many more. The others are owed, by their exchange where there are several.
    #[inline]
    pub(crate) fn owe_or_credit(
        &mut self,
        stream: StreamId,
        (count, gone): (usize, usize),
        owed_by_exchange: &mut u32,
        wires: &mut Wires,
    ) {
        let owed = match &self.codec {
            SessionCodec::Http2(_) => owed_by_exchange,
            SessionCodec::Http1(_) | SessionCodec::Opaque => &mut self.owed,
        };
        *owed += (count - gone.min(count)) as u32;
        if gone > 0 {
            self.credit_body(stream, gone, wires);
        }
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

    /// Gives a stream up, where the others go on.
    pub(crate) fn reset_stream(
        &mut self,
        stream: StreamId,
        reason: ResetReason,
        wires: &mut Wires,
    ) {
        let limits = &wires.response_limits;
        coded!(self, wires, limits, |coded, cx| coded.codec.encode_reset(stream, reason, cx), ());
    }

    /// Writes body bytes that waited for a window or for their turn.
    pub(crate) fn poll_body(&mut self, burst: usize, wires: &mut Wires) -> Option<Drained> {
        let limits = &wires.response_limits;
        coded!(self, wires, limits, |coded, cx| coded.codec.poll_body(burst, cx), None)
    }

    /// Tells the peer of a connection that carries many exchanges which ones were served, before
    /// it is closed (RFC 9113, 6.8).
    pub(crate) fn say_goodbye(&mut self, wires: &mut Wires) {
        let SessionCodec::Http2(coded) = &mut self.codec else { return };
        let limits = &wires.response_limits;
        coded!(@call coded, wires, limits, |coded, cx| coded.codec.say_goodbye(cx));
    }

    /// Says what comes before the first request.
    pub(crate) fn start(&mut self, wires: &mut Wires) {
        let SessionCodec::Http2(coded) = &mut self.codec else { return };
        let limits = &wires.response_limits;
        coded!(@call coded, wires, limits, |coded, cx| coded.codec.start(cx));
    }

    /// Lets the windows of a connection grow.
    pub(crate) fn grant_window(&mut self, bytes: u32, wires: &mut Wires) {
        let SessionCodec::Http2(coded) = &mut self.codec else { return };
        let limits = &wires.response_limits;
        coded!(@call coded, wires, limits, |coded, cx| coded.codec.grant_window(bytes, cx));
    }

    #[cold]
    pub(crate) fn lend_window(&mut self, bytes: u32, wires: &mut Wires) {
        let SessionCodec::Http2(coded) = &mut self.codec else { return };
        let limits = &wires.response_limits;
        coded!(@call coded, wires, limits, |coded, cx| coded.codec.lend_window(bytes, cx));
    }

    /// Does what the codec's deadlines ask for.
    pub(crate) fn handle_timeout(
        &mut self,
        wires: &mut Wires,
    ) -> Result<Option<Event>, ProtocolError> {
        let limits = &wires.response_limits;
        coded!(self, wires, limits, |coded, cx| coded.codec.handle_timeout(cx), Ok(None))
    }

    /// `bytes` of a stream's body went on to the other side: gives them back to the peer.
    #[inline]
    pub(crate) fn credit_body(&mut self, stream: StreamId, bytes: usize, wires: &mut Wires) {
        let limits = &wires.response_limits;
        coded!(self, wires, limits, |coded, cx| coded.codec.credit(stream, bytes, cx), ());
    }
}
