//! Describes models: their fields that count.

use super::describer::Describer;
use crate::canonical::description::Description;
use crate::python::errors::RequestBypassed;
use crate::python::runtime::interned::intern;
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple};
use std::collections::HashMap;
use std::sync::Arc;

/// The place of the entries of fields: see `docs/keys.md`.
const FIELD: u8 = 4;

/// The fields of a class of models that count, and those that hold clients.
pub(super) struct Fields {
    rows: Vec<Row>,
    by_name: HashMap<Vec<u8>, usize>,
}

/// A field of a class of models.
struct Row {
    name: Py<PyString>,
    /// `None`: the field holds a client.
    default: Option<Py<PyAny>>,
}

impl Fields {
    /// By the fields' defaults, in the place of which `client` says that one holds a client.
    pub(super) fn new(defaults: &Bound<'_, PyDict>, client: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (mut rows, mut by_name) = (Vec::new(), HashMap::new());
        for (name, default) in defaults.iter() {
            let name = name.cast_into::<PyString>()?;
            by_name.insert(bytes_of(&name)?.into_owned(), rows.len());
            let default = (!default.is(client)).then(|| default.unbind());
            rows.push(Row { name: name.unbind(), default });
        }
        Ok(Self { rows, by_name })
    }

    /// The row of a name.
    pub(super) fn of(&self, name: &Bound<'_, PyString>) -> PyResult<Option<usize>> {
        Ok(self.by_name.get(&*bytes_of(name)?).copied())
    }

    pub(super) fn name<'py>(&self, py: Python<'py>, row: usize) -> &Bound<'py, PyString> {
        self.rows[row].name.bind(py)
    }

    pub(super) fn is_client(&self, row: usize) -> bool {
        self.rows[row].default.is_none()
    }

    /// The rows of clients.
    pub(super) fn clients(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.len()).filter(|&row| self.is_client(row))
    }
}

/// Reads models of a class.
pub(super) struct Reader {
    pub(super) fields: Arc<Fields>,
    pub(super) describer: Py<Describer>,
    pub(super) skips_untold: bool,
}

impl Reader {
    /// The entry of a field that holds no client, if it is told.
    pub(super) fn field(
        &self,
        told: &mut Description,
        row: usize,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = value.py();
        let Row { name, default } = &self.fields.rows[row];
        let describer = self.describer.get();
        match default {
            Some(default) if is_unset(value, default.bind(py))? => Ok(()),
            _ if describer.is_secret(value) => Ok(()),
            _ => describer.field(told, name.bind(py), value, self.skips_untold),
        }
    }

    /// The entries of what a model has that its class does not name.
    pub(super) fn extra(&self, told: &mut Description, model: &Bound<'_, PyAny>) -> PyResult<()> {
        let extra = model.getattr(intern!(model.py(), "__pydantic_extra__"))?;
        let Ok(extra) = extra.cast_exact::<PyDict>() else { return Ok(()) };
        for item in extra.items() {
            let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) = item.extract()?;
            self.describer.get().field(told, &name, &value, self.skips_untold)?;
        }
        Ok(())
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
