//! ICMPv6 (RFC 4443). Neighbour discovery, which travels in it, is in [`crate::ndp`].

mod codes;
mod quote;

use std::fmt;
use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Checksum, update_u16};
use crate::error::wire_error;
use crate::ipv4::IpProtocol;

pub use codes::{ParameterProblemV6, TimeExceededV6, UnreachableV6};
pub use quote::{QuoteV6, quote_len};

/// Bytes of a header: type, code, checksum and four that depend on the type.
pub const HEADER_LEN: usize = 8;
/// Where the checksum lies, from the start of the header.
pub const CHECKSUM_OFFSET: usize = 2;

const DESTINATION_UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// Types below this one are errors (RFC 4443, 2.1).
const INFORMATIONAL: u8 = 128;

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    kind: u8,
    code: u8,
    checksum: U16,
    rest: [u8; 4],
}

const _: () = assert!(size_of::<Layout>() == HEADER_LEN);

wire_error! {
    /// Why bytes are not an ICMPv6 message, or do not quote a packet.
    pub enum Icmpv6Error {
        /// Fewer than 8 bytes.
        Truncated = "icmpv6-truncated",
        /// The quoted bytes are no IPv6 header with what follows it.
        QuoteHeader = "icmpv6-quote-header",
        /// Fewer than 8 bytes of the quoted packet's transport.
        QuoteTruncated = "icmpv6-quote-truncated",
    }
}

/// A message in received bytes.
#[derive(Clone, Copy)]
pub struct Icmpv6View<'a> {
    layout: &'a Layout,
    bytes: &'a [u8],
}

impl<'a> Icmpv6View<'a> {
    /// Checks that a header lies at the start of `bytes`, which is the IPv6 payload behind its
    /// extension headers, or its contiguous first part.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Icmpv6Error> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| Icmpv6Error::Truncated)?;
        Ok(Self { layout, bytes })
    }

    /// The header by value. What has no name here is [`Icmpv6Message::Other`], neighbour discovery
    /// included.
    #[must_use]
    pub fn message(&self) -> Icmpv6Message {
        let Layout { kind, code, rest, .. } = *self.layout;
        let [a, b, c, d] = rest;
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let word = u32::from_be_bytes(rest);
        let named = match (kind, code) {
            (ECHO_REQUEST, 0) => Some(Icmpv6Message::EchoRequest { ident: high, sequence: low }),
            (ECHO_REPLY, 0) => Some(Icmpv6Message::EchoReply { ident: high, sequence: low }),
            (DESTINATION_UNREACHABLE, code) => {
                UnreachableV6::from_code(code).map(Icmpv6Message::DestinationUnreachable)
            }
            // RFC 4443, 3.2: the code is ignored by the receiver.
            (PACKET_TOO_BIG, 0) => Some(Icmpv6Message::PacketTooBig { mtu: word }),
            (TIME_EXCEEDED, code) => {
                TimeExceededV6::from_code(code).map(Icmpv6Message::TimeExceeded)
            }
            (PARAMETER_PROBLEM, code) => {
                ParameterProblemV6::from_code(code, word).map(Icmpv6Message::ParameterProblem)
            }
            _ => None,
        };
        named.unwrap_or(Icmpv6Message::Other { kind, code, rest })
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.layout.kind
    }

    /// What follows the header: echo data, or the quoted packet of an error.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The packet that an error message is about.
    pub fn quote(&self) -> Result<QuoteV6, Icmpv6Error> {
        QuoteV6::parse(self.payload())
    }

    /// Whether the checksum of a message in one piece is right.
    #[must_use]
    pub fn checksum_ok(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        sum(source, destination, self.bytes).is_valid()
    }
}

/// The header of a message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Icmpv6Message {
    /// Type 128.
    EchoRequest {
        /// Names the asking process.
        ident: u16,
        /// Counts its questions.
        sequence: u16,
    },
    /// Type 129.
    EchoReply {
        /// As in the request.
        ident: u16,
        /// As in the request.
        sequence: u16,
    },
    /// Type 1.
    DestinationUnreachable(UnreachableV6),
    /// Type 2.
    PacketTooBig {
        /// Of the next link, bytes.
        mtu: u32,
    },
    /// Type 3.
    TimeExceeded(TimeExceededV6),
    /// Type 4.
    ParameterProblem(ParameterProblemV6),
    /// Any other type, or a code that its type does not define.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The second four bytes.
        rest: [u8; 4],
    },
}

