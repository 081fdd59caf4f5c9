//! From HTTP/1.1 to HTTP/2 and back: what one accepts the other can carry, and it says the same.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_buf::Chain;
use sluice_l7_core::{
    BodyLength, Codec, CodecContext, Event, Head, Method, Role, StreamId, Version,
};
use sluice_l7_http1::Http1;
use support::Peer;

/// Lines of heads as they are sent to HTTP/1.1 servers, by honest peers and by others.
const LINES: &[&str] = &[
    "Accept: */*\r\n",
    "accept:text/html;q=0.9, */*\r\n",
    "User-Agent:  two spaces\r\n",
    "Cookie: a=b; c=d\r\n",
    "Cookie: e=f\r\n",
    "X-Own: 1\r\n",
    "X-Own:\r\n",
    "x_own: under score\r\n",
    "X-Tab: a\tb\r\n",
    "X-Text: \u{e9}\r\n",
    "X-Odd!#$%&'*+.^`|~: name\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Proxy-Connection: keep-alive\r\n",
    "TE: trailers\r\n",
    "TE: gzip\r\n",
    "Expect: 100-continue\r\n",
    "Priority: u=1\r\n",
    "Authorization: Basic x\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0003\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Upgrade: h2c\r\n",
    "HTTP2-Settings: x\r\n",
];

const STARTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "GET /a?b=c&d HTTP/1.1\r\nhost: a.example:8080\r\n",
    "POST /%20 HTTP/1.1\r\nHost: [::1]:80\r\n",
    "PUT /\u{e9} HTTP/1.1\r\nHost: a_b\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
    "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n",
    "GET http://b:1?q HTTP/1.1\r\nHost: a\r\n",
    "GET https://b/x HTTP/1.1\r\nHost: a\r\n",
    "M-SEARCH / HTTP/1.1\r\nHost: a:\r\n",
    "HEAD / HTTP/1.0\r\nHost: a\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n",
];

/// Connection-specific fields, which only HTTP/1.1 has, and those that are said in other ways.
const DROPPED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
    "te",
    "cookie",
];

/// What a head says, whatever carries it.
fn said(head: &Head) -> (Vec<String>, Vec<String>) {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let start = [head.method_text(), head.path(), head.authority()].map(text).to_vec();
    let lower = |name: &[u8]| text(&name.to_ascii_lowercase());
    let fields = head.iter().map(|(name, value)| (lower(name), text(value)));
    let kept = fields.filter(|(name, _)| !DROPPED.contains(&name.as_str()));
    let mut kept: Vec<String> = kept.map(|(name, value)| format!("{name}: {value}")).collect();
    let cookies: Vec<String> = head.get_all(sluice_l7_core::NameId::COOKIE).map(text).collect();
    kept.push(format!("cookies {}", cookies.join("; ")));
    (start, kept)
}

/// What HTTP/1.1 makes of the bytes of a request; none if it refuses them.
fn by_http1(peer: &mut Peer, bytes: &[u8]) -> Option<(Box<Head>, BodyLength)> {
    let mut codec = Http1::new(Role::Server);
    let mut input = Chain::copy_from(bytes, &peer.pool).expect("the pool has room");
    let event = peer.lend(|_, _, cx| codec.decode(&mut input, cx));
    match event {
        Ok(Some(Event::Head { head, body, .. })) => Some((head, body)),
        _ => None,
    }
}

/// What HTTP/1.1 writes of a request.
fn to_http1(peer: &mut Peer, head: &Head, body: BodyLength) -> Vec<u8> {
    let mut codec = Http1::new(Role::Client);
    let stream = codec.open_stream().expect("a fresh connection is free");
    let mut output = Chain::new();
    peer.lend(|_, _, cx| {
        let mut cx = CodecContext {
            output: &mut output,
            pool: cx.pool,
            heads: &mut *cx.heads,
            limits: cx.limits,
            now: cx.now,
        };
        codec.encode_head(stream, head, body, &mut cx).expect("what was decoded can be written");
    });
    output.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_say_the_same_in_both(
        start in prop::sample::select(STARTS),
        lines in vec(prop::sample::select(LINES), 0..6),
    ) {
        let bytes = [start, &lines.concat(), "\r\n"].concat();
        let (mut client, mut server) = (Peer::client(), Peer::server());
        let Some((head, body)) = by_http1(&mut client, bytes.as_bytes()) else { return Ok(()) };
        let before = said(&head);
        client.send(&head, body);
        client.heads.put(head);
        server.input = std::mem::take(&mut client.output);
        let event = server.lend(Codec::decode).expect("the connection is fine");
        let Some(Event::Head { head, body: carried, .. }) = event else {
            panic!("{bytes:?} was refused: {event:?}");
        };
        prop_assert_eq!(head.version(), Version::Http2);
        prop_assert_eq!(said(&head), before.clone());
        if head.method() == Method::Connect {
            prop_assert_eq!(carried, BodyLength::UntilClose);
        } else {
            prop_assert_eq!(carried, body);
            // And back.
            let again = to_http1(&mut server, &head, carried);
            let (last, length) = by_http1(&mut server, &again).expect("what we write we read");
            prop_assert_eq!(said(&last), before);
            prop_assert_eq!(length, body);
            server.heads.put(last);
        }
        server.heads.put(head);
        server.lend(|codec, _, cx| {
            codec.encode_reset(StreamId::new(1), sluice_l7_core::ResetReason::Cancelled, cx);
        });
        drop(client);
        server.census();
    }
}
