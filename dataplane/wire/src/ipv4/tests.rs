//! Headers whose lengths lie, checksums, fragments, and the round trip.

use proptest::prelude::*;

use super::*;

/// The classic worked example: UDP, 192.168.0.1 > 192.168.0.199, checksum 0xb861; with its
/// payload cut to the 8 bytes of a UDP header the total length is changed to match below.
const EXAMPLE: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
    0xc0, 0xa8, 0x00, 0xc7,
];

fn packet(payload_len: usize) -> Vec<u8> {
    let header = Ipv4Header::new(
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::new(10, 0, 0, 2),
        IpProtocol::Tcp,
        payload_len as u16,
    );
    let mut bytes = vec![0x55; HEADER_LEN + payload_len];
    header.emit(&mut bytes);
    bytes
}

#[test]
fn worked_example_reads_and_is_emitted() {
    let view = Ipv4View::parse_with_len(&EXAMPLE, 0x73).expect("valid");
    assert!(view.checksum_ok());
    let header = view.header();
    let expected = Ipv4Header::new(
        Ipv4Addr::new(192, 168, 0, 1),
        Ipv4Addr::new(192, 168, 0, 199),
        IpProtocol::Udp,
        95,
    );
    assert_eq!(header, expected);
    let mut bytes = [0xaa; HEADER_LEN];
    assert_eq!(header.emit(&mut bytes), HEADER_LEN);
    assert_eq!(bytes, EXAMPLE);
    assert_eq!(
        header.to_string(),
        "IP 192.168.0.1 > 192.168.0.199: UDP, ttl 64, id 0, flags [DF], length 115"
    );
}

#[test]
fn the_short_way_to_a_header_gives_the_same() {
    for payload_len in [0, 1, 32, 1_480, PAYLOAD_LEN_MAX] {
        let (src, dst) = (Ipv4Addr::new(192, 168, 255, 254), Ipv4Addr::new(10, 0, 0, 255));
        let (mut long, mut short) = ([0xaa; HEADER_LEN], [0x55; HEADER_LEN]);
        Ipv4Header::new(src, dst, IpProtocol::Tcp, payload_len).emit(&mut long);
        let seed = Ipv4Header::emit_new(src, dst, IpProtocol::Tcp, payload_len, &mut short);
        assert_eq!(short, long, "{payload_len}");
        let pseudo = Checksum::pseudo_header_v4(src, dst, 6, payload_len.into());
        assert_eq!(seed, pseudo.sum(), "{payload_len}");
    }
}

#[test]
fn every_bit_of_the_header_is_covered_by_the_checksum() {
    for bit in 0..160 {
        let mut bytes = EXAMPLE;
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        if let Ok(view) = Ipv4View::parse_quoted(&bytes) {
            assert!(!view.checksum_ok(), "bit {bit}");
        }
    }
}

#[test]
fn lengths_one_less_exact_one_more() {
    let bytes = packet(10);
    let len = |bytes: &[u8]| Ipv4View::parse(bytes).map(|view| view.payload().len());
    assert_eq!(len(&bytes[..19]), Err(Ipv4Error::Truncated));
    assert_eq!(len(&bytes[..29]), Err(Ipv4Error::TotalLengthOverrun));
    assert_eq!(len(&bytes), Ok(10));
    let mut padded = bytes;
    padded.resize(46, 0);
    assert_eq!(len(&padded), Ok(10), "ethernet padding is cut off");
}

#[test]
fn total_length_that_lies() {
    let with = |total_len: u16| {
        let mut bytes = packet(10);
        bytes[2..4].copy_from_slice(&total_len.to_be_bytes());
        Ipv4View::parse(&bytes).map(|view| view.payload_len())
    };
    assert_eq!(with(0), Err(Ipv4Error::TotalLength));
    assert_eq!(with(19), Err(Ipv4Error::TotalLength));
    assert_eq!(with(20), Ok(0));
    assert_eq!(with(31), Err(Ipv4Error::TotalLengthOverrun));
    assert_eq!(with(u16::MAX), Err(Ipv4Error::TotalLengthOverrun));
}

#[test]
fn versions_and_header_lengths_that_lie() {
    let with = |first: u8| {
        let mut bytes = packet(10);
        bytes[0] = first;
        Ipv4View::parse(&bytes).map(|view| view.header_len())
    };
    assert_eq!(with(0x65), Err(Ipv4Error::Version));
    assert_eq!(with(0x05), Err(Ipv4Error::Version));
    assert_eq!(with(0x44), Err(Ipv4Error::HeaderLength));
    assert_eq!(with(0x40), Err(Ipv4Error::HeaderLength));
    assert_eq!(with(0x46), Ok(24));
    assert_eq!(with(0x48), Err(Ipv4Error::HeaderOverrun));
    let mut short_total = packet(10);
    short_total[0] = 0x46;
    short_total[3] = 23;
    assert_eq!(Ipv4View::parse(&short_total).err(), Some(Ipv4Error::TotalLength));
}

