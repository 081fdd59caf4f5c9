//! The numbers that a connection begins with (RFC 6528; RFC 7323, 5.4).

use sluice_base::{Instant, SipKey};
use sluice_wire::SeqNumber;

/// How often the clock of initial sequence numbers ticks.
const TICK_NS: u64 = 64;

/// Where our numbers begin on one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Numbers {
    /// Initial sequence number.
    pub iss: SeqNumber,
    /// Added to our timestamp clock, so that it does not tell how long we run. The same for every
    /// connection of a tuple: a peer in TIME-WAIT tells them apart by growing timestamps (RFC 6191, 2).
    pub stamp_offset: u32,
}

impl Numbers {
    /// ISN = M + F(addresses, ports, secret) (RFC 6528, 3).
    ///
    /// `tuple` holds both addresses and both ports, packed into two words in any order that does not
    /// change. M ticks every 64 nanoseconds: with the 4 microseconds of RFC 9293, 3.4.1, a tuple that
    /// is used again within a millisecond after some hundred bytes would begin below where it ended,
    /// and the peer's TIME-WAIT would not let it. Who sees one connection's numbers cannot tell
    /// another's, nor the offset from the number.
    #[must_use]
    pub fn new(key: &SipKey, tuple: [u64; 2], now: Instant) -> Self {
        let hash = key.hash(&tuple);
        let iss = SeqNumber(((now.as_nanos() / TICK_NS) as u32).wrapping_add(hash as u32));
        Self { iss, stamp_offset: (hash >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_advance_with_the_clock_and_differ_between_tuples_and_keys() {
        let key = SipKey::new([0x1234, 0x5678]);
        let at = |tuple, ms| Numbers::new(&key, tuple, Instant::from_millis(ms));
        assert_eq!(at([1, 2], 5).iss - at([1, 2], 1).iss, 62_500);
        assert_eq!(at([1, 2], 5).stamp_offset, at([1, 2], 1).stamp_offset);
        assert_ne!(at([1, 2], 1), at([1, 3], 1));
        assert_ne!(at([1, 2], 1), Numbers::new(&SipKey::new([9, 9]), [1, 2], Instant::ZERO));
    }
}
