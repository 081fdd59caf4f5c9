//! Streams of a connection: a slab, ids to slots, and the lists of those that may send.
//!
//! ```text
//!   ids:    open addressing by id / 2: consecutive ids are neighbours and never collide
//!   slots:  Stream | Stream | (free) | Stream ...
//!   ready:  by urgency 0..7, round robin inside: streams with bytes to send and a window
//! ```
//!
//! A stream that is complete leaves at once; of closed ones nothing is kept here. A peer that chooses
//! its ids so that they collide makes a look-up walk over its own streams, of which there are as many
//! as we allow.

use crate::state::Stream;

/// No slot.
pub(crate) const NIL: u16 = u16::MAX;

/// Urgencies of RFC 9218, 4.1.
const URGENCIES: usize = 8;
/// Every so many bursts the least urgent stream is served, so that none starves.
const LEAST_URGENT_TURN: u8 = 16;

/// Streams that a connection which is used again keeps room for: what most may have.
const KEPT: usize = 128;

/// All streams of a connection.
#[derive(Debug)]
pub(crate) struct Streams {
    slots: Vec<Stream>,
    /// First free slot, linked by `next`.
    free: u16,
    len: u16,
    /// (id, slot); id 0: empty.
    ids: Vec<(u32, u16)>,
    /// Ids that are not where they would be in an empty table: none, unless a peer skips ids.
    displaced: u16,
    heads: [u16; URGENCIES],
    tails: [u16; URGENCIES],
    /// One bit per urgency with ready streams.
    ready: u8,
    turn: u8,
}

