//! The Python class `Rows`: reads models of one class.

use super::describer::Describer;
use super::model_fields::{Fields, Reader};
use super::snapshot::Snapshot;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Rows(Arc<Fields>);

#[pymethods]
impl Rows {
    #[new]
    fn new(defaults: &Bound<'_, PyDict>, client: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(Arc::new(Fields::new(defaults, client)?)))
    }

    #[pyo3(signature = (model, describer, entry, *, skips_untold))]
    fn read(
        &self,
        model: &Bound<'_, PyAny>,
        describer: Py<Describer>,
        entry: &[u8],
        skips_untold: bool,
    ) -> PyResult<Snapshot> {
        let fields = Arc::clone(&self.0);
        Snapshot::read(Reader { fields, describer, skips_untold }, model, entry)
    }
}
