//! The client's role: requests out, responses in.

use sluice_l7_core::{
    BodyLength, CodecContext, EncodeError, Event, Head, Method, StreamId, status,
};

use crate::connection::Http2;
use crate::decode::{self, Section};
use crate::encode::{self, Length};
use crate::error::Fault;
use crate::limits::INFORMATIONAL_MAX;
use crate::state::{NO_LENGTH, Receive, Send};

impl Http2 {
    /// A header block from a server (RFC 9113, 8.1).
    pub(crate) fn handle_response_block(
        &mut self,
        stream: StreamId,
        end_stream: bool,
        block: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        let id = stream.number();
        let Some(slot) = self.streams.find(id) else {
            self.check_absent(id, cx.now)?;
            decode::skip(&mut self.decoder, block, cx.heads)?;
            return Ok(None);
        };
        match self.streams.get(slot).receive {
            Receive::Body => return self.handle_trailers(slot, stream, end_stream, block, cx),
            Receive::Done => {
                return self.refuse_block(stream, Fault::StreamHalfClosed, block, cx);
            }
            // A stream whose request was not written is idle to everybody else.
            Receive::Head if self.opened == id => return Err(Fault::StreamIdle),
            Receive::Head => {}
        }
        let mut head = cx.heads.take();
        let facts = decode::head(
            &mut self.decoder,
            block,
            Section::Response,
            &mut head,
            cx.limits,
            cx.heads,
        );
        let fault = match facts {
            Err(error) => {
                cx.heads.put(head);
                return Err(error.into());
            }
            Ok(Err(fault)) => fault,
            Ok(Ok(facts)) if status::is_informational(facts.status) => {
                let state = self.streams.get_mut(slot);
                state.informational += 1;
                match state.informational {
                    _ if end_stream => Fault::InformationalEnd,
                    0..=INFORMATIONAL_MAX => {
                        return Ok(Some(Event::Informational { stream, head }));
                    }
                    _ => Fault::TooManyInformational,
                }
            }
            Ok(Ok(facts)) if facts.status == 101 => Fault::SwitchingProtocols,
            Ok(Ok(facts)) => match self.begin_response(slot, end_stream, &facts) {
                Ok(body) => {
                    self.settle_later(slot);
                    return Ok(Some(Event::Head { stream, head, body }));
                }
                Err(fault) => fault,
            },
        };
        cx.heads.put(head);
        self.fail_stream(id, fault, cx)
    }

    /// What follows the final head.
    #[inline]
    fn begin_response(
        &mut self,
        slot: u16,
        end_stream: bool,
        facts: &decode::Facts,
    ) -> Result<BodyLength, Fault> {
        let state = self.streams.get_mut(slot);
        let tunnel = state.connect && (200..300).contains(&facts.status);
        let without = state.head || status::forbids_body(facts.status);
        let length = match facts.content_length {
            _ if tunnel => NO_LENGTH,
            // What the length says is of a body that is not sent.
            _ if without => 0,
            Some(length) => length,
            None => NO_LENGTH,
        };
        if end_stream {
            if length != 0 && length != NO_LENGTH {
                return Err(Fault::LengthMismatch);
            }
            state.receive = Receive::Done;
            return Ok(BodyLength::None);
        }
        (state.receive, state.expected) = (Receive::Body, length);
        Ok(match length {
            _ if tunnel => BodyLength::UntilClose,
            0 | NO_LENGTH => BodyLength::Chunked,
            length => BodyLength::Known(length),
        })
    }

    pub(crate) fn encode_request(
        &mut self,
        stream: StreamId,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        let slot = self.streams.find(stream.number()).ok_or(EncodeError::WrongState)?;
        let extended = !head.protocol().is_empty();
        let allowed = head.is_request()
            && self.streams.get(slot).send == Send::Head
            && (!extended || self.peer.connect_protocol);
        if !allowed {
            return Err(EncodeError::WrongState);
        }
        if head.is_unprintable() {
            return Err(EncodeError::Unprintable);
        }
        self.start(cx);
        let method = head.method();
        // A tunnel's bytes follow the response: its request does not end.
        let connect = method == Method::Connect;
        let end = body.is_none() && !connect;
        let (length, announced) = match body {
            _ if connect => (Length::Unsaid, NO_LENGTH),
            BodyLength::None | BodyLength::Known(0) if method.anticipates_body() => {
                (Length::Known(0), NO_LENGTH)
            }
            BodyLength::Known(length) if length > 0 => (Length::Known(length), length),
            _ => (Length::Unsaid, NO_LENGTH),
        };
        self.write_block(stream, end, cx, |encoder, runs, out| {
            encode::request(encoder, head, length, runs, out);
        })?;
        self.opened = 0;
        let state = self.streams.get_mut(slot);
        state.head = method == Method::Head;
        state.connect = connect;
        if let Some(value) = head.get(sluice_l7_core::NameId::PRIORITY) {
            state.urgency = decode::urgency(value).unwrap_or(state.urgency);
        }
        self.head_written(slot, end, announced, cx.now);
        Ok(())
    }
}
