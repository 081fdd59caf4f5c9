//! A hierarchical timer wheel.
//!
//! ```text
//!   level 2   2048 slots of 2^22 ticks   (circular: 104 days)
//!   level 1   2048 slots of 2^11 ticks
//!   level 0   2048 slots of 1 tick       one tick is 2^20 ns, about 1.05 ms
//! ```
//!
//! A timer stands in the lowest level whose slots reach as far as it is ahead: what a connection
//! waits for while it speaks is less than two seconds ahead, goes to level 0 and never moves. Arming,
//! disarming and firing are O(1); a timer moves down at most twice. A bitmap per level finds the next
//! slot in use, so that advancing over idle time costs nothing.
//!
//! A slot is a chain of [`Chunk`]s of one cache line, filled one behind the other. So many timers as
//! there are connections are far from every cache, and lists from timer to timer would wait for two
//! of them with every step; here arming writes behind what was armed just before, and firing reads
//! fourteen at once. A timer itself is eight bytes: when, and where it stands.
//!
//! What was armed within the present tick is *young* and stands in no slot yet: most of what a
//! connection waits for comes within microseconds, and who waits no longer disarms at the price of
//! two stores.
//!
//! Re-arming is lazy: a timer that is set to a *later* point stays where it is and fires early; the
//! owner looks at its deadline then and arms again. A connection moves its retransmission timer
//! with every ACK and pays for it twice a second.

use sluice_arch::{huge_table, prefetch_read};
use sluice_base::Instant;

/// Nanoseconds per tick, as a power of two.
const TICK_BITS: u32 = 20;
const SLOT_BITS: u32 = 11;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 3;
const WORDS: usize = SLOTS / 64;
/// Further than that is armed as that, and fires early.
const DELTA_MAX: u64 = 1 << 31;
/// Timers of a chunk.
const CHUNK: usize = 14;
/// Distance of the places of two chunks.
const STRIDE: u32 = 16;

const NIL: u32 = u32::MAX;
const UNARMED: u32 = u32::MAX;
/// In a place: among the young ones.
const YOUNG: u32 = 1 << 31;

const _: () = assert!(DELTA_MAX < 1 << (SLOT_BITS * LEVELS as u32), "the top level does not lap");
const _: () = assert!(CHUNK <= STRIDE as usize);

/// One timer, kept by who owns it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    /// Low bits of the tick for which it is armed.
    tick: u32,
    /// Its chunk, times [`STRIDE`], and its place there; or [`YOUNG`] and its place among those.
    at: u32,
}

impl Timer {
    pub(crate) const UNARMED: Self = Self { tick: 0, at: UNARMED };
}

/// Where timers are, by their ids.
pub(crate) trait Timers {
    /// The timer with an id, if there is one.
    fn timer(&mut self, id: u32) -> Option<&mut Timer>;

    /// Asks for the line of a timer.
    fn prefetch(&self, id: u32);
}

impl Timers for Vec<Timer> {
    #[inline]
    fn timer(&mut self, id: u32) -> Option<&mut Timer> {
        self.get_mut(id as usize)
    }

    #[inline]
    fn prefetch(&self, id: u32) {
        prefetch_read(self.as_ptr().wrapping_add(id as usize));
    }
}

/// Some timers of a slot, or a link in the chain of free ones.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Chunk {
    ids: [u32; CHUNK],
    slot: u32,
    /// The next chunk of its chain.
    behind: u32,
}

/// The first chunk of a slot, the only one that is not full.
#[derive(Clone, Copy, Debug)]
struct Head {
    chunk: u32,
    /// Timers in it.
    len: u32,
}

/// When timers fire of which there are at most a fixed number.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The tick whose timers are taken; all before it were.
    now: u64,
    /// Up to which tick timers are due.
    due_until: u64,
    heads: Vec<Head>,
    chunks: Vec<Chunk>,
    /// The first free chunk.
    free: u32,
    /// What was armed in this tick, [`NIL`] where it was disarmed.
    young: Vec<u32>,
    occupied: [[u64; WORDS]; LEVELS],
    /// No slot in use begins before this tick: asked in every heartbeat, worked out only when it is
    /// reached.
    soonest: u64,
}

impl Wheel {
    /// A wheel for so many timers, of which at most `young` are young at a time.
    pub(crate) fn new(timers: u32, young: u32) -> Self {
        // Of each slot in use one chunk is not full.
        let chunks = timers.min(timers / CHUNK as u32 + (LEVELS * SLOTS) as u32);
        let unused = Chunk { ids: [NIL; CHUNK], slot: NIL, behind: NIL };
        let mut chunks = huge_table(chunks as usize, unused);
        let count = chunks.len() as u32;
        for (at, chunk) in chunks.iter_mut().enumerate() {
            let next = at as u32 + 1;
            chunk.behind = if next < count { next } else { NIL };
        }
        Self {
            now: 0,
            due_until: 0,
            heads: vec![Head { chunk: NIL, len: 0 }; LEVELS * SLOTS],
            chunks,
            free: if count > 0 { 0 } else { NIL },
            young: Vec::with_capacity(young.min(timers) as usize),
            occupied: [[0; WORDS]; LEVELS],
            soonest: u64::MAX,
        }
    }

