//! Initial sequence numbers (RFC 6528).

use sluice_base::{HashKey, Instant};
use sluice_wire::SeqNumber;

/// ISN = M + F(addresses, ports, secret) (RFC 6528, 3).
///
/// `tuple` holds both addresses and both ports, packed into two words in any order that does not
/// change. M ticks every 4 microseconds (RFC 9293, 3.4.1); F is keyed, so that who sees one
/// connection's numbers cannot tell another's.
#[must_use]
pub fn initial_sequence(key: &HashKey, tuple: [u64; 2], now: Instant) -> SeqNumber {
    let offset = key.hash_pair(tuple[0], tuple[1]) as u32;
    SeqNumber(ticks(now).wrapping_add(offset))
}

/// M.
pub(crate) fn ticks(now: Instant) -> u32 {
    (now.as_micros() / 4) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_advance_with_the_clock_and_differ_between_tuples_and_keys() {
        let key = HashKey::new([0x1234, 0x5678]);
        let at = |tuple, ms| initial_sequence(&key, tuple, Instant::from_millis(ms));
        assert_eq!(at([1, 2], 5) - at([1, 2], 1), 1_000);
        assert_ne!(at([1, 2], 1), at([1, 3], 1));
        let other = initial_sequence(&HashKey::new([9, 9]), [1, 2], Instant::from_millis(1));
        assert_ne!(at([1, 2], 1), other);
    }
}
