//! Frames (RFC 9113, 4 and 6): nine bytes of header, and payloads.
//!
//! ```text
//!   0        3      4       5                  9
//!   | length | type | flags | R | stream id    | payload ...
//! ```
//!
//! [`FrameHeader`] is both faces of the header: read from any nine bytes, written from valid fields.
//! Payloads are views: their lengths are checked once, by the constructor.

use sluice_l7_core::StreamId;

use crate::error::{ErrorCode, Fault};

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 9;

/// What a client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types. An unknown one is a value: it is ignored within a budget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// Body bytes.
    Data,
    /// A header block, or its start.
    Headers,
    /// RFC 7540's dependencies; ignored.
    Priority,
    /// The end of a stream before its time.
    RstStream,
    /// Settings, or their acknowledgement.
    Settings,
    /// Never sent, never accepted.
    PushPromise,
    /// A question for a sign of life, or the answer.
    Ping,
    /// The end of new streams.
    GoAway,
    /// More window.
    WindowUpdate,
    /// More of a header block.
    Continuation,
    /// RFC 9218: a request's priority, changed.
    PriorityUpdate,
    /// Any other.
    Unknown(u8),
}

impl FrameKind {
    /// The type with this number.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            0x10 => Self::PriorityUpdate,
            other => Self::Unknown(other),
        }
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::Priority => 0x2,
            Self::RstStream => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::Ping => 0x6,
            Self::GoAway => 0x7,
            Self::WindowUpdate => 0x8,
            Self::Continuation => 0x9,
            Self::PriorityUpdate => 0x10,
            Self::Unknown(number) => number,
        }
    }
}

/// Flag bits.
pub mod flag {
    /// SETTINGS, PING: an answer.
    pub const ACK: u8 = 0x01;
    /// DATA, HEADERS: the sender's last frame but for CONTINUATION.
    pub const END_STREAM: u8 = 0x01;
    /// HEADERS, CONTINUATION: the block is whole.
    pub const END_HEADERS: u8 = 0x04;
    /// DATA, HEADERS: the first byte says how much padding there is at the end.
    pub const PADDED: u8 = 0x08;
    /// HEADERS: five bytes of RFC 7540's priority come first.
    pub const PRIORITY: u8 = 0x20;
}

/// A frame's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameHeader {
    /// Bytes of payload.
    pub len: u32,
    /// What it is.
    pub kind: FrameKind,
    /// Flag bits; unknown ones mean nothing.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: StreamId,
}

impl FrameHeader {
    /// Reads nine bytes; the reserved bit is ignored.
    #[inline]
    #[must_use]
    pub const fn read(bytes: &[u8; HEADER_LEN]) -> Self {
        // As words: one load each.
        let [a, b, c, kind, flags, e, f, g, h] = *bytes;
        let (front, stream) =
            (u32::from_be_bytes([a, b, c, kind]), u32::from_be_bytes([e, f, g, h]));
        Self {
            len: front >> 8,
            kind: FrameKind::from_number(front as u8),
            flags,
            stream: StreamId::new(stream & 0x7fff_ffff),
        }
    }

    /// The nine bytes.
    #[inline]
    #[must_use]
    pub const fn write(&self) -> [u8; HEADER_LEN] {
        let front = self.len << 8 | self.kind.number() as u32;
        let [a, b, c, kind] = front.to_be_bytes();
        let [e, f, g, h] = self.stream.number().to_be_bytes();
        [a, b, c, kind, self.flags, e, f, g, h]
    }

