//! Long work: leaves the GIL to other threads, event loops among them, now and then.

use pyo3::prelude::*;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is longer (bytes) is not worked on in the thread of an event loop.
pub const LARGE: usize = 256 * 1024;

/// Work on more bytes than this is done with the GIL released. Below, giving the GIL up and taking
/// it again costs more than it frees: 64 KiB hash in about 2 µs.
pub(super) const LONG: usize = 64 * 1024;

/// How long the GIL is held before another thread may have it.
const BREATH: Duration = Duration::from_millis(1);

/// A thread that is woken by the release of the GIL needs time to take it, which this one would
/// otherwise do again at once.
const PAUSE: Duration = Duration::from_micros(50);

/// Does work on so many bytes, with the GIL released if they are many.
pub fn detached<T: Send>(py: Python<'_>, bytes: usize, work: impl Send + FnOnce() -> T) -> T {
    if bytes > LONG { py.detach(work) } else { work() }
}

/// Has long work that needs the GIL let go of it now and then.
pub struct Breath {
    since: Option<Instant>,
}

impl Breath {
    /// For work that may turn out not to be long.
    #[inline]
    pub const fn new() -> Self {
        Self { since: None }
    }

    /// Lets other threads have the GIL, if it was held for long.
    #[cold]
    #[inline(never)]
    pub fn take(&mut self, py: Python<'_>) {
        let since = self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= BREATH {
            py.detach(|| sleep(PAUSE));
            *since = Instant::now();
        }
    }
}

/// Does `step` until it is done, and pauses in between for as long as each step took. A step is told
/// when it has taken long enough.
pub fn in_steps(py: Python<'_>, mut step: impl FnMut(&dyn Fn() -> bool) -> bool) {
    const STEP: Duration = Duration::from_micros(200);
    loop {
        let begun = Instant::now();
        if step(&|| begun.elapsed() < STEP) {
            return;
        }
        py.detach(|| sleep(begun.elapsed()));
    }
}
