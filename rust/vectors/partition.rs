//! The vectors of one partition.
//!
//! Rows have no gaps: the last row takes the place of one that is removed. Blocks are shared with the
//! searches that are under way, and copied when they change meanwhile.
#![forbid(unsafe_code)]

use super::block::{Block, Item, ROWS};
use super::index::{Id, Tenant};
use super::packed::{Packed, sketch_words};
use super::search::View;
use std::sync::Arc;

/// Memory of a partition beside its vectors, in bytes: its places in the index, and its blocks.
pub const PARTITION_BYTES: usize = 500;

/// Memory of a vector beside its codes, sketch and question, in bytes: its item, its places in the
/// index and in its tenant's order of age, and what the allocator needs.
const VECTOR_BYTES: usize = 260;

/// Memory that a vector of so many dimensions takes, in bytes. Blocks have room for a quarter more
/// than they hold, hence an eighth on average.
pub fn vector_bytes(dimensions: usize, question: &str) -> usize {
    let row = dimensions + sketch_words(dimensions) * size_of::<u64>();
    row + row / 8 + question.len() + VECTOR_BYTES
}

/// See the module's documentation.
pub struct Partition {
    tenant: Tenant,
    dimensions: usize,
    blocks: Vec<Arc<Block>>,
    bytes: usize,
}

/// What [`Partition::remove`] has done.
pub struct Removed {
    /// Of the vector.
    pub age: u64,
    /// The key that has its row now, if another one does.
    pub moved: Option<Id>,
}

impl Partition {
    /// Without vectors, for those of a tenant and of so many dimensions.
    pub fn new(tenant: Tenant, dimensions: usize) -> Self {
        Self { tenant, dimensions, blocks: Vec::new(), bytes: PARTITION_BYTES }
    }

    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub fn len(&self) -> usize {
        let last = self.blocks.last().map_or(0, |block| block.len());
        self.blocks.len().saturating_sub(1) * ROWS + last
    }

    /// Estimated memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a vector. Returns its row.
    pub fn push(&mut self, key: Id, question: &str, age: u64, vector: &Packed) -> u32 {
        // Each row has some hundred bytes: no memory holds 2^32 of them.
        let row = u32::try_from(self.len()).unwrap_or(u32::MAX);
        if self.blocks.last().is_none_or(|block| block.len() == ROWS) {
            self.blocks.push(Arc::new(Block::new(self.dimensions)));
        }
        if let Some(block) = self.blocks.last_mut() {
            let item = Item { key, question: question.into(), age, norm: vector.norm() };
            Arc::make_mut(block).push(item, vector);
        }
        self.bytes += vector_bytes(self.dimensions, question);
        row
    }

    /// Removes a row, if there is one.
    pub fn remove(&mut self, row: u32) -> Option<Removed> {
        let (block, at) = place(row);
        let is_last = row as usize + 1 == self.len();
        let removed = self.blocks.get(block)?.row(at).1;
        let age = removed.age;
        self.bytes -= vector_bytes(self.dimensions, &removed.question);
        let last = Arc::make_mut(self.blocks.last_mut()?);
        let moved = last.pop()?;
        if last.len() == 0 {
            self.blocks.pop();
        }
        if is_last {
            return Some(Removed { age, moved: None });
        }
        let key = moved.item.key;
        Arc::make_mut(self.blocks.get_mut(block)?).replace(at, moved);
        Some(Removed { age, moved: Some(key) })
    }

    /// What a search needs, as it is now. Later changes do not show in it.
    pub fn view(&self) -> View {
        View::new(self.dimensions, self.blocks.clone())
    }
}

/// The block of a row, and its place there.
pub fn place(row: u32) -> (usize, usize) {
    (row as usize / ROWS, row as usize % ROWS)
}
