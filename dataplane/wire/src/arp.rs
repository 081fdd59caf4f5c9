//! Address resolution for IPv4 over ethernet (RFC 826).

use std::fmt;
use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::wire_error;
use crate::ethernet::{EtherType, MacAddress};

/// Bytes of a packet.
pub const PACKET_LEN: usize = 28;

const HARDWARE_ETHERNET: u16 = 1;

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    hardware_type: U16,
    protocol_type: U16,
    hardware_len: u8,
    protocol_len: u8,
    operation: U16,
    sender_mac: [u8; 6],
    sender_ip: [u8; 4],
    target_mac: [u8; 6],
    target_ip: [u8; 4],
}

const _: () = assert!(size_of::<Layout>() == PACKET_LEN);

wire_error! {
    /// Why bytes are not an ARP packet that we can use.
    pub enum ArpError {
        /// Fewer than 28 bytes.
        Truncated = "arp-truncated",
        /// The link is not ethernet.
        HardwareType = "arp-hardware-type",
        /// The protocol is not IPv4.
        ProtocolType = "arp-protocol-type",
        /// The address lengths are not 6 and 4.
        AddressLength = "arp-address-length",
        /// Neither request nor reply.
        Operation = "arp-operation",
    }
}

/// What a packet wants.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u16)]
pub enum ArpOperation {
    /// Who has the target address?
    Request = 1,
    /// The sender has the sender address.
    Reply = 2,
}

/// A packet in received bytes.
#[derive(Clone, Copy)]
pub struct ArpView<'a> {
    layout: &'a Layout,
    operation: ArpOperation,
}

impl<'a> ArpView<'a> {
    /// Checks everything that makes the fields meaningful. Padding behind the packet is normal.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ArpError> {
        let (layout, _padding) = Layout::ref_from_prefix(bytes).map_err(|_| ArpError::Truncated)?;
        if layout.hardware_type.get() != HARDWARE_ETHERNET {
            return Err(ArpError::HardwareType);
        }
        if layout.protocol_type.get() != EtherType::Ipv4.number() {
            return Err(ArpError::ProtocolType);
        }
        if (layout.hardware_len, layout.protocol_len) != (6, 4) {
            return Err(ArpError::AddressLength);
        }
        let operation = match layout.operation.get() {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(ArpError::Operation),
        };
        Ok(Self { layout, operation })
    }

    /// The packet by value.
    #[must_use]
    pub fn packet(&self) -> ArpPacket {
        ArpPacket {
            operation: self.operation,
            sender_mac: MacAddress(self.layout.sender_mac),
            sender_ip: self.layout.sender_ip.into(),
            target_mac: MacAddress(self.layout.target_mac),
            target_ip: self.layout.target_ip.into(),
        }
    }
}

/// A packet to be sent, or one that was understood.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ArpPacket {
    /// Request or reply.
    pub operation: ArpOperation,
    /// The sender's link address.
    pub sender_mac: MacAddress,
    /// The sender's protocol address; unspecified in a probe (RFC 5227, 1.1).
    pub sender_ip: Ipv4Addr,
    /// The target's link address; zero in a request that asks for it.
    pub target_mac: MacAddress,
    /// The target's protocol address.
    pub target_ip: Ipv4Addr,
}

impl ArpPacket {
    /// The question who has `target`.
    #[must_use]
    pub const fn request(mac: MacAddress, ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            operation: ArpOperation::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: MacAddress::ZERO,
            target_ip: target,
        }
    }

    /// The announcement that `mac` has `ip` (RFC 5227, 3: a request for one's own address).
    #[must_use]
    pub const fn announcement(mac: MacAddress, ip: Ipv4Addr) -> Self {
        Self::request(mac, ip, ip)
    }

    /// The answer to this request by the station `mac`, which has its target address.
    #[must_use]
    pub const fn reply_from(&self, mac: MacAddress) -> Self {
        Self {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Whether the sender announces itself rather than asking: a gratuitous ARP.
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Whether the sender only asks if the address is free (RFC 5227, 1.1).
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.operation == ArpOperation::Request && self.sender_ip.is_unspecified()
    }

    /// Bytes that [`Self::emit`] writes: always 28.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        PACKET_LEN
    }

    /// Writes the packet; returns its length.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let layout = Layout {
            hardware_type: HARDWARE_ETHERNET.into(),
            protocol_type: EtherType::Ipv4.number().into(),
            hardware_len: 6,
            protocol_len: 4,
            operation: (self.operation as u16).into(),
            sender_mac: self.sender_mac.0,
            sender_ip: self.sender_ip.octets(),
            target_mac: self.target_mac.0,
            target_ip: self.target_ip.octets(),
        };
        out[..PACKET_LEN].copy_from_slice(layout.as_bytes());
        PACKET_LEN
    }
}

