//! The layout of outlines, for Python: the width of a digest, and how digests are folded.

use crate::request::{DIGEST, fold};
use pyo3::prelude::*;

/// Bytes of a digest.
pub const OUTLINE_DIGEST: usize = DIGEST;

/// See `_core.pyi`.
#[pyfunction]
pub fn fold_digests(digests: &[u8]) -> u32 {
    digests.as_chunks::<DIGEST>().0.iter().copied().fold(0, fold)
}
