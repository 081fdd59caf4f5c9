//! RACK: loss by time (RFC 8985, 6).
//!
//! Something is lost when something that was sent later has arrived, and a while has passed that
//! reordering on the path would explain.

use sluice_wire::SeqNumber;

use super::{Delivered, Fate, News, Stamp};
use crate::limits;

/// What of RFC 8985, 5.2 belongs to one flight.
#[derive(Debug)]
pub(crate) struct Rack {
    /// RACK.xmit_ts: when the latest of all delivered segments was sent.
    sent: Stamp,
    /// RACK.end_seq: where it ended.
    end: SeqNumber,
    /// RACK.rtt, ticks; 0 before the first.
    round_trip: u32,
    /// RACK.min_RTT since the flight began, ticks.
    round_trip_min: u32,
    /// RACK.fack: the highest number delivered.
    highest: SeqNumber,
}

impl Rack {
    pub(crate) fn new(start: SeqNumber) -> Self {
        Self { sent: Stamp(0), end: start, round_trip: 0, round_trip_min: u32::MAX, highest: start }
    }

    pub(crate) fn highest(&self) -> SeqNumber {
        self.highest
    }

    pub(crate) fn round_trip(&self) -> u32 {
        self.round_trip
    }

    pub(crate) fn round_trip_min(&self) -> u32 {
        self.round_trip_min
    }

    /// RFC 8985, 6.2, steps 1 to 3, for one range.
    pub(crate) fn deliver(&mut self, delivered: &Delivered, now: Stamp, news: &mut News) {
        let Delivered { end, sent, fate, is_again, bytes } = *delivered;
        news.bytes += bytes;
        news.is_original |= fate == Fate::Lost && !is_again;
        let round_trip = now.since(sent).max(1);
        if is_again {
            if news.again.is_none_or(|(_, latest)| !latest.is_after(sent)) {
                news.again = Some((end, sent));
            }
        } else {
            self.round_trip_min = self.round_trip_min.min(round_trip);
            news.is_reordered |= end.before(self.highest);
            if self.take_latest(end, sent, round_trip) {
                news.round_trip = Some(round_trip);
            }
        }
        self.highest = self.highest.max(end);
    }

    /// RFC 8985, 6.2, step 2: what was sent again arrived, unless that was too soon for it: then it
    /// was the original.
    pub(crate) fn deliver_again(&mut self, news: &News, now: Stamp) {
        let Some((end, sent)) = news.again else { return };
        let round_trip = now.since(sent).max(1);
        if self.round_trip_min == u32::MAX || round_trip >= self.round_trip_min {
            self.take_latest(end, sent, round_trip);
        }
    }

    /// Remembers what was sent last of all that arrived; true if this is it.
    fn take_latest(&mut self, end: SeqNumber, sent: Stamp, round_trip: u32) -> bool {
        let is_later = sent.is_after(self.sent) || (sent == self.sent && end.after(self.end));
        if self.round_trip != 0 && !is_later {
            return false;
        }
        (self.sent, self.end, self.round_trip) = (sent, end, round_trip);
        true
    }

    /// RFC 8985, 6.2, step 5: after how many ticks a range that is under way counts as lost; None
    /// while nothing that was sent later has arrived.
    pub(crate) fn remaining(
        &self,
        end: SeqNumber,
        sent: Stamp,
        window: u32,
        now: Stamp,
    ) -> Option<u32> {
        let is_overtaken = self.sent.is_after(sent) || (self.sent == sent && self.end.after(end));
        if self.round_trip == 0 || !is_overtaken {
            return None;
        }
        let allowed = self.round_trip.saturating_add(window);
        Some(allowed.saturating_sub(now.since(sent)))
    }
}

/// How far segments may overtake each other on this path (RFC 8985, 6.2, step 4). It outlives
/// flights.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reordering {
    /// RACK.reo_wnd_mult; 0 until reordering was seen.
    multiplier: u8,
    /// RACK.reo_wnd_persist: recoveries after which it is forgotten.
    persist: u8,
}

impl Reordering {
    /// Something arrived late that was not lost.
    pub(crate) fn on_reordered(&mut self) {
        self.multiplier = self.multiplier.max(1);
    }

    /// Something was sent again for nothing: the window was too small.
    pub(crate) fn on_needless(&mut self) {
        self.multiplier = (self.multiplier.max(1) + 1).min(limits::REORDERING_STEPS_MAX);
        self.persist = limits::REORDERING_PERSIST;
    }

    /// A recovery ended without one more sign of it.
    pub(crate) fn on_recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.multiplier = self.multiplier.min(1);
        }
    }

    /// RACK.reo_wnd, ticks. `is_certain`: three segments are ahead of the hole, or losses are being
    /// repaired anyway, so that a path without reordering need not be waited for.
    pub(crate) fn window(self, round_trip_min: u32, smoothed: u32, is_certain: bool) -> u32 {
        if self.multiplier == 0 && is_certain {
            return 0;
        }
        let quarter = round_trip_min.min(smoothed) / 4;
        (u32::from(self.multiplier.max(1)) * quarter).min(smoothed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(end: u32, sent: u32, is_again: bool) -> Delivered {
        let (end, sent) = (SeqNumber(end), Stamp(sent));
        Delivered { end, sent, fate: Fate::UnderWay, is_again, bytes: 1 }
    }

    #[test]
    fn what_was_sent_before_the_latest_arrival_is_lost_in_time() {
        let (mut rack, mut news) = (Rack::new(SeqNumber(0)), News::default());
        assert_eq!(rack.remaining(SeqNumber(1), Stamp(0), 0, Stamp(500)), None);
        rack.deliver(&delivered(300, 100, false), Stamp(200), &mut news);
        assert_eq!((rack.round_trip(), news.round_trip), (100, Some(100)));
        let remaining = |end, sent| rack.remaining(SeqNumber(end), Stamp(sent), 25, Stamp(200));
        assert_eq!(remaining(100, 90), Some(15));
        assert_eq!(remaining(200, 100), Some(25), "the same burst, in front of it");
        assert_eq!(remaining(400, 100), None, "the same burst, behind it");
        assert_eq!(remaining(100, 60), Some(0));
        assert_eq!(remaining(500, 150), None);
    }

    #[test]
    fn the_original_that_arrives_behind_its_retransmission_measures_nothing() {
        let (mut rack, mut news) = (Rack::new(SeqNumber(0)), News::default());
        rack.deliver(&delivered(300, 100, false), Stamp(200), &mut news);
        rack.deliver(&delivered(100, 190, true), Stamp(205), &mut news);
        rack.deliver_again(&news, Stamp(205));
        assert_eq!(rack.round_trip(), 100);
        rack.deliver_again(&news, Stamp(300));
        assert_eq!(rack.round_trip(), 110);
    }

    #[test]
    fn the_reordering_window_grows_with_needless_retransmissions_and_is_forgotten() {
        let mut reordering = Reordering::default();
        assert_eq!(reordering.window(100, 200, true), 0);
        assert_eq!(reordering.window(100, 200, false), 25);
        reordering.on_reordered();
        assert_eq!(reordering.window(100, 200, true), 25);
        for _ in 0..100 {
            reordering.on_needless();
        }
        assert_eq!(reordering.window(100, 200, true), 200, "at most the smoothed round trip");
        for _ in 0..limits::REORDERING_PERSIST {
            reordering.on_recovered();
        }
        assert_eq!(reordering.window(100, 200, true), 25);
    }
}
