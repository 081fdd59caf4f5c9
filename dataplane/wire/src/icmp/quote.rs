//! The packet that an ICMP error quotes: its IPv4 header and at least 8 bytes (RFC 792).

use super::{HEADER_LEN, IcmpError};
use crate::ipv4::{self, IpProtocol, Ipv4Header, Ipv4View};
use crate::tcp::SeqNumber;

/// The largest error packet, bytes (RFC 1812, 4.3.2.3).
pub const ERROR_PACKET_LEN_MAX: usize = 576;

/// Bytes at the start of the transport header that every error quotes.
const TRANSPORT_LEN: usize = 8;

/// How many bytes of a packet of `packet_len` an error should quote: as many as fit.
#[must_use]
pub const fn quote_len(packet_len: usize) -> usize {
    const ROOM: usize = ERROR_PACKET_LEN_MAX - ipv4::HEADER_LEN - HEADER_LEN;
    if packet_len < ROOM { packet_len } else { ROOM }
}

/// What an error says about the packet that caused it: enough to find the connection, which must
/// still judge whether the quote is one of its own packets (RFC 5927, 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quote {
    /// The header, perhaps with a smaller TTL than we sent.
    pub header: Ipv4Header,
    /// The first 8 bytes behind it.
    pub transport: [u8; TRANSPORT_LEN],
}

impl Quote {
    /// Reads the payload of an error message.
    pub fn parse(bytes: &[u8]) -> Result<Self, IcmpError> {
        let view = Ipv4View::parse_quoted(bytes).map_err(|_| IcmpError::QuoteHeader)?;
        let transport = view.payload().first_chunk().ok_or(IcmpError::QuoteTruncated)?;
        Ok(Self { header: view.header(), transport: *transport })
    }

    /// Source and destination port of the quoted packet: ours first, for it was we who sent it.
    /// `None` when it has no ports or does not begin with them, being a later fragment.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        let has_ports = matches!(self.header.protocol, IpProtocol::Tcp | IpProtocol::Udp);
        if !has_ports || self.header.fragment_offset != 0 {
            return None;
        }
        let [a, b, c, d, ..] = self.transport;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// The sequence number of a quoted TCP segment.
    #[must_use]
    pub fn seq(&self) -> Option<SeqNumber> {
        let is_head = self.header.protocol == IpProtocol::Tcp && self.header.fragment_offset == 0;
        let [_, _, _, _, a, b, c, d] = self.transport;
        is_head.then(|| SeqNumber(u32::from_be_bytes([a, b, c, d])))
    }
}
