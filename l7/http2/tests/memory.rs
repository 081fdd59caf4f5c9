//! What a connection holds when it carries nothing, and what it knows when its memory is used again.

mod support;

use sluice_l7_core::{BodyLength, Head, Role, StreamId};
use sluice_l7_http2::frame::{FrameKind, flag};
use sluice_l7_http2::{Config, Http2};
use support::{END_HEADERS, END_STREAM, Peer, block, frame, get};

fn answer(peer: &mut Peer, stream: u32) -> String {
    peer.answer(&get(stream));
    let mut head = Head::new();
    head.reset_to_response(200);
    head.append("x-who", b"me");
    peer.encode_head(StreamId::new(stream), &head, BodyLength::None).expect("it was asked");
    peer.written().join(" ")
}

/// HEADERS with a block as it stands.
fn raw(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(FrameKind::Headers, END_HEADERS | END_STREAM, stream, block)
}

#[test]
fn what_is_trimmed_is_empty_and_goes_on() {
    let mut peer = Peer::server();
    let bare = size_of::<Http2>();
    let mut stream = 1;
    for _ in 0..3 {
        for _ in 0..4 {
            let said = answer(&mut peer, stream);
            assert_eq!(said, format!("HEADERS {stream} end | :status: 200 | x-who: me"));
            stream += 2;
        }
        assert!(peer.codec.is_roomy() && peer.codec.memory() > bare + 1_500);
        peer.codec.trim();
        assert_eq!((peer.codec.is_roomy(), peer.codec.memory()), (false, bare));
        peer.codec.trim();
    }
    // With a stream it is left alone.
    peer.answer(&get(stream));
    let before = peer.codec.memory();
    peer.codec.trim();
    assert_eq!(peer.codec.memory(), before);
    peer.respond(stream, 200, BodyLength::None).expect("it was asked");
    peer.written();
    peer.census();
}

/// A peer may have been allowed no table by the connection that had the memory before, or by this one.
#[test]
fn memory_that_is_used_again_knows_nothing_of_its_past() {
    let none = Config { header_table: 0, ..Config::default() };
    let update = [&[0x3f, 0xe1, 0x1f][..], &block(&support::GET)].concat();
    let mut peer = Peer::server_with(&none);
    peer.answer(&frame(FrameKind::Settings, flag::ACK, 0, b""));
    peer.codec.recycle(Role::Server, &Config::default());
    let fresh = Peer::fresh_server();
    (peer.input, peer.output) = (fresh.input, fresh.output);
    peer.receive(sluice_l7_http2::frame::PREFACE);
    peer.answer(&support::settings(&[]));
    assert_eq!(peer.answer(&raw(1, &update)).0, ["1 GET / host=a => None"]);

    let mut peer = Peer::server();
    peer.codec.recycle(Role::Server, &none);
    peer.receive(sluice_l7_http2::frame::PREFACE);
    peer.answer(&support::settings(&[]));
    for nth in 0..4 {
        answer(&mut peer, nth * 2 + 1);
    }
    let streams = 1_000;
    assert!(peer.codec.memory() < size_of::<Http2>() + streams, "no table of ours either");
}
