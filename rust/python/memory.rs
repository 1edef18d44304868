//! `Memory`: the memory tier behind a lock, with a clock.

use super::damage_error;
use super::decode::decode_payload;
use super::requests::{Strings, bypassed, bytes_of};
use crate::asked::{Asked, Digests, Model, Models};
use crate::canonical::{Bypass, Form};
use crate::frame::Request;
use crate::key::{Key, Keyer, Probe};
use crate::outline::Outliner;
use crate::tier::{Answer, FOREVER, Found, Hit, Known, Settings, Tier, Worth};
use crate::value::{open, payload};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// As `tier`.
    models: Mutex<Models>,
    keyer: Keyer,
    outliner: Outliner,
    clock: Option<Py<PyAny>>,
    may_expire: AtomicBool,
    fresh_ids: bool,
}

/// Seconds to nanoseconds; a time before the epoch counts as the epoch.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Nanoseconds to seconds.
#[expect(clippy::cast_precision_loss, reason = "a float of now is good for 0.2 µs")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// When an answer was made and when it is over, and whether somebody may make it anew by now.
type Times = (f64, Option<f64>, bool);

/// Tokens in, tokens out, money.
type Price = (u64, u64, f64);

/// Key, `llm_string` and prompt.
type KnownRequest = (Py<PyBytes>, Py<PyBytes>, Option<Py<PyBytes>>);

