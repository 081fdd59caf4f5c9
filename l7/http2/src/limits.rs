//! Bounds that are not configured, with the attack each answers.

/// Bytes of a frame's payload that we accept and send: SETTINGS_MAX_FRAME_SIZE at its least, which
/// keeps streams from waiting long for each other.
pub(crate) const FRAME_SIZE: u32 = 16_384;

/// Bytes of one header block as received. Answers blocks without end: it is kept until it is whole.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 * 1_024;
/// CONTINUATION frames of one block. Answers blocks of many tiny frames, or empty ones.
pub(crate) const CONTINUATIONS_MAX: u8 = 8;

/// 1xx responses to one request. Answers a server that keeps an exchange alive for ever with them.
pub(crate) const INFORMATIONAL_MAX: u8 = 32;

/// Streams of ours that were reset, whose late frames are ignored for a while.
pub(crate) const RESETS_REMEMBERED: usize = 32;

/// Streams that a client gives up on one connection, beyond those that are completed, before it opens no
/// more on it: half of what this crate's server would take (`budget.rs`). Answers a client of a proxy that
/// gives up so much that the server loses its patience, with the streams of everybody else.
pub(crate) const WORN_OUT: u16 = 250;

/// Streams at most, whatever is configured: slots are numbered with 16 bits.
pub(crate) const STREAMS_MAX: u32 = 32_768;

/// Bytes of answers (SETTINGS, PING, RST_STREAM, WINDOW_UPDATE) kept while there is no packet memory.
pub(crate) const UNSENT_MAX: usize = 4 * 1_024;

/// Bodies are shorter than 2^63 bytes: sums of lengths stay far from overflowing.
pub(crate) const BODY_MAX: u64 = i64::MAX as u64;

/// The largest window (RFC 9113, 6.9.1).
pub(crate) const WINDOW_MAX: u32 = (1 << 31) - 1;
/// Every window before anybody said anything (6.9.2).
pub(crate) const WINDOW_DEFAULT: u32 = 65_535;

const _: () = assert!(FRAME_SIZE as usize <= BLOCK_BYTES_MAX);
const _: () = assert!(STREAMS_MAX < u16::MAX as u32);
