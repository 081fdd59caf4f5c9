//! A map from byte strings, built once and read often.

use sluice_base::HashKey;

/// Fixed: what is stored comes from the operator, so that nobody else can fill a bucket; a peer
/// only chooses which bucket is looked at, and the longest one is what the operator's names make.
const KEY: HashKey = HashKey::new([0x5f0d_73a1_9c46_e82b, 0xb7e1_5162_8aed_2a6a]);

/// Open addressing at half load: a look-up is one hash and about 1.5 probes, a miss as well.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByteMap {
    /// Power of two, or empty.
    slots: Box<[Slot]>,
    text: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// High half of the hash: nearly always settles a miss without a look at the text.
    tag: u32,
    start: u32,
    len: u32,
    /// `EMPTY`: nothing here.
    value: u32,
}

const EMPTY: u32 = u32::MAX;

impl ByteMap {
    /// A map of these keys, each given once, to values below `u32::MAX`.
    pub(crate) fn new<'a>(entries: impl Iterator<Item = (&'a [u8], u32)> + Clone) -> Self {
        let count = entries.clone().count();
        if count == 0 {
            return Self::default();
        }
        let empty = Slot { tag: 0, start: 0, len: 0, value: EMPTY };
        let mut slots = vec![empty; (2 * count).next_power_of_two()].into_boxed_slice();
        let mut text = Vec::new();
        for (key, value) in entries {
            let hash = KEY.hash_bytes(key);
            let mut at = hash as usize & (slots.len() - 1);
            while slots[at].value != EMPTY {
                at = (at + 1) & (slots.len() - 1);
            }
            let (tag, start, len) = ((hash >> 32) as u32, text.len() as u32, key.len() as u32);
            slots[at] = Slot { tag, start, len, value };
            text.extend_from_slice(key);
        }
        Self { slots, text: text.into_boxed_slice() }
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = KEY.hash_bytes(key);
        let mut at = hash as usize & (self.slots.len() - 1);
        loop {
            let slot = self.slots[at];
            if slot.value == EMPTY {
                return None;
            }
            let here = slot.tag == (hash >> 32) as u32 && slot.len as usize == key.len();
            if here && self.text[slot.start as usize..][..slot.len as usize] == *key {
                return Some(slot.value);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let keys: Vec<String> = (0..5_000).map(|number| format!("/path/{number}")).collect();
        let entries = keys.iter().enumerate().map(|(at, key)| (key.as_bytes(), at as u32));
        let map = ByteMap::new(entries);
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(map.get(key.as_bytes()), Some(at as u32));
            assert_eq!(map.get(&key.as_bytes()[1..]), None);
        }
        assert_eq!(map.get(b""), None);
        assert_eq!(ByteMap::default().get(b"x"), None);
        assert_eq!(ByteMap::new([(&b""[..], 7)].into_iter()).get(b""), Some(7));
    }
}
