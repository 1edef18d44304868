//! A least-recently-used map, bounded by bytes and by entries, and fair between groups.
//!
//! Each entry belongs to a group, whose entries have an order of use of their own. A group may have
//! a bound; and when the map as a whole is over one of its bounds, the largest group lets go of its
//! own least recently used entry. So whatever one group does, another that takes no more than an
//! equal share of the bound loses nothing.
//!
//! Entries live in a slab and are linked by indices, so that there are no pointers to get wrong;
//! an index (`hashbrown`) maps a key's hash to its slot. It has no lock and no clock.
#![forbid(unsafe_code)]

use super::bounds::Bounds;
use crate::request::Key;
use hashbrown::HashTable;
use std::collections::BTreeSet;

const NIL: u32 = u32::MAX;

/// Small numbers, which are used again: the map remembers as many groups as the largest says.
pub type Group = u32;

struct Slot<V> {
    key: Key,
    value: V,
    weight: usize,
    group: Group,
    newer: u32,
    older: u32,
}

struct Members {
    newest: u32,
    oldest: u32,
    len: usize,
    /// Of the entries, and of what was reserved for them.
    weight: usize,
}

/// See the module's documentation.
pub struct Lru<V> {
    index: HashTable<u32>,
    slots: Vec<Option<Slot<V>>>,
    free: Vec<u32>,
    groups: Vec<Members>,
    /// The groups that have anything, by weight and by number; while there is but one, nothing.
    by_weight: BTreeSet<(usize, Group)>,
    by_len: BTreeSet<(usize, Group)>,
    weight: usize,
    bounds: Bounds,
}

