//! Bodies, and the back-pressure that bounds them.

use super::world::World;
use super::{GET, OK};
use crate::StreamEvent;

#[test]
fn a_sized_body_goes_up() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234");
    world.send(client, "56789");
    assert!(world.answer(OK).ends_with("\r\n\r\n0123456789"));
    assert!(world.take(client).ends_with("hi"));
    assert_eq!(world.streams[client].credited, world.streams[client].sent);
    assert!(!world.streams[client].fin);
    world.census();
}

/// Without it each request with a body would be two segments, and two turns of a connection.
#[test]
fn a_head_and_the_body_that_came_with_it_leave_in_one_piece() {
    let mut world = World::new();
    let client = world.client();
    let head = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
    for _ in 0..4 {
        world.send(client, format!("{head}01234"));
        let upstream = world.asked();
        let writes = std::mem::take(&mut world.streams[upstream].writes);
        assert_eq!(writes, 1, "on a new connection, and on one that is known");
        assert!(world.answer(OK).ends_with("\r\n\r\n01234"));
    }
    // A head whose body is long in coming does not wait for it.
    world.send(client, head);
    let upstream = world.asked();
    assert!(world.take(upstream).ends_with("\r\n\r\n"));
    world.send(client, "01234");
    assert_eq!(world.streams[upstream].writes, 2);
    assert_eq!(world.answer(OK), "01234");
    world.census();
}

#[test]
fn a_chunked_body_with_trailers_goes_both_ways() {
    let mut world = World::new();
    let client = world.client();
    let body = "4\r\nabcd\r\n0\r\nx-sum: 1\r\n\r\n";
    world.send(
        client,
        format!("PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}"),
    );
    let request =
        world.answer(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"));
    assert!(request.contains("transfer-encoding: chunked\r\n") && request.contains("x-sum: 1\r\n"));
    let response = world.take(client);
    assert!(response.contains("4\r\nabcd\r\n0\r\n") && response.contains("x-sum: 1\r\n"));
    assert_eq!(world.streams[client].credited, world.streams[client].sent);
    let upstream = world.upstream();
    assert_eq!(world.streams[upstream].credited, world.streams[upstream].sent);
    world.census();
}

#[test]
fn a_body_until_close_becomes_chunks() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.take(upstream);
    world.send(upstream, "HTTP/1.1 200 OK\r\n\r\nabc");
    world.send(upstream, "def");
    world.fin(upstream);
    let response = world.take(client);
    assert!(response.ends_with("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"), "{response}");
    assert!(!world.streams[client].fin, "the client's connection goes on");
    assert!(world.streams[upstream].dead);
    world.census();
}

/// What the client does not take, the endpoint must not be asked to send more of.
#[test]
fn a_slow_client_closes_the_endpoints_window() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.streams[client].room = 0;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n";
    world.send(upstream, head);
    world.send(upstream, [b'x'; 1_000]);
    assert_eq!(world.streams[upstream].credited, head.len(), "the body is not credited");
    world.send(upstream, [b'x'; 1_000]);
    assert_eq!(world.streams[upstream].credited, head.len());
    world.streams[client].room = 1_000_000;
    world.event(client, StreamEvent::Writable);
    assert_eq!(world.streams[upstream].credited, head.len() + 2_000, "all at once");
    world.send(upstream, [b'x'; 1_000]);
    assert_eq!(world.streams[upstream].credited, head.len() + 3_000);
    world.census();
}

