//! Deadlines of sessions and exchanges: a hierarchical wheel that re-arms lazily.
//!
//! One timer per slot index, 24 bytes each. Moving a deadline *later* (what every byte does) is one
//! store; only moving it *earlier* relinks. An entry that comes up before its deadline goes back
//! into the wheel then. Four levels of 64 buckets, a tick of about 4 ms: 19 hours, beyond which an
//! entry simply comes up early and goes back.
//!
//! ```text
//!   level 0: 64 x 4.2 ms | level 1: 64 x 268 ms | level 2: 64 x 17 s | level 3: 64 x 18 min
//! ```

use sluice_arch::huge_capacity;
use sluice_base::Instant;

/// A tick is 2^22 ns, about 4.2 ms: timeouts of a proxy are seconds, and a coarse tick batches.
const TICK_SHIFT: u32 = 22;
const LEVELS: usize = 4;
const BUCKETS: usize = 64;
const BUCKET_BITS: u32 = 6;
const DUE: u16 = (LEVELS * BUCKETS) as u16;
const UNLINKED: u16 = u16::MAX;
const NIL: u32 = u32::MAX;

const _: () = assert!(BUCKETS == 1 << BUCKET_BITS);

/// Timers for the slots of one table.
#[derive(Debug)]
pub(crate) struct Wheel {
    nodes: Vec<Node>,
    /// First node of each bucket, and of the list of what has come up.
    heads: [u32; LEVELS * BUCKETS + 1],
    /// One bit per bucket that is not empty.
    occupied: [u64; LEVELS],
    /// The last tick that was worked off.
    tick: u64,
    /// No bucket is to be emptied before this tick: asked in every heartbeat, worked out only when
    /// it is reached.
    soonest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: Instant,
    /// Low bits of the tick at which the entry comes up.
    comes_up: u32,
    next: u32,
    prev: u32,
    bucket: u16,
}

const _: () = assert!(size_of::<Node>() == 24);

impl Node {
    const IDLE: Self =
        Self { deadline: Instant::NEVER, comes_up: 0, next: NIL, prev: NIL, bucket: UNLINKED };
}

impl Wheel {
    /// A wheel with room for `slots` timers before it allocates again.
    #[must_use]
    pub(crate) fn with_capacity(slots: usize) -> Self {
        Self {
            nodes: huge_capacity(slots),
            heads: [NIL; LEVELS * BUCKETS + 1],
            occupied: [0; LEVELS],
            tick: 0,
            soonest: u64::MAX,
        }
    }

    /// The timer of slot `index` is due at `deadline` from now on.
    #[inline]
    pub(crate) fn set(&mut self, index: u32, deadline: Instant) {
        if index as usize >= self.nodes.len() {
            self.add_nodes(index);
        }
        let due = tick_after(deadline) as u32;
        let node = &mut self.nodes[index as usize];
        node.deadline = deadline;
        // Linked no later than it is due: it will come up and find out.
        if node.bucket != UNLINKED && due.wrapping_sub(node.comes_up) as i32 >= 0 {
            return;
        }
        self.relink(index);
    }

    #[cold]
    fn add_nodes(&mut self, index: u32) {
        self.nodes.resize(index as usize + 1, Node::IDLE);
    }

    /// The timer of slot `index` is due at `deadline` unless it is due earlier already.
    #[inline]
    pub(crate) fn set_earlier(&mut self, index: u32, deadline: Instant) {
        if deadline < self.deadline(index) {
            self.set(index, deadline);
        }
    }

