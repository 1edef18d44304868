//! Dicts of few entries, and what they have in common.
//!
//! A model describes each of its answers in the same dicts: the same keys in the same order, and most
//! values are the same, too. So the last dict of each shape is kept, with the bytes that it was read
//! from. The next one begins as a copy of it, which Python makes in one step, and only what other
//! bytes say is decoded and set. Equal bytes stand for equal objects, and what is kept of them is
//! immutable: where a value is not, the copy has a None that is always replaced.

use crate::codec::{DEPTH_MAX, is_leaf};
use crate::python::codec::decode::decoder::{Decoder, Failure};
use crate::python::runtime::gil_cell::GilCell;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Dicts of more entries are not kept.
const ENTRIES_MAX: usize = 16;

/// Nor are keys, or values, of more bytes: at most 700 KB in all, objects included.
const BYTES_MAX: usize = 40;

/// A power of two. Each holds one shape.
const SLOTS: usize = 128;

/// How many dicts of other shapes a new shape survives, so that one of two that alternate stays; and
/// how many at most.
const TRUST: u8 = 2;
const TRUST_MAX: u8 = 8;

/// See the module's documentation.
pub struct Shapes {
    slots: GilCell<Vec<Slot>>,
}

#[derive(Default)]
struct Slot {
    /// What the shape begins with; see [`sign`].
    sign: u64,
    shape: Option<Box<Shape>>,
    /// Whether somebody has taken the shape out, and will bring it back.
    is_out: bool,
    trust: u8,
}

/// A dict that was decoded.
struct Shape {
    /// The dict itself.
    dict: Py<PyDict>,
    entries: Box<[Entry]>,
    /// What all entries were read from, but for values that are not kept.
    bytes: Box<[u8]>,
    /// Whether all values are kept.
    is_whole: bool,
}

struct Entry {
    key: Py<PyString>,
    /// Where its key begins in `bytes`, and ends; and its value, if that is kept.
    start: usize,
    key_end: usize,
    end: Option<usize>,
}

/// What there is for a dict that begins like this.
enum Taken {
    /// Maybe its shape: to be given back.
    Shape(Box<Shape>),
    /// None, and it is not worth one.
    Nothing,
    /// None, but it is the second of its kind.
    Second,
}

impl Shapes {
    /// Empty.
    pub fn new() -> Self {
        Self { slots: GilCell::new((0..SLOTS).map(|_| Slot::default()).collect()) }
    }

    fn take(&self, py: Python<'_>, sign: u64) -> Taken {
        let (taken, before) = self.slots.with(py, |slots| {
            let slot = &mut slots[slot_of(sign)];
            if slot.sign == sign {
                return match slot.shape.take() {
                    _ if slot.is_out => (Taken::Nothing, None),
                    None => (Taken::Second, None),
                    Some(shape) => {
                        slot.is_out = true;
                        (Taken::Shape(shape), None)
                    }
                };
            }
            if slot.trust > 0 {
                slot.trust -= 1;
                return (Taken::Nothing, None);
            }
            let before = std::mem::replace(slot, Slot { sign, ..Slot::default() });
            (Taken::Nothing, before.shape)
        });
        drop(before);
        taken
    }

    /// Gives back what was taken; `fits`: whether the dict was of that shape.
    fn give_back(&self, py: Python<'_>, sign: u64, shape: Box<Shape>, fits: bool) {
        let before = self.slots.with(py, |slots| {
            let slot = &mut slots[slot_of(sign)];
            if slot.sign != sign || !slot.is_out {
                return Some(shape);
            }
            slot.is_out = false;
            slot.trust =
                if fits { TRUST_MAX.min(slot.trust + 1) } else { slot.trust.saturating_sub(1) };
            // Where it fits no more, the next one will be learned instead.
            if slot.trust == 0 { Some(shape) } else { slot.shape.replace(shape) }
        });
        drop(before);
    }

    /// Gives what is new.
    fn give(&self, py: Python<'_>, sign: u64, shape: Box<Shape>) {
        let new = Slot { sign, shape: Some(shape), is_out: false, trust: TRUST };
        let before = self.slots.with(py, |slots| std::mem::replace(&mut slots[slot_of(sign)], new));
        drop(before);
    }
}

/// Tells dicts apart by where they stand (the end of the key before them), their number of entries
/// and their first key. 0 if that is no short text.
fn sign(payload: &[u8], rest: &[u8], len: usize) -> u64 {
    const STR: u8 = 6;
    const TOKEN: usize = 5;
    // 2^64 by the golden ratio: see `strings.rs`.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let key = match rest {
        [word, ..] if *word >= 0x80 => u64::from(*word),
        [STR, len, 0, 0, 0, text @ ..] if usize::from(*len) <= BYTES_MAX => {
            let head = &text[..text.len().min(usize::from(*len)).min(8)];
            head.iter().fold(u64::from(*len), |sign, byte| sign << 8 ^ u64::from(*byte))
        }
        _ => return 0,
    };
    let before = payload.len() - rest.len();
    let place = before.checked_sub(TOKEN + 1).map_or(0, |at| payload[at]);
    (key.wrapping_mul(SPREAD) ^ (len as u64) << 8 ^ u64::from(place)).wrapping_mul(SPREAD)
}

