//! One name for a request on all its hops: `x-request-id`.

use sluice_base::Rng;
use sluice_l7_core::{BodyLength, Head, NameId};

use crate::filter::{Filter, FilterContext, FilterResult, FilterState};

/// Bytes of a UUID in text (RFC 9562, 4).
const UUID_BYTES: usize = 36;

/// Gives a request that has no `x-request-id` one: a random UUID (RFC 9562, 5.4).
///
/// One that the client sent is kept, so that a trace goes on from where it began; nothing here
/// relies on its being unique.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestId;

impl Filter for RequestId {
    #[inline]
    fn decode_head(
        &self,
        _state: &mut FilterState,
        head: &mut Head,
        _body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        if head.get(NameId::X_REQUEST_ID).is_none_or(<[u8]>::is_empty) {
            head.set(NameId::X_REQUEST_ID, &uuid(cx.rng));
        }
        FilterResult::Continue
    }
}

/// A random UUID in text.
fn uuid(rng: &mut Rng) -> [u8; UUID_BYTES] {
    let (high, low) = (rng.next_u64(), rng.next_u64());
    // All digits are random alike, so which bits make which of them is free.
    let (first, second) = (digits(high), digits(high >> 4));
    let (third, fourth) = (digits(low), digits(low >> 4));
    let mut text = [b'-'; UUID_BYTES];
    text[..8].copy_from_slice(&first);
    text[9..13].copy_from_slice(&second[..4]);
    text[14..18].copy_from_slice(&second[4..]);
    text[19..23].copy_from_slice(&third[..4]);
    text[24..28].copy_from_slice(&third[4..]);
    text[28..].copy_from_slice(&fourth);
    // Version 4, and the variant 0b10 with two bits of the digit that stood there.
    text[14] = b'4';
    text[19] = b"89ab"[(low & 3) as usize];
    text
}

/// The low half of each byte as a digit, worked out in one word: every request pays for four.
#[inline]
fn digits(value: u64) -> [u8; 8] {
    let halves = value & 0x0f0f_0f0f_0f0f_0f0f;
    // Six more than nine carries into the next digit; from '9' to 'a' it is 39 steps more.
    let letters = (halves + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (halves + 0x3030_3030_3030_3030 + letters * 39).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tests::{Harness, head};

    #[test]
    fn digits_are_what_the_library_prints() {
        let mut rng = Rng::new(1);
        for value in (0..64).map(|_| rng.next_u64()).chain([0, u64::MAX, 0x9a9a_0f0f_0123_89ab]) {
            let printed: String =
                value.to_le_bytes().iter().map(|byte| format!("{:x}", byte & 0x0f)).collect();
            assert_eq!(digits(value), printed.as_bytes(), "{value:x}");
        }
    }

    fn id_of(fields: &[(&str, &str)], harness: &mut Harness) -> String {
        let (mut head, mut state) = (head(fields), FilterState::None);
        let result =
            RequestId.decode_head(&mut state, &mut head, BodyLength::None, &mut harness.context());
        assert_eq!(result, FilterResult::Continue);
        assert_eq!(head.get_all(NameId::X_REQUEST_ID).count(), 1);
        let id = head.get(NameId::X_REQUEST_ID).expect("there is one now");
        String::from_utf8(id.to_vec()).expect("text")
    }

    #[test]
    fn a_request_without_a_name_gets_one_and_another_keeps_its_own() {
        let mut harness = Harness::default();
        assert_eq!(id_of(&[("X-Request-Id", "mine")], &mut harness), "mine");
        let (first, second) =
            (id_of(&[], &mut harness), id_of(&[("x-request-id", "")], &mut harness));
        assert_ne!(first, second);
        assert_eq!(first.len(), UUID_BYTES);
    }

    #[test]
    fn uuids_are_of_version_4() {
        let mut rng = Rng::new(1);
        let mut seen = [[false; 16]; UUID_BYTES];
        for _ in 0..1_000 {
            for (place, byte) in uuid(&mut rng).into_iter().enumerate() {
                if let Some(digit) = char::from(byte).to_digit(16) {
                    seen[place][digit as usize] = true;
                } else {
                    assert_eq!((byte, matches!(place, 8 | 13 | 18 | 23)), (b'-', true));
                }
            }
        }
        for (place, digits) in seen.iter().enumerate() {
            let count = digits.iter().filter(|seen| **seen).count();
            let expected = match place {
                8 | 13 | 18 | 23 => 0,
                14 => 1,
                19 => 4,
                _ => 16,
            };
            assert_eq!(count, expected, "different digits at place {place}");
        }
        assert!(seen[14][4] && seen[19][8] && seen[19][0xb]);
    }
}
