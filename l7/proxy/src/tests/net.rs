//! A [`World`] with clients and endpoints that speak: what they say, and what they have seen.

use std::collections::BTreeMap;

use sluice_buf::Chain;
use sluice_config_model::{Config, HttpVersion};
use sluice_l7_core::{BodyLength, Codec, CodecContext, Head, Method, ResetReason, Role};
use sluice_l7_http2::Config as Http2Config;
use sluice_l7_http2::frame::{self, FrameKind};

use super::far::{Ended, Far, Machine, Message, Place, Version};
use super::world::World;

use Version::{One, Two};

/// A world with far ends that speak.
pub(crate) struct Net {
    pub(crate) world: World,
    fars: BTreeMap<usize, Far>,
    endpoints: Version,
    /// What endpoints of HTTP/2 say about themselves.
    pub(crate) config: Http2Config,
    /// Connections to endpoints from this one on say only what the test says.
    pub(crate) raw_from: usize,
}

impl Net {
    pub(crate) fn new(endpoints: Version) -> Self {
        Self::with(endpoints, |_| {})
    }

    /// The cluster has one endpoint.
    pub(crate) fn single(endpoints: Version) -> Self {
        Self::with(endpoints, |config| config.clusters[0].endpoints.truncate(1))
    }

    pub(crate) fn with(endpoints: Version, change: impl FnOnce(&mut Config)) -> Self {
        let world = World::with(|config| {
            for cluster in &mut config.clusters {
                cluster.http = match endpoints {
                    One => HttpVersion::Http11,
                    Two => HttpVersion::Http2,
                };
            }
            change(config);
        });
        let config = Http2Config::default();
        Self { world, fars: BTreeMap::new(), endpoints, config, raw_from: usize::MAX }
    }

    /// A client connects.
    pub(crate) fn client(&mut self, version: Version) -> usize {
        let at = self.world.client();
        self.fars.insert(at, Far::new(Role::Client, version, &Http2Config::default()));
        at
    }

    /// A client of HTTP/2 that takes as much at once as its settings say.
    pub(crate) fn client_with(&mut self, config: &Http2Config) -> usize {
        let at = self.world.client();
        self.fars.insert(at, Far::new(Role::Client, Two, config));
        at
    }

    pub(crate) fn far(&mut self, at: usize) -> &mut Far {
        self.fars.get_mut(&at).expect("a far end")
    }

