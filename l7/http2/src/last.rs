//! Few body bytes that end a request, passed from one connection to another in one piece.
//!
//! ```text
//!   | DATA, END_STREAM | few bytes |
//! ```
//!
//! As for answers, nothing is taken in or written unless all of it can be.

use sluice_buf::{COPY_MAX, Chain};
use sluice_l7_core::{CodecContext, Role, StreamId};

use crate::connection::{Http2, Reading};
use crate::frame::{FrameHeader, FrameKind, HEADER_LEN, flag};
use crate::state::{NO_LENGTH, Receive, Send};

/// The end of a request, with all that is left of its body, in front of anything else in a
/// connection's input.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    /// Its stream.
    pub stream: StreamId,
    /// What the caller attached to that.
    pub token: u64,
    slot: u16,
    len: u32,
}

impl Last {
    /// The body bytes, in the input that they were found in.
    #[inline]
    #[must_use]
    pub fn body<'i>(&self, input: &'i Chain) -> &'i [u8] {
        input.front().get(HEADER_LEN..HEADER_LEN + self.len as usize).unwrap_or_default()
    }
}

impl Http2 {
    /// The end of a request that comes next, if it is all there and within every window and length.
    /// Nothing is taken.
    #[inline]
    pub fn find_last(&mut self, input: &Chain) -> Option<Last> {
        let front = input.front();
        let header = front.first_chunk::<HEADER_LEN>()?;
        let [a, b, c, kind, flags, e, f, g, h] = *header;
        if kind != FrameKind::Data.number() || flags != flag::END_STREAM {
            return None;
        }
        let len = u32::from_be_bytes([a, b, c, 0]) >> 8;
        if !(1..=COPY_MAX as u32).contains(&len) || front.len() < HEADER_LEN + len as usize {
            return None;
        }
        if self.role != Role::Server
            || !matches!(self.reading, Reading::Frame { first: false })
            || self.block.is_some()
            || self.ending.is_some()
            || self.broken.is_some()
            || self.tell_goaway
            || self.refused_from.is_some()
        {
            return None;
        }
        self.flush_leaving();
        let id = u32::from_be_bytes([e, f, g, h]);
        let slot = self.streams.find(id)?;
        let (state, window) = (self.streams.get(slot), &self.window);
        if state.receive != Receive::Body
            || state.send != Send::Head
            || (state.expected != NO_LENGTH && state.expected != u64::from(len))
            || state.outstanding + len > window.stream
            || window.outstanding() + len > window.size()
        {
            return None;
        }
        Some(Last { stream: StreamId::new(id), token: state.token, slot, len })
    }

    /// Takes what [`Http2::find_last`] has just found off the input, and gives its bytes back: they
    /// have gone on.
    #[inline]
    pub fn take_last(
        &mut self,
        last: &Last,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Chain {
        self.heard(cx.now);
        self.credit += HEADER_LEN + last.len as usize;
        let state = self.streams.get_mut(last.slot);
        if state.expected != NO_LENGTH {
            state.expected = 0;
        }
        self.pass_ended(last.slot, last.len, cx);
        input.split_behind(HEADER_LEN, last.len as usize)
    }

    /// Writes the end of a request with the last bytes of its body; whether it was written, all of it.
    #[inline]
    pub fn write_last(&mut self, stream: StreamId, body: &[u8], cx: &mut CodecContext<'_>) -> bool {
        let Some(slot) = self.streams.find(stream.number()) else { return false };
        let (state, count) = (self.streams.get(slot), body.len());
        let mut frame = [0; HEADER_LEN + COPY_MAX];
        let Some(frame) = frame.get_mut(..HEADER_LEN + count) else { return false };
        if state.send != Send::Body
            || !state.queue.is_empty()
            || (state.announced != NO_LENGTH && state.announced != count as u64)
            || count as i32 > state.send_window.min(self.send_window)
            || self.hold
            || self.streams.any_ready()
            || !self.unsent.is_empty()
        {
            return false;
        }
        let (len, kind) = (count as u32, FrameKind::Data);
        let (header, place) = frame.split_at_mut(HEADER_LEN);
        let flags = flag::END_STREAM;
        header.copy_from_slice(&FrameHeader { len, kind, flags, stream }.write());
        place.copy_from_slice(body);
        if cx.output.append_copy(frame, cx.pool).is_err() {
            return false;
        }
        self.budgets.earn_ping();
        self.send_window -= count as i32;
        let state = self.streams.get_mut(slot);
        state.send_window -= count as i32;
        state.moved = state.moved.saturating_add(len);
        state.still_since = 0;
        if state.announced != NO_LENGTH {
            state.announced = 0;
        }
        self.sent_all(slot, cx.now);
        true
    }
}
