//! A hierarchical timer wheel.
//!
//! ```text
//!   level 3   256 slots of 2^24 ticks   (circular: 52 days)
//!   level 2   256 slots of 2^16 ticks
//!   level 1   256 slots of 2^8 ticks
//!   level 0   256 slots of 1 tick       one tick is 2^20 ns, about 1.05 ms
//! ```
//!
//! A timer stands in the lowest level at which its tick still differs from the present one. Arming,
//! disarming and firing are O(1); a timer moves down at most three times. A bitmap per level finds
//! the next slot in use, so that advancing over idle time costs nothing. Links are arrays by timer
//! id, allocated once: 16 bytes per timer. The timers of a slot are in sixteen lists by their ids:
//! with a million of them the next one of a list is far from every cache, and is asked for while the
//! other lists have their turn.
//!
//! Re-arming is lazy: a timer that is set to a *later* point stays where it is and fires early; the
//! owner looks at its deadline then and arms again. A connection moves its retransmission timer
//! with every ACK and pays for it twice a second.

use sluice_arch::{huge_table, prefetch_read};
use sluice_base::Instant;

/// Nanoseconds per tick, as a power of two.
const TICK_BITS: u32 = 20;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 4;
/// Further than that is armed as that, and fires early.
const DELTA_MAX: u64 = 1 << 31;
const WORDS: usize = SLOTS / 64;
/// Lists of a slot: their heads are one cache line.
const WAYS: usize = 16;

const NIL: u32 = u32::MAX;
/// The list of timers that are due and were not yet taken.
const EXPIRED: u32 = (LEVELS * SLOTS) as u32;
const UNARMED: u32 = EXPIRED + 1;

const _: () = assert!(SLOT_BITS * LEVELS as u32 == 32, "a tick is a u32 on the wheel");

#[derive(Clone, Copy, Debug)]
struct Timer {
    tick: u32,
    next: u32,
    prev: u32,
    /// The list it is in.
    slot: u32,
}

/// The heads of a slot's lists.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Heads([u32; WAYS]);

impl Heads {
    const EMPTY: Self = Self([NIL; WAYS]);

    #[inline]
    fn is_empty(&self) -> bool {
        self.0.iter().all(|head| *head == NIL)
    }
}

/// Which list of its slot a timer is in.
#[inline]
fn way_of(id: u32) -> usize {
    id as usize % WAYS
}

/// Timers with ids from 0 up to a fixed number.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The tick up to which everything was moved to `EXPIRED`.
    now: u64,
    timers: Vec<Timer>,
    heads: Vec<Heads>,
    /// The first of those that are due, in one list.
    expired: u32,
    occupied: [[u64; WORDS]; LEVELS],
    /// No slot in use begins before this tick: asked in every heartbeat, worked out only when it is
    /// reached.
    soonest: u64,
}

impl Wheel {
    pub(crate) fn new(timers: u32) -> Self {
        let unarmed = Timer { tick: 0, next: NIL, prev: NIL, slot: UNARMED };
        Self {
            now: 0,
            timers: huge_table(timers as usize, unarmed),
            heads: vec![Heads::EMPTY; LEVELS * SLOTS],
            expired: NIL,
            occupied: [[0; WORDS]; LEVELS],
            soonest: u64::MAX,
        }
    }

    /// Makes the timer fire at `deadline`, or before. A timer that is armed for an earlier point
    /// stays so; [`Instant::NEVER`] changes nothing.
    #[inline]
    pub(crate) fn arm(&mut self, id: u32, deadline: Instant) {
        if deadline == Instant::NEVER {
            return;
        }
        let tick = self.tick_of(deadline);
        let timer = &self.timers[id as usize];
        if timer.slot != UNARMED {
            let armed_for = self.now + u64::from(timer.tick.wrapping_sub(self.now as u32));
            if timer.slot == EXPIRED || armed_for <= tick {
                return;
            }
            self.unlink(id);
        }
        self.link(id, tick);
    }

    /// Asks for the line of a timer.
    #[inline]
    pub(crate) fn prefetch(&self, id: u32) {
        prefetch_read(self.timers.as_ptr().wrapping_add(id as usize));
    }

    /// Makes the timer not fire.
    pub(crate) fn disarm(&mut self, id: u32) {
        if self.timers[id as usize].slot != UNARMED {
            self.unlink(id);
            self.soonest = self.next_slot().map_or(u64::MAX, |(_, tick)| tick);
        }
    }

