//! Heads: what makes a request or a response malformed (RFC 9113, 8), and what is passed on.

mod support;

use sluice_l7_core::{BodyLength, Codec, Head, HeadLimits, Method, NameId, StreamId};
use support::{END_HEADERS, END_STREAM, GET, Peer, WHOLE, data, frame, get, headers, post};

/// The reason for which a server resets a request with these fields in place of GET's.
fn refused(fields: &[(&str, &str)]) -> String {
    let mut peer = Peer::server();
    let (said, written) = peer.answer(&headers(1, WHOLE, fields));
    assert_eq!(written, ["RST_STREAM 1 0x1"], "{fields:?}: {said:?}");
    assert_eq!(peer.answer(&get(3)).0, ["3 GET / host=a => None"], "the others go on");
    peer.census();
    let reason = said[0].strip_prefix("1 reset Protocol ").expect("a stream error");
    reason.to_owned()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().filter(|field| field.0 != name).collect()
}

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().chain([(name, value)]).collect()
}

fn replaced(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().map(|(n, v)| if n == name { (n, value) } else { (n, v) }).collect()
}

#[test]
fn pseudo_headers() {
    for name in [":method", ":scheme", ":path"] {
        assert_eq!(refused(&without(name)), "pseudo-header-missing", "{name}");
        assert!(!refused(&replaced(name, "")).starts_with("pseudo"), "{name}");
    }
    assert_eq!(refused(&without(":authority")), "authority-missing");
    for (name, value) in GET {
        let twice: Vec<_> = GET.into_iter().chain([(name, value)]).collect();
        assert_eq!(refused(&twice), "pseudo-header-repeated", "{name}");
        let late: Vec<_> = without(name).into_iter().chain([("x", "y"), (name, value)]).collect();
        assert_eq!(refused(&late), "pseudo-header-after-field", "{name}");
    }
    assert_eq!(refused(&with(":status", "200")), "unexpected-pseudo-header");
    assert_eq!(refused(&with(":unknown", "x")), "invalid-field-name");
    assert_eq!(refused(&with(":", "x")), "invalid-field-name");
}

/// What would be another request, or two, once it is written as HTTP/1.1.
#[test]
fn what_would_be_smuggled() {
    for (name, value, reason) in [
        ("Accept", "x", "invalid-field-name"),
        ("accepT", "x", "invalid-field-name"),
        ("", "x", "invalid-field-name"),
        ("a b", "x", "invalid-field-name"),
        ("a:b", "x", "invalid-field-name"),
        ("a\r\nb", "x", "invalid-field-name"),
        ("a\0", "x", "invalid-field-name"),
        ("x\u{e9}", "x", "invalid-field-name"),
        ("x", "a\r\nhost: b", "invalid-field-value"),
        ("x", "a\rb", "invalid-field-value"),
        ("x", "a\nb", "invalid-field-value"),
        ("x", "a\0b", "invalid-field-value"),
        ("x", "a\u{1}b", "invalid-field-value"),
        ("x", "a\u{7f}b", "invalid-field-value"),
        ("x", " a", "invalid-field-value"),
        ("x", "a\t", "invalid-field-value"),
        ("x", "a ", "invalid-field-value"),
        ("connection", "close", "connection-specific-field"),
        ("connection", "x", "connection-specific-field"),
        ("keep-alive", "1", "connection-specific-field"),
        ("proxy-connection", "close", "connection-specific-field"),
        ("transfer-encoding", "chunked", "connection-specific-field"),
        ("transfer-encoding", "identity", "connection-specific-field"),
        ("upgrade", "h2c", "connection-specific-field"),
        ("te", "gzip", "te-not-trailers"),
        ("te", "trailers, gzip", "te-not-trailers"),
        ("host", "b", "authority-and-host-differ"),
        ("host", "", "authority-and-host-differ"),
        ("content-length", "", "invalid-content-length"),
        ("content-length", "-1", "invalid-content-length"),
        ("content-length", "1,1", "invalid-content-length"),
        ("content-length", "9223372036854775808", "invalid-content-length"),
        ("content-length", "1", "body-length-mismatch"),
    ] {
        assert_eq!(refused(&with(name, value)), reason, "{name:?}: {value:?}");
    }
    let twice = [&with("content-length", "0")[..], &[("content-length", "0")]].concat();
    assert_eq!(refused(&twice), "invalid-content-length");
    let twice = [&with("host", "a")[..], &[("host", "a")]].concat();
    assert_eq!(refused(&twice), "authority-and-host-differ");
    for (name, value, reason) in [
        (":path", "x", "invalid-path"),
        (":path", "*", "invalid-path"),
        (":path", "http://b/", "invalid-path"),
        (":path", "/ HTTP/1.1\r\nx: y", "invalid-path"),
        (":path", "/a b", "invalid-path"),
        (":path", "/a\tb", "invalid-path"),
        (":path", "/a\u{7f}", "invalid-path"),
        (":path", "/a#b", "invalid-path"),
        (":method", "GE T", "invalid-method"),
        (":method", "GET\r\n", "invalid-method"),
        (":method", "G(T", "invalid-method"),
        (":scheme", "ftp", "unknown-scheme"),
        (":scheme", "http://b", "unknown-scheme"),
        (":scheme", "HTTP", "unknown-scheme"),
        (":authority", "user@a", "invalid-authority"),
        (":authority", "a/b", "invalid-authority"),
        (":authority", "a b", "invalid-authority"),
        (":authority", "a\r\nx", "invalid-authority"),
        (":authority", "a,b", "invalid-authority"),
        (":authority", "a:x", "invalid-authority"),
        (":authority", "", "invalid-authority"),
    ] {
        assert_eq!(refused(&replaced(name, value)), reason, "{name:?}: {value:?}");
    }
    assert_eq!(refused(&with(":protocol", "websocket")), "invalid-protocol");
}

