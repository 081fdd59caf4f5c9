//! Request targets (RFC 9112, 3.2) and hosts (RFC 9110, 7.2; RFC 3986, 3.2.2).

use memchr::memchr;
use sluice_arch::{Lanes, all};
use sluice_l7_core::{Method, Scheme};

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

/// Whether `text` is a host with an optional port; not empty, no user information.
///
/// A comma, which the grammar of registered names would allow, is refused: it is what is left of two
/// Host lines that somebody joined.
#[inline]
pub(crate) fn is_host(text: &[u8]) -> bool {
    // Names of letters, digits, hyphens and dots, and IPv4 addresses, without a port.
    let usual = |lanes: Lanes| {
        lanes.lowered().within(b'a', b'z') | lanes.within(b'0', b'9') | lanes.within(b'-', b'.')
    };
    !text.is_empty() && (all(text, usual) || is_other_host(text))
}

fn is_other_host(text: &[u8]) -> bool {
    if let [b'[', rest @ ..] = text {
        return is_literal(rest);
    }
    let end = text.iter().position(|byte| !NAME[usize::from(*byte)]).unwrap_or(text.len());
    end > 0 && is_port_suffix(&text[end..])
}

/// What follows the opening bracket: an IPv6 address in digits, the closing bracket, a port.
#[cold]
fn is_literal(rest: &[u8]) -> bool {
    let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
    let digits = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    end > 1 && rest[..end].iter().all(digits) && is_port_suffix(&rest[end + 1..])
}

#[inline]
fn is_port_suffix(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', port @ ..] => is_port(port) || port.is_empty(),
        _ => false,
    }
}

#[inline]
fn is_port(text: &[u8]) -> bool {
    (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

/// Bytes of a registered name or an IPv4 address.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.'
            | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';'
            | b'=');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in
            ["a", "a.example", "a.example:8080", "10.0.0.1:1", "[::1]", "[fe80::1]:443", "a:"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a@b", "a,b", "a/b", "a:b", "a:123456", "[::1", "[]", "[:", "[g]",
            "a\t", "a:80:80", "[::1]x", "a?b", "a#b", "a\\b", "\u{e9}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
