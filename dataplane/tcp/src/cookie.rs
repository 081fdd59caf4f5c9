//! SYN cookies (RFC 4987, 3.6; the layout is this project's): a listener that keeps nothing.
//!
//! ```text
//!   our initial sequence number = F1(tuple) + | time 5 | MSS 3 | F2(tuple, IRS, time, MSS) 24 |
//!   the last six bits of our timestamp =      | 0 | SACK 1 | window scale 4, 15: none |
//! ```
//!
//! The time ticks every 64 s; a cookie is good for one to two ticks. A peer without timestamps gets
//! neither window scale nor SACK: there is no place to keep them.

use sluice_base::{Instant, SipKey};
use sluice_buf::Pressure;
use sluice_wire::{Flags, SeqNumber, TcpHeader, TcpOptions, Timestamps};

use crate::config::Config;
use crate::connection::Connection;
use crate::context::Context;
use crate::isn::Numbers;
use crate::limits;
use crate::output::Owed;
use crate::recv::ReceiveQueue;

/// Segment sizes that a cookie can say; what the peer announced is rounded down.
const SIZES: [u16; 8] = [64, 536, 1_220, 1_360, 1_400, 1_440, 1_460, 8_960];
/// Seconds per tick, as a power of two.
const TICK_BITS: u32 = 6;
const TIME_MASK: u32 = 31;
const NO_SCALE: u8 = 15;
const SACK_BIT: u32 = 1 << 4;
const OPTION_BITS: u32 = 63;

/// What a cookie that came back says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cookie {
    numbers: Numbers,
    /// The SYN as it must have been.
    syn: TcpHeader,
}

/// The SYN+ACK for a SYN of which nothing is kept. Ports are 0.
#[must_use]
pub fn cookie_answer(
    key: &SipKey,
    tuple: [u64; 2],
    syn: &TcpHeader,
    config: &Config,
    now: Instant,
) -> TcpHeader {
    let announced = syn.options.mss.unwrap_or(limits::PEER_MSS_DEFAULT);
    let size = SIZES.iter().rposition(|size| *size <= announced).unwrap_or(0) as u32;
    let seq = encode(key, tuple, syn.seq, time(now), size);
    let peer = syn.options.timestamps.filter(|_| config.timestamps);
    let scale = config.window_scale.min(limits::WINDOW_SCALE_MAX);
    let (mut window_scale, mut sack_permitted) = (None, false);
    let mut timestamps = None;
    if let Some(peer) = peer {
        window_scale = syn.options.window_scale.map(|_| scale);
        sack_permitted = config.sack && syn.options.sack_permitted;
        let theirs = syn.options.window_scale.map_or(NO_SCALE, |it| it.min(14));
        let bits = u32::from(theirs) | if sack_permitted { SACK_BIT } else { 0 };
        let clock =
            (now.as_millis() as u32).wrapping_add(Numbers::new(key, tuple, now).stamp_offset);
        // Never ahead of the clock, lest the connection's own timestamps be older.
        let value = ((clock & !OPTION_BITS) | bits).wrapping_sub(OPTION_BITS + 1);
        timestamps = Some(Timestamps { value, echo: peer.value });
    }
    let mss = Some(config.mss);
    let options = TcpOptions { mss, window_scale, sack_permitted, timestamps, ..TcpOptions::NONE };
    TcpHeader {
        seq,
        ack: syn.seq + 1,
        flags: Flags::SYN | Flags::ACK,
        window: ReceiveQueue::new(config).initial_window() as u16,
        options,
        ..TcpHeader::default()
    }
}

/// Whether `ack` answers a cookie of ours.
#[must_use]
pub fn check_cookie(
    key: &SipKey,
    tuple: [u64; 2],
    ack: &TcpHeader,
    config: &Config,
    now: Instant,
) -> Option<Cookie> {
    let (iss, irs) = (ack.ack - 1, ack.seq - 1);
    let (present, said) = (time(now), iss.0.wrapping_sub(base(key, tuple)));
    let (then, size) = (said >> 27, said >> 24 & 7);
    let is_recent = present.wrapping_sub(then) & TIME_MASK <= 1;
    if !is_recent || encode(key, tuple, irs, then, size) != iss {
        return None;
    }
    let mut options = TcpOptions { mss: Some(SIZES[size as usize]), ..TcpOptions::NONE };
    if let Some(stamp) = ack.options.timestamps.filter(|_| config.timestamps) {
        let bits = stamp.echo & OPTION_BITS;
        let scale = (bits & 15) as u8;
        options.window_scale = (scale != NO_SCALE).then_some(scale);
        options.sack_permitted = bits & SACK_BIT != 0;
        options.timestamps = Some(stamp);
    }
    let stamp_offset = Numbers::new(key, tuple, now).stamp_offset;
    let syn = TcpHeader { seq: irs, flags: Flags::SYN, options, ..TcpHeader::default() };
    Some(Cookie { numbers: Numbers { iss, stamp_offset }, syn })
}

