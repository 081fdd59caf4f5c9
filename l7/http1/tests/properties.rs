//! What holds for all bytes and all messages.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_l7_core::{BodyLength, Codec, Event, Head, Method, NameId, Role};
use support::{Peer, Transcript, every_way, transcript};

/// Pieces that heads and chunked bodies are made of, honest ones and others.
const PIECES: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "CONNECT ",
    "OPTIONS ",
    "/ ",
    "/a?b ",
    "* ",
    "http://h/ ",
    "a:1 ",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 204 X",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ": ",
    "\0",
    "\x7f",
    "\u{e9}",
    "Host: a\r\n",
    "Host: a\r\n",
    "Host: b:1\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 12",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: upgrade\r\nUpgrade: x\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n",
    "X: \r\n",
    " folded\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "3\r\nabc\r\n",
    "3\r\nabc",
    "a;x=y\r\n",
    "fffffffffffffffff",
    "abc",
    "1",
    ";",
    "HTTP/2.0",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
];

/// One of `usual`, or (one time in ten) one of `odd`.
fn mostly(usual: &'static [&str], odd: &'static [&str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => prop::sample::select(usual), 1 => prop::sample::select(odd)]
}

/// A field line, right but for one part now and then.
fn line() -> impl Strategy<Value = String> {
    let name = mostly(
        &["Accept", "X-Own", "cookie", "Connection", "content-length", "Expect", "x-request-id"],
        &["", "X Y", "X\u{7f}", "a\rb", "Transfer-Encoding", "Host", "x-\u{e9}", "cont\u{1}nt"],
    );
    let colon = mostly(&[": ", ": ", ":", ":  "], &[" : ", ":\t", "", ": \t "]);
    let value = mostly(
        &[
            "",
            "1",
            "close",
            "keep-alive",
            "a b",
            "a, upgrade",
            "100-continue",
            "twenty and more bytes",
        ],
        &["a\tb", "\u{7f}", "\0", "\u{e9}", "a\rb", "0123456789\u{1f}0", "chunked", "01234567 "],
    );
    let end =
        mostly(&["\r\n", "\r\n", "\r\n", " \r\n", "   \r\n"], &["\n", "\t\r\n", "\r\r\n", "\r"]);
    (name, colon, value, end)
        .prop_map(|(name, colon, value, end)| [name, colon, value, end].concat())
}