fn heard(flags: u8, fields: &[(&str, &str)]) -> Vec<String> {
    let mut peer = Peer::server();
    let (said, written) = peer.answer(&headers(1, flags, fields));
    assert_eq!(written, [""; 0], "{fields:?}: {said:?}");
    peer.lend(|codec, _, cx| {
        codec.encode_reset(StreamId::new(1), sluice_l7_core::ResetReason::Cancelled, cx);
    });
    peer.census();
    said
}

#[test]
fn what_is_passed_on() {
    for (flags, name, value, line) in [
        (WHOLE, "x-own", "a\tb \u{e9}", "1 GET / host=a | x-own: a\\tb \\xc3\\xa9 => None"),
        (WHOLE, "x", "", "1 GET / host=a | x:  => None"),
        (WHOLE, "te", "trailers", "1 GET / host=a | te: trailers => None"),
        (WHOLE, "host", "A", "1 GET / host=a => None"),
        (WHOLE, "content-length", "0", "1 GET / host=a | content-length: 0 => None"),
        (END_HEADERS, "content-length", "0", "1 GET / host=a | content-length: 0 => Chunked"),
        (END_HEADERS, "content-length", "5", "1 GET / host=a | content-length: 5 => Known(5)"),
        (END_HEADERS, "accept", "*/*", "1 GET / host=a | accept: */* => Chunked"),
    ] {
        assert_eq!(heard(flags, &with(name, value)), [line]);
    }
    let by_host = [&without(":authority")[..], &[("host", "b:80")]].concat();
    assert_eq!(heard(WHOLE, &by_host), ["1 GET / host=b:80 => None"]);
    let crumbs = [&GET[..], &[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("cookie", "e")]];
    assert_eq!(
        heard(WHOLE, &crumbs.concat()),
        ["1 GET / host=a | x: y | cookie: a=b; c=d; e => None"]
    );
    let star = [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a")];
    assert_eq!(heard(WHOLE, &star), ["1 OPTIONS * host=a => None"]);
    let own = replaced(":method", "PURGE");
    assert_eq!(heard(WHOLE, &own), ["1 PURGE / host=a => None"]);
}

#[test]
fn connect_and_extended_connect() {
    let connect = [(":method", "CONNECT"), (":authority", "a:443")];
    assert_eq!(heard(END_HEADERS, &connect), ["1 CONNECT  host=a:443 => UntilClose"]);
    for more in [(":path", "/"), (":scheme", "http")] {
        let fields = [&connect[..], &[more]].concat();
        assert_eq!(refused(&fields), "unexpected-pseudo-header");
    }
    assert_eq!(refused(&[(":method", "CONNECT")]), "authority-missing");
    let extended = [&replaced(":method", "CONNECT")[..], &[(":protocol", "websocket")]].concat();
    assert_eq!(heard(END_HEADERS, &extended), ["1 CONNECT / host=a => UntilClose"]);
    for name in [":path", ":scheme"] {
        let fields: Vec<_> = extended.iter().copied().filter(|field| field.0 != name).collect();
        assert_eq!(refused(&fields), "pseudo-header-missing");
    }
    let broken = [&replaced(":method", "CONNECT")[..], &[(":protocol", "web socket")]].concat();
    assert_eq!(refused(&broken), "invalid-protocol");
}

/// What is too large is answered, so that the client knows why.
#[test]
fn heads_that_are_too_large() {
    let limits = HeadLimits { request_line: 20, header_bytes: 400, headers: 5 };
    let mut peer = Peer::server();
    peer.limits = limits;
    let many: Vec<_> = GET.into_iter().chain([("x", "y"); 6]).collect();
    let long = replaced(":path", "/23456789012345678901");
    let value = "v".repeat(120);
    let large = [&GET[..], &[("x", &value), ("y", &value)]].concat();
    for (nth, fields, reason, status) in [
        (1, &many[..], "too-many-fields", 431),
        (3, &long, "path-too-long", 414),
        (5, &large, "head-too-long", 431),
    ] {
        let (said, written) = peer.answer(&headers(nth, WHOLE, fields));
        assert_eq!(said, [format!("{nth} reset EnhanceYourCalm {reason}")]);
        assert_eq!(written, [format!("HEADERS {nth} end | :status: {status}")]);
        let (_, written) = peer.answer(&headers(nth + 6, END_HEADERS, fields));
        assert_eq!(written[1], format!("RST_STREAM {} 0x0", nth + 6), "{written:?}");
        // So that ids go up.
        peer = Peer::server();
        peer.limits = limits;
    }
    let (said, _) = peer.answer(&headers(21, WHOLE, &many[..9]));
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("=> None"), "exactly as many fields: {said:?}");
    let (said, _) = peer.answer(&headers(23, WHOLE, &replaced(":path", "/2345678901234567890")));
    assert!(said[0].ends_with("=> None"), "exactly as long: {said:?}");
}

