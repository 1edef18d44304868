//! Values on their way into memory: checked, and restored if a store has them compressed.

use crate::codec::{Compressed, compressed, is_for_streams, open};
use crate::python::codec::compression::restored;
use crate::python::errors::damage_error;
use crate::python::runtime::long_work::detached;
use crate::request::Key;
use pyo3::prelude::*;
use std::sync::Arc;

/// A copy of a whole value of `key`: entries are decoded without another look at their checksum.
pub(super) fn checked(py: Python<'_>, value: &[u8], key: &Key) -> PyResult<Arc<[u8]>> {
    let kept = detached(py, value.len(), || open(value, key).map(|_| value.into()));
    kept.map_err(damage_error)
}

/// What a store has for a value.
pub(super) struct Stored<'a> {
    bytes: &'a [u8],
    compressed: Option<Compressed<'a>>,
    /// Length of the value, in bytes.
    pub(super) len: usize,
}

/// A value as it was before it was stored.
pub(super) struct Restored<'a> {
    bytes: &'a [u8],
    owned: Option<Vec<u8>>,
    len: usize,
}

impl<'a> Stored<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> PyResult<Self> {
        let compressed = compressed(bytes).map_err(damage_error)?;
        let len = compressed.as_ref().map_or(bytes.len(), |it| it.len);
        Ok(Self { bytes, compressed, len })
    }

    /// The value. Long work, if it is compressed.
    pub(super) fn restored(self, py: Python<'_>) -> PyResult<Restored<'a>> {
        let owned = self.compressed.map(|it| restored(py, &it)).transpose()?;
        Ok(Restored { bytes: self.bytes, owned, len: self.len })
    }
}

impl Restored<'_> {
    /// Its payload, if it is a whole value of `key`; `None` if it is for streams only, and the caller
    /// does not replay one.
    pub(super) fn payload(
        &self,
        py: Python<'_>,
        key: &Key,
        streams: bool,
    ) -> PyResult<Option<&[u8]>> {
        let value = self.owned.as_deref().unwrap_or(self.bytes);
        let payload = detached(py, self.len, || open(value, key)).map_err(damage_error)?;
        Ok((streams || !is_for_streams(value)).then_some(payload))
    }

    /// The value, to be kept.
    pub(super) fn into_kept(self, py: Python<'_>) -> Arc<[u8]> {
        let Self { bytes, owned, len } = self;
        detached(py, len, || owned.map_or_else(|| bytes.into(), Arc::from))
    }
}