    /// Makes the timer fire at `deadline`, or before. A timer that is armed for an earlier point
    /// stays so; [`Instant::NEVER`] changes nothing.
    #[inline]
    pub(crate) fn arm(&mut self, timers: &mut impl Timers, id: u32, deadline: Instant) {
        if deadline == Instant::NEVER {
            return;
        }
        let tick = self.tick_of(deadline);
        let Some(timer) = timers.timer(id) else { return };
        if timer.at == UNARMED {
            if self.young.len() == self.young.capacity() {
                return self.link(timers, id, tick);
            }
            *timer = Timer { tick: tick as u32, at: YOUNG | self.young.len() as u32 };
            return self.young.push(id);
        }
        let armed_for = self.now + u64::from(timer.tick.wrapping_sub(self.now as u32));
        if armed_for <= tick {
            return;
        }
        if timer.at & YOUNG != 0 {
            timer.tick = tick as u32;
            return;
        }
        let at = timer.at;
        self.unlink(timers, id, at);
        self.link(timers, id, tick);
    }

    /// Makes the timer not fire.
    pub(crate) fn disarm(&mut self, timers: &mut impl Timers, id: u32) {
        let Some(timer) = timers.timer(id) else { return };
        let at = std::mem::replace(&mut timer.at, UNARMED);
        if at == UNARMED {
            return;
        }
        if at & YOUNG != 0 {
            self.young[(at & !YOUNG) as usize] = NIL;
        } else {
            self.unlink(timers, id, at);
        }
    }

    /// What is due at `now` is taken from now on by [`Wheel::take_expired`].
    #[inline]
    pub(crate) fn advance(&mut self, timers: &mut impl Timers, now: Instant) {
        let tick = now.as_nanos() >> TICK_BITS;
        if tick > self.due_until {
            self.due_until = tick;
            self.settle_young(timers);
        }
        if self.soonest > self.due_until {
            self.now = self.due_until;
        }
    }

    /// As many timers as `into` has room for that were due at the last [`Wheel::advance`]; they are
    /// unarmed now. Gives how many there were: none when all were taken.
    pub(crate) fn take_expired(&mut self, timers: &mut impl Timers, into: &mut [u32]) -> usize {
        let mut count = 0;
        while count < into.len() && self.find_due(timers) {
            let slot = self.now as usize % SLOTS;
            let Head { chunk, len } = self.heads[slot];
            let taken = (len as usize).min(into.len() - count);
            let left = len as usize - taken;
            let ids = &self.chunks[chunk as usize].ids[left..len as usize];
            into[count..count + taken].copy_from_slice(ids);
            for id in ids {
                timers.prefetch(*id);
            }
            count += taken;
            self.heads[slot].len = left as u32;
            if left == 0 {
                self.drop_chunk(slot);
            }
        }
        for id in &into[..count] {
            if let Some(timer) = timers.timer(*id) {
                timer.at = UNARMED;
            }
        }
        count
    }

    /// As [`Wheel::take_expired`], one.
    #[inline]
    pub(crate) fn pop_expired(&mut self, timers: &mut impl Timers) -> Option<u32> {
        let mut id = [0];
        (self.take_expired(timers, &mut id) > 0).then_some(id[0])
    }

