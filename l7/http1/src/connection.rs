//! The machine.

use std::mem;

use sluice_buf::Chain;
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, EncodeError, Event, Head, HeadLimits, ProtocolError,
    ResetReason, Role, StreamId,
};

use crate::decode::{self, Text};
use crate::encode::LastChunk;
use crate::error::Fault;
use crate::frame::ChunkReader;
use crate::recurring::Recurring;
use crate::scan::Scan;
use crate::state::{Exchange, Receive, Send};
use crate::writer::{self, ChunkLine};

/// One HTTP/1 connection.
///
/// Plain data: it holds no bytes of its own (what has not been decoded stays in the caller's
/// `input`), no pointer and no closure.
#[derive(Debug)]
pub struct Http1 {
    pub(crate) role: Role,
    pub(crate) receive: Receive,
    pub(crate) send: Send,
    pub(crate) exchange: Exchange,
    /// Of the exchange in progress, or the last one.
    pub(crate) number: u32,
    /// Whether another exchange may follow this one.
    pub(crate) keep_alive: bool,
    pub(crate) draining: bool,
    /// Whether an empty line was skipped in front of the request to come.
    pub(crate) empty_line: bool,
    /// The fields that were received before.
    pub(crate) recurring: Recurring,
    /// Received bytes that are done with.
    credit: usize,
}

// An idle keep-alive connection costs at most 600 bytes, TCP's share included.
const _: () = assert!(size_of::<Http1>() <= 96);

