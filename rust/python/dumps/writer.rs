//! Writes what `json.dumps` would write of the tree that LangChain makes of a list.

use super::langchain::LangChain;
use super::stop::{Stop, UNKNOWN};
use crate::codec::{DEPTH_MAX, push_string};
use crate::python::codec::schema::Schema;
use crate::python::runtime::dict_entries::Entries;
use crate::python::runtime::interned::intern;
use crate::python::runtime::stack::Floor;
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::io::Write as _;

/// Writes one list.
pub(super) struct Writer<'s, 'py> {
    pub(super) py: Python<'py>,
    schema: &'s Schema,
    pub(super) langchain: &'s LangChain,
    /// Whether dicts that look like LangChain's own are marked as plain ones (core 1.2.5 and on).
    escapes: bool,
    /// Inside of what goes to `json.dumps` as it is.
    is_raw: bool,
    pub(super) out: Vec<u8>,
    floor: Floor,
}

impl<'s, 'py> Writer<'s, 'py> {
    pub(super) fn new(
        py: Python<'py>,
        schema: &'s Schema,
        langchain: &'s LangChain,
        escapes: bool,
    ) -> Self {
        let (is_raw, out, floor) = (false, Vec::new(), Floor::here());
        Self { py, schema, langchain, escapes, is_raw, out, floor }
    }

    pub(super) fn put(&mut self, any: &Bound<'py, PyAny>, depth: usize) -> Result<(), Stop> {
        // Circular structures end here: LangChain says what it thinks of them.
        if depth > DEPTH_MAX || self.floor.is_near() {
            return Err(UNKNOWN);
        }
        if let Ok(text) = any.cast_exact::<PyString>() {
            self.put_text(text)?;
        } else if any.is_none() {
            self.push(b"null");
        } else if let Ok(dict) = any.cast_exact::<PyDict>() {
            self.put_dict(dict, depth)?;
        } else if let Ok(list) = any.cast_exact::<PyList>() {
            self.put_items(list.iter(), depth)?;
        } else if let Ok(boolean) = any.cast_exact::<PyBool>() {
            self.push(if boolean.is_true() { b"true" } else { b"false" });
        } else if let Ok(int) = any.cast_exact::<PyInt>() {
            self.put_int(int)?;
        } else if let Ok(float) = any.cast_exact::<PyFloat>() {
            self.put_float(float)?;
        } else if let Ok(tuple) = any.cast_exact::<PyTuple>() {
            self.put_items(tuple.iter(), depth)?;
        } else if any.get_type().is(&self.schema.text_accessor) {
            self.put_text(any.cast().map_err(PyErr::from)?)?;
        } else if self.is_raw {
            return Err(UNKNOWN);
        } else if let Some(class) = self.schema.class_of(any) {
            self.put_object(any, class, depth)?;
        } else if any.is_instance(self.langchain.not_foreign.bind(self.py))? {
            return Err(UNKNOWN);
        } else {
            self.put_not_implemented(any, depth)?;
        }
        Ok(())
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn put_text(&mut self, text: &Bound<'py, PyString>) -> Result<(), Stop> {
        push_string(&mut self.out, &bytes_of(text)?);
        Ok(())
    }

    fn put_int(&mut self, int: &Bound<'py, PyInt>) -> Result<(), Stop> {
        if let Ok(small) = int.extract::<i64>() {
            // A Vec takes everything.
            let _ = write!(self.out, "{small}");
        } else {
            // Fails beyond 4,300 digits, as `json.dumps` does.
            let digits = int.repr()?;
            self.push(&bytes_of(&digits)?);
        }
        Ok(())
    }

    fn put_float(&mut self, float: &Bound<'py, PyFloat>) -> Result<(), Stop> {
        let value = float.value();
        if value.is_finite() {
            let digits = float.repr()?;
            self.push(&bytes_of(&digits)?);
        } else if value.is_nan() {
            self.push(b"NaN");
        } else {
            self.push(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
        }
        Ok(())
    }

    fn put_items(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> Result<(), Stop> {
        self.out.push(b'[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.push(b", ");
            }
            self.put(&item, depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn put_dict(&mut self, dict: &Bound<'py, PyDict>, depth: usize) -> Result<(), Stop> {
        if self.escapes && !self.is_raw && is_like_langchains(dict)? {
            self.push(br#"{"__lc_escaped__": "#);
            self.is_raw = true;
            self.put_dict(dict, depth)?;
            self.is_raw = false;
            self.out.push(b'}');
            return Ok(());
        }
        let start = self.out.len();
        self.out.push(b'{');
        for (at, entry) in Entries::of(dict).enumerate() {
            let (key, value) = entry?;
            if at > 0 {
                self.push(b", ");
            }
            if !self.put_key(&key)? {
                if self.is_raw || !self.escapes {
                    // `json.dumps` raises.
                    return Err(UNKNOWN);
                }
                self.out.truncate(start);
                return self.put_not_implemented(dict, depth);
            }
            self.push(b": ");
            self.put(&value, depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// False for a key that JSON does not have.
    fn put_key(&mut self, key: &Bound<'py, PyAny>) -> Result<bool, Stop> {
        if key.is_exact_instance_of::<PyString>() || key.get_type().is(&self.schema.text_accessor) {
            self.put_text(key.cast().map_err(PyErr::from)?)?;
            return Ok(true);
        }
        self.out.push(b'"');
        if key.is_none() {
            self.push(b"null");
        } else if let Ok(boolean) = key.cast_exact::<PyBool>() {
            self.push(if boolean.is_true() { b"true" } else { b"false" });
        } else if let Ok(int) = key.cast_exact::<PyInt>() {
            self.put_int(int)?;
        } else if let Ok(float) = key.cast_exact::<PyFloat>() {
            self.put_float(float)?;
        } else if key.is_instance(self.langchain.keys.bind(self.py))? {
            return Err(UNKNOWN);
        } else {
            return Ok(false);
        }
        self.out.push(b'"');
        Ok(true)
    }

    /// What LangChain says of an object that JSON cannot: its type and its `repr`.
    fn put_not_implemented(&mut self, any: &Bound<'py, PyAny>, depth: usize) -> Result<(), Stop> {
        let says = self.langchain.not_implemented.bind(self.py).call1((any,))?;
        self.is_raw = true;
        self.put(&says, depth + 1)?;
        self.is_raw = false;
        Ok(())
    }
}

/// `langchain_core.load._validation._needs_escaping`.
fn is_like_langchains(dict: &Bound<'_, PyDict>) -> Result<bool, Stop> {
    let py = dict.py();
    if !dict.contains(intern!(py, "lc"))? {
        return Ok(dict.len() == 1 && dict.contains(intern!(py, "__lc_escaped__"))?);
    }
    // Some versions let what looks like a secret pass unmarked, in some places.
    let kind = dict.get_item(intern!(py, "type"))?;
    match kind {
        Some(kind) if kind.eq(intern!(py, "secret"))? => Err(UNKNOWN),
        _ => Ok(true),
    }
}
