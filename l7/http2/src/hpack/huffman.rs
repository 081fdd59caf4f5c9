//! The Huffman code of RFC 7541, 5.2 and appendix B.
//!
//! The code is canonical: the lengths alone say what every code is, and the compiler makes both
//! tables of them. So there is no generated file that could differ from its generator.

use super::HpackError;

/// Bits of the code of each byte, and of EOS (256).
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0x00
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 0x10
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 0x20
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 0x30
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 0x40
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 0x50
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 0x60
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 0x70
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 0x80
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 0x90
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 0xa0
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 0xb0
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 0xc0
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 0xd0
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 0xe0
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 0xf0
    30, // EOS
];

const LENGTH_MAX: usize = 30;
const EOS: u16 = 256;

/// Codes of at most this many bits are decoded by one look: all printable characters but thirteen.
const FAST_BITS: u32 = 10;

struct Tables {
    /// (code, bits) by byte.
    codes: [(u32, u8); 257],
    /// By the next `FAST_BITS` bits: the byte in the low half, the bits it takes in the high one; 0
    /// for the start of a longer code.
    fast: [u16; 1 << FAST_BITS],
    /// By length: the first code of that length, aligned to 32 bits.
    first: [u32; LENGTH_MAX + 2],
    /// By length: where its symbols start in `symbols`.
    start: [u16; LENGTH_MAX + 2],
    /// Symbols by code.
    symbols: [u16; 257],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [(0, 0); 257],
        fast: [0; 1 << FAST_BITS],
        first: [0; LENGTH_MAX + 2],
        start: [0; LENGTH_MAX + 2],
        symbols: [0; 257],
    };
    let (mut code, mut count, mut bits) = (0_u32, 0, 1);
    while bits <= LENGTH_MAX {
        code <<= 1;
        tables.first[bits] = code << (32 - bits as u32);
        tables.start[bits] = count as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == bits {
                tables.codes[symbol] = (code, bits as u8);
                tables.symbols[count] = symbol as u16;
                if bits as u32 <= FAST_BITS {
                    let mut at = code << (FAST_BITS - bits as u32);
                    let end = (code + 1) << (FAST_BITS - bits as u32);
                    while at < end {
                        tables.fast[at as usize] = (bits as u16) << 8 | symbol as u16;
                        at += 1;
                    }
                }
                code += 1;
                count += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    assert!(code == 1 << LENGTH_MAX, "the code is complete");
    assert!(count == LENGTHS.len(), "every symbol has a code");
    tables.first[LENGTH_MAX + 1] = u32::MAX;
    tables
}

/// Appends what `text` stands for, but no more than `room` bytes; how many there were, written or
/// not: a text that is too long is checked all the same, and costs no memory.
///
/// # Errors
/// [`HpackError::Huffman`]; what was appended is to be cut off.
#[inline]
pub fn decode(text: &[u8], room: usize, out: &mut Vec<u8>) -> Result<usize, HpackError> {
    // The next bits are the highest ones; below them are zeros.
    let (mut bits, mut have, mut len) = (0_u64, 0_u32, 0);
    let mut rest = text;
    // No text is longer: five bits are the shortest code.
    out.reserve((text.len() * 8 / 5).min(room));
    loop {
        while have <= 56
            && let Some((byte, behind)) = rest.split_first()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
            rest = behind;
        }
        let entry = TABLES.fast[(bits >> (64 - FAST_BITS)) as usize];
        let (mut symbol, mut used) = (entry & 0xff, u32::from(entry >> 8));
        if entry == 0 {
            (symbol, used) = decode_long((bits >> 32) as u32);
        }
        if used > have {
            break;
        }
        if symbol == EOS {
            return Err(HpackError::Huffman);
        }
        if len < room {
            out.push(symbol as u8);
        }
        len += 1;
        bits <<= used;
        have -= used;
    }
    // What is left is padding: fewer than eight bits, the first ones of EOS, which are ones.
    let ones = have < 8 && (bits >> 32) as u32 == !(u32::MAX >> have);
    if ones { Ok(len) } else { Err(HpackError::Huffman) }
}

