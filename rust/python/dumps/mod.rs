//! LangChain's `dumps` of a list of messages, straight from the objects, to the same bytes.
//!
//! `langchain_core.load.dumps` builds a tree of dicts (`Serializable.to_json`) and hands it to
//! `json.dumps`; what is here writes what would come out. Exact types only. Whatever it does not know
//! for certain is `stop::UNKNOWN`, and the whole list goes to LangChain's own function.

mod langchain;
mod objects;
mod stop;
mod writer;

use super::codec::schema::Schema;
use langchain::LangChain;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use stop::Stop;
use writer::Writer;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Dumps {
    own: Py<PyAny>,
    escapes: bool,
    is_stopped: AtomicBool,
    handled: AtomicU64,
    fallbacks: AtomicU64,
}

#[pymethods]
impl Dumps {
    #[new]
    #[pyo3(signature = (own, *, escapes))]
    fn new(own: Py<PyAny>, escapes: bool) -> Self {
        Self {
            own,
            escapes,
            is_stopped: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
        }
    }

    #[pyo3(signature = (obj, **kwargs))]
    fn __call__<'py>(
        &self,
        obj: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !self.is_stopped.load(Relaxed) {
            if kwargs.is_none_or(PyDictMethods::is_empty)
                && let Ok(list) = obj.cast_exact::<PyList>()
                && let Some(text) = dumps(list, self.escapes)?
            {
                self.handled.fetch_add(1, Relaxed);
                return Ok(text.into_any());
            }
            self.fallbacks.fetch_add(1, Relaxed);
        }
        self.own.bind(obj.py()).call((obj,), kwargs)
    }

    fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
    }

    #[getter]
    fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    #[getter]
    fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Relaxed)
    }
}

/// What LangChain makes of the list, if all that is in it is known.
fn dumps<'py>(list: &Bound<'py, PyList>, escapes: bool) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = list.py();
    let (schema, langchain) = (Schema::get(py)?, LangChain::get(py)?);
    let mut writer = Writer::new(py, schema, langchain, escapes);
    match writer.put(list.as_any(), 0) {
        Ok(()) => PyString::from_bytes(py, &writer.out).map(Some),
        // A KeyboardInterrupt, say, that came while a `__repr__` ran, is nobody's to swallow.
        Err(Stop(Some(error))) if !error.is_instance_of::<PyException>(py) => Err(*error),
        Err(_) => Ok(None),
    }
}