/// What a client says to a response's block.
fn response(method: Method, flags: u8, fields: &[(&str, &str)]) -> String {
    let mut peer = Peer::client_after(method);
    let (said, _) = peer.answer(&headers(1, flags, fields));
    assert_eq!(said.len(), 1, "{said:?}");
    said[0].clone()
}

#[test]
fn responses() {
    let get = |flags, fields: &[(&str, &str)]| response(Method::Get, flags, fields);
    let ok = (":status", "200");
    assert_eq!(get(WHOLE, &[ok]), "1 200 => None");
    assert_eq!(get(END_HEADERS, &[ok]), "1 200 => Chunked");
    let five = ("content-length", "5");
    assert_eq!(get(END_HEADERS, &[ok, five]), "1 200 | content-length: 5 => Known(5)");
    let mismatch = "1 reset Protocol body-length-mismatch";
    assert_eq!(get(WHOLE, &[ok, five]), mismatch);
    assert_eq!(response(Method::Head, WHOLE, &[ok, five]), "1 200 | content-length: 5 => None");
    let not_modified = (":status", "304");
    assert_eq!(get(WHOLE, &[not_modified, five]), "1 304 | content-length: 5 => None");
    for (fields, reason) in [
        (&[][..], "pseudo-header-missing"),
        (&[(":status", "20")], "invalid-status"),
        (&[(":status", "099")], "invalid-status"),
        (&[(":status", "2x0")], "invalid-status"),
        (&[(":status", "101")], "switching-protocols"),
        (&[ok, ok], "pseudo-header-repeated"),
        (&[("x", "y"), ok], "pseudo-header-after-field"),
        (&[ok, (":path", "/")], "unexpected-pseudo-header"),
        (&[ok, ("connection", "close")], "connection-specific-field"),
        (&[ok, ("transfer-encoding", "chunked")], "connection-specific-field"),
        (&[ok, ("Server", "x")], "invalid-field-name"),
    ] {
        assert_eq!(get(WHOLE, fields), format!("1 reset Protocol {reason}"), "{fields:?}");
    }
    assert_eq!(get(WHOLE, &[(":status", "103")]), "1 reset Protocol informational-ends-stream");
}

#[test]
fn informational_responses_come_first_and_not_for_ever() {
    let mut peer = Peer::client_after(Method::Get);
    let hints = headers(1, END_HEADERS, &[(":status", "103"), ("link", "x")]);
    for _ in 0..32 {
        assert_eq!(peer.answer(&hints).0, ["1 informational 103 | link: x"]);
    }
    let (said, written) = peer.answer(&hints);
    assert_eq!(said, ["1 reset EnhanceYourCalm too-many-informational"]);
    assert_eq!(written, ["RST_STREAM 1 0xb"]);
    peer.census();
}

