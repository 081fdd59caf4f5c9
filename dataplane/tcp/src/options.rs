//! What the SYNs agreed on: MSS (RFC 9293, 3.7.1), window scale and timestamps (RFC 7323), SACK
//! (RFC 2018).

use sluice_base::Instant;
use sluice_wire::{SackBlocks, SeqNumber, TcpOptions, Timestamps};

use crate::config::Config;
use crate::ecn::Ecn;
use crate::limits;

/// Bytes that the timestamps option takes in every segment.
const TIMESTAMPS_LEN: u16 = 12;
/// Bytes of IPv4 and TCP headers without options.
const HEADERS_LEN: u16 = 40;
/// RFC 7323, 5.5: a timestamp that is 24 days old is no longer compared with.
const RECENT_VALID: u16 = ((24 * 24 * 60 * 60 * 1_000_000_000_u64) >> AGE_SHIFT) as u16;
/// A little more than a minute is enough to know when a day has passed.
const AGE_SHIFT: u32 = 36;

/// A timestamp from before the last one: an old duplicate (RFC 7323, 5.3).
pub(crate) struct IsOld;

/// A set of options.
#[derive(Clone, Copy, Debug)]
struct Agreed(u8);

impl Agreed {
    const TIMESTAMPS: u8 = 1;
    const SACK: u8 = 1 << 1;
    const WINDOW_SCALE: u8 = 1 << 2;
}

#[derive(Debug)]
pub(crate) struct Negotiated {
    /// Largest payload that we send, bytes.
    pub(crate) mss: u16,
    /// Shift of the peer's windows (Snd.Wind.Shift).
    pub(crate) send_shift: u8,
    /// Shift of ours (Rcv.Wind.Shift).
    pub(crate) receive_shift: u8,
    /// What both can do.
    agreed: Agreed,
    pub(crate) ecn: Ecn,
    /// When `recent` was stored, in units of 2^36 ns (wraps in 52 days).
    recent_at: u16,
    /// TS.Recent.
    recent: u32,
    /// What the peer's clock showed no more than a few windows ago.
    floor: u32,
    /// Added to our clock, so that it does not tell how long we run (RFC 7323, 5.4).
    offset: u32,
}

impl Negotiated {
    pub(crate) fn new(offset: u32) -> Self {
        Self {
            mss: limits::PEER_MSS_DEFAULT,
            send_shift: 0,
            receive_shift: 0,
            agreed: Agreed(0),
            ecn: Ecn::default(),
            recent_at: 0,
            recent: 0,
            floor: 0,
            offset,
        }
    }

    #[inline]
    pub(crate) fn has_timestamps(&self) -> bool {
        self.agreed.0 & Agreed::TIMESTAMPS != 0
    }

    #[inline]
    pub(crate) fn has_sack(&self) -> bool {
        self.agreed.0 & Agreed::SACK != 0
    }

    /// The peer's SYN offered a scale, so our SYN+ACK may.
    fn has_window_scale(&self) -> bool {
        self.agreed.0 & Agreed::WINDOW_SCALE != 0
    }

    /// The options of our first SYN: everything we can do.
    pub(crate) fn offer(&self, config: &Config, now: Instant) -> TcpOptions {
        TcpOptions {
            mss: Some(config.mss),
            window_scale: Some(config.window_scale.min(limits::WINDOW_SCALE_MAX)),
            timestamps: config.timestamps.then(|| self.stamp(now)),
            sack_permitted: config.sack,
            user_timeout: config.user_timeout_option(),
            ..TcpOptions::NONE
        }
    }

    /// The options of our SYN+ACK: what the peer offered too.
    pub(crate) fn answer(&self, config: &Config, now: Instant) -> TcpOptions {
        TcpOptions {
            mss: Some(config.mss),
            window_scale: self.has_window_scale().then_some(self.receive_shift),
            timestamps: self.has_timestamps().then(|| self.stamp(now)),
            sack_permitted: self.has_sack(),
            user_timeout: config.user_timeout_option(),
            ..TcpOptions::NONE
        }
    }

    /// Takes over what the peer's SYN offers and we do too.
    pub(crate) fn agree(&mut self, peer: &TcpOptions, config: &Config, now: Instant) {
        let announced = peer.mss.unwrap_or(limits::PEER_MSS_DEFAULT).max(limits::PEER_MSS_MIN);
        // Our own links bound what we send just as they bound what we take.
        self.mss = announced.min(config.mss.max(limits::PEER_MSS_MIN));
        if let Some(shift) = peer.window_scale {
            self.agreed.0 |= Agreed::WINDOW_SCALE;
            self.send_shift = shift.min(limits::WINDOW_SCALE_MAX);
            self.receive_shift = config.window_scale.min(limits::WINDOW_SCALE_MAX);
        }
        if config.sack && peer.sack_permitted {
            self.agreed.0 |= Agreed::SACK;
        }
        if let (true, Some(stamp)) = (config.timestamps, peer.timestamps) {
            self.agreed.0 |= Agreed::TIMESTAMPS;
            self.remember(stamp.value, now);
            self.floor = stamp.value;
            // RFC 6691, 3: the announced size does not count options, a segment's payload does.
            self.mss -= TIMESTAMPS_LEN;
        }
    }

    /// The largest payload in packets of `mtu` bytes.
    pub(crate) fn mss_for(&self, mtu: u16) -> u16 {
        let options_len = if self.has_timestamps() { TIMESTAMPS_LEN } else { 0 };
        mtu.max(limits::PATH_MTU_MIN) - HEADERS_LEN - options_len
    }

