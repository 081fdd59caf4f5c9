//! IPv4 headers (RFC 791, 3.1).

use std::fmt;
use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Checksum, ones_complement_sum};
use crate::error::wire_error;

/// Bytes of a header without options: the only kind we send.
pub const HEADER_LEN: usize = 20;
/// Bytes of the largest header.
pub const HEADER_LEN_MAX: usize = 60;
/// The most a packet without options can carry, bytes.
pub const PAYLOAD_LEN_MAX: u16 = u16::MAX - HEADER_LEN as u16;
/// Where the header checksum lies, from the start of the header.
pub const CHECKSUM_OFFSET: usize = 10;
/// Where the time to live lies, from the start of the header.
pub const TTL_OFFSET: usize = 8;

/// Of the byte with DSCP and ECN: the sender understands ECN (RFC 3168, 5).
pub const ECT_0: u8 = 0b10;
/// Of that byte: a router is congested.
pub const CE: u8 = 0b11;

/// RFC 1700, "IP default TTL".
const TTL_DEFAULT: u8 = 64;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// What a packet carries (IANA protocol numbers).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum IpProtocol {
    /// 1.
    Icmp,
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 58.
    Icmpv6,
    /// Any other.
    Other(u8),
}

impl IpProtocol {
    /// The meaning of a number.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmpv6,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmpv6 => 58,
            Self::Other(number) => number,
        }
    }
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.write_str("ICMP"),
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Icmpv6 => f.write_str("ICMPv6"),
            Self::Other(number) => write!(f, "proto {number}"),
        }
    }
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    version_ihl: u8,
    dscp_ecn: u8,
    total_len: U16,
    identification: U16,
    flags_offset: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

const _: () = assert!(size_of::<Layout>() == HEADER_LEN);

wire_error! {
    /// Why bytes are not an IPv4 packet.
    pub enum Ipv4Error {
        /// Fewer than 20 bytes.
        Truncated = "ipv4-truncated",
        /// The version is not 4.
        Version = "ipv4-version",
        /// The header says it is shorter than 20 bytes.
        HeaderLength = "ipv4-header-length",
        /// The header runs past the bytes.
        HeaderOverrun = "ipv4-header-overrun",
        /// The total length is below the header's.
        TotalLength = "ipv4-total-length",
        /// The total length is above what arrived.
        TotalLengthOverrun = "ipv4-total-length-overrun",
    }
}

/// A header in received bytes.
#[derive(Clone, Copy)]
pub struct Ipv4View<'a> {
    layout: &'a Layout,
    /// The whole header, options included.
    header: &'a [u8],
    /// What follows the header in the bytes at hand, cut where the packet ends.
    rest: &'a [u8],
}

