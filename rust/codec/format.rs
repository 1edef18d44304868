//! The frame of a stored answer and its checks: the same bytes in memory, in SQLite and wherever else it may go.
//!
//! ```text
//! offset  size  what
//! 0       4     magic, "llmv"
//! 4       1     version of this format
//! 5       1     flags: 1 if a recording follows the payload, 2 if it is for streams only
//! 6       2     zero (flags, none defined)
//! 8       4     length of everything between header and checksum, little-endian
//! 12      32    key of the request that it answers
//! 44      n     payload: a tree of tagged tokens
//! 44 + n  r     maybe a recording (see [`super::Recording`]): its bytes, then their number (4 bytes, little-endian)
//! 44 + n + r  8  XXH3-64 of everything before, little-endian
//! ```
//!
//! The payload is read by [`Reader`](super::Reader) and written by [`Writer`](super::Writer), token by
//! token; what the tokens mean in Python is the border's business. A reader of damaged or hostile bytes returns an error:
//! it never panics, and never allocates by a length that the bytes merely claim.
#![forbid(unsafe_code)]

use crate::request::Key;
use twox_hash::XxHash3_64;

/// Version of the format. Another version is not read: a miss.
pub const VERSION: u8 = 1;
/// Trees deeper than this are neither written nor read: the border recurses. A thread with less
/// than 512 KiB of stack may refuse earlier.
pub const DEPTH_MAX: usize = 200;

/// Values larger than this are not written, in bytes.
pub const LEN_MAX: usize = 64 * 1024 * 1024;

pub(super) const MAGIC: [u8; 4] = *b"llmv";
pub(super) const HEADER: usize = 44;
/// Where the header has its flags.
pub(super) const FLAGS: usize = 5;
/// The flag of a recording that follows the payload.
pub(super) const RECORDED: u8 = 1;
/// The flag of an answer that lacks what only a call without a stream is told.
pub(super) const FOR_STREAMS: u8 = 2;
const TRAILER: usize = 8;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Too short, without the magic, or of another length than they claim.
    NotAValue,
    /// Of a version that this code does not know: not damaged, but not ours to read.
    UnknownVersion,
    /// The checksum does not match: some bit has changed.
    Checksum,
    /// Whole, but the answer to another request.
    WrongKey,
    /// What is inside cannot be decompressed.
    Compression,
    /// The tree inside breaks the rules of the format.
    Malformed,
}

impl Damage {
    /// A name for counters and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotAValue => "not_a_value",
            Self::UnknownVersion => "unknown_version",
            Self::Checksum => "checksum",
            Self::WrongKey => "wrong_key",
            Self::Compression => "compression",
            Self::Malformed => "malformed",
        }
    }
}

/// Checks a whole value, and gives its payload.
///
/// # Errors
/// [`Damage`], whenever the bytes are not exactly what was sealed under `key`.
pub fn open<'a>(bytes: &'a [u8], key: &Key) -> Result<&'a [u8], Damage> {
    let (body, trailer) = bytes.split_last_chunk::<TRAILER>().ok_or(Damage::NotAValue)?;
    let (header, payload) = body.split_at_checked(HEADER).ok_or(Damage::NotAValue)?;
    if header[..4] != MAGIC {
        return Err(Damage::NotAValue);
    }
    if header[4] != VERSION {
        return Err(Damage::UnknownVersion);
    }
    if header[8..12] != u32::try_from(payload.len()).map_err(|_| Damage::NotAValue)?.to_le_bytes() {
        return Err(Damage::NotAValue);
    }
    if XxHash3_64::oneshot(body).to_le_bytes() != *trailer {
        return Err(Damage::Checksum);
    }
    if header[12..HEADER] != key.0 {
        return Err(Damage::WrongKey);
    }
    split(header, payload).map(|(payload, _)| payload).ok_or(Damage::Malformed)
}

/// The payload of a value that [`open`] has accepted before.
#[must_use]
pub fn payload(bytes: &[u8]) -> &[u8] {
    parts(bytes).unwrap_or_default().0
}

/// The recording in a value that [`open`] has accepted before; `None` if there is none.
#[must_use]
pub fn recording(bytes: &[u8]) -> Option<&[u8]> {
    parts(bytes)?.1
}

/// Whether a value that [`open`] has accepted before is for streams only.
#[must_use]
pub fn is_for_streams(bytes: &[u8]) -> bool {
    bytes.get(FLAGS).is_some_and(|flags| flags & FOR_STREAMS != 0)
}

/// The payload, and the recording if there is one.
type Parts<'a> = (&'a [u8], Option<&'a [u8]>);

fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    split(header, rest.get(..rest.len().checked_sub(TRAILER)?)?)
}

fn split<'a>(header: &[u8], content: &'a [u8]) -> Option<Parts<'a>> {
    if header.get(FLAGS)? & RECORDED == 0 {
        return Some((content, None));
    }
    let (content, len) = content.split_last_chunk::<4>()?;
    let at = content.len().checked_sub(u32::from_le_bytes(*len) as usize)?;
    let (payload, recording) = content.split_at(at);
    Some((payload, Some(recording)))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
