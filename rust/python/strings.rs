//! Strings between the two languages.
//!
//! Short ones are decoded once and shared: model names, tool names, keys of metadata. A str is
//! immutable, so that one object may be in any number of answers. Sharing it saves its allocation,
//! and, where it is a dict's key, computing its hash.

use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTypeInfo, intern, prelude::*};
use std::sync::{Mutex, PoisonError};
use twox_hash::XxHash3_64;

/// Longer strings are text, which rarely recurs (bytes).
const LEN_MAX: usize = 24;

/// Slots: a power of two. Each holds the last string that fell into it: at most 80 KB in all.
const SLOTS: usize = 1024;

/// See the module's documentation.
pub struct StringCache {
    /// Taken only with the GIL held, for a moment: never contended.
    slots: Mutex<Vec<Option<Py<PyString>>>>,
}

impl StringCache {
    /// Empty.
    pub fn new() -> Self {
        Self { slots: Mutex::new((0..SLOTS).map(|_| None).collect()) }
    }

    /// The str of these UTF-8 bytes.
    ///
    /// # Errors
    /// `UnicodeDecodeError`, if they are not UTF-8.
    pub fn get<'py>(&self, py: Python<'py>, utf8: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if utf8.len() > LEN_MAX || std::str::from_utf8(utf8).is_err() {
            // An exception, if it comes to that, is made without the lock.
            return PyString::from_bytes(py, utf8);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash")]
        let at = XxHash3_64::oneshot(utf8) as usize % SLOTS;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &slots[at] {
            let known = known.bind(py);
            if known.to_str().is_ok_and(|text| text.as_bytes() == utf8) {
                return Ok(known.clone());
            }
        }
        let text = PyString::from_bytes(py, utf8)?;
        let before = slots[at].replace(text.clone().unbind());
        drop(slots);
        drop(before);
        Ok(text)
    }
}

/// The UTF-8 of a text, with its lone surrogates passed through. Asked of `str` itself: a subclass
/// may say something else.
pub fn surrogatepass<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    let py = text.py();
    let arguments = (text, intern!(py, "utf-8"), intern!(py, "surrogatepass"));
    let bytes = PyString::type_object(py).call_method1(intern!(py, "encode"), arguments)?;
    Ok(bytes.cast_into::<PyBytes>()?)
}