impl<'a> Ipv4View<'a> {
    /// Checks a packet that lies in one piece, perhaps with padding behind it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Ipv4Error> {
        Self::parse_with_len(bytes, bytes.len())
    }

    /// Checks a packet of which `head` is the contiguous first part and `available_len` the bytes
    /// that arrived behind the link header, padding included, in all pieces together.
    #[inline]
    pub fn parse_with_len(head: &'a [u8], available_len: usize) -> Result<Self, Ipv4Error> {
        let view = Self::parse_quoted(head)?;
        if usize::from(view.total_len()) > available_len {
            return Err(Ipv4Error::TotalLengthOverrun);
        }
        Ok(view)
    }

    /// Checks a header alone, such as the one that an ICMP error quotes: what follows it may be
    /// cut off anywhere.
    #[inline]
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Ipv4Error> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| Ipv4Error::Truncated)?;
        if layout.version_ihl >> 4 != 4 {
            return Err(Ipv4Error::Version);
        }
        let header_len = usize::from(layout.version_ihl & 0x0f) * 4;
        if header_len < HEADER_LEN {
            return Err(Ipv4Error::HeaderLength);
        }
        let (header, rest) = bytes.split_at_checked(header_len).ok_or(Ipv4Error::HeaderOverrun)?;
        let payload_len = usize::from(layout.total_len.get())
            .checked_sub(header_len)
            .ok_or(Ipv4Error::TotalLength)?;
        let rest = rest.get(..payload_len).unwrap_or(rest);
        Ok(Self { layout, header, rest })
    }

    /// The header by value, without its options.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Ipv4Header {
        let flags_offset = self.layout.flags_offset.get();
        Ipv4Header {
            src: self.src(),
            dst: self.dst(),
            protocol: self.protocol(),
            ttl: self.layout.ttl,
            dscp_ecn: self.layout.dscp_ecn,
            identification: self.layout.identification.get(),
            dont_fragment: flags_offset & DONT_FRAGMENT != 0,
            more_fragments: flags_offset & MORE_FRAGMENTS != 0,
            fragment_offset: flags_offset & FRAGMENT_OFFSET,
            payload_len: self.payload_len(),
        }
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv4Addr {
        self.layout.source.into()
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        self.layout.destination.into()
    }

    /// What the packet carries.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> IpProtocol {
        IpProtocol::from_number(self.layout.protocol)
    }

    /// Differentiated services code point (6 bits) and ECN (2 bits).
    #[inline]
    #[must_use]
    pub const fn dscp_ecn(&self) -> u8 {
        self.layout.dscp_ecn
    }

    /// Time to live, hops.
    #[inline]
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.layout.ttl
    }

    /// Bytes of the header with its options: where the payload starts.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Bytes of header and payload. What arrived behind them is padding.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> u16 {
        self.layout.total_len.get()
    }

    /// Bytes of the payload, wherever they lie.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> u16 {
        // The header's length was found to be at most the total's, and is at most 60.
        self.total_len() - self.header.len() as u16
    }

    /// The contiguous part of the payload: all of it when the packet lies in one piece.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.rest
    }

    /// The option bytes, padding included.
    #[inline]
    #[must_use]
    pub fn options(&self) -> &'a [u8] {
        &self.header[HEADER_LEN..]
    }

    /// Whether this is one of several fragments.
    #[inline]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.layout.flags_offset.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Whether the header checksum is right.
    #[inline]
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        ones_complement_sum(self.header) == 0xffff
    }
}

/// A header to be sent, or one that was understood; options stay with the view.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ipv4Header {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What the packet carries.
    pub protocol: IpProtocol,
    /// Time to live, hops.
    pub ttl: u8,
    /// Differentiated services code point (6 bits) and ECN (2 bits).
    pub dscp_ecn: u8,
    /// Names the packet that fragments belong to.
    pub identification: u16,
    /// DF.
    pub dont_fragment: bool,
    /// MF.
    pub more_fragments: bool,
    /// Where the fragment belongs, in units of 8 bytes; 13 bits.
    pub fragment_offset: u16,
    /// Bytes behind the header, at most [`PAYLOAD_LEN_MAX`].
    pub payload_len: u16,
}

