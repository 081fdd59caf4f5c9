//! TCP headers (RFC 9293, 3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  |          Source Port          |       Destination Port        |
//!  |                        Sequence Number                        |
//!  |                    Acknowledgment Number                      |
//!  | Offset| Rsrvd |C E U A P R S F|            Window             |
//!  |           Checksum            |         Urgent Pointer        |
//!  |                  Options, if Offset > 5                       |
//! ```

mod flags;
mod options;
mod plain;
mod seq_number;

use std::fmt;
use std::net::IpAddr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::error::wire_error;
use crate::ipv4::IpProtocol;

pub use flags::Flags;
pub use options::{
    FastOpenCookie, OPTIONS_LEN_MAX, SackBlocks, TcpOptions, Timestamps, WINDOW_SCALE_MAX,
};
pub use plain::PlainHeader;
pub use seq_number::SeqNumber;

/// Bytes of a header without options.
pub const HEADER_LEN_MIN: usize = 20;
/// Bytes of the largest header.
pub const HEADER_LEN_MAX: usize = HEADER_LEN_MIN + OPTIONS_LEN_MAX;
/// Where the checksum lies, from the start of the header.
pub const CHECKSUM_OFFSET: usize = 16;

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    source_port: U16,
    destination_port: U16,
    sequence: U32,
    acknowledgment: U32,
    offset: u8,
    flags: u8,
    window: U16,
    checksum: U16,
    urgent: U16,
}

const _: () = assert!(size_of::<Layout>() == HEADER_LEN_MIN);

wire_error! {
    /// Why bytes are not a TCP header.
    pub enum TcpError {
        /// Fewer than 20 bytes.
        Truncated = "tcp-truncated",
        /// The data offset is below 5.
        HeaderLength = "tcp-header-length",
        /// The data offset points past the segment.
        HeaderOverrun = "tcp-header-overrun",
        /// An option says it is shorter than its own kind and length.
        OptionLength { kind: u8 } = "tcp-option-length",
        /// An option runs past the header.
        OptionOverrun { kind: u8 } = "tcp-option-overrun",
    }
}

/// A header in received bytes.
#[derive(Clone, Copy)]
pub struct TcpView<'a> {
    layout: &'a Layout,
    options: &'a [u8],
}

impl<'a> TcpView<'a> {
    /// Checks that a whole header lies at the start of `segment`, which may be its contiguous
    /// first part only; how much data follows is the IP length's to say.
    #[inline]
    pub fn parse(segment: &'a [u8]) -> Result<Self, TcpError> {
        let (layout, rest) = Layout::ref_from_prefix(segment).map_err(|_| TcpError::Truncated)?;
        let header_len = usize::from(layout.offset >> 4) * 4;
        let options_len = header_len.checked_sub(HEADER_LEN_MIN).ok_or(TcpError::HeaderLength)?;
        let options = rest.get(..options_len).ok_or(TcpError::HeaderOverrun)?;
        Ok(Self { layout, options })
    }

    /// The header by value; reads the options.
    #[inline]
    pub fn header(&self) -> Result<TcpHeader, TcpError> {
        let mut options = TcpOptions::parse(self.options)?;
        let flags = self.flags();
        if !flags.contains(Flags::SYN) {
            // RFC 7413, 4.1.1: the option MUST be ignored without SYN.
            options.fast_open = None;
        }
        Ok(TcpHeader {
            src_port: self.src_port(),
            dst_port: self.dst_port(),
            seq: self.seq(),
            ack: self.ack(),
            flags,
            window: self.layout.window.get(),
            urgent: self.layout.urgent.get(),
            options,
        })
    }

    /// Bytes of the header with its options: where the data starts.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN_MIN + self.options.len()
    }

    /// Source port.
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

    /// Sequence number.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> SeqNumber {
        SeqNumber(self.layout.sequence.get())
    }

    /// Acknowledgement number; meaningful with ACK.
    #[inline]
    #[must_use]
    pub fn ack(&self) -> SeqNumber {
        SeqNumber(self.layout.acknowledgment.get())
    }

    /// Control bits.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags(self.layout.flags)
    }

    /// The checksum field.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        self.layout.checksum.get()
    }

    /// The option bytes, padding included.
    #[inline]
    #[must_use]
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }
}