    /// The timer of slot `index` never comes; its entry leaves the wheel when it comes up.
    #[inline]
    pub(crate) fn clear(&mut self, index: u32) {
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.deadline = Instant::NEVER;
        }
    }

    /// Takes one timer whose deadline is at or before `now`. It is idle afterwards.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        loop {
            let index = self.heads[usize::from(DUE)];
            if index == NIL {
                if !self.advance(now) {
                    return None;
                }
                continue;
            }
            self.unlink(index);
            let node = &mut self.nodes[index as usize];
            if node.deadline <= now {
                node.deadline = Instant::NEVER;
                return Some(index);
            }
            if node.deadline != Instant::NEVER {
                self.relink(index);
            }
        }
    }

    /// When the timer of slot `index` is due.
    #[inline]
    #[must_use]
    pub(crate) fn deadline(&self, index: u32) -> Instant {
        self.nodes.get(index as usize).map_or(Instant::NEVER, |node| node.deadline)
    }

    /// When [`Wheel::pop_due`] may have something next; never too late, sometimes early.
    #[inline]
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Instant {
        if self.heads[usize::from(DUE)] != NIL {
            return Instant::ZERO;
        }
        if self.soonest == u64::MAX {
            return Instant::NEVER;
        }
        Instant::from_nanos(self.soonest << TICK_SHIFT)
    }

    /// Works off ticks until something came up or `now` is reached; false: nothing came up.
    fn advance(&mut self, now: Instant) -> bool {
        let target = now.as_nanos() >> TICK_SHIFT;
        while self.soonest <= target {
            let next = self.next_tick().unwrap_or(u64::MAX);
            self.soonest = next;
            if next > target {
                break;
            }
            self.tick = next;
            for level in (1..LEVELS).rev() {
                if next & ((1 << (BUCKET_BITS * level as u32)) - 1) == 0 {
                    self.empty_bucket(level, next);
                }
            }
            self.empty_bucket(0, next);
            if self.heads[usize::from(DUE)] != NIL {
                return true;
            }
        }
        self.tick = self.tick.max(target);
        false
    }

    /// The next tick with a bucket to empty.
    fn next_tick(&self) -> Option<u64> {
        let mut earliest = None;
        for (level, &bits) in self.occupied.iter().enumerate() {
            if bits == 0 {
                continue;
            }
            let shift = BUCKET_BITS * level as u32;
            let base = self.tick >> shift;
            // Bit 0 after the rotation is the bucket behind the current one.
            let ahead = bits.rotate_right(((base + 1) & 63) as u32).trailing_zeros();
            let tick = (base + 1 + u64::from(ahead)) << shift;
            earliest = Some(earliest.map_or(tick, |found: u64| found.min(tick)));
        }
        earliest
    }

    /// Entries of the bucket at `tick` come up or move to a finer level.
    fn empty_bucket(&mut self, level: usize, tick: u64) {
        let bucket = level * BUCKETS + ((tick >> (BUCKET_BITS * level as u32)) & 63) as usize;
        while self.heads[bucket] != NIL {
            let index = self.heads[bucket];
            self.unlink(index);
            if self.nodes[index as usize].deadline != Instant::NEVER {
                self.relink(index);
            }
        }
    }

    fn relink(&mut self, index: u32) {
        if self.nodes[index as usize].bucket != UNLINKED {
            self.unlink(index);
        }
        let deadline = self.nodes[index as usize].deadline;
        if deadline == Instant::NEVER {
            return;
        }
        let due = tick_after(deadline);
        let (bucket, comes_up) = self.bucket_for(due);
        if bucket != DUE {
            let shift = BUCKET_BITS * (u32::from(bucket) / BUCKETS as u32);
            self.soonest = self.soonest.min((comes_up >> shift) << shift);
        }
        let head = self.heads[usize::from(bucket)];
        if head != NIL {
            self.nodes[head as usize].prev = index;
        }
        let node = &mut self.nodes[index as usize];
        (node.next, node.prev, node.bucket) = (head, NIL, bucket);
        node.comes_up = comes_up as u32;
        self.heads[usize::from(bucket)] = index;
        if bucket != DUE {
            self.occupied[usize::from(bucket) / BUCKETS] |= 1 << (usize::from(bucket) % BUCKETS);
        }
    }

    /// The bucket for an entry that is due at tick `due`, and when that bucket is emptied.
    fn bucket_for(&self, due: u64) -> (u16, u64) {
        if due <= self.tick {
            return (DUE, due);
        }
        for level in 0..LEVELS {
            let shift = BUCKET_BITS * level as u32;
            if (due >> shift) - (self.tick >> shift) < BUCKETS as u64 {
                let bucket = level * BUCKETS + ((due >> shift) & 63) as usize;
                return (bucket as u16, due);
            }
        }
        let shift = BUCKET_BITS * (LEVELS as u32 - 1);
        let last = (self.tick >> shift) + BUCKETS as u64 - 1;
        (((LEVELS - 1) * BUCKETS + (last & 63) as usize) as u16, last << shift)
    }

    fn unlink(&mut self, index: u32) {
        let Node { next, prev, bucket, .. } = self.nodes[index as usize];
        if prev == NIL {
            self.heads[usize::from(bucket)] = next;
            if next == NIL && bucket != DUE {
                let bit = 1 << (usize::from(bucket) % BUCKETS);
                self.occupied[usize::from(bucket) / BUCKETS] &= !bit;
            }
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        let node = &mut self.nodes[index as usize];
        (node.next, node.prev, node.bucket) = (NIL, NIL, UNLINKED);
    }
}

