//! UDP headers (RFC 768).

use std::fmt;
use std::net::IpAddr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::error::wire_error;
use crate::ipv4::IpProtocol;

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;
/// The most a datagram can carry by its own length field, bytes.
pub const PAYLOAD_LEN_MAX: u16 = u16::MAX - HEADER_LEN as u16;
/// Where the checksum lies, from the start of the header.
pub const CHECKSUM_OFFSET: usize = 6;

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    source_port: U16,
    destination_port: U16,
    len: U16,
    checksum: U16,
}

const _: () = assert!(size_of::<Layout>() == HEADER_LEN);

wire_error! {
    /// Why bytes are not a UDP datagram.
    pub enum UdpError {
        /// Fewer than 8 bytes.
        Truncated = "udp-truncated",
        /// The length is below the header's.
        Length = "udp-length",
        /// The length is above what the IP packet holds.
        LengthOverrun = "udp-length-overrun",
    }
}

/// A datagram in received bytes.
#[derive(Clone, Copy)]
pub struct UdpView<'a> {
    layout: &'a Layout,
    /// The contiguous bytes of header and payload.
    datagram: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Checks a datagram that lies in one piece, cut where the IP packet ends.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UdpError> {
        Self::parse_with_len(bytes, bytes.len())
    }

    /// Checks a datagram of which `head` is the contiguous first part and `available_len` the
    /// payload length of the IP packet.
    #[inline]
    pub fn parse_with_len(head: &'a [u8], available_len: usize) -> Result<Self, UdpError> {
        let (layout, _) = Layout::ref_from_prefix(head).map_err(|_| UdpError::Truncated)?;
        let len = usize::from(layout.len.get());
        if len < HEADER_LEN {
            return Err(UdpError::Length);
        }
        if len > available_len {
            return Err(UdpError::LengthOverrun);
        }
        Ok(Self { layout, datagram: head.get(..len).unwrap_or(head) })
    }

    /// The header by value.
    #[inline]
    #[must_use]
    pub fn header(&self) -> UdpHeader {
        UdpHeader {
            src_port: self.src_port(),
            dst_port: self.dst_port(),
            // At least the header's, see `parse_with_len`.
            payload_len: self.layout.len.get() - HEADER_LEN as u16,
        }
    }

    /// Source port; zero when no reply is wanted.
    #[inline]
    #[must_use]
    pub fn src_port(&self) -> u16 {
        self.layout.source_port.get()
    }

    /// Destination port.
    #[inline]
    #[must_use]
    pub fn dst_port(&self) -> u16 {
        self.layout.destination_port.get()
    }

    /// The checksum field; zero says that there is none.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        self.layout.checksum.get()
    }

    /// The contiguous part of the payload: all of it when the datagram lies in one piece.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.datagram[HEADER_LEN..]
    }

    /// Whether the checksum of a datagram in one piece is right, or absent where it may be: only
    /// over IPv4 (RFC 8200, 8.1).
    #[must_use]
    pub fn checksum_ok(&self, source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> bool {
        let (source, destination) = (source.into(), destination.into());
        match self.checksum() {
            0 => source.is_ipv4(),
            _ => sum(source, destination, self.datagram).is_valid(),
        }
    }
}

/// A header to be sent, or one that was understood.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UdpHeader {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bytes behind the header, at most [`PAYLOAD_LEN_MAX`].
    pub payload_len: u16,
}

impl UdpHeader {
    /// Bytes that [`Self::emit`] writes: always 8.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with a checksum of zero; returns its length.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        debug_assert!(self.payload_len <= PAYLOAD_LEN_MAX, "a datagram has at most 65,535 bytes");
        let layout = Layout {
            source_port: self.src_port.into(),
            destination_port: self.dst_port.into(),
            len: (HEADER_LEN as u16).saturating_add(self.payload_len).into(),
            checksum: U16::ZERO,
        };
        out[..HEADER_LEN].copy_from_slice(layout.as_bytes());
        HEADER_LEN
    }
}

impl fmt::Display for UdpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src_port, dst_port, payload_len } = self;
        write!(f, "{src_port} > {dst_port}: UDP, length {payload_len}")
    }
}

