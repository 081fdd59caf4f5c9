//! State that only some connections need, made at start and lent.
//!
//! A connection with losses, or with several bursts under way, has a scoreboard; one with a hole in
//! what it received has a queue for what lies ahead of it. They are kept on shelves, so that a loss
//! does not allocate, and find their way back when they are dropped. An empty shelf is counted, and
//! the connection makes do: it repairs losses like one without SACK, or drops what is out of order.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use crate::congestion::{Bbr, CongestionKind};
use crate::flight::{Flight, Ranges};
use crate::limits;
use crate::recv::{Pieces, Reassembly};

/// What is made ready for its next use when it comes back.
pub(crate) trait Recycle {
    /// Gives up what the last user left in it, but not its memory.
    fn recycle(&mut self);
}

/// The shelves of one stack.
#[derive(Debug)]
pub struct Spares {
    pub(crate) flights: Rc<Shelf<Flight>>,
    pub(crate) reassemblies: Rc<Shelf<Reassembly>>,
    pub(crate) models: Rc<Shelf<Bbr>>,
    /// Models of BBR to make when somebody asks for them.
    models_max: u32,
}

impl Spares {
    /// Enough for a stack of so many connections: an eighth of them may be in the middle of a loss at
    /// a time, and a sixteenth of those in a bad one, up to a bound.
    #[must_use]
    pub fn new(connections: u32) -> Self {
        let lent = (connections / 8).clamp(limits::SPARES_MIN, limits::SPARES_MAX);
        Self { models_max: connections.min(limits::MODELS_MAX), ..Self::of(lent) }
    }

    /// So many of each.
    #[must_use]
    pub fn of(count: u32) -> Self {
        let count = count as usize;
        let large = count / 16;
        let ranges = Shelf::new(large, |_| Ranges::large());
        let pieces = Shelf::new(large, |_| Pieces::large());
        Self {
            flights: Shelf::new(count, |_| Flight::spare(Rc::clone(&ranges))),
            reassemblies: Shelf::new(count, |_| Reassembly::spare(Rc::clone(&pieces))),
            models: Shelf::new(0, |_| Bbr::new()),
            models_max: count as u32,
        }
    }

    /// Makes what connections with that algorithm need, unless it is there: for when a listener or a
    /// cluster that uses it becomes known.
    #[inline]
    pub fn stock(&self, congestion: CongestionKind) {
        if congestion == CongestionKind::Bbr && self.models.all.get() == 0 {
            self.models.fill(self.models_max as usize, |_| Bbr::new());
        }
    }

    /// Scoreboards, reassembly queues and models that are lent.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.flights.lent() + self.reassemblies.lent() + self.models.lent()
    }
}

/// A bounded store of one kind.
pub(crate) struct Shelf<T> {
    free: RefCell<Vec<Box<Slot<T>>>>,
    all: Cell<usize>,
}

struct Slot<T> {
    value: T,
    home: Weak<Shelf<T>>,
}

impl<T: Recycle> Shelf<T> {
    pub(crate) fn new(count: usize, make: impl FnMut(usize) -> T) -> Rc<Self> {
        let shelf = Rc::new(Self { free: RefCell::new(Vec::new()), all: Cell::new(0) });
        shelf.fill(count, make);
        shelf
    }

    /// Makes `count` more.
    fn fill(self: &Rc<Self>, count: usize, mut make: impl FnMut(usize) -> T) {
        self.all.set(self.all.get() + count);
        let mut free = self.free.borrow_mut();
        // Room for all, so that giving back does not allocate.
        free.reserve_exact(self.all.get());
        let slot = |index| Box::new(Slot { value: make(index), home: Rc::downgrade(self) });
        free.extend((0..count).map(slot));
    }

    /// One of them, as `recycle` left it; nothing if all are lent.
    pub(crate) fn take(&self) -> Spare<T> {
        Spare(self.free.borrow_mut().pop())
    }

    fn lent(&self) -> usize {
        self.all.get() - self.free.borrow().len()
    }
}

impl<T> fmt::Debug for Shelf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.free.borrow().len();
        f.debug_struct("Shelf").field("all", &self.all).field("free", &free).finish()
    }
}

/// Something lent, or nothing; goes back when it is dropped. As large as a pointer.
pub(crate) struct Spare<T: Recycle>(Option<Box<Slot<T>>>);

impl<T: Recycle> Spare<T> {
    /// Nothing.
    pub(crate) const NONE: Self = Self(None);

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|slot| &slot.value)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut().map(|slot| &mut slot.value)
    }

    /// Gives it back; true if there was something.
    pub(crate) fn give_back(&mut self) -> bool {
        let Some(mut slot) = self.0.take() else { return false };
        slot.value.recycle();
        if let Some(shelf) = slot.home.upgrade() {
            // There is room: it was made for all.
            shelf.free.borrow_mut().push(slot);
        }
        true
    }
}

impl<T: Recycle> Drop for Spare<T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_some() {
            self.give_back();
        }
    }
}

impl<T: Recycle + fmt::Debug> fmt::Debug for Spare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Recycle for u32 {
        fn recycle(&mut self) {
            *self = 0;
        }
    }

    #[test]
    fn what_is_dropped_is_lent_again_as_new() {
        let shelf = Shelf::new(2, |_| 0u32);
        let (mut first, second) = (shelf.take(), shelf.take());
        *first.get_mut().expect("two") = 7;
        assert!(second.is_some());
        assert!(shelf.take().is_none());
        drop((first, second));
        assert_eq!(shelf.lent(), 0);
        assert_eq!([shelf.take(), shelf.take()].map(|it| it.get().copied()), [Some(0); 2]);
    }

    #[test]
    fn what_outlives_the_shelf_is_freed() {
        let shelf = Shelf::new(1, |_| 0u32);
        let lent = shelf.take();
        drop(shelf);
        assert_eq!(lent.get(), Some(&0));
    }
}
