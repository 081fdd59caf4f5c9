//! Numbers with a unit: `"250ms"`, `"64KiB"`.

use std::time::Duration;

/// Why a text is not a number with a unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UnitError {
    /// No unit behind the number.
    NoUnit,
    /// A unit that is none of ours.
    UnknownUnit,
    /// No number, or one that is malformed.
    NotANumber,
    /// More digits behind the point than the unit can be divided into.
    TooFine,
    /// Larger than can be counted.
    TooLarge,
}

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZE_UNITS: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

const SHARE_UNITS: &[(&str, u64)] = &[("%", 10_000)];

const RATE_UNITS: &[(&str, u64)] =
    &[("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];

/// `<number>%` as parts per million.
pub(crate) fn share(text: &str) -> Result<u64, UnitError> {
    parse(text, SHARE_UNITS)
}

/// `<number><unit>` in bits per second with the units bit/s, kbit/s, Mbit/s, Gbit/s.
pub(crate) fn rate(text: &str) -> Result<u64, UnitError> {
    parse(text, RATE_UNITS)
}

/// `<number><unit>` with the units ns, us, ms, s, m, h; a decimal point is allowed.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    parse(text, DURATION_UNITS).map(Duration::from_nanos)
}

/// `<number><unit>` in bytes with the units B, KiB, MiB, GiB; a decimal point is allowed.
pub(crate) fn size(text: &str) -> Result<u64, UnitError> {
    parse(text, SIZE_UNITS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(UnitError::NotANumber);
    }
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let scale = units.iter().find(|(name, _)| *name == unit).map(|&(_, scale)| scale);
    let scale = scale.ok_or(UnitError::UnknownUnit)?;
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if number.ends_with('.') || fraction.contains('.') {
        return Err(UnitError::NotANumber);
    }
    let whole: u64 = whole.parse().map_err(|_| UnitError::TooLarge)?;
    let whole = whole.checked_mul(scale).ok_or(UnitError::TooLarge)?;
    let part = fraction_of(fraction, scale)?;
    whole.checked_add(part).ok_or(UnitError::TooLarge)
}

/// `0.fraction` of `scale`, exactly.
fn fraction_of(fraction: &str, scale: u64) -> Result<u64, UnitError> {
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Ok(0);
    }
    // 18 digits times the largest unit stay below 2^128.
    if fraction.len() > 18 {
        return Err(UnitError::TooFine);
    }
    let digits: u128 = fraction.parse().map_err(|_| UnitError::NotANumber)?;
    let parts = 10_u128.pow(fraction.len() as u32);
    let product = digits * u128::from(scale);
    if !product.is_multiple_of(parts) {
        return Err(UnitError::TooFine);
    }
    u64::try_from(product / parts).map_err(|_| UnitError::TooLarge)
}

/// A size the way an operator would write it.
pub(crate) fn show_size(bytes: u64) -> String {
    match SIZE_UNITS.iter().rev().find(|(_, scale)| bytes.is_multiple_of(*scale)) {
        Some(&(unit, scale)) if bytes > 0 => format!("{}{unit}", bytes / scale),
        _ => "0B".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit() {
        let texts = ["7ns", "7us", "7ms", "7s", "7m", "7h", "0.25s", "1.5m", "1_000ms", "5 s"];
        let nanos = [
            7,
            7_000,
            7_000_000,
            7_000_000_000,
            420_000_000_000,
            25_200_000_000_000,
            250_000_000,
            90_000_000_000,
            1_000_000_000,
            5_000_000_000,
        ];
        for (text, nanos) in texts.into_iter().zip(nanos) {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("0.25KiB"), Ok(256));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(share("1%"), Ok(10_000));
        assert_eq!(share("0.0001 %"), Ok(1));
        assert_eq!(share("0.00001%"), Err(UnitError::TooFine));
        assert_eq!(rate("2.5Gbit/s"), Ok(2_500_000_000));
        assert_eq!(rate("100Mb/s"), Err(UnitError::UnknownUnit));
    }

    #[test]
    fn what_is_not_a_duration() {
        assert_eq!(duration("5"), Err(UnitError::NoUnit));
        assert_eq!(duration(""), Err(UnitError::NotANumber));
        assert_eq!(duration("-5s"), Err(UnitError::NotANumber));
        assert_eq!(duration("5."), Err(UnitError::NoUnit));
        assert_eq!(duration("5.s"), Err(UnitError::NotANumber));
        assert_eq!(duration("1.2.3s"), Err(UnitError::NotANumber));
        assert_eq!(duration("5sec"), Err(UnitError::UnknownUnit));
        assert_eq!(duration("1h30m"), Err(UnitError::UnknownUnit));
        assert_eq!(duration("0.5ns"), Err(UnitError::TooFine));
        assert_eq!(duration("99999999999999999999s"), Err(UnitError::TooLarge));
        assert_eq!(duration("18446744073709551615h"), Err(UnitError::TooLarge));
        assert_eq!(size("64KB"), Err(UnitError::UnknownUnit));
        assert_eq!(size("0.3B"), Err(UnitError::TooFine));
        assert_eq!(size("64kib"), Err(UnitError::UnknownUnit));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in any::<u64>()) {
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn nothing_panics(text in "[0-9._]{0,40}[a-zA-Z]{0,4}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
