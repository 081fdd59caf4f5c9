//! What fields are found by in an encoder's table.
//!
//! A decoder's table keeps the hash of each entry, and a field that came as an index carries it: who
//! writes the field for another connection does not look at its text to find it there, but once to
//! compare it.

use sluice_l7_core::NameId;

use super::Kind;

/// The hash of a field; 0 is none's. A peer that knows how can make fields collide: those are then
/// sent as literals.
#[inline]
pub(super) fn hash(kind: Kind, name: &[u8], value: &[u8]) -> u32 {
    let key = match kind {
        Kind::Pseudo(pseudo) => u64::from(b':') << 32 | pseudo as u64,
        Kind::Field(NameId::OTHER) | Kind::Invalid => u64::from(mix(0, name)),
        Kind::Field(id) => id.index() as u64,
    };
    mix(key, value) | 1
}

#[inline]
fn mix(key: u64, text: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |state: u64, word: u64| (state.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let mut state = (key ^ (text.len() as u64) << 48).wrapping_mul(FACTOR);
    let mut rest = text;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        state = step(state, u64::from_le_bytes(*word));
        rest = behind;
    }
    if rest.is_empty() {
        return (state >> 32) as u32;
    }
    let word = if let Some(last) = text.last_chunk::<8>() {
        u64::from_le_bytes(*last)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
    } else {
        rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    (step(state, word) >> 32) as u32
}
