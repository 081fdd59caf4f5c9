//! Fast Open at a listener (RFC 7413): cookies, requests in SYNs, and how many may be pending.
//!
//! The client is a script on the wire of host 0, whose own stack sees nothing of what it gets.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::{IF0, Net, at, data_segment};
use sluice_base::{ConnId, ListenerId, Rng};
use sluice_stack::{CloseReason, ReadySignals, StackConfig};
use sluice_tcp::Config;
use sluice_wire::{FastOpenCookie, Flags, SeqNumber, TcpHeader, TcpOptions, TcpView};

const CLIENT: &str = "10.0.0.1";
const SERVER: (&str, u16) = ("10.0.0.2", 80);
/// Where the client's numbers begin.
const IRS: u32 = 1_000;
const REQUEST: &[u8] = b"request";
/// Where Ethernet and IPv4 end.
const TCP_AT: usize = 34;

/// What the server sent to the client: header and data.
type Answers = Rc<RefCell<Vec<(TcpHeader, Vec<u8>)>>>;

struct Lab {
    net: Net,
    answers: Answers,
}

impl Lab {
    /// A server at which `max` may be pending.
    fn new(max: u32, change: impl Fn(&mut StackConfig)) -> Self {
        let mut net = Net::pair_with(|_| {}, change);
        net.keeps_log = false;
        let config = Config { fast_open_max: max, ..Config::default() };
        net.stack(1).listen(ListenerId(80), at("10.0.0.2:80"), &config).expect("it is free");
        let answers = Answers::default();
        let seen = Rc::clone(&answers);
        net.filter = Some(Box::new(move |frame| {
            let bytes = &frame.bytes;
            if bytes[23] != 6 || bytes[26..30] != [10, 0, 0, 2] {
                return true;
            }
            let len = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
            let view = TcpView::parse(&bytes[TCP_AT..14 + len]).expect("a header");
            let header = view.header().expect("options");
            let data = bytes[TCP_AT + header.header_len()..14 + len].to_vec();
            seen.borrow_mut().push((header, data));
            false
        }));
        Self { net, answers }
    }

    fn send(&mut self, port: u16, header: TcpHeader, data: &[u8]) {
        let header = TcpHeader { window: 60_000, ..header };
        let frame = data_segment((CLIENT, port), SERVER, &header, data);
        self.net.inject(1, IF0, &frame);
        self.net.settle();
    }

    fn syn(&mut self, port: u16, cookie: Option<FastOpenCookie>, data: &[u8]) {
        let options = TcpOptions { mss: Some(1_460), fast_open: cookie, ..TcpOptions::NONE };
        let (seq, flags) = (SeqNumber(IRS), Flags::SYN);
        self.send(port, TcpHeader { seq, flags, options, ..TcpHeader::default() }, data);
    }

    fn answers(&mut self) -> Vec<(TcpHeader, Vec<u8>)> {
        std::mem::take(&mut *self.answers.borrow_mut())
    }

    /// The SYN+ACK that came last.
    fn syn_ack(&mut self) -> TcpHeader {
        let answers = self.answers();
        let is_syn_ack = |(it, _): &&(TcpHeader, Vec<u8>)| it.flags == Flags::SYN | Flags::ACK;
        answers.iter().rfind(is_syn_ack).expect("a SYN+ACK").0
    }

    fn reset(&mut self, port: u16, seq: SeqNumber) {
        self.send(port, TcpHeader { seq, flags: Flags::RST, ..TcpHeader::default() }, &[]);
    }

    /// The cookie that the server gives, by a connection that ends at once.
    fn cookie(&mut self) -> FastOpenCookie {
        self.syn(999, Some(FastOpenCookie::REQUEST), &[]);
        let cookie = self.syn_ack().options.fast_open.expect("a cookie");
        assert!(!cookie.is_request());
        self.reset(999, SeqNumber(IRS + 1));
        cookie
    }

    fn count(&mut self, name: &str) -> u64 {
        let counters = self.net.stack(1).counters();
        counters.iter().find(|(it, _)| *it == name).expect("there is one").1
    }

    /// Whether the server takes what comes with a SYN from `port`, and its connection.
    fn takes(&mut self, port: u16, cookie: FastOpenCookie) -> Option<ConnId> {
        self.syn(port, Some(cookie), REQUEST);
        let ack = self.syn_ack().ack;
        let taken = ack == SeqNumber(IRS + 1 + REQUEST.len() as u32);
        assert!(taken || ack == SeqNumber(IRS + 1), "all of it or nothing");
        let ready = self.net.ready(1);
        assert_eq!(taken, !ready.is_empty(), "the application knows of what was taken");
        taken.then(|| ready[0].1)
    }
}

