//! First-in first-out queues of table slots, threaded through arrays that are allocated once.

use sluice_arch::{huge_table, prefetch_read};

pub(crate) const NIL: u32 = u32::MAX;

/// Of the links of connections: those for the list of who has something to tell.
pub(crate) const READY: usize = 0;
/// And those for lists of who owes segments.
pub(crate) const OUTPUT: usize = 1;

/// The links of all slots of a table, `LISTS` per slot, side by side. A slot is in at most one queue
/// over the same links.
#[derive(Debug)]
pub(crate) struct Links<const LISTS: usize = 1> {
    slots: Vec<[Link; LISTS]>,
}

/// Both neighbours of a slot, in one cache line.
#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    prev: u32,
}

impl<const LISTS: usize> Links<LISTS> {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots: huge_table(slots as usize, [Link { next: NIL, prev: NIL }; LISTS]) }
    }

    /// Asks for the line of a slot.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        prefetch_read(self.slots.as_ptr().wrapping_add(slot as usize));
    }
}

/// One queue, over the links number `LIST` of each slot. Who is in it is known to the slots; a slot
/// must not be pushed twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue<const LIST: usize = 0> {
    head: u32,
    tail: u32,
    len: u32,
}

impl<const LIST: usize> Queue<LIST> {
    pub(crate) const fn new() -> Self {
        Self { head: NIL, tail: NIL, len: 0 }
    }

    #[inline]
    pub(crate) fn push<const LISTS: usize>(&mut self, links: &mut Links<LISTS>, slot: u32) {
        links.slots[slot as usize][LIST] = Link { next: NIL, prev: self.tail };
        match self.tail {
            NIL => self.head = slot,
            tail => links.slots[tail as usize][LIST].next = slot,
        }
        self.tail = slot;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop<const LISTS: usize>(&mut self, links: &mut Links<LISTS>) -> Option<u32> {
        let slot = self.peek()?;
        let next = links.slots[slot as usize][LIST].next;
        self.head = next;
        match next {
            NIL => self.tail = NIL,
            next => links.slots[next as usize][LIST].prev = NIL,
        }
        self.len -= 1;
        Some(slot)
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    /// Takes a slot out of the middle. It must be in this queue.
    #[inline]
    pub(crate) fn remove<const LISTS: usize>(&mut self, links: &mut Links<LISTS>, slot: u32) {
        let Link { next, prev } = links.slots[slot as usize][LIST];
        match prev {
            NIL => self.head = next,
            prev => links.slots[prev as usize][LIST].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => links.slots[next as usize][LIST].prev = prev,
        }
        self.len -= 1;
    }

    /// The slot behind one that is in this queue.
    #[inline]
    pub(crate) fn behind<const LISTS: usize>(links: &Links<LISTS>, slot: u32) -> Option<u32> {
        let next = links.slots[slot as usize][LIST].next;
        (next != NIL).then_some(next)
    }

    #[inline]
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_gives_up_the_middle() {
        let mut links: Links = Links::new(8);
        let mut queue: Queue = Queue::new();
        for slot in [3, 1, 7, 5] {
            queue.push(&mut links, slot);
        }
        queue.remove(&mut links, 7);
        queue.remove(&mut links, 5);
        queue.push(&mut links, 0);
        assert_eq!(Queue::<0>::behind(&links, 3), Some(1));
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop(&mut links)).collect();
        assert_eq!((order, queue.len()), (vec![3, 1, 0], 0));
    }

    #[test]
    fn a_slot_may_be_in_one_queue_of_each_kind() {
        let mut links: Links<2> = Links::new(4);
        let (mut one, mut other) = (Queue::<0>::new(), Queue::<1>::new());
        for slot in 0..4 {
            one.push(&mut links, slot);
            other.push(&mut links, 3 - slot);
        }
        one.remove(&mut links, 1);
        assert_eq!(std::iter::from_fn(|| one.pop(&mut links)).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(std::iter::from_fn(|| other.pop(&mut links)).collect::<Vec<_>>(), [3, 2, 1, 0]);
    }
}