impl Connection {
    /// A connection whose SYN+ACK was a cookie: in SYN-RECEIVED, for the ACK that brought it back.
    #[must_use]
    pub fn accept_cookie(cookie: &Cookie, cx: &Context<'_>) -> Self {
        let calm = Context { pressure: Pressure::None, ..*cx };
        let mut connection = Self::accept(cookie.numbers, &cookie.syn, &calm);
        // The SYN+ACK is on its way already.
        connection.owed = connection.owed.without(Owed::SYN);
        connection.send.max = cookie.numbers.iss + 1;
        connection.send.next = connection.send.max;
        connection.settle_send_timers(cx);
        connection
    }
}

fn base(key: &SipKey, tuple: [u64; 2]) -> u32 {
    key.hash(&[tuple[0], tuple[1], 1]) as u32
}

fn encode(key: &SipKey, tuple: [u64; 2], irs: SeqNumber, time: u32, size: u32) -> SeqNumber {
    let said = u64::from(irs.0) << 32 | u64::from(time) << 3 | u64::from(size);
    let mac = key.hash(&[tuple[0], tuple[1], said, 2]) as u32 & 0x00ff_ffff;
    SeqNumber(base(key, tuple).wrapping_add(time << 27 | size << 24 | mac))
}

fn time(now: Instant) -> u32 {
    ((now.as_millis() / 1_000) >> TICK_BITS) as u32 & TIME_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SipKey = SipKey::new([3, 4]);
    const TUPLE: [u64; 2] = [0x0a00_0001_0a00_0002, 0x1234_0050];

    fn syn(options: TcpOptions) -> TcpHeader {
        let (seq, flags) = (SeqNumber(77), Flags::SYN);
        TcpHeader { seq, flags, window: 1_000, options, ..TcpHeader::default() }
    }

    /// The ACK of a peer that got that SYN+ACK.
    fn ack_of(answer: &TcpHeader) -> TcpHeader {
        let echo = answer.options.timestamps.map(|stamp| stamp.value);
        let timestamps = echo.map(|echo| Timestamps { value: 501, echo });
        TcpHeader {
            seq: answer.ack,
            ack: answer.seq + 1,
            flags: Flags::ACK,
            options: TcpOptions { timestamps, ..TcpOptions::NONE },
            ..TcpHeader::default()
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_cookie_comes_back_with_all_that_was_offered() {
        let config = Config::default();
        let full = TcpOptions {
            mss: Some(1_460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 500, echo: 0 }),
            ..TcpOptions::NONE
        };
        let answer = cookie_answer(&KEY, TUPLE, &syn(full), &config, at(1_000));
        assert_eq!(answer.options.timestamps.map(|stamp| stamp.echo), Some(500));
        let cookie = check_cookie(&KEY, TUPLE, &ack_of(&answer), &config, at(1_001));
        let options = cookie.expect("it is ours").syn.options;
        assert_eq!((options.mss, options.window_scale), (Some(1_460), Some(7)));
        assert!(options.sack_permitted);
    }

    #[test]
    fn without_timestamps_only_the_segment_size_survives() {
        let config = Config::default();
        let offered = TcpOptions {
            mss: Some(1_459),
            window_scale: Some(7),
            sack_permitted: true,
            ..TcpOptions::NONE
        };
        let answer = cookie_answer(&KEY, TUPLE, &syn(offered), &config, at(0));
        assert_eq!((answer.options.window_scale, answer.options.sack_permitted), (None, false));
        let cookie = check_cookie(&KEY, TUPLE, &ack_of(&answer), &config, at(0));
        let options = cookie.expect("it is ours").syn.options;
        assert_eq!((options.mss, options.window_scale), (Some(1_440), None));
    }

    #[test]
    fn what_is_old_or_forged_or_anothers_is_not_ours() {
        let config = Config::default();
        let answer = cookie_answer(&KEY, TUPLE, &syn(TcpOptions::NONE), &config, at(640));
        let ack = ack_of(&answer);
        let check = |tuple, ack: &TcpHeader, seconds| {
            check_cookie(&KEY, tuple, ack, &config, at(seconds)).is_some()
        };
        assert!(check(TUPLE, &ack, 640 + 127));
        assert!(!check(TUPLE, &ack, 640 + 128));
        assert!(!check([TUPLE[0], 5], &ack, 640));
        assert!(!check(TUPLE, &TcpHeader { seq: ack.seq + 1, ..ack }, 640));
        let forged = (0..100_000).filter(|guess| {
            check(TUPLE, &TcpHeader { ack: SeqNumber(guess * 42_949), ..ack }, 640)
        });
        assert!(forged.count() <= 1, "one in 2^24 would be luck");
    }
}
