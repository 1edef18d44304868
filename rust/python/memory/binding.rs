//! `Memory`: the memory tier behind a lock, with a clock.

use super::request_args::Strings;
use crate::canonical::{Bypass, Form, Objects};
use crate::codec::compressed;
use crate::codec::{open, payload};
use crate::memory::Bounds;
use crate::memory::{Answer, FOREVER, Found, Hit, KnownRequest, Remains, Settings, Tier, Worth};
use crate::python::codec::compression::restored;
use crate::python::codec::decode::decode_payload;
use crate::python::errors::bypassed;
use crate::python::errors::damage_error;
use crate::python::memory::clock::{Clock, nanoseconds, seconds};
use crate::python::memory::prices::Prices;
use crate::python::runtime::long_work::{LARGE, detached, in_steps};
use crate::python::runtime::text::{bytes_of, length};
use crate::request::Outliner;
use crate::request::Request;
use crate::request::{Context, Model, ParsedRequest};
use crate::request::{Fingerprinter, Probe};
use crate::request::{Key, Keyer};
use crate::request::{ModelDigests, RecentModel, RecentModels};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyString};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Fewer entries than this are freed in the thread that removes them: some 0.5 ms.
const FREED_AT_ONCE: usize = 2_000;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Memory {
    /// Taken only with the GIL held, and never while Python code runs: so it is never contended,
    /// and a fork cannot copy it locked.
    tier: Mutex<Tier>,
    /// As `tier`.
    models: Mutex<RecentModels>,
    fingerprinter: Fingerprinter,
    keyer: Keyer,
    outliner: Outliner,
    clock: Clock,
    prices: Prices,
    fresh_ids: bool,
    mark: Vec<u8>,
}

/// When an answer was made and when it is over, and whether somebody may make it anew by now.
type Times = (f64, Option<f64>, bool);

/// Tokens in, tokens out, money.
type Price = (u64, u64, f64);

/// Key, `llm_string` and prompt.
type KnownTexts = (Py<PyBytes>, Py<PyBytes>, Option<Py<PyBytes>>);

fn long_work<T: Send>(py: Python<'_>, request: &Request<'_>, work: impl Send + FnOnce() -> T) -> T {
    detached(py, request.prompt.len() + request.llm_string.len(), work)
}

fn seen(supplement: Option<&[u8]>, is_text: bool, objects: bool) -> Context<'_> {
    let objects = if objects { Objects::ById } else { Objects::ByRepr };
    Context { supplement, is_text, objects }
}

/// Frees entries: many of them in a thread of its own, which nobody waits for.
fn free(remains: Remains) {
    if remains.len() > FREED_AT_ONCE {
        // Without a thread to be had they go with the closure, here.
        let freeing = std::thread::Builder::new().name("llmemo-free".into());
        let _ = freeing.spawn(move || drop(remains));
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        free(self.tier().clear());
    }
}

impl Memory {
    fn tier(&self) -> MutexGuard<'_, Tier> {
        // The tier has no state in between: what a panic interrupted is at worst an entry lost.
        self.tier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn models(&self) -> MutexGuard<'_, RecentModels> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model of a request: `known`, or read. Long work.
    fn recognised(
        &self,
        known: Option<RecentModel>,
        request: &Request<'_>,
    ) -> Result<RecentModel, Bypass> {
        let namespace = request.namespace;
        Ok(match known {
            Some(it) if *it.key_prefix.namespace == *namespace => it,
            Some(it) => {
                RecentModel { key_prefix: self.keyer.key_prefix(namespace, &it.model).into(), ..it }
            }
            None => {
                let model = Model::read(request.llm_string)?;
                let key_prefix = self.keyer.key_prefix(namespace, &model).into();
                RecentModel { model: model.into(), key_prefix, digests: None }
            }
        })
    }

    /// The key of a request, and what `more` makes of it while it is read.
    fn named<T: Send>(
        &self,
        py: Python<'_>,
        request: Request<'_>,
        seen: Context<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]> + Sync,
        more: impl Send + FnOnce(&mut RecentModel, &ParsedRequest<'_>) -> T,
    ) -> PyResult<(Key, T)> {
        let known = self.models().get(request.llm_string);
        let named = long_work(py, &request, || {
            let mut remembered = self.recognised(known, &request)?;
            let model = Arc::clone(&remembered.model);
            let asked = ParsedRequest::read(request, seen, &model)?;
            let key = remembered.key_prefix.key(&asked, &schema_of)?;
            let more = more(&mut remembered, &asked);
            Ok((remembered, key, more))
        });
        let (remembered, key, more) = named.map_err(bypassed)?;
        self.models().put(remembered);
        Ok((key, more))
    }

