//! Decodes bytes, token by token.

use crate::codec::{DEPTH_MAX, Damage, Reader, Token};
use crate::python::codec::fresh_ids::FreshIds;
use crate::python::codec::hashes::SAME_HASH_MAX;
use crate::python::codec::instances::str_instance;
use crate::python::codec::schema::{GENERATIONS, Schema};
use crate::python::errors::ValueUnknown;
use crate::python::runtime::long_work::Breath;
use crate::python::runtime::stack::Floor;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTypeInfo, prelude::*};

/// Bytes that are read between two looks at the time.
const STEP: usize = 16 * 1024;

/// The depth at which a generation's message lies.
pub(super) const MESSAGE: usize = 2;

/// Why decoding ended: a Python exception, or (None) bytes that break the format's rules. One
/// word, so that results travel in registers.
pub(super) struct Failure(Option<Box<PyErr>>);

impl Failure {
    /// The Python exception, if it was one.
    pub(super) fn into_error(self) -> Option<Box<PyErr>> {
        self.0
    }
}

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

/// Bytes that break the format's rules.
pub(super) const MALFORMED: Failure = Failure(None);

/// What only another version of this code, or of langchain-core, can know.
#[cold]
pub(super) fn unknown(reason: &'static str) -> Failure {
    ValueUnknown::new_err(reason).into()
}

/// Reads one answer.
pub(super) struct Decoder<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) schema: &'a Schema,
    /// All that there is to read.
    pub(super) payload: &'a [u8],
    pub(super) reader: Reader<'a>,
    text: Option<Bound<'py, PyString>>,
    /// None: messages keep their ids.
    pub(super) ids: Option<FreshIds>,
    /// The classes that will be named, if that is known.
    pub(super) given: &'a [Bound<'py, PyType>],
    /// The classes that were named so far, with their kinds.
    pub(super) classes: Vec<(u8, Bound<'py, PyType>)>,
    /// `llmemo.codec.python_objects.Instances`, once one was met.
    pub(super) instances: Option<Bound<'py, PyAny>>,
    /// Number of bytes left at which other threads may have the GIL.
    pause_at: usize,
    breath: Breath,
    floor: Floor,
}

impl<'a, 'py> Decoder<'a, 'py> {
    /// Reads a payload. `given`: the classes that it names, if that is known.
    pub(super) fn new(
        py: Python<'py>,
        schema: &'a Schema,
        payload: &'a [u8],
        given: &'a [Bound<'py, PyType>],
        fresh_ids: bool,
    ) -> Self {
        Self {
            py,
            schema,
            payload,
            reader: Reader::new(payload),
            text: None,
            ids: fresh_ids.then(FreshIds::new),
            given,
            classes: Vec::new(),
            instances: None,
            pause_at: payload.len().saturating_sub(STEP),
            breath: Breath::new(),
            floor: Floor::here(),
        }
    }

    /// A whole answer.
    pub(super) fn generations(&mut self) -> Result<Bound<'py, PyList>, Failure> {
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

    /// Whether all was read.
    pub(super) fn is_done(&self) -> bool {
        self.reader.is_done()
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
    pub(super) fn any(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
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

    pub(super) fn word(&self, word: u8) -> Result<Bound<'py, PyAny>, Failure> {
        Ok(self.lent(word)?.bind(self.py).clone().into_any())
    }

    pub(super) fn lent(&self, word: u8) -> Result<&'a Py<PyString>, Failure> {
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
    pub(super) fn set(
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
}
