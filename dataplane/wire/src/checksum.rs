//! The Internet checksum (RFC 1071), its pseudo headers and its incremental update (RFC 1624).
//!
//! A one's complement sum does not care in which byte order it is taken (RFC 1071, 2 (B)), so the
//! bytes are added as native 32-bit words into 64-bit lanes, which the compiler turns into vector
//! adds, and only the folded result is swapped. The lanes cannot overflow below 2^32 words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A sum under construction; slices may be added one after another, whatever their lengths.
///
/// ```
/// use sluice_wire::Checksum;
/// let mut sum = Checksum::new();
/// sum.add_bytes(&[0x45]);
/// sum.add_bytes(&[0x00, 0x00]);
/// sum.add_bytes(&[0x73]);
/// assert_eq!(sum.finish(), !(0x4500u16 + 0x0073));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    /// Sum of big-endian words of 16 or 32 bits, not folded.
    sum: u64,
    /// Whether an odd number of bytes came so far: the next byte is the low half of its word.
    odd: bool,
}

impl Checksum {
    /// The sum of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// Continues from a folded sum (not complemented), such as the one a device reports or the
    /// pseudo-header seed that was left in a checksum field.
    #[must_use]
    pub const fn from_sum(sum: u16) -> Self {
        Self { sum: sum as u64, odd: false }
    }

    /// Continues from a sum of 32-bit words in host order, fewer than 2^32 of them.
    #[inline]
    #[must_use]
    pub const fn from_words(sum: u64) -> Self {
        Self { sum, odd: false }
    }

    /// The pseudo header of RFC 9293, 3.1 and RFC 768. `len` is that of the transport header and
    /// payload, in bytes; wider than the wire's 16 bits so that a segmentation unit fits too.
    #[inline]
    #[must_use]
    pub fn pseudo_header_v4(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        len: u32,
    ) -> Self {
        let addresses = u64::from(source.to_bits()) + u64::from(destination.to_bits());
        Self::from_words(addresses + u64::from(protocol) + u64::from(len))
    }

    /// The pseudo header of RFC 8200, 8.1. `len` as in [`Self::pseudo_header_v4`].
    #[must_use]
    pub fn pseudo_header_v6(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        protocol: u8,
        len: u32,
    ) -> Self {
        let mut sum = Self::new();
        sum.add_bytes(&source.octets());
        sum.add_bytes(&destination.octets());
        sum.add_u32(len);
        sum.add_u16(u16::from(protocol));
        sum
    }

    /// The pseudo header of either family; of two addresses of different ones, which nobody can
    /// write into one packet, IPv6's.
    #[inline]
    #[must_use]
    pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: u32) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Self::pseudo_header_v4(source, destination, protocol, len)
            }
            (source, destination) => {
                let wide = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                Self::pseudo_header_v6(wide(source), wide(destination), protocol, len)
            }
        }
    }

    /// Adds bytes behind those already added.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let sum = ones_complement_sum(bytes);
        // Behind an odd byte every word is shifted by one byte, and so is their sum.
        self.sum += u64::from(if self.odd { sum.swap_bytes() } else { sum });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds one 16-bit word. The bytes before it must be even in number.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        debug_assert!(!self.odd, "words are added on even offsets");
        self.sum += u64::from(value);
    }

    /// Adds two 16-bit words. The bytes before them must be even in number.
    #[inline]
    pub fn add_u32(&mut self, value: u32) {
        debug_assert!(!self.odd, "words are added on even offsets");
        self.sum += u64::from(value);
    }

    /// The folded sum, not complemented: what a device that completes checksums expects in the
    /// checksum field when only the pseudo header was added.
    #[inline]
    #[must_use]
    pub const fn sum(self) -> u16 {
        fold(self.sum)
    }

    /// The checksum as it goes into the field.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.sum()
    }

    /// The checksum as it goes into UDP's field, where zero means "none" (RFC 768).
    #[inline]
    #[must_use]
    pub const fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// Whether what was added, checksum field included, adds up.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.sum() == 0xffff
    }
}

/// The folded one's complement sum of `bytes` as big-endian words; an odd last byte is the high
/// half of its word.
#[inline]
#[must_use]
pub fn ones_complement_sum(bytes: &[u8]) -> u16 {
    // An IPv4 header without options, twice per forwarded packet and once per segment.
    match <&[u8; 20]>::try_from(bytes) {
        Ok(header) => {
            let (words, _) = header.as_chunks::<4>();
            let words = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word)));
            u16::from_be(fold(words.sum()))
        }
        Err(_) => sum_of_any_length(bytes),
    }
}

