//! Frames by hand: written and checked without Sluice's own code, so that both would have to be wrong
//! in the same way.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet frame without its checksum.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

pub(crate) type Mac = [u8; 6];

impl Frame {
    pub(crate) const BROADCAST: Mac = [0xff; 6];

    fn new(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&destination);
        bytes.extend_from_slice(&source);
        bytes.extend_from_slice(&ethertype.to_be_bytes());
        bytes.extend_from_slice(payload);
        Self(bytes)
    }

    /// RFC 826: who has `target`?
    pub(crate) fn arp_request(source: Mac, from: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self::new(Self::BROADCAST, source, 0x0806, &arp(1, source, from, [0; 6], target))
    }

    /// RFC 826: `from` is at `source`.
    pub(crate) fn arp_reply(source: Mac, from: Ipv4Addr, to: Mac, target: Ipv4Addr) -> Self {
        Self::new(to, source, 0x0806, &arp(2, source, from, to, target))
    }

    /// An IPv4 packet with a correct header checksum.
    pub(crate) fn ipv4(
        [destination, source]: [Mac; 2],
        from: Ipv4Addr,
        to: Ipv4Addr,
        (ttl, protocol): (u8, u8),
        payload: &[u8],
    ) -> Self {
        let total = u16::try_from(20 + payload.len()).expect("a packet is short");
        let mut header = vec![0x45, 0];
        header.extend_from_slice(&total.to_be_bytes());
        // Identification, flags (may be fragmented), checksum to come.
        header.extend_from_slice(&[0x12, 0x34, 0, 0, ttl, protocol, 0, 0]);
        header.extend_from_slice(&from.octets());
        header.extend_from_slice(&to.octets());
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend_from_slice(payload);
        Self::new(destination, source, 0x0800, &header)
    }

    /// An IPv6 packet (RFC 8200, 3).
    pub(crate) fn ipv6(
        [destination, source]: [Mac; 2],
        from: Ipv6Addr,
        to: Ipv6Addr,
        (hop_limit, next_header): (u8, u8),
        payload: &[u8],
    ) -> Self {
        let length = u16::try_from(payload.len()).expect("a packet is short");
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[next_header, hop_limit]);
        packet.extend_from_slice(&from.octets());
        packet.extend_from_slice(&to.octets());
        packet.extend_from_slice(payload);
        Self::new(destination, source, 0x86dd, &packet)
    }

    /// An ICMPv6 message with its checksum (RFC 4443, 2.3), `bytes` from its type on.
    pub(crate) fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, bytes: &[u8]) -> Vec<u8> {
        let mut message = bytes.to_vec();
        message[2..4].fill(0);
        let sum = checksum(&Self::with_pseudo_header(from, to, &message));
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    fn with_pseudo_header(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
        let mut all = [from.octets(), to.octets()].concat();
        let length = u32::try_from(message.len()).expect("a message is short");
        all.extend_from_slice(&length.to_be_bytes());
        all.extend_from_slice(&[0, 0, 0, 58]);
        all.extend_from_slice(message);
        all
    }

    /// Source and destination of an IPv6 packet, and the ICMPv6 message in it, its checksum right.
    #[track_caller]
    pub(crate) fn icmpv6_fields(&self) -> Option<(Ipv6Addr, Ipv6Addr, &[u8])> {
        let packet = self.payload();
        if self.ethertype() != 0x86dd || packet[6] != 58 {
            return None;
        }
        let address = |at: usize| {
            let octets: [u8; 16] = packet[at..at + 16].try_into().expect("sixteen bytes");
            Ipv6Addr::from(octets)
        };
        let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        let (from, to, message) = (address(8), address(24), &packet[40..40 + length]);
        let sum = checksum(&Self::with_pseudo_header(from, to, message));
        assert_eq!(sum, 0, "the ICMPv6 checksum of {self:?}");
        Some((from, to, message))
    }

    /// The ICMP payload of an echo request or reply.
    pub(crate) fn echo(kind: u8, sequence: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0, 0x5a, 0xa5];
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(data);
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// A UDP datagram without a checksum, which IPv4 allows.
    pub(crate) fn udp(from_port: u16, to_port: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + data.len()).expect("a datagram is short");
        let mut bytes = Vec::new();
        for field in [from_port, to_port, length, 0] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(data);
        bytes
    }

    pub(crate) fn destination(&self) -> Mac {
        self.0[..6].try_into().expect("six bytes")
    }

    pub(crate) fn source(&self) -> Mac {
        self.0[6..12].try_into().expect("six bytes")
    }

    pub(crate) fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }

    /// What is above Ethernet; for IPv4, without padding.
    pub(crate) fn payload(&self) -> &[u8] {
        let payload = &self.0[14..];
        if self.ethertype() == 0x0800 {
            &payload[..usize::from(u16::from_be_bytes([payload[2], payload[3]]))]
        } else {
            payload
        }
    }

    pub(crate) fn is_arp(&self) -> bool {
        self.ethertype() == 0x0806
    }

    /// An ARP message's operation, and who asks or tells about whom.
    pub(crate) fn arp_fields(&self) -> (u16, Mac, Ipv4Addr, Mac, Ipv4Addr) {
        assert!(self.is_arp(), "{self:?}");
        let arp = self.payload();
        let mac = |at: usize| arp[at..at + 6].try_into().expect("six bytes");
        let ip = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
        (u16::from_be_bytes([arp[6], arp[7]]), mac(8), ip(14), mac(18), ip(24))
    }

    /// Header checksum and, for ICMP, the message's, are right.
    #[track_caller]
    pub(crate) fn expect_checksums(&self) {
        let packet = self.payload();
        assert_eq!(checksum(&packet[..20]), 0, "the header checksum of {self:?}");
        if packet[9] == 1 {
            assert_eq!(checksum(&packet[20..]), 0, "the ICMP checksum of {self:?}");
        }
    }
}

impl fmt::Debug for Frame {
    /// In hexadecimal, as tcpdump would.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunks(16) {
            f.write_str("\n   ")?;
            for byte in chunk {
                write!(f, " {byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn arp(operation: u16, source: Mac, from: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    // Ethernet, IPv4, their lengths.
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend_from_slice(&operation.to_be_bytes());
    bytes.extend_from_slice(&source);
    bytes.extend_from_slice(&from.octets());
    bytes.extend_from_slice(&target_mac);
    bytes.extend_from_slice(&target.octets());
    bytes
}

/// RFC 1071, the slow way. Zero over bytes that contain their own checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}
