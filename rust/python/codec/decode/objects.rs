//! Decodes LangChain's own objects: fields, which of them were set, and fresh message ids.

use super::decoder::{Decoder, Failure, MALFORMED, MESSAGE, unknown};
use crate::codec::Token;
use crate::python::codec::schema::{Class, Default, ID};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString};

impl<'py> Decoder<'_, 'py> {
    pub(super) fn object(
        &mut self,
        number: u8,
        len: usize,
        depth: usize,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let class = self.schema.class(number).ok_or_else(|| unknown("unknown_class"))?;
        let names = if len == class.fields.len() { None } else { Some(Vec::new()) };
        let (fields, names) = self.fields(class, len, names, depth)?;
        let Token::Int(mask) = self.reader.next()? else { return Err(MALFORMED) };
        let set = match names {
            None => class.set_of(self.py, mask)?,
            Some(names) => {
                let set = PySet::empty(self.py)?;
                for (at, name) in names.into_iter().enumerate() {
                    if mask >> at.min(63) & 1 == 1 {
                        set.add(name)?;
                    }
                }
                set
            }
        };
        let extra = self.any(depth + 1)?;
        let Token::List(others) = self.reader.next()? else { return Err(MALFORMED) };
        if others > 0 {
            self.items(&set, others, depth)?;
        }
        Ok(self.schema.state.instance(class.python.bind(self.py), &fields, &set, &extra)?)
    }

    /// The fields of an object. `names`: None for as long as they are all fields of the class, in
    /// its order (the usual case: the class's template then needs no insertion, only values);
    /// otherwise those that were read.
    #[expect(clippy::type_complexity, reason = "one caller, next door")]
    fn fields(
        &mut self,
        class: &Class,
        len: usize,
        mut names: Option<Vec<Bound<'py, PyString>>>,
        depth: usize,
    ) -> Result<(Bound<'py, PyDict>, Option<Vec<Bound<'py, PyString>>>), Failure> {
        let py = self.py;
        let template = class.template.bind(py);
        let mut dict = if names.is_none() { template.copy()? } else { PyDict::new(py) };
        for at in 0..len {
            let word = self.reader.next_word();
            if names.is_none() {
                let field = &class.fields[at];
                if word.is_some() && field.word == word {
                    match self.fresh_id(word, &dict, depth)? {
                        Some(id) => dict.set_item(&field.name, id)?,
                        None => self.set(&dict, &field.name, Some(&field.initial), depth)?,
                    }
                    continue;
                }
                // Another order: begin anew with what was read so far.
                let known = class.fields[..at].iter().map(|field| field.name.bind(py).clone());
                let read = std::mem::replace(&mut dict, PyDict::new(py));
                for name in known.clone() {
                    dict.set_item(&name, read.as_any().get_item(&name)?)?;
                }
                names = Some(known.collect());
            }
            let name = match word {
                Some(word) => self.word(word)?,
                None => self.any(depth + 1)?,
            };
            let name = name.cast_into_exact::<PyString>().map_err(PyErr::from)?;
            // A field of another langchain-core: we cannot know what it meant.
            if !template.contains(&name)? {
                return Err(unknown("unknown_field"));
            }
            match self.fresh_id(word, &dict, depth)? {
                Some(id) => dict.set_item(&name, id)?,
                None => dict.set_item(&name, self.any(depth + 1)?)?,
            }
            names.get_or_insert_default().push(name);
        }
        if dict.len() < class.fields.len() {
            complete(&dict, class)?;
        }
        Ok((dict, names))
    }

    /// Instead of the value of the field of this word, of an object at this depth: a fresh id, if
    /// it is one that is to be renewed. Otherwise nothing is read. `dict`: the fields before it.
    #[inline]
    fn fresh_id(
        &mut self,
        word: Option<u8>,
        dict: &Bound<'py, PyDict>,
        depth: usize,
    ) -> Result<Option<Bound<'py, PyString>>, Failure> {
        if depth == MESSAGE && word == Some(ID) { self.renewed(dict) } else { Ok(None) }
    }

    fn renewed(
        &mut self,
        dict: &Bound<'py, PyDict>,
    ) -> Result<Option<Bound<'py, PyString>>, Failure> {
        if let Some(ids) = &mut self.ids
            && let Some(id) = self.reader.peek_str()
            && let Some(new) = ids.renewed(id, dict)?
        {
            self.reader.next()?;
            return Ok(Some(PyString::from_bytes(self.py, new.as_bytes())?));
        }
        Ok(None)
    }
}

/// Gives the fields that the value lacks the defaults of the installed class.
fn complete(dict: &Bound<'_, PyDict>, class: &Class) -> Result<(), Failure> {
    for field in &class.fields {
        if !dict.contains(&field.name)? {
            match &field.default {
                Default::Required => return Err(MALFORMED),
                Default::Shared(value) => dict.set_item(&field.name, value)?,
                Default::Factory(factory) => {
                    dict.set_item(&field.name, factory.call0(dict.py())?)?;
                }
            }
        }
    }
    Ok(())
}
