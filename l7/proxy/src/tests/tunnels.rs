//! WebSockets, in every pair of versions.

use std::time::Duration;

use sluice_config_model::{Config, HttpVersion};
use sluice_l7_core::{BodyLength, Method, ResetReason, Scheme, Span, Start};

use super::far::{Ended, Place, Version};
use super::net::Net;
use super::world::{routes, web};

use Version::{One, Two};

/// The key of RFC 6455, 1.3, and what it is answered with.
const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Asks for a WebSocket, in the words of the client's version.
fn ask(net: &mut Net, client: usize, version: Version) -> Place {
    net.ask_as(client, |head| {
        if version == One {
            head.reset_to_request(Method::Get, b"example.com", b"/chat");
            head.set_upgrade(true);
            head.append("upgrade", b"WebSocket");
            head.append("sec-websocket-key", KEY);
        } else {
            let [path, authority, protocol] =
                [&b"/chat"[..], b"example.com", b"websocket"].map(|text| head.add_text(text));
            let (method, method_text, scheme) = (Method::Connect, Span::EMPTY, Scheme::Http);
            let start = Start::Request { method, method_text, path, authority, scheme, protocol };
            head.set_start(start, sluice_l7_core::Version::Http2);
        }
        head.append("sec-websocket-version", b"13");
        head.append("sec-websocket-protocol", b"chat");
    })
}

/// A client of HTTP/2 that has asked for a WebSocket, and the connection on which HTTP/1.1 is.
fn websocket(change: impl FnOnce(&mut Config)) -> (Net, Place, Option<usize>) {
    let mut net = Net::with(One, |config| {
        web(config).allow_connect = true;
        change(config);
    });
    net.raw_from = 0;
    let client = net.client(Two);
    net.settle();
    let place = ask(&mut net, client, Two);
    let upstream = net.world.upstreams().last().copied();
    (net, place, upstream)
}

#[test]
pub(super) fn a_websocket_through_a_stream() {
    for early in [false, true] {
        let (mut net, place, upstream) = websocket(|_| {});
        let upstream = upstream.expect("a connection to an endpoint");
        let head = net.world.take(upstream);
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        for line in ["host: example.com", "upgrade: websocket", "connection: upgrade"] {
            assert!(head.to_lowercase().contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
        }
        assert!(head.contains("sec-websocket-version: 13\r\n"), "{head}");
        let key = head.split("sec-websocket-key: ").nth(1).expect("a key of ours");
        assert_eq!(key.find("==\r\n"), Some(22), "{key}");
        if early {
            net.body(place, b"first");
            assert_eq!(net.world.take(upstream), "", "nobody speaks WebSocket yet");
        }
        net.say(upstream, SWITCH.as_bytes());
        assert_eq!(net.seen(place).start, "200");
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            assert_eq!(net.seen(place).field(name), None);
        }
        net.body(place, b"hello");
        let said = net.world.take(upstream);
        assert_eq!(said, if early { "firsthello" } else { "hello" });
        net.say(upstream, b"and you");
        assert_eq!(net.seen(place).body, b"and you");
        assert_eq!(net.world.listener_counters().downstream_cx_upgrades_total.value(), 1);
        // Either side says goodbye.
        if early {
            net.end(place, &[]);
            assert!(net.world.streams[upstream].fin);
            net.say(upstream, b"bye");
            net.world.fin(upstream);
            net.settle();
            assert_eq!(net.outcome(place), "200 Whole");
            assert_eq!(net.seen(place).body, b"and youbye");
        } else {
            net.world.fin(upstream);
            net.settle();
            assert_eq!(net.outcome(place), "200 Whole");
        }
        net.census();
    }
}

