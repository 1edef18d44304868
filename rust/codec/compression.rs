//! Values made smaller on their way to a store, where that pays.
//!
//! ```text
//! offset  size  what
//! 0       4     magic, "llmz"
//! 4       1     version of this form
//! 5       3     zero
//! 8       4     length of the value, little-endian
//! 12      n     the value, in one Zstandard frame (RFC 8878)
//! ```
//!
//! Nothing is allocated by a length that the bytes merely claim: one that is more than
//! [`RATIO_MAX`] times what there is, is not believed. The value inside carries its own checksum.
#![forbid(unsafe_code)]

use super::format::{Damage, LEN_MAX};
use std::io;
use zstd::bulk::{Compressor, Decompressor};

/// Shorter values are left as they are (bytes): see `docs/decisions/compression.md`.
pub const LEAST: usize = 2048;

/// Zstandard's level: see `docs/decisions/compression.md`.
pub const LEVEL: i32 = 1;

/// A value that would become this many times smaller is left as it is, so that 64 KiB of a
/// stranger's never ask for more than 8 MiB.
pub const RATIO_MAX: usize = 128;

const MAGIC: [u8; 4] = *b"llmz";
const VERSION: u8 = 1;
const HEADER: usize = 12;

/// What Zstandard works with: about 1 MB, and more than half the time of a small value to make.
pub struct Zstandard {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl Zstandard {
    /// Ready for any value.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self { compressor: Compressor::new(LEVEL)?, decompressor: Decompressor::new()? })
    }

    /// The shorter form of a value; None if it is to be stored as it is.
    #[must_use]
    pub fn compress(&mut self, value: &[u8], level: i32) -> Option<Vec<u8>> {
        if value.len() > LEN_MAX {
            return None;
        }
        let len = u32::try_from(value.len()).ok()?;
        self.compressor.set_compression_level(level).ok()?;
        let frame = self.compressor.compress(value).ok()?;
        // An eighth, at the least: reading it again has its price too.
        if HEADER + frame.len() > value.len() / 8 * 7 || value.len() > frame.len() * RATIO_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(HEADER + frame.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&frame);
        Some(bytes)
    }

    /// Writes a value into a buffer of its length.
    ///
    /// # Errors
    /// [`Damage`], if it is not there, or of another length.
    pub fn restore(&mut self, from: &Compressed<'_>, buffer: &mut [u8]) -> Result<(), Damage> {
        match self.decompressor.decompress_to_buffer(from.frame, buffer) {
            Ok(len) if len == from.len => Ok(()),
            _ => Err(Damage::Compression),
        }
    }
}

/// A value in its shorter form.
pub struct Compressed<'a> {
    /// Length of the value, in bytes.
    pub len: usize,
    frame: &'a [u8],
}

/// What [`Zstandard::compress`] made, before it is read; None if these bytes are nothing of the kind.
///
/// # Errors
/// [`Damage`], if they are, but not whole or not believable.
pub fn compressed(bytes: &[u8]) -> Result<Option<Compressed<'_>>, Damage> {
    let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Ok(None) };
    match rest.split_at_checked(HEADER - MAGIC.len()) {
        Some((&[VERSION, 0, 0, 0, a, b, c, d], frame)) => {
            let len = u32::from_le_bytes([a, b, c, d]) as usize;
            if len > LEN_MAX || len > frame.len().saturating_mul(RATIO_MAX) {
                return Err(Damage::Compression);
            }
            Ok(Some(Compressed { len, frame }))
        }
        Some(([version, ..], _)) if *version != VERSION => Err(Damage::UnknownVersion),
        _ => Err(Damage::NotAValue),
    }
}

#[cfg(test)]
#[path = "compression_tests.rs"]
mod tests;
