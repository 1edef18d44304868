//! What the tier keeps of a request: its answer, and how it was asked.

use super::answer::Answer;
use super::report::Hit;
use super::request_index::Form;
use crate::request::key::Key;
use std::sync::Arc;

/// See the module's documentation.
pub struct Entry {
    pub key: Key,
    pub answer: Answer,
    /// Counts the entries of a tier, in the order in which they were put: see [`super::invalidation::Sweep`].
    pub number: u64,
    /// [`Answer::due`], at hand.
    pub due: u64,
    /// Whether it was found past its time, and counted.
    pub is_over: bool,
    /// Whether it is among [`super::tier::Tier::take_used`].
    pub is_used: bool,
    /// The form that was asked last to be new, here: nearly always it is the only one, and memory
    /// that lies elsewhere is slow to reach.
    pub form: Option<Form>,
    /// Those before it, the oldest first.
    pub others: Vec<Form>,
}

impl Entry {
    pub fn forms(&self) -> impl Iterator<Item = &Form> {
        self.form.iter().chain(&self.others)
    }

    pub fn is_over_at(&self, now: u64) -> bool {
        self.answer.expires <= now
    }

    pub fn hit(&self) -> Hit {
        Hit { value: Arc::clone(&self.answer.value), worth: self.answer.worth }
    }
}
