//! Reads a payload, token by token, and never trusts a length that the bytes merely claim.
#![forbid(unsafe_code)]

use super::format::Damage;
use super::token::{Token, tag};

/// Reads a payload: see [`super::format`].
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads what [`super::open`] returned.
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
