//! SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash whose results may be seen by those who
//! must not learn the key. Slower than [`HashKey`](crate::HashKey); for numbers that go out on the
//! wire, a few per connection.

/// A secret of 128 bits.
#[derive(Clone, Copy)]
pub struct SipKey {
    key: [u64; 2],
}

impl SipKey {
    /// A key made of 128 secret bits.
    #[must_use]
    pub const fn new(key: [u64; 2]) -> Self {
        Self { key }
    }

    /// The hash of some words, each as its eight bytes from the least significant one.
    #[must_use]
    pub fn hash(&self, words: &[u64]) -> u64 {
        let mut state = State([
            self.key[0] ^ 0x736f_6d65_7073_6575,
            self.key[1] ^ 0x646f_7261_6e64_6f6d,
            self.key[0] ^ 0x6c79_6765_6e65_7261,
            self.key[1] ^ 0x7465_6462_7974_6573,
        ]);
        for word in words {
            state.absorb(*word);
        }
        // The number of bytes, modulo 256, in the top byte.
        state.absorb((words.len() as u64 * 8) << 56);
        state.0[2] ^= 0xff;
        (0..4).for_each(|_| state.round());
        state.0.into_iter().fold(0, |sum, word| sum ^ word)
    }
}

impl std::fmt::Debug for SipKey {
    /// Keeps the secret out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SipKey(secret)")
    }
}

struct State([u64; 4]);

impl State {
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the reference implementation for inputs of 0 and 8 bytes.
    #[test]
    fn vectors() {
        let key = SipKey::new([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_eq!(key.hash(&[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(key.hash(&[0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }
}
