//! The time, as the cache has it.

use crate::memory::FOREVER;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The system's, or a callable's that returns Unix time in seconds.
pub struct Clock {
    own: Option<Py<PyAny>>,
    may_expire: AtomicBool,
}

impl Clock {
    /// That of `own`, if there is one.
    pub fn new(own: Option<Py<PyAny>>) -> Self {
        Self { own, may_expire: AtomicBool::new(false) }
    }

    /// In nanoseconds; or 0, as long as nothing can expire.
    pub fn now(&self, py: Python<'_>) -> PyResult<u64> {
        if !self.may_expire.load(Ordering::Relaxed) {
            return Ok(0);
        }
        self.seconds(py).map(nanoseconds)
    }

    /// In seconds.
    pub fn seconds(&self, py: Python<'_>) -> PyResult<f64> {
        match &self.own {
            Some(clock) => clock.call0(py)?.extract(py),
            None => {
                Ok(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
            }
        }
    }

    /// In nanoseconds, when something expires.
    pub fn expiry(&self, expires: Option<f64>) -> u64 {
        expires.map_or(FOREVER, |seconds| {
            self.may_expire.store(true, Ordering::Relaxed);
            nanoseconds(seconds)
        })
    }
}

/// Seconds to nanoseconds; a time before the epoch counts as the epoch.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
pub fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Nanoseconds to seconds.
#[expect(clippy::cast_precision_loss, reason = "a float of now is good for 0.2 µs")]
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
