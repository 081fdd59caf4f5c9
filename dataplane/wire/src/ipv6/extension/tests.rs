//! Chains in order and out of it, options that must be understood, bounds.

use proptest::prelude::*;

use super::*;

const TCP: u8 = 6;
const RH_SEGMENTS: [u8; 8] = [TCP, 0, 0, 1, 0, 0, 0, 0];

fn options(next: u8, body: [u8; 6]) -> Vec<u8> {
    let [a, b, c, d, e, f] = body;
    vec![next, 0, a, b, c, d, e, f]
}

fn padding(next: u8) -> Vec<u8> {
    options(next, [OPTION_PADN, 4, 0, 0, 0, 0])
}

fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    vec![next, 0, high, low, 0, 0, 0, 7]
}

#[test]
fn a_transport_needs_no_walk() {
    let upper = walk(TCP, &[]).expect("nothing to read");
    assert_eq!((upper.protocol, upper.offset, upper.pointer), (IpProtocol::Tcp, 0, 6));
    assert!(!is_extension(TCP) && is_extension(HOP_BY_HOP) && !is_extension(NO_NEXT));
}

#[test]
fn headers_in_the_order_of_the_rfc() {
    let routing = vec![FRAGMENT, 0, 0, 0, 0, 0, 0, 0];
    let chain = [padding(DESTINATION), padding(ROUTING), routing, fragment(TCP, 0, false)].concat();
    let upper = walk(HOP_BY_HOP, &chain).expect("a chain");
    assert_eq!((upper.protocol, upper.offset), (IpProtocol::Tcp, 32));
    assert_eq!(upper.pointer, 40 + 24, "the fragment header names the transport");
    assert!(upper.fragment.is_some_and(|fragment| fragment.is_atomic()));
}

#[test]
fn behind_a_fragment_nothing_is_read() {
    let upper = walk(FRAGMENT, &fragment(DESTINATION, 185, true)).expect("a fragment");
    let found = upper.fragment.expect("its header");
    assert_eq!((found.offset, found.more, found.identification), (185, true, 7));
    assert!(!found.is_atomic());
    let doubled = [fragment(FRAGMENT, 0, false), fragment(TCP, 0, false)].concat();
    assert_eq!(walk(FRAGMENT, &doubled), Err(ExtensionError::TooMany));
}

#[test]
fn hop_by_hop_options_come_first_or_not_at_all() {
    let chain = [padding(HOP_BY_HOP), padding(TCP)].concat();
    assert_eq!(walk(DESTINATION, &chain), Err(ExtensionError::HopByHopPlace { pointer: 40 }));
}

#[test]
fn a_routing_header_is_passed_only_when_it_is_done() {
    let mut chain = RH_SEGMENTS;
    assert_eq!(walk(ROUTING, &chain), Err(ExtensionError::Routing { pointer: 42 }));
    chain[3] = 0;
    assert!(walk(ROUTING, &chain).is_ok());
}

#[test]
fn unknown_options_say_what_to_do() {
    let with = |kind: u8| walk(DESTINATION, &options(TCP, [kind, 4, 0, 0, 0, 0]));
    assert!(with(0x1e).is_ok(), "00: skipped");
    let wants = |action| Err(ExtensionError::Option { pointer: 42, action });
    assert_eq!(with(0x5e), wants(OptionAction::Discard));
    assert_eq!(with(0x9e), wants(OptionAction::Report));
    assert_eq!(with(0xde), wants(OptionAction::ReportUnicast));
    // The jumbo payload option (RFC 2675) is one of these.
    assert_eq!(with(0xc2), wants(OptionAction::ReportUnicast));
    let alert = walk(HOP_BY_HOP, &options(58, [OPTION_ROUTER_ALERT, 2, 0, 0, 1, 0]));
    assert!(alert.is_ok_and(|upper| upper.router_alert));
}

#[test]
fn options_that_overrun() {
    assert_eq!(
        walk(DESTINATION, &options(TCP, [0x1e, 5, 0, 0, 0, 0])),
        Err(ExtensionError::Truncated)
    );
    assert!(walk(DESTINATION, &options(TCP, [0x1e, 3, 0, 0, 0, 0])).is_ok());
    assert_eq!(
        walk(DESTINATION, &options(TCP, [0, 0, 0, 0, 0, 0x1e])),
        Err(ExtensionError::Truncated)
    );
    let whole = padding(TCP);
    for len in 0..8 {
        assert_eq!(walk(DESTINATION, &whole[..len]), Err(ExtensionError::Truncated), "{len}");
    }
}

#[test]
fn chains_and_options_are_bounded() {
    let chain = |headers: usize| {
        let mut bytes = padding(DESTINATION).repeat(headers - 1);
        bytes.extend(padding(TCP));
        walk(DESTINATION, &bytes)
    };
    assert!(chain(HEADERS_MAX).is_ok());
    assert_eq!(chain(HEADERS_MAX + 1), Err(ExtensionError::TooMany));
    let many = |count: usize| {
        let mut bytes = vec![TCP, 2];
        bytes.extend([0x1e, 0].repeat(count));
        bytes.resize(24, 0);
        walk(DESTINATION, &bytes)
    };
    assert!(many(OPTIONS_MAX).is_ok());
    assert_eq!(many(OPTIONS_MAX + 1), Err(ExtensionError::TooMany));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(next in any::<u8>(),
                                   bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(upper) = walk(next, &bytes) {
            prop_assert!(usize::from(upper.offset) <= bytes.len());
        }
    }

    #[test]
    fn likely_bytes_never_panic(first in prop::sample::select(vec![0u8, 43, 44, 60]),
                                bytes in proptest::collection::vec(
                                    prop::sample::select(vec![0u8, 1, 2, 4, 5, 6, 43, 44, 58, 60]),
                                    0..120)) {
        if let Ok(upper) = walk(first, &bytes) {
            prop_assert!(usize::from(upper.offset) <= bytes.len());
            prop_assert!(upper.offset % 8 == 0);
        }
    }
}
