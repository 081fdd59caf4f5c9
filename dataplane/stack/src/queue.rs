//! First-in first-out queues of table slots, threaded through arrays that are allocated once.

use sluice_arch::huge_table;

pub(crate) const NIL: u32 = u32::MAX;

/// The links of all slots of a table. A slot is in at most one queue over them.
#[derive(Debug)]
pub(crate) struct Links {
    slots: Vec<Link>,
}

/// Both neighbours of a slot, in one cache line.
#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    prev: u32,
}

impl Links {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots: huge_table(slots as usize, Link { next: NIL, prev: NIL }) }
    }
}

/// One queue. Who is in it is known to the slots; a slot
/// must not be pushed twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    head: u32,
    tail: u32,
    len: u32,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self { head: NIL, tail: NIL, len: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, links: &mut Links, slot: u32) {
        links.slots[slot as usize] = Link { next: NIL, prev: self.tail };
        match self.tail {
            NIL => self.head = slot,
            tail => links.slots[tail as usize].next = slot,
        }
        self.tail = slot;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self, links: &mut Links) -> Option<u32> {
        let slot = self.peek()?;
        let next = links.slots[slot as usize].next;
        self.head = next;
        match next {
            NIL => self.tail = NIL,
            next => links.slots[next as usize].prev = NIL,
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
    pub(crate) fn remove(&mut self, links: &mut Links, slot: u32) {
        let Link { next, prev } = links.slots[slot as usize];
        match prev {
            NIL => self.head = next,
            prev => links.slots[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => links.slots[next as usize].prev = prev,
        }
        self.len -= 1;
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
        let mut links = Links::new(8);
        let mut queue = Queue::new();
        for slot in [3, 1, 7, 5] {
            queue.push(&mut links, slot);
        }
        queue.remove(&mut links, 7);
        queue.remove(&mut links, 5);
        queue.push(&mut links, 0);
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop(&mut links)).collect();
        assert_eq!((order, queue.len()), (vec![3, 1, 0], 0));
    }
}
