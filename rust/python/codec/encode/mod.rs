//! Encodes answers: Python objects to bytes.

mod encoder;
mod objects;
mod rare;
mod refusal;

use super::decode::{decode_with, tree_with};
use super::schema::Schema;
use crate::codec::{LEN_MAX, Writer, payload};
use crate::python::errors::{ValueDamaged, ValueRefused};
use crate::python::runtime::long_work::{LARGE, detached};
use crate::python::runtime::text;
use crate::request::Key;
use encoder::Encoder;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyType};
use refusal::{Refusal, name_of};

/// The bytes of `generations`, as the answer to the request of `key` (32 bytes).
#[pyfunction]
#[pyo3(signature = (generations, key, *, at_once=false, recording=None, for_streams=false))]
pub fn encode<'py>(
    generations: &Bound<'py, PyAny>,
    key: [u8; 32],
    at_once: bool,
    recording: Option<&[u8]>,
    for_streams: bool,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = generations.py();
    let schema = Schema::get(py)?;
    let mut encoder = Encoder::new(schema, at_once);
    match encoder.put_generations(generations) {
        Err(Refusal::Large) => return Ok(None),
        put => put?,
    }
    let (classes, writer, key) = (encoder.classes, encoder.writer, Key(key));
    let len = writer.len() + recording.map_or(0, <[u8]>::len);
    if at_once && len > LARGE {
        return Ok(None);
    }
    if len > LEN_MAX {
        return Err(Refusal::Reason("too_large").into());
    }
    let sealed = detached(py, len, || match recording {
        Some(recording) => writer.seal_recorded(&key, recording, for_streams),
        None => writer.seal(&key),
    });
    let bytes = sealed.ok_or(Refusal::Reason("too_large"))?;
    if !classes.is_empty() {
        prove(schema, generations, payload(&bytes), &classes)?;
    }
    let value = text::bytes(py, &bytes)?;
    detached(py, bytes.len(), || drop(bytes));
    Ok(Some(value))
}

/// Writes one object, which is not long.
pub(super) fn put_tree(object: &Bound<'_, PyAny>, writer: Writer) -> PyResult<Writer> {
    let py = object.py();
    let schema = Schema::get(py)?;
    let mut encoder = Encoder::new(schema, false);
    encoder.writer = writer;
    encoder.put(object, 1)?;
    let (classes, writer) = (encoder.classes, encoder.writer);
    if !classes.is_empty() {
        let returned = tree_with(py, writer.payload(), &classes, &mut None)
            .and_then(|it| PyList::new(py, [it]));
        refuse_unproved(schema, PyList::new(py, [object])?.as_any(), returned, &classes)?;
    }
    Ok(writer)
}

/// Refuses instances of users' classes that do not come back as they were: only reading can tell.
fn prove<'py>(
    schema: &Schema,
    generations: &Bound<'py, PyAny>,
    payload: &[u8],
    classes: &[Bound<'py, PyType>],
) -> PyResult<()> {
    let returned = decode_with(generations.py(), payload, classes, false);
    let returned = returned.map(|it| it.into_bound(generations.py()));
    refuse_unproved(schema, generations, returned, classes)
}

fn refuse_unproved<'py>(
    schema: &Schema,
    stored: &Bound<'py, PyAny>,
    returned: PyResult<Bound<'py, PyList>>,
    classes: &[Bound<'py, PyType>],
) -> PyResult<()> {
    let unproved = match returned {
        Ok(returned) => schema.bridge.unproved(stored, &returned)?,
        Err(error) if error.is_instance_of::<ValueDamaged>(stored.py()) => {
            classes.first().map(name_of)
        }
        Err(error) => return Err(error),
    };
    unproved.map_or(Ok(()), |name| Err(ValueRefused::new_err(("unproved_type", name))))
}
