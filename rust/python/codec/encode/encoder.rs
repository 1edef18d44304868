//! Encodes Python objects, token by token. Exact types only: what is not listed here is refused, so that
//! whatever comes back is what went in.

use super::refusal::{Refusal, check_hashes};
use crate::codec::{DEPTH_MAX, LEN_MAX, Token, Writer};
use crate::python::codec::hashes::SAME_HASH_MAX;
use crate::python::codec::schema::{GENERATIONS, Schema};
use crate::python::runtime::interned::intern;
use crate::python::runtime::long_work::{Breath, LARGE};
use crate::python::runtime::stack::Floor;
use crate::python::runtime::text::{length, surrogatepass, utf8};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};
use std::ops::Range;

/// Writes one answer.
pub(super) struct Encoder<'s, 'py> {
    pub(super) schema: &'s Schema,
    pub(super) writer: Writer,
    /// The classes that were named so far.
    pub(super) classes: Vec<Bound<'py, PyType>>,
    /// `llmemo.codec.python_objects.Instances`, once one was met.
    pub(super) instances: Option<Bound<'py, PyAny>>,
    /// The text of the current generation, which its message's content mostly repeats.
    text: Option<Bound<'py, PyString>>,
    /// Where that is in what was written, if it is long.
    long_text: Option<Range<usize>>,
    at_once: bool,
    /// The length at which something is to be looked at: see [`Self::pause`].
    pause_at: usize,
    breath: Breath,
    floor: Floor,
}

impl<'s, 'py> Encoder<'s, 'py> {
    /// With nothing written. `at_once`: refuse what is large.
    pub(super) fn new(schema: &'s Schema, at_once: bool) -> Self {
        Self {
            schema,
            writer: Writer::new(),
            classes: Vec::new(),
            instances: None,
            text: None,
            long_text: None,
            at_once,
            pause_at: LARGE,
            breath: Breath::new(),
            floor: Floor::here(),
        }
    }

