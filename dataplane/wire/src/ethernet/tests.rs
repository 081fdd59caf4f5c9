//! Frames with and without tags, at every length.

use proptest::prelude::*;

use super::*;
use crate::vlan::VlanId;

const UNTAGGED: [u8; 16] =
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x00, b'i', b'p'];
const TAGGED: [u8; 18] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0x00, 0x20, 0x64, 0x08, 0x06];
const QINQ: [u8; 22] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xa8, 0x00, 0x0a, 0x81, 0x00, 0x00, 0x14, 0x86, 0xdd,
];

fn parse(frame: &[u8]) -> Result<EthernetHeader, EthernetError> {
    EthernetView::parse(frame).map(|view| view.header())
}

#[test]
fn untagged_frame() {
    let view = EthernetView::parse(&UNTAGGED).expect("valid");
    assert!(view.destination().is_broadcast());
    assert_eq!(view.source(), MacAddress([2, 0, 0, 0, 0, 1]));
    assert_eq!(view.ether_type(), EtherType::Ipv4);
    assert_eq!(view.header_len(), 14);
    assert_eq!(view.payload(), b"ip");
    assert_eq!(
        view.header().to_string(),
        "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype IPv4 (0x0800)"
    );
}

#[test]
fn one_tag_leads_to_the_inner_type() {
    let view = EthernetView::parse(&TAGGED).expect("valid");
    assert_eq!(view.ether_type(), EtherType::Arp);
    assert_eq!(view.header_len(), 18);
    assert!(view.payload().is_empty());
    let tag = view.tags().inner().expect("tagged");
    assert_eq!((tag.protocol, tag.id().number(), tag.priority()), (TagProtocol::Customer, 100, 1));
    assert_eq!(
        view.header().to_string(),
        "02:00:00:00:00:01 > 02:00:00:00:00:02, vlan 100, p 1, ethertype ARP (0x0806)"
    );
}

#[test]
fn two_tags_keep_their_order() {
    let view = EthernetView::parse(&QINQ).expect("valid");
    assert_eq!(view.ether_type(), EtherType::Ipv6);
    assert_eq!(view.header_len(), 22);
    let ids: Vec<u16> = view.tags().iter().map(|tag| tag.id().number()).collect();
    assert_eq!(ids, [10, 20]);
    assert_eq!(view.tags().inner().map(VlanTag::id), VlanId::new(20));
}

#[test]
fn a_third_tag_is_refused() {
    let mut frame = QINQ.to_vec();
    frame[20..22].copy_from_slice(&[0x81, 0x00]);
    frame.extend_from_slice(&[0x00, 0x01, 0x08, 0x00]);
    assert_eq!(parse(&frame), Err(EthernetError::TooManyTags));
}

#[test]
fn every_truncation_is_named() {
    for len in 0..14 {
        assert_eq!(parse(&QINQ[..len]), Err(EthernetError::Truncated), "{len} bytes");
    }
    for len in 14..22 {
        assert_eq!(parse(&QINQ[..len]), Err(EthernetError::TagTruncated), "{len} bytes");
    }
    assert!(parse(&QINQ).is_ok());
    assert!(parse(&UNTAGGED[..14]).is_ok());
}

#[test]
fn lengths_of_802_3_are_values() {
    let mut frame = UNTAGGED;
    frame[12..14].copy_from_slice(&[0x05, 0xdc]);
    assert_eq!(parse(&frame).map(|header| header.ether_type), Ok(EtherType::Other(1500)));
}

#[test]
fn addresses_read_and_print() {
    let address: MacAddress = "02:00:5e:10:fE:01".parse().expect("valid");
    assert_eq!(address, MacAddress([0x02, 0x00, 0x5e, 0x10, 0xfe, 0x01]));
    assert_eq!(address.to_string(), "02:00:5e:10:fe:01");
    for wrong in
        ["", "02:00:5e:10:fe", "02:00:5e:10:fe:01:02", "2:0:5e:10:fe:1", "+2:00:00:00:00:01"]
    {
        assert_eq!(wrong.parse::<MacAddress>(), Err(MacAddressError), "{wrong:?}");
    }
}

#[test]
fn kinds_of_addresses() {
    assert!(MacAddress::BROADCAST.is_multicast());
    assert!(!MacAddress::BROADCAST.is_unicast());
    assert!(!MacAddress::ZERO.is_unicast());
    assert!(MacAddress([2, 0, 0, 0, 0, 1]).is_unicast());
    assert!(MacAddress([2, 0, 0, 0, 0, 1]).is_local());
    // RFC 1112, 6.4: the low 23 bits of the group.
    let group = MacAddress::for_multicast_v4(Ipv4Addr::new(239, 129, 2, 3));
    assert_eq!(group.to_string(), "01:00:5e:01:02:03");
}

fn any_tag() -> impl Strategy<Value = VlanTag> {
    (any::<bool>(), any::<u16>()).prop_map(|(is_service, control)| VlanTag {
        protocol: if is_service { TagProtocol::Service } else { TagProtocol::Customer },
        control,
    })
}

proptest! {
    #[test]
    fn emit_then_parse_is_identity(
        destination in any::<[u8; 6]>(), source in any::<[u8; 6]>(), number in any::<u16>(),
        count in 0..3, outer in any_tag(), inner in any_tag(),
    ) {
        prop_assume!(TagProtocol::from_number(number).is_none());
        let header = EthernetHeader {
            destination: MacAddress(destination),
            source: MacAddress(source),
            tags: match count {
                0 => VlanTags::None,
                1 => VlanTags::One(inner),
                _ => VlanTags::Two(outer, inner),
            },
            ether_type: EtherType::from_number(number),
        };
        let mut bytes = [0xaa; HEADER_LEN_MAX];
        let len = header.emit(&mut bytes);
        prop_assert_eq!(len, header.header_len());
        prop_assert_eq!(parse(&bytes[..len]), Ok(header));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40),
                                   tags in 0usize..4) {
        let mut bytes = bytes;
        for at in (0..tags).map(|i| 12 + 4 * i).filter(|at| at + 2 <= bytes.len()).collect::<Vec<_>>() {
            bytes[at..at + 2].copy_from_slice(&[0x81, 0x00]);
        }
        if let Ok(view) = EthernetView::parse(&bytes) {
            prop_assert_eq!(view.header_len() + view.payload().len(), bytes.len());
        }
    }
}
