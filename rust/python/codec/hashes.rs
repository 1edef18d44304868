//! Keeps tables quick: how many keys of one hash a dict or a set may have.

use pyo3::prelude::*;
use pyo3::types::PyString;
use std::collections::HashMap;

/// Keys of one dict, and items of one set, that have one hash. Equal hashes are what makes a table
/// quadratic, and numbers with equal hashes are easy to make: 2 ** 61 - 1 is the period of an int's.
pub const SAME_HASH_MAX: usize = 64;

/// Counts the hashes of the keys of one table.
pub struct Hashes {
    is_small: bool,
    counts: HashMap<isize, usize>,
}

impl Hashes {
    /// For a table of so many keys.
    pub fn of(len: usize) -> Self {
        Self { is_small: len <= SAME_HASH_MAX, counts: HashMap::new() }
    }

    /// Whether the table stays quick with this key. Texts' hashes are random in each process.
    pub fn admit(&mut self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        if self.is_small || key.is_exact_instance_of::<PyString>() {
            return Ok(true);
        }
        let count = self.counts.entry(key.hash()?).or_default();
        *count += 1;
        Ok(*count <= SAME_HASH_MAX)
    }
}
