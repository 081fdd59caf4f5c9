//! TCP options: RFC 9293, 3.2; RFC 7323 (window scale, timestamps); RFC 2018 (SACK);
//! RFC 7413 (Fast Open); RFC 5482 (user timeout).
//!
//! Nearly every segment carries either no option at all or timestamps alone in the layout of
//! RFC 7323, appendix A; both are recognised before the loop.

use std::fmt;

use super::{SeqNumber, TcpError};

/// The largest shift a peer may ask for (RFC 7323, 2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;
/// Room for options in the largest header, bytes.
pub const OPTIONS_LEN_MAX: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const USER_TIMEOUT: u8 = 28;
const FAST_OPEN: u8 = 34;

/// NOP, NOP, kind 8, length 10: what RFC 7323, appendix A recommends in front of timestamps.
pub(super) const TIMESTAMPS_ALIGNED: [u8; 4] = [NOP, NOP, TIMESTAMPS, 10];

/// The options of one segment. What a peer repeats counts as it was said last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpOptions {
    /// Largest segment the sender can take, bytes without headers (RFC 9293, 3.7.1).
    pub mss: Option<u16>,
    /// Shift of the sender's windows, at most [`WINDOW_SCALE_MAX`].
    pub window_scale: Option<u8>,
    /// The sender understands SACK (RFC 2018, 2).
    pub sack_permitted: bool,
    /// RFC 7323, 3.
    pub timestamps: Option<Timestamps>,
    /// RFC 2018, 3.
    pub sack: SackBlocks,
    /// RFC 7413, 4.1.1: the request for a cookie is an empty one.
    pub fast_open: Option<FastOpenCookie>,
    /// RFC 5482, 3, the raw field: the top bit says minutes instead of seconds.
    pub user_timeout: Option<u16>,
}

impl TcpOptions {
    /// No options.
    pub const NONE: Self = Self {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        sack: SackBlocks::NONE,
        fast_open: None,
        user_timeout: None,
    };

    /// Timestamps alone: the options of an established connection's segments.
    #[inline]
    #[must_use]
    pub const fn with_timestamps(value: u32, echo: u32) -> Self {
        Self { timestamps: Some(Timestamps { value, echo }), ..Self::NONE }
    }

