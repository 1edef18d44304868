//! The settings that an `llm_string` names, as it writes them.

use crate::canonical::{self, Form, Part};
use crate::python::errors::bypassed;
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The settings of an `llm_string` that count, by name, as it writes their values; none if it is of
/// no form that is known.
#[pyfunction]
pub fn settings(llm_string: &Bound<'_, PyString>) -> PyResult<Vec<(String, String)>> {
    let text = bytes_of(llm_string)?;
    let Form::Params(canonical) = canonical::llm_string(&text).map_err(bypassed)? else {
        return Ok(Vec::new());
    };
    let shown = |part: &Part| {
        let source = text.get(part.source.clone()).unwrap_or_default();
        (part.name.clone(), String::from_utf8_lossy(source).trim().to_owned())
    };
    Ok(canonical.parts.iter().map(shown).collect())
}
