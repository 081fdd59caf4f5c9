//! Heads that come again, beside the same heads read by a connection that has seen none: both must
//! say the same.

mod support;

use sluice_base::Rng;
use sluice_l7_core::{BodyLength, Codec, Event, Head, HeadPool, Method, NameId, NameSet, Role};
use support::Peer;

/// What heads are made of; few of each, so that they come again.
const FIRST_LINES: [[&str; 4]; 2] = [
    [
        "GET / HTTP/1.1\r\n",
        "POST /a/longer/path HTTP/1.1\r\n",
        "GET /a HTTP/1.0\r\n",
        "HEAD * HTTP/1.1\r\n",
    ],
    [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 404 Not Found\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 304 \r\n",
    ],
];
const LINES: [&str; 16] = [
    "Host: shop.example\r\n",
    "Host: shop.example:8080\r\n",
    "Host:  other.example \r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 03\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "Connection: x-a\r\n",
    "TE: trailers\r\n",
    "TE: gzip\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\n",
    "X-A: 1\r\n",
    "x-a:2\r\n",
    "Date: Fri, 20 Nov 2026 10:00:00 GMT\r\n",
];

/// Some fields, in random order; most of the time those of an honest message.
fn fields(rng: &mut Rng) -> String {
    let mut pick = |most: u64| (rng.next_u64() % most) as usize;
    let mut text = if pick(8) == 0 { String::new() } else { LINES[pick(3)].to_owned() };
    for _ in 0..pick(5) {
        text.push_str(LINES[3 + pick(LINES.len() as u64 - 3)]);
    }
    text + "\r\n"
}

/// What a peer understands of a message, and whether it knew the fields.
fn heard(peer: &mut Peer, text: &str) -> (String, Option<(Box<Head>, BodyLength)>) {
    peer.receive(text.as_bytes());
    match peer.decode() {
        Ok(Some(Event::Head { head, body, .. })) => {
            let index: Vec<_> = head.fields().map(|field| (field.id, field.plain)).collect();
            let facts = (head.content_length(), head.nominates_none(), head.is_upgrade());
            let start = (head.method(), head.version(), head.status(), head.reason().to_vec());
            let said = format!("{head:?} {start:?} {body:?} {facts:?} {index:?}");
            (said, Some((head, body)))
        }
        other => (format!("{other:?}"), None),
    }
}

/// A peer that may write a head.
fn writer(role: Role) -> Peer {
    let mut to = Peer::new(role);
    if role == Role::Server {
        to.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        to.decode().expect("a request");
    } else {
        to.stream = to.codec.open_stream().expect("it is free");
    }
    to
}

/// What another peer writes of it.
fn passed_on(role: Role, head: &Head, body: BodyLength, tampered: u64) -> String {
    let mut head_there = Head::new();
    head_there.copy_from(head);
    let mut to = writer(role);
    // As it was received, and as it is once filters have been at work.
    let received = to.encode_head(head, body);
    let first = format!("{received:?} {}", to.written());
    match tampered {
        0 => drop(head_there.remove("x-a")),
        1 => head_there.remove_all(NameSet::of(&[NameId::CONNECTION, NameId::TE])),
        2 => head_there.append("x-forwarded-proto", b"http"),
        _ => head_there.set("x-a", b"3"),
    }
    let mut again = writer(role);
    let written = again.encode_head(&head_there, body);
    format!("{first} | {written:?} {}", again.written())
}

fn fresh(role: Role) -> Peer {
    if role == Role::Server { Peer::server() } else { Peer::client_after(Method::Get) }
}

/// Goes on behind a head: what that looks like, and whether another message may follow.
fn goes_on(peer: &mut Peer, role: Role, body: BodyLength) -> (String, bool) {
    let mut said = String::new();
    if role == Role::Server {
        let answered = peer.respond(200, BodyLength::None);
        said = format!("{answered:?} {}", peer.written());
    }
    let (closes, reusable) = (peer.codec.must_close(), peer.codec.is_reusable());
    let follows = body.is_none() && !closes && (role == Role::Server || reusable);
    if follows && role == Role::Client {
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"a.example", b"/");
        peer.request(&head, BodyLength::None);
        peer.written();
    }
    (format!("{said} {closes} {reusable}"), follows)
}