fn slot_of(sign: u64) -> usize {
    (sign >> 32) as usize % SLOTS
}

impl<'py> Decoder<'_, 'py> {
    /// A dict of so many entries, of at most [`crate::python::codec::decode::rare::SAME_HASH_MAX`].
    pub fn dict(&mut self, len: usize, depth: usize) -> Result<Bound<'py, PyDict>, Failure> {
        // At the greatest depth no value is allowed, so that none may be skipped.
        if len == 0 || len > ENTRIES_MAX || depth == DEPTH_MAX {
            return self.entries(PyDict::new(self.py), len, depth);
        }
        let (py, shapes) = (self.py, &self.schema.shapes);
        let sign = sign(self.payload, self.reader.rest(), len);
        match shapes.take(py, sign) {
            Taken::Shape(shape) => {
                // A sign is only a sign.
                let (dict, fits) = if shape.entries.len() == len {
                    self.shaped(&shape, depth)
                } else {
                    (self.entries(PyDict::new(py), len, depth), false)
                };
                shapes.give_back(py, sign, shape, fits);
                dict
            }
            Taken::Second if sign != 0 => self.learned(len, depth, sign),
            _ => self.entries(PyDict::new(py), len, depth),
        }
    }

    /// Adds so many entries to a dict.
    fn entries(
        &mut self,
        dict: Bound<'py, PyDict>,
        len: usize,
        depth: usize,
    ) -> Result<Bound<'py, PyDict>, Failure> {
        for _ in 0..len {
            if let Some(word) = self.reader.next_word() {
                let key = self.lent(word)?;
                self.set(&dict, key, None, depth)?;
            } else {
                dict.set_item(self.any(depth + 1)?, self.any(depth + 1)?)?;
            }
        }
        Ok(dict)
    }

    /// A dict that is probably of this shape, and whether it is.
    fn shaped(
        &mut self,
        shape: &Shape,
        depth: usize,
    ) -> (Result<Bound<'py, PyDict>, Failure>, bool) {
        let dict = match shape.dict.bind(self.py).copy() {
            Ok(dict) => dict,
            Err(error) => return (Err(error.into()), true),
        };
        if shape.is_whole && self.reader.skip(&shape.bytes) {
            return (Ok(dict), true);
        }
        for (at, entry) in shape.entries.iter().enumerate() {
            if let Some(end) = entry.end
                && self.reader.skip(&shape.bytes[entry.start..end])
            {
                continue;
            }
            if !self.reader.skip(&shape.bytes[entry.start..entry.key_end]) {
                let dict = self.other_shape(shape, &dict, at, depth);
                return (dict, false);
            }
            if let Err(failure) = self.set(&dict, &entry.key, None, depth) {
                return (Err(failure), true);
            }
        }
        (Ok(dict), true)
    }

    /// What was read as far as to this entry, and then has another key.
    #[cold]
    fn other_shape(
        &mut self,
        shape: &Shape,
        read: &Bound<'py, PyDict>,
        at: usize,
        depth: usize,
    ) -> Result<Bound<'py, PyDict>, Failure> {
        let dict = PyDict::new(self.py);
        for entry in &shape.entries[..at] {
            dict.set_item(&entry.key, read.as_any().get_item(&entry.key)?)?;
        }
        self.entries(dict, shape.entries.len() - at, depth)
    }

    /// A dict whose shape is kept.
    #[cold]
    fn learned(
        &mut self,
        len: usize,
        depth: usize,
        sign: u64,
    ) -> Result<Bound<'py, PyDict>, Failure> {
        let (py, dict, kept) = (self.py, PyDict::new(self.py), PyDict::new(self.py));
        let (mut entries, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..len {
            let before = self.reader.rest();
            let key = self.any(depth + 1)?;
            let key_len = before.len() - self.reader.rest().len();
            let value = self.any(depth + 1)?;
            let value_len = before.len() - self.reader.rest().len() - key_len;
            dict.set_item(&key, &value)?;
            let (key_bytes, rest) = before.split_at(key_len);
            let value_bytes = &rest[..value_len];
            let Ok(key) = key.cast_into_exact::<PyString>() else { continue };
            if key_len > BYTES_MAX || !is_leaf(key_bytes) {
                continue;
            }
            let is_kept = value_len <= BYTES_MAX && is_leaf(value_bytes);
            let start = bytes.len();
            bytes.extend_from_slice(key_bytes);
            let key_end = bytes.len();
            if is_kept {
                bytes.extend_from_slice(value_bytes);
                kept.set_item(&key, value)?;
            } else {
                kept.set_item(&key, py.None())?;
            }
            let end = is_kept.then_some(bytes.len());
            entries.push(Entry { key: key.unbind(), start, key_end, end });
        }
        // A dict that says a key twice, or has one that is no short text, has no shape.
        if kept.len() == len && entries.len() == len {
            let shape = Shape {
                dict: kept.unbind(),
                is_whole: entries.iter().all(|entry| entry.end.is_some()),
                entries: entries.into(),
                bytes: bytes.into(),
            };
            self.schema.shapes.give(py, sign, Box::new(shape));
        }
        Ok(dict)
    }
}
