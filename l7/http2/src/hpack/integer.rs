//! Integers with a prefix (RFC 7541, 5.1).

use super::HpackError;

/// Bytes behind the prefix at most: four carry 28 bits, more than any length or index that is not an
/// attack on somebody's arithmetic.
const BYTES_MAX: u32 = 4;

/// Reads the integer whose prefix is the low `bits` bits of `first`; `rest` is moved behind it.
#[inline]
pub(super) fn decode(first: u8, bits: u32, rest: &mut &[u8]) -> Result<u32, HpackError> {
    let mask = (1_u32 << bits) - 1;
    let prefix = u32::from(first) & mask;
    if prefix < mask { Ok(prefix) } else { decode_rest(mask, rest) }
}

fn decode_rest(prefix: u32, rest: &mut &[u8]) -> Result<u32, HpackError> {
    let mut value = 0_u32;
    for at in 0..BYTES_MAX {
        let Some((byte, behind)) = rest.split_first() else { return Err(HpackError::Truncated) };
        *rest = behind;
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(prefix + value);
        }
    }
    Err(HpackError::Integer)
}

/// Writes `value` behind the bits of `pattern`, its prefix being the low `bits` bits.
#[inline]
pub(super) fn encode(pattern: u8, bits: u32, value: u32, out: &mut Vec<u8>) {
    let mask = (1_u32 << bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
    } else {
        out.push(pattern | mask as u8);
        encode_rest(value - mask, out);
    }
}

fn encode_rest(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], bits: u32) -> Result<(u32, usize), HpackError> {
        let mut rest = &bytes[1..];
        decode(bytes[0], bits, &mut rest).map(|value| (value, rest.len()))
    }

    /// RFC 7541, C.1.
    #[test]
    fn examples_of_the_rfc() {
        for (value, bits, bytes) in
            [(10, 5, &[0x0a][..]), (1_337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a])]
        {
            let mut out = Vec::new();
            encode(0, bits, value, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes, bits), Ok((value, 0)));
        }
    }

    #[test]
    fn every_prefix_and_every_edge_comes_back() {
        for bits in 1..=8 {
            let mask = (1 << bits) - 1;
            for value in [0, 1, mask - 1, mask, mask + 1, mask + 127, mask + 128, 65_535, 1 << 27] {
                let mut out = Vec::new();
                encode(0, bits, value, &mut out);
                out.push(0xee);
                assert_eq!(read(&out, bits), Ok((value, 1)), "{value} in {bits} bits");
            }
        }
    }

    /// An integer that overflows, or zeros without end, would make a length wrap around.
    #[test]
    fn too_long_is_refused() {
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0x7f], 7), Ok((127 + (1 << 28) - 1, 0)));
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x00], 7), Err(HpackError::Integer));
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], 7), Err(HpackError::Integer));
        assert_eq!(read(&[0x7f, 0x80, 0x80], 7), Err(HpackError::Truncated));
        assert_eq!(read(&[0x7f], 7), Err(HpackError::Truncated));
    }
}
