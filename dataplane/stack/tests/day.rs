//! A day on the wire, in virtual time: sequence numbers, timestamps and the wheel's ticks wrap, and
//! nobody notices.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use common::{Net, at};
use sluice_base::{ConnId, Instant, ListenerId, Rng};
use sluice_buf::{Capabilities, Chain};
use sluice_stack::ReadySignals;
use sluice_tcp::{Config, Keepalive};
use sluice_wire::{EthernetView, Flags, IpProtocol, Ipv4View, TcpView};

/// 2^32 ticks of the timer wheel, nanoseconds.
const WHEEL_WRAP: u64 = 1 << 52;
/// 2^32 milliseconds, nanoseconds: the clock behind timestamps.
const STAMP_WRAP: u64 = (1 << 32) * 1_000_000;

/// One direction of one connection, as somebody on the wire sees it.
#[derive(Clone, Copy, Default)]
struct Seen {
    seq: u32,
    stamp: u32,
    seq_wraps: u32,
    stamp_wraps: u32,
}

type Sniffed = Rc<RefCell<BTreeMap<(u8, u16), Seen>>>;

/// Follows every direction's numbers, and loses frames.
fn sniff(net: &mut Net, lose: &Rc<Cell<u32>>) -> Sniffed {
    let seen = Sniffed::default();
    let lose = Rc::clone(lose);
    let (book, mut rng) = (Rc::clone(&seen), Rng::new(5));
    net.filter = Some(Box::new(move |frame| {
        let Ok(ethernet) = EthernetView::parse(&frame.bytes) else { return true };
        let Ok(ip) = Ipv4View::parse(ethernet.payload()) else { return true };
        if ip.header().protocol != IpProtocol::Tcp {
            return true;
        }
        let Ok(tcp) = TcpView::parse(ip.payload()) else { return true };
        let Ok(header) = tcp.header() else { return true };
        let [.., side] = ip.src().octets();
        let client = if side == 1 { header.src_port } else { header.dst_port };
        let mut book = book.borrow_mut();
        let is_new = !book.contains_key(&(side, client));
        let seen = book.entry((side, client)).or_default();
        let stamp = header.options.timestamps.map_or(0, |stamps| stamps.value);
        // Only forward, so that what is sent again does not count as a wrap.
        if !is_new && (header.seq.0.wrapping_sub(seen.seq) as i32) > 0 {
            seen.seq_wraps += u32::from(header.seq.0 < seen.seq);
        }
        if !is_new && (stamp.wrapping_sub(seen.stamp) as i32) > 0 {
            seen.stamp_wraps += u32::from(stamp < seen.stamp);
        }
        if is_new || (header.seq.0.wrapping_sub(seen.seq) as i32) > 0 {
            seen.seq = header.seq.0;
        }
        seen.stamp = stamp;
        let has_data = ip.payload().len() > tcp.header_len();
        let is_control = header.flags.intersects(Flags::SYN | Flags::RST);
        !(has_data && !is_control && lose.get() > 0 && rng.below(lose.get()) == 0)
    }));
    seen
}

struct Day {
    net: Net,
    idle: Vec<ConnId>,
    bulk: ConnId,
    seen: Sniffed,
    /// One frame in so many is lost, of those with data.
    lose: Rc<Cell<u32>>,
    rng: Rng,
    /// Bytes that the bulk connection brought back.
    bulk_bytes: u64,
}

fn keeping_alive() -> Config {
    let keepalive = Keepalive {
        idle: Duration::from_secs(7_200),
        interval: Duration::from_secs(75),
        probes: 9,
    };
    Config { keepalive: Some(keepalive), ..Config::default() }
}

