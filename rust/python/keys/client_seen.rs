//! Remembers what was read of a client, and whether it still says the same, without writing it down again.

use super::client_kinds::{Holds, Kind, Path, follow, is_untold_item};
use super::describer::Describer;
use super::refusal::Refusal;
use crate::canonical::description::Description;
use crate::python::runtime::dict_entries::all_entries;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::slice;
use std::sync::Arc;

/// What was read of a client. It holds none of the client's parts but immutable, plain ones.
#[derive(Default)]
pub(super) struct ClientSeen {
    kind: Option<Arc<Kind>>,
    /// The address of the client; 0 if nothing led to it. Two clients in the same place of memory may
    /// follow each other: an address only says which of the clients of a model are the same one.
    address: usize,
    /// Whether a client before this one was the same.
    pub(super) is_again: bool,
    pub(super) leaves: Vec<Leaf>,
}

/// What was at the end of a path.
pub(super) enum Leaf {
    Missing,
    /// Nothing of it changes as long as it is the same object.
    Pinned(Py<PyAny>),
    /// A dict of empty lists, or with nothing in it: its keys.
    Empty(Vec<Py<PyAny>>),
    /// httpx's list of headers; `None` for one that is not told, which may be a secret.
    Headers(Vec<Option<Py<PyTuple>>>),
    /// Another client, of which the leaves follow; `None` if it is of no kind that is known.
    Client(Option<Arc<Kind>>),
    /// Anything else, as it was told.
    Told(Vec<u8>),
}

/// Whether a value is told by its type and its bytes alone, and cannot change.
pub(super) fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBytes>()
}

impl Leaf {
    /// Of a value that is told next; `None` if it has to be told again to be compared.
    pub(super) fn of(holds: Holds, value: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let is_url = |tuple: &Bound<'_, PyTuple>| tuple.iter().all(|it| is_plain(&it));
        if is_plain(value) || holds == Holds::Value && value.cast::<PyTuple>().is_ok_and(is_url) {
            return Ok(Some(Self::Pinned(value.clone().unbind())));
        }
        match value.cast_exact::<PyList>() {
            Ok(list) if holds == Holds::Headers => Self::headers(list),
            _ => Ok(Self::empty(value)),
        }
    }

    fn empty(value: &Bound<'_, PyAny>) -> Option<Self> {
        let held: Vec<_> = value.cast_exact::<PyDict>().ok()?.iter().collect();
        let is_empty = held.iter().all(|(key, value)| is_plain(key) && is_empty_list(value));
        is_empty.then(|| Self::Empty(held.into_iter().map(|(key, _)| key.unbind()).collect()))
    }

    fn headers(list: &Bound<'_, PyList>) -> PyResult<Option<Self>> {
        let mut headers = Vec::with_capacity(list.len());
        for item in list {
            let item = item.cast_into::<PyTuple>()?;
            if is_untold_item(&item)? {
                headers.push(None);
            } else if item.is_exact_instance_of::<PyTuple>() && item.iter().all(|it| is_plain(&it))
            {
                headers.push(Some(item.unbind()));
            } else {
                return Ok(None);
            }
        }
        Ok(Some(Self::Headers(headers)))
    }

    /// Whether a value is told by the same bytes.
    pub(super) fn is_still(
        &self,
        describer: &Describer,
        holds: Holds,
        value: &Bound<'_, PyAny>,
    ) -> Result<bool, Refusal> {
        Ok(match self {
            Self::Pinned(pinned) => value.is(pinned),
            Self::Empty(keys) => value.cast_exact::<PyDict>().is_ok_and(|dict| {
                let mut keys = keys.iter();
                dict.len() == keys.len()
                    && all_entries(dict, |key, value| {
                        keys.next().is_some_and(|it| it.as_ptr().addr() == key)
                            && is_empty_list(&value)
                    })
            }),
            Self::Headers(headers) => match value.cast_exact::<PyList>() {
                Ok(list) => are_still(headers, list)?,
                Err(_) => false,
            },
            Self::Told(before) => {
                let mut told = Description::default();
                describer.read(&mut told, holds, value)?;
                told.since(0) == before
            }
            Self::Missing | Self::Client(_) => false,
        })
    }
}

fn is_empty_list(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyList>().is_ok_and(PyListMethods::is_empty)
}

fn are_still(headers: &[Option<Py<PyTuple>>], list: &Bound<'_, PyList>) -> PyResult<bool> {
    if list.len() != headers.len() {
        return Ok(false);
    }
    for (item, header) in list.iter().zip(headers) {
        let is_same = match header {
            Some(header) => item.is(header),
            None => match item.cast::<PyTuple>() {
                Ok(item) => is_untold_item(item)?,
                Err(_) => false,
            },
        };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

impl ClientSeen {
    /// Of a client that nothing was read of yet; `None` if nothing leads to it.
    pub(super) fn of(kind: Arc<Kind>, client: Option<&Bound<'_, PyAny>>) -> Self {
        Self { kind: Some(kind), address: address_of(client), ..Self::default() }
    }

    /// Whether `given` would be told by the same bytes, all other clients of the model being as they
    /// were.
    pub(super) fn is_still(
        &self,
        describer: &Describer,
        given: &Bound<'_, PyAny>,
    ) -> Result<bool, Refusal> {
        let (kind, before) = match (describer.kinds.of(given)?, &self.kind) {
            (None, None) => return Ok(true),
            (Some(kind), Some(before)) => (kind, before),
            _ => return Ok(false),
        };
        if !kind.is(before) {
            return Ok(false);
        }
        let client = follow(given, &kind.base)?;
        if address_of(client.as_ref()) != self.address {
            return Ok(false);
        }
        match client {
            Some(client) if !self.is_again => {
                says_still(describer, &mut self.leaves.iter(), &kind, &client)
            }
            _ => Ok(true),
        }
    }
}

fn address_of(client: Option<&Bound<'_, PyAny>>) -> usize {
    client.map_or(0, |it| it.as_ptr().addr())
}

fn says_still(
    describer: &Describer,
    leaves: &mut slice::Iter<'_, Leaf>,
    kind: &Kind,
    client: &Bound<'_, PyAny>,
) -> Result<bool, Refusal> {
    for Path { steps, holds, .. } in &kind.paths {
        let (value, leaf) = (follow(client, steps)?, leaves.next());
        let is_same = match (value, leaf) {
            (None, Some(Leaf::Missing)) => true,
            (Some(value), Some(Leaf::Client(before))) => {
                match (describer.kinds.of(&value)?, before) {
                    (None, None) => true,
                    (Some(inner), Some(before)) => {
                        inner.is(before) && says_still(describer, leaves, &inner, &value)?
                    }
                    _ => false,
                }
            }
            (Some(value), Some(leaf)) => leaf.is_still(describer, *holds, &value)?,
            _ => false,
        };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}
