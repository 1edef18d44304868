//! Short strings, decoded once and shared: model names, tool names, keys of metadata. A str is
//! immutable, so that one object may be in any number of answers. Sharing it saves its allocation,
//! and, where it is a dict's key, computing its hash.

use crate::python::runtime::gil_cell::GilCell;
use crate::python::runtime::long_work::LARGE;
use crate::python::runtime::text;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Longer strings are text, which rarely recurs (bytes).
const LEN_MAX: usize = 24;

/// Slots: a power of two. Each holds the last string that fell into it: at most 120 KB in all.
const SLOTS: usize = 1024;

/// See the module's documentation.
pub struct StringCache {
    slots: GilCell<Vec<Option<Slot>>>,
}

struct Slot {
    short: Short,
    text: Py<PyString>,
}

/// A string of at most [`LEN_MAX`] bytes: its length, and words that together hold every byte of
/// it, some twice. Compared and hashed in registers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Short {
    len: usize,
    words: [u64; 3],
}

impl Short {
    fn of(utf8: &[u8]) -> Option<Self> {
        let len = utf8.len();
        if len > LEN_MAX {
            return None;
        }
        let words = match (utf8.first_chunk(), utf8.last_chunk(), utf8.get(8..16)) {
            (Some(first), Some(last), middle) => {
                let middle = middle.and_then(|it| it.first_chunk()).unwrap_or(last);
                [*first, *middle, *last].map(u64::from_le_bytes)
            }
            _ => match (utf8.first_chunk(), utf8.last_chunk()) {
                (Some(first), Some(last)) => {
                    [u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into(), 0]
                }
                _ => [utf8.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0, 0],
            },
        };
        Some(Self { len, words })
    }

    /// Spread well enough for a table in which a clash costs no more than decoding anew.
    fn slot(&self) -> usize {
        // 2^64 by the golden ratio (Knuth, The Art of Computer Programming, volume 3, 6.4).
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let [first, middle, last] = self.words;
        let mixed = (first ^ self.len as u64).wrapping_mul(SPREAD) ^ middle;
        let mixed = (mixed.wrapping_mul(SPREAD) ^ last).wrapping_mul(SPREAD);
        (mixed >> 32) as usize % SLOTS
    }
}

impl StringCache {
    /// Empty.
    pub fn new() -> Self {
        Self { slots: GilCell::new((0..SLOTS).map(|_| None).collect()) }
    }

    /// The str of these UTF-8 bytes.
    ///
    /// # Errors
    /// `UnicodeDecodeError`, if they are not UTF-8.
    pub fn get<'py>(&self, py: Python<'py>, utf8: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let Some(short) = Short::of(utf8) else {
            if utf8.len() > LARGE {
                return text::text(py, utf8);
            }
            return PyString::from_bytes(py, utf8);
        };
        let at = short.slot();
        let known = self.slots.with(py, |slots| match &slots[at] {
            Some(slot) if slot.short == short => Some(slot.text.clone_ref(py)),
            _ => None,
        });
        if let Some(known) = known {
            return Ok(known.into_bound(py));
        }
        let text = PyString::from_bytes(py, utf8)?;
        let kept = Slot { short, text: text.clone().unbind() };
        let before = self.slots.with(py, |slots| slots[at].replace(kept));
        drop(before);
        Ok(text)
    }
}
