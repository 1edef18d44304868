//! The memory tier behind a lock, with a clock and the fingerprints of this process.

use super::keying::long_work;
use crate::memory::{About, Answer, Bounds, Found, Hit, Remains, Settings, Tier};
use crate::python::runtime::clock::{Clock, nanoseconds};
use crate::python::runtime::long_work::in_steps;
use crate::request::{Fingerprinter, Key, Probe, Request};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Fewer entries than this are freed in the thread that removes them: some 0.5 ms.
const FREED_AT_ONCE: usize = 2_000;

/// The tier that all threads share.
pub(super) struct SharedTier {
    /// Taken only with the GIL held, and never while Python code runs: so it is never contended,
    /// and a fork cannot copy it locked.
    tier: Mutex<Tier>,
    fingerprinter: Fingerprinter,
    pub(super) clock: Clock,
}

impl SharedTier {
    /// An empty tier. `grace`: how long expired entries stay, in seconds.
    pub(super) fn new(
        bounds: Bounds,
        grace: f64,
        fingerprint_secret: &[u8],
        clock: Clock,
    ) -> PyResult<Self> {
        let fingerprinter =
            Fingerprinter::new(fingerprint_secret).map_err(PyValueError::new_err)?;
        let mut seed = [0; 8];
        // There are 136 bytes at least. What is decided by it tells nothing of it.
        seed.copy_from_slice(&fingerprint_secret[..8]);
        let (grace, seed) = (nanoseconds(grace), u64::from_le_bytes(seed));
        let tier = Mutex::new(Tier::new(Settings { bounds, grace, seed }));
        Ok(Self { tier, fingerprinter, clock })
    }

    /// The tier, for as long as no Python code runs.
    pub(super) fn lock(&self) -> MutexGuard<'_, Tier> {
        // The tier has no state in between: what a panic interrupted is at worst an entry lost.
        self.tier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hit for a request as it was asked.
    pub(super) fn lookup(&self, py: Python<'_>, request: &Request<'_>) -> PyResult<Option<Hit>> {
        let now = self.clock.now(py)?;
        let sketch = self.fingerprinter.sketch(request);
        let mut found = Found::Nothing;
        if let Some(sketch) = sketch {
            found = self.lock().lookup(request, &sketch, now);
        }
        if found == Found::Nothing {
            let probe = self.probe(py, request);
            found = self.lock().lookup(request, &probe, now);
        }
        Ok(found.hit())
    }

    /// The key of the entry that `lookup` would answer from. Not a use of it.
    pub(super) fn known(&self, py: Python<'_>, request: &Request<'_>) -> PyResult<Option<Key>> {
        let now = self.clock.now(py)?;
        let sketch = self.fingerprinter.sketch(request);
        let key = sketch.and_then(|sketch| self.lock().known(request, &sketch, now));
        Ok(key.or_else(|| {
            let probe = self.probe(py, request);
            self.lock().known(request, &probe, now)
        }))
    }

    /// The hit for a request of this key, which may have been asked in other words.
    pub(super) fn lookup_key(
        &self,
        py: Python<'_>,
        request: &Request<'_>,
        key: Key,
    ) -> PyResult<Option<Hit>> {
        let (probe, now) = self.probe_now(py, request)?;
        Ok(self.lock().lookup_key(request, &probe, key, now))
    }

    /// As `lookup_key`, of an entry that may have expired, within the grace. Not counted as a hit.
    pub(super) fn stale(
        &self,
        py: Python<'_>,
        request: &Request<'_>,
        key: Key,
    ) -> PyResult<Option<Hit>> {
        let (probe, now) = self.probe_now(py, request)?;
        Ok(self.lock().stale(request, &probe, key, now))
    }

    /// The value of a key, unless it has expired. A use of it, though no hit is counted.
    pub(super) fn use_value(&self, py: Python<'_>, key: &Key) -> PyResult<Option<Arc<[u8]>>> {
        let now = self.clock.now(py)?;
        Ok(self.lock().use_value(key, now))
    }

    /// The times of an entry. Not a use of it.
    pub(super) fn about(&self, py: Python<'_>, key: &Key) -> PyResult<Option<About>> {
        let now = self.clock.now(py)?;
        Ok(self.lock().about(key, now))
    }

    /// Whether there is an entry of this key that has not expired. Not a use of it.
    pub(super) fn holds(&self, py: Python<'_>, key: &Key) -> PyResult<bool> {
        let now = self.clock.now(py)?;
        Ok(self.lock().holds(key, now))
    }

    /// The epoch of a key; none if there is an entry of it, expired or not.
    pub(super) fn epoch_if_unknown(&self, key: &Key) -> Option<u64> {
        let tier = self.lock();
        (!tier.knows(key)).then(|| tier.epoch(key))
    }

    /// Keeps a new answer. Returns whether it found room. `is_large`: others may have to go in steps.
    pub(super) fn update(
        &self,
        py: Python<'_>,
        request: &Request<'_>,
        key: Key,
        answer: Answer,
        is_large: bool,
    ) -> bool {
        let probe = self.probe(py, request);
        let is_kept = self.lock().update(request, &probe, key, answer);
        if !is_large {
            return is_kept;
        }
        self.relieve(py);
        self.lock().knows(&key)
    }

    /// Keeps an answer that a store had when the epoch of its key was `epoch`.
    pub(super) fn fill(
        &self,
        py: Python<'_>,
        request: &Request<'_>,
        key: Key,
        answer: Answer,
        epoch: u64,
        is_large: bool,
    ) -> PyResult<()> {
        let (probe, now) = self.probe_now(py, request)?;
        self.lock().fill(request, &probe, key, answer, epoch, now);
        if is_large {
            self.relieve(py);
        }
        Ok(())
    }

    /// Removes the requests that are meant, by namespace and `llm_string`, in steps. Returns how many.
    pub(super) fn invalidate(
        &self,
        py: Python<'_>,
        before: Option<f64>,
        is_meant: impl Fn(&[u8], &[u8]) -> bool,
    ) -> usize {
        let mut sweep = self.lock().begin_sweep(before);
        in_steps(py, |may_go_on| self.lock().sweep(&mut sweep, &is_meant, may_go_on));
        sweep.removed
    }

    /// Removes all entries.
    pub(super) fn clear(&self) {
        let remains = self.lock().clear();
        free(remains);
    }

    /// The probe for a request, and the time after it was made.
    fn probe_now(&self, py: Python<'_>, request: &Request<'_>) -> PyResult<(Probe, u64)> {
        Ok((self.probe(py, request), self.clock.now(py)?))
    }

    fn probe(&self, py: Python<'_>, request: &Request<'_>) -> Probe {
        long_work(py, request, || self.fingerprinter.probe(request))
    }

    /// Keeps to the bounds after a large answer has come.
    fn relieve(&self, py: Python<'_>) {
        in_steps(py, |may_go_on| self.lock().relieve(may_go_on));
    }
}

impl Drop for SharedTier {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Frees entries: many of them in a thread of its own, which no caller waits for.
fn free(remains: Remains) {
    if remains.len() > FREED_AT_ONCE {
        // Without a thread to be had they go with the closure, here.
        let freeing = std::thread::Builder::new().name("llmemo-free".into());
        let _ = freeing.spawn(move || drop(remains));
    }
}
