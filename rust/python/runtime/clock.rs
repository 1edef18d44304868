//! The time, as the cache has it.

use crate::memory::FOREVER;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

    /// In nanoseconds; before [`FOREVER`], whatever the clock says. As long as nothing can expire,
    /// only the counters over time need it: some milliseconds late, where that is cheaper.
    pub fn now(&self, py: Python<'_>) -> PyResult<u64> {
        let now = match &self.own {
            Some(clock) => clock.call0(py)?.extract(py).map(nanoseconds)?,
            None if self.may_expire.load(Ordering::Relaxed) => exact_now(),
            None => about_now(),
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

    /// In nanoseconds, when something expires.
    pub fn expiry(&self, expires: Option<f64>) -> u64 {
        expires.map_or(FOREVER, |seconds| {
            self.may_expire.store(true, Ordering::Relaxed);
            nanoseconds(seconds)
        })
    }
}

/// The time of the kernel's last tick, in nanoseconds: a third of what the exact time costs.
#[cfg(target_os = "linux")]
#[expect(clippy::cast_sign_loss, reason = "the time since 1970, and a part of a second")]
fn about_now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `time`, and to nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000) + time.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
use exact_now as about_now;

fn exact_now() -> u64 {
    let time = since_epoch();
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
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
