//! Takes answers apart for people who look at a store: the same bytes as [`super::decode`] reads, as plain
//! data. No class is looked for, none of LangChain's either, and nothing is imported or made but what Python itself has.

use super::schema::{CLASSES, WORDS};
use crate::codec::{CLASSES_MAX, DEPTH_MAX, Damage, Reader, Token, open};
use crate::python::errors::{ValueUnknown, damage_error};
use crate::python::runtime::long_work::detached;
use crate::python::runtime::stack::Floor;
use crate::request::Key;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{PyTypeInfo, prelude::*};

/// What plain values are called, by their numbers.
const PLAIN: &[&str] = &[
    "datetime.date",
    "datetime.time",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "zoneinfo.ZoneInfo",
    "pydantic_core.TzInfo",
    "decimal.Decimal",
    "uuid.UUID",
];

/// See `_core.pyi`.
#[pyfunction]
pub fn take_apart<'py>(
    py: Python<'py>,
    value: &[u8],
    key: [u8; 32],
    make: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let payload = detached(py, value.len(), || open(value, &Key(key))).map_err(damage_error)?;
    let reader = Reader::new(payload);
    let mut parts = Parts { reader, make, text: None, classes: Vec::new(), floor: Floor::here() };
    let Token::List(len) = parts.next()? else { return Err(malformed()) };
    let answer = parts.list(py, len, 0)?;
    if len > 0 && parts.reader.is_done() { Ok(answer) } else { Err(malformed()) }
}

fn malformed() -> PyErr {
    damage_error(Damage::Malformed)
}

/// A text, whichever token it has.
fn said<'py>(py: Python<'py>, token: Token<'_>) -> PyResult<Bound<'py, PyAny>> {
    match token {
        Token::Word(word) => {
            let word = WORDS.get(usize::from(word));
            let word = word.ok_or_else(|| ValueUnknown::new_err("unknown_word"))?;
            Ok(PyString::new(py, word).into_any())
        }
        Token::Str(utf8) => {
            let text = std::str::from_utf8(utf8).map_err(|_| malformed())?;
            Ok(PyString::new(py, text).into_any())
        }
        Token::StrSurrogates(bytes) => {
            let bytes = PyBytes::new(py, bytes);
            bytes.call_method1("decode", ("utf-8", "surrogatepass")).map_err(|_| malformed())
        }
        _ => Err(malformed()),
    }
}

struct Parts<'a, 'py> {
    reader: Reader<'a>,
    make: &'a Bound<'py, PyAny>,
    text: Option<Bound<'py, PyAny>>,
    /// The names of the classes that were named so far.
    classes: Vec<String>,
    floor: Floor,
}

