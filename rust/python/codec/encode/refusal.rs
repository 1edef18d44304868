//! Why something cannot be encoded.

use crate::python::codec::hashes::Hashes;
use crate::python::errors::ValueRefused;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Why something cannot be stored.
pub(super) enum Refusal {
    /// It is large, and was to be encoded only if it is not.
    Large,
    Reason(&'static str),
    Type(String),
    Python(PyErr),
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Large => ValueRefused::new_err("large"),
            Refusal::Reason(reason) => ValueRefused::new_err(reason),
            Refusal::Type(name) => ValueRefused::new_err(("unsupported_type", name)),
            Refusal::Python(error) => error,
        }
    }
}

/// It is of a type that cannot be stored.
pub(super) fn refused_type(any: &Bound<'_, PyAny>) -> Refusal {
    Refusal::Type(name_of(&any.get_type()))
}

/// Module and name of a class.
pub(super) fn name_of(class: &Bound<'_, PyType>) -> String {
    class.fully_qualified_name().map_or_else(|_| "?".into(), |name| name.to_string())
}

/// Refuses keys that could be written, but would not be read.
#[inline(never)]
pub(super) fn check_hashes<'py>(
    len: usize,
    keys: impl Iterator<Item = Bound<'py, PyAny>>,
) -> Result<(), Refusal> {
    let mut hashes = Hashes::of(len);
    for key in keys {
        match hashes.admit(&key) {
            Ok(true) => (),
            Ok(false) => return Err(Refusal::Reason("equal_hashes")),
            Err(_) => return Err(refused_type(&key)),
        }
    }
    Ok(())
}
