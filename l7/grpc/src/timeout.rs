//! `grpc-timeout`: until when a call may last, as a time from now.
//!
//! ```text
//!   1*8 digits, unit       H hours, M minutes, S seconds, m milli-, u micro-, n nanoseconds
//! ```

use std::time::Duration;

/// Digits that a value may have.
const DIGITS_MAX: usize = 8;
/// Longest text: eight digits and the unit.
pub const TEXT_MAX: usize = DIGITS_MAX + 1;

/// Units with their nanoseconds, finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// Reads a value. None: not of the form above. 0 is a deadline that has passed.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=DIGITS_MAX).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (_, nanos) = UNITS.iter().find(|(name, _)| name == unit)?;
    let count = digits.iter().fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
    // 99,999,999 hours do not fit 64 bits of nanoseconds; nobody waits for the difference.
    Some(Duration::from_nanos(count.saturating_mul(*nanos)))
}

/// Writes a time in the finest unit in which it fits, rounded up, so that what is left is never
/// said to be nothing. Returns how many bytes of `out` it took.
pub fn write(timeout: Duration, out: &mut [u8; TEXT_MAX]) -> usize {
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let limit = 10u64.pow(DIGITS_MAX as u32);
    let fitting = UNITS.iter().find(|(_, unit)| nanos.div_ceil(*unit) < limit);
    // 64 bits of nanoseconds are five million hours.
    let (name, unit) = fitting.unwrap_or(&UNITS[UNITS.len() - 1]);
    let mut count = nanos.div_ceil(*unit).min(limit - 1);
    let mut digits = [0; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (count % 10) as u8;
        count /= 10;
        if count == 0 {
            break;
        }
    }
    let len = DIGITS_MAX - at;
    out[..len].copy_from_slice(&digits[at..]);
    out[len] = *name;
    len + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(timeout: Duration) -> String {
        let mut out = [0; TEXT_MAX];
        let len = write(timeout, &mut out);
        String::from_utf8_lossy(&out[..len]).into_owned()
    }

    #[test]
    fn every_unit() {
        let table = [
            ("1H", Duration::from_secs(3_600)),
            ("2M", Duration::from_secs(120)),
            ("15S", Duration::from_secs(15)),
            ("250m", Duration::from_millis(250)),
            ("00000007u", Duration::from_micros(7)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("0S", Duration::ZERO),
            ("99999999H", Duration::from_nanos(u64::MAX)),
        ];
        for (text, timeout) in table {
            assert_eq!(parse(text.as_bytes()), Some(timeout), "{text}");
        }
        for wrong in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", "123456789n", "1SS", " 1S"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn written_as_exactly_as_eight_digits_allow() {
        assert_eq!(written(Duration::ZERO), "0n");
        assert_eq!(written(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(written(Duration::from_nanos(100_000_001)), "100001u");
        assert_eq!(written(Duration::from_secs(15)), "15000000u");
        assert_eq!(written(Duration::from_secs(3_600)), "3600000m");
        assert_eq!(written(Duration::MAX), "5124096H");
    }

    proptest! {
        /// Reading what was written gives as much or a little more: at most a millionth.
        #[test]
        fn there_and_back(nanos in 0..u64::MAX / 2) {
            let timeout = Duration::from_nanos(nanos);
            let read = parse(written(timeout).as_bytes()).expect("our own text");
            prop_assert!(read >= timeout);
            prop_assert!((read - timeout).as_nanos() * 100_000 <= timeout.as_nanos());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(timeout) = parse(&bytes) {
                prop_assert!(bytes.len() <= TEXT_MAX && timeout <= Duration::from_nanos(u64::MAX));
            }
        }
    }
}