impl<'a, 'py> Parts<'a, 'py> {
    fn next(&mut self) -> PyResult<Token<'a>> {
        let token = match self.reader.next() {
            Ok(Token::Rare(tag)) => self.reader.rare(tag),
            token => token,
        };
        token.map_err(damage_error)
    }

    fn any(&mut self, py: Python<'py>, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        if depth > DEPTH_MAX {
            return Err(malformed());
        }
        if self.floor.is_near() {
            return Err(ValueUnknown::new_err("too_deep"));
        }
        Ok(match self.next()? {
            Token::None => py.None().into_bound(py),
            Token::Bool(boolean) => PyBool::new(py, boolean).to_owned().into_any(),
            Token::Int(int) => int.into_pyobject(py)?.into_any(),
            Token::BigInt(bytes) => {
                let signed = PyDict::new(py);
                signed.set_item("signed", true)?;
                let arguments = (PyBytes::new(py, bytes), "little");
                PyInt::type_object(py).call_method("from_bytes", arguments, Some(&signed))?
            }
            Token::Float(float) => PyFloat::new(py, float).into_any(),
            token @ (Token::Word(_) | Token::Str(_) | Token::StrSurrogates(_)) => said(py, token)?,
            Token::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Token::Text => {
                let token = self.next()?;
                let text = said(py, token)?;
                self.text = Some(text.clone());
                text
            }
            Token::SameText => self.text.clone().ok_or_else(malformed)?,
            Token::List(len) => self.list(py, len, depth)?.into_any(),
            Token::Tuple(len) => PyTuple::new(py, self.list(py, len, depth)?)?.into_any(),
            Token::Set(len) => {
                let items = self.list(py, len, depth)?;
                self.made("set", items.as_any())?
            }
            Token::FrozenSet(len) => {
                let items = self.list(py, len, depth)?;
                self.made("frozenset", items.as_any())?
            }
            Token::Dict(len) => self.dict(py, len, depth)?,
            Token::Object(number, len) => self.object(py, number, len, depth)?,
            Token::Plain(kind) => {
                let name = PLAIN.get(usize::from(kind));
                let name = name.ok_or_else(|| ValueUnknown::new_err("unknown_type"))?;
                let state = self.any(py, depth + 1)?;
                self.made(name, &state)?
            }
            Token::Class(_) => {
                let module = self.string(py, depth)?;
                let name = self.string(py, depth)?;
                self.any(py, depth + 1)?.cast_into_exact::<PyBytes>().map_err(|_| malformed())?;
                if self.classes.len() == CLASSES_MAX {
                    return Err(malformed());
                }
                self.classes.push(format!("{module}.{name}"));
                self.instance(py, self.classes.len() - 1, depth)?
            }
            Token::Instance(number) => self.instance(py, usize::from(number), depth)?,
            Token::Rare(_) => return Err(malformed()),
        })
    }

    fn made(&self, name: &str, state: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.make.call1((name, state))
    }

    fn list(&mut self, py: Python<'py>, len: usize, depth: usize) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for _ in 0..len {
            list.append(self.any(py, depth + 1)?)?;
        }
        Ok(list)
    }

    /// A dict whose keys are all text; another one is told by its items.
    fn dict(&mut self, py: Python<'py>, len: usize, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let mut items = Vec::new();
        for _ in 0..len {
            items.push((self.any(py, depth + 1)?, self.any(py, depth + 1)?));
        }
        if items.iter().any(|(key, _)| !key.is_exact_instance_of::<PyString>()) {
            return self.made("dict", PyList::new(py, items)?.as_any());
        }
        let dict = PyDict::new(py);
        for (key, value) in items {
            dict.set_item(key, value)?;
        }
        Ok(dict.into_any())
    }

    fn object(
        &mut self,
        py: Python<'py>,
        number: u8,
        len: usize,
        depth: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = CLASSES.iter().find(|(each, ..)| *each == number);
        let (_, module, name) = class.ok_or_else(|| ValueUnknown::new_err("unknown_class"))?;
        let fields = PyDict::new(py);
        for _ in 0..len {
            let field = self.string(py, depth)?;
            fields.set_item(field, self.any(py, depth + 1)?)?;
        }
        // Which fields were set.
        let Token::Int(_) = self.next()? else { return Err(malformed()) };
        let extra = self.any(py, depth + 1)?;
        if let Ok(extra) = extra.cast_exact::<PyDict>() {
            fields.update(extra.as_mapping())?;
        }
        let Token::List(others) = self.next()? else { return Err(malformed()) };
        self.list(py, others, depth)?;
        self.made(&format!("{module}.{name}"), fields.as_any())
    }

    fn instance(
        &mut self,
        py: Python<'py>,
        number: usize,
        depth: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = self.classes.get(number).ok_or_else(malformed)?.clone();
        let state = self.any(py, depth + 1)?;
        self.made(&name, &state)
    }

    fn string(&mut self, py: Python<'py>, depth: usize) -> PyResult<String> {
        let text = self.any(py, depth + 1)?;
        let text = text.cast_exact::<PyString>().map_err(|_| malformed())?;
        Ok(text.to_string_lossy().into_owned())
    }
}
