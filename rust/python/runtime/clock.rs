//! The time, as the cache has it.

use crate::memory::FOREVER;
use pyo3::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The system's, or a callable's that returns Unix time in seconds.
pub struct Clock {
    own: Option<Py<PyAny>>,
}

impl Clock {
    /// That of `own`, if there is one.
    pub fn new(own: Option<Py<PyAny>>) -> Self {
        Self { own }
    }

    /// In nanoseconds; before [`FOREVER`], whatever the clock says.
    pub fn now(&self, py: Python<'_>) -> PyResult<u64> {
        let now = match &self.own {
            Some(clock) => clock.call0(py)?.extract(py).map(nanoseconds)?,
            None => since_epoch().as_nanos().try_into().unwrap_or(FOREVER),
        };
        Ok(now.min(FOREVER - 1))
    }

    /// In seconds.
    pub fn seconds(&self, py: Python<'_>) -> PyResult<f64> {
        match &self.own {
            Some(clock) => clock.call0(py)?.extract(py),
            None => Ok(since_epoch().as_secs_f64()),
        }
    }
}

/// In nanoseconds, when something expires.
pub fn expiry(expires: Option<f64>) -> u64 {
    expires.map_or(FOREVER, nanoseconds)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
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
