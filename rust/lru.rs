//! A least-recently-used map, bounded by bytes and by entries.
//!
//! Entries live in a slab and are linked by indices, so that there are no pointers to get wrong;
//! an index (`hashbrown`) maps a key's hash to its slot. It has no lock and no clock.
#![forbid(unsafe_code)]

use crate::key::Key;
use hashbrown::HashTable;

const NIL: u32 = u32::MAX;

struct Slot<V> {
    key: Key,
    value: V,
    weight: usize,
    newer: u32,
    older: u32,
}

/// See the module's documentation.
pub struct Lru<V> {
    index: HashTable<u32>,
    slots: Vec<Option<Slot<V>>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    weight: usize,
    reserved: usize,
    max_bytes: usize,
    max_entries: usize,
}

impl<V> Lru<V> {
    /// An empty map that keeps at most `max_bytes` of weight in at most `max_entries` entries.
    #[must_use]
    pub fn new(max_bytes: usize, max_entries: usize) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NIL,
            oldest: NIL,
            weight: 0,
            reserved: 0,
            max_bytes,
            // Slot numbers are 32-bit, one of them taken for "none".
            max_entries: max_entries.min(NIL as usize - 1),
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of all entries and of what was reserved, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.weight + self.reserved
    }

    /// Whether something of this weight could be kept at all.
    #[must_use]
    pub fn has_room_for(&self, weight: usize) -> bool {
        weight <= self.max_bytes && self.max_entries > 0
    }

    /// Counts `bytes` that the entries share (and that are theirs to free) against the bound.
    pub fn set_reserved(&mut self, bytes: usize) {
        self.reserved = bytes;
    }

    /// The entry of `key`, now the most recently used.
    pub fn get(&mut self, key: &Key) -> Option<&mut V> {
        let at = self.find(key)?;
        self.unlink(at);
        self.link_newest(at);
        Some(&mut self.slots.get_mut(at as usize)?.as_mut()?.value)
    }

    /// The entry of `key`. Not a use of it.
    #[must_use]
    pub fn peek(&self, key: &Key) -> Option<&V> {
        Some(&self.slot(self.find(key)?)?.value)
    }

    /// Adds an entry as the most recently used one. An entry of the same key must have been
    /// removed before. Nothing is evicted here: call [`Self::evict`] until it returns `None`.
    pub fn insert(&mut self, key: Key, value: V, weight: usize) {
        debug_assert!(self.find(&key).is_none(), "remove the old entry first");
        let slot = Slot { key, value, weight, newer: NIL, older: NIL };
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = Some(slot);
            at
        } else {
            // Bounded by `max_entries` plus the one entry that is over it until `evict`.
            let at = u32::try_from(self.slots.len()).unwrap_or(NIL);
            self.slots.push(Some(slot));
            at
        };
        let slots = &self.slots;
        self.index.insert_unique(key.hash64(), at, |&at| hash_of(slots, at));
        self.weight += weight;
        self.link_newest(at);
    }

    /// Makes the entry of `key` heavier (or lighter), as it grew (or shrank).
    pub fn reweigh(&mut self, key: &Key, change: isize) {
        if let Some(at) = self.find(key)
            && let Some(Some(slot)) = self.slots.get_mut(at as usize)
        {
            slot.weight = slot.weight.saturating_add_signed(change);
            self.weight = self.weight.saturating_add_signed(change);
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &Key) -> Option<V> {
        let at = self.find(key)?;
        self.take(at)
    }

    /// Takes the least recently used entry out, if the map is over one of its bounds.
    pub fn evict(&mut self) -> Option<V> {
        let over = self.bytes() > self.max_bytes || self.len() > self.max_entries;
        if over { self.take(self.oldest) } else { None }
    }

    /// Forgets everything, and gives its memory back.
    pub fn clear(&mut self) {
        *self = Self::new(self.max_bytes, self.max_entries);
    }

    /// Entries, the most recently used first.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        let mut at = self.newest;
        std::iter::from_fn(move || {
            let slot = self.slot(at)?;
            at = slot.older;
            Some(&slot.value)
        })
    }

    fn slot(&self, at: u32) -> Option<&Slot<V>> {
        self.slots.get(at as usize)?.as_ref()
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let is_key = |&at: &u32| self.slot(at).is_some_and(|slot| slot.key == *key);
        self.index.find(key.hash64(), is_key).copied()
    }

    fn take(&mut self, at: u32) -> Option<V> {
        let hash = self.slot(at)?.key.hash64();
        self.unlink(at);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == at) {
            found.remove();
        }
        let slot = self.slots.get_mut(at as usize)?.take()?;
        self.free.push(at);
        self.weight -= slot.weight;
        Some(slot.value)
    }

    fn unlink(&mut self, at: u32) {
        let Some((newer, older)) = self.slot(at).map(|slot| (slot.newer, slot.older)) else {
            return;
        };
        match self.slots.get_mut(newer as usize) {
            Some(Some(slot)) => slot.older = older,
            _ => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(Some(slot)) => slot.newer = newer,
            _ => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let second = std::mem::replace(&mut self.newest, at);
        if let Some(Some(slot)) = self.slots.get_mut(at as usize) {
            (slot.newer, slot.older) = (NIL, second);
        }
        match self.slots.get_mut(second as usize) {
            Some(Some(slot)) => slot.newer = at,
            _ => self.oldest = at,
        }
    }
}

fn hash_of<V>(slots: &[Option<Slot<V>>], at: u32) -> u64 {
    slots.get(at as usize).and_then(Option::as_ref).map_or(0, |slot| slot.key.hash64())
}

#[cfg(test)]
#[path = "lru_tests.rs"]
mod tests;
