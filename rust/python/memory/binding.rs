//! The Python class `Memory`: the memory tier, and the names of requests.

use super::conversions::{
    Answered, Bytes, KnownTexts, Partitioned, Price, Recalled, Times, known_texts, not_asked,
    price_of, times, to_bytes, worth_of,
};
use super::request_args::{RequestArg, Schemas, Text, Texts};
use super::shared_tier::SharedTier;
use super::stored::{Stored, checked};
use super::{counts::MemoryCounts, keying::Keying, prices::Prices};
use crate::memory::{Answer, Bounds, Worth};
use crate::python::codec::decode::decode_payload;
use crate::python::keys::{settings::ignored, snapshots::Snapshots};
use crate::python::runtime::clock::{Clock, expiry, nanoseconds};
use crate::python::runtime::{long_work::LARGE, text::bytes_of, text::length};
use crate::request::Key;
use pyo3::{prelude::*, pybacked::PyBackedStr, types::PyBytes};
use std::collections::HashMap;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Memory {
    pub(super) tier: SharedTier,
    keying: Keying,
    prices: Prices,
    pub(super) fresh_ids: bool,
    pub(super) models_seen: Option<Py<Snapshots>>,
}

#[pymethods]
#[expect(clippy::needless_pass_by_value, reason = "arguments are extracted for the call")]
impl Memory {
    #[new]
    #[pyo3(signature = (max_bytes, max_entries=None, *, namespace_max_bytes=None, fingerprint_secret, secret=None, fresh_ids=false, grace=0.0, mark="", prices=None, clock=None, models_seen=None, ignore=vec![]))]
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
        models_seen: Option<Py<Snapshots>>,
        ignore: Vec<PyBackedStr>,
    ) -> PyResult<Self> {
        let bounds = Bounds {
            bytes: max_bytes,
            entries: max_entries.unwrap_or(usize::MAX),
            group_bytes: namespace_max_bytes.unwrap_or(usize::MAX),
        };
        Ok(Self {
            tier: SharedTier::new(bounds, grace, fingerprint_secret, Clock::new(clock))?,
            keying: Keying::new(secret, mark, ignored(&ignore)),
            prices: Prices::new(prices.unwrap_or_default()),
            fresh_ids,
            models_seen,
        })
    }

    /// In one call, since a hit takes hardly longer than a few calls do.
    #[pyo3(signature = (frame, prompt, llm_string, namespace, at_once=false))]
    fn recall<'py>(
        &self,
        frame: &Bound<'py, PyAny>,
        prompt: Text<'_, 'py>,
        llm_string: Text<'_, 'py>,
        namespace: Text<'_, 'py>,
        at_once: bool,
    ) -> Recalled<'py> {
        match self.at_sight(frame, prompt, llm_string)? {
            Some(name) => self.found(prompt, &name, namespace, at_once, false),
            None => Ok(Some(not_asked(frame.py()))),
        }
    }

    #[pyo3(signature = (prompt, llm_string, namespace, at_once=false, *, streams=false))]
    fn lookup<'py>(
        &self,
        prompt: Text<'_, 'py>,
        llm_string: Text<'_, 'py>,
        namespace: Text<'_, 'py>,
        at_once: bool,
        streams: bool,
    ) -> Recalled<'py> {
        self.found(prompt, llm_string, namespace, at_once, streams)
    }

    #[pyo3(signature = (prompt, llm_string, namespace, key, *, streams=false))]
    fn lookup_key(
        &self,
        prompt: Text,
        llm_string: Text,
        namespace: Text,
        key: [u8; 32],
        streams: bool,
    ) -> Answered {
        self.found_by_key(prompt, llm_string, namespace, Key(key), streams)
    }

    fn stale(&self, prompt: Text, llm_string: Text, namespace: Text, key: [u8; 32]) -> Answered {
        let (py, texts) = (prompt.py(), Texts::of(prompt, llm_string, namespace)?);
        let hit = self.tier.stale(py, &texts.request(), Key(key))?;
        self.decoded_stale(py, hit)
    }

    fn known(&self, prompt: Text, llm_string: Text, namespace: Text) -> PyResult<Option<Bytes>> {
        let (py, texts) = (prompt.py(), Texts::of(prompt, llm_string, namespace)?);
        let key = self.tier.known(py, &texts.request())?;
        Ok(key.map(|key| to_bytes(py, &key.0)))
    }

    fn size(&self, key: [u8; 32]) -> usize {
        self.tier.lock().size(&Key(key))
    }

    fn recording(&self, py: Python<'_>, key: [u8; 32]) -> Option<Bytes> {
        self.recorded(py, &Key(key))
    }

    fn use_value(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<Option<Bytes>> {
        Ok(self.tier.use_value(py, &Key(key))?.map(|value| to_bytes(py, &value)))
    }

    fn about(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<Option<Times>> {
        Ok(self.tier.about(py, &Key(key))?.map(times))
    }

    #[pyo3(signature = (request, namespace, schemas=None))]
    fn key(&self, request: RequestArg, namespace: Text, schemas: Schemas) -> PyResult<Bytes> {
        let (py, key) = (namespace.py(), self.keying.key(&request, namespace, schemas)?);
        Ok(to_bytes(py, &key.0))
    }

    #[pyo3(signature = (request, namespace, schemas=None))]
    fn partition(&self, request: RequestArg, namespace: Text, schemas: Schemas) -> Partitioned {
        self.keying.partition(&request, namespace, schemas)
    }

    #[pyo3(signature = (request, namespace, schemas=None))]
    fn seek(
        &self,
        request: RequestArg,
        namespace: Text,
        schemas: Schemas,
    ) -> PyResult<(Bytes, Option<u64>)> {
        let (py, key) = (namespace.py(), self.keying.key(&request, namespace, schemas)?);
        Ok((to_bytes(py, &key.0), self.tier.epoch_if_unknown(&key)))
    }

    #[pyo3(signature = (request, namespace, schemas=None, *, tail))]
    fn describe(
        &self,
        request: RequestArg,
        namespace: Text,
        schemas: Schemas,
        tail: usize,
    ) -> PyResult<(Bytes, Bytes, Bytes)> {
        let py = namespace.py();
        let (key, label, outline) = self.keying.describe(&request, namespace, schemas, tail)?;
        Ok((to_bytes(py, &key.0), to_bytes(py, &label), to_bytes(py, &outline)))
    }

    #[pyo3(signature = (request, namespace, schemas=None, *, tail))]
    fn outline(
        &self,
        request: RequestArg,
        namespace: Text,
        schemas: Schemas,
        tail: usize,
    ) -> PyResult<Bytes> {
        let outline = self.keying.outline(&request, namespace, schemas, tail)?;
        Ok(to_bytes(namespace.py(), &outline))
    }

    fn holds(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<bool> {
        self.tier.holds(py, &Key(key))
    }

    fn recent(
        &self,
        namespace: Text,
        max_entries: usize,
        max_bytes: usize,
    ) -> PyResult<Vec<KnownTexts>> {
        let known = self.tier.lock().recent(&bytes_of(namespace)?, max_entries, max_bytes);
        Ok(known.iter().map(|it| known_texts(namespace.py(), it)).collect())
    }

    fn llm_label(&self, llm_string: Text) -> PyResult<Bytes> {
        Ok(to_bytes(llm_string.py(), &self.keying.keyer.llm_label(&bytes_of(llm_string)?)))
    }

    fn label(&self, text: Text) -> PyResult<Bytes> {
        Ok(to_bytes(text.py(), &self.keying.keyer.label(&bytes_of(text)?)))
    }

    #[pyo3(signature = (prompt, llm_string, namespace, key, value, *, expires=None, created=None, early=0.0, worth=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, on the Python side")]
    fn put(
        &self,
        py: Python<'_>,
        prompt: Text,
        llm_string: Text,
        namespace: Text,
        key: [u8; 32],
        value: &[u8],
        expires: Option<f64>,
        created: Option<f64>,
        early: f64,
        worth: Option<Price>,
    ) -> PyResult<bool> {
        let (clock, key) = (&self.tier.clock, Key(key));
        let texts = Texts::of(prompt, llm_string, namespace)?;
        let answer = Answer {
            value: checked(py, value, &key)?,
            created: created.map_or_else(|| clock.seconds(py), Ok)?,
            expires: expiry(expires),
            early: nanoseconds(early),
            worth: worth.map_or_else(Worth::default, worth_of),
        };
        Ok(self.tier.update(py, &texts.request(), key, answer, value.len() > LARGE))
    }

    #[pyo3(signature = (prompt, llm_string, namespace, key, stored, created, expires, epoch, at_once=false, *, streams=false))]
    #[expect(clippy::too_many_arguments, reason = "a request, and a record")]
    fn fill<'py>(
        &self,
        py: Python<'py>,
        prompt: Text,
        llm_string: Text,
        namespace: Text,
        key: [u8; 32],
        stored: &Bound<'_, PyBytes>,
        created: f64,
        expires: Option<f64>,
        epoch: u64,
        at_once: bool,
        streams: bool,
    ) -> Recalled<'py> {
        let (key, stored) = (Key(key), Stored::of(stored.as_bytes())?);
        if at_once && (stored.len > LARGE || length(prompt) > LARGE) {
            return Ok(None);
        }
        // In one step: decoded, kept, counted. It is the way of every answer that was stored.
        let (is_large, value) = (stored.len > LARGE, stored.restored(py)?);
        let payload = value.payload(py, &key, streams)?;
        let Some(payload) = payload else { return Ok(Some(not_asked(py))) };
        let hit = decode_payload(py, payload, self.fresh_ids)?;
        let worth = self.prices.worth(hit.bind(py))?;
        let texts = Texts::of(prompt, llm_string, namespace)?;
        let expires = expiry(expires);
        let answer = Answer { value: value.into_kept(py), created, expires, early: 0, worth };
        self.tier.fill(py, &texts.request(), key, answer, epoch, is_large)?;
        Ok(Some(hit.into_bound(py).into_any()))
    }

    fn worth(&self, generations: &Bound<'_, PyAny>) -> PyResult<Price> {
        self.prices.worth(generations).map(price_of)
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
            self.keying.is_labelled(name, llm_string, namespace, llm)
        };
        self.tier.invalidate(py, before, is_meant)
    }

    fn remove(&self, key: [u8; 32]) -> bool {
        self.tier.lock().remove(&Key(key))
    }

    fn clear(&self) {
        self.tier.clear();
    }

    fn take_used(&self, py: Python<'_>) -> Vec<Bytes> {
        let used = self.tier.lock().take_used();
        used.iter().map(|key| to_bytes(py, &key.0)).collect()
    }

    fn epoch(&self, key: [u8; 32]) -> u64 {
        self.tier.lock().epoch(&Key(key))
    }

    fn counts(&self) -> MemoryCounts {
        MemoryCounts::of(&self.tier.lock())
    }
}
