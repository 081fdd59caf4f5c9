//! The part of a URL after `?`.

/// Names and values, percent-decoded; a name without `=` has an empty value.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart as HTML forms and Envoy do.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// All of them, in their order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first value of `name`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is there, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether JSON was asked for, by `?json` or as Envoy has it by `?format=json`.
    pub(crate) fn wants_json(&self) -> bool {
        self.has("json") || self.value("format") == Some("json")
    }
}

/// A `%` without two digits behind it stands for itself; what is not UTF-8 becomes U+FFFD.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
            u8::from_str_radix(digits, 16).ok()
        });
        match (byte, code) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_forms_encode() {
        let query = Query::parse(Some("filter=a%2Bb+c&json&empty=&&x=%zz%4"));
        assert_eq!(query.value("filter"), Some("a+b c"));
        assert!(query.wants_json() && query.has("empty") && !query.has("y"));
        assert_eq!(query.value("x"), Some("%zz%4"), "a broken escape stands for itself");
        assert_eq!(Query::parse(None).value("x"), None);
        assert_eq!(decode("%ff%00%+1"), "\u{fffd}\0% 1");
    }
}
