//! Decodes answers: what [`super::encode`] wrote, and nothing else, to fresh Python objects.

mod decoder;
mod dicts;
mod objects;
mod rare;

use super::fresh_ids::FreshIds;
use super::schema::Schema;
use crate::codec::{Damage, open};
use crate::python::errors::{ValueDamaged, ValueUnknown, damage_error};
use crate::python::runtime::long_work::detached;
use crate::request::Key;
use decoder::{Decoder, Failure};
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};

/// Fresh generations from the bytes that [`encode`] made for the same key.
#[pyfunction]
#[pyo3(signature = (value, key, *, fresh_ids=false))]
pub fn decode(
    py: Python<'_>,
    value: &[u8],
    key: [u8; 32],
    fresh_ids: bool,
) -> PyResult<Py<PyList>> {
    let payload = detached(py, value.len(), || open(value, &Key(key))).map_err(damage_error)?;
    decode_payload(py, payload, fresh_ids)
}

/// Fresh generations from a payload whose checksum was verified.
pub fn decode_payload(py: Python<'_>, payload: &[u8], fresh_ids: bool) -> PyResult<Py<PyList>> {
    decode_with(py, payload, &[], fresh_ids)
}

/// As `decode_payload`; the classes that the value names are these, and need not be found.
pub fn decode_with<'py>(
    py: Python<'py>,
    payload: &[u8],
    given: &[Bound<'py, PyType>],
    fresh_ids: bool,
) -> PyResult<Py<PyList>> {
    let schema = Schema::get(py)?;
    let mut decoder = Decoder::new(py, schema, payload, given, fresh_ids);
    decoder.generations().map_err(|failure| damaged(py, failure)).map(Bound::unbind)
}

/// One object, which `put_tree` of [`super::encode`] has written. `ids`: of all that belong together.
pub(super) fn tree<'py>(
    py: Python<'py>,
    tree: &[u8],
    ids: &mut Option<FreshIds>,
) -> PyResult<Bound<'py, PyAny>> {
    tree_with(py, tree, &[], ids)
}

/// As `tree`; the classes that it names are these, and need not be found.
pub(super) fn tree_with<'py>(
    py: Python<'py>,
    tree: &[u8],
    given: &[Bound<'py, PyType>],
    ids: &mut Option<FreshIds>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut decoder = Decoder::new(py, Schema::get(py)?, tree, given, false);
    decoder.ids = ids.take();
    let object = decoder.any(1);
    *ids = decoder.ids.take();
    let object = object.map_err(|failure| damaged(py, failure))?;
    if decoder.is_done() { Ok(object) } else { Err(damage_error(Damage::Malformed)) }
}

fn damaged(py: Python<'_>, failure: Failure) -> PyErr {
    match failure.into_error() {
        // Out of memory is not damage, nor is an interrupt. Any other error of Python's: the bytes
        // do not fit the classes.
        Some(error)
            if error.is_instance_of::<ValueUnknown>(py)
                || error.is_instance_of::<PyMemoryError>(py)
                || !error.is_instance_of::<PyException>(py) =>
        {
            *error
        }
        _ => ValueDamaged::new_err(Damage::Malformed.name()),
    }
}