#[test]
fn bodies_are_as_long_as_they_say() {
    let five = || {
        let mut peer = Peer::server();
        peer.answer(&headers(1, END_HEADERS, &with("content-length", "5")));
        peer
    };
    for (frames, lines) in [
        (data(1, END_STREAM, b"hello"), &["1 body hello", "1 end"][..]),
        ([data(1, 0, b"hello"), data(1, END_STREAM, b"")].concat(), &["1 body hello", "1 end"]),
        (
            [data(1, 0, b"hello"), headers(1, WHOLE, &[("x", "y")])].concat(),
            &["1 body hello", "1 end trailers | x: y"],
        ),
        (data(1, END_STREAM, b"hell"), &["1 reset Protocol body-length-mismatch"]),
        (data(1, 0, b"hello!"), &["1 reset Protocol body-length-mismatch"]),
        (data(1, END_STREAM, b""), &["1 reset Protocol body-length-mismatch"]),
        (headers(1, WHOLE, &[("x", "y")]), &["1 reset Protocol body-length-mismatch"]),
    ] {
        let mut peer = five();
        assert_eq!(peer.answer(&frames).0, lines);
        peer.census();
    }
    // No body where the status has none, whatever the length says.
    let mut peer = Peer::client_after(Method::Head);
    peer.answer(&headers(1, END_HEADERS, &[(":status", "200"), ("content-length", "5")]));
    assert_eq!(peer.answer(&data(1, 0, b"x")).0, ["1 reset Protocol body-length-mismatch"]);
    let mut peer = Peer::client_after(Method::Get);
    assert_eq!(peer.answer(&data(1, 0, b"x")).0, ["1 reset Protocol data-before-head"]);
}

#[test]
fn trailers() {
    let mut peer = Peer::server();
    peer.answer(&post(1));
    let fields = [("grpc-status", "0"), ("content-length", "7"), ("host", "b")];
    let (said, _) = peer.answer(&headers(1, WHOLE, &fields));
    assert_eq!(said, ["1 end trailers | grpc-status: 0"], "the others would change the head");
    for (fields, flags, reason) in [
        (&[(":status", "200")][..], WHOLE, "unexpected-pseudo-header"),
        (&[("x", "y")], END_HEADERS, "trailers-without-end-of-stream"),
        (&[("connection", "close")], WHOLE, "connection-specific-field"),
        (&[("X", "y")], WHOLE, "invalid-field-name"),
    ] {
        let mut peer = Peer::server();
        peer.answer(&post(1));
        let (said, _) = peer.answer(&headers(1, flags, fields));
        assert_eq!(said, [format!("1 reset Protocol {reason}")]);
        peer.census();
    }
    let mut peer = Peer::server();
    peer.answer(&post(1));
    assert_eq!(peer.answer(&headers(1, WHOLE, &[])).0, ["1 end"], "an empty section is none");
}

