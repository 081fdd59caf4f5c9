//! The codec of a session: an enum, so that the hot path has no virtual call.

use sluice_base::{Instant, SlabKey};
use sluice_buf::Chain;
use sluice_l7_core::{Codec, StreamId};
use sluice_l7_filter::Said;
use sluice_l7_http1::Http1;
use sluice_l7_http2::Http2;

/// What is spoken on a connection.
#[derive(Debug, Default)]
pub(crate) enum SessionCodec {
    /// Nothing that we look into: a relay, or a connection that is not up yet.
    #[default]
    Opaque,
    /// HTTP/1.1. Out of line: a relay has two sessions and speaks it on neither.
    Http1(Box<Coded<Http1, PingPong>>),
    /// HTTP/2.
    Http2(Box<Coded<Http2, Multiplexed>>),
}

/// A codec with its bytes on both sides.
#[derive(Debug)]
pub(crate) struct Coded<C, More = ()> {
    pub(crate) codec: C,
    pub(crate) more: More,
    /// Received, not decoded; charged by the stack.
    pub(crate) input: Chain,
    /// Written by the codec, not yet handed to the stack; empty between calls.
    pub(crate) output: Chain,
}

/// What only a connection that carries one exchange at a time has.
#[derive(Debug)]
pub(crate) struct PingPong {
    /// HTTP/1.1 it is: until then a client may turn out to speak HTTP/2.
    pub(crate) told_apart: bool,
    /// When it takes no more requests, in tenths of seconds; a connection has no room for more.
    ends_at: u32,
    /// What filters say about every request.
    said: Said,
}

impl Default for PingPong {
    fn default() -> Self {
        Self { told_apart: false, ends_at: u32::MAX, said: Said::default() }
    }
}

impl PingPong {
    /// It takes no more requests from `at` on, or a little later; or it always does.
    pub(crate) fn set_end(&mut self, at: Instant) {
        self.ends_at = u32::try_from(at.as_nanos().div_ceil(TENTH)).unwrap_or(u32::MAX);
    }

    /// When it takes no more requests.
    #[inline]
    pub(crate) fn ends_at(&self) -> Instant {
        match self.ends_at {
            u32::MAX => Instant::NEVER,
            tenths => Instant::ZERO.plus_nanos(u64::from(tenths) * TENTH),
        }
    }
}

/// In nanoseconds.
const TENTH: u64 = 100_000_000;

impl Coded<Http1, PingPong> {
    /// Whether it carries nothing, may carry another request, and no time is set at which it ends.
    #[inline]
    pub(crate) fn is_free_for_good(&self) -> bool {
        self.codec.is_reusable() && self.input.is_empty() && self.more.ends_at == u32::MAX
    }
}

/// What only a connection that carries many exchanges has.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    /// When it has carried none for long enough.
    pub(crate) idle_at: Instant,
    /// When what has begun to arrive must have arrived.
    pub(crate) whole_at: Instant,
    /// When it takes no more requests.
    pub(crate) ends_at: Instant,
    /// Requests that it still takes.
    pub(crate) requests_left: u32,
    /// When memory is given up that it needs no more.
    pub(crate) trim_at: Instant,
    /// Bytes of window beyond those of every connection.
    pub(crate) granted: u32,
    /// So many times no end of a request is looked for that could pass in one piece: one that did not
    /// went to an endpoint of HTTP/1.1, as others will.
    pub(crate) lasts_off: u8,
    /// The first request that waits for the endpoint's settings, or the name of nothing.
    pub(crate) awaiting: SlabKey,
    /// The process ends, and the client may not have heard so yet.
    pub(crate) leaving: bool,
    /// The stack takes no bytes now.
    pub(crate) held: bool,
    /// On the list of connections to be settled at the end of the call.
    pub(crate) touched: bool,
    /// What it used up of its budgets has been charged to its source, or was too little.
    pub(crate) charged: bool,
    /// It has flooded: cycles spent on it are counted as such.
    pub(crate) flooded: bool,
    /// Cycles spent on it so far, estimated.
    pub(crate) cycles: u64,
    /// What filters say about every request.
    said: Said,
}

impl Default for Multiplexed {
    fn default() -> Self {
        let never = Instant::NEVER;
        Self {
            idle_at: never,
            whole_at: never,
            ends_at: never,
            requests_left: u32::MAX,
            trim_at: never,
            granted: 0,
            lasts_off: 0,
            awaiting: SlabKey::NONE,
            leaving: false,
            held: false,
            touched: false,
            charged: false,
            flooded: false,
            cycles: 0,
            said: Said::default(),
        }
    }
}

