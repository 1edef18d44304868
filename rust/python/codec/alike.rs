//! Chunks that differ from the one before in their text alone: most of a stream. They need not be encoded.

use super::schema::Schema;
use crate::python::runtime::interned::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PySet, PyString};

/// The numbers of `ChatGenerationChunk` and `AIMessageChunk` in the schema.
const CHUNKS: [u8; 2] = [3, 17];

/// What a tree of such a chunk begins with, up to its text: the object's tag and the number of its
/// fields, its class, the name of the first field, and the tags of a text that is a string.
pub(super) const TEXT_AT: usize = 8;
/// The tag of that string, and its length.
pub(super) const TEXT_HEAD: usize = 5;

/// All of a chunk but its text. The containers are copies: no other code can change them.
pub(super) struct Shape {
    fields: [Vec<Option<Py<PyAny>>>; 2],
    set: [Py<PyAny>; 2],
}

/// The two objects that a chunk consists of, and its text.
struct Parts<'py> {
    dicts: [Bound<'py, PyDict>; 2],
    sets: [Bound<'py, PyAny>; 2],
    text: Bound<'py, PyString>,
}

impl<'py> Parts<'py> {
    fn of(schema: &Schema, chunk: &Bound<'py, PyAny>) -> Option<Self> {
        let py = chunk.py();
        let outer = dict_of(schema, chunk, CHUNKS[0])?;
        let message = outer.get_item(intern!(py, "message")).ok()??;
        let inner = dict_of(schema, &message, CHUNKS[1])?;
        let text =
            inner.get_item(intern!(py, "content")).ok()??.cast_into_exact::<PyString>().ok()?;
        let said = outer.get_item(intern!(py, "text")).ok()??.cast_into::<PyString>().ok()?;
        if said.to_str().ok()? != text.to_str().ok()? {
            return None;
        }
        let sets = [set_of(chunk)?, set_of(&message)?];
        Some(Self { dicts: [outer, inner], sets, text })
    }
}

fn dict_of<'py>(
    schema: &Schema,
    object: &Bound<'py, PyAny>,
    class: u8,
) -> Option<Bound<'py, PyDict>> {
    let py = object.py();
    let attribute = |name| object.getattr(name).ok();
    if schema.class_of(object)?.number != class
        || !attribute(intern!(py, "__pydantic_private__"))?.is_none()
    {
        return None;
    }
    // Generations have no place for extra fields; a message that has some is not plain.
    let extra = attribute(intern!(py, "__pydantic_extra__"))?;
    let is_plain = match extra.cast_exact::<PyDict>() {
        Ok(extra) => class == CHUNKS[1] && extra.is_empty(),
        Err(_) => class == CHUNKS[0] && extra.is_none(),
    };
    let dict = attribute(intern!(py, "__dict__"))?;
    if is_plain { dict.cast_into_exact::<PyDict>().ok() } else { None }
}

fn set_of<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let set = object.getattr(intern!(object.py(), "__pydantic_fields_set__")).ok()?;
    set.is_exact_instance_of::<PySet>().then_some(set)
}

impl Shape {
    /// The shape of a chunk, and its text; `None` of one that is not so plain.
    pub(super) fn of(schema: &Schema, chunk: &Bound<'_, PyAny>) -> Option<(Self, String)> {
        let parts = Parts::of(schema, chunk)?;
        let fields = [fields_of(&parts.dicts[0])?, fields_of(&parts.dicts[1])?];
        let copy = |set: &Bound<'_, PyAny>| set.call_method0("copy").ok().map(Bound::unbind);
        let set = [copy(&parts.sets[0])?, copy(&parts.sets[1])?];
        Some((Self { fields, set }, parts.text.to_str().ok()?.to_owned()))
    }

    /// The text of a chunk that has this shape.
    pub(super) fn text_of<'py>(
        &self,
        schema: &Schema,
        chunk: &Bound<'py, PyAny>,
    ) -> Option<Bound<'py, PyString>> {
        let parts = Parts::of(schema, chunk)?;
        let py = chunk.py();
        for at in 0..2 {
            let (fields, dict) = (&self.fields[at], &parts.dicts[at]);
            let is_same = |(saved, (_, value)): (&Option<Py<PyAny>>, (_, Bound<'py, PyAny>))| {
                saved.as_ref().is_none_or(|saved| is_equal(saved.bind(py), &value))
            };
            if fields.len() != dict.len()
                || !fields.iter().zip(dict.iter()).all(is_same)
                || !parts.sets[at].eq(&self.set[at]).unwrap_or(false)
            {
                return None;
            }
        }
        Some(parts.text)
    }
}

/// The values of a chunk's fields, but for its text and message; `None` if one may change.
fn fields_of(dict: &Bound<'_, PyDict>) -> Option<Vec<Option<Py<PyAny>>>> {
    dict.iter()
        .map(|(name, value)| {
            let name = name.cast_exact::<PyString>().ok()?.to_str().ok()?.to_owned();
            if matches!(name.as_str(), "text" | "message" | "content") {
                return Some(None);
            }
            kept(&value).map(Some)
        })
        .collect()
}

fn is_constant(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
}

fn kept(value: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    if is_constant(value) {
        return Some(value.clone().unbind());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return list.is_empty().then(|| PyList::empty(value.py()).into_any().unbind());
    }
    let dict = value.cast_exact::<PyDict>().ok()?;
    let is_text = |it: &Bound<'_, PyAny>| it.is_exact_instance_of::<PyString>();
    let is_plain = dict.iter().all(|(name, value)| is_text(&name) && is_text(&value));
    if is_plain { dict.copy().ok().map(|it| it.into_any().unbind()) } else { None }
}

/// Of the same type, and equal: 1 is not True.
fn is_equal(saved: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> bool {
    if saved.is(value) {
        return true;
    }
    if !saved.get_type().is(value.get_type()) {
        return false;
    }
    if let (Ok(saved), Ok(value)) = (saved.cast_exact::<PyDict>(), value.cast_exact::<PyDict>()) {
        // In the same order, which is written, too.
        return saved.len() == value.len()
            && saved.iter().zip(value.iter()).all(|((name, text), (other, said))| {
                is_equal(&name, &other) && is_equal(&text, &said)
            });
    }
    saved.eq(value).unwrap_or(false)
}
