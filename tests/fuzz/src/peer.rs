//! One end of a connection of HTTP, of any version: what the targets drive a codec by.

use sluice_base::Instant;
use sluice_buf::{Chain, Pool, chain_nodes_in_use};
use sluice_l7_core::{Codec, CodecContext, HeadLimits, HeadPool};

/// More than the largest input needs when each byte has a buffer of its own.
const BUFFERS: u32 = 8_192;

thread_local! {
    static POOL: Pool = Pool::heap(BUFFERS);
}

/// A codec with its bytes on both sides.
pub(crate) struct Peer<C> {
    pub(crate) codec: C,
    pub(crate) input: Chain,
    pub(crate) output: Chain,
    pub(crate) heads: HeadPool,
    pub(crate) limits: HeadLimits,
    pool: Pool,
}

impl<C: Codec> Peer<C> {
    pub(crate) fn new(codec: C, limits: HeadLimits) -> Self {
        let (input, output) = (Chain::new(), Chain::new());
        let pool = POOL.with(Pool::share);
        Self { codec, input, output, heads: HeadPool::new(1, 4), limits, pool }
    }

    /// Calls the codec, at a time that stands still.
    pub(crate) fn with<R>(
        &mut self,
        f: impl FnOnce(&mut C, &mut Chain, &mut CodecContext<'_>) -> R,
    ) -> R {
        let mut cx = CodecContext {
            output: &mut self.output,
            pool: &self.pool,
            heads: &mut self.heads,
            limits: &self.limits,
            now: Instant::ZERO,
        };
        f(&mut self.codec, &mut self.input, &mut cx)
    }

    /// Bytes in a buffer of their own.
    pub(crate) fn chain(&self, bytes: &[u8]) -> Chain {
        Chain::copy_from(bytes, &self.pool).expect("the pool is large enough")
    }

    /// These bytes arrive.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let mut bytes = self.chain(bytes);
        self.input.append(&mut bytes);
    }
}

/// All peers are gone: nothing is left of them.
pub(crate) fn census() {
    POOL.with(|pool| assert_eq!(pool.in_use(), 0, "every buffer is home"));
    assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
}
