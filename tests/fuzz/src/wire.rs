//! Targets for `sluice-wire`: what a view understood must survive emit and parse.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_wire::ipv6::extension;
use sluice_wire::{
    ArpView, EthernetView, Frame, IcmpView, Icmpv6View, Ipv4View, Ipv6View, NdpMessage, TcpView,
    UdpView, ethernet, icmp, icmpv6, ipv4, ipv6, ndp, tcp, udp,
};

const HERE: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
const THERE: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);

/// A whole frame: tags, then everything behind them through the printer.
pub fn wire_ethernet(data: &[u8]) {
    assert!(!Frame(data).to_string().is_empty());
    let Ok(view) = EthernetView::parse(data) else { return };
    assert_eq!(view.header_len() + view.payload().len(), data.len());
    let header = view.header();
    let mut bytes = [0; ethernet::HEADER_LEN_MAX];
    let len = header.emit(&mut bytes);
    assert_eq!(len, view.header_len());
    assert_eq!(bytes[..len], data[..len], "a frame header has no slack");
}

/// An IPv4 packet.
pub fn wire_ipv4(data: &[u8]) {
    if let Ok(view) = Ipv4View::parse_quoted(data) {
        assert!(view.payload().len() <= usize::from(view.payload_len()));
        assert!(view.header_len() + view.payload().len() <= data.len());
    }
    let Ok(view) = Ipv4View::parse(data) else { return };
    assert_eq!(view.payload().len(), usize::from(view.payload_len()));
    assert_eq!(view.options().len(), view.header_len() - ipv4::HEADER_LEN);
    black_box(view.header().to_string());

    let header = view.header();
    let mut bytes = [0; ipv4::HEADER_LEN];
    header.emit(&mut bytes);
    let again = Ipv4View::parse_with_len(&bytes, usize::from(header.total_len()))
        .expect("what we emit is valid");
    assert_eq!(again.header(), header);
    assert!(again.checksum_ok());
    if let Some(ttl) = ipv4::decrement_ttl(&mut bytes) {
        let fewer = Ipv4View::parse_quoted(&bytes).expect("only the TTL changed");
        assert_eq!(fewer.ttl(), ttl);
        assert!(fewer.checksum_ok());
    }
}

/// A TCP segment.
pub fn wire_tcp(data: &[u8]) {
    let Ok(view) = TcpView::parse(data) else { return };
    assert!(view.header_len() <= data.len());
    let Ok(header) = view.header() else { return };
    let payload_len = data.len() - view.header_len();
    black_box(header.display(payload_len as u32).to_string());

    let mut bytes = [0xaa; tcp::HEADER_LEN_MAX];
    let len = header.emit(&mut bytes);
    assert_eq!(len, header.header_len());
    assert_eq!(len % 4, 0);
    assert!(bytes[len..].iter().all(|&byte| byte == 0xaa), "nothing is written behind it");
    let again = TcpView::parse(&bytes[..len]).and_then(|view| view.header());
    assert_eq!(again, Ok(header), "what was understood is kept");

    let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let mut segment = data.to_vec();
    tcp::fill_checksum(source, destination, &mut segment);
    assert!(tcp::checksum_ok(source, destination, &segment));
}

/// A UDP datagram.
pub fn wire_udp(data: &[u8]) {
    let Ok(view) = UdpView::parse(data) else { return };
    let header = view.header();
    assert_eq!(view.payload().len(), usize::from(header.payload_len));
    black_box(header.to_string());

    let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let mut datagram = vec![0; udp::HEADER_LEN];
    header.emit(&mut datagram);
    datagram.extend_from_slice(view.payload());
    udp::fill_checksum(source, destination, &mut datagram);
    let again = UdpView::parse(&datagram).expect("what we emit is valid");
    assert_eq!(again.header(), header);
    assert_ne!(again.checksum(), 0, "zero says that there is no checksum");
    assert!(again.checksum_ok(source, destination));
}

/// An ARP packet.
pub fn wire_arp(data: &[u8]) {
    let Ok(view) = ArpView::parse(data) else { return };
    let packet = view.packet();
    black_box(packet.to_string());
    let mut bytes = [0; sluice_wire::arp::PACKET_LEN];
    let len = packet.emit(&mut bytes);
    assert_eq!(bytes[..], data[..len], "an ARP packet has no slack");
}

