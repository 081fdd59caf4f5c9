//! The server's role: requests in, responses out.

use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, CodecContext, EncodeError, Event, Head, Method, Version, status};

use crate::connection::Http1;
use crate::decode::{self, RequestFacts};
use crate::encode::{Framing, HeadLines, Options};
use crate::error::{Fault, is_token};
use crate::scan::Scan;
use crate::state::{Exchange, Receive, Send};
use crate::target::MissingPath;
use crate::writer;

impl Http1 {
    #[inline]
    pub(crate) fn decode_request(
        &mut self,
        scan: Scan,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        if scan.is_fresh() {
            let mut head = cx.heads.take();
            let recurring = &mut self.recurring;
            if let Some(facts) = decode::fast_request(input.front(), &mut head, recurring, cx) {
                self.take_slice(facts.len, input, &mut head);
                return Ok(Some(self.request_head(head, &facts)));
            }
            cx.heads.put(head);
        }
        self.scan_request(scan, input, cx)
    }

    /// A request that is not of the usual shape, not in one buffer, or not complete.
    #[cold]
    fn scan_request(
        &mut self,
        scan: Scan,
        input: &mut Chain,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        if scan.is_fresh() && !self.begin_request(input)? {
            return Ok(None);
        }
        let Some((head, facts)) = self.decode_head(scan, input, cx, decode::request)? else {
            return Ok(None);
        };
        Ok(Some(self.request_head(head, &facts)))
    }

    #[inline]
    fn request_head(&mut self, mut head: Box<Head>, facts: &RequestFacts) -> Event {
        if facts.missing_path != MissingPath::No {
            complete_path(&mut head, facts.missing_path);
        }
        self.number = self.number.wrapping_add(1);
        self.empty_line = false;
        self.keep_alive = facts.keep_alive;
        self.exchange = Exchange {
            head: facts.method == Method::Head,
            connect: facts.method == Method::Connect,
            upgrade: facts.upgrade,
            http10: facts.version == Version::Http10,
            awaits_continue: facts.expects_continue && !facts.body.is_none(),
            informational: 0,
        };
        self.send = Send::Head;
        self.expect_body(facts.body);
        Event::Head { stream: self.stream(), head, body: facts.body }
    }

    /// Looks at a request's first byte, behind one empty line (RFC 9112, 2.2: some old clients send
    /// one behind a body); false if it is not there yet.
    #[inline]
    fn begin_request(&mut self, input: &mut Chain) -> Result<bool, Fault> {
        match input.front().first() {
            None => Ok(false),
            Some(byte) if is_token(*byte) => Ok(true),
            Some(_) => self.skip_empty_line(input),
        }
    }

    #[cold]
    fn skip_empty_line(&mut self, input: &mut Chain) -> Result<bool, Fault> {
        let mut two = [0; 2];
        let there = input.copy_to(0, &mut two);
        match two {
            [b'\r', _] if self.empty_line => Err(Fault::EmptyLines),
            [b'\r', _] if there == 1 => Ok(false),
            [b'\r', b'\n'] => {
                input.advance(2);
                self.add_credit(2);
                self.empty_line = true;
                self.begin_request(input)
            }
            [b'\r', _] => Err(Fault::BareCr),
            [b'\n', _] => Err(Fault::BareLf),
            [0, _] => Err(Fault::Nul),
            _ => Err(Fault::Method),
        }
    }

    pub(crate) fn encode_response(
        &mut self,
        head: &Head,
        body: BodyLength,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        let status = head.status();
        if status < 100 {
            return Err(EncodeError::WrongState);
        }
        if status::is_informational(status) {
            return self.encode_informational(head, cx);
        }
        if status == 101 || self.exchange.connect && (200..300).contains(&status) {
            return self.encode_tunnel(head, cx);
        }
        // A client that still waits to be told to send its body may send it or not: what comes next
        // could be read in two ways.
        let mut close = !self.keep_alive || self.draining || self.exchange.awaits_continue;
        let (framing, next) = self.response_framing(status, body);
        close |= next == Send::UntilClose;
        let options = Options {
            close,
            keep_alive: self.exchange.http10 && !close,
            upgrade: head.is_upgrade(),
            te: false,
        };
        writer::append(&HeadLines::new(head, framing, options)?, cx)?;
        self.keep_alive = !close;
        self.send = next;
        self.settle();
        Ok(())
    }

    #[inline]
    fn response_framing(&self, status: u16, body: BodyLength) -> (Framing, Send) {
        if self.exchange.head || status::forbids_body(status) {
            let framing = match body {
                _ if status == 204 => Framing::Silent,
                BodyLength::Known(length) if length > 0 => Framing::Length(length),
                _ => Framing::Inherited,
            };
            return (framing, if body.is_none() { Send::Done } else { Send::Discard });
        }
        match body {
            BodyLength::None | BodyLength::Known(0) => (Framing::Length(0), Send::Done),
            BodyLength::Known(left) => (Framing::Length(left), Send::Sized { left }),
            BodyLength::Chunked | BodyLength::UntilClose if self.exchange.http10 => {
                (Framing::Silent, Send::UntilClose)
            }
            BodyLength::Chunked | BodyLength::UntilClose => {
                (Framing::Chunked, Send::Chunked { line_end: false })
            }
        }
    }

    fn encode_informational(
        &mut self,
        head: &Head,
        cx: &mut CodecContext<'_>,
    ) -> Result<(), EncodeError> {
        if self.exchange.http10 {
            // RFC 9110, 15.2: HTTP/1.0 does not know 1xx.
            return Ok(());
        }
        writer::append(&HeadLines::new(head, Framing::Silent, Options::default())?, cx)?;
        if head.status() == 100 {
            self.exchange.awaits_continue = false;
        }
        Ok(())
    }

    fn encode_tunnel(&mut self, head: &Head, cx: &mut CodecContext<'_>) -> Result<(), EncodeError> {
        let upgrade = head.status() == 101;
        let asked = !upgrade || self.exchange.upgrade;
        if !asked || !matches!(self.receive, Receive::Done) {
            return Err(EncodeError::WrongState);
        }
        let options = Options { upgrade, ..Options::default() };
        writer::append(&HeadLines::new(head, Framing::Silent, options)?, cx)?;
        (self.receive, self.send, self.keep_alive) = (Receive::Tunnel, Send::Tunnel, false);
        Ok(())
    }
}

/// Writes the path that an absolute target left out.
#[cold]
fn complete_path(head: &mut Head, missing: MissingPath) {
    let path = match missing {
        MissingPath::No => return,
        MissingPath::Slash => [b"/", head.path()].concat(),
        MissingPath::Asterisk => b"*".to_vec(),
    };
    head.set_path(&path);
}
