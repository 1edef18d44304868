//! What is neither JSON's nor LangChain's: sets, dates and the like, and instances of other classes.
//!
//! Sets are read and written here. The rest is taken apart and put together by
//! `python/llmemo/objects.py`: it is seldom, and the stable ABI has no quicker way to a date.

use super::decode::{Decoder, Failure, MALFORMED, MESSAGE};
use super::encode::{Encoder, Refusal, refused_type};
use super::interned::intern;
use crate::value::{CLASSES_MAX, Token};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFrozenSet, PySet, PyString, PyTuple, PyType};
use std::collections::HashMap;

/// Keys of one dict, and items of one set, that have one hash. Equal hashes are what makes a table
/// quadratic, and numbers with equal hashes are easy to make: 2 ** 61 - 1 is the period of an int's.
pub const SAME_HASH_MAX: usize = 64;

/// The functions of `objects.py` and its neighbours.
pub struct Objects {
    instances: Py<PyAny>,
    unproved: Py<PyAny>,
}

impl Objects {
    /// Of this process.
    pub fn load(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            instances: py.import("llmemo.codec.python_objects")?.getattr("Instances")?.unbind(),
            unproved: py.import("llmemo.codec.verify")?.getattr("unproved")?.unbind(),
        })
    }

    /// Takes the objects of one value apart, or puts them together; made when the first one comes.
    /// `validates`: whether classes that the current run asks for have to accept their instances.
    fn instances<'a, 'py>(
        &self,
        py: Python<'py>,
        known: &'a mut Option<Bound<'py, PyAny>>,
        validates: bool,
    ) -> PyResult<&'a Bound<'py, PyAny>> {
        if known.is_none() {
            let arguments = PyDict::new(py);
            arguments.set_item(intern!(py, "validates"), validates)?;
            *known = Some(self.instances.bind(py).call((), Some(&arguments))?);
        }
        known.as_ref().ok_or_else(|| PyRuntimeError::new_err("no instances"))
    }

    /// The name of a type that did not come back as it was; None if all did.
    pub fn unproved(
        &self,
        stored: &Bound<'_, PyAny>,
        returned: &Bound<'_, PyAny>,
    ) -> PyResult<Option<String>> {
        self.unproved.bind(stored.py()).call1((stored, returned))?.extract()
    }
}

impl<'py> Encoder<'_, 'py> {
    /// As `put`, for what is not of a frequent type.
    #[inline(never)]
    pub fn put_other(&mut self, any: &Bound<'py, PyAny>, depth: usize) -> Result<(), Refusal> {
        let py = any.py();
        if let Ok(set) = any.cast_exact::<PySet>() {
            check_hashes(set.len(), set.iter())?;
            self.writer.put(Token::Set(set.len()));
            return set.iter().try_for_each(|item| self.put(&item, depth + 1));
        }
        if let Ok(set) = any.cast_exact::<PyFrozenSet>() {
            check_hashes(set.len(), set.iter())?;
            self.writer.put(Token::FrozenSet(set.len()));
            return set.iter().try_for_each(|item| self.put(&item, depth + 1));
        }
        let instances = self.schema.objects.instances(py, &mut self.instances, true)?;
        let taken = instances.call_method1(intern!(py, "taken"), (any,))?;
        if taken.is_none() {
            return Err(refused_type(any));
        }
        let (kind, name, state): (u8, Bound<'py, PyAny>, Bound<'py, PyAny>) = taken.extract()?;
        if name.is_none() {
            self.writer.put(Token::Plain(kind));
            return self.put(&state, depth + 1);
        }
        let class = any.get_type();
        if let Some(number) = self.classes.iter().position(|known| known.is(&class)) {
            self.writer.put(Token::Instance(u8::try_from(number).unwrap_or(u8::MAX)));
        } else if self.classes.len() == CLASSES_MAX {
            return Err(Refusal::Reason("too_many_classes"));
        } else {
            self.writer.put(Token::Class(kind));
            for part in name.cast::<PyTuple>().map_err(PyErr::from)? {
                self.put(&part, depth + 1)?;
            }
            self.classes.push(class);
        }
        self.put(&state, depth + 1)
    }
}

/// Refuses keys that could be written, but would not be read.
#[inline(never)]
pub fn check_hashes<'py>(
    len: usize,
    keys: impl Iterator<Item = Bound<'py, PyAny>>,
) -> Result<(), Refusal> {
    let mut hashes = Hashes::of(len);
    for key in keys {
        match hashes.admit(&key) {
            Ok(true) => (),
            Ok(false) => return Err(Refusal::Reason("equal_hashes")),
            Err(_) => return Err(refused_type(&key)),
        }
    }
    Ok(())
}

/// Counts the hashes of the keys of one table.
struct Hashes {
    is_small: bool,
    counts: HashMap<isize, usize>,
}

impl Hashes {
    /// For a table of so many keys.
    fn of(len: usize) -> Self {
        Self { is_small: len <= SAME_HASH_MAX, counts: HashMap::new() }
    }

