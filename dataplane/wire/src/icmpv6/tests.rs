//! Echo, errors with what they quote, and the round trip of every named message.

use proptest::prelude::*;

use super::*;
use crate::ipv6::{self, Ipv6Header};
use crate::tcp::SeqNumber;

const ECHO: [u8; 12] = [128, 0, 0, 0, 0x12, 0x34, 0x00, 0x01, b'p', b'i', b'n', b'g'];

const fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, last)
}

const SRC: Ipv6Addr = address(1);
const DST: Ipv6Addr = address(2);

/// The first bytes of a TCP segment fd09::1.4000 > fd09::2.80 of 1440 bytes, behind `between`.
fn quoted(next_header: u8, between: &[u8]) -> Vec<u8> {
    let mut header = Ipv6Header::new(SRC, DST, IpProtocol::Tcp, 1440);
    header.next_header = next_header;
    let mut bytes = vec![0; ipv6::HEADER_LEN];
    header.emit(&mut bytes);
    bytes.extend_from_slice(between);
    bytes.extend_from_slice(&[0x0f, 0xa0, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04]);
    bytes
}

fn every_named() -> Vec<Icmpv6Message> {
    let unreachable = (0..=6).filter_map(UnreachableV6::from_code);
    let exceeded = (0..=1).filter_map(TimeExceededV6::from_code);
    let parameter = (0..=2).filter_map(|code| ParameterProblemV6::from_code(code, 0x0102_0304));
    let mut all = vec![
        Icmpv6Message::EchoRequest { ident: 1, sequence: 2 },
        Icmpv6Message::EchoReply { ident: 3, sequence: 4 },
        Icmpv6Message::PacketTooBig { mtu: 1280 },
    ];
    all.extend(unreachable.map(Icmpv6Message::DestinationUnreachable));
    all.extend(exceeded.map(Icmpv6Message::TimeExceeded));
    all.extend(parameter.map(Icmpv6Message::ParameterProblem));
    assert_eq!(all.len(), 3 + 7 + 2 + 3);
    all
}

fn parse(bytes: &[u8]) -> Result<Icmpv6Message, Icmpv6Error> {
    Icmpv6View::parse(bytes).map(|view| view.message())
}

#[test]
fn echo_reads_and_prints() {
    let view = Icmpv6View::parse(&ECHO).expect("valid");
    assert_eq!(view.message(), Icmpv6Message::EchoRequest { ident: 0x1234, sequence: 1 });
    assert_eq!(view.payload(), b"ping");
    assert_eq!(view.message().to_string(), "ICMP6, echo request, id 4660, seq 1");
    assert!(!view.message().is_error());
    assert_eq!(parse(&ECHO[..7]), Err(Icmpv6Error::Truncated));
}

#[test]
fn echo_becomes_its_reply_in_place() {
    let mut bytes = ECHO;
    fill_checksum(SRC, DST, &mut bytes);
    assert!(Icmpv6View::parse(&bytes).expect("valid").checksum_ok(SRC, DST));
    assert!(reply_in_place(&mut bytes));
    let view = Icmpv6View::parse(&bytes).expect("valid");
    assert!(view.checksum_ok(DST, SRC));
    assert_eq!(view.message(), Icmpv6Message::EchoReply { ident: 0x1234, sequence: 1 });
    assert!(!reply_in_place(&mut bytes), "a reply is not answered");
    bytes[11] ^= 1;
    assert!(!Icmpv6View::parse(&bytes).expect("valid").checksum_ok(DST, SRC));
}

#[test]
fn the_checksum_covers_the_addresses() {
    let mut bytes = ECHO;
    fill_checksum(SRC, DST, &mut bytes);
    let view = Icmpv6View::parse(&bytes).expect("valid");
    assert!(!view.checksum_ok(SRC, address(3)), "RFC 4443, 2.3: the pseudo header counts");
}

#[test]
fn every_named_message_survives() {
    for message in every_named() {
        let mut bytes = [0xaa; HEADER_LEN];
        assert_eq!(message.emit(&mut bytes), message.header_len());
        assert_eq!(parse(&bytes), Ok(message));
        let is_echo = bytes[0] >= 128;
        assert_eq!(message.is_error(), !is_echo, "{message}");
    }
    let text = Icmpv6Message::PacketTooBig { mtu: 1280 }.to_string();
    assert_eq!(text, "ICMP6, packet too big, mtu 1280");
}

#[test]
fn types_without_a_name_keep_their_class() {
    for (kind, code, is_error) in
        [(1, 7, true), (100, 0, true), (127, 9, true), (130, 0, false), (137, 0, true)]
    {
        let message = parse(&[kind, code, 0, 0, 1, 2, 3, 4]).expect("valid");
        assert_eq!(message, Icmpv6Message::Other { kind, code, rest: [1, 2, 3, 4] });
        assert_eq!(message.is_error(), is_error, "type {kind}");
    }
}

#[test]
fn quote_gives_the_tuple_behind_extension_headers() {
    for bytes in [quoted(6, &[]), quoted(60, &[6, 0, 1, 4, 0, 0, 0, 0])] {
        let quote = QuoteV6::parse(&bytes).expect("valid");
        assert_eq!((quote.header.src, quote.header.payload_len), (SRC, 1440));
        assert_eq!(quote.ports(), Some((4000, 80)));
        assert_eq!(quote.seq(), Some(SeqNumber(0x0102_0304)));
    }
    let later = QuoteV6::parse(&quoted(44, &[6, 0, 0, 8, 0, 0, 0, 1])).expect("valid");
    assert_eq!((later.ports(), later.seq()), (None, None));
}

#[test]
fn quote_one_less_exact() {
    let bytes = quoted(6, &[]);
    assert_eq!(QuoteV6::parse(&bytes[..39]), Err(Icmpv6Error::QuoteHeader));
    assert_eq!(QuoteV6::parse(&bytes[..47]), Err(Icmpv6Error::QuoteTruncated));
    assert!(QuoteV6::parse(&bytes).is_ok());
    let cut = quoted(60, &[6, 0, 1]);
    assert_eq!(QuoteV6::parse(&cut[..43]), Err(Icmpv6Error::QuoteHeader));
}

#[test]
fn errors_quote_at_most_what_fits_the_smallest_mtu() {
    assert_eq!((quote_len(48), quote_len(1232), quote_len(1500)), (48, 1232, 1232));
}

proptest! {
    #[test]
    fn what_was_understood_is_kept(bytes in any::<[u8; 8]>()) {
        let message = parse(&bytes).expect("8 bytes are a header");
        let mut again = [0; 8];
        message.emit(&mut again);
        prop_assert_eq!(parse(&again), Ok(message));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(view) = Icmpv6View::parse(&bytes) {
            let _ = (view.message().to_string(), view.quote(), view.checksum_ok(SRC, DST));
        }
    }
}
