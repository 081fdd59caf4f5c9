//! Heads: what edits do to them, and what becomes of their memory.

use sluice_buf::{Chain, Pool, chain_nodes_in_use};

use super::*;

/// A head over `text` as a decoder would build it: `name: value` lines joined by CRLF.
fn received(text: &str, pool: &Pool) -> Head {
    let mut head = Head::new();
    let mut at = 0;
    for line in text.split_inclusive("\r\n") {
        let colon = line.find(": ").expect("name: value");
        head.push_field(Field {
            id: NameId::lookup(&line.as_bytes()[..colon]),
            name: Span::received(at, colon),
            value: Span::received(at + colon + 2, line.len() - colon - 4),
            plain: true,
            never_indexed: false,
            hash: 0,
        });
        at += line.len();
    }
    let mut chain = Chain::copy_from(text.as_bytes(), pool).expect("room");
    head.set_received(chain.pop_front().expect("one slice"));
    head
}

#[test]
fn fields_are_found_by_number_and_by_name_in_any_case() {
    let pool = Pool::heap(1);
    let head = received("Accept: a\r\nX-Own: b\r\nACCEPT: c\r\n", &pool);
    assert_eq!(head.get(NameId::ACCEPT), Some(&b"a"[..]));
    assert_eq!(head.get_all(NameId::ACCEPT).collect::<Vec<_>>(), [b"a", b"c"]);
    assert_eq!(head.find(b"x-own"), Some(&b"b"[..]));
    assert_eq!(head.find(b"x-owner"), None);
    assert_eq!(head.get(NameId::HOST), None);
    assert_eq!(format!("{head:?}"), "trailers | Accept: a | X-Own: b | ACCEPT: c");
    drop(head);
    assert_eq!((pool.in_use(), chain_nodes_in_use()), (0, 0));
}

#[test]
fn edits_leave_received_bytes_alone_and_keep_order() {
    let pool = Pool::heap(1);
    let mut head = received("Accept: a\r\nX-Own: b\r\nVia: c\r\nX-Own: d\r\n", &pool);
    assert_eq!(head.remove("x-OWN"), 2);
    assert_eq!(head.remove(NameId::COOKIE), 0);
    head.append(NameId::VIA, b"e");
    head.append("X-New", b"f");
    head.set(b"accept", b"g");
    assert_eq!(format!("{head:?}"), "trailers | Via: c | via: e | X-New: f | accept: g");
    head.retain(|id, _, value| id != NameId::VIA || value == b"e");
    assert_eq!(format!("{head:?}"), "trailers | via: e | X-New: f | accept: g");
}

/// What was removed stays where it is until another field of the name comes: it must not come back
/// with it.
#[test]
fn removed_fields_are_gone_for_every_reader() {
    let pool = Pool::heap(1);
    let mut head = received("Via: a\r\nAccept: b\r\nVia: c\r\nX-Own: d\r\n", &pool);
    head.remove_all(NameSet::of(&[NameId::VIA, NameId::COOKIE, NameId::OTHER]));
    let said = "trailers | Accept: b | X-Own: d";
    let gone = |head: &Head| {
        assert_eq!(format!("{head:?}"), said);
        assert_eq!((head.get(NameId::VIA), head.find(b"via")), (None, None));
        assert_eq!((head.get_all(NameId::VIA).count(), head.fields().count()), (0, 2));
        assert!(!head.names().contains(NameId::VIA));
    };
    gone(&head);
    assert_eq!(head.remove("via"), 0);
    let mut copy = Head::new();
    copy.copy_from(&head);
    gone(&copy);
    copy.retain(|_, name, _| name != b"X-Own");
    assert_eq!(format!("{copy:?}"), "trailers | Accept: b");
    for head in [&mut head, &mut copy] {
        head.append("Via", b"new");
        assert_eq!(head.get_all(NameId::VIA).collect::<Vec<_>>(), [b"new"]);
        assert_eq!(head.remove(NameId::VIA), 1);
        head.set(NameId::VIA, b"newer");
        head.set(NameId::VIA, b"newest");
        assert_eq!(head.get_all(NameId::VIA).collect::<Vec<_>>(), [b"newest"]);
    }
}

