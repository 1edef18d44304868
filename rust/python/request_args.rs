//! Requests as Python has them: three strings.

use crate::canonical::{self, Bypass, Form, Part};
use crate::python::RequestBypassed;
use crate::python::runtime::long_work::{LARGE, length, utf8};
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

/// UTF-8, with lone surrogates passed through: different strings give different bytes.
pub fn bytes_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if length(text) <= LARGE
        && let Ok(utf8) = text.to_str()
    {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    Ok(utf8(text)?.0)
}

/// What Python is told of a request that has no key.
pub fn bypassed(bypass: Bypass) -> PyErr {
    RequestBypassed::new_err((bypass.reason.name(), bypass.parameter))
}

/// The settings of an `llm_string` that count, by name, as it writes their values; none if it is of
/// no form that is known.
#[pyfunction]
pub fn settings(llm_string: &Bound<'_, PyString>) -> PyResult<Vec<(String, String)>> {
    let text = bytes_of(llm_string)?;
    let Form::Params(canonical) = canonical::llm_string(&text).map_err(bypassed)? else {
        return Ok(Vec::new());
    };
    let shown = |part: &Part| {
        let source = text.get(part.source.clone()).unwrap_or_default();
        (part.name.clone(), String::from_utf8_lossy(source).trim().to_owned())
    };
    Ok(canonical.parts.iter().map(shown).collect())
}
