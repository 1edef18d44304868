//! What takes other types apart and puts them together: `llmemo.codec.python_objects` and its neighbours.
//!
//! It is seldom, and the stable ABI has no quicker way to a date.

use crate::python::runtime::interned::intern;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The functions of `llmemo.codec.python_objects` and its neighbours.
pub struct PythonBridge {
    instances: Py<PyAny>,
    unproved: Py<PyAny>,
}

impl PythonBridge {
    /// Of this process.
    pub fn load(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            instances: py.import("llmemo.codec.python_objects")?.getattr("Instances")?.unbind(),
            unproved: py.import("llmemo.codec.verify")?.getattr("unproved")?.unbind(),
        })
    }

    /// Takes the objects of one value apart, or puts them together; made when the first one comes.
    /// `validates`: whether classes that the current run asks for have to accept their instances.
    pub fn instances<'a, 'py>(
        &self,
        py: Python<'py>,
        known: &'a mut Option<Bound<'py, PyAny>>,
        validates: bool,
    ) -> PyResult<&'a Bound<'py, PyAny>> {
        if known.is_none() {
            let arguments = PyDict::new(py);
            arguments.set_item(intern!(py, "validates"), validates)?;
            *known = Some(self.instances.bind(py).call((), Some(&arguments))?);
        }
        known.as_ref().ok_or_else(|| PyRuntimeError::new_err("no instances"))
    }

    /// The name of a type that did not come back as it was; None if all did.
    pub fn unproved(
        &self,
        stored: &Bound<'_, PyAny>,
        returned: &Bound<'_, PyAny>,
    ) -> PyResult<Option<String>> {
        self.unproved.bind(stored.py()).call1((stored, returned))?.extract()
    }
}