impl<C, More: Default> Coded<C, More> {
    pub(crate) fn new(codec: C) -> Self {
        Self { codec, more: More::default(), input: Chain::new(), output: Chain::new() }
    }

    /// Drops what was neither decoded nor handed on.
    pub(crate) fn clear(&mut self) {
        self.input = Chain::new();
        self.output = Chain::new();
    }
}

/// Calls the codec; an opaque connection has none to ask.
macro_rules! each {
    ($self:ident, $coded:ident => $call:expr, $opaque:expr) => {
        match $self {
            Self::Opaque => $opaque,
            Self::Http1($coded) => $call,
            Self::Http2($coded) => $call,
        }
    };
}

impl SessionCodec {
    /// What filters say about every request of the connection.
    #[inline]
    pub(crate) fn said_mut(&mut self) -> Option<&mut Said> {
        match self {
            Self::Opaque => None,
            Self::Http1(coded) => Some(&mut coded.more.said),
            Self::Http2(coded) => Some(&mut coded.more.said),
        }
    }

    #[inline]
    pub(crate) fn is_opaque(&self) -> bool {
        matches!(self, Self::Opaque)
    }

    /// Whether it carries many exchanges at a time.
    #[inline]
    pub(crate) fn is_multiplexed(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Whether there was more to decode than one turn takes.
    #[inline]
    pub(crate) fn take_pause(&mut self) -> bool {
        match self {
            Self::Http2(coded) => coded.codec.take_pause(),
            Self::Opaque | Self::Http1(_) => false,
        }
    }

    /// Whether everything that was received is decoded.
    #[inline]
    pub(crate) fn is_input_empty(&self) -> bool {
        each!(self, coded => coded.input.is_empty(), true)
    }

    /// What was received and not decoded.
    pub(crate) fn take_input(&mut self) -> Chain {
        each!(self, coded => std::mem::take(&mut coded.input), Chain::new())
    }

    /// Whether everything that was written is handed to the stack.
    #[inline]
    pub(crate) fn is_output_empty(&self) -> bool {
        each!(self, coded => coded.output.is_empty(), true)
    }

    /// What was written and not yet handed to the stack, if there is anything.
    #[inline]
    pub(crate) fn unsent(&mut self) -> Option<&mut Chain> {
        let output = each!(self, coded => &mut coded.output, return None);
        (!output.is_empty()).then_some(output)
    }

    #[inline(always)]
    pub(crate) fn take_end(&mut self) -> bool {
        each!(self, coded => coded.codec.take_end(), false)
    }

    #[inline]
    pub(crate) fn take_credit(&mut self) -> usize {
        each!(self, coded => coded.codec.take_credit(), 0)
    }

    #[inline]
    pub(crate) fn open_stream(&mut self) -> Option<StreamId> {
        each!(self, coded => coded.codec.open_stream(), None)
    }

    /// Whether its client may not have heard that the process ends; it need not any more.
    #[inline]
    pub(crate) fn take_leaving(&mut self) -> bool {
        match self {
            Self::Http2(coded) => std::mem::take(&mut coded.more.leaving),
            Self::Http1(_) | Self::Opaque => false,
        }
    }

    /// When it takes no more requests, if it carries one at a time.
    #[inline]
    pub(crate) fn ends_at(&self) -> Instant {
        match self {
            Self::Http1(coded) => coded.more.ends_at(),
            Self::Http2(_) | Self::Opaque => Instant::NEVER,
        }
    }

    /// Whether there is such a time.
    #[inline]
    pub(crate) fn has_end(&self) -> bool {
        matches!(self, Self::Http1(coded) if coded.more.ends_at != u32::MAX)
    }

    /// The same, from now on.
    pub(crate) fn set_end(&mut self, at: Instant) {
        if let Self::Http1(coded) = self {
            coded.more.set_end(at);
        }
    }

    pub(crate) fn shows_cut(&self, stream: StreamId) -> bool {
        each!(self, coded => coded.codec.shows_cut(stream), false)
    }

    #[inline]
    pub(crate) fn is_reusable(&self) -> bool {
        each!(self, coded => coded.codec.is_reusable(), false)
    }

    #[inline]
    pub(crate) fn must_close(&self) -> bool {
        each!(self, coded => coded.codec.must_close(), false)
    }

    pub(crate) fn is_idle(&self) -> bool {
        each!(self, coded => coded.codec.is_idle(), true)
    }

    pub(crate) fn is_upgraded(&self) -> bool {
        each!(self, coded => coded.codec.is_upgraded(), false)
    }
}
