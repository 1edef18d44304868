//! What Python passes to `Memory`, and is told by it.

use crate::memory::{About, FOREVER, KnownRequest, Worth};
use crate::python::runtime::clock::seconds;
use crate::python::runtime::{long_work::LARGE, text::text};
use crate::request::Partition;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyString};

/// Fresh objects of an answer, if there is one.
pub(super) type Answered = PyResult<Option<Py<PyList>>>;

/// The same, or False if memory was not asked.
pub(super) type Recalled<'py> = PyResult<Option<Bound<'py, PyAny>>>;

/// A new bytes object.
pub(super) type Bytes = Py<PyBytes>;

/// Key, `llm_string` and prompt.
pub(super) type KnownTexts = (Bytes, Bytes, Option<Bytes>);

/// Partition and question, if there is one.
pub(super) type Partitioned = PyResult<Option<(Bytes, Py<PyString>)>>;

/// Tokens in, tokens out, money.
pub(super) type Price = (u64, u64, f64);

/// When an answer was made and when it expires, and whether a caller may refresh it by now.
pub(super) type Times = (f64, Option<f64>, bool);

pub(super) fn to_bytes(py: Python<'_>, bytes: &[u8]) -> Bytes {
    PyBytes::new(py, bytes).unbind()
}

pub(super) fn known_texts(py: Python<'_>, known: &KnownRequest) -> KnownTexts {
    let bytes = |bytes: &[u8]| to_bytes(py, bytes);
    (bytes(&known.key.0), bytes(&known.llm_string), known.prompt.as_deref().map(bytes))
}

pub(super) fn partitioned(
    py: Python<'_>,
    partition: &Partition,
) -> PyResult<(Bytes, Py<PyString>)> {
    let question = &partition.question;
    let question = match question.len() {
        0..=LARGE => PyString::new(py, question),
        _ => text(py, question.as_bytes())?,
    };
    Ok((to_bytes(py, &partition.digest), question.unbind()))
}

pub(super) fn price_of(worth: Worth) -> Price {
    (worth.input_tokens, worth.output_tokens, worth.money)
}

pub(super) fn worth_of((input_tokens, output_tokens, money): Price) -> Worth {
    Worth { input_tokens, output_tokens, money }
}

pub(super) fn times(about: About) -> Times {
    let expires = (about.expires != FOREVER).then(|| seconds(about.expires));
    (about.created, expires, about.is_due)
}

/// What Python is told where memory was not asked.
pub(super) fn not_asked(py: Python<'_>) -> Bound<'_, PyAny> {
    PyBool::new(py, false).to_owned().into_any()
}
