//! The vectors of one partition, and their order of age.
//!
//! Rows have no gaps: the last row takes the place of one that is removed. Blocks are shared with the
//! searches that are under way, and copied when they change meanwhile.
#![forbid(unsafe_code)]

use super::block::{Block, Item, ROWS};
use super::index::Id;
use super::packed::{Packed, sketch_words};
use super::search::View;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Memory of a partition beside its vectors, in bytes: its places in the index, and its blocks.
pub const PARTITION_BYTES: usize = 900;

/// Memory of a vector beside its codes, sketch and question, in bytes: its item, its places in the
/// index and in the order of age, and what the allocator needs.
const VECTOR_BYTES: usize = 260;

/// Memory that a vector of so many dimensions takes, in bytes. Blocks have room for a quarter more
/// than they hold, hence an eighth on average.
pub fn vector_bytes(dimensions: usize, question: &str) -> usize {
    let row = dimensions + sketch_words(dimensions) * size_of::<u64>();
    row + row / 8 + question.len() + VECTOR_BYTES
}

/// See the module's documentation.
pub struct Partition {
    dimensions: usize,
    blocks: Vec<Arc<Block>>,
    /// Rows by age, the oldest first.
    ages: BTreeMap<u64, u32>,
    bytes: usize,
}

impl Partition {
    /// Without vectors, for those of so many dimensions.
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions, blocks: Vec::new(), ages: BTreeMap::new(), bytes: PARTITION_BYTES }
    }

    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub fn len(&self) -> usize {
        self.ages.len()
    }

    /// Estimated memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn keys(&self) -> impl Iterator<Item = &Id> {
        let rows = self.blocks.iter().flat_map(|block| (0..block.len()).map(|at| block.row(at).1));
        rows.map(|item| &item.key)
    }

    /// The key of the oldest vector.
    pub fn oldest(&self) -> Option<Id> {
        let (_, row) = self.ages.first_key_value()?;
        let (block, at) = place(*row);
        Some(self.blocks.get(block)?.row(at).1.key)
    }

    /// Adds a vector that is newer than all others. Returns its row.
    pub fn push(&mut self, key: Id, question: &str, age: u64, vector: &Packed) -> u32 {
        if self.blocks.last().is_none_or(|block| block.len() == ROWS) {
            self.blocks.push(Arc::new(Block::new(self.dimensions)));
        }
        // Each row has some hundred bytes: no memory holds 2^32 of them.
        let row = u32::try_from(self.len()).unwrap_or(u32::MAX);
        if let Some(block) = self.blocks.last_mut() {
            let item = Item { key, question: question.into(), age, norm: vector.norm() };
            Arc::make_mut(block).push(item, vector);
        }
        self.ages.insert(age, row);
        self.bytes += vector_bytes(self.dimensions, question);
        row
    }

    /// Removes a row. Returns the key that has this row now, if another one does.
    pub fn remove(&mut self, row: u32) -> Option<Id> {
        let (block, at) = place(row);
        let is_last = row as usize + 1 == self.len();
        let removed = self.blocks.get(block)?.row(at).1;
        self.ages.remove(&removed.age);
        self.bytes -= vector_bytes(self.dimensions, &removed.question);
        let last = Arc::make_mut(self.blocks.last_mut()?);
        let moved = last.pop()?;
        if last.len() == 0 {
            self.blocks.pop();
        }
        if is_last {
            return None;
        }
        let key = moved.item.key;
        self.ages.insert(moved.item.age, row);
        Arc::make_mut(self.blocks.get_mut(block)?).replace(at, moved);
        Some(key)
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
