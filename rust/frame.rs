//! Injective framing of a request.
//!
//! Most caches join the parts of a request with a delimiter, or with nothing, so that
//! `("ab", "c")` and `("a", "bc")` share a key. Here every part is preceded by its length, and
//! the whole by a version: two different requests never give the same bytes.
#![forbid(unsafe_code)]

/// Version of the framing. A change of rules changes this byte; older entries then simply miss.
pub const VERSION: u8 = 1;

/// What identifies one answer: the tenant, the model's settings, and what it was asked.
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
    /// The parts in the order in which they are framed.
    #[must_use]
    pub fn parts(&self) -> [&'a [u8]; 3] {
        [self.namespace, self.llm_string, self.prompt]
    }

    /// Feeds the framed request to `write`, piece by piece: no copy of the prompt is made.
    ///
    /// `version` (1 byte), then for each part its length (8 bytes, little-endian) and its bytes.
    pub fn frame(&self, mut write: impl FnMut(&[u8])) {
        write(&[VERSION]);
        for part in self.parts() {
            write(&(part.len() as u64).to_le_bytes());
            write(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn framed(namespace: &[u8], llm_string: &[u8], prompt: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let request = Request { namespace, llm_string, prompt };
        request.frame(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    #[test]
    fn layout_is_the_documented_one() {
        assert_eq!(
            framed(b"n", b"", b"pq"),
            b"\x01\x01\0\0\0\0\0\0\0n\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0pq"
        );
    }

    #[test]
    fn every_split_of_a_text_frames_differently() {
        // NUL, `---` and bytes that look like lengths are where delimiters and sloppy framings fail.
        let text = b"a\0---\x01\0\0\0\0\0\0\0b---\0\x02";
        let mut seen = HashMap::new();
        for i in 0..=text.len() {
            for j in i..=text.len() {
                let parts = (&text[..i], &text[i..j], &text[j..]);
                let clash = seen.insert(framed(parts.0, parts.1, parts.2), parts);
                assert_eq!(clash, None, "{parts:?} shares its frame");
            }
        }
    }
}
