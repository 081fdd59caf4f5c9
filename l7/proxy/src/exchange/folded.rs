//! Exchanges that rest, each as the bytes that say what it knows.
//!
//! ```text
//!   at hand:  slot of 440 bytes, by index
//!   folded:   slot of 24 bytes, by index | FOLDED --> some 70 bytes, and what its head says
//! ```
//!
//! A folded exchange has another key than before: whoever looks for it among those at hand finds
//! nothing, and a look-up of those costs what it cost before. Streams name it, and nobody else.

use sluice_base::{ConnId, Instant};
use sluice_buf::Chain;
use sluice_l7_core::{Head, HeadPatterns, HeadPool, PackedHead, StreamId};

use super::fold::{Reader, Way, Writer};
use super::{Exchange, ExchangeKey, Exchanges, Kind, NO_SLOT};
use crate::wires::Wires;

/// In the index of a key: the exchange is folded.
const FOLDED: u32 = 1 << 31;

/// Whether the exchange that `key` names was folded when it was named so.
#[inline]
pub(crate) fn is_folded(key: ExchangeKey) -> bool {
    key.index >= FOLDED
}

/// What an exchange's key is among the folded ones.
pub(crate) struct Folded {
    slots: Vec<Slot>,
    free: u32,
    /// What the heads of many have in common.
    patterns: HeadPatterns,
    /// Of one of them; empty between calls.
    difference: Vec<u8>,
}

/// How a head is written: not at all, as it is, or as what tells it from a pattern, by that one's
/// number.
const NO_HEAD: u64 = 0;
const PLAIN_HEAD: u64 = 1;
const FIRST_PATTERN: u64 = 2;

struct Slot {
    /// Nothing, while the slot is free.
    bytes: Box<[u8]>,
    /// How often the slot was taken and given up; odd while it is in use.
    generation: u32,
    /// The next free slot, if this one is.
    next_free: u32,
}

const _: () = assert!(size_of::<Slot>() == 24);

impl Folded {
    /// Room for `limit`; memory is touched when a slot is first used.
    pub(super) fn new(limit: u32) -> Self {
        debug_assert!(limit < FOLDED, "indexes have a bit to spare");
        let patterns = HeadPatterns::new();
        let slots = Vec::with_capacity(limit as usize);
        Self { slots, free: NO_SLOT, patterns, difference: Vec::new() }
    }

    /// Keeps the bytes of an exchange; its key from now on. The caller bounds their number.
    pub(super) fn insert(&mut self, bytes: &[u8]) -> ExchangeKey {
        if self.free == NO_SLOT {
            self.free = self.slots.len() as u32;
            self.slots.push(Slot { bytes: Box::default(), generation: 0, next_free: NO_SLOT });
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        self.free = slot.next_free;
        slot.generation = slot.generation.wrapping_add(1);
        slot.bytes = bytes.into();
        ExchangeKey { index: index | FOLDED, generation: slot.generation }
    }

    /// Takes the bytes of an exchange; its key is dead from now on.
    pub(super) fn remove(&mut self, key: ExchangeKey) -> Option<Box<[u8]>> {
        let index = key.index & !FOLDED;
        let slot = self.slots.get_mut(index as usize)?;
        if !is_folded(key) || slot.generation != key.generation {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.next_free = self.free;
        self.free = index;
        Some(std::mem::take(&mut slot.bytes))
    }

    /// The bytes of the exchange that `key` names, if it is still there.
    pub(super) fn get(&self, key: ExchangeKey) -> Option<&[u8]> {
        let slot = self.slots.get((key.index & !FOLDED) as usize)?;
        (is_folded(key) && slot.generation == key.generation).then_some(&*slot.bytes)
    }

    /// The key of the exchange in slot `index`, if there is one.
    pub(super) fn key_at(&self, index: u32) -> Option<ExchangeKey> {
        let generation = self.slots.get(index as usize)?.generation;
        (generation % 2 == 1).then_some(ExchangeKey { index: index | FOLDED, generation })
    }

    fn write_head(&mut self, packed: Option<&PackedHead>, out: &mut Vec<u8>) {
        let Some(packed) = packed else {
            Writer(out).number(NO_HEAD);
            return;
        };
        let difference = &mut self.difference;
        let (form, bytes) = match self.patterns.reduce(packed, difference) {
            Some(pattern) => (FIRST_PATTERN + u64::from(pattern), &**difference),
            None => (PLAIN_HEAD, packed.as_bytes()),
        };
        let mut writer = Writer(out);
        writer.number(form);
        writer.number(bytes.len() as u64);
        out.extend_from_slice(bytes);
        self.difference.clear();
    }

    fn read_head(&mut self, reader: &mut Reader<'_>, heads: &mut HeadPool) -> Option<Box<Head>> {
        let form = reader.number(0);
        if form == NO_HEAD {
            return None;
        }
        let len = reader.number(0) as usize;
        let (bytes, rest) = reader.0.split_at_checked(len)?;
        reader.0 = rest;
        let mut head = heads.take();
        if let Some(pattern) = form.checked_sub(FIRST_PATTERN) {
            let mut whole = heads.take_large();
            self.patterns.restore(pattern as u8, bytes, &mut whole);
            head.unpack_bytes(&whole);
            heads.put_large(whole);
        } else {
            head.unpack_bytes(bytes);
        }
        Some(head)
    }

    /// Slots that have ever been used.
    #[inline]
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }
}

/// Those that rest.
impl Exchanges {
    /// Folds an exchange that [may be](Exchange::is_foldable); its key from now on.
    pub(crate) fn fold(&mut self, key: ExchangeKey, scratch: &mut Vec<u8>) -> Option<ExchangeKey> {
        let free = self.free;
        let exchange = self.get_mut(key)?;
        exchange.walk(&mut Writer(scratch));
        let packed = exchange.packed.take();
        let replay = std::mem::take(&mut exchange.replay);
        exchange.generation = exchange.generation.wrapping_add(1);
        exchange.next_free = free;
        // Its number has been written down: it is kept, in another place.
        exchange.pin = None;
        self.free = key.index;
        self.folded.write_head(packed.as_ref(), scratch);
        for piece in replay.pieces() {
            scratch.extend_from_slice(piece);
        }
        let folded = self.folded.insert(scratch);
        scratch.clear();
        Some(folded)
    }

