//! Requests as they were asked, and where each is found.

use super::lru::Group;
use crate::request::Key;
use crate::request::Request;
use crate::request::{Fingerprint, Probe};
use hashbrown::HashTable;
use std::collections::HashMap;
use std::sync::Arc;

/// What an alias weighs beside its prompt: rows, allocations (bytes). See `ENTRY_OVERHEAD`.
pub const ALIAS_OVERHEAD: usize = 160;

/// Namespace and `llm_string`, which thousands of entries share.
pub struct Scope {
    /// No other scope of a tier has had it, or will.
    pub number: u64,
    namespace: Arc<[u8]>,
    /// The namespace's.
    pub group: Group,
    pub llm_string: Box<[u8]>,
}

impl Scope {
    fn is_of(&self, request: &Request<'_>) -> bool {
        equal(&self.namespace, request.namespace) && equal(&self.llm_string, request.llm_string)
    }

    pub fn namespace(&self) -> &[u8] {
        &self.namespace
    }

    pub fn bytes(&self) -> usize {
        self.namespace.len() + self.llm_string.len()
    }
}

/// Whether two texts are the same. Empty ones have no address, and glibc's `memcmp` takes 0.2 µs to
/// look there: it loads under a mask, and the processor has to suppress the fault.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

pub enum Prompt {
    Verbatim(Box<[u8]>),
    Digest([u8; 32]),
}

/// A request as it was asked, and where it is found. Several may have one key: see
/// [`crate::canonical`].
pub struct Alias {
    /// Of the whole request, and of its sketch if it has one.
    fingerprints: [Option<Fingerprint>; 2],
    scope_hash: u64,
    pub scope: Arc<Scope>,
    pub prompt: Prompt,
}

impl Alias {
    pub fn is_of(&self, request: &Request<'_>, probe: &Probe) -> bool {
        self.scope.is_of(request)
            && match (&self.prompt, &probe.digest) {
                (Prompt::Verbatim(bytes), None) => equal(bytes, request.prompt),
                (Prompt::Digest(digest), Some(other)) => digest == other,
                _ => false,
            }
    }

    pub fn weight(&self) -> usize {
        let prompt = match &self.prompt {
            Prompt::Verbatim(bytes) => bytes.len(),
            Prompt::Digest(_) => 0,
        };
        ALIAS_OVERHEAD + prompt
    }
}

/// Where to look for a request, which is never proof; and what requests share.
#[derive(Default)]
pub struct RequestIndex {
    rows: HashTable<(Fingerprint, Key)>,
    scopes: HashTable<(u64, Arc<Scope>)>,
    /// By name, what a namespace's entries are called, and how many scopes it has.
    namespaces: HashMap<Arc<[u8]>, (Group, usize)>,
    /// Of namespaces that are no more.
    free: Vec<Group>,
    /// How many scopes there have been.
    scopes_made: u64,
}

