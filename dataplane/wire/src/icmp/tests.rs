//! Echo, errors with what they quote, and the round trip of every named message.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::ipv4::{IpProtocol, Ipv4Header};
use crate::tcp::SeqNumber;

const ECHO: [u8; 12] = [8, 0, 0, 0, 0x12, 0x34, 0x00, 0x01, b'p', b'i', b'n', b'g'];

/// The first 28 bytes of a TCP segment 10.0.0.1.4000 > 10.0.0.2.80 of 1500 bytes.
fn quoted(edit: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let mut header = Ipv4Header::new(src, dst, IpProtocol::Tcp, 1480);
    edit(&mut header);
    let mut bytes = vec![0; 20];
    header.emit(&mut bytes);
    bytes.extend_from_slice(&[0x0f, 0xa0, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04]);
    bytes
}

fn every_named() -> Vec<IcmpMessage> {
    let unreachable = (0..=15).filter_map(|code| Unreachable::from_code(code, 1400));
    let exceeded = (0..=1).filter_map(TimeExceeded::from_code);
    let parameter = (0..=2).filter_map(|code| ParameterProblem::from_code(code, 20));
    let mut all = vec![
        IcmpMessage::EchoRequest { ident: 1, sequence: 2 },
        IcmpMessage::EchoReply { ident: 3, sequence: 4 },
    ];
    all.extend(unreachable.map(IcmpMessage::DestinationUnreachable));
    all.extend(exceeded.map(IcmpMessage::TimeExceeded));
    all.extend(parameter.map(IcmpMessage::ParameterProblem));
    assert_eq!(all.len(), 2 + 16 + 2 + 3);
    all
}

fn parse(bytes: &[u8]) -> Result<IcmpMessage, IcmpError> {
    IcmpView::parse(bytes).map(|view| view.message())
}

#[test]
fn echo_reads_and_prints() {
    let view = IcmpView::parse(&ECHO).expect("valid");
    assert_eq!(view.message(), IcmpMessage::EchoRequest { ident: 0x1234, sequence: 1 });
    assert_eq!(view.payload(), b"ping");
    assert_eq!(view.message().to_string(), "ICMP echo request, id 4660, seq 1");
    assert!(!view.message().is_error());
}

#[test]
fn echo_becomes_its_reply_in_place() {
    let mut bytes = ECHO;
    fill_checksum(&mut bytes);
    assert!(reply_in_place(&mut bytes));
    let view = IcmpView::parse(&bytes).expect("valid");
    assert!(view.checksum_ok());
    assert_eq!(view.message(), IcmpMessage::EchoReply { ident: 0x1234, sequence: 1 });
    assert!(!reply_in_place(&mut bytes), "a reply is not answered");
    assert!(!reply_in_place(&mut [8, 0, 0]), "too short to be a request");
}

