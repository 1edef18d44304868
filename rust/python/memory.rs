//! `Memory`: the memory tier behind a lock, with a clock.

use super::decode::decode_payload;
use super::strings::surrogatepass;
use super::{RequestBypassed, damage_error};
use crate::canonical::{self, Bypass, Form, Part};
use crate::frame::Request;
use crate::key::{Key, Keyer, Probe};
use crate::lru::FOREVER;
use crate::outline::Outliner;
use crate::tier::{Known, Tier};
use crate::value::{open, payload};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Requests longer than this are hashed with the GIL released (bytes). Below, giving the GIL up
/// and taking it again costs more than it frees: 64 KiB hash in about 2 µs.
const LONG: usize = 64 * 1024;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Memory {
    /// Taken only with the GIL held, and never while Python code runs: so it is never contended,
    /// and a fork cannot copy it locked.
    tier: Mutex<Tier>,
    keyer: Keyer,
    outliner: Outliner,
    clock: Option<Py<PyAny>>,
    may_expire: AtomicBool,
    fresh_ids: bool,
    /// Entries that were found but could not be read, which the tier has counted as hits.
    unread: AtomicU64,
}

/// The three strings of a request, as bytes.
struct Strings<'a> {
    namespace: Cow<'a, [u8]>,
    llm_string: Cow<'a, [u8]>,
    prompt: Cow<'a, [u8]>,
}

impl<'a> Strings<'a> {
    fn of(
        prompt: &'a Bound<'_, PyString>,
        llm_string: &'a Bound<'_, PyString>,
        namespace: &'a Bound<'_, PyString>,
    ) -> PyResult<Self> {
        Ok(Self {
            namespace: bytes_of(namespace)?,
            llm_string: bytes_of(llm_string)?,
            prompt: bytes_of(prompt)?,
        })
    }

    fn request(&self) -> Request<'_> {
        Request { namespace: &self.namespace, llm_string: &self.llm_string, prompt: &self.prompt }
    }
}

/// UTF-8, with lone surrogates passed through: different strings give different bytes.
pub fn bytes_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(utf8) = text.to_str() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    Ok(Cow::Owned(surrogatepass(text)?.as_bytes().to_vec()))
}

/// Seconds to nanoseconds; a time before the epoch counts as the epoch.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn bypassed(bypass: Bypass) -> PyErr {
    RequestBypassed::new_err((bypass.reason.name(), bypass.parameter))
}

/// Key, `llm_string` and prompt.
type KnownRequest = (Py<PyBytes>, Py<PyBytes>, Option<Py<PyBytes>>);

/// The settings of an `llm_string` that count, by name, as it writes their values; none if it is of
/// no form that is known.
#[pyfunction]
pub fn settings(llm_string: &Bound<'_, PyString>) -> PyResult<Vec<(String, String)>> {
    let text = bytes_of(llm_string)?;
    let Form::Params(canonical) = canonical::llm_string(&text).map_err(bypassed)? else {
        return Ok(Vec::new());
    };
    let shown = |part: &Part| {
        let source = text.get(part.source.clone()).unwrap_or_default();
        (part.name.clone(), String::from_utf8_lossy(source).trim().to_owned())
    };
    Ok(canonical.parts.iter().map(shown).collect())
}

fn long_work<T: Send>(py: Python<'_>, request: &Request<'_>, work: impl Send + FnOnce() -> T) -> T {
    if request.prompt.len() + request.llm_string.len() > LONG { py.detach(work) } else { work() }
}

