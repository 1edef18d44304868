//! The memory tier: values by key, found by the fingerprint of the request as it was asked.
//!
//! A fingerprint finds a candidate; the entry is served only if the request is equal to one that
//! is known to have this key: its bytes up to [`crate::request::key::VERBATIM_MAX`], a BLAKE3 digest
//! beyond. A long prompt is looked for by its sketch first ([`crate::request::key::Keyer::sketch`]). So a
//! colliding fingerprint costs another look by the key, never a wrong answer.
#![forbid(unsafe_code)]

pub use super::answer::{Answer, Dice, FOREVER, Worth};
use super::entry::Entry;
pub use super::invalidation::{Remains, Sweep};
pub use super::report::{About, Counts, Found, Hit, Known};
use super::request_index::{FORM_OVERHEAD, Prompt, Requests};
use crate::memory::lru::{Bounds, Group, Lru};
use crate::request::frame::Request;
use crate::request::key::{Key, Probe};
use std::mem::replace;

/// What an entry weighs beside its value and its request: slot, indices, allocations (bytes).
/// Measured as resident memory over 50,000 entries by `benches/memory.py`, rounded up.
const ENTRY_OVERHEAD: usize = 330;

/// How many forms of one request are remembered; a further one replaces the oldest.
const FORMS_MAX: usize = 4;

/// See [`Tier::epoch`].
const EPOCHS: usize = 256;

/// How many entries have to go at once for a new one, at most: some 2 ms. The rest of a crowd is for
/// [`Tier::relieve`]. An answer of up to 256 KiB never has to drive out more.
const EVICTED_AT_ONCE: usize = 1024;

/// How many uses are remembered, at most, until they are asked for; see [`Tier::take_used`].
const USED_MAX: usize = 1024;

/// How a tier is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Of its entries; each namespace's are a group.
    pub bounds: Bounds,
    /// How long an entry stays that is over, in nanoseconds: see [`Tier::stale`].
    pub grace: u64,
    /// Of its [`Dice`].
    pub seed: u64,
}

/// See the module's documentation. `now` is in nanoseconds, of whatever epoch the caller keeps to.
pub struct Tier {
    pub(super) entries: Lru<Entry>,
    pub(super) requests: Requests,
    counts: Counts,
    pub(super) epochs: [u64; EPOCHS],
    grace: u64,
    dice: Dice,
    used: Vec<Key>,
    /// How many entries were put.
    pub(super) put: u64,
    /// Groups for which more has to go.
    pub(super) crowded: Vec<Group>,
}

