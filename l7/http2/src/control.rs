//! Frames about streams and the connection: everything but DATA.

use sluice_base::Instant;
use sluice_l7_core::{CodecContext, Event, ResetReason, Role, StreamId};

use crate::budget::Class;
use crate::connection::{Block, Drain, Http2, Reading};
use crate::decode::{self, Section};
use crate::error::{ErrorCode, Fault};
use crate::frame::{self, FrameHeader, FrameKind, HeadersPayload, flag};
use crate::limits::{BLOCK_BYTES_MAX, CONTINUATIONS_MAX, FRAME_SIZE, WINDOW_MAX};
use crate::timer::Timer;

/// How long a client may take for the round trip behind the announcing GOAWAY.
const DRAIN_ROUND_TRIP_NANOS: u64 = 1_000_000_000;

impl Http2 {
    /// What can be said of a frame by its header; whether all of it is needed.
    #[inline]
    pub(crate) fn check_frame(&self, first: bool, header: &FrameHeader) -> Result<bool, Fault> {
        if header.len > FRAME_SIZE {
            return Err(Fault::FrameTooLarge);
        }
        if first && (header.kind != FrameKind::Settings || header.has(flag::ACK)) {
            return Err(Fault::SettingsFirst);
        }
        if let Some(block) = &self.block
            && (header.kind != FrameKind::Continuation || header.stream != block.stream)
        {
            return Err(Fault::ContinuationMissing);
        }
        Ok(header.kind != FrameKind::Data)
    }

