//! Requests that a server understands, and how; each cut in every way.

mod support;

use sluice_l7_core::{HeadLimits, Role};
use support::{Peer, every_way, served};

#[test]
fn examples_of_the_rfc() {
    // RFC 9112, 2.1.
    let request =
        b"GET /hello.txt HTTP/1.1\r\nUser-Agent: curl/7.64.1\r\nHost: www.example.com\r\n\
        Accept-Language: en, mi\r\n\r\n";
    assert_eq!(
        served(request),
        [
            "GET /hello.txt host=www.example.com | User-Agent: curl/7.64.1 | Accept-Language: en, mi \
          => None"
        ]
    );
    // RFC 9112, 3.2.1: origin-form.
    assert_eq!(
        served(b"GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n"),
        ["GET /where?q=now host=www.example.org => None"]
    );
    // RFC 9112, 7.1.3 in the order of its steps.
    let chunked = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Expires\r\n\r\n\
        4\r\nWiki\r\n5;name=value\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nExpires: never\r\n\r\n";
    assert_eq!(
        served(chunked),
        [
            "POST /c host=a | Trailer: Expires => Chunked",
            "body Wikipedia in\\r\\n\\r\\nchunks.",
            "end trailers | Expires: never"
        ]
    );
}

#[test]
fn the_four_forms_of_a_target() {
    for (target, host, said) in [
        ("GET /", "a", "GET / host=a"),
        ("GET http://b", "a", "GET / host=b"),
        ("GET http://b:81/x?y", "a", "GET /x?y host=b:81"),
        ("GET HTTPS://b?y", "a", "GET /?y host=b"),
        ("OPTIONS *", "a", "OPTIONS * host=a"),
        ("OPTIONS http://b", "a", "OPTIONS * host=b"),
        ("OPTIONS http://b/", "a", "OPTIONS / host=b"),
        ("CONNECT b:443", "b:443", "CONNECT  host=b:443"),
        ("CONNECT [::1]:443", "[::1]:443", "CONNECT  host=[::1]:443"),
        ("GET /\u{e9}", "a", "GET /\\xc3\\xa9 host=a"),
        ("BREW /pot", "a", "BREW /pot host=a"),
    ] {
        let request = format!("{target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(served(request.as_bytes())[0], format!("{said} => None"));
    }
}

#[test]
fn bodies_end_where_their_length_says() {
    assert_eq!(
        served(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n"),
        ["POST / host=a | Content-Length: 5 => Known(5)", "body hello", "end", "GET / host=b => None"]
    );
    assert_eq!(
        served(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        ["POST / host=a | Content-Length: 0 => None"]
    );
    assert_eq!(
        served(b"PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n"),
        ["PUT / host=a => Chunked", "end", "GET /2 host=b => None"]
    );
    assert_eq!(
        served(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000A ; x=\"y;z\"\r\n"
                .as_ref()
        ),
        ["PUT / host=a => Chunked", "error 400 invalid-chunk-size"],
        "no white space behind the size"
    );
    assert_eq!(
        served(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000A; x=\"y;z\" ;q\r\n0123456789\r\n00;last\r\n\r\n"),
        ["PUT / host=a => Chunked", "body 0123456789", "end"]
    );
}

#[test]
fn trailers_lose_what_must_not_be_in_them() {
    assert_eq!(
        served(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\
            Content-Length: 4\r\nX-Sum: 1\r\nHost: b\r\nTransfer-Encoding: x\r\n\r\n"
        ),
        ["PUT / host=a => Chunked", "body x", "end trailers | X-Sum: 1"]
    );
    assert_eq!(
        served(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n"
        ),
        ["PUT / host=a => Chunked", "end"]
    );
}

#[test]
fn values_lose_the_white_space_around_them_and_may_be_empty() {
    assert_eq!(
        served(b"GET / HTTP/1.1\r\nHost: \ta \r\nA:\r\nB: \r\nC:\t c\td \t\r\nD:\xff\r\n\r\n"),
        ["GET / host=a | A:  | B:  | C: c\\td | D: \\xff => None"]
    );
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    assert_eq!(
        served(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ["GET / host=a => None", "GET /2 host=a => None"]
    );
}

#[test]
fn http_1_0_needs_no_host_and_closes_unless_asked() {
    let lines = every_way(Peer::server, b"GET / HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n");
    let written = "HTTP/1.1 200 OK\ncontent-length: 0\nconnection: close\n\n".len();
    assert_eq!(
        lines,
        ["GET / host= => None", "answered Ok(())", &format!("close=true written={written}")]
    );
    assert_eq!(
        served(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n"),
        ["GET / host= | Connection: Keep-Alive => None", "GET /2 host= => None"]
    );
}

#[test]
fn limits_are_exact() {
    let limits = HeadLimits { request_line: 30, header_bytes: 100, headers: 3 };
    let serve = |bytes: &str| {
        let mut lines = every_way(|| Peer::with_limits(Role::Server, limits), bytes.as_bytes());
        lines.pop();
        lines.first().expect("one line").split(' ').next_back().map(str::to_owned)
    };
    let line = |bytes: usize| format!("GET /{} HTTP/1.1", "x".repeat(bytes - 14));
    let ok = Some("None".to_owned());
    let error = |reason: &str| Some(reason.to_owned());
    assert_eq!(serve(&format!("{}\r\nHost: a\r\n\r\n", line(30))), ok);
    assert_eq!(serve(&format!("{}\r\nHost: a\r\n\r\n", line(31))), error("request-line-too-long"));
    assert_eq!(serve(&"G".repeat(31)), error("request-line-too-long"));
    assert_eq!(serve(&"G".repeat(30)), error("truncated-head"));
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    assert_eq!(serve(&head(100)), ok);
    assert_eq!(serve(&head(101)), error("head-too-long"));
    assert_eq!(serve(&head(4_000)), error("head-too-long"));
    let fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!(serve(&fields(3)), ok);
    assert_eq!(serve(&fields(4)), error("too-many-fields"));
    // The error that comes first in the bytes is the one that is told.
    assert_eq!(serve(&format!("{}\n{}", line(31), head(200))), error("request-line-too-long"));
    assert_eq!(serve(&format!("{}\n\n", &head(120)[..110])), error("head-too-long"));
    let trailers = |bytes: usize| {
        let start = "X: ";
        format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{start}{}\r\n\r\n",
            "x".repeat(bytes - start.len() - 4)
        )
    };
    let last = |bytes: usize| {
        let peer = || Peer::with_limits(Role::Server, limits);
        let mut lines = every_way(peer, trailers(bytes).as_bytes());
        lines.truncate(2);
        lines.pop().expect("two lines").contains("error")
    };
    assert!(!last(100));
    assert!(last(101));
}

#[test]
fn many_fields_are_taken_where_they_are_configured() {
    let limits = HeadLimits { headers: 500, ..HeadLimits::default() };
    let serve = |count: usize| {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
        let mut lines = every_way(|| Peer::with_limits(Role::Server, limits), bytes.as_bytes());
        lines.swap_remove(0)
    };
    assert_eq!(serve(500).matches("X: y").count(), 499);
    assert_eq!(serve(501), "error 431 too-many-fields");
}

#[test]
fn a_head_of_many_buffers_is_put_together() {
    let value = "v".repeat(20_000);
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\nY: z\r\n\r\n");
    let lines = served(request.as_bytes());
    assert_eq!(lines, [format!("GET / host=a | X: {value} | Y: z => None")]);
}

#[test]
fn a_connection_that_ends_in_a_message_is_told() {
    for (bytes, reason) in [
        (&b"G"[..], "error 400 truncated-head"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "error 400 truncated-head"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", "error 400 truncated-body"),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na",
            "error 400 truncated-body",
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "error 400 truncated-body",
        ),
    ] {
        let lines = served(bytes);
        assert_eq!(lines.last().map(String::as_str), Some(reason), "{}", bytes.escape_ascii());
    }
    assert!(served(b"").is_empty());
    assert!(served(b"\r\n").is_empty());
}
