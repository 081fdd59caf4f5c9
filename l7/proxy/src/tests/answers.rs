//! Answers that come at once and pass in one piece, beside the same answers in parts: clients must be
//! told the same, and the same must be counted.

use sluice_base::Rng;
use sluice_config_model::{Config, HeaderValue, RetryOn};
use sluice_l7_core::{BodyLength, Method, ResetReason};
use sluice_l7_http2::Config as Http2Config;

use super::far::Version;
use super::net::Net;
use super::world::{routes, web};
use crate::answers::PASSED;
use crate::last::PASSED as LASTS;

use Version::Two;

const PATH: &[u8] = b"/shop.Cart/Add";
const CALL: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];
const HEAD: &[(&str, &str)] = &[("content-type", "application/grpc")];
const GOOD: &[(&str, &str)] = &[("grpc-status", "0")];

/// A message of so many bytes with its prefix.
fn message(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; 5];
    bytes[1..].copy_from_slice(&(len as u32).to_be_bytes());
    bytes.resize(5 + len, b'm');
    bytes
}

/// What was counted, but for bytes of connections: frames differ.
fn counted(net: &Net) -> String {
    let mut said = String::new();
    let mut each = |name: &str, _, _: &str, value: u64| {
        if value > 0 && !name.ends_with("x_bytes_total") {
            said.push_str(&format!("{name} {value}\n"));
        }
    };
    net.world.listener_counters().each(&mut each);
    let cluster = net.world.cluster_counters();
    cluster.each(&mut each);
    let method = cluster.methods.find(PATH).and_then(|place| cluster.methods.at(place));
    format!("{said}{method:?}\n")
}

/// Two worlds, in which the same is asked; endpoints of the second answer at once.
struct Twins {
    nets: [Net; 2],
    clients: [usize; 2],
    /// The process ends before answers come.
    drains: bool,
}

/// What is answered.
struct Answer<'a> {
    status: u16,
    fields: [&'a [(&'a str, &'a str)]; 2],
    body: Vec<u8>,
}

impl Answer<'_> {
    fn good() -> Self {
        Self { status: 200, fields: [HEAD, GOOD], body: message(20) }
    }
}

impl Twins {
    fn with(config: &Http2Config, change: impl Fn(&mut Config)) -> Self {
        let mut nets = [(); 2].map(|()| {
            Net::with(Two, |config| {
                config.clusters[0].endpoints.truncate(1);
                change(config);
            })
        });
        let clients = nets.each_mut().map(|net| net.client_with(config));
        Self { nets, clients, drains: false }
    }

    fn new() -> Self {
        Self::with(&Http2Config::default(), |_| {})
    }

    /// A call and its answer; whether it passed in one piece.
    fn call(&mut self, fields: &[(&str, &str)], answer: &Answer<'_>) -> bool {
        let mut said = [const { String::new() }; 2];
        let mut passed = false;
        for (at, net) in self.nets.iter_mut().enumerate() {
            let before = PASSED.get();
            let place = net.ask(
                self.clients[at],
                Method::Post,
                "/shop.Cart/Add",
                fields,
                BodyLength::Chunked,
            );
            if at == 1 {
                net.last(place, &message(9));
            } else {
                net.body(place, &message(9));
                net.end(place, &[]);
            }
            let asked = net.only();
            if self.drains {
                net.world.proxy.start_drain(net.world.now);
            }
            net.answer_call(asked, answer.status, answer.fields, &answer.body, at == 1);
            let record = net.world.logs.pop().map(|record| record.to_string());
            said[at] = format!(
                "{:?}\n{:?}\n{}{record:?}\n",
                net.seen(place),
                net.seen(asked),
                counted(net)
            );
            passed = PASSED.get() > before;
            assert!(at == 1 || !passed, "parts are no piece");
        }
        assert_eq!(said[0], said[1]);
        passed
    }

    fn end(self) {
        self.nets.into_iter().for_each(Net::census);
    }
}

#[test]
fn what_comes_again_passes_in_one_piece() {
    let mut twins = Twins::new();
    let passed: Vec<_> = (0..8).map(|_| twins.call(CALL, &Answer::good())).collect();
    assert_eq!(passed[6..], [true; 2], "as soon as it is known: {passed:?}");
    // As many bytes as are copied anyway, and one more.
    for (len, passes) in [(0, true), (251, true), (252, false)] {
        assert_eq!(twins.call(CALL, &Answer { body: message(len), ..Answer::good() }), passes);
    }
    assert!(!twins.call(CALL, &Answer { body: Vec::new(), ..Answer::good() }), "it has no body");
    // Of a request that is no call, the trailers are just passed on.
    assert!(twins.call(&[], &Answer::good()));
    twins.end();
}

