//! Steps that are finished though an exception comes between them.

use pyo3::PyTraverseError;
use pyo3::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Insisting(Py<PyAny>);

#[pymethods]
impl Insisting {
    #[new]
    fn new(function: Py<PyAny>) -> Self {
        Self(function)
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = args.py();
        self.0.call(py, args, kwargs).inspect_err(|_| {
            // Python code at this place could itself be interrupted before it got here. Should
            // this fail, too, the first error says why.
            drop(self.0.call(py, args, kwargs));
        })
    }

    fn __get__(
        slf: &Bound<'_, Self>,
        instance: &Bound<'_, PyAny>,
        owner: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if instance.is_none() {
            return Ok(slf.clone().into_any().unbind());
        }
        let bound = slf.get().0.call_method1(py, intern!(py, "__get__"), (instance, owner))?;
        Ok(Py::new(py, Self(bound))?.into_any())
    }

    /// What it holds may hold it.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}
