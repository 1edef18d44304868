//! Templates of the dicts that were decoded last, so that the next one of a shape begins as a copy.
//!
//! A model describes each of its answers in the same dicts: the same keys in the same order, and most
//! values are the same, too. So the last dict of each shape is kept, with the bytes that it was read
//! from. The next one begins as a copy of it, which Python makes in one step, and only what other
//! bytes say is decoded and set. Equal bytes stand for equal objects, and what is kept of them is
//! immutable: where a value is not, the copy has a None that is always replaced.

use crate::python::runtime::gil_cell::GilCell;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Dicts of more entries are not kept.
pub(super) const ENTRIES_MAX: usize = 16;

/// Nor are keys, or values, of more bytes: at most 700 KB in all, objects included.
pub(super) const BYTES_MAX: usize = 40;

/// A power of two. Each holds one shape.
const SLOTS: usize = 128;

/// How many dicts of other shapes a new shape survives, so that one of two that alternate stays; and
/// how many at most.
const TRUST: u8 = 2;
const TRUST_MAX: u8 = 8;

/// The last dict of each shape.
pub struct DictTemplates {
    slots: GilCell<Vec<Slot>>,
}

#[derive(Default)]
struct Slot {
    /// What the shape begins with; see [`sign`].
    sign: u64,
    template: Option<Box<Template>>,
    /// Whether the template is taken out, and will be brought back.
    is_out: bool,
    trust: u8,
}

/// A dict that was decoded.
pub(super) struct Template {
    /// The dict itself.
    pub(super) dict: Py<PyDict>,
    pub(super) entries: Box<[Entry]>,
    /// What all entries were read from, but for values that are not kept.
    pub(super) bytes: Box<[u8]>,
    /// Whether all values are kept.
    pub(super) is_whole: bool,
}

/// An entry of a template.
pub(super) struct Entry {
    pub(super) key: Py<PyString>,
    /// Where its key begins in `bytes`, and ends; and its value, if that is kept.
    pub(super) start: usize,
    pub(super) key_end: usize,
    pub(super) end: Option<usize>,
}

/// What there is for a dict that begins like this.
pub(super) enum Taken {
    /// Maybe its template: to be given back.
    Template(Box<Template>),
    /// None, and it is not worth one.
    Nothing,
    /// None, but it is the second of its kind.
    Second,
}

impl DictTemplates {
    /// Empty.
    pub fn new() -> Self {
        Self { slots: GilCell::new((0..SLOTS).map(|_| Slot::default()).collect()) }
    }

    pub(super) fn take(&self, py: Python<'_>, sign: u64) -> Taken {
        let (taken, before) = self.slots.with(py, |slots| {
            let slot = &mut slots[slot_of(sign)];
            if slot.sign == sign {
                return match slot.template.take() {
                    _ if slot.is_out => (Taken::Nothing, None),
                    None => (Taken::Second, None),
                    Some(template) => {
                        slot.is_out = true;
                        (Taken::Template(template), None)
                    }
                };
            }
            if slot.trust > 0 {
                slot.trust -= 1;
                return (Taken::Nothing, None);
            }
            let before = std::mem::replace(slot, Slot { sign, ..Slot::default() });
            (Taken::Nothing, before.template)
        });
        drop(before);
        taken
    }

    /// Gives back what was taken; `fits`: whether the dict was of that shape.
    pub(super) fn give_back(&self, py: Python<'_>, sign: u64, template: Box<Template>, fits: bool) {
        let before = self.slots.with(py, |slots| {
            let slot = &mut slots[slot_of(sign)];
            if slot.sign != sign || !slot.is_out {
                return Some(template);
            }
            slot.is_out = false;
            slot.trust =
                if fits { TRUST_MAX.min(slot.trust + 1) } else { slot.trust.saturating_sub(1) };
            // Where it fits no more, the next one will be learned instead.
            if slot.trust == 0 { Some(template) } else { slot.template.replace(template) }
        });
        drop(before);
    }

    /// Gives what is new.
    pub(super) fn give(&self, py: Python<'_>, sign: u64, template: Box<Template>) {
        let new = Slot { sign, template: Some(template), is_out: false, trust: TRUST };
        let before = self.slots.with(py, |slots| std::mem::replace(&mut slots[slot_of(sign)], new));
        drop(before);
    }
}

/// Tells dicts apart by where they stand (the end of the key before them), their number of entries
/// and their first key. 0 if that is no short text.
pub(super) fn sign(payload: &[u8], rest: &[u8], len: usize) -> u64 {
    const STR: u8 = 6;
    const TOKEN: usize = 5;
    // 2^64 by the golden ratio: see `string_cache.rs`.
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