/// An ICMP message and the packet that it quotes.
pub fn wire_icmp(data: &[u8]) {
    let Ok(view) = IcmpView::parse(data) else { return };
    let message = view.message();
    black_box((message.to_string(), message.is_error()));
    if let Ok(quote) = view.quote() {
        assert!(quote.seq().is_none() || quote.ports().is_some());
        black_box(quote.header.to_string());
    }

    let mut bytes = vec![0; icmp::HEADER_LEN];
    message.emit(&mut bytes);
    bytes.extend_from_slice(view.payload());
    icmp::fill_checksum(&mut bytes);
    let again = IcmpView::parse(&bytes).expect("what we emit is valid");
    assert_eq!(again.message(), message);
    assert!(again.checksum_ok());
    if icmp::reply_in_place(&mut bytes) {
        assert!(IcmpView::parse(&bytes).expect("only the type changed").checksum_ok());
    }
}

/// An IPv6 packet with its extension headers.
pub fn wire_ipv6(data: &[u8]) {
    if let Ok(view) = Ipv6View::parse_quoted(data) {
        assert!(view.payload().len() <= usize::from(view.payload_len()));
        assert!(ipv6::HEADER_LEN + view.payload().len() <= data.len());
    }
    let Ok(view) = Ipv6View::parse(data) else { return };
    assert_eq!(view.payload().len(), usize::from(view.payload_len()));
    let header = view.header();
    black_box(header.to_string());
    let mut bytes = [0; ipv6::HEADER_LEN];
    header.emit(&mut bytes);
    assert_eq!(bytes[..], data[..ipv6::HEADER_LEN], "an IPv6 header has no slack");
    match extension::walk(view.next_header(), view.payload()) {
        Ok(upper) => {
            assert!(usize::from(upper.offset) <= view.payload().len());
            let named = data[usize::from(upper.pointer)];
            assert_eq!(named, upper.protocol.number(), "the pointer leads to who names it");
            let is_whole = upper.fragment.is_none_or(|fragment| fragment.is_atomic());
            assert!(!is_whole || !extension::is_extension(upper.protocol.number()));
        }
        Err(error) => assert!(!error.reason().is_empty()),
    }
    if let Some(left) = ipv6::decrement_hop_limit(&mut bytes) {
        assert_eq!(left, header.hop_limit - 1);
    }
}

/// An ICMPv6 message and the packet that it quotes.
pub fn wire_icmpv6(data: &[u8]) {
    let Ok(view) = Icmpv6View::parse(data) else { return };
    let message = view.message();
    black_box((message.to_string(), message.is_error()));
    if let Ok(quote) = view.quote() {
        assert!(quote.seq().is_none() || quote.ports().is_some());
        black_box(quote.header.to_string());
    }
    let mut bytes = vec![0; icmpv6::HEADER_LEN];
    message.emit(&mut bytes);
    bytes.extend_from_slice(view.payload());
    icmpv6::fill_checksum(HERE, THERE, &mut bytes);
    let again = Icmpv6View::parse(&bytes).expect("what we emit is valid");
    assert_eq!(again.message(), message);
    assert!(again.checksum_ok(HERE, THERE));
    if icmpv6::reply_in_place(&mut bytes) {
        let reply = Icmpv6View::parse(&bytes).expect("only the type changed");
        assert!(reply.checksum_ok(THERE, HERE));
    }
}

/// A message of neighbour discovery.
pub fn wire_ndp(data: &[u8]) {
    let Ok(message) = NdpMessage::parse(data) else { return };
    black_box(message.to_string());
    let mut bytes = [0xaa; ndp::MESSAGE_LEN_MAX];
    let len = message.emit(&mut bytes);
    assert_eq!(len, message.header_len());
    assert!(bytes[len..].iter().all(|&byte| byte == 0xaa), "nothing is written behind it");
    assert_eq!(NdpMessage::parse(&bytes[..len]), Ok(message), "what was understood is kept");
}
