//! Keeps answers: new ones, those that a store had, and further aliases of a request.
#![forbid(unsafe_code)]

use super::answer::Answer;
use super::entry::Entry;
use super::request_index::ALIAS_OVERHEAD;
use super::tier::Tier;
use crate::request::{Key, Probe, Request};

/// What an entry weighs beside its value and its request: slot, indices, allocations (bytes).
/// Measured as resident memory over 50,000 entries by `benches/memory.py`, rounded up.
const ENTRY_OVERHEAD: usize = 330;

/// How many aliases of one request are remembered; a further one replaces the oldest.
const ALIASES_MAX: usize = 4;

impl Tier {
    /// Keeps a new answer, in place of an older one. Returns whether it found room.
    pub fn update(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        answer: Answer,
    ) -> bool {
        self.epochs[usize::from(key.0[0])] += 1;
        self.discard(&key);
        self.put(request, probe, key, answer)
    }

    /// Keeps an answer that was read from a store when the epoch of its key was `epoch`.
    ///
    /// What was removed or replaced since then must not come back, so a fill of an older epoch is
    /// refused; and an answer that is already here, and not expired, is at least as new as the one
    /// that was read.
    pub fn fill(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        answer: Answer,
        epoch: u64,
        now: u64,
    ) -> bool {
        if self.history.is_over(now) {
            self.history.roll(now, self.counts);
        }
        self.counts.filled(&answer.worth);
        self.note_expired(&key, now);
        if epoch != self.epoch(&key) || self.holds(&key, now) {
            return false;
        }
        // One that has expired but stays for its grace: of two, the one that stays longer.
        let other = self.entries.peek(&key).map(|entry| entry.answer.expires);
        if other.is_some_and(|expires| expires >= answer.expires) {
            return false;
        }
        self.discard(&key);
        self.put(request, probe, key, answer)
    }

    fn put(&mut self, request: &Request<'_>, probe: &Probe, key: Key, answer: Answer) -> bool {
        let weight = ENTRY_OVERHEAD + answer.value.len();
        let prompt = if probe.digest.is_some() { 0 } else { request.prompt.len() };
        let scope = request.namespace.len() + request.llm_string.len();
        if !self.entries.has_room_for(weight + ALIAS_OVERHEAD + prompt + scope) {
            return false;
        }
        let due = answer.due();
        let (alias, shared) = self.requests.alias(request, probe);
        let (weight, group) = (weight + alias.weight(), alias.scope.group);
        let alias = Some(alias);
        let (is_expired, is_used) = (false, false);
        let number = self.put;
        self.put += 1;
        let entry =
            Entry { key, answer, number, due, is_expired, is_used, alias, others: Vec::new() };
        self.entries.insert(key, entry, weight, group);
        self.entries.reserve(group, shared.cast_signed());
        self.requests.lead(probe, key);
        self.shrink(group);
        // Of a namespace that is the largest by this entry alone, it is the first to go.
        self.entries.peek(&key).is_some()
    }

    /// Remembers that this request, as it was asked, has this key.
    pub(super) fn learn(&mut self, request: &Request<'_>, probe: &Probe, key: Key) {
        let Some(entry) = self.entries.get(&key) else { return };
        let is_known = entry.aliases().any(|alias| alias.is_of(request, probe));
        self.requests.lead(probe, key);
        if is_known {
            return;
        }
        let (alias, shared) = self.requests.alias(request, probe);
        let (mut change, mut shared) = (alias.weight().cast_signed(), shared.cast_signed());
        let group = alias.scope.group;
        entry.others.extend(entry.alias.replace(alias));
        if entry.others.len() == ALIASES_MAX {
            let oldest = entry.others.remove(0);
            change -= oldest.weight().cast_signed();
            shared -= self.requests.release(oldest, key).cast_signed();
        }
        self.entries.reweigh(&key, change);
        self.entries.reserve(group, shared);
        self.shrink(group);
    }
}
