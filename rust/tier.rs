//! The memory tier: values by key, found by the fingerprint of the request as it was asked.
//!
//! A fingerprint finds a candidate; the entry is served only if the request is equal to one that
//! is known to have this key: its bytes up to [`crate::key::VERBATIM_MAX`], a BLAKE3 digest
//! beyond. A long prompt is looked for by its sketch first ([`crate::key::Keyer::sketch`]). So a
//! colliding fingerprint costs another look by the key, never a wrong answer.
#![forbid(unsafe_code)]

use crate::frame::Request;
use crate::key::{Fingerprint, Key, Probe};
use crate::lru::{Lookup, Lru};
use hashbrown::HashTable;
use std::sync::Arc;

/// What an entry weighs beside its value and its request: slot, indices, allocations (bytes).
/// Measured as resident memory over 50,000 entries by `benches/memory.py`, rounded up.
const ENTRY_OVERHEAD: usize = 200;

/// The same for each form of a request.
const FORM_OVERHEAD: usize = 160;

/// How many forms of one request are remembered; a further one replaces the oldest.
const FORMS_MAX: usize = 4;

/// See [`Tier::epoch`].
const EPOCHS: usize = 256;

/// Namespace and `llm_string`, which thousands of entries share.
struct Scope {
    namespace: Box<[u8]>,
    llm_string: Box<[u8]>,
}

impl Scope {
    fn is_of(&self, request: &Request<'_>) -> bool {
        equal(&self.namespace, request.namespace) && equal(&self.llm_string, request.llm_string)
    }

    fn bytes(&self) -> usize {
        self.namespace.len() + self.llm_string.len()
    }
}

/// Whether two texts are the same. Empty ones have no address, and glibc's `memcmp` takes 0.2 µs to
/// look there: it loads under a mask, and the processor has to suppress the fault.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

enum Prompt {
    Verbatim(Box<[u8]>),
    Digest([u8; 32]),
}

/// A request as it was asked, and where it is found. Several may have one key: see
/// [`crate::canonical`].
struct Form {
    /// Of the whole request, and of its sketch if it has one.
    fingerprints: [Option<Fingerprint>; 2],
    scope_hash: u64,
    scope: Arc<Scope>,
    prompt: Prompt,
}

impl Form {
    fn is_of(&self, request: &Request<'_>, probe: &Probe) -> bool {
        self.scope.is_of(request)
            && match (&self.prompt, &probe.digest) {
                (Prompt::Verbatim(bytes), None) => equal(bytes, request.prompt),
                (Prompt::Digest(digest), Some(other)) => digest == other,
                _ => false,
            }
    }

    fn weight(&self) -> usize {
        let prompt = match &self.prompt {
            Prompt::Verbatim(bytes) => bytes.len(),
            Prompt::Digest(_) => 0,
        };
        FORM_OVERHEAD + prompt
    }
}

struct Entry {
    key: Key,
    value: Arc<[u8]>,
    /// The form that was asked last to be new, here: nearly always it is the only one, and memory
    /// that lies elsewhere is slow to reach.
    form: Option<Form>,
    /// Those before it, the oldest first.
    others: Vec<Form>,
}

impl Entry {
    fn forms(&self) -> impl Iterator<Item = &Form> {
        self.form.iter().chain(&self.others)
    }
}