#[test]
fn text_that_would_end_its_line_is_noticed_when_it_is_added() {
    let bad = |edit: &dyn Fn(&mut Head)| {
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"a", b"/");
        assert!(!head.is_unprintable());
        edit(&mut head);
        let mut copy = Head::new();
        copy.copy_from(&head);
        let bad = head.is_unprintable();
        assert_eq!(copy.is_unprintable(), bad);
        copy.reset();
        assert!(!copy.is_unprintable());
        bad
    };
    for value in ["", "a\tb \u{e9}\x7f", "a rather long value that is fine"] {
        assert!(!bad(&|head| head.append(NameId::VIA, value.as_bytes())), "{value:?}");
        assert!(!bad(&|head| head.append("x", value.as_bytes())), "{value:?}");
    }
    for byte in [b'\r', b'\n', 0] {
        for at in 0..40 {
            let mut value = [b'v'; 40];
            value[at] = byte;
            assert!(bad(&|head| head.append(NameId::VIA, &value)));
            assert!(bad(&|head| head.set("x", &value)));
            assert!(bad(&|head| head.append_padded(NameId::VIA, &value, 40)));
            assert!(bad(&|head| head.set_path(&value)));
            assert!(bad(&|head| head.append("host", &value)));
        }
    }
    for word in ["a b", "a\tb", "\x7f"] {
        assert!(bad(&|head| head.set_path(word.as_bytes())), "{word:?}");
        assert!(bad(&|head| head.set_authority(word.as_bytes())), "{word:?}");
    }
    for name in ["x y", "x:", "x\r", "\u{e9}"] {
        assert!(bad(&|head| head.append(name, b"v")), "{name:?}");
    }
}

#[test]
fn a_length_is_known_until_another_is_added() {
    let pool = Pool::heap(1);
    let mut head = received("Content-Length: 5\r\n", &pool);
    assert_eq!(head.content_length(), None);
    head.set_content_length(5);
    assert_eq!(head.content_length(), Some(5));
    head.remove(NameId::CONTENT_LENGTH);
    assert_eq!(head.content_length(), None);
    head.append("content-length", b"6");
    assert_eq!(head.content_length(), None);
}

#[test]
fn nominations_are_unknown_behind_another_connection_field() {
    let pool = Pool::heap(1);
    let mut head = received("Connection: close\r\n", &pool);
    assert!(!head.nominates_none());
    head.set_nominates_none(true);
    head.append("via", b"a");
    assert!(head.nominates_none());
    head.append("connection", b"via");
    assert!(!head.nominates_none());
}

#[test]
fn a_detached_head_says_the_same_and_holds_no_buffer() {
    let pool = Pool::heap(2);
    let mut head = received("Accept: a\r\nX-Own: b\r\n", &pool);
    head.append("added", b"before");
    let said = format!("{head:?}");
    let mut copy = Head::new();
    copy.copy_from(&head);
    head.detach();
    assert_eq!(pool.in_use(), 0);
    assert_eq!((format!("{head:?}"), format!("{copy:?}")), (said.clone(), said));
    head.append("added", b"after");
    assert_eq!(head.iter().last(), Some((&b"added"[..], &b"after"[..])));
}

#[test]
fn the_authority_is_the_host_field_of_a_request_alone() {
    let mut head = Head::new();
    head.reset_to_request(Method::Get, b"", b"/");
    assert_eq!(head.get(NameId::HOST), None);
    head.append("Host", b"a.example");
    assert_eq!((head.authority(), head.fields().count()), (&b"a.example"[..], 0));
    assert_eq!(head.find(b"host"), Some(&b"a.example"[..]));
    assert_eq!(head.get_all(NameId::HOST).count(), 1);
    head.reset_to_response(204);
    head.append(NameId::HOST, b"odd");
    assert_eq!((head.authority(), head.get(NameId::HOST)), (&b""[..], Some(&b"odd"[..])));
}

#[test]
fn tokens_are_members_of_lists_in_any_case() {
    let mut head = Head::new();
    head.append(NameId::CONNECTION, b"keep-alive, Upgrade");
    head.append(NameId::CONNECTION, b" x-own\t,");
    for token in [&b"upgrade"[..], b"KEEP-ALIVE", b"x-own"] {
        assert!(head.has_token(NameId::CONNECTION, token));
    }
    assert!(!head.has_token(NameId::CONNECTION, b"keep"));
}

