//! Received bytes, the memory that they hold, and the window that follows from it.
//!
//! ```text
//!   ----+--------------+------------------+-----------+------------------+----> sequence numbers
//!       read, charged  queued, readable   next        reassembly         edge
//!                                         RCV.NXT     [....]   [..]      RCV.NXT + RCV.WND as told
//! ```
//!
//! Memory is charged in buffers: what is queued, what waits for a hole to be filled, and what the
//! application has read and not credited. The window offered is the free part of the budget times
//! the bytes that a buffer of this connection carried lately. It is never withdrawn: `edge` only
//! moves forward, and what was promised under a better fill ratio is kept by copying payloads
//! together. Buffers held exceed the budget only for such a promise, and never twice the budget,
//! whatever arrives.

mod reassembly;
mod tuning;

use sluice_buf::{Chain, Pool, Pressure};
use sluice_wire::{SackBlocks, SeqNumber};

use crate::config::Config;
use crate::context::Context;
use crate::limits;
use crate::spares::Spare;
pub(crate) use reassembly::{Insert, Pieces, Reassembly};

#[derive(Debug)]
pub(crate) struct ReceiveQueue {
    /// In-order bytes that the application has not read.
    pub(crate) queue: Chain,
    /// RCV.NXT.
    pub(crate) next: SeqNumber,
    /// RCV.NXT + RCV.WND, the right edge of the window as promised.
    pub(crate) edge: SeqNumber,
    /// RCV.NXT of the last segment sent (Last.ACK.sent).
    pub(crate) acknowledged: SeqNumber,
    /// Bytes that the application read and has not let go of.
    charged_bytes: u32,
    /// Buffers that hold them.
    charged_buffers: u16,
    /// Buffers that the connection may hold altogether.
    budget: u16,
    /// Bytes per buffer, a moving average.
    fill: u16,
    /// Largest payload seen, at most the announced MSS: what "full-sized" means for ACKs.
    pub(crate) segment_size: u16,
    /// What arrived ahead of a hole. Out of line: most connections never need it.
    pub(crate) reassembly: Spare<Reassembly>,
}

/// What became of in-order bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Push {
    /// Queued where they arrived.
    Queued,
    /// Queued as a copy behind others.
    Coalesced,
    /// The budget is used up.
    Refused,
}

