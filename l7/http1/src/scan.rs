//! The search for the end of a head.

use memchr::memchr;
use sluice_buf::Chain;
use sluice_l7_core::HeadLimits;

use crate::error::Fault;
use crate::limits;

/// How far a head, or a trailer section, has been looked at: bytes are looked at once, however they
/// arrive.
///
/// It finds the empty line and refuses lines that end in LF alone, which the parser would accept.
/// What it says depends on the bytes alone and not on how they were cut: limits are checked where
/// they are crossed, before anything behind them is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Bytes looked at, from the head's start.
    scanned: u32,
    /// Bytes of the line that has not ended yet.
    line: u32,
    /// Lines that have ended.
    lines: u32,
    /// Whether the last byte was CR.
    cr: bool,
}

impl Scan {
    /// For a trailer section: as if the first line had been seen.
    pub(crate) fn trailers() -> Self {
        Self { lines: 1, ..Self::default() }
    }

    /// Whether nothing has been looked at.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    /// Looks at what is new in `input`, whose first byte is the head's; the head's length, with the
    /// empty line, if its end is there.
    pub(crate) fn resume(
        &mut self,
        input: &Chain,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, Fault> {
        let max = limits::head_bytes(limits);
        let mut skip = self.scanned as usize;
        let mut left = max.min(input.len()) - skip.min(max);
        for piece in input.pieces() {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let piece = &piece[skip..];
            skip = 0;
            let piece = &piece[..left.min(piece.len())];
            left -= piece.len();
            if let Some(end) = self.look_at(piece, limits)? {
                return Ok(Some(end));
            }
            if left == 0 {
                break;
            }
        }
        if input.len() > max {
            return Err(Fault::HeadTooLong);
        }
        Ok(None)
    }

    fn look_at(&mut self, piece: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while let Some(lf) = memchr(b'\n', &piece[at..]) {
            if lf > 0 {
                self.cr = piece[at + lf - 1] == b'\r';
            }
            self.line += lf as u32;
            self.check_first_line(limits)?;
            if !self.cr {
                return Err(Fault::BareLf);
            }
            at += lf + 1;
            let empty = self.line == 1;
            (self.line, self.cr) = (0, false);
            self.lines += 1;
            if empty {
                return Ok(Some(self.scanned as usize + at));
            }
        }
        if let Some(last) = piece[at..].last() {
            self.cr = *last == b'\r';
            self.line += (piece.len() - at) as u32;
            self.check_first_line(limits)?;
        }
        self.scanned += piece.len() as u32;
        Ok(None)
    }

    #[inline]
    fn check_first_line(&self, limits: &HeadLimits) -> Result<(), Fault> {
        if self.lines == 0 && self.line - u32::from(self.cr) > limits.request_line {
            return Err(Fault::RequestLineTooLong);
        }
        Ok(())
    }
}
