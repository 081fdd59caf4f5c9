//! Clients and endpoints that speak, of either version, by the product's own machines: bytes of a
//! [`World`] in, messages out.

use std::collections::{BTreeMap, BTreeSet};

use sluice_buf::{Chain, Pool};
use sluice_l7_core::{
    Codec, CodecContext, Event, Head, HeadLimits, HeadPool, ResetReason, Role, StreamId,
};
use sluice_l7_http1::Http1;
use sluice_l7_http2::{Config as Http2Config, Http2};

use super::world::World;

/// What a client speaks with the proxy, or an endpoint does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    One,
    Two,
}

use Version::{One, Two};

/// Client's version, endpoint's version.
pub(crate) const PAIRS: [(Version, Version); 4] = [(One, One), (One, Two), (Two, One), (Two, Two)];

/// A connection and a stream on it.
pub(crate) type Place = (usize, StreamId);

/// How a message that is received ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Ended {
    /// It goes on.
    #[default]
    No,
    /// All of it came.
    Whole,
    /// The peer gave the stream up.
    Reset(ResetReason),
    /// The connection ended, or the codec said that the message was cut.
    Cut,
}

/// A message that is received.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// `GET http://example.com/a`, `200`; empty: no head has come.
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) length: Option<u64>,
    pub(crate) informational: Vec<u16>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) ended: Ended,
    /// Our own message on the same stream has begun.
    pub(crate) answered: bool,
    /// Body bytes that were not credited, since this end does not read.
    pub(super) unread: usize,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub(super) enum Machine {
    One(Box<Http1>),
    Two(Box<Http2>),
}

impl Machine {
    fn codec(&mut self) -> &mut dyn Codec {
        match self {
            Self::One(codec) => &mut **codec,
            Self::Two(codec) => &mut **codec,
        }
    }
}

/// One far end of one connection.
pub(crate) struct Far {
    pub(super) role: Role,
    pub(super) machine: Machine,
    input: Chain,
    output: Chain,
    pub(super) pool: Pool,
    heads: HeadPool,
    limits: HeadLimits,
    pub(crate) messages: BTreeMap<StreamId, Message>,
    /// Streams whose body bytes are not credited.
    pub(crate) stalled: BTreeSet<StreamId>,
    pub(crate) goaway: bool,
    /// What extended CONNECTs asked for.
    pub(crate) protocols: Vec<String>,
    pub(super) ended: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(head: &Head) -> Vec<(String, String)> {
    head.iter().map(|(name, value)| (text(name).to_lowercase(), text(value))).collect()
}

impl Far {
    pub(super) fn new(role: Role, version: Version, config: &Http2Config) -> Self {
        let machine = match version {
            One => Machine::One(Box::new(Http1::new(role))),
            Two => Machine::Two(Box::new(Http2::new(role, config))),
        };
        Self {
            role,
            machine,
            input: Chain::new(),
            output: Chain::new(),
            pool: Pool::heap(2_048),
            heads: HeadPool::new(4, 64),
            limits: HeadLimits::default(),
            messages: BTreeMap::new(),
            stalled: BTreeSet::new(),
            goaway: false,
            protocols: Vec::new(),
            ended: false,
        }
    }

