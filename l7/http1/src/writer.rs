//! Where a head is written: one buffer, or a large one where that is too small.

use sluice_buf::{Chain, Packet};
use sluice_l7_core::{CodecContext, EncodeError};

/// Bytes appended one after the other.
pub(crate) trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

/// The room of one buffer. What does not fit is counted as overflow, and the result is not used.
pub(crate) struct Room<'a> {
    room: &'a mut [u8],
    at: usize,
    overflow: bool,
}

impl Sink for Room<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        match self.room.get_mut(self.at..self.at + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.overflow = true,
        }
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// What writes itself into a sink, twice if the first one is too small.
pub(crate) trait Write {
    /// Writes all.
    fn write(&self, sink: &mut impl Sink);
}

/// Appends what `parts` writes to the output; on an error nothing was appended.
pub(crate) fn append(parts: &impl Write, cx: &mut CodecContext<'_>) -> Result<(), EncodeError> {
    let mut packet = cx.pool.alloc()?;
    match fill(&mut packet, parts) {
        Some(len) => packet.into_chain(0, len, cx.output),
        None => return append_large(parts, cx),
    }
    Ok(())
}

/// Writes into the buffer; the bytes written, None if it is too small.
#[inline]
fn fill(packet: &mut Packet, parts: &impl Write) -> Option<usize> {
    let tailroom = packet.tailroom();
    let mut room = Room { room: packet.append(tailroom)?, at: 0, overflow: false };
    parts.write(&mut room);
    (!room.overflow).then_some(room.at)
}

#[cold]
fn append_large(parts: &impl Write, cx: &mut CodecContext<'_>) -> Result<(), EncodeError> {
    let mut large = cx.heads.take_large();
    parts.write(&mut large);
    let chain = Chain::copy_from(&large, cx.pool);
    cx.heads.put_large(large);
    cx.output.append(&mut chain?);
    Ok(())
}

/// Writes a number in decimal.
#[inline]
pub(crate) fn put_decimal(sink: &mut impl Sink, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    sink.put(&digits[at..]);
}

/// A chunk's first line, behind the line end that the previous one still lacks.
pub(crate) struct ChunkLine {
    bytes: [u8; 20],
    from: usize,
}

impl ChunkLine {
    #[inline]
    pub(crate) fn new(line_end: bool, mut size: u64) -> Self {
        let mut bytes = [0; 20];
        bytes[18..].copy_from_slice(b"\r\n");
        let mut from = 18;
        loop {
            from -= 1;
            bytes[from] = b"0123456789abcdef"[(size & 15) as usize];
            size >>= 4;
            if size == 0 {
                break;
            }
        }
        // A size below 2^56 leaves room; no chain is longer than 2^32.
        if line_end && from >= 2 {
            from -= 2;
            bytes[from..from + 2].copy_from_slice(b"\r\n");
        }
        Self { bytes, from }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}
