//! Kinds of clients, and where each says what counts.
//!
//! `llmemo.keys.clients` knows the kinds, and which attributes to read.

use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
pub(super) fn is_untold_item(item: &Bound<'_, PyTuple>) -> PyResult<bool> {
    let name = item.get_borrowed_item(item.len().saturating_sub(2))?;
    if let Ok(name) = name.cast::<PyBytes>() {
        return Ok(is_untold(name.as_bytes()));
    }
    name.cast::<PyString>().map_or(Ok(false), |name| Ok(is_untold(&bytes_of(&name)?)))
}

/// What is read of a client of some class.
pub(super) struct Kind {
    pub(super) name: Vec<u8>,
    /// Leads to the client, if it is a part of it that was given.
    pub(super) base: Vec<Py<PyString>>,
    pub(super) paths: Vec<Path>,
}

/// The attributes that lead to something that a client says.
pub(super) struct Path {
    pub(super) label: Vec<u8>,
    pub(super) steps: Vec<Py<PyString>>,
    pub(super) holds: Holds,
}

/// What is at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
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
    pub(super) fn is(&self, other: &Self) -> bool {
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
pub(super) struct Kinds {
    ask: Py<PyAny>,
    /// Taken only with the GIL held, and never while Python code runs.
    known: Mutex<Known>,
}

impl Kinds {
    /// `ask` is `llmemo.keys.clients.kind_of_client`.
    pub(super) fn new(ask: Py<PyAny>) -> Self {
        Self { ask, known: Mutex::default() }
    }

    /// What to read of a client; `None` if it is of no kind that is known.
    pub(super) fn of(&self, client: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Kind>>> {
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
pub(super) fn follow<'py>(
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