    /// Everybody reads and writes until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            for at in self.world.upstreams() {
                if at < self.raw_from && !self.fars.contains_key(&at) {
                    self.fars.insert(at, Far::new(Role::Server, self.endpoints, &self.config));
                }
            }
            let mut worked = false;
            for (at, far) in &mut self.fars {
                worked |= far.step(*at, &mut self.world);
            }
            if !worked {
                return;
            }
        }
        panic!("they talk without end");
    }

    fn lend<R>(
        &mut self,
        at: usize,
        call: impl FnOnce(&mut dyn Codec, &mut CodecContext<'_>) -> R,
    ) -> R {
        let far = self.fars.get_mut(&at).expect("a far end");
        far.lend(&self.world, |codec, _, cx| call(codec, cx))
    }

    /// A client asks.
    pub(crate) fn ask(
        &mut self,
        client: usize,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: BodyLength,
    ) -> Place {
        let mut head = Head::new();
        head.reset_to_request(method, b"example.com", path.as_bytes());
        for (name, value) in fields {
            head.append(*name, value.as_bytes());
        }
        let stream = self.lend(client, |codec, cx| {
            let stream = codec.open_stream().expect("the connection takes streams");
            codec.encode_head(stream, &head, body, cx).expect("a request may be written");
            stream
        });
        let far = self.far(client);
        far.message(stream).answered = true;
        self.settle();
        (client, stream)
    }

    /// A client asks for what has no length, with a head as it wants.
    pub(crate) fn ask_as(&mut self, client: usize, write: impl FnOnce(&mut Head)) -> Place {
        let mut head = Head::new();
        write(&mut head);
        // In HTTP/1.1 what follows is no body.
        let is_one = matches!(self.far(client).machine, Machine::One(_));
        let body = if is_one { BodyLength::None } else { BodyLength::UntilClose };
        let stream = self.lend(client, |codec, cx| {
            let stream = codec.open_stream().expect("the connection takes streams");
            codec.encode_head(stream, &head, body, cx).expect("a request may be written");
            stream
        });
        self.far(client).message(stream).answered = true;
        self.settle();
        (client, stream)
    }

    /// A request that is written before the client has read what was said to it.
    pub(crate) fn get_unsettled(&mut self, client: usize, path: &str) -> Place {
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"example.com", path.as_bytes());
        let stream = self.lend(client, |codec, cx| {
            let stream = codec.open_stream().expect("the connection takes streams");
            codec.encode_head(stream, &head, BodyLength::None, cx).expect("a request");
            stream
        });
        let far = self.far(client);
        far.message(stream).answered = true;
        (client, stream)
    }

    pub(crate) fn get(&mut self, client: usize, path: &str) -> Place {
        self.ask(client, Method::Get, path, &[], BodyLength::None)
    }

    /// Either side says a part of a body.
    pub(crate) fn body(&mut self, (at, stream): Place, bytes: &[u8]) {
        let far = self.far(at);
        let mut chain = Chain::copy_from(bytes, &far.pool).expect("the pool has room");
        self.lend(at, |codec, cx| codec.encode_body(stream, &mut chain, cx).expect("a body"));
        self.settle();
    }

    /// Either side ends its message.
    pub(crate) fn end(&mut self, (at, stream): Place, trailers: &[(&str, &str)]) {
        let mut head = Head::new();
        for (name, value) in trailers {
            head.append(*name, value.as_bytes());
        }
        let trailers = (!trailers.is_empty()).then_some(&head);
        self.lend(at, |codec, cx| codec.encode_end(stream, trailers, cx).expect("an end"));
        self.settle();
    }

    /// The last part of a body, and the end.
    pub(crate) fn last(&mut self, (at, stream): Place, bytes: &[u8]) {
        let far = self.far(at);
        let mut chain = Chain::copy_from(bytes, &far.pool).expect("the pool has room");
        self.lend(at, |codec, cx| codec.encode_last(stream, &mut chain, cx).expect("an end"));
        self.settle();
    }

    /// An endpoint's head, 1xx or final.
    pub(crate) fn answer(
        &mut self,
        (at, stream): Place,
        status: u16,
        fields: &[(&str, &str)],
        body: BodyLength,
    ) {
        let mut head = Head::new();
        head.reset_to_response(status);
        for (name, value) in fields {
            head.append(*name, value.as_bytes());
        }
        self.lend(at, |codec, cx| {
            codec.encode_head(stream, &head, body, cx).expect("a response may be written");
        });
        if status >= 200 {
            self.far(at).message(stream).answered = true;
        }
        if self.lend(at, |codec, _| codec.is_upgraded()) {
            // The request was whole; the tunnel goes on.
            self.far(at).message(stream).ended = Ended::No;
        }
        self.settle();
    }

    /// A whole answer.
    pub(crate) fn answer_all(&mut self, place: Place, status: u16, bytes: &[u8]) {
        self.answer(place, status, &[], BodyLength::Known(bytes.len() as u64));
        if !bytes.is_empty() {
            self.body(place, bytes);
            self.end(place, &[]);
        }
    }

    /// A whole answer with trailers; unless `at_once`, its parts come one after the other.
    pub(crate) fn answer_call(
        &mut self,
        place: Place,
        status: u16,
        [fields, trailers]: [&[(&str, &str)]; 2],
        bytes: &[u8],
        at_once: bool,
    ) {
        let (at, stream) = place;
        if !at_once {
            self.answer(place, status, fields, BodyLength::Chunked);
            if !bytes.is_empty() {
                self.body(place, bytes);
            }
            return self.end(place, trailers);
        }
        let (mut head, mut end) = (Head::new(), Head::new());
        head.reset_to_response(status);
        for (head, fields) in [(&mut head, fields), (&mut end, trailers)] {
            fields.iter().for_each(|(name, value)| head.append(*name, value.as_bytes()));
        }
        let far = self.far(at);
        far.message(stream).answered = true;
        let mut chain = Chain::copy_from(bytes, &far.pool).expect("the pool has room");
        self.lend(at, |codec, cx| {
            codec.encode_head(stream, &head, BodyLength::Chunked, cx).expect("a response");
            codec.encode_body(stream, &mut chain, cx).expect("a body");
            let trailers = (!trailers.is_empty()).then_some(&end);
            codec.encode_end(stream, trailers, cx).expect("an end");
        });
        self.settle();
    }

    /// Either side gives its stream up: with HTTP/1.1, the connection.
    pub(crate) fn reset(&mut self, (at, stream): Place, reason: ResetReason) {
        let far = self.far(at);
        far.message(stream).answered = true;
        if let Machine::One(_) = far.machine {
            far.end();
            self.world.reset(at);
        } else {
            self.lend(at, |codec, cx| codec.encode_reset(stream, reason, cx));
        }
        self.settle();
    }

    /// Either side closes its connection, whatever it is doing.
    pub(crate) fn close(&mut self, at: usize) {
        self.world.fin(at);
        self.settle();
        self.far(at).end();
        self.settle();
    }

    /// Either side's connection is reset.
    pub(crate) fn abort(&mut self, at: usize) {
        self.far(at).end();
        self.world.reset(at);
        self.settle();
    }

    /// Either side takes no new streams.
    pub(crate) fn drain(&mut self, at: usize) {
        self.lend(at, |codec, cx| codec.drain(cx));
        self.settle();
    }

    /// A stream whose reader had stalled is read again.
    pub(crate) fn read_on(&mut self, (at, stream): Place) {
        let far = self.far(at);
        far.stalled.remove(&stream);
        let unread = std::mem::take(&mut far.message(stream).unread);
        self.lend(at, |codec, cx| codec.credit(stream, unread, cx));
        self.settle();
    }

    /// A frame that the machine of that far end knows nothing of.
    pub(crate) fn inject(
        &mut self,
        (at, stream): Place,
        kind: FrameKind,
        flags: u8,
        payload: &[u8],
    ) {
        self.world.send(at, frame::whole(kind, flags, stream, payload));
        self.settle();
    }

    /// Bytes that the machine of that far end knows nothing of.
    pub(crate) fn say(&mut self, at: usize, bytes: &[u8]) {
        self.world.send(at, bytes);
        self.settle();
    }

    /// Requests that came to endpoints and that nobody has answered, oldest connection first.
    pub(crate) fn asked(&self) -> Vec<Place> {
        let servers = self.fars.iter().filter(|(_, far)| far.role == Role::Server && !far.ended);
        servers
            .flat_map(|(at, far)| {
                let open = far.messages.iter().filter(|(_, message)| {
                    !message.answered && !matches!(message.ended, Ended::Reset(_) | Ended::Cut)
                });
                open.map(|(stream, _)| (*at, *stream))
            })
            .collect()
    }

    /// The only one of them.
    pub(crate) fn only(&self) -> Place {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "one request arrived: {asked:?}");
        asked[0]
    }

    /// What has been received at a place.
    pub(crate) fn seen(&self, (at, stream): Place) -> &Message {
        &self.fars[&at].messages[&stream]
    }

    pub(crate) fn has_ended(&self, at: usize) -> bool {
        self.fars[&at].ended
    }

    /// `200 Whole`, `503 Whole`, ` Reset(Cancelled)`.
    pub(crate) fn outcome(&self, place: Place) -> String {
        let message = self.seen(place);
        format!("{} {:?}", message.start, message.ended)
    }

    /// Time passes, for far ends as well.
    pub(crate) fn advance(&mut self, millis: u64) {
        self.world.advance(std::time::Duration::from_millis(millis));
        self.settle();
    }

    /// A client of this version can be served.
    pub(crate) fn serves(&mut self, version: Version) {
        let client = self.client(version);
        let place = self.get(client, "/serves");
        let asked = self.asked();
        let at = *asked.iter().find(|at| self.seen(**at).start.ends_with("/serves")).expect("it");
        self.answer_all(at, 200, b"hi");
        assert_eq!(
            (self.outcome(place).as_str(), &*self.seen(place).body),
            ("200 Whole", &b"hi"[..])
        );
    }

    pub(crate) fn census(self) {
        drop(self.fars);
        self.world.census();
    }
}
