//! Both halves of an exchange: what is written, what may follow, when the connection closes.

mod support;

use sluice_buf::Chain;
use sluice_l7_core::{
    BodyLength, Codec, EncodeError, Event, Head, Method, NameId, ResetReason, Role, StreamId,
};
use support::{Peer, Transcript, upgrade_request};

/// A server that has received this request.
fn server_after(request: &str) -> Peer {
    let mut peer = Peer::server();
    peer.receive(request.as_bytes());
    let mut said = Transcript::default();
    peer.run(&mut said);
    assert!(said.lines[0].contains("=>"), "{:?}", said.lines);
    peer
}

fn get() -> Peer {
    server_after("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn responses_say_how_long_they_are() {
    for (request, status, body, written) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
            BodyLength::None,
            "200 OK\ncontent-length: 0\n\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
            BodyLength::Known(5),
            "200 OK\ncontent-length: 5\n\nhello",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
            BodyLength::Chunked,
            "200 OK\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
            BodyLength::UntilClose,
            "200 OK\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n",
        ),
        ("GET / HTTP/1.0\r\n\r\n", 200, BodyLength::Chunked, "200 OK\nconnection: close\n\nhello"),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            200,
            BodyLength::Chunked,
            "200 OK\nconnection: close\n\nhello",
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            200,
            BodyLength::Known(5),
            "200 OK\ncontent-length: 5\nconnection: keep-alive\n\nhello",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            200,
            BodyLength::None,
            "200 OK\ncontent-length: 0\nconnection: close\n\n",
        ),
        (
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
            BodyLength::Known(5),
            "200 OK\ncontent-length: 5\n\n",
        ),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200, BodyLength::Chunked, "200 OK\n\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 204, BodyLength::Known(5), "204 No Content\n\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 304, BodyLength::None, "304 Not Modified\n\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 599, BodyLength::None, "599 \ncontent-length: 0\n\n"),
    ] {
        let mut peer = server_after(request);
        peer.respond(status, body).expect("an answer is due");
        if !body.is_none() {
            assert_eq!(peer.encode_body(b"hello"), Ok(5));
            peer.encode_end(None).expect("the body is complete");
        }
        assert_eq!(peer.written(), format!("HTTP/1.1 {written}"), "{request}");
        let close = written.contains("close");
        assert_eq!((peer.codec.must_close(), peer.codec.is_idle()), (close, !close), "{request}");
        peer.census();
    }
}

#[test]
fn a_length_that_is_right_stays_where_it_stands_and_a_wrong_one_goes() {
    for (said, body, written) in [
        ("5", BodyLength::Known(5), "a: b\ncontent-length: 5\nc: d\n"),
        ("6", BodyLength::Known(5), "a: b\nc: d\ncontent-length: 5\n"),
        ("5", BodyLength::Chunked, "a: b\nc: d\ntransfer-encoding: chunked\n"),
        ("5", BodyLength::None, "a: b\nc: d\ncontent-length: 0\n"),
    ] {
        let mut head = Head::new();
        head.reset_to_response(200);
        head.append("a", b"b");
        head.append(NameId::CONTENT_LENGTH, said.as_bytes());
        head.append("c", b"d");
        head.append(NameId::CONNECTION, b"c");
        head.append(NameId::KEEP_ALIVE, b"timeout=5");
        let mut peer = get();
        peer.encode_head(&head, body).expect("an answer is due");
        assert_eq!(peer.written(), format!("HTTP/1.1 200 OK\n{written}\n"));
    }
}

#[test]
fn requests_are_written_with_host_and_length() {
    for (method, body, written) in [
        (Method::Get, BodyLength::None, "GET /x HTTP/1.1\nhost: a:81\nvia: b\n\n"),
        (
            Method::Post,
            BodyLength::None,
            "POST /x HTTP/1.1\nhost: a:81\nvia: b\ncontent-length: 0\n\n",
        ),
        (
            Method::Post,
            BodyLength::Known(7),
            "POST /x HTTP/1.1\nhost: a:81\nvia: b\ncontent-length: 7\n\n",
        ),
        (
            Method::Get,
            BodyLength::Chunked,
            "GET /x HTTP/1.1\nhost: a:81\nvia: b\ntransfer-encoding: chunked\n\n",
        ),
        (Method::Connect, BodyLength::None, "CONNECT a:81 HTTP/1.1\nhost: a:81\nvia: b\n\n"),
    ] {
        let mut head = Head::new();
        head.reset_to_request(method, b"a:81", if method == Method::Connect { b"" } else { b"/x" });
        head.append(NameId::VIA, b"b");
        let mut peer = Peer::new(Role::Client);
        peer.request(&head, body);
        assert_eq!(peer.written(), written);
        peer.census();
    }
}