/// The symbol whose code the bits start with, and how long that is.
fn decode_long(bits: u32) -> (u16, u32) {
    let mut used = FAST_BITS as usize + 1;
    while used < LENGTH_MAX && bits >= end_of(used) {
        used += 1;
    }
    let nth = (bits - TABLES.first[used]) >> (32 - used);
    let at = usize::from(TABLES.start[used]) + nth as usize;
    (TABLES.symbols.get(at).copied().unwrap_or(EOS), used as u32)
}

/// Behind the last code of this length, aligned to 32 bits.
#[inline]
fn end_of(bits: usize) -> u32 {
    TABLES.first[bits + 1]
}

/// Bytes that [`encode`] writes for `text`.
#[inline]
#[must_use]
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        let (code, len) = TABLES.codes[usize::from(*byte)];
        bits = bits << len | u64::from(code);
        have += u32::from(len);
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push(((bits << (8 - have)) as u8) | (0xff >> have));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_len(text));
        out
    }

    fn decoded(text: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        let len = decode(text, usize::MAX, &mut out)?;
        assert_eq!(len, out.len());
        Ok(out)
    }

    /// RFC 7541, appendix B: one code of each length there is.
    #[test]
    fn codes_of_the_rfc() {
        for (byte, code, bits) in [
            (b'0', 0x0, 5),
            (b'-', 0x16, 6),
            (b'z', 0x7b, 7),
            (b'&', 0xf8, 8),
            (b'?', 0x3fc, 10),
            (b'+', 0x7fb, 11),
            (b'#', 0xffa, 12),
            (b'~', 0x1ffd, 13),
            (b'^', 0x3ffc, 14),
            (b'<', 0x7ffc, 15),
            (b'\\', 0x7_fff0, 19),
            (128, 0xf_ffe6, 20),
            (153, 0x1f_ffdc, 21),
            (129, 0x3f_ffd2, 22),
            (1, 0x7f_ffd8, 23),
            (9, 0xff_ffea, 24),
            (199, 0x1ff_ffec, 25),
            (192, 0x3ff_ffe0, 26),
            (203, 0x7ff_ffde, 27),
            (2, 0xfff_ffe2, 28),
            (22, 0x3fff_fffe, 30),
        ] {
            assert_eq!(TABLES.codes[usize::from(byte)], (code, bits), "{byte}");
        }
        assert_eq!(TABLES.codes[256], (0x3fff_ffff, 30), "EOS");
    }

    #[test]
    fn every_pair_of_bytes_comes_back() {
        for one in 0..=255 {
            assert_eq!(decoded(&coded(&[one])), Ok(vec![one]));
            for other in 0..=255 {
                assert_eq!(decoded(&coded(&[one, other])), Ok(vec![one, other]));
            }
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&coded(&all)), Ok(all));
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn padding_is_fewer_than_eight_ones_and_there_is_no_eos() {
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()), "three ones behind `a`");
        assert_eq!(decoded(&[0b0001_1110]), Err(HpackError::Huffman), "a zero among them");
        assert_eq!(decoded(&[0b0001_1000]), Err(HpackError::Huffman), "zeros");
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(HpackError::Huffman), "eleven ones");
        assert_eq!(decoded(&[0xff]), Err(HpackError::Huffman), "eight ones alone");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(HpackError::Huffman), "EOS");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(HpackError::Huffman), "EOS, padded");
        // `X` is 0xfc: its code is whole, so nothing is padding.
        assert_eq!(decoded(&[0xfc]), Ok(b"X".to_vec()));
    }

    #[test]
    fn no_more_is_written_than_there_is_room() {
        let text = coded(b"something long enough");
        for room in [0, 1, 20, 21, 22] {
            let mut out = b"kept".to_vec();
            assert_eq!(decode(&text, room, &mut out), Ok(21));
            assert_eq!(out, [b"kept", &b"something long enough"[..room.min(21)]].concat());
        }
    }
}
