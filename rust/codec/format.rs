//! The bytes of a stored answer: the same in memory, in SQLite and wherever else it may go.
//!
//! ```text
//! offset  size  what
//! 0       4     magic, "llmv"
//! 4       1     version of this format
//! 5       3     zero (flags, none defined)
//! 8       4     length of the payload, little-endian
//! 12      32    key of the request that it answers
//! 44      n     payload: a tree of tagged tokens
//! 44 + n  8     XXH3-64 of everything before, little-endian
//! ```
//!
//! The payload is read by [`Reader`] and written by [`Writer`], token by token; what the tokens
//! mean in Python is the border's business. A reader of damaged or hostile bytes returns an error:
//! it never panics, and never allocates by a length that the bytes merely claim.
#![forbid(unsafe_code)]

use crate::request::Key;
use std::ops::Range;
use twox_hash::XxHash3_64;

/// Version of the format. Another version is not read: a miss.
pub const VERSION: u8 = 1;
/// Trees deeper than this are neither written nor read: the border recurses. A thread with less
/// than 512 KiB of stack may refuse earlier.
pub const DEPTH_MAX: usize = 200;

/// Values larger than this are not written, in bytes.
pub const LEN_MAX: usize = 64 * 1024 * 1024;

/// A value names no more classes than this.
pub const CLASSES_MAX: usize = 0x100;

const MAGIC: [u8; 4] = *b"llmv";
const HEADER: usize = 44;
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
    Ok(payload)
}

/// The payload of a value that [`open`] has accepted before.
#[must_use]
pub fn payload(bytes: &[u8]) -> &[u8] {
    bytes.get(HEADER..bytes.len().saturating_sub(TRAILER)).unwrap_or_default()
}

mod tag {
    pub const NONE: u8 = 0;
    pub const FALSE: u8 = 1;
    pub const TRUE: u8 = 2;
    pub const INT: u8 = 3;
    pub const BIG_INT: u8 = 4;
    pub const FLOAT: u8 = 5;
    pub const STR: u8 = 6;
    pub const STR_SURROGATES: u8 = 7;
    pub const BYTES: u8 = 8;
    pub const LIST: u8 = 9;
    pub const TUPLE: u8 = 10;
    pub const DICT: u8 = 11;
    pub const OBJECT: u8 = 12;
    pub const TEXT: u8 = 13;
    pub const SAME_TEXT: u8 = 14;
    pub const SET: u8 = 15;
    pub const FROZENSET: u8 = 16;
    pub const PLAIN: u8 = 17;
    pub const CLASS: u8 = 18;
    pub const INSTANCE: u8 = 19;
    /// From here on: a word of the border's table.
    pub const WORD: u8 = 0x80;
}

/// How many words a table can have.
pub const WORDS_MAX: usize = 0x80;

