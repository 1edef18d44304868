//! Writes LangChain's own objects, as `Serializable.to_json` describes them.

use super::stop::{Stop, UNKNOWN};
use super::writer::Writer;
use crate::python::codec::schema::{Class, Default, Field};
use crate::python::runtime::dict_entries::Entries;
use crate::python::runtime::interned::intern;
use pyo3::types::{PyDict, PyList, PyString};
use pyo3::{PyTypeInfo, prelude::*};

impl<'py> Writer<'_, 'py> {
    /// `Serializable.to_json`: the fields that are useful, in the order in which the object has
    /// them, then those that are always there.
    pub(super) fn put_object(
        &mut self,
        object: &Bound<'py, PyAny>,
        class: &Class,
        depth: usize,
    ) -> Result<(), Stop> {
        let langchain = self.langchain;
        let head = langchain.heads.get(usize::from(class.number)).and_then(Option::as_ref);
        let head = head.ok_or(UNKNOWN)?;
        let fields = object.getattr(intern!(self.py, "__dict__"))?;
        let fields = fields.cast_exact::<PyDict>().map_err(|_| UNKNOWN)?;
        self.check_extra(object, class)?;
        self.push(&head.text);
        let mut written = 0_u64;
        for (at, entry) in Entries::of(fields).enumerate() {
            let (name, value) = entry?;
            let name = name.cast_exact::<PyString>().map_err(|_| UNKNOWN)?;
            let Some(place) = self.place(class, name, at)? else { continue };
            if self.is_useful(&value, &class.fields[place])? {
                self.put_field(name, &value, written == 0, depth)?;
                written |= 1 << place;
            }
        }
        for place in &head.always {
            if written >> place & 1 == 0 {
                let name = class.fields[*place].name.bind(self.py);
                let value = fields.get_item(name)?.ok_or(UNKNOWN)?;
                self.put_field(name, &value, written == 0, depth)?;
                written |= 1 << place;
            }
        }
        self.push(b"}}");
        Ok(())
    }

    /// Extra attributes are never written. Should one have the name of a field, LangChain would
    /// mix the two up.
    fn check_extra(&self, object: &Bound<'py, PyAny>, class: &Class) -> Result<(), Stop> {
        let extra = object.getattr(intern!(self.py, "__pydantic_extra__"))?;
        if extra.is_none() {
            return Ok(());
        }
        for entry in Entries::of(extra.cast_exact::<PyDict>().map_err(|_| UNKNOWN)?) {
            if class.template.bind(self.py).contains(entry?.0)? {
                return Err(UNKNOWN);
            }
        }
        Ok(())
    }

    /// Where a field is in its class; mostly at the place that it has in the object.
    fn place(
        &self,
        class: &Class,
        name: &Bound<'py, PyString>,
        at: usize,
    ) -> Result<Option<usize>, Stop> {
        if class.fields.get(at).is_some_and(|field| field.name.is(name)) {
            return Ok(Some(at));
        }
        for (place, field) in class.fields.iter().enumerate() {
            if field.name.bind(self.py).as_any().eq(name)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// `langchain_core.load.serializable._is_field_useful`, for fields of the class.
    fn is_useful(&self, value: &Bound<'py, PyAny>, field: &Field) -> Result<bool, Stop> {
        if matches!(field.default, Default::Required) || value.is_truthy()? {
            return Ok(true);
        }
        match &field.default {
            Default::Required => Ok(true),
            Default::Shared(default) => Ok(default.bind(self.py).ne(value)?),
            Default::Factory(factory) => {
                let factory = factory.bind(self.py);
                let is_empty_one = factory.is(PyDict::type_object(self.py))
                    && value.is_instance_of::<PyDict>()
                    || factory.is(PyList::type_object(self.py)) && value.is_instance_of::<PyList>();
                // What it is compared with otherwise depends on the version of Pydantic.
                if is_empty_one { Ok(false) } else { Err(UNKNOWN) }
            }
        }
    }

    fn put_field(
        &mut self,
        name: &Bound<'py, PyString>,
        value: &Bound<'py, PyAny>,
        is_first: bool,
        depth: usize,
    ) -> Result<(), Stop> {
        if !is_first {
            self.push(b", ");
        }
        self.put_text(name)?;
        self.push(b": ");
        self.put(value, depth + 1)
    }
}
