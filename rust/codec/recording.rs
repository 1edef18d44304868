//! The steps of an answer that came in parts: the chunks of a stream, each as the difference to the one before.
//!
//! ```text
//! step = time since the one before (milliseconds), head, tail, length of the rest: varints; the rest
//! ```
//!
//! `head` and `tail` are how many bytes it shares with the step before, at either end. The chunks of a stream
//! differ in a word each: such a step takes some ten bytes more than its word.
#![forbid(unsafe_code)]

use super::format::Damage;
use std::ops::Range;

/// A recording that grows.
#[derive(Default)]
pub struct Recording {
    bytes: Vec<u8>,
    last: Vec<u8>,
    len: usize,
}

impl Recording {
    /// Appends a step. `delay`: milliseconds since the one before.
    pub fn push(&mut self, step: &[u8], delay: u64) {
        let head = shared(step.iter(), self.last.iter());
        let tail = shared(step[head..].iter().rev(), self.last[head..].iter().rev());
        let rest = &step[head..step.len() - tail];
        for number in [delay, head as u64, tail as u64, rest.len() as u64] {
            put(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(rest);
        self.last.clear();
        self.last.extend_from_slice(step);
        self.len += 1;
    }

    /// Appends a step that differs from the last one within a range, which has these bytes instead.
    ///
    /// # Panics
    /// The last step has no such range.
    pub fn push_changed(&mut self, range: Range<usize>, with: &[u8], delay: u64) {
        let tail = self.last.len() - range.end;
        for number in [delay, range.start as u64, tail as u64, with.len() as u64] {
            put(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(with);
        self.last.splice(range, with.iter().copied());
        self.len += 1;
    }

    /// Number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What a [`Playback`] reads.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A place in a recording, which may still grow.
#[derive(Default)]
pub struct Playback {
    at: usize,
    last: Vec<u8>,
}

impl Playback {
    /// The next step, and the milliseconds that it came after the one before; `None` at the end.
    ///
    /// # Errors
    /// [`Damage::Malformed`]
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<(&[u8], u64)>, Damage> {
        let mut rest = bytes.get(self.at..).ok_or(Damage::Malformed)?;
        if rest.is_empty() {
            return Ok(None);
        }
        let delay = take(&mut rest)?;
        let [head, tail, len] = [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?]
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let before = self.last.len();
        let is_possible = head.checked_add(tail).is_some_and(|both| both <= before);
        let new = rest.get(..len).filter(|_| is_possible).ok_or(Damage::Malformed)?;
        // In place: what is shared at the end moves, and is in between overwritten.
        self.last.splice(head..before - tail, new.iter().copied());
        self.at = bytes.len() - rest.len() + len;
        Ok(Some((&self.last, delay)))
    }
}

/// How many items two sequences have in common at their beginnings.
fn shared<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

#[expect(clippy::cast_possible_truncation, reason = "the low 7 bits of a varint are meant")]
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, Damage> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Damage::Malformed)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Damage::Malformed)
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
