//! The vectors of all partitions, bounded by bytes.
//!
//! Over the bound the largest partition lets go of its oldest vectors. So a partition that takes no more
//! than an equal share loses nothing, whatever is added to the others.
#![forbid(unsafe_code)]

use super::packed::Packed;
use super::partition::Partition;
use super::search::View;
use std::collections::{BTreeSet, HashMap};

/// The name of a partition, or the key of what a vector belongs to.
pub type Id = [u8; 32];

struct Place {
    partition: Id,
    row: u32,
}

/// See the module's documentation.
pub struct VectorIndex {
    partitions: HashMap<Id, Partition>,
    places: HashMap<Id, Place>,
    /// The partitions by their bytes.
    by_bytes: BTreeSet<(usize, Id)>,
    bytes: usize,
    bytes_max: usize,
    /// The age of the next vector.
    next: u64,
}

impl VectorIndex {
    /// Without vectors. `bytes_max`: the most memory that vectors, questions and keys may take.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            partitions: HashMap::new(),
            places: HashMap::new(),
            by_bytes: BTreeSet::new(),
            bytes: 0,
            bytes_max,
            next: 0,
        }
    }

    /// Adds a vector, in the place of the one that the key had, in whichever partition.
    ///
    /// Returns whether it is kept. One of another number of dimensions than those of its partition is
    /// not, and nothing is done.
    pub fn add(&mut self, partition: &Id, key: &Id, question: &str, vector: &Packed) -> bool {
        let dimensions = vector.codes().len();
        if self.partitions.get(partition).is_some_and(|it| it.dimensions() != dimensions) {
            return false;
        }
        self.remove(key);
        let age = self.next;
        self.next += 1;
        let row = self.change(partition, dimensions, |it| it.push(*key, question, age, vector));
        self.places.insert(*key, Place { partition: *partition, row });
        while self.bytes > self.bytes_max && self.evict() {}
        self.contains(key)
    }

    /// Removes a vector. Returns whether there was one.
    pub fn remove(&mut self, key: &Id) -> bool {
        let Some(Place { partition, row }) = self.places.remove(key) else { return false };
        let moved = self.change(&partition, 0, |it| it.remove(row));
        if let Some(place) = moved.and_then(|moved| self.places.get_mut(&moved)) {
            place.row = row;
        }
        true
    }

    /// Removes a partition, and returns it. To free it takes a while: that is the caller's.
    #[must_use]
    pub fn drop_partition(&mut self, partition: &Id) -> Option<Partition> {
        let dropped = self.partitions.remove(partition)?;
        self.by_bytes.remove(&(dropped.bytes(), *partition));
        self.bytes -= dropped.bytes();
        for key in dropped.keys() {
            self.places.remove(key);
        }
        Some(dropped)
    }

    /// Removes everything, and returns it. To free it takes a while: that is the caller's.
    #[must_use]
    pub fn take_all(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.bytes_max))
    }

    /// Whether the key has a vector.
    #[must_use]
    pub fn contains(&self, key: &Id) -> bool {
        self.places.contains_key(key)
    }

    /// Number of vectors of a partition.
    #[must_use]
    pub fn size(&self, partition: &Id) -> usize {
        self.partitions.get(partition).map_or(0, Partition::len)
    }

    /// Number of all vectors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no vector.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Estimated memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The vectors of a partition as they are now, to be searched.
    #[must_use]
    pub fn view(&self, partition: &Id) -> Option<View> {
        self.partitions.get(partition).map(Partition::view)
    }

    /// Removes the oldest vector of the largest partition. Returns whether there was one.
    fn evict(&mut self) -> bool {
        let largest = self.by_bytes.last().and_then(|(_, name)| self.partitions.get(name));
        largest.and_then(Partition::oldest).is_some_and(|oldest| self.remove(&oldest))
    }

    /// Changes a partition, which is made if there is none, and goes when it is empty.
    fn change<T>(
        &mut self,
        name: &Id,
        dimensions: usize,
        work: impl FnOnce(&mut Partition) -> T,
    ) -> T {
        let partition = self.partitions.entry(*name).or_insert_with(|| Partition::new(dimensions));
        let before = partition.bytes();
        self.by_bytes.remove(&(before, *name));
        // A partition counts only while it has vectors.
        self.bytes -= if partition.len() == 0 { 0 } else { before };
        let result = work(partition);
        if partition.len() == 0 {
            self.partitions.remove(name);
        } else {
            self.bytes += partition.bytes();
            self.by_bytes.insert((partition.bytes(), *name));
        }
        result
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
