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
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    /// Where the two digits of each byte stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    // Version 4 and variant 0b10, at their places.
    let high = rng.next_u64() & !(0xf << 12) | 4 << 12;
    let low = rng.next_u64() & !(0b11 << 62) | 0b10 << 62;
    let bytes = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
    let mut text = [b'-'; UUID_BYTES];
    for (byte, place) in bytes.zip(PLACES) {
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tests::{Harness, head};

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
