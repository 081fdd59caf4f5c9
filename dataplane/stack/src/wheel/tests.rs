use sluice_base::Rng;

use super::*;

fn wheel_of(count: u32) -> (Wheel, Vec<Timer>) {
    (Wheel::new(count, count / 2), vec![Timer::UNARMED; count as usize])
}

fn expired(wheel: &mut Wheel, timers: &mut Vec<Timer>, now: Instant) -> Vec<u32> {
    wheel.advance(timers, now);
    let mut ids: Vec<u32> = std::iter::from_fn(|| wheel.pop_expired(timers)).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn fires_at_its_time_and_not_before() {
    let (mut wheel, mut timers) = wheel_of(4);
    wheel.arm(&mut timers, 0, Instant::from_millis(10));
    wheel.arm(&mut timers, 1, Instant::from_millis(500));
    wheel.arm(&mut timers, 2, Instant::from_millis(100_000));
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(9)), []);
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(13)), [0]);
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(499)), []);
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(99_999)), [1]);
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(100_003)), [2]);
    assert_eq!(wheel.next_deadline(), Instant::NEVER);
}

#[test]
fn a_later_deadline_leaves_the_timer_where_it_is() {
    let (mut wheel, mut timers) = wheel_of(1);
    wheel.arm(&mut timers, 0, Instant::from_millis(10));
    wheel.arm(&mut timers, 0, Instant::from_millis(1000));
    assert_eq!(
        expired(&mut wheel, &mut timers, Instant::from_millis(20)),
        [0],
        "early, to be armed again"
    );
    wheel.arm(&mut timers, 0, Instant::from_millis(1000));
    wheel.arm(&mut timers, 0, Instant::from_millis(30));
    assert_eq!(
        expired(&mut wheel, &mut timers, Instant::from_millis(40)),
        [0],
        "an earlier one counts"
    );
}

#[test]
fn disarmed_never_fires() {
    let (mut wheel, mut timers) = wheel_of(2);
    wheel.arm(&mut timers, 0, Instant::from_millis(10));
    wheel.arm(&mut timers, 1, Instant::from_millis(10));
    wheel.disarm(&mut timers, 0);
    wheel.disarm(&mut timers, 0);
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(50)), [1]);
    assert_eq!(wheel.next_deadline(), Instant::NEVER);
}

/// The past is due at the next tick, once: a timer that keeps asking for the past must not hold
/// the worker in its loop.
#[test]
fn the_past_fires_once_per_advance() {
    let (mut wheel, mut timers) = wheel_of(1);
    let now = Instant::from_millis(1000);
    wheel.advance(&mut timers, now);
    wheel.arm(&mut timers, 0, Instant::ZERO);
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(1003)), [0]);
    wheel.arm(&mut timers, 0, Instant::ZERO);
    assert_eq!(expired(&mut wheel, &mut timers, Instant::from_millis(1003)), []);
}

#[test]
fn the_origin_may_be_far_and_the_tick_may_wrap() {
    let (mut wheel, mut timers) = wheel_of(3);
    let start = Instant::from_nanos(((1u64 << 33) - 50) << TICK_BITS);
    wheel.advance(&mut timers, start);
    wheel.arm(&mut timers, 0, start.plus_nanos(10 << TICK_BITS));
    wheel.arm(&mut timers, 1, start.plus_nanos(100 << TICK_BITS));
    wheel.arm(&mut timers, 2, start.plus_nanos(1 << 62));
    assert_eq!(expired(&mut wheel, &mut timers, start.plus_nanos(60 << TICK_BITS)), [0]);
    assert_eq!(expired(&mut wheel, &mut timers, start.plus_nanos(99 << TICK_BITS)), []);
    assert_eq!(expired(&mut wheel, &mut timers, start.plus_nanos(102 << TICK_BITS)), [1]);
    assert!(wheel.next_deadline() < Instant::NEVER, "too far is armed for as far as can be");
}

#[test]
fn agrees_with_a_sorted_list() {
    let mut rng = Rng::new(7);
    let (mut wheel, mut timers) = wheel_of(500);
    let mut model: Vec<Option<u64>> = vec![None; 500];
    let mut now = 0u64;
    for _ in 0..3000 {
        let id = rng.below(500);
        let bits = rng.below(38);
        let deadline = now + (rng.next_u64() & ((1 << bits) - 1));
        if model[id as usize].is_none_or(|armed| deadline < armed) {
            model[id as usize] = Some(deadline);
        }
        wheel.arm(&mut timers, id, Instant::from_nanos(deadline));
        if rng.chance(100_000) {
            let id = rng.below(500);
            wheel.disarm(&mut timers, id);
            model[id as usize] = None;
        }
        if rng.chance(300_000) {
            let next = wheel.next_deadline();
            let earliest = model.iter().flatten().min().copied().unwrap_or(u64::MAX);
            assert!(next.as_nanos() <= earliest.saturating_add(1 << TICK_BITS), "never late");
            now += rng.next_u64() & ((1 << rng.below(36)) - 1);
            for id in expired(&mut wheel, &mut timers, Instant::from_nanos(now)) {
                let deadline = model[id as usize].take().expect("only armed timers fire");
                assert!(deadline <= now, "never early beyond laziness");
            }
            for deadline in model.iter().flatten() {
                assert!(deadline + (2 << TICK_BITS) > now, "due timers fire");
            }
        }
    }
    for id in 0..500 {
        wheel.disarm(&mut timers, id);
    }
    let chain = |at: &u32| wheel.chunks.get(*at as usize).map(|chunk| chunk.behind);
    let free = std::iter::successors(Some(wheel.free), chain);
    assert_eq!(free.count() - 1, wheel.chunks.len(), "every chunk is given back");
    assert_eq!(wheel.occupied, [[0; WORDS]; LEVELS]);
}

/// As many as there can be, so that every chunk is in use, taken out in any order.
#[test]
fn holds_every_timer_wherever_it_stands() {
    let mut rng = Rng::new(9);
    let count = 40_000;
    let (mut wheel, mut timers) = wheel_of(count);
    for round in 0..3u64 {
        let now = Instant::from_millis(round * 50_000_000);
        wheel.advance(&mut timers, now);
        for id in 0..count {
            let slots = if id < 10_000 { 1 << 14 } else { 1 << rng.below(40) };
            wheel.arm(&mut timers, id, now.plus_nanos((rng.next_u64() % slots) << TICK_BITS));
        }
        for _ in 0..count {
            wheel.disarm(&mut timers, rng.below(count));
        }
        let mut left: Vec<u32> =
            (0..count).filter(|id| timers[*id as usize].at != UNARMED).collect();
        let mut fired = Vec::new();
        let mut now = now;
        while fired.len() < left.len() {
            let next = wheel.next_deadline();
            assert!(next > now, "the wheel makes progress");
            now = next;
            fired.extend(expired(&mut wheel, &mut timers, now));
        }
        fired.sort_unstable();
        left.sort_unstable();
        assert_eq!(fired, left);
    }
}
