//! Who asked, and how: `x-forwarded-for` and `x-forwarded-proto`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_config_model::Scheme;
use sluice_l7_core::{BodyLength, Field, Head, NameId, NameSet, Runs, Span};

use crate::filter::{Filter, FilterContext, FilterResult, FilterState};

/// Appends the peer's address to `x-forwarded-for`, behind what earlier proxies wrote, and sets
/// `x-forwarded-proto` to what the client's connection is.
///
/// Like Envoy with `use_remote_address`. Only the last address is one we vouch for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forwarded;

impl Filter for Forwarded {
    #[inline]
    fn decode_head(
        &self,
        _state: &mut FilterState,
        head: &mut Head,
        _body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        if let Some((said, runs)) = &mut cx.said
            && let Some(run) = runs.get(said.forwarded)
            && head.append_run(run)
        {
            return FilterResult::Continue;
        }
        say(head, cx);
        FilterResult::Continue
    }
}

/// Of so many requests about which nothing is known, one is looked at: what is said of clients who
/// are many would push out what else the worker knows.
const PERIOD: u8 = 32;

#[inline(never)]
fn say(head: &mut Head, cx: &mut FilterContext<'_>) {
    let first = !head.names().meets(ADDED);
    match cx.peer.ip() {
        IpAddr::V4(address) => {
            let address = AddressText::new(address);
            if head.names().contains(NameId::X_FORWARDED_FOR) {
                append_address(head, address.as_bytes(), cx.scratch);
            } else {
                head.append_padded(NameId::X_FORWARDED_FOR, &address.bytes, address.len);
            }
        }
        IpAddr::V6(address) => append_v6(head, address, cx.scratch),
    }
    match cx.scheme {
        Scheme::Http => head.set(NameId::X_FORWARDED_PROTO, b"http"),
        Scheme::Https => head.set(NameId::X_FORWARDED_PROTO, b"https"),
    }
    if let Some((said, runs)) = &mut cx.said
        && first
    {
        said.missed = said.missed.wrapping_add(1);
        // Of the first request of a connection it is not known whether there is a second one.
        if said.missed % PERIOD == 2 {
            said.forwarded = keep(head, runs).unwrap_or(0);
        }
    }
}

/// Keeps what was said, for the connection's other requests.
#[cold]
fn keep(head: &Head, runs: &mut Runs) -> Option<u64> {
    let mut run = runs.draft();
    for id in [NameId::X_FORWARDED_FOR, NameId::X_FORWARDED_PROTO] {
        let value = head.get(id).unwrap_or_default();
        let at = run.text.len();
        let name = id.as_str().as_bytes();
        for part in [name, b": ", value, b"\r\n"] {
            run.text.extend_from_slice(part);
        }
        let value = Span::own(at + name.len() + b": ".len(), value.len());
        let name = Span::own(at, name.len());
        run.fields.push(Field { id, name, value, plain: true, never_indexed: false, hash: 0 });
    }
    run.names = ADDED;
    let id = runs.keep(&run);
    runs.put_draft(run);
    id
}

const ADDED: NameSet = NameSet::of(&[NameId::X_FORWARDED_FOR, NameId::X_FORWARDED_PROTO]);

/// Puts `address` behind what earlier proxies wrote.
fn append_address(head: &mut Head, address: &[u8], scratch: &mut Vec<u8>) {
    scratch.clear();
    for value in head.get_all(NameId::X_FORWARDED_FOR).filter(|value| !value.is_empty()) {
        scratch.extend_from_slice(value);
        scratch.extend_from_slice(b", ");
    }
    scratch.extend_from_slice(address);
    head.set(NameId::X_FORWARDED_FOR, scratch);
}

/// As RFC 5952 writes it, without brackets: what stands in `x-forwarded-for` has no port.
#[cold]
fn append_v6(head: &mut Head, address: Ipv6Addr, scratch: &mut Vec<u8>) {
    let mut text = [0; TEXT_V6_MAX];
    let mut rest = &mut text[..];
    // The longest address fits.
    let _ = write!(rest, "{address}");
    let len = TEXT_V6_MAX - rest.len();
    append_address(head, &text[..len], scratch);
}

/// Eight groups of four digits, and the colons between them.
const TEXT_V6_MAX: usize = 39;

/// An address as text, on the stack: nearly every request needs one.
struct AddressText {
    /// Four octets of up to three digits, and a dot behind each.
    bytes: [u8; 16],
    len: usize,
}