/// The first line and Host are copied too where they say what a writer would say, and only there.
#[test]
fn first_lines_pass_as_they_came_unless_they_say_something_else() {
    for (request, written) in [
        ("GET /p HTTP/1.1\r\nHost: a\r\nVia: b\r\n\r\n", "GET /p HTTP/1.1\nHost: a\nVia: b\n\n"),
        ("PURGE /p HTTP/1.1\r\nHOST: a:1\r\n\r\n", "PURGE /p HTTP/1.1\nHOST: a:1\n\n"),
        ("GET /p HTTP/1.1\r\nVia: b\r\nHost: a\r\n\r\n", "GET /p HTTP/1.1\nVia: b\nHost: a\n\n"),
        ("GET /p HTTP/1.1\r\nHost:  a\r\nVia: b\r\n\r\n", "GET /p HTTP/1.1\nhost: a\nVia: b\n\n"),
        ("GET /p HTTP/1.0\r\nHost: a\r\nVia: b\r\n\r\n", "GET /p HTTP/1.1\nhost: a\nVia: b\n\n"),
        ("GET http://a/p HTTP/1.1\r\nHost: b\r\n\r\n", "GET /p HTTP/1.1\nhost: a\n\n"),
        ("GET http://a?q HTTP/1.1\r\nHost: b\r\n\r\n", "GET /?q HTTP/1.1\nhost: a\n\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\nhost: a\n\n"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n", "CONNECT a:1 HTTP/1.1\nhost: a:1\n\n"),
    ] {
        for edit in [None, Some((&b"/new"[..], &b"c"[..]))] {
            let mut server = Peer::server();
            server.receive(request.as_bytes());
            let Ok(Some(Event::Head { mut head, .. })) = server.decode() else {
                panic!("{request}")
            };
            let mut expected = written.to_owned();
            if let Some((path, authority)) = edit {
                head.set_path(path);
                head.set_authority(authority);
                let via = if written.contains("Via") { "Via: b\n" } else { "" };
                let method = head.method_text().escape_ascii();
                expected = format!("{method} /new HTTP/1.1\nhost: c\n{via}\n");
            }
            let mut client = Peer::new(Role::Client);
            client.request(&head, BodyLength::None);
            assert_eq!(client.written(), expected, "{request}");
            server.heads.put(head);
            server.census();
            client.census();
        }
    }
    for (response, written) in [
        ("HTTP/1.1 200 OK\r\nVia: b\r\n\r\n", "HTTP/1.1 200 OK\nVia: b\n"),
        ("HTTP/1.1 200 Fine\r\nVia: b\r\n\r\n", "HTTP/1.1 200 OK\nVia: b\n"),
        ("HTTP/1.0 200 OK\r\nVia: b\r\n\r\n", "HTTP/1.1 200 OK\nVia: b\n"),
        ("HTTP/1.1 404 Not Found\r\nVia: b\r\n\r\n", "HTTP/1.1 404 Not Found\nVia: b\n"),
        ("HTTP/1.1 799 Odd\r\nVia: b\r\n\r\n", "HTTP/1.1 799 Odd\nVia: b\n"),
    ] {
        let mut client = Peer::client_after(Method::Get);
        client.receive(response.as_bytes());
        let Ok(Some(Event::Head { mut head, .. })) = client.decode() else { panic!("{response}") };
        for edited in [false, true] {
            let mut server = get();
            let written = if edited {
                head.set_status(404);
                format!("HTTP/1.1 404 Not Found\n{}", written.split_once('\n').expect("lines").1)
            } else {
                written.to_owned()
            };
            server.encode_head(&head, BodyLength::None).expect("an answer is due");
            assert_eq!(server.written(), format!("{written}content-length: 0\n\n"), "{response}");
        }
        client.heads.put(head);
        client.census();
    }
}

#[test]
fn unchanged_lines_pass_as_they_came_and_others_are_written_anew() {
    let request = "GET /p HTTP/1.1\r\nUser-Agent: x\r\nHost: a\r\nAccept:  */*\r\nTE: trailers\r\n\
        Connection: te\r\nX-One: 1\r\nX-Two: 2 \r\nX-Three:\r\nx-four: 4\r\n\r\n";
    let mut server = Peer::server();
    server.receive(request.as_bytes());
    let Ok(Some(Event::Head { mut head, .. })) = server.decode() else { panic!("a request") };
    head.remove("x-one");
    head.append("X-Added", b"5");
    head.set_path(b"/q");
    let mut client = Peer::new(Role::Client);
    client.request(&head, BodyLength::None);
    let expected = "GET /q HTTP/1.1\nhost: a\nUser-Agent: x\nAccept: */*\nTE: trailers\nX-Two: 2\n\
        X-Three: \nx-four: 4\nX-Added: 5\nconnection: te\n\n";
    assert_eq!(client.written(), expected);
    // The same from a head that straddled buffers.
    let mut parts = Peer::server();
    parts.receive(&request.as_bytes()[..40]);
    parts.receive(&request.as_bytes()[40..]);
    let Ok(Some(Event::Head { head: mut copied, .. })) = parts.decode() else {
        panic!("a request")
    };
    copied.remove("x-one");
    copied.append("X-Added", b"5");
    copied.set_path(b"/q");
    let mut client_2 = Peer::new(Role::Client);
    client_2.request(&copied, BodyLength::None);
    assert_eq!(client_2.written(), expected);
    server.heads.put(head);
    parts.heads.put(copied);
    server.census();
}

#[test]
fn the_next_request_is_decoded_when_the_exchange_has_ended() {
    let two = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut peer = Peer::server();
    peer.receive(two.as_bytes());
    let mut said = Transcript::default();
    peer.run(&mut said);
    assert_eq!(said.lines, ["POST /1 host=a | Content-Length: 2 => Known(2)", "body hi", "end"]);
    let left = peer.input.len();
    assert_eq!(left, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n".len());
    assert_eq!(peer.codec.take_credit(), two.len() - left - 2, "the body is not credited yet");
    peer.respond(200, BodyLength::Known(2)).expect("an answer is due");
    peer.run(&mut said);
    assert_eq!(said.lines.len(), 3, "the response is not complete");
    assert_eq!(peer.encode_body(b"ok"), Ok(2));
    peer.encode_end(None).expect("complete");
    peer.run(&mut said);
    assert_eq!(said.lines[3], "GET /2 host=a => None");
    assert!(peer.input.is_empty());
}

#[test]
fn an_early_response_waits_for_the_rest_of_the_request() {
    let mut peer = server_after("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    peer.respond(200, BodyLength::None).expect("allowed at any time");
    assert!(!peer.codec.is_idle() && !peer.codec.must_close());
    peer.receive(b"cdGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut said = Transcript::default();
    peer.run(&mut said);
    assert_eq!(said.lines, ["body cd", "end", "GET /2 host=a => None"]);
}

#[test]
fn expect_100_continue() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
    // Told to go on.
    let mut peer = server_after(request);
    peer.respond(100, BodyLength::None).expect("informational");
    peer.receive(b"hi");
    let mut said = Transcript::default();
    peer.run(&mut said);
    assert_eq!(said.lines, ["body hi", "end"]);
    peer.respond(200, BodyLength::None).expect("final");
    assert_eq!(peer.written(), "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\ncontent-length: 0\n\n");
    assert!(peer.codec.is_idle());
    // Refused: what comes next may be the body or not.
    let mut peer = server_after(request);
    peer.respond(403, BodyLength::None).expect("final");
    assert_eq!(peer.written(), "HTTP/1.1 403 Forbidden\ncontent-length: 0\nconnection: close\n\n");
    assert!(peer.codec.must_close());
    // Did not wait.
    let mut peer = server_after(&format!("{request}hi"));
    peer.respond(403, BodyLength::None).expect("final");
    assert!(!peer.written().contains("close"));
}

#[test]
fn informational_heads_have_no_framing_and_none_go_to_http_1_0() {
    let mut peer = get();
    let mut hints = Head::new();
    hints.reset_to_response(103);
    hints.append(NameId::LINK, b"</a>");
    hints.append(NameId::CONTENT_LENGTH, b"5");
    peer.encode_head(&hints, BodyLength::None).expect("informational");
    assert_eq!(peer.written(), "HTTP/1.1 103 Early Hints\nlink: </a>\n\n");
    let mut peer = server_after("GET / HTTP/1.0\r\n\r\n");
    peer.encode_head(&hints, BodyLength::None).expect("dropped");
    assert_eq!(peer.written(), "");
}

#[test]
fn chunks_are_framed_around_slices_that_move() {
    let mut peer = get();
    peer.respond(200, BodyLength::Chunked).expect("an answer is due");
    drop(peer.written());
    let body = vec![b'x'; 5_000];
    let mut chain = Chain::copy_from(&body, &peer.pool).expect("room");
    let address = chain.front().as_ptr();
    let in_use = peer.pool.in_use();
    let mut cx = sluice_l7_core::CodecContext {
        output: &mut peer.output,
        pool: &peer.pool,
        heads: &mut peer.heads,
        limits: &peer.limits,
        now: sluice_base::Instant::ZERO,
    };
    let stream = StreamId::new(1);
    assert_eq!(peer.codec.encode_body(stream, &mut chain, &mut cx), Ok(5_000));
    assert!(chain.is_empty());
    assert!(peer.output.pieces().any(|piece| piece.as_ptr() == address), "no copy");
    assert_eq!(peer.pool.in_use(), in_use + 1, "one buffer for the chunk's first line");
    assert_eq!(peer.encode_body(b""), Ok(0), "an empty chunk would end the body");
    let mut trailers = Head::new();
    trailers.append("X-Sum", b"1");
    trailers.append(NameId::CONTENT_LENGTH, b"1");
    peer.encode_end(Some(&trailers)).expect("complete");
    let written = peer.written();
    assert!(written.starts_with("1388\nxxx") && written.ends_with("xxx\n0\nX-Sum: 1\n\n"));
    peer.census();
}

/// A reference to them would cost more than the bytes do, here and when they are sent.
#[test]
fn a_small_body_is_written_behind_its_head() {
    let mut peer = get();
    peer.respond(200, BodyLength::Known(260)).expect("an answer is due");
    let (in_use, pieces) = (peer.pool.in_use(), peer.output.buffers());
    assert_eq!(peer.encode_body(&[b'x'; 60]), Ok(60));
    assert_eq!(peer.encode_body(&[b'y'; 200]), Ok(200));
    peer.encode_end(None).expect("complete");
    assert_eq!((peer.pool.in_use(), peer.output.buffers()), (in_use, pieces));
    assert!(peer.written().ends_with(&"y".repeat(200)));
    peer.census();
}

#[test]
fn bodies_must_be_as_long_as_announced() {
    let mut peer = get();
    peer.respond(200, BodyLength::Known(4)).expect("an answer is due");
    assert_eq!(peer.encode_body(b"hello"), Err(EncodeError::LengthMismatch));
    assert_eq!(peer.encode_body(b"hel"), Ok(3));
    assert_eq!(peer.encode_end(None), Err(EncodeError::LengthMismatch));
    assert!(peer.codec.must_close());
    assert!(peer.written().ends_with("\n\nhel"));
    peer.census();
}

#[test]
fn parts_out_of_order_are_refused() {
    let mut peer = Peer::server();
    assert_eq!(peer.respond(200, BodyLength::None), Err(EncodeError::WrongState));
    let mut peer = get();
    assert_eq!(peer.encode_body(b"x"), Err(EncodeError::WrongState));
    assert_eq!(peer.respond(101, BodyLength::None), Err(EncodeError::WrongState), "not asked for");
    peer.respond(200, BodyLength::None).expect("an answer is due");
    assert_eq!(peer.respond(200, BodyLength::None), Err(EncodeError::WrongState));
    assert_eq!(peer.encode_end(None), Ok(()), "was complete with its head");
    let mut client = Peer::new(Role::Client);
    assert_eq!(
        client.encode_head(&upgrade_request(), BodyLength::None),
        Err(EncodeError::WrongState)
    );
}

#[test]
fn added_text_cannot_end_its_line() {
    let attempts: [fn(&mut Head); 7] = [
        |head| head.append("x", b"a\r\nb: c"),
        |head| head.append("x", b"a\nb"),
        |head| head.append("x", b"a\0"),
        |head| head.append("x\r\ny", b"a"),
        |head| head.append("x:y", b"a"),
        |head| head.set_path(b"/a HTTP/1.1\r\nx: y"),
        |head| head.set_authority(b"a b"),
    ];
    for attempt in attempts {
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"a", b"/");
        attempt(&mut head);
        let mut peer = Peer::new(Role::Client);
        peer.stream = peer.codec.open_stream().expect("free");
        assert_eq!(peer.encode_head(&head, BodyLength::None), Err(EncodeError::Unprintable));
        assert!(peer.output.is_empty());
    }
}

#[test]
fn heads_larger_than_a_buffer_are_written_whole() {
    let mut head = Head::new();
    head.reset_to_response(200);
    let value = vec![b'v'; 9_000];
    head.append("x", &value);
    let mut peer = get();
    peer.encode_head(&head, BodyLength::None).expect("an answer is due");
    let written = peer.written();
    assert_eq!(written.len(), "HTTP/1.1 200 OK\nx: \ncontent-length: 0\n\n".len() + 9_000);
    peer.census();
}

#[test]
fn an_empty_pool_writes_nothing_and_the_call_may_be_repeated() {
    let mut peer = get();
    let mut held = Vec::new();
    while let Ok(packet) = peer.pool.alloc() {
        held.push(packet);
    }
    assert_eq!(peer.respond(200, BodyLength::Chunked), Err(EncodeError::NoMemory));
    assert!(peer.output.is_empty());
    held.pop();
    peer.respond(200, BodyLength::Chunked).expect("one buffer is enough");
    held.pop();
    assert_eq!(peer.encode_body(b"hello"), Ok(5));
    peer.encode_end(None).expect("complete");
    assert!(peer.written().ends_with("\n\n5\nhello\n0\n\n"));
    drop(held);
    peer.census();
}

#[test]
fn upgrades_and_connect_turn_a_server_into_a_tunnel() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    for (request, status) in [(upgrade, 101), ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 200)] {
        let mut peer = server_after(&format!("{request}early"));
        let mut said = Transcript::default();
        peer.run(&mut said);
        assert!(said.lines.is_empty(), "opaque bytes wait for the answer");
        let mut head = Head::new();
        head.reset_to_response(status);
        head.append(NameId::UPGRADE, b"x");
        peer.encode_head(&head, BodyLength::UntilClose).expect("asked for");
        let written = peer.written();
        let options = if status == 101 { "upgrade: x\nconnection: upgrade\n" } else { "" };
        assert!(written.ends_with(&format!("{options}\n")), "{written}");
        assert!(!written.contains("length") && !written.contains("chunked"));
        assert!(peer.codec.is_upgraded());
        peer.receive(b"\r\n\0");
        peer.run(&mut said);
        said.end_body();
        assert_eq!(said.lines, ["body early\\r\\n\\x00"]);
        assert_eq!(peer.encode_body(b"raw"), Ok(3));
        assert_eq!(peer.written(), "raw");
        peer.encode_end(None).expect("half closed");
        assert!(!peer.codec.must_close(), "the other half is open");
        assert!(matches!(peer.end_of_input(), Ok(Some(Event::End { .. }))));
        assert!(peer.codec.must_close());
        peer.census();
    }
    // Refused: the connection goes on with HTTP.
    let mut peer = server_after(upgrade);
    peer.respond(200, BodyLength::None).expect("an answer is due");
    assert!(peer.codec.is_idle() && !peer.codec.is_upgraded());
}

