//! Clients of providers' SDKs: what they say of where they send requests to.
//!
//! `llmemo.keys.clients` knows the kinds of clients, and which attributes to read.

use crate::canonical::description::{Container, Description};
use crate::python::keys::client_seen::{ClientSeen, Leaf};
use crate::python::keys::describer::{Describer, Refusal};
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple, PyType};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The place of the entries of clients: see `docs/keys.md`.
const CLIENT: u8 = 5;

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

/// Whether no answer depends on a header: a tuple that ends with its name and its value.
pub fn is_untold_item(item: &Bound<'_, PyTuple>) -> PyResult<bool> {
    let name = item.get_borrowed_item(item.len().saturating_sub(2))?;
    if let Ok(name) = name.cast::<PyBytes>() {
        return Ok(is_untold(name.as_bytes()));
    }
    name.cast::<PyString>().map_or(Ok(false), |name| Ok(is_untold(&bytes_of(&name)?)))
}

/// What is read of a client of some class.
pub struct Kind {
    name: Vec<u8>,
    /// Leads to the client, if it is a part of it that was given.
    pub base: Vec<Py<PyString>>,
    pub paths: Vec<Path>,
}

/// The attributes that lead to something that a client says.
pub struct Path {
    pub label: Vec<u8>,
    pub steps: Vec<Py<PyString>>,
    pub holds: Holds,
}

/// What is at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Value,
    /// A dict, or a list of tuples that end with a name and a value.
    Headers,
    /// Another client, which this one sends through.
    Client,
}

/// As `llmemo.keys.clients` has it: a name, a path to the client, and labelled paths from there.
type KindParts<'py> =
    (Bound<'py, PyString>, Vec<Py<PyString>>, Vec<(Bound<'py, PyString>, Vec<Py<PyString>>)>);

impl Kind {
    fn new((name, base, paths): KindParts<'_>) -> PyResult<Self> {
        let path = |(label, steps): (Bound<'_, PyString>, _)| {
            let label = bytes_of(&label)?.into_owned();
            let holds = match &label[..] {
                b"headers" => Holds::Headers,
                b"client" => Holds::Client,
                _ => Holds::Value,
            };
            Ok(Path { label, steps, holds })
        };
        let paths = paths.into_iter().map(path).collect::<PyResult<_>>()?;
        Ok(Self { name: bytes_of(&name)?.into_owned(), base, paths })
    }

    /// Whether the same is read of both: the kind of a class that is not kept is made anew each time.
    pub fn is(&self, other: &Self) -> bool {
        let is_same = |one: &[Py<PyString>], other: &[Py<PyString>]| {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is(other))
        };
        std::ptr::eq(self, other)
            || self.name == other.name
                && is_same(&self.base, &other.base)
                && self.paths.len() == other.paths.len()
                && self.paths.iter().zip(&other.paths).all(|(one, other)| {
                    one.label == other.label && is_same(&one.steps, &other.steps)
                })
    }
}

/// Number of classes that are remembered: a program may put one after the other in the same place.
const CLASSES_MAX: usize = 256;

/// By the address of the class, which is nobody else's while it is kept.
type Known = HashMap<usize, (Py<PyType>, Option<Arc<Kind>>)>;

/// The kinds of clients that were met.
pub struct Kinds {
    ask: Py<PyAny>,
    /// Taken only with the GIL held, and never while Python code runs.
    known: Mutex<Known>,
}

impl Kinds {
    /// `ask` is `llmemo.keys.clients.kind_of_client`.
    pub fn new(ask: Py<PyAny>) -> Self {
        Self { ask, known: Mutex::default() }
    }

