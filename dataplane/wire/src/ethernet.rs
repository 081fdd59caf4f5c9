//! Ethernet II frames with up to two 802.1Q tags.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::wire_error;
use crate::vlan::{TAG_LEN, TagProtocol, VlanTag, VlanTags};

/// Bytes of an untagged header.
pub const HEADER_LEN: usize = 14;
/// Bytes of a header with two tags.
pub const HEADER_LEN_MAX: usize = HEADER_LEN + 2 * TAG_LEN;

/// An EUI-48 address.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Everyone on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address.
    pub const ZERO: Self = Self([0; 6]);

    /// Where packets to an IPv4 multicast group go (RFC 1112, 6.4).
    #[must_use]
    pub const fn for_multicast_v4(group: Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// Where packets to an IPv6 multicast group go (RFC 2464, 7).
    #[inline]
    #[must_use]
    pub const fn for_multicast_v6(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }

    /// Whether this names everyone.
    #[inline]
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether this names a group; broadcast is one.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether one station can have this address: neither a group nor zero.
    #[inline]
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    /// Whether the address was assigned locally and not by a manufacturer.
    #[inline]
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0[0] & 0x02 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six pairs of hexadecimal digits separated by colons.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MacAddressError;

impl fmt::Display for MacAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six pairs of hexadecimal digits, such as 02:00:00:00:00:01")
    }
}

impl std::error::Error for MacAddressError {}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or(MacAddressError)?;
            // `from_str_radix` would also take a sign.
            let is_pair = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !is_pair {
                return Err(MacAddressError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| MacAddressError)?;
        }
        if pairs.next().is_some() { Err(MacAddressError) } else { Ok(Self(bytes)) }
    }
}

/// What an ethernet frame carries.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EtherType {
    /// 0x0800.
    Ipv4,
    /// 0x0806.
    Arp,
    /// 0x86dd.
    Ipv6,
    /// Another protocol or, below 0x0600, the length of an 802.3 frame.
    Other(u16),
}

impl EtherType {
    /// The meaning of a number.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        match number {
            0x0800 => Self::Ipv4,
            0x0806 => Self::Arp,
            0x86dd => Self::Ipv6,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Ipv4 => 0x0800,
            Self::Arp => 0x0806,
            Self::Ipv6 => 0x86dd,
            Self::Other(number) => number,
        }
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Ipv4 => "IPv4",
            Self::Arp => "ARP",
            Self::Ipv6 => "IPv6",
            Self::Other(..0x0600) => "802.3",
            Self::Other(_) => "Unknown",
        };
        write!(f, "{name} ({:#06x})", self.number())
    }
}

wire_error! {
    /// Why bytes are not a frame.
    pub enum EthernetError {
        /// Fewer than 14 bytes.
        Truncated = "ethernet-truncated",
        /// The frame ends inside a tag.
        TagTruncated = "ethernet-tag-truncated",
        /// More than two tags.
        TooManyTags = "ethernet-too-many-tags",
    }
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    destination: [u8; 6],
    source: [u8; 6],
    ether_type: U16,
}

const _: () = assert!(size_of::<Layout>() == HEADER_LEN);

/// A frame in received bytes.
#[derive(Clone, Copy)]
pub struct EthernetView<'a> {
    layout: &'a Layout,
    tags: VlanTags,
    ether_type: EtherType,
    payload: &'a [u8],
}

impl<'a> EthernetView<'a> {
    /// Checks the header and walks its tags.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, EthernetError> {
        let (layout, payload) =
            Layout::ref_from_prefix(frame).map_err(|_| EthernetError::Truncated)?;
        let number = layout.ether_type.get();
        match TagProtocol::from_number(number) {
            None => {
                let ether_type = EtherType::from_number(number);
                Ok(Self { layout, tags: VlanTags::None, ether_type, payload })
            }
            Some(protocol) => Self::parse_tagged(layout, protocol, payload),
        }
    }

    fn parse_tagged(
        layout: &'a Layout,
        protocol: TagProtocol,
        rest: &'a [u8],
    ) -> Result<Self, EthernetError> {
        let (outer, number, payload) = split_tag(protocol, rest)?;
        let Some(protocol) = TagProtocol::from_number(number) else {
            let ether_type = EtherType::from_number(number);
            return Ok(Self { layout, tags: VlanTags::One(outer), ether_type, payload });
        };
        let (inner, number, payload) = split_tag(protocol, payload)?;
        if TagProtocol::from_number(number).is_some() {
            return Err(EthernetError::TooManyTags);
        }
        let ether_type = EtherType::from_number(number);
        Ok(Self { layout, tags: VlanTags::Two(outer, inner), ether_type, payload })
    }

    /// The header by value.
    #[inline]
    #[must_use]
    pub fn header(&self) -> EthernetHeader {
        EthernetHeader {
            destination: self.destination(),
            source: self.source(),
            tags: self.tags,
            ether_type: self.ether_type,
        }
    }

    /// Who should take the frame.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> MacAddress {
        MacAddress(self.layout.destination)
    }

    /// Who sent it.
    #[inline]
    #[must_use]
    pub fn source(&self) -> MacAddress {
        MacAddress(self.layout.source)
    }

    /// Its tags.
    #[inline]
    #[must_use]
    pub const fn tags(&self) -> VlanTags {
        self.tags
    }

    /// What it carries, behind all tags.
    #[inline]
    #[must_use]
    pub const fn ether_type(&self) -> EtherType {
        self.ether_type
    }

    /// Bytes of the header with its tags: where the payload starts.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.tags.len()
    }

    /// What follows the header; may be longer than the packet inside, for short frames are padded.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Cuts the rest of a tag whose TPID was read: the tag, the EtherType field behind it, the rest.
fn split_tag(protocol: TagProtocol, bytes: &[u8]) -> Result<(VlanTag, u16, &[u8]), EthernetError> {
    let [a, b, c, d, rest @ ..] = bytes else { return Err(EthernetError::TagTruncated) };
    let tag = VlanTag { protocol, control: u16::from_be_bytes([*a, *b]) };
    Ok((tag, u16::from_be_bytes([*c, *d]), rest))
}

/// A header to be sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EthernetHeader {
    /// Who should take the frame.
    pub destination: MacAddress,
    /// Who sends it.
    pub source: MacAddress,
    /// Tags, outermost first.
    pub tags: VlanTags,
    /// What it carries. `Other` with the number of a tag would not read back.
    pub ether_type: EtherType,
}

impl EthernetHeader {
    /// Bytes that [`Self::emit`] writes: 14, 18 or 22.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.tags.len()
    }

    /// Writes the header and its tags; returns their length.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.header_len();
        let out = &mut out[..len];
        out[..6].copy_from_slice(&self.destination.0);
        out[6..12].copy_from_slice(&self.source.0);
        let mut at = 12;
        for tag in self.tags.iter() {
            out[at..at + 2].copy_from_slice(&tag.protocol.number().to_be_bytes());
            out[at + 2..at + 4].copy_from_slice(&tag.control.to_be_bytes());
            at += TAG_LEN;
        }
        out[at..at + 2].copy_from_slice(&self.ether_type.number().to_be_bytes());
        len
    }
}

impl fmt::Display for EthernetHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.source, self.destination)?;
        for tag in self.tags.iter() {
            write!(f, ", {tag}")?;
        }
        write!(f, ", ethertype {}", self.ether_type)
    }
}

#[cfg(test)]
mod tests;