#[test]
pub(super) fn a_websocket_that_does_not_come_about() {
    // Refused, misunderstood, nobody there who could.
    let (mut net, place, upstream) = websocket(|_| {});
    let upstream = upstream.expect("a connection to an endpoint");
    net.say(upstream, b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    assert_eq!((net.outcome(place).as_str(), &net.seen(place).body[..]), ("403 Whole", &b"no"[..]));
    net.census();
    let (mut net, place, upstream) = websocket(|_| {});
    let upstream = upstream.expect("a connection to an endpoint");
    net.say(upstream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhm");
    assert_eq!(net.outcome(place), "502 Whole");
    net.census();
    let (net, _, upstream) = websocket(|config| config.clusters[0].http = HttpVersion::Same);
    assert!(upstream.is_some(), "in HTTP/1.1");
    net.census();
}

/// Who hangs up in the middle is heard on the other side, as what it is.
#[test]
pub(super) fn a_websocket_that_is_cut() {
    let (mut net, place, upstream) = websocket(|_| {});
    let upstream = upstream.expect("a connection to an endpoint");
    net.say(upstream, SWITCH.as_bytes());
    net.reset(place, ResetReason::Cancelled);
    assert!(net.world.streams[upstream].aborted);
    net.census();
    let (mut net, place, upstream) = websocket(|_| {});
    let upstream = upstream.expect("a connection to an endpoint");
    net.say(upstream, SWITCH.as_bytes());
    net.world.reset(upstream);
    net.settle();
    assert!(matches!(net.seen(place).ended, Ended::Reset(_)), "{}", net.outcome(place));
    net.census();
}

/// A client that has asked for a WebSocket to the only endpoint, which speaks HTTP/2.
fn to_two(client: Version, change: impl FnOnce(&mut Config)) -> (Net, Place) {
    let mut net = Net::with(Two, |config| {
        config.clusters[0].endpoints.truncate(1);
        web(config).allow_connect = true;
        change(config);
    });
    let at = net.client(client);
    net.settle();
    let place = ask(&mut net, at, client);
    (net, place)
}

/// A WebSocket that is open: where the client is, and where the endpoint.
fn open(client: Version, change: impl FnOnce(&mut Config)) -> (Net, Place, Place) {
    let (mut net, place) = to_two(client, change);
    let at = net.only();
    net.answer(at, 200, &[("sec-websocket-protocol", "chat")], BodyLength::UntilClose);
    (net, place, at)
}

#[test]
pub(super) fn a_websocket_to_an_endpoint_of_http2() {
    for client in [One, Two] {
        let (mut net, place) = to_two(client, |config| {
            web(config).max_body = Some(10);
            routes(config)[0].prefix_rewrite = Some("/new/".to_owned());
        });
        let at = net.only();
        let asked = net.seen(at);
        assert_eq!(asked.start, "CONNECT http://example.com/new/chat", "{client:?}");
        assert_eq!(net.far(at.0).protocols, ["websocket"]);
        for gone in ["upgrade", "connection", "sec-websocket-key"] {
            assert_eq!(net.seen(at).field(gone), None, "{gone} from {client:?}");
        }
        assert_eq!(net.seen(at).field("sec-websocket-version"), Some("13"));
        if client == Two {
            net.body(place, b"first");
            assert_eq!(net.seen(at).body, b"", "nobody speaks WebSocket yet");
        }
        // What it says refers to the request's head, which must not have been packed.
        net.advance(1_100);
        net.answer(at, 200, &[("sec-websocket-protocol", "chat")], BodyLength::UntilClose);
        let answer = net.seen(place);
        let (status, accept) = if client == One { ("101", Some(ACCEPT)) } else { ("200", None) };
        assert_eq!((answer.start.as_str(), answer.field("sec-websocket-accept")), (status, accept));
        assert_eq!(answer.field("upgrade"), (client == One).then_some("websocket"));
        assert_eq!(answer.field("sec-websocket-protocol"), Some("chat"));
        net.body(place, b"more than a body may have");
        net.body(at, b"and you");
        assert_eq!(net.seen(place).body, b"and you");
        assert!(net.seen(at).body.ends_with(b"more than a body may have"));
        assert_eq!(net.seen(at).body.starts_with(b"first"), client == Two);
        // The route's timeout is for answers.
        net.advance(60_000);
        net.body(place, b"!");
        assert!(net.seen(at).body.ends_with(b"have!"));
        assert_eq!(net.world.listener_counters().downstream_cx_upgrades_total.value(), 1);
        net.census();
    }
}

/// Each side says goodbye by itself, in either order.
#[test]
pub(super) fn one_direction_of_a_websocket_ends_before_the_other() {
    for (client, first) in [(One, true), (One, false), (Two, true), (Two, false)] {
        let (mut net, place, at) = open(client, |_| {});
        let end = |net: &mut Net, of_client: bool| match (of_client, client) {
            (true, One) => {
                let (conn, _) = place;
                net.end(place, &[]);
                net.world.fin(conn);
                net.settle();
            }
            (true, Two) => net.end(place, &[]),
            (false, _) => net.end(at, &[]),
        };
        end(&mut net, first);
        net.advance(20_000);
        let (heard, other) = if first { (at, place) } else { (place, at) };
        assert_eq!(net.seen(heard).ended, Ended::Whole, "{client:?} {first}");
        assert_eq!(net.seen(other).ended, Ended::No, "{client:?} {first}");
        net.body(heard, b"but I go on");
        assert_eq!(net.seen(other).body, b"but I go on", "{client:?} {first}");
        end(&mut net, !first);
        assert_eq!(net.seen(other).ended, Ended::Whole, "{client:?} {first}");
        assert_eq!(net.world.cluster_counters().upstream_rq_completed.value(), 1);
        assert_eq!(net.world.proxy.active(), 0);
        let status = if client == One { "101 -" } else { "200 -" };
        assert_eq!(
            net.world.logs.last().map(|log| log.text(crate::Text::Method)),
            Some(&b"GET"[..])
        );
        assert_eq!(net.world.last_log(), status);
        // The endpoint's connection carries the next request.
        net.serves(Two);
        assert_eq!(net.world.upstreams().len(), 1);
        net.census();
    }
}

/// The same where the endpoint speaks HTTP/1.1: its FIN is not the client's.
#[test]
pub(super) fn an_endpoint_s_fin_ends_one_direction() {
    let (mut net, place, upstream) = websocket(|_| {});
    let upstream = upstream.expect("a connection to an endpoint");
    net.say(upstream, SWITCH.as_bytes());
    net.world.take(upstream);
    net.say(upstream, b"bye");
    net.world.fin(upstream);
    net.settle();
    assert_eq!((net.seen(place).ended, &net.seen(place).body[..]), (Ended::Whole, &b"bye"[..]));
    net.advance(20_000);
    net.body(place, b"one more word");
    assert_eq!(net.world.take(upstream), "one more word");
    net.end(place, &[]);
    assert!(net.world.streams[upstream].dead);
    assert_eq!((net.world.proxy.active(), net.world.last_log().as_str()), (0, "200 -"));
    net.census();
}

/// A client that is done, and an endpoint that is not for longer than an answer may take.
#[test]
pub(super) fn a_half_open_websocket_has_no_deadline_but_the_idle_one() {
    let (mut net, place, upstream) = websocket(|config| {
        web(config).stream_idle_timeout = Some(Duration::from_secs(40));
    });
    let upstream = upstream.expect("a connection to an endpoint");
    net.say(upstream, SWITCH.as_bytes());
    net.end(place, &[]);
    net.advance(30_000);
    net.say(upstream, b"late");
    assert_eq!((net.seen(place).ended, &net.seen(place).body[..]), (Ended::No, &b"late"[..]));
    net.advance(41_000);
    assert!(matches!(net.seen(place).ended, Ended::Reset(_)), "{}", net.outcome(place));
    assert_eq!(net.world.last_log(), "200 SI");
    net.census();
}

/// An answer that ends with its head.
#[test]
pub(super) fn an_endpoint_that_agrees_and_says_no_more() {
    for client in [One, Two] {
        let (mut net, place) = to_two(client, |_| {});
        let at = net.only();
        net.answer(at, 200, &[], BodyLength::None);
        assert_eq!(net.seen(place).ended, Ended::Whole, "{client:?}");
        net.body(place, b"hello?");
        assert_eq!(net.seen(at).body, b"hello?");
        net.end(place, &[]);
        if client == One {
            net.world.fin(place.0);
            net.settle();
        }
        assert_eq!((net.seen(at).ended, net.world.proxy.active()), (Ended::Whole, 0));
        net.census();
    }
}

/// A request of HTTP/1.1 is complete with its head: the connection is as good as before, if the answer
/// says where it ends, whatever the client has said or says meanwhile.
#[test]
pub(super) fn an_endpoint_of_http1_that_refuses() {
    const SIZED: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nn|o";
    const CHUNKED: &str =
        "HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n2\r\nn|o\r\n0\r\n\r\n";
    const LAST: &str =
        "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nn|o";
    const ENDLESS: &str = "HTTP/1.1 403 Forbidden\r\n\r\nn|o";
    for (answer, kept) in [(SIZED, true), (CHUNKED, true), (LAST, false), (ENDLESS, false)] {
        for client_says in ["nothing", "early", "meanwhile", "goodbye"] {
            let (mut net, place, upstream) =
                websocket(|config| config.clusters[0].endpoints.truncate(1));
            let upstream = upstream.expect("a connection to an endpoint");
            net.world.take(upstream);
            if client_says == "early" {
                net.body(place, b"hello");
            }
            let (first, last) = answer.split_once('|').expect("two parts");
            net.say(upstream, first.as_bytes());
            match client_says {
                "meanwhile" => net.body(place, b"hello"),
                "goodbye" => net.end(place, &[]),
                _ => {}
            }
            net.say(upstream, last.as_bytes());
            if answer == ENDLESS {
                net.world.fin(upstream);
                net.settle();
            }
            let case = format!("{client_says}: {answer}");
            assert_eq!(net.outcome(place), "403 Whole", "{case}");
            assert_eq!(net.seen(place).body, b"no", "{case}");
            assert_eq!(net.world.take(upstream), "", "nothing that the client said: {case}");
            let next = net.get(place.0, "/next");
            let again = net.world.upstream();
            assert_eq!(again == upstream, kept, "{case}");
            assert!(net.world.take(again).starts_with("GET /next HTTP/1.1\r\n"), "{case}");
            net.say(again, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
            assert_eq!(net.outcome(next), "200 Whole", "{case}");
            let counters = net.world.cluster_counters();
            assert_eq!(counters.upstream_rq_tx_reset.value(), 0, "{case}");
            assert_eq!(counters.upstream_cx_destroy_with_active_rq.value(), 0, "{case}");
            net.census();
        }
    }
}

#[test]
pub(super) fn an_endpoint_of_http2_that_refuses() {
    for client in [One, Two] {
        let (mut net, place) = to_two(client, |_| {});
        let at = net.only();
        net.answer_all(at, 403, b"no");
        assert_eq!(
            (net.outcome(place), &net.seen(place).body[..]),
            ("403 Whole".into(), &b"no"[..])
        );
        // Nothing of it is left on the connection, and the client goes on.
        assert!(matches!(net.seen(at).ended, Ended::Whole | Ended::Reset(_)), "{client:?}");
        let next = net.get(place.0, "/next");
        let at = *net.asked().last().expect("the next request");
        net.answer_all(at, 200, b"hi");
        assert_eq!(net.outcome(next), "200 Whole");
        assert_eq!((net.world.upstreams().len(), net.world.proxy.active()), (1, 0));
        net.census();
    }
}

/// RFC 8441, 3: before the endpoint's settings nobody may ask.
#[test]
pub(super) fn an_endpoint_is_asked_when_it_has_said_what_it_takes() {
    for client in [One, Two] {
        let mut net = Net::single(Two);
        web(&mut net.world.config).allow_connect = true;
        net.world.reload(|_| {});
        net.raw_from = 0;
        let clients: Vec<_> = (0..4).map(|_| net.client(client)).collect();
        net.settle();
        let places: Vec<_> = clients.iter().map(|at| ask(&mut net, *at, client)).collect();
        // An ordinary request does not wait.
        let other = net.client(One);
        let plain = net.get(other, "/plain");
        // One gives up, from the middle of those who wait.
        net.reset(places[1], ResetReason::Cancelled);
        net.reset(places[3], ResetReason::Cancelled);
        assert_eq!(net.world.upstreams().len(), 1);
        assert_eq!(net.world.cluster_counters().upstream_rq_active.value(), 1);
        net.raw_from = usize::MAX;
        net.settle();
        assert_eq!(net.asked().len(), 3, "{client:?}");
        for at in net.asked() {
            if net.seen(at).start.starts_with("GET") {
                net.answer_all(at, 200, b"hi");
            } else {
                net.answer(at, 200, &[], BodyLength::UntilClose);
            }
        }
        assert_eq!(net.outcome(plain), "200 Whole");
        for at in [places[0], places[2]] {
            assert_eq!(net.seen(at).start, if client == One { "101" } else { "200" });
        }
        net.census();
    }
}

#[test]
pub(super) fn an_endpoint_that_takes_no_websockets() {
    for client in [One, Two] {
        let mut net = Net::single(Two);
        net.config.connect_protocol = false;
        net.world.reload(|config| web(config).allow_connect = true);
        for _ in 0..2 {
            let at = net.client(client);
            net.settle();
            let place = ask(&mut net, at, client);
            assert_eq!(net.outcome(place), "501 Whole", "{client:?}");
            assert!(!net.seen(place).body.is_empty(), "it says why");
        }
        assert!(net.asked().is_empty());
        net.serves(client);
        net.census();
    }
}

/// While the endpoint's word is waited for: its connection ends, or time is up.
#[test]
pub(super) fn waiting_for_an_endpoint_s_word_ends() {
    for client in [One, Two] {
        for ends in [Some("reset"), Some("closed"), Some("garbage"), None] {
            let mut net = Net::with(Two, |config| {
                web(config).allow_connect = true;
                config.clusters[0].http2.ping_timeout = Duration::from_secs(60);
            });
            net.raw_from = 0;
            let at = net.client(client);
            net.settle();
            let place = ask(&mut net, at, client);
            let upstream = net.world.upstream();
            if let Some(how) = ends {
                let end = |net: &mut Net, at: usize| {
                    match how {
                        "reset" => net.world.reset(at),
                        "closed" => net.world.fin(at),
                        _ => net.world.send(at, "HTTP/1.1 400 Bad Request\r\n\r\n"),
                    }
                    net.settle();
                };
                end(&mut net, upstream);
                let again = net.world.upstream();
                assert_ne!(again, upstream, "once more, elsewhere");
                assert_ne!(net.world.streams[again].remote, net.world.streams[upstream].remote);
                end(&mut net, again);
                assert_eq!(net.outcome(place), "503 Whole", "{client:?} {how}");
                assert_eq!(net.world.last_log(), "503 UF,URX");
            } else {
                net.advance(16_000);
                assert_eq!(net.outcome(place), "504 Whole", "{client:?}");
            }
            net.census();
        }
    }
}

#[test]
pub(super) fn a_websocket_to_an_endpoint_of_http2_that_is_cut() {
    for client in [One, Two] {
        for by_client in [true, false] {
            let (mut net, place, at) = open(client, |_| {});
            net.body(place, b"some");
            let (cut, heard) = if by_client { (place, at) } else { (at, place) };
            net.reset(cut, ResetReason::Internal);
            let ended = net.seen(heard).ended;
            match (by_client, client) {
                (true, _) => assert_eq!(ended, Ended::Reset(ResetReason::Cancelled)),
                (false, One) => assert!(net.world.streams[place.0].aborted),
                (false, Two) => assert_eq!(ended, Ended::Reset(ResetReason::ConnectError)),
            }
            net.serves(Two);
            assert_eq!(net.world.upstreams().len(), 1, "the others on the connection go on");
            net.census();
        }
    }
}

/// RFC 6455, 4.2.1: a key is needed; RFC 9110, 7.8: what is not understood is ignored.
#[test]
pub(super) fn what_is_no_websocket() {
    let upgrade = |net: &mut Net, protocol: &[u8], key: &[u8]| {
        let client = net.client(One);
        net.ask_as(client, |head| {
            head.reset_to_request(Method::Get, b"example.com", b"/chat");
            head.set_upgrade(true);
            head.append("upgrade", protocol);
            if !key.is_empty() {
                head.append("sec-websocket-key", key);
            }
        })
    };
    let mut net = Net::single(Two);
    for key in [&b""[..], b"short", b"dGhlIHNhbXBsZSBub25jZQ==="] {
        let place = upgrade(&mut net, b"websocket", key);
        assert_eq!(net.outcome(place), "400 Whole");
    }
    assert!(net.asked().is_empty());
    let place = upgrade(&mut net, b"something/2", KEY);
    let at = net.only();
    assert_eq!(net.seen(at).start, "GET http://example.com/chat");
    net.answer_all(at, 200, b"hi");
    assert_eq!(net.outcome(place), "200 Whole");
    net.census();
}

/// A reader who stalls closes the other side's window, and nothing is lost.
#[test]
pub(super) fn a_stalled_reader_of_a_websocket_pushes_back() {
    let (mut net, place, at) = open(One, |_| {});
    let (client, upstream) = (place.0, at.0);
    net.world.streams[client].room = 0;
    for _ in 0..8 {
        net.body(at, &[b'x'; 16_000]);
    }
    let before = net.seen(place).body.len();
    assert!(before <= 65_535, "the stream's window bounds what is under way: {before}");
    net.world.streams[client].room = 1 << 20;
    for _ in 0..8 {
        net.world.event(client, crate::StreamEvent::Writable);
        net.settle();
    }
    assert_eq!(net.seen(place).body.len(), 128_000);
    // The other way, through TCP's window.
    net.far(upstream).stalled.insert(at.1);
    for _ in 0..8 {
        net.body(place, &[b'y'; 16_000]);
    }
    let stream = &net.world.streams[client];
    let held = stream.sent - stream.credited;
    assert!(held >= 128_000 - 65_535 - 200, "what does not fit is not credited: {held}");
    net.read_on(at);
    assert_eq!(net.seen(at).body.len(), 128_000);
    let stream = &net.world.streams[client];
    assert_eq!(stream.sent, stream.credited);
    net.census();
}