#[test]
fn a_request_in_the_syn_is_answered_before_the_handshake_is_over() {
    let mut lab = Lab::new(8, |_| {});
    let cookie = lab.cookie();
    lab.syn(1_000, Some(cookie), REQUEST);
    let syn_ack = lab.syn_ack();
    assert_eq!(syn_ack.ack, SeqNumber(IRS + 8));
    assert_eq!(syn_ack.options.fast_open, None, "the cookie is good for a while");
    let (_, id, ready) = lab.net.ready(1)[0];
    let all = ReadySignals::ACCEPTED | ReadySignals::CONNECTED | ReadySignals::READABLE;
    assert_eq!(ready.signals, all);
    assert_eq!(lab.net.read(1, id), REQUEST);
    lab.net.write(1, id, b"response");
    lab.net.settle();
    let answers = lab.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].0.seq, &answers[0].1[..]), (syn_ack.seq + 1, &b"response"[..]));
    assert_eq!((lab.count("tcp_half_open"), lab.count("tcp_fast_open_pending")), (1, 1));

    let ack = TcpHeader {
        seq: SeqNumber(IRS + 8),
        ack: syn_ack.seq + 9,
        flags: Flags::ACK,
        ..TcpHeader::default()
    };
    lab.send(1_000, ack, &[]);
    assert!(lab.net.ready(1).is_empty(), "it was open before");
    assert_eq!((lab.count("tcp_half_open"), lab.count("tcp_fast_open_pending")), (0, 0));
    assert_eq!((lab.count("tcp_accepts"), lab.count("tcp_fast_open_accepts")), (2, 1));
    lab.send(1_000, ack, b", more");
    assert_eq!(lab.net.read(1, id), b", more");
    lab.reset(1_000, SeqNumber(IRS + 14));
    assert_eq!(lab.net.ready(1)[0].2.reason, Some(CloseReason::Reset));
    assert_eq!(lab.count("tcp_fast_open_resets"), 0, "its handshake was over");
    lab.net.census();
}

#[test]
fn what_has_no_good_cookie_waits_for_the_handshake() {
    let mut lab = Lab::new(8, |_| {});
    let cookie = lab.cookie();
    let mut forged = cookie.bytes().to_vec();
    forged[7] ^= 1;
    let forged = FastOpenCookie::new(&forged).expect("eight bytes");
    let cases = [(None, false), (Some(FastOpenCookie::REQUEST), true), (Some(forged), true)];
    for (port, (option, is_granted)) in (1_000..).zip(cases) {
        lab.syn(port, option, REQUEST);
        let syn_ack = lab.syn_ack();
        assert_eq!(syn_ack.ack, SeqNumber(IRS + 1));
        assert_eq!(syn_ack.options.fast_open, is_granted.then_some(cookie));
        assert!(lab.net.ready(1).is_empty());
        lab.reset(port, SeqNumber(IRS + 1));
    }
    assert_eq!(lab.count("tcp_fast_open_refused"), 1);
    assert_eq!(lab.count("tcp_fast_open_cookies"), 3);
    assert_eq!(lab.count("tcp_fast_open_accepts"), 0);
    // The port does not matter, the address does.
    assert!(lab.takes(2_000, cookie).is_some());
    lab.reset(2_000, SeqNumber(IRS + 8));
    lab.net.ready(1);
    let header = TcpHeader {
        seq: SeqNumber(IRS),
        flags: Flags::SYN,
        options: TcpOptions { fast_open: Some(cookie), ..TcpOptions::NONE },
        ..TcpHeader::default()
    };
    let frame = data_segment(("10.0.0.9", 2_000), SERVER, &header, REQUEST);
    lab.net.inject(1, IF0, &frame);
    assert_eq!(lab.count("tcp_fast_open_refused"), 2);
    lab.net.run(Duration::from_secs(300));
    lab.net.census();
}

