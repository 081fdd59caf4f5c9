//! Sixteen bytes in one register.

use imp::Register;

/// Sixteen bytes that are looked at together.
///
/// A question about each of them answers with lanes that are all ones (yes) or all zeros (no);
/// answers are joined by `|` and end as one bit each in [`Lanes::bits`]. SSE2, which every x86-64
/// has; elsewhere the same by arithmetic on 128 bits.
///
/// ```
/// # use sluice_arch::Lanes;
/// let lanes = Lanes::load(b"name: value\r\n   ");
/// assert_eq!(lanes.equal(b':').bits().trailing_zeros(), 4);
/// assert_eq!((lanes.at_most(0x1f) | lanes.equal(0x7f)).bits().trailing_zeros(), 11);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lanes(Register);

impl Lanes {
    /// These bytes, the first in lane 0.
    #[inline(always)]
    #[must_use]
    pub fn load(bytes: &[u8; 16]) -> Self {
        Self(imp::load(bytes))
    }

    /// Eight bytes and eight more.
    #[inline(always)]
    #[must_use]
    pub fn of_halves(low: &[u8; 8], high: &[u8; 8]) -> Self {
        Self(imp::of_words(u64::from_le_bytes(*low), u64::from_le_bytes(*high)))
    }

    /// Which lanes are `byte`.
    #[inline(always)]
    #[must_use]
    pub fn equal(self, byte: u8) -> Self {
        Self(imp::equal(self.0, imp::splat(byte)))
    }

    /// Which lanes are `bound` or below.
    #[inline(always)]
    #[must_use]
    pub fn at_most(self, bound: u8) -> Self {
        Self(imp::equal(imp::min(self.0, imp::splat(bound)), self.0))
    }

    /// Which lanes are from `low` to `high`, both included.
    #[inline(always)]
    #[must_use]
    pub fn within(self, low: u8, high: u8) -> Self {
        Self(imp::subtract(self.0, imp::splat(low))).at_most(high - low)
    }

    /// Every lane with bit 5 set: letters in lower case.
    #[inline(always)]
    #[must_use]
    pub fn lowered(self) -> Self {
        Self(imp::or(self.0, imp::splat(0x20)))
    }

    /// The highest bit of each lane: of an answer, which lanes it holds for; of bytes, which are not
    /// ASCII.
    #[inline(always)]
    #[must_use]
    pub fn bits(self) -> u32 {
        imp::high_bits(self.0)
    }
}

impl std::ops::BitOr for Lanes {
    type Output = Self;

    /// Where either holds.
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(imp::or(self.0, other.0))
    }
}

/// Where the first byte of `text` is that `stops` says yes to, or its length if there is none;
/// sixteen at a time.
#[inline(always)]
pub fn find(text: &[u8], stops: impl Fn(Lanes) -> Lanes) -> usize {
    let mut rest = text;
    while let Some((window, behind)) = rest.split_first_chunk() {
        let hits = stops(Lanes::load(window)).bits();
        if hits != 0 {
            return text.len() - rest.len() + hits.trailing_zeros() as usize;
        }
        rest = behind;
    }
    // What is left is looked at together with bytes before it, which were no stops.
    match text.last_chunk() {
        Some(window) => {
            let hits = stops(Lanes::load(window)).bits() | 1 << 16;
            text.len() - 16 + hits.trailing_zeros() as usize
        }
        None => find_in_few(text, stops),
    }
}

/// In fewer than sixteen bytes.
#[cold]
#[inline(never)]
fn find_in_few(text: &[u8], stops: impl Fn(Lanes) -> Lanes) -> usize {
    let mut window = [0; 16];
    window[..text.len()].copy_from_slice(text);
    let hits = stops(Lanes::load(&window)).bits() | 1 << text.len();
    hits.trailing_zeros() as usize
}

/// Whether `accepts` says yes to every byte of `text`; sixteen at a time.
#[inline(always)]
pub fn all(text: &[u8], accepts: impl Fn(Lanes) -> Lanes) -> bool {
    every_window(text, |lanes| accepts(lanes).bits() == 0xffff)
}