impl ReceiveQueue {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            queue: Chain::new(),
            next: SeqNumber::ZERO,
            edge: SeqNumber::ZERO,
            acknowledged: SeqNumber::ZERO,
            charged_bytes: 0,
            charged_buffers: 0,
            budget: config.receive_buffers.clamp(limits::RECEIVE_BUFFERS_MIN, BUDGET_MAX) as u16,
            fill: config.mss.clamp(limits::FILL_MIN, limits::FILL_MAX),
            segment_size: limits::PEER_MSS_DEFAULT.min(config.mss),
            reassembly: Spare::NONE,
        }
    }

    /// The peer's SYN came: numbers begin. Our SYN told, or will tell, the window `edge` stands for.
    pub(crate) fn start(&mut self, irs: SeqNumber) {
        self.next = irs + 1;
        self.acknowledged = self.next;
        self.edge = self.next + self.initial_window();
    }

    /// The window of a SYN, which is not scaled (RFC 7323, 2.2).
    pub(crate) fn initial_window(&self) -> u32 {
        self.whole().min(u32::from(u16::MAX))
    }

    /// The window when nothing is held, bytes.
    #[inline]
    fn whole(&self) -> u32 {
        u32::from(self.budget) * u32::from(self.fill)
    }

    /// Bytes after which to look whether the window is too small: half of it.
    #[inline]
    pub(crate) fn tuning_step(&self) -> u32 {
        self.whole() / 2
    }

    /// Doubles what may be held, up to `max` buffers, unless the application leaves a quarter of it
    /// unread or uncredited; true if it grew.
    pub(crate) fn grow(&mut self, max: u32) -> bool {
        let budget = u32::from(self.budget);
        let grown = (2 * budget).min(max.min(BUDGET_MAX));
        let lazy = self.queue.buffers() as u32 + u32::from(self.charged_buffers);
        if grown <= budget || lazy > budget / 4 {
            return false;
        }
        self.budget = grown as u16;
        true
    }

    /// Whether half of what may be held lies ahead of a hole.
    pub(crate) fn is_half_ahead(&self) -> bool {
        let ahead = self.reassembly.get().map_or(0, Reassembly::buffers);
        2 * ahead >= u32::from(self.budget)
    }

    /// RCV.WND.
    #[inline]
    pub(crate) fn window(&self) -> u32 {
        self.edge.since(self.next)
    }

    /// Buffers charged to this connection.
    #[inline]
    pub(crate) fn held(&self) -> u32 {
        let ahead = self.reassembly.get().map_or(0, Reassembly::buffers);
        self.queue.buffers() as u32 + u32::from(self.charged_buffers) + ahead
    }

    /// Appends bytes whose first is RCV.NXT and advances it. They lie in the window.
    #[inline]
    pub(crate) fn push(&mut self, mut payload: Chain, cx: &Context<'_>) -> Push {
        let len = payload.len();
        let after = self.held() + payload.buffers() as u32;
        let budget = u32::from(self.budget);
        let promised = self.window().saturating_sub(len as u32);
        // The common case first: nothing is queued, and the promise is covered by free buffers.
        let is_covered = after <= budget
            && u64::from(promised) <= u64::from(budget - after) * u64::from(limits::FILL_MAX);
        let is_small = len < limits::COALESCE_BELOW && !self.queue.is_empty();
        if is_covered && !is_small {
            self.measure(len, payload.buffers());
            self.queue.append(&mut payload);
            self.next += len as u32;
            return Push::Queued;
        }
        self.push_copy(payload, budget, cx)
    }

    #[cold]
    fn push_copy(&mut self, mut payload: Chain, budget: u32, cx: &Context<'_>) -> Push {
        let (before, len) = (self.queue.len(), payload.len());
        // What is in order comes first.
        if self.held() + payload.buffers() as u32 > budget && self.drop_reassembly() {
            cx.counters.reassembly_dropped.increment();
        }
        // What was promised to full buffers may come in half-full ones, and what the application has
        // read cannot be copied together any more.
        let limit = if cx.pressure == Pressure::None { OVERDRAFT * budget } else { budget };
        let copied = append_copy(&mut self.queue, &payload, cx.pool);
        if copied && self.held() <= budget {
            self.next += len as u32;
            self.measure(usize::from(limits::FILL_MIN).max(len), 1);
            return Push::Coalesced;
        }
        self.queue.truncate(before);
        if self.held() + payload.buffers() as u32 > limit {
            return Push::Refused;
        }
        self.measure(len, payload.buffers());
        self.queue.append(&mut payload);
        self.next += len as u32;
        Push::Queued
    }

    /// Moves the average fill an eighth of the way.
    #[inline]
    fn measure(&mut self, len: usize, buffers: usize) {
        // Merged segments fill their buffers better than the next ones may.
        let merged = || (len / buffers).min(self.fill.max(self.segment_size).into());
        let sample = if buffers <= 1 { len } else { merged() };
        let sample = sample.clamp(limits::FILL_MIN.into(), limits::FILL_MAX.into()) as i32;
        let fill = i32::from(self.fill);
        let step = (sample - fill) / 8;
        // Rounding would stop seven short of the sample.
        let fill = if step == 0 { sample } else { fill + step };
        self.fill = fill as u16;
    }

    /// Moves what a filled hole makes contiguous to the queue; true if anything moved.
    pub(crate) fn drain_reassembly(&mut self) -> bool {
        let Some(reassembly) = self.reassembly.get_mut() else { return false };
        let moved = reassembly.drain(&mut self.next, &mut self.queue);
        if reassembly.is_empty() {
            self.reassembly.give_back();
        }
        moved
    }

    /// The number of the peer's FIN if it arrived ahead of a hole.
    pub(crate) fn early_fin(&self) -> Option<SeqNumber> {
        self.reassembly.get().and_then(Reassembly::fin)
    }

    /// Keeps bytes that lie in the window ahead of a hole.
    pub(crate) fn insert(
        &mut self,
        seq: SeqNumber,
        payload: Chain,
        is_fin: bool,
        cx: &Context<'_>,
    ) -> Insert {
        let budget = u32::from(self.budget);
        let free = budget.saturating_sub(self.held());
        let part = if cx.pressure == Pressure::None { 1 } else { limits::REASSEMBLY_SHARE };
        let share = budget / part;
        let held = self.reassembly.get().map_or(0, Reassembly::buffers);
        let room = free.min(share.saturating_sub(held));
        let Some(reassembly) = self.borrow_reassembly(cx) else { return Insert::Full };
        let outcome = reassembly.insert(seq, payload, is_fin, room, cx.pool);
        if reassembly.is_empty() {
            self.reassembly.give_back();
        }
        outcome
    }

    /// The queue of what lies ahead of a hole. None if there is none, and none to be had.
    fn borrow_reassembly(&mut self, cx: &Context<'_>) -> Option<&mut Reassembly> {
        if self.reassembly.is_none() {
            self.reassembly = cx.spares.reassemblies.take();
            if self.reassembly.is_none() {
                cx.counters.spares_exhausted.increment();
            }
        }
        self.reassembly.get_mut()
    }

    /// Notes that bytes arrived again that were received before (RFC 2883, 4.1).
    #[cold]
    pub(crate) fn note_duplicate(&mut self, start: SeqNumber, end: SeqNumber, cx: &Context<'_>) {
        if let Some(reassembly) = self.borrow_reassembly(cx) {
            reassembly.note_duplicate(start, end);
        }
    }

    /// The SACK blocks of a segment that leaves now, at most `max` of them.
    #[cold]
    pub(crate) fn sack_blocks(&mut self, max: usize) -> SackBlocks {
        let Some(reassembly) = self.reassembly.get_mut() else { return SackBlocks::NONE };
        let blocks = reassembly.blocks(max);
        if reassembly.is_empty() {
            self.reassembly.give_back();
        }
        blocks
    }

    /// Gives up what arrived ahead of a hole (RFC 2018, 8 allows it); true if there was any.
    pub(crate) fn drop_reassembly(&mut self) -> bool {
        self.reassembly.give_back()
    }

    /// Moves up to `max` bytes to the application; their buffers stay charged.
    pub(crate) fn read(&mut self, max: usize) -> Chain {
        let before = self.queue.buffers();
        let chain = self.queue.split_to(max);
        self.charged_bytes += chain.len() as u32;
        // A slice that is cut in two goes on counting once, where its rest is.
        self.charged_buffers += (before - self.queue.buffers()) as u16;
        chain
    }

    /// The application let go of `bytes` that it read.
    #[inline]
    pub(crate) fn credit(&mut self, bytes: usize) {
        if bytes >= self.charged_bytes as usize {
            (self.charged_bytes, self.charged_buffers) = (0, 0);
        } else {
            self.credit_some(bytes as u32);
        }
    }

    /// Less than was read.
    fn credit_some(&mut self, bytes: u32) {
        let left = self.charged_bytes - bytes;
        // In proportion, rounded up: which buffers went is not known.
        let buffers = u64::from(self.charged_buffers) * u64::from(left);
        self.charged_buffers = buffers.div_ceil(u64::from(self.charged_bytes)) as u16;
        self.charged_bytes = left;
    }

    /// The window that free memory allows now, bytes.
    #[inline]
    fn allowed(&self, pressure: Pressure) -> u32 {
        let free = u32::from(self.budget).saturating_sub(self.held());
        let allowed = free.saturating_mul(u32::from(self.fill));
        if pressure == Pressure::None { allowed } else { self.allowed_under(pressure, allowed) }
    }

    #[cold]
    fn allowed_under(&self, pressure: Pressure, allowed: u32) -> u32 {
        let segments = match pressure {
            Pressure::None => return allowed,
            Pressure::Tight => limits::TIGHT_WINDOW_SEGMENTS,
            Pressure::Scarce => limits::SCARCE_WINDOW_SEGMENTS,
            Pressure::Critical => 0,
        };
        allowed.min(segments * u32::from(self.segment_size))
    }

    /// Silly window avoidance (RFC 9293, 3.8.6.2.2): the edge moves by a segment, or by half of
    /// all there is, or not at all.
    #[inline]
    fn step_min(&self) -> u32 {
        (self.whole() / 2).min(u32::from(self.segment_size))
    }

    /// Moves the edge as far as memory allows and gives the window field for a segment that leaves
    /// now.
    #[inline]
    pub(crate) fn announce(&mut self, shift: u8, pressure: Pressure) -> u16 {
        let largest = u32::from(u16::MAX) << shift;
        let allowed = self.allowed(pressure).min(largest);
        let window = self.window();
        if allowed >= window.saturating_add(self.step_min()) {
            self.edge = self.next + allowed;
        }
        self.acknowledged = self.next;
        // The shift hides less than one unit of it (RFC 7323, 2.4); the edge stays where it is, so
        // nothing that was promised is refused.
        (self.window() >> shift) as u16
    }

    /// Whether the peer should be told of room without waiting for a segment to carry it: half of
    /// the window is used up and at least a segment has become free.
    #[inline]
    pub(crate) fn is_update_due(&self, shift: u8, pressure: Pressure) -> bool {
        let largest = u32::from(u16::MAX) << shift;
        let all = self.whole().min(largest);
        let window = self.window();
        if window > all / 2 {
            return false;
        }
        let allowed = self.allowed(pressure).min(largest);
        allowed >= window.saturating_add(self.step_min().max(1))
    }

    /// Copies what is queued into as few buffers as it fits; true if that freed any.
    pub(crate) fn compact(&mut self, pool: &Pool) -> bool {
        let (bytes, buffers) = (self.queue.len(), self.queue.buffers());
        let needed = bytes.div_ceil(usize::from(limits::FILL_MAX));
        // A quarter of the buffers' bytes in use is where copying pays.
        if buffers < 2 || needed * 4 > buffers {
            return false;
        }
        let mut copy = Chain::new();
        if !append_copy(&mut copy, &self.queue, pool) {
            return false;
        }
        self.queue = copy;
        true
    }

    pub(crate) fn invariants(&self, config: &Config) {
        debug_assert!(self.next.at_or_before(self.edge), "the window is never withdrawn");
        debug_assert!(self.acknowledged.at_or_before(self.next), "nothing is ACKed in advance");
        debug_assert!(self.held() <= OVERDRAFT * u32::from(self.budget), "the budget holds");
        let most = config.receive_buffers.max(config.receive_buffers_max);
        debug_assert!(u32::from(self.budget) <= most.max(limits::RECEIVE_BUFFERS_MIN));
        debug_assert!((limits::FILL_MIN..=limits::FILL_MAX).contains(&self.fill));
        if let Some(reassembly) = self.reassembly.get() {
            reassembly.invariants(self.next);
        }
    }
}

/// Copies all of `from` behind `to`; false, and nothing done, if the pool is empty.
fn append_copy(to: &mut Chain, from: &Chain, pool: &Pool) -> bool {
    let before = to.len();
    for piece in from.pieces() {
        if to.append_copy(piece, pool).is_err() {
            to.truncate(before);
            return false;
        }
    }
    true
}

/// Most buffers of one connection, 64 MB of full ones.
const BUDGET_MAX: u32 = u16::MAX as u32 / OVERDRAFT;

/// How many times its budget a connection may hold, while receive memory is plentiful, rather than
/// refuse what lies in the window. Refusing costs the peer a time-out.
const OVERDRAFT: u32 = 2;
