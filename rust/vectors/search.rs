//! The best of a partition's vectors.
//!
//! A partition is scanned whole, by the dot products of the packed vectors. A large one is scanned by
//! its sketches first, one bit for each dimension, and only the nearest of these are compared by their
//! dot products (as in Charikar, "Similarity estimation techniques from rounding algorithms", STOC
//! 2002, but with the axes themselves in the place of random directions).
#![forbid(unsafe_code)]

use super::best::{Best, Candidate};
use super::block::{Block, Item, ROWS};
use super::index::Id;
use super::kernels::{distances, dots};
use super::packed::Packed;
use super::partition::place;
use std::sync::Arc;

/// Partitions of more vectors are searched by their sketches first.
pub const SKETCHED_ABOVE: usize = 20_000;

/// How many of the nearest sketches are compared by their dot products.
const RESCORED: usize = 64;

/// Part by which a score of single precision may be off: three roundings of 2^-24 each, and more.
const SLACK: f64 = 1e-6;

/// What a search has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What the vector belongs to.
    pub key: Id,
    /// Its question.
    pub question: Arc<str>,
    /// Cosine of the packed vectors, from -1 to 1.
    pub score: f64,
}

/// The vectors of a partition at one moment.
pub struct View {
    dimensions: usize,
    blocks: Vec<Arc<Block>>,
}

impl View {
    pub(super) fn new(dimensions: usize, blocks: Vec<Arc<Block>>) -> Self {
        Self { dimensions, blocks }
    }

    /// Number of vectors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum()
    }

    /// Whether there is no vector.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The best vectors: at most `limit`, with scores of `least` or more. The best comes first, and of
    /// equal ones the newest.
    ///
    /// Of more than `sketched_above` vectors, those whose sketches are far from the query's are not
    /// looked at. A vector of another number of dimensions finds nothing.
    #[must_use]
    pub fn search(
        &self,
        vector: &Packed,
        limit: usize,
        least: f64,
        sketched_above: usize,
    ) -> Vec<Found> {
        if vector.codes().len() != self.dimensions || least.is_nan() {
            return Vec::new();
        }
        let mut best = Best::new(limit, least);
        let query = Query::of(vector);
        if self.len() > sketched_above {
            self.scan_near(&query, vector, limit, &mut best);
        } else {
            self.scan(&query, &mut best);
        }
        best.into_sorted().filter_map(|it| self.found(it)).collect()
    }

    fn found(&self, candidate: Candidate) -> Option<Found> {
        let (_, item) = self.row(candidate.row)?;
        let Candidate { score, .. } = candidate;
        Some(Found { key: item.key, question: Arc::clone(&item.question), score })
    }

    fn row(&self, row: u32) -> Option<(&[i8], &Item)> {
        let (block, at) = place(row);
        Some(self.blocks.get(block)?.row(at))
    }

    /// Each block, and the row that it begins with.
    fn blocks(&self) -> impl Iterator<Item = (u32, &Block)> {
        (0..).step_by(ROWS).zip(self.blocks.iter().map(AsRef::as_ref))
    }

    /// Compares all vectors.
    fn scan(&self, query: &Query, best: &mut Best) {
        let mut sums = [0; ROWS];
        for (first, block) in self.blocks() {
            let sums = &mut sums[..block.len()];
            dots(&query.codes, block.codes(), sums);
            let mut floor = query.floor(best);
            for ((row, dot), factor) in (0..).zip(&*sums).zip(block.factors()) {
                #[expect(clippy::cast_precision_loss, reason = "hence the slack")]
                if *dot as f32 * factor >= floor {
                    let (_, item) = block.row(row);
                    best.offer(query.candidate(*dot, item, first + low(row)));
                    floor = query.floor(best);
                }
            }
        }
    }

    /// Compares the vectors whose sketches are the nearest.
    fn scan_near(&self, query: &Query, vector: &Packed, limit: usize, best: &mut Best) {
        let sketch: Vec<u64> = vector.sketch().collect();
        let mut near = Best::new(limit.max(RESCORED), f64::NEG_INFINITY);
        let mut sums = [0; ROWS];
        for (first, block) in self.blocks() {
            let sums = &mut sums[..block.len()];
            distances(&sketch, block.sketches(), sums);
            // Of equal distances the newer is nearer: so equal ones are offered.
            let mut farthest = -near.floor();
            for (row, distance) in (0..).zip(&*sums) {
                let distance = f64::from(*distance);
                if distance <= farthest {
                    let age = block.row(row).1.age;
                    near.offer(Candidate { score: -distance, age, row: first + low(row) });
                    farthest = -near.floor();
                }
            }
        }
        for Candidate { row, .. } in near.into_sorted() {
            if let Some((codes, item)) = self.row(row) {
                let mut sum = [0];
                dots(&query.codes, codes, &mut sum);
                best.offer(query.candidate(sum[0], item, row));
            }
        }
    }
}

/// A vector that is looked for.
struct Query {
    codes: Vec<i16>,
    norm: f64,
}

impl Query {
    fn of(vector: &Packed) -> Self {
        let codes = vector.codes().iter().copied().map(i16::from).collect();
        Self { codes, norm: f64::from(vector.norm()) }
    }

    fn candidate(&self, dot: i32, item: &Item, row: u32) -> Candidate {
        let score = f64::from(dot) / (self.norm * f64::from(item.norm)).sqrt();
        Candidate { score: score.clamp(-1.0, 1.0), age: item.age, row }
    }

    /// A row whose dot product times its factor is less would not be kept.
    #[expect(clippy::cast_possible_truncation, reason = "hence the slack")]
    fn floor(&self, best: &Best) -> f32 {
        let floor = best.floor() * self.norm.sqrt();
        (floor - floor.abs() * SLACK) as f32
    }
}

/// A place in a block as part of a row's number.
fn low(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