/// Whether `refuses` says yes to no byte of `text`; sixteen at a time.
#[inline(always)]
pub fn none(text: &[u8], refuses: impl Fn(Lanes) -> Lanes) -> bool {
    every_window(text, |lanes| refuses(lanes).bits() == 0)
}

/// Whether all windows on `text` pass, which overlap and show some bytes twice.
#[inline(always)]
fn every_window(text: &[u8], passes: impl Fn(Lanes) -> bool) -> bool {
    if let Some(last) = text.last_chunk() {
        return passes(Lanes::load(last))
            && text.as_chunks().0.iter().all(|window| passes(Lanes::load(window)));
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return passes(Lanes::of_halves(first, last));
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        let word = (u64::from(first) << 32 | u64::from(last)).to_le_bytes();
        return passes(Lanes::of_halves(&word, &word));
    }
    text.iter().all(|byte| passes(Lanes::load(&[*byte; 16])))
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
use sse2 as imp;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use portable as imp;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set_epi64x, _mm_set1_epi8, _mm_sub_epi8,
    };

    pub(super) type Register = __m128i;

    #[inline(always)]
    pub(super) fn load(bytes: &[u8; 16]) -> Register {
        // SAFETY: SSE2 is part of the x86-64 baseline; it reads sixteen bytes, which the reference covers, at any alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    pub(super) fn of_words(low: u64, high: u64) -> Register {
        // SAFETY: SSE2 is part of the x86-64 baseline.
        unsafe { _mm_set_epi64x(high.cast_signed(), low.cast_signed()) }
    }

    #[inline(always)]
    pub(super) fn splat(byte: u8) -> Register {
        // SAFETY: SSE2 is part of the x86-64 baseline.
        unsafe { _mm_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    pub(super) fn equal(a: Register, b: Register) -> Register {
        // SAFETY: SSE2 is part of the x86-64 baseline.
        unsafe { _mm_cmpeq_epi8(a, b) }
    }

    #[inline(always)]
    pub(super) fn min(a: Register, b: Register) -> Register {
        // SAFETY: SSE2 is part of the x86-64 baseline.
        unsafe { _mm_min_epu8(a, b) }
    }

    #[inline(always)]
    pub(super) fn subtract(a: Register, b: Register) -> Register {
        // SAFETY: SSE2 is part of the x86-64 baseline.
        unsafe { _mm_sub_epi8(a, b) }
    }

    #[inline(always)]
    pub(super) fn or(a: Register, b: Register) -> Register {
        // SAFETY: SSE2 is part of the x86-64 baseline.
        unsafe { _mm_or_si128(a, b) }
    }

    #[inline(always)]
    pub(super) fn high_bits(a: Register) -> u32 {
        // SAFETY: SSE2 is part of the x86-64 baseline.
        unsafe { _mm_movemask_epi8(a) }.cast_unsigned()
    }
}

/// Byte by byte, which other processors' compilers turn into what they have.
#[cfg(any(test, not(all(target_arch = "x86_64", not(miri)))))]
mod portable {
    use std::array::from_fn;

    pub(super) type Register = [u8; 16];

    pub(super) fn load(bytes: &[u8; 16]) -> Register {
        *bytes
    }

    pub(super) fn of_words(low: u64, high: u64) -> Register {
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }

    pub(super) fn splat(byte: u8) -> Register {
        [byte; 16]
    }

    pub(super) fn equal(a: Register, b: Register) -> Register {
        from_fn(|lane| if a[lane] == b[lane] { 0xff } else { 0 })
    }

    pub(super) fn min(a: Register, b: Register) -> Register {
        from_fn(|lane| a[lane].min(b[lane]))
    }

    pub(super) fn subtract(a: Register, b: Register) -> Register {
        from_fn(|lane| a[lane].wrapping_sub(b[lane]))
    }

    pub(super) fn or(a: Register, b: Register) -> Register {
        from_fn(|lane| a[lane] | b[lane])
    }

    pub(super) fn high_bits(a: Register) -> u32 {
        a.iter().rev().fold(0, |bits, byte| bits << 1 | u32::from(byte >> 7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte in every lane, beside others.
    fn windows() -> impl Iterator<Item = [u8; 16]> {
        (0..=255_u8).flat_map(|byte| {
            (0..16).map(move |lane| {
                let mut window = std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ byte);
                window[lane] = byte;
                window
            })
        })
    }

    #[test]
    fn the_register_does_what_the_portable_twin_does() {
        let bytes = [0, 1, 0x1f, 0x20, b':', 0x7f, 0x80, 0xfe, 0xff];
        for (window, other) in windows().zip(windows().skip(16)) {
            let (a, b) = (imp::load(&window), portable::load(&window));
            let (c, d) = (imp::load(&other), portable::load(&other));
            // Bit by bit, through the one question that gives bits.
            let same = |x, y| {
                for byte in 0..=255 {
                    let x = imp::high_bits(imp::equal(x, imp::splat(byte)));
                    let y = portable::high_bits(portable::equal(y, portable::splat(byte)));
                    assert_eq!(x, y);
                }
            };
            same(a, b);
            same(imp::or(a, c), portable::or(b, d));
            same(imp::min(a, c), portable::min(b, d));
            same(imp::subtract(a, c), portable::subtract(b, d));
            assert_eq!(imp::high_bits(a), portable::high_bits(b));
        }
        let (low, high) = (0x0102_0304_0506_0708, 0xf1f2_f3f4_f5f6_f7f8);
        let words = portable::of_words(low, high);
        for byte in bytes.into_iter().chain(words) {
            let (x, y) = (imp::of_words(low, high), words);
            let x = imp::high_bits(imp::equal(x, imp::splat(byte)));
            assert_eq!(x, portable::high_bits(portable::equal(y, portable::splat(byte))));
        }
    }

    #[test]
    fn questions_are_answered_lane_by_lane() {
        let bits = |window: &[u8; 16], yes: &dyn Fn(u8) -> bool| {
            (0..16).map(|lane| u32::from(yes(window[lane])) << lane).sum::<u32>()
        };
        for window in windows() {
            let lanes = Lanes::load(&window);
            for (low, high) in [(0, 0), (0, 0x1f), (b'0', b'9'), (b'a', b'z'), (0x80, 0xff)] {
                assert_eq!(lanes.at_most(high).bits(), bits(&window, &|byte| byte <= high));
                assert_eq!(
                    lanes.within(low, high).bits(),
                    bits(&window, &|byte| (low..=high).contains(&byte))
                );
            }
            assert_eq!(lanes.equal(b':').bits(), bits(&window, &|byte| byte == b':'));
            let letter = lanes.lowered().equal(b'q').bits();
            assert_eq!(letter, bits(&window, &|byte| byte | 0x20 == b'q'));
            assert_eq!(lanes.bits(), bits(&window, &|byte| byte >= 0x80));
        }
    }

    #[test]
    fn texts_of_every_length_are_looked_at_to_their_last_byte() {
        for len in 0..70 {
            let mut text = vec![b'a'; len];
            assert_eq!(find(&text, |lanes| lanes.equal(b'!')), len);
            assert!(all(&text, |lanes| lanes.equal(b'a')));
            for at in (0..len).rev() {
                // Stops behind the first one are no matter.
                text[at] = b'!';
                assert_eq!(find(&text, |lanes| lanes.equal(b'!')), at, "{len}");
            }
            for at in 0..len {
                let mut text = vec![b'a'; len];
                text[at] = 0;
                assert!(!all(&text, |lanes| lanes.equal(b'a')), "{at} of {len}");
                assert!(!none(&text, |lanes| lanes.equal(0)), "{at} of {len}");
                assert!(none(&text, |lanes| lanes.equal(b'b')), "{at} of {len}");
            }
        }
    }
}
