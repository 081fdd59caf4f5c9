//! The send queue and its place in sequence space.
//!
//! ```text
//!   [SYN]|<------------------- queue ------------------->|[FIN]
//!   -----+--------------------+--------------------------+-----> sequence numbers
//!        unacknowledged       next                       end
//!        SND.UNA              SND.NXT
//!        |--- in flight ------|--- unsent ---------------|
//!        |<--------- window (SND.WND) ---------->|
//!                             ^ `max`: the highest number ever sent; above `next` after a time-out,
//!                               when everything is sent again from `unacknowledged`
//! ```
//!
//! The queue keeps its references until the bytes are acknowledged. A segment is a range of it.

use sluice_buf::Chain;
use sluice_wire::SeqNumber;

/// Where our FIN is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Fin {
    /// The application has not closed.
    None,
    /// Behind the queue, sent or not.
    Queued,
    /// Acknowledged.
    Acknowledged,
}

#[derive(Debug)]
pub(crate) struct SendQueue {
    pub(crate) queue: Chain,
    /// SND.UNA.
    pub(crate) unacknowledged: SeqNumber,
    /// SND.NXT.
    pub(crate) next: SeqNumber,
    /// The highest number sent so far.
    pub(crate) max: SeqNumber,
    /// SND.WND, bytes.
    pub(crate) window: u32,
    /// Largest window that the peer ever offered (MAX.SND.WND).
    pub(crate) window_max: u32,
    /// SND.WL1: the segment that told `window`.
    pub(crate) window_seq: SeqNumber,
    /// SND.WL2: its acknowledgement.
    pub(crate) window_ack: SeqNumber,
    /// Our SYN is not acknowledged: it takes the number in front of the queue.
    pub(crate) is_syn_pending: bool,
    pub(crate) fin: Fin,
    /// When a challenge ACK was owed last, in units of 2^26 ns (wraps in 73 minutes); 0: never. Here
    /// because two bytes were free.
    pub(crate) challenged_at: u16,
}

/// What an acknowledgement covered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// Data bytes, now released.
    pub(crate) bytes: u32,
    /// Our FIN.
    pub(crate) fin: bool,
}

impl SendQueue {
    pub(crate) fn new(iss: SeqNumber) -> Self {
        Self {
            queue: Chain::new(),
            unacknowledged: iss,
            next: iss,
            max: iss,
            window: 0,
            window_max: 0,
            window_seq: SeqNumber::ZERO,
            window_ack: SeqNumber::ZERO,
            is_syn_pending: true,
            fin: Fin::None,
            challenged_at: 0,
        }
    }

    /// Releases what `ack` covers; SND.UNA < `ack` <= `max`.
    #[inline]
    pub(crate) fn acknowledge(&mut self, ack: SeqNumber) -> Acknowledged {
        let mut covered = ack.since(self.unacknowledged);
        if self.is_syn_pending {
            self.is_syn_pending = false;
            covered -= 1;
        }
        let bytes = covered.min(self.queue.len() as u32);
        self.queue.advance(bytes as usize);
        let fin = covered > bytes;
        if fin {
            debug_assert!(self.fin == Fin::Queued, "only a FIN lies behind the queue");
            self.fin = Fin::Acknowledged;
        }
        self.unacknowledged = ack;
        self.next = self.next.max(ack);
        Acknowledged { bytes, fin }
    }

    /// Notes the window that an acceptable segment tells; `shift` is the peer's.
    #[inline]
    pub(crate) fn take_window(&mut self, seq: SeqNumber, ack: SeqNumber, window: u32) {
        self.window = window;
        self.window_max = self.window_max.max(window);
        self.window_seq = seq;
        self.window_ack = ack;
    }

    /// Everything sent counts as lost: begin again at SND.UNA.
    pub(crate) fn rewind(&mut self) {
        self.next = self.unacknowledged;
    }

    /// The number of the first byte of the queue.
    #[inline]
    pub(crate) fn start(&self) -> SeqNumber {
        self.unacknowledged + u32::from(self.is_syn_pending)
    }

    /// The number behind the queue: where a FIN goes.
    #[inline]
    pub(crate) fn end(&self) -> SeqNumber {
        self.start() + self.queue.len() as u32
    }

    /// Sequence numbers sent and not acknowledged.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.next.since(self.unacknowledged)
    }

    /// Bytes of the queue that wait to be sent (again).
    #[inline]
    pub(crate) fn unsent(&self) -> u32 {
        let unsent = self.end() - self.next;
        // Behind a sent FIN it is negative; an acknowledged one left the queue empty.
        if unsent > 0 { unsent as u32 } else { 0 }
    }

    /// Whether the FIN is the next thing to send (again), window permitting.
    #[inline]
    pub(crate) fn is_fin_next(&self) -> bool {
        self.fin == Fin::Queued && self.next == self.end()
    }

    /// Bytes that the peer's window still takes.
    #[inline]
    pub(crate) fn usable_window(&self) -> u32 {
        self.window.saturating_sub(self.in_flight())
    }

    pub(crate) fn invariants(&self) {
        debug_assert!(self.unacknowledged.at_or_before(self.next), "SND.UNA <= SND.NXT");
        debug_assert!(self.next.at_or_before(self.max), "SND.NXT <= the highest number sent");
        let end = self.end() + u32::from(self.fin == Fin::Queued);
        debug_assert!(self.max.at_or_before(end), "nothing was sent that is not queued");
        if self.fin == Fin::Acknowledged {
            debug_assert!(self.queue.is_empty(), "the FIN is acknowledged last");
        }
        debug_assert!(self.window <= self.window_max);
    }
}