    /// When to advance next: never late, early when timers must only move down a level.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Instant {
        let soonest = match self.young.is_empty() {
            true => self.soonest,
            false => self.soonest.min(self.due_until + 1),
        };
        if soonest == u64::MAX {
            return Instant::NEVER;
        }
        Instant::from_nanos(soonest << TICK_BITS)
    }

    /// Takes what was armed in the tick that is over to its slots.
    fn settle_young(&mut self, timers: &mut impl Timers) {
        let mut young = std::mem::take(&mut self.young);
        for id in young.drain(..).filter(|id| *id != NIL) {
            let Some(timer) = timers.timer(id) else { continue };
            let ahead = timer.tick.wrapping_sub(self.now as u32);
            self.link(timers, id, self.now + u64::from(ahead));
        }
        self.young = young;
    }

    /// The first tick at or behind `deadline` that is still to come.
    #[inline]
    fn tick_of(&self, deadline: Instant) -> u64 {
        let tick = (deadline.as_nanos() >> TICK_BITS).saturating_add(1);
        tick.max(self.due_until + 1).min(self.now + DELTA_MAX)
    }

    /// Goes to the next tick that is due and has timers; false: there is none.
    fn find_due(&mut self, timers: &mut impl Timers) -> bool {
        while self.heads[self.now as usize % SLOTS].chunk == NIL {
            if self.soonest <= self.due_until {
                self.soonest = self.next_slot().unwrap_or(u64::MAX);
            }
            if self.soonest > self.due_until {
                self.now = self.due_until;
                return false;
            }
            self.now = self.soonest;
            for level in (1..LEVELS).rev() {
                self.move_down(timers, level);
            }
        }
        true
    }

    /// Moves the timers of a slot that begins now to where they belong.
    fn move_down(&mut self, timers: &mut impl Timers, level: usize) {
        let shift = SLOT_BITS * level as u32;
        if self.now & ((1 << shift) - 1) != 0 {
            return;
        }
        let slot = level * SLOTS + (self.now >> shift) as usize % SLOTS;
        while self.heads[slot].chunk != NIL {
            let Head { chunk, len } = self.heads[slot];
            let Chunk { ids, .. } = self.chunks[chunk as usize];
            self.drop_chunk(slot);
            for id in &ids[..len as usize] {
                timers.prefetch(*id);
            }
            for id in &ids[..len as usize] {
                let Some(timer) = timers.timer(*id) else { continue };
                let ahead = timer.tick.wrapping_sub(self.now as u32);
                self.link(timers, *id, self.now + u64::from(ahead));
            }
        }
    }

    #[inline]
    fn link(&mut self, timers: &mut impl Timers, id: u32, tick: u64) {
        let Some(timer) = timers.timer(id) else { return };
        let mut level = 0;
        let mut begins = tick;
        // Most go to the first.
        while begins - (self.now >> (SLOT_BITS * level)) >= SLOTS as u64 {
            level += 1;
            begins >>= SLOT_BITS;
        }
        self.soonest = self.soonest.min(begins << (SLOT_BITS * level));
        let index = begins as usize % SLOTS;
        let slot = level as usize * SLOTS + index;
        let mut head = self.heads[slot];
        if head.chunk == NIL || head.len as usize == CHUNK {
            if head.chunk == NIL {
                self.occupied[level as usize][index / 64] |= 1 << (index % 64);
            }
            head = Head { chunk: self.add_chunk(slot as u32, head.chunk), len: 0 };
        }
        self.chunks[head.chunk as usize].ids[head.len as usize] = id;
        *timer = Timer { tick: tick as u32, at: head.chunk * STRIDE + head.len };
        self.heads[slot] = Head { len: head.len + 1, ..head };
    }

    /// Takes a chunk from the free ones, of which there are as many as can be needed.
    fn add_chunk(&mut self, slot: u32, behind: u32) -> u32 {
        let added = self.free;
        let chunk = &mut self.chunks[added as usize];
        self.free = chunk.behind;
        (chunk.slot, chunk.behind) = (slot, behind);
        added
    }

    /// Gives back the first chunk of a slot.
    fn drop_chunk(&mut self, slot: usize) {
        let dropped = self.heads[slot].chunk;
        let chunk = &mut self.chunks[dropped as usize];
        let behind = std::mem::replace(&mut chunk.behind, self.free);
        self.free = dropped;
        self.heads[slot] = Head { chunk: behind, len: CHUNK as u32 };
        if behind == NIL {
            let (level, index) = (slot / SLOTS, slot % SLOTS);
            self.occupied[level][index / 64] &= !(1 << (index % 64));
        } else {
            prefetch_read(&self.chunks[behind as usize]);
        }
    }

    /// Takes a timer out that stands at `at`: the last one of its slot comes in its place.
    fn unlink(&mut self, timers: &mut impl Timers, id: u32, at: u32) {
        let slot = self.chunks[(at / STRIDE) as usize].slot as usize;
        let Head { chunk, len } = self.heads[slot];
        let last = self.chunks[chunk as usize].ids[len as usize - 1];
        if last != id {
            self.chunks[(at / STRIDE) as usize].ids[(at % STRIDE) as usize] = last;
            if let Some(timer) = timers.timer(last) {
                timer.at = at;
            }
        }
        self.heads[slot].len = len - 1;
        if len == 1 {
            self.drop_chunk(slot);
            if self.heads[slot].chunk == NIL {
                self.soonest = self.next_slot().unwrap_or(u64::MAX);
            }
        }
    }

    /// The first tick of the next slot in use.
    fn next_slot(&self) -> Option<u64> {
        let begins = |level: usize| {
            let shift = SLOT_BITS * level as u32;
            let here = self.now >> shift;
            let ahead = self.first_occupied(level, here as usize % SLOTS)?;
            Some((here + ahead as u64) << shift)
        };
        (0..LEVELS).filter_map(begins).min()
    }

    /// How far ahead of `from` the next slot in use is, around the end if need be.
    fn first_occupied(&self, level: usize, from: usize) -> Option<usize> {
        let words = &self.occupied[level];
        let (word, bit) = (from / 64, from % 64);
        let behind = words[word] & (!0 << bit);
        if behind != 0 {
            return Some(behind.trailing_zeros() as usize - bit);
        }
        (1..=WORDS)
            .map(|step| (word + step) % WORDS)
            .find_map(|at| (words[at] != 0).then(|| at * 64 + words[at].trailing_zeros() as usize))
            .map(|slot| (slot + SLOTS - from) % SLOTS)
    }
}

#[cfg(test)]
mod tests;
