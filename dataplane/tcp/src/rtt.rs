//! Round-trip time and retransmission timeout (RFC 6298).

use sluice_base::Instant;
use sluice_wire::SeqNumber;

use crate::config::Config;
use crate::limits;

/// Clock granularity G of RFC 6298, 2, microseconds: heartbeats come more often.
const GRANULARITY_US: u32 = 1_000;
/// RFC 6298, 5.7: the timeout with which data begins after a SYN was lost.
const AFTER_LOST_SYN_US: u32 = 3_000_000;

/// What a probe of the tail waits for beyond two round trips, nanoseconds (Linux: 2 ms).
const PROBE_SLACK_NS: u64 = 2_000_000;

/// SRTT, RTTVAR, RTO and the one segment that is being timed.
///
/// One segment per round trip is timed, with microsecond stamps of our own clock. A retransmission
/// ends the timing (Karn, RFC 6298, 3).
#[derive(Debug)]
pub(crate) struct RttEstimator {
    /// SRTT, microseconds; 0 before the first sample.
    smoothed_us: u32,
    /// RTTVAR, microseconds.
    variation_us: u32,
    /// RTO before back-off, microseconds.
    timeout_us: u32,
    /// The ACK that ends the timing.
    timed: SeqNumber,
    timed_at_us: u32,
    is_timing: bool,
    /// When the receive window was last measured, in ticks of 2^20 ns: it is compared with a round
    /// trip, and there is room here. Wraps in 68 s.
    pub(crate) tuned_at: u16,
    /// How often the timeout has been doubled (RFC 6298, 5.5).
    pub(crate) backoff: u8,
}

impl RttEstimator {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            smoothed_us: 0,
            variation_us: 0,
            timeout_us: config.rto_initial_us,
            timed: SeqNumber::ZERO,
            timed_at_us: 0,
            is_timing: false,
            tuned_at: 0,
            backoff: 0,
        }
    }

    /// New data up to `end` leaves: time it, unless something is being timed.
    #[inline]
    pub(crate) fn on_sent(&mut self, end: SeqNumber, now: Instant) {
        if !self.is_timing {
            self.is_timing = true;
            self.timed = end;
            self.timed_at_us = stamp(now);
        }
    }

    /// Something was sent again: an ACK no longer says which copy it answers.
    pub(crate) fn on_retransmitted(&mut self) {
        self.is_timing = false;
    }

    /// `ack` acknowledges new data; takes the sample if it covers the timed segment.
    ///
    /// Progress ends the back-off. RFC 6298, 5.7 would keep it until the next sample, which after a
    /// burst of losses comes only behind the last retransmission: one more loss in between would
    /// cost up to a minute.
    ///
    /// Says whether there was one.
    #[inline]
    pub(crate) fn on_acknowledged(
        &mut self,
        ack: SeqNumber,
        config: &Config,
        now: Instant,
    ) -> bool {
        self.backoff = 0;
        let is_timed = self.is_timing && ack.at_or_after(self.timed);
        if is_timed {
            self.is_timing = false;
            self.sample(stamp(now).wrapping_sub(self.timed_at_us), config);
        }
        is_timed
    }

    /// RFC 7323, 4: an echoed timestamp measures what was sent again too, in milliseconds. A stale
    /// one does not: a peer that has everything already echoes what it last heard in order.
    pub(crate) fn on_echo(&mut self, age_ms: u32, config: &Config) {
        let Some(age_us) = age_ms.checked_mul(1_000) else { return };
        if age_us > 0 && age_us <= self.timeout_us.saturating_mul(2) {
            self.sample(age_us, config);
        }
    }

    /// RFC 6298, 2.2 and 2.3.
    #[inline]
    fn sample(&mut self, rtt_us: u32, config: &Config) {
        let rtt_us = rtt_us.clamp(1, 1 << 28);
        if self.smoothed_us == 0 {
            self.smoothed_us = rtt_us;
            self.variation_us = rtt_us / 2;
        } else {
            let deviation = self.smoothed_us.abs_diff(rtt_us);
            // beta = 1/4, then alpha = 1/8.
            self.variation_us = self.variation_us - self.variation_us / 4 + deviation / 4;
            self.smoothed_us = (self.smoothed_us - self.smoothed_us / 8 + rtt_us / 8).max(1);
        }
        let timeout = self.smoothed_us + GRANULARITY_US.max(4 * self.variation_us);
        self.timeout_us = timeout.clamp(config.rto_min_us, config.rto_max_us);
    }

    /// RFC 6298, 5.7: the SYN had to be repeated, so nothing is known about the path but that.
    pub(crate) fn on_lost_syn(&mut self, config: &Config) {
        if self.smoothed_us == 0 {
            self.timeout_us = AFTER_LOST_SYN_US.min(config.rto_max_us);
        }
    }

    /// RFC 6298, 5.5: the timer expired.
    pub(crate) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(limits::BACKOFF_MAX);
    }

    /// The timeout to arm now, nanoseconds.
    #[inline]
    pub(crate) fn timeout_ns(&self, config: &Config) -> u64 {
        if self.backoff == 0 {
            return u64::from(self.timeout_us) * 1_000;
        }
        let doubled = u64::from(self.timeout_us) << self.backoff;
        doubled.min(u64::from(config.rto_max_us)) * 1_000
    }

    /// RFC 8985, 7.2: after how long a silent tail is probed, nanoseconds; never before the first
    /// sample. Behind two round trips as long as ours and others' heartbeats take.
    #[inline]
    pub(crate) fn probe_ns(&self) -> u64 {
        if self.smoothed_us == 0 {
            return u64::MAX >> 1;
        }
        u64::from(self.smoothed_us) * 2_000 + PROBE_SLACK_NS
    }

    /// The timeout after so many doublings, nanoseconds.
    pub(crate) fn backed_off_ns(&self, doublings: u8, config: &Config) -> u64 {
        let doubled = u64::from(self.timeout_us) << doublings.min(limits::BACKOFF_MAX);
        doubled.min(config.rto_max_us.into()) * 1_000
    }

    /// SRTT in microseconds, once something was measured.
    #[inline]
    pub(crate) fn smoothed_us(&self) -> Option<u32> {
        (self.smoothed_us != 0).then_some(self.smoothed_us)
    }

    pub(crate) fn invariants(&self) {
        debug_assert!(self.backoff <= limits::BACKOFF_MAX);
        debug_assert!(self.timeout_us > 0, "a timeout of nothing would spin");
    }
}

