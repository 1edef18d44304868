//! Encodes what is neither JSON's nor LangChain's: sets, dates and the like, and instances of other
//! classes.

use super::encoder::Encoder;
use super::refusal::{Refusal, check_hashes, refused_type};
use crate::codec::{CLASSES_MAX, Token};
use crate::python::runtime::interned::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PySet, PyTuple};

impl<'py> Encoder<'_, 'py> {
    /// As `put`, for what is not of a frequent type.
    #[inline(never)]
    pub(super) fn put_other(
        &mut self,
        any: &Bound<'py, PyAny>,
        depth: usize,
    ) -> Result<(), Refusal> {
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
        let instances = self.schema.bridge.instances(py, &mut self.instances, true)?;
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