    pub(crate) fn handle_frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        self.heard(cx.now);
        match header.kind {
            FrameKind::Headers => return self.handle_headers(header, payload, cx),
            FrameKind::Continuation => return self.handle_continuation(header, payload, cx),
            FrameKind::WindowUpdate => return self.handle_window_update(header, payload, cx),
            FrameKind::RstStream => return self.handle_rst_stream(header, payload, cx.now),
            FrameKind::Priority => return self.handle_priority(header, payload, cx),
            FrameKind::PriorityUpdate => self.handle_priority_update(header, payload, cx.now)?,
            FrameKind::Settings => self.handle_settings(header, payload, cx)?,
            FrameKind::Ping => self.handle_ping(header, payload, cx)?,
            FrameKind::GoAway => {
                self.handle_goaway(header, payload)?;
                return Ok(self.goaway_event());
            }
            FrameKind::PushPromise => return Err(Fault::PushPromise),
            FrameKind::Unknown(_) => self.budgets.take(Class::Unknown, cx.now)?,
            // It was taken apart before.
            FrameKind::Data => {}
        }
        Ok(None)
    }

    #[inline]
    fn handle_headers(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        if header.stream == StreamId::CONNECTION {
            return Err(Fault::StreamMissing);
        }
        let HeadersPayload { fragment, depends_on } = HeadersPayload::parse(header, payload)?;
        let end_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.handle_block(header.stream, end_stream, depends_on, fragment, cx);
        }
        let mut bytes = cx.heads.take_large();
        bytes.extend_from_slice(fragment);
        let block =
            Block { stream: header.stream, end_stream, depends_on, continuations: 0, bytes };
        self.block = Some(Box::new(block));
        Ok(None)
    }

    #[cold]
    fn handle_continuation(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let block = self.block.as_mut().ok_or(Fault::ContinuationUnexpected)?;
        block.continuations += 1;
        if block.continuations > CONTINUATIONS_MAX {
            return Err(Fault::ContinuationFlood);
        }
        if block.bytes.len() + payload.len() > BLOCK_BYTES_MAX {
            return Err(Fault::BlockTooLarge);
        }
        block.bytes.extend_from_slice(payload);
        if !header.has(flag::END_HEADERS) {
            return Ok(None);
        }
        let Some(block) = self.block.take() else { return Ok(None) };
        let Block { stream, end_stream, depends_on, bytes, .. } = *block;
        let event = self.handle_block(stream, end_stream, depends_on, &bytes, cx);
        cx.heads.put_large(bytes);
        event
    }

    #[inline]
    fn handle_block(
        &mut self,
        stream: StreamId,
        end_stream: bool,
        depends_on: Option<StreamId>,
        block: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        match self.role {
            Role::Server => self.handle_request_block(stream, end_stream, depends_on, block, cx),
            Role::Client => self.handle_response_block(stream, end_stream, block, cx),
        }
    }

    /// A block behind a body: it ends the message (8.1).
    pub(crate) fn handle_trailers(
        &mut self,
        slot: u16,
        stream: StreamId,
        end_stream: bool,
        block: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let mut head = cx.heads.take();
        let facts = decode::head(
            &mut self.decoder,
            block,
            Section::Trailers,
            &mut head,
            cx.limits,
            cx.heads,
        );
        let state = self.streams.get(slot);
        let complete = state.expected == 0 || state.expected == crate::state::NO_LENGTH;
        let fault = match facts {
            Err(error) => {
                cx.heads.put(head);
                return Err(error.into());
            }
            Ok(_) if !end_stream => Some(Fault::TrailersWithoutEnd),
            Ok(Err(fault)) => Some(fault),
            Ok(Ok(_)) if !complete => Some(Fault::LengthMismatch),
            Ok(Ok(_)) => None,
        };
        if let Some(fault) = fault {
            cx.heads.put(head);
            return self.fail_stream(stream.number(), fault, cx);
        }
        self.end_received(slot);
        self.settle_later(slot);
        if head.fields().next().is_none() {
            cx.heads.put(head);
            return Ok(Some(Event::End { stream, trailers: None }));
        }
        Ok(Some(Event::End { stream, trailers: Some(head) }))
    }

    /// A block on a stream that takes none: decoded all the same, since the table must stay alike.
    #[cold]
    pub(crate) fn refuse_block(
        &mut self,
        stream: StreamId,
        fault: Fault,
        block: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        decode::skip(&mut self.decoder, block, cx.heads)?;
        self.fail_stream(stream.number(), fault, cx)
    }

    #[cold]
    fn handle_priority(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let id = header.stream.number();
        if id == 0 {
            return Err(Fault::StreamMissing);
        }
        self.budgets.take(Class::Priority, cx.now)?;
        let fault = match payload.first_chunk::<5>() {
            Some(priority) if payload.len() == 5 => {
                if frame::dependency(priority) != header.stream {
                    return Ok(None);
                }
                Fault::SelfDependency
            }
            _ => Fault::PriorityLength,
        };
        if self.streams.find(id).is_some() {
            return self.fail_stream(id, fault, cx);
        }
        // There is no stream to reset: a frame that cannot be is the connection's fault.
        if fault == Fault::PriorityLength { Err(Fault::FrameLength) } else { Ok(None) }
    }

    /// RFC 9218, 7.1.
    #[cold]
    fn handle_priority_update(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Fault> {
        if header.stream != StreamId::CONNECTION || self.role == Role::Client {
            return Err(Fault::StreamUnexpected);
        }
        self.budgets.take(Class::Priority, now)?;
        let (id, value) = payload.split_first_chunk::<4>().ok_or(Fault::FrameLength)?;
        let id = u32::from_be_bytes(*id) & WINDOW_MAX;
        if id == 0 {
            return Err(Fault::StreamMissing);
        }
        if let (Some(slot), Some(urgency)) = (self.streams.find(id), decode::urgency(value)) {
            self.streams.set_urgency(slot, urgency);
        }
        Ok(())
    }

    fn handle_rst_stream(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<Option<Event>, Fault> {
        let id = header.stream.number();
        if id == 0 {
            return Err(Fault::StreamMissing);
        }
        let code: &[u8; 4] = payload.try_into().map_err(|_| Fault::FrameLength)?;
        let code = ErrorCode(u32::from_be_bytes(*code));
        let slot = self.streams.find(id);
        // A server resets what a client asked for, so there are as many as requests.
        if self.role == Role::Server || slot.is_none() {
            self.budgets.take(Class::Reset, now)?;
        }
        let Some(slot) = slot else {
            return match self.check_absent(id, now) {
                // Both sides may end a stream at the same time.
                Ok(()) | Err(Fault::StreamClosed) => Ok(None),
                Err(fault) => Err(fault),
            };
        };
        self.leave(slot);
        Ok(Some(Event::Reset { stream: header.stream, reason: code.reset_reason(), fault: None }))
    }

    #[cold]
    fn handle_settings(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<(), Fault> {
        if header.stream != StreamId::CONNECTION {
            return Err(Fault::StreamUnexpected);
        }
        self.budgets.take(Class::Settings, cx.now)?;
        if header.has(flag::ACK) {
            return self.handle_settings_ack(payload);
        }
        let (entries, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault::FrameLength);
        }
        let peer = match self.role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let before = self.peer;
        for [a, b, c, d, e, f] in entries {
            let (id, value) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]));
            self.peer.apply(id, value, peer)?;
        }
        if self.peer.initial_window != before.initial_window {
            let (now, then) = (self.peer.initial_window, before.initial_window);
            self.move_windows(i64::from(now) - i64::from(then), cx.now)?;
        }
        if self.peer.header_table_size != before.header_table_size {
            self.encoder.set_size_max(self.header_table());
            self.rewrite_tails(cx)?;
        }
        self.put(&frame::settings_ack(), cx);
        Ok(())
    }

    fn handle_settings_ack(&mut self, payload: &[u8]) -> Result<(), Fault> {
        if !payload.is_empty() {
            return Err(Fault::FrameLength);
        }
        // One that we did not ask for says nothing.
        let Some(left) = self.timers.settings_unanswered.checked_sub(1) else { return Ok(()) };
        self.timers.settings_unanswered = left;
        if left == 0 {
            self.timers.set(Timer::Settings, Instant::NEVER);
            self.window.acknowledged();
            self.decoder.set_size_max(self.config.header_table);
        }
        Ok(())
    }

    /// What our encoder's table may take.
    pub(crate) fn header_table(&self) -> u32 {
        self.peer.header_table_size.min(self.config.header_table)
    }

    /// RFC 9113, 6.9.2: every stream's window moves with the setting, below zero if need be.
    fn move_windows(&mut self, by: i64, now: Instant) -> Result<(), Fault> {
        let mut from = 0;
        while let Some(slot) = self.streams.next_used(from) {
            from = slot + 1;
            let stream = self.streams.get_mut(slot);
            let window = i64::from(stream.send_window) + by;
            if window > i64::from(WINDOW_MAX) {
                return Err(Fault::InitialWindow);
            }
            // The sum of a window and a setting is above -2^31.
            stream.send_window = window.max(i64::from(i32::MIN)) as i32;
            if window <= 0 {
                self.streams.unready(slot);
                if !self.streams.get(slot).queue.is_empty() {
                    self.stands_still(slot, now);
                }
            } else {
                self.streams.make_ready(slot);
            }
        }
        Ok(())
    }

    fn handle_ping(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<(), Fault> {
        if header.stream != StreamId::CONNECTION {
            return Err(Fault::StreamUnexpected);
        }
        let payload: [u8; 8] = payload.try_into().map_err(|_| Fault::FrameLength)?;
        // Answers to what we asked are as many as we asked for: one per round trip and more.
        let ours = self.timers.is_set(Timer::Ping) && payload == ping_payload(self.timers.ping);
        if !header.has(flag::ACK) || !ours {
            self.budgets.take(Class::Ping, cx.now)?;
        }
        if !header.has(flag::ACK) {
            self.put(&frame::ping(payload, true), cx);
            return Ok(());
        }
        if !ours {
            return Ok(());
        }
        self.timers.set(Timer::Ping, Instant::NEVER);
        self.measured();
        if self.drain == Drain::Announced {
            if self.drain_pinged {
                self.finish_drain(cx);
            } else {
                // That one was on its way when we announced it.
                self.drain_pinged = true;
                self.send_ping(cx);
            }
        }
        Ok(())
    }

    /// Asks for a sign of life.
    pub(crate) fn send_ping(&mut self, cx: &mut CodecContext<'_>) {
        self.timers.ping = self.timers.ping.wrapping_add(1);
        let wait = u64::from(self.config.answer_timeout_ms) * 1_000_000;
        self.timers.set(Timer::Ping, cx.now.plus_nanos(wait));
        self.put(&frame::ping(ping_payload(self.timers.ping), false), cx);
    }

    fn handle_goaway(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fault> {
        if header.stream != StreamId::CONNECTION {
            return Err(Fault::StreamUnexpected);
        }
        let (last, rest) = payload.split_first_chunk::<4>().ok_or(Fault::FrameLength)?;
        if rest.len() < 4 {
            return Err(Fault::FrameLength);
        }
        let last = u32::from_be_bytes(*last) & WINDOW_MAX;
        if self.goaway.is_some_and(|before| last > before) {
            return Err(Fault::GoAwayRaised);
        }
        self.goaway = Some(last);
        self.tell_goaway = true;
        if self.role == Role::Client {
            self.refused_from = Some(0);
        }
        Ok(())
    }

    /// The peer's GOAWAY, then each stream that it will never look at.
    #[cold]
    pub(crate) fn goaway_event(&mut self) -> Option<Event> {
        let last = self.goaway?;
        if std::mem::take(&mut self.tell_goaway) {
            return Some(Event::GoAway { last: StreamId::new(last) });
        }
        let mut from = self.refused_from.take()?;
        while let Some(slot) = self.streams.next_used(from) {
            from = slot + 1;
            let id = self.streams.get(slot).id;
            if id > last {
                self.refused_from = Some(from);
                self.leave(slot);
                let stream = StreamId::new(id);
                return Some(Event::Reset { stream, reason: ResetReason::Refused, fault: None });
            }
        }
        None
    }

    fn handle_window_update(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let increment: [u8; 4] = payload.try_into().map_err(|_| Fault::FrameLength)?;
        let increment = (u32::from_be_bytes(increment) & WINDOW_MAX) as i32;
        self.budgets.take(Class::WindowUpdate, cx.now)?;
        let id = header.stream.number();
        if id == 0 {
            if increment == 0 {
                return Err(Fault::ConnectionWindowZero);
            }
            let window = self.send_window.checked_add(increment);
            self.send_window = window.ok_or(Fault::ConnectionWindowOverflow)?;
            return Ok(None);
        }
        let Some(slot) = self.streams.find(id) else {
            return match self.check_absent(id, cx.now) {
                // It may have been on its way when the stream ended.
                Ok(()) | Err(Fault::StreamClosed) => Ok(None),
                Err(fault) => Err(fault),
            };
        };
        let stream = self.streams.get_mut(slot);
        match stream.send_window.checked_add(increment) {
            _ if increment == 0 => self.fail_stream(id, Fault::StreamWindowZero, cx),
            None => self.fail_stream(id, Fault::StreamWindowOverflow, cx),
            Some(window) => {
                stream.send_window = window;
                self.streams.make_ready(slot);
                Ok(None)
            }
        }
    }

    /// GOAWAY in two steps (RFC 9113, 6.8): those that are on their way are still taken.
    pub(crate) fn start_drain(&mut self, cx: &mut CodecContext<'_>) {
        if self.drain != Drain::No {
            return;
        }
        if self.role == Role::Client || !self.started {
            self.drain = Drain::Final;
            self.drain_last = self.peer_last;
            return;
        }
        self.drain = Drain::Announced;
        let mut out = cx.heads.take_large();
        frame::goaway(StreamId::new(WINDOW_MAX), ErrorCode::NO_ERROR, "", &mut out);
        self.put_scratch(out, cx);
        if !self.timers.is_set(Timer::Ping) {
            self.drain_pinged = true;
            self.send_ping(cx);
        }
        self.timers.set(Timer::Drain, cx.now.plus_nanos(DRAIN_ROUND_TRIP_NANOS));
    }

    /// The connection is about to be closed: says up to which stream it served, unless it has.
    pub fn say_goodbye(&mut self, cx: &mut CodecContext<'_>) {
        let spoken = self.started && !matches!(self.reading, Reading::Failed);
        if spoken && self.drain != Drain::Final {
            self.finish_drain(cx);
        }
    }

    pub(crate) fn finish_drain(&mut self, cx: &mut CodecContext<'_>) {
        self.drain = Drain::Final;
        self.drain_last = self.peer_last;
        self.timers.set(Timer::Drain, Instant::NEVER);
        let mut out = cx.heads.take_large();
        frame::goaway(StreamId::new(self.peer_last), ErrorCode::NO_ERROR, "", &mut out);
        self.put_scratch(out, cx);
    }
}

/// What the PING of this number says.
fn ping_payload(number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_be_bytes();
    [b's', b'l', b'u', b'i', a, b, c, d]
}
