//! IPv6 headers (RFC 8200, 3). What may stand between header and transport is in [`extension`].

pub mod extension;

use std::fmt;
use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::wire_error;
use crate::ethernet::MacAddress;
use crate::ipv4::IpProtocol;

/// Bytes of a header.
pub const HEADER_LEN: usize = 40;
/// Where the hop limit lies, from the start of the header.
pub const HOP_LIMIT_OFFSET: usize = 7;
/// Where the payload length lies, from the start of the header.
pub const PAYLOAD_LEN_OFFSET: usize = 4;
/// What every link carries, bytes (RFC 8200, 5).
pub const MTU_MIN: u16 = 1280;

/// `ff02::1`: every node of a link (RFC 4291, 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// `ff02::2`: every router of a link (RFC 4291, 2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    version_class_flow: U32,
    payload_len: U16,
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

const _: () = assert!(size_of::<Layout>() == HEADER_LEN);

wire_error! {
    /// Why bytes are not an IPv6 packet.
    pub enum Ipv6Error {
        /// Fewer than 40 bytes.
        Truncated = "ipv6-truncated",
        /// The version is not 6.
        Version = "ipv6-version",
        /// The payload length is above what arrived.
        PayloadOverrun = "ipv6-payload-overrun",
    }
}

/// A header in received bytes.
#[derive(Clone, Copy)]
pub struct Ipv6View<'a> {
    layout: &'a Layout,
    /// What follows the header in the bytes at hand, cut where the packet ends.
    rest: &'a [u8],
}

impl<'a> Ipv6View<'a> {
    /// Checks a packet that lies in one piece, perhaps with padding behind it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Ipv6Error> {
        Self::parse_with_len(bytes, bytes.len())
    }

    /// Checks a packet of which `head` is the contiguous first part and `available_len` the bytes
    /// that arrived behind the link header, padding included, in all pieces together.
    #[inline]
    pub fn parse_with_len(head: &'a [u8], available_len: usize) -> Result<Self, Ipv6Error> {
        let view = Self::parse_quoted(head)?;
        if view.total_len() > available_len {
            return Err(Ipv6Error::PayloadOverrun);
        }
        Ok(view)
    }

    /// Checks a header alone, such as the one that an ICMPv6 error quotes: what follows it may be
    /// cut off anywhere.
    #[inline]
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Ipv6Error> {
        let (layout, rest) = Layout::ref_from_prefix(bytes).map_err(|_| Ipv6Error::Truncated)?;
        if layout.version_class_flow.get() >> 28 != 6 {
            return Err(Ipv6Error::Version);
        }
        let rest = rest.get(..usize::from(layout.payload_len.get())).unwrap_or(rest);
        Ok(Self { layout, rest })
    }

    /// The header by value.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Ipv6Header {
        let word = self.layout.version_class_flow.get();
        Ipv6Header {
            src: self.src(),
            dst: self.dst(),
            next_header: self.next_header(),
            hop_limit: self.hop_limit(),
            traffic_class: (word >> 20) as u8,
            flow_label: word & 0xf_ffff,
            payload_len: self.payload_len(),
        }
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        self.layout.source.into()
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        self.layout.destination.into()
    }

    /// What follows the header: a transport, or the first extension header.
    #[inline]
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.layout.next_header
    }

    /// Hops that are left.
    #[inline]
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        self.layout.hop_limit
    }

    /// Bytes behind the header, extension headers included, wherever they lie.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> u16 {
        self.layout.payload_len.get()
    }

    /// Bytes of header and payload. What arrived behind them is padding.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        HEADER_LEN + usize::from(self.payload_len())
    }

    /// The contiguous part of the payload, extension headers included: all of it when the packet
    /// lies in one piece.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.rest
    }
}

/// A header to be sent, or one that was understood.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ipv6Header {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows: a protocol's number, or an extension header's.
    pub next_header: u8,
    /// Hops that it may take.
    pub hop_limit: u8,
    /// Differentiated services code point (6 bits) and ECN (2 bits).
    pub traffic_class: u8,
    /// 20 bits that are equal for the packets of a flow (RFC 6437).
    pub flow_label: u32,
    /// Bytes behind the header.
    pub payload_len: u16,
}

impl Ipv6Header {
    /// A header as hosts send them: hop limit 64, no label.
    #[must_use]
    pub const fn new(src: Ipv6Addr, dst: Ipv6Addr, protocol: IpProtocol, payload_len: u16) -> Self {
        Self {
            src,
            dst,
            next_header: protocol.number(),
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_len,
        }
    }

    /// Bytes that [`Self::emit`] writes: always 40.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Bytes of header and payload.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        HEADER_LEN + self.payload_len as usize
    }

    /// Writes the header; returns its length.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        debug_assert!(self.flow_label <= 0xf_ffff, "a flow label has 20 bits");
        let class = u32::from(self.traffic_class) << 20;
        let layout = Layout {
            version_class_flow: (6 << 28 | class | self.flow_label & 0xf_ffff).into(),
            payload_len: self.payload_len.into(),
            next_header: self.next_header,
            hop_limit: self.hop_limit,
            source: self.src.octets(),
            destination: self.dst.octets(),
        };
        out[..HEADER_LEN].copy_from_slice(layout.as_bytes());
        HEADER_LEN
    }
}

impl fmt::Display for Ipv6Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = IpProtocol::from_number(self.next_header);
        write!(f, "IP6 {} > {}: {protocol}, hlim {}", self.src, self.dst, self.hop_limit)?;
        if self.traffic_class != 0 {
            write!(f, ", class {:#04x}", self.traffic_class)?;
        }
        if self.flow_label != 0 {
            write!(f, ", flowlabel {:#07x}", self.flow_label)?;
        }
        write!(f, ", length {}", self.payload_len)
    }
}

/// Takes one hop off a header in place. Returns what is left, or `None`, the header untouched, when
/// the packet must not be forwarded (RFC 8200, 3).
///
/// # Panics
/// When `header` is shorter than 40 bytes; a view vouches for more.
#[inline]
pub fn decrement_hop_limit(header: &mut [u8]) -> Option<u8> {
    let left = header[..HEADER_LEN][HOP_LIMIT_OFFSET];
    if left <= 1 {
        return None;
    }
    header[HOP_LIMIT_OFFSET] = left - 1;
    Some(left - 1)
}

/// The group that whoever looks for `address` asks (RFC 4291, 2.7.1).
#[inline]
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, low)
}

/// `prefix` with the interface identifier of a station behind its first 64 bits (RFC 4291,
/// appendix A: the modified EUI-64).
#[must_use]
pub const fn with_interface_id(prefix: Ipv6Addr, mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let id = u64::from_be_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
    let prefix = prefix.to_bits() >> 64 << 64;
    Ipv6Addr::from_bits(prefix | id as u128)
}

/// The address that a station has on its own link without being told (RFC 4862, 5.3).
#[must_use]
pub const fn link_local(mac: MacAddress) -> Ipv6Addr {
    with_interface_id(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac)
}

#[cfg(test)]
mod tests;
