//! The LRU against a model that is too simple to be wrong: a list in order of use.

use super::{Bounds, Group, Lru};
use crate::request::Key;
use std::collections::HashMap;

fn key(number: u64) -> Key {
    let mut bytes = [0; 32];
    // Few distinct hashes, so that the index meets collisions.
    bytes[..8].copy_from_slice(&(number % 3).to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    Key(bytes)
}

/// xorshift64*: enough for a test, and the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    fn size(&mut self, sides: u64) -> usize {
        usize::try_from(self.roll(sides)).expect("small")
    }
}

struct Kept {
    number: u64,
    value: u64,
    weight: usize,
    group: Group,
}

struct Model {
    /// Newest first.
    entries: Vec<Kept>,
    reserved: HashMap<Group, usize>,
    bounds: Bounds,
}

impl Model {
    fn weight_of(&self, group: Group) -> usize {
        let entries = self.entries.iter().filter(|entry| entry.group == group);
        entries.map(|entry| entry.weight).sum::<usize>() + self.reserved.get(&group).unwrap_or(&0)
    }

    fn len_of(&self, group: Group) -> usize {
        self.entries.iter().filter(|entry| entry.group == group).count()
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(|it| it.weight).sum::<usize>()
            + self.reserved.values().sum::<usize>()
    }

    fn remove(&mut self, number: u64) -> Option<u64> {
        let at = self.entries.iter().position(|entry| entry.number == number)?;
        Some(self.entries.remove(at).value)
    }

    fn evict(&mut self, group: Group) -> Option<u64> {
        let group = if self.weight_of(group) > self.bounds.group_bytes {
            group
        } else if self.bytes() > self.bounds.bytes {
            (0..9).max_by_key(|group| (self.weight_of(*group), *group))?
        } else if self.entries.len() > self.bounds.entries {
            (0..9).max_by_key(|group| (self.len_of(*group), *group))?
        } else {
            return None;
        };
        let oldest = self.entries.iter().rposition(|entry| entry.group == group)?;
        Some(self.entries.remove(oldest).value)
    }
}

/// `groups`: how many there are.
fn agrees_with_a_list(groups: u64, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let bounds = Bounds {
            bytes: 20 + dice.size(80),
            entries: 1 + dice.size(9),
            group_bytes: if dice.roll(2) == 0 { usize::MAX } else { 15 + dice.size(40) },
        };
        let mut model = Model { entries: Vec::new(), reserved: HashMap::new(), bounds };
        let mut lru = Lru::new(bounds);
        for now in 0..2_000_u64 {
            let number = dice.roll(14);
            let group = Group::try_from(number % groups).expect("small");
            match dice.roll(11) {
                0..=4 => {
                    let at = model.entries.iter().position(|entry| entry.number == number);
                    let expected = at.map(|at| {
                        let entry = model.entries.remove(at);
                        let value = entry.value;
                        model.entries.insert(0, entry);
                        value
                    });
                    assert_eq!(lru.peek(&key(number)).copied(), expected);
                    let found = lru.get(&key(number)).copied();
                    assert_eq!(found, expected, "seed {seed}, step {now}");
                }
                5..=7 => {
                    let weight = dice.size(30);
                    assert_eq!(lru.remove(&key(number)), model.remove(number));
                    lru.insert(key(number), now, weight, group);
                    model.entries.insert(0, Kept { number, value: now, weight, group });
                    loop {
                        let evicted = lru.evict(group);
                        assert_eq!(evicted, model.evict(group), "seed {seed}, step {now}");
                        if evicted.is_none() {
                            break;
                        }
                    }
                }
                8 => assert_eq!(lru.remove(&key(number)), model.remove(number)),
                9 => {
                    let reserved = model.reserved.entry(group).or_default();
                    let change = if *reserved == 0 { dice.size(4).cast_signed() } else { -1 };
                    *reserved = reserved.saturating_add_signed(change);
                    lru.reserve(group, change);
                }
                _ if dice.roll(200) == 0 => {
                    drop(lru.take_all());
                    model.entries.clear();
                    model.reserved.clear();
                }
                _ => {
                    lru.reweigh(&key(number), 1);
                    for entry in model.entries.iter_mut().filter(|entry| entry.number == number) {
                        entry.weight += 1;
                    }
                }
            }
            assert_eq!(lru.len(), model.entries.len(), "seed {seed}, step {now}");
            assert_eq!(lru.bytes(), model.bytes(), "seed {seed}, step {now}");
            let own = model.entries.iter().filter(|entry| entry.group == group);
            let own: Vec<u64> = own.map(|entry| entry.value).collect();
            assert_eq!(lru.of_group(group).copied().collect::<Vec<_>>(), own);
            assert_eq!(
                (0..lru.slots()).filter_map(|slot| lru.at(slot)).count(),
                model.entries.len()
            );
        }
    }
}

#[test]
fn one_group_agrees_with_a_list_over_random_histories() {
    agrees_with_a_list(1, 1..60);
}

#[test]
fn groups_agree_with_a_list_over_random_histories() {
    for groups in 2..6 {
        agrees_with_a_list(groups, 100..130);
    }
}

#[test]
fn reserved_bytes_count_against_the_bound() {
    let mut lru = Lru::new(Bounds { bytes: 100, entries: 10, ..Bounds::default() });
    lru.insert(key(1), 'a', 40, 0);
    lru.insert(key(2), 'b', 40, 0);
    assert_eq!(lru.evict(0), None);
    lru.reserve(0, 30);
    assert_eq!(lru.evict(0), Some('a'));
    assert_eq!(lru.evict(0), None);
    assert_eq!(lru.bytes(), 70);
}

#[test]
fn a_group_within_its_share_loses_nothing_to_others() {
    let mut dice = Dice(1);
    let mut lru = Lru::new(Bounds { bytes: 1_000, entries: 100, ..Bounds::default() });
    for number in 0..5 {
        lru.insert(key(number), number, 40, 7);
    }
    for number in 10..1_000 {
        lru.insert(key(number), number, 10 + dice.size(50), Group::from(number % 3 == 0));
        while let Some(evicted) = lru.evict(Group::from(number % 3 == 0)) {
            assert!(evicted >= 10);
        }
    }
    assert_eq!(lru.of_group(7).count(), 5);
    // Nor by their number.
    let mut lru = Lru::new(Bounds { entries: 12, ..Bounds::default() });
    for number in 0..5 {
        lru.insert(key(number), number, 400, 7);
    }
    for number in 10..1_000 {
        lru.insert(key(number), number, 1, Group::from(number % 3 == 0));
        lru.evict(0);
    }
    assert_eq!((lru.of_group(7).count(), lru.len()), (4, 12));
}
