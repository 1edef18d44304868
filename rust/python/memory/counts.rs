//! What happened in the memory tier, as a record that Python reads by name.

use crate::memory::Tier;
use pyo3::prelude::*;

/// See `_core.pyi`.
#[pyclass(frozen, get_all, module = "llmemo._core")]
pub struct MemoryCounts {
    hits: u64,
    fills: u64,
    evictions: u64,
    expired: u64,
    entries: usize,
    bytes: usize,
    input_tokens: u64,
    output_tokens: u64,
    money: f64,
}

impl MemoryCounts {
    pub(super) fn of(tier: &Tier) -> Self {
        let counts = tier.counts();
        Self {
            hits: counts.hits,
            fills: counts.fills,
            evictions: counts.evictions,
            expired: counts.expired,
            entries: tier.len(),
            bytes: tier.bytes(),
            input_tokens: counts.saved.input_tokens,
            output_tokens: counts.saved.output_tokens,
            money: counts.saved.money,
        }
    }
}
