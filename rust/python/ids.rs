//! Message ids of hits: see [`crate::ids`].

use crate::ids::{Id, fresh, nonce};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Random, in each process.
static SEED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Hits that asked for ids.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Has ids begin anew, at random: at the start, and in a forked child.
#[pyfunction]
pub fn seed_ids(random: [u8; 16]) {
    let seed = u128::from_le_bytes(random);
    for (half, shift) in SEED.iter().zip([0, 64]) {
        #[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
        half.store((seed >> shift) as u64, Ordering::Relaxed);
    }
}

/// The ids of one hit.
#[derive(Default)]
pub struct FreshIds {
    nonce: Option<u128>,
}

impl FreshIds {
    /// Of another hit than all before.
    pub fn new() -> Self {
        Self::default()
    }

    /// The new id of a message, if LangChain made the one that was stored.
    pub fn renewed(&mut self, id: &[u8]) -> Option<Id> {
        // What is no UTF-8 is for the decoder to refuse.
        let id = std::str::from_utf8(id).ok()?;
        let nonce = *self.nonce.get_or_insert_with(|| {
            let [low, high] = [&SEED[0], &SEED[1]].map(|half| half.load(Ordering::Relaxed));
            let seed = u128::from(high) << 64 | u128::from(low);
            nonce(seed, COUNT.fetch_add(1, Ordering::Relaxed))
        });
        fresh(id, nonce)
    }
}
