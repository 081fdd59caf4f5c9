//! The machine: what both roles share.

use sluice_base::Instant;
use sluice_buf::Chain;
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, Drained, EncodeError, Event, Head, ProtocolError, ResetReason,
    Role, StreamId,
};

use crate::budget::Budgets;
use crate::ending::Resets;
use crate::error::{ErrorCode, Fault};
use crate::frame::{self, FrameHeader, HEADER_LEN, PREFACE};
use crate::hpack::{Decoder, Encoder};
use crate::limits::{UNSENT_MAX, WORN_OUT};
use crate::settings::{Config, PeerSettings};
use crate::state::{Receive, Send, Stream};
use crate::streams::Streams;
use crate::timer::Timers;
use crate::window::ConnectionWindow;

/// What the next byte received is part of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// The client's preface.
    Preface,
    /// A frame's header; `first`: it must be SETTINGS.
    Frame { first: bool },
    /// A DATA frame's payload: so many bytes, then padding.
    Data(DataFrame),
    /// Nothing: the peer broke the protocol.
    Failed,
}

/// Where in a DATA frame the next byte is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataFrame {
    pub(crate) stream: StreamId,
    /// Bytes still to come, and padding behind them.
    pub(crate) left: u32,
    pub(crate) padding: u8,
    pub(crate) end: bool,
}

/// How far reading a DATA frame got.
pub(crate) enum Step {
    /// More bytes are needed.
    More,
    /// It goes on.
    Begun,
    /// Something for the caller.
    Event(Event),
}

/// A header block of which more is to come.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) stream: StreamId,
    pub(crate) end_stream: bool,
    pub(crate) depends_on: Option<StreamId>,
    pub(crate) continuations: u8,
    pub(crate) bytes: Vec<u8>,
}

/// How far we are with not taking new streams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Drain {
    /// We take them.
    No,
    /// GOAWAY was announced (server): those on their way are still taken.
    Announced,
    /// None above the last one.
    Final,
}

/// One HTTP/2 connection.
///
/// Plain data; what has not been decoded stays in the caller's `input`, and body bytes that wait for
/// a window stay in the slices they arrived in.
#[derive(Debug)]
pub struct Http2 {
    pub(crate) role: Role,
    pub(crate) config: Config,
    pub(crate) reading: Reading,
    pub(crate) block: Option<Box<Block>>,
    /// The caller has had the last body bytes of this message, and is told of its end next.
    pub(crate) ending: Option<StreamId>,
    /// Streams that the peer's GOAWAY refused, from this slot on, are reported next.
    pub(crate) refused_from: Option<u16>,
    /// The peer's GOAWAY is reported next.
    pub(crate) tell_goaway: bool,
    /// A fault that was found outside of `decode`.
    pub(crate) broken: Option<Fault>,
    /// A stream that is over: it goes when the caller, who has just been told, asks again.
    pub(crate) leaving: Option<u16>,
    pub(crate) started: bool,
    /// The highest stream that the peer opened.
    pub(crate) peer_last: u32,
    /// The next stream of ours.
    pub(crate) own_next: u32,
    /// A stream of ours whose head has not been written.
    pub(crate) opened: u32,
    pub(crate) drain: Drain,
    /// The PING behind the announcing GOAWAY has been sent.
    pub(crate) drain_pinged: bool,
    /// The last stream by our final GOAWAY.
    pub(crate) drain_last: u32,
    /// The last stream by the peer's GOAWAY.
    pub(crate) goaway: Option<u32>,
    pub(crate) peer: PeerSettings,
    pub(crate) streams: Streams,
    pub(crate) resets: Resets,
    /// Bytes that the peer allows on all streams together.
    pub(crate) send_window: i32,
    pub(crate) window: ConnectionWindow,
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    pub(crate) budgets: Budgets,
    pub(crate) timers: Timers,
    /// Answers for which there was no packet memory.
    pub(crate) unsent: Vec<u8>,
    /// Received bytes that are done with.
    pub(crate) credit: usize,
    /// Body bytes are only queued: the caller asks for them.
    pub(crate) hold: bool,
    /// Streams that we gave up, beyond those that were completed.
    pub(crate) worn: u16,
    /// Frames without an event since `decode` paused, and whether it does now.
    silent: u16,
    paused: bool,
}