impl Icmpv6Message {
    /// Bytes that [`Self::emit`] writes: always 8.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with a checksum of zero; returns its length. When the payload stands
    /// behind it, [`fill_checksum`] completes the message.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let pair = |ident: u16, sequence: u16| {
            let ([a, b], [c, d]) = (ident.to_be_bytes(), sequence.to_be_bytes());
            [a, b, c, d]
        };
        let (kind, code, rest) = match *self {
            Self::EchoRequest { ident, sequence } => (ECHO_REQUEST, 0, pair(ident, sequence)),
            Self::EchoReply { ident, sequence } => (ECHO_REPLY, 0, pair(ident, sequence)),
            Self::DestinationUnreachable(why) => (DESTINATION_UNREACHABLE, why.code(), [0; 4]),
            Self::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu.to_be_bytes()),
            Self::TimeExceeded(why) => (TIME_EXCEEDED, why.code(), [0; 4]),
            Self::ParameterProblem(why) => {
                (PARAMETER_PROBLEM, why.code(), why.pointer().to_be_bytes())
            }
            Self::Other { kind, code, rest } => (kind, code, rest),
        };
        let layout = Layout { kind, code, checksum: U16::ZERO, rest };
        out[..HEADER_LEN].copy_from_slice(layout.as_bytes());
        HEADER_LEN
    }

    /// Whether this reports an error about another packet. Errors must not answer errors
    /// (RFC 4443, 2.4 (e.1)); nor redirects (e.2), which are of neighbour discovery.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::EchoRequest { .. } | Self::EchoReply { .. } => false,
            Self::DestinationUnreachable(_)
            | Self::PacketTooBig { .. }
            | Self::TimeExceeded(_)
            | Self::ParameterProblem(_) => true,
            Self::Other { kind, .. } => *kind < INFORMATIONAL || *kind == crate::ndp::KIND_REDIRECT,
        }
    }
}

impl fmt::Display for Icmpv6Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EchoRequest { ident, sequence } => {
                write!(f, "ICMP6, echo request, id {ident}, seq {sequence}")
            }
            Self::EchoReply { ident, sequence } => {
                write!(f, "ICMP6, echo reply, id {ident}, seq {sequence}")
            }
            Self::DestinationUnreachable(why) => write!(f, "ICMP6, destination unreachable, {why}"),
            Self::PacketTooBig { mtu } => write!(f, "ICMP6, packet too big, mtu {mtu}"),
            Self::TimeExceeded(why) => write!(f, "ICMP6, time exceeded {why}"),
            Self::ParameterProblem(why) => write!(f, "ICMP6, parameter problem, {why}"),
            Self::Other { kind, code, .. } => write!(f, "ICMP6, type {kind}, code {code}"),
        }
    }
}

/// Computes and writes the checksum of a whole message that lies in one piece.
///
/// # Panics
/// When `message` is shorter than a header.
pub fn fill_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) {
    message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    let checksum = sum(source, destination, message).finish();
    message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Turns an echo request into its reply in place, for the same two addresses in the other order,
/// which leave the sum as it is. As in [`crate::icmp::reply_in_place`] the checksum is corrected,
/// not recomputed. Returns whether `header` was a request.
pub fn reply_in_place(header: &mut [u8]) -> bool {
    let [ECHO_REQUEST, 0, high, low, ..] = *header else { return false };
    let old = u16::from_be_bytes([ECHO_REQUEST, 0]);
    let new = u16::from_be_bytes([ECHO_REPLY, 0]);
    let checksum = update_u16(u16::from_be_bytes([high, low]), old, new);
    header[0] = ECHO_REPLY;
    header[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
    true
}

fn sum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Checksum {
    let protocol = IpProtocol::Icmpv6.number();
    let mut sum = Checksum::pseudo_header_v6(source, destination, protocol, message.len() as u32);
    sum.add_bytes(message);
    sum
}

#[cfg(test)]
mod tests;