    /// Reads the bytes between the fixed header and the data.
    ///
    /// RFC 9293, 3.1: unknown options are skipped by their length (MUST-6); a length below 2 or
    /// one that runs past the header is an error (MUST-7). A known option of another length than
    /// its RFC gives is skipped like an unknown one.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, TcpError> {
        if bytes.is_empty() {
            return Ok(Self::NONE);
        }
        if let Ok([a, b, c, d, v0, v1, v2, v3, e0, e1, e2, e3]) = <[u8; 12]>::try_from(bytes)
            && [a, b, c, d] == TIMESTAMPS_ALIGNED
        {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            return Ok(Self::with_timestamps(value, u32::from_be_bytes([e0, e1, e2, e3])));
        }
        Self::parse_any(bytes)
    }

    fn parse_any(mut bytes: &[u8]) -> Result<Self, TcpError> {
        let mut options = Self::NONE;
        while let [kind, rest @ ..] = bytes {
            match *kind {
                END => break,
                NOP => bytes = rest,
                kind => {
                    let Some(&len) = rest.first() else {
                        return Err(TcpError::OptionOverrun { kind });
                    };
                    if len < 2 {
                        return Err(TcpError::OptionLength { kind });
                    }
                    let Some((option, behind)) = bytes.split_at_checked(usize::from(len)) else {
                        return Err(TcpError::OptionOverrun { kind });
                    };
                    options.take(kind, &option[2..]);
                    bytes = behind;
                }
            }
        }
        Ok(options)
    }

    /// Notes one option; `data` is what follows its kind and length.
    fn take(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            // RFC 7323, 2.3: a larger shift is used as 14.
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(WINDOW_SCALE_MAX)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                let value = u32::from_be_bytes([a, b, c, d]);
                self.timestamps =
                    Some(Timestamps { value, echo: u32::from_be_bytes([e, f, g, h]) });
            }
            (SACK, data) => {
                if let (blocks @ [_, ..], []) = data.as_chunks::<8>() {
                    self.sack = SackBlocks::NONE;
                    for &[a, b, c, d, e, f, g, h] in blocks {
                        let left = SeqNumber(u32::from_be_bytes([a, b, c, d]));
                        self.sack.push(left, SeqNumber(u32::from_be_bytes([e, f, g, h])));
                    }
                }
            }
            (USER_TIMEOUT, &[a, b]) => self.user_timeout = Some(u16::from_be_bytes([a, b])),
            (FAST_OPEN, data) => {
                if let Some(cookie) = FastOpenCookie::new(data) {
                    self.fast_open = Some(cookie);
                }
            }
            // RFC 9293, MUST-6: ignore without error what is not implemented.
            _ => {}
        }
    }

    /// Bytes that [`Self::emit`] writes: a multiple of 4, at most [`OPTIONS_LEN_MAX`].
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        if self.has_at_most_timestamps() {
            return if self.timestamps.is_some() { 12 } else { 0 };
        }
        self.encode().len.next_multiple_of(4)
    }

    /// Whether nothing is set.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_none() && self.has_at_most_timestamps()
    }

    /// Writes the options, padded to a multiple of 4, and returns how many bytes that took.
    ///
    /// Options are aligned with NOPs where there is room and packed where there is not. SACK comes
    /// last and gives as many blocks as fit (RFC 2018, 4). The rest fits whenever it came from a
    /// header; what was put together by hand and does not fit is left out, the cookie first.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        if self.has_at_most_timestamps() {
            let Some(Timestamps { value, echo }) = self.timestamps else { return 0 };
            out[..4].copy_from_slice(&TIMESTAMPS_ALIGNED);
            out[4..8].copy_from_slice(&value.to_be_bytes());
            out[8..12].copy_from_slice(&echo.to_be_bytes());
            return 12;
        }
        let encoded = self.encode();
        // The room behind `len` is zero: END and padding.
        let len = encoded.len.next_multiple_of(4);
        out[..len].copy_from_slice(&encoded.bytes[..len]);
        len
    }

    /// Whether there is nothing but perhaps timestamps.
    #[inline]
    pub(super) fn has_at_most_timestamps(&self) -> bool {
        self.mss.is_none()
            && self.window_scale.is_none()
            && !self.sack_permitted
            && self.sack.is_empty()
            && self.fast_open.is_none()
            && self.user_timeout.is_none()
    }

    #[cold]
    fn encode(&self) -> Encoded {
        let aligned = self.encode_as(true);
        if aligned.left_out == 0 {
            return aligned;
        }
        let packed = self.encode_as(false);
        if packed.left_out < aligned.left_out { packed } else { aligned }
    }

    fn encode_as(&self, aligned: bool) -> Encoded {
        let mut to = Encoded { bytes: [0; OPTIONS_LEN_MAX], len: 0, left_out: 0, aligned };
        if let Some(mss) = self.mss {
            to.put(MSS, &[&mss.to_be_bytes()]);
        }
        if self.sack_permitted {
            // In front of timestamps it takes the place of their two NOPs.
            if self.timestamps.is_some() {
                to.put_tight(SACK_PERMITTED, &[]);
            } else {
                to.put(SACK_PERMITTED, &[]);
            }
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            to.put(TIMESTAMPS, &[&value.to_be_bytes(), &echo.to_be_bytes()]);
        }
        if let Some(shift) = self.window_scale {
            to.put(WINDOW_SCALE, &[&[shift.min(WINDOW_SCALE_MAX)]]);
        }
        if let Some(timeout) = self.user_timeout {
            to.put(USER_TIMEOUT, &[&timeout.to_be_bytes()]);
        }
        if let Some(cookie) = &self.fast_open {
            to.put(FAST_OPEN, &[cookie.bytes()]);
        }
        if !self.sack.is_empty() {
            to.put_sack(&self.sack);
        }
        to
    }
}

/// Options being laid out.
struct Encoded {
    bytes: [u8; OPTIONS_LEN_MAX],
    len: usize,
    /// Bytes of options for which there was no room.
    left_out: usize,
    /// Whether every option ends on a multiple of 4.
    aligned: bool,
}

impl Encoded {
    /// Writes one option, in the aligned layout behind NOPs so that it ends on a multiple of 4.
    fn put(&mut self, kind: u8, parts: &[&[u8]]) {
        let len = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        let end = self.len + len;
        let nops = if self.aligned { end.next_multiple_of(4) - end } else { 0 };
        if end + nops > OPTIONS_LEN_MAX {
            self.left_out += len;
            return;
        }
        self.bytes[self.len..self.len + nops].fill(NOP);
        self.len += nops;
        self.put_tight(kind, parts);
    }

    fn put_tight(&mut self, kind: u8, parts: &[&[u8]]) {
        let len = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        if self.len + len > OPTIONS_LEN_MAX {
            self.left_out += len;
            return;
        }
        self.bytes[self.len] = kind;
        // At most 34: bounded by the options' own room.
        self.bytes[self.len + 1] = len as u8;
        self.len += 2;
        for part in parts {
            self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
            self.len += part.len();
        }
    }

