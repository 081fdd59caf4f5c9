//! Who asked, and how: `x-forwarded-for` and `x-forwarded-proto`.

use std::net::Ipv4Addr;

use sluice_config_model::Scheme;
use sluice_l7_core::{BodyLength, Head, NameId};

use crate::filter::{Filter, FilterContext, FilterResult, FilterState};

/// Appends the peer's address to `x-forwarded-for`, behind what earlier proxies wrote, and sets
/// `x-forwarded-proto` to what the client's connection is.
///
/// Like Envoy with `use_remote_address`. Only the last address is one we vouch for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forwarded;

impl Filter for Forwarded {
    fn decode_head(
        &self,
        _state: &mut FilterState,
        head: &mut Head,
        _body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        cx.scratch.clear();
        for value in head.get_all(NameId::X_FORWARDED_FOR).filter(|value| !value.is_empty()) {
            cx.scratch.extend_from_slice(value);
            cx.scratch.extend_from_slice(b", ");
        }
        write_address(*cx.peer.ip(), cx.scratch);
        head.set(NameId::X_FORWARDED_FOR, cx.scratch);
        let scheme = match cx.scheme {
            Scheme::Http => &b"http"[..],
            Scheme::Https => b"https",
        };
        head.set(NameId::X_FORWARDED_PROTO, scheme);
        FilterResult::Continue
    }
}

fn write_address(address: Ipv4Addr, to: &mut Vec<u8>) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            to.push(b'.');
        }
        if octet >= 100 {
            to.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            to.push(b'0' + octet / 10 % 10);
        }
        to.push(b'0' + octet % 10);
    }
}

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
    fn addresses_are_written_as_the_standard_library_does() {
        for bits in [0, 0x0109_0a0b, 0x6364_6566, 0xc0a8_00ff, u32::MAX, 0x0a00_6400] {
            let (address, mut text) = (Ipv4Addr::from_bits(bits), Vec::new());
            write_address(address, &mut text);
            assert_eq!(text, address.to_string().as_bytes());
        }
    }
}
