//! What is left of a thread's stack.
//!
//! The border recurses into what it is given, and a thread may have very little stack: 64 KiB by
//! `threading.stack_size`, 128 KiB by default with musl. Where too little is left for another level
//! the work is refused, as what is nested too deep is.

use std::cell::Cell;

/// What is left for what happens at the innermost level, in bytes: calls of Python's API that run
/// Python code among it.
const RESERVE: usize = 24 * 1024;

thread_local! {
    /// The lowest address of the stack that is used; 0 if it is not known yet, 1 if there is no way
    /// to know.
    static LOWEST: Cell<usize> = const { Cell::new(0) };
}

/// Below this address of the stack there is too little of it.
#[derive(Clone, Copy)]
pub struct Floor(usize);

impl Floor {
    /// Of this thread.
    pub fn here() -> Self {
        let mut lowest = LOWEST.get();
        if lowest == 0 {
            lowest = system::lowest().unwrap_or(1);
            LOWEST.set(lowest);
        }
        Self(lowest + RESERVE)
    }

    /// Whether too little is left for another level.
    #[expect(clippy::inline_always, reason = "the address has to be the caller's")]
    #[inline(always)]
    pub fn is_near(self) -> bool {
        let here = 0_u8;
        (&raw const here).addr() < self.0
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::mem::MaybeUninit;
    use std::ptr::null_mut;

    /// The lowest address of this thread's stack.
    pub fn lowest() -> Option<usize> {
        let (mut attributes, mut lowest) = (MaybeUninit::uninit(), null_mut());
        let (mut size, mut guard) = (0, 0);
        // SAFETY: the attributes are read only once they were written, and freed.
        unsafe {
            if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
                return None;
            }
            let got =
                libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size)
                    | libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            // With some versions of glibc the guard is part of the stack.
            (got == 0).then(|| lowest.addr() + guard)
        }
    }
}

#[cfg(target_os = "macos")]
mod system {
    /// The lowest address of this thread's stack.
    pub fn lowest() -> Option<usize> {
        // SAFETY: of this thread, which lives.
        unsafe {
            let thread = libc::pthread_self();
            let highest = libc::pthread_get_stackaddr_np(thread).addr();
            highest.checked_sub(libc::pthread_get_stacksize_np(thread))
        }
    }
}

#[cfg(windows)]
mod system {
    // In kernel32, which every program is linked with.
    unsafe extern "system" {
        fn GetCurrentThreadStackLimits(lowest: *mut usize, highest: *mut usize);
    }

    /// The lowest address of this thread's stack.
    pub fn lowest() -> Option<usize> {
        let (mut lowest, mut highest) = (0, 0);
        // SAFETY: two places to write to.
        unsafe { GetCurrentThreadStackLimits(&raw mut lowest, &raw mut highest) };
        Some(lowest)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
mod system {
    /// Nobody knows: the bound on depth alone has to do.
    pub fn lowest() -> Option<usize> {
        None
    }
}