impl Tier {
    /// An empty tier.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            entries: Lru::new(settings.bounds),
            requests: Requests::default(),
            counts: Counts::default(),
            epochs: [0; EPOCHS],
            grace: settings.grace,
            dice: Dice::new(settings.seed),
            used: Vec::new(),
            put: 0,
            crowded: Vec::new(),
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Estimated memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.bytes()
    }

    /// Counters since the tier was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Changes whenever the entry of this key (or of one of few others) is removed on purpose or
    /// replaced; see [`Self::fill`].
    #[must_use]
    pub fn epoch(&self, key: &Key) -> u64 {
        self.epochs[usize::from(key.0[0])]
    }

    /// The answer kept for exactly this request, if `probe` finds it.
    pub fn lookup(&mut self, request: &Request<'_>, probe: &Probe, now: u64) -> Found {
        let Some(key) = self.requests.find(probe.fingerprint) else { return Found::Nothing };
        let Some(entry) = self.entries.get(&key) else { return Found::Nothing };
        // From then on it may be over, or this caller the one to make it anew: seldom so.
        let is_due = now >= entry.due;
        if is_due && entry.is_over_at(now) {
            self.note_over(&key, now);
            return Found::Nothing;
        }
        if !entry.forms().any(|form| form.is_of(request, probe)) {
            return Found::Nothing;
        }
        if is_due && self.dice.are_for(&entry.answer, now) {
            return Found::Due;
        }
        self.counts.served(&entry.answer.worth);
        note_use(&mut self.used, entry);
        Found::Hit(entry.hit())
    }

    /// The answer kept under this key, for a request that was asked in another form before, or that
    /// somebody else makes anew. The form is remembered: [`Self::lookup`] will find it.
    pub fn lookup_key(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        now: u64,
    ) -> Option<Hit> {
        self.note_over(&key, now);
        let entry = self.entries.get(&key).filter(|entry| !entry.is_over_at(now))?;
        note_use(&mut self.used, entry);
        let hit = entry.hit();
        self.counts.served(&hit.worth);
        self.learn(request, probe, key);
        Some(hit)
    }

    /// As [`Self::lookup_key`], even if it is over, but not longer ago than the grace. No hit.
    pub fn stale(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        now: u64,
    ) -> Option<Hit> {
        self.note_over(&key, now);
        let hit = self.entries.get(&key)?.hit();
        self.learn(request, probe, key);
        Some(hit)
    }

    /// Keys of entries that were hit since this was asked last: some of them, where they are many.
    pub fn take_used(&mut self) -> Vec<Key> {
        let used = std::mem::take(&mut self.used);
        for key in &used {
            if let Some(entry) = self.entries.peek_mut(key) {
                entry.is_used = false;
            }
        }
        used
    }

    /// Takes a hit back that turned out to be of no use.
    pub fn uncount(&mut self, hit: &Hit) {
        self.counts.hits -= 1;
        self.counts.saved.subtract(&hit.worth);
    }

    /// Counts an entry that is over, once, and removes it after the grace.
    fn note_over(&mut self, key: &Key, now: u64) {
        let Some(entry) = self.entries.get(key).filter(|entry| entry.is_over_at(now)) else {
            return;
        };
        let is_news = !replace(&mut entry.is_over, true);
        self.counts.expired += u64::from(is_news);
        if entry.answer.expires.saturating_add(self.grace) <= now {
            self.discard(key);
        }
    }

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

    fn put(&mut self, request: &Request<'_>, probe: &Probe, key: Key, answer: Answer) -> bool {
        let weight = ENTRY_OVERHEAD + answer.value.len();
        let prompt = if probe.digest.is_some() { 0 } else { request.prompt.len() };
        let scope = request.namespace.len() + request.llm_string.len();
        if !self.entries.has_room_for(weight + FORM_OVERHEAD + prompt + scope) {
            return false;
        }
        let due = answer.due();
        let (form, shared) = self.requests.form(request, probe);
        let (weight, group) = (weight + form.weight(), form.scope.group);
        let form = Some(form);
        let (is_over, is_used) = (false, false);
        let number = self.put;
        self.put += 1;
        let entry = Entry { key, answer, number, due, is_over, is_used, form, others: Vec::new() };
        self.entries.insert(key, entry, weight, group);
        self.entries.reserve(group, shared.cast_signed());
        self.requests.lead(probe, key);
        self.shrink(group);
        // Of a namespace that is the largest by this entry alone, it is the first to go.
        self.entries.peek(&key).is_some()
    }

    /// Remembers that this request, as it was asked, has this key.
    fn learn(&mut self, request: &Request<'_>, probe: &Probe, key: Key) {
        let Some(entry) = self.entries.get(&key) else { return };
        let is_known = entry.forms().any(|form| form.is_of(request, probe));
        self.requests.lead(probe, key);
        if is_known {
            return;
        }
        let (form, shared) = self.requests.form(request, probe);
        let (mut change, mut shared) = (form.weight().cast_signed(), shared.cast_signed());
        let group = form.scope.group;
        entry.others.extend(entry.form.replace(form));
        if entry.others.len() == FORMS_MAX {
            let oldest = entry.others.remove(0);
            change -= oldest.weight().cast_signed();
            shared -= self.requests.release(oldest, key).cast_signed();
        }
        self.entries.reweigh(&key, change);
        self.entries.reserve(group, shared);
        self.shrink(group);
    }

    /// Keeps to the bounds after a namespace has grown; or begins to, where much has to go.
    fn shrink(&mut self, group: Group) {
        let mut evicted = 0;
        let is_done = self.evict(group, || {
            evicted += 1;
            evicted < EVICTED_AT_ONCE
        });
        if !is_done {
            self.crowded.push(group);
        }
    }

    /// Goes on with what a large answer has left to do: until the tier keeps to its bounds again, or
    /// may not go on. Returns whether there is nothing more to do.
    pub fn relieve(&mut self, mut may_go_on: impl FnMut() -> bool) -> bool {
        while let Some(group) = self.crowded.pop() {
            if !self.evict(group, &mut may_go_on) {
                self.crowded.push(group);
                return false;
            }
        }
        true
    }

    /// Whether no more has to go, where this namespace has grown.
    fn evict(&mut self, group: Group, mut may_go_on: impl FnMut() -> bool) -> bool {
        while let Some(evicted) = self.entries.evict(group) {
            self.counts.evictions += 1;
            self.release(evicted);
            if !may_go_on() {
                return false;
            }
        }
        true
    }

    /// Keeps an answer that was read from a store when the epoch of its key was `epoch`.
    ///
    /// What was removed or replaced since then must not come back, so a fill of an older epoch is
    /// refused; and an answer that is already here, and not over, is at least as new as the one
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
        self.counts.filled(&answer.worth);
        self.note_over(&key, now);
        if epoch != self.epoch(&key) || self.holds(&key, now) {
            return false;
        }
        // One that is over but stays for its grace: of two, the one that would stay for longer.
        let other = self.entries.peek(&key).map(|entry| entry.answer.expires);
        if other.is_some_and(|expires| expires >= answer.expires) {
            return false;
        }
        self.discard(&key);
        self.put(request, probe, key, answer)
    }

    /// Whether there is an entry of this key, and it is not over. Not a use of it.
    #[must_use]
    pub fn holds(&self, key: &Key, now: u64) -> bool {
        self.entries.peek(key).is_some_and(|entry| !entry.is_over_at(now))
    }

    /// Whether there is an entry of this key, over or not. Not a use of it.
    #[must_use]
    pub fn knows(&self, key: &Key) -> bool {
        self.entries.peek(key).is_some()
    }

    /// Length of the value of this key, in bytes; 0 if there is none. Not a use of it.
    #[must_use]
    pub fn size(&self, key: &Key) -> usize {
        self.entries.peek(key).map_or(0, |entry| entry.answer.value.len())
    }

    /// Of an entry that there is, over or not. Not a use of it.
    #[must_use]
    pub fn about(&self, key: &Key, now: u64) -> Option<About> {
        let Entry { answer, due, .. } = self.entries.peek(key)?;
        let is_due = now >= *due;
        let is_here = answer.expires.saturating_add(self.grace) > now;
        is_here.then_some(About { created: answer.created, expires: answer.expires, is_due })
    }

    /// The key of the entry that [`Self::lookup`] has for this request, due or not. Not a use of it.
    #[must_use]
    pub fn known(&self, request: &Request<'_>, probe: &Probe, now: u64) -> Option<Key> {
        let key = self.requests.find(probe.fingerprint)?;
        let entry = self.entries.peek(&key)?;
        let is_it = !entry.is_over_at(now) && entry.forms().any(|form| form.is_of(request, probe));
        is_it.then_some(key)
    }

    /// Requests of a namespace that are known, the most recently used first: at most `max_entries`,
    /// and with the one that makes them more than `max_bytes` of text they end.
    #[must_use]
    pub fn recent(&self, namespace: &[u8], max_entries: usize, max_bytes: usize) -> Vec<Known> {
        let mut bytes = 0;
        let group = self.requests.group(namespace);
        let entries = group.into_iter().flat_map(|group| self.entries.of_group(group));
        let known = entries.filter_map(|entry| {
            let form = entry.form.as_ref()?;
            let prompt = match &form.prompt {
                Prompt::Verbatim(prompt) => Some(prompt.clone()),
                Prompt::Digest(_) => None,
            };
            let llm_string = form.scope.llm_string.clone();
            Some(Known { key: entry.key, llm_string, prompt })
        });
        let is_within = |known: &Known| {
            let is_within = bytes <= max_bytes;
            bytes += known.llm_string.len() + known.prompt.as_ref().map_or(0, |it| it.len());
            is_within
        };
        known.take(max_entries).take_while(is_within).collect()
    }
}

fn note_use(used: &mut Vec<Key>, entry: &mut Entry) {
    if !entry.is_used && used.len() < USED_MAX {
        entry.is_used = true;
        used.push(entry.key);
    }
}

#[cfg(test)]
#[path = "tier_tests.rs"]
pub(super) mod tests;
