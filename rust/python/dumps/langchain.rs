//! Looks up what the installed langchain-core makes of its classes.

use crate::codec::push_string;
use crate::python::codec::schema::{Class, Field, Schema};
use crate::python::runtime::text::bytes_of;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{PyTypeInfo, prelude::*};

/// What there is to know of the installed langchain-core beside the [`Schema`].
pub(super) struct LangChain {
    /// By the number of the class; None for one that is not to be written here.
    pub(super) heads: Vec<Option<Head>>,
    /// Types whose instances, of subclasses too, are not simply "not implemented".
    pub(super) not_foreign: Py<PyTuple>,
    /// Types that a dict's key may have in JSON.
    pub(super) keys: Py<PyTuple>,
    /// `to_json_not_implemented`: what is written for an object that JSON cannot say.
    pub(super) not_implemented: Py<PyAny>,
}

/// How a class is written.
pub(super) struct Head {
    /// From its opening brace to that of its fields.
    pub(super) text: Vec<u8>,
    /// The fields that are always there (`lc_attributes`), by their places in the class.
    pub(super) always: Vec<usize>,
}

static LANGCHAIN: PyOnceLock<LangChain> = PyOnceLock::new();

impl LangChain {
    pub(super) fn get(py: Python<'_>) -> PyResult<&Self> {
        LANGCHAIN.get_or_try_init(py, || Self::load(py))
    }

    fn load(py: Python<'_>) -> PyResult<Self> {
        let schema = Schema::get(py)?;
        let module = py.import("langchain_core.load.serializable")?;
        let keys = (PyString::type_object(py), PyInt::type_object(py), PyFloat::type_object(py));
        let containers =
            (PyDict::type_object(py), PyList::type_object(py), PyTuple::type_object(py));
        let serializable = module.getattr("Serializable")?;
        let heads = (0..=u8::MAX)
            .map(|number| schema.class(number).map_or(Ok(None), |class| Head::load(py, class)));
        Ok(Self {
            heads: heads.collect::<PyResult<_>>()?,
            not_foreign: (serializable, containers, &keys).into_pyobject(py)?.unbind(),
            keys: keys.into_pyobject(py)?.unbind(),
            not_implemented: module.getattr("to_json_not_implemented")?.unbind(),
        })
    }
}

impl Head {
    fn load(py: Python<'_>, class: &Class) -> PyResult<Option<Self>> {
        let python = class.python.bind(py);
        let sample = python.call_method0("model_construct")?;
        for field in python.getattr("model_fields")?.call_method0("values")?.try_iter()? {
            if field?.getattr("exclude")?.is_truthy()? {
                return Ok(None);
            }
        }
        if sample.getattr("lc_secrets")?.is_truthy()?
            || !python.call_method0("is_lc_serializable")?.is_truthy()?
        {
            return Ok(None);
        }
        let mut text = br#"{"lc": 1, "type": "constructor", "id": ["#.to_vec();
        for (at, part) in python.call_method0("lc_id")?.try_iter()?.enumerate() {
            if at > 0 {
                text.extend_from_slice(b", ");
            }
            push_string(&mut text, &bytes_of(part?.cast::<PyString>()?)?);
        }
        text.extend_from_slice(br#"], "kwargs": {"#);
        let mut always = Vec::new();
        for name in sample.getattr("lc_attributes")?.try_iter()? {
            let name = name?;
            let is_it = |field: &Field| field.name.bind(py).as_any().eq(&name).unwrap_or(false);
            let Some(at) = class.fields.iter().position(is_it) else { return Ok(None) };
            always.push(at);
        }
        // What was written is kept in 64 bits.
        Ok((class.fields.len() <= 64).then_some(Self { text, always }))
    }
}