    /// Moves every timer that is due at `now` to where [`Wheel::pop_expired`] finds it.
    pub(crate) fn advance(&mut self, now: Instant) {
        let target = now.as_nanos() >> TICK_BITS;
        while self.soonest <= target {
            let Some((level, tick)) = self.next_slot() else {
                self.soonest = u64::MAX;
                break;
            };
            self.soonest = tick;
            if tick > target {
                break;
            }
            self.now = tick;
            self.move_slot(level, (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS);
        }
        self.now = self.now.max(target);
    }

    /// A timer that was due at the last [`Wheel::advance`]; it is unarmed now.
    #[inline]
    pub(crate) fn pop_expired(&mut self) -> Option<u32> {
        let id = self.expired;
        if id == NIL {
            return None;
        }
        self.unlink(id);
        Some(id)
    }

    /// As many timers as `into` has room for that were due at the last [`Wheel::advance`]; they are
    /// unarmed now. Gives how many there were.
    pub(crate) fn take_expired(&mut self, into: &mut [u32]) -> usize {
        let mut count = 0;
        while count < into.len()
            && let Some(id) = self.pop_expired()
        {
            into[count] = id;
            count += 1;
        }
        count
    }

    /// When to advance next: never late, early when timers must only move down a level.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Instant {
        if self.expired != NIL {
            return Instant::from_nanos(self.now << TICK_BITS);
        }
        if self.soonest == u64::MAX {
            return Instant::NEVER;
        }
        Instant::from_nanos(self.soonest << TICK_BITS)
    }

    /// The first tick at or behind `deadline` that is still to come.
    #[inline]
    fn tick_of(&self, deadline: Instant) -> u64 {
        let tick = (deadline.as_nanos() >> TICK_BITS).saturating_add(1);
        tick.clamp(self.now + 1, self.now + DELTA_MAX)
    }

    fn link(&mut self, id: u32, tick: u64) {
        let differs = (tick as u32) ^ (self.now as u32);
        let level = (31 - (differs | 1).leading_zeros()) / SLOT_BITS;
        let slot = (tick >> (SLOT_BITS * level)) as usize % SLOTS;
        self.occupied[level as usize][slot / 64] |= 1 << (slot % 64);
        let shift = SLOT_BITS * level;
        self.soonest = self.soonest.min((tick >> shift) << shift);
        self.push(id, tick as u32, level * SLOTS as u32 + slot as u32);
    }

    fn push(&mut self, id: u32, tick: u32, slot: u32) {
        let head = self.head(id, slot);
        let next = std::mem::replace(head, id);
        self.timers[id as usize] = Timer { tick, next, prev: NIL, slot };
        if next != NIL {
            self.timers[next as usize].prev = id;
        }
    }

    /// The head of a timer's list in a slot.
    #[inline]
    fn head(&mut self, id: u32, slot: u32) -> &mut u32 {
        match slot {
            EXPIRED => &mut self.expired,
            slot => &mut self.heads[slot as usize].0[way_of(id)],
        }
    }

    fn unlink(&mut self, id: u32) {
        let Timer { next, prev, slot, .. } = self.timers[id as usize];
        if next != NIL {
            self.timers[next as usize].prev = prev;
        }
        if prev != NIL {
            self.timers[prev as usize].next = next;
        } else {
            *self.head(id, slot) = next;
            if next == NIL && slot != EXPIRED && self.heads[slot as usize].is_empty() {
                let (level, index) = (slot as usize / SLOTS, slot as usize % SLOTS);
                self.occupied[level][index / 64] &= !(1 << (index % 64));
            }
        }
        self.timers[id as usize].slot = UNARMED;
    }

    /// Sorts a slot whose first tick is now: what is due expires, the rest moves down.
    fn move_slot(&mut self, level: usize, index: usize) {
        let slot = level * SLOTS + index;
        while !self.heads[slot].is_empty() {
            let first = self.heads[slot].0;
            // Of use when each list has its next turn.
            for id in first.into_iter().filter(|id| *id != NIL) {
                self.prefetch(self.timers[id as usize].next);
            }
            for id in first.into_iter().filter(|id| *id != NIL) {
                self.sort(id);
            }
        }
    }

    /// Takes a timer of a slot whose first tick is now to where it belongs.
    #[inline]
    fn sort(&mut self, id: u32) {
        self.unlink(id);
        let tick = self.timers[id as usize].tick;
        if tick == self.now as u32 {
            self.push(id, tick, EXPIRED);
        } else {
            let ahead = u64::from(tick.wrapping_sub(self.now as u32));
            self.link(id, self.now + ahead);
        }
    }

    /// The next slot in use: its level and its first tick.
    fn next_slot(&self) -> Option<(usize, u64)> {
        for level in 0..LEVELS {
            let shift = SLOT_BITS * level as u32;
            let here = (self.now >> shift) as usize % SLOTS;
            // Below the top level everything in use lies behind the present slot, else it would
            // differ in a higher digit; the top level wraps.
            if let Some(slot) = self.first_occupied(level, here) {
                let ahead = (slot + SLOTS - here) % SLOTS;
                return Some((level, ((self.now >> shift) + ahead as u64) << shift));
            }
        }
        None
    }

    /// The first slot in use behind `from`, around the end if need be.
    fn first_occupied(&self, level: usize, from: usize) -> Option<usize> {
        let words = &self.occupied[level];
        let (word, bit) = (from / 64, from % 64);
        let behind = words[word] & (!1 << bit);
        if behind != 0 {
            return Some(word * 64 + behind.trailing_zeros() as usize);
        }
        (1..=WORDS)
            .map(|step| (word + step) % WORDS)
            .find_map(|at| (words[at] != 0).then(|| at * 64 + words[at].trailing_zeros() as usize))
    }
}

