//! Generations to bytes, and bytes to fresh generations. Exact types only: what is not listed
//! here is refused, so that whatever comes back is what went in.

use super::model::str_instance;
use super::schema::{Class, Default, GENERATIONS, Schema};
use super::{ValueDamaged, ValueRefused};
use crate::key::Key;
use crate::value::{DEPTH_MAX, Damage, Reader, Token, Writer, open};
use pyo3::exceptions::PyMemoryError;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple};
use pyo3::{PyTypeInfo, intern, prelude::*};

/// Why something cannot be stored.
enum Refusal {
    Reason(&'static str),
    Type(String),
    Python(PyErr),
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Reason(reason) => ValueRefused::new_err(reason),
            Refusal::Type(name) => ValueRefused::new_err(format!("type {name}")),
            Refusal::Python(error) => error,
        }
    }
}

/// The bytes of `generations`, as the answer to the request of `key` (32 bytes).
#[pyfunction]
pub fn encode(generations: &Bound<'_, PyAny>, key: [u8; 32]) -> PyResult<Py<PyBytes>> {
    let py = generations.py();
    let mut encoder = Encoder { schema: Schema::get(py)?, writer: Writer::new(), text: None };
    encoder.put_generations(generations)?;
    let bytes = encoder.writer.seal(&Key(key)).ok_or(Refusal::Reason("too_large"))?;
    Ok(PyBytes::new(py, &bytes).unbind())
}

/// Fresh generations from the bytes that [`encode`] made for the same key.
#[pyfunction]
pub fn decode(py: Python<'_>, value: &[u8], key: [u8; 32]) -> PyResult<Py<PyList>> {
    let payload = open(value, &Key(key)).map_err(|damage| ValueDamaged::new_err(damage.name()))?;
    decode_payload(py, payload)
}

/// Fresh generations from a payload whose checksum was verified.
pub fn decode_payload(py: Python<'_>, payload: &[u8]) -> PyResult<Py<PyList>> {
    let schema = Schema::get(py)?;
    let mut decoder = Decoder { py, schema, reader: Reader::new(payload), text: None };
    let damaged = |Failure(error)| match error {
        // Out of memory is not damage. Anything else: the bytes do not fit the classes.
        Some(error) if error.is_instance_of::<PyMemoryError>(py) => *error,
        _ => ValueDamaged::new_err(Damage::Malformed.name()),
    };
    decoder.generations().map_err(damaged).map(Bound::unbind)
}

struct Encoder<'s, 'py> {
    schema: &'s Schema,
    writer: Writer,
    /// The text of the current generation, which its message's content mostly repeats.
    text: Option<Bound<'py, PyString>>,
}

impl<'py> Encoder<'_, 'py> {
    fn put_generations(&mut self, generations: &Bound<'py, PyAny>) -> Result<(), Refusal> {
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
                _ if item.hasattr("generation_info")? => return Err(refused_type(item)),
                _ => return Err(NOT_GENERATIONS),
            }
        }
        Ok(())
    }

    fn put(&mut self, any: &Bound<'py, PyAny>, depth: usize) -> Result<(), Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::Reason("too_deep"));
        }
        if let Ok(text) = any.cast_exact::<PyString>() {
            self.put_str(text)?;
        } else if any.is_none() {
            self.writer.put(Token::None);
        } else if let Ok(dict) = any.cast_exact::<PyDict>() {
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
            // `str(x)` of a subclass runs its `__str__`; a slice of all of it does not.
            let plain = text.call_method1(intern!(any.py(), "__getitem__"), (full_slice(any),))?;
            let plain = plain.cast_into::<PyString>().map_err(PyErr::from)?;
            self.text = None;
            self.writer.put(Token::Text);
            self.put_str(&plain)?;
            self.text = Some(plain);
        } else {
            return Err(refused_type(any));
        }
        Ok(())
    }

    fn put_str(&mut self, text: &Bound<'py, PyString>) -> Result<(), Refusal> {
        let Ok(utf8) = text.to_str() else {
            let bytes = text.call_method1(
                intern!(text.py(), "encode"),
                (intern!(text.py(), "utf-8"), intern!(text.py(), "surrogatepass")),
            )?;
            let bytes = bytes.cast_into::<PyBytes>().map_err(PyErr::from)?;
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

    /// Fields, then a mask of those that were set, the extra fields, and further set names.
    fn put_object(
        &mut self,
        object: &Bound<'py, PyAny>,
        class: &Class,
        depth: usize,
    ) -> Result<(), Refusal> {
        let py = object.py();
        let incomplete = |_: PyErr| Refusal::Reason("incomplete_object");
        let attribute = |name: &Bound<'py, PyString>| object.getattr(name).map_err(incomplete);
        let fields = attribute(intern!(py, "__dict__"))?;
        let fields = fields.cast_exact::<PyDict>().map_err(|_| refused_type(object))?;
        let set = attribute(intern!(py, "__pydantic_fields_set__"))?;
        let set = set.cast_exact::<PySet>().map_err(|_| refused_type(object))?;
        if !attribute(intern!(py, "__pydantic_private__"))?.is_none() || fields.len() > 63 {
            return Err(Refusal::Reason("private_attributes"));
        }
        self.writer.put(Token::Object(class.number, fields.len()));
        let (mut mask, mut known) = (0_i64, 0);
        for (at, (name, value)) in fields.iter().enumerate() {
            let name = name.cast_exact::<PyString>().map_err(|_| refused_type(object))?;
            if !class.template.bind(py).contains(name)? {
                return Err(Refusal::Reason("unexpected_attribute"));
            }
            self.put_str(name)?;
            self.put(&value, depth + 1)?;
            if set.contains(name)? {
                mask |= 1 << at;
                known += 1;
            }
        }
        self.writer.put(Token::Int(mask));
        self.put(&attribute(intern!(py, "__pydantic_extra__"))?, depth + 1)?;
        let others: Vec<Bound<'py, PyAny>> = if known == set.len() {
            Vec::new()
        } else {
            let is_other = |name: &Bound<'py, PyAny>| !fields.contains(name).unwrap_or(false);
            set.iter().filter(is_other).collect()
        };
        self.writer.put(Token::List(others.len()));
        for name in &others {
            self.put(name, depth + 1)?;
        }
        Ok(())
    }
}

