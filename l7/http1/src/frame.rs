//! The chunked coding, received (RFC 9112, 7.1).

use sluice_buf::Chain;

use crate::error::{Fault, is_token};
use crate::limits::{BODY_MAX, CHUNK_DIGITS_MAX, CHUNK_EXTENSIONS_MAX};

/// Where in a chunked body the next byte is.
///
/// ```text
///   Size -- hex* --> Size        Size -- ';' --> ExtensionName -- token --> Extension
///   Size, Extension -- CR --> SizeLf -- LF --> Data | Trailers (size 0)
///   Data -- all of it --> DataCr -- CR --> DataLf -- LF --> Size
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkReader {
    state: State,
    /// Of the current chunk: the size so far, then what is left of it.
    left: u64,
    /// Hexadecimal digits of the current size.
    digits: u8,
    /// Bytes of extensions, all chunks together.
    extensions: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Size,
    ExtensionName,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

impl ChunkReader {
    pub(crate) const fn new() -> Self {
        Self { state: State::Size, left: 0, digits: 0, extensions: 0 }
    }

    /// Takes from `input` what there is of chunks, until the last one's line has been read.
    ///
    /// Data goes to `body` as the slices it arrived in. Returns the bytes of framing that were
    /// taken, and whether the trailer section comes next.
    pub(crate) fn read(
        &mut self,
        input: &mut Chain,
        body: &mut Chain,
    ) -> Result<(usize, bool), Fault> {
        let mut framing = 0;
        while !input.is_empty() {
            match self.state {
                State::Trailers => break,
                State::Data => {
                    let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
                    body.append(&mut input.split_to(count));
                    self.left -= count as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                }
                _ => {
                    let count = self.read_framing(input.front())?;
                    input.advance(count);
                    framing += count;
                }
            }
        }
        Ok((framing, self.state == State::Trailers))
    }

    /// Reads bytes until they are data, trailers, or all read; returns how many it read.
    fn read_framing(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        for (at, byte) in bytes.iter().enumerate() {
            self.step(*byte)?;
            if matches!(self.state, State::Data | State::Trailers) {
                return Ok(at + 1);
            }
        }
        Ok(bytes.len())
    }

    #[inline]
    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9') => self.digit(byte - b'0')?,
            (State::Size, b'a'..=b'f') => self.digit(byte - b'a' + 10)?,
            (State::Size, b'A'..=b'F') => self.digit(byte - b'A' + 10)?,
            (State::Size, _) if self.digits == 0 => return Err(Fault::ChunkSize),
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::Extension, b';') => self.extension(State::ExtensionName)?,
            (State::Size, _) => return Err(Fault::ChunkSize),
            // BWS around the semicolon's name is allowed by the grammar.
            (State::ExtensionName, b' ' | b'\t') => self.extension(State::ExtensionName)?,
            (State::ExtensionName, _) if is_token(byte) => self.extension(State::Extension)?,
            (State::ExtensionName, _) => return Err(Fault::ChunkExtension),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension(State::Extension)?,
            (State::Extension, _) => return Err(Fault::ChunkExtension),
            (State::SizeLf, b'\n') => self.size_complete(),
            (State::SizeLf, _) => return Err(Fault::BareCr),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => return Err(Fault::ChunkEnd),
            (State::Data | State::Trailers, _) => self.state,
        };
        Ok(())
    }

    fn digit(&mut self, digit: u8) -> Result<State, Fault> {
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        if self.digits > CHUNK_DIGITS_MAX || self.left > BODY_MAX {
            return Err(Fault::ChunkSize);
        }
        Ok(State::Size)
    }

    fn extension(&mut self, next: State) -> Result<State, Fault> {
        self.extensions += 1;
        if self.extensions > CHUNK_EXTENSIONS_MAX {
            return Err(Fault::ChunkExtensionsTooLong);
        }
        Ok(next)
    }

    fn size_complete(&mut self) -> State {
        self.digits = 0;
        if self.left == 0 { State::Trailers } else { State::Data }
    }
}
