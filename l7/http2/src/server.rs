//! The server's role: requests in, responses out.

use sluice_l7_core::{
    BodyLength, CodecContext, EncodeError, Event, Head, Method, NameId, StreamId, status,
};

use crate::connection::{Drain, Http2};
use crate::decode::{self, Section};
use crate::encode::{self, Length};
use crate::error::{ErrorCode, Fault};
use crate::frame;
use crate::state::{NO_LENGTH, Receive, Send, Stream};

impl Http2 {
    /// A header block from a client (RFC 9113, 5.1, 8.1).
    pub(crate) fn handle_request_block(
        &mut self,
        stream: StreamId,
        end_stream: bool,
        depends_on: Option<StreamId>,
        block: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let id = stream.number();
        if let Some(slot) = self.streams.find(id) {
            return match self.streams.get(slot).receive {
                Receive::Body => self.handle_trailers(slot, stream, end_stream, block, cx),
                _ => self.refuse_block(stream, Fault::StreamHalfClosed, block, cx),
            };
        }
        if id & 1 == 0 {
            return Err(Fault::StreamParity);
        }
        if id <= self.peer_last {
            self.check_absent(id, cx.now)?;
            decode::skip(&mut self.decoder, block, cx.heads)?;
            return Ok(None);
        }
        self.peer_last = id;
        if self.drain == Drain::Final {
            // It was on its way when we said that we take no more: the client knows.
            decode::skip(&mut self.decoder, block, cx.heads)?;
            return Ok(None);
        }
        if self.streams.len() >= self.config.streams_max {
            return self.refuse_block(stream, Fault::TooManyStreams, block, cx);
        }
        if depends_on == Some(stream) {
            return self.refuse_block(stream, Fault::SelfDependency, block, cx);
        }
        let mut head = cx.heads.take();
        match decode::head(
            &mut self.decoder,
            block,
            Section::Request,
            &mut head,
            cx.limits,
            cx.heads,
        ) {
            Ok(Ok(facts)) => {
                let length = facts.content_length.unwrap_or(NO_LENGTH);
                if end_stream && length != NO_LENGTH && length != 0 {
                    cx.heads.put(head);
                    return self.fail_stream(id, Fault::LengthMismatch, cx);
                }
                Ok(Some(self.begin_request(stream, end_stream, head, &facts)))
            }
            Ok(Err(fault)) => {
                cx.heads.put(head);
                self.refuse_request(stream, end_stream, fault, cx)
            }
            Err(error) => {
                cx.heads.put(head);
                Err(error.into())
            }
        }
    }

    #[inline]
    fn begin_request(
        &mut self,
        id: StreamId,
        end_stream: bool,
        head: Box<Head>,
        facts: &decode::Facts,
    ) -> Event {
        let mut stream = Stream::new(id.number(), self.peer.initial_window as i32);
        stream.urgency = facts.urgency;
        stream.head = facts.method == Method::Head;
        stream.connect = facts.method == Method::Connect;
        let body = if end_stream {
            stream.receive = Receive::Done;
            BodyLength::None
        } else {
            stream.receive = Receive::Body;
            match facts.content_length {
                // A tunnel has no length.
                _ if stream.connect => BodyLength::UntilClose,
                Some(length) => {
                    stream.expected = length;
                    if length > 0 { BodyLength::Known(length) } else { BodyLength::Chunked }
                }
                None => BodyLength::Chunked,
            }
        };
        self.streams.insert(stream);
        Event::Head { stream: id, head, body }
    }

    /// A request that is too large is told so (RFC 9113, 10.5.1); any other mistake is a reset.
    #[cold]
    fn refuse_request(
        &mut self,
        stream: StreamId,
        end_stream: bool,
        fault: Fault,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let status = fault.error().status();
        if !matches!(status, 414 | 431) {
            return self.fail_stream(stream.number(), fault, cx);
        }
        self.budgets.take(crate::budget::Class::Reset, cx.now)?;
        let mut head = cx.heads.take();
        head.reset_to_response(status);
        let sent = self.write_block(stream, true, cx, |encoder, runs, out| {
            encode::response(encoder, &head, Length::Unsaid, runs, out);
        });
        cx.heads.put(head);
        if sent.is_err() || !end_stream {
            let code = if sent.is_ok() { ErrorCode::NO_ERROR } else { fault.code() };
            self.put(&frame::rst_stream(stream, code), cx);
        }
        self.resets.remember(stream.number());
        let reason = fault.code().reset_reason();
        Ok(Some(Event::Reset { stream, reason, fault: Some(fault.error()) }))
    }

    pub(crate) fn encode_response(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        let slot = self.streams.find(stream.number()).ok_or(EncodeError::WrongState)?;
        let state = self.streams.get(slot);
        let code = head.status();
        if state.send != Send::Head || code < 100 || code == 101 {
            return Err(EncodeError::WrongState);
        }
        if head.is_unprintable() {
            return Err(EncodeError::Unprintable);
        }
        if status::is_informational(code) {
            return self.write_block(stream, false, cx, |encoder, runs, out| {
                encode::response(encoder, head, Length::Unsaid, runs, out);
            });
        }
        let tunnel = state.connect && (200..300).contains(&code);
        let (length, announced) = match body {
            _ if tunnel => (Length::Unsaid, None),
            BodyLength::Known(length) if state.head && length > 0 => (Length::Known(length), None),
            _ if state.head || code == 304 => (Length::Inherited, None),
            _ if code == 204 => (Length::Unsaid, None),
            BodyLength::None | BodyLength::Known(0) => match head.get(NameId::CONTENT_LENGTH) {
                Some(b"0") => (Length::Inherited, None),
                _ => (Length::Unsaid, None),
            },
            BodyLength::Known(length) => (Length::Known(length), Some(length)),
            BodyLength::Chunked | BodyLength::UntilClose => (Length::Unsaid, None),
        };
        let without = state.head || status::forbids_body(code);
        let end = body.is_none() || (without && !tunnel);
        self.write_block(stream, end, cx, |encoder, runs, out| {
            encode::response(encoder, head, length, runs, out);
        })?;
        self.head_written(slot, end, announced.unwrap_or(NO_LENGTH), cx.now);
        Ok(())
    }
}