    /// Whether a flag is set.
    #[inline]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A frame with a payload of four bytes: RST_STREAM, WINDOW_UPDATE.
#[inline]
fn with_word(kind: FrameKind, stream: StreamId, word: u32) -> [u8; 13] {
    let mut frame = [0; 13];
    let header = FrameHeader { len: 4, kind, flags: 0, stream };
    frame[..9].copy_from_slice(&header.write());
    frame[9..].copy_from_slice(&word.to_be_bytes());
    frame
}

/// Any frame, in one piece: for who writes few of them, of any kind, as tests and tools do.
#[must_use]
pub fn whole(kind: FrameKind, flags: u8, stream: StreamId, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { len: payload.len() as u32, kind, flags, stream };
    [&header.write()[..], payload].concat()
}

/// RST_STREAM.
#[must_use]
pub fn rst_stream(stream: StreamId, code: ErrorCode) -> [u8; 13] {
    with_word(FrameKind::RstStream, stream, code.0)
}

/// WINDOW_UPDATE; `increment` is 1 to 2^31-1.
#[must_use]
pub fn window_update(stream: StreamId, increment: u32) -> [u8; 13] {
    debug_assert!(increment > 0 && increment >> 31 == 0, "an increment has 31 bits");
    with_word(FrameKind::WindowUpdate, stream, increment)
}

/// PING.
#[must_use]
pub fn ping(payload: [u8; 8], ack: bool) -> [u8; 17] {
    let mut frame = [0; 17];
    let flags = if ack { flag::ACK } else { 0 };
    let header = FrameHeader { len: 8, kind: FrameKind::Ping, flags, stream: StreamId::CONNECTION };
    frame[..9].copy_from_slice(&header.write());
    frame[9..].copy_from_slice(&payload);
    frame
}

/// GOAWAY with the broken rule's name as debug data, which is what an operator on the other side
/// finds in a capture.
pub fn goaway(last: StreamId, code: ErrorCode, debug: &str, out: &mut Vec<u8>) {
    let header = FrameHeader {
        len: 8 + debug.len() as u32,
        kind: FrameKind::GoAway,
        flags: 0,
        stream: StreamId::CONNECTION,
    };
    out.extend_from_slice(&header.write());
    out.extend_from_slice(&last.number().to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(debug.as_bytes());
}

/// SETTINGS from identifiers and values.
pub fn settings(entries: &[(u16, u32)], out: &mut Vec<u8>) {
    let header = FrameHeader {
        len: entries.len() as u32 * 6,
        kind: FrameKind::Settings,
        flags: 0,
        stream: StreamId::CONNECTION,
    };
    out.extend_from_slice(&header.write());
    for (id, value) in entries {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// SETTINGS acknowledged.
#[must_use]
pub const fn settings_ack() -> [u8; HEADER_LEN] {
    FrameHeader {
        len: 0,
        kind: FrameKind::Settings,
        flags: flag::ACK,
        stream: StreamId::CONNECTION,
    }
    .write()
}

/// The payload of a HEADERS frame: its fragment of the block, and whom it depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeadersPayload<'a> {
    /// The fragment.
    pub fragment: &'a [u8],
    /// RFC 7540's parent stream, if the frame names one.
    pub depends_on: Option<StreamId>,
}

impl<'a> HeadersPayload<'a> {
    /// Takes padding and priority off.
    ///
    /// # Errors
    /// [`Fault::Padding`], [`Fault::FrameLength`].
    #[inline]
    pub fn parse(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, Fault> {
        if !header.has(flag::PADDED | flag::PRIORITY) {
            return Ok(Self { fragment: payload, depends_on: None });
        }
        let mut fragment = payload;
        let mut padding = 0;
        if header.has(flag::PADDED) {
            let (len, rest) = fragment.split_first().ok_or(Fault::FrameLength)?;
            (padding, fragment) = (usize::from(*len), rest);
        }
        let mut depends_on = None;
        if header.has(flag::PRIORITY) {
            let (priority, rest) = fragment.split_first_chunk::<5>().ok_or(Fault::FrameLength)?;
            (depends_on, fragment) = (Some(dependency(priority)), rest);
        }
        let len = fragment.len().checked_sub(padding).ok_or(Fault::Padding)?;
        Ok(Self { fragment: &fragment[..len], depends_on })
    }
}

/// Whom a stream depends on (RFC 7540, 6.3): exclusive bit, stream, weight.
#[must_use]
pub const fn dependency(priority: &[u8; 5]) -> StreamId {
    let [a, b, c, d, _] = *priority;
    StreamId::new(u32::from_be_bytes([a & 0x7f, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        for number in 0..=255 {
            let kind = FrameKind::from_number(number);
            assert_eq!(kind.number(), number);
            for (len, id) in [(0, 0), (1, 1), (16_384, 3), (0xff_ffff, 0x7fff_ffff)] {
                let header = FrameHeader { len, kind, flags: number, stream: StreamId::new(id) };
                assert_eq!(FrameHeader::read(&header.write()), header);
            }
        }
        let reserved = [0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(FrameHeader::read(&reserved).stream.number(), 0x7fff_ffff);
    }

    #[test]
    fn padding_and_priority_at_every_edge() {
        let parse = |flags, payload: &'static [u8]| {
            let kind = FrameKind::Headers;
            let len = payload.len() as u32;
            let header = FrameHeader { len, kind, flags, stream: StreamId::new(1) };
            HeadersPayload::parse(&header, payload)
        };
        let plain = |fragment| Ok(HeadersPayload { fragment, depends_on: None });
        let padded = flag::PADDED;
        assert_eq!(parse(0, b""), plain(b""));
        assert_eq!(parse(0, b"ab"), plain(b"ab"));
        assert_eq!(parse(padded, b""), Err(Fault::FrameLength));
        assert_eq!(parse(padded, b"\0"), plain(b""));
        assert_eq!(parse(padded, b"\x01x"), plain(b""));
        assert_eq!(parse(padded, b"\x01ax"), plain(b"a"));
        assert_eq!(parse(padded, b"\x02x"), Err(Fault::Padding));
        let depends =
            |fragment, on| Ok(HeadersPayload { fragment, depends_on: Some(StreamId::new(on)) });
        let priority = flag::PRIORITY;
        assert_eq!(parse(priority, b"\x80\0\0\x05"), Err(Fault::FrameLength));
        assert_eq!(parse(priority, b"\x80\0\0\x05w"), depends(b"", 5));
        assert_eq!(parse(priority | padded, b"\x01\0\0\0\x07wa-"), depends(b"a", 7));
        assert_eq!(parse(priority | padded, b"\x01\0\0\0\x07w"), Err(Fault::Padding));
        assert_eq!(parse(priority | padded, b"\x01\0\0\0\x07"), Err(Fault::FrameLength));
    }

    #[test]
    fn written_frames() {
        let one = StreamId::new(1);
        assert_eq!(rst_stream(one, ErrorCode::CANCEL), *b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08");
        assert_eq!(window_update(one, 0x1234), *b"\0\0\x04\x08\0\0\0\0\x01\0\0\x12\x34");
        assert_eq!(ping(*b"12345678", true), *b"\0\0\x08\x06\x01\0\0\0\x0012345678");
        assert_eq!(settings_ack(), *b"\0\0\0\x04\x01\0\0\0\0");
        let mut out = Vec::new();
        goaway(one, ErrorCode::PROTOCOL_ERROR, "why", &mut out);
        settings(&[(2, 0), (4, 65_535)], &mut out);
        let written: [&[u8]; 2] = [
            b"\0\0\x0b\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x01why",
            b"\0\0\x0c\x04\0\0\0\0\0\0\x02\0\0\0\0\0\x04\0\0\xff\xff",
        ];
        assert_eq!(out, written.concat());
    }
}