#[test]
fn what_is_written_of_a_head_that_came_by_http_1() {
    let mut head = Head::new();
    head.reset_to_request(Method::Post, b"a.example:80", b"/p?q");
    for (name, value) in [
        ("Accept", "*/*"),
        ("X-Own", "One"),
        ("X-A-Name-Of-More-Than-Sixty-Four-Bytes-Which-Nobody-Would-Send-But-Us", "2"),
        ("Connection", "keep-alive, te"),
        ("Keep-Alive", "1"),
        ("Transfer-Encoding", "chunked"),
        ("TE", "gzip, trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "x"),
        ("Proxy-Connection", "x"),
        ("Authorization", "secret"),
    ] {
        head.append(name, value.as_bytes());
    }
    let start = ":method: POST | :scheme: http | :path: /p?q | :authority: a.example:80";
    let fields = "accept: */* | x-own: One | \
                  x-a-name-of-more-than-sixty-four-bytes-which-nobody-would-send-but-us: 2 | \
                  authorization: secret!";
    for (body, flags, length) in [
        (BodyLength::None, " end", " | content-length: 0"),
        (BodyLength::Known(5), "", " | content-length: 5"),
        (BodyLength::Chunked, "", ""),
    ] {
        let mut peer = Peer::client();
        peer.send(&head, body);
        let line = format!("HEADERS 1{flags} | {start} | te: trailers | {fields}{length}");
        assert_eq!(peer.written(), [line]);
    }
    let mut connect = Head::new();
    connect.reset_to_request(Method::Connect, b"a:443", b"");
    let mut peer = Peer::client();
    peer.send(&connect, BodyLength::None);
    assert_eq!(peer.written(), ["HEADERS 1 | :method: CONNECT | :authority: a:443"]);
    head.append("x", b"a\r\nb");
    let stream = peer.codec.open_stream().expect("a stream");
    let refused = peer.encode_head(stream, &head, BodyLength::None);
    assert_eq!(refused, Err(sluice_l7_core::EncodeError::Unprintable));
}

#[test]
fn responses_say_how_long_they_are() {
    for (request, status, body, length, written) in [
        ("GET", 200, BodyLength::None, None, "HEADERS 1 end | :status: 200"),
        (
            "GET",
            200,
            BodyLength::None,
            Some("0"),
            "HEADERS 1 end | :status: 200 | content-length: 0",
        ),
        (
            "GET",
            200,
            BodyLength::Known(5),
            Some("7"),
            "HEADERS 1 | :status: 200 | content-length: 5",
        ),
        ("GET", 200, BodyLength::Chunked, Some("7"), "HEADERS 1 | :status: 200"),
        (
            "HEAD",
            200,
            BodyLength::None,
            Some("7"),
            "HEADERS 1 end | :status: 200 | content-length: 7",
        ),
        (
            "HEAD",
            200,
            BodyLength::Known(5),
            None,
            "HEADERS 1 end | :status: 200 | content-length: 5",
        ),
        ("HEAD", 200, BodyLength::Chunked, None, "HEADERS 1 end | :status: 200"),
        ("GET", 204, BodyLength::Known(5), Some("5"), "HEADERS 1 end | :status: 204"),
        (
            "GET",
            304,
            BodyLength::None,
            Some("7"),
            "HEADERS 1 end | :status: 304 | content-length: 7",
        ),
        ("GET", 418, BodyLength::UntilClose, None, "HEADERS 1 | :status: 418"),
    ] {
        let mut peer = Peer::server();
        peer.answer(&headers(1, WHOLE, &replaced(":method", request)));
        let mut head = Head::new();
        head.reset_to_response(status);
        if let Some(length) = length {
            head.append(NameId::CONTENT_LENGTH, length.as_bytes());
        }
        peer.encode_head(StreamId::new(1), &head, body).expect("it may be written");
        assert_eq!(peer.written(), [written]);
        // A body that is not sent is taken and dropped.
        assert_eq!(peer.encode_body(1, b"hello"), Ok(5));
        peer.encode_end(1, None).expect("the end of it");
        let ended = peer.written();
        assert_eq!(ended.is_empty(), written.contains(" end"), "{ended:?}");
        peer.census();
    }
}

#[test]
fn large_heads_are_cut_into_frames_and_put_together() {
    let mut client = Peer::client();
    let mut head = Head::new();
    head.reset_to_request(Method::Get, b"a", b"/");
    for nth in 0..40 {
        head.append(format!("x-{nth}").as_bytes(), &[b'v'; 1_000]);
    }
    client.send(&head, BodyLength::None);
    let mut server = Peer::server();
    server.input = std::mem::take(&mut client.output);
    let bytes = server.input.to_vec();
    assert_eq!(bytes.chunks(16_384 + 9).count(), 3);
    let said = server.run();
    assert!(said[0].starts_with("1 GET / host=a | x-0: vvv"), "{}", &said[0][..40]);
    assert!(said[0].ends_with("=> None"));
    server.respond(1, 200, BodyLength::None).expect("it was asked for");
    server.census();
    // And in small pieces.
    let mut server = Peer::server();
    for piece in bytes.chunks(5) {
        server.receive(piece);
        if server.run().iter().any(|line| line.ends_with("=> None")) {
            return;
        }
    }
    panic!("the request is complete");
}

#[test]
fn never_indexed_stays_never_indexed() {
    let mut server = Peer::server();
    let secret = [0x10, 5, b'x', b'-', b'o', b'w', b'n', 1, b'v'];
    let all = [&support::block(&GET)[..], &secret].concat();
    server.receive(&frame(sluice_l7_http2::frame::FrameKind::Headers, WHOLE, 1, &all));
    let event = server.lend(Codec::decode).expect("valid").expect("a head");
    let sluice_l7_core::Event::Head { head, .. } = event else { panic!("{event:?}") };
    let mut client = Peer::client();
    for _ in 0..3 {
        client.send(&head, BodyLength::None);
        let written = client.written();
        assert!(written[0].ends_with(" | x-own: v!"), "{written:?}");
    }
    server.heads.put(head);
}
