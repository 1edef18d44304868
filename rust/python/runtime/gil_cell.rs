//! What the GIL protects.

use pyo3::Python;
use std::cell::UnsafeCell;

/// What only the holder of the GIL touches, and never for longer than a few instructions. A mutex
/// here would take a tenth of a decode's time: a decode asks ten times.
pub struct GilCell<T>(UnsafeCell<T>);

// SAFETY: `with` demands the GIL, which one thread holds at a time (the stable ABI that this is
// built for has no build without it), and `T` may be used from any thread.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    /// Holds this.
    pub fn new(held: T) -> Self {
        Self(UnsafeCell::new(held))
    }

    /// `work` must not run Python code, nor allocate or drop Python objects: that could run some,
    /// which could come back here.
    pub fn with<R>(&self, _py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the GIL is held, so no other thread is here, and `work` does not come back.
        work(unsafe { &mut *self.0.get() })
    }
}
