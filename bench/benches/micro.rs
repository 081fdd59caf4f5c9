//! Single steps of the path, by time. Whole paths: the binaries `path` and `icount`.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sluice_base::{Instant, Rng, WorkerId};
use sluice_bench::Scenario;
use sluice_buf::{Chain, Packet, Pool};
use sluice_config_model::IdRegistry;
use sluice_l7_core::{
    Codec, CodecContext, Event, Head, HeadLimits, HeadPool, NameId, Role, StreamId,
};
use sluice_l7_http1::Http1;
use sluice_l7_proxy::{CounterRegistry, Snapshot};
use sluice_l7_route::Path;
use sluice_rules::{RuleTable, Transport};
use sluice_wire::checksum::ones_complement_sum;

const REQUEST: &[u8] = b"GET /api/v1/service-999/items HTTP/1.1\r\nHost: 10.1.0.1\r\n\
    User-Agent: h2load nghttp2/1.52.0\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Fri, 20 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";

/// What a codec needs of a worker.
struct Lender {
    pool: Pool,
    heads: HeadPool,
    limits: HeadLimits,
    output: Chain,
}

impl Lender {
    fn new() -> Self {
        Self {
            pool: Pool::heap(64),
            heads: HeadPool::new(4, 8),
            limits: HeadLimits::default(),
            output: Chain::new(),
        }
    }

    fn cx(&mut self) -> CodecContext<'_> {
        CodecContext {
            output: &mut self.output,
            pool: &self.pool,
            heads: &mut self.heads,
            limits: &self.limits,
            now: Instant::ZERO,
        }
    }

    /// A buffer as it comes from the stack.
    fn received(&self, bytes: &[u8]) -> Chain {
        let mut packet: Packet = self.pool.alloc().expect("the pool has room");
        assert!(packet.append_bytes(bytes), "a message fits a buffer");
        let mut chain = Chain::new();
        packet.into_chain(0, bytes.len(), &mut chain);
        chain
    }

    fn request(&mut self, server: &mut Http1) -> (StreamId, Box<Head>) {
        let mut bytes = self.received(REQUEST);
        match server.decode(&mut bytes, &mut self.cx()) {
            Ok(Some(Event::Head { stream, head, .. })) => (stream, head),
            other => panic!("a request, not {other:?}"),
        }
    }
}

/// Both heads in and out: most of what HTTP/1.1 costs a proxied request.
fn http1(c: &mut Criterion) {
    let mut lender = Lender::new();
    let (mut server, mut client) = (Http1::new(Role::Server), Http1::new(Role::Client));
    c.bench_function("http1/exchange", |b| {
        b.iter(|| {
            let (downstream, mut head) = lender.request(&mut server);
            head.remove(NameId::CONNECTION);
            while let Ok(Some(_)) = server.decode(&mut Chain::new(), &mut lender.cx()) {}
            let upstream = client.open_stream().expect("the client is idle");
            let body = sluice_l7_core::BodyLength::None;
            client.encode_head(upstream, &head, body, &mut lender.cx()).expect("room");
            client.encode_end(upstream, None, &mut lender.cx()).expect("in order");
            lender.heads.put(head);
            let mut response = lender.received(RESPONSE);
            while let Ok(Some(event)) = client.decode(&mut response, &mut lender.cx()) {
                match event {
                    Event::Head { head, body, .. } => {
                        let sent = server.encode_head(downstream, &head, body, &mut lender.cx());
                        sent.expect("room");
                        lender.heads.put(head);
                    }
                    Event::End { .. } => {
                        server.encode_end(downstream, None, &mut lender.cx()).expect("in order");
                    }
                    other => panic!("a response without a body, not {other:?}"),
                }
            }
            black_box(std::mem::take(&mut lender.output).len())
        });
    });
}

fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let scenarios = [(1, Scenario::HttpKeepalive128), (1000, Scenario::HttpKeepalive128Routes1k)];
    for (count, scenario) in scenarios {
        let mut registry = IdRegistry::new();
        let text = scenario.config([10, 2, 0, 2].into());
        let Ok((config, _)) = sluice_config_toml::parse("bench.toml", &text, &mut registry) else {
            panic!("the scenario's configuration is valid");
        };
        let mut counters = CounterRegistry::new(1);
        let snapshot = Snapshot::compile(&config, &mut counters, None).expect("it compiles");
        let web = snapshot.listeners().find(|listener| &*listener.listener.name == "web");
        let table = &web.expect("there is one of that name").routes;
        let mut lender = Lender::new();
        let (_, head) = lender.request(&mut Http1::new(Role::Server));
        group.bench_function(BenchmarkId::new("find", count), |b| {
            b.iter(|| table.find(black_box(&head), &Path::of(&head)).expect("a route").id);
        });
    }
    group.finish();
}

/// Random rules, and random packets, a fresh one each time.
fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    let mut rng = Rng::new(1);
    let packets: Vec<_> = (0..4_096)
        .map(|_| {
            let mut address = || Ipv4Addr::from_bits(0x0a00_0000 | rng.below(1 << 24));
            let (source, destination) = (address(), address());
            let (from, to) = (40_000, rng.below(65_536) as u16);
            let is_tcp = rng.below(2) == 0;
            let tcp = Transport::Tcp { from, to };
            (source, destination, if is_tcp { tcp } else { Transport::Udp { from, to } })
        })
        .collect();
    for count in [10, 100, 1_000, 10_000] {
        let table = RuleTable::compile(&sluice_bench::rules::random(count), 1, None);
        let mut packets = packets.iter().cycle();
        group.bench_function(BenchmarkId::new("decide", count), |b| {
            b.iter(|| {
                let packet = packets.next().expect("a cycle has no end");
                table.decide_v4(packet.0, packet.1, packet.2, WorkerId(0))
            });
        });
    }
    group.finish();
}

fn chains(c: &mut Criterion) {
    let pool = Pool::heap(64);
    let whole = Chain::copy_from(&[7; 16 * 1024], &pool).expect("the pool has room");
    c.bench_function("chain/clone_split_drop_16k", |b| {
        b.iter(|| {
            let mut chain = whole.clone_range(0, whole.len());
            let front = chain.split_to(1448);
            black_box((front.len(), chain.len()))
        });
    });
    c.bench_function("chain/copy_from_256", |b| {
        b.iter(|| Chain::copy_from(black_box(&[7; 256]), &pool).expect("the pool has room").len());
    });
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20, 64, 1448] {
        let bytes = vec![0xa5; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| ones_complement_sum(black_box(&bytes)));
        });
    }
    group.finish();
}

criterion_group!(micro, http1, routes, rules, chains, checksums);
criterion_main!(micro);
