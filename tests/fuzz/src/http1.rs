//! Targets for `sluice-l7-http1`: the same bytes give the same events however they are cut, what a
//! head was decoded to survives being written and decoded again, and every buffer goes home.

use sluice_l7_core::{BodyLength, Codec, Event, Head, HeadLimits, Method, Role, StreamId};
use sluice_l7_http1::Http1;

use crate::peer::{Peer, census};

const INPUT_MAX: usize = 2_048;
const LIMITS: HeadLimits = HeadLimits { request_line: 256, header_bytes: 1_024, headers: 16 };

/// Requests, pipelined; each complete one is answered.
pub fn http1_request(data: &[u8]) {
    same_however_cut(Role::Server, Method::Get, data);
}

/// Responses to a GET, or to a HEAD if the first byte says so.
pub fn http1_response(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let method = if *first == b'#' { Method::Head } else { Method::Get };
    same_however_cut(Role::Client, method, if *first == b'#' { rest } else { data });
}

/// A chunked body behind a valid head.
pub fn http1_chunked(data: &[u8]) {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    same_however_cut(Role::Server, Method::Get, &[head, data].concat());
}

fn same_however_cut(role: Role, method: Method, data: &[u8]) {
    let data = &data[..data.len().min(INPUT_MAX)];
    let whole = said(role, method, data, data.len().max(1));
    for step in [1, 2, 7, 64] {
        assert_eq!(said(role, method, data, step), whole, "in pieces of {step}");
    }
}

/// What a codec says to `data` in pieces of `step` bytes; body bytes in one piece.
fn said(role: Role, method: Method, data: &[u8], step: usize) -> Vec<String> {
    let mut peer = Peer::new(Http1::new(role), LIMITS);
    let mut lines = Vec::new();
    if role == Role::Client {
        let mut head = Head::new();
        head.reset_to_request(method, b"a", b"/");
        peer.codec.open_stream().expect("a fresh connection is free");
        peer.encode(&head, BodyLength::None);
    }
    let mut body = Vec::new();
    for piece in data.chunks(step) {
        peer.receive(piece);
        peer.run(&mut lines, &mut body);
    }
    let end = peer.with(|codec, _, cx| codec.handle_end_of_input(cx));
    lines.push(format!("{} body bytes at the end: {body:?}", body.len()));
    lines.push(match end {
        Ok(Some(Event::End { .. })) => "end".to_owned(),
        Ok(Some(other)) => panic!("the end of input is not {other:?}"),
        Ok(None) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    });
    drop(peer);
    census();
    lines
}

impl Peer<Http1> {
    fn encode(&mut self, head: &Head, body: BodyLength) {
        self.with(|codec, _, cx| codec.encode_head(StreamId::new(1), head, body, cx))
            .expect("the pool is large enough");
    }

    fn run(&mut self, lines: &mut Vec<String>, body: &mut Vec<u8>) {
        loop {
            let event = match self.with(Codec::decode) {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => return lines.push(format!("{error} behind {body:?}")),
            };
            let complete = match event {
                Event::Head { head, body, .. } => {
                    lines.push(format!("{head:?} {body:?}"));
                    if head.is_request() {
                        reads_back(&head);
                    }
                    self.heads.put(head);
                    body.is_none()
                }
                Event::Informational { head, .. } => {
                    lines.push(format!("{head:?}"));
                    self.heads.put(head);
                    false
                }
                Event::Body { bytes, .. } => {
                    assert!(!bytes.is_empty());
                    body.extend(bytes.to_vec());
                    false
                }
                Event::End { trailers, .. } => {
                    lines.push(format!("{:?} {trailers:?}", std::mem::take(body)));
                    true
                }
                other => panic!("HTTP/1 has no {other:?}"),
            };
            // A tunnel's end comes while nothing is due.
            if complete && !self.codec.is_upgraded() && !self.codec.is_idle() {
                let mut head = Head::new();
                head.reset_to_response(200);
                let answered = self.with(|codec, _, cx| {
                    codec.encode_head(StreamId::new(1), &head, BodyLength::None, cx)
                });
                lines.push(format!("{answered:?}"));
            }
        }
    }
}

/// A request's head, written by a client and decoded by a server, names the same things.
fn reads_back(head: &Head) {
    let mut client = Peer::new(Http1::new(Role::Client), LIMITS);
    client.codec.open_stream().expect("a fresh connection is free");
    client.encode(head, BodyLength::None);
    let limits = HeadLimits { request_line: 4_096, header_bytes: 8_192, headers: 32 };
    let mut server = Peer::new(Http1::new(Role::Server), limits);
    server.input = std::mem::take(&mut client.output);
    if head.authority().is_empty() {
        return;
    }
    match server.with(Codec::decode) {
        Ok(Some(Event::Head { head: again, .. })) => {
            assert_eq!(again.method_text(), head.method_text());
            assert_eq!(again.path(), head.path());
            assert_eq!(again.authority(), head.authority());
            server.heads.put(again);
        }
        other => panic!("{head:?} was read back as {other:?}"),
    }
}
