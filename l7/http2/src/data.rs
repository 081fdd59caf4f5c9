//! DATA, received (RFC 9113, 6.1): bytes are passed on as they arrive, in the slices they lie in.

use sluice_buf::Chain;
use sluice_l7_core::{CodecContext, Event, Role};

use crate::budget::Class;
use crate::connection::{DataFrame, Http2, Reading, Step};
use crate::error::Fault;
use crate::frame::{FrameHeader, HEADER_LEN, flag};
use crate::state::{NO_LENGTH, Receive, Send};

impl Http2 {
    /// A DATA frame as most are: without padding, all of it there, within every window and length,
    /// on a stream that waits for it. Any other is for [`Http2::begin_data`].
    #[inline]
    pub(crate) fn take_whole_data(
        &mut self,
        header: &FrameHeader,
        input: &mut Chain,
        cx: &CodecContext<'_>,
    ) -> Option<Event> {
        let len = header.len;
        if len == 0 || header.has(flag::PADDED) || input.len() < HEADER_LEN + len as usize {
            return None;
        }
        let slot = self.streams.find(header.stream.number())?;
        let stream = self.streams.get_mut(slot);
        let end = header.has(flag::END_STREAM);
        let (outstanding, charged) = (stream.outstanding + len, self.window.outstanding() + len);
        if stream.receive != Receive::Body
            || outstanding > self.window.stream
            || charged > self.window.size()
        {
            return None;
        }
        if stream.expected != NO_LENGTH {
            let left = stream.expected.checked_sub(u64::from(len))?;
            if end && left != 0 {
                return None;
            }
            stream.expected = left;
        }
        stream.outstanding = outstanding;
        stream.moved = stream.moved.saturating_add(len);
        if end {
            stream.receive = Receive::Done;
            self.ending = Some(header.stream);
        }
        let answered = self.role == Role::Server && stream.send == Send::Done;
        self.window.charge(len);
        self.credit += HEADER_LEN + len as usize;
        self.reading = Reading::Frame { first: false };
        self.heard(cx.now);
        if answered {
            self.stands_still(slot, cx.now);
        }
        let bytes = input.split_behind(HEADER_LEN, len as usize);
        Some(Event::Body { stream: header.stream, bytes })
    }

    /// Takes the frame's header, and the byte that says how much padding there is.
    pub(crate) fn begin_data(
        &mut self,
        header: &FrameHeader,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Step, Fault> {
        let id = header.stream.number();
        if id == 0 {
            return Err(Fault::StreamMissing);
        }
        let mut taken = HEADER_LEN;
        let mut padding = 0;
        if header.has(flag::PADDED) {
            if header.len == 0 {
                return Err(Fault::FrameLength);
            }
            let mut bytes = [0; HEADER_LEN + 1];
            if input.copy_to(0, &mut bytes) < bytes.len() {
                return Ok(Step::More);
            }
            padding = bytes[HEADER_LEN];
            taken += 1;
        }
        let behind = header.len - (taken - HEADER_LEN) as u32;
        let left = behind.checked_sub(u32::from(padding)).ok_or(Fault::Padding)?;
        input.advance(taken);
        self.credit += taken;
        self.heard(cx.now);
        self.charge_connection(header.len)?;
        let end = header.has(flag::END_STREAM);
        self.reading = Reading::Data(DataFrame { stream: header.stream, left, padding, end });
        if left == 0 && !end {
            self.budgets.take(Class::Empty, cx.now)?;
        }
        let framing = header.len - left;
        let Some(slot) = self.streams.find(id) else {
            self.check_absent(id, cx.now)?;
            self.credit_connection(framing, cx);
            return Ok(Step::Begun);
        };
        match self.charge_stream(slot, header.len, left, end) {
            Ok(()) => {
                self.credit_received(header.stream, framing, cx);
                Ok(Step::Begun)
            }
            Err(fault) => {
                self.credit_connection(framing, cx);
                Ok(self.fail_stream(id, fault, cx)?.map_or(Step::Begun, Step::Event))
            }
        }
    }

    /// Whether the stream may receive so many bytes now.
    #[inline]
    fn charge_stream(&mut self, slot: u16, len: u32, left: u32, end: bool) -> Result<(), Fault> {
        let window = self.window.stream;
        let stream = self.streams.get_mut(slot);
        match stream.receive {
            Receive::Body => {}
            Receive::Head => return Err(Fault::DataBeforeHead),
            Receive::Done => return Err(Fault::StreamHalfClosed),
        }
        if len > 0 && stream.outstanding + len > window {
            return Err(Fault::StreamWindowExceeded);
        }
        stream.outstanding += len;
        if stream.expected != NO_LENGTH {
            let expected = stream.expected.checked_sub(u64::from(left));
            stream.expected = expected.ok_or(Fault::LengthMismatch)?;
            if end && stream.expected != 0 {
                return Err(Fault::LengthMismatch);
            }
        }
        Ok(())
    }

    /// Takes what there is of the frame's bytes.
    #[inline]
    pub(crate) fn read_data(
        &mut self,
        data: DataFrame,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Step {
        let DataFrame { stream, left, padding, end } = data;
        let slot = self.streams.find(stream.number());
        // A stream that is over keeps its number for a moment, and takes nothing.
        let slot = slot.filter(|slot| self.streams.get(*slot).receive == Receive::Body);
        let count = (left as usize).min(input.len());
        let left = left - count as u32;
        let bytes = input.split_to(count);
        let padded = if left == 0 { usize::from(padding).min(input.len()) } else { 0 };
        input.advance(padded);
        // What waits is bounded by the stream's window; TCP's must not close for one stream.
        self.credit += padded + count;
        let padding = padding - padded as u8;
        self.reading = match (left, padding) {
            (0, 0) => Reading::Frame { first: false },
            _ => Reading::Data(DataFrame { stream, left, padding, end }),
        };
        let whole = matches!(self.reading, Reading::Frame { .. });
        let Some(slot) = slot else {
            self.credit_connection(count as u32, cx);
            return if whole { Step::Begun } else { Step::More };
        };
        if whole && end {
            self.end_received(slot);
            self.ending = Some(stream);
        }
        if bytes.is_empty() {
            return match self.ending.take() {
                Some(stream) => {
                    self.settle_later(slot);
                    Step::Event(Event::End { stream, trailers: None })
                }
                None if whole => Step::Begun,
                None => Step::More,
            };
        }
        let state = self.streams.get_mut(slot);
        state.moved = state.moved.saturating_add(count as u32);
        if self.role == Role::Server && state.send == Send::Done {
            self.stands_still(slot, cx.now);
        }
        Step::Event(Event::Body { stream, bytes })
    }

    /// The peer has ended its message.
    #[inline]
    pub(crate) fn end_received(&mut self, slot: u16) {
        self.streams.get_mut(slot).receive = Receive::Done;
    }
}