#[test]
fn a_reply_of_zeros_alone_still_adds_up() {
    // RFC 1624's update gives 0x0000 here, where recomputation gives 0xffff.
    let mut bytes = [8, 0, 0, 0, 0, 0, 0, 0];
    fill_checksum(&mut bytes);
    assert!(reply_in_place(&mut bytes));
    assert_eq!(bytes, [0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(IcmpView::parse(&bytes).expect("valid").checksum_ok());
}

#[test]
fn a_damaged_request_gives_a_damaged_reply() {
    let mut bytes = ECHO;
    fill_checksum(&mut bytes);
    bytes[11] ^= 1;
    assert!(reply_in_place(&mut bytes));
    assert!(!IcmpView::parse(&bytes).expect("valid").checksum_ok());
}

#[test]
fn header_one_less_exact() {
    assert_eq!(parse(&ECHO[..7]), Err(IcmpError::Truncated));
    assert!(parse(&ECHO[..8]).is_ok());
}

#[test]
fn fragmentation_needed_carries_the_mtu() {
    // RFC 1191, 4: the low-order 16 bits of the second word.
    let bytes = [3, 4, 0, 0, 0xff, 0xff, 0x05, 0x78];
    let message = parse(&bytes).expect("valid");
    let why = Unreachable::FragmentationNeeded { mtu: 1400 };
    assert_eq!(message, IcmpMessage::DestinationUnreachable(why));
    assert_eq!(message.to_string(), "ICMP unreachable - need to frag (mtu 1400)");
}

#[test]
fn every_named_message_survives() {
    for message in every_named() {
        let mut bytes = [0xaa; HEADER_LEN];
        assert_eq!(message.emit(&mut bytes), message.header_len());
        assert_eq!(parse(&bytes), Ok(message));
        fill_checksum(&mut bytes);
        assert!(IcmpView::parse(&bytes).expect("valid").checksum_ok());
    }
}

#[test]
fn codes_without_a_name_are_kept_and_still_errors() {
    for (kind, code, is_error) in
        [(3, 16, true), (11, 2, true), (12, 3, true), (4, 0, true), (5, 1, true), (8, 1, false)]
    {
        let message = parse(&[kind, code, 0, 0, 1, 2, 3, 4]).expect("valid");
        assert_eq!(message, IcmpMessage::Other { kind, code, rest: [1, 2, 3, 4] });
        assert_eq!(message.is_error(), is_error, "type {kind}");
    }
    assert_eq!(
        parse(&[13, 0, 0, 0, 0, 0, 0, 0]).map(|m| m.to_string()),
        Ok("ICMP type 13, code 0".into())
    );
}

#[test]
fn quote_gives_the_tuple() {
    let quote = Quote::parse(&quoted(|_| {})).expect("valid");
    assert_eq!(quote.header.src, Ipv4Addr::new(10, 0, 0, 1));
    assert_eq!(quote.header.payload_len, 1480, "as it was, not as it was cut");
    assert_eq!(quote.ports(), Some((4000, 80)));
    assert_eq!(quote.seq(), Some(SeqNumber(0x0102_0304)));
}

#[test]
fn quote_without_ports() {
    let later = Quote::parse(&quoted(|header| header.fragment_offset = 1)).expect("valid");
    assert_eq!((later.ports(), later.seq()), (None, None));
    let icmp = Quote::parse(&quoted(|header| header.protocol = IpProtocol::Icmp)).expect("valid");
    assert_eq!((icmp.ports(), icmp.seq()), (None, None));
    let udp = Quote::parse(&quoted(|header| header.protocol = IpProtocol::Udp)).expect("valid");
    assert_eq!((udp.ports(), udp.seq()), (Some((4000, 80)), None));
}

#[test]
fn quote_one_less_exact_one_more() {
    let mut bytes = quoted(|_| {});
    assert_eq!(Quote::parse(&bytes[..19]), Err(IcmpError::QuoteHeader));
    assert_eq!(Quote::parse(&bytes[..27]), Err(IcmpError::QuoteTruncated));
    assert!(Quote::parse(&bytes).is_ok());
    bytes.push(0);
    assert!(Quote::parse(&bytes).is_ok());
    // The quoted packet says that it had fewer than 8 bytes of payload.
    assert_eq!(
        Quote::parse(&quoted(|header| header.payload_len = 7)),
        Err(IcmpError::QuoteTruncated)
    );
}

#[test]
fn errors_quote_at_most_what_fits_576_bytes() {
    assert_eq!(quote_len(28), 28);
    assert_eq!(quote_len(547), 547);
    assert_eq!(quote_len(548), 548);
    assert_eq!(quote_len(549), 548);
    assert_eq!(quote_len(1500), 548);
}

proptest! {
    #[test]
    fn echo_emit_then_parse_is_identity(ident in any::<u16>(), sequence in any::<u16>()) {
        let message = IcmpMessage::EchoRequest { ident, sequence };
        let mut bytes = [0xaa; HEADER_LEN];
        message.emit(&mut bytes);
        prop_assert_eq!(parse(&bytes), Ok(message));
    }

    #[test]
    fn what_was_understood_is_kept(bytes in any::<[u8; 8]>()) {
        let message = parse(&bytes).expect("8 bytes are a header");
        let mut again = [0; 8];
        message.emit(&mut again);
        prop_assert_eq!(parse(&again), Ok(message));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(view) = IcmpView::parse(&bytes) {
            let _ = (view.message().to_string(), view.quote(), view.checksum_ok());
        }
    }
}
