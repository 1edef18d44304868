//! The memory tier: values by key, found by the fingerprint of the request as it was asked.
//!
//! A fingerprint finds a candidate; the entry is served only if the request is equal to one that
//! is known to have this key: its bytes up to [`crate::key::VERBATIM_MAX`], a BLAKE3 digest
//! beyond. A long prompt is looked for by its sketch first ([`crate::key::Keyer::sketch`]). So a colliding fingerprint costs a miss, never a wrong answer.
#![forbid(unsafe_code)]

use crate::frame::Request;
use crate::key::{Fingerprint, Key, Probe};
use crate::lru::{Lookup, Lru};
use hashbrown::HashTable;
use std::sync::Arc;

/// What an entry weighs beside its value and its request: slot, indices, allocations (bytes).
/// Measured as resident memory over 50,000 entries by `benches/memory.py`, rounded up.
const ENTRY_OVERHEAD: usize = 320;

/// Namespace and `llm_string`, which thousands of entries share.
struct Scope {
    namespace: Box<[u8]>,
    llm_string: Box<[u8]>,
}

impl Scope {
    fn is_of(&self, request: &Request<'_>) -> bool {
        *self.namespace == *request.namespace && *self.llm_string == *request.llm_string
    }

    fn bytes(&self) -> usize {
        self.namespace.len() + self.llm_string.len()
    }
}

enum Prompt {
    Verbatim(Box<[u8]>),
    Digest([u8; 32]),
}

struct Entry {
    key: Key,
    value: Arc<[u8]>,
    /// Of the whole request, and of its sketch if it has one.
    fingerprints: [Option<Fingerprint>; 2],
    scope_hash: u64,
    scope: Arc<Scope>,
    prompt: Prompt,
}

impl Entry {
    fn is_of(&self, request: &Request<'_>, probe: &Probe) -> bool {
        self.scope.is_of(request)
            && match (&self.prompt, &probe.digest) {
                (Prompt::Verbatim(bytes), None) => **bytes == *request.prompt,
                (Prompt::Digest(digest), Some(other)) => digest == other,
                _ => false,
            }
    }

    fn weight(&self) -> usize {
        let prompt = match &self.prompt {
            Prompt::Verbatim(bytes) => bytes.len(),
            Prompt::Digest(_) => 0,
        };
        ENTRY_OVERHEAD + prompt + self.value.len()
    }
}

/// What happened in the tier since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lookups that were served.
    pub hits: u64,
    /// Entries that had to go because the tier was full.
    pub evictions: u64,
    /// Entries found past their time, and removed.
    pub expired: u64,
}

/// See the module's documentation.
pub struct Tier {
    entries: Lru<Entry>,
    /// Where to look for a request: never proof.
    rows: HashTable<(Fingerprint, Key)>,
    scopes: HashTable<(u64, Arc<Scope>)>,
    scope_bytes: usize,
    counts: Counts,
    epoch: u64,
}