    /// The exchange is at hand again, under another key and without its endpoint.
    pub(crate) fn unfold(
        &mut self,
        key: ExchangeKey,
        wires: &mut Wires,
    ) -> Option<(ExchangeKey, &mut Exchange)> {
        let bytes = self.folded.remove(key)?;
        let (index, exchange) = self.take_slot();
        exchange.begin(Kind::Http, ConnId::default(), StreamId::CONNECTION, Instant::ZERO);
        let mut reader = Reader(&bytes);
        exchange.walk(&mut reader);
        let key = ExchangeKey { index, generation: exchange.generation };
        let head = self.folded.read_head(&mut reader, &mut wires.heads);
        let exchange = self.get_mut(key)?;
        exchange.head = head;
        match Chain::copy_from(reader.0, &wires.pool) {
            Ok(replay) => exchange.replay = replay,
            // Without memory for it, it is not repeated.
            Err(_) => exchange.replay_lost = true,
        }
        Some((key, exchange))
    }

    /// Whether there is an exchange of this name, at hand or folded.
    pub(crate) fn contains(&self, key: ExchangeKey) -> bool {
        self.get(key).is_some() || self.folded.get(key).is_some()
    }

    /// The key of the folded exchange in slot `index` of those.
    pub(crate) fn folded_at(&self, index: u32) -> Option<ExchangeKey> {
        self.folded.key_at(index)
    }

    /// Whether there may be any, or have been.
    #[inline]
    pub(crate) fn has_folded(&self) -> bool {
        self.folded.slots() > 0
    }

    /// Slots of folded exchanges that have ever been used.
    pub(crate) fn folded_slots(&self) -> u32 {
        self.folded.slots()
    }

    /// Heads of folded exchanges that are written down as differences.
    #[cfg(test)]
    pub(crate) fn alike(&self) -> u32 {
        self.folded.patterns.users()
    }

    /// Whether the head of a folded exchange is kept.
    #[cfg(test)]
    pub(crate) fn has_folded_head(&self, key: ExchangeKey) -> bool {
        let Some(bytes) = self.folded.get(key) else { return false };
        let (mut reader, mut exchange) = (Reader(bytes), Exchange::vacant());
        exchange.walk(&mut reader);
        reader.number(0) != NO_HEAD
    }

    /// Version of the snapshot whose ids a folded exchange names.
    pub(crate) fn folded_named(&self, key: ExchangeKey) -> Option<u64> {
        Some(Reader(self.folded.get(key)?).number(0))
    }
}

/// The slot of a folded exchange, by which its timer goes.
pub(crate) fn slot_of(key: ExchangeKey) -> u32 {
    key.index & !FOLDED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_a_dead_key_names_nothing() {
        let mut folded = Folded::new(8);
        let first = folded.insert(b"one");
        let second = folded.insert(b"two");
        assert!(is_folded(first) && first.index != second.index);
        assert_eq!((folded.get(first), folded.get(second)), (Some(&b"one"[..]), Some(&b"two"[..])));
        assert_eq!(folded.remove(first).as_deref(), Some(&b"one"[..]));
        assert!(folded.remove(first).is_none() && folded.get(first).is_none());
        assert_eq!((folded.key_at(0), folded.key_at(1)), (None, Some(second)));
        let third = folded.insert(b"three");
        assert_eq!((third.index, folded.slots()), (first.index, 2));
        let at_hand = ExchangeKey { index: slot_of(third), ..third };
        assert!(folded.get(third).is_some() && folded.get(at_hand).is_none());
    }
}