/// Microseconds of the clock in 32 bits. Differences are good for 71 minutes, and a timed segment
/// is acknowledged or retransmitted within `rto_max`.
#[inline]
fn stamp(now: Instant) -> u32 {
    now.as_micros() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(samples_ms: &[u64]) -> RttEstimator {
        let config = Config::default();
        let mut rtt = RttEstimator::new(&config);
        let mut now = Instant::from_millis(10);
        for (count, ms) in samples_ms.iter().enumerate() {
            let end = SeqNumber(count as u32 + 1);
            rtt.on_sent(end, now);
            now = Instant::from_millis(now.as_millis() + ms);
            rtt.on_acknowledged(end, &config, now);
        }
        rtt.invariants();
        rtt
    }

    #[test]
    fn the_first_sample_sets_both_and_later_ones_smooth() {
        let rtt = measured(&[100]);
        assert_eq!((rtt.smoothed_us, rtt.variation_us), (100_000, 50_000));
        assert_eq!(rtt.timeout_us, 300_000);
        let rtt = measured(&[100, 180]);
        // RTTVAR = 3/4 * 50 + 1/4 * 80, SRTT = 7/8 * 100 + 1/8 * 180.
        assert_eq!((rtt.smoothed_us, rtt.variation_us), (110_000, 57_500));
    }

    #[test]
    fn the_timeout_stays_between_its_bounds() {
        let config = Config::default();
        assert_eq!(measured(&[1]).timeout_us, 200_000);
        let slow = measured(&[100_000]);
        assert_eq!(slow.timeout_us, 60_000_000);
        assert_eq!(slow.timeout_ns(&config), 60_000_000_000);
    }

    #[test]
    fn backing_off_doubles_up_to_the_largest_timeout_and_progress_ends_it() {
        let config = Config::default();
        let mut rtt = measured(&[100]);
        let timeouts: Vec<_> = (0..10)
            .map(|_| {
                rtt.back_off();
                rtt.timeout_ns(&config) / 1_000_000
            })
            .collect();
        assert_eq!(timeouts[..4], [600, 1_200, 2_400, 4_800]);
        assert_eq!(timeouts[9], 60_000);
        rtt.on_acknowledged(SeqNumber(9), &config, Instant::from_millis(500));
        assert_eq!(rtt.timeout_ns(&config) / 1_000_000, 300);
    }

    /// Karn: without this an ACK of the first copy would be measured from the second.
    #[test]
    fn a_retransmitted_segment_is_not_measured() {
        let config = Config::default();
        let mut rtt = RttEstimator::new(&config);
        rtt.on_sent(SeqNumber(10), Instant::ZERO);
        rtt.on_retransmitted();
        rtt.on_acknowledged(SeqNumber(10), &config, Instant::from_millis(5));
        assert_eq!(rtt.smoothed_us(), None);
    }

    #[test]
    fn stamps_may_wrap_between_sending_and_acknowledging() {
        let config = Config::default();
        let mut rtt = RttEstimator::new(&config);
        let sent = Instant::from_nanos(((1 << 32) - 10) * 1_000);
        rtt.on_sent(SeqNumber(1), sent);
        rtt.on_acknowledged(SeqNumber(1), &config, sent.plus_nanos(500_000));
        assert_eq!(rtt.smoothed_us(), Some(500));
    }
}
