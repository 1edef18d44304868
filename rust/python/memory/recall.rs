//! Answers that memory has for a request as it is written.

use super::binding::Memory;
use super::conversions::{Answered, Bytes, Recalled, not_asked, to_bytes};
use super::request_args::{Text, Texts};
use crate::codec::{is_for_streams, payload, recording};
use crate::memory::Hit;
use crate::python::codec::decode::decode_payload;
use crate::python::runtime::long_work::LARGE;
use crate::python::runtime::text::length;
use crate::request::Key;
use pyo3::prelude::*;
use pyo3::types::PyString;

impl Memory {
    /// The name of the request that is asked from a frame; `None` if that takes a closer look.
    pub(super) fn at_sight<'py>(
        &self,
        frame: &Bound<'py, PyAny>,
        prompt: Text<'_, 'py>,
        llm_string: Text<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let Some(seen) = &self.models_seen else { return Ok(None) };
        seen.get().name(frame, prompt, llm_string)
    }

    /// The answer to a request. With `at_once`: if neither prompt nor answer is large.
    pub(super) fn found<'py>(
        &self,
        prompt: Text<'_, 'py>,
        llm_string: Text<'_, 'py>,
        namespace: Text<'_, 'py>,
        at_once: bool,
        streams: bool,
    ) -> Recalled<'py> {
        let py = prompt.py();
        if at_once && length(prompt) > LARGE {
            return Ok(Some(not_asked(py)));
        }
        let texts = Texts::of(prompt, llm_string, namespace)?;
        let Some(hit) = self.tier.lookup(py, &texts.request())? else { return Ok(None) };
        if at_once && hit.value.len() > LARGE {
            self.tier.lock().uncount(&hit);
            return Ok(Some(not_asked(py)));
        }
        Ok(self.decoded(py, Some(hit), streams)?.map(|list| list.into_bound(py).into_any()))
    }

    /// The answer to a request of this key, which may have been asked in another form.
    pub(super) fn found_by_key(
        &self,
        prompt: Text<'_, '_>,
        llm_string: Text<'_, '_>,
        namespace: Text<'_, '_>,
        key: Key,
        streams: bool,
    ) -> Answered {
        // An entry that has expired is met below, and removed.
        if !self.tier.lock().knows(&key) {
            return Ok(None);
        }
        let (py, texts) = (prompt.py(), Texts::of(prompt, llm_string, namespace)?);
        let hit = self.tier.lookup_key(py, &texts.request(), key)?;
        self.decoded(py, hit, streams)
    }

    pub(super) fn decoded(&self, py: Python<'_>, hit: Option<Hit>, streams: bool) -> Answered {
        let Some(hit) = hit else { return Ok(None) };
        if !streams && is_for_streams(&hit.value) {
            self.tier.lock().uncount(&hit);
            return Ok(None);
        }
        decode_payload(py, payload(&hit.value), self.fresh_ids).map(Some).inspect_err(|_| {
            self.tier.lock().uncount(&hit);
        })
    }
    /// The same of an answer that has expired, which nothing counts.
    pub(super) fn decoded_stale(&self, py: Python<'_>, hit: Option<Hit>) -> Answered {
        let hit = hit.filter(|hit| !is_for_streams(&hit.value));
        hit.map(|hit| decode_payload(py, payload(&hit.value), self.fresh_ids)).transpose()
    }

    /// The recording of a stream, if an entry has one.
    pub(super) fn recorded(&self, py: Python<'_>, key: &Key) -> Option<Bytes> {
        let value = self.tier.lock().value(key)?;
        recording(&value).map(|bytes| to_bytes(py, bytes))
    }
}
