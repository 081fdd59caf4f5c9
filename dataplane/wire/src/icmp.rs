//! ICMP for IPv4 (RFC 792), with the MTU of RFC 1191 and the codes of RFC 1122 and RFC 1812.

mod codes;
mod quote;

use std::fmt;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{ones_complement_sum, update_u16};
use crate::error::wire_error;

pub use codes::{ParameterProblem, TimeExceeded, Unreachable};
pub use quote::{ERROR_PACKET_LEN_MAX, Quote, quote_len};

/// Bytes of a header: type, code, checksum and four that depend on the type.
pub const HEADER_LEN: usize = 8;
/// Where the checksum lies, from the start of the header.
pub const CHECKSUM_OFFSET: usize = 2;

const ECHO_REPLY: u8 = 0;
const DESTINATION_UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

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
    /// Why bytes are not an ICMP message, or do not quote a packet.
    pub enum IcmpError {
        /// Fewer than 8 bytes.
        Truncated = "icmp-truncated",
        /// The quoted bytes are no IPv4 header.
        QuoteHeader = "icmp-quote-header",
        /// Fewer than 8 bytes of the quoted packet's payload.
        QuoteTruncated = "icmp-quote-truncated",
    }
}

/// A message in received bytes.
#[derive(Clone, Copy)]
pub struct IcmpView<'a> {
    layout: &'a Layout,
    bytes: &'a [u8],
}

impl<'a> IcmpView<'a> {
    /// Checks that a header lies at the start of `bytes`, which is the IP payload or its
    /// contiguous first part.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IcmpError> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| IcmpError::Truncated)?;
        Ok(Self { layout, bytes })
    }

    /// The header by value. What has no name here is [`IcmpMessage::Other`].
    #[must_use]
    pub fn message(&self) -> IcmpMessage {
        let Layout { kind, code, rest, .. } = *self.layout;
        let [a, b, c, d] = rest;
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let named = match (kind, code) {
            (ECHO_REPLY, 0) => Some(IcmpMessage::EchoReply { ident: high, sequence: low }),
            (ECHO_REQUEST, 0) => Some(IcmpMessage::EchoRequest { ident: high, sequence: low }),
            (DESTINATION_UNREACHABLE, code) => {
                Unreachable::from_code(code, low).map(IcmpMessage::DestinationUnreachable)
            }
            (TIME_EXCEEDED, code) => TimeExceeded::from_code(code).map(IcmpMessage::TimeExceeded),
            (PARAMETER_PROBLEM, code) => {
                ParameterProblem::from_code(code, a).map(IcmpMessage::ParameterProblem)
            }
            _ => None,
        };
        named.unwrap_or(IcmpMessage::Other { kind, code, rest })
    }

    /// What follows the header: echo data, or the quoted packet of an error.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The packet that an error message is about.
    pub fn quote(&self) -> Result<Quote, IcmpError> {
        Quote::parse(self.payload())
    }

    /// The checksum field.
    #[must_use]
    pub fn checksum(&self) -> u16 {
        self.layout.checksum.get()
    }

    /// Whether the checksum of a message in one piece is right.
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        ones_complement_sum(self.bytes) == 0xffff
    }
}

/// The header of a message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum IcmpMessage {
    /// Type 8.
    EchoRequest {
        /// Names the asking process.
        ident: u16,
        /// Counts its questions.
        sequence: u16,
    },
    /// Type 0.
    EchoReply {
        /// As in the request.
        ident: u16,
        /// As in the request.
        sequence: u16,
    },
    /// Type 3.
    DestinationUnreachable(Unreachable),
    /// Type 11.
    TimeExceeded(TimeExceeded),
    /// Type 12.
    ParameterProblem(ParameterProblem),
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

impl IcmpMessage {
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
            Self::DestinationUnreachable(why) => {
                (DESTINATION_UNREACHABLE, why.code(), pair(0, why.mtu().unwrap_or(0)))
            }
            Self::TimeExceeded(why) => (TIME_EXCEEDED, why.code(), [0; 4]),
            Self::ParameterProblem(why) => {
                (PARAMETER_PROBLEM, why.code(), [why.pointer(), 0, 0, 0])
            }
            Self::Other { kind, code, rest } => (kind, code, rest),
        };
        let layout = Layout { kind, code, checksum: U16::ZERO, rest };
        out[..HEADER_LEN].copy_from_slice(layout.as_bytes());
        HEADER_LEN
    }

    /// Whether this reports an error about another packet. Errors must not answer errors
    /// (RFC 1122, 3.2.2), source quench and redirect included.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::EchoRequest { .. } | Self::EchoReply { .. } => false,
            Self::DestinationUnreachable(_) | Self::TimeExceeded(_) | Self::ParameterProblem(_) => {
                true
            }
            Self::Other { kind, .. } => matches!(
                *kind,
                DESTINATION_UNREACHABLE
                    | SOURCE_QUENCH
                    | REDIRECT
                    | TIME_EXCEEDED
                    | PARAMETER_PROBLEM
            ),
        }
    }
}

impl fmt::Display for IcmpMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EchoRequest { ident, sequence } => {
                write!(f, "ICMP echo request, id {ident}, seq {sequence}")
            }
            Self::EchoReply { ident, sequence } => {
                write!(f, "ICMP echo reply, id {ident}, seq {sequence}")
            }
            Self::DestinationUnreachable(why) => write!(f, "ICMP {why}"),
            Self::TimeExceeded(why) => write!(f, "ICMP {why}"),
            Self::ParameterProblem(why) => write!(f, "ICMP parameter problem, {why}"),
            Self::Other { kind, code, .. } => write!(f, "ICMP type {kind}, code {code}"),
        }
    }
}

/// Computes and writes the checksum of a whole message that lies in one piece.
///
/// # Panics
/// When `message` is shorter than a header.
pub fn fill_checksum(message: &mut [u8]) {
    message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    let checksum = !ones_complement_sum(message);
    message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Turns an echo request into its reply in place. The checksum is corrected, not recomputed, so
/// the payload may lie in other buffers and a damaged one stays visibly damaged. Returns whether
/// `header` was a request.
pub fn reply_in_place(header: &mut [u8]) -> bool {
    let [ECHO_REQUEST, 0, high, low, ..] = *header else { return false };
    let old = u16::from_be_bytes([ECHO_REQUEST, 0]);
    let new = u16::from_be_bytes([ECHO_REPLY, 0]);
    let checksum = match update_u16(u16::from_be_bytes([high, low]), old, new) {
        // A reply may be zero throughout, and then only the other zero of one's complement adds
        // up; where 0 was right, 0xffff is right too.
        0 => 0xffff,
        checksum => checksum,
    };
    header[0] = ECHO_REPLY;
    header[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests;