impl Day {
    /// `idle` connections and one for bulk, open `before` the clock reaches `wrap`.
    fn begin(wrap: u64, before: Duration, idle: usize, lose: u32) -> Self {
        let mut net = Net::pair_of(&Capabilities {
            tx_l4_checksum: true,
            rx_checksum: true,
            tx_segmentation_max: 65_535,
            multi_segment: true,
            ..Capabilities::default()
        });
        net.now = Instant::from_nanos(wrap - before.as_nanos() as u64);
        net.keeps_log = false;
        let lose = Rc::new(Cell::new(lose));
        let seen = sniff(&mut net, &lose);
        let config = keeping_alive();
        let address: SocketAddr = at("10.0.0.2:80");
        net.stack(1).listen(ListenerId(1), address, &config).expect("a free address");
        let connect = |net: &mut Net| {
            let now = net.now;
            let id = net.stack(0).connect(address, &config, 7, now).expect("a connection");
            net.run(Duration::from_millis(3));
            id
        };
        let idle = (0..idle).map(|_| connect(&mut net)).collect();
        let bulk = connect(&mut net);
        net.run(Duration::from_secs(5));
        net.echo(1);
        Self { net, idle, bulk, seen, lose, rng: Rng::new(3), bulk_bytes: 0 }
    }

    /// `bytes` there and back on the bulk connection.
    fn carry(&mut self, bytes: u64) {
        let goal = self.bulk_bytes + bytes;
        let block = vec![0x5a; 64 * 1024];
        let pool = self.net.stack(0).tx_pool().share();
        let mut written = self.bulk_bytes;
        let mut silent = 0;
        while self.bulk_bytes < goal {
            let now = self.net.now;
            while written < goal && self.net.stack(0).send_room(self.bulk) >= block.len() {
                let Ok(mut chain) = Chain::copy_from(&block, &pool) else { break };
                self.net.stack(0).write(self.bulk, &mut chain, now);
                written += block.len() as u64;
            }
            self.net.run(Duration::from_micros(200));
            self.net.echo(1);
            let now = self.net.now;
            let stack = self.net.stack(0);
            let bytes = stack.read(self.bulk, usize::MAX);
            let count = bytes.len();
            drop(bytes);
            stack.credit(self.bulk, count, now);
            self.bulk_bytes += count as u64;
            silent = if count > 0 { 0 } else { silent + 1 };
            assert!(silent < 1_000_000, "bulk stopped at {} bytes", self.bulk_bytes);
        }
    }

    /// A few bytes there and back on some of the idle connections.
    fn chat(&mut self) {
        for _ in 0..8 {
            let id = self.idle[self.rng.below(self.idle.len() as u32) as usize];
            let text = self.rng.next_u64().to_be_bytes();
            self.net.write(0, id, &text);
            let mut answer = Vec::new();
            // Losses are repaired within a minute.
            for _ in 0..600 {
                self.net.run(Duration::from_millis(100));
                self.net.echo(1);
                answer.extend(self.net.read(0, id));
                if answer.len() >= text.len() {
                    break;
                }
            }
            assert_eq!(answer, text, "every byte comes back, once");
        }
    }

    fn quiet_until(&mut self, until: Instant) {
        while self.net.step(until) {}
    }

    /// Nobody was told that anything ended; then everything does.
    fn end(mut self) -> Sniffed {
        let count = self.idle.len() + 1;
        let told = self.net.ready(0);
        let ended = ReadySignals::CLOSED;
        assert!(told.iter().all(|(_, _, ready)| !ready.signals.contains(ended)), "nobody ended");
        for host in 0..2 {
            assert_eq!(self.net.stack(host).connection_count(), count, "host {host}");
            assert_eq!(self.net.stack(host).counters().tcp.timed_out.value(), 0);
        }
        let now = self.net.now;
        for id in self.idle.iter().chain([&self.bulk]) {
            self.net.stack(0).abort(*id, now);
        }
        self.net.run(Duration::from_secs(1));
        self.net.ready(0);
        self.net.ready(1);
        self.net.run(Duration::from_secs(1));
        for host in 0..2 {
            assert_eq!(self.net.stack(host).connection_count(), 0, "host {host}");
        }
        self.net.filter = None;
        self.net.census();
        self.seen
    }
}

