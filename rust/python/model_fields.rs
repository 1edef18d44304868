//! Models, described: their fields that count, and their clients.

use super::RequestBypassed;
use super::describe::Describer;
use super::interned::intern;
use super::requests::bytes_of;
use crate::canonical::description::Description;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple};

/// The place of the entries of fields: see `docs/keys.md`.
const FIELD: u8 = 4;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Rows(Vec<Row>);

/// A field of a class of models.
struct Row {
    name: Py<PyString>,
    /// `None`: the field holds a client.
    default: Option<Py<PyAny>>,
}

#[pymethods]
impl Rows {
    #[new]
    fn new(defaults: &Bound<'_, PyDict>, client: &Bound<'_, PyAny>) -> PyResult<Self> {
        let row = |(name, default): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            let name = name.cast_into::<PyString>()?.unbind();
            let default = (!default.is(client)).then(|| default.unbind());
            Ok(Row { name, default })
        };
        defaults.iter().map(row).collect::<PyResult<_>>().map(Self)
    }

    /// The entries of a model: `entry` as it is, then its fields and its clients.
    #[pyo3(signature = (model, describer, entry, *, skips_untold))]
    fn describe(
        &self,
        model: &Bound<'_, PyAny>,
        describer: &Describer,
        entry: &[u8],
        skips_untold: bool,
    ) -> PyResult<Py<PyBytes>> {
        let py = model.py();
        let (mut told, mut seen) = (Description::default(), Vec::new());
        // Not iterated over, since other threads may change it.
        let held = model.getattr(intern!(py, "__dict__"))?;
        let held = held.cast_exact::<PyDict>()?;
        let private = model.getattr(intern!(py, "__pydantic_private__"))?;
        for Row { name, default } in &self.0 {
            let name = name.bind(py);
            let mut value = held.get_item(name)?;
            if value.is_none() && default.is_none() {
                // The clients of some classes are private attributes.
                value = match private.cast_exact::<PyDict>() {
                    Ok(private) => private.get_item(name)?,
                    Err(_) => None,
                };
            }
            let Some(value) = value else { continue };
            match default {
                None if value.is_none() => {}
                None => {
                    let outcome = describer.client(&mut told, &bytes_of(name)?, &value, &mut seen);
                    outcome.map_err(|it| it.into_error(name))?;
                }
                Some(default) if is_unset(&value, default.bind(py))? => {}
                Some(_) if describer.is_secret(&value) => {}
                Some(_) => describer.field(&mut told, name, &value, skips_untold)?,
            }
        }
        let extra = model.getattr(intern!(py, "__pydantic_extra__"))?;
        if let Ok(extra) = extra.cast_exact::<PyDict>() {
            for item in extra.items() {
                let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) = item.extract()?;
                describer.field(&mut told, &name, &value, skips_untold)?;
            }
        }
        let entries = told.finish();
        PyBytes::new_with(py, entry.len() + entries.len(), |bytes| {
            bytes[..entry.len()].copy_from_slice(entry);
            bytes[entry.len()..].copy_from_slice(&entries);
            Ok(())
        })
        .map(Bound::unbind)
    }
}

impl Describer {
    fn field(
        &self,
        told: &mut Description,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
        skips_untold: bool,
    ) -> PyResult<()> {
        told.entry(FIELD, &bytes_of(name)?);
        match self.put(told, value, 0).map_err(|it| it.into_error(name)) {
            Err(error) if skips_untold && error.is_instance_of::<RequestBypassed>(name.py()) => {
                told.withdraw();
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Whether a field has the value that it has unless it is set, and that value is false: as LangChain
/// tells what is worth writing down. A true default is told all the same: the next version may have
/// another one.
fn is_unset(value: &Bound<'_, PyAny>, default: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is(default) {
        // The usual ones, without a call.
        if value.is_none() {
            return Ok(true);
        }
    } else if !value.get_type().is(default.get_type()) {
        return Ok(false);
    }
    let is_plain = value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_exact_instance_of::<PySet>();
    Ok(is_plain && !value.is_truthy()? && !default.is_truthy()?)
}
