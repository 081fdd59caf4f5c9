//! Adopted snapshots and who still reads them.
//!
//! A worker pins by a plain counter per adopted snapshot: no shared reference count moves per
//! request. A snapshot that is neither current nor pinned goes home; this thread never frees one.

use std::sync::Arc;

use crate::limits::PINNED_SNAPSHOTS_MAX;
use crate::snapshot::Snapshot;

/// Proof that a snapshot stays readable. Not `Copy`: it is given back with [`Pins::unpin`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a pin that is not given back keeps its snapshot for ever"]
pub(crate) struct Pin(u8);

impl Pin {
    /// Its number: all that it is, so that another place may keep it in this one's stead.
    pub(crate) fn number(&self) -> u8 {
        self.0
    }

    /// The pin with this number, which nobody else has.
    pub(crate) fn numbered(number: u8) -> Self {
        Self(number)
    }
}

#[derive(Default)]
struct Slot {
    snapshot: Option<Arc<Snapshot>>,
    pins: u32,
}

/// The slots.
pub(crate) struct Pins {
    slots: [Slot; PINNED_SNAPSHOTS_MAX],
    current: u8,
    /// Slots that hold a snapshot, the current one included.
    held: u8,
}

impl Pins {
    pub(crate) fn new() -> Self {
        Self { slots: std::array::from_fn(|_| Slot::default()), current: 0, held: 0 }
    }

    /// Makes `snapshot` the current one.
    ///
    /// # Errors
    /// Gives it back when every slot is pinned.
    pub(crate) fn adopt(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Arc<Snapshot>> {
        let Some(free) = self.slots.iter().position(|slot| slot.snapshot.is_none()) else {
            return Err(snapshot);
        };
        self.slots[free] = Slot { snapshot: Some(snapshot), pins: 0 };
        self.current = free as u8;
        self.held += 1;
        Ok(())
    }

    /// Takes a snapshot that nobody reads any more.
    pub(crate) fn pop_retired(&mut self) -> Option<Arc<Snapshot>> {
        if self.held < 2 {
            return None;
        }
        let current = usize::from(self.current);
        let idle = |(index, slot): (usize, &Slot)| {
            (index != current && slot.pins == 0 && slot.snapshot.is_some()).then_some(index)
        };
        let index = self.slots.iter().enumerate().find_map(idle)?;
        self.held -= 1;
        self.slots[index].snapshot.take()
    }

    /// Keeps the current snapshot readable.
    #[inline]
    pub(crate) fn pin(&mut self) -> Pin {
        self.slots[usize::from(self.current)].pins += 1;
        Pin(self.current)
    }

    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the pin must not be usable twice")]
    pub(crate) fn unpin(&mut self, pin: Pin) {
        let slot = &mut self.slots[usize::from(pin.0)];
        debug_assert!(slot.pins > 0, "every pin is given back once");
        slot.pins = slot.pins.saturating_sub(1);
    }

    /// The snapshot behind a pin.
    #[inline]
    pub(crate) fn get(&self, pin: &Pin) -> Option<&Snapshot> {
        self.slots[usize::from(pin.0)].snapshot.as_deref()
    }

    /// The snapshot that new requests use.
    #[inline]
    pub(crate) fn current(&self) -> Option<&Snapshot> {
        self.slots[usize::from(self.current)].snapshot.as_deref()
    }

    /// Pins held over all snapshots.
    pub(crate) fn pinned(&self) -> u32 {
        self.slots.iter().map(|slot| slot.pins).sum()
    }
}
