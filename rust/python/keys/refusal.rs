//! Why something cannot be described, and what Python is told of that.

use crate::python::errors::RequestBypassed;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// Why something cannot be described.
pub(super) enum Refusal {
    Reason(&'static str),
    Python(PyErr),
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl Refusal {
    /// The exception, for the field or option of that name.
    pub(super) fn into_error(self, name: &Bound<'_, PyAny>) -> PyErr {
        let py = name.py();
        match self {
            Self::Reason(reason) => RequestBypassed::new_err((reason, name.clone().unbind())),
            Self::Python(error) if error.is_instance_of::<RequestBypassed>(py) => {
                // A nested model names its own field; the caller knows this one.
                RequestBypassed::new_err(("unknown_value", name.clone().unbind()))
            }
            Self::Python(error) if error.is_instance_of::<PyException>(py) => {
                RequestBypassed::new_err(("unknown_value", name.clone().unbind()))
            }
            Self::Python(error) => error,
        }
    }
}
