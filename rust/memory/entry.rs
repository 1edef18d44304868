//! An entry of the tier: an answer, and the requests that lead to it.
#![forbid(unsafe_code)]

use super::answer::Answer;
use super::report::Hit;
use super::request_index::Alias;
use crate::request::Key;
use std::sync::Arc;

/// An answer, and the requests that lead to it.
pub struct Entry {
    pub key: Key,
    pub answer: Answer,
    /// Counts the entries of a tier in the order in which they were put.
    pub number: u64,
    /// [`Answer::due`], at hand.
    pub due: u64,
    /// Whether it was found past its time, and counted.
    pub is_expired: bool,
    /// Whether it was used since the last [`super::tier::Tier::take_used`].
    pub is_used: bool,
    /// The newest alias. In the entry itself: nearly always it is the only one, and memory that lies
    /// elsewhere is slow to reach.
    pub alias: Option<Alias>,
    /// Those before it, the oldest first.
    pub others: Vec<Alias>,
}

impl Entry {
    pub fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.alias.iter().chain(&self.others)
    }

    pub fn is_expired_at(&self, now: u64) -> bool {
        self.answer.expires <= now
    }

    pub fn hit(&self) -> Hit {
        Hit { value: Arc::clone(&self.answer.value), worth: self.answer.worth }
    }
}
