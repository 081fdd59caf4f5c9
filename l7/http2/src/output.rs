//! What is written: header blocks, and bodies by turns.
//!
//! A body goes out at once while its windows are open and nobody else waits; what cannot, waits in
//! its stream and leaves by bursts ([`Codec::poll_body`](sluice_l7_core::Codec::poll_body)), the
//! more urgent streams first, those of one urgency in turns. A stream without a window is in no list.

use sluice_base::Instant;
use sluice_buf::Chain;
use sluice_l7_core::{CodecContext, Drained, EncodeError, Head, Role, Runs, StreamId};

use crate::connection::Http2;
use crate::encode;
use crate::error::Fault;
use crate::frame::{FrameHeader, FrameKind, HEADER_LEN, flag};
use crate::hpack::Encoder;
use crate::limits::FRAME_SIZE;
use crate::state::{NO_LENGTH, Receive, Send};

/// Nearly every block is smaller.
const BLOCK_USUAL: usize = 512;

impl Http2 {
    /// Writes a header block as HEADERS and, if it is large, CONTINUATION.
    pub(crate) fn write_block(
        &mut self,
        stream: StreamId,
        end_stream: bool,
        cx: &mut CodecContext<'_>,
        encode: impl FnOnce(&mut Encoder, &mut Runs, &mut Vec<u8>),
    ) -> Result<(), EncodeError> {
        // Once it is encoded it must be sent: the tables depend on it.
        if !self.flush_unsent(cx) {
            return Err(EncodeError::NoMemory);
        }
        let spare = match cx.output.tail_room() {
            BLOCK_USUAL.. => None,
            _ => Some(cx.pool.alloc()?),
        };
        self.budgets.earn_ping();
        let mut out = cx.heads.take_large();
        out.extend_from_slice(&[0; HEADER_LEN]);
        encode(&mut self.encoder, cx.heads.runs(), &mut out);
        finish_block(stream, end_stream, &mut out);
        drop(spare);
        if cx.output.append_copy(&out, cx.pool).is_err() {
            self.broken = Some(Fault::NoMemory);
        }
        cx.heads.put_large(out);
        Ok(())
    }

    /// A stream's head has been written; `announced` body bytes follow.
    pub(crate) fn head_written(&mut self, slot: u16, end: bool, announced: u64, now: Instant) {
        let state = self.streams.get_mut(slot);
        state.announced = announced;
        state.send = if end { Send::Done } else { Send::Body };
        if end {
            self.sent_all(slot, now);
        }
    }

    /// The last of our message has been written.
    pub(crate) fn sent_all(&mut self, slot: u16, now: Instant) {
        let state = self.streams.get_mut(slot);
        state.send = Send::Done;
        if self.role == Role::Server && state.receive == Receive::Body {
            self.stands_still(slot, now);
        }
        self.settle(slot);
    }

