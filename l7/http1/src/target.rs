//! Request targets (RFC 9112, 3.2).

use memchr::memchr;
use sluice_l7_core::{Method, Scheme, is_host};

use crate::error::Fault;

/// A target taken apart.
pub(crate) struct Target<'a> {
    /// Path and query, as they stand in the target.
    pub(crate) path: &'a [u8],
    /// What the path is if it does not stand there.
    pub(crate) missing_path: MissingPath,
    /// The target's own authority, which overrides Host (RFC 9112, 3.2.2); empty if it has none.
    pub(crate) authority: &'a [u8],
    pub(crate) scheme: Scheme,
}

/// How a path that an absolute target leaves out is completed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum MissingPath {
    /// It is there.
    No,
    /// `/` goes in front of the query, which may be empty.
    Slash,
    /// `*` (RFC 9112, 3.2.4: OPTIONS without path and query).
    Asterisk,
}

impl<'a> Target<'a> {
    pub(crate) fn parse(method: Method, target: &'a [u8]) -> Result<Self, Fault> {
        match (method, target) {
            (Method::Connect, _) => return Self::authority_form(target),
            (_, [b'/', ..]) => return Self::origin_form(target),
            (Method::Options, b"*") => {}
            _ => return Self::absolute_form(method, target),
        }
        Ok(Self::origin(target))
    }

    #[inline]
    fn origin_form(target: &'a [u8]) -> Result<Self, Fault> {
        if memchr(b'#', target).is_some() { Err(Fault::Fragment) } else { Ok(Self::origin(target)) }
    }

    /// A path and query without fragment.
    #[inline]
    pub(crate) fn origin(target: &'a [u8]) -> Self {
        let (missing_path, scheme) = (MissingPath::No, Scheme::Implied);
        Self { path: target, missing_path, authority: b"", scheme }
    }

    #[cold]
    fn authority_form(target: &'a [u8]) -> Result<Self, Fault> {
        let port = target.iter().rposition(|byte| *byte == b':').map(|colon| &target[colon + 1..]);
        if !is_host(target) || !port.is_some_and(is_port) {
            return Err(Fault::Target);
        }
        Ok(Self {
            path: b"",
            missing_path: MissingPath::No,
            authority: target,
            scheme: Scheme::Implied,
        })
    }

    #[cold]
    fn absolute_form(method: Method, target: &'a [u8]) -> Result<Self, Fault> {
        let starts = |scheme: &[u8]| {
            target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        let (scheme, rest) = if starts(b"http://") {
            (Scheme::Http, &target[7..])
        } else if starts(b"https://") {
            (Scheme::Https, &target[8..])
        } else {
            return Err(Fault::Target);
        };
        if rest.contains(&b'#') {
            return Err(Fault::Fragment);
        }
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !is_host(authority) {
            return Err(Fault::HostInvalid);
        }
        let missing_path = match (method, path) {
            (_, [b'/', ..]) => MissingPath::No,
            (Method::Options, []) => MissingPath::Asterisk,
            _ => MissingPath::Slash,
        };
        Ok(Self { path, missing_path, authority, scheme })
    }
}

#[inline]
fn is_port(text: &[u8]) -> bool {
    (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}