#[test]
fn large_buffers_go_from_head_to_head() {
    let pool = Pool::heap(8);
    let mut heads = HeadPool::new(1, 2);
    let chain = Chain::copy_from(&[b'x'; 9_000], &pool).expect("room");
    for _ in 0..3 {
        let mut head = heads.take();
        head.copy_received(&chain, 8_999, &mut heads);
        assert_eq!(head.own_text().len(), 8_999);
        assert_eq!(head.own_mut().capacity(), HEAD_BYTES_MAX as usize);
        let mut other = heads.take();
        assert!(other.own_mut().capacity() < 8_999, "only a head that needs it has a large buffer");
        other.append("x", &[b'y'; 5_000]);
        heads.put(other);
        heads.put(head);
        assert_eq!(heads.available(), 2, "the limit");
    }
}

#[test]
fn every_mistake_has_a_status() {
    use ProtocolErrorKind as Kind;
    let table = [
        (Kind::Malformed, 400),
        (Kind::RequestLineTooLong, 414),
        (Kind::HeadTooLarge, 431),
        (Kind::UnknownTransferCoding, 501),
        (Kind::UnknownVersion, 505),
        (Kind::Truncated, 400),
        (Kind::Excessive, 429),
    ];
    for (kind, status) in table {
        let error = ProtocolError::new(kind, "reason");
        assert_eq!(error.status(), status);
        assert!(!status::reason_phrase(status).is_empty());
    }
}

/// Everything that anybody asks a request's head is the same after it has rested.
#[test]
fn a_packed_head_says_what_it_said() {
    let pool = Pool::heap(1);
    let long = "v".repeat(300);
    let text = format!("ACCEPT: a\r\nX-Own: {long}\r\nvia: c\r\nX-Empty: \r\n");
    let mut head = received(&text, &pool);
    let (method, version) = (Method::Other, Version::Http2);
    let start = Start::Request {
        method,
        method_text: head.add_text(b"BREW"),
        path: head.add_text(b"/pot?milk"),
        authority: head.add_text(b"kettle:80"),
        scheme: Scheme::Https,
        protocol: head.add_text(b"websocket"),
    };
    head.set_start(start, version);
    head.remove(NameId::VIA);
    head.append(NameId::CONTENT_LENGTH, b"5");
    head.set_content_length(5);
    head.set_upgrade(true);
    let at = head.add_text(b"secret");
    let cookie = NameId::COOKIE;
    head.push_field(Field {
        id: cookie,
        name: Span::EMPTY,
        value: at,
        plain: false,
        never_indexed: true,
        hash: 7,
    });
    let (mut scratch, mut again) = (Vec::new(), Head::new());
    let packed = head.pack(&mut scratch).expect("a request");
    assert!(packed.len() < 300 + 120 && scratch.is_empty(), "{} bytes", packed.len());
    again.append("x-left", b"over");
    again.unpack(&packed);
    assert_eq!(format!("{again:?}"), format!("{head:?}"));
    assert_eq!((again.method_text(), again.version()), (&b"BREW"[..], version));
    assert_eq!((again.scheme(), again.protocol()), (Scheme::Https, &b"websocket"[..]));
    assert_eq!((again.content_length(), again.is_upgrade()), (Some(5), true));
    assert_eq!((again.names(), again.is_unprintable()), (head.names(), false));
    assert_eq!(again.find(b"x-own"), Some(long.as_bytes()));
    let fields = again.fields().map(|it| (it.id, it.never_indexed)).collect::<Vec<_>>();
    assert_eq!(fields.last(), Some(&(cookie, true)));
    assert_eq!(again.pack(&mut scratch), Some(packed), "as often as one likes");
    head.reset_to_response(200);
    assert_eq!(head.pack(&mut scratch), None, "nobody waits with a response");
    again.reset_to_request(Method::Get, b"", b"/a b");
    let bad = again.pack(&mut scratch).expect("a request");
    head.unpack(&bad);
    assert!(head.is_unprintable() && head.method() == Method::Get && head.path() == b"/a b");
    drop(head);
    assert_eq!((pool.in_use(), chain_nodes_in_use()), (0, 0));
}
