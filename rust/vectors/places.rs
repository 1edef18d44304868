//! Where the vector of a key is.
#![forbid(unsafe_code)]

use super::index::Id;
use std::collections::HashMap;

/// Maps by the first byte of a key. One map would now and then move all its entries at once, which
/// takes milliseconds at 100,000.
const MAPS: usize = 256;

#[derive(Clone, Copy)]
pub struct Place {
    pub partition: Id,
    pub row: u32,
}

/// See the module's documentation.
pub struct Places {
    maps: Vec<HashMap<Id, Place>>,
    len: usize,
}

impl Places {
    pub fn new() -> Self {
        Self { maps: (0..MAPS).map(|_| HashMap::new()).collect(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn contains(&self, key: &Id) -> bool {
        self.maps[usize::from(key[0])].contains_key(key)
    }

    pub fn set(&mut self, key: Id, place: Place) {
        let before = self.maps[usize::from(key[0])].insert(key, place);
        self.len += usize::from(before.is_none());
    }

    pub fn remove(&mut self, key: &Id) -> Option<Place> {
        let place = self.maps[usize::from(key[0])].remove(key)?;
        self.len -= 1;
        Some(place)
    }
}
