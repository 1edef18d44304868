//! Requests as Python has them: three strings.

use crate::python::runtime::text::bytes_of;
use crate::request::Request;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::borrow::Cow;

/// The three strings of a request, as bytes.
pub struct Strings<'a> {
    namespace: Cow<'a, [u8]>,
    llm_string: Cow<'a, [u8]>,
    prompt: Cow<'a, [u8]>,
}

impl<'a> Strings<'a> {
    /// Lent by these texts.
    pub fn of(
        prompt: &'a Bound<'_, PyString>,
        llm_string: &'a Bound<'_, PyString>,
        namespace: &'a Bound<'_, PyString>,
    ) -> PyResult<Self> {
        Ok(Self {
            namespace: bytes_of(namespace)?,
            llm_string: bytes_of(llm_string)?,
            prompt: bytes_of(prompt)?,
        })
    }

    /// The request that they make.
    pub fn request(&self) -> Request<'_> {
        Request { namespace: &self.namespace, llm_string: &self.llm_string, prompt: &self.prompt }
    }
}