impl fmt::Display for ArpPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, sender_mac, sender_ip, target_mac, target_ip } = self;
        match operation {
            ArpOperation::Request if *target_mac == MacAddress::ZERO => {
                write!(f, "ARP, Request who-has {target_ip} tell {sender_ip}")
            }
            ArpOperation::Request => {
                write!(f, "ARP, Request who-has {target_ip} ({target_mac}) tell {sender_ip}")
            }
            ArpOperation::Reply => write!(f, "ARP, Reply {sender_ip} is-at {sender_mac}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 10.0.0.1 at 02:..:01 asks for 10.0.0.2.
    const REQUEST: [u8; PACKET_LEN] = [
        0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01, //
        0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1, //
        0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ];
    const ASKER: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn parse(bytes: &[u8]) -> Result<ArpPacket, ArpError> {
        ArpView::parse(bytes).map(|view| view.packet())
    }

    #[test]
    fn request_reads_and_prints() {
        let packet = parse(&REQUEST).expect("valid");
        let expected =
            ArpPacket::request(ASKER, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(packet, expected);
        assert!(!packet.is_gratuitous());
        assert_eq!(packet.to_string(), "ARP, Request who-has 10.0.0.2 tell 10.0.0.1");
        let reply = packet.reply_from(MacAddress([2, 0, 0, 0, 0, 2]));
        assert_eq!(reply.to_string(), "ARP, Reply 10.0.0.2 is-at 02:00:00:00:00:02");
        assert_eq!(reply.target_mac, ASKER);
    }

    #[test]
    fn length_one_less_exact_one_more() {
        assert_eq!(parse(&REQUEST[..PACKET_LEN - 1]), Err(ArpError::Truncated));
        assert!(parse(&REQUEST).is_ok());
        // The padding of a minimal ethernet frame.
        let mut padded = REQUEST.to_vec();
        padded.resize(46, 0);
        assert!(parse(&padded).is_ok());
    }

    #[test]
    fn each_fixed_field_is_checked() {
        let with = |at: usize, value: u8| {
            let mut bytes = REQUEST;
            bytes[at] = value;
            parse(&bytes)
        };
        assert_eq!(with(1, 6), Err(ArpError::HardwareType));
        assert_eq!(with(2, 0x86), Err(ArpError::ProtocolType));
        assert_eq!(with(4, 5), Err(ArpError::AddressLength));
        assert_eq!(with(5, 16), Err(ArpError::AddressLength));
        assert_eq!(with(7, 0), Err(ArpError::Operation));
        assert_eq!(with(7, 3), Err(ArpError::Operation));
        assert!(with(7, 2).is_ok());
    }

    #[test]
    fn announcements_and_probes() {
        let ip = Ipv4Addr::new(10, 0, 0, 1);
        assert!(ArpPacket::announcement(ASKER, ip).is_gratuitous());
        let probe = ArpPacket::request(ASKER, Ipv4Addr::UNSPECIFIED, ip);
        assert!(probe.is_probe());
        assert!(!probe.is_gratuitous());
    }

    proptest! {
        #[test]
        fn emit_then_parse_is_identity(reply in any::<bool>(), smac in any::<[u8; 6]>(),
                                       sip in any::<u32>(), tmac in any::<[u8; 6]>(),
                                       tip in any::<u32>()) {
            let packet = ArpPacket {
                operation: if reply { ArpOperation::Reply } else { ArpOperation::Request },
                sender_mac: MacAddress(smac),
                sender_ip: sip.into(),
                target_mac: MacAddress(tmac),
                target_ip: tip.into(),
            };
            let mut bytes = [0xaa; PACKET_LEN];
            prop_assert_eq!(packet.emit(&mut bytes), packet.header_len());
            prop_assert_eq!(parse(&bytes), Ok(packet));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }
}
