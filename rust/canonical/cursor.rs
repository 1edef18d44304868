//! A position in a text, and what both scanners of an `llm_string` share: how they fail, and what
//! an object's address looks like.
#![forbid(unsafe_code)]

/// Values nested deeper than this are not read. The scanners keep their own stack, so this is a
/// bound on what is sensible, not on what is safe.
pub(super) const DEPTH_MAX: usize = 256;

/// Bytes that are looked through without a branch for each of them, which compilers turn into SIMD.
const BLOCK: usize = 32;

/// Why a scanner stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fail {
    /// The text is simply not of the shape that it is read as.
    Shape,
    /// A leaf that is no literal starts at this offset.
    Leaf(usize),
    /// More than [`DEPTH_MAX`] values inside each other.
    Deep,
}

/// A position in a text. Every method is total: past the end there is nothing to see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Steps over `token` if it is next.
    pub(super) fn eat(&mut self, token: &[u8]) -> bool {
        // An empty one has no address, and looking there is slow, as in `tier`.
        let found = token.is_empty() || self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes what comes before the first byte that `stops`; `None`, moving nowhere, if none does.
    pub(super) fn take_until(&mut self, stops: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
        let rest = self.rest();
        let is_free = |block: &&[u8]| !block.iter().fold(false, |any, &byte| any | stops(byte));
        let skipped = rest.chunks_exact(BLOCK).take_while(is_free).count() * BLOCK;
        let run = &rest[..skipped + rest[skipped..].iter().position(|&byte| stops(byte))?];
        self.at += run.len();
        Some(run)
    }

    /// Takes the longest run of bytes that are all `wanted`.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let end = rest.iter().position(|&byte| !wanted(byte)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Takes exactly `digits` hexadecimal digits, at most eight.
    pub(super) fn hex(&mut self, digits: usize) -> Option<u32> {
        let number =
            self.rest().get(..digits)?.iter().try_fold(0_u32, |number, &byte| {
                Some(number << 4 | char::from(byte).to_digit(16)?)
            })?;
        self.at += digits;
        Some(number)
    }
}

/// Whether a text holds an object's address as `repr` prints it: ` at 0x` and a hexadecimal digit.
pub(super) fn has_address(text: &[u8]) -> bool {
    text.windows(7).any(|window| window.starts_with(b" at 0x") && window[6].is_ascii_hexdigit())
}

/// Where the leaf at the start of `text` ends, be it a literal or not: at the first comma or closing
/// bracket outside brackets and quotes. `None` if there is none.
pub(super) fn leaf_end(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    text.iter().position(|&byte| {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(' | b'[' | b'{' | b'<') => depth += 1,
            (None, b')' | b']' | b'}' | b'>' | b',') if depth == 0 => return true,
            (None, b')' | b']' | b'}' | b'>') => depth -= 1,
            _ => {}
        }
        false
    })
}

/// Whether `part` occurs in `text`.
pub(super) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_stop_is_taken_wherever_blocks_begin() {
        let text: Vec<u8> = (0..3 * BLOCK).map(|at| b'a' + at.to_le_bytes()[0] % 16).collect();
        for from in 0..text.len() {
            for stop in from..text.len() {
                let mut text = text.clone();
                text[stop] = b'"';
                // Nor does one that follows matter.
                text[(stop + 5).min(3 * BLOCK - 1)] = b'"';
                let mut cursor = Cursor::new(&text);
                cursor.advance(from);
                assert_eq!(cursor.take_until(|byte| byte == b'"'), Some(&text[from..stop]));
                assert_eq!(cursor.at(), stop);
            }
            let mut cursor = Cursor::new(&text);
            cursor.advance(from);
            assert_eq!(cursor.take_until(|byte| byte == b'"'), None);
            assert_eq!(cursor.at(), from);
        }
    }
}
