//! Where messages begin and end in a body.
//!
//! ```text
//!   | compressed: 0 or 1 | length: 4 bytes, big endian | message ... | compressed | ...
//! ```

use std::fmt;

use sluice_buf::Chain;

const PREFIX: u8 = 5;

/// Counts the messages of one direction of one call, by their prefixes, as bytes pass. 8 bytes;
/// messages may be as long as their prefix can say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Messages {
    /// With `seen` below five: the part of the length that has passed. With five: bytes of the
    /// message that have not.
    number: u32,
    /// Bytes of the prefix that have passed; 0 between two messages.
    seen: u8,
    bad: bool,
}

/// The first byte of a prefix is neither 0 nor 1: this is not gRPC, and nothing further is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadPrefix;

impl fmt::Display for BadPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message begins with neither 0 nor 1")
    }
}

impl std::error::Error for BadPrefix {}

impl Messages {
    /// At the beginning of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self { number: 0, seen: 0, bad: false }
    }

    /// The next bytes of the body; how many messages ended in them.
    ///
    /// # Errors
    /// The body is not gRPC's, from here on or since an earlier call.
    pub fn pass(&mut self, bytes: &Chain) -> Result<u32, BadPrefix> {
        // Most are one message in one piece.
        if self.is_one(bytes.front(), bytes.len()) {
            return Ok(1);
        }
        let mut ended = 0;
        for piece in bytes.pieces() {
            ended += self.pass_piece(piece)?;
        }
        Ok(ended)
    }

    /// Whether the next `len` bytes, of which these are the first, are one message.
    #[inline]
    fn is_one(self, front: &[u8], len: usize) -> bool {
        let Some([0 | 1, length @ ..]) = front.first_chunk::<5>() else { return false };
        u32::from_be_bytes(*length) as usize + usize::from(PREFIX) == len
            && self.seen == 0
            && !self.bad
    }

    /// As [`Messages::pass`], of what is most often one message.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn pass_whole(&mut self, bytes: &[u8]) -> Result<u32, BadPrefix> {
        if self.is_one(bytes, bytes.len()) { Ok(1) } else { self.pass_piece(bytes) }
    }

    /// As [`Messages::pass`], of bytes in one piece.
    ///
    /// # Errors
    /// As there.
    pub fn pass_piece(&mut self, mut bytes: &[u8]) -> Result<u32, BadPrefix> {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.seen == PREFIX {
                let count = bytes.len().min(self.number as usize);
                self.number -= count as u32;
                bytes = &bytes[count..];
            } else if let Some([0 | 1, length @ ..]) = bytes.first_chunk::<5>()
                && self.seen == 0
                && !self.bad
            {
                self.number = u32::from_be_bytes(*length);
                self.seen = PREFIX;
                bytes = &bytes[usize::from(PREFIX)..];
            } else {
                self.pass_prefix(bytes[0])?;
                bytes = &bytes[1..];
            }
            if self.seen == PREFIX && self.number == 0 {
                self.seen = 0;
                ended += 1;
            }
        }
        Ok(ended)
    }

    fn pass_prefix(&mut self, byte: u8) -> Result<(), BadPrefix> {
        self.bad |= self.seen == 0 && byte > 1;
        if self.bad {
            return Err(BadPrefix);
        }
        self.number = if self.seen == 0 { 0 } else { self.number << 8 | u32::from(byte) };
        self.seen += 1;
        Ok(())
    }

    /// As a number, small where the body is between two messages.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.number as u64) << 4 | (self.seen as u64) << 1 | self.bad as u64
    }

    /// The other way round.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        let seen = (bits >> 1 & 7) as u8;
        let seen = if seen > PREFIX { PREFIX } else { seen };
        Self { number: (bits >> 4) as u32, seen, bad: bits & 1 == 1 }
    }

    /// Whether a body may end here.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.seen == 0 && !self.bad
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_buf::Pool;

    use super::*;

    fn body(lengths: &[usize]) -> Vec<u8> {
        let mut body = Vec::new();
        for (number, len) in lengths.iter().enumerate() {
            body.push((number % 2) as u8);
            body.extend_from_slice(&(*len as u32).to_be_bytes());
            // Bytes that would be a bad prefix, were they taken for one.
            body.resize(body.len() + len, 0xee);
        }
        body
    }

    #[test]
    fn empty_messages_count() {
        let mut messages = Messages::new();
        assert_eq!(messages.pass_piece(&body(&[0, 0, 3, 0])), Ok(4));
        assert!(messages.is_between());
        assert_eq!(messages.pass_piece(&[0, 0, 0]), Ok(0));
        assert!(!messages.is_between());
        assert_eq!(messages.pass_piece(&[0, 0]), Ok(1));
    }

    #[test]
    fn the_longest_message() {
        let mut messages = Messages::new();
        assert_eq!(messages.pass_piece(&[0, 0xff, 0xff, 0xff, 0xff]), Ok(0));
        let block = vec![9; 1 << 24];
        for _ in 0..255 {
            assert_eq!(messages.pass_piece(&block), Ok(0));
        }
        assert_eq!(messages.pass_piece(&block[1..]), Ok(1));
        assert!(messages.is_between());
    }

    #[test]
    fn what_is_not_grpc_is_not_counted() {
        let mut messages = Messages::new();
        assert_eq!(messages.pass_piece(b"<html>"), Err(BadPrefix));
        assert_eq!(messages.pass_piece(&[0, 0, 0, 0, 0]), Err(BadPrefix), "nor later");
        assert!(!messages.is_between());
        let mut messages = Messages::new();
        assert_eq!(messages.pass_piece(&body(&[1, 2])), Ok(2));
        assert_eq!(messages.pass_piece(&[2]), Err(BadPrefix));
    }

    #[test]
    fn through_a_chain() {
        let pool = Pool::heap(8);
        let text = body(&[5_000, 0, 700]);
        let bytes = Chain::copy_from(&text, &pool).expect("buffers");
        assert!(bytes.buffers() > 1);
        assert_eq!(Messages::new().pass(&bytes), Ok(3));
    }

    proptest! {
        /// However the bytes are cut, the same messages are counted.
        #[test]
        fn cuts_do_not_matter(
            lengths in proptest::collection::vec(0usize..300, 0..12),
            cuts in proptest::collection::vec(1usize..40, 1..60),
        ) {
            let text = body(&lengths);
            let (mut messages, mut ended, mut rest) = (Messages::new(), 0, &text[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                ended += messages.pass_piece(piece).expect("a good body");
                rest = after;
            }
            prop_assert_eq!(ended as usize, lengths.len());
            prop_assert!(messages.is_between());
        }
    }
}
