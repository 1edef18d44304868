//! How much memory a piece of work takes at most: every `malloc` of the process is counted.
//!
//! glibc lets a program have an allocator of its own by defining these names, and offers its own ones
//! as `__libc_…`.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// What `work` returns, and how many bytes more than before it there were at most during it.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work();
    (done, PEAK.load(Relaxed) - before)
}

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
    fn malloc_usable_size(block: *mut c_void) -> usize;
}

/// Counts a block that is there now.
fn come(block: *mut c_void) -> *mut c_void {
    // SAFETY: null, or a block of the allocator's.
    let size = unsafe { malloc_usable_size(block) };
    let live = LIVE.fetch_add(size, Relaxed).wrapping_add(size);
    PEAK.fetch_max(live, Relaxed);
    block
}

/// Counts a block that is about to go.
fn go(block: *mut c_void) {
    // SAFETY: null, or a block of the allocator's.
    LIVE.fetch_sub(unsafe { malloc_usable_size(block) }, Relaxed);
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: the caller keeps to the contract of `malloc`; likewise below.
    come(unsafe { __libc_malloc(size) })
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: as above.
    come(unsafe { __libc_calloc(count, size) })
}

#[unsafe(no_mangle)]
extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    go(block);
    // SAFETY: as above.
    let moved = unsafe { __libc_realloc(block, size) };
    if moved.is_null() && size > 0 {
        come(block);
        return moved;
    }
    come(moved)
}

#[unsafe(no_mangle)]
extern "C" fn free(block: *mut c_void) {
    go(block);
    // SAFETY: as above.
    unsafe { __libc_free(block) };
}