    /// What to read of a client; `None` if it is of no kind that is known.
    pub fn of(&self, client: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Kind>>> {
        let class = client.get_type();
        if let Some((_, kind)) = self.known().get(&class.as_ptr().addr()) {
            return Ok(kind.clone());
        }
        let (found, is_kept): (Option<KindParts<'_>>, bool) =
            self.ask.bind(client.py()).call1((client,))?.extract()?;
        let kind = found.map(Kind::new).transpose()?.map(Arc::new);
        if is_kept {
            // Dropped after the lock: the end of a class may run Python code.
            let known = self.known().len();
            let old = (known >= CLASSES_MAX).then(|| std::mem::take(&mut *self.known()));
            drop(old);
            self.known().insert(class.as_ptr().addr(), (class.unbind(), kind.clone()));
        }
        Ok(kind)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What attributes lead to; `None` if one is missing, or None.
pub fn follow<'py>(
    start: &Bound<'py, PyAny>,
    steps: &[Py<PyString>],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut found = start.clone();
    for name in steps {
        match found.getattr_opt(name.bind(start.py()))? {
            Some(next) if !next.is_none() => found = next,
            _ => return Ok(None),
        }
    }
    Ok(Some(found))
}

impl Describer {
    /// An entry for a client, if it is of a kind that is known. `seen`: those that were told already,
    /// since several parts of one client may be fields.
    pub fn client<'py>(
        &self,
        told: &mut Description,
        name: &[u8],
        client: &Bound<'py, PyAny>,
        seen: &mut Vec<(Vec<u8>, Bound<'py, PyAny>)>,
    ) -> Result<ClientSeen, Refusal> {
        let Some(kind) = self.kinds.of(client)? else { return Ok(ClientSeen::default()) };
        let found = follow(client, &kind.base)?;
        let mut reading = ClientSeen::of(kind.clone(), found.as_ref());
        let Some(client) = found else { return Ok(reading) };
        told.entry(CLIENT, name);
        if let Some((other, _)) = seen.iter().find(|(_, it)| it.is(&client)) {
            told.text(other);
            reading.is_again = true;
            return Ok(reading);
        }
        self.told_by(told, &mut reading.leaves, &kind, &client)?;
        seen.push((name.to_vec(), client));
        Ok(reading)
    }

    /// `leaves`: takes what was read, in the order of the paths.
    fn told_by(
        &self,
        told: &mut Description,
        leaves: &mut Vec<Leaf>,
        kind: &Kind,
        client: &Bound<'_, PyAny>,
    ) -> Result<(), Refusal> {
        told.open(Container::Object);
        told.text(&kind.name);
        for Path { label, steps, holds } in &kind.paths {
            let Some(value) = follow(client, steps)? else {
                leaves.push(Leaf::Missing);
                continue;
            };
            if *holds == Holds::Client {
                let inner = self.kinds.of(&value)?;
                leaves.push(Leaf::Client(inner.clone()));
                if let Some(inner) = inner {
                    told.text(label);
                    self.told_by(told, leaves, &inner, &value)?;
                }
                continue;
            }
            told.text(label);
            let (leaf, start) = (Leaf::of(*holds, &value)?, told.at());
            self.read(told, *holds, &value)?;
            // Another thread may have changed it meanwhile.
            leaves.push(match leaf {
                Some(leaf) if leaf.is_still(self, *holds, &value)? => leaf,
                _ => Leaf::Told(told.since(start).to_vec()),
            });
        }
        told.close();
        Ok(())
    }

    /// What is at the end of a path.
    pub fn read(
        &self,
        told: &mut Description,
        holds: Holds,
        value: &Bound<'_, PyAny>,
    ) -> Result<(), Refusal> {
        if holds == Holds::Headers {
            return self.headers(told, value);
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            // A URL in its parts: httpx has a class of tuples for it.
            told.open(Container::Tuple);
            tuple.iter().try_for_each(|item| self.put(told, &item, 2))?;
            told.close();
            return Ok(());
        }
        self.put(told, value, 1)
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
        if !is_untold_item(item)? {
            self.put(told, &item.get_item(item.len().saturating_sub(2))?, 2)?;
            self.put(told, &item.get_item(item.len() - 1)?, 2)?;
        }
        Ok(())
    }
}
