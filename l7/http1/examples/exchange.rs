//! One proxied exchange over both roles, many times: what `valgrind --tool=callgrind` is run on.
//!
//! The count is an argument, so that two runs give the instructions per exchange as a slope. It
//! decodes a request, writes it to the upstream side, decodes the response with its 128-byte body,
//! writes that to the downstream side; nothing is changed on the way but Connection.

use sluice_base::Instant;
use sluice_buf::{Chain, Packet, Pool};
use sluice_l7_core::{Codec, CodecContext, Event, HeadLimits, HeadPool, NameId, Role, StreamId};
use sluice_l7_http1::Http1;

const REQUEST: &[u8] = b"GET /api/v1/items?id=42 HTTP/1.1\r\nHost: app.example:8080\r\n\
    User-Agent: wrk/4.1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Fri, 20 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\
    Connection: keep-alive\r\n\r\n";

struct Worker {
    pool: Pool,
    heads: HeadPool,
    limits: HeadLimits,
    output: Chain,
}

impl Worker {
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
}

fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000);
    let response = [RESPONSE, &[b'x'; 128]].concat();
    let mut worker = Worker {
        pool: Pool::heap(64),
        heads: HeadPool::new(4, 8),
        limits: HeadLimits::default(),
        output: Chain::new(),
    };
    let (mut server, mut client) = (Http1::new(Role::Server), Http1::new(Role::Client));
    let mut written = 0;
    for _ in 0..count {
        let (request, response) = (worker.received(REQUEST), worker.received(&response));
        written += exchange(&mut server, &mut client, request, response, &mut worker);
    }
    let both = REQUEST.len() + response.len() - 2 * b"Connection: keep-alive\r\n".len();
    assert_eq!(written, count as usize * both, "both messages, less Connection");
}

/// Bytes written to both sides.
#[inline(never)]
fn exchange(
    server: &mut Http1,
    client: &mut Http1,
    mut request: Chain,
    mut response: Chain,
    worker: &mut Worker,
) -> usize {
    let Ok(Some(Event::Head { stream: downstream, mut head, body })) =
        server.decode(&mut request, &mut worker.cx())
    else {
        panic!("a request");
    };
    head.remove(NameId::CONNECTION);
    let upstream = client.open_stream().expect("free");
    client.encode_head(upstream, &head, body, &mut worker.cx()).expect("room");
    worker.heads.put(head);
    let sent = std::mem::take(&mut worker.output).len();
    let sent = sent + respond(server, client, downstream, &mut response, worker);
    assert!(server.is_idle() && client.is_reusable());
    server.take_credit();
    client.take_credit();
    sent
}

fn respond(
    server: &mut Http1,
    client: &mut Http1,
    downstream: StreamId,
    response: &mut Chain,
    worker: &mut Worker,
) -> usize {
    while let Some(event) = client.decode(response, &mut worker.cx()).expect("a response") {
        match event {
            Event::Head { mut head, body, .. } => {
                head.remove(NameId::CONNECTION);
                server.encode_head(downstream, &head, body, &mut worker.cx()).expect("room");
                worker.heads.put(head);
            }
            Event::Body { mut bytes, .. } => {
                server.encode_body(downstream, &mut bytes, &mut worker.cx()).expect("in order");
            }
            Event::End { .. } => {
                server.encode_end(downstream, None, &mut worker.cx()).expect("in order");
            }
            other => panic!("{other:?}"),
        }
    }
    std::mem::take(&mut worker.output).len()
}