/// A message that is right but for one part now and then, and what may follow.
fn message(starts: &'static [&str], odd: &'static [&str]) -> impl Strategy<Value = Vec<u8>> {
    let rest = prop::sample::select(PIECES);
    (mostly(starts, odd), vec(line(), 0..5), vec(rest, 0..3)).prop_map(|(start, lines, rest)| {
        [start.to_owned(), lines.concat(), "\r\n".to_owned(), rest.concat()].concat().into_bytes()
    })
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let odd = &[
        "GET  / HTTP/1.1\r\nHost: a\r\n",
        "GET /\u{e9}#a HTTP/1.1\r\n",
        "get /\u{e9} HTTP/1.1\r\nHost: a\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\nHost: a\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\n",
    ];
    let starts = &[
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST /a/longer/path?q HTTP/1.1\r\nHost: a\r\n",
        "HEAD / HTTP/1.0\r\n",
        "CONNECT a:1 HTTP/1.1\r\nhost:a:1\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n",
        "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n",
    ];
    prop_oneof![2 => message(starts, odd), 1 => soup()]
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    let odd = &[
        "HTTP/1.1 200\r\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1 200 \u{e9}\r\n",
        "HTTP/1.1 200 O\u{1}\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 099 OK\r\n",
        "HTTP/1.1 200 OK\n",
        "http/1.1 200 OK\r\n",
        "HTTP/1.1 200 a longer phrase\tthan others\r\n",
    ];
    let starts = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.1 100 Continue\r\n",
        "HTTP/1.1 503 Service Unavailable\r\n",
        "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n",
    ];
    prop_oneof![2 => message(starts, odd), 1 => soup()]
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => (0..PIECES.len()).prop_map(|at| PIECES[at].as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// What is done to a head: 0 removes, 1 appends, others set; a name, a value.
type Edit = (u8, &'static str, &'static str);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let name = prop::sample::select(
        &["accept", "X-Own", "cookie", "connection", "x-request-id", "Via", "expect", "te"][..],
    );
    vec((0..3_u8, name, prop::sample::select(&["", "1", "some more"][..])), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes: no panic, no leak, and the same said however they are cut.
    #[test]
    fn a_server_takes_anything(bytes in requests()) {
        every_way(Peer::server, &bytes);
    }

    #[test]
    fn a_client_takes_anything(bytes in responses(), head in any::<bool>()) {
        let method = if head { Method::Head } else { Method::Get };
        every_way(|| Peer::client_after(method), &bytes);
    }

    /// A head that is copied in one piece says what it says when it is written line by line, which is
    /// how one is written that came in pieces.
    #[test]
    fn a_head_says_the_same_however_it_is_written(
        request in requests(),
        response in responses(),
        edits in edits(),
    ) {
        let client = || Peer::client_after(Method::Get);
        for (peer, bytes) in [(&Peer::server as &dyn Fn() -> Peer, request), (&client, response)] {
            let whole = head_of(peer(), &bytes, bytes.len().max(1));
            let pieces = head_of(peer(), &bytes, 7);
            let said = |(peer, head, body)| passed_on(peer, head, body, &edits);
            // A tunnel's heads, and requests without Host, are not for this.
            let fits = |head: &Head| {
                head.status() != 101 && !(head.is_request() && head.authority().is_empty())
            };
            if let (Some(whole), Some(pieces)) = (whole, pieces) && fits(&whole.1) {
                prop_assert_eq!(said(whole), said(pieces), "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn noise_is_refused_or_waited_for(bytes in vec(any::<u8>(), 0..300), cut in 0..300_usize) {
        transcript(Peer::server(), &bytes, std::iter::once(cut.min(bytes.len())));
        transcript(Peer::client_after(Method::Get), &bytes, std::iter::once(cut.min(bytes.len())));
    }

    /// What the decoder says of the lengths is what a plain reading of the RFC says.
    #[test]
    fn the_decoder_agrees_with_its_naive_twin(bytes in requests()) {
        let mut peer = Peer::server();
        peer.receive(&bytes);
        let said = match peer.decode() {
            Ok(Some(Event::Head { head, body, .. })) => {
                let fields = head.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
                let twin = Some(twin::Request {
                    method: head.method_text().to_vec(),
                    host: head.authority().to_vec(),
                    fields,
                    body,
                    len: bytes.len() - peer.input.len(),
                });
                peer.heads.put(head);
                twin
            }
            Ok(Some(other)) => panic!("a head comes first, not {other:?}"),
            Ok(None) | Err(_) => None,
        };
        prop_assert_eq!(said, twin::request(&bytes), "{}", bytes.escape_ascii());
        peer.census();
    }

    /// What is written is read back as it was meant, by the codec in the other role.
    #[test]
    fn written_requests_are_read_back(
        fields in vec(("[a-zA-Z][a-zA-Z0-9-]{0,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..12),
        path in "/[!-\"$-~]{0,30}",
        body in vec(vec(any::<u8>(), 1..400), 0..4),
        known in any::<bool>(),
        cut in 1..2_000_usize,
    ) {
        let length: usize = body.iter().map(Vec::len).sum();
        let mut head = Head::new();
        head.reset_to_request(Method::Post, b"a.example:8080", path.as_bytes());
        for (name, value) in fields.iter().filter(|(name, _)| is_free(name)) {
            head.append(name.as_str(), value.as_bytes());
        }
        let announced = if known { BodyLength::Known(length as u64) } else { BodyLength::Chunked };
        let mut client = Peer::new(Role::Client);
        client.request(&head, announced);
        for part in &body {
            let sent = client.encode_body(part);
            if known && length == 0 { continue }
            prop_assert_eq!(sent, Ok(part.len()));
        }
        prop_assert_eq!(client.encode_end(None), Ok(()));
        let wire = client.output.to_vec();
        client.census();

        let mut server = Peer::server();
        let mut said = Transcript::default();
        let mut received = Vec::new();
        let mut heard = None;
        let mut ended = false;
        for part in wire.chunks(cut) {
            server.receive(part);
            while let Some(event) = server.decode().expect("what we write is valid") {
                match event {
                    Event::Head { head, body, .. } => {
                        ended = body.is_none();
                        heard = Some(format!("{head:?}"));
                        server.heads.put(head);
                    }
                    Event::Body { bytes, .. } => received.extend(bytes.to_vec()),
                    Event::End { .. } => ended = true,
                    other => said.hear(other, &mut server.heads),
                }
            }
        }
        prop_assert!(ended && said.lines.is_empty());
        prop_assert_eq!(received, body.concat());
        let heard = heard.expect("a head").replace(&format!(" | content-length: {length}"), "");
        prop_assert_eq!(lower(&heard), lower(&format!("{head:?}")));
        let taken = server.codec.take_credit();
        prop_assert_eq!(taken, wire.len() - length);
        server.census();
    }
}

/// Decodes the head at the start of `bytes`, cut into pieces of `size`.
fn head_of(mut peer: Peer, bytes: &[u8], size: usize) -> Option<(Peer, Box<Head>, BodyLength)> {
    for piece in bytes.chunks(size) {
        peer.receive(piece);
        match peer.decode() {
            Ok(None) => {}
            Ok(Some(Event::Head { head, body, .. })) => return Some((peer, head, body)),
            Ok(Some(_)) | Err(_) => return None,
        }
    }
    None
}

/// What the other role reads in what is written of a head, in lower case.
fn passed_on(mut peer: Peer, mut head: Box<Head>, body: BodyLength, edits: &[Edit]) -> String {
    for (kind, name, value) in edits {
        match kind {
            0 => drop(head.remove(*name)),
            1 => head.append(*name, value.as_bytes()),
            _ => head.set(*name, value.as_bytes()),
        }
    }
    let is_request = head.is_request();
    let mut writer = if is_request { Peer::new(Role::Client) } else { Peer::server() };
    if is_request {
        writer.request(&head, body);
    } else {
        writer.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Some(Event::Head { head: asked, .. })) = writer.decode() else {
            panic!("a request")
        };
        writer.heads.put(asked);
        writer.encode_head(&head, body).expect("an answer is due");
    }
    let wire = std::mem::take(&mut writer.output).to_vec();
    peer.heads.put(head);
    drop(peer);
    let reader = if is_request { Peer::server() } else { Peer::client_after(Method::Get) };
    match head_of(reader, &wire, wire.len()) {
        Some((mut reader, head, body)) => {
            let said = lower(&format!("{head:?} => {body:?}"));
            reader.heads.put(head);
            said
        }
        None => panic!("{} is not read back", wire.escape_ascii()),
    }
}

/// Names that the encoder does not replace.
fn is_free(name: &str) -> bool {
    !matches!(
        NameId::lookup(name.as_bytes()),
        NameId::HOST
            | NameId::CONNECTION
            | NameId::CONTENT_LENGTH
            | NameId::TRANSFER_ENCODING
            | NameId::KEEP_ALIVE
            | NameId::PROXY_CONNECTION
            | NameId::UPGRADE
            | NameId::TE
            | NameId::EXPECT
    )
}

/// Names that were added by number are written in lower case.
fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// A reader of requests without a thought for speed or memory.
mod twin {
    use sluice_l7_core::BodyLength;

    #[derive(Debug, PartialEq)]
    pub(super) struct Request {
        pub(super) method: Vec<u8>,
        pub(super) host: Vec<u8>,
        pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
        pub(super) body: BodyLength,
        pub(super) len: usize,
    }

    /// The request at the start of `bytes`, if there is a whole and valid one.
    pub(super) fn request(bytes: &[u8]) -> Option<Request> {
        let text = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let end = (0..text.len()).find(|at| text[*at..].starts_with(b"\r\n\r\n"))?;
        let mut lines = split(&text[..end], b"\r\n").into_iter();
        let start = lines.next()?;
        if text[..end].iter().filter(|byte| **byte == b'\n').count()
            != split(&text[..end], b"\r\n").len() - 1
        {
            return None;
        }
        let [method, target, version] = split(&start, b" ").try_into().ok()?;
        let old = match &version[..] {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return None,
        };
        if method.is_empty() || !method.iter().all(|byte| token(*byte)) {
            return None;
        }
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (line[..colon].to_vec(), trim(&line[colon + 1..]));
            if name.is_empty() || !name.iter().all(|byte| token(*byte)) {
                return None;
            }
            if value.iter().any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f) {
                return None;
            }
            fields.push((name, value));
        }
        let all = |wanted: &str| -> Vec<Vec<u8>> {
            let named =
                fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
            named.map(|(_, value)| value.clone()).collect()
        };
        let hosts = all("host");
        if hosts.len() > 1 || hosts.is_empty() && !old || hosts.iter().any(|host| !plain_host(host))
        {
            return None;
        }
        let host = hosts.into_iter().next().unwrap_or_default();
        let host = target_host(&method, &target, host)?;
        let body = match (&all("transfer-encoding")[..], &all("content-length")[..]) {
            ([], []) => BodyLength::None,
            ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && !old => {
                BodyLength::Chunked
            }
            ([], [length]) => {
                let text = std::str::from_utf8(length).ok()?;
                if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.len() > 19 {
                    return None;
                }
                match text.parse().ok()? {
                    0 => BodyLength::None,
                    length if length <= i64::MAX as u64 => BodyLength::Known(length),
                    _ => return None,
                }
            }
            _ => return None,
        };
        if method == b"CONNECT" && body != BodyLength::None {
            return None;
        }
        fields.retain(|(name, _)| {
            !name.eq_ignore_ascii_case(b"host") && !name.eq_ignore_ascii_case(b"transfer-encoding")
        });
        let len = bytes.len() - text.len() + end + 4;
        Some(Request { method, host, fields, body, len })
    }

    fn target_host(method: &[u8], target: &[u8], host: Vec<u8>) -> Option<Vec<u8>> {
        let bad = |byte: &u8| *byte <= b' ' || *byte == 0x7f || *byte == b'#';
        if target.is_empty() || target.iter().any(bad) || std::str::from_utf8(target).is_err() {
            return None;
        }
        if method == b"CONNECT" {
            let port = target.rsplit(|byte| *byte == b':').next()?;
            let has_port = port.len() < target.len() && !port.is_empty();
            return (has_port && plain_host(target)).then(|| target.to_vec());
        }
        if target[0] == b'/' || method == b"OPTIONS" && target == b"*" {
            return Some(host);
        }
        let rest = target.strip_prefix(b"http://")?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        plain_host(&rest[..end]).then(|| rest[..end].to_vec())
    }

    /// Enough for what the soup can make: names of letters and digits, with a port.
    fn plain_host(text: &[u8]) -> bool {
        let mut parts = text.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let port = parts.next().unwrap_or_default();
        let name_byte =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte);
        !name.is_empty()
            && name.iter().all(name_byte)
            && port.len() <= 5
            && port.iter().all(u8::is_ascii_digit)
    }

    fn split(text: &[u8], by: &[u8]) -> Vec<Vec<u8>> {
        let (mut parts, mut part, mut at) = (Vec::new(), Vec::new(), 0);
        while at < text.len() {
            if text[at..].starts_with(by) {
                parts.push(std::mem::take(&mut part));
                at += by.len();
            } else {
                part.push(text[at]);
                at += 1;
            }
        }
        parts.push(part);
        parts
    }

    fn trim(text: &[u8]) -> Vec<u8> {
        let kept = |byte: &u8| !matches!(byte, b' ' | b'\t');
        let start = text.iter().position(kept).unwrap_or(text.len());
        let end = text.iter().rposition(kept).map_or(start, |at| at + 1);
        text[start..end].to_vec()
    }

    fn token(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
    }
}
