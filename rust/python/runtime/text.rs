//! Python's str and bytes, read and made; long ones in pieces, so that other threads have the GIL in
//! between.

use super::interned::intern;
use super::long_work::{Breath, LARGE, LONG};
use pyo3::ffi;
use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTypeInfo, prelude::*};
use std::borrow::Cow;
use std::ptr::null;

/// Long texts are converted in pieces of this size, in bytes: some 30 µs each.
const PIECE: usize = 128 * 1024;

/// UTF-8, with lone surrogates passed through: different strings give different bytes.
pub fn bytes_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if length(text) <= LARGE
        && let Ok(utf8) = text.to_str()
    {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    Ok(utf8(text)?.0)
}

/// The UTF-8 of a text, with its lone surrogates passed through. Asked of `str` itself: a subclass
/// may say something else.
pub fn surrogatepass<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    let py = text.py();
    let arguments = (text, intern!(py, "utf-8"), intern!(py, "surrogatepass"));
    let bytes = PyString::type_object(py).call_method1(intern!(py, "encode"), arguments)?;
    Ok(bytes.cast_into::<PyBytes>()?)
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
