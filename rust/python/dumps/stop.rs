//! Why writing ends before the end of a list.

use crate::python::runtime::dict_entries::Changed;
use pyo3::PyErr;

/// Why writing ended: a Python exception, or (None) something that is not known. One word, so that
/// results travel in registers.
pub(super) struct Stop(pub(super) Option<Box<PyErr>>);

/// Something that is not known.
pub(super) const UNKNOWN: Stop = Stop(None);

impl From<Changed> for Stop {
    fn from(_: Changed) -> Self {
        UNKNOWN
    }
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self(Some(Box::new(error)))
    }
}
