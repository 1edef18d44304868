//! Python objects, described: what a model, or an option of a call, says of itself.
//!
//! Exact types are written here. What else there is goes to `parts` (`llmemo.keys.values`), which names
//! its kind and hands out plain parts. `docs/keys.md` says what is told of a model.

use super::RequestBypassed;
use super::interned::intern;
use super::requests::bytes_of;
use crate::canonical::description::{Container, Description, entries as entries_of};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

fn is_untold(header: &[u8]) -> bool {
    UNTOLD_HEADERS.iter().any(|it| it.len() == header.len() && it.eq_ignore_ascii_case(header))
}

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

/// What is read of a client of some class.
struct Kind {
    name: Vec<u8>,
    /// Leads to the client, if it is a part of it that was given.
    base: Vec<Py<PyString>>,
    paths: Vec<Path>,
}

/// The attributes that lead to something that a client says.
struct Path {
    label: Vec<u8>,
    steps: Vec<Py<PyString>>,
    are_headers: bool,
}

/// As `llmemo.keys.clients` has it: a name, a path to the client, and labelled paths from there.
type KindParts<'py> =
    (Bound<'py, PyString>, Vec<Py<PyString>>, Vec<(Bound<'py, PyString>, Vec<Py<PyString>>)>);

/// By the address of the class, which is nobody else's while it is kept.
type Kinds = HashMap<usize, (Py<PyType>, Option<Arc<Kind>>)>;

impl Kind {
    fn new((name, base, paths): KindParts<'_>) -> PyResult<Self> {
        let path = |(label, steps): (Bound<'_, PyString>, _)| {
            let label = bytes_of(&label)?.into_owned();
            Ok(Path { are_headers: label.ends_with(b"headers"), label, steps })
        };
        let paths = paths.into_iter().map(path).collect::<PyResult<_>>()?;
        Ok(Self { name: bytes_of(&name)?.into_owned(), base, paths })
    }
}

