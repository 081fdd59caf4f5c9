//! What we write of a head that others sent: nothing in it may be read in two ways, whether its
//! lines were copied as they stood or written one by one.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_l7_core::{BodyLength, EncodeError, Event, Head, HeadLimits, Method, NameId, Role};
use support::{Peer, every_way};

/// Lines that smugglers send, and honest ones between them. Each is whole; few are refused.
const LINES: &[&str] = &[
    "Accept: */*\r\n",
    "Accept:*/*\r\n",
    "accept: a\tb\r\n",
    "Accept: \u{e9}\u{80}\r\n",
    "User-Agent:  two spaces\r\n",
    "Cookie: trailing \r\n",
    "Cookie: tab\t\r\n",
    "X-Own: 1\r\n",
    "X-Own:\r\n",
    "X-Own: \r\n",
    "x_own: under score\r\n",
    "X-Own: HTTP/1.1 200 OK\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 3\r\n",
    "content-length: 0003\r\n",
    "Content-Length:3\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 00\r\n",
    "Content-Length: 3, 3\r\n",
    "Content-Length: +3\r\n",
    "Content_Length: 4\r\n",
    "Transfer-Encoding: chunked\r\n",
    "TRANSFER-ENCODING: Chunked\r\n",
    "Transfer-Encoding:chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: \r\n",
    "Transfer\u{1}Encoding: chunked\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "Connection: content-length, host\r\n",
    "Connection: transfer-encoding, x-own\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Proxy-Connection: keep-alive\r\n",
    "Upgrade: h2c\r\n",
    "TE: trailers\r\n",
    "Expect: 100-continue\r\n",
    "Host: b\r\n",
    " folded\r\n",
    ": no name\r\n",
    "no colon\r\n",
    "Space : before\r\n",
    "bare: \rcr\r\n",
    "bare: lf\n",
    "nul: \0\r\n",
    "delete: \u{7f}\r\n",
];

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(
        &[
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nhOsT:a:80\r\n",
            "POST /a?b HTTP/1.1\r\nHost: a.example\r\n",
            "PUT /\" HTTP/1.1\r\nHost: [::1]:80\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n",
            "GET http://b HTTP/1.1\r\nHost: a\r\n",
            "PURGE / HTTP/1.1\r\nHost: a\r\n",
            "HEAD / HTTP/1.0\r\nHost: a\r\n",
        ][..],
    );
    (start, lines()).prop_map(|(start, lines)| message(start, &lines))
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(
        &[
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 Fine\r\n",
            "HTTP/1.1 200 \r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 304 Not Modified\r\n",
            "HTTP/1.1 204 No Content\r\n",
            "HTTP/1.1 404 Not Found\r\n",
            "HTTP/1.1 799 \u{e9} own\tphrase\r\n",
        ][..],
    );
    (start, lines()).prop_map(|(start, lines)| message(start, &lines))
}

fn lines() -> impl Strategy<Value = Vec<&'static str>> {
    vec(prop::sample::select(LINES), 0..5)
}

fn message(start: &str, lines: &[&str]) -> Vec<u8> {
    [start, &lines.concat(), "\r\n"].concat().into_bytes()
}

