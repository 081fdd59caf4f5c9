//! What a person reads.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::{
    ArpPacket, EthernetHeader, Flags, IcmpMessage, Ipv4Header, Ipv6Header, MacAddress, SeqNumber,
    TcpHeader, TcpOptions, UdpHeader, VlanId, VlanTag, VlanTags,
};

const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn frame(tags: VlanTags, ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = EthernetHeader {
        destination: MacAddress([2, 0, 0, 0, 0, 2]),
        source: MacAddress([2, 0, 0, 0, 0, 1]),
        tags,
        ether_type,
    };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn ip(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    Ipv4Header::new(SRC, DST, protocol, payload.len() as u16).emit(&mut bytes);
    bytes.extend_from_slice(payload);
    frame(VlanTags::None, EtherType::Ipv4, &bytes)
}

fn tcp() -> Vec<u8> {
    let header = TcpHeader {
        src_port: 4000,
        dst_port: 80,
        seq: SeqNumber(1),
        ack: SeqNumber(1),
        flags: Flags::PSH | Flags::ACK,
        window: 502,
        options: TcpOptions::with_timestamps(5, 6),
        ..TcpHeader::default()
    };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(b"hello");
    ip(IpProtocol::Tcp, &bytes)
}

#[test]
fn tcp_reads_like_tcpdump() {
    assert_eq!(
        Frame(&tcp()).to_string(),
        "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [P.], seq 1:6, ack 1, win 502, \
         options [TS val 5 ecr 6], length 5"
    );
}

#[test]
fn udp_icmp_and_arp() {
    let mut bytes = [0; 12];
    UdpHeader { src_port: 53, dst_port: 99, payload_len: 4 }.emit(&mut bytes);
    assert_eq!(
        Frame(&ip(IpProtocol::Udp, &bytes)).to_string(),
        "IP 10.0.0.1.53 > 10.0.0.2.99: UDP, length 4"
    );
    IcmpMessage::EchoReply { ident: 1, sequence: 2 }.emit(&mut bytes);
    assert_eq!(
        Frame(&ip(IpProtocol::Icmp, &bytes)).to_string(),
        "IP 10.0.0.1 > 10.0.0.2: ICMP echo reply, id 1, seq 2, length 12"
    );
    let mut bytes = [0; 28];
    ArpPacket::request(MacAddress([2, 0, 0, 0, 0, 1]), SRC, DST).emit(&mut bytes);
    let tag = VlanTag::customer(VlanId::new(7).expect("valid"));
    assert_eq!(
        Frame(&frame(VlanTags::One(tag), EtherType::Arp, &bytes)).to_string(),
        "vlan 7, p 0, ARP, Request who-has 10.0.0.2 tell 10.0.0.1"
    );
}

#[test]
fn ipv6_and_what_it_carries() {
    let (src, dst) = ("fd09::1", "fd09::2");
    let packet = |next_header: u8, payload: &[u8]| {
        let (src, dst) = (src.parse().expect("valid"), dst.parse().expect("valid"));
        let len = payload.len() as u16;
        let header = Ipv6Header::new(src, dst, IpProtocol::from_number(next_header), len);
        let mut bytes = vec![0; 40];
        header.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        Frame(&frame(VlanTags::None, EtherType::Ipv6, &bytes)).to_string()
    };
    assert_eq!(
        packet(58, &[128, 0, 0, 0, 0, 1, 0, 2]),
        format!("IP6 {src} > {dst}: ICMP6, echo request, id 1, seq 2, length 8")
    );
    assert_eq!(
        packet(58, &[133, 0, 0, 0, 0, 0, 0, 0]),
        format!("IP6 {src} > {dst}: ICMP6, router solicitation, length 8")
    );
    let udp = [60, 0, 1, 4, 0, 0, 0, 0, 0, 53, 0, 99, 0, 8, 0, 0];
    assert_eq!(
        packet(60, &[&[17][..], &udp[1..]].concat()),
        format!("IP6 {src}.53 > {dst}.99: UDP, length 0")
    );
    assert_eq!(
        packet(44, &[6, 0, 0, 9, 0, 0, 0, 7]),
        format!("IP6 {src} > {dst}: proto 44, hlim 64, length 8, frag id 0x7, offset 8, more")
    );
    assert_eq!(packet(0, &[6, 9]), format!("IP6 {src} > {dst}: [ipv6-extension-truncated]"));
}

#[test]
fn bad_input_reads_like_its_counter() {
    assert_eq!(Frame(&[0; 13]).to_string(), "[ethernet-truncated], length 13");
    let mut bytes = tcp();
    bytes[14 + 10] ^= 0xff;
    assert!(Frame(&bytes).to_string().starts_with("[ipv4-checksum] IP 10.0.0.1.4000"));
    let mut bytes = tcp();
    bytes[14 + 20 + 12] = 0x40;
    assert_eq!(Frame(&bytes).to_string(), "IP 10.0.0.1 > 10.0.0.2: TCP [tcp-header-length]");
    bytes.truncate(40);
    assert_eq!(Frame(&bytes).to_string(), "IP [ipv4-total-length-overrun]");
    let other = frame(VlanTags::None, EtherType::Other(0x88cc), &[]);
    assert!(Frame(&other).to_string().ends_with("ethertype Unknown (0x88cc), length 14"));
}

proptest! {
    #[test]
    fn arbitrary_damage_never_panics(
        damage in proptest::collection::vec((0usize..71, any::<u8>()), 0..8), len in 0usize..72,
    ) {
        let mut bytes = tcp();
        for (at, value) in damage {
            bytes[at] = value;
        }
        bytes.truncate(len);
        prop_assert!(!Frame(&bytes).to_string().is_empty());
    }
}
