//! Tunnels: WebSockets in every pair of versions, by hand on both sides; CONNECT by curl and by hand.

use std::io::{Read, Write};

use crate::lab::{Backend, Client, Lab, Sluice, respond, tap_config};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
allow_connect = true
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/one/"
cluster = "one"
[[listener.virtual_host.route]]
prefix = "/two/"
cluster = "two"
[[listener.virtual_host]]
domains = ["tcp.test"]
[[listener.virtual_host.route]]
connect = "terminate"
cluster = "one"
[[listener.virtual_host]]
domains = ["two.test"]
[[listener.virtual_host.route]]
connect = "forward"
cluster = "two"

[[cluster]]
name = "one"
endpoints = ["10.9.0.1:8081"]
[[cluster]]
name = "two"
http = "2"
endpoints = ["10.9.0.1:8082"]
"#;

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// ENABLE_CONNECT_PROTOCOL (RFC 8441, 3).
const SETTINGS_CONNECT: [u8; 15] = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1];

/// The key of RFC 6455, 1.3, and what it is answered with.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame's header and payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    let mut bytes = len.to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Literal fields of a block, behind `:scheme: http`.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x86];
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An endpoint of HTTP/1.1 that agrees to WebSockets and says back what it hears, to the end.
fn one() -> Backend {
    Backend::raw("10.9.0.1:8081", |mut stream| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let asked = head.starts_with("get /one/chat http/1.1\r\n")
            && head.contains("\r\nupgrade: websocket\r\n")
            && head.contains("\r\nconnection: upgrade\r\n")
            && head.contains("\r\nsec-websocket-key: ");
        let answer: &[u8] = if asked {
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        } else {
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
        };
        let _gone = stream.write_all(answer);
        let mut bytes = [0; 4_096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let _gone = stream.write_all(&bytes[..count]);
        }
    })
}

/// The same in HTTP/2; what it has said of itself comes late.
fn two() -> Backend {
    Backend::raw("10.9.0.1:8082", |mut stream| {
        let mut preface = [0; 24];
        if stream.read_exact(&mut preface).is_err() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        let _gone = stream.write_all(&SETTINGS_CONNECT);
        let mut header = [0; 9];
        while stream.read_exact(&mut header).is_ok() {
            let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
            if stream.read_exact(&mut payload).is_err() {
                return;
            }
            let (kind, flags, id) = (header[3], header[4], header[8]);
            let answer = match kind {
                // It is a CONNECT that does not end, with :protocol: in the clear or by Huffman.
                1 if flags & 1 == 0 => frame(1, 4, id, &[0x88]),
                1 => frame(1, 5, id, &[0x8c]),
                0 => {
                    let more = (payload.len().max(1) as u32).to_be_bytes();
                    let windows = [frame(8, 0, 0, &more), frame(8, 0, id, &more)];
                    [frame(0, flags & 1, id, &payload), windows.concat()].concat()
                }
                6 if flags == 0 => frame(6, 1, 0, &payload),
                4 if flags == 0 => frame(4, 1, 0, &[]),
                _ => Vec::new(),
            };
            let _gone = stream.write_all(&answer);
        }
    })
}

/// RFC 8441: CONNECT in HTTP/2 for what is Upgrade in HTTP/1.1, and bytes both ways.
#[test]
fn websockets_through_streams_reach_either_version() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let (_one, _two) = (one(), two());
    for path in ["/one/chat", "/two/chat"] {
        let mut client = Client::connect("10.9.0.2:80");
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(SETTINGS);
        let head = block(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":path", path),
            (":authority", "10.9.0.2"),
            ("sec-websocket-version", "13"),
        ]);
        client.send(frame(1, 4, 1, &head));
        let mut next = |kind: u8| loop {
            let header = client.read_exactly(9);
            let len = usize::from(header[1]) << 8 | usize::from(header[2]);
            let payload = client.read_exactly(len);
            if header[3] == 4 && header[4] == 0 {
                let offered = payload.chunks(6).any(|entry| entry == [0, 8, 0, 0, 0, 1]);
                assert!(offered, "ENABLE_CONNECT_PROTOCOL: {payload:?}");
            }
            if header[3] == kind {
                return (header[4], payload);
            }
            assert!(header[3] != 3 && header[3] != 7, "RST_STREAM or GOAWAY");
        };
        let (flags, head) = next(1);
        assert_eq!((flags, head[0]), (4, 0x88), "200, and it goes on: {path}");
        for text in [&b"hello"[..], b"again"] {
            client.send(frame(0, 0, 1, text));
            let header = client.read_exactly(9);
            assert_eq!((header[2], header[3], header[4]), (text.len() as u8, 0, 0), "{path}");
            assert_eq!(client.read_exactly(text.len()), text);
        }
        // END_STREAM is the FIN that ends the echo, whose FIN ends the stream.
        client.send(frame(0, 1, 1, &[]));
        let header = client.read_exactly(9);
        assert_eq!((header[3], header[4] & 1), (0, 1), "{path}");
    }
    sluice.stop();
}

