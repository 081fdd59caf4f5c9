//! All conditions of a route together.

use sluice_config_model::{Connect, PathMatch, RouteMatch};
use sluice_l7_core::{Head, Method, NameId};

use crate::Path;
use crate::explain::Mismatch;
use crate::path::{decode, decode_unreserved};
use crate::pattern::{Pattern, Regex, RegexError};

/// A condition on the path.
#[derive(Clone, Debug)]
pub(crate) enum PathPattern {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Box<Regex>),
    /// There is none: a CONNECT.
    Connect(Connect),
}

/// A condition on the whole request.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    pub(crate) path: PathPattern,
    method: Option<MethodIs>,
    headers: Box<[HeaderIs]>,
    query: Box<[QueryIs]>,
}

#[derive(Clone, Debug)]
struct MethodIs {
    method: Method,
    text: Box<[u8]>,
}

#[derive(Clone, Debug)]
struct HeaderIs {
    id: NameId,
    name: Box<[u8]>,
    pattern: Pattern,
}

#[derive(Clone, Debug)]
struct QueryIs {
    name: Box<[u8]>,
    pattern: Pattern,
}

impl Matcher {
    pub(crate) fn compile(matcher: &RouteMatch) -> Result<Self, RegexError> {
        // Requests come normalised, so the text they are compared with must be as well.
        let normal = |text: &str| {
            let mut bytes = Vec::with_capacity(text.len());
            decode_unreserved(text.as_bytes(), &mut bytes);
            bytes.into_boxed_slice()
        };
        let path = match &matcher.path {
            PathMatch::Exact(text) => PathPattern::Exact(normal(text)),
            PathMatch::Prefix(text) => PathPattern::Prefix(normal(text)),
            PathMatch::Regex(text) => PathPattern::Regex(Box::new(Regex::compile(text)?)),
            PathMatch::Connect(connect) => PathPattern::Connect(*connect),
        };
        let headers = matcher.headers.iter().map(|header| {
            let (id, name) = (NameId::lookup(header.name.as_bytes()), header.name.as_bytes());
            let pattern = Pattern::compile(&header.matcher)?;
            Ok(HeaderIs { id, name: name.into(), pattern })
        });
        let query = matcher.query.iter().map(|parameter| {
            let pattern = Pattern::compile(&parameter.matcher)?;
            Ok(QueryIs { name: parameter.name.as_bytes().into(), pattern })
        });
        Ok(Self {
            path,
            method: matcher.method.as_deref().map(|text| MethodIs {
                method: Method::parse(text.as_bytes()),
                text: text.as_bytes().into(),
            }),
            headers: headers.collect::<Result<_, _>>()?,
            query: query.collect::<Result<_, _>>()?,
        })
    }

    /// Whether the request fulfils what the index by exact path and prefix has not decided.
    #[inline]
    pub(crate) fn takes_indexed(&self, head: &Head, path: &Path<'_>) -> bool {
        let path_holds = match &self.path {
            PathPattern::Exact(_) | PathPattern::Prefix(_) => true,
            PathPattern::Regex(regex) => regex.is_match(path.path()),
            PathPattern::Connect(_) => false,
        };
        path_holds && self.takes_besides_path(head, path)
    }

    /// Whether the request fulfils everything, by the definition: for where no index is worth it.
    #[inline]
    pub(crate) fn takes(&self, head: &Head, path: &Path<'_>) -> bool {
        let path_holds = match &self.path {
            PathPattern::Exact(exact) => *path.path() == **exact,
            PathPattern::Prefix(prefix) => path.path().starts_with(prefix),
            PathPattern::Regex(regex) => regex.is_match(path.path()),
            PathPattern::Connect(_) => false,
        };
        path_holds && self.takes_besides_path(head, path)
    }

    /// Whether a CONNECT fulfils everything.
    pub(crate) fn takes_connect(&self, head: &Head) -> bool {
        matches!(self.path, PathPattern::Connect(_))
            && self.takes_besides_path(head, &Path::of(head))
    }

