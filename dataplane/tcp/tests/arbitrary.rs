//! What nobody sane sends: nothing panics, no invariant breaks, no memory beyond the budget.

mod support;

use sluice_base::Rng;
use sluice_buf::Pressure;
use sluice_tcp::{Config, Connection, State, limits};
use sluice_wire::{Flags, SackBlocks, SeqNumber, TcpHeader, TcpOptions, Timestamps};

use support::bench::Bench;
use support::script::{given, plain_config};

const STATES: [&str; 10] = [
    "syn-sent",
    "syn-received",
    "established",
    "fin-wait-1",
    "fin-wait-2",
    "close-wait",
    "closing",
    "last-ack",
    "time-wait",
    "closed",
];

/// A number that is more often interesting than not.
fn near(rng: &mut Rng, point: SeqNumber) -> SeqNumber {
    match rng.below(8) {
        0..4 => point + rng.below(4) - 1,
        4 => point + rng.below(70_000),
        5 => point - rng.below(70_000),
        6 => point + (1 << 31) - rng.below(3),
        _ => SeqNumber(rng.next_u32()),
    }
}

fn arbitrary_header(rng: &mut Rng, bench: &Bench) -> TcpHeader {
    let flags = match rng.below(4) {
        0 => Flags::ACK,
        1 => Flags::ACK | Flags(rng.next_u32() as u8),
        _ => Flags(rng.next_u32() as u8),
    };
    let timestamps =
        rng.chance(100_000).then(|| Timestamps { value: rng.next_u32(), echo: rng.next_u32() });
    let mss = rng.chance(100_000).then(|| rng.next_u32() as u16);
    let window_scale = rng.chance(100_000).then(|| rng.below(20) as u8);
    let mut sack = SackBlocks::NONE;
    for _ in 0..[0, 0, 1, 4][rng.below(4) as usize] {
        let point = bench.iss + rng.below(6_000);
        let left = near(rng, point);
        sack.push(left, left + [1, 100, 1_460, 1 << 31][rng.below(4) as usize]);
    }
    // The offsets that matter move along with what was exchanged.
    let (theirs, ours) = (bench.irs + rng.below(3_000), bench.iss + rng.below(6_000));
    TcpHeader {
        seq: near(rng, theirs),
        ack: near(rng, ours),
        flags,
        window: rng.next_u32() as u16,
        options: TcpOptions { mss, window_scale, timestamps, sack, ..TcpOptions::NONE },
        ..TcpHeader::default()
    }
}

fn arbitrary_step(rng: &mut Rng, bench: &mut Bench) {
    bench.sent.clear();
    match rng.below(24) {
        0 => bench.write(rng.below(6_000) as usize),
        1 => {
            let max = rng.below(3_000) as usize;
            // The payload is not the pattern here, so not `Bench::read`.
            drop(bench.with(|connection, _| connection.read(max)));
        }
        2 => bench.credit(rng.below(3_000) as usize),
        3 => bench.run_for(std::time::Duration::from_millis(rng.below(3_000).into())),
        4 if rng.chance(100_000) => bench.act(Connection::close),
        5 if rng.chance(20_000) => bench.act(Connection::abort),
        6 if rng.chance(50_000) => bench.act(Connection::stop_reading),
        7 => {
            bench.with(Connection::shed);
        }
        8 => {
            let levels = [Pressure::None, Pressure::Tight, Pressure::Scarce, Pressure::Critical];
            bench.pressure = levels[rng.below(4) as usize];
        }
        _ => {
            let header = arbitrary_header(rng, bench);
            let len = [0, 1, 10, 300, 1_460, 20_000][rng.below(6) as usize];
            bench.segment(&header, &vec![0; len]);
        }
    }
    let budget = bench.config.receive_buffers.max(4);
    assert!(bench.connection().buffers_held() <= 2 * budget);
    // What is queued for sending is the application's, not the peer's.
    let queued = bench.connection().send_queue().buffers() as u32;
    assert!(bench.pool.in_use() <= 2 * budget + queued);
}

#[test]
fn arbitrary_segments_in_every_state() {
    for (index, state) in STATES.iter().enumerate() {
        for round in 0..150 {
            let seed = (index as u64) << 32 | round;
            let outcome = std::panic::catch_unwind(|| {
                let mut rng = Rng::new(seed);
                let receive_buffers = [1, 4, 44][rng.below(3) as usize];
                let timestamps = rng.chance(500_000);
                let sack = rng.chance(500_000);
                let config = Config { receive_buffers, timestamps, sack, ..plain_config() };
                let mut bench = given(state, config);
                for _ in 0..200 {
                    arbitrary_step(&mut rng, &mut bench);
                }
                bench.census();
            });
            assert!(outcome.is_ok(), "{state}, seed {seed:#x}");
        }
    }
}

fn data(bench: &Bench, offset: u32) -> TcpHeader {
    TcpHeader {
        seq: bench.irs + 1 + offset,
        ack: bench.iss + 1,
        flags: Flags::ACK,
        window: u16::MAX,
        ..TcpHeader::default()
    }
}

