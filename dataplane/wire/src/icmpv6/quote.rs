//! The packet that an ICMPv6 error quotes: as much as fits the minimum MTU (RFC 4443, 2.4 (c)).

use super::{HEADER_LEN, Icmpv6Error};
use crate::ipv4::IpProtocol;
use crate::ipv6::{self, Ipv6Header, Ipv6View, extension};
use crate::tcp::SeqNumber;

/// Bytes at the start of the transport header that name a flow.
const TRANSPORT_LEN: usize = 8;

/// How many bytes of a packet of `packet_len` an error should quote: as many as fit.
#[must_use]
pub const fn quote_len(packet_len: usize) -> usize {
    const ROOM: usize = ipv6::MTU_MIN as usize - ipv6::HEADER_LEN - HEADER_LEN;
    if packet_len < ROOM { packet_len } else { ROOM }
}

/// What an error says about the packet that caused it: enough to find the connection, which must
/// still judge whether the quote is one of its own packets (RFC 5927, 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuoteV6 {
    /// The header, perhaps with a smaller hop limit than we sent.
    pub header: Ipv6Header,
    /// What the packet carried behind extension headers.
    pub protocol: IpProtocol,
    /// Whether it was a fragment other than the first.
    pub is_later_fragment: bool,
    /// The first 8 bytes of the transport.
    pub transport: [u8; TRANSPORT_LEN],
}

impl QuoteV6 {
    /// Reads the payload of an error message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Icmpv6Error> {
        let view = Ipv6View::parse_quoted(bytes).map_err(|_| Icmpv6Error::QuoteHeader)?;
        let upper = extension::walk(view.next_header(), view.payload())
            .map_err(|_| Icmpv6Error::QuoteHeader)?;
        let transport = view.payload().get(usize::from(upper.offset)..);
        let transport = transport.and_then(<[u8]>::first_chunk);
        Ok(Self {
            header: view.header(),
            protocol: upper.protocol,
            is_later_fragment: upper.fragment.is_some_and(|fragment| fragment.offset != 0),
            transport: *transport.ok_or(Icmpv6Error::QuoteTruncated)?,
        })
    }

    /// Source and destination port of the quoted packet: ours first, for it was we who sent it.
    /// `None` when it has no ports or does not begin with them, being a later fragment.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        let has_ports = matches!(self.protocol, IpProtocol::Tcp | IpProtocol::Udp);
        if !has_ports || self.is_later_fragment {
            return None;
        }
        let [a, b, c, d, ..] = self.transport;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// The sequence number of a quoted TCP segment.
    #[must_use]
    pub fn seq(&self) -> Option<SeqNumber> {
        let is_head = self.protocol == IpProtocol::Tcp && !self.is_later_fragment;
        let [_, _, _, _, a, b, c, d] = self.transport;
        is_head.then(|| SeqNumber(u32::from_be_bytes([a, b, c, d])))
    }
}
