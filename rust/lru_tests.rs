//! The LRU against a model that is too simple to be wrong: a list in order of use.

use super::Lru;
use crate::key::Key;

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
}

struct Model {
    /// Newest first: key, value, weight.
    entries: Vec<(u64, u64, usize)>,
    max_bytes: usize,
    max_entries: usize,
}

impl Model {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.2).sum()
    }

    fn remove(&mut self, number: u64) -> Option<u64> {
        let at = self.entries.iter().position(|entry| entry.0 == number)?;
        Some(self.entries.remove(at).1)
    }

    fn evict(&mut self) -> Option<u64> {
        let over = self.bytes() > self.max_bytes || self.entries.len() > self.max_entries;
        if over { self.entries.pop().map(|entry| entry.1) } else { None }
    }
}

#[test]
fn agrees_with_a_list_over_random_histories() {
    for seed in 1..=60_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let max_bytes = usize::try_from(20 + dice.roll(80)).expect("small");
        let max_entries = usize::try_from(1 + dice.roll(9)).expect("small");
        let mut model = Model { entries: Vec::new(), max_bytes, max_entries };
        let mut lru = Lru::new(max_bytes, max_entries);
        for now in 0..2_000_u64 {
            let number = dice.roll(14);
            match dice.roll(10) {
                0..=4 => {
                    let at = model.entries.iter().position(|entry| entry.0 == number);
                    let expected = at.map(|at| {
                        let entry = model.entries.remove(at);
                        model.entries.insert(0, entry);
                        entry.1
                    });
                    assert_eq!(lru.peek(&key(number)).copied(), expected);
                    let found = lru.get(&key(number)).copied();
                    assert_eq!(found, expected, "seed {seed}, step {now}");
                }
                5..=7 => {
                    let weight = usize::try_from(dice.roll(30)).expect("small");
                    assert_eq!(lru.remove(&key(number)), model.remove(number));
                    lru.insert(key(number), now, weight);
                    model.entries.insert(0, (number, now, weight));
                    loop {
                        let evicted = lru.evict();
                        assert_eq!(evicted, model.evict(), "seed {seed}, step {now}");
                        if evicted.is_none() {
                            break;
                        }
                    }
                }
                8 => assert_eq!(lru.remove(&key(number)), model.remove(number)),
                _ if dice.roll(200) == 0 => {
                    lru.clear();
                    model.entries.clear();
                }
                _ => {
                    lru.reweigh(&key(number), 1);
                    for entry in model.entries.iter_mut().filter(|entry| entry.0 == number) {
                        entry.2 += 1;
                    }
                }
            }
            assert_eq!(lru.len(), model.entries.len(), "seed {seed}, step {now}");
            assert_eq!(lru.bytes(), model.bytes(), "seed {seed}, step {now}");
        }
    }
}

#[test]
fn reserved_bytes_count_against_the_bound() {
    let mut lru = Lru::new(100, 10);
    lru.insert(key(1), 'a', 40);
    lru.insert(key(2), 'b', 40);
    assert_eq!(lru.evict(), None);
    lru.set_reserved(30);
    assert_eq!(lru.evict(), Some('a'));
    assert_eq!(lru.evict(), None);
    assert_eq!(lru.bytes(), 70);
}