    /// Whether the table stays quick with this key. Texts' hashes are random in each process.
    fn admit(&mut self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        if self.is_small || key.is_exact_instance_of::<PyString>() {
            return Ok(true);
        }
        let count = self.counts.entry(key.hash()?).or_default();
        *count += 1;
        Ok(*count <= SAME_HASH_MAX)
    }
}

impl<'py> Decoder<'_, 'py> {
    /// As `token`, for the tokens that are not frequent.
    #[cold]
    #[inline(never)]
    pub fn other(&mut self, tag: u8, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
        let py = self.py;
        let token = self.reader.rare(tag)?;
        match token {
            Token::Set(len) | Token::FrozenSet(len) => {
                let set = PySet::empty(py)?;
                self.items(&set, len, depth)?;
                match token {
                    _ if set.len() < len => Err(MALFORMED),
                    Token::Set(_) => Ok(set.into_any()),
                    _ => Ok(PyFrozenSet::new(py, set)?.into_any()),
                }
            }
            Token::Plain(kind) => {
                let state = self.any(depth + 1)?;
                Ok(self.instances()?.call_method1(intern!(py, "made"), (kind, py.None(), state))?)
            }
            Token::Class(kind) => {
                let module = self.any(depth + 1)?.cast_into_exact::<PyString>();
                let name = self.any(depth + 1)?.cast_into_exact::<PyString>();
                let digest = self.any(depth + 1)?.cast_into_exact::<PyBytes>();
                let (Ok(module), Ok(name), Ok(digest)) = (module, name, digest) else {
                    return Err(MALFORMED);
                };
                let class = if let Some(given) = self.given.get(self.classes.len()) {
                    given.clone()
                } else {
                    let named = (kind, module, name, digest);
                    let class = self.instances()?.call_method1(intern!(py, "find"), named)?;
                    class.cast_into::<PyType>().map_err(PyErr::from)?
                };
                if self.classes.len() == CLASSES_MAX {
                    return Err(MALFORMED);
                }
                self.classes.push((kind, class));
                self.instance(self.classes.len() - 1, depth)
            }
            Token::Instance(number) => self.instance(usize::from(number), depth),
            _ => Err(MALFORMED),
        }
    }

    fn instance(&mut self, number: usize, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
        let (kind, class) = self.classes.get(number).ok_or(MALFORMED)?.clone();
        let state = self.any(depth + 1)?;
        if depth <= MESSAGE && self.ids.is_some() {
            self.renew_id(&class, &state, depth)?;
        }
        let made = intern!(self.py, "made");
        Ok(self.instances()?.call_method1(made, (kind, class, state))?)
    }

    fn instances(&mut self) -> PyResult<&Bound<'py, PyAny>> {
        // A proof asks what comes back, no more.
        let validates = self.given.is_empty();
        self.schema.objects.instances(self.py, &mut self.instances, validates)
    }

    /// Gives a generation's message its new id, if one of the two is of another class than LangChain's.
    fn renew_id(
        &mut self,
        class: &Bound<'py, PyType>,
        state: &Bound<'py, PyAny>,
        depth: usize,
    ) -> PyResult<()> {
        let Ok(own) = state.get_item(0).and_then(|own| Ok(own.cast_into::<PyDict>()?)) else {
            return Ok(()); // It has no fields.
        };
        let fields = if depth == MESSAGE {
            class.is_subclass(self.schema.message.bind(self.py))?.then_some(own)
        } else {
            let message = own.get_item(intern!(self.py, "message"))?;
            message.and_then(|message| self.schema.state.fields_of(&message).ok())
        };
        let name = intern!(self.py, "id");
        if let Some(fields) = fields
            && let Some(id) = fields.get_item(name)?
            && let Ok(id) = id.cast_exact::<PyString>()
            && let Ok(id) = id.to_str()
            && let Some(ids) = &mut self.ids
            && let Some(new) = ids.renewed(id.as_bytes(), &fields)?
        {
            fields.set_item(name, PyString::from_bytes(self.py, new.as_bytes())?)?;
        }
        Ok(())
    }

    /// Adds so many items to a set.
    #[cold]
    #[inline(never)]
    pub fn items(
        &mut self,
        set: &Bound<'py, PySet>,
        len: usize,
        depth: usize,
    ) -> Result<(), Failure> {
        let mut hashes = Hashes::of(len);
        for _ in 0..len {
            let item = self.any(depth + 1)?;
            if !hashes.admit(&item)? {
                return Err(MALFORMED);
            }
            set.add(item)?;
        }
        Ok(())
    }

    /// The entries of a dict that is large enough to be slow.
    #[cold]
    #[inline(never)]
    pub fn large_dict(&mut self, len: usize, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
        let (dict, mut hashes) = (PyDict::new(self.py), Hashes::of(len));
        for _ in 0..len {
            let key = self.any(depth + 1)?;
            if !hashes.admit(&key)? {
                return Err(MALFORMED);
            }
            dict.as_any().set_item(key, self.any(depth + 1)?)?;
        }
        Ok(dict.into_any())
    }
}