impl Http1 {
    /// A fresh connection.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let receive = match role {
            Role::Server => Receive::Head(Scan::default()),
            Role::Client => Receive::Done,
        };
        Self {
            role,
            receive,
            send: Send::Idle,
            exchange: Exchange::default(),
            number: 0,
            keep_alive: true,
            draining: false,
            empty_line: false,
            recurring: Recurring::default(),
            credit: 0,
        }
    }

    /// A connection that is a tunnel from the start, as after a 2xx to CONNECT.
    #[must_use]
    pub fn tunnel(role: Role) -> Self {
        let (receive, send) = (Receive::Tunnel, Send::Tunnel);
        Self { receive, send, keep_alive: false, ..Self::new(role) }
    }

    #[inline]
    pub(crate) fn stream(&self) -> StreamId {
        StreamId::new(self.number)
    }

    /// What follows a head with this body.
    #[inline]
    pub(crate) fn expect_body(&mut self, body: BodyLength) {
        self.receive = match body {
            BodyLength::None | BodyLength::Known(0) => Receive::Done,
            BodyLength::Known(left) => Receive::Sized { left },
            BodyLength::Chunked => Receive::Chunked(ChunkReader::new()),
            BodyLength::UntilClose => Receive::UntilClose,
        };
    }

    /// Starts over if both messages of the exchange are complete and the connection persists.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if !matches!(self.receive, Receive::Done) || self.send != Send::Done || !self.keep_alive {
            return;
        }
        self.send = Send::Idle;
        self.exchange = Exchange::default();
        if self.role == Role::Server {
            self.receive = Receive::Head(Scan::default());
        }
    }

    /// The peer broke a rule: nothing is decoded any more. A server may still answer.
    #[cold]
    fn fail(&mut self, fault: Fault) -> ProtocolError {
        self.receive = Receive::Failed;
        self.keep_alive = false;
        match (self.role, self.send) {
            (Role::Server, Send::Idle) => self.send = Send::Head,
            (Role::Server, _) => {}
            (Role::Client, _) => self.send = Send::Failed,
        }
        fault.error()
    }

    fn decode_next(
        &mut self,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        match self.receive {
            Receive::Head(scan) => match self.role {
                Role::Server => self.decode_request(scan, input, cx),
                Role::Client => self.decode_response(scan, input, cx),
            },
            Receive::Sized { left } => Ok(self.decode_sized(left, input)),
            Receive::Chunked(reader) => self.decode_chunked(reader, input, cx),
            Receive::Trailers(scan) => self.decode_trailers(scan, input, cx),
            Receive::UntilClose | Receive::Tunnel => Ok(self.body(mem::take(input))),
            Receive::Ending => Ok(Some(self.end(None))),
            Receive::Done if self.is_unsolicited(input) => Err(Fault::Unsolicited),
            Receive::Broken(fault) => Err(fault),
            Receive::Done | Receive::TunnelEnded | Receive::Failed => Ok(None),
        }
    }

    fn is_unsolicited(&self, input: &Chain) -> bool {
        let asked = !matches!(self.send, Send::Idle | Send::Head);
        self.role == Role::Client && !asked && !input.is_empty()
    }

    #[inline]
    fn body(&mut self, bytes: Chain) -> Option<Event> {
        if bytes.is_empty() {
            return None;
        }
        self.exchange.awaits_continue = false;
        Some(Event::Body { stream: self.stream(), bytes })
    }

    #[inline]
    fn end(&mut self, trailers: Option<Box<Head>>) -> Event {
        let stream = self.stream();
        self.receive = Receive::Done;
        self.settle();
        Event::End { stream, trailers }
    }

    #[inline]
    fn decode_sized(&mut self, left: u64, input: &mut Chain) -> Option<Event> {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let bytes = input.split_to(count);
        let left = left - count as u64;
        self.receive = if left == 0 { Receive::Ending } else { Receive::Sized { left } };
        self.body(bytes)
    }

    fn decode_chunked(
        &mut self,
        mut reader: ChunkReader,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let mut bytes = Chain::new();
        match reader.read(input, &mut bytes) {
            Ok((framing, last)) => {
                self.credit += framing;
                let trailers = Receive::Trailers(Scan::trailers());
                self.receive = if last { trailers } else { Receive::Chunked(reader) };
            }
            // Data in front of the mistake is data, as it would be had it come alone.
            Err(fault) => self.receive = Receive::Broken(fault),
        }
        match (self.body(bytes), self.receive) {
            (None, Receive::Broken(fault)) => Err(fault),
            (None, Receive::Trailers(scan)) => self.decode_trailers(scan, input, cx),
            (event, _) => Ok(event),
        }
    }

    fn decode_trailers(
        &mut self,
        mut scan: Scan,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let Some(len) = scan.resume(input, cx.limits)? else {
            self.receive = Receive::Trailers(scan);
            return Ok(None);
        };
        self.credit += len;
        if len == b"\r\n".len() {
            input.advance(len);
            return Ok(Some(self.end(None)));
        }
        let parse = |text: &[u8], kind, head: &mut Head, limits: &HeadLimits| {
            decode::trailers(text, kind, head, limits)
        };
        let mut head = cx.heads.take();
        let parsed = take_head(len, input, &mut head, cx, parse);
        if parsed.is_err() || head.fields().next().is_none() {
            cx.heads.put(head);
            return parsed.map(|()| Some(self.end(None)));
        }
        Ok(Some(self.end(Some(head))))
    }

    /// Takes a head off `input` if its end is there, by scan and general parser.
    pub(crate) fn decode_head<T>(
        &mut self,
        mut scan: Scan,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
        parse: impl Fn(&[u8], Text, &mut Head, &HeadLimits) -> Result<T, Fault>,
    ) -> Result<Option<(Box<Head>, T)>, Fault> {
        let end = scan.resume(input, cx.limits);
        self.receive = Receive::Head(scan);
        let Some(len) = end? else { return Ok(None) };
        self.credit += len;
        let mut head = cx.heads.take();
        match take_head(len, input, &mut head, cx, parse) {
            Ok(facts) => Ok(Some((head, facts))),
            Err(fault) => {
                cx.heads.put(head);
                Err(fault)
            }
        }
    }

    /// Takes a head of `len` bytes, which lie in one buffer, as its received text.
    #[inline]
    pub(crate) fn take_slice(&mut self, len: usize, input: &mut Chain, head: &mut Head) {
        self.credit += len;
        take_slice(len, input, head);
    }

    /// Notes received bytes that are done with.
    #[inline]
    pub(crate) fn add_credit(&mut self, bytes: usize) {
        self.credit += bytes;
    }

    fn encode_chunk(
        line_end: bool,
        bytes: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Send, EncodeError> {
        let line = ChunkLine::new(line_end, bytes.len() as u64);
        cx.output.append_copy(line.as_bytes(), cx.pool)?;
        cx.output.append(bytes);
        // Some recipients wait for it. Where there is no memory it goes in front of the next line.
        let line_end = cx.output.append_copy(b"\r\n", cx.pool).is_err();
        Ok(Send::Chunked { line_end })
    }

    fn encode_last_chunk(
        line_end: bool,
        trailers: Option<&Head>,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        let last = LastChunk { line_end, trailers };
        if trailers.is_none() && !line_end {
            return Ok(cx.output.append_copy(b"0\r\n\r\n", cx.pool)?);
        }
        last.check()?;
        writer::append(&last, cx)
    }
}

