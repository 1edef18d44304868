//! Bytes to fresh generations: what [`super::encode`] wrote, and nothing else.

use super::ids::FreshIds;
use super::long::{Breath, detached};
use super::model::str_instance;
use super::objects::SAME_HASH_MAX;
use super::schema::{Class, Default, GENERATIONS, ID, Schema};
use super::stack::Floor;
use super::{ValueDamaged, ValueUnknown, damage_error};
use crate::key::Key;
use crate::value::{DEPTH_MAX, Damage, Reader, Token, open};
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};
use pyo3::{PyTypeInfo, prelude::*};

/// Bytes that are read between two looks at the time.
const STEP: usize = 16 * 1024;

/// The depth at which a generation's message lies.
pub const MESSAGE: usize = 2;

/// Fresh generations from the bytes that [`encode`] made for the same key.
#[pyfunction]
#[pyo3(signature = (value, key, *, fresh_ids=false))]
pub fn decode(
    py: Python<'_>,
    value: &[u8],
    key: [u8; 32],
    fresh_ids: bool,
) -> PyResult<Py<PyList>> {
    let payload = detached(py, value.len(), || open(value, &Key(key))).map_err(damage_error)?;
    decode_payload(py, payload, fresh_ids)
}

/// Fresh generations from a payload whose checksum was verified.
pub fn decode_payload(py: Python<'_>, payload: &[u8], fresh_ids: bool) -> PyResult<Py<PyList>> {
    decode_with(py, payload, &[], fresh_ids)
}

/// As `decode_payload`; the classes that the value names are these, and need not be found.
pub fn decode_with<'py>(
    py: Python<'py>,
    payload: &[u8],
    given: &[Bound<'py, PyType>],
    fresh_ids: bool,
) -> PyResult<Py<PyList>> {
    let (schema, reader) = (Schema::get(py)?, Reader::new(payload));
    let ids = fresh_ids.then(FreshIds::new);
    let mut decoder = Decoder {
        py,
        schema,
        payload,
        reader,
        text: None,
        ids,
        given,
        classes: Vec::new(),
        instances: None,
        pause_at: payload.len().saturating_sub(STEP),
        breath: Breath::new(),
        floor: Floor::here(),
    };
    let damaged = |Failure(error)| match error {
        // Out of memory is not damage, nor is an interrupt. Any other error of Python's: the bytes
        // do not fit the classes.
        Some(error)
            if error.is_instance_of::<ValueUnknown>(py)
                || error.is_instance_of::<PyMemoryError>(py)
                || !error.is_instance_of::<PyException>(py) =>
        {
            *error
        }
        _ => ValueDamaged::new_err(Damage::Malformed.name()),
    };
    decoder.generations().map_err(damaged).map(Bound::unbind)
}

/// Why decoding ended: a Python exception, or (None) bytes that break the format's rules. One
/// word, so that results travel in registers.
pub struct Failure(Option<Box<PyErr>>);

impl From<Damage> for Failure {
    fn from(_: Damage) -> Self {
        MALFORMED
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self(Some(Box::new(error)))
    }
}

pub const MALFORMED: Failure = Failure(None);

/// What only another version of this code, or of langchain-core, can know.
#[cold]
fn unknown(reason: &'static str) -> Failure {
    ValueUnknown::new_err(reason).into()
}

pub struct Decoder<'a, 'py> {
    pub py: Python<'py>,
    pub schema: &'a Schema,
    /// All that there is to read.
    pub payload: &'a [u8],
    pub reader: Reader<'a>,
    text: Option<Bound<'py, PyString>>,
    /// None: messages keep their ids.
    pub ids: Option<FreshIds>,
    /// The classes that will be named, if that is known.
    pub given: &'a [Bound<'py, PyType>],
    /// The classes that were named so far, with their kinds.
    pub classes: Vec<(u8, Bound<'py, PyType>)>,
    /// `llmemo.codec.python_objects.Instances`, once one was met.
    pub instances: Option<Bound<'py, PyAny>>,
    /// When so many bytes are left, other threads may have the GIL.
    pause_at: usize,
    breath: Breath,
    floor: Floor,
}