/// A header to be sent, or one that was received and understood.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpHeader {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// SEG.SEQ.
    pub seq: SeqNumber,
    /// SEG.ACK; meaningful when `flags` has ACK.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as on the wire, before scaling.
    pub window: u16,
    /// SEG.UP; meaningful when `flags` has URG.
    pub urgent: u16,
    /// Options.
    pub options: TcpOptions,
}

impl TcpHeader {
    /// The same without ports and urgent pointer, unless there are more options than timestamps or
    /// it is a SYN, or urgent.
    #[must_use]
    pub fn as_plain(&self) -> Option<PlainHeader> {
        let is_plain = self.options.has_at_most_timestamps()
            && !self.flags.intersects(Flags::SYN | Flags::URG);
        is_plain.then(|| self.without_rare_options())
    }

    /// What a [`PlainHeader`] can hold of it.
    #[must_use]
    pub const fn without_rare_options(&self) -> PlainHeader {
        PlainHeader {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            timestamps: self.options.timestamps,
        }
    }

    /// Bytes that [`Self::emit`] writes.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        HEADER_LEN_MIN + self.options.len()
    }

    /// Writes header and padded options with a checksum of zero; returns their length.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let (fixed, rest) = out.split_at_mut(HEADER_LEN_MIN);
        let len = HEADER_LEN_MIN + self.options.emit(rest);
        let layout = Layout {
            source_port: self.src_port.into(),
            destination_port: self.dst_port.into(),
            sequence: self.seq.0.into(),
            acknowledgment: self.ack.0.into(),
            // At most 60 / 4 = 15.
            offset: ((len / 4) as u8) << 4,
            flags: self.flags.0,
            window: self.window.into(),
            checksum: U16::ZERO,
            urgent: self.urgent.into(),
        };
        fixed.copy_from_slice(layout.as_bytes());
        len
    }

    /// Sequence space that a segment with `payload_len` bytes of data takes (SEG.LEN).
    #[inline]
    #[must_use]
    pub const fn segment_len(&self, payload_len: u32) -> u32 {
        payload_len
            + self.flags.contains(Flags::SYN) as u32
            + self.flags.contains(Flags::FIN) as u32
    }

    /// Prints the header as tcpdump prints a segment with that much data.
    #[must_use]
    pub fn display(&self, payload_len: u32) -> impl fmt::Display {
        Printer { header: *self, payload_len: Some(payload_len) }
    }

    pub(crate) fn fmt_behind_ports(
        &self,
        payload_len: Option<u32>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Self { seq, ack, flags, window, urgent, options, .. } = self;
        write!(f, "Flags [{flags}], seq {seq}")?;
        if let Some(len @ 1..) = payload_len {
            write!(f, ":{}", *seq + len)?;
        }
        if flags.contains(Flags::ACK) {
            write!(f, ", ack {ack}")?;
        }
        write!(f, ", win {window}")?;
        if flags.contains(Flags::URG) {
            write!(f, ", urg {urgent}")?;
        }
        if !options.is_empty() {
            write!(f, ", options [{options}]")?;
        }
        match payload_len {
            Some(len) => write!(f, ", length {len}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TcpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { header: *self, payload_len: None }.fmt(f)
    }
}

struct Printer {
    header: TcpHeader,
    payload_len: Option<u32>,
}

impl fmt::Display for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}: ", self.header.src_port, self.header.dst_port)?;
        self.header.fmt_behind_ports(self.payload_len, f)
    }
}

/// Computes and writes the checksum of a whole segment that lies in one piece, field not yet
/// zeroed or not. Segments in several pieces add theirs to a [`Checksum`] one by one.
///
/// # Panics
/// When `segment` is shorter than a header.
pub fn fill_checksum(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    segment: &mut [u8],
) {
    segment[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    let checksum = sum(source.into(), destination.into(), segment).finish();
    segment[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether the checksum of a whole segment in one piece is right.
#[must_use]
pub fn checksum_ok(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    segment: &[u8],
) -> bool {
    sum(source.into(), destination.into(), segment).is_valid()
}

fn sum(source: IpAddr, destination: IpAddr, segment: &[u8]) -> Checksum {
    let protocol = IpProtocol::Tcp.number();
    let mut sum = Checksum::pseudo_header(source, destination, protocol, segment.len() as u32);
    sum.add_bytes(segment);
    sum
}

#[cfg(test)]
mod tests;