#[cfg(test)]
mod tests {
    use sluice_base::Rng;

    use super::*;

    fn expired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        wheel.advance(now);
        let mut ids: Vec<u32> = std::iter::from_fn(|| wheel.pop_expired()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn fires_at_its_time_and_not_before() {
        let mut wheel = Wheel::new(4);
        wheel.arm(0, Instant::from_millis(10));
        wheel.arm(1, Instant::from_millis(500));
        wheel.arm(2, Instant::from_millis(100_000));
        assert_eq!(expired(&mut wheel, Instant::from_millis(9)), []);
        assert_eq!(expired(&mut wheel, Instant::from_millis(13)), [0]);
        assert_eq!(expired(&mut wheel, Instant::from_millis(499)), []);
        assert_eq!(expired(&mut wheel, Instant::from_millis(99_999)), [1]);
        assert_eq!(expired(&mut wheel, Instant::from_millis(100_003)), [2]);
        assert_eq!(wheel.next_deadline(), Instant::NEVER);
    }

    #[test]
    fn a_later_deadline_leaves_the_timer_where_it_is() {
        let mut wheel = Wheel::new(1);
        wheel.arm(0, Instant::from_millis(10));
        wheel.arm(0, Instant::from_millis(1000));
        assert_eq!(expired(&mut wheel, Instant::from_millis(20)), [0], "early, to be armed again");
        wheel.arm(0, Instant::from_millis(1000));
        wheel.arm(0, Instant::from_millis(30));
        assert_eq!(expired(&mut wheel, Instant::from_millis(40)), [0], "an earlier one counts");
    }

    #[test]
    fn disarmed_never_fires() {
        let mut wheel = Wheel::new(2);
        wheel.arm(0, Instant::from_millis(10));
        wheel.arm(1, Instant::from_millis(10));
        wheel.disarm(0);
        wheel.disarm(0);
        assert_eq!(expired(&mut wheel, Instant::from_millis(50)), [1]);
        assert_eq!(wheel.next_deadline(), Instant::NEVER);
    }

    /// The past is due at the next tick, once: a timer that keeps asking for the past must not hold
    /// the worker in its loop.
    #[test]
    fn the_past_fires_once_per_advance() {
        let mut wheel = Wheel::new(1);
        let now = Instant::from_millis(1000);
        wheel.advance(now);
        wheel.arm(0, Instant::ZERO);
        assert_eq!(expired(&mut wheel, Instant::from_millis(1003)), [0]);
        wheel.arm(0, Instant::ZERO);
        assert_eq!(expired(&mut wheel, Instant::from_millis(1003)), []);
    }

    #[test]
    fn the_origin_may_be_far_and_the_tick_may_wrap() {
        let mut wheel = Wheel::new(3);
        let start = Instant::from_nanos(((1u64 << 33) - 50) << TICK_BITS);
        wheel.advance(start);
        wheel.arm(0, start.plus_nanos(10 << TICK_BITS));
        wheel.arm(1, start.plus_nanos(100 << TICK_BITS));
        wheel.arm(2, start.plus_nanos(1 << 62));
        assert_eq!(expired(&mut wheel, start.plus_nanos(60 << TICK_BITS)), [0]);
        assert_eq!(expired(&mut wheel, start.plus_nanos(99 << TICK_BITS)), []);
        assert_eq!(expired(&mut wheel, start.plus_nanos(102 << TICK_BITS)), [1]);
        assert!(wheel.next_deadline() < Instant::NEVER, "too far is armed for as far as can be");
    }

    #[test]
    fn agrees_with_a_sorted_list() {
        let mut rng = Rng::new(7);
        let mut wheel = Wheel::new(500);
        let mut model: Vec<Option<u64>> = vec![None; 500];
        let mut now = 0u64;
        for _ in 0..3000 {
            let id = rng.below(500);
            let bits = rng.below(38);
            let deadline = now + (rng.next_u64() & ((1 << bits) - 1));
            if model[id as usize].is_none_or(|armed| deadline < armed) {
                model[id as usize] = Some(deadline);
            }
            wheel.arm(id, Instant::from_nanos(deadline));
            if rng.chance(300_000) {
                let next = wheel.next_deadline();
                let earliest = model.iter().flatten().min().copied().unwrap_or(u64::MAX);
                assert!(next.as_nanos() <= earliest.saturating_add(1 << TICK_BITS), "never late");
                now += rng.next_u64() & ((1 << rng.below(36)) - 1);
                for id in expired(&mut wheel, Instant::from_nanos(now)) {
                    let deadline = model[id as usize].take().expect("only armed timers fire");
                    assert!(deadline <= now, "never early beyond laziness");
                }
                for deadline in model.iter().flatten() {
                    assert!(deadline + (2 << TICK_BITS) > now, "due timers fire");
                }
            }
        }
    }
}
