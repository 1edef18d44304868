//! Python objects, described: what a model, or an option of a call, says of itself.
//!
//! Exact types are written here. What else there is goes to `parts` (`llmemo.keys.values`), which names
//! its kind and hands out plain parts. `docs/keys.md` says what is told of a model.

use super::RequestBypassed;
use super::interned::intern;
use super::requests::bytes_of;
use crate::canonical::description::{Container, Description, entries as entries_of};
use pyo3::exceptions::{PyAttributeError, PyException};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};

/// Values nested deeper than this are not described.
const DEPTH_MAX: usize = 64;

/// A description longer than this (bytes) is of no settings.
const LEN_MAX: usize = 16 * 1024 * 1024;

/// Places of entries: see `docs/keys.md`.
mod place {
    pub const FIELD: u8 = 4;
    pub const CLIENT: u8 = 5;
}

/// Headers that say how, by which client and on whose account a request is sent, not what it asks.
const UNTOLD_HEADERS: &[&[u8]] = &[
    b"accept",
    b"accept-encoding",
    b"api-key",
    b"authorization",
    b"connection",
    b"content-type",
    b"user-agent",
    b"x-api-key",
    b"x-goog-api-client",
    b"x-goog-api-key",
];

/// Why something cannot be described.
enum Refusal {
    Reason(&'static str),
    Python(PyErr),
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl Refusal {
    fn into_error(self, name: &Bound<'_, PyAny>) -> PyErr {
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

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Describer {
    parts: Py<PyAny>,
    paths: Py<PyAny>,
    known_paths: Py<PyDict>,
    secrets: Vec<Py<PyType>>,
}

#[pymethods]
impl Describer {
    #[new]
    fn new(
        parts: Py<PyAny>,
        paths: Py<PyAny>,
        known_paths: Py<PyDict>,
        secrets: Vec<Py<PyType>>,
    ) -> Self {
        Self { parts, paths, known_paths, secrets }
    }

    /// The entries of a model: `entry` as it is, then its fields and its clients.
    fn model<'py>(
        &self,
        model: &Bound<'py, PyAny>,
        rows: &Bound<'py, PyDict>,
        client: &Bound<'py, PyAny>,
        entry: &[u8],
    ) -> PyResult<Py<PyBytes>> {
        let py = model.py();
        let mut told = Description::default();
        for (attribute, has_rows) in [
            (intern!(py, "__dict__"), true),
            (intern!(py, "__pydantic_private__"), true),
            (intern!(py, "__pydantic_extra__"), false),
        ] {
            let held = model.getattr(attribute)?;
            let Ok(held) = held.cast_exact::<PyDict>() else { continue };
            for (name, value) in held {
                let default = if has_rows { rows.get_item(&name)? } else { Some(name.clone()) };
                let Some(default) = default else { continue };
                if default.is(client) {
                    self.client(&mut told, &value).map_err(|it| it.into_error(&name))?;
                } else if !is_unset(&value, &default)? && !self.is_secret(&value) {
                    let text = bytes_of(name.cast::<PyString>()?)?;
                    told.entry(place::FIELD, &text);
                    self.put(&mut told, &value, 0).map_err(|it| it.into_error(&name))?;
                }
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

    /// An entry for each item of a dict with text as keys.
    fn options(&self, place: u8, options: &Bound<'_, PyDict>) -> PyResult<Py<PyBytes>> {
        let mut told = Description::default();
        for (name, value) in options {
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

impl Describer {
    fn is_secret(&self, value: &Bound<'_, PyAny>) -> bool {
        let class = value.get_type();
        self.secrets.iter().any(|secret| class.is(secret.bind(value.py())))
    }

    /// What a client of a provider's says of where it sends requests to, if it is of a kind that is known.
    fn client(&self, told: &mut Description, client: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        let py = client.py();
        let class = client.get_type();
        let paths = match self.known_paths.bind(py).get_item(&class)? {
            Some(paths) => paths,
            None => self.paths.bind(py).call1((client,))?,
        };
        let Ok((kind, paths)) = paths.extract::<(Bound<'_, PyString>, Bound<'_, PyTuple>)>() else {
            return Ok(());
        };
        told.entry(place::CLIENT, &bytes_of(&kind)?);
        told.open(Container::Dict);
        for path in &paths {
            let (label, path): (Bound<'_, PyString>, Bound<'_, PyTuple>) = path.extract()?;
            let mut value = client.clone();
            for name in &path {
                match value.getattr(name.cast::<PyString>().map_err(PyErr::from)?) {
                    Ok(found) => value = found,
                    Err(error) if error.is_instance_of::<PyAttributeError>(py) => {
                        value = py.None().into_bound(py);
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if value.is_none() {
                continue;
            }
            told.text(&bytes_of(&label)?);
            if label.to_str().is_ok_and(|label| label.ends_with("headers")) {
                self.headers(told, &value)?;
            } else if let Ok(tuple) = value.cast::<PyTuple>() {
                // A URL in its parts: httpx has a class of tuples for it.
                told.open(Container::Tuple);
                tuple.iter().try_for_each(|item| self.put(told, &item, 2))?;
                told.close();
            } else {
                self.put(told, &value, 1)?;
            }
        }
        told.close();
        Ok(())
    }

    /// Headers that are sent of the client's own accord, less those that no answer depends on: a dict, or
    /// httpx's list of tuples that end with the name in lower case and the value.
    fn headers(&self, told: &mut Description, headers: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        let items: Vec<Bound<'_, PyAny>> = match headers.cast::<PyDict>() {
            Ok(dict) => dict.items().iter().collect(),
            Err(_) => headers.try_iter()?.collect::<PyResult<_>>()?,
        };
        told.open(Container::List);
        for item in items {
            let item = item.cast::<PyTuple>().map_err(PyErr::from)?;
            let name = item.get_item(item.len().saturating_sub(2))?;
            let is_told = if let Ok(name) = name.cast::<PyBytes>() {
                !UNTOLD_HEADERS.contains(&name.as_bytes().to_ascii_lowercase().as_slice())
            } else if let Ok(name) = name.cast::<PyString>() {
                !UNTOLD_HEADERS.contains(&bytes_of(name)?.to_ascii_lowercase().as_slice())
            } else {
                true
            };
            if is_told {
                self.put(told, &name, 2)?;
                self.put(told, &item.get_item(item.len() - 1)?, 2)?;
            }
        }
        told.close();
        Ok(())
    }

    fn put(
        &self,
        told: &mut Description,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Result<(), Refusal> {
        if depth > DEPTH_MAX {
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
            for (key, value) in dict {
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

/// The entries of a description: place, name, and all of each.
#[pyfunction]
pub fn entries(py: Python<'_>, description: &[u8]) -> Vec<(u8, String, Py<PyBytes>)> {
    entries_of(description)
        .map(|it| {
            let name = String::from_utf8_lossy(it.name).into_owned();
            (it.place, name, PyBytes::new(py, it.whole).unbind())
        })
        .collect()
}
