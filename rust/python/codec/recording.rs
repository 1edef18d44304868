//! Recorded streams: see [`crate::codec::Recording`].

use super::alike::{Shape, TEXT_AT, TEXT_HEAD};
use super::decode::tree;
use super::encode::put_tree;
use super::fresh_ids::FreshIds;
use super::schema::Schema;
use crate::codec::{self, Recording, Token, Writer, compressed, open, recording};
use crate::python::codec::compression::restored;
use crate::python::errors::{ValueRefused, damage_error};
use crate::python::runtime::text;
use crate::request::Key;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a recorder has, behind a lock that is only taken with the GIL held.
#[derive(Default)]
struct Inner {
    recording: Recording,
    writer: Writer,
    /// The shape of the last chunk, where its text ends in the tree, if it is plain.
    last: Option<(Arc<Shape>, usize)>,
    runs: Vec<Run>,
}

/// Chunks of one shape, one after the other.
struct Run {
    /// The number of the first one.
    at: usize,
    /// Their texts, if they are plain.
    texts: Vec<String>,
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

fn too_large() -> PyErr {
    ValueRefused::new_err("too_large")
}

impl Recorder {
    /// Adds a chunk that is like the last one but for its text. Python code may run while it is
    /// looked at: not with the lock.
    fn add_alike(
        &self,
        schema: &Schema,
        step: &Bound<'_, PyAny>,
        delay: u64,
    ) -> PyResult<Option<usize>> {
        let Some((shape, text_end)) = locked(&self.inner).last.clone() else { return Ok(None) };
        let Some(text) = shape.text_of(schema, step) else { return Ok(None) };
        let Ok(text) = text.to_str() else { return Ok(None) };
        // A word has a token of its own.
        let len = u32::try_from(text.len()).ok().filter(|_| schema.number(text).is_none());
        let Some(len) = len else { return Ok(None) };
        let mut inner = locked(&self.inner);
        if inner.recording.bytes().len() + text.len() + TEXT_AT > self.max_bytes {
            return Err(too_large());
        }
        let said = [&len.to_le_bytes(), text.as_bytes()].concat();
        inner.recording.push_changed(TEXT_AT + 1..text_end, &said, delay);
        if let Some(last) = &mut inner.last {
            last.1 = TEXT_AT + TEXT_HEAD + text.len();
        }
        if let Some(run) = inner.runs.last_mut() {
            run.texts.push(text.to_owned());
        }
        Ok(Some(inner.recording.len()))
    }
}

/// Where the text of a plain chunk ends in its tree, if it stands where it should.
fn text_end(tree: &[u8], text: &str) -> Option<usize> {
    let mut expected = Writer::new();
    expected.put(Token::Text);
    expected.put(Token::Str(text.as_bytes()));
    let at = TEXT_AT - 1;
    tree.get(at..)?.starts_with(expected.payload()).then_some(TEXT_AT + TEXT_HEAD + text.len())
}

#[pymethods]
impl Recorder {
    #[new]
    fn new(max_bytes: usize) -> Self {
        Self { inner: Mutex::default(), max_bytes }
    }

    #[pyo3(signature = (step, delay=0))]
    fn add(&self, step: &Bound<'_, PyAny>, delay: u64) -> PyResult<usize> {
        let schema = Schema::get(step.py())?;
        if let Some(len) = self.add_alike(schema, step, delay)? {
            return Ok(len);
        }
        let mut writer = std::mem::take(&mut locked(&self.inner).writer);
        writer.restart();
        let writer = put_tree(step, writer)?;
        let shape = Shape::of(schema, step);
        let mut inner = locked(&self.inner);
        if inner.recording.bytes().len() + writer.len() > self.max_bytes {
            return Err(too_large());
        }
        let at = inner.recording.len();
        inner.recording.push(writer.payload(), delay);
        let plain =
            shape.and_then(|(shape, text)| Some((text_end(writer.payload(), &text)?, shape, text)));
        let (last, texts) = match plain {
            Some((end, shape, text)) => (Some((Arc::new(shape), end)), vec![text]),
            None => (None, Vec::new()),
        };
        inner.last = last;
        inner.runs.push(Run { at, texts });
        inner.writer = writer;
        Ok(at + 1)
    }

    fn runs<'py>(&self, py: Python<'py>) -> PyResult<Vec<(Bound<'py, PyAny>, Vec<String>)>> {
        let mut firsts = Vec::new();
        {
            let inner = locked(&self.inner);
            let (mut place, mut at) = (codec::Playback::default(), 0);
            for run in &inner.runs {
                while at <= run.at {
                    let step = place.next(inner.recording.bytes()).map_err(damage_error)?;
                    if let (Some((step, _)), true) = (step, at == run.at) {
                        firsts.push((step.to_vec(), run.texts.clone()));
                    }
                    at += 1;
                }
            }
        }
        firsts.into_iter().map(|(step, texts)| Ok((tree(py, &step, &mut None)?, texts))).collect()
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
