//! Texts that end up in HTTP messages, or are compared with them.

use regex::RegexBuilder;

use sluice_config_model::DomainPattern;

use crate::limits::{REGEX_BYTES_MAX, VALUE_BYTES_MAX};
use crate::report::{At, Report, Span};
use crate::value::{Value, shown};

/// Fields that describe the connection or frame the message: changing them by configuration would
/// let two readers of one message disagree about where it ends (RFC 9110, 7.6.1 and RFC 9112, 6).
const OWN_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `token` of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The name of a header field, in lower case.
pub(crate) fn header_name(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    let At { value: text, span } = value.text(report)?;
    if !is_token(&text) || text.len() > VALUE_BYTES_MAX {
        report.error(span, format!("\"{}\" is not the name of a header", shown(&text))).hint(
            "letters, digits and hyphens, as in \"x-team\"; the host is `host`, not \":authority\"",
        );
        return None;
    }
    Some(At { value: text.to_ascii_lowercase(), span })
}

/// The name of a header field that configuration may add or remove.
pub(crate) fn own_header_name(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    let key = value.key;
    let name = header_name(value, report)?;
    if name.value == "host" {
        report
            .error(name.span, format!("`{key}` cannot change the host"))
            .hint("`host_rewrite` sets it");
        return None;
    }
    if OWN_FIELDS.contains(&name.value.as_str()) {
        report
            .error(name.span, format!("`{key}` cannot change `{}`", name.value))
            .label("belongs to the connection")
            .hint("Sluice writes the headers that frame a message itself, so that both sides agree where it ends");
        return None;
    }
    Some(name)
}

/// The value of a header field (RFC 9110, 5.5, without obs-text).
pub(crate) fn header_value(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    let At { value: text, span } = value.text(report)?;
    let allowed = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    let message = if text.len() > VALUE_BYTES_MAX {
        format!("the header value is longer than {VALUE_BYTES_MAX} bytes")
    } else if !text.bytes().all(allowed) {
        "the header value holds a character that is not printable ASCII".to_owned()
    } else if text.trim_matches([' ', '\t']).len() != text.len() {
        "the header value begins or ends with a blank".to_owned()
    } else {
        return Some(At { value: text, span });
    };
    report.error(span, message);
    None
}

/// A method; methods are case-sensitive (RFC 9110, 9.1).
pub(crate) fn method(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    const STANDARD: &[&str] =
        &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let At { value: text, span } = value.text(report)?;
    let upper = text.to_ascii_uppercase();
    if !is_token(&text) || text.len() > 64 {
        report
            .error(span, format!("\"{}\" is not a method", shown(&text)))
            .hint("one method, as in \"GET\"; give each method a route of its own");
    } else if upper != text && STANDARD.contains(&upper.as_str()) {
        report
            .error(span, format!("methods are case-sensitive, and no client sends \"{text}\""))
            .hint(format!("did you mean \"{upper}\"?"));
    } else {
        return Some(At { value: text, span });
    }
    None
}

/// A path that requests are compared with.
pub(crate) fn match_path(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    let key = value.key;
    let path = path(value, report)?;
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    if let Some(mark) = path.value.find(['?', '#']) {
        let mark = path.value.get(mark..=mark).unwrap_or("?");
        report
            .error(path.span, format!("`{key}` holds a \"{mark}\", which a path never does"))
            .hint("`query` looks at the query");
        return None;
    }
    if path.value.split('/').any(is_dots) {
        report
            .error(
                path.span,
                format!("`{key}` holds a \".\" or \"..\" segment, so nothing matches"),
            )
            .hint("paths are normalised before they are compared; write the path without them");
        return None;
    }
    Some(path)
}

/// A path that is put into a request or a location.
pub(crate) fn path(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    let key = value.key;
    let At { value: text, span } = value.text(report)?;
    if text.starts_with('/')
        && text.len() <= VALUE_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Some(At { value: text, span });
    }
    if !text.starts_with('/') {
        report
            .error(span, format!("`{key}` must begin with \"/\""))
            .hint(format!("did you mean \"/{}\"?", shown(&text)));
    } else if text.len() > VALUE_BYTES_MAX {
        report.error(span, format!("`{key}` is longer than {VALUE_BYTES_MAX} bytes"));
    } else {
        report
            .error(span, format!("`{key}` holds a character that a URL cannot"))
            .hint("write it percent-encoded, as in \"%20\" for a blank");
    }
    None
}