/// The first tick that begins at or after `deadline`, so that nothing fires before it.
#[inline]
fn tick_after(deadline: Instant) -> u64 {
    (deadline.as_nanos() >> TICK_SHIFT) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut found = Vec::new();
        while let Some(index) = wheel.pop_due(now) {
            found.push(index);
        }
        found
    }

    #[test]
    fn comes_when_due_and_not_before() {
        let mut wheel = Wheel::with_capacity(4);
        wheel.set(2, Instant::from_millis(15_000));
        assert!(due(&mut wheel, Instant::from_millis(14_999)).is_empty());
        assert_eq!(due(&mut wheel, Instant::from_millis(15_005)), [2]);
        assert!(due(&mut wheel, Instant::from_millis(90_000)).is_empty());
        assert_eq!(wheel.next_deadline(), Instant::NEVER);
    }

    #[test]
    fn later_is_lazy_and_earlier_is_not() {
        let mut wheel = Wheel::with_capacity(4);
        wheel.set(0, Instant::from_millis(100));
        wheel.set(0, Instant::from_millis(10_000));
        assert!(due(&mut wheel, Instant::from_millis(200)).is_empty());
        wheel.set(0, Instant::from_millis(300));
        assert_eq!(due(&mut wheel, Instant::from_millis(310)), [0]);
    }

    #[test]
    fn a_cleared_timer_never_comes() {
        let mut wheel = Wheel::with_capacity(1);
        wheel.set(0, Instant::from_millis(50));
        wheel.clear(0);
        assert!(due(&mut wheel, Instant::from_millis(10_000)).is_empty());
        assert_eq!(wheel.next_deadline(), Instant::NEVER);
    }

    #[test]
    fn days_are_beyond_the_wheel_and_still_come() {
        let mut wheel = Wheel::with_capacity(1);
        let deadline = Instant::from_millis(100 * 3_600_000);
        wheel.set(0, deadline);
        let mut now = Instant::ZERO;
        while wheel.pop_due(now).is_none() {
            let next = wheel.next_deadline();
            assert!(next > now, "the wheel must make progress");
            now = next;
        }
        assert!(now >= deadline && now.nanos_since(deadline) < 10_000_000);
    }

    /// Compared with a plain list over random operations.
    #[test]
    fn agrees_with_a_list() {
        let mut rng = sluice_base::Rng::new(11);
        let mut wheel = Wheel::with_capacity(64);
        let mut model = [Instant::NEVER; 64];
        let mut now = Instant::ZERO;
        for _ in 0..20_000 {
            let index = rng.below(64);
            match rng.below(4) {
                0 => {
                    wheel.clear(index);
                    model[index as usize] = Instant::NEVER;
                }
                1 | 2 => {
                    let reach = [10_000_000, 1_000_000_000, 60_000_000_000, 7_200_000_000_000];
                    let span = reach[rng.below(4) as usize];
                    let deadline = now.plus_nanos(rng.next_u64() % span);
                    wheel.set(index, deadline);
                    model[index as usize] = deadline;
                }
                _ => {
                    now = now.plus_nanos(rng.next_u64() % 3_000_000_000);
                    let mut came = due(&mut wheel, now);
                    came.sort_unstable();
                    let margin = 1 << TICK_SHIFT;
                    for (slot, deadline) in model.iter_mut().enumerate() {
                        if came.contains(&(slot as u32)) {
                            assert!(*deadline <= now, "never early");
                            *deadline = Instant::NEVER;
                        } else {
                            assert!(deadline.plus_nanos(margin) > now, "at most a tick late");
                        }
                    }
                }
            }
        }
    }
}
