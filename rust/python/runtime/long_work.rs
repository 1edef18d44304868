//! Long work: what takes more than a moment leaves the GIL to other threads, event loops among them.

use crate::python::codec::string_cache::surrogatepass;
use crate::python::runtime::interned::intern;
use pyo3::ffi;
use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTypeInfo, prelude::*};
use std::borrow::Cow;
use std::ptr::null;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is longer (bytes) is not worked on in the thread of an event loop.
pub const LARGE: usize = 256 * 1024;

/// Work on more bytes than this is done with the GIL released. Below, giving the GIL up and taking
/// it again costs more than it frees: 64 KiB hash in about 2 µs.
const LONG: usize = 64 * 1024;

/// Long texts are converted in pieces of this size, in bytes: some 30 µs each.
const PIECE: usize = 128 * 1024;

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

/// A bytes object.
pub fn bytes<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if content.len() <= LONG {
        return Ok(PyBytes::new(py, content));
    }
    let len = ffi::Py_ssize_t::try_from(content.len())?;
    // SAFETY: a new object that no other thread knows of, with room for so many bytes: all of it is
    // written to before anything reads it.
    unsafe {
        let made = ffi::PyBytes_FromStringAndSize(null(), len);
        let made = Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked::<PyBytes>();
        let room = ffi::PyBytes_AsString(made.as_ptr()).cast::<std::mem::MaybeUninit<u8>>();
        let room = std::slice::from_raw_parts_mut(room, content.len());
        py.detach(|| {
            content.as_ptr().copy_to_nonoverlapping(room.as_mut_ptr().cast(), content.len());
        });
        Ok(made)
    }
}

/// Number of code points.
#[inline]
pub fn length(text: &Bound<'_, PyString>) -> usize {
    // SAFETY: a live str.
    usize::try_from(unsafe { ffi::PyUnicode_GetLength(text.as_ptr()) }).unwrap_or(0)
}

/// UTF-8, with lone surrogates passed through; and whether there are any.
///
/// Python converts a text that is not ASCII in one go, and keeps what it made; a long one is
/// converted in pieces.
#[cold]
#[inline(never)]
pub fn utf8<'a>(text: &'a Bound<'_, PyString>) -> PyResult<(Cow<'a, [u8]>, bool)> {
    let py = text.py();
    if length(text) > LARGE
        && !PyString::type_object(py).call_method1(intern!(py, "isascii"), (text,))?.is_truthy()?
    {
        return in_pieces(text);
    }
    if let Ok(utf8) = text.to_str() {
        return Ok((Cow::Borrowed(utf8.as_bytes()), false));
    }
    Ok((Cow::Owned(surrogatepass(text)?.as_bytes().to_vec()), true))
}

fn in_pieces(text: &Bound<'_, PyString>) -> PyResult<(Cow<'static, [u8]>, bool)> {
    let (py, len) = (text.py(), length(text));
    let (mut breath, mut has_surrogates) = (Breath::new(), false);
    let mut utf8 = Vec::with_capacity(len);
    for start in (0..len).step_by(PIECE) {
        let end = len.min(start + PIECE);
        // SAFETY: a live str, and places in it.
        let piece = unsafe {
            let (start, end) = (start.cast_signed(), end.cast_signed());
            let piece = ffi::PyUnicode_Substring(text.as_ptr(), start, end);
            Bound::from_owned_ptr_or_err(py, piece)?.cast_into_unchecked::<PyString>()
        };
        if let Ok(piece) = piece.to_str() {
            utf8.extend_from_slice(piece.as_bytes());
        } else {
            has_surrogates = true;
            utf8.extend_from_slice(surrogatepass(&piece)?.as_bytes());
        }
        breath.take(py);
    }
    Ok((Cow::Owned(utf8), has_surrogates))
}

/// The str of large UTF-8 bytes, made in pieces.
///
/// # Errors
/// `UnicodeDecodeError`, if they are not UTF-8.
#[cold]
#[inline(never)]
pub fn text<'py>(py: Python<'py>, utf8: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let mut breath = Breath::new();
    let (first, mut rest) = utf8.split_at(boundary(utf8));
    let mut text = PyString::from_bytes(py, first)?;
    while !rest.is_empty() {
        breath.take(py);
        let (piece, after) = rest.split_at(boundary(rest));
        let (mut whole, piece) = (text.into_ptr(), PyString::from_bytes(py, piece)?);
        // SAFETY: two live strs. The first is ours alone, so that it grows where it is (unless it has
        // to become wider, three times at most); what comes of it, or null, takes its place.
        text = unsafe {
            ffi::PyUnicode_Append(&raw mut whole, piece.as_ptr());
            Bound::from_owned_ptr_or_err(py, whole)?.cast_into_unchecked::<PyString>()
        };
        rest = after;
    }
    Ok(text)
}

/// Where the first piece of a text ends: between two characters, if it is UTF-8.
fn boundary(utf8: &[u8]) -> usize {
    if utf8.len() <= PIECE {
        return utf8.len();
    }
    let is_start = |at: &usize| utf8[*at] & 0xC0 != 0x80;
    (PIECE - 3..=PIECE).rev().find(is_start).unwrap_or(PIECE)
}
