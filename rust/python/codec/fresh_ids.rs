//! Message ids of hits: see [`crate::codec::fresh_ids`].

use crate::codec::{Id, fresh, is_said_twice, nonce, renamed};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
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

    /// The new id of a message, if the stored one may be replaced: LangChain made it, or what was
    /// read of the message so far (`fields`) has it, too.
    pub fn renewed(&mut self, id: &[u8], fields: &Bound<'_, PyDict>) -> PyResult<Option<Id>> {
        // What is no UTF-8 is for the decoder to refuse.
        let Ok(id) = std::str::from_utf8(id) else { return Ok(None) };
        let nonce = self.nonce();
        if let Some(new) = fresh(id, nonce) {
            return Ok(Some(new));
        }
        Ok(is_elsewhere(id, fields)?.then(|| renamed(id, nonce)))
    }

    fn nonce(&mut self) -> u128 {
        *self.nonce.get_or_insert_with(|| {
            let [low, high] = [&SEED[0], &SEED[1]].map(|half| half.load(Ordering::Relaxed));
            let seed = u128::from(high) << 64 | u128::from(low);
            nonce(seed, COUNT.fetch_add(1, Ordering::Relaxed))
        })
    }
}

/// Whether `response_metadata` holds what the provider needs of this id.
#[cold]
fn is_elsewhere(id: &str, fields: &Bound<'_, PyDict>) -> PyResult<bool> {
    let py = fields.py();
    let Some(metadata) = fields.get_item(intern!(py, "response_metadata"))? else {
        return Ok(false);
    };
    let Ok(metadata) = metadata.cast::<PyDict>() else { return Ok(false) };
    let Some(response) = metadata.get_item(intern!(py, "id"))? else { return Ok(false) };
    let object = metadata.get_item(intern!(py, "object"))?;
    let object = object.as_ref().and_then(|object| object.cast::<PyString>().ok());
    // Half a surrogate pair is no text of a provider's.
    let Some(Ok(response)) = response.cast::<PyString>().ok().map(PyStringMethods::to_cow) else {
        return Ok(false);
    };
    let object = object.and_then(|object| object.to_cow().ok());
    Ok(is_said_twice(id, &response, object.as_deref()))
}