/// RFC 7413, 5.1: resets make no room, lest somebody with many hosts' cookies gain by them.
#[test]
fn only_so_many_may_be_pending_and_resets_count() {
    let mut lab = Lab::new(2, |_| {});
    let cookie = lab.cookie();
    assert!(lab.takes(1_000, cookie).is_some());
    assert!(lab.takes(1_001, cookie).is_some());
    assert!(lab.takes(1_002, cookie).is_none());
    assert_eq!(lab.count("tcp_fast_open_limited"), 1);
    lab.reset(1_000, SeqNumber(IRS + 8));
    assert_eq!(lab.net.ready(1).len(), 1);
    assert_eq!(lab.count("tcp_fast_open_resets"), 1);
    assert_eq!(lab.count("tcp_fast_open_pending"), 1);
    assert!(lab.takes(1_003, cookie).is_none());
    // A SYN that comes again is of the connection that is there.
    lab.syn(1_001, Some(cookie), REQUEST);
    assert_eq!(lab.syn_ack().ack, SeqNumber(IRS + 8));
    assert!(lab.net.ready(1).is_empty());
    lab.net.run(Duration::from_secs(61));
    lab.net.ready(1);
    assert!(lab.takes(1_004, cookie).is_some());
    lab.net.run(Duration::from_secs(400));
    assert_eq!(lab.net.ready(1).len(), 2, "given up");
    assert_eq!(lab.count("tcp_fast_open_pending"), 0);
    assert_eq!(lab.count("tcp_half_open"), 0);
    lab.net.census();
}

#[test]
fn with_syn_cookies_there_is_no_fast_open() {
    let mut lab = Lab::new(8, |config| config.half_open_max = 1);
    let cookie = lab.cookie();
    assert!(lab.takes(1_000, cookie).is_some());
    assert!(lab.takes(1_001, cookie).is_none());
    assert_eq!(lab.count("tcp_cookies_sent"), 1);
    assert_eq!(lab.count("tcp_fast_open_accepts"), 1);
    lab.net.run(Duration::from_secs(300));
    lab.net.ready(1);
    lab.net.census();
}

/// A listener that goes away leaves those that are pending to their fate.
#[test]
fn a_listener_may_end_before_the_handshake() {
    let mut lab = Lab::new(8, |_| {});
    let cookie = lab.cookie();
    let id = lab.takes(1_000, cookie).expect("there is room");
    lab.net.stack(1).unlisten(ListenerId(80));
    assert_eq!(lab.net.read(1, id), REQUEST);
    let now = lab.net.now;
    lab.net.stack(1).abort(id, now);
    lab.net.settle();
    assert_eq!(lab.net.ready(1).len(), 1);
    assert_eq!(lab.count("tcp_fast_open_pending"), 0);
    lab.net.census();
}

/// Whatever clients and application do, in any order: at the end nothing is pending and nothing left.
#[test]
fn nothing_is_left_of_any_order_of_events() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut lab = Lab::new(4, |config| config.half_open_max = 6);
        let cookie = lab.cookie();
        let mut open: Vec<ConnId> = Vec::new();
        for _ in 0..200 {
            let port = 1_000 + rng.below(12) as u16;
            let data = &REQUEST[..rng.below(REQUEST.len() as u32 + 1) as usize];
            let seq = SeqNumber(IRS + 1 + rng.below(9));
            let now = lab.net.now;
            match rng.below(8) {
                0..=2 => lab.syn(port, Some(cookie), data),
                3 => lab.reset(port, seq),
                4 => {
                    let last = lab
                        .answers()
                        .pop()
                        .map(|(it, data)| it.seq + it.segment_len(data.len() as u32));
                    let (ack, flags) = (last.unwrap_or(SeqNumber(1)), Flags::ACK);
                    lab.send(port, TcpHeader { seq, ack, flags, ..TcpHeader::default() }, data);
                }
                5 if !open.is_empty() => {
                    let id = open[rng.below(open.len() as u32) as usize];
                    lab.net.write(1, id, &[9; 3_000]);
                }
                6 if !open.is_empty() => {
                    let id = open.swap_remove(rng.below(open.len() as u32) as usize);
                    match rng.below(3) {
                        0 => lab.net.stack(1).close(id, now),
                        1 => lab.net.stack(1).abort(id, now),
                        _ => lab.net.stack(1).stop_reading(id, now),
                    }
                }
                _ => lab.net.run(Duration::from_millis(rng.below(2_000).into())),
            }
            lab.net.transmit();
            open.extend(lab.net.ready(1).iter().filter(|it| it.2.accepted()).map(|it| it.1));
        }
        lab.net.stack(1).unlisten(ListenerId(80));
        for id in open {
            let now = lab.net.now;
            lab.net.stack(1).abort(id, now);
        }
        lab.net.run(Duration::from_secs(1_000));
        lab.net.ready(1);
        assert_eq!(lab.count("tcp_fast_open_pending"), 0, "seed {seed}");
        assert_eq!(lab.count("tcp_half_open"), 0, "seed {seed}");
    }
}