    /// Body bytes; `last`: there are some, and the message ends with them.
    pub(crate) fn write_body(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        last: bool,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError> {
        let count = bytes.len();
        let Some(slot) = self.streams.find(stream.number()) else {
            // The stream is over, or its response has no body: nobody wants them.
            bytes.clear();
            return Ok(count);
        };
        let state = self.streams.get_mut(slot);
        match state.send {
            Send::Body => {}
            Send::Done => {
                bytes.clear();
                return Ok(count);
            }
            Send::Head | Send::Ending => return Err(EncodeError::WrongState),
        }
        if count == 0 {
            return Ok(0);
        }
        if state.announced != NO_LENGTH {
            let left = state.announced.checked_sub(count as u64);
            let left = left.filter(|left| !last || *left == 0);
            state.announced = left.ok_or(EncodeError::LengthMismatch)?;
        }
        let waits = !state.queue.is_empty();
        let window = state.send_window.min(self.send_window).max(0) as usize;
        if count <= window.min(FRAME_SIZE as usize)
            && (last || state.announced != 0)
            && !(waits || self.hold || self.streams.any_ready() || !self.unsent.is_empty())
        {
            return self.write_whole(slot, bytes, last, cx);
        }
        let state = self.streams.get_mut(slot);
        state.queue.append(bytes);
        if last {
            state.send = Send::Ending;
        } else if state.announced == 0 && !waits && state.send_window > 0 {
            // The end comes with the next call, and goes with the last bytes.
            state.held = true;
            return Ok(count);
        }
        if waits || self.hold || self.streams.any_ready() {
            self.wait(slot, cx.now);
            return Ok(0);
        }
        let written = self.write_data(slot, usize::MAX, cx);
        if written < count {
            self.wait(slot, cx.now);
        }
        Ok(written)
    }

    /// Body bytes for which there is a window, while nobody waits: as one frame.
    #[inline]
    fn write_whole(
        &mut self,
        slot: u16,
        bytes: &mut Chain,
        last: bool,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError> {
        let count = bytes.len();
        let state = self.streams.get_mut(slot);
        let header = FrameHeader {
            len: count as u32,
            kind: FrameKind::Data,
            flags: if last { flag::END_STREAM } else { 0 },
            stream: StreamId::new(state.id),
        };
        if cx.output.append_framed(&header.write(), bytes, cx.pool).is_err() {
            // Until there is memory.
            state.queue.append(bytes);
            if last {
                state.send = Send::Ending;
            }
            self.wait(slot, cx.now);
            return Ok(0);
        }
        state.send_window -= count as i32;
        self.send_window -= count as i32;
        state.moved = state.moved.saturating_add(count as u32);
        state.still_since = 0;
        self.budgets.earn_ping();
        if last {
            self.sent_all(slot, cx.now);
        }
        Ok(count)
    }

    /// What is queued waits for its turn, or for a window.
    fn wait(&mut self, slot: u16, now: Instant) {
        let state = self.streams.get(slot);
        if !state.queue.is_empty() {
            let shut = state.send_window <= 0;
            self.streams.make_ready(slot);
            if shut || self.send_window <= 0 {
                self.stands_still(slot, now);
            }
        }
    }

    /// Writes up to `most` queued bytes as DATA, and the end if it is known; how many bytes.
    fn write_data(&mut self, slot: u16, most: usize, cx: &mut CodecContext<'_>) -> usize {
        if !self.flush_unsent(cx) {
            return 0;
        }
        let mut written = 0;
        loop {
            let state = self.streams.get_mut(slot);
            let window = state.send_window.min(self.send_window).max(0) as usize;
            let count = state.queue.len().min(window).min(FRAME_SIZE as usize).min(most - written);
            if count == 0 {
                break;
            }
            let last = count == state.queue.len();
            let end = last && state.send == Send::Ending && state.tail.is_empty();
            let header = FrameHeader {
                len: count as u32,
                kind: FrameKind::Data,
                flags: if end { flag::END_STREAM } else { 0 },
                stream: StreamId::new(state.id),
            };
            if cx.output.append_copy(&header.write(), cx.pool).is_err() {
                break;
            }
            if last {
                cx.output.append_small(&mut state.queue);
            } else {
                cx.output.append(&mut state.queue.split_to(count));
            }
            state.send_window -= count as i32;
            self.send_window -= count as i32;
            state.moved = state.moved.saturating_add(count as u32);
            self.budgets.earn_ping();
            written += count;
            if last {
                state.still_since = 0;
                if state.send == Send::Ending {
                    cx.output.append(&mut state.tail);
                    self.sent_all(slot, cx.now);
                }
                break;
            }
        }
        written
    }

    pub(crate) fn write_end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        // It is over: its end was said with its last bytes, or nobody listens any more.
        let Some(slot) = self.streams.find(stream.number()) else { return Ok(()) };
        let state = self.streams.get_mut(slot);
        match state.send {
            Send::Body => {}
            Send::Done => return Ok(()),
            Send::Head | Send::Ending => return Err(EncodeError::WrongState),
        }
        if state.announced != NO_LENGTH && state.announced != 0 {
            return Err(EncodeError::LengthMismatch);
        }
        let trailers = trailers.filter(|head| encode::has_trailers(head));
        if trailers.is_some_and(Head::is_unprintable) {
            return Err(EncodeError::Unprintable);
        }
        if state.queue.is_empty() {
            return self.write_end_now(slot, stream, trailers, cx);
        }
        if let Some(head) = trailers {
            let mut out = cx.heads.take_large();
            out.extend_from_slice(&[0; HEADER_LEN]);
            encode::detached_trailers(head, &mut out);
            finish_block(stream, true, &mut out);
            let tail = Chain::copy_from(&out, cx.pool);
            cx.heads.put_large(out);
            self.streams.get_mut(slot).tail = tail?;
        }
        let state = self.streams.get_mut(slot);
        state.send = Send::Ending;
        let held = std::mem::take(&mut state.held);
        if held && !self.hold && !self.streams.any_ready() {
            self.write_data(slot, usize::MAX, cx);
        }
        if self.streams.find(stream.number()) == Some(slot) {
            self.wait(slot, cx.now);
        }
        Ok(())
    }

    /// Nothing waits: the end goes out at once.
    fn write_end_now(
        &mut self,
        slot: u16,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        if let Some(head) = trailers {
            self.write_block(stream, true, cx, |encoder, runs, out| {
                encode::trailers(encoder, head, runs, out);
            })?;
        } else {
            let kind = FrameKind::Data;
            let end = FrameHeader { len: 0, kind, flags: flag::END_STREAM, stream };
            if !self.flush_unsent(cx) {
                return Err(EncodeError::NoMemory);
            }
            cx.output.append_copy(&end.write(), cx.pool)?;
        }
        self.sent_all(slot, cx.now);
        Ok(())
    }

    /// The next burst of what waits.
    pub(crate) fn write_burst(
        &mut self,
        burst: usize,
        cx: &mut CodecContext<'_>,
    ) -> Option<Drained> {
        if self.send_window <= 0 {
            return None;
        }
        let slot = self.streams.next_ready()?;
        let stream = StreamId::new(self.streams.get(slot).id);
        let token = self.streams.get(slot).token;
        let bytes = self.write_data(slot, burst, cx);
        if bytes == 0 {
            return None;
        }
        if self.streams.find(stream.number()) == Some(slot) {
            // To the end of its list, or out of it.
            self.streams.unready(slot);
            self.wait(slot, cx.now);
        }
        Some(Drained { stream, token, bytes })
    }

    /// The peer changed the table's size: trailers that wait were written before, and say now what
    /// their decoder expects at the start of a block (RFC 9113, 4.3.1).
    #[cold]
    pub(crate) fn rewrite_tails(&mut self, cx: &mut CodecContext<'_>) -> Result<(), Fault> {
        let mut update = Vec::new();
        let mut encoder = Encoder::default();
        // Twice, since nothing is said of a size that is not new.
        encoder.set_size_max(0);
        encoder.set_size_max(self.header_table());
        encoder.begin(&mut update);
        let mut from = 0;
        while let Some(slot) = self.streams.next_used(from) {
            from = slot + 1;
            let state = self.streams.get_mut(slot);
            if state.tail.is_empty() {
                continue;
            }
            let frames = state.tail.to_vec();
            let mut out = vec![0; HEADER_LEN];
            out.extend_from_slice(&update);
            out.extend(block_of(&frames));
            finish_block(StreamId::new(state.id), true, &mut out);
            state.tail = Chain::copy_from(&out, cx.pool).map_err(|_| Fault::NoMemory)?;
        }
        Ok(())
    }
}

/// The block in frames that [`finish_block`] made.
fn block_of(frames: &[u8]) -> Vec<u8> {
    let (mut block, mut rest) = (Vec::new(), frames);
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
        let len = (FrameHeader::read(header).len as usize).min(behind.len());
        // Of an earlier change.
        let fragment = &behind[..len];
        block.extend_from_slice(fragment);
        rest = &behind[len..];
    }
    let updates = |block: &[u8]| block.first().is_some_and(|byte| byte & 0xe0 == 0x20);
    while updates(&block) {
        let long = block[0] & 0x1f == 0x1f;
        let end = if long { block.iter().skip(1).position(|byte| byte & 0x80 == 0) } else { None };
        block.drain(..end.map_or(1, |at| at + 2));
    }
    block
}

/// Writes the header in front of a block, for which room was left; a large one is cut.
fn finish_block(stream: StreamId, end_stream: bool, out: &mut Vec<u8>) {
    let len = out.len() - HEADER_LEN;
    let first = len.min(FRAME_SIZE as usize);
    let mut flags = if end_stream { flag::END_STREAM } else { 0 };
    if first == len {
        flags |= flag::END_HEADERS;
    }
    let header = FrameHeader { len: first as u32, kind: FrameKind::Headers, flags, stream };
    out[..HEADER_LEN].copy_from_slice(&header.write());
    if first < len {
        cut_block(stream, out);
    }
}

#[cold]
fn cut_block(stream: StreamId, out: &mut Vec<u8>) {
    let rest = out.split_off(HEADER_LEN + FRAME_SIZE as usize);
    let mut pieces = rest.chunks(FRAME_SIZE as usize).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        let (len, kind) = (piece.len() as u32, FrameKind::Continuation);
        out.extend_from_slice(&FrameHeader { len, kind, flags, stream }.write());
        out.extend_from_slice(piece);
    }
}
