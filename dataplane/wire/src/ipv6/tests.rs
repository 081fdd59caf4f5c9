//! Headers whose lengths lie, derived addresses, and the round trip.

use proptest::prelude::*;

use super::*;

fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, last)
}

fn packet(payload_len: u16) -> Vec<u8> {
    let header = Ipv6Header::new(address(1), address(2), IpProtocol::Tcp, payload_len);
    let mut bytes = vec![0x55; HEADER_LEN + usize::from(payload_len)];
    header.emit(&mut bytes);
    bytes
}

#[test]
fn reads_and_prints() {
    let bytes = packet(10);
    assert_eq!(bytes[..8], [0x60, 0, 0, 0, 0, 10, 6, 64]);
    let view = Ipv6View::parse(&bytes).expect("valid");
    assert_eq!((view.src(), view.dst(), view.next_header()), (address(1), address(2), 6));
    assert_eq!(view.header().to_string(), "IP6 fd09::1 > fd09::2: TCP, hlim 64, length 10");
    let marked = Ipv6Header { traffic_class: 0xb8, flow_label: 0x12345, ..view.header() };
    assert_eq!(
        marked.to_string(),
        "IP6 fd09::1 > fd09::2: TCP, hlim 64, class 0xb8, flowlabel 0x12345, length 10"
    );
}

#[test]
fn lengths_one_less_exact_one_more() {
    let bytes = packet(10);
    let len = |bytes: &[u8]| Ipv6View::parse(bytes).map(|view| view.payload().len());
    assert_eq!(len(&bytes[..39]), Err(Ipv6Error::Truncated));
    assert_eq!(len(&bytes[..49]), Err(Ipv6Error::PayloadOverrun));
    assert_eq!(len(&bytes), Ok(10));
    let mut padded = bytes.clone();
    padded.resize(60, 0);
    assert_eq!(len(&padded), Ok(10), "padding is cut off");
    let view = Ipv6View::parse_with_len(&bytes[..45], 50).expect("valid in two pieces");
    assert_eq!((view.payload_len(), view.payload().len()), (10, 5));
    assert!(Ipv6View::parse_with_len(&bytes[..45], 49).is_err());
}

#[test]
fn only_version_six() {
    let mut bytes = packet(0);
    for version in (0..16).filter(|version| *version != 6) {
        bytes[0] = version << 4;
        assert_eq!(Ipv6View::parse(&bytes).err(), Some(Ipv6Error::Version));
    }
}

#[test]
fn the_hop_limit_counts_down() {
    let mut bytes = packet(0);
    for left in (1..64).rev() {
        assert_eq!(decrement_hop_limit(&mut bytes), Some(left));
    }
    assert_eq!(decrement_hop_limit(&mut bytes), None);
    assert_eq!(bytes[HOP_LIMIT_OFFSET], 1, "untouched");
}

/// RFC 4291, 2.7.1 and appendix A have these as their examples.
#[test]
fn addresses_that_follow_from_others() {
    let long: Ipv6Addr = "4037::1:800:200e:8c6c".parse().expect("an address");
    assert_eq!(solicited_node(long).to_string(), "ff02::1:ff0e:8c6c");
    let mac = MacAddress([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
    assert_eq!(link_local(mac).to_string(), "fe80::3656:78ff:fe9a:bcde");
    let prefix = "2001:db8:1:2::dead".parse().expect("an address");
    assert_eq!(with_interface_id(prefix, mac).to_string(), "2001:db8:1:2:3656:78ff:fe9a:bcde");
    let group = MacAddress::for_multicast_v6(solicited_node(long));
    assert_eq!(group.to_string(), "33:33:ff:0e:8c:6c");
}

proptest! {
    #[test]
    fn emit_then_parse_is_identity(
        src in any::<u128>(), dst in any::<u128>(), next_header in any::<u8>(),
        hop_limit in any::<u8>(), traffic_class in any::<u8>(), flow_label in 0u32..0x10_0000,
        payload_len in any::<u16>(),
    ) {
        let header = Ipv6Header {
            src: src.into(),
            dst: dst.into(),
            next_header,
            hop_limit,
            traffic_class,
            flow_label,
            payload_len,
        };
        let mut bytes = [0xaa; HEADER_LEN];
        prop_assert_eq!(header.emit(&mut bytes), header.header_len());
        let view = Ipv6View::parse_with_len(&bytes, header.total_len()).expect("valid");
        prop_assert_eq!(view.header(), header);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..120),
                                   payload_len in 0u16..90) {
        bytes[0] = 0x60;
        if let Some(field) = bytes.get_mut(4..6) {
            field.copy_from_slice(&payload_len.to_be_bytes());
        }
        if let Ok(view) = Ipv6View::parse(&bytes) {
            prop_assert_eq!(view.payload().len(), usize::from(view.payload_len()));
        }
    }
}
