//! The client's role: requests out, responses in.

use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, CodecContext, EncodeError, Event, Head, Method, NameId, status};

use crate::connection::Http1;
use crate::decode::{self, ResponseFacts};
use crate::encode::{Framing, HeadLines, Options};
use crate::error::Fault;
use crate::limits::INFORMATIONAL_MAX;
use crate::scan::Scan;
use crate::state::{Exchange, Receive, Send};
use crate::writer;

impl Http1 {
    pub(crate) fn encode_request(
        &mut self,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        let method = head.method();
        let connect = method == Method::Connect;
        if !head.is_request() || connect && !body.is_none() {
            return Err(EncodeError::WrongState);
        }
        let (framing, next) = match body {
            BodyLength::None | BodyLength::Known(0) if method.anticipates_body() => {
                (Framing::Length(0), Send::Done)
            }
            BodyLength::None | BodyLength::Known(0) => (Framing::Silent, Send::Done),
            BodyLength::Known(left) => (Framing::Length(left), Send::Sized { left }),
            // A request cannot end with its connection: nobody could be answered.
            BodyLength::Chunked | BodyLength::UntilClose => {
                (Framing::Chunked, Send::Chunked { line_end: false })
            }
        };
        let upgrade = head.is_upgrade() && head.names().contains(NameId::UPGRADE);
        let options = Options { close: self.draining, upgrade, ..Options::default() };
        writer::append(&HeadLines::new(head, framing, options)?, cx)?;
        self.exchange =
            Exchange { head: method == Method::Head, connect, upgrade, ..Exchange::default() };
        self.keep_alive = !self.draining;
        self.send = next;
        self.receive = Receive::Head(Scan::default());
        Ok(())
    }

    #[inline]
    pub(crate) fn decode_response(
        &mut self,
        scan: Scan,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        if scan.is_fresh() {
            let mut head = cx.heads.take();
            let recurring = &mut self.recurring;
            if let Some(facts) = decode::fast_response(input.front(), &mut head, recurring, cx) {
                self.take_slice(facts.len, input, &mut head);
                return self.response_head(head, &facts, cx);
            }
            cx.heads.put(head);
        }
        self.scan_response(scan, input, cx)
    }

    /// A response that is not of the usual shape, not in one buffer, or not complete.
    #[cold]
    fn scan_response(
        &mut self,
        scan: Scan,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        match input.front().first() {
            None => return Ok(None),
            Some(b'H') => {}
            Some(_) => return Err(Fault::StatusLine),
        }
        let Some((head, facts)) = self.decode_head(scan, input, cx, decode::response)? else {
            return Ok(None);
        };
        self.response_head(head, &facts, cx)
    }

    #[inline]
    fn response_head(
        &mut self,
        head: Box<Head>,
        facts: &ResponseFacts,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        match self.handle_response(facts) {
            Ok(Some(body)) => Ok(Some(Event::Head { stream: self.stream(), head, body })),
            Ok(None) => Ok(Some(Event::Informational { stream: self.stream(), head })),
            Err(fault) => {
                cx.heads.put(head);
                Err(fault)
            }
        }
    }

    /// RFC 9112, 6.3, in its order: what follows the head; None if another head does.
    #[inline]
    fn handle_response(&mut self, facts: &ResponseFacts) -> Result<Option<BodyLength>, Fault> {
        let status = facts.status;
        if status::is_informational(status) {
            self.exchange.informational += 1;
            if self.exchange.informational > INFORMATIONAL_MAX {
                return Err(Fault::TooManyInformational);
            }
            self.receive = Receive::Head(Scan::default());
            return Ok(None);
        }
        if status == 101 && !(self.exchange.upgrade && self.send == Send::Done) {
            return Err(Fault::UnexpectedUpgrade);
        }
        self.keep_alive &= facts.keep_alive;
        if status == 101 || self.exchange.connect && (200..300).contains(&status) {
            (self.receive, self.send, self.keep_alive) = (Receive::Tunnel, Send::Tunnel, false);
            return Ok(Some(BodyLength::UntilClose));
        }
        let body = match facts.length {
            _ if self.exchange.head || status == 304 => BodyLength::None,
            None | Some(BodyLength::Known(0)) if status == 204 => BodyLength::None,
            Some(_) if status == 204 => {
                // It has no body and names one: what follows may be that body.
                self.keep_alive = false;
                BodyLength::None
            }
            Some(BodyLength::Known(0)) => BodyLength::None,
            Some(length) => length,
            None => {
                self.keep_alive = false;
                BodyLength::UntilClose
            }
        };
        self.expect_body(body);
        self.settle();
        Ok(Some(body))
    }
}
