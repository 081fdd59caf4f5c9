//! Every message, options whose lengths lie, and the round trip.

use proptest::prelude::*;

use super::*;
use crate::ethernet::MacAddress;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

const fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, last)
}

fn emitted(message: &NdpMessage) -> Vec<u8> {
    let mut bytes = vec![0xaa; MESSAGE_LEN_MAX];
    let len = message.emit(&mut bytes);
    assert_eq!(len, message.header_len());
    bytes.truncate(len);
    bytes
}

fn every_message() -> Vec<NdpMessage> {
    let prefix = PrefixInfo {
        prefix: address(0),
        prefix_len: 64,
        on_link: true,
        autonomous: true,
        valid_s: 7200,
        preferred_s: 1800,
    };
    let mut prefixes = [None; PREFIXES_MAX];
    prefixes[0] = Some(prefix);
    prefixes[1] = Some(PrefixInfo { prefix_len: 48, autonomous: false, ..prefix });
    let router = RouterInfo {
        hop_limit: 64,
        preference: RouterPreference::Low,
        lifetime_s: 1800,
        ..RouterInfo::default()
    };
    let options = NdpOptions { mtu: Some(1500), prefixes, ..NdpOptions::source(MAC) };
    vec![
        NdpMessage::RouterSolicitation { options: NdpOptions::source(MAC) },
        NdpMessage::RouterAdvertisement { router, options },
        NdpMessage::NeighborSolicitation {
            target: address(2),
            options: NdpOptions { nonce: Some([1, 2, 3, 4, 5, 6]), ..NdpOptions::default() },
        },
        NdpMessage::NeighborAdvertisement {
            target: address(2),
            router: true,
            solicited: true,
            overrides: false,
            options: NdpOptions::target(MAC),
        },
        NdpMessage::Redirect {
            target: address(3),
            destination: address(4),
            options: NdpOptions::target(MAC),
        },
    ]
}

#[test]
fn every_message_survives_and_prints() {
    let mut lines = Vec::new();
    for message in every_message() {
        let bytes = emitted(&message);
        assert_eq!(NdpMessage::parse(&bytes), Ok(message));
        lines.push(message.to_string());
    }
    assert_eq!(
        lines,
        [
            "ICMP6, router solicitation, source 02:00:00:00:00:09",
            "ICMP6, router advertisement, lifetime 1800s, source 02:00:00:00:00:09, mtu 1500, \
             prefix fd09::/64, prefix fd09::/48",
            "ICMP6, neighbor solicitation, who has fd09::2",
            "ICMP6, neighbor advertisement, tgt is fd09::2, router, solicited, \
             target 02:00:00:00:00:09",
            "ICMP6, redirect, fd09::4 to fd09::3, target 02:00:00:00:00:09",
        ]
    );
}

#[test]
fn headers_one_less_exact() {
    for (kind, len) in [(133, 8), (134, 16), (135, 24), (136, 24), (137, 40)] {
        let mut bytes = vec![0; len];
        bytes[0] = kind;
        assert!(NdpMessage::parse(&bytes).is_ok(), "type {kind}");
        assert_eq!(NdpMessage::parse(&bytes[..len - 1]), Err(NdpError::Truncated), "type {kind}");
        bytes[1] = 1;
        assert_eq!(NdpMessage::parse(&bytes), Err(NdpError::Code));
    }
    assert_eq!(NdpMessage::parse(&[128, 0]), Err(NdpError::Kind { kind: 128 }));
    assert_eq!(NdpMessage::parse(&[135]), Err(NdpError::Truncated));
}

/// RFC 4861, 4.6: a message with an option of length zero must be dropped as a whole.
#[test]
fn options_that_lie() {
    let mut bytes = emitted(&every_message()[0]);
    bytes[9] = 0;
    assert_eq!(NdpMessage::parse(&bytes), Err(NdpError::OptionLength));
    bytes[9] = 2;
    assert_eq!(NdpMessage::parse(&bytes), Err(NdpError::OptionOverrun));
    bytes[9] = 1;
    bytes.push(1);
    assert_eq!(NdpMessage::parse(&bytes), Err(NdpError::OptionOverrun));
}

#[test]
fn unknown_options_are_skipped_and_the_first_of_a_kind_counts() {
    let mut bytes = vec![133, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([200, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 2, 0, 0, 0, 0, 9]);
    bytes.extend([1, 1, 2, 0, 0, 0, 0, 8]);
    // A link-layer address of another length is none of ours.
    bytes.extend([2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let message = NdpMessage::parse(&bytes).expect("valid");
    assert_eq!(*message.options(), NdpOptions::source(MAC));
}

#[test]
fn a_group_is_no_target() {
    let mut bytes = emitted(&every_message()[2]);
    bytes[8] = 0xff;
    assert_eq!(NdpMessage::parse(&bytes), Err(NdpError::Target));
}

#[test]
fn more_prefixes_than_are_kept() {
    let mut bytes = vec![0; 16];
    bytes[0] = 134;
    for len in 0..6 {
        let mut option = [0; 32];
        option[..3].copy_from_slice(&[3, 4, 60 + len]);
        bytes.extend(option);
    }
    bytes[16 + 2] = 129;
    let message = NdpMessage::parse(&bytes).expect("valid");
    let lens: Vec<u8> = message.options().prefixes.iter().flatten().map(|p| p.prefix_len).collect();
    assert_eq!(lens, [61, 62, 63, 64], "one longer than an address is skipped, the last ignored");
}

proptest! {
    #[test]
    fn solicitations_survive(target in any::<u128>(), mac in any::<[u8; 6]>(),
                             nonce in any::<Option<[u8; 6]>>()) {
        let target = Ipv6Addr::from(target & !(0xff << 120));
        let options = NdpOptions { nonce, ..NdpOptions::source(MacAddress(mac)) };
        let message = NdpMessage::NeighborSolicitation { target, options };
        prop_assert_eq!(NdpMessage::parse(&emitted(&message)), Ok(message));
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 132u8..139, mut bytes in
                                   proptest::collection::vec(any::<u8>(), 0..150)) {
        bytes.splice(..0, [kind, 0]);
        if let Ok(message) = NdpMessage::parse(&bytes) {
            let _ = message.to_string();
            prop_assert_eq!(NdpMessage::parse(&emitted(&message)), Ok(message));
        }
    }
}
