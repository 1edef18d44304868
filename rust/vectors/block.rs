//! Up to 1,024 vectors side by side, each as a row of codes, a sketch and an item.
#![forbid(unsafe_code)]

use super::index::Id;
use super::packed::{Packed, sketch_words};
use std::sync::Arc;

/// Rows of a full block. A block is copied when it changes during a search: 1,024 rows of 384
/// dimensions take some 50 µs.
pub const ROWS: usize = 1024;

/// What belongs to a vector.
#[derive(Clone)]
pub struct Item {
    pub key: Id,
    pub question: Arc<str>,
    /// Grows with each vector that is added.
    pub age: u64,
    /// The vector's dot product with itself.
    pub norm: u32,
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Block {
    dimensions: usize,
    codes: Vec<i8>,
    sketches: Vec<u64>,
    /// What a dot product is multiplied by: one over the length of the vector.
    factors: Vec<f32>,
    items: Vec<Item>,
}

impl Block {
    pub fn new(dimensions: usize) -> Self {
        Self {
            dimensions,
            codes: Vec::new(),
            sketches: Vec::new(),
            factors: Vec::new(),
            items: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    pub fn sketches(&self) -> &[u64] {
        &self.sketches
    }

    pub fn factors(&self) -> &[f32] {
        &self.factors
    }

    /// The codes and the item of a row.
    pub fn row(&self, at: usize) -> (&[i8], &Item) {
        (&self.codes[at * self.dimensions..][..self.dimensions], &self.items[at])
    }

    /// Adds a row of the block's number of dimensions.
    pub fn push(&mut self, item: Item, vector: &Packed) {
        debug_assert_eq!(vector.codes().len(), self.dimensions);
        let words = sketch_words(self.dimensions);
        // Most partitions hold few vectors: room for a quarter more, not for as many again.
        let more = if self.items.len() == self.items.capacity() { self.len() / 4 + 1 } else { 0 };
        self.items.reserve_exact(more);
        self.factors.reserve_exact(more);
        self.sketches.reserve_exact(more * words);
        self.codes.reserve_exact(more * self.dimensions);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "scores are filtered by it, with slack"
        )]
        self.factors.push(f64::from(item.norm).sqrt().recip() as f32);
        self.items.push(item);
        self.sketches.extend(vector.sketch());
        self.codes.extend_from_slice(vector.codes());
    }

    /// Takes a row out of its last place.
    pub fn pop(&mut self) -> Option<Row> {
        let item = self.items.pop()?;
        let (len, words) = (self.len(), sketch_words(self.dimensions));
        Some(Row {
            item,
            factor: self.factors.pop()?,
            sketch: self.sketches.split_off(len * words),
            codes: self.codes.split_off(len * self.dimensions),
        })
    }

    /// Puts another row in the place of one.
    pub fn replace(&mut self, at: usize, row: Row) {
        self.sketches[at * row.sketch.len()..][..row.sketch.len()].copy_from_slice(&row.sketch);
        self.codes[at * row.codes.len()..][..row.codes.len()].copy_from_slice(&row.codes);
        self.factors[at] = row.factor;
        self.items[at] = row.item;
    }
}

/// A row that was taken out.
pub struct Row {
    pub item: Item,
    factor: f32,
    sketch: Vec<u64>,
    codes: Vec<i8>,
}