/// Computes and writes the checksum of a whole datagram that lies in one piece.
///
/// # Panics
/// When `datagram` is shorter than a header.
pub fn fill_checksum(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    datagram: &mut [u8],
) {
    datagram[CHECKSUM_OFFSET..HEADER_LEN].fill(0);
    let checksum = sum(source.into(), destination.into(), datagram).finish_udp();
    datagram[CHECKSUM_OFFSET..HEADER_LEN].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(source: IpAddr, destination: IpAddr, datagram: &[u8]) -> Checksum {
    let protocol = IpProtocol::Udp.number();
    let mut sum = Checksum::pseudo_header(source, destination, protocol, datagram.len() as u32);
    sum.add_bytes(datagram);
    sum
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    /// 4660 > 53, "hi".
    const DATAGRAM: [u8; 10] = [0x12, 0x34, 0x00, 0x35, 0x00, 0x0a, 0x00, 0x00, b'h', b'i'];

    fn parse(bytes: &[u8]) -> Result<UdpHeader, UdpError> {
        UdpView::parse(bytes).map(|view| view.header())
    }

    #[test]
    fn reads_and_prints() {
        let view = UdpView::parse(&DATAGRAM).expect("valid");
        assert_eq!(view.header(), UdpHeader { src_port: 4660, dst_port: 53, payload_len: 2 });
        assert_eq!(view.payload(), b"hi");
        assert_eq!(view.header().to_string(), "4660 > 53: UDP, length 2");
    }

    #[test]
    fn checksum_may_be_absent_right_or_wrong() {
        let mut bytes = DATAGRAM;
        assert!(UdpView::parse(&bytes).expect("valid").checksum_ok(SRC, DST));
        fill_checksum(SRC, DST, &mut bytes);
        // 0a00+0001+0a00+0002+0011+000a + 1234+0035+000a+6869 = 8efa by hand.
        assert_eq!(bytes[6..8], (!0x8efau16).to_be_bytes());
        assert!(UdpView::parse(&bytes).expect("valid").checksum_ok(SRC, DST));
        bytes[9] ^= 1;
        assert!(!UdpView::parse(&bytes).expect("valid").checksum_ok(SRC, DST));
    }

    #[test]
    fn over_ipv6_a_checksum_is_needed() {
        let (source, destination) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let mut bytes = DATAGRAM;
        assert!(!UdpView::parse(&bytes).expect("valid").checksum_ok(source, destination));
        fill_checksum(source, destination, &mut bytes);
        assert!(UdpView::parse(&bytes).expect("valid").checksum_ok(source, destination));
    }

    #[test]
    fn lengths_that_lie() {
        assert_eq!(parse(&DATAGRAM[..7]), Err(UdpError::Truncated));
        assert_eq!(parse(&DATAGRAM[..9]), Err(UdpError::LengthOverrun));
        let with_len = |len: u8| {
            let mut bytes = DATAGRAM;
            bytes[5] = len;
            parse(&bytes).map(|header| header.payload_len)
        };
        assert_eq!(with_len(0), Err(UdpError::Length));
        assert_eq!(with_len(7), Err(UdpError::Length));
        assert_eq!(with_len(8), Ok(0));
        assert_eq!(with_len(9), Ok(1));
        assert_eq!(with_len(11), Err(UdpError::LengthOverrun));
    }

    #[test]
    fn payload_in_several_buffers_counts_by_the_length_field() {
        let view = UdpView::parse_with_len(&DATAGRAM[..9], 10).expect("valid");
        assert_eq!(view.header().payload_len, 2);
        assert_eq!(view.payload(), b"h");
    }

    proptest! {
        #[test]
        fn emit_then_parse_is_identity(src_port in any::<u16>(), dst_port in any::<u16>(),
                                       payload_len in 0..=PAYLOAD_LEN_MAX) {
            let header = UdpHeader { src_port, dst_port, payload_len };
            let mut bytes = [0xaa; HEADER_LEN];
            prop_assert_eq!(header.emit(&mut bytes), header.header_len());
            let view = UdpView::parse_with_len(&bytes, usize::from(u16::MAX));
            prop_assert_eq!(view.map(|view| view.header()), Ok(header));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(view) = UdpView::parse(&bytes) {
                let _ = (view.payload(), view.checksum_ok(SRC, DST));
            }
        }
    }
}
