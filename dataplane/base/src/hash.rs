//! A keyed hash for tables that a peer can fill.

/// A secret under which table positions are computed.
///
/// Each 64-bit word is folded in by a full 128-bit product with secret-dependent operands (the
/// construction of wyhash and its relatives): about three cycles a word, and without the key an
/// attacker cannot choose tuples that share a bucket, as a linear hash such as Toeplitz would let
/// him. Not a message authentication code.
#[derive(Clone, Copy)]
pub struct HashKey {
    key: [u64; 2],
}

impl HashKey {
    /// A key made of 128 secret bits.
    #[must_use]
    pub const fn new(key: [u64; 2]) -> Self {
        // A zero operand would make a product forget its other half.
        Self { key: [key[0] | 1, key[1] ^ 0xa076_1d64_78bd_642f] }
    }

    /// The hash of one word.
    #[inline]
    #[must_use]
    pub fn hash_word(&self, word: u64) -> u64 {
        fold(word ^ self.key[0], self.key[1] ^ 0xe703_7ed1_a0b4_28db)
    }

    /// The hash of two words.
    #[inline]
    #[must_use]
    pub fn hash_pair(&self, first: u64, second: u64) -> u64 {
        let mixed = fold(first ^ self.key[0], second ^ self.key[1]);
        fold(mixed ^ self.key[1], self.key[0] ^ 0xe703_7ed1_a0b4_28db)
    }

    /// The hash of a byte string; for names, not for packets.
    #[must_use]
    pub fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        let mut state = self.key[0] ^ bytes.len() as u64;
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            state = fold(u64::from_le_bytes(word) ^ self.key[1], state ^ 0x8ebc_6af0_9c88_c6e3);
        }
        fold(state ^ self.key[0], self.key[1])
    }
}

impl std::fmt::Debug for HashKey {
    /// Keeps the secret out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_decides() {
        let (a, b) = (HashKey::new([1, 2]), HashKey::new([3, 4]));
        assert_ne!(a.hash_pair(10, 20), b.hash_pair(10, 20));
        assert_eq!(a.hash_pair(10, 20), HashKey::new([1, 2]).hash_pair(10, 20));
    }

    /// Consecutive ports are what a real table sees most; they must not crowd a bucket.
    #[test]
    fn consecutive_words_spread_over_buckets() {
        let key = HashKey::new([0x1234, 0x5678]);
        let mut buckets = [0u32; 256];
        for port in 0..65_536u64 {
            buckets[(key.hash_pair(0x0a00_0001_0a00_0002, port) & 255) as usize] += 1;
        }
        let (low, high) = (buckets.iter().min(), buckets.iter().max());
        assert!(low >= Some(&180), "emptiest bucket holds {low:?} of 256 expected");
        assert!(high <= Some(&340), "fullest bucket holds {high:?} of 256 expected");
    }

    #[test]
    fn length_is_part_of_a_byte_hash() {
        let key = HashKey::new([9, 9]);
        assert_ne!(key.hash_bytes(b"a"), key.hash_bytes(b"a\0"));
    }
}