/// A request that the tier has the answer to, as it was asked last.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What it is called.
    pub key: Key,
    /// Of whom it was asked, and how.
    pub llm_string: Box<[u8]>,
    /// What was asked, unless it was too long to be kept.
    pub prompt: Option<Box<[u8]>>,
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
    epochs: [u64; EPOCHS],
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
            epochs: [0; EPOCHS],
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

    /// The value kept for exactly this request, if `probe` finds it. `now`: see [`crate::lru`].
    pub fn lookup(&mut self, request: &Request<'_>, probe: &Probe, now: u64) -> Option<Arc<[u8]>> {
        let fingerprint = probe.fingerprint;
        let is_it = |(other, _): &(Fingerprint, Key)| *other == fingerprint;
        let key = self.rows.find(fingerprint.hash64(), is_it)?.1;
        self.live(&key, now, |entry| entry.forms().any(|form| form.is_of(request, probe)))
    }

    /// The value kept under this key, for a request that was asked in another form before. The form
    /// is remembered: [`Self::lookup`] will find it.
    pub fn lookup_key(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        now: u64,
    ) -> Option<Arc<[u8]>> {
        let value = self.live(&key, now, |_| true)?;
        self.learn(request, probe, key);
        self.shrink();
        Some(value)
    }

    fn live(
        &mut self,
        key: &Key,
        now: u64,
        is_it: impl FnOnce(&Entry) -> bool,
    ) -> Option<Arc<[u8]>> {
        match self.entries.get(key, now) {
            Lookup::Live(entry) if is_it(entry) => {
                self.counts.hits += 1;
                Some(Arc::clone(&entry.value))
            }
            Lookup::Expired => {
                self.counts.expired += 1;
                self.discard(key);
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
        self.epochs[usize::from(key.0[0])] += 1;
        self.discard(&key);
        self.put(request, probe, key, value, expires)
    }

    fn put(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        value: Arc<[u8]>,
        expires: u64,
    ) -> bool {
        let weight = ENTRY_OVERHEAD + value.len();
        // The form is added below; an entry that had no room for it would be of no use.
        let prompt = if probe.digest.is_some() { 0 } else { request.prompt.len() };
        let scope = request.namespace.len() + request.llm_string.len();
        if !self.entries.has_room_for(weight + FORM_OVERHEAD + prompt + scope) {
            return false;
        }
        self.entries.insert(
            key,
            Entry { key, value, form: None, others: Vec::new() },
            weight,
            expires,
        );
        self.learn(request, probe, key);
        self.shrink();
        true
    }

    /// Remembers that this request, as it was asked, has this key.
    fn learn(&mut self, request: &Request<'_>, probe: &Probe, key: Key) {
        let scope = self.intern(request, probe);
        let form = Form {
            fingerprints: [Some(probe.fingerprint), probe.sketch],
            scope_hash: probe.fingerprint.scope_hash64(),
            scope,
            prompt: match probe.digest {
                Some(digest) => Prompt::Digest(digest),
                None => Prompt::Verbatim(request.prompt.into()),
            },
        };
        let (fingerprints, mut change) = (form.fingerprints, form.weight().cast_signed());
        // Whatever its time: an entry that has expired is met again, and removed then.
        let Lookup::Live(entry) = self.entries.get(&key, 0) else {
            self.release(form, key);
            return;
        };
        entry.others.extend(entry.form.replace(form));
        let oldest = (entry.others.len() == FORMS_MAX).then(|| entry.others.remove(0));
        if let Some(oldest) = oldest {
            change -= oldest.weight().cast_signed();
            self.release(oldest, key);
        }
        self.entries.reweigh(&key, change);
        for fingerprint in fingerprints.into_iter().flatten() {
            // A form with the same fingerprint loses its row: it may miss, it cannot mislead.
            let is_it = |(other, _): &(Fingerprint, Key)| *other == fingerprint;
            if let Ok(row) = self.rows.find_entry(fingerprint.hash64(), is_it) {
                row.remove();
            }
            let hash = |(of, _): &(Fingerprint, Key)| of.hash64();
            self.rows.insert_unique(fingerprint.hash64(), (fingerprint, key), hash);
        }
    }

    fn shrink(&mut self) {
        while let Some(evicted) = self.entries.evict() {
            self.counts.evictions += 1;
            self.release_all(evicted);
        }
    }

    /// Keeps a value that was read from a store when the epoch of its key was `epoch`.
    ///
    /// What was removed or replaced since then must not come back, so a fill of an older epoch is
    /// refused; and a value that is already here is at least as new as the one that was read.
    pub fn fill(
        &mut self,
        request: &Request<'_>,
        probe: &Probe,
        key: Key,
        value: Arc<[u8]>,
        expires: u64,
        epoch: u64,
    ) -> bool {
        epoch == self.epoch(&key)
            && matches!(self.entries.get(&key, 0), Lookup::Absent)
            && self.put(request, probe, key, value, expires)
    }

    /// Whether there is an entry of this key, and it has not expired. Not a use of it.
    #[must_use]
    pub fn holds(&self, key: &Key, now: u64) -> bool {
        self.entries.expires(key).is_some_and(|expires| expires > now)
    }

    /// Requests of a namespace that are known, the most recently used first: at most `max_entries`,
    /// and with the one that makes them more than `max_bytes` of text they end.
    #[must_use]
    pub fn recent(&self, namespace: &[u8], max_entries: usize, max_bytes: usize) -> Vec<Known> {
        let mut bytes = 0;
        let known = self.entries.iter().filter_map(|entry| {
            let form = entry.forms().find(|form| *form.scope.namespace == *namespace)?;
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

    /// Takes out the entry of a key. Reads that began before cannot bring it back.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.epochs[usize::from(key.0[0])] += 1;
        self.discard(key)
    }

    /// Takes out everything. Reads that began before cannot bring any of it back.
    pub fn clear(&mut self) {
        self.epochs.iter_mut().for_each(|epoch| *epoch += 1);
        self.entries.clear();
        self.rows = HashTable::new();
        self.scopes = HashTable::new();
        self.scope_bytes = 0;
    }

    fn discard(&mut self, key: &Key) -> bool {
        let entry = self.entries.remove(key);
        entry.map(|entry| self.release_all(entry)).is_some()
    }

    fn release_all(&mut self, entry: Entry) {
        for form in entry.form.into_iter().chain(entry.others) {
            self.release(form, entry.key);
        }
    }

    /// Drops a form's rows, and its scope if no other form has it.
    fn release(&mut self, form: Form, key: Key) {
        let Form { fingerprints, scope_hash, scope, .. } = form;
        for fingerprint in fingerprints.into_iter().flatten() {
            let is_it = |(of, to): &(Fingerprint, Key)| *of == fingerprint && *to == key;
            if let Ok(row) = self.rows.find_entry(fingerprint.hash64(), is_it) {
                row.remove();
            }
        }
        let is_it = |(_, other): &(u64, Arc<Scope>)| Arc::ptr_eq(other, &scope);
        // Two owners: the table, and the form that goes.
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
