//! What a tier tells.

use super::answer::Worth;
use crate::history::Totals;
use crate::request::Key;
use std::sync::Arc;

/// What a lookup is served.
#[derive(Debug, PartialEq)]
pub struct Hit {
    /// The value.
    pub value: Arc<[u8]>,
    /// What was added to [`Counts::saved`].
    pub worth: Worth,
}

/// What [`super::tier::Tier::lookup`] found.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// The answer, counted as a hit.
    Hit(Hit),
    /// An answer that this caller is to make anew, before its time is over.
    Due,
    /// None.
    Nothing,
}

impl Found {
    /// The hit, if it is one.
    #[must_use]
    pub fn hit(self) -> Option<Hit> {
        if let Self::Hit(hit) = self { Some(hit) } else { None }
    }
}

/// What [`super::tier::Tier::about`] tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct About {
    /// See [`super::answer::Answer::created`].
    pub created: f64,
    /// See [`super::answer::Answer::expires`].
    pub expires: u64,
    /// Whether somebody may be asked to make it anew by now.
    pub is_due: bool,
}

/// A request that the tier has the answer to, as it was asked last.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownRequest {
    /// What it is called.
    pub key: Key,
    /// Of whom it was asked, and how.
    pub llm_string: Box<[u8]>,
    /// What was asked, unless it was too long to be kept.
    pub prompt: Option<Box<[u8]>>,
}

/// A namespace, and what it takes.
#[derive(Debug, PartialEq, Eq)]
pub struct LargeNamespace {
    /// Its name.
    pub name: Box<[u8]>,
    /// Number of its entries.
    pub entries: usize,
    /// Their estimated memory, in bytes.
    pub bytes: usize,
}

/// What happened in the tier since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Lookups that were served.
    pub hits: u64,
    /// Entries that had to go because the tier was full.
    pub evictions: u64,
    /// Entries found past their time.
    pub expired: u64,
    /// Answers that a store had for it, whether or not they were kept.
    pub fills: u64,
    /// What all hits and fills together were worth.
    pub saved: Worth,
}

impl Totals for Counts {
    fn since(&self, before: &Self) -> Self {
        let mut saved = self.saved;
        saved.subtract(&before.saved);
        Self {
            hits: self.hits.saturating_sub(before.hits),
            evictions: self.evictions.saturating_sub(before.evictions),
            expired: self.expired.saturating_sub(before.expired),
            fills: self.fills.saturating_sub(before.fills),
            saved,
        }
    }
}

impl Counts {
    /// Counts a fill.
    pub(super) fn filled(&mut self, worth: &Worth) {
        self.fills += 1;
        self.saved.add(worth);
    }

    /// Counts a hit.
    pub(super) fn served(&mut self, worth: &Worth) {
        self.hits += 1;
        self.saved.add(worth);
    }
}