fn refused_type(any: &Bound<'_, PyAny>) -> Refusal {
    let class = any.get_type();
    Refusal::Type(class.fully_qualified_name().map_or_else(|_| "?".into(), |name| name.to_string()))
}

fn full_slice<'py>(any: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    pyo3::types::PySlice::full(any.py()).into_any()
}

/// Why decoding ended: a Python exception, or (None) bytes that break the format's rules. One
/// word, so that results travel in registers.
struct Failure(Option<Box<PyErr>>);

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

const MALFORMED: Failure = Failure(None);

struct Decoder<'a, 'py> {
    py: Python<'py>,
    schema: &'a Schema,
    reader: Reader<'a>,
    text: Option<Bound<'py, PyString>>,
}

impl<'py> Decoder<'_, 'py> {
    fn generations(&mut self) -> Result<Bound<'py, PyList>, Failure> {
        let Token::List(len) = self.reader.next()? else { return Err(MALFORMED) };
        let list = PyList::empty(self.py);
        for _ in 0..len {
            match self.reader.next()? {
                Token::Object(number, fields) if GENERATIONS.contains(&number) => {
                    list.append(self.object(number, fields, 1)?)?;
                }
                _ => return Err(MALFORMED),
            }
        }
        if len == 0 || !self.reader.is_done() {
            return Err(MALFORMED);
        }
        Ok(list)
    }

    fn any(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
        if depth > DEPTH_MAX {
            return Err(MALFORMED);
        }
        if let Some(word) = self.reader.next_word() {
            return self.word(word);
        }
        let token = self.reader.next()?;
        self.token(token, depth)
    }

    fn word(&self, word: u8) -> Result<Bound<'py, PyAny>, Failure> {
        Ok(self.schema.word(word).ok_or(MALFORMED)?.bind(self.py).clone().into_any())
    }

    /// What a token, with the trees that follow it, stands for.
    fn token(&mut self, token: Token<'_>, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
        let py = self.py;
        Ok(match token {
            Token::Word(word) => self.word(word)?,
            Token::Str(utf8) => self.schema.strings.get(py, utf8)?.into_any(),
            Token::None => py.None().into_bound(py),
            Token::Bool(boolean) => PyBool::new(py, boolean).to_owned().into_any(),
            Token::Int(int) => int.into_pyobject(py).map_err(PyErr::from)?.into_any(),
            Token::Float(float) => PyFloat::new(py, float).into_any(),
            Token::Dict(len) => {
                let dict = PyDict::new(py);
                for _ in 0..len {
                    dict.set_item(self.any(depth + 1)?, self.any(depth + 1)?)?;
                }
                dict.into_any()
            }
            Token::List(len) => {
                let list = PyList::empty(py);
                for _ in 0..len {
                    list.append(self.any(depth + 1)?)?;
                }
                list.into_any()
            }
            Token::Tuple(len) => {
                let mut items = Vec::new();
                for _ in 0..len {
                    items.push(self.any(depth + 1)?);
                }
                PyTuple::new(py, items)?.into_any()
            }
            Token::Object(number, fields) => self.object(number, fields, depth)?,
            Token::SameText => self.text.clone().ok_or(MALFORMED)?.into_any(),
            Token::Text => {
                let text = self.any(depth + 1)?.cast_into_exact::<PyString>();
                let text = text.map_err(PyErr::from)?;
                self.text = Some(text.clone());
                str_instance(self.schema.text_accessor.bind(py), &text)?
            }
            Token::StrSurrogates(bytes) => {
                let decode = PyBytes::new(py, bytes).into_any();
                decode.call_method1("decode", ("utf-8", "surrogatepass"))?
            }
            Token::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Token::BigInt(bytes) => {
                let signed = PyDict::new(py);
                signed.set_item("signed", true)?;
                let bytes = PyBytes::new(py, bytes);
                PyInt::type_object(py).call_method(
                    "from_bytes",
                    (bytes, "little"),
                    Some(&signed),
                )?
            }
        })
    }

    fn object(
        &mut self,
        number: u8,
        len: usize,
        depth: usize,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let class = self.schema.class(number).ok_or(MALFORMED)?;
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
        for _ in 0..others {
            set.add(self.any(depth + 1)?)?;
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
                    let value = self.any(depth + 1)?;
                    if !value.is(&field.initial) {
                        dict.set_item(&field.name, value)?;
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
                return Err(MALFORMED);
            }
            dict.set_item(&name, self.any(depth + 1)?)?;
            names.get_or_insert_default().push(name);
        }
        if dict.len() < class.fields.len() {
            complete(&dict, class)?;
        }
        Ok((dict, names))
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
