//! One large download over a long way: on a stream of HTTP/2 it is as fast as through the opaque relay.
//!
//! ```text
//!   client ── 1 Gbit/s, 0 or 25 ms ── Sluice ── 1 Gbit/s, 25 or 0 ms ── endpoint
//! ```
//!
//! Windows begin at 64 KiB and have to find out what the way carries, 6 MB. Client and endpoint have memory
//! for anything; what limits is Sluice.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sluice_base::{ConnId, Instant, Rng};
use sluice_buf::{Chain, Impairment, LinkConfig, Pool};
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, Event, Head, HeadLimits, HeadPool, Method, Role,
};
use sluice_l7_http2::{Config, Http2};
use sluice_sim::app::{App, AppHost, Io};
use sluice_sim::network::{Cable, Network};
use sluice_sim::sluice::Sluice;
use sluice_stack::{Ready, UdpEvent};

const BYTES: u64 = 256 << 20;
/// Of Sluice, of each pool: as many as `auto` gives a worker of a machine with 2 GiB for them.
const BUFFERS: u32 = 40_960;
const HTTP: u16 = 80;
const RAW: u16 = 7;

const SITE: &str = r#"
[[interface]]
name = "front"
device = "tap:front"
addresses = ["10.1.0.1/24"]
[[interface]]
name = "back"
device = "tap:back"
addresses = ["10.2.0.1/24"]
[runtime]
cores = [0]
[[listener]]
name = "web"
address = "10.1.0.1:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"
timeout = "0s"
[[listener]]
name = "raw"
address = "10.1.0.1:7"
protocol = "tcp"
cluster = "raw"
[[cluster]]
name = "app"
http = "2"
endpoints = ["10.2.0.2:80"]
[[cluster]]
name = "raw"
endpoints = ["10.2.0.2:7"]
"#;

/// A connection of either kind.
struct Wire {
    conn: ConnId,
    codec: Option<Box<Http2>>,
    input: Chain,
    output: Chain,
    heads: HeadPool,
    limits: HeadLimits,
}

impl Wire {
    fn new(conn: ConnId, role: Option<Role>) -> Self {
        // As large as it gets: what is to be found out is Sluice's.
        let config = Config { stream_window_max: 16 << 20, ..Config::default() };
        Self {
            conn,
            codec: role.map(|role| Box::new(Http2::new(role, &config))),
            input: Chain::new(),
            output: Chain::new(),
            heads: HeadPool::new(1, 64),
            limits: HeadLimits::default(),
        }
    }

    fn with<R>(
        &mut self,
        io: &Io<'_>,
        call: impl FnOnce(&mut Http2, &mut Chain, &mut CodecContext<'_>) -> R,
    ) -> Option<R> {
        let mut cx = CodecContext {
            output: &mut self.output,
            pool: io.pool,
            heads: &mut self.heads,
            limits: &self.limits,
            now: io.now,
        };
        Some(call(self.codec.as_mut()?, &mut self.input, &mut cx))
    }

    /// The next thing that the peer said.
    fn next(&mut self, io: &mut Io<'_>) -> Option<Event> {
        self.input.append(&mut io.stack.read(self.conn, usize::MAX));
        let event = self.with(io, Codec::decode)?.expect("no peer breaks a rule");
        let credit = self.codec.as_mut().map_or(0, |codec| codec.take_credit());
        io.stack.credit(self.conn, credit, io.now);
        event
    }

    fn flush(&mut self, io: &mut Io<'_>) {
        self.with(io, |codec, _, cx| {
            // Memory for everything: whatever would be used is granted.
            codec.grant_window(codec.window_wanted(), cx);
        });
        if !self.output.is_empty() {
            io.stack.write(self.conn, &mut self.output, io.now);
        }
    }

    fn next_deadline(&self) -> Instant {
        self.codec.as_ref().map_or(Instant::NEVER, |codec| codec.next_deadline())
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        while self.next_deadline() <= io.now {
            let event = self.with(io, |codec, _, cx| codec.handle_timeout(cx));
            assert!(matches!(event, Some(Ok(None))), "nothing is late: {event:?}");
        }
    }
}

/// Windows of TCP that are nobody's limit.
fn roomy() -> sluice_tcp::Config {
    let receive_buffers_max = 16_384;
    sluice_tcp::Config {
        receive_buffers_max,
        send_queue_max: 64 << 20,
        window_scale: sluice_tcp::Config::window_scale_for(receive_buffers_max, 1460),
        ..sluice_tcp::Config::default()
    }
}

/// Who downloads.
struct Client {
    port: u16,
    wire: Option<Wire>,
    got: u64,
    finished: Option<Instant>,
}

impl Client {
    fn take(&mut self, count: u64, now: Instant) {
        self.got += count;
        assert!(self.got <= BYTES);
        if self.got == BYTES {
            self.finished.get_or_insert(now);
        }
    }
}

impl App for Client {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        let Some(mut wire) = self.wire.take() else { return };
        if ready.connected() && self.port == RAW {
            // So that either way begins with a request.
            assert!(io.send(conn, b"?"), "there is memory for one");
        }
        if ready.connected() {
            wire.with(io, |codec, _, cx| {
                let mut head = Head::new();
                head.reset_to_request(Method::Get, b"sim.test", b"/large");
                let stream = codec.open_stream().expect("it is the first");
                codec.encode_head(stream, &head, BodyLength::None, cx).expect("it fits");
            });
        }
        if self.port == RAW {
            let chain = io.stack.read(conn, usize::MAX);
            io.stack.credit(conn, chain.len(), io.now);
            self.take(chain.len() as u64, io.now);
        } else {
            while let Some(event) = wire.next(io) {
                match event {
                    Event::Head { head, .. } => {
                        assert_eq!(head.status(), 200);
                        wire.heads.put(head);
                    }
                    Event::Body { stream, bytes } => {
                        wire.with(io, |codec, _, cx| codec.credit(stream, bytes.len(), cx));
                        self.take(bytes.len() as u64, io.now);
                    }
                    Event::End { .. } => assert_eq!(self.got, BYTES, "it came whole"),
                    other => panic!("{other:?} after {} bytes at {:?}", self.got, io.now),
                }
            }
        }
        assert!(self.finished.is_some() || !ready.closed(), "after {} bytes", self.got);
        wire.flush(io);
        self.wire = Some(wire);
    }

