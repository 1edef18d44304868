//! Values on their way to a store and back: see [`crate::codec::compression`].

use crate::codec::{Compressed, LEAST, LEVEL, Zstandard, compressed};
use crate::python::errors::damage_error;
use crate::python::runtime::text;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Mutex, PoisonError};

/// Kept from one call for the next. Taken and put back with the GIL held, so that it is never
/// contended, and a fork cannot copy it locked.
static SPARE: Mutex<Option<Zstandard>> = Mutex::new(None);

/// Does the work with the GIL released.
fn with_zstandard<T: Send>(
    py: Python<'_>,
    work: impl Send + FnOnce(&mut Zstandard) -> T,
) -> PyResult<T> {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut zstandard = spare.map_or_else(Zstandard::new, Ok)?;
    let (zstandard, result) = py.detach(move || {
        let result = work(&mut zstandard);
        (zstandard, result)
    });
    *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some(zstandard);
    Ok(result)
}

/// The bytes to store for a value: the value itself, unless it is worth compressing.
#[pyfunction]
#[pyo3(signature = (value, *, level=LEVEL, least=LEAST))]
pub fn compress<'py>(
    value: &Bound<'py, PyBytes>,
    level: i32,
    least: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let (py, bytes) = (value.py(), value.as_bytes());
    if bytes.len() < least {
        return Ok(value.clone());
    }
    let shorter = with_zstandard(py, |zstandard| zstandard.compress(bytes, level))?;
    shorter.map_or_else(|| Ok(value.clone()), |shorter| text::bytes(py, &shorter))
}

/// The value for which `compress` had these bytes stored.
#[pyfunction]
pub fn decompress<'py>(stored: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
    match compressed(stored.as_bytes()).map_err(damage_error)? {
        Some(compressed) => text::bytes(stored.py(), &restored(stored.py(), &compressed)?),
        None => Ok(stored.clone()),
    }
}

/// A value that was compressed.
pub fn restored(py: Python<'_>, compressed: &Compressed<'_>) -> PyResult<Vec<u8>> {
    let restored = with_zstandard(py, |zstandard| {
        let mut value = vec![0; compressed.len];
        zstandard.restore(compressed, &mut value).map(|()| value)
    })?;
    restored.map_err(damage_error)
}