/// Takes the first `len` bytes, which lie in one buffer, as the head's received text.
#[inline]
fn take_slice(len: usize, input: &mut Chain, head: &mut Head) {
    if let Some(mut slice) = input.pop_front() {
        if slice.len() > len {
            let rest = slice.split_off(len);
            input.push_front(rest);
        }
        head.set_received(slice);
    }
}

/// Takes a head of `len` bytes: where it is, or a copy if it straddles buffers.
fn take_head<T>(
    len: usize,
    input: &mut Chain,
    head: &mut Head,
    cx: &mut CodecContext<'_>,
    parse: impl Fn(&[u8], Text, &mut Head, &HeadLimits) -> Result<T, Fault>,
) -> Result<T, Fault> {
    if let Some(text) = input.front().get(..len) {
        let facts = parse(text, Text::Exact, head, cx.limits);
        match facts {
            Ok(_) => take_slice(len, input, head),
            // It has been credited, as what parses has.
            Err(_) => input.advance(len),
        }
        return facts;
    }
    head.copy_received(input, len, cx.heads);
    input.advance(len);
    let own = head.take_own();
    let facts = parse(&own, Text::Copied, head, cx.limits);
    head.set_own(own);
    facts
}

impl Codec for Http1 {
    #[inline]
    fn decode(
        &mut self,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        match self.receive {
            // What callers ask for most often: once behind each part of a message.
            Receive::Ending => return Ok(Some(self.end(None))),
            Receive::Head(_) | Receive::Done if input.is_empty() => return Ok(None),
            _ => {}
        }
        self.decode_next(input, cx).map_err(|fault| self.fail(fault))
    }

    #[inline]
    fn take_end(&mut self) -> bool {
        let known = matches!(self.receive, Receive::Ending);
        if known {
            self.receive = Receive::Done;
            self.settle();
        }
        known
    }

    fn handle_end_of_input(
        &mut self,
        _cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        let fault = match self.receive {
            Receive::Head(scan) if scan.is_fresh() => match self.role {
                Role::Server => return Ok(None),
                Role::Client => Fault::NoResponse,
            },
            Receive::Head(_) => Fault::TruncatedHead,
            Receive::Sized { .. } | Receive::Chunked(_) | Receive::Trailers(_) => {
                Fault::TruncatedBody
            }
            Receive::Broken(fault) => fault,
            Receive::UntilClose | Receive::Ending => return Ok(Some(self.end(None))),
            Receive::Tunnel => {
                self.receive = Receive::TunnelEnded;
                return Ok(Some(Event::End { stream: self.stream(), trailers: None }));
            }
            Receive::Done => {
                // A server that has finished answers nothing more; a client may still be answered.
                self.keep_alive &= self.role == Role::Server;
                return Ok(None);
            }
            Receive::TunnelEnded | Receive::Failed => return Ok(None),
        };
        Err(self.fail(fault))
    }

    #[inline]
    fn take_credit(&mut self) -> usize {
        mem::take(&mut self.credit)
    }