    fn handle_datagram(&mut self, _: UdpEvent, _: &mut Io<'_>) {}

    fn poll(&mut self, io: &mut Io<'_>) {
        let Some(wire) = &mut self.wire else {
            let to = SocketAddr::new(Ipv4Addr::new(10, 1, 0, 1).into(), self.port);
            let conn = io.stack.connect(to, &roomy(), 0, io.now).expect("memory for one");
            self.wire = Some(Wire::new(conn, (self.port == HTTP).then_some(Role::Client)));
            return;
        };
        wire.wake(io);
        wire.flush(io);
    }

    fn next_deadline(&self) -> Instant {
        self.wire.as_ref().map_or(Instant::NEVER, Wire::next_deadline)
    }
}

/// The endpoint.
struct Endpoint {
    port: u16,
    wire: Option<Wire>,
    /// What it sends, and how much of that is left to be written.
    block: Chain,
    left: u64,
    stream: Option<sluice_l7_core::StreamId>,
    /// Given to the codec and not on its way.
    waiting: usize,
}

/// Bytes of a piece.
const BLOCK: usize = 64 << 10;

impl Endpoint {
    fn send(&mut self, io: &mut Io<'_>) {
        let Some(mut wire) = self.wire.take() else { return };
        while let Some(drained) = (io.stack.send_room(wire.conn) > wire.output.len())
            .then(|| wire.with(io, |codec, _, cx| codec.poll_body(BLOCK, cx)))
            .flatten()
            .flatten()
        {
            self.waiting -= drained.bytes;
        }
        while self.left > 0 && self.waiting == 0 {
            if io.stack.send_room(wire.conn) <= wire.output.len() {
                break;
            }
            let count = self.left.min(BLOCK as u64) as usize;
            let mut piece = self.block.clone_range(0, count);
            match self.stream {
                None => wire.output.append(&mut piece),
                Some(stream) => {
                    let written =
                        wire.with(io, |codec, _, cx| codec.encode_body(stream, &mut piece, cx));
                    let written = written.expect("it speaks HTTP/2").expect("as long as announced");
                    self.waiting = count - written;
                }
            }
            self.left -= count as u64;
            if self.left == 0
                && let Some(stream) = self.stream
            {
                wire.with(io, |codec, _, cx| codec.encode_end(stream, None, cx));
            }
        }
        wire.flush(io);
        self.wire = Some(wire);
    }
}

impl App for Endpoint {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        if ready.accepted() {
            self.wire = Some(Wire::new(conn, (self.port == HTTP).then_some(Role::Server)));
            let copy = Chain::copy_from(&[b'x'; BLOCK], io.pool);
            self.block = copy.expect("there is memory for one");
        }
        if self.port == RAW && io.receive(conn, &mut Vec::new()) > 0 {
            self.left = BYTES;
        }
        if self.port == HTTP
            && let Some(mut wire) = self.wire.take()
        {
            while let Some(event) = wire.next(io) {
                if let Event::Head { stream, head, .. } = event {
                    wire.heads.put(head);
                    let mut head = Head::new();
                    head.reset_to_response(200);
                    let length = BodyLength::Known(BYTES);
                    wire.with(io, |codec, _, cx| codec.encode_head(stream, &head, length, cx));
                    (self.stream, self.left) = (Some(stream), BYTES);
                }
            }
            self.wire = Some(wire);
        }
        self.send(io);
    }