/// One step of a tree. Containers announce how many tokens' trees follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A larger integer: two's complement, little-endian.
    BigInt(&'a [u8]),
    /// A float, by its bits.
    Float(f64),
    /// UTF-8 text, not yet validated.
    Str(&'a [u8]),
    /// Text with lone surrogates, in Python's `surrogatepass` form.
    StrSurrogates(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A string of the border's table of frequent words.
    Word(u8),
    /// A list of so many items.
    List(usize),
    /// A tuple of so many items.
    Tuple(usize),
    /// A dict of so many pairs: key, value, key, value …
    Dict(usize),
    /// An instance of a class of the border's table, with so many fields: name, value …; what
    /// follows the fields is the border's business.
    Object(u8, usize),
    /// The text of a generation: a string follows.
    Text,
    /// The same string as the last [`Token::Text`].
    SameText,
    /// A set of so many items.
    Set(usize),
    /// A frozen set of so many items.
    FrozenSet(usize),
    /// A value of a type of the border's table, such as a date: its parts follow.
    Plain(u8),
    /// An instance of a class that this value has not named so far, of the border's kind of classes:
    /// module, qualified name, digest and the instance's state follow.
    Class(u8),
    /// An instance of the class that this value named as its n-th, from 0: its state follows.
    Instance(u8),
    /// What [`Reader::next`] leaves to [`Reader::rare`]; not written.
    Rare(u8),
}

/// Writes a value; see the module's documentation.
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

/// Whether a tree stands for the same immutable object wherever it is: no container, nor a text that
/// is said elsewhere.
#[must_use]
pub fn is_leaf(tree: &[u8]) -> bool {
    tree.first().is_some_and(|&tag| tag <= tag::BYTES || tag >= tag::WORD)
}

/// Reads a payload; see the module's documentation.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads what [`open`] returned.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next token. (Not an `Iterator`: an error ends the reading.)
    ///
    /// # Errors
    /// [`Damage::Malformed`]
    #[expect(clippy::should_implement_trait, reason = "see above")]
    #[expect(clippy::inline_always, reason = "a token in registers: 15 % of a whole decode")]
    #[inline(always)]
    pub fn next(&mut self) -> Result<Token<'a>, Damage> {
        let [tag] = self.array()?;
        Ok(match tag {
            tag::NONE => Token::None,
            tag::FALSE => Token::Bool(false),
            tag::TRUE => Token::Bool(true),
            tag::INT => Token::Int(self.int()?),
            tag::BIG_INT => Token::BigInt(self.sized()?),
            tag::FLOAT => Token::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            tag::STR => Token::Str(self.sized()?),
            tag::STR_SURROGATES => Token::StrSurrogates(self.sized()?),
            tag::BYTES => Token::Bytes(self.sized()?),
            tag::LIST => Token::List(self.count(1)?),
            tag::TUPLE => Token::Tuple(self.count(1)?),
            tag::DICT => Token::Dict(self.count(2)?),
            tag::OBJECT => {
                let fields = self.count(2)?;
                let [class] = self.array()?;
                Token::Object(class, fields)
            }
            tag::TEXT => Token::Text,
            tag::SAME_TEXT => Token::SameText,
            word if word >= tag::WORD => Token::Word(word & !tag::WORD),
            rare => Token::Rare(rare),
        })
    }

    /// The token that [`Token::Rare`] stands for: plain answers have none, and are read the
    /// quicker for it.
    ///
    /// # Errors
    /// [`Damage::Malformed`]
    #[cold]
    #[inline(never)]
    pub fn rare(&mut self, tag: u8) -> Result<Token<'a>, Damage> {
        Ok(match tag {
            tag::SET => Token::Set(self.count(1)?),
            tag::FROZENSET => Token::FrozenSet(self.count(1)?),
            tag::PLAIN => Token::Plain(self.byte()?),
            tag::CLASS => Token::Class(self.byte()?),
            tag::INSTANCE => Token::Instance(self.byte()?),
            _ => return Err(Damage::Malformed),
        })
    }

    /// The number of the next token if it is a word; otherwise nothing is read. Most tokens are
    /// words, and this is the cheapest way to read one.
    #[inline]
    pub fn next_word(&mut self) -> Option<u8> {
        let (&tag, rest) = self.rest.split_first()?;
        if tag < tag::WORD {
            return None;
        }
        self.rest = rest;
        Some(tag & !tag::WORD)
    }

    /// The text that comes next, if it is one and whole; nothing is read.
    #[must_use]
    pub fn peek_str(&self) -> Option<&'a [u8]> {
        let mut ahead = Self { rest: self.rest };
        if let Ok(Token::Str(utf8)) = ahead.next() { Some(utf8) } else { None }
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads these bytes, if they come next; otherwise nothing.
    #[inline]
    pub fn skip(&mut self, bytes: &[u8]) -> bool {
        let after = self.rest.strip_prefix(bytes);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Damage::Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        self.array().map(|[byte]| byte)
    }

    /// A length whose items, of at least `least` bytes each, can still follow.
    fn count(&mut self, least: usize) -> Result<usize, Damage> {
        let len = u32::from_le_bytes(self.array()?) as usize;
        if len.checked_mul(least).is_some_and(|bytes| bytes <= self.rest.len()) {
            Ok(len)
        } else {
            Err(Damage::Malformed)
        }
    }

    fn sized(&mut self) -> Result<&'a [u8], Damage> {
        let len = self.count(1)?;
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn int(&mut self) -> Result<i64, Damage> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.long_int(),
        }
    }

    fn long_int(&mut self) -> Result<i64, Damage> {
        let mut int = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            int |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((int >> 1).cast_signed() ^ -((int & 1).cast_signed()));
            }
        }
        Err(Damage::Malformed)
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