#[test]
fn a_slow_endpoint_closes_the_clients_window() {
    let mut world = World::new();
    let client = world.client();
    let head = "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3000\r\n\r\n";
    world.send(client, head);
    let upstream = world.asked();
    world.streams[upstream].room = 0;
    world.send(client, [b'x'; 1_500]);
    assert_eq!(world.streams[client].credited, head.len());
    world.streams[upstream].room = 1;
    world.event(upstream, StreamEvent::Writable);
    assert_eq!(world.streams[client].credited, head.len() + 1_500);
    world.send(client, [b'x'; 1_500]);
    assert_eq!(world.streams[client].credited, head.len() + 3_000);
    world.answer(OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

/// Body bytes wait in the client's connection while there is no endpoint to send them to.
#[test]
fn a_body_waits_uncredited_for_its_connection() {
    let mut world = World::new();
    world.behave(1, super::world::Behaviour::Silent);
    world.behave(2, super::world::Behaviour::Silent);
    let client = world.client();
    let head = "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";
    world.send(client, head);
    world.send(client, [b'x'; 500]);
    assert_eq!(world.streams[client].credited, head.len());
    let upstream = world.upstream();
    world.event(upstream, StreamEvent::Connected);
    assert!(world.take(upstream).ends_with(&"x".repeat(500)));
    assert_eq!(world.streams[client].credited, head.len() + 500);
    world.send(client, [b'x'; 500]);
    world.send(upstream, OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

/// 413 from the endpoint while the client still uploads: the answer arrives, what follows is
/// dropped for a while, and the half-sent upstream connection is of no more use.
#[test]
fn an_early_response_ends_the_upload() {
    let mut world = World::new();
    let client = world.client();
    world.send(client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n12345");
    let upstream = world.asked();
    world.send(upstream, "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
    assert!(world.take(client).ends_with("\r\n\r\nno"));
    assert!(world.streams[upstream].aborted);
    assert!(world.streams[client].fin && !world.streams[client].dead);
    let credited = world.streams[client].credited;
    world.send(client, [b'x'; 1_000]);
    assert_eq!(world.streams[client].credited, credited + 1_000, "lingering takes and drops");
    world.fin(client);
    assert!(world.streams[client].dead);
    world.census();
}

#[test]
fn many_megabytes_pass_through_a_small_pool() {
    let mut world = World::new();
    let client = world.client();
    let (block, blocks) = ([b'z'; 8_000], 500);
    let length = block.len() * blocks;
    world.send(client, format!("PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"));
    let upstream = world.asked();
    world.take(upstream);
    let mut arrived = 0;
    for _ in 0..blocks {
        world.send(client, block);
        arrived += world.take(upstream).len();
    }
    assert_eq!(arrived, length);
    world.send(upstream, OK);
    assert!(world.take(client).ends_with("hi"));
    world.census();
}

/// Random cuts, random pauses, both directions at once: what comes out is what went in, and every
/// byte is credited in the end.
#[test]
fn bytes_out_are_bytes_in() {
    for seed in 0..60 {
        let mut rng = sluice_base::Rng::new(seed);
        let mut world = World::new();
        let relay = seed % 2 == 0;
        let mut text = |len: u32| -> Vec<u8> {
            (0..len).map(|_| b'a' + (rng.next_u32() % 26) as u8).collect()
        };
        let (up, down) = (text(40_000), text(60_000));
        let client = if relay { world.client_of(super::world::TCP) } else { world.client() };
        if !relay {
            let head = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", up.len());
            world.send(client, head);
        }
        let upstream = world.upstream();
        world.take(upstream);
        if !relay {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", down.len());
            world.send(upstream, head);
            world.take(client);
        }
        let (mut sent_up, mut sent_down) = (0, 0);
        // The response ends last: an early one would end the upload.
        while sent_up < up.len() || sent_down < down.len() {
            for at in [client, upstream] {
                match rng.below(8) {
                    0 => world.streams[at].room = 0,
                    1 => {
                        world.streams[at].room = 10_000;
                        world.event(at, StreamEvent::Writable);
                    }
                    _ => {}
                }
            }
            let count = 1 + rng.below(3_000) as usize;
            if rng.chance(500_000) || sent_down == down.len() {
                let end = (sent_up + count).min(up.len());
                if end > sent_up {
                    world.send(client, &up[sent_up..end]);
                }
                sent_up = end;
            } else {
                let last = if sent_up < up.len() { down.len() - 1 } else { down.len() };
                let end = (sent_down + count).min(last);
                if end > sent_down {
                    world.send(upstream, &down[sent_down..end]);
                }
                sent_down = end;
            }
        }
        assert_eq!(world.take(upstream).as_bytes(), &up[..], "seed {seed}");
        assert_eq!(world.take(client).as_bytes(), &down[..], "seed {seed}");
        for at in [client, upstream] {
            world.streams[at].room = 10_000;
            world.event(at, StreamEvent::Writable);
        }
        for at in [client, upstream] {
            assert_eq!(world.streams[at].credited, world.streams[at].sent, "seed {seed}");
        }
        world.census();
    }
}
