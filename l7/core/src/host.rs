//! Hosts with ports (RFC 9110, 7.2; RFC 3986, 3.2.2), as every protocol of HTTP names them.

use sluice_arch::{Lanes, all};

/// Whether `text` is a host with an optional port; not empty, no user information.
///
/// A comma, which the grammar of registered names would allow, is refused: it is what is left of two
/// Host lines that somebody joined.
#[inline]
#[must_use]
pub fn is_host(text: &[u8]) -> bool {
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
