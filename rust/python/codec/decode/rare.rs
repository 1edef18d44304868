//! Decodes what is neither JSON's nor LangChain's: sets, dates and the like, instances of other classes,
//! and dicts so large that equal hashes could make them slow.

use super::decoder::{Decoder, Failure, MALFORMED, MESSAGE};
use crate::codec::{CLASSES_MAX, Token};
use crate::python::codec::hashes::Hashes;
use crate::python::runtime::interned::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFrozenSet, PySet, PyString, PyType};

impl<'py> Decoder<'_, 'py> {
    /// As `any`, for the tokens that are not frequent.
    #[cold]
    #[inline(never)]
    pub(super) fn other(&mut self, tag: u8, depth: usize) -> Result<Bound<'py, PyAny>, Failure> {
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
        self.schema.bridge.instances(self.py, &mut self.instances, validates)
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
    pub(super) fn items(
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
    pub(super) fn large_dict(
        &mut self,
        len: usize,
        depth: usize,
    ) -> Result<Bound<'py, PyAny>, Failure> {
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
