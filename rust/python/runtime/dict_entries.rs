//! Walks the entries of a dict, for code that may run Python in between.
//!
//! The iterator of `PyO3` panics when the dict is changed meanwhile, which a `__repr__` or a
//! finalizer may do; this one says so.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Whether all entries of a dict are as they should be, in order: the address of the key, and the
/// value. Lent, since counting the references of what is only looked at takes most of the time.
///
/// `is_right` must not run Python code, nor drop Python objects: the dict must stay as it is.
pub fn all_entries<'py>(
    dict: &Bound<'py, PyDict>,
    mut is_right: impl FnMut(usize, Borrowed<'_, 'py, PyAny>) -> bool,
) -> bool {
    let (mut key, mut value, mut at) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: a live dict and three places to write to; what is found lives as long as the dict is
    // not changed, which nobody does before the next round.
    unsafe {
        while ffi::PyDict_Next(dict.as_ptr(), &raw mut at, &raw mut key, &raw mut value) != 0 {
            if !is_right(key.addr(), Borrowed::from_ptr(dict.py(), value)) {
                return false;
            }
        }
    }
    true
}

/// The dict was changed while its entries were walked.
pub struct Changed;

/// The entries in order; an error, and the end, once the dict is of another length.
pub struct Entries<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    len: usize,
    left: usize,
    at: ffi::Py_ssize_t,
}

impl<'a, 'py> Entries<'a, 'py> {
    /// Of this dict.
    pub fn of(dict: &'a Bound<'py, PyDict>) -> Self {
        Self { dict, len: dict.len(), left: dict.len(), at: 0 }
    }
}

impl<'py> Iterator for Entries<'_, 'py> {
    type Item = Result<(Bound<'py, PyAny>, Bound<'py, PyAny>), Changed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 && self.dict.len() == self.len {
            return None;
        }
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        let py = self.dict.py();
        // SAFETY: a live dict and three places to write to. PyDict_Next checks its position against
        // the dict as it is now, and lends what it found: it is made our own before anything else
        // can happen.
        let entry = unsafe {
            let dict = self.dict.as_ptr();
            let is_there = ffi::PyDict_Next(dict, &raw mut self.at, &raw mut key, &raw mut value);
            (is_there != 0)
                .then(|| (Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value)))
        };
        match (entry, self.left.checked_sub(1)) {
            (Some(entry), Some(left)) if self.dict.len() == self.len => {
                self.left = left;
                Some(Ok(entry))
            }
            _ => Some(Err(Changed)),
        }
    }
}