    #[inline]
    fn credit(&mut self, _stream: StreamId, bytes: usize, _cx: &mut CodecContext<'_>) {
        self.credit += bytes;
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        if !self.is_reusable() {
            return None;
        }
        self.number += 1;
        self.send = Send::Head;
        Some(self.stream())
    }

    fn encode_head(
        &mut self,
        _stream: StreamId,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        if self.send != Send::Head {
            return Err(EncodeError::WrongState);
        }
        match self.role {
            Role::Server => self.encode_response(head, body, cx),
            Role::Client => self.encode_request(head, body, cx),
        }
    }

    fn encode_body(
        &mut self,
        _stream: StreamId,
        bytes: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<usize, EncodeError> {
        let count = bytes.len();
        if count == 0 {
            return Ok(0);
        }
        match self.send {
            Send::Sized { left } => {
                let left = left.checked_sub(count as u64).ok_or(EncodeError::LengthMismatch)?;
                self.send = Send::Sized { left };
                cx.output.append_small(bytes);
            }
            Send::Chunked { line_end } => self.send = Self::encode_chunk(line_end, bytes, cx)?,
            Send::UntilClose | Send::Tunnel => cx.output.append_small(bytes),
            Send::Discard => drop(mem::take(bytes)),
            Send::Idle | Send::Head | Send::Done | Send::TunnelEnded | Send::Failed => {
                return Err(EncodeError::WrongState);
            }
        }
        Ok(count)
    }

    fn encode_end(
        &mut self,
        _stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        match self.send {
            Send::Sized { left: 0 } | Send::Discard => {}
            Send::Sized { .. } => {
                self.send = Send::Failed;
                self.keep_alive = false;
                return Err(EncodeError::LengthMismatch);
            }
            Send::Chunked { line_end } => Self::encode_last_chunk(line_end, trailers, cx)?,
            Send::UntilClose => self.keep_alive = false,
            Send::Tunnel => {
                self.send = Send::TunnelEnded;
                return Ok(());
            }
            // The message was complete with its head.
            Send::Idle | Send::Done => return Ok(()),
            Send::Head | Send::TunnelEnded | Send::Failed => return Err(EncodeError::WrongState),
        }
        self.send = Send::Done;
        self.settle();
        Ok(())
    }

    fn encode_reset(
        &mut self,
        _stream: StreamId,
        _reason: ResetReason,
        _cx: &mut CodecContext<'_>,
    ) {
        self.send = Send::Failed;
        self.receive = Receive::Failed;
        self.keep_alive = false;
    }

    fn shows_cut(&self, _stream: StreamId) -> bool {
        matches!(self.send, Send::Sized { .. } | Send::Chunked { .. })
    }

    fn drain(&mut self, _cx: &mut CodecContext<'_>) {
        self.draining = true;
    }

    #[inline]
    fn is_idle(&self) -> bool {
        self.send == Send::Idle
    }

    #[inline]
    fn is_reusable(&self) -> bool {
        let idle = self.is_idle() && matches!(self.receive, Receive::Done);
        self.role == Role::Client && idle && self.keep_alive && !self.draining
    }

    #[inline]
    fn must_close(&self) -> bool {
        match self.send {
            Send::Idle => self.draining || !self.keep_alive,
            Send::Done => match self.role {
                Role::Server => !self.keep_alive,
                Role::Client => !self.keep_alive && matches!(self.receive, Receive::Done),
            },
            Send::TunnelEnded => matches!(self.receive, Receive::TunnelEnded),
            Send::Failed => true,
            Send::Head
            | Send::Sized { .. }
            | Send::Chunked { .. }
            | Send::UntilClose
            | Send::Discard
            | Send::Tunnel => false,
        }
    }

    fn streams_max(&self) -> u32 {
        1
    }

    #[inline]
    fn is_upgraded(&self) -> bool {
        matches!(self.send, Send::Tunnel | Send::TunnelEnded)
    }
}