impl<V> Lru<V> {
    /// An empty map.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            groups: Vec::new(),
            by_weight: BTreeSet::new(),
            by_len: BTreeSet::new(),
            weight: 0,
            // Slot numbers are 32-bit, one of them taken for "none".
            bounds: Bounds { entries: bounds.entries.min(NIL as usize - 1), ..bounds },
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
        self.weight
    }

    /// Whether something of this weight could be kept at all.
    #[must_use]
    pub fn has_room_for(&self, weight: usize) -> bool {
        weight <= self.bounds.bytes.min(self.bounds.group_bytes) && self.bounds.entries > 0
    }

    /// Counts bytes that the entries of a group share (and that are theirs to free) as its own.
    pub fn reserve(&mut self, group: Group, change: isize) {
        self.change(group, change, 0);
    }

    /// The entry of `key`, now the most recently used of its group.
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

    /// As [`Self::peek`], to change it.
    pub fn peek_mut(&mut self, key: &Key) -> Option<&mut V> {
        let at = self.find(key)?;
        Some(&mut self.slots.get_mut(at as usize)?.as_mut()?.value)
    }

    /// Adds an entry as the most recently used one of a group. An entry of the same key must have
    /// been removed before. Nothing is evicted here: call [`Self::evict`] until it returns `None`.
    pub fn insert(&mut self, key: Key, value: V, weight: usize, group: Group) {
        debug_assert!(self.find(&key).is_none(), "remove the old entry first");
        let slot = Slot { key, value, weight, group, newer: NIL, older: NIL };
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = Some(slot);
            at
        } else {
            // Bounded by the number of entries, and the one that is over it until `evict`.
            let at = u32::try_from(self.slots.len()).unwrap_or(NIL);
            self.slots.push(Some(slot));
            at
        };
        let slots = &self.slots;
        self.index.insert_unique(key.hash64(), at, |&at| hash_of(slots, at));
        self.change(group, weight.cast_signed(), 1);
        self.link_newest(at);
    }

    /// Makes the entry of `key` heavier (or lighter), as it grew (or shrank).
    pub fn reweigh(&mut self, key: &Key, change: isize) {
        if let Some(at) = self.find(key)
            && let Some(Some(slot)) = self.slots.get_mut(at as usize)
        {
            slot.weight = slot.weight.saturating_add_signed(change);
            let group = slot.group;
            self.change(group, change, 0);
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &Key) -> Option<V> {
        let at = self.find(key)?;
        self.take(at)
    }

    /// Takes an entry out, if this group (which has grown) is over its bound, or the map over one of
    /// its own: the least recently used of that group, or of the largest.
    pub fn evict(&mut self, group: Group) -> Option<V> {
        let has_grown = self.groups.get(group as usize)?;
        let group = if has_grown.weight > self.bounds.group_bytes {
            group
        } else if self.weight > self.bounds.bytes {
            self.by_weight.last().map_or(group, |(_, group)| *group)
        } else if self.len() > self.bounds.entries {
            self.by_len.last().map_or(group, |(_, group)| *group)
        } else {
            return None;
        };
        self.take(self.groups.get(group as usize)?.oldest)
    }

    /// Forgets everything, and returns it. Freeing all entries takes a while: that is the caller's.
    #[must_use]
    pub fn take_all(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.bounds))
    }

    /// Number of slots: an entry stays in its slot for as long as it is here.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The entry in a slot, if there is one.
    #[must_use]
    pub fn at(&self, slot: usize) -> Option<&V> {
        self.slots.get(slot)?.as_ref().map(|slot| &slot.value)
    }

    /// The entries of a group, the most recently used first.
    pub fn of_group(&self, group: Group) -> impl Iterator<Item = &V> {
        let mut at = self.groups.get(group as usize).map_or(NIL, |members| members.newest);
        std::iter::from_fn(move || {
            let slot = self.slot(at)?;
            at = slot.older;
            Some(&slot.value)
        })
    }

    /// The heaviest groups that have entries, at most `limit`: group, number of entries, weight.
    #[must_use]
    pub fn heaviest(&self, limit: usize) -> Vec<(Group, usize, usize)> {
        let about = |group: Group| {
            let members = self.groups.get(group as usize)?;
            (members.len > 0).then_some((group, members.len, members.weight))
        };
        if self.groups.len() <= 1 {
            return about(0).into_iter().take(limit).collect();
        }
        self.by_weight.iter().rev().filter_map(|(_, group)| about(*group)).take(limit).collect()
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
        self.change(slot.group, -slot.weight.cast_signed(), -1);
        Some(slot.value)
    }

    /// Notes that a group has become larger or smaller.
    fn change(&mut self, group: Group, weight: isize, len: isize) {
        let was_alone = self.groups.len() <= 1;
        while self.groups.len() <= group as usize {
            self.groups.push(Members { newest: NIL, oldest: NIL, len: 0, weight: 0 });
        }
        let is_alone = self.groups.len() <= 1;
        if was_alone && !is_alone {
            self.by_weight.insert((self.groups[0].weight, 0));
            self.by_len.insert((self.groups[0].len, 0));
        }
        self.weight = self.weight.saturating_add_signed(weight);
        let members = &mut self.groups[group as usize];
        let before = (members.weight, members.len);
        members.weight = before.0.saturating_add_signed(weight);
        members.len = before.1.saturating_add_signed(len);
        if !is_alone {
            rank(&mut self.by_weight, group, before.0, members.weight);
            rank(&mut self.by_len, group, before.1, members.len);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some((newer, older, group)) =
            self.slot(at).map(|slot| (slot.newer, slot.older, slot.group as usize))
        else {
            return;
        };
        match self.slots.get_mut(newer as usize) {
            Some(Some(slot)) => slot.older = older,
            _ => self.groups[group].newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(Some(slot)) => slot.newer = newer,
            _ => self.groups[group].oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let Some(Some(slot)) = self.slots.get_mut(at as usize) else { return };
        let members = &mut self.groups[slot.group as usize];
        let second = std::mem::replace(&mut members.newest, at);
        (slot.newer, slot.older) = (NIL, second);
        match self.slots.get_mut(second as usize) {
            Some(Some(slot)) => slot.newer = at,
            _ => members.oldest = at,
        }
    }
}

/// Moves a group to its place.
fn rank(ranks: &mut BTreeSet<(usize, Group)>, group: Group, before: usize, now: usize) {
    if before != now {
        ranks.remove(&(before, group));
        ranks.insert((now, group));
    }
}

fn hash_of<V>(slots: &[Option<Slot<V>>], at: u32) -> u64 {
    slots.get(at as usize).and_then(Option::as_ref).map_or(0, |slot| slot.key.hash64())
}

#[cfg(test)]
#[path = "lru_tests.rs"]
mod tests;
