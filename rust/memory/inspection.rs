//! Looks at entries without using them: nothing here counts a hit or changes what is evicted next.
#![forbid(unsafe_code)]

use super::entry::Entry;
use super::report::{About, KnownRequest, LargeNamespace};
use super::request_index::Prompt;
use super::tier::Tier;
use crate::request::{Key, Probe, Request};
use std::sync::Arc;

impl Tier {
    /// Whether there is an entry of this key, and it has not expired.
    #[must_use]
    pub fn holds(&self, key: &Key, now: u64) -> bool {
        self.entries.peek(key).is_some_and(|entry| !entry.is_expired_at(now))
    }

    /// Whether there is an entry of this key, expired or not.
    #[must_use]
    pub fn knows(&self, key: &Key) -> bool {
        self.entries.peek(key).is_some()
    }

    /// Length of the value of this key, in bytes; 0 if there is none.
    #[must_use]
    pub fn size(&self, key: &Key) -> usize {
        self.entries.peek(key).map_or(0, |entry| entry.answer.value.len())
    }

    /// The value of this key, expired or not.
    #[must_use]
    pub fn value(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.entries.peek(key).map(|entry| entry.answer.value.clone())
    }

    /// The times of an entry, expired or not.
    #[must_use]
    pub fn about(&self, key: &Key, now: u64) -> Option<About> {
        let Entry { answer, due, .. } = self.entries.peek(key)?;
        let is_due = now >= *due;
        let is_here = answer.expires.saturating_add(self.grace) > now;
        is_here.then_some(About { created: answer.created, expires: answer.expires, is_due })
    }

    /// The key of the entry that [`Self::lookup`] has for this request, due or not.
    #[must_use]
    pub fn known(&self, request: &Request<'_>, probe: &Probe, now: u64) -> Option<Key> {
        let key = self.requests.find(probe.fingerprint)?;
        let entry = self.entries.peek(&key)?;
        let is_it =
            !entry.is_expired_at(now) && entry.aliases().any(|alias| alias.is_of(request, probe));
        is_it.then_some(key)
    }

    /// Number of namespaces, and the largest of them, at most `limit`.
    #[must_use]
    pub fn largest_namespaces(&self, limit: usize) -> (usize, Vec<LargeNamespace>) {
        let name = |group| {
            let alias = self.entries.of_group(group).next()?.alias.as_ref()?;
            Some(alias.scope.namespace().into())
        };
        let largest =
            self.entries.heaviest(limit).into_iter().filter_map(|(group, entries, bytes)| {
                Some(LargeNamespace { name: name(group)?, entries, bytes })
            });
        (self.requests.namespaces(), largest.collect())
    }

    /// Requests of a namespace that are known, the most recently used first: at most `max_entries`,
    /// and with the one that makes them more than `max_bytes` of text they end.
    #[must_use]
    pub fn recent(
        &self,
        namespace: &[u8],
        max_entries: usize,
        max_bytes: usize,
    ) -> Vec<KnownRequest> {
        let mut bytes = 0;
        let group = self.requests.group(namespace);
        let entries = group.into_iter().flat_map(|group| self.entries.of_group(group));
        let known = entries.filter_map(|entry| {
            let alias = entry.alias.as_ref()?;
            let prompt = match &alias.prompt {
                Prompt::Verbatim(prompt) => Some(prompt.clone()),
                Prompt::Digest(_) => None,
            };
            let llm_string = alias.scope.llm_string.clone();
            Some(KnownRequest { key: entry.key, llm_string, prompt })
        });
        let is_within = |known: &KnownRequest| {
            let is_within = bytes <= max_bytes;
            bytes += known.llm_string.len() + known.prompt.as_ref().map_or(0, |it| it.len());
            is_within
        };
        known.take(max_entries).take_while(is_within).collect()
    }
}