    fn handle_datagram(&mut self, _: UdpEvent, _: &mut Io<'_>) {}

    fn poll(&mut self, io: &mut Io<'_>) {
        if let Some(wire) = &mut self.wire {
            wire.wake(io);
        }
        self.send(io);
    }

    fn next_deadline(&self) -> Instant {
        self.wire.as_ref().map_or(Instant::NEVER, Wire::next_deadline)
    }
}

/// A gigabit a second, `latency_ms` away.
fn cable(latency_ms: u64) -> Cable {
    let way = Impairment {
        latency_nanos: latency_ms * 1_000_000,
        bits_per_second: 1_000_000_000,
        // As deep as the way is long: who sends too much is slowed down, and nothing is lost.
        queue_bytes: 64 << 20,
        ..Impairment::default()
    };
    Cable { up: way, down: way, ..Cable::default() }
}

/// Seconds of virtual time that [`BYTES`] take.
fn took(port: u16, [to_client, to_endpoint]: [u64; 2]) -> f64 {
    let mut rng = Rng::new(5);
    let wire = Pool::heap(4_096);
    let link = LinkConfig::default();
    let (mut sluice, [front_end, back_end]) = Sluice::start(SITE, &mut rng, &wire, link, BUFFERS);
    let mut front = Network::new(rng.fork(1), wire.share(), None);
    let mut back = Network::new(rng.fork(2), wire.share(), None);
    front.plug(front_end, Cable::default(), "sluice-front");
    back.plug(back_end, Cable::default(), "sluice-back");
    let at = |network: u8| IpAddr::from([10, network, 0, 2]);
    let client = Client { port, wire: None, got: 0, finished: None };
    let (mut client, end) = AppHost::with_buffers(client, at(1), 11, &wire, link, 65_536);
    front.plug(end, cable(to_client), "client");
    let endpoint =
        Endpoint { port, wire: None, block: Chain::new(), left: 0, stream: None, waiting: 0 };
    let (mut endpoint, end) = AppHost::with_buffers(endpoint, at(2), 12, &wire, link, 65_536);
    endpoint
        .stack
        .listen(sluice_base::ListenerId(0), SocketAddr::new(at(2), port), &roomy())
        .expect("an address of its own");
    back.plug(end, cable(to_endpoint), "endpoint");
    let begin = Instant::from_millis(1);
    let mut now = begin;
    loop {
        while front.deliver(now)
            | back.deliver(now)
            | client.step(now)
            | sluice.step(now)
            | endpoint.step(now)
            | front.collect(now)
            | back.collect(now)
        {}
        if let Some(finished) = client.app.finished {
            let seconds = finished.nanos_since(begin) as f64 / 1e9;
            println!(
                "port {port}, {to_client} and {to_endpoint} ms: {seconds:.3} s, {:.1} Mbit/s",
                BYTES as f64 * 8e-6 / seconds
            );
            return seconds;
        }
        let next = [front.next_arrival(), back.next_arrival(), client.next_deadline()];
        let next = next.into_iter().chain([sluice.next_deadline(), endpoint.next_deadline()]);
        now = next.min().expect("there are five").max(now.plus_nanos(1_000));
        assert!(now < Instant::from_millis(60_000), "it ends: {} bytes came", client.app.got);
    }
}

/// The way from the endpoint is long: Sluice's own windows have to grow.
#[test]
fn from_far_away() {
    compare([0, 25]);
}

/// The way to the client is long: Sluice sends as fast as the client's windows let it.
#[test]
fn to_far_away() {
    compare([25, 0]);
}

fn compare(latencies_ms: [u64; 2]) {
    let (relayed, streamed) = (took(RAW, latencies_ms), took(HTTP, latencies_ms));
    assert!(streamed * 0.95 <= relayed, "{streamed} s on a stream, {relayed} s through the relay");
}
