//! The value of one key, read as what the key needs.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use crate::limits::{DURATION_MAX, NAME_BYTES_MAX};
use crate::report::{At, Report, Span};
use crate::schema::Schema;
use crate::section::{Section, did_you_mean};
use crate::units::{self, UnitError};

/// The value of one key, not yet looked at.
///
/// The `read` methods give `None` after they have reported an error; callers go on with a default,
/// since a file with an error is refused as a whole.
pub(crate) struct Value<'i> {
    pub(crate) key: &'static str,
    pub(crate) key_span: Span,
    pub(crate) value: Spanned<DeValue<'i>>,
}

impl<'i> Value<'i> {
    pub(crate) fn span(&self) -> Span {
        self.value.span().into()
    }

    /// A text.
    pub(crate) fn text(self, report: &mut Report<'_>) -> Option<At<String>> {
        let span = self.span();
        match self.value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), span }),
            _ => self.refuse("a text", "put it in quotes", report),
        }
    }

    /// A name: 1 to 256 bytes of printable ASCII without blanks, quotes and backslashes.
    pub(crate) fn name(self, report: &mut Report<'_>) -> Option<At<String>> {
        let key = self.key;
        let text = self.text(report)?;
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'`');
        let message = if text.value.is_empty() {
            format!("`{key}` is empty")
        } else if text.value.len() > NAME_BYTES_MAX {
            format!("`{key}` is longer than {NAME_BYTES_MAX} bytes")
        } else if !text.value.bytes().all(allowed) {
            format!("`{key}` holds a character that a name may not have")
        } else {
            return Some(text);
        };
        report.error(text.span, message).hint(
            "names are labels of metrics: printable ASCII without blanks, quotes and backslashes",
        );
        None
    }

    /// An integer in a range.
    pub(crate) fn integer<T: TryFrom<i64>>(
        self,
        range: RangeInclusive<i64>,
        report: &mut Report<'_>,
    ) -> Option<At<T>> {
        let span = self.span();
        let DeValue::Integer(integer) = self.value.get_ref() else {
            return self.refuse("an integer", "write a number without quotes", report);
        };
        let value = to_i64(integer).filter(|value| range.contains(value));
        if let Some(value) = value.and_then(|value| T::try_from(value).ok()) {
            return Some(At { value, span });
        }
        let (key, low, high) = (self.key, range.start(), range.end());
        report
            .error(span, format!("`{key}` must be {low} to {high}, not {integer}"))
            .label("out of range");
        None
    }

    /// `true` or `false`.
    pub(crate) fn boolean(self, report: &mut Report<'_>) -> Option<At<bool>> {
        let span = self.span();
        match self.value.get_ref() {
            DeValue::Boolean(value) => Some(At { value: *value, span }),
            _ => self.refuse("a boolean", "write true or false, without quotes", report),
        }
    }

    /// A duration with its unit.
    pub(crate) fn duration(self, report: &mut Report<'_>) -> Option<At<Duration>> {
        const HINT: &str =
            "durations need a unit: \"250ms\", \"5s\"; units are ns, us, ms, s, m, h";
        let (key, span) = (self.key, self.span());
        let DeValue::String(text) = self.value.get_ref() else {
            return self.refuse("a duration", HINT, report);
        };
        let (message, hint) = match units::duration(text) {
            Ok(value) if value <= DURATION_MAX => return Some(At { value, span }),
            Ok(_) | Err(UnitError::TooLarge) => {
                ("is too long", "the longest duration is one year, \"8760h\"")
            }
            Err(UnitError::NoUnit) => ("has no unit", HINT),
            Err(UnitError::UnknownUnit) => ("has a unit that is not known", HINT),
            Err(UnitError::TooFine) => ("is finer than a nanosecond", HINT),
            Err(UnitError::NotANumber) => ("is not a duration", HINT),
        };
        let text = shown(text);
        report.error(span, format!("`{key}` {message}: \"{text}\"")).hint(hint);
        None
    }

    /// A size in bytes with its unit, in a range.
    pub(crate) fn size(
        self,
        range: RangeInclusive<u64>,
        report: &mut Report<'_>,
    ) -> Option<At<u64>> {
        const HINT: &str = "sizes need a unit: \"512B\", \"64KiB\"; units are B, KiB, MiB, GiB";
        let (key, span) = (self.key, self.span());
        let DeValue::String(text) = self.value.get_ref() else {
            return self.refuse("a size", HINT, report);
        };
        let message = match units::size(text) {
            Ok(value) if range.contains(&value) => return Some(At { value, span }),
            Ok(_) | Err(UnitError::TooLarge) => {
                let (low, high) = (range.start(), range.end());
                let (low, high) = (units::show_size(*low), units::show_size(*high));
                let text = shown(text);
                report
                    .error(span, format!("`{key}` must be {low} to {high}, not \"{text}\""))
                    .label("out of range");
                return None;
            }
            Err(UnitError::NoUnit) => "has no unit",
            Err(UnitError::UnknownUnit) => "has a unit that is not known",
            Err(UnitError::TooFine) => "is finer than a byte",
            Err(UnitError::NotANumber) => "is not a size",
        };
        let text = shown(text);
        report.error(span, format!("`{key}` {message}: \"{text}\"")).hint(HINT);
        None
    }

    /// A share of packets, in percent; parts per million.
    pub(crate) fn share(self, report: &mut Report<'_>) -> Option<At<u32>> {
        const HINT: &str = "shares are in percent: \"1%\", \"0.05%\"";
        let (key, span) = (self.key, self.span());
        let DeValue::String(text) = self.value.get_ref() else {
            return self.refuse("a share", HINT, report);
        };
        let message = match units::share(text) {
            Ok(value @ 0..=1_000_000) => return Some(At { value: value as u32, span }),
            Ok(_) | Err(UnitError::TooLarge) => "is more than everything",
            Err(UnitError::NoUnit) => "has no unit",
            Err(UnitError::UnknownUnit) => "has a unit that is not known",
            Err(UnitError::TooFine) => "is finer than one in a million",
            Err(UnitError::NotANumber) => "is not a share",
        };
        let text = shown(text);
        report.error(span, format!("`{key}` {message}: \"{text}\"")).hint(HINT);
        None
    }

    /// Bits per second, with a unit, at least `min`.
    pub(crate) fn rate(self, min: u64, report: &mut Report<'_>) -> Option<At<u64>> {
        const HINT: &str =
            "rates need a unit: \"100Mbit/s\"; units are bit/s, kbit/s, Mbit/s, Gbit/s";
        let (key, span) = (self.key, self.span());
        let DeValue::String(text) = self.value.get_ref() else {
            return self.refuse("a rate", HINT, report);
        };
        let message = match units::rate(text) {
            Ok(value) if value >= min => return Some(At { value, span }),
            Ok(_) => "is too low",
            Err(UnitError::TooLarge) => "is too high",
            Err(UnitError::NoUnit) => "has no unit",
            Err(UnitError::UnknownUnit) => "has a unit that is not known",
            Err(UnitError::TooFine) => "is finer than a bit per second",
            Err(UnitError::NotANumber) => "is not a rate",
        };
        let text = shown(text);
        report.error(span, format!("`{key}` {message}: \"{text}\"")).hint(HINT);
        None
    }

    /// One of several words; `later` are words of features that do not exist yet, each with its
    /// sentence.
    pub(crate) fn word<T: Copy>(
        self,
        words: &[(&str, T)],
        later: &[(&str, &str)],
        report: &mut Report<'_>,
    ) -> Option<At<T>> {
        let (key, span) = (self.key, self.span());
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let all = all.join(", ");
        let DeValue::String(text) = self.value.get_ref() else {
            return self.refuse("a text", format!("one of {all}"), report);
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(At { value: *value, span });
        }
        if let Some((word, sentence)) = later.iter().find(|(word, _)| word == text) {
            report
                .error(span, format!("{key} = \"{word}\" is not supported yet: {sentence}"))
                .label("not supported yet")
                .hint(format!("this version knows {all}"));
            return None;
        }
        let problem =
            report.error(span, format!("`{key}` does not know the value \"{}\"", shown(text)));
        let names = words.iter().map(|(word, _)| *word);
        match did_you_mean(text, names) {
            Some(meant) => problem.hint(format!("did you mean \"{meant}\"?")),
            None => problem.hint(format!("one of {all}")),
        };
        None
    }

    /// The elements of an array of at most `max`.
    pub(crate) fn list(self, max: usize, report: &mut Report<'_>) -> Vec<Self> {
        let (key, key_span) = (self.key, self.key_span);
        if !matches!(self.value.get_ref(), DeValue::Array(_)) {
            let _: Option<()> = self.refuse("a list", "put it in brackets: [ ... ]", report);
            return Vec::new();
        }
        let DeValue::Array(array) = self.value.into_inner() else {
            return Vec::new();
        };
        if array.len() > max {
            report.error(
                key_span,
                format!("`{key}` has {} entries; {max} is the limit", array.len()),
            );
            return Vec::new();
        }
        array.into_iter().map(|value| Value { key, key_span, value }).collect()
    }

    /// A table.
    pub(crate) fn section(
        self,
        schema: &'static Schema,
        report: &mut Report<'_>,
    ) -> Option<Section<'i>> {
        Section::open(schema, self.value, report)
    }

    /// The sections of an array of at most `max` tables (`[[name]]`).
    pub(crate) fn sections(
        self,
        schema: &'static Schema,
        max: usize,
        report: &mut Report<'_>,
    ) -> Vec<Section<'i>> {
        if matches!(self.value.get_ref(), DeValue::Table(_)) && schema.title.starts_with("[[") {
            let (key, title) = (self.key, schema.title);
            report
                .error(
                    self.span(),
                    format!("`{key}` is a list of sections, so its header is {title}"),
                )
                .label("double brackets are missing");
            return Vec::new();
        }
        let values = self.list(max, report);
        values.into_iter().filter_map(|value| value.section(schema, report)).collect()
    }

    /// Reports that the value is of another type.
    pub(crate) fn refuse<T>(
        &self,
        expected: &str,
        hint: impl Into<String>,
        report: &mut Report<'_>,
    ) -> Option<T> {
        let found = describe(self.value.get_ref());
        report
            .error(self.span(), format!("`{}` must be {expected}, not {found}", self.key))
            .label(format!("expected {expected}"))
            .hint(hint);
        None
    }
}

fn to_i64(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The type of a value, and the value where it is short.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", shown(text)),
        DeValue::Integer(integer) => format!("the integer {integer}"),
        DeValue::Float(_) => "a number with a point".to_owned(),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A text that fits into a message: one line, without control characters, not endless.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Several things in one sentence: "`a`, `b`, `c` and 12 more".
pub(crate) fn enumerate<T: Display>(things: impl ExactSizeIterator<Item = T>) -> String {
    const SHOWN_MAX: usize = 5;
    let more = things.len().saturating_sub(SHOWN_MAX);
    let shown: Vec<_> = things.take(SHOWN_MAX).map(|thing| format!("`{thing}`")).collect();
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