// An idle connection costs at most 4 kB, its tables empty.
const _: () = assert!(size_of::<Http2>() <= 704);

impl Http2 {
    /// A fresh connection.
    #[must_use]
    pub fn new(role: Role, config: &Config) -> Self {
        let config = config.bounded();
        let reading = match role {
            Role::Server => Reading::Preface,
            Role::Client => Reading::Frame { first: true },
        };
        Self {
            role,
            config,
            reading,
            block: None,
            ending: None,
            refused_from: None,
            tell_goaway: false,
            broken: None,
            leaving: None,
            started: false,
            peer_last: 0,
            own_next: 1,
            opened: 0,
            drain: Drain::No,
            drain_pinged: false,
            drain_last: 0,
            goaway: None,
            peer: PeerSettings::new(),
            streams: Streams::new(),
            resets: Resets::default(),
            send_window: crate::limits::WINDOW_DEFAULT as i32,
            window: ConnectionWindow::new(&config),
            decoder: Decoder::default(),
            encoder: Encoder::with_size_max(config.header_table),
            budgets: Budgets::new(config.resets_max, config.frames),
            timers: Timers::new(),
            unsent: Vec::new(),
            credit: 0,
            hold: false,
            worn: 0,
            silent: 0,
            paused: false,
        }
    }

    /// Makes it a fresh connection in the memory of this one, as far as that is what most have.
    pub fn recycle(&mut self, role: Role, config: &Config) {
        let Self { streams, decoder, encoder, resets, .. } =
            std::mem::replace(self, Self::new(role, config));
        (self.streams, self.decoder, self.encoder, self.resets) =
            (streams, decoder, encoder, resets);
        self.streams.clear();
        self.decoder.clear();
        self.encoder.clear();
        self.encoder.set_size_max(self.config.header_table);
        self.resets.clear();
    }

    /// Whether it carries nothing, but has memory of the time when it carried something.
    #[inline]
    #[must_use]
    pub fn is_roomy(&self) -> bool {
        self.streams.is_roomy()
    }

    /// Gives that memory up, and empties our own table of header compression.
    pub fn trim(&mut self) {
        self.flush_leaving();
        if self.is_roomy() {
            self.streams = Streams::new();
            self.encoder.trim();
            self.decoder.trim();
        }
    }

    /// Client role: whether the server takes extended CONNECT (RFC 8441). None: it has not said what
    /// it takes, and may not be asked yet.
    #[must_use]
    pub fn takes_protocols(&self) -> Option<bool> {
        let said = !matches!(self.reading, Reading::Preface | Reading::Frame { first: true });
        said.then_some(self.peer.connect_protocol)
    }