/// Whatever is said, in whatever order: it is new, or was said before, in the head or behind the body.
#[test]
fn both_ways_say_and_count_the_same() {
    let heads: [&[(&str, &str)]; 6] = [
        HEAD,
        &[("content-type", "application/grpc"), ("x-a", "1"), ("grpc-encoding", "gzip")],
        &[("content-type", "application/grpc"), ("grpc-status", "13")],
        &[("content-type", "application/grpc"), ("trailer", "grpc-status"), ("x-b", "2")],
        &[("x-b", "2"), ("set-cookie", "a=b"), ("date", "yesterday")],
        &[],
    ];
    let ends: [&[(&str, &str)]; 6] = [
        GOOD,
        &[("grpc-status", "5"), ("grpc-message", "no such cart")],
        &[("grpc-status", "nonsense"), ("x-c", "3")],
        &[("x-c", "3"), ("x-d", "4")],
        &[("grpc-status", "14"), ("grpc-status", "0")],
        &[],
    ];
    let (mut twins, mut rng, mut passed) = (Twins::new(), Rng::new(11), [0; 2]);
    for _ in 0..600 {
        let mut pick = |most: u32| rng.below(most) as usize;
        // As long as it is the usual ones, they are known.
        let usual = pick(3) > 0;
        let mut one_of = |most: u32| if usual { 0 } else { pick(most) };
        let (head, end) = (heads[one_of(6)], ends[one_of(6)]);
        let status = [200, 404, 503, 204][one_of(4)];
        let body = match pick(8) {
            _ if status == 204 => Vec::new(),
            0 => vec![7; 30],
            1 => message(pick(400)),
            2 => [message(3), message(0)].concat(),
            _ => message(20),
        };
        let answer = Answer { status, fields: [head, end], body };
        let fields = if pick(5) == 0 { &[] } else { CALL };
        passed[usize::from(twins.call(fields, &answer))] += 1;
    }
    assert!(passed[0] > 100 && passed[1] > 100, "{passed:?}");
    twins.end();
}

#[test]
fn what_is_done_with_answers_is_done_with_those_that_could_pass() {
    let edits = |config: &mut Config| {
        let (name, value) = ("x-served-by".to_owned(), "us".to_owned());
        routes(config)[0].response_headers_add = vec![HeaderValue { name, value }];
    };
    let mut twins = Twins::with(&Http2Config::default(), edits);
    for _ in 0..8 {
        assert!(!twins.call(CALL, &Answer::good()), "a field is added");
    }
    twins.end();
    let mut twins = Twins::with(&Http2Config::default(), |config| {
        routes(config)[0].retry_on = vec![RetryOn::Unavailable];
    });
    for _ in 0..8 {
        assert!(!twins.call(CALL, &Answer::good()), "it may be asked for again");
    }
    twins.end();
    // A client's window takes some of them, until it has read.
    let narrow = Http2Config { stream_window: 60, stream_window_max: 60, ..Http2Config::default() };
    let mut twins = Twins::with(&narrow, |_| {});
    for len in [20, 20, 20, 20, 20, 20, 55, 56, 200, 20, 300, 20] {
        let passes = twins.call(CALL, &Answer { body: message(len), ..Answer::good() });
        assert!(!passes || len <= 55, "{len} are too many");
    }
    assert!(twins.call(CALL, &Answer::good()));
    twins.drains = true;
    assert!(!twins.call(CALL, &Answer::good()), "its client is told to go");
    twins.end();
}

/// Requests whose last bytes come with their end, few of them or many, whatever came before.
#[test]
fn ends_of_requests_pass_in_one_piece_or_in_parts() {
    // Some are larger than they may be.
    let mut twins = Twins::with(&Http2Config::default(), |config| {
        web(config).max_body = Some(2_000);
    });
    let (mut rng, mut passed) = (Rng::new(5), [0; 2]);
    for _ in 0..300 {
        let mut pick = |most: u32| rng.below(most) as usize;
        let (first, last) = ([0, 0, 40, 1_900][pick(4)], [1, 20, 256, 257, 0][pick(5)]);
        let known = pick(3) == 0;
        let mut said = [const { String::new() }; 2];
        for (at, net) in twins.nets.iter_mut().enumerate() {
            let before = LASTS.get();
            let length = match known {
                true => BodyLength::Known((first + last) as u64),
                false => BodyLength::Chunked,
            };
            let length = if known && first + last == 0 { BodyLength::None } else { length };
            let place = net.ask(twins.clients[at], Method::Post, "/a", CALL, length);
            if first > 0 {
                net.body(place, &message(first)[..first]);
            }
            let bytes = vec![b'z'; last];
            match length {
                BodyLength::None => {}
                _ if at == 1 => net.last(place, &bytes),
                _ => {
                    if last > 0 {
                        net.body(place, &bytes);
                    }
                    net.end(place, &[]);
                }
            }
            if at == 1 {
                passed[usize::from(LASTS.get() > before)] += 1;
            }
            // An endpoint that did not take it hears all of it once more.
            if is_refused(first, last)
                && let [asked] = net.asked()[..]
            {
                net.reset(asked, ResetReason::Refused);
            }
            if let [asked] = net.asked()[..] {
                said[at] = format!("{:?}", net.seen(asked));
                net.answer_all(asked, 200, b"hi");
            }
            let record = net.world.logs.pop().map(|record| record.to_string());
            said[at].push_str(&format!("{:?}\n{}{record:?}", net.outcome(place), counted(net)));
        }
        assert_eq!(said[0], said[1], "{first} and {last}");
    }
    assert!(passed[0] > 50 && passed[1] > 50, "{passed:?}");
    twins.end();
}

fn is_refused(first: usize, last: usize) -> bool {
    (first + last) % 7 == 6
}
