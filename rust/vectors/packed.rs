//! A packed vector: a signed byte for each dimension.
//!
//! ```text
//! offset  size  what
//! 0       2     number of dimensions n, little-endian, at least 1
//! 2       n     the dimensions, from -127 to 127, at least one of them not 0
//! ```
//!
//! A cosine does not change with the length of a vector, so no length is kept. The score of two packed
//! vectors is the cosine of their bytes: `dot / sqrt(norm_a * norm_b)`, where a norm is the dot product
//! of a vector with itself. All three are whole numbers below 2^31, so equal vectors score exactly 1.
#![forbid(unsafe_code)]

/// Largest number of dimensions.
pub const DIMENSIONS_MAX: usize = u16::MAX as usize;

/// The largest magnitude of a dimension.
const LARGEST: i8 = i8::MAX;

/// Packs a vector: the dimension of the largest magnitude becomes 127 or -127, the others keep their
/// ratio to it and are rounded.
///
/// `None` for a vector that has no direction: no dimension, only zeros, a NaN or an infinity. Also for
/// one of more than [`DIMENSIONS_MAX`] dimensions.
#[must_use]
pub fn pack(values: &[f64]) -> Option<Vec<u8>> {
    let dimensions = u16::try_from(values.len()).ok()?;
    if !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return None;
    }
    let mut packed = Vec::with_capacity(2 + values.len());
    packed.extend_from_slice(&dimensions.to_le_bytes());
    packed.extend(values.iter().map(|value| code(value / largest).cast_unsigned()));
    Some(packed)
}

/// A part of the largest magnitude, from -1 to 1, as a byte.
#[expect(clippy::cast_possible_truncation, reason = "from -127 to 127")]
fn code(part: f64) -> i8 {
    (part * f64::from(LARGEST)).round() as i8
}

/// A packed vector that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    codes: Vec<i8>,
    norm: u32,
}

impl Packed {
    /// Reads what [`pack`] has made. `None` for bytes that it cannot have made.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (dimensions, codes) = bytes.split_first_chunk::<2>()?;
        if codes.len() != usize::from(u16::from_le_bytes(*dimensions)) {
            return None;
        }
        let codes: Vec<i8> = codes.iter().map(|code| code.cast_signed()).collect();
        let norm = codes.iter().map(|code| u32::from(code.unsigned_abs()).pow(2)).sum();
        (norm > 0 && !codes.contains(&i8::MIN)).then_some(Self { codes, norm })
    }

    /// The dimensions.
    #[must_use]
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// The dot product with itself.
    #[must_use]
    pub fn norm(&self) -> u32 {
        self.norm
    }

    /// One bit for each dimension: whether it is positive. Filled up with zeros to whole words.
    pub fn sketch(&self) -> impl Iterator<Item = u64> {
        let word = |codes: &[i8]| {
            codes.iter().rev().fold(0, |word, code| (word << 1) | u64::from(*code > 0))
        };
        self.codes.chunks(u64::BITS as usize).map(word)
    }
}

/// Number of words of a sketch.
#[must_use]
pub fn sketch_words(dimensions: usize) -> usize {
    dimensions.div_ceil(u64::BITS as usize)
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
