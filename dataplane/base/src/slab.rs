//! Slots that are named by index and generation.

/// The name of an occupied slot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SlabKey {
    /// The slot.
    pub index: u32,
    /// How often the slot has been filled; odd while it is.
    pub generation: u32,
}

impl SlabKey {
    /// The name of nothing: no slot has this index.
    pub const NONE: Self = Self { index: u32::MAX, generation: 0 };
}

/// Aligns the slots of a [`Slab`] to cache lines, for values that fill whole ones.
#[derive(Debug)]
#[repr(align(64))]
pub struct CacheLine;

/// A table of up to `limit` values with stable keys. Slots are aligned as `A` is.
///
/// A removed value's key is dead for ever (until 2^31 reuses of its slot). The table grows by
/// doubling up to its limit, so a table that is created at its full size never allocates again.
#[derive(Debug)]
pub struct Slab<T, A = ()> {
    slots: Vec<Slot<T, A>>,
    free_head: u32,
    len: u32,
    limit: u32,
}

#[derive(Debug)]
struct Slot<T, A> {
    _alignment: [A; 0],
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

const NO_SLOT: u32 = u32::MAX;

impl<T, A> Slab<T, A> {
    /// An empty table for at most `limit` values, with room for `initial` of them allocated now.
    #[must_use]
    pub fn new(initial: u32, limit: u32) -> Self {
        let slots = Vec::with_capacity(initial.min(limit) as usize);
        Self { slots, free_head: NO_SLOT, len: 0, limit: limit.min(NO_SLOT - 1) }
    }

    /// Puts `value` into a free slot.
    ///
    /// # Errors
    /// Gives the value back when the table is full.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<SlabKey, T> {
        if self.free_head != NO_SLOT {
            let index = self.free_head;
            let slot = &mut self.slots[index as usize];
            self.free_head = slot.next_free;
            slot.generation = slot.generation.wrapping_add(1);
            slot.value = Some(value);
            self.len += 1;
            return Ok(SlabKey { index, generation: slot.generation });
        }
        if self.slots.len() >= self.limit as usize {
            return Err(value);
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            _alignment: [],
            generation: 1,
            next_free: NO_SLOT,
            value: Some(value),
        });
        self.len += 1;
        Ok(SlabKey { index, generation: 1 })
    }

    /// Takes the value out; its key is dead from now on.
    #[inline]
    pub fn remove(&mut self, key: SlabKey) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.next_free = self.free_head;
        self.free_head = key.index;
        self.len -= 1;
        Some(value)
    }

    /// The value that `key` names, if it is still there.
    #[inline]
    pub fn get(&self, key: SlabKey) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    /// The value that `key` names, to change it.
    #[inline]
    pub fn get_mut(&mut self, key: SlabKey) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// The key of the value in slot `index`, if it is occupied.
    #[inline]
    pub fn key_at(&self, index: u32) -> Option<SlabKey> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| SlabKey { index, generation: slot.generation })
    }

    /// The value in slot `index`, if the slot is occupied.
    #[inline]
    pub fn at(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    /// The value in slot `index`, to change it, if the slot is occupied.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// The value in slot `index`, to change it, with its key, if the slot is occupied.
    #[inline]
    pub fn entry_at_mut(&mut self, index: u32) -> Option<(SlabKey, &mut T)> {
        let slot = self.slots.get_mut(index as usize)?;
        let key = SlabKey { index, generation: slot.generation };
        slot.value.as_mut().map(|value| (key, value))
    }

    /// Where slot `index` lies, to be prefetched; whether it is occupied is not looked at.
    #[inline]
    pub fn address_of(&self, index: u32) -> Option<*const u8> {
        self.slots.get(index as usize).map(|slot| std::ptr::from_ref(slot).cast())
    }

    /// Bytes of a slot.
    #[must_use]
    pub const fn slot_len() -> usize {
        size_of::<Slot<T, A>>()
    }

    /// Where the slots lie, those that were never used included, and how many bytes they are.
    #[must_use]
    pub fn memory(&self) -> (*const u8, usize) {
        (self.slots.as_ptr().cast(), self.slots.capacity() * size_of::<Slot<T, A>>())
    }

    /// How many values there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slots exist; keys have indexes below it.
    #[inline]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// All keys and values, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (SlabKey, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = SlabKey { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }
}

impl From<SlabKey> for crate::ConnId {
    fn from(key: SlabKey) -> Self {
        Self { index: key.index, generation: key.generation }
    }
}

impl From<crate::ConnId> for SlabKey {
    fn from(id: crate::ConnId) -> Self {
        Self { index: id.index, generation: id.generation }
    }
}

impl From<SlabKey> for crate::UdpId {
    fn from(key: SlabKey) -> Self {
        Self { index: key.index, generation: key.generation }
    }
}

impl From<crate::UdpId> for SlabKey {
    fn from(id: crate::UdpId) -> Self {
        Self { index: id.index, generation: id.generation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_key_names_nothing() {
        let mut slab: Slab<_> = Slab::new(1, 8);
        let first = slab.insert("first").expect("room for eight");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second").expect("room for eight");
        assert_eq!(second.index, first.index, "the slot is used again");
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"second")));
        assert_eq!(slab.remove(first), None);
    }

    #[test]
    fn slots_of_whole_lines_begin_at_one() {
        let mut slab: Slab<[u8; 119], CacheLine> = Slab::new(4, 4);
        for value in 0..4 {
            let key = slab.insert([value; 119]).expect("room for four");
            let address = slab.address_of(key.index).expect("a slot");
            assert_eq!((address as usize % 64, Slab::<[u8; 119], CacheLine>::slot_len()), (0, 128));
        }
    }

    #[test]
    fn full_is_an_answer() {
        let mut slab: Slab<_> = Slab::new(0, 1);
        slab.insert(1).expect("room for one");
        assert_eq!(slab.insert(2), Err(2));
    }
}
