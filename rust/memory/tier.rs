//! The memory tier itself: lookups, counters and epochs.
#![forbid(unsafe_code)]

use super::bounds::Bounds;
use super::early_refresh::EarlyRefresh;
use super::entry::Entry;
use super::lru::{Group, Lru};
use super::report::{Counts, Found, Hit};
use super::request_index::RequestIndex;
use crate::history::{Bucket, History};
use crate::request::{Key, Probe, Request};
use std::mem::replace;
use std::sync::Arc;

/// See [`Tier::epoch`].
const EPOCHS: usize = 256;

/// How many uses are remembered, at most, until they are asked for; see [`Tier::take_used`].
const USED_MAX: usize = 1024;

/// Settings of a memory tier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Bounds on the entries; those of a namespace are a group.
    pub bounds: Bounds,
    /// How long an expired entry stays, in nanoseconds: see [`Tier::stale`].
    pub grace: u64,
    /// Seed of early refreshes.
    pub seed: u64,
}

/// Answers by request. `now` is in nanoseconds, of whatever epoch the caller keeps to.
pub struct Tier {
    pub(super) entries: Lru<Entry>,
    pub(super) requests: RequestIndex,
    pub(super) counts: Counts,
    /// Of the counts.
    pub(super) history: History<Counts>,
    pub(super) epochs: [u64; EPOCHS],
    pub(super) grace: u64,
    early_refresh: EarlyRefresh,
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
            requests: RequestIndex::default(),
            counts: Counts::default(),
            history: History::default(),
            epochs: [0; EPOCHS],
            grace: settings.grace,
            early_refresh: EarlyRefresh::new(settings.seed),
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

    /// The counters over time: see [`History::levels`].
    #[must_use]
    pub fn history(&self) -> Vec<(u64, Vec<Bucket<Counts>>)> {
        self.history.levels(self.counts)
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
        // From then on it may have expired, or this caller shall refresh it: seldom so.
        let is_due = now >= entry.due;
        if is_due && entry.is_expired_at(now) {
            self.note_expired(&key, now);
            return Found::Nothing;
        }
        if !entry.aliases().any(|alias| alias.is_of(request, probe)) {
            return Found::Nothing;
        }
        if is_due && self.early_refresh.is_due(&entry.answer, now) {
            return Found::Due;
        }
        if self.history.is_over(now) {
            self.history.roll(now, self.counts);
        }
        self.counts.served(&entry.answer.worth);
        note_use(&mut self.used, entry);
        Found::Hit(entry.hit())
    }

    /// The answer kept under this key, for a request that was asked in other words before, or that
    /// another caller refreshes. The alias is remembered: [`Self::lookup`] will find it.
    pub fn lookup_key(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        now: u64,
    ) -> Option<Hit> {
        self.note_expired(&key, now);
        let entry = self.entries.get(&key).filter(|entry| !entry.is_expired_at(now))?;
        note_use(&mut self.used, entry);
        let hit = entry.hit();
        if self.history.is_over(now) {
            self.history.roll(now, self.counts);
        }
        self.counts.served(&hit.worth);
        self.learn(request, probe, key);
        Some(hit)
    }

    /// As [`Self::lookup_key`], even if it has expired, within the grace. Not counted as a hit.
    pub fn stale(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        now: u64,
    ) -> Option<Hit> {
        self.note_expired(&key, now);
        let hit = self.entries.get(&key)?.hit();
        self.learn(request, probe, key);
        Some(hit)
    }

    /// The value of this key, unless it has expired. A use of it, though no hit is counted: the
    /// caller asked for another request.
    pub fn use_value(&mut self, key: &Key, now: u64) -> Option<Arc<[u8]>> {
        let entry = self.entries.get(key).filter(|entry| !entry.is_expired_at(now))?;
        note_use(&mut self.used, entry);
        Some(Arc::clone(&entry.answer.value))
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

    /// Counts an expired entry, once, and removes it after the grace.
    pub(super) fn note_expired(&mut self, key: &Key, now: u64) {
        let Some(entry) = self.entries.get(key).filter(|entry| entry.is_expired_at(now)) else {
            return;
        };
        let is_news = !replace(&mut entry.is_expired, true);
        self.counts.expired += u64::from(is_news);
        if entry.answer.expires.saturating_add(self.grace) <= now {
            self.discard(key);
        }
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