#[test]
fn options_stay_with_the_view() {
    let mut bytes = packet(6);
    bytes[0] = 0x46;
    bytes[20..24].copy_from_slice(&[0x94, 0x04, 0x00, 0x00]); // router alert, RFC 2113
    let view = Ipv4View::parse(&bytes).expect("valid");
    assert_eq!(view.options(), [0x94, 0x04, 0x00, 0x00]);
    assert_eq!(view.payload(), [0x55, 0x55]);
    assert_eq!(view.header().payload_len, 2);
    assert!(!view.checksum_ok());
}

#[test]
fn payload_in_several_buffers_counts_by_the_total_length() {
    let bytes = packet(1000);
    let view = Ipv4View::parse_with_len(&bytes[..40], 1020).expect("valid");
    assert_eq!(view.payload_len(), 1000);
    assert_eq!(view.payload().len(), 20);
    assert_eq!(
        Ipv4View::parse_with_len(&bytes[..40], 1019).err(),
        Some(Ipv4Error::TotalLengthOverrun)
    );
}

#[test]
fn fragments_are_seen() {
    let fragment = |more_fragments, fragment_offset| {
        let mut header = Ipv4View::parse(&packet(8)).expect("valid").header();
        header.dont_fragment = false;
        header.more_fragments = more_fragments;
        header.fragment_offset = fragment_offset;
        let mut bytes = packet(8);
        header.emit(&mut bytes);
        let view = Ipv4View::parse(&bytes).expect("valid");
        assert_eq!(view.is_fragment(), view.header().is_fragment());
        (view.is_fragment(), view.header().to_string())
    };
    assert!(!fragment(false, 0).0);
    assert!(fragment(true, 0).0);
    let (is_fragment, text) = fragment(false, 185);
    assert!(is_fragment);
    assert!(text.ends_with("id 0, offset 1480, length 28"), "{text}");
}

#[test]
fn ttl_counts_down_with_its_checksum() {
    let mut bytes = packet(0);
    for ttl in (1..64).rev() {
        assert_eq!(decrement_ttl(&mut bytes), Some(ttl));
        let view = Ipv4View::parse(&bytes).expect("valid");
        assert_eq!(view.ttl(), ttl);
        assert!(view.checksum_ok(), "ttl {ttl}");
    }
    let before = bytes.clone();
    assert_eq!(decrement_ttl(&mut bytes), None);
    assert_eq!(bytes, before);
    bytes[TTL_OFFSET] = 0;
    assert_eq!(decrement_ttl(&mut bytes), None);
}

proptest! {
    #[test]
    fn emit_then_parse_is_identity(
        src in any::<u32>(), dst in any::<u32>(), protocol in any::<u8>(), ttl in any::<u8>(),
        dscp_ecn in any::<u8>(), identification in any::<u16>(), dont_fragment in any::<bool>(),
        more_fragments in any::<bool>(), fragment_offset in 0u16..0x2000,
        payload_len in 0..=PAYLOAD_LEN_MAX,
    ) {
        let header = Ipv4Header {
            src: src.into(),
            dst: dst.into(),
            protocol: IpProtocol::from_number(protocol),
            ttl,
            dscp_ecn,
            identification,
            dont_fragment,
            more_fragments,
            fragment_offset,
            payload_len,
        };
        let mut bytes = [0xaa; HEADER_LEN];
        prop_assert_eq!(header.emit(&mut bytes), header.header_len());
        let view = Ipv4View::parse_with_len(&bytes, usize::from(u16::MAX)).expect("valid");
        prop_assert!(view.checksum_ok());
        prop_assert_eq!(view.header(), header);
    }

    #[test]
    fn ttl_update_keeps_a_good_checksum_good(src in any::<u32>(), id in any::<u16>(),
                                             ttl in 2u8..) {
        let mut header = Ipv4View::parse(&packet(0)).expect("valid").header();
        (header.src, header.identification, header.ttl) = (src.into(), id, ttl);
        let mut bytes = [0; HEADER_LEN];
        header.emit(&mut bytes);
        prop_assert_eq!(decrement_ttl(&mut bytes), Some(ttl - 1));
        prop_assert!(Ipv4View::parse(&bytes).expect("valid").checksum_ok());
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..80),
                                   ihl in 0u8..16, total_len in 0u16..90) {
        bytes[0] = 0x40 | ihl;
        if let Some(field) = bytes.get_mut(2..4) {
            field.copy_from_slice(&total_len.to_be_bytes());
        }
        if let Ok(view) = Ipv4View::parse(&bytes) {
            prop_assert_eq!(view.payload().len(), usize::from(view.payload_len()));
            let _ = (view.options(), view.checksum_ok(), view.header());
        }
    }
}