#[test]
fn a_drained_connection_says_so_and_closes() {
    let mut peer = get();
    peer.drain();
    assert!(!peer.codec.must_close());
    peer.respond(200, BodyLength::None).expect("an answer is due");
    assert_eq!(peer.written(), "HTTP/1.1 200 OK\ncontent-length: 0\nconnection: close\n\n");
    assert!(peer.codec.must_close());
    let mut idle = Peer::server();
    idle.drain();
    assert!(idle.codec.must_close());
    let mut client = Peer::new(Role::Client);
    client.drain();
    assert!(client.codec.open_stream().is_none() && client.codec.must_close());
}

#[test]
fn a_mistake_can_be_answered_once() {
    let mut peer = Peer::server();
    peer.receive(b"GET / HTTP/1.1\r\n\r\nGET /2");
    let error = peer.decode().expect_err("no Host");
    peer.respond(error.status(), BodyLength::None).expect("the client learns why");
    assert_eq!(
        peer.written(),
        "HTTP/1.1 400 Bad Request\ncontent-length: 0\nconnection: close\n\n"
    );
    assert!(peer.codec.must_close());
    assert!(matches!(peer.decode(), Ok(None)), "nothing behind it is read");
    assert_eq!(peer.respond(200, BodyLength::None), Err(EncodeError::WrongState));
    peer.census();
}

#[test]
fn a_reset_closes() {
    let mut peer = get();
    peer.respond(200, BodyLength::Known(9)).expect("an answer is due");
    let mut cx = sluice_l7_core::CodecContext {
        output: &mut peer.output,
        pool: &peer.pool,
        heads: &mut peer.heads,
        limits: &peer.limits,
        now: sluice_base::Instant::ZERO,
    };
    peer.codec.encode_reset(StreamId::new(1), ResetReason::ConnectError, &mut cx);
    assert!(peer.codec.must_close());
    assert_eq!(peer.encode_body(b"x"), Err(EncodeError::WrongState));
    peer.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(peer.decode(), Ok(None)));
    peer.census();
}
