//! A question and its vector, as a store keeps them beside an entry.
//!
//! ```text
//! offset  size  what
//! 0       4     magic, "llmq"
//! 4       1     version of this format
//! 5       8     XXH3-64 of everything after it, followed by the entry's key, little-endian
//! 13      4     length of the packed vector, little-endian
//! 17      n     the packed vector
//! 17 + n  m     the question in UTF-8
//! ```
//!
//! The key itself is not kept: bytes that were moved to another entry fail the checksum.
#![forbid(unsafe_code)]

use super::index::Id;
use super::packed::Packed;
use std::hash::Hasher;
use twox_hash::XxHash3_64;

const MAGIC: [u8; 4] = *b"llmq";
/// Another version is not read.
const VERSION: u8 = 1;
/// Bytes before those that the checksum is of.
const HEADER: usize = 13;

/// Why bytes are not a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Too short, or without the magic.
    NotAQuestion,
    /// Of a version that this code does not know: not damaged, but not ours to read.
    UnknownVersion,
    /// Some bit has changed, or they were stored for another key.
    Checksum,
    /// What is inside breaks the rules of the format.
    Malformed,
}

impl Damage {
    /// A name for counters and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotAQuestion => "not_a_question",
            Self::UnknownVersion => "unknown_version",
            Self::Checksum => "checksum",
            Self::Malformed => "malformed",
        }
    }
}

/// The bytes to store for a question beside the entry of `key`. `None` if the vector is not one that
/// [`pack`](super::pack) has made.
#[must_use]
pub fn seal(key: &Id, vector: &[u8], question: &str) -> Option<Vec<u8>> {
    Packed::read(vector)?;
    let vector_len = u32::try_from(vector.len()).ok()?;
    let mut stored = Vec::with_capacity(HEADER + 4 + vector.len() + question.len());
    stored.extend_from_slice(&MAGIC);
    stored.push(VERSION);
    stored.extend_from_slice(&[0; 8]);
    stored.extend_from_slice(&vector_len.to_le_bytes());
    stored.extend_from_slice(vector);
    stored.extend_from_slice(question.as_bytes());
    let sum = checksum(&stored[HEADER..], key);
    stored[HEADER - 8..HEADER].copy_from_slice(&sum);
    Some(stored)
}

/// The vector and the question that were sealed for a key.
///
/// # Errors
/// [`Damage`], whenever the bytes are not exactly what was sealed for `key`.
pub fn open<'a>(stored: &'a [u8], key: &Id) -> Result<(&'a [u8], &'a str), Damage> {
    let (header, content) = stored.split_at_checked(HEADER).ok_or(Damage::NotAQuestion)?;
    if header[..4] != MAGIC {
        return Err(Damage::NotAQuestion);
    }
    if header[4] != VERSION {
        return Err(Damage::UnknownVersion);
    }
    if header[5..] != checksum(content, key) {
        return Err(Damage::Checksum);
    }
    parts(content).ok_or(Damage::Malformed)
}

fn parts(content: &[u8]) -> Option<(&[u8], &str)> {
    let (len, rest) = content.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (vector, question) = rest.split_at_checked(len)?;
    Packed::read(vector)?;
    Some((vector, str::from_utf8(question).ok()?))
}

fn checksum(content: &[u8], key: &Id) -> [u8; 8] {
    let mut hasher = XxHash3_64::new();
    hasher.write(content);
    hasher.write(key);
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
#[path = "stored_question_tests.rs"]
mod tests;
