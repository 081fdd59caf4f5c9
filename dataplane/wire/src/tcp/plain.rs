//! The header of nearly every segment: no option at all, or timestamps alone in the layout of
//! RFC 7323, appendix A. Read and written with loads and stores at fixed places, by value in a few
//! registers; what is rarer takes [`TcpView`](super::TcpView) and [`TcpHeader`].

use super::options::TIMESTAMPS_ALIGNED;
use super::{Flags, HEADER_LEN_MIN, SeqNumber, TcpHeader, TcpOptions, Timestamps};

/// Bytes of a header with timestamps.
const STAMPED_LEN: usize = HEADER_LEN_MIN + TIMESTAMPS_LEN;
const TIMESTAMPS_LEN: usize = 12;

/// A header without ports, urgent pointer and rare options.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlainHeader {
    /// SEG.SEQ.
    pub seq: SeqNumber,
    /// SEG.ACK; meaningful when `flags` has ACK.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as on the wire, before scaling.
    pub window: u16,
    /// The only option there may be.
    pub timestamps: Option<Timestamps>,
}

impl PlainHeader {
    /// Reads a header of this kind from the start of a segment. None means that it is of another
    /// kind, or no header: [`TcpView::parse`](super::TcpView::parse) knows.
    ///
    /// SYN and URG make a segment one of another kind: their headers say more.
    #[inline]
    #[must_use]
    pub fn parse(segment: &[u8]) -> Option<Self> {
        Self::len_in(segment)?;
        Self::read(segment)
    }

