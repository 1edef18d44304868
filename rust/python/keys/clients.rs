//! Describes clients of providers' SDKs: what they say of where they send requests to.

use super::client_kinds::{Holds, Kind, Path, follow, is_untold_item};
use super::client_seen::{ClientSeen, Leaf};
use super::describer::Describer;
use super::refusal::Refusal;
use crate::canonical::description::{Container, Description};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

/// The place of the entries of clients: see `docs/keys.md`.
const CLIENT: u8 = 5;

impl Describer {
    /// An entry for a client, if it is of a kind that is known. `seen`: those that were told already,
    /// since several parts of one client may be fields.
    pub(super) fn client<'py>(
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
    pub(super) fn read(
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