    #[inline]
    fn takes_besides_path(&self, head: &Head, path: &Path<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method.takes(head))
            && self.headers.iter().all(|header| header.takes(head))
            && self.query.iter().all(|parameter| parameter.takes(path.query()))
    }

    /// The first condition that does not hold, by the definition: no index is asked.
    pub(crate) fn mismatch(&self, head: &Head, path: &Path<'_>) -> Option<Mismatch> {
        let text = path.path();
        let connect = head.method() == Method::Connect;
        let path_holds = match &self.path {
            PathPattern::Connect(_) => connect,
            _ if connect => false,
            PathPattern::Exact(exact) => *text == **exact,
            PathPattern::Prefix(prefix) => text.starts_with(prefix),
            PathPattern::Regex(regex) => regex.is_match(text),
        };
        if !path_holds {
            return Some(Mismatch::Path { wanted: self.path.to_string() });
        }
        if let Some(method) = self.method.as_ref().filter(|method| !method.takes(head)) {
            return Some(Mismatch::Method { wanted: method.text.escape_ascii().to_string() });
        }
        if let Some(header) = self.headers.iter().find(|header| !header.takes(head)) {
            return Some(Mismatch::Header {
                name: header.name.escape_ascii().to_string(),
                wanted: header.pattern.to_string(),
                found: joined(values(head, header.id, &header.name)),
            });
        }
        let failing = self.query.iter().find(|parameter| !parameter.takes(path.query()));
        failing.map(|parameter| Mismatch::Query {
            name: parameter.name.escape_ascii().to_string(),
            wanted: parameter.pattern.to_string(),
            found: parameter.value(path.query()).map(|value| value.escape_ascii().to_string()),
        })
    }
}

impl MethodIs {
    #[inline]
    fn takes(&self, head: &Head) -> bool {
        self.method == head.method()
            && (self.method != Method::Other || *self.text == *head.method_text())
    }
}

impl HeaderIs {
    #[inline]
    fn takes(&self, head: &Head) -> bool {
        let mut values = values(head, self.id, &self.name);
        match (values.next(), values.next()) {
            (None, _) => self.pattern.takes_none(),
            (Some(value), None) => self.pattern.takes(value),
            (Some(_), Some(_)) => self.takes_joined(head),
        }
    }

    /// Several fields of a name count as one, joined by commas (RFC 9110, 5.3).
    #[cold]
    fn takes_joined(&self, head: &Head) -> bool {
        let values = values(head, self.id, &self.name).enumerate();
        self.pattern.takes_bytes(values.flat_map(|(index, value)| {
            let comma = (index > 0).then_some(b',');
            comma.into_iter().chain(value.iter().copied())
        }))
    }
}

/// The values of every field of a name.
fn values<'a>(head: &'a Head, id: NameId, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let known = (id != NameId::OTHER).then(|| head.get_all(id));
    let fields = (id == NameId::OTHER).then(|| head.fields());
    let other = fields
        .into_iter()
        .flatten()
        .filter(move |field| {
            field.id == NameId::OTHER && head.name(field).eq_ignore_ascii_case(name)
        })
        .map(|field| head.text(field.value));
    known.into_iter().flatten().chain(other)
}

fn joined<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let values: Vec<_> = values.map(|value| value.escape_ascii().to_string()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

impl QueryIs {
    #[inline]
    fn takes(&self, query: Option<&[u8]>) -> bool {
        match self.value(query) {
            None => self.pattern.takes_none(),
            Some(value) if memchr::memchr(b'%', value).is_none() => self.pattern.takes(value),
            Some(value) => self.pattern.takes_bytes(Decoded(value)),
        }
    }

    /// The first value of the parameter, as sent.
    fn value<'a>(&self, query: Option<&'a [u8]>) -> Option<&'a [u8]> {
        let parameters = query?.split(|byte| *byte == b'&');
        let mut parameters = parameters.map(|parameter| {
            let equals = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
            (&parameter[..equals], parameter.get(equals + 1..).unwrap_or_default())
        });
        let is_it = |name: &[u8]| Decoded(name).eq(self.name.iter().copied());
        parameters.find(|(name, _)| is_it(name)).map(|(_, value)| value)
    }
}

/// Percent-decodes as it goes; what is not a valid encoding stands for itself, and so does `+`.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        if let Some(decoded) = decode(self.0) {
            self.0 = &self.0[3..];
            return Some(decoded);
        }
        self.0 = rest;
        Some(byte)
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "is \"{}\"", text.escape_ascii()),
            Self::Prefix(text) => write!(f, "begins with \"{}\"", text.escape_ascii()),
            Self::Regex(regex) => write!(f, "matches \"{}\"", regex.text()),
            Self::Connect(_) => f.write_str("is none (CONNECT)"),
        }
    }
}