impl Tier {
    /// An empty tier; see [`Lru::new`] for the bounds.
    #[must_use]
    pub fn new(max_bytes: usize, max_entries: usize) -> Self {
        Self {
            entries: Lru::new(max_bytes, max_entries),
            rows: HashTable::new(),
            scopes: HashTable::new(),
            scope_bytes: 0,
            counts: Counts::default(),
            epoch: 0,
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

    /// Changes whenever something is removed on purpose; see [`Self::fill`].
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The value kept for exactly this request, if `probe` finds it. `now`: see [`crate::lru`].
    pub fn lookup(&mut self, request: &Request<'_>, probe: &Probe, now: u64) -> Option<Arc<[u8]>> {
        let fingerprint = probe.fingerprint;
        let is_it = |(other, _): &(Fingerprint, Key)| *other == fingerprint;
        let key = self.rows.find(fingerprint.hash64(), is_it)?.1;
        match self.entries.get(&key, now) {
            Lookup::Live(entry) if entry.is_of(request, probe) => {
                self.counts.hits += 1;
                Some(Arc::clone(&entry.value))
            }
            Lookup::Expired => {
                self.counts.expired += 1;
                self.discard(&key);
                None
            }
            _ => None,
        }
    }

    /// Keeps a new value, in place of an older one. Returns whether it found room.
    pub fn update(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        value: Arc<[u8]>,
        expires: u64,
    ) -> bool {
        self.discard(&key);
        let prompt = match probe.digest {
            Some(digest) => Prompt::Digest(digest),
            None => Prompt::Verbatim(request.prompt.into()),
        };
        let scope = self.intern(request, probe);
        let entry = Entry {
            key,
            value,
            fingerprints: [Some(probe.fingerprint), probe.sketch],
            scope_hash: probe.fingerprint.scope_hash64(),
            scope,
            prompt,
        };
        let weight = entry.weight();
        if !self.entries.has_room_for(weight + entry.scope.bytes()) {
            self.release(entry);
            return false;
        }
        for fingerprint in entry.fingerprints.into_iter().flatten() {
            // An entry with the same fingerprint loses its row: it may miss, it cannot mislead.
            let is_it = |(other, _): &(Fingerprint, Key)| *other == fingerprint;
            if let Ok(row) = self.rows.find_entry(fingerprint.hash64(), is_it) {
                row.remove();
            }
            let hash = |(of, _): &(Fingerprint, Key)| of.hash64();
            self.rows.insert_unique(fingerprint.hash64(), (fingerprint, key), hash);
        }
        self.entries.insert(key, entry, weight, expires);
        while let Some(evicted) = self.entries.evict() {
            self.counts.evictions += 1;
            self.release(evicted);
        }
        true
    }

    /// Keeps a value that was read from a store when the tier's epoch was `epoch`.
    ///
    /// Something removed since then must not come back, so a fill of an older epoch is refused;
    /// and a value that is already here is at least as new as the one that was read.
    pub fn fill(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        value: Arc<[u8]>,
        expires: u64,
        epoch: u64,
    ) -> bool {
        epoch == self.epoch
            && matches!(self.entries.get(&key, 0), Lookup::Absent)
            && self.update(request, probe, key, value, expires)
    }

    /// Takes out the entry of a key. Reads that began before cannot bring it back.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.epoch += 1;
        self.discard(key)
    }

    /// Takes out everything. Reads that began before cannot bring any of it back.
    pub fn clear(&mut self) {
        self.epoch += 1;
        self.entries.clear();
        self.rows = HashTable::new();
        self.scopes = HashTable::new();
        self.scope_bytes = 0;
    }

    fn discard(&mut self, key: &Key) -> bool {
        let entry = self.entries.remove(key);
        entry.map(|entry| self.release(entry)).is_some()
    }

    /// Drops an entry's rows, and its scope if no other entry has it.
    fn release(&mut self, entry: Entry) {
        let Entry { key, fingerprints, scope_hash, scope, .. } = entry;
        for fingerprint in fingerprints.into_iter().flatten() {
            let is_it = |(of, to): &(Fingerprint, Key)| *of == fingerprint && *to == key;
            if let Ok(row) = self.rows.find_entry(fingerprint.hash64(), is_it) {
                row.remove();
            }
        }
        let is_it = |(_, other): &(u64, Arc<Scope>)| Arc::ptr_eq(other, &scope);
        // Two owners: the table, and the entry that goes.
        if Arc::strong_count(&scope) == 2
            && let Ok(row) = self.scopes.find_entry(scope_hash, is_it)
        {
            row.remove();
            self.scope_bytes -= scope.bytes();
            self.entries.set_reserved(self.scope_bytes);
        }
    }

    fn intern(&mut self, request: &Request<'_>, probe: &Probe) -> Arc<Scope> {
        let hash = probe.fingerprint.scope_hash64();
        if let Some((_, scope)) = self.scopes.find(hash, |(_, scope)| scope.is_of(request)) {
            return Arc::clone(scope);
        }
        let namespace = request.namespace.into();
        let scope = Arc::new(Scope { namespace, llm_string: request.llm_string.into() });
        self.scope_bytes += scope.bytes();
        self.entries.set_reserved(self.scope_bytes);
        self.scopes.insert_unique(hash, (hash, Arc::clone(&scope)), |(hash, _)| *hash);
        scope
    }
}

#[cfg(test)]
#[path = "tier_tests.rs"]
mod tests;