/// Without coalescing each byte would pin a buffer of two kilobytes.
#[test]
fn a_flood_of_single_bytes_stays_within_a_few_buffers() {
    let mut bench = given("established", plain_config());
    for offset in 0..30_000 {
        let header = data(&bench, offset);
        bench.segment(&header, &[0]);
        bench.sent.clear();
    }
    let held = bench.connection().buffers_held();
    assert_eq!(bench.connection().readable(), 30_000);
    assert!(held <= 30_000 / 2_000 + 1, "{held} buffers for 30,000 bytes");
    assert_eq!(bench.pool.in_use(), held);
    bench.census();
}

/// Every second byte missing: ranges and buffers are both bounded, and the hole can be filled.
#[test]
fn a_flood_of_holes_stays_within_the_budget_and_can_be_filled() {
    let mut bench = given("established", plain_config());
    for offset in (1..60_000).step_by(2) {
        let header = data(&bench, offset);
        bench.segment(&header, &[0]);
        bench.sent.clear();
    }
    let held = bench.connection().buffers_held();
    assert!(held <= bench.config.receive_buffers, "{held} buffers ahead of holes");
    for offset in (0..60_000).step_by(1_000) {
        let header = data(&bench, offset);
        bench.segment(&header, &[0; 1_000]);
        bench.sent.clear();
    }
    assert_eq!(bench.connection().readable(), 60_000);
    assert!(bench.pool.in_use() <= bench.config.receive_buffers);
    bench.census();
}

/// With memory for thousands, the number of ranges is what is bounded: each costs a search.
#[test]
fn a_flood_of_holes_makes_a_bounded_number_of_ranges() {
    let config = Config { receive_buffers: 1_000, ..plain_config() };
    let mut bench = given("established", config);
    for offset in (1..60_000).step_by(2) {
        let header = data(&bench, offset);
        bench.segment(&header, &[0]);
        bench.sent.clear();
    }
    assert_eq!(bench.connection().buffers_held(), limits::REASSEMBLY_RANGES_MAX as u32);
    bench.census();
}

/// Payloads of every size, none ever read: what the window promised is taken, and no more held
/// than the budget.
#[test]
fn what_the_window_promises_is_taken_whatever_the_size_of_segments() {
    for size in [1u32, 100, 255, 256, 300, 536, 700, 1_000, 1_460] {
        let mut bench = given("established", plain_config());
        let mut offset = 0;
        loop {
            let sent = bench.sent.back().map(|sent| sent.header);
            let edge = sent.map_or(64_240, |header| {
                (header.ack - bench.irs) as u32 - 1 + u32::from(header.window)
            });
            let len = size.min(edge.saturating_sub(offset));
            if len == 0 {
                break;
            }
            let header = data(&bench, offset);
            bench.segment(&header, &vec![0; len as usize]);
            offset += len;
            // A probe brings out what is owed.
            let header = TcpHeader { seq: bench.irs, ..data(&bench, 0) };
            bench.segment(&header, &[]);
        }
        assert!(offset >= 64_240, "size {size}: the promise is kept up to {offset}");
        assert_eq!(bench.connection().readable(), offset as usize, "size {size}");
        assert!(bench.connection().buffers_held() <= bench.config.receive_buffers);
        bench.census();
    }
}

/// What the application has read and still holds cannot be copied together: half-full buffers are
/// taken all the same, where refusing them would cost the peer a time-out.
#[test]
fn what_the_window_promises_is_taken_when_it_is_read_and_kept() {
    for size in [730u32, 1_000, 1_448, 1_460] {
        let mut bench = given("established", plain_config());
        let mut offset = 0;
        while offset < 64_240 {
            let len = size.min(64_240 - offset);
            let header = data(&bench, offset);
            bench.segment(&header, &vec![0; len as usize]);
            offset += len;
            let read = bench.with(|it, _| it.read(usize::MAX)).len();
            assert_eq!(read, len as usize, "size {size}: refused at {offset}");
        }
        let held = bench.connection().buffers_held();
        assert!(held <= 2 * bench.config.receive_buffers, "size {size}: {held} buffers");
        bench.census();
    }
}

/// Without the bound a forger could make us send as many ACKs as it sends segments.
#[test]
fn challenge_acks_are_rationed() {
    let mut bench = given("established", plain_config());
    let before = bench.sent.len();
    for _ in 0..10_000 {
        let header = TcpHeader { flags: Flags::SYN, ..data(&bench, 5) };
        bench.segment(&header, &[]);
    }
    let answers = bench.sent.len() - before;
    assert!((500..1_500).contains(&answers), "{answers} answers within a second");
    bench.run_for(std::time::Duration::from_secs(1));
    let header = TcpHeader { flags: Flags::SYN, ..data(&bench, 5) };
    bench.segment(&header, &[]);
    assert_eq!(bench.sent.len() - before, answers + 1, "the next second has its own");
    assert_eq!(bench.connection().state(), State::Established);
    bench.census();
}

/// A claim of ever more segments that left the network must not open the window without end.
#[test]
fn forged_duplicate_acks_do_not_inflate_the_window_without_bound() {
    let mut bench = given("established", plain_config());
    bench.write(60_000);
    for _ in 0..5_000 {
        let header = data(&bench, 0);
        bench.segment(&header, &[]);
    }
    assert!(bench.connection().congestion_window() <= 200_000);
    bench.census();
}
