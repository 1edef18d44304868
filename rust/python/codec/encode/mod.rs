//! Python objects to bytes.

pub(in crate::python) mod encoder;
