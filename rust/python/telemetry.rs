//! Counters that are added to from anywhere, each time in one step.

use crate::python::runtime::gil_cell::GilCell;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::collections::HashMap;

type Named = HashMap<String, u64>;

/// What hits saved: tokens sent, tokens made, money.
type Saved = (u64, u64, f64);

#[derive(Default)]
struct Counted {
    plain: Named,
    by_reason: HashMap<String, Named>,
    saved: Saved,
    /// When something was last said of a reason.
    said: HashMap<String, f64>,
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

    fn hit(&self, py: Python<'_>, name: &str, worth: Saved) {
        self.counted.with(py, |it| {
            add(&mut it.plain, name, 1);
            it.saved.0 += worth.0;
            it.saved.1 += worth.1;
            it.saved.2 += worth.2;
        });
    }

    fn note(&self, group: &str, reason: &Bound<'_, PyString>, count: u64) -> String {
        // A reason may be of any making, lone surrogates included.
        let name = reason.to_string_lossy();
        self.counted.with(reason.py(), |it| {
            if !it.by_reason.contains_key(group) {
                it.by_reason.insert(group.to_owned(), Named::new());
            }
            let Some(counts) = it.by_reason.get_mut(group) else { return name.into_owned() };
            let is_known = counts.contains_key(&*name) || counts.len() < self.reasons_max;
            let name = if is_known { name.into_owned() } else { self.other.clone() };
            add(counts, &name, count);
            name
        })
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
        self.counted.with(py, |it| (it.plain.clone(), it.saved, it.by_reason.clone()))
    }
}
