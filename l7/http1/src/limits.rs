//! Bounds that are not configured, with the attack each answers.

use sluice_l7_core::{HEAD_BYTES_MAX, HeadLimits};

/// Field lines that the parser's index on the stack has room for.
pub(crate) const FIELDS_USUAL: usize = 128;
/// Field lines at most, whatever is configured: an index beyond this is larger than any honest head.
pub(crate) const FIELDS_MAX: usize = 1_024;

/// Bytes of chunk extensions in one body. Answers one-byte chunks that drag long extensions along:
/// work and traffic without body bytes that a body limit would see.
pub(crate) const CHUNK_EXTENSIONS_MAX: u32 = 4 * 1_024;

/// Hexadecimal digits of a chunk size, leading zeros included. Answers sizes that overflow, and
/// endless zeros.
pub(crate) const CHUNK_DIGITS_MAX: u8 = 16;

/// Bodies are shorter than 2^63 bytes: sums of lengths stay far from overflowing.
pub(crate) const BODY_MAX: u64 = i64::MAX as u64;

/// 1xx responses to one request. Answers a server that keeps an exchange alive for ever with them.
pub(crate) const INFORMATIONAL_MAX: u8 = 32;

/// Bytes of a head at most: the configured number, or what a head can hold.
#[inline]
pub(crate) fn head_bytes(limits: &HeadLimits) -> usize {
    limits.header_bytes.min(HEAD_BYTES_MAX) as usize
}

/// Field lines of a head at most.
#[inline]
pub(crate) fn fields(limits: &HeadLimits) -> usize {
    usize::from(limits.headers).min(FIELDS_MAX)
}

const _: () = assert!(FIELDS_USUAL < FIELDS_MAX);