    /// Server role: whether the client has been told that no new streams will be taken, and may not
    /// have heard so yet.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.role == Role::Server && self.drain == Drain::Announced
    }

    /// How much of a budget against floods the peer has used up, of the one that it used most, in
    /// 256ths: 256 is what ends the connection.
    #[must_use]
    pub fn flooded(&self, now: Instant) -> u16 {
        self.budgets.used(now)
    }

    /// Bytes of memory that the connection holds, all in all.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.streams.memory()
            + self.decoder.memory()
            + self.encoder.memory()
            + self.unsent.capacity()
            + self.resets.memory()
            + self.block.as_ref().map_or(0, |block| block.bytes.capacity())
    }

    /// Attaches a number of the caller's to a stream, for as long as it lives.
    pub fn set_token(&mut self, stream: StreamId, token: u64) {
        if let Some(slot) = self.streams.find(stream.number()) {
            self.streams.get_mut(slot).token = token;
        }
    }

    /// The number that the caller attached to a stream.
    #[inline]
    #[must_use]
    pub fn token(&self, stream: StreamId) -> Option<u64> {
        self.streams.find(stream.number()).map(|slot| self.streams.get(slot).token)
    }

    /// Every stream in progress with its token, for a connection that is gone.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, u64)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let slot = self.streams.next_used(from)?;
            from = slot + 1;
            let stream = self.streams.get(slot);
            Some((StreamId::new(stream.id), stream.token))
        })
    }

    /// Whether body bytes are only queued from now on, since TCP takes no more: then `poll_body` is
    /// asked for them, and the streams take turns.
    pub fn hold_output(&mut self, hold: bool) {
        self.hold = hold;
    }

    /// Whether a header block has begun whose last frame is not here: it holds a large buffer.
    #[inline]
    #[must_use]
    pub fn is_inside_block(&self) -> bool {
        self.block.is_some()
    }

    /// Whether `decode` said None though there was more: it has taken `pause_after` frames of which
    /// the caller heard nothing. It goes on when it is called again.
    #[inline]
    #[must_use = "what is left is decoded by nobody else"]
    pub fn take_pause(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// One frame more that made no event; whether that is enough for now.
    #[inline]
    fn pauses(&mut self) -> bool {
        if self.config.pause_after != 0 {
            self.silent += 1;
            self.paused = self.silent >= self.config.pause_after;
            self.silent = if self.paused { 0 } else { self.silent };
        }
        self.paused
    }

    /// Whether `poll_body` has something to write.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.streams.any_ready() && self.send_window > 0
    }

    /// Appends an answer or keeps it until there is memory.
    pub(crate) fn put(&mut self, bytes: &[u8], cx: &mut CodecContext<'_>) {
        if !self.flush_unsent(cx) || cx.output.append_copy(bytes, cx.pool).is_err() {
            self.unsent.extend_from_slice(bytes);
            if self.unsent.len() > UNSENT_MAX {
                self.broken = Some(Fault::NoMemory);
            }
        }
    }

    /// Appends what could not be sent before; whether nothing is left.
    #[inline]
    pub(crate) fn flush_unsent(&mut self, cx: &mut CodecContext<'_>) -> bool {
        self.unsent.is_empty() || self.flush_some(cx)
    }

    #[cold]
    fn flush_some(&mut self, cx: &mut CodecContext<'_>) -> bool {
        let done = cx.output.append_copy(&self.unsent, cx.pool).is_ok();
        if done {
            self.unsent = Vec::new();
        }
        done
    }

    /// Writes what each side says first (RFC 9113, 3.4), if that has not been said. A client does so by
    /// itself with its first request.
    pub fn start(&mut self, cx: &mut CodecContext<'_>) {
        if self.started {
            return;
        }
        self.started = true;
        let mut out = cx.heads.take_large();
        if self.role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        let (entries, count) = self.config.entries(self.role, cx.limits.header_bytes);
        frame::settings(&entries[..count], &mut out);
        if let Some(more) = self.window.start() {
            out.extend_from_slice(&frame::window_update(StreamId::CONNECTION, more));
        }
        self.settings_sent(cx.now);
        self.put_scratch(out, cx);
    }

    /// As [`Http2::put`] of what was written into a large buffer, which goes back.
    pub(crate) fn put_scratch(&mut self, scratch: Vec<u8>, cx: &mut CodecContext<'_>) {
        self.put(&scratch, cx);
        cx.heads.put_large(scratch);
    }

    /// Does what the first frame of `input` says, all of which is there, where it lies.
    #[inline]
    fn take_frame(
        &mut self,
        header: &FrameHeader,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let len = header.len as usize + HEADER_LEN;
        self.credit += len;
        self.reading = Reading::Frame { first: false };
        let event = match input.front().get(HEADER_LEN..len) {
            Some(payload) => self.handle_frame(header, payload, cx),
            None => self.take_straddling(header, input, cx),
        };
        input.advance(len);
        event
    }

    #[cold]
    fn take_straddling(
        &mut self,
        header: &FrameHeader,
        input: &Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let mut bytes = cx.heads.take_large();
        bytes.resize(header.len as usize, 0);
        input.copy_to(HEADER_LEN, &mut bytes);
        let event = self.handle_frame(header, &bytes, cx);
        cx.heads.put_large(bytes);
        event
    }

    fn decode_next(
        &mut self,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(fault) = self.broken {
                return Err(fault);
            }
            match self.reading {
                Reading::Failed => return Ok(None),
                Reading::Data(data) => match self.read_data(data, input, cx) {
                    Step::More => return Ok(None),
                    Step::Event(event) => return Ok(Some(event)),
                    Step::Begun if self.pauses() => return Ok(None),
                    Step::Begun => {}
                },
                Reading::Frame { first } => {
                    let Some(header) = read_header(input) else { return Ok(None) };
                    if !self.check_frame(first, &header)? {
                        if let Some(event) = self.take_whole_data(&header, input, cx) {
                            return Ok(Some(event));
                        }
                        match self.begin_data(&header, input, cx)? {
                            Step::More => return Ok(None),
                            Step::Event(event) => return Ok(Some(event)),
                            Step::Begun => continue,
                        }
                    }
                    if input.len() < HEADER_LEN + header.len as usize {
                        return Ok(None);
                    }
                    let event = self.take_frame(&header, input, cx)?;
                    if event.is_some() || self.pauses() {
                        return Ok(event);
                    }
                }
                Reading::Preface => {
                    if !self.read_preface(input)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    #[cold]
    fn read_preface(&mut self, input: &mut Chain) -> Result<bool, Fault> {
        let mut bytes = [0; PREFACE.len()];
        let there = input.copy_to(0, &mut bytes);
        if bytes[..there] != PREFACE[..there] {
            return Err(Fault::Preface);
        }
        if there < PREFACE.len() {
            return Ok(false);
        }
        input.advance(there);
        self.credit += there;
        self.reading = Reading::Frame { first: true };
        Ok(true)
    }

    /// Events that no bytes are needed for.
    #[inline]
    fn pending_event(&mut self) -> Option<Event> {
        self.flush_leaving();
        if let Some(stream) = self.ending.take() {
            if let Some(slot) = self.streams.find(stream.number()) {
                self.settle_later(slot);
            }
            return Some(Event::End { stream, trailers: None });
        }
        if self.tell_goaway || self.refused_from.is_some() {
            return self.goaway_event();
        }
        None
    }
}

/// The header at the start of `input`, if it is all there.
#[inline]
fn read_header(input: &Chain) -> Option<FrameHeader> {
    if let Some(bytes) = input.front().first_chunk::<HEADER_LEN>() {
        return Some(FrameHeader::read(bytes));
    }
    let mut bytes = [0; HEADER_LEN];
    (input.copy_to(0, &mut bytes) == HEADER_LEN).then(|| FrameHeader::read(&bytes))
}

impl Codec for Http2 {
    #[inline]
    fn decode(
        &mut self,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        if let Some(event) = self.pending_event() {
            return Ok(Some(event));
        }
        if !self.started && (self.role == Role::Client || !input.is_empty()) {
            self.start(cx);
        }
        match self.decode_next(input, cx) {
            Ok(event) => Ok(event),
            Err(fault) => Err(self.fail(fault, cx)),
        }
    }

    #[inline]
    fn take_end(&mut self) -> bool {
        let Some(stream) = self.ending.take() else { return false };
        if let Some(slot) = self.streams.find(stream.number()) {
            self.settle_later(slot);
        }
        true
    }

    fn handle_end_of_input(
        &mut self,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        if let Some(event) = self.pending_event() {
            return Ok(Some(event));
        }
        let inside = self.block.is_some() || matches!(self.reading, Reading::Data(_));
        let failed = matches!(self.reading, Reading::Failed);
        if failed || (self.streams.len() == 0 && !inside) {
            self.reading = Reading::Failed;
            return Ok(None);
        }
        // A response may still be written to a request that is complete, but none is received.
        let waits = self.streams_waiting();
        if inside || waits {
            return Err(self.fail(Fault::Truncated, cx));
        }
        Ok(None)
    }

    #[inline]
    fn take_credit(&mut self) -> usize {
        std::mem::take(&mut self.credit)
    }

    #[inline]
    fn credit(&mut self, stream: StreamId, bytes: usize, cx: &mut CodecContext<'_>) {
        // To TCP they were credited when they came: its window is everybody's.
        self.credit_received(stream, bytes as u32, cx);
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        self.flush_leaving();
        if !self.is_reusable() {
            return None;
        }
        let id = self.own_next;
        self.own_next += 2;
        self.opened = id;
        self.streams.insert(Stream::new(id, self.peer.initial_window as i32));
        Some(StreamId::new(id))
    }

    fn encode_head(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        match self.role {
            Role::Server => self.encode_response(stream, head, body, cx),
            Role::Client => self.encode_request(stream, head, body, cx),
        }
    }

    #[inline]
    fn encode_body(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError> {
        self.write_body(stream, bytes, false, cx)
    }

    #[inline]
    fn encode_last(
        &mut self,
        stream: StreamId,
        bytes: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError> {
        if bytes.is_empty() {
            self.write_end(stream, None, cx)?;
            return Ok(0);
        }
        self.write_body(stream, bytes, true, cx)
    }

    fn encode_end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        self.write_end(stream, trailers, cx)
    }

    fn poll_body(&mut self, burst: usize, cx: &mut CodecContext<'_>) -> Option<Drained> {
        self.write_burst(burst, cx)
    }

    fn encode_reset(&mut self, stream: StreamId, reason: ResetReason, cx: &mut CodecContext<'_>) {
        let id = stream.number();
        let Some(slot) = self.streams.find(id) else { return };
        if self.opened == id && self.streams.get(slot).send == Send::Head {
            // The peer has never heard of it.
            self.streams.remove(slot);
            self.opened = 0;
            self.own_next = id;
            return;
        }
        if self.leaving == Some(slot) {
            // It is over already.
            return;
        }
        self.put(&frame::rst_stream(stream, ErrorCode::from(reason)), cx);
        self.resets.remember(id);
        self.worn = self.worn.saturating_add(1);
        if self.role == Role::Client && self.worn >= WORN_OUT {
            self.start_drain(cx);
        }
        if self.ending == Some(stream) {
            self.ending = None;
        }
        // What still arrives of a DATA frame in progress is dropped by its id.
        self.streams.remove(slot);
    }

    fn shows_cut(&self, _stream: StreamId) -> bool {
        true
    }

    fn drain(&mut self, cx: &mut CodecContext<'_>) {
        self.start_drain(cx);
    }

    fn is_idle(&self) -> bool {
        self.streams.len() == 0
    }

    fn is_reusable(&self) -> bool {
        let most = self.config.streams_max.min(self.peer.streams_max);
        self.role == Role::Client
            && self.drain == Drain::No
            && self.goaway.is_none()
            && self.opened == 0
            && self.own_next <= crate::limits::WINDOW_MAX
            && self.streams.len() < most
            && self.broken.is_none()
            && !matches!(self.reading, Reading::Failed)
    }

    fn must_close(&self) -> bool {
        if matches!(self.reading, Reading::Failed) {
            return true;
        }
        let ended = match self.role {
            Role::Server => self.drain == Drain::Final || self.goaway.is_some(),
            Role::Client => {
                let exhausted = self.own_next > crate::limits::WINDOW_MAX;
                self.drain != Drain::No || self.goaway.is_some() || exhausted
            }
        };
        ended && self.streams.len() == 0
    }

    fn streams_max(&self) -> u32 {
        match self.role {
            Role::Server => self.config.streams_max,
            Role::Client => self.config.streams_max.min(self.peer.streams_max),
        }
    }

    fn is_upgraded(&self) -> bool {
        false
    }

    fn next_deadline(&self) -> Instant {
        self.timers.next()
    }

    fn handle_timeout(
        &mut self,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        self.flush_leaving();
        match self.run_timers(cx) {
            Ok(event) => Ok(event),
            Err(fault) => Err(self.fail(fault, cx)),
        }
    }
}

impl Http2 {
    /// Whether any stream still expects something from the peer.
    fn streams_waiting(&self) -> bool {
        let mut from = 0;
        while let Some(slot) = self.streams.next_used(from) {
            if self.streams.get(slot).receive != Receive::Done {
                return true;
            }
            from = slot + 1;
        }
        false
    }
}
