//! Counters that are added to from anywhere, each time in one step.

use crate::history::{History, Totals};
use crate::python::runtime::clock::{nanoseconds, seconds};
use crate::python::runtime::gil_cell::GilCell;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::collections::HashMap;

type Named = HashMap<String, u64>;

/// What hits saved: tokens sent, tokens made, money.
type Saved = (u64, u64, f64);

/// Lookups that memory and the store did not answer, over time.
#[derive(Clone, Copy, Default, PartialEq)]
struct Lookups {
    hits: u64,
    misses: u64,
    saved: Saved,
}

impl Totals for Lookups {
    fn since(&self, before: &Self) -> Self {
        let (now, then) = (&self.saved, &before.saved);
        Self {
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            saved: (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1), now.2 - then.2),
        }
    }
}

/// Length of a bucket in seconds; when each bucket began: hits, misses, tokens in, tokens out, money.
type Level = (f64, Vec<(f64, (u64, u64, u64, u64, f64))>);

#[derive(Default)]
struct Counted {
    plain: Named,
    by_reason: HashMap<String, Named>,
    lookups: Lookups,
    history: History<Lookups>,
    /// When something was last said of a reason.
    said: HashMap<String, f64>,
}

impl Counted {
    /// The lookups so far, of which some are counted at this Unix time, in seconds.
    fn lookups_at(&mut self, now: f64) -> &mut Lookups {
        let now = nanoseconds(now);
        if self.history.is_over(now) {
            self.history.roll(now, self.lookups);
        }
        &mut self.lookups
    }

    /// What a reason of a group counts as, and that it is counted.
    fn note(&mut self, group: &str, name: &str, count: u64, most: usize, other: &str) -> String {
        if !self.by_reason.contains_key(group) {
            self.by_reason.insert(group.to_owned(), Named::new());
        }
        let Some(counts) = self.by_reason.get_mut(group) else { return name.to_owned() };
        let is_known = counts.contains_key(name) || counts.len() < most;
        let name = if is_known { name } else { other };
        add(counts, name, count);
        name.to_owned()
    }
}

fn add(counts: &mut Named, name: &str, count: u64) {
    match counts.get_mut(name) {
        Some(sum) => *sum += count,
        None => drop(counts.insert(name.to_owned(), count)),
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Counts {
    counted: GilCell<Counted>,
    reasons_max: usize,
    other: String,
}

#[pymethods]
impl Counts {
    #[new]
    fn new(reasons_max: usize, other: String) -> Self {
        Self { counted: GilCell::new(Counted::default()), reasons_max, other }
    }

    fn add(&self, py: Python<'_>, name: &str, count: u64) {
        self.counted.with(py, |it| add(&mut it.plain, name, count));
    }

    fn hit(&self, py: Python<'_>, name: &str, worth: Saved, now: f64) {
        self.counted.with(py, |it| {
            add(&mut it.plain, name, 1);
            let lookups = it.lookups_at(now);
            lookups.hits += 1;
            lookups.saved.0 += worth.0;
            lookups.saved.1 += worth.1;
            lookups.saved.2 += worth.2;
        });
    }

    fn miss(&self, reason: &Bound<'_, PyString>, count: u64, now: f64) {
        let name = reason.to_string_lossy();
        self.counted.with(reason.py(), |it| {
            add(&mut it.plain, "misses", count);
            it.note("missed", &name, count, self.reasons_max, &self.other);
            it.lookups_at(now).misses += count;
        });
    }

    fn history(&self, py: Python<'_>) -> Vec<Level> {
        let levels = self.counted.with(py, |it| it.history.levels(it.lookups));
        let row = |(start, it): (u64, Lookups)| {
            let (sent, made, money) = it.saved;
            (seconds(start), (it.hits, it.misses, sent, made, money))
        };
        let level = |(width, buckets): (u64, Vec<_>)| {
            (seconds(width), buckets.into_iter().map(row).collect())
        };
        levels.into_iter().map(level).collect()
    }

    fn note(&self, group: &str, reason: &Bound<'_, PyString>, count: u64) -> String {
        // A reason may be of any making, lone surrogates included.
        let name = reason.to_string_lossy();
        self.counted
            .with(reason.py(), |it| it.note(group, &name, count, self.reasons_max, &self.other))
    }

    fn is_due(&self, reason: &Bound<'_, PyString>, now: f64, interval: f64) -> bool {
        let name = reason.to_string_lossy();
        self.counted.with(reason.py(), |it| {
            let is_due = it.said.get(&*name).is_none_or(|last| now - last >= interval);
            if is_due {
                it.said.insert(name.into_owned(), now);
            }
            is_due
        })
    }

    fn snapshot(&self, py: Python<'_>) -> (Named, Saved, HashMap<String, Named>) {
        self.counted.with(py, |it| (it.plain.clone(), it.lookups.saved, it.by_reason.clone()))
    }
}
