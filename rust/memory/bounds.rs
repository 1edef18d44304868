//! Bounds on a least-recently-used map.
#![forbid(unsafe_code)]

/// How much of each thing a map may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Weight of all entries, in bytes.
    pub bytes: usize,
    /// Their number.
    pub entries: usize,
    /// Weight of the entries of one group, in bytes.
    pub group_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: usize::MAX, entries: usize::MAX, group_bytes: usize::MAX }
    }
}