fn wraps(seen: &Sniffed) -> (u32, u32) {
    let seen = seen.borrow();
    let sum = |of: fn(&Seen) -> u32| seen.values().map(of).sum();
    (sum(|seen| seen.seq_wraps), sum(|seen| seen.stamp_wraps))
}

/// `hours` around a wrap of the clock with `bulk` bytes there and back, and chats in between.
fn pass(wrap: u64, hours: u32, idle: usize, bulk: u64) -> (u32, u32) {
    let half = Duration::from_secs(u64::from(hours) * 1_800);
    let mut day = Day::begin(wrap, half, idle, 64);
    let before = day.net.stack(0).counters().tcp.keepalives.value();
    let steps = 2 * hours;
    let begin = Instant::from_nanos(wrap - half.as_nanos() as u64);
    for step in 1..=steps {
        day.carry(bulk / u64::from(steps));
        day.chat();
        let passed = Duration::from_secs(1_800) * step;
        if step == hours {
            // Just before the wrap every second frame is lost, so that timers of all kinds are
            // armed on this side of it for the other.
            day.quiet_until(begin + (passed - Duration::from_secs(30)));
            day.lose.set(2);
            day.chat();
            day.lose.set(64);
        }
        day.quiet_until(begin + passed);
    }
    assert!(day.net.now > Instant::from_nanos(wrap), "the clock is past its wrap");
    // Keepalives were armed for ticks behind the wrap while what was lost before it was repaired.
    assert!(day.net.stack(0).counters().tcp.retransmitted_bytes.value() > 0);
    let probes = day.net.stack(0).counters().tcp.keepalives.value() - before;
    // Every idle connection was asked every two hours or so, and nobody more often than that.
    let asked = u64::from(hours / 4) * idle as u64;
    assert!(probes >= asked / 2, "{probes} keepalives");
    assert!(probes <= u64::from(hours) * (idle as u64 + 1), "{probes} keepalives");
    wraps(&day.end())
}

#[test]
fn hours_around_the_wrap_of_the_wheel() {
    pass(WHEEL_WRAP, 6, 40, 4 << 20);
}

#[test]
fn hours_around_the_wrap_of_the_millisecond_clock() {
    pass(STAMP_WRAP, 6, 40, 4 << 20);
}

/// Of so many connections some begin near the ends of both number spaces.
#[test]
fn sequence_numbers_and_timestamps_wrap() {
    let mut day = Day::begin(STAMP_WRAP, Duration::from_secs(3_600), 400, 64);
    for _ in 0..8 {
        day.chat();
        let until = day.net.now + Duration::from_secs(3_600 * 3);
        while day.net.step(until) {}
    }
    let (_, stamps) = wraps(&day.end());
    assert!(stamps >= 2, "{stamps} timestamps wrapped");
    // One that carries enough wraps for certain: 4 GiB would do it from any beginning.
    let (bulk, least) = (64 << 20, 1);
    let mut wrapped = 0;
    for attempt in 0..400u64 {
        let mut day =
            Day::begin(STAMP_WRAP + attempt * 97_000_000_000, Duration::from_secs(60), 0, 0);
        let seen = day.seen.borrow().values().map(|seen| seen.seq).max().unwrap_or(0);
        if u64::from(u32::MAX - seen) < bulk / 2 {
            day.lose.set(256);
            day.seen = sniff(&mut day.net, &day.lose);
            day.carry(bulk);
            wrapped = wraps(&day.end()).0;
            break;
        }
    }
    assert!(wrapped >= least, "{wrapped} sequence numbers wrapped");
}

/// The same at full length: `make scale`.
#[test]
#[ignore = "minutes: make scale"]
fn a_day_and_five_gigabytes_each_way() {
    for wrap in [WHEEL_WRAP, STAMP_WRAP] {
        let (numbers, stamps) = pass(wrap, 24, 1_000, 5 << 30);
        assert!(numbers >= 2, "{numbers} sequence numbers wrapped, both ways");
        assert!(stamps >= 10, "{stamps} timestamps wrapped");
    }
}
