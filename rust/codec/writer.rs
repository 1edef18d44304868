//! Writes an answer, token by token, and seals it under its key.
#![forbid(unsafe_code)]

use super::format::{FLAGS, FOR_STREAMS, HEADER, MAGIC, RECORDED, VERSION};
use super::token::{Token, tag};
use crate::request::Key;
use std::ops::Range;
use twox_hash::XxHash3_64;

/// Writes a value: see [`super::format`].
pub struct Writer {
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty value.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        bytes.resize(HEADER, 0);
        Self { bytes }
    }

    /// Bytes written so far.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty: it starts with a header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a token.
    #[expect(clippy::cast_possible_truncation, reason = "the low 7 bits of a varint are meant")]
    pub fn put(&mut self, token: Token<'_>) {
        match token {
            Token::None => self.bytes.push(tag::NONE),
            Token::Bool(false) => self.bytes.push(tag::FALSE),
            Token::Bool(true) => self.bytes.push(tag::TRUE),
            Token::Int(int) => {
                self.bytes.push(tag::INT);
                // Zigzag, so that small negative numbers are short too.
                let mut rest = (int << 1 ^ int >> 63).cast_unsigned();
                while rest >= 0x80 {
                    self.bytes.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                self.bytes.push(rest as u8);
            }
            Token::Float(float) => {
                self.bytes.push(tag::FLOAT);
                self.bytes.extend_from_slice(&float.to_bits().to_le_bytes());
            }
            Token::BigInt(bytes) => self.sized(tag::BIG_INT, bytes),
            Token::Str(bytes) => self.sized(tag::STR, bytes),
            Token::StrSurrogates(bytes) => self.sized(tag::STR_SURROGATES, bytes),
            Token::Bytes(bytes) => self.sized(tag::BYTES, bytes),
            Token::Word(word) => self.bytes.push(tag::WORD | word),
            Token::List(len) => self.counted(tag::LIST, len),
            Token::Tuple(len) => self.counted(tag::TUPLE, len),
            Token::Dict(len) => self.counted(tag::DICT, len),
            Token::Object(class, len) => {
                self.counted(tag::OBJECT, len);
                self.bytes.push(class);
            }
            Token::Text => self.bytes.push(tag::TEXT),
            Token::SameText => self.bytes.push(tag::SAME_TEXT),
            Token::Set(len) => self.counted(tag::SET, len),
            Token::FrozenSet(len) => self.counted(tag::FROZENSET, len),
            Token::Plain(kind) => self.bytes.extend([tag::PLAIN, kind]),
            Token::Class(kind) => self.bytes.extend([tag::CLASS, kind]),
            Token::Instance(class) => self.bytes.extend([tag::INSTANCE, class]),
            Token::Rare(tag) => self.bytes.push(tag),
        }
    }

    /// Whether what was written from `start` on is what was written there before.
    #[must_use]
    pub fn repeats(&self, before: Range<usize>, start: usize) -> bool {
        self.bytes.get(before) == self.bytes.get(start..)
    }

    /// Takes back what was written from there on.
    pub fn take_back(&mut self, start: usize) {
        self.bytes.truncate(start);
    }

    /// The payload as far as it is written.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// Begins again with nothing written.
    pub fn restart(&mut self) {
        self.bytes.truncate(HEADER);
    }

    /// As [`Self::seal`], with the recording of the stream that the answer came by. `for_streams`: it
    /// is an answer to streams only.
    #[must_use]
    pub fn seal_recorded(
        mut self,
        key: &Key,
        recording: &[u8],
        for_streams: bool,
    ) -> Option<Vec<u8>> {
        self.bytes[FLAGS] = if for_streams { RECORDED | FOR_STREAMS } else { RECORDED };
        self.bytes.extend_from_slice(recording);
        self.bytes.extend_from_slice(&u32::try_from(recording.len()).ok()?.to_le_bytes());
        self.seal(key)
    }

    /// Completes the value: the answer to the request of `key`. `None` if it passes 4 GiB.
    #[must_use]
    pub fn seal(mut self, key: &Key) -> Option<Vec<u8>> {
        let len = u32::try_from(self.bytes.len() - HEADER).ok()?;
        self.bytes[8..12].copy_from_slice(&len.to_le_bytes());
        self.bytes[12..HEADER].copy_from_slice(&key.0);
        let checksum = XxHash3_64::oneshot(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        Some(self.bytes)
    }

    fn counted(&mut self, tag: u8, len: usize) {
        self.bytes.push(tag);
        // Lengths are fixed-width: payloads are under 4 GiB, and readers need no loop.
        self.bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn sized(&mut self, tag: u8, bytes: &[u8]) {
        self.counted(tag, bytes.len());
        self.bytes.extend_from_slice(bytes);
    }
}
