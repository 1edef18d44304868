//! Names that Python is asked for, each made once.
//!
//! As `pyo3::intern!`, but the GIL is held from beginning to end: pyo3 lets go of it while it notes
//! what it has made, and a child that is forked in that moment would wait for it for ever.

use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::OnceLock;

pub struct Interned {
    text: &'static str,
    made: OnceLock<Py<PyString>>,
}

impl Interned {
    pub const fn new(text: &'static str) -> Self {
        Self { text, made: OnceLock::new() }
    }

    pub fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        // No Python code runs in here, and no other thread: nobody ever has to wait.
        self.made.get_or_init(|| PyString::intern(py, self.text).unbind()).bind(py)
    }
}

/// The Python str of a literal.
macro_rules! intern {
    ($py:expr, $text:literal) => {{
        static NAME: $crate::python::runtime::interned::Interned =
            $crate::python::runtime::interned::Interned::new($text);
        NAME.get($py)
    }};
}
pub(in crate::python) use intern;
