//! Injective framing of a request.
//!
//! Most caches join the parts of a request with a delimiter, or with nothing, so that
//! `("ab", "c")` and `("a", "bc")` share a key. Here every part is preceded by its length, and
//! the whole by a version: two different requests never give the same bytes.
#![forbid(unsafe_code)]

/// Version of keys: of the framing, and of the rules of [`crate::canonical`]. A change of either
/// changes this byte; older entries then simply miss.
pub const VERSION: u8 = 2;

/// A request as LangChain asks it.
///
/// The parts are bytes, not text: Python strings may hold lone surrogates, which UTF-8 cannot
/// carry. The border hands them over in the `surrogatepass` form, which is injective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Separates tenants; empty by default.
    pub namespace: &'a [u8],
    /// LangChain's description of the model and its parameters.
    pub llm_string: &'a [u8],
    /// The prompt text, or the serialised messages.
    pub prompt: &'a [u8],
}

impl<'a> Request<'a> {
    /// The parts, in the order in which they are framed.
    #[must_use]
    pub fn parts(&self) -> [&'a [u8]; 3] {
        [self.namespace, self.llm_string, self.prompt]
    }
}

/// One part of a request as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// It stands for itself.
    Verbatim(&'a [u8]),
    /// Its canonical form.
    Canonical(&'a [u8]),
    /// What a prompt says apart from its question: see [`super::partition`].
    Open(&'a [u8]),
}

/// Feeds the beginning of a frame to `write`: [`VERSION`] (1 byte). Then come its [`part`]s, whose
/// number is the caller's, and fixed.
pub fn begin(mut write: impl FnMut(&[u8])) {
    write(&[VERSION]);
}

/// Feeds a framed part to `write`, piece by piece: no copy of a prompt is made.
///
/// 0 (verbatim), 1 (canonical) or 2 (open) (1 byte), its length (8 bytes, little-endian) and its bytes.
pub fn part(part: Part<'_>, mut write: impl FnMut(&[u8])) {
    let (kind, bytes) = match part {
        Part::Verbatim(bytes) => (0, bytes),
        Part::Canonical(bytes) => (1, bytes),
        Part::Open(bytes) => (2, bytes),
    };
    // In one piece: each of them costs a hasher as much as some 20 bytes.
    let mut header = [kind; 9];
    header[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    write(&header);
    if !bytes.is_empty() {
        write(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn framed(parts: &[Part<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        begin(|piece| bytes.extend_from_slice(piece));
        for each in parts {
            part(*each, |piece| bytes.extend_from_slice(piece));
        }
        bytes
    }

    #[test]
    fn layout_is_the_documented_one() {
        assert_eq!(
            framed(&[Part::Verbatim(b"n"), Part::Canonical(b""), Part::Canonical(b"pq")]),
            b"\x02\0\x01\0\0\0\0\0\0\0n\x01\0\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0pq"
        );
    }

    #[test]
    fn every_split_of_a_text_frames_differently() {
        // NUL, `---` and bytes that look like lengths are where delimiters and sloppy framings fail.
        let text = b"a\0---\x01\0\0\0\0\0\0\0b---\0\x02";
        let mut seen = HashMap::new();
        for i in 0..=text.len() {
            for j in i..=text.len() {
                let parts = [&text[..i], &text[i..j], &text[j..]].map(Part::Verbatim);
                let clash = seen.insert(framed(&parts), parts);
                assert_eq!(clash, None, "{parts:?} shares its frame");
            }
        }
    }

    #[test]
    fn parts_of_different_kinds_and_the_same_bytes_frame_differently() {
        let [verbatim, canonical, open] =
            [Part::Verbatim(b"x"), Part::Canonical(b"x"), Part::Open(b"x")];
        assert_ne!(framed(&[verbatim]), framed(&[canonical]));
        assert_ne!(framed(&[verbatim]), framed(&[open]));
        assert_ne!(framed(&[canonical]), framed(&[open]));
    }
}