impl Ipv4Header {
    /// A header as hosts send them: TTL 64, DF set (and so identification 0, RFC 6864, 4.1).
    #[must_use]
    pub const fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: IpProtocol, payload_len: u16) -> Self {
        Self {
            src,
            dst,
            protocol,
            ttl: TTL_DEFAULT,
            dscp_ecn: 0,
            identification: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            payload_len,
        }
    }

    /// Bytes that [`Self::emit`] writes: always 20.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Bytes of header and payload.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> u16 {
        debug_assert!(self.payload_len <= PAYLOAD_LEN_MAX, "a packet has at most 65,535 bytes");
        (HEADER_LEN as u16).saturating_add(self.payload_len)
    }

    /// Whether this is one of several fragments.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Writes what [`Self::new`] with these values would, without the way over a value; gives the sum
    /// of the pseudo header over that payload (see [`Checksum::pseudo_header_v4`]), most of which was
    /// added up on the way.
    #[inline]
    pub fn emit_new(
        src: Ipv4Addr,
        dst: Ipv4Addr,
        protocol: IpProtocol,
        payload_len: u16,
        out: &mut [u8; HEADER_LEN],
    ) -> u16 {
        let total_len = (HEADER_LEN as u16).saturating_add(payload_len);
        let protocol = u32::from(protocol.number());
        let mut words = [
            0x4500 << 16 | u32::from(total_len),
            u32::from(DONT_FRAGMENT),
            u32::from(TTL_DEFAULT) << 24 | protocol << 16,
            src.to_bits(),
            dst.to_bits(),
        ];
        let [first @ .., source, destination] = words.map(u64::from);
        let addresses = source + destination;
        let sum = Checksum::from_words(addresses + first.into_iter().sum::<u64>());
        words[2] |= u32::from(!sum.sum());
        let (chunks, _) = out.as_chunks_mut::<4>();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_be_bytes();
        }
        Checksum::from_words(addresses + u64::from(payload_len) + u64::from(protocol)).sum()
    }

    /// Writes the header with its checksum; returns its length.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        debug_assert!(self.fragment_offset <= FRAGMENT_OFFSET, "the offset has 13 bits");
        let mut flags_offset = self.fragment_offset & FRAGMENT_OFFSET;
        if self.dont_fragment {
            flags_offset |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            flags_offset |= MORE_FRAGMENTS;
        }
        let mut layout = Layout {
            version_ihl: 0x45,
            dscp_ecn: self.dscp_ecn,
            total_len: self.total_len().into(),
            identification: self.identification.into(),
            flags_offset: flags_offset.into(),
            ttl: self.ttl,
            protocol: self.protocol.number(),
            checksum: U16::ZERO,
            source: self.src.octets(),
            destination: self.dst.octets(),
        };
        layout.checksum = (!ones_complement_sum(layout.as_bytes())).into();
        out[..HEADER_LEN].copy_from_slice(layout.as_bytes());
        HEADER_LEN
    }
}

impl fmt::Display for Ipv4Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IP {} > {}: {}", self.src, self.dst, self.protocol)?;
        write!(f, ", ttl {}, id {}", self.ttl, self.identification)?;
        if self.dscp_ecn != 0 {
            write!(f, ", tos {:#04x}", self.dscp_ecn)?;
        }
        match (self.dont_fragment, self.more_fragments) {
            (false, false) => {}
            (true, false) => f.write_str(", flags [DF]")?,
            (false, true) => f.write_str(", flags [+]")?,
            (true, true) => f.write_str(", flags [+, DF]")?,
        }
        if self.fragment_offset != 0 {
            write!(f, ", offset {}", u32::from(self.fragment_offset) * 8)?;
        }
        write!(f, ", length {}", u32::from(self.payload_len) + HEADER_LEN as u32)
    }
}

/// Takes one hop off a header in place and corrects its checksum (RFC 1624). Returns what is left,
/// or `None`, the header untouched, when the packet must not be forwarded: RFC 1812, 5.3.1.
///
/// # Panics
/// When `header` is shorter than 20 bytes; a view vouches for more.
#[inline]
pub fn decrement_ttl(header: &mut [u8]) -> Option<u8> {
    // One check for all of what follows.
    let header = header[..HEADER_LEN].first_chunk_mut::<HEADER_LEN>()?;
    let ttl = header[TTL_OFFSET];
    if ttl <= 1 {
        return None;
    }
    let checksum = u16::from_be_bytes([header[CHECKSUM_OFFSET], header[CHECKSUM_OFFSET + 1]]);
    // RFC 1624, 3: one less in the word's upper byte is one more in the checksum's.
    let sum = u32::from(checksum) + 0x0100;
    let checksum = (sum + u32::from(sum >= 0xffff)) as u16;
    header[TTL_OFFSET] = ttl - 1;
    header[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
    Some(ttl - 1)
}

#[cfg(test)]
mod tests;
