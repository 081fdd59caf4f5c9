//! Taking a reduction back that was a mistake: nothing had been lost.
//!
//! Three signs, each enough: the ACK of what was sent again echoes a timestamp from before that
//! (Eifel, RFC 3522); every byte that was sent again arrived twice (RFC 2883, RFC 3708); after a
//! time-out, something arrives that was not sent again (F-RTO, RFC 5682).

use sluice_wire::SeqNumber;

use crate::congestion::Saved;

#[derive(Debug)]
pub(crate) struct Undo {
    /// Window, threshold and algorithm from before.
    pub(crate) saved: Saved,
    /// SND.UNA when it began: duplicates from before count for nothing.
    marker: SeqNumber,
    /// Bytes sent again that have not come back as duplicates.
    outstanding: u32,
    /// The first segment that was sent again, and our timestamp on it.
    first: Option<(SeqNumber, u32)>,
}

impl Undo {
    pub(crate) fn new(saved: Saved, unacknowledged: SeqNumber) -> Self {
        Self { saved, marker: unacknowledged, outstanding: 0, first: None }
    }

    /// Whether a duplicate from `left` on may be of this reduction's doing.
    pub(crate) fn is_of_it(&self, left: SeqNumber) -> bool {
        left.at_or_after(self.marker)
    }

    /// Whether duplicates of it may still come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.outstanding > 0
    }

    pub(crate) fn on_sent_again(&mut self, seq: SeqNumber, bytes: u32, stamp: Option<u32>) {
        self.outstanding = self.outstanding.saturating_add(bytes);
        if self.first.is_none() {
            self.first = stamp.map(|stamp| (seq, stamp));
        }
    }

    /// A D-SACK came for `left..right`. True when everything that was sent again arrived twice.
    pub(crate) fn on_duplicate(&mut self, left: SeqNumber, right: SeqNumber) -> bool {
        if !self.is_of_it(left) || self.outstanding == 0 {
            return false;
        }
        self.outstanding = self.outstanding.saturating_sub(right.since(left));
        self.outstanding == 0
    }

    /// RFC 3522, 3.2, step 5: the ACK covers the first retransmission, but answers something that
    /// was sent before it. (In front of it there may be older ones, of a recovery before this.)
    pub(crate) fn is_echo_older(&self, ack: SeqNumber, echo: u32) -> bool {
        self.first.is_some_and(|(seq, stamp)| {
            ack.after(seq) && echo.wrapping_sub(stamp).cast_signed() < 0
        })
    }
}