    fn key_of(
        &self,
        py: Python<'_>,
        request: Request<'_>,
        seen: Context<'_>,
        schemas: Option<HashMap<String, [u8; 32]>>,
    ) -> PyResult<Key> {
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        Ok(self.named(py, request, seen, schema_of, |_, _| ())?.0)
    }

    fn digests(&self, model: &Model) -> ModelDigests {
        let has_classes = matches!(&model.form, Form::Params(it) if !it.classes.is_empty());
        let settings = (!has_classes).then(|| self.outliner.settings(model, |_| None));
        ModelDigests { label: self.keyer.llm_label(&model.text), settings }
    }

    fn probe(&self, py: Python<'_>, request: &Request<'_>) -> Probe {
        long_work(py, request, || self.fingerprinter.probe(request))
    }

    /// Keeps to the bounds after a large answer has come.
    fn relieve(&self, py: Python<'_>) {
        in_steps(py, |may_go_on| self.tier().relieve(may_go_on));
    }

    /// The hit for a request as it was asked; the strings are its.
    fn found(&self, py: Python<'_>, request: &Request<'_>) -> PyResult<Option<Hit>> {
        let now = self.clock.now(py)?;
        let sketch = self.fingerprinter.sketch(request);
        let mut found = Found::Nothing;
        if let Some(sketch) = sketch {
            found = self.tier().lookup(request, &sketch, now);
        }
        if found == Found::Nothing {
            let probe = self.probe(py, request);
            found = self.tier().lookup(request, &probe, now);
        }
        Ok(found.hit())
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
    #[pyo3(signature = (max_bytes, max_entries=None, *, namespace_max_bytes=None, fingerprint_secret, secret=None, fresh_ids=false, grace=0.0, mark="", prices=None, clock=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn new(
        max_bytes: usize,
        max_entries: Option<usize>,
        namespace_max_bytes: Option<usize>,
        fingerprint_secret: &[u8],
        secret: Option<&[u8]>,
        fresh_ids: bool,
        grace: f64,
        mark: &str,
        prices: Option<HashMap<String, (f64, f64)>>,
        clock: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let fingerprinter =
            Fingerprinter::new(fingerprint_secret).map_err(PyValueError::new_err)?;
        let keyer = Keyer::new(secret);
        let mut seed = [0; 8];
        // There are 136 bytes at least. What is decided by it tells nothing of it.
        seed.copy_from_slice(&fingerprint_secret[..8]);
        let tier = Tier::new(Settings {
            bounds: Bounds {
                bytes: max_bytes,
                entries: max_entries.unwrap_or(usize::MAX),
                group_bytes: namespace_max_bytes.unwrap_or(usize::MAX),
            },
            grace: nanoseconds(grace),
            seed: u64::from_le_bytes(seed),
        });
        Ok(Self {
            tier: Mutex::new(tier),
            models: Mutex::default(),
            fingerprinter,
            outliner: Outliner::new(keyer.outline_key()),
            keyer,
            clock: Clock::new(clock),
            prices: Prices::new(prices.unwrap_or_default()),
            fresh_ids,
            mark: mark.as_bytes().to_vec(),
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
        let hit = self.found(py, &strings.request())?;
        self.decoded(py, hit)
    }

    /// As `lookup`; False where either request or answer is large.
    fn lookup_at_once<'py>(
        &self,
        py: Python<'py>,
        prompt: &Bound<'py, PyString>,
        llm_string: &Bound<'py, PyString>,
        namespace: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_large = || Ok(Some(PyBool::new(py, false).to_owned().into_any()));
        if length(prompt) > LARGE {
            return is_large();
        }
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let Some(hit) = self.found(py, &strings.request())? else { return Ok(None) };
        if hit.value.len() > LARGE {
            self.tier().uncount(&hit);
            return is_large();
        }
        let decoded = self.decoded(py, Some(hit))?;
        Ok(decoded.map(|list| list.into_bound(py).into_any()))
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
        // An entry that has expired is met below, and removed.
        if !self.tier().knows(&Key(key)) {
            return Ok(None);
        }
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let probe = self.probe(py, &request);
        let now = self.clock.now(py)?;
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
        let now = self.clock.now(py)?;
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
        let now = self.clock.now(py)?;
        let sketch = self.fingerprinter.sketch(&request);
        let mut key = sketch.and_then(|sketch| self.tier().known(&request, &sketch, now));
        if key.is_none() {
            let probe = self.probe(py, &request);
            key = self.tier().known(&request, &probe, now);
        }
        Ok(key.map(|key| PyBytes::new(py, &key.0).unbind()))
    }

    fn size(&self, key: [u8; 32]) -> usize {
        self.tier().size(&Key(key))
    }

    fn about(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<Option<Times>> {
        let now = self.clock.now(py)?;
        let about = self.tier().about(&Key(key), now);
        Ok(about.map(|it| {
            let expires = (it.expires != FOREVER).then(|| seconds(it.expires));
            (it.created, expires, it.is_due)
        }))
    }

    #[pyo3(signature = (prompt, llm_string, namespace, schemas=None, *, supplement=None, is_text=false, objects=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn key(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        schemas: Option<HashMap<String, [u8; 32]>>,
        supplement: Option<&[u8]>,
        is_text: bool,
        objects: bool,
    ) -> PyResult<Py<PyBytes>> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let seen = seen(supplement, is_text, objects);
        let key = self.key_of(py, strings.request(), seen, schemas)?;
        Ok(PyBytes::new(py, &key.0).unbind())
    }

