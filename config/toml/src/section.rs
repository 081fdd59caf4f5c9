//! A table of the file, taken apart key by key.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::{Report, Span};
use crate::schema::{Default, Schema};
use crate::value::{Value, describe};

/// A table whose keys are known; what nobody has taken at [`Section::close`] is an error.
pub(crate) struct Section<'i> {
    schema: &'static Schema,
    /// The header of the section, or an inline table as a whole.
    pub(crate) span: Span,
    table: DeTable<'i>,
}

impl<'i> Section<'i> {
    /// The table in `value`; anything else is an error.
    pub(crate) fn open(
        schema: &'static Schema,
        value: Spanned<DeValue<'i>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let span = Span::from(value.span());
        match value.into_inner() {
            DeValue::Table(table) => Some(Self { schema, span, table }),
            other => {
                let found = describe(&other);
                report
                    .error(span, format!("expected a table ({}), found {found}", schema.title))
                    .label("not a table");
                None
            }
        }
    }

    /// The root of the file.
    pub(crate) const fn root(schema: &'static Schema, table: DeTable<'i>) -> Self {
        Self { schema, span: Span { start: 0, end: 0 }, table }
    }

    /// The value of `key`, if the file has it.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value<'i>> {
        debug_assert!(
            self.schema.keys.iter().any(|known| known.name == key),
            "a reader asks only for keys of the schema, not for {key}"
        );
        let (at, value) = self.table.remove_entry(key)?;
        Some(Value { key, key_span: at.span().into(), value })
    }

    /// As [`Self::take`]; an absent key is an error at the section.
    pub(crate) fn require(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Value<'i>> {
        let value = self.take(key);
        // A misspelt key is reported as unknown, with the right name; once is enough.
        let is_misspelt = |name: &str| {
            !self.schema.keys.iter().any(|known| known.name == name)
                && did_you_mean(name, std::iter::once(key)).is_some()
        };
        if value.is_none() && !self.table.keys().any(|name| is_misspelt(name.get_ref())) {
            let (span, title) = (self.span, self.schema.title);
            let message = match title {
                "the file" => format!("the file has no [[{key}]]"),
                title => format!("{title} needs the key `{key}`"),
            };
            let problem = report.error(span, message);
            problem.label("the key is missing here");
            match self.schema.keys.iter().find(|known| known.name == key).map(|key| &key.default) {
                Some(Default::Required(line)) => problem.hint(format!("for example: {line}")),
                Some(Default::Phrase(phrase)) => problem.hint(format!("`{key}` is {phrase}")),
                Some(Default::Value(_)) | None => problem,
            };
        }
        value
    }

    /// Ends the section: every key that is left is unknown, or of a later version.
    pub(crate) fn close(self, report: &mut Report<'_>) {
        for (key, _) in self.table {
            unknown(self.schema, key.get_ref(), key.span().into(), report);
        }
    }
}

fn unknown(schema: &Schema, name: &str, span: Span, report: &mut Report<'_>) {
    if let Some((_, sentence)) = schema.later.iter().find(|(later, _)| *later == name) {
        report.error(span, *sentence).label("not supported yet");
        return;
    }
    let shown = name.escape_debug();
    let place = match schema.title {
        "the file" => "a section of the file",
        title => title,
    };
    let problem = report.error(span, format!("unknown key `{shown}`"));
    problem.label(if schema.title == "the file" {
        format!("not {place}")
    } else {
        format!("not a key of {place}")
    });
    let names = schema.keys.iter().map(|key| key.name);
    if let Some(meant) = did_you_mean(name, names.clone()) {
        problem.hint(format!("did you mean `{meant}`?"));
    } else {
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        problem.hint(format!("known here: {}", names.join(", ")));
    }
}

/// The known name that is closest to `name`, if any is close.
pub(crate) fn did_you_mean<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    // One slip in three letters; a name that is longer than any of ours is not a slip.
    let allowed = (name.len() / 3).clamp(1, 3);
    if name.len() > 64 {
        return None;
    }
    let plain = name.to_ascii_lowercase().replace('-', "_");
    known
        .filter(|candidate| candidate.len().abs_diff(plain.len()) <= 3)
        .map(|candidate| (strsim::damerau_levenshtein(&plain, candidate), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = || ["address", "name", "idle_timeout"].into_iter();
        assert_eq!(did_you_mean("adress", known()), Some("address"));
        assert_eq!(did_you_mean("idle-timeout", known()), Some("idle_timeout"));
        assert_eq!(did_you_mean("Name", known()), Some("name"));
        assert_eq!(did_you_mean("port", known()), None);
        assert_eq!(did_you_mean("", known()), None);
    }
}