impl Memory {
    fn tier(&self) -> MutexGuard<'_, Tier> {
        // The tier has no state in between: what a panic interrupted is at worst an entry lost.
        self.tier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self, py: Python<'_>) -> PyResult<u64> {
        if !self.may_expire.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let seconds = match &self.clock {
            Some(clock) => clock.call0(py)?.extract(py)?,
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        };
        Ok(nanoseconds(seconds))
    }

    fn expiry(&self, expires: Option<f64>) -> u64 {
        expires.map_or(FOREVER, |seconds| {
            self.may_expire.store(true, Ordering::Relaxed);
            nanoseconds(seconds)
        })
    }

    fn probe(&self, py: Python<'_>, request: &Request<'_>) -> Probe {
        long_work(py, request, || self.keyer.probe(request))
    }

    fn decoded(&self, py: Python<'_>, found: Option<Arc<[u8]>>) -> PyResult<Option<Py<PyList>>> {
        let Some(value) = found else { return Ok(None) };
        decode_payload(py, payload(&value), self.fresh_ids).map(Some).inspect_err(|_| {
            self.unread.fetch_add(1, Ordering::Relaxed);
        })
    }
}

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(signature = (max_bytes, max_entries=None, *, fingerprint_secret, secret=None, fresh_ids=false, clock=None))]
    fn new(
        max_bytes: usize,
        max_entries: Option<usize>,
        fingerprint_secret: &[u8],
        secret: Option<&[u8]>,
        fresh_ids: bool,
        clock: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let keyer = Keyer::new(fingerprint_secret, secret).map_err(PyValueError::new_err)?;
        Ok(Self {
            tier: Mutex::new(Tier::new(max_bytes, max_entries.unwrap_or(usize::MAX))),
            outliner: keyer.outliner(),
            keyer,
            clock,
            may_expire: AtomicBool::new(false),
            fresh_ids,
            unread: AtomicU64::new(0),
        })
    }

    fn lookup(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
    ) -> PyResult<Option<Py<PyList>>> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let now = self.now(py)?;
        let sketch = self.keyer.sketch(&request);
        let mut found = sketch.and_then(|sketch| self.tier().lookup(&request, &sketch, now));
        if found.is_none() {
            let probe = self.probe(py, &request);
            found = self.tier().lookup(&request, &probe, now);
        }
        self.decoded(py, found)
    }

    /// For a request that `lookup` did not find: it may have been asked in another form.
    fn lookup_key(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        key: [u8; 32],
    ) -> PyResult<Option<Py<PyList>>> {
        // Whatever its time: an entry that has expired is met below, and removed.
        if !self.tier().holds(&Key(key), 0) {
            return Ok(None);
        }
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let probe = self.probe(py, &request);
        let now = self.now(py)?;
        let found = self.tier().lookup_key(&request, &probe, Key(key), now);
        self.decoded(py, found)
    }

    #[pyo3(signature = (prompt, llm_string, namespace, schemas=None))]
    fn key(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        schemas: Option<HashMap<String, [u8; 32]>>,
    ) -> PyResult<Py<PyBytes>> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        match long_work(py, &request, || self.keyer.key(&request, schema_of)) {
            Ok(key) => Ok(PyBytes::new(py, &key.0).unbind()),
            Err(bypass) => Err(bypassed(bypass)),
        }
    }

    #[pyo3(signature = (prompt, llm_string, namespace, schemas=None, *, tail))]
    fn outline(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        schemas: Option<HashMap<String, [u8; 32]>>,
        tail: usize,
    ) -> PyResult<Py<PyBytes>> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        match long_work(py, &request, || self.outliner.outline(&request, schema_of, tail)) {
            Ok(outline) => Ok(PyBytes::new(py, &outline).unbind()),
            Err(bypass) => Err(bypassed(bypass)),
        }
    }

    fn holds(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<bool> {
        let now = self.now(py)?;
        Ok(self.tier().holds(&Key(key), now))
    }

    fn recent(
        &self,
        py: Python<'_>,
        namespace: &Bound<'_, PyString>,
        max_entries: usize,
        max_bytes: usize,
    ) -> PyResult<Vec<KnownRequest>> {
        let known = self.tier().recent(&bytes_of(namespace)?, max_entries, max_bytes);
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
        let told =
            |it: &Known| (bytes(&it.key.0), bytes(&it.llm_string), it.prompt.as_deref().map(bytes));
        Ok(known.iter().map(told).collect())
    }

    fn label(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Py<PyBytes>> {
        Ok(PyBytes::new(py, &self.keyer.label(&bytes_of(text)?)).unbind())
    }

    #[pyo3(signature = (prompt, llm_string, namespace, key, value, *, expires=None, epoch=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn put(
        &self,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        key: [u8; 32],
        value: &[u8],
        expires: Option<f64>,
        epoch: Option<u64>,
    ) -> PyResult<bool> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let probe = self.probe(prompt.py(), &request);
        let (key, expires) = (Key(key), self.expiry(expires));
        // Entries are decoded without another look at their checksum.
        open(value, &key).map_err(damage_error)?;
        let value = Arc::from(value);
        let mut tier = self.tier();
        Ok(match epoch {
            None => tier.update(&request, &probe, key, value, expires),
            Some(epoch) => tier.fill(&request, &probe, key, value, expires, epoch),
        })
    }

    fn remove(&self, key: [u8; 32]) -> bool {
        self.tier().remove(&Key(key))
    }

    fn clear(&self) {
        self.tier().clear();
    }

    fn epoch(&self, key: [u8; 32]) -> u64 {
        self.tier().epoch(&Key(key))
    }

    /// (hits, evictions, expired, entries, bytes), all of one instant.
    fn counts(&self) -> (u64, u64, u64, usize, usize) {
        let tier = self.tier();
        let counts = tier.counts();
        let hits = counts.hits - self.unread.load(Ordering::Relaxed);
        (hits, counts.evictions, counts.expired, tier.len(), tier.bytes())
    }
}

/// Keeps `object` alive for ever: a connection that a fork copied must never be closed.
#[pyfunction]
pub fn leak(object: Py<PyAny>) {
    std::mem::forget(object);
}
