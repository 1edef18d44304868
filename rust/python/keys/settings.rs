//! The settings that an `llm_string` names, as it writes them.

use crate::canonical::{self, Form, Ignored, Part};
use crate::python::errors::bypassed;
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyString;

/// The names of settings that a cache ignores.
pub fn ignored(names: &[PyBackedStr]) -> Ignored {
    Ignored::new(names.iter().map(|name| name.as_bytes().to_vec()))
}

/// The settings of an `llm_string` that count, by name, as it writes their values; none if it is of
/// no form that is known.
#[pyfunction]
#[pyo3(signature = (llm_string, ignore=vec![]))]
#[expect(clippy::needless_pass_by_value, reason = "arguments are extracted for the call")]
pub fn settings(
    llm_string: &Bound<'_, PyString>,
    ignore: Vec<PyBackedStr>,
) -> PyResult<Vec<(String, String)>> {
    let text = bytes_of(llm_string)?;
    let form = canonical::llm_string_without(&text, &ignored(&ignore)).map_err(bypassed)?;
    let Form::Params(canonical) = form else { return Ok(Vec::new()) };
    let shown = |part: &Part| {
        let source = text.get(part.source.clone()).unwrap_or_default();
        (part.name.clone(), String::from_utf8_lossy(source).trim().to_owned())
    };
    Ok(canonical.parts.iter().map(shown).collect())
}
