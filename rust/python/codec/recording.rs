//! Recorded streams: see [`crate::codec::Recording`].

use super::decode::tree;
use super::encode::put_tree;
use super::fresh_ids::FreshIds;
use crate::codec::{self, Recording, Writer, compressed, open, recording};
use crate::python::codec::compression::restored;
use crate::python::errors::{ValueRefused, damage_error};
use crate::python::runtime::text;
use crate::request::Key;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a recorder has, behind a lock that is only taken with the GIL held.
#[derive(Default)]
struct Inner {
    recording: Recording,
    writer: Writer,
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Recorder {
    inner: Mutex<Inner>,
    max_bytes: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Recorder {
    #[new]
    fn new(max_bytes: usize) -> Self {
        Self { inner: Mutex::default(), max_bytes }
    }

    /// Python code may run while the step is encoded: not with the lock.
    #[pyo3(signature = (step, delay=0))]
    fn add(&self, step: &Bound<'_, PyAny>, delay: u64) -> PyResult<usize> {
        let mut writer = std::mem::take(&mut locked(&self.inner).writer);
        writer.restart();
        let writer = put_tree(step, writer)?;
        let mut inner = locked(&self.inner);
        if inner.recording.bytes().len() + writer.len() > self.max_bytes {
            return Err(ValueRefused::new_err("too_large"));
        }
        inner.recording.push(writer.payload(), delay);
        inner.writer = writer;
        Ok(inner.recording.len())
    }

    fn __len__(&self) -> usize {
        locked(&self.inner).recording.len()
    }

    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        text::bytes(py, locked(&self.inner).recording.bytes())
    }
}

/// What a playback reads.
enum Source {
    Growing(Py<Recorder>),
    Whole(Py<PyBytes>),
}

impl Source {
    /// The next step, and its delay.
    fn step(&self, py: Python<'_>, at: &mut codec::Playback) -> PyResult<Option<(Vec<u8>, u64)>> {
        let next = match self {
            Self::Growing(recorder) => at.next(locked(&recorder.get().inner).recording.bytes()),
            Self::Whole(bytes) => at.next(bytes.as_bytes(py)),
        };
        let step = next.map_err(damage_error)?;
        Ok(step.map(|(step, delay)| (step.to_vec(), delay)))
    }
}

struct Place {
    at: codec::Playback,
    ids: Option<FreshIds>,
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Playback {
    source: Source,
    place: Mutex<Place>,
}

#[pymethods]
impl Playback {
    #[new]
    #[pyo3(signature = (source, *, fresh_ids=false))]
    fn new(source: &Bound<'_, PyAny>, fresh_ids: bool) -> PyResult<Self> {
        let source = match source.cast::<Recorder>() {
            Ok(recorder) => Source::Growing(recorder.clone().unbind()),
            Err(_) => Source::Whole(source.cast::<PyBytes>()?.clone().unbind()),
        };
        let place = Place { at: codec::Playback::default(), ids: fresh_ids.then(FreshIds::new) };
        Ok(Self { source, place: Mutex::new(place) })
    }

    fn skip(&self, py: Python<'_>, steps: usize) -> PyResult<()> {
        let mut place = locked(&self.place);
        for _ in 0..steps {
            self.source.step(py, &mut place.at)?;
        }
        Ok(())
    }

    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyAny>, u64)>> {
        let (step, delay, mut ids) = {
            let mut place = locked(&self.place);
            let Some((step, delay)) = self.source.step(py, &mut place.at)? else { return Ok(None) };
            // A copy: Python code may run while it is decoded, and ask for the next one.
            (step, delay, place.ids.take())
        };
        let object = tree(py, &step, &mut ids);
        locked(&self.place).ids = ids;
        Ok(Some((object?, delay)))
    }
}

/// See `_core.pyi`.
#[pyfunction]
pub fn recording_of<'py>(
    py: Python<'py>,
    value: &[u8],
    key: [u8; 32],
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let packed = compressed(value).map_err(damage_error)?;
    let owned = packed.map(|it| restored(py, &it)).transpose()?;
    let value = owned.as_deref().unwrap_or(value);
    open(value, &Key(key)).map_err(damage_error)?;
    recording(value).map(|bytes| text::bytes(py, bytes)).transpose()
}
