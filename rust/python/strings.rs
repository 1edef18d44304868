//! Strings between the two languages.
//!
//! Short ones are decoded once and shared: model names, tool names, keys of metadata. A str is
//! immutable, so that one object may be in any number of answers. Sharing it saves its allocation,
//! and, where it is a dict's key, computing its hash.

use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTypeInfo, intern, prelude::*};
use std::cell::UnsafeCell;
use twox_hash::XxHash3_64;

/// Longer strings are text, which rarely recurs (bytes).
const LEN_MAX: usize = 24;

/// Slots: a power of two. Each holds the last string that fell into it: at most 80 KB in all.
const SLOTS: usize = 1024;

/// See the module's documentation.
pub struct StringCache {
    slots: GilCell<Vec<Option<Py<PyString>>>>,
}

/// What only the holder of the GIL touches, and never for longer than a few instructions. A mutex
/// here would take a tenth of a decode's time: a decode asks ten times.
struct GilCell<T>(UnsafeCell<T>);

// SAFETY: `with` demands the GIL, which one thread holds at a time (the stable ABI that this is
// built for has no build without it), and `T` may be used from any thread.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    /// `work` must not run Python code, nor allocate or drop Python objects: that could run some,
    /// which could come back here.
    fn with<R>(&self, _py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the GIL is held, so no other thread is here, and `work` does not come back.
        work(unsafe { &mut *self.0.get() })
    }
}

impl StringCache {
    /// Empty.
    pub fn new() -> Self {
        Self { slots: GilCell(UnsafeCell::new((0..SLOTS).map(|_| None).collect())) }
    }

    /// The str of these UTF-8 bytes.
    ///
    /// # Errors
    /// `UnicodeDecodeError`, if they are not UTF-8.
    pub fn get<'py>(&self, py: Python<'py>, utf8: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if utf8.len() > LEN_MAX {
            return PyString::from_bytes(py, utf8);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash")]
        let at = XxHash3_64::oneshot(utf8) as usize % SLOTS;
        let known = self.slots.with(py, |slots| slots[at].as_ref().map(|text| text.clone_ref(py)));
        if let Some(known) = known.map(|text| text.into_bound(py))
            && known.to_str().is_ok_and(|text| text.as_bytes() == utf8)
        {
            return Ok(known);
        }
        let text = PyString::from_bytes(py, utf8)?;
        let kept = text.clone().unbind();
        let before = self.slots.with(py, |slots| slots[at].replace(kept));
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