    fn put_sack(&mut self, sack: &SackBlocks) {
        let mut data = [0; 8 * SackBlocks::MAX];
        let (chunks, _) = data.as_chunks_mut::<8>();
        for (chunk, (left, right)) in chunks.iter_mut().zip(sack.iter()) {
            chunk[..4].copy_from_slice(&left.0.to_be_bytes());
            chunk[4..].copy_from_slice(&right.0.to_be_bytes());
        }
        let header_len = if self.aligned { 4 } else { 2 };
        let room = OPTIONS_LEN_MAX.saturating_sub(self.len + header_len) / 8;
        let blocks = sack.len().min(room);
        self.left_out += 8 * (sack.len() - blocks);
        if blocks > 0 {
            self.put(SACK, &[&data[..8 * blocks]]);
        }
    }
}

impl fmt::Display for TcpOptions {
    /// As inside tcpdump's `options [..]`, without the NOPs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut next = || std::mem::replace(&mut separator, ",");
        if let Some(mss) = self.mss {
            write!(f, "{}mss {mss}", next())?;
        }
        if self.sack_permitted {
            write!(f, "{}sackOK", next())?;
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            write!(f, "{}TS val {value} ecr {echo}", next())?;
        }
        if let Some(shift) = self.window_scale {
            write!(f, "{}wscale {shift}", next())?;
        }
        if let Some(timeout) = self.user_timeout {
            write!(f, "{}uto {timeout:#06x}", next())?;
        }
        if let Some(cookie) = &self.fast_open {
            write!(f, "{}tfo {cookie}", next())?;
        }
        if !self.sack.is_empty() {
            write!(f, "{}sack {}", next(), self.sack.len())?;
            for (left, right) in self.sack.iter() {
                write!(f, " {{{left}:{right}}}")?;
            }
        }
        Ok(())
    }
}

/// RFC 7323, 3.2.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Timestamps {
    /// TSval: the sender's clock, in ticks of its own.
    pub value: u32,
    /// TSecr: the receiver's clock as last heard; meaningful with ACK.
    pub echo: u32,
}

/// Up to four ranges `left..right` that arrived out of order (RFC 2018, 3).
#[derive(Clone, Copy, Debug, Default)]
pub struct SackBlocks {
    blocks: [(SeqNumber, SeqNumber); SackBlocks::MAX],
    len: u8,
}

impl SackBlocks {
    /// As many as fit a header without other options.
    pub const MAX: usize = 4;
    /// No block.
    pub const NONE: Self = Self { blocks: [(SeqNumber::ZERO, SeqNumber::ZERO); Self::MAX], len: 0 };

    /// Adds a block; returns false, and adds nothing, when four are there.
    pub fn push(&mut self, left: SeqNumber, right: SeqNumber) -> bool {
        let Some(block) = self.blocks.get_mut(usize::from(self.len)) else { return false };
        *block = (left, right);
        self.len += 1;
        true
    }

    /// The blocks, first sent first.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[(SeqNumber, SeqNumber)] {
        &self.blocks[..self.len().min(Self::MAX)]
    }

    /// The blocks by value.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SeqNumber, SeqNumber)> + '_ {
        self.as_slice().iter().copied()
    }

    /// Number of blocks.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl PartialEq for SackBlocks {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for SackBlocks {}

impl FromIterator<(SeqNumber, SeqNumber)> for SackBlocks {
    /// Takes the first four.
    fn from_iter<I: IntoIterator<Item = (SeqNumber, SeqNumber)>>(blocks: I) -> Self {
        let mut sack = Self::NONE;
        for (left, right) in blocks.into_iter().take(Self::MAX) {
            sack.push(left, right);
        }
        sack
    }
}

/// A Fast Open cookie: empty (a request for one), or 4 to 16 bytes, even (RFC 7413, 4.1.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct FastOpenCookie {
    bytes: [u8; 16],
    len: u8,
}

impl FastOpenCookie {
    /// The request for a cookie.
    pub const REQUEST: Self = Self { bytes: [0; 16], len: 0 };

    /// A cookie of a length that the RFC allows.
    #[must_use]
    pub fn new(cookie: &[u8]) -> Option<Self> {
        let is_len_valid = matches!(cookie.len(), 0 | 4..=16) && cookie.len().is_multiple_of(2);
        if !is_len_valid {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..cookie.len()].copy_from_slice(cookie);
        Some(Self { bytes, len: cookie.len() as u8 })
    }

    /// The cookie's bytes; empty for a request.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether this asks for a cookie instead of giving one.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Display for FastOpenCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_request() {
            return f.write_str("cookiereq");
        }
        f.write_str("cookie ")?;
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