impl Streams {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            len: 0,
            ids: Vec::new(),
            displaced: 0,
            heads: [NIL; URGENCIES],
            tails: [NIL; URGENCIES],
            ready: 0,
            turn: 0,
        }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        u32::from(self.len)
    }

    /// The slot of a stream.
    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<u16> {
        let mask = self.ids.len().checked_sub(1)?;
        let mut at = (id >> 1) as usize & mask;
        loop {
            let (there, slot) = self.ids[at];
            // Also of id 0, which is nobody's.
            if there == 0 {
                return None;
            }
            if there == id {
                return Some(slot);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a stream; the caller bounds their number.
    #[inline]
    pub(crate) fn insert(&mut self, stream: Stream) -> u16 {
        debug_assert!(self.find(stream.id).is_none(), "an id is used once");
        // Ids that follow each other do not collide, however full it is: 100 streams have 128 places.
        if usize::from(self.len) * 8 >= self.ids.len() * 7 {
            self.grow();
        }
        let slot = self.free;
        let id = stream.id;
        let slot = if slot == NIL {
            self.add(stream)
        } else {
            let place = &mut self.slots[usize::from(slot)];
            self.free = place.next;
            *place = stream;
            slot
        };
        self.place(id, slot);
        self.len += 1;
        slot
    }

    /// Appends a slot. Room grows by an eighth, not to the double: streams that wait are as many as the
    /// peer may have, and their connection keeps them for long.
    #[cold]
    fn add(&mut self, stream: Stream) -> u16 {
        let len = self.slots.len();
        if len == self.slots.capacity() {
            self.slots.reserve_exact((len / 8).max(8));
        }
        self.slots.push(stream);
        len as u16
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.ids.len() * 2).max(8);
        let old = std::mem::replace(&mut self.ids, vec![(0, NIL); size]);
        self.displaced = 0;
        for (id, slot) in old {
            if id != 0 {
                self.place(id, slot);
            }
        }
    }

    fn place(&mut self, id: u32, slot: u16) {
        let mask = self.ids.len() - 1;
        let home = (id >> 1) as usize & mask;
        let mut at = home;
        while self.ids[at].0 != 0 {
            at = (at + 1) & mask;
        }
        self.displaced += u16::from(at != home);
        self.ids[at] = (id, slot);
    }

    /// Removes a stream with what it held.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u16) {
        self.unready(slot);
        let stream = &mut self.slots[usize::from(slot)];
        let id = std::mem::take(&mut stream.id);
        stream.queue.clear();
        stream.tail.clear();
        stream.next = self.free;
        self.free = slot;
        self.len -= 1;
        self.forget(id);
    }

    /// Whether there are none, and room for some.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.len == 0 && self.slots.capacity() > 0
    }

    /// Removes all; keeps memory for as many as most connections have.
    pub(crate) fn clear(&mut self) {
        let (mut slots, mut ids) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.ids));
        slots.clear();
        if slots.capacity() > KEPT || ids.len() > 2 * KEPT {
            (slots, ids) = (Vec::new(), Vec::new());
        }
        ids.fill((0, NIL));
        *self = Self { slots, ids, ..Self::new() };
    }

    /// Takes an id out of the table.
    #[inline]
    fn forget(&mut self, id: u32) {
        let mask = self.ids.len() - 1;
        let home = (id >> 1) as usize & mask;
        if self.displaced == 0 {
            // Nobody looks for anything behind a gap.
            self.ids[home] = (0, NIL);
        } else {
            self.forget_among(id, home, mask);
        }
    }

    /// The same where some are not at home: closes the gap.
    #[cold]
    fn forget_among(&mut self, id: u32, home: usize, mask: usize) {
        let mut at = home;
        while self.ids[at].0 != id {
            at = (at + 1) & mask;
        }
        self.displaced -= u16::from(at != home);
        let mut gap = at;
        loop {
            at = (at + 1) & mask;
            let (next, slot) = self.ids[at];
            if next == 0 {
                break;
            }
            let home = (next >> 1) as usize & mask;
            // It may move into the gap if that is not in front of its home.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.displaced -= u16::from(gap == home);
                self.ids[gap] = (next, slot);
                gap = at;
            }
        }
        self.ids[gap] = (0, NIL);
    }

    #[inline]
    pub(crate) fn get(&self, slot: u16) -> &Stream {
        &self.slots[usize::from(slot)]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u16) -> &mut Stream {
        &mut self.slots[usize::from(slot)]
    }

    /// Slots that are in use, from `from` on.
    pub(crate) fn next_used(&self, from: u16) -> Option<u16> {
        let rest = self.slots.get(usize::from(from)..)?;
        let nth = rest.iter().position(|stream| stream.id != 0)?;
        Some(from + nth as u16)
    }

    /// Whether any stream may send, as far as its own window goes.
    #[inline]
    pub(crate) fn any_ready(&self) -> bool {
        self.ready != 0
    }

    /// Puts a stream at the end of its list, if it may send and is in none.
    pub(crate) fn make_ready(&mut self, slot: u16) {
        let stream = &mut self.slots[usize::from(slot)];
        if stream.is_ready || stream.queue.is_empty() || stream.send_window <= 0 || stream.held {
            return;
        }
        let list = usize::from(stream.urgency) % URGENCIES;
        let last = self.tails[list];
        (stream.is_ready, stream.next, stream.prev) = (true, NIL, last);
        self.tails[list] = slot;
        if last == NIL {
            self.heads[list] = slot;
            self.ready |= 1 << list;
        } else {
            self.slots[usize::from(last)].next = slot;
        }
    }

    /// Takes a stream off its list.
    #[inline]
    pub(crate) fn unready(&mut self, slot: u16) {
        if self.slots[usize::from(slot)].is_ready {
            self.unlink(slot);
        }
    }

    fn unlink(&mut self, slot: u16) {
        let stream = &mut self.slots[usize::from(slot)];
        stream.is_ready = false;
        let (next, prev, list) =
            (stream.next, stream.prev, usize::from(stream.urgency) % URGENCIES);
        (stream.next, stream.prev) = (NIL, NIL);
        match prev {
            NIL => self.heads[list] = next,
            prev => self.slots[usize::from(prev)].next = next,
        }
        match next {
            NIL => self.tails[list] = prev,
            next => self.slots[usize::from(next)].prev = prev,
        }
        if self.heads[list] == NIL {
            self.ready &= !(1 << list);
        }
    }

    /// Changes a stream's urgency; in a list it goes to the end of the other one.
    pub(crate) fn set_urgency(&mut self, slot: u16, urgency: u8) {
        let was_ready = self.get(slot).is_ready;
        self.unready(slot);
        self.get_mut(slot).urgency = urgency.min(URGENCIES as u8 - 1);
        if was_ready {
            self.make_ready(slot);
        }
    }

    /// Whose turn it is: the first of the most urgent, now and then of the least urgent.
    #[inline]
    pub(crate) fn next_ready(&mut self) -> Option<u16> {
        if self.ready == 0 {
            return None;
        }
        self.turn = (self.turn + 1) % LEAST_URGENT_TURN;
        let list = match self.turn {
            0 => self.ready.ilog2(),
            _ => self.ready.trailing_zeros(),
        };
        Some(self.heads[list as usize])
    }

    /// Bytes of memory beyond the struct itself.
    pub(crate) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Stream>() + self.ids.capacity() * size_of::<(u32, u16)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_base::Rng;
    use std::collections::BTreeMap;

    #[test]
    fn room_is_for_hardly_more_than_there_are() {
        let mut streams = Streams::new();
        for number in 0..3_000_u32 {
            streams.insert(Stream::new(2 * number + 1, 1));
            let (len, room) = (streams.slots.len(), streams.slots.capacity());
            assert!(room <= len + (len / 8).max(8), "{room} for {len}");
            let places = streams.ids.len();
            assert!((len + 1..=8.max(len * 16 / 7)).contains(&places), "{places} for {len}");
        }
    }

    #[test]
    fn ids_find_their_slots_whatever_came_and_went() {
        let mut rng = Rng::new(7);
        let (mut streams, mut twin) = (Streams::new(), BTreeMap::new());
        for round in 0..20_000_u32 {
            // Ids far apart collide in the table: half of them are multiples of its size.
            let id = (rng.next_u64() as u32 % 64) * if round % 2 == 0 { 2 } else { 1_024 } + 1;
            match twin.remove(&id) {
                Some(slot) => {
                    assert_eq!(streams.find(id), Some(slot));
                    streams.remove(slot);
                }
                None => {
                    let slot = streams.insert(Stream::new(id, 1));
                    assert_eq!(twin.insert(id, slot), None);
                }
            }
            assert_eq!(streams.find(id), twin.get(&id).copied());
            assert_eq!(streams.len() as usize, twin.len());
        }
        let mask = streams.ids.len() - 1;
        let away = |at: usize, id: u32| id != 0 && (id >> 1) as usize & mask != at;
        let displaced = streams.ids.iter().enumerate().filter(|(at, (id, _))| away(*at, *id));
        assert_eq!(displaced.count(), usize::from(streams.displaced));
        for (id, slot) in &twin {
            assert_eq!(streams.find(*id), Some(*slot));
            assert_eq!(streams.get(*slot).id, *id);
        }
        for slot in twin.values() {
            streams.remove(*slot);
        }
        assert_eq!((streams.len(), streams.is_roomy()), (0, true));
        let memory = streams.memory();
        streams.clear();
        assert_eq!((streams.find(1), streams.memory()), (None, memory), "as many as most have");
        for id in 0..200 {
            streams.insert(Stream::new(2 * id + 1, 1));
        }
        streams.clear();
        assert_eq!((streams.len(), streams.memory()), (0, 0), "more is not kept");
    }
}
