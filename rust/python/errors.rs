//! The exceptions of `llmemo._core`, and what Rust errors become in Python.

use crate::canonical::Bypass;
use crate::codec::Damage;
use pyo3::prelude::*;

pyo3::create_exception!(
    llmemo._core,
    ValueRefused,
    pyo3::exceptions::PyException,
    "An answer that cannot be encoded without loss; its arguments: the reason, and a type's name or none."
);
pyo3::create_exception!(
    llmemo._core,
    ValueDamaged,
    pyo3::exceptions::PyException,
    "Stored bytes that are not the answer asked for; its only argument is the reason."
);
pyo3::create_exception!(
    llmemo._core,
    ValueUnknown,
    ValueDamaged,
    "Stored bytes that may be whole, but that this process cannot read: another one might."
);

pyo3::create_exception!(
    llmemo._core,
    RequestBypassed,
    pyo3::exceptions::PyException,
    "A request that does not determine what is asked; arguments: reason, parameter (or None)."
);

/// What Python is told of bytes that are not a value.
pub fn damage_error(damage: Damage) -> PyErr {
    match damage {
        Damage::UnknownVersion => ValueUnknown::new_err(damage.name()),
        _ => ValueDamaged::new_err(damage.name()),
    }
}

/// What Python is told of a request that has no key.
pub fn bypassed(bypass: Bypass) -> PyErr {
    RequestBypassed::new_err((bypass.reason.name(), bypass.parameter))
}