    /// RFC 7323, 5.3, R1 to R3: compares with TS.Recent and renews it. `acknowledged` is
    /// Last.ACK.sent.
    #[inline]
    pub(crate) fn check(
        &mut self,
        stamp: Timestamps,
        seq: SeqNumber,
        acknowledged: SeqNumber,
        now: Instant,
    ) -> Result<(), IsOld> {
        self.compare(stamp, now)?;
        if seq.at_or_before(acknowledged) {
            self.remember(stamp.value, now);
        }
        Ok(())
    }

    /// RFC 7323, 5.3, R1: compares with TS.Recent.
    #[inline]
    pub(crate) fn compare(&self, stamp: Timestamps, now: Instant) -> Result<(), IsOld> {
        let distance = stamp.value.wrapping_sub(self.recent).cast_signed();
        if distance < 0 && age_mark(now).wrapping_sub(self.recent_at) < RECENT_VALID {
            return Err(IsOld);
        }
        Ok(())
    }

    /// RFC 7323, 5.3, R3: renews TS.Recent with what is not older. `acknowledged` is Last.ACK.sent: a
    /// segment behind it must not renew, lest a delayed ACK be measured short.
    pub(crate) fn renew(
        &mut self,
        stamp: Timestamps,
        seq: SeqNumber,
        acknowledged: SeqNumber,
        now: Instant,
    ) {
        if seq.at_or_before(acknowledged) && self.compare(stamp, now).is_ok() {
            self.remember(stamp.value, now);
        }
    }

    /// Whether a segment that [`compare`](Self::compare) finds old was only overtaken, by its own
    /// retransmission perhaps. What was sent since the peer's clock showed `floor` is less than half
    /// of the sequence space, so its numbers mean what they say.
    pub(crate) fn is_overtaken(&self, stamp: Timestamps) -> bool {
        stamp.value.wrapping_sub(self.floor).cast_signed() >= 0
    }

    /// Another part of the window arrived: the floor follows TS.Recent, half of the way, so that it
    /// stays behind what may still be on its way.
    pub(crate) fn raise_floor(&mut self) {
        let behind = self.recent.wrapping_sub(self.floor);
        self.floor = self.recent.wrapping_sub(behind / 2);
    }

    /// Our clock, and the peer's as last heard.
    #[inline]
    pub(crate) fn stamp(&self, now: Instant) -> Timestamps {
        let value = (now.as_millis() as u32).wrapping_add(self.offset);
        Timestamps { value, echo: self.recent }
    }

    /// How long ago our clock showed `echo`, milliseconds.
    pub(crate) fn age_of(&self, echo: u32, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.offset).wrapping_sub(echo)
    }

    /// The options of an ordinary segment.
    pub(crate) fn ordinary(&self, now: Instant) -> TcpOptions {
        if !self.has_timestamps() {
            return TcpOptions::NONE;
        }
        let Timestamps { value, echo } = self.stamp(now);
        TcpOptions::with_timestamps(value, echo)
    }

    /// SACK blocks that one segment has room for.
    pub(crate) fn sack_blocks_max(&self) -> usize {
        if self.has_timestamps() { SackBlocks::MAX - 1 } else { SackBlocks::MAX }
    }

    /// Bytes of options that `blocks` SACK blocks take.
    pub(crate) fn sack_len(&self, blocks: usize) -> u16 {
        let blocks = blocks.min(self.sack_blocks_max()) as u16;
        if self.has_sack() && blocks > 0 { 4 + 8 * blocks } else { 0 }
    }

    pub(crate) fn recent(&self) -> u32 {
        self.recent
    }

    pub(crate) fn offset(&self) -> u32 {
        self.offset
    }

    #[inline]
    fn remember(&mut self, value: u32, now: Instant) {
        self.recent = value;
        self.recent_at = age_mark(now);
    }
}

#[inline]
fn age_mark(now: Instant) -> u16 {
    (now.as_nanos() >> AGE_SHIFT) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(peer: &TcpOptions) -> Negotiated {
        let mut options = Negotiated::new(1);
        options.agree(peer, &Config::default(), Instant::ZERO);
        options
    }

    #[test]
    fn nothing_offered_is_nothing_agreed() {
        let options = agreed(&TcpOptions::NONE);
        assert_eq!((options.mss, options.send_shift, options.receive_shift), (536, 0, 0));
        let answer = options.answer(&Config::default(), Instant::ZERO);
        assert_eq!((answer.window_scale, answer.timestamps), (None, None));
    }

    #[test]
    fn the_smaller_segment_size_wins_and_is_bounded_below() {
        let with = |mss| agreed(&TcpOptions { mss: Some(mss), ..TcpOptions::NONE }).mss;
        assert_eq!(with(9_000), 1_460);
        assert_eq!(with(1_200), 1_200);
        assert_eq!(with(limits::PEER_MSS_MIN), limits::PEER_MSS_MIN);
        assert_eq!(with(limits::PEER_MSS_MIN - 1), limits::PEER_MSS_MIN);
        assert_eq!(with(0), limits::PEER_MSS_MIN);
    }

    #[test]
    fn old_timestamps_are_refused_until_they_are_too_old_to_compare_with() {
        let stamp = |value| Timestamps { value, echo: 0 };
        let peer = TcpOptions { timestamps: Some(stamp(1_000)), ..TcpOptions::NONE };
        let mut options = agreed(&peer);
        let (here, soon) = (SeqNumber(5), Instant::from_millis(10));
        assert!(options.check(stamp(999), here, here, soon).is_err());
        assert!(options.check(stamp(1_000), here, here, soon).is_ok());
        // A segment ahead of the last ACK passes and renews nothing.
        assert!(options.check(stamp(2_000), here + 1, here, soon).is_ok());
        assert!(options.check(stamp(1_500), here, here, soon).is_ok());
        let late = Instant::from_millis(25 * 24 * 60 * 60 * 1_000);
        assert!(options.check(stamp(999), here, here, late).is_ok());
    }
}
