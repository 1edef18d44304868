//! Bytes to fresh Python objects.

pub(in crate::python) mod decoder;
pub(in crate::python) mod rare;