/// What a filter may do to a head: 0 removes, 1 appends, others set.
fn edits() -> impl Strategy<Value = Vec<(u8, &'static str, &'static str)>> {
    let name = prop::sample::select(
        &["accept", "X-Own", "cookie", "connection", "content-length", "x-request-id", "te"][..],
    );
    vec((0..3_u8, name, prop::sample::select(&["", "1", "more"][..])), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A plain reading of every byte that is passed on finds one message, and one way to read it.
    #[test]
    fn what_is_passed_on_can_be_read_in_one_way(
        request in requests(),
        response in responses(),
        edits in edits(),
        to_head in any::<bool>(),
    ) {
        let asked = if to_head { Method::Head } else { Method::Get };
        let client = || Peer::client_after(asked);
        for (peer, bytes) in [(&Peer::server as &dyn Fn() -> Peer, &request), (&client, &response)] {
            // In one piece, where lines are copied; and in several, where none is.
            for size in [bytes.len(), 5] {
                let Some((peer, mut head, body)) = head_of(peer(), bytes, size) else { continue };
                for (kind, name, value) in &edits {
                    match kind {
                        0 => drop(head.remove(*name)),
                        1 if *name != "content-length" => head.append(*name, value.as_bytes()),
                        _ if *name != "content-length" => head.set(*name, value.as_bytes()),
                        _ => {}
                    }
                }
                if head.status() != 101 {
                    let wire = passed_on(&head, body, asked);
                    prop_assert_eq!(
                        fault(&wire, &head, body, to_head), None,
                        "{} was passed on as {}", bytes.escape_ascii(), wire.escape_ascii()
                    );
                }
                let Peer { mut heads, .. } = peer;
                heads.put(head);
            }
        }
    }

    /// Limits are crossed at the same byte and the same line, whoever reads.
    #[test]
    fn both_readers_have_the_same_limits(
        request in requests(),
        response in responses(),
        line in 0..24_u32,
        bytes in 0..90_u32,
        fields in 0..6_u16,
    ) {
        let limits = HeadLimits { request_line: line, header_bytes: bytes, headers: fields };
        every_way(|| Peer::with_limits(Role::Server, limits), &request);
        every_way(
            || {
                let mut peer = Peer::client_after(Method::Get);
                peer.limits = limits;
                peer
            },
            &response,
        );
    }
}

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

/// What the other side of the proxy writes of a head.
fn passed_on(head: &Head, body: BodyLength, asked: Method) -> Vec<u8> {
    let mut writer = if head.is_request() { Peer::new(Role::Client) } else { Peer::server() };
    if head.is_request() {
        writer.request(head, body);
    } else {
        let method = if asked == Method::Head { "HEAD" } else { "GET" };
        writer.receive(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let Ok(Some(Event::Head { head: asked, .. })) = writer.decode() else {
            panic!("a request")
        };
        writer.heads.put(asked);
        writer.encode_head(head, body).expect("an answer is due");
    }
    std::mem::take(&mut writer.output).to_vec()
}

/// What is wrong with a head on the wire, by a reading that knows nothing of how it was written.
fn fault(wire: &[u8], head: &Head, body: BodyLength, to_head: bool) -> Option<String> {
    let text = wire.strip_suffix(b"\r\n\r\n")?;
    let mut lines: Vec<&[u8]> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        lines.push(line.strip_suffix(b"\r").unwrap_or(line));
    }
    let ends = text.iter().filter(|byte| **byte == b'\r').count();
    if ends + 1 != lines.len() || lines.iter().any(|line| line.contains(&b'\r')) {
        return Some("a bare CR or LF".to_owned());
    }
    if text.contains(&0) {
        return Some("NUL".to_owned());
    }
    let start = lines.remove(0);
    let words = start.split(|byte| *byte == b' ').count();
    if head.is_request() && (words != 3 || !start.ends_with(b" HTTP/1.1")) {
        return Some("a request line of other than three words".to_owned());
    }
    if !head.is_request() && (words < 3 || !start.starts_with(b"HTTP/1.1 ")) {
        return Some("no status line".to_owned());
    }
    let mut fields: Vec<(String, &[u8])> = Vec::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Some("a line without a colon".to_owned());
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        if name.is_empty() || !name.iter().all(is_token) {
            return Some(format!("the name {}", name.escape_ascii()));
        }
        let Some(value) = value.strip_prefix(b" ") else {
            return Some("no space behind a colon".to_owned());
        };
        if value.trim_ascii().len() != value.len() {
            return Some("white space around a value".to_owned());
        }
        if value.iter().any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f) {
            return Some("a control in a value".to_owned());
        }
        fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value));
    }
    let all = |wanted: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
    };
    let hosts = all("host");
    if head.is_request() && hosts != [head.authority()] || !head.is_request() && !hosts.is_empty() {
        return Some("the host".to_owned());
    }
    for hop in ["keep-alive", "proxy-connection"] {
        if !all(hop).is_empty() {
            return Some(hop.to_owned());
        }
    }
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let no_body = to_head && !head.is_request() || matches!(head.status(), 204 | 304);
    let framed = match body {
        _ if no_body => lengths.len() < 2 && codings.is_empty(),
        BodyLength::None | BodyLength::Known(0) => {
            codings.is_empty() && (lengths == [&b"0"[..]] || lengths.is_empty())
        }
        BodyLength::Known(length) => {
            codings.is_empty() && lengths == [length.to_string().as_bytes()]
        }
        BodyLength::Chunked | BodyLength::UntilClose => {
            lengths.is_empty() && codings == [b"chunked"]
        }
    };
    (!framed).then(|| format!("framing of {body:?}"))
}

/// Some read `010` as eight. What they read must not depend on how we copied it.
#[test]
fn a_length_with_zeros_in_front_is_said_anew() {
    for (said, body) in [("003", "3"), ("3", "3"), ("00", "0"), ("0", "0")] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {said}\r\nX: y\r\n\r\n");
        let (_, head, length) =
            head_of(Peer::server(), request.as_bytes(), request.len()).expect("a head");
        let wire = String::from_utf8(passed_on(&head, length, Method::Get)).expect("ASCII");
        let line = format!("content-length: {body}\r\n");
        assert_eq!(wire.to_ascii_lowercase().matches(&line).count(), 1, "{wire}");
        assert_eq!(wire.to_ascii_lowercase().matches("content-length").count(), 1, "{wire}");
    }
}

/// RFC 9110, 7.6.1 lets a client name any field for removal. Naming those that frame the body must
/// not take their meaning away.
#[test]
fn a_length_that_connection_nominates_is_said_anew() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\
        Content-Length: 3\r\n\r\n";
    for size in [request.len(), 7] {
        let (_, mut head, body) = head_of(Peer::server(), request, size).expect("a head");
        head.remove(NameId::CONTENT_LENGTH);
        head.remove(NameId::HOST);
        let wire = String::from_utf8(passed_on(&head, body, Method::Get)).expect("ASCII");
        assert!(wire.to_ascii_lowercase().starts_with("post / http/1.1\r\nhost: a\r\n"), "{wire}");
        assert!(wire.ends_with("\r\ncontent-length: 3\r\n\r\n"), "{wire}");
        assert_eq!(wire.to_ascii_lowercase().matches("content-length").count(), 1, "{wire}");
    }
}

/// A line that begins with its colon is read as a field without a name by some, as a mistake by
/// others.
#[test]
fn a_field_without_a_name_is_not_written() {
    for name in ["", "a b", "a:", "a\r"] {
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"a", b"/");
        head.append(name, b"1");
        let mut client = Peer::new(Role::Client);
        client.stream = sluice_l7_core::Codec::open_stream(&mut client.codec).expect("free");
        let written = client.encode_head(&head, BodyLength::None);
        assert_eq!(written, Err(EncodeError::Unprintable), "{name:?}");
    }
}
