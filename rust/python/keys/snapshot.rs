//! A model as it was read, and whether a description made then still holds.
//!
//! That is quick to see: most of what a model holds cannot change as long as it is the same object.

use super::client_seen::{ClientSeen, is_plain};
use super::model_fields::Reader;
use crate::canonical::description::Description;
use crate::python::runtime::dict_entries::all_entries;
use crate::python::runtime::interned::intern;
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Snapshot {
    reader: Reader,
    /// What the model's `__dict__` held, in its order.
    slots: Vec<Slot>,
    /// The rows of clients that were not among that.
    beside: Vec<usize>,
    /// In the order of their rows.
    clients: Vec<(usize, ClientSeen)>,
    /// The entries of what the class does not name.
    extra: Vec<u8>,
    description: Py<PyBytes>,
}

/// It must not keep anything alive that could lead to the model: only what is plain.
struct Slot {
    name: Py<PyString>,
    held: Held,
}

enum Held {
    /// No answer depends on it.
    Anything,
    /// Nothing of it changes as long as it is the same object.
    Pinned(Py<PyAny>),
    Secret,
    /// A field, and its entry if it has one.
    Told(usize, Vec<u8>),
    /// A client, by its row.
    Client(usize),
}

fn is_fixed(value: &Bound<'_, PyAny>) -> bool {
    is_plain(value)
        || value.cast_exact::<PyTuple>().is_ok_and(|it| it.iter().all(|it| is_plain(&it)))
}

impl Snapshot {
    /// Reads a model.
    pub(super) fn read(reader: Reader, model: &Bound<'_, PyAny>, entry: &[u8]) -> PyResult<Self> {
        let py = model.py();
        let fields = &reader.fields;
        let held = model.getattr(intern!(py, "__dict__"))?;
        // All at once, since other threads may change it while Python code runs.
        let held: Vec<_> = held.cast_exact::<PyDict>()?.iter().collect();
        let (mut slots, mut values) = (Vec::with_capacity(held.len()), Vec::new());
        let mut beside: Vec<usize> = fields.clients().collect();
        for (slot, (name, value)) in held.into_iter().enumerate() {
            let name = name.cast_into::<PyString>()?;
            if let Some(row) = fields.of(&name)? {
                beside.retain(|it| *it != row);
                values.push((row, Some(slot), value));
            }
            slots.push(Slot { name: name.unbind(), held: Held::Anything });
        }
        values
            .extend(private(&reader, model, &beside)?.into_iter().map(|(row, it)| (row, None, it)));
        values.sort_by_key(|&(row, ..)| row);
        let (mut told, mut seen, mut clients) = (Description::default(), Vec::new(), Vec::new());
        for (row, slot, value) in values {
            let held = if fields.is_client(row) && !value.is_none() {
                let name = fields.name(py, row);
                let outcome =
                    reader.describer.get().client(&mut told, &bytes_of(name)?, &value, &mut seen);
                clients.push((row, outcome.map_err(|it| it.into_error(name))?));
                Held::Client(row)
            } else {
                reader.held(&mut told, row, &value)?
            };
            if let Some(slot) = slot {
                slots[slot].held = held;
            }
        }
        let start = told.at();
        reader.extra(&mut told, model)?;
        let extra = told.since(start).to_vec();
        let description = PyBytes::new(py, &[entry, &told.finish()].concat()).unbind();
        Ok(Self { reader, slots, beside, clients, extra, description })
    }

    /// Whether a model of the same class, read now, would have the same description.
    pub(super) fn is_still(&self, model: &Bound<'_, PyAny>) -> PyResult<bool> {
        let held = model.getattr(intern!(model.py(), "__dict__"))?;
        let Ok(held) = held.cast_exact::<PyDict>() else { return Ok(false) };
        if held.len() != self.slots.len() {
            return Ok(false);
        }
        // No Python code runs in this loop, so the dict does not change under it.
        let (mut told, mut clients) = (Vec::new(), Vec::new());
        let (mut slots, describer) = (self.slots.iter(), self.reader.describer.get());
        if !all_entries(held, |name, value| {
            let Some(slot) = slots.next() else { return false };
            name == slot.name.as_ptr().addr()
                && match &slot.held {
                    Held::Anything => true,
                    Held::Pinned(pinned) => value.is(pinned),
                    Held::Secret => describer.is_secret(&value),
                    Held::Told(row, before) => {
                        told.push((*row, before, value.to_owned()));
                        true
                    }
                    Held::Client(row) => {
                        clients.push((*row, value.to_owned()));
                        true
                    }
                }
        }) {
            return Ok(false);
        }
        for (row, before, value) in told {
            let mut told = Description::default();
            self.reader.field(&mut told, row, &value)?;
            if told.since(0) != before {
                return Ok(false);
            }
        }
        clients.extend(private(&self.reader, model, &self.beside)?);
        clients.sort_by_key(|&(row, _)| row);
        Ok(self.are_still(&clients)? && {
            let mut told = Description::default();
            self.reader.extra(&mut told, model)?;
            told.since(0) == self.extra
        })
    }

    fn are_still(&self, clients: &[(usize, Bound<'_, PyAny>)]) -> PyResult<bool> {
        if clients.len() != self.clients.len() {
            return Ok(false);
        }
        for ((row, client), (other, before)) in clients.iter().zip(&self.clients) {
            let outcome = before.is_still(self.reader.describer.get(), client);
            if row != other || !outcome.map_err(|it| it.into_error(client))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[pymethods]
impl Snapshot {
    #[getter]
    fn description(&self, py: Python<'_>) -> Py<PyBytes> {
        self.description.clone_ref(py)
    }
}

impl Reader {
    /// Tells a field, and what to remember of it.
    fn held(&self, told: &mut Description, row: usize, value: &Bound<'_, PyAny>) -> PyResult<Held> {
        if self.fields.is_client(row) {
            return Ok(Held::Pinned(value.clone().unbind())); // None
        }
        let start = told.at();
        self.field(told, row, value)?;
        Ok(if is_fixed(value) {
            Held::Pinned(value.clone().unbind())
        } else if self.describer.get().is_secret(value) {
            Held::Secret
        } else {
            Held::Told(row, told.since(start).to_vec())
        })
    }
}

/// The clients of these rows that are private attributes of a model, as those of some classes are.
fn private<'py>(
    reader: &Reader,
    model: &Bound<'py, PyAny>,
    rows: &[usize],
) -> PyResult<Vec<(usize, Bound<'py, PyAny>)>> {
    let (py, mut found) = (model.py(), Vec::new());
    if rows.is_empty() {
        return Ok(found);
    }
    let private = model.getattr(intern!(py, "__pydantic_private__"))?;
    let Ok(private) = private.cast_exact::<PyDict>() else { return Ok(found) };
    for &row in rows {
        match private.get_item(reader.fields.name(py, row))? {
            Some(client) if !client.is_none() => found.push((row, client)),
            _ => {}
        }
    }
    Ok(found)
}
