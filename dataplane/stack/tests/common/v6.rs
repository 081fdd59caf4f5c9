//! IPv6 for the tests: interfaces, and what strangers send.

use std::net::Ipv6Addr;

use sluice_stack::{InterfaceConfig, NeighborState, RouteConfig};
use sluice_wire::icmpv6::{self, Icmpv6Message};
use sluice_wire::{
    EtherType, EthernetHeader, IpProtocol, Ipv6Header, MacAddress, NdpMessage, VlanTags, ndp,
};

use super::{Net, interface, mac};

pub(crate) fn ip6(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

pub(crate) fn interface_v6(host: u8, id: u16, address: &str) -> InterfaceConfig {
    InterfaceConfig {
        addresses: vec![(ip6(address).into(), 64)],
        ..interface(host, id, "10.0.0.9")
    }
}

pub(crate) fn route_v6(to: &str, len: u8, via: &str) -> RouteConfig {
    RouteConfig { to: (ip6(to).into(), len), via: vec![ip6(via).into()], interface: None }
}

/// A stranger's frame to a host's station.
pub(crate) struct Packet {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) to: MacAddress,
}

pub(crate) const STRANGER: MacAddress = MacAddress([2, 0, 0, 0, 99, 0]);

impl Packet {
    pub(crate) fn new(source: &str, destination: &str, protocol: IpProtocol) -> Self {
        let destination = ip6(destination);
        let to = match destination.is_multicast() {
            true => MacAddress::for_multicast_v6(destination),
            false => mac(2, 0),
        };
        let (source, next_header) = (ip6(source), protocol.number());
        Self { source, destination, next_header, hop_limit: 64, to }
    }

    pub(crate) fn with(&self, payload: &[u8]) -> Vec<u8> {
        let ethernet = EthernetHeader {
            destination: self.to,
            source: STRANGER,
            tags: VlanTags::None,
            ether_type: EtherType::Ipv6,
        };
        let mut frame = vec![0; 54];
        ethernet.emit(&mut frame);
        let len = payload.len() as u16;
        let header = Ipv6Header::new(self.source, self.destination, IpProtocol::Tcp, len);
        Ipv6Header { next_header: self.next_header, hop_limit: self.hop_limit, ..header }
            .emit(&mut frame[14..]);
        frame.extend_from_slice(payload);
        frame
    }

    pub(crate) fn icmp(&self, message: Icmpv6Message, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; icmpv6::HEADER_LEN];
        message.emit(&mut bytes);
        bytes.extend_from_slice(rest);
        icmpv6::fill_checksum(self.source, self.destination, &mut bytes);
        self.with(&bytes)
    }
}

pub(crate) fn nd(source: &str, destination: &str, hop_limit: u8, message: &NdpMessage) -> Vec<u8> {
    let packet = Packet { hop_limit, ..Packet::new(source, destination, IpProtocol::Icmpv6) };
    let mut bytes = vec![0; ndp::MESSAGE_LEN_MAX];
    let len = message.emit(&mut bytes);
    icmpv6::fill_checksum(packet.source, packet.destination, &mut bytes[..len]);
    packet.with(&bytes[..len])
}

pub(crate) fn neighbor(
    net: &Net,
    host: usize,
    address: &str,
) -> Option<(NeighborState, Option<MacAddress>)> {
    let address = std::net::IpAddr::from(ip6(address));
    let mut known = net.hosts[host].stacks[0].neighbors();
    known.find(|n| n.address == address).map(|n| (n.state, n.mac))
}

pub(crate) fn has(net: &Net, text: &str) -> bool {
    !net.logged(text).is_empty()
}

pub(crate) fn ping_from(source: &str, destination: &str) -> Vec<u8> {
    let packet = Packet::new(source, destination, IpProtocol::Icmpv6);
    packet.icmp(Icmpv6Message::EchoRequest { ident: 1, sequence: 1 }, b"")
}