#[test]
fn known_fields_say_what_they_said() {
    for (role, lines) in [(Role::Server, FIRST_LINES[0]), (Role::Client, FIRST_LINES[1])] {
        let (mut known, mut all, mut accepted) = (0, 0, 0);
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            // The worker's memory outlives connections, and each connection has one of its own.
            let mut remembers = fresh(role);
            let mut text = fields(&mut rng);
            for round in 0..200 {
                if rng.next_u64().is_multiple_of(16) {
                    text = fields(&mut rng);
                }
                let message = format!("{}{text}", lines[rng.next_u64() as usize % 4]);
                let mut forgets = fresh(role);
                let (said, head) = heard(&mut remembers, &message);
                let (twin_said, twin) = heard(&mut forgets, &message);
                assert_eq!(said, twin_said, "round {round} of {seed}: {message:?}");
                all += 1;
                if let (Some((head, body)), Some((twin, _))) = (head, twin) {
                    accepted += 1;
                    known += u32::from(head.run(NameSet::EMPTY).is_some());
                    let other = if role == Role::Server { Role::Client } else { Role::Server };
                    let tampered = rng.next_u64() % 4;
                    assert_eq!(
                        passed_on(other, &head, body, tampered),
                        passed_on(other, &twin, body, tampered),
                        "round {round} of {seed}: {message:?}"
                    );
                    remembers.heads.put(head);
                    let (after, follows) = goes_on(&mut remembers, role, body);
                    assert_eq!(after, goes_on(&mut forgets, role, body).0, "{message:?}");
                    if follows {
                        continue;
                    }
                }
                let heads = std::mem::replace(&mut remembers.heads, HeadPool::new(0, 0));
                remembers = fresh(role);
                remembers.heads = heads;
            }
        }
        assert!(accepted * 3 > all && known * 4 > accepted, "{known} of {accepted} of {all}");
    }
}

/// A head that is longer than the limits of now is refused, known or not.
#[test]
fn limits_hold_for_what_is_known() {
    let message = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\n\r\n";
    for tighten in [
        |peer: &mut Peer| peer.limits.headers = 2,
        |peer: &mut Peer| peer.limits.header_bytes = 40,
        |peer: &mut Peer| peer.limits.request_line = 8,
    ] {
        let mut peer = Peer::server();
        for round in 0..4 {
            let (said, head) = heard(&mut peer, message);
            let (head, _) = head.unwrap_or_else(|| panic!("{said}"));
            assert_eq!(head.run(NameSet::EMPTY).is_some(), round >= 2, "round {round}");
            peer.heads.put(head);
            peer.respond(200, BodyLength::None).expect("an answer");
        }
        tighten(&mut peer);
        let (said, head) = heard(&mut peer, message);
        assert!(head.is_none() && said.starts_with("Err"), "{said}");
        peer.census();
    }
}

/// What one connection said is known on another at once, unless it is a secret.
#[test]
fn secrets_are_known_on_their_own_connection() {
    for (field, is_secret) in [("X-A: 1", false), ("Cookie: a=b", true), ("Authorization: x", true)]
    {
        let message = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        let mut heads = HeadPool::new(4, 16);
        for connection in 0..3 {
            let mut peer = Peer::server();
            peer.heads = heads;
            for round in 0..4 {
                let (said, head) = heard(&mut peer, &message);
                let (head, _) = head.unwrap_or_else(|| panic!("{said}"));
                let known = head.run(NameSet::EMPTY).is_some();
                let elsewhere = connection > 0 && !is_secret;
                assert_eq!(known, round >= 2 || elsewhere, "{field}: {connection} {round}");
                peer.heads.put(head);
                peer.respond(200, BodyLength::None).expect("an answer");
            }
            heads = std::mem::replace(&mut peer.heads, HeadPool::new(0, 0));
            peer.census();
        }
    }
}
