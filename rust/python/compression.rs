//! Values on their way to a store and back: see [`crate::compression`].

use super::damage_error;
use crate::compression::{LEAST, LEVEL, Zstandard, compressed};
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
    Ok(shorter.map_or_else(|| value.clone(), |shorter| PyBytes::new(py, &shorter)))
}

/// The value for which `compress` had these bytes stored.
#[pyfunction]
pub fn decompress<'py>(stored: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
    let restored = restored(stored)?;
    Ok(restored.unwrap_or_else(|| stored.clone()))
}

/// The same; None where these bytes are what there is.
pub fn restored<'py>(stored: &Bound<'py, PyBytes>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = stored.py();
    let Some(compressed) = compressed(stored.as_bytes()).map_err(damage_error)? else {
        return Ok(None);
    };
    let restored = PyBytes::new_with(py, compressed.len, |buffer| {
        with_zstandard(py, |zstandard| zstandard.restore(&compressed, buffer))?
            .map_err(damage_error)
    })?;
    Ok(Some(restored))
}