fn sum_of_any_length(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [0u64; 8];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut sum: u64 = lanes.iter().sum();

    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let (halves, rest) = rest.as_chunks::<2>();
    for half in halves {
        sum += u64::from(u16::from_ne_bytes(*half));
    }
    if let [last] = rest {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    u16::from_be(fold(sum))
}

/// RFC 1624, 3, equation 3: the checksum after one 16-bit word changed from `old` to `new`.
///
/// Where everything covered is zero after the change, this gives 0x0000 and recomputation 0xffff.
/// IP headers and pseudo headers are never zero; an ICMP message can be, see
/// [`crate::icmp::reply_in_place`].
#[inline]
#[must_use]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// As [`update_u16`] for two words, such as an address or a sequence number.
#[inline]
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update_u16(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update_u16(high, (old & 0xffff) as u16, (new & 0xffff) as u16)
}

/// Adds the carries back in until 16 bits are left.
///
/// A word plus itself with its halves exchanged: the upper half of the result is the sum of both
/// halves, and what the lower half carries into it, which is the carry of that same sum.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn rfc_1071_section_3_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(ones_complement_sum(&bytes), 0xddf2);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // The header checksum 0xdd2f, a field changes from 0x5555 to 0x3285: the result is 0x0000,
        // where equation 2 of RFC 1141 wrongly gives 0xffff.
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn zero_udp_checksum_is_sent_as_all_ones() {
        let mut sum = Checksum::new();
        sum.add_u16(0xffff);
        assert_eq!(sum.finish(), 0);
        assert_eq!(sum.finish_udp(), 0xffff);
    }

    #[test]
    fn largest_unit_of_all_ones_does_not_overflow() {
        let bytes = vec![0xff; 262_144];
        assert_eq!(ones_complement_sum(&bytes), 0xffff);
        assert_eq!(ones_complement_sum(&[]), 0);
    }

    #[test]
    fn every_short_length_equals_the_naive_twin() {
        let bytes: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(167).wrapping_add(13)).collect();
        for start in 0..9 {
            for end in start..bytes.len() {
                assert_eq!(ones_complement_sum(&bytes[start..end]), naive(&bytes[start..end]));
            }
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_twin(bytes in proptest::collection::vec(any::<u8>(), 0..4096),
                                 start in 0usize..64) {
            let bytes = &bytes[start.min(bytes.len())..];
            prop_assert_eq!(ones_complement_sum(bytes), naive(bytes));
        }

        #[test]
        fn splits_do_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..600),
                                cuts in proptest::collection::vec(0usize..600, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let (mut sum, mut from) = (Checksum::new(), 0);
            for to in cuts {
                sum.add_bytes(&bytes[from..to]);
                from = to;
            }
            prop_assert_eq!(sum.sum(), naive(&bytes));
        }

        #[test]
        fn update_equals_recomputation(mut bytes in proptest::collection::vec(any::<u8>(), 20),
                                       new in any::<u16>(), wide in any::<u32>()) {
            // A header always has a word that is not zero, so 0x0000 and 0xffff cannot be confused.
            bytes[0] = 0x45;
            let before = !naive(&bytes);
            let old = u16::from_be_bytes([bytes[8], bytes[9]]);
            bytes[8..10].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update_u16(before, old, new), !naive(&bytes));
            let before = !naive(&bytes);
            let old = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
            bytes[12..16].copy_from_slice(&wide.to_be_bytes());
            prop_assert_eq!(update_u32(before, old, wide), !naive(&bytes));
        }

        #[test]
        fn pseudo_header_equals_its_bytes(src in any::<u32>(), dst in any::<u32>(),
                                          protocol in any::<u8>(), len in any::<u16>()) {
            let mut bytes = Vec::new();
            bytes.extend_from_slice(&src.to_be_bytes());
            bytes.extend_from_slice(&dst.to_be_bytes());
            bytes.extend_from_slice(&[0, protocol]);
            bytes.extend_from_slice(&len.to_be_bytes());
            let sum = Checksum::pseudo_header_v4(src.into(), dst.into(), protocol, len.into());
            prop_assert_eq!(sum.sum(), naive(&bytes));
        }

        #[test]
        fn pseudo_header_v6_equals_its_bytes(src in any::<u128>(), dst in any::<u128>(),
                                             protocol in any::<u8>(), len in any::<u32>()) {
            let mut bytes = Vec::new();
            bytes.extend_from_slice(&src.to_be_bytes());
            bytes.extend_from_slice(&dst.to_be_bytes());
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, protocol]);
            let (src, dst) = (Ipv6Addr::from(src), Ipv6Addr::from(dst));
            let sum = Checksum::pseudo_header_v6(src, dst, protocol, len);
            prop_assert_eq!(sum.sum(), naive(&bytes));
            let sum = Checksum::pseudo_header(src.into(), dst.into(), protocol, len);
            prop_assert_eq!(sum.sum(), naive(&bytes));
        }
    }
}
