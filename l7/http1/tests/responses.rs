//! Responses that a client understands, and those it refuses; each cut in every way.

mod support;

use sluice_l7_core::{BodyLength, Codec, Event, Method, Role};
use support::{Peer, answered, every_way, upgrade_request};

#[test]
fn lengths_in_the_order_of_the_rfc() {
    let get = |bytes: &str| answered(Method::Get, bytes.as_bytes());
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ["200 | Content-Length: 5 => Known(5)", "body hello", "end"]
    );
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
        ["200 => Chunked", "body hello", "end trailers | X: y"]
    );
    assert_eq!(get("HTTP/1.1 200 OK\r\n\r\nhello"), ["200 => UntilClose", "body hello", "end"]);
    assert_eq!(get("HTTP/1.0 200\r\n\r\n"), ["200 => UntilClose", "end"]);
    assert_eq!(get("HTTP/1.1 204 No Content\r\n\r\n"), ["204 => None"]);
    assert_eq!(
        get("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        ["304 | Content-Length: 9 => None"]
    );
    assert_eq!(
        get("HTTP/1.1 404 \u{e9}\r\nContent-Length: 0\r\n\r\n"),
        ["404 | Content-Length: 0 => None"]
    );
    assert_eq!(
        answered(Method::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        ["200 | Content-Length: 9 => None"]
    );
    assert_eq!(
        answered(Method::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ["200 => None"]
    );
}

#[test]
fn any_number_of_informational_heads_come_first() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        answered(Method::Get, format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{last}").as_bytes()),
        ["informational 100", "informational 103 | Link: </a>", "200 | Content-Length: 0 => None"]
    );
    let flood = format!("{}{last}", hints.repeat(33));
    assert_eq!(
        answered(Method::Get, flood.as_bytes()).pop().expect("a line"),
        "error 429 too-many-informational"
    );
    assert_eq!(answered(Method::Get, format!("{}{last}", hints.repeat(32)).as_bytes()).len(), 33);
}

#[test]
fn garbage() {
    for (what, bytes, reason) in [
        ("not HTTP", "SSH-2.0-x\r\n\r\n", "invalid-status-line"),
        ("leading line end", "\r\nHTTP/1.1 200 OK\r\n\r\n", "invalid-status-line"),
        ("HTTQ", "HTTQ/1.1 200 OK\r\n\r\n", "invalid-status-line"),
        ("two digits", "HTTP/1.1 20 OK\r\n\r\n", "invalid-status-line"),
        ("four digits", "HTTP/1.1 2000 OK\r\n\r\n", "invalid-status-line"),
        ("letters", "HTTP/1.1 2x0 OK\r\n\r\n", "invalid-status-line"),
        ("below 100", "HTTP/1.1 099 OK\r\n\r\n", "invalid-status-line"),
        ("two spaces", "HTTP/1.1  200 OK\r\n\r\n", "invalid-status-line"),
        ("no space", "HTTP/1.1 200OK\r\n\r\n", "invalid-status-line"),
        ("control in phrase", "HTTP/1.1 200 O\x01K\r\n\r\n", "invalid-status-line"),
        ("bare CR in phrase", "HTTP/1.1 200 O\rK\r\n\r\n", "bare-cr"),
        ("NUL in phrase", "HTTP/1.1 200 O\0K\r\n\r\n", "nul-in-head"),
        ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "bare-lf"),
        (
            "both lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "content-length-and-transfer-encoding",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "content-length-repeated",
        ),
        ("bad length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "invalid-content-length"),
        (
            "coding not chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "transfer-encoding-not-chunked",
        ),
        (
            "coding in 1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "transfer-encoding-in-http-1.0",
        ),
        ("space before colon", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "space-before-colon"),
        ("folded", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "obs-fold"),
        ("nobody asked for 101", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "unexpected-upgrade"),
        ("ends in the head", "HTTP/1.1 200 OK\r\n", "truncated-head"),
        ("ends in the body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "truncated-body"),
        ("ends after 1xx", "HTTP/1.1 100 Continue\r\n\r\n", "no-response"),
        ("nothing", "", "no-response"),
    ] {
        let last = answered(Method::Get, bytes.as_bytes()).pop().expect(what);
        let mut words = last.split(' ').skip(2);
        assert_eq!(words.next(), Some(reason), "{what}");
    }
    let last = answered(Method::Get, b"HTTP/2.0 200 OK\r\n\r\n").pop();
    assert_eq!(last.as_deref(), Some("error 505 unknown-version"));
}

#[test]
fn bytes_behind_the_response_were_not_asked_for() {
    let lines = answered(Method::Get, b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(lines, ["204 => None", "error 400 unsolicited-bytes"]);
    let lines = every_way(|| Peer::new(Role::Client), b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    assert_eq!(lines, ["error 400 unsolicited-bytes", "close=true written=0"]);
}

#[test]
fn connections_are_reused_when_both_sides_may() {
    for (response, reusable) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo, Close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true),
    ] {
        let mut peer = Peer::client_after(Method::Get);
        assert!(!peer.codec.is_reusable() && !peer.codec.is_idle());
        peer.receive(response.as_bytes());
        let Ok(Some(Event::Head { head, body, .. })) = peer.decode() else { panic!("{response}") };
        peer.heads.put(head);
        assert_eq!(body, BodyLength::None);
        assert_eq!(peer.codec.is_reusable(), reusable, "{response}");
        assert_eq!(peer.codec.must_close(), !reusable, "{response}");
        assert_eq!(peer.codec.open_stream().is_some(), reusable);
        assert_eq!(peer.codec.take_credit(), response.len());
        peer.census();
    }
}

#[test]
fn an_idle_connection_that_the_server_ended_is_not_reused() {
    let mut peer = Peer::new(Role::Client);
    assert!(peer.codec.is_reusable());
    assert!(matches!(peer.end_of_input(), Ok(None)));
    assert!(!peer.codec.is_reusable() && peer.codec.must_close());
}

#[test]
fn a_101_that_was_asked_for_and_a_2xx_to_connect_make_a_tunnel() {
    let upgrading = || {
        let mut peer = Peer::new(Role::Client);
        peer.request(&upgrade_request(), BodyLength::None);
        assert_eq!(
            peer.written(),
            "GET /chat HTTP/1.1\nhost: a.example\nupgrade: websocket\nconnection: upgrade\n\n"
        );
        peer
    };
    let response =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\0\xff";
    let lines = every_way(upgrading, response);
    assert_eq!(
        lines[..3],
        [
            "101 | Connection: Upgrade | Upgrade: websocket => UntilClose",
            "body \\x81\\x00\\xff",
            "end"
        ]
    );
    let refused = every_way(upgrading, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(refused[..3], ["200 | Content-Length: 1 => Known(1)", "body x", "end"]);

    let tunnel = answered(Method::Connect, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz");
    assert_eq!(tunnel, ["200 | Content-Length: 1 => UntilClose", "body xyz", "end"]);
    let refused =
        answered(Method::Connect, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(refused, ["403 | Content-Length: 1 => Known(1)", "body x", "end"]);
}