impl RequestIndex {
    /// Number of rows, and of scopes.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.rows.len(), self.scopes.len())
    }

    /// The entries of a namespace, if it has any.
    pub fn group(&self, namespace: &[u8]) -> Option<Group> {
        Some(self.namespaces.get(namespace)?.0)
    }

    /// Number of namespaces that have entries.
    pub fn namespaces(&self) -> usize {
        self.namespaces.len()
    }

    /// Forgets everything, and returns it.
    #[must_use]
    pub fn take_all(&mut self) -> Self {
        // A sweep that is under way must not take a new scope for an old one.
        std::mem::replace(self, Self { scopes_made: self.scopes_made, ..Self::default() })
    }

    /// The key that a request with this fingerprint may have.
    pub fn find(&self, fingerprint: Fingerprint) -> Option<Key> {
        let is_it = |(other, _): &(Fingerprint, Key)| *other == fingerprint;
        Some(self.rows.find(fingerprint.hash64(), is_it)?.1)
    }

    /// Has a request lead to a key. Another one with the same fingerprint loses its row: it may
    /// miss, it cannot mislead.
    pub fn lead(&mut self, probe: &Probe, key: Key) {
        for fingerprint in [Some(probe.fingerprint), probe.sketch].into_iter().flatten() {
            let is_it = |(other, _): &(Fingerprint, Key)| *other == fingerprint;
            if let Ok(row) = self.rows.find_entry(fingerprint.hash64(), is_it) {
                row.remove();
            }
            let hash = |(of, _): &(Fingerprint, Key)| of.hash64();
            self.rows.insert_unique(fingerprint.hash64(), (fingerprint, key), hash);
        }
    }

    /// The alias of a request; it has to be given to [`Self::release`] in the end. And how many bytes
    /// it is the first to need that others will share.
    pub fn alias(&mut self, request: &Request<'_>, probe: &Probe) -> (Alias, usize) {
        let (scope, shared) = self.intern(request, probe);
        let alias = Alias {
            fingerprints: [Some(probe.fingerprint), probe.sketch],
            scope_hash: probe.fingerprint.scope_hash64(),
            scope,
            prompt: match probe.digest {
                Some(digest) => Prompt::Digest(digest),
                None => Prompt::Verbatim(request.prompt.into()),
            },
        };
        (alias, shared)
    }

    /// Drops an alias's rows, and its scope if no other alias has it. Returns how many bytes are shared
    /// no more.
    pub fn release(&mut self, alias: Alias, key: Key) -> usize {
        let Alias { fingerprints, scope_hash, scope, .. } = alias;
        for fingerprint in fingerprints.into_iter().flatten() {
            let is_it = |(of, to): &(Fingerprint, Key)| *of == fingerprint && *to == key;
            if let Ok(row) = self.rows.find_entry(fingerprint.hash64(), is_it) {
                row.remove();
            }
        }
        let is_it = |(_, other): &(u64, Arc<Scope>)| Arc::ptr_eq(other, &scope);
        // Two owners: the table, and the alias that goes.
        if Arc::strong_count(&scope) > 2 {
            return 0;
        }
        let Ok(row) = self.scopes.find_entry(scope_hash, is_it) else { return 0 };
        row.remove();
        if let Some((group, scopes)) = self.namespaces.get_mut(&scope.namespace) {
            *scopes -= 1;
            if *scopes == 0 {
                self.free.push(*group);
                self.namespaces.remove(&scope.namespace);
            }
        }
        scope.bytes()
    }

    fn intern(&mut self, request: &Request<'_>, probe: &Probe) -> (Arc<Scope>, usize) {
        let hash = probe.fingerprint.scope_hash64();
        if let Some((_, scope)) = self.scopes.find(hash, |(_, scope)| scope.is_of(request)) {
            return (Arc::clone(scope), 0);
        }
        let (namespace, group) = self.join(request.namespace);
        self.scopes_made += 1;
        let (number, llm_string) = (self.scopes_made, request.llm_string.into());
        let scope = Arc::new(Scope { number, namespace, group, llm_string });
        self.scopes.insert_unique(hash, (hash, Arc::clone(&scope)), |(hash, _)| *hash);
        let shared = scope.bytes();
        (scope, shared)
    }

    /// Counts another scope of a namespace.
    fn join(&mut self, namespace: &[u8]) -> (Arc<[u8]>, Group) {
        if let Some((name, _)) = self.namespaces.get_key_value(namespace) {
            let name = Arc::clone(name);
            let (group, scopes) = self.namespaces.entry(Arc::clone(&name)).or_default();
            *scopes += 1;
            return (name, *group);
        }
        // Those that there are have the numbers below, but for the free ones.
        let next = Group::try_from(self.namespaces.len()).unwrap_or(Group::MAX);
        let group = self.free.pop().unwrap_or(next);
        let name: Arc<[u8]> = namespace.into();
        self.namespaces.insert(Arc::clone(&name), (group, 1));
        (name, group)
    }
}