impl<'a, 'py> Decoder<'a, 'py> {
    fn generations(&mut self) -> Result<Bound<'py, PyList>, Failure> {
        let list = match self.reader.next()? {
            Token::List(1) => PyList::new(self.py, [self.generation()?])?,
            Token::List(len) if len > 0 => {
                let list = PyList::empty(self.py);
                for _ in 0..len {
                    list.append(self.generation()?)?;
                }
                list
            }
            _ => return Err(MALFORMED),
        };
        if self.reader.is_done() { Ok(list) } else { Err(MALFORMED) }
    }

    fn generation(&mut self) -> Result<Bound<'py, PyAny>, Failure> {
        match self.reader.next()? {
            Token::Object(number, fields) if GENERATIONS.contains(&number) => {
                self.object(number, fields, 1)
            }
            Token::Rare(tag) => {
                let generation = self.other(tag, 1)?;
                let is_one = self.schema.is_generation(&generation);
                if is_one { Ok(generation) } else { Err(MALFORMED) }
            }
            _ => Err(MALFORMED),
        }
    }

    /// What the next token, with the trees that follow it, stands for.
    pub fn any(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
        if depth > DEPTH_MAX {
            return Err(MALFORMED);
        }
        let py = self.py;
        Ok(match self.reader.next()? {
            Token::Word(word) => self.word(word)?,
            Token::Str(utf8) => self.schema.strings.get(py, utf8)?.into_any(),
            Token::None => py.None().into_bound(py),
            Token::Bool(boolean) => PyBool::new(py, boolean).to_owned().into_any(),
            Token::Int(int) => int.into_pyobject(py).map_err(PyErr::from)?.into_any(),
            Token::Float(float) => PyFloat::new(py, float).into_any(),
            Token::Dict(len) if len > SAME_HASH_MAX => {
                self.enter()?;
                self.large_dict(len, depth)?
            }
            Token::Dict(len) => {
                self.enter()?;
                self.dict(len, depth)?.into_any()
            }
            // Appending would reserve room for three more.
            Token::List(1) => {
                self.enter()?;
                PyList::new(py, [self.any(depth + 1)?])?.into_any()
            }
            Token::List(len) => {
                self.enter()?;
                let list = PyList::empty(py);
                for _ in 0..len {
                    list.append(self.any(depth + 1)?)?;
                    if self.reader.rest().len() < self.pause_at {
                        self.pause();
                    }
                }
                list.into_any()
            }
            Token::Tuple(len) => {
                self.enter()?;
                let mut items = Vec::new();
                for _ in 0..len {
                    items.push(self.any(depth + 1)?);
                }
                PyTuple::new(py, items)?.into_any()
            }
            Token::Object(number, fields) => {
                self.enter()?;
                self.object(number, fields, depth)?
            }
            Token::SameText => self.text.clone().ok_or(MALFORMED)?.into_any(),
            Token::Text => {
                let text = self.string()?;
                self.text = Some(text.clone());
                str_instance(self.schema.text_accessor.bind(py), &text)?
            }
            Token::StrSurrogates(bytes) => self.surrogates(bytes)?,
            Token::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Token::BigInt(bytes) => self.big_int(bytes)?,
            Token::Rare(tag) => {
                self.enter()?;
                self.other(tag, depth)?
            }
            _ => return Err(MALFORMED),
        })
    }

    /// Another level begins.
    #[inline(never)]
    fn enter(&mut self) -> Result<(), Failure> {
        if self.reader.rest().len() < self.pause_at {
            self.pause();
        }
        // A thread with more stack can read it.
        if self.floor.is_near() { Err(unknown("too_deep")) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn pause(&mut self) {
        self.pause_at = self.reader.rest().len().saturating_sub(STEP);
        self.breath.take(self.py);
    }

    fn word(&self, word: u8) -> Result<Bound<'py, PyAny>, Failure> {
        Ok(self.lent(word)?.bind(self.py).clone().into_any())
    }

    pub fn lent(&self, word: u8) -> Result<&'a Py<PyString>, Failure> {
        self.schema.word(word).ok_or_else(|| unknown("unknown_word"))
    }

    #[cold]
    fn big_int(&self, bytes: &[u8]) -> Result<Bound<'py, PyAny>, Failure> {
        let signed = PyDict::new(self.py);
        signed.set_item("signed", true)?;
        let arguments = (PyBytes::new(self.py, bytes), "little");
        Ok(PyInt::type_object(self.py).call_method("from_bytes", arguments, Some(&signed))?)
    }

    #[cold]
    fn surrogates(&self, bytes: &[u8]) -> Result<Bound<'py, PyAny>, Failure> {
        let decode = PyBytes::new(self.py, bytes).into_any();
        Ok(decode.call_method1("decode", ("utf-8", "surrogatepass"))?)
    }

    /// A string and nothing else: this must not recurse.
    fn string(&mut self) -> Result<Bound<'py, PyString>, Failure> {
        let text = match self.reader.next()? {
            Token::Str(utf8) => return Ok(self.schema.strings.get(self.py, utf8)?),
            Token::Word(word) => self.word(word)?,
            Token::StrSurrogates(bytes) => self.surrogates(bytes)?,
            _ => return Err(MALFORMED),
        };
        Ok(text.cast_into_exact().map_err(PyErr::from)?)
    }

    /// Reads the value of a key that is a word. `initial`: what the dict has there already.
    pub fn set(
        &mut self,
        dict: &Bound<'py, PyDict>,
        key: &Py<PyString>,
        initial: Option<&Py<PyAny>>,
        depth: usize,
    ) -> Result<(), Failure> {
        if let Some(word) = self.reader.next_word() {
            // Lent, not cloned.
            let value = self.lent(word)?;
            if !initial.is_some_and(|it| value.is(it)) {
                dict.set_item(key, value)?;
            }
        } else {
            let value = self.any(depth + 1)?;
            if !initial.is_some_and(|it| value.is(it)) {
                dict.set_item(key, value)?;
            }
        }
        Ok(())
    }

    fn object(
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