/// What attributes lead to; `None` if one is missing, or None.
fn follow<'py>(
    start: &Bound<'py, PyAny>,
    path: &[Py<PyString>],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut found = start.clone();
    for name in path {
        match found.getattr_opt(name.bind(start.py()))? {
            Some(next) if !next.is_none() => found = next,
            _ => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Describer {
    parts: Py<PyAny>,
    kind: Py<PyAny>,
    secrets: Vec<Py<PyType>>,
    /// Taken only with the GIL held, and never while Python code runs.
    kinds: Mutex<Kinds>,
}

#[pymethods]
impl Describer {
    #[new]
    fn new(parts: Py<PyAny>, kind: Py<PyAny>, secrets: Vec<Py<PyType>>) -> Self {
        Self { parts, kind, secrets, kinds: Mutex::default() }
    }

    /// The entries of a model: `entry` as it is, then its fields and its clients.
    #[pyo3(signature = (model, rows, client, entry, *, skips_untold))]
    fn model<'py>(
        &self,
        model: &Bound<'py, PyAny>,
        rows: &Bound<'py, PyDict>,
        client: &Bound<'py, PyAny>,
        entry: &[u8],
        skips_untold: bool,
    ) -> PyResult<Py<PyBytes>> {
        let py = model.py();
        let (mut told, mut seen) = (Description::default(), Vec::new());
        // What is iterated over is the cache's own, or a copy: other threads may use the model.
        let held = model.getattr(intern!(py, "__dict__"))?;
        let private = model.getattr(intern!(py, "__pydantic_private__"))?;
        for (name, default) in rows {
            let value = match held.cast_exact::<PyDict>()?.get_item(&name)? {
                Some(value) => value,
                None => match private.cast_exact::<PyDict>().map(|it| it.get_item(&name)) {
                    Ok(value) => value?.unwrap_or_else(|| py.None().into_bound(py)),
                    Err(_) => continue,
                },
            };
            if default.is(client) {
                if !value.is_none() {
                    let text = bytes_of(name.cast::<PyString>()?)?;
                    let outcome = self.client(&mut told, &text, &value, &mut seen);
                    outcome.map_err(|it| it.into_error(&name))?;
                }
            } else if !is_unset(&value, &default)? && !self.is_secret(&value) {
                self.field(&mut told, &name, &value, skips_untold)?;
            }
        }
        let extra = model.getattr(intern!(py, "__pydantic_extra__"))?;
        if let Ok(extra) = extra.cast_exact::<PyDict>() {
            for item in extra.items() {
                let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
                self.field(&mut told, &name, &value, skips_untold)?;
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
    fn field(
        &self,
        told: &mut Description,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        skips_untold: bool,
    ) -> PyResult<()> {
        told.entry(place::FIELD, &bytes_of(name.cast::<PyString>()?)?);
        match self.put(told, value, 0).map_err(|it| it.into_error(name)) {
            Err(error) if skips_untold && error.is_instance_of::<RequestBypassed>(name.py()) => {
                told.withdraw();
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn is_secret(&self, value: &Bound<'_, PyAny>) -> bool {
        let class = value.get_type();
        self.secrets.iter().any(|secret| class.is(secret.bind(value.py())))
    }

    /// What a client of a provider's says of where it sends requests to, if it is of a kind that is known.
    /// `seen`: those that were told of already, for several parts of one client are fields.
    fn client<'py>(
        &self,
        told: &mut Description,
        name: &[u8],
        client: &Bound<'py, PyAny>,
        seen: &mut Vec<(Vec<u8>, Bound<'py, PyAny>)>,
    ) -> Result<(), Refusal> {
        let Some(kind) = self.kind_of(client)? else { return Ok(()) };
        let Some(client) = follow(client, &kind.base)? else { return Ok(()) };
        told.entry(place::CLIENT, name);
        if let Some((other, _)) = seen.iter().find(|(_, it)| it.is(&client)) {
            told.text(other);
            return Ok(());
        }
        told.open(Container::Object);
        told.text(&kind.name);
        for Path { label, steps, are_headers } in &kind.paths {
            let Some(value) = follow(&client, steps)? else { continue };
            told.text(label);
            if *are_headers {
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
        seen.push((name.to_vec(), client));
        Ok(())
    }

    /// What to read of a client; `None` if it is of no kind that is known.
    fn kind_of(&self, client: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Kind>>> {
        let class = client.get_type();
        if let Some(kind) = self.kinds().get(&class.as_ptr().addr()) {
            return Ok(kind.1.clone());
        }
        let (found, is_kept): (Option<KindParts<'_>>, bool) =
            self.kind.bind(client.py()).call1((client,))?.extract()?;
        let kind = found.map(Kind::new).transpose()?.map(Arc::new);
        if is_kept {
            self.kinds().insert(class.as_ptr().addr(), (class.unbind(), kind.clone()));
        }
        Ok(kind)
    }

    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Headers that are sent of the client's own accord, less those that no answer depends on: a dict, or
    /// httpx's list of tuples that end with the name in lower case and the value.
    fn headers(&self, told: &mut Description, headers: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        told.open(Container::List);
        if let Ok(list) = headers.cast_exact::<PyList>() {
            list.iter().try_for_each(|item| self.header(told, &item))?;
        } else if let Ok(dict) = headers.cast::<PyDict>() {
            dict.items().iter().try_for_each(|item| self.header(told, &item))?;
        } else {
            self.put(told, headers, 1)?;
        }
        told.close();
        Ok(())
    }

    fn header(&self, told: &mut Description, item: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        let item = item.cast::<PyTuple>().map_err(PyErr::from)?;
        let name = item.get_borrowed_item(item.len().saturating_sub(2))?;
        let is_untold = if let Ok(name) = name.cast::<PyBytes>() {
            is_untold(name.as_bytes())
        } else if let Ok(name) = name.cast::<PyString>() {
            is_untold(&bytes_of(&name)?)
        } else {
            false
        };
        if !is_untold {
            self.put(told, &name, 2)?;
            self.put(told, &item.get_item(item.len() - 1)?, 2)?;
        }
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
