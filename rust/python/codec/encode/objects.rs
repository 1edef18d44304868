//! Encodes LangChain's own objects: fields, which of them were set, and extra attributes.

use super::encoder::Encoder;
use super::refusal::{Refusal, check_hashes, refused_type};
use crate::codec::Token;
use crate::python::codec::schema::Class;
use crate::python::runtime::interned::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString};

impl<'py> Encoder<'_, 'py> {
    /// Fields, then a mask of those that were set, the extra fields, and further set names.
    pub(super) fn put_object(
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
        // All of them: what is missing would come back as the class's default.
        if fields.len() != class.fields.len() {
            return Err(Refusal::Reason("incomplete_object"));
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
        check_hashes(others.len(), others.iter().cloned())?;
        self.writer.put(Token::List(others.len()));
        for name in &others {
            self.put(name, depth + 1)?;
        }
        Ok(())
    }
}