impl AddressText {
    #[inline]
    fn new(address: Ipv4Addr) -> Self {
        let (mut bytes, mut len) = ([b'.'; 16], 0);
        for octet in address.octets() {
            // Always four bytes: what is too many is overwritten by the next octet or cut off.
            bytes[len..len + 4].copy_from_slice(&OCTETS[usize::from(octet)]);
            len += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
        }
        Self { bytes, len: len - 1 }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Every octet in decimal with a dot behind it.
static OCTETS: [[u8; 4]; 256] = {
    let mut texts = [[b'.'; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let (hundreds, tens, ones) = (octet / 100, octet / 10 % 10, octet % 10);
        let mut at = 0;
        if octet >= 100 {
            texts[octet][at] = b'0' + hundreds as u8;
            at += 1;
        }
        if octet >= 10 {
            texts[octet][at] = b'0' + tens as u8;
            at += 1;
        }
        texts[octet][at] = b'0' + ones as u8;
        octet += 1;
    }
    texts
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tests::{Harness, head};

    fn forwarded(fields: &[(&str, &str)]) -> String {
        let (mut harness, mut head) = (Harness::default(), head(fields));
        let mut state = FilterState::None;
        let result =
            Forwarded.decode_head(&mut state, &mut head, BodyLength::None, &mut harness.context());
        assert_eq!(result, FilterResult::Continue);
        Harness::fields(&head)
    }

    #[test]
    fn the_peer_comes_last_and_the_scheme_is_ours_to_say() {
        assert_eq!(forwarded(&[]), "x-forwarded-for: 192.0.2.7 | x-forwarded-proto: http");
        assert_eq!(
            forwarded(&[
                ("X-Forwarded-For", "198.51.100.1, 10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-for", ""),
                ("x-forwarded-for", "made up"),
            ]),
            "x-forwarded-for: 198.51.100.1, 10.0.0.1, made up, 192.0.2.7 | x-forwarded-proto: http"
        );
    }

    #[test]
    fn addresses_of_ipv6_have_no_brackets() {
        for text in ["::", "fd09::2", "2001:db8:1111:2222:3333:4444:5555:6666", "::ffff:10.0.0.1"] {
            let (mut harness, mut head) = (Harness::default(), head(&[("x-forwarded-for", "a")]));
            harness.peer(text.parse().expect("an address"));
            let mut state = FilterState::None;
            let cx = &mut harness.context();
            let result = Forwarded.decode_head(&mut state, &mut head, BodyLength::None, cx);
            assert_eq!(result, FilterResult::Continue);
            let expected = format!("x-forwarded-for: a, {text} | x-forwarded-proto: http");
            assert_eq!(Harness::fields(&head), expected);
        }
    }

    /// The same client says the same, however it is put together, and what it says itself counts.
    #[test]
    fn what_is_said_again_is_what_was_said() {
        let (mut harness, mut state) = (Harness::default(), FilterState::None);
        for round in 0..300 {
            let mut known = |fields: &[(&str, &str)], harness: &mut Harness| {
                let (mut head, cx) = (head(fields), &mut harness.context());
                let result = Forwarded.decode_head(&mut state, &mut head, BodyLength::None, cx);
                assert_eq!(result, FilterResult::Continue);
                assert_eq!(Harness::fields(&head), forwarded(fields), "round {round}");
                head.added_run(NameSet::EMPTY).is_some()
            };
            // The first round says it twice.
            assert_eq!(known(&[("accept", "a")], &mut harness), round >= 1, "round {round}");
            assert!(!known(&[("x-forwarded-for", "10.0.0.1")], &mut harness));
            assert!(!known(&[("x-forwarded-proto", "https")], &mut harness));
            let mut removed = head(&[("x-forwarded-for", "10.0.0.1")]);
            removed.remove(NameId::X_FORWARDED_FOR);
            let cx = &mut harness.context();
            let result = Forwarded.decode_head(&mut state, &mut removed, BodyLength::None, cx);
            assert_eq!(result, FilterResult::Continue);
            assert_eq!(Harness::fields(&removed), forwarded(&[]), "round {round}");
        }
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for bits in [0, 0x0109_0a0b, 0x6364_6566, 0xc0a8_00ff, u32::MAX, 0x0a00_6400] {
            let address = Ipv4Addr::from_bits(bits);
            assert_eq!(AddressText::new(address).as_bytes(), address.to_string().as_bytes());
        }
    }
}