fn read(known: Option<Arc<Model>>, request: &Request<'_>) -> Result<Arc<Model>, Bypass> {
    known.map_or_else(|| Model::read(request.llm_string).map(Arc::new), Ok)
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
        self.seconds(py).map(nanoseconds)
    }

    fn seconds(&self, py: Python<'_>) -> PyResult<f64> {
        match &self.clock {
            Some(clock) => clock.call0(py)?.extract(py),
            None => {
                Ok(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
            }
        }
    }

    fn expiry(&self, expires: Option<f64>) -> u64 {
        expires.map_or(FOREVER, |seconds| {
            self.may_expire.store(true, Ordering::Relaxed);
            nanoseconds(seconds)
        })
    }

    fn models(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn model_of(&self, request: &Request<'_>) -> (Option<Arc<Model>>, Option<Arc<Digests>>) {
        let (model, digests) = self.models().get(request.llm_string).unzip();
        (model, digests.flatten())
    }

    fn digests(&self, model: &Model) -> Digests {
        let has_classes = matches!(&model.form, Form::Params(it) if !it.classes.is_empty());
        let settings = (!has_classes).then(|| self.outliner.settings(model, |_| None));
        Digests { label: self.keyer.label(&model.text), settings }
    }

    fn probe(&self, py: Python<'_>, request: &Request<'_>) -> Probe {
        long_work(py, request, || self.keyer.probe(request))
    }

    fn decoded(&self, py: Python<'_>, hit: Option<Hit>) -> PyResult<Option<Py<PyList>>> {
        let Some(hit) = hit else { return Ok(None) };
        decode_payload(py, payload(&hit.value), self.fresh_ids).map(Some).inspect_err(|_| {
            self.tier().uncount(&hit);
        })
    }
}

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(signature = (max_bytes, max_entries=None, *, fingerprint_secret, secret=None, fresh_ids=false, grace=0.0, clock=None))]
    fn new(
        max_bytes: usize,
        max_entries: Option<usize>,
        fingerprint_secret: &[u8],
        secret: Option<&[u8]>,
        fresh_ids: bool,
        grace: f64,
        clock: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let keyer = Keyer::new(fingerprint_secret, secret).map_err(PyValueError::new_err)?;
        let mut seed = [0; 8];
        // There are 136 bytes at least. What is decided by it tells nothing of it.
        seed.copy_from_slice(&fingerprint_secret[..8]);
        let tier = Tier::new(Settings {
            max_bytes,
            max_entries: max_entries.unwrap_or(usize::MAX),
            grace: nanoseconds(grace),
            seed: u64::from_le_bytes(seed),
        });
        Ok(Self {
            tier: Mutex::new(tier),
            models: Mutex::default(),
            outliner: keyer.outliner(),
            keyer,
            clock,
            may_expire: AtomicBool::new(false),
            fresh_ids,
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
        let mut found = Found::Nothing;
        if let Some(sketch) = sketch {
            found = self.tier().lookup(&request, &sketch, now);
        }
        if found == Found::Nothing {
            let probe = self.probe(py, &request);
            found = self.tier().lookup(&request, &probe, now);
        }
        self.decoded(py, found.hit())
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

    fn stale(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        key: [u8; 32],
    ) -> PyResult<Option<Py<PyList>>> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let probe = self.probe(py, &request);
        let now = self.now(py)?;
        let found = self.tier().stale(&request, &probe, Key(key), now);
        let Some(hit) = found else { return Ok(None) };
        decode_payload(py, payload(&hit.value), self.fresh_ids).map(Some)
    }

    fn known(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
    ) -> PyResult<Option<Py<PyBytes>>> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let now = self.now(py)?;
        let sketch = self.keyer.sketch(&request);
        let mut key = sketch.and_then(|sketch| self.tier().known(&request, &sketch, now));
        if key.is_none() {
            let probe = self.probe(py, &request);
            key = self.tier().known(&request, &probe, now);
        }
        Ok(key.map(|key| PyBytes::new(py, &key.0).unbind()))
    }

    fn about(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<Option<Times>> {
        let now = self.now(py)?;
        let about = self.tier().about(&Key(key), now);
        Ok(about.map(|it| {
            let expires = (it.expires != FOREVER).then(|| seconds(it.expires));
            (it.created, expires, it.is_due)
        }))
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
        let (known, _) = self.model_of(&request);
        let named = long_work(py, &request, || {
            let model = read(known, &request)?;
            let key = self.keyer.key_of(&Asked::read(request, &model)?, schema_of)?;
            Ok((model, key))
        });
        let (model, key) = named.map_err(bypassed)?;
        self.models().put(model, None);
        Ok(PyBytes::new(py, &key.0).unbind())
    }

    /// Key, label of the `llm_string`, outline: what a record is named by, read only once.
    #[pyo3(signature = (prompt, llm_string, namespace, schemas=None, *, tail))]
    fn describe(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        schemas: Option<HashMap<String, [u8; 32]>>,
        tail: usize,
    ) -> PyResult<(Py<PyBytes>, Py<PyBytes>, Py<PyBytes>)> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        let (known, digests) = self.model_of(&request);
        let described = long_work(py, &request, || {
            let model = read(known, &request)?;
            let asked = Asked::read(request, &model)?;
            let key = self.keyer.key_of(&asked, schema_of)?;
            let digests = digests.unwrap_or_else(|| Arc::new(self.digests(&model)));
            let settings = digests.settings.as_deref();
            let outline = self.outliner.outline_of(&asked, settings, schema_of, tail);
            Ok((model, digests, key, outline))
        });
        let (model, digests, key, outline) = described.map_err(bypassed)?;
        let label = digests.label;
        self.models().put(model, Some(digests));
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
        Ok((bytes(&key.0), bytes(&label), bytes(&outline)))
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

    #[pyo3(signature = (prompt, llm_string, namespace, key, value, *, expires=None, epoch=None, created=None, early=0.0, worth=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn put(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        key: [u8; 32],
        value: &[u8],
        expires: Option<f64>,
        epoch: Option<u64>,
        created: Option<f64>,
        early: f64,
        worth: Option<Price>,
    ) -> PyResult<bool> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let probe = self.probe(py, &request);
        let key = Key(key);
        // Entries are decoded without another look at their checksum.
        open(value, &key).map_err(damage_error)?;
        let (input_tokens, output_tokens, money) = worth.unwrap_or_default();
        let answer = Answer {
            value: value.into(),
            created: created.map_or_else(|| self.seconds(py), Ok)?,
            expires: self.expiry(expires),
            early: nanoseconds(early),
            worth: Worth { input_tokens, output_tokens, money },
        };
        let now = self.now(py)?;
        let mut tier = self.tier();
        Ok(match epoch {
            None => tier.update(&request, &probe, key, answer),
            Some(epoch) => tier.fill(&request, &probe, key, answer, epoch, now),
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

    /// All of one instant; see `_core.pyi`.
    fn counts(&self) -> (u64, u64, u64, usize, usize, u64, u64, f64) {
        let tier = self.tier();
        let counts = tier.counts();
        let Worth { input_tokens, output_tokens, money } = counts.saved;
        let (entries, bytes) = (tier.len(), tier.bytes());
        let (hits, evictions, expired) = (counts.hits, counts.evictions, counts.expired);
        (hits, evictions, expired, entries, bytes, input_tokens, output_tokens, money)
    }
}

/// Keeps `object` alive for ever: a connection that a fork copied must never be closed.
#[pyfunction]
pub fn leak(object: Py<PyAny>) {
    std::mem::forget(object);
}
