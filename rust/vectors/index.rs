//! The vectors of all partitions, bounded by bytes.
//!
//! Over the bound the largest tenant lets go of its oldest vectors, across its partitions. So a tenant
//! that takes no more than an equal share loses nothing, whatever is added for the others.
#![forbid(unsafe_code)]

use super::packed::Packed;
use super::partition::{Partition, Removed};
use super::places::{Place, Places};
use super::search::View;
use super::tenants::Tenants;
use std::collections::HashMap;

/// The name of a partition, or the key of what a vector belongs to.
pub type Id = [u8; 32];

/// Whose vectors share a bound.
pub type Tenant = [u8; 16];

/// More vectors than any memory holds: the ages that are left free for a load.
const LOAD: u64 = 1 << 32;

/// What is added to an index.
pub struct New<'a> {
    /// Whose it is. A partition is the tenant's who added to it first.
    pub tenant: Tenant,
    /// Vectors are compared only with those of their partition.
    pub partition: Id,
    /// What the vector belongs to.
    pub key: Id,
    /// What a search finds with the key.
    pub question: &'a str,
    /// The vector.
    pub vector: Packed,
}

/// See the module's documentation.
pub struct VectorIndex {
    partitions: HashMap<Id, Partition>,
    places: Places,
    tenants: Tenants,
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
            places: Places::new(),
            tenants: Tenants::default(),
            bytes_max,
            next: 0,
        }
    }

    /// Adds a vector, in the place of the one that the key had, in whichever partition.
    ///
    /// Returns whether it is kept. One of another number of dimensions than those of its partition, or
    /// of another tenant, is not, and nothing is done.
    pub fn add(&mut self, new: &New<'_>) -> bool {
        let age = self.next;
        self.next += 1;
        self.add_aged(new, age)
    }

    /// Begins to load vectors, the newest first. Returns the age of the first one; the age of each
    /// other one is less by one. What is added afterwards is newer than all of them.
    pub fn begin_load(&mut self) -> u64 {
        self.next += LOAD;
        self.next - 1
    }

    /// Adds a vector that has this age already: see [`Self::begin_load`]. Else as [`Self::add`].
    pub fn add_aged(&mut self, new: &New<'_>, age: u64) -> bool {
        let New { tenant, partition: name, key, question, vector } = new;
        let dimensions = vector.codes().len();
        let is_other = |it: &Partition| it.dimensions() != dimensions || it.tenant() != tenant;
        if self.partitions.get(name).is_some_and(is_other) {
            return false;
        }
        self.remove(key);
        let partition =
            self.partitions.entry(*name).or_insert_with(|| Partition::new(*tenant, dimensions));
        // A partition counts only while it has vectors.
        let before = if partition.len() == 0 { 0 } else { partition.bytes() };
        let row = partition.push(*key, question, age, vector);
        self.tenants.added(tenant, age, *key, partition.bytes() - before);
        self.places.set(*key, Place { partition: *name, row });
        while self.tenants.bytes() > self.bytes_max && self.evict() {}
        self.contains(key)
    }

    /// Removes a vector. Returns whether there was one.
    pub fn remove(&mut self, key: &Id) -> bool {
        let Some(Place { partition: name, row }) = self.places.remove(key) else { return false };
        let Some(partition) = self.partitions.get_mut(&name) else { return false };
        let (tenant, before) = (*partition.tenant(), partition.bytes());
        let Some(Removed { age, moved }) = partition.remove(row) else { return false };
        let mut left = partition.bytes();
        if partition.len() == 0 {
            self.partitions.remove(&name);
            left = 0;
        }
        self.tenants.removed(&tenant, age, before - left);
        if let Some(moved) = moved {
            self.places.set(moved, Place { partition: name, row });
        }
        true
    }

    /// Removes everything, and returns it. To free it takes a while: that is the caller's.
    #[must_use]
    pub fn take_all(&mut self) -> Self {
        // What is being loaded meanwhile stays older than what is added.
        std::mem::replace(self, Self { next: self.next, ..Self::new(self.bytes_max) })
    }

    /// Whether the key has a vector.
    #[must_use]
    pub fn contains(&self, key: &Id) -> bool {
        self.places.contains(key)
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
        self.len() == 0
    }

    /// Estimated memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tenants.bytes()
    }

    /// The vectors of a partition as they are now, to be searched.
    #[must_use]
    pub fn view(&self, partition: &Id) -> Option<View> {
        self.partitions.get(partition).map(Partition::view)
    }

    /// Removes the oldest vector of the largest tenant. Returns whether there was one.
    fn evict(&mut self) -> bool {
        self.tenants.oldest_of_largest().is_some_and(|oldest| self.remove(&oldest))
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
