//! Vectors: packed, stored and searched; see [`crate::vectors`].

use crate::python::errors::{ValueDamaged, ValueUnknown};
use crate::python::runtime::long_work::{Breath, detached};
use crate::vectors::{
    DIMENSIONS_MAX, Damage, Found, Id, New, Packed, SKETCHED_ABOVE, Tenant, VectorIndex, open,
    pack, seal,
};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyString};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See `_core.pyi`.
#[pyfunction]
pub fn pack_vector<'py>(values: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let packed = numbers(values)?.and_then(|numbers| pack(&numbers));
    Ok(packed.map(|packed| PyBytes::new(values.py(), &packed)))
}

/// The numbers of an iterable. `None` if there are too many for a vector, or one is too large.
fn numbers(values: &Bound<'_, PyAny>) -> PyResult<Option<Vec<f64>>> {
    if values.is_instance_of::<PyBytes>() || values.is_instance_of::<PyByteArray>() {
        return Err(PyTypeError::new_err("give the numbers of a vector, not bytes"));
    }
    let mut numbers = Vec::with_capacity(values.len().unwrap_or(0).min(DIMENSIONS_MAX));
    for value in values.try_iter()? {
        if numbers.len() == DIMENSIONS_MAX {
            return Ok(None);
        }
        match value?.extract::<f64>() {
            Ok(number) => numbers.push(number),
            Err(error) if error.is_instance_of::<PyOverflowError>(values.py()) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(numbers))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn pack_question<'py>(
    py: Python<'py>,
    key: Id,
    vector: &[u8],
    question: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let stored = seal(&key, vector, question);
    let stored = stored.ok_or_else(|| PyValueError::new_err("not a packed vector"))?;
    Ok(PyBytes::new(py, &stored))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn unpack_question<'py>(
    py: Python<'py>,
    stored: &'py [u8],
    key: Id,
) -> PyResult<(Bound<'py, PyBytes>, &'py str)> {
    let (vector, question) = open(stored, &key).map_err(|damage| match damage {
        Damage::UnknownVersion => ValueUnknown::new_err(damage.name()),
        _ => ValueDamaged::new_err(damage.name()),
    })?;
    Ok((PyBytes::new(py, vector), question))
}

/// More codes than this are scanned with the GIL released: they take longer than some 50 µs. To get
/// the GIL back from a busy thread takes milliseconds.
const SCANNED_AT_ONCE: usize = 2 * 1024 * 1024;

/// Vectors that are loaded between two looks at the clock: some 50 µs.
const LOADED_AT_ONCE: usize = 32;

/// What was sealed for a key; None if it is damaged.
fn opened<'a>(key: &[u8], stored: &'a [u8]) -> Option<(Id, &'a str, Packed)> {
    let key = key.try_into().ok()?;
    let (vector, question) = open(stored, &key).ok()?;
    Some((key, question, Packed::read(vector)?))
}

/// See `_core.pyi`.
#[pyclass(frozen, name = "VectorIndex", module = "llmemo._core")]
pub struct SharedIndex {
    /// Taken only with the GIL held, and never while Python code runs: so it is never contended,
    /// and a fork cannot copy it locked. Searches work on a view.
    index: Mutex<VectorIndex>,
}

impl SharedIndex {
    fn lock(&self) -> MutexGuard<'_, VectorIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl SharedIndex {
    #[new]
    fn new(max_bytes: usize) -> Self {
        Self { index: Mutex::new(VectorIndex::new(max_bytes)) }
    }

    fn add(&self, tenant: Tenant, partition: Id, key: Id, question: &str, vector: &[u8]) -> bool {
        let Some(vector) = Packed::read(vector) else { return false };
        self.lock().add(&New { tenant, partition, key, question, vector })
    }

    fn begin_load(&self) -> u64 {
        self.lock().begin_load()
    }

    fn load(
        &self,
        tenant: Tenant,
        partition: Id,
        rows: &Bound<'_, PyList>,
        age: u64,
    ) -> PyResult<Vec<usize>> {
        let (mut breath, mut damaged) = (Breath::new(), Vec::new());
        for ((at, row), age) in rows.iter().enumerate().zip((0..=age).rev()) {
            let (key, stored) = row.extract::<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>()?;
            match opened(key.as_bytes(), stored.as_bytes()) {
                Some((key, question, vector)) => {
                    let new = New { tenant, partition, key, question, vector };
                    self.lock().add_aged(&new, age);
                }
                None => damaged.push(at),
            }
            // Between two of them the lock is free.
            if at % LOADED_AT_ONCE == LOADED_AT_ONCE - 1 {
                breath.take(rows.py());
            }
        }
        Ok(damaged)
    }

    fn remove(&self, key: Id) -> bool {
        self.lock().remove(&key)
    }

    fn clear(&self, py: Python<'_>) {
        let all = self.lock().take_all();
        let bytes = all.bytes();
        detached(py, bytes, || drop(all));
    }

    fn size(&self, partition: Id) -> usize {
        self.lock().size(&partition)
    }

    fn __contains__(&self, key: Id) -> bool {
        self.lock().contains(&key)
    }

    #[getter]
    fn vectors(&self) -> usize {
        self.lock().len()
    }

    #[getter]
    fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    fn search<'py>(
        &self,
        py: Python<'py>,
        partition: Id,
        vector: &[u8],
        limit: usize,
        least: f64,
    ) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyString>, f64)> {
        let Some(vector) = Packed::read(vector) else { return Vec::new() };
        let Some(view) = self.lock().view(&partition) else { return Vec::new() };
        let is_long = view.len() * vector.codes().len() > SCANNED_AT_ONCE;
        let scan = || {
            let found = view.search(&vector, limit, least, SKETCHED_ABOVE);
            // It may be the last to hold the vectors: freed here, where the GIL may be released.
            drop(view);
            found
        };
        let found = if is_long { py.detach(scan) } else { scan() };
        let told =
            |it: &Found| (PyBytes::new(py, &it.key), PyString::new(py, &it.question), it.score);
        found.iter().map(told).collect()
    }
}
