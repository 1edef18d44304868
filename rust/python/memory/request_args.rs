//! Requests as Python passes them: their texts, and what else is known of them.

use crate::canonical::Objects;
use crate::python::runtime::interned::intern;
use crate::python::runtime::text::bytes_of;
use crate::request::{Context, Request};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::borrow::Cow;
use std::collections::HashMap;

/// A str that Python lends for a call.
pub(super) type Text<'a, 'py> = &'a Bound<'py, PyString>;

/// Digests of what classes hold, by the names that an `llm_string` has for them.
pub(super) type Schemas = Option<HashMap<String, [u8; 32]>>;

/// The three texts of a request, as bytes.
pub(super) struct Texts<'a> {
    namespace: Cow<'a, [u8]>,
    llm_string: Cow<'a, [u8]>,
    prompt: Cow<'a, [u8]>,
}

impl<'a> Texts<'a> {
    /// Lent by these strs.
    pub(super) fn of(
        prompt: Text<'a, '_>,
        llm_string: Text<'a, '_>,
        namespace: Text<'a, '_>,
    ) -> PyResult<Self> {
        Ok(Self {
            namespace: bytes_of(namespace)?,
            llm_string: bytes_of(llm_string)?,
            prompt: bytes_of(prompt)?,
        })
    }

    /// The request that they make.
    pub(super) fn request(&self) -> Request<'_> {
        Request { namespace: &self.namespace, llm_string: &self.llm_string, prompt: &self.prompt }
    }
}

/// What a key is made of, by the attributes of a `llmemo.keys.request.Request`.
pub(super) struct RequestArg<'py> {
    prompt: Bound<'py, PyString>,
    llm_string: Bound<'py, PyString>,
    supplement: Option<Bound<'py, PyBytes>>,
    is_text: bool,
    objects: bool,
}

impl<'py> FromPyObject<'_, 'py> for RequestArg<'py> {
    type Error = PyErr;

    fn extract(request: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = request.py();
        Ok(Self {
            prompt: request.getattr(intern!(py, "prompt"))?.cast_into()?,
            llm_string: request.getattr(intern!(py, "llm_string"))?.cast_into()?,
            supplement: request.getattr(intern!(py, "supplement"))?.extract()?,
            is_text: request.getattr(intern!(py, "is_text"))?.extract()?,
            objects: request.getattr(intern!(py, "objects"))?.extract()?,
        })
    }
}

impl RequestArg<'_> {
    /// Its texts, on behalf of a namespace.
    pub(super) fn texts<'a>(&'a self, namespace: Text<'a, '_>) -> PyResult<Texts<'a>> {
        Texts::of(&self.prompt, &self.llm_string, namespace)
    }

    /// What is known beside its texts.
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            supplement: self.supplement.as_ref().map(PyBytesMethods::as_bytes),
            is_text: self.is_text,
            objects: if self.objects { Objects::ById } else { Objects::ByRepr },
        }
    }
}
