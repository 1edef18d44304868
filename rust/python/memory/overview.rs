//! What a report says of the memory tier: its counters over time, and its largest namespaces.

use super::binding::Memory;
use super::conversions::{Bytes, to_bytes};
use crate::history::Bucket;
use crate::memory::Counts;
use crate::python::runtime::clock::seconds;
use pyo3::prelude::*;

/// Hits, fills, evictions; tokens in, tokens out, money.
type Counted = (u64, u64, u64, u64, u64, f64);

/// Length of a bucket in seconds; when each bucket began, and what was counted in it.
type Level = (f64, Vec<(f64, Counted)>);

/// See `_core.pyi`.
#[pyfunction]
pub fn memory_history(memory: &Memory) -> Vec<Level> {
    let levels = memory.tier.lock().history();
    levels
        .iter()
        .map(|(width, buckets)| (seconds(*width), buckets.iter().map(row).collect()))
        .collect()
}

fn row((start, it): &Bucket<Counts>) -> (f64, Counted) {
    let saved = &it.saved;
    let tokens = (saved.input_tokens, saved.output_tokens);
    (seconds(*start), (it.hits, it.fills, it.evictions, tokens.0, tokens.1, saved.money))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn largest_namespaces(
    py: Python<'_>,
    memory: &Memory,
    limit: usize,
) -> (usize, Vec<(Bytes, usize, usize)>) {
    let (number, largest) = memory.tier.lock().largest_namespaces(limit);
    let row = |it: &crate::memory::LargeNamespace| (to_bytes(py, &it.name), it.entries, it.bytes);
    (number, largest.iter().map(row).collect())
}
