//! Targets for `sluice-l7-http2`: what a header block says is what a naive twin says; the same bytes
//! give the same events however they are cut; what is written is made of whole frames; every buffer
//! goes home.

use std::collections::BTreeMap;

use sluice_l7_core::{BodyLength, Codec, Event, Head, HeadLimits, Method, NameId, Role, StreamId};
use sluice_l7_http2::frame::{FrameHeader, HEADER_LEN, PREFACE};
use sluice_l7_http2::hpack::{Decoded, Decoder, Encoder, Kind};
use sluice_l7_http2::{Config, Http2};

use crate::peer::{Peer, census};

#[path = "../../../l7/http2/tests/twin/mod.rs"]
mod twin;

const INPUT_MAX: usize = 4_096;
const LIMITS: HeadLimits = HeadLimits { request_line: 64, header_bytes: 1_024, headers: 16 };

/// Header blocks of one connection, each behind its length.
pub fn http2_hpack(data: &[u8]) {
    let (mut decoder, mut twin) = (Decoder::default(), twin::Twin::new());
    let (mut encoder, mut reader) = (Encoder::default(), Decoder::default());
    let mut rest = &data[..data.len().min(INPUT_MAX)];
    while let Some((len, behind)) = rest.split_first() {
        let (block, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = behind;
        let (mut text, mut fields, mut valid) = (Vec::new(), Vec::new(), true);
        let decoded = decoder.decode(block, 1 << 24, &mut text, |text, line| {
            valid &= line.kind != Kind::Invalid;
            fields.push((line.name(text).to_vec(), line.value(text).to_vec()));
        });
        match (decoded, twin.decode(block)) {
            (Ok(Decoded::Complete), Ok(same)) => assert_eq!(fields, same),
            (Err(error), Err(same)) => {
                assert_eq!(error, same);
                return;
            }
            (decoded, same) => panic!("{decoded:?} is not {same:?}"),
        }
        assert_eq!(decoder.table_size(), twin.size());
        // A limit changes what is yielded, and nothing else.
        let mut limited = Vec::new();
        let _within = Decoder::default().decode(block, 100, &mut limited, |_, _| {});
        assert!(limited.len() <= 100, "no text beyond the limit");
        if !valid {
            continue;
        }
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for (name, value) in &fields {
            encoder.field(NameId::lookup(name), name, value, false, &mut out);
        }
        let (mut text, mut again) = (Vec::new(), Vec::new());
        let read = reader.decode(&out, 1 << 24, &mut text, |text, line| {
            again.push((line.name(text).to_vec(), line.value(text).to_vec()));
        });
        assert_eq!(read, Ok(Decoded::Complete));
        assert_eq!(again, fields, "what is written is read");
    }
}

/// What a client sends behind its preface; each complete request is answered.
pub fn http2_requests(data: &[u8]) {
    same_however_cut(Role::Server, &[PREFACE, data].concat());
}

/// What a server answers to three requests, one of them a HEAD.
pub fn http2_responses(data: &[u8]) {
    same_however_cut(Role::Client, data);
}

fn same_however_cut(role: Role, data: &[u8]) {
    let data = &data[..data.len().min(INPUT_MAX)];
    let whole = said(role, data, data.len().max(1));
    for step in [1, 7, 64] {
        assert_eq!(said(role, data, step), whole, "in pieces of {step}");
    }
}

fn said(role: Role, data: &[u8], step: usize) -> Vec<String> {
    let config = Config { streams_max: 4, stream_window: 600, ..Config::default() };
    let mut peer = Peer::new(Http2::new(role, &config), LIMITS);
    if role == Role::Client {
        for method in [Method::Get, Method::Head, Method::Post] {
            let mut head = Head::new();
            head.reset_to_request(method, b"a", b"/");
            let stream = peer.with(|codec, _, _| codec.open_stream()).expect("three streams");
            peer.with(|codec, _, cx| codec.encode_head(stream, &head, BodyLength::None, cx))
                .expect("the pool is large enough");
        }
    }
    let (mut lines, mut bodies) = (Vec::new(), BTreeMap::new());
    for piece in data.chunks(step) {
        peer.receive(piece);
        if !peer.run(&mut lines, &mut bodies) {
            break;
        }
    }
    let end = peer.with(|codec, _, cx| codec.handle_end_of_input(cx).map(|event| event.is_some()));
    lines.push(format!("{end:?} {bodies:?}"));
    assert!(peer.codec.memory() < 200_000, "{} bytes", peer.codec.memory());
    let written = peer.output.to_vec();
    let mut rest = written.strip_prefix(PREFACE).unwrap_or(&written);
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
        rest = behind.get(FrameHeader::read(header).len as usize..).expect("frames are whole");
    }
    assert!(rest.is_empty(), "frames are whole");
    drop(peer);
    census();
    lines
}

impl Peer<Http2> {
    /// Whether the connection goes on.
    fn run(&mut self, lines: &mut Vec<String>, bodies: &mut BTreeMap<StreamId, Vec<u8>>) -> bool {
        loop {
            let event = match self.with(Codec::decode) {
                Ok(Some(event)) => event,
                Ok(None) => {
                    assert_eq!(self.codec.check(), Ok(()), "the books agree");
                    return true;
                }
                Err(error) => {
                    lines.push(error.to_string());
                    assert!(self.codec.must_close());
                    return false;
                }
            };
            let complete = match event {
                Event::Body { stream, bytes } => {
                    assert!(!bytes.is_empty());
                    bodies.entry(stream).or_default().extend(bytes.to_vec());
                    None
                }
                Event::Head { stream, head, body } => {
                    lines.push(format!("{stream:?} {head:?} {body:?}"));
                    self.heads.put(head);
                    body.is_none().then_some(stream)
                }
                Event::Informational { stream, head } => {
                    lines.push(format!("{stream:?} {head:?}"));
                    self.heads.put(head);
                    None
                }
                Event::End { stream, trailers } => {
                    let body = bodies.remove(&stream);
                    lines.push(format!("{stream:?} {body:?} {trailers:?}"));
                    if let Some(head) = trailers {
                        self.heads.put(head);
                    }
                    Some(stream)
                }
                Event::Reset { stream, reason, fault } => {
                    let body = bodies.remove(&stream);
                    lines.push(format!("{stream:?} {body:?} {reason:?} {fault:?}"));
                    None
                }
                Event::GoAway { last } => {
                    lines.push(format!("goaway {last:?}"));
                    None
                }
            };
            if let Some(stream) = complete.filter(|_| self.codec.streams_max() == 4) {
                let mut head = Head::new();
                head.reset_to_response(200);
                head.append(NameId::SERVER, b"fuzz");
                // A client is not asked.
                let _answered = self
                    .with(|codec, _, cx| codec.encode_head(stream, &head, BodyLength::Known(3), cx))
                    .map(|()| {
                        let mut body = self.chain(b"abc");
                        let sent = self.with(|codec, _, cx| {
                            codec.encode_body(stream, &mut body, cx)?;
                            codec.encode_end(stream, None, cx)
                        });
                        assert_eq!(sent, Ok(()));
                    });
            }
        }
    }
}
