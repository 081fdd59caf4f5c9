//! A bound on everything that a peer can make us hold, do or repeat, with the attack it answers.

/// Ranges of one reassembly queue. Attack: one byte sent in every second place makes a range each;
/// what begins another one is dropped and must be sent again. A queue that overflows at the end of
/// slow start loses every second segment: a hundred holes are honest.
pub const REASSEMBLY_RANGES_MAX: usize = 256;

/// The part of the receive budget that out-of-order data may hold, while receive memory is scarce,
/// is one in this many. Attack: the window filled behind a hole that is never sent would leave no
/// buffer for the data that fills it. While there is plenty, that data may exceed the budget.
pub const REASSEMBLY_SHARE: u32 = 2;

/// Payloads below this many bytes are copied behind the queued bytes instead of keeping their
/// buffer. Attack: one-byte segments, each pinning two kilobytes.
pub const COALESCE_BELOW: usize = 256;

/// Bytes that a buffer holds when it is used well: windows never count on more.
pub const FILL_MAX: u16 = (sluice_buf::DATA_ROOM - sluice_buf::HEADROOM) as u16;

/// Bytes per buffer that windows count on at least: smaller payloads are coalesced.
pub const FILL_MIN: u16 = COALESCE_BELOW as u16;

/// Receive buffers that a connection always gets. Without them no window could be opened at all.
pub const RECEIVE_BUFFERS_MIN: u32 = 4;

/// Segments for which a window stays open while receive memory is tight (25 % free), so that what
/// is being read goes on; below 6 % free no window is opened.
pub const TIGHT_WINDOW_SEGMENTS: u32 = 4;

/// As above at 12 % free.
pub const SCARCE_WINDOW_SEGMENTS: u32 = 1;

/// Below 12 % free receive memory a send queue takes this part of its least size.
pub const SCARCE_QUEUE_SHARE: u32 = 4;

/// The part of the receive pool that one connection's window may grow to. Attack: a peer that sends
/// fast to an application that stops reading.
pub const RECEIVE_POOL_SHARE: u32 = 8;

/// Bytes received since the window was last measured beyond which no old timestamp is good: with what
/// was received while the floor of timestamps lagged behind, and the largest window, less than half of
/// the sequence space.
pub const OVERTAKEN_BYTES_MAX: u32 = 1 << 28;

/// Least segment size that a peer can ask for, bytes. Attack: a tiny MSS makes us send, and keep
/// count of, a packet per few bytes.
pub const PEER_MSS_MIN: u16 = 64;

/// Least path MTU that is believed, bytes. Attack: a forged ICMP error that makes us send tiny
/// packets (RFC 5927, 7). Linux's bound.
pub const PATH_MTU_MIN: u16 = 552;

/// What a peer without the MSS option takes (RFC 9293, 3.7.1).
pub const PEER_MSS_DEFAULT: u16 = 536;

/// Largest shift of a window (RFC 7323, 2.3).
pub const WINDOW_SCALE_MAX: u8 = sluice_wire::tcp::WINDOW_SCALE_MAX;

/// Segments of the initial window (RFC 6928).
pub const INITIAL_WINDOW_SEGMENTS: u32 = 10;

/// Largest congestion window, bytes: the largest window a peer can offer (RFC 7323, 2.3).
pub const CONGESTION_WINDOW_MAX: u32 = 1 << 30;

/// Duplicate ACKs that mean loss (RFC 5681, 3.2).
pub const DUPLICATE_ACKS: u8 = 3;

/// Scoreboards, and reassembly queues, of one stack: at least, and at most. Attack: losses on every
/// connection at a time. Who gets none repairs its losses without SACK.
pub const SPARES_MIN: u32 = 64;
/// See [`SPARES_MIN`].
pub const SPARES_MAX: u32 = 4_096;

/// Models of BBR of one stack, a kilobyte each; connections beyond use CUBIC.
pub const MODELS_MAX: u32 = 8_192;

/// Ranges of most reassembly queues; a few have room for [`REASSEMBLY_RANGES_MAX`].
pub const REASSEMBLY_RANGES: usize = 32;

/// Ranges of most scoreboards; a few have room for [`SCOREBOARD_RANGES_MAX`].
pub const SCOREBOARD_RANGES: usize = 64;

/// Ranges of one scoreboard, 12 bytes each. Attack: SACK blocks of a byte each in every second place
/// split it at will; what would split it further is ignored, and counted. Windows sent in bursts need
/// about two hundred, whatever their size.
pub const SCOREBOARD_RANGES_MAX: usize = 512;

/// Largest multiple of a quarter of the round trip that reordering is waited for (RFC 8985, 6.2);
/// the smoothed round trip bounds it too. Attack: D-SACKs without end would postpone repairs.
pub const REORDERING_STEPS_MAX: u8 = 64;

/// Recoveries for which a wider reordering window is kept (RFC 8985, 5.2).
pub const REORDERING_PERSIST: u8 = 16;

/// Largest exponent of the back-off; the timeout itself is capped by `rto_max`.
pub const BACKOFF_MAX: u8 = 16;

/// Challenge ACKs and answers to stray segments per second and stack, on average. Attack: forged
/// segments turn us into a source of ACKs (RFC 5961, 7 asks for such a limit). The exact number
/// differs from second to second under a key, so that nobody can learn from a shared limit whether
/// a guess was right (CVE-2016-5696).
pub const CHALLENGE_ACKS_PER_SECOND: u32 = 1_000;

/// Between challenge ACKs of one connection for other ACKs, in units of 2^26 ns: 537 ms (Linux: 500 ms). Who got one
/// segment past the checks could make two ends answer each other for ever, at the speed of the path.
pub const CHALLENGE_ACK_EVERY: u16 = 8;

const _: () = assert!(FILL_MIN < FILL_MAX);
const _: () = assert!(RECEIVE_BUFFERS_MIN >= 2 * REASSEMBLY_SHARE);
const _: () = assert!((u16::MAX as u64) << WINDOW_SCALE_MAX <= CONGESTION_WINDOW_MAX as u64);
