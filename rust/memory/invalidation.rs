//! Taking entries out of the tier.

use super::entry::Entry;
use super::lru::Lru;
use super::request_index::{RequestIndex, Scope};
use super::tier::Tier;
use crate::request::Key;
use std::collections::HashMap;

/// How many slots a sweep looks at between two questions whether it may go on: some 2 µs.
const STRIDE: usize = 64;

/// What was taken out of a tier all at once. To drop it takes as long as to free all its entries.
#[must_use]
pub struct Remains {
    entries: Lru<Entry>,
    _requests: RequestIndex,
}

impl Remains {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A removal of many entries, in steps, between which the tier is used as ever.
///
/// It takes out entries that were there when it began. One that was put meanwhile stays: it is newer
/// than the wish to remove. So does one that took the place of an older one.
pub struct Sweep {
    /// The slot to look at next.
    at: usize,
    /// Entries of this number or a higher one are newer.
    newer: u64,
    before: Option<f64>,
    /// By number, the scopes that were met, and whether they are meant.
    meant: HashMap<u64, bool>,
    /// Entries that it has taken out.
    pub removed: usize,
}

impl Tier {
    /// Takes out the entry of a key. Reads that began before cannot bring it back.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.epochs[usize::from(key.0[0])] += 1;
        self.discard(key)
    }

    /// Begins to take out entries made before `before`: see [`Self::sweep`]. Reads that began before
    /// cannot bring any of them back.
    pub fn begin_sweep(&mut self, before: Option<f64>) -> Sweep {
        self.epochs.iter_mut().for_each(|epoch| *epoch += 1);
        Sweep { at: 0, newer: self.put, before, meant: HashMap::new(), removed: 0 }
    }

    /// Goes on with a sweep of the requests that are meant, by namespace and `llm_string`, until it is
    /// done or may not go on. Returns whether it is done.
    pub fn sweep(
        &mut self,
        sweep: &mut Sweep,
        mut is_meant: impl FnMut(&[u8], &[u8]) -> bool,
        mut may_go_on: impl FnMut() -> bool,
    ) -> bool {
        while sweep.at < self.entries.slots() {
            let at = sweep.at;
            sweep.at += 1;
            let mut is_long = sweep.at.is_multiple_of(STRIDE);
            if let Some(entry) = self.entries.at(at)
                && entry.number < sweep.newer
                && sweep.before.is_none_or(|before| entry.answer.created < before)
            {
                let mut is_of_meant = |scope: &Scope| {
                    *sweep.meant.entry(scope.number).or_insert_with(|| {
                        is_long = true;
                        is_meant(scope.namespace(), &scope.llm_string)
                    })
                };
                if entry.aliases().any(|alias| is_of_meant(&alias.scope)) {
                    let key = entry.key;
                    sweep.removed += usize::from(self.discard(&key));
                    is_long = true;
                }
            }
            if is_long && !may_go_on() {
                break;
            }
        }
        sweep.at >= self.entries.slots()
    }

    /// Takes out everything. Reads that began before cannot bring any of it back.
    pub fn clear(&mut self) -> Remains {
        self.epochs.iter_mut().for_each(|epoch| *epoch += 1);
        self.crowded.clear();
        Remains { entries: self.entries.take_all(), _requests: self.requests.take_all() }
    }

    pub(super) fn discard(&mut self, key: &Key) -> bool {
        let entry = self.entries.remove(key);
        entry.map(|entry| self.release(entry)).is_some()
    }

    pub(super) fn release(&mut self, entry: Entry) {
        for alias in entry.alias.into_iter().chain(entry.others) {
            let group = alias.scope.group;
            let freed = self.requests.release(alias, entry.key);
            self.entries.reserve(group, -freed.cast_signed());
        }
    }
}

#[cfg(test)]
#[path = "invalidation_tests.rs"]
mod tests;