    /// As [`parse`](Self::parse), for who has asked [`len_in`](Self::len_in).
    #[inline]
    #[must_use]
    pub fn read(segment: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER_LEN_MIN] = segment.first_chunk()?;
        let timestamps = match fixed[12] >> 4 {
            5 => None,
            _ => {
                let stamped: &[u8; STAMPED_LEN] = segment.first_chunk()?;
                Some(Timestamps { value: word(stamped, 24), echo: word(stamped, 28) })
            }
        };
        Some(Self {
            seq: SeqNumber(word(fixed, 4)),
            ack: SeqNumber(word(fixed, 8)),
            flags: Flags(fixed[13]),
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            timestamps,
        })
    }

    /// Bytes of a header of this kind at the start of a segment, if [`parse`](Self::parse) would read
    /// one.
    #[inline]
    #[must_use]
    pub fn len_in(segment: &[u8]) -> Option<usize> {
        let fixed: &[u8; HEADER_LEN_MIN] = segment.first_chunk()?;
        if Flags(fixed[13]).intersects(Flags::SYN | Flags::URG) {
            return None;
        }
        match fixed[12] >> 4 {
            5 => Some(HEADER_LEN_MIN),
            8 => {
                let stamped: &[u8; STAMPED_LEN] = segment.first_chunk()?;
                (stamped[HEADER_LEN_MIN..][..4] == TIMESTAMPS_ALIGNED).then_some(STAMPED_LEN)
            }
            _ => None,
        }
    }

    /// Bytes of the header: where the data starts.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        if self.timestamps.is_some() { STAMPED_LEN } else { HEADER_LEN_MIN }
    }

    /// Writes the header. `checksum` is what goes into that field as it is: the finished checksum,
    /// or the pseudo header's sum for a device that completes it.
    ///
    /// # Panics
    /// When `out` is shorter than [`Self::header_len`].
    #[inline]
    pub fn emit(&self, src_port: u16, dst_port: u16, checksum: u16, out: &mut [u8]) {
        let offset = match self.timestamps {
            Some(Timestamps { value, echo }) => {
                let (_, options) = out[..STAMPED_LEN].split_at_mut(HEADER_LEN_MIN);
                options[..4].copy_from_slice(&TIMESTAMPS_ALIGNED);
                options[4..8].copy_from_slice(&value.to_be_bytes());
                options[8..].copy_from_slice(&echo.to_be_bytes());
                STAMPED_LEN as u8
            }
            None => HEADER_LEN_MIN as u8,
        };
        let out = &mut out[..HEADER_LEN_MIN];
        let ports = u32::from(src_port) << 16 | u32::from(dst_port);
        let state =
            u32::from(offset) << 26 | u32::from(self.flags.0) << 16 | u32::from(self.window);
        out[..4].copy_from_slice(&ports.to_be_bytes());
        out[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        out[12..16].copy_from_slice(&state.to_be_bytes());
        // Behind it the urgent pointer, zero.
        out[16..].copy_from_slice(&(u32::from(checksum) << 16).to_be_bytes());
    }

    /// The same as a header with any options, for who looks closer.
    #[must_use]
    pub const fn with_ports(&self, src_port: u16, dst_port: u16) -> TcpHeader {
        let options = match self.timestamps {
            Some(Timestamps { value, echo }) => TcpOptions::with_timestamps(value, echo),
            None => TcpOptions::NONE,
        };
        TcpHeader {
            src_port,
            dst_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            options,
        }
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::super::TcpView;
    use super::*;

    fn header(timestamps: Option<Timestamps>) -> PlainHeader {
        PlainHeader {
            seq: SeqNumber(0x1122_3344),
            ack: SeqNumber(0x5566_7788),
            flags: Flags::ACK | Flags::PSH,
            window: 0x9abc,
            timestamps,
        }
    }

    fn emitted(header: &PlainHeader) -> Vec<u8> {
        let mut out = vec![0xff; header.header_len()];
        header.emit(80, 4_000, 0xbeef, &mut out);
        out
    }

    #[test]
    fn is_written_as_the_general_header_is() {
        for stamp in [None, Some(Timestamps { value: 0x0102_0304, echo: 0x0506_0708 })] {
            let header = header(stamp);
            let mut general = vec![0xff; header.header_len()];
            let len = header.with_ports(80, 4_000).emit(&mut general);
            general[16..18].copy_from_slice(&0xbeefu16.to_be_bytes());
            assert_eq!((emitted(&header), len), (general, header.header_len()));
        }
    }

    #[test]
    fn is_read_as_the_general_header_is_or_not_at_all() {
        for stamp in [None, Some(Timestamps { value: 7, echo: 8 })] {
            let bytes = emitted(&header(stamp));
            assert_eq!(PlainHeader::parse(&bytes), Some(header(stamp)));
            let view = TcpView::parse(&bytes).and_then(|view| view.header());
            assert_eq!(view, Ok(header(stamp).with_ports(80, 4_000)));
            // One byte less than the header says.
            assert_eq!(PlainHeader::parse(&bytes[..bytes.len() - 1]), None);
            let lens = [bytes.len(), bytes.len() - 1].map(|len| PlainHeader::len_in(&bytes[..len]));
            assert_eq!(lens, [Some(bytes.len()), None]);
        }
    }

    #[test]
    fn what_says_more_is_of_another_kind() {
        let bytes = emitted(&header(Some(Timestamps { value: 7, echo: 8 })));
        let with = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let parsed = PlainHeader::parse(&bytes);
            let len = PlainHeader::len_in(&bytes);
            assert_eq!(len, parsed.map(|header| header.header_len()), "they agree");
            parsed
        };
        assert!(with(12, 0x8f).is_some(), "reserved bits are ignored (RFC 9293, 3.1)");
        for offset in [0x00, 0x40, 0x60, 0x70, 0x90, 0xf0] {
            assert_eq!(with(12, offset), None);
        }
        assert_eq!(with(13, Flags::SYN.0), None);
        assert_eq!(with(13, (Flags::ACK | Flags::URG).0), None);
        // Not the recommended layout.
        for (at, value) in [(20, 0), (21, 0), (22, 5), (23, 8)] {
            assert_eq!(with(at, value), None);
        }
    }
}