    /// Writes a whole answer.
    pub(super) fn put_generations(
        &mut self,
        generations: &Bound<'py, PyAny>,
    ) -> Result<(), Refusal> {
        const NOT_GENERATIONS: Refusal = Refusal::Reason("not_generations");
        let items: Vec<Bound<'py, PyAny>> = if let Ok(list) = generations.cast::<PyList>() {
            list.iter().collect()
        } else if let Ok(tuple) = generations.cast::<PyTuple>() {
            tuple.iter().collect()
        } else {
            return Err(NOT_GENERATIONS);
        };
        if items.is_empty() {
            return Err(NOT_GENERATIONS);
        }
        self.writer.put(Token::List(items.len()));
        for item in &items {
            match self.schema.class_of(item) {
                Some(class) if GENERATIONS.contains(&class.number) => self.put(item, 1)?,
                _ if self.schema.is_generation(item) => self.put_other(item, 1)?,
                _ => return Err(NOT_GENERATIONS),
            }
        }
        Ok(())
    }

    /// Writes anything that can be stored.
    pub(super) fn put(&mut self, any: &Bound<'py, PyAny>, depth: usize) -> Result<(), Refusal> {
        if depth > DEPTH_MAX || self.floor.is_near() {
            return Err(Refusal::Reason("too_deep"));
        }
        if self.writer.len() > self.pause_at {
            self.pause(any.py())?;
        }
        if let Ok(text) = any.cast_exact::<PyString>() {
            self.put_str(text)?;
        } else if any.is_none() {
            self.writer.put(Token::None);
        } else if let Ok(dict) = any.cast_exact::<PyDict>() {
            if dict.len() > SAME_HASH_MAX {
                check_hashes(dict.len(), dict.keys().iter())?;
            }
            self.writer.put(Token::Dict(dict.len()));
            for (key, value) in dict {
                self.put(&key, depth + 1)?;
                self.put(&value, depth + 1)?;
            }
        } else if let Ok(list) = any.cast_exact::<PyList>() {
            self.writer.put(Token::List(list.len()));
            for item in list {
                self.put(&item, depth + 1)?;
            }
        } else if let Ok(boolean) = any.cast_exact::<PyBool>() {
            self.writer.put(Token::Bool(boolean.is_true()));
        } else if let Ok(int) = any.cast_exact::<PyInt>() {
            self.put_int(int)?;
        } else if let Ok(float) = any.cast_exact::<PyFloat>() {
            self.writer.put(Token::Float(float.value()));
        } else if let Some(class) = self.schema.class_of(any) {
            self.put_object(any, class, depth)?;
        } else if let Ok(tuple) = any.cast_exact::<PyTuple>() {
            self.writer.put(Token::Tuple(tuple.len()));
            for item in tuple {
                self.put(&item, depth + 1)?;
            }
        } else if let Ok(bytes) = any.cast_exact::<PyBytes>() {
            self.writer.put(Token::Bytes(bytes.as_bytes()));
        } else if any.get_type().is(&self.schema.text_accessor) {
            let text = any.cast::<PyString>().map_err(PyErr::from)?;
            (self.text, self.long_text) = (None, None);
            self.writer.put(Token::Text);
            let start = self.writer.len();
            self.put_str(text)?;
            if length(text) > LARGE {
                self.long_text = Some(start..self.writer.len());
            } else {
                self.text = Some(text.clone());
            }
        } else {
            self.put_other(any, depth)?;
        }
        Ok(())
    }

    /// What is to be looked at as a value grows.
    #[cold]
    #[inline(never)]
    fn pause(&mut self, py: Python<'py>) -> Result<(), Refusal> {
        const STEP: usize = 16 * 1024;
        // Here, since a list that holds itself twice, and so on, has no end that memory could hold.
        if self.writer.len() > LEN_MAX {
            return Err(Refusal::Reason("too_large"));
        }
        if self.at_once {
            return Err(Refusal::Large);
        }
        self.pause_at = LEN_MAX.min(self.writer.len() + STEP);
        self.breath.take(py);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn put_long_str(&mut self, text: &Bound<'py, PyString>) -> Result<(), Refusal> {
        if self.writer.len() + length(text) > LEN_MAX {
            return Err(Refusal::Reason("too_large"));
        }
        if self.at_once {
            return Err(Refusal::Large);
        }
        let (utf8, has_surrogates) = utf8(text)?;
        let (writer, known) = (&mut self.writer, &self.long_text);
        text.py().detach(|| {
            let token =
                if has_surrogates { Token::StrSurrogates(&utf8) } else { Token::Str(&utf8) };
            let start = writer.len();
            writer.put(token);
            if known.clone().is_some_and(|known| writer.repeats(known, start)) {
                writer.take_back(start);
                writer.put(Token::SameText);
            }
            drop(utf8);
        });
        Ok(())
    }

    pub(super) fn put_str(&mut self, text: &Bound<'py, PyString>) -> Result<(), Refusal> {
        if length(text) > LARGE {
            return self.put_long_str(text);
        }
        let Ok(utf8) = text.to_str() else {
            let bytes = surrogatepass(text)?;
            self.writer.put(Token::StrSurrogates(bytes.as_bytes()));
            return Ok(());
        };
        let is_text = |known: &Bound<'py, PyString>| known.to_str().is_ok_and(|it| it == utf8);
        self.writer.put(if let Some(word) = self.schema.number(utf8) {
            Token::Word(word)
        } else if self.text.as_ref().is_some_and(is_text) {
            Token::SameText
        } else {
            Token::Str(utf8.as_bytes())
        });
        Ok(())
    }

    fn put_int(&mut self, int: &Bound<'py, PyInt>) -> Result<(), Refusal> {
        if let Ok(small) = int.extract::<i64>() {
            self.writer.put(Token::Int(small));
            return Ok(());
        }
        let py = int.py();
        let bits: usize = int.call_method0(intern!(py, "bit_length"))?.extract()?;
        let signed = PyDict::new(py);
        signed.set_item("signed", true)?;
        let bytes = int.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&signed))?;
        let bytes = bytes.cast_into::<PyBytes>().map_err(PyErr::from)?;
        self.writer.put(Token::BigInt(bytes.as_bytes()));
        Ok(())
    }
}
