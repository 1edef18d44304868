//! The best few of many.
#![forbid(unsafe_code)]

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A row with its score. The higher score is better; of equal ones the newer row.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Never NaN.
    pub score: f64,
    /// Grows with each vector that is added.
    pub age: u64,
    pub row: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(self.age.cmp(&other.age))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Keeps the best of all candidates that it is offered.
pub struct Best {
    limit: usize,
    /// Scores below are not kept.
    least: f64,
    kept: BinaryHeap<Reverse<Candidate>>,
}

impl Best {
    /// Of at most `limit` candidates with scores of `least` or more.
    pub fn new(limit: usize, least: f64) -> Self {
        Self { limit, least, kept: BinaryHeap::new() }
    }

    /// A candidate of a lower score would not be kept.
    pub fn floor(&self) -> f64 {
        match self.kept.peek() {
            Some(Reverse(worst)) if self.kept.len() == self.limit => worst.score.max(self.least),
            _ => self.least,
        }
    }

    /// Keeps a candidate, in the place of the worst if it is better.
    pub fn offer(&mut self, candidate: Candidate) {
        if candidate.score < self.least || self.limit == 0 {
            return;
        }
        if self.kept.len() < self.limit {
            self.kept.push(Reverse(candidate));
        } else if let Some(mut worst) = self.kept.peek_mut()
            && candidate > worst.0
        {
            *worst = Reverse(candidate);
        }
    }

    /// What was kept, the best first.
    pub fn into_sorted(self) -> impl Iterator<Item = Candidate> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate)
    }
}
