//! Taking entries out of the tier.

use super::Tier;
use super::entry::Entry;
use super::requests::Requests;
use crate::key::Key;
use std::sync::Arc;

impl Tier {
    /// Takes out the entry of a key. Reads that began before cannot bring it back.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.epochs[usize::from(key.0[0])] += 1;
        self.discard(key)
    }

    /// Takes out the entries of the requests that are meant (by namespace and `llm_string`), if they
    /// were made before `before`. Reads that began before cannot bring any of them back.
    pub fn invalidate(
        &mut self,
        is_meant: impl FnMut(&[u8], &[u8]) -> bool,
        before: Option<f64>,
    ) -> usize {
        self.epochs.iter_mut().for_each(|epoch| *epoch += 1);
        let scopes = self.requests.scopes_where(is_meant);
        if scopes.is_empty() {
            return 0;
        }
        let goes = |entry: &&Entry| {
            before.is_none_or(|before| entry.answer.created < before)
                && entry.forms().any(|form| scopes.contains(&Arc::as_ptr(&form.scope)))
        };
        let keys: Vec<Key> = self.entries.iter().filter(goes).map(|entry| entry.key).collect();
        keys.iter().filter(|key| self.discard(key)).count()
    }

    /// Takes out everything. Reads that began before cannot bring any of it back.
    pub fn clear(&mut self) {
        self.epochs.iter_mut().for_each(|epoch| *epoch += 1);
        self.entries.clear();
        self.requests = Requests::default();
    }

    pub(super) fn discard(&mut self, key: &Key) -> bool {
        let entry = self.entries.remove(key);
        entry.map(|entry| self.release(entry)).is_some()
    }

    pub(super) fn release(&mut self, entry: Entry) {
        for form in entry.form.into_iter().chain(entry.others) {
            let group = form.scope.group;
            let freed = self.requests.release(form, entry.key);
            self.entries.reserve(group, -freed.cast_signed());
        }
    }
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