    /// See `_core.pyi`.
    #[pyo3(signature = (prompt, llm_string, namespace, schemas=None, *, supplement=None, is_text=false, objects=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn seek(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        schemas: Option<HashMap<String, [u8; 32]>>,
        supplement: Option<&[u8]>,
        is_text: bool,
        objects: bool,
    ) -> PyResult<(Py<PyBytes>, Option<u64>)> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let seen = seen(supplement, is_text, objects);
        let key = self.key_of(py, strings.request(), seen, schemas)?;
        let tier = self.tier();
        let epoch = (!tier.knows(&key)).then(|| tier.epoch(&key));
        drop(tier);
        Ok((PyBytes::new(py, &key.0).unbind(), epoch))
    }

    /// Key, label of the `llm_string`, outline: what a record is named by, read only once.
    #[pyo3(signature = (prompt, llm_string, namespace, schemas=None, *, tail, supplement=None, is_text=false, objects=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn describe(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        schemas: Option<HashMap<String, [u8; 32]>>,
        tail: usize,
        supplement: Option<&[u8]>,
        is_text: bool,
        objects: bool,
    ) -> PyResult<(Py<PyBytes>, Py<PyBytes>, Py<PyBytes>)> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        let seen = seen(supplement, is_text, objects);
        let (key, (label, outline)) =
            self.named(py, request, seen, schema_of, |remembered, asked| {
                let digests = &mut remembered.digests;
                let digests = digests.get_or_insert_with(|| self.digests(asked.model).into());
                let settings = digests.settings.as_deref();
                let outline = self.outliner.outline_of(asked, settings, schema_of, tail);
                (digests.label, outline)
            })?;
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
        Ok((bytes(&key.0), bytes(&label), bytes(&outline)))
    }

    #[pyo3(signature = (prompt, llm_string, namespace, schemas=None, *, tail, supplement=None, is_text=false, objects=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn outline(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        schemas: Option<HashMap<String, [u8; 32]>>,
        tail: usize,
        supplement: Option<&[u8]>,
        is_text: bool,
        objects: bool,
    ) -> PyResult<Py<PyBytes>> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        let seen = seen(supplement, is_text, objects);
        match long_work(py, &request, || self.outliner.outline(&request, seen, schema_of, tail)) {
            Ok(outline) => Ok(PyBytes::new(py, &outline).unbind()),
            Err(bypass) => Err(bypassed(bypass)),
        }
    }

    fn holds(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<bool> {
        let now = self.clock.now(py)?;
        Ok(self.tier().holds(&Key(key), now))
    }

    fn recent(
        &self,
        py: Python<'_>,
        namespace: &Bound<'_, PyString>,
        max_entries: usize,
        max_bytes: usize,
    ) -> PyResult<Vec<KnownTexts>> {
        let known = self.tier().recent(&bytes_of(namespace)?, max_entries, max_bytes);
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
        let told = |it: &KnownRequest| {
            (bytes(&it.key.0), bytes(&it.llm_string), it.prompt.as_deref().map(bytes))
        };
        Ok(known.iter().map(told).collect())
    }

    fn llm_label(&self, py: Python<'_>, llm_string: &Bound<'_, PyString>) -> PyResult<Py<PyBytes>> {
        Ok(PyBytes::new(py, &self.keyer.llm_label(&bytes_of(llm_string)?)).unbind())
    }

    fn label(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Py<PyBytes>> {
        Ok(PyBytes::new(py, &self.keyer.label(&bytes_of(text)?)).unbind())
    }

    #[pyo3(signature = (prompt, llm_string, namespace, key, value, *, expires=None, created=None, early=0.0, worth=None))]
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
        created: Option<f64>,
        early: f64,
        worth: Option<Price>,
    ) -> PyResult<bool> {
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let probe = self.probe(py, &request);
        let key = Key(key);
        // Entries are decoded without another look at their checksum.
        let kept: Result<Arc<[u8]>, _> =
            detached(py, value.len(), || open(value, &key).map(|_| value.into()));
        let (input_tokens, output_tokens, money) = worth.unwrap_or_default();
        let answer = Answer {
            value: kept.map_err(damage_error)?,
            created: created.map_or_else(|| self.clock.seconds(py), Ok)?,
            expires: self.clock.expiry(expires),
            early: nanoseconds(early),
            worth: Worth { input_tokens, output_tokens, money },
        };
        let is_kept = self.tier().update(&request, &probe, key, answer);
        if value.len() <= LARGE {
            return Ok(is_kept);
        }
        self.relieve(py);
        Ok(self.tier().knows(&key))
    }

    /// Decodes what a store had, keeps it, and counts the hit: in one step, for it is the way of
    /// every answer that was stored.
    #[pyo3(signature = (prompt, llm_string, namespace, key, stored, created, expires, epoch, at_once=false))]
    #[expect(clippy::too_many_arguments, reason = "a request, and a record")]
    fn fill(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyString>,
        llm_string: &Bound<'_, PyString>,
        namespace: &Bound<'_, PyString>,
        key: [u8; 32],
        stored: &Bound<'_, PyBytes>,
        created: f64,
        expires: Option<f64>,
        epoch: u64,
        at_once: bool,
    ) -> PyResult<Option<Py<PyList>>> {
        let key = Key(key);
        let compressed = compressed(stored.as_bytes()).map_err(damage_error)?;
        let len = compressed.as_ref().map_or(stored.as_bytes().len(), |it| it.len);
        if at_once && (len > LARGE || length(prompt) > LARGE) {
            return Ok(None);
        }
        let restored = compressed.map(|it| restored(py, &it)).transpose()?;
        let value = restored.as_deref().unwrap_or(stored.as_bytes());
        let payload = detached(py, len, || open(value, &key)).map_err(damage_error)?;
        let hit = decode_payload(py, payload, self.fresh_ids)?;
        let worth = self.prices.worth(hit.bind(py))?;
        let strings = Strings::of(prompt, llm_string, namespace)?;
        let request = strings.request();
        let probe = self.probe(py, &request);
        let expires = self.clock.expiry(expires);
        let stored = stored.as_bytes();
        let value = detached(py, len, || restored.map_or_else(|| stored.into(), Arc::from));
        let answer = Answer { value, created, expires, early: 0, worth };
        let now = self.clock.now(py)?;
        self.tier().fill(&request, &probe, key, answer, epoch, now);
        if len > LARGE {
            self.relieve(py);
        }
        Ok(Some(hit))
    }

    /// See `_core.pyi`.
    fn worth(&self, generations: &Bound<'_, PyAny>) -> PyResult<Price> {
        let Worth { input_tokens, output_tokens, money } = self.prices.worth(generations)?;
        Ok((input_tokens, output_tokens, money))
    }

    #[pyo3(signature = (namespace, llm, before))]
    fn invalidate(
        &self,
        py: Python<'_>,
        namespace: Option<[u8; 16]>,
        llm: Option<[u8; 16]>,
        before: Option<f64>,
    ) -> usize {
        let is_meant = |name: &[u8], llm_string: &[u8]| {
            let is_marked =
                |at: &usize| !self.mark.is_empty() && llm_string[*at..].starts_with(&self.mark);
            let end = (0..llm_string.len()).find(is_marked).unwrap_or(llm_string.len());
            namespace.is_none_or(|label| label == self.keyer.label(name))
                && llm.is_none_or(|label| label == self.keyer.llm_label(&llm_string[..end]))
        };
        let mut sweep = self.tier().begin_sweep(before);
        in_steps(py, |may_go_on| self.tier().sweep(&mut sweep, is_meant, may_go_on));
        sweep.removed
    }

    fn remove(&self, key: [u8; 32]) -> bool {
        self.tier().remove(&Key(key))
    }

    fn clear(&self) {
        let remains = self.tier().clear();
        free(remains);
    }

    fn take_used(&self, py: Python<'_>) -> Vec<Py<PyBytes>> {
        let used = self.tier().take_used();
        used.iter().map(|key| PyBytes::new(py, &key.0).unbind()).collect()
    }

    fn epoch(&self, key: [u8; 32]) -> u64 {
        self.tier().epoch(&Key(key))
    }

    /// All of one instant; see `_core.pyi`.
    fn counts(&self) -> (u64, u64, u64, usize, usize, u64, u64, f64, u64) {
        let tier = self.tier();
        let counts = tier.counts();
        let Worth { input_tokens, output_tokens, money } = counts.saved;
        let (entries, bytes) = (tier.len(), tier.bytes());
        let (hits, evictions, expired) = (counts.hits, counts.evictions, counts.expired);
        (hits, evictions, expired, entries, bytes, input_tokens, output_tokens, money, counts.fills)
    }
}