/// A host that is put into a request or a location; `port` tells whether it may have one.
pub(crate) fn host(value: Value<'_>, port: bool, report: &mut Report<'_>) -> Option<At<String>> {
    let key = value.key;
    let At { value: text, span } = value.text(report)?;
    let (name, digits) = text.rsplit_once(':').unwrap_or((&text, "0"));
    if !port && name.len() != text.len() {
        report
            .error(span, format!("`{key}` has a port in it: \"{}\"", shown(&text)))
            .hint("`port` sets the port");
        return None;
    }
    let is_host = is_domain(name) && digits.parse::<u16>().is_ok() && !digits.starts_with('+');
    if !is_host {
        report.error(span, format!("`{key}` is not a host: \"{}\"", shown(&text))).hint(
            "a domain or an IPv4 address, without scheme and path, as in \"app.example.com\"",
        );
        return None;
    }
    Some(At { value: text, span })
}

/// A regular expression that compiles, also when it is made to match the whole text.
pub(crate) fn regex(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    let key = value.key;
    let At { value: text, span } = value.text(report)?;
    let compile = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    // By itself first: "a)(?:b" is only valid inside the group that makes it match everything.
    let result = compile(&text).and_then(|_| compile(&format!("^(?:{text})$")));
    match result {
        Ok(_) => Some(At { value: text, span }),
        Err(regex::Error::CompiledTooBig(_)) => {
            report
                .error(span, format!("`{key}` is a regular expression that takes over 1 MiB"))
                .hint("large counts such as {1000} and Unicode classes such as \\w make it large");
            None
        }
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            report
                .error(span, format!("`{key}` is not a regular expression: {reason}"))
                .hint("the syntax is that of RE2: no look-around, no back-references");
            None
        }
    }
}

/// A domain pattern, in lower case.
pub(crate) fn domain(value: Value<'_>, report: &mut Report<'_>) -> Option<At<DomainPattern>> {
    const HINT: &str =
        "a domain is \"www.example.com\", \"*.example.com\", \"www.example.*\" or \"*\"";
    let At { value: text, span } = value.text(report)?;
    if text == "*" {
        return Some(At { value: DomainPattern::Any, span });
    }
    let lower = text.to_ascii_lowercase();
    let pattern = if let Some(rest) = lower.strip_prefix("*.") {
        is_domain(rest).then(|| DomainPattern::Suffix(format!(".{rest}")))
    } else if let Some(rest) = lower.strip_suffix(".*") {
        is_domain(rest).then(|| DomainPattern::Prefix(format!("{rest}.")))
    } else {
        is_domain(&lower).then(|| DomainPattern::Exact(lower.clone()))
    };
    if let Some(value) = pattern {
        return Some(At { value, span });
    }
    refuse_domain(&text, span, HINT, report);
    None
}

fn refuse_domain(text: &str, span: Span, general: &str, report: &mut Report<'_>) {
    let problem = report.error(span, format!("\"{}\" is not a domain", shown(text)));
    let port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let hint = if port {
        "leave the port out: it is not compared"
    } else if text.contains("//") {
        "leave the scheme and the path out"
    } else if !text.is_ascii() {
        "write international names in their ASCII form, as in \"xn--mnchen-3ya.de\""
    } else if text.ends_with('.') {
        "leave the dot at the end out"
    } else {
        general
    };
    problem.hint(hint);
}

/// Labels of letters, digits, hyphens and underscores, joined by dots (RFC 1123, 2.1, and the
/// underscores that names inside clusters have).
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_at_the_edges_of_valid() {
        assert!(is_domain(&"a".repeat(63)));
        assert!(!is_domain(&"a".repeat(64)));
        assert!(is_domain("10.9.0.2"));
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a:80", "a*"] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}