    pub(super) fn lend<R>(
        &mut self,
        world: &World,
        call: impl FnOnce(&mut dyn Codec, &mut Chain, &mut CodecContext<'_>) -> R,
    ) -> R {
        let mut cx = CodecContext {
            output: &mut self.output,
            pool: &self.pool,
            heads: &mut self.heads,
            limits: &self.limits,
            now: world.now,
        };
        call(self.machine.codec(), &mut self.input, &mut cx)
    }

    pub(super) fn message(&mut self, stream: StreamId) -> &mut Message {
        self.messages.entry(stream).or_default()
    }

    fn hear(&mut self, event: Event, world: &World) {
        match event {
            Event::Head { stream, head, body } => {
                if !head.protocol().is_empty() {
                    self.protocols.push(text(head.protocol()));
                }
                let message = self.message(stream);
                assert!(message.start.is_empty(), "one head: {message:?}, then {head:?}");
                message.start = match head.status() {
                    0 => format!(
                        "{} http://{}{}",
                        text(head.method_text()),
                        text(head.authority()),
                        text(head.path())
                    ),
                    status => status.to_string(),
                };
                message.fields = lines(&head);
                message.length = head.content_length();
                if body.is_none() {
                    message.ended = Ended::Whole;
                }
                self.heads.put(head);
            }
            Event::Informational { stream, head } => {
                self.message(stream).informational.push(head.status());
                self.heads.put(head);
            }
            Event::Body { stream, bytes } => {
                let count = bytes.len();
                let stalls = self.stalled.contains(&stream);
                let message = self.message(stream);
                assert_eq!(message.ended, Ended::No, "body behind the end");
                message.body.extend(bytes.to_vec());
                drop(bytes);
                if stalls {
                    message.unread += count;
                } else {
                    self.lend(world, |codec, _, cx| codec.credit(stream, count, cx));
                }
            }
            Event::End { stream, trailers } => {
                let message = self.message(stream);
                assert_eq!(message.ended, Ended::No, "two ends");
                message.ended = Ended::Whole;
                if let Some(head) = trailers {
                    message.trailers = lines(&head);
                    self.heads.put(head);
                }
            }
            Event::Reset { stream, reason, fault } => {
                assert_eq!(fault, None, "the proxy broke a rule");
                let message = self.message(stream);
                if message.ended == Ended::No {
                    message.ended = Ended::Reset(reason);
                }
            }
            Event::GoAway { .. } => self.goaway = true,
        }
    }

    /// The connection has ended: what was going on was cut.
    pub(super) fn end(&mut self) {
        self.ended = true;
        for message in self.messages.values_mut().filter(|message| message.ended == Ended::No) {
            message.ended = Ended::Cut;
        }
    }

    /// Reads what has come and writes what there is to say; whether anything happened.
    pub(super) fn step(&mut self, at: usize, world: &mut World) -> bool {
        if self.ended {
            return false;
        }
        let received = std::mem::take(&mut world.streams[at].received);
        let mut worked = !received.is_empty();
        let mut bytes = Chain::copy_from(&received, &self.pool).expect("the pool has room");
        self.input.append(&mut bytes);
        while let Some(event) = match self.lend(world, |codec, input, cx| codec.decode(input, cx)) {
            Ok(event) => event,
            Err(error) => panic!("the proxy broke a rule: {}", error.reason),
        } {
            self.hear(event, world);
        }
        let stream = &world.streams[at];
        let (fin, dead) = (stream.fin, stream.dead);
        // Of a tunnel, a FIN ends one direction.
        let half = fin && !dead && {
            let codec = self.machine.codec();
            codec.is_upgraded() && !codec.must_close()
        };
        if half {
            while let Ok(Some(event)) =
                self.lend(world, |codec, _, cx| codec.handle_end_of_input(cx))
            {
                self.hear(event, world);
            }
        } else if fin || dead {
            worked = true;
            while !stream.aborted
                && let Ok(Some(event)) =
                    self.lend(world, |codec, _, cx| codec.handle_end_of_input(cx))
            {
                self.hear(event, world);
            }
            self.end();
        }
        while self.lend(world, |codec, _, cx| codec.poll_body(usize::MAX, cx)).is_some() {}
        let output = std::mem::take(&mut self.output).to_vec();
        if !output.is_empty() && !dead {
            worked = true;
            for piece in output.chunks(64_000) {
                if !world.streams[at].dead {
                    world.send(at, piece);
                }
            }
        }
        let closes =
            (fin && !half) || (self.role == Role::Server && self.machine.codec().must_close());
        if closes && !world.streams[at].we_fin && !world.streams[at].dead {
            world.fin(at);
            worked = true;
        }
        worked
    }
}
