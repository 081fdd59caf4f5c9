//! What many connections share.

use std::time::Duration;

use crate::congestion::CongestionKind;
use crate::ecn::EcnMode;
use crate::limits;

/// Settings of a listener's or a cluster's connections. Passed in by reference, never stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// What we announce as largest segment: MTU less 40, bytes.
    pub mss: u16,
    /// Receive memory of one connection at first, in pool buffers: queued, out of order, and read but
    /// not credited.
    pub receive_buffers: u32,
    /// What that may grow to while the peer fills the window within a round trip and the application
    /// keeps up; never beyond an eighth of the pool.
    pub receive_buffers_max: u32,
    /// Bytes that may wait to be sent beside two congestion windows; `send_room` is 0 beyond. Soft: a
    /// `write` is always taken whole.
    pub send_queue_min: u32,
    /// Bytes after which `send_room` is 0, whatever the congestion window.
    pub send_queue_max: u32,
    /// Shift of the windows we announce (RFC 7323, 2), at most 14.
    pub window_scale: u8,
    /// Whether to offer timestamps (RFC 7323, 3): protection against wrapped sequence numbers for
    /// 12 bytes a segment.
    pub timestamps: bool,
    /// Whether to offer SACK (RFC 2018): a loss costs one segment instead of a round trip each.
    pub sack: bool,
    /// Connections of a listener whose request came with the SYN and that may wait for the end of their
    /// handshake (RFC 7413); beyond, and at 0 always, the request is not taken before. 0: it may come
    /// twice.
    pub fast_open_max: u32,
    /// Whether to agree on ECN (RFC 3168).
    pub ecn: EcnMode,
    /// How the sending rate is found.
    pub congestion: CongestionKind,
    /// How long TIME-WAIT lasts (2 MSL).
    pub time_wait: Duration,
    /// How long FIN-WAIT-2 may wait for a peer once the application stopped reading.
    pub fin_wait_2: Duration,
    /// How often a SYN or SYN+ACK is repeated before the attempt times out.
    pub syn_retries: u8,
    /// How often in a row data, a FIN or a window probe goes unanswered before giving up.
    pub data_retries: u8,
    /// How long what was sent may go unanswered before the connection is given up (RFC 9293, 3.8.3);
    /// looked at when the retransmission timer expires, and told to the peer (RFC 5482). None:
    /// `data_retries` decide.
    pub user_timeout: Option<Duration>,
    /// Up to what a peer's wish makes that longer (U_LIMIT of RFC 5482, 3.1); less than it: not at all.
    pub user_timeout_max: Duration,
    /// Probes of a silent peer. RFC 9293, 3.8.4: off unless somebody wants it.
    pub keepalive: Option<Keepalive>,
    /// Full segments at the beginning that are acknowledged one by one, so that the peer's slow
    /// start is not slowed down (Linux: 16).
    pub quick_acks: u8,
    /// How long an ACK may wait for company (RFC 9293, 3.8.6.3: at most 500 ms).
    pub delayed_ack: Duration,
    /// Retransmission timeout before the first measurement (RFC 6298, 2.1: 1 s), microseconds as the
    /// estimator counts them.
    pub rto_initial_us: u32,
    /// Least retransmission timeout. RFC 6298, 2.4 says 1 s; 200 ms is what the deployed stacks use,
    /// and stays above their delayed ACK.
    pub rto_min_us: u32,
    /// Largest retransmission timeout (RFC 6298, 2.5: at least 60 s).
    pub rto_max_us: u32,
}

/// When a silent peer is asked whether it is still there (RFC 9293, 3.8.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keepalive {
    /// How long nothing must have been heard; up to twice as long.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without an answer before the connection is given up.
    pub probes: u8,
}

impl Config {
    /// The least shift under which `buffers` full segments of `mss` bytes can be announced.
    #[must_use]
    pub fn window_scale_for(buffers: u32, mss: u16) -> u8 {
        let bytes = u64::from(buffers) * u64::from(mss);
        let bits = (u64::BITS - (bytes >> 16).leading_zeros()) as u8;
        bits.min(limits::WINDOW_SCALE_MAX)
    }
}

impl Default for Config {
    fn default() -> Self {
        // 6 MB and 4 MiB in the end, as much as Linux: 200 ms at 200 Mbit/s.
        let (mss, receive_buffers_max) = (1460, 4_096);
        Self {
            mss,
            receive_buffers: 512,
            receive_buffers_max,
            send_queue_min: 256 * 1024,
            send_queue_max: 4 << 20,
            window_scale: Self::window_scale_for(receive_buffers_max, mss),
            timestamps: true,
            sack: true,
            fast_open_max: 0,
            ecn: EcnMode::Accept,
            congestion: CongestionKind::Cubic,
            time_wait: Duration::from_secs(60),
            fin_wait_2: Duration::from_secs(60),
            syn_retries: 6,
            data_retries: 10,
            user_timeout: None,
            user_timeout_max: Duration::ZERO,
            keepalive: None,
            quick_acks: 16,
            delayed_ack: Duration::from_millis(40),
            rto_initial_us: 1_000_000,
            rto_min_us: 200_000,
            rto_max_us: 60_000_000,
        }
    }
}

/// A duration as nanoseconds, for [`Instant::plus_nanos`](sluice_base::Instant::plus_nanos) on the
/// hot path: no check, 584 years are enough.
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
