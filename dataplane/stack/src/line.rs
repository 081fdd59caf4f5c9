//! First-in first-out lines of connections, threaded through the connections themselves.
//!
//! A connection that has something to do is in the caches, and so is the last of the line, which had
//! something to do just before: a table of links beside would be one more line of memory, on one
//! more page, per connection. Nobody leaves a line but at its head; who ends before waits there as
//! [`Queued::Gone`](crate::connection::Queued::Gone).

const NIL: u32 = u32::MAX;

/// The line of who has something to tell.
pub(crate) const READY: usize = 0;
/// The lines of who owes segments.
pub(crate) const OUTPUT: usize = 1;

/// Who is behind whom, by slot: of each kind of line one. Nobody is behind who is in no line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind(pub(crate) [u32; 2]);

impl Behind {
    pub(crate) const NOBODY: Self = Self([NIL; 2]);
}

/// Where it is known who is behind a slot.
pub(crate) trait Links {
    fn behind(&self, slot: u32) -> Option<&Behind>;

    fn behind_mut(&mut self, slot: u32) -> Option<&mut Behind>;
}

/// One line. A slot must not be put into two lines of a kind, nor twice into one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<const KIND: usize> {
    head: u32,
    tail: u32,
    len: u32,
}

impl<const KIND: usize> Line<KIND> {
    pub(crate) const fn new() -> Self {
        Self { head: NIL, tail: NIL, len: 0 }
    }

    /// Puts a slot, behind which nobody is, behind the last one.
    #[inline]
    pub(crate) fn push(&mut self, links: &mut impl Links, slot: u32) {
        match links.behind_mut(self.tail) {
            None => self.head = slot,
            Some(behind) => behind.0[KIND] = slot,
        }
        self.tail = slot;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self, links: &mut impl Links) -> Option<u32> {
        let slot = self.peek()?;
        match links.behind_mut(slot) {
            Some(behind) => self.pass(behind),
            None => *self = Self::new(),
        }
        Some(slot)
    }

    /// Takes off the first one, who is in hand.
    #[inline]
    pub(crate) fn pass(&mut self, first: &mut Behind) {
        self.head = std::mem::replace(&mut first.0[KIND], NIL);
        if self.head == NIL {
            self.tail = NIL;
        }
        self.len -= 1;
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    /// The slot behind one that is in this line.
    #[inline]
    pub(crate) fn behind(links: &impl Links, slot: u32) -> Option<u32> {
        let next = links.behind(slot)?.0[KIND];
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

    impl Links for Vec<Behind> {
        fn behind(&self, slot: u32) -> Option<&Behind> {
            self.get(slot as usize)
        }

        fn behind_mut(&mut self, slot: u32) -> Option<&mut Behind> {
            self.get_mut(slot as usize)
        }
    }

    #[test]
    fn keeps_order_and_may_be_joined_again() {
        let mut links = vec![Behind::NOBODY; 8];
        let mut line = Line::<READY>::new();
        for slot in [3, 1, 7] {
            line.push(&mut links, slot);
        }
        assert_eq!(line.pop(&mut links), Some(3));
        line.push(&mut links, 3);
        assert_eq!(Line::<READY>::behind(&links, 7), Some(3));
        let order: Vec<u32> = std::iter::from_fn(|| line.pop(&mut links)).collect();
        assert_eq!((order, line.len(), line.peek()), (vec![1, 7, 3], 0, None));
        line.push(&mut links, 5);
        assert_eq!((line.pop(&mut links), line.pop(&mut links)), (Some(5), None));
    }

    #[test]
    fn a_slot_may_be_in_one_line_of_each_kind() {
        let mut links = vec![Behind::NOBODY; 4];
        let (mut one, mut other) = (Line::<READY>::new(), Line::<OUTPUT>::new());
        for slot in 0..4 {
            one.push(&mut links, slot);
            other.push(&mut links, 3 - slot);
        }
        assert_eq!(std::iter::from_fn(|| one.pop(&mut links)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(std::iter::from_fn(|| other.pop(&mut links)).collect::<Vec<_>>(), [3, 2, 1, 0]);
    }
}
