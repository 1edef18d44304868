//! Describes Python objects: what a model, or an option of a call, says of itself.
//!
//! Exact types are written here. What else there is goes to `parts` (`llmemo.keys.values`), which names
//! its kind and hands out plain parts. `docs/keys.md` says what is told of a model.

use super::client_kinds::Kinds;
use super::refusal::Refusal;
use crate::canonical::description::{Container, Description, entries as entries_of};
use crate::python::runtime::stack::Floor;
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};

/// Values nested deeper than this are not described.
const DEPTH_MAX: usize = 64;

/// A description longer than this (bytes) is of no settings.
const LEN_MAX: usize = 16 * 1024 * 1024;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Describer {
    parts: Py<PyAny>,
    secrets: Vec<Py<PyType>>,
    pub(super) kinds: Kinds,
}

#[pymethods]
impl Describer {
    #[new]
    fn new(parts: Py<PyAny>, kind: Py<PyAny>, secrets: Vec<Py<PyType>>) -> Self {
        Self { parts, secrets, kinds: Kinds::new(kind) }
    }

    /// An entry for each item of a dict with text as keys.
    fn options(&self, place: u8, options: &Bound<'_, PyDict>) -> PyResult<Py<PyBytes>> {
        let mut told = Description::default();
        for item in options.items() {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            told.entry(place, &bytes_of(name.cast::<PyString>()?)?);
            self.put(&mut told, &value, 0).map_err(|it| it.into_error(&name))?;
        }
        Ok(PyBytes::new(options.py(), &told.finish()).unbind())
    }

    /// One value by itself.
    fn value(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyBytes>> {
        let mut told = Description::default();
        self.put(&mut told, value, 0)
            .map_err(|it| it.into_error(&value.py().None().into_bound(value.py())))?;
        Ok(PyBytes::new(value.py(), &told.into_bytes()).unbind())
    }
}

impl Describer {
    pub(super) fn is_secret(&self, value: &Bound<'_, PyAny>) -> bool {
        let class = value.get_type();
        self.secrets.iter().any(|secret| class.is(secret.bind(value.py())))
    }

    pub(super) fn put(
        &self,
        told: &mut Description,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Result<(), Refusal> {
        if depth > DEPTH_MAX || Floor::here().is_near() {
            return Err(Refusal::Reason("too_deep"));
        }
        if told.at() > LEN_MAX {
            return Err(Refusal::Reason("too_large"));
        }
        if let Ok(text) = value.cast_exact::<PyString>() {
            told.text(&bytes_of(text)?);
        } else if value.is_none() {
            told.none();
        } else if let Ok(boolean) = value.cast_exact::<PyBool>() {
            told.bool(boolean.is_true());
        } else if let Ok(int) = value.cast_exact::<PyInt>() {
            match int.extract::<i64>() {
                Ok(small) => told.int(small.to_string().as_bytes()),
                // In hexadecimal: Python writes no more than 4,300 decimal digits.
                Err(_) => told.int(&bytes_of(
                    &value
                        .call_method1("__format__", ("#x",))?
                        .cast_into::<PyString>()
                        .map_err(PyErr::from)?,
                )?),
            }
        } else if value.is_exact_instance_of::<PyFloat>() {
            told.float(&bytes_of(&value.repr()?)?);
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            told.bytes(bytes.as_bytes());
        } else {
            self.put_container(told, value, depth)?;
        }
        Ok(())
    }

    fn put_container(
        &self,
        told: &mut Description,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Result<(), Refusal> {
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            told.open(Container::Dict);
            for item in dict.items() {
                let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
                self.put(told, &key, depth + 1)?;
                self.put(told, &value, depth + 1)?;
            }
            told.close();
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            told.open(Container::List);
            list.iter().try_for_each(|item| self.put(told, &item, depth + 1))?;
            told.close();
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            told.open(Container::Tuple);
            tuple.iter().try_for_each(|item| self.put(told, &item, depth + 1))?;
            told.close();
        } else if value.is_exact_instance_of::<PySet>()
            || value.is_exact_instance_of::<PyFrozenSet>()
        {
            let is_frozen = value.is_exact_instance_of::<PyFrozenSet>();
            told.open(if is_frozen { Container::FrozenSet } else { Container::Set });
            let mut starts = Vec::new();
            for item in value.try_iter()? {
                starts.push(told.at());
                self.put(told, &item?, depth + 1)?;
            }
            told.close_set(&starts);
        } else if self.is_secret(value) {
            told.secret();
        } else {
            let parts = self.parts.bind(value.py()).call1((value,))?;
            let (kind, state): (Bound<'_, PyString>, Bound<'_, PyAny>) = parts.extract()?;
            told.open(Container::Object);
            told.text(&bytes_of(&kind)?);
            self.put(told, &state, depth + 1)?;
            told.close();
        }
        Ok(())
    }
}

/// One entry of a description; see `_core.pyi`.
#[pyclass(frozen, get_all, module = "llmemo._core")]
pub struct Entry {
    place: u8,
    name: String,
    whole: Py<PyBytes>,
}

/// The entries of a description.
#[pyfunction]
pub fn entries(py: Python<'_>, description: &[u8]) -> Vec<Entry> {
    entries_of(description)
        .map(|it| Entry {
            place: it.place,
            name: String::from_utf8_lossy(it.name).into_owned(),
            whole: PyBytes::new(py, it.whole).unbind(),
        })
        .collect()
}
