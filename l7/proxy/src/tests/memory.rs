//! What connections of HTTP/2 hold: in use, at rest, and all of a worker together.

use sluice_l7_core::{BodyLength, Method};

use super::far::{Place, Version};
use super::net::Net;
use super::versions::pattern;
use crate::codec::SessionCodec;
use crate::limits::WINDOWS_MAX;

use Version::Two;

/// Bytes that the proxy's codec of a connection holds.
fn held(net: &Net, at: usize) -> usize {
    let session = net.world.proxy.sessions.get(net.world.streams[at].conn).expect("it is open");
    match &session.codec {
        SessionCodec::Http2(coded) => coded.codec.memory(),
        SessionCodec::Http1(_) | SessionCodec::Opaque => panic!("it speaks HTTP/2"),
    }
}

fn granted(net: &Net, at: usize) -> u32 {
    net.world.proxy.granted(net.world.streams[at].conn)
}

/// Requests whose fields both ends put into their tables, all at once.
fn burst(net: &mut Net, client: usize, count: usize) {
    let fields = [("x-tenant", "blue"), ("user-agent", "test")];
    let places: Vec<_> = (0..count)
        .map(|_| net.ask(client, Method::Get, "/burst", &fields, BodyLength::None))
        .collect();
    for at in net.asked() {
        assert_eq!(net.seen(at).field("x-tenant"), Some("blue"));
        net.answer(at, 200, &[("x-who", "me"), ("server", "test")], BodyLength::None);
    }
    for place in places {
        assert_eq!(
            (net.outcome(place).as_str(), net.seen(place).field("x-who")),
            ("200 Whole", Some("me"))
        );
    }
}

/// The memory of a burst is given up, tables are emptied, and both peers can follow.
#[test]
fn a_connection_at_rest_holds_nothing_of_its_burst() {
    let mut net = Net::single(Two);
    let client = net.client(Two);
    for count in [100, 3, 20] {
        burst(&mut net, client, count);
        let upstream = net.world.upstream();
        let before = [held(&net, client), held(&net, upstream)];
        assert!(before.iter().all(|bytes| *bytes > 2_500), "{before:?}");
        net.advance(3_900);
        assert_eq!([held(&net, client), held(&net, upstream)], before, "it may go on at once");
        net.advance(200);
        // What the peer put into our decoder's table is the peer's to evict.
        let after = [held(&net, client), held(&net, upstream)];
        assert!(after.iter().all(|bytes| *bytes <= 1_400), "{before:?}, then {after:?}");
    }
    assert_eq!(net.world.upstreams().len(), 1);
    net.census();
}

/// One that always carries something keeps what it has.
#[test]
fn a_connection_in_use_is_left_alone() {
    let mut net = Net::single(Two);
    let client = net.client(Two);
    let watch = net.get(client, "/watch");
    let at = net.only();
    burst_beside(&mut net, client, at);
    let before = held(&net, client);
    net.advance(10_000);
    assert_eq!(held(&net, client), before);
    net.answer_all(at, 200, b"end");
    assert_eq!(net.outcome(watch), "200 Whole");
    net.advance(4_100);
    assert!(held(&net, client) < before);
    net.census();
}

fn burst_beside(net: &mut Net, client: usize, but: Place) {
    let places: Vec<_> = (0..20).map(|_| net.get(client, "/")).collect();
    for at in net.asked().into_iter().filter(|at| *at != but) {
        net.answer_all(at, 200, b"");
    }
    assert!(places.into_iter().all(|place| net.outcome(place) == "200 Whole"));
}

fn upload(net: &mut Net, client: usize, bytes: usize) {
    let place = net.ask(client, Method::Post, "/", &[], BodyLength::Chunked);
    let at = *net.asked().last().expect("it was asked");
    let body = pattern(bytes);
    for part in body.chunks(100_000) {
        net.body(place, part);
    }
    net.end(place, &[]);
    assert!(net.seen(at).body == body, "all of it arrived");
    net.answer_all(at, 200, b"");
    assert_eq!(net.outcome(place), "200 Whole");
}

/// Windows grow only as far as the worker's bound goes, whoever asks first; what a connection was
/// granted comes back when it needs it no more, and when it is gone.
#[test]
fn windows_grow_within_the_worker_s_bound_and_shrink_back() {
    const BOUND: u32 = 300_000;
    let mut net = Net::single(Two);
    assert_eq!(net.world.proxy.windows_left, WINDOWS_MAX);
    net.world.proxy.windows_left = BOUND;
    let clients: Vec<_> = (0..4).map(|_| net.client(Two)).collect();
    for _ in 0..4 {
        for client in &clients {
            upload(&mut net, *client, 400_000);
            let all: u32 = clients.iter().map(|it| granted(&net, *it)).sum();
            let all = all + granted(&net, net.world.upstream());
            assert_eq!(net.world.proxy.windows_left + all, BOUND, "none is lost");
        }
    }
    assert_eq!(net.world.proxy.windows_left, 0, "all were limited by their windows");
    let first = granted(&net, clients[0]);
    assert!(first > 30_000, "{first}");
    net.close(clients[0]);
    assert_eq!(net.world.proxy.windows_left, first, "it is gone");
    // What is there again is for others.
    let late = net.client(Two);
    upload(&mut net, late, 400_000);
    assert!(granted(&net, late) > 0 && net.world.proxy.windows_left < first);
    for _ in 0..140 {
        net.advance(1_000);
    }
    assert_eq!(net.world.proxy.windows_left, BOUND, "nothing large came for long");
    for client in &clients[1..] {
        assert_eq!(granted(&net, *client), 0);
        upload(&mut net, *client, 200_000);
    }
    assert!(net.world.proxy.windows_left < BOUND, "and they grow again");
    net.census();
}