#[test]
fn websockets_of_http1_reach_either_version() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let (_one, _two) = (one(), two());
    for path in ["/one/chat", "/two/chat"] {
        let mut client = Client::connect("10.9.0.2:80");
        client.send(format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n\r\nearly"
        ));
        let response = client.response();
        assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
        if path.starts_with("/two") {
            assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        }
        assert_eq!(client.read_exactly(5), b"early", "{path}");
        let long: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        for piece in long.chunks(20_000) {
            client.send(piece);
            assert_eq!(client.read_exactly(piece.len()), piece, "{path}");
        }
        client.finish();
        assert_eq!(client.read_to_end(), b"", "{path}");
    }
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("envoy_http_downstream_cx_upgrades_total", &[]), 2);
    sluice.stop();
}

/// A request through a tunnel, by curl: the proxy it asks is Sluice, the server is the cluster's.
#[test]
fn curl_goes_through_a_tunnel() {
    let lab = Lab::new();
    let site = SITE.replace("[\"10.9.0.1:8081\"]", "[\"10.9.0.1:8083\"]");
    let sluice = Sluice::start(&lab, &tap_config(&site));
    let _server = Backend::http("10.9.0.1:8083", |request, stream| {
        let large = vec![b'x'; 3_000_000];
        let body = if request.target == "/large" { &large[..] } else { b"through the tunnel" };
        respond(stream, "200 OK", &[], body)
    });
    let proxied = ["-p", "-x", "http://10.9.0.2:80", "-o", "/dev/null"];
    let said = |url: &str, what: &str| {
        let more = ["-w", what, url];
        lab.fetch(&[&proxied[..], &more[..]].concat())
    };
    let what = "%{http_connect} %{http_code} %{size_download}";
    assert_eq!(said("http://tcp.test:99/a", what), "200 200 18");
    assert_eq!(said("http://tcp.test:99/large", what), "200 200 3000000");
    // Where no route for CONNECT leads, nobody gets to.
    let refused = [&proxied[..], &["-w", "%{http_connect}", "http://10.9.0.1:8083/"]].concat();
    let command = format!("curl -s {}", refused.join(" "));
    assert_eq!(lab.run(20, &command).stdout, "404");
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("envoy_http_downstream_cx_upgrades_total", &[]), 2);
    sluice.stop();
}

/// The same on a stream; and by CONNECT to an endpoint of HTTP/2.
#[test]
fn connect_on_a_stream() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _echo = Backend::raw("10.9.0.1:8081", |mut stream| {
        let mut bytes = [0; 4_096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let _gone = stream.write_all(&bytes[..count]);
        }
    });
    let _two = two();
    for authority in ["tcp.test:99", "two.test:99"] {
        let mut client = Client::connect("10.9.0.2:80");
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(SETTINGS);
        let head = block(&[(":method", "CONNECT"), (":authority", authority)]);
        // It names no scheme.
        client.send(frame(1, 4, 1, &head[1..]));
        client.send(frame(0, 0, 1, b"early"));
        let mut heard = Vec::new();
        let mut ended = false;
        while !ended {
            let header = client.read_exactly(9);
            let payload = client.read_exactly(usize::from(header[1]) << 8 | usize::from(header[2]));
            assert!(header[3] != 3 && header[3] != 7, "RST_STREAM or GOAWAY: {authority}");
            if header[3] == 1 {
                assert_eq!((header[4], payload[0]), (4, 0x88), "200, and it goes on: {authority}");
            }
            if header[3] == 0 {
                heard.extend_from_slice(&payload);
                ended = header[4] & 1 != 0;
                if heard == b"early" {
                    client.send(frame(0, 1, 1, b" and late"));
                }
            }
        }
        assert_eq!(heard, b"early and late", "{authority}");
    }
    sluice.stop();
}
