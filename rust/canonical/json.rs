//! A scanner of JSON that writes the canonical form of what it reads.
//!
//! Numbers keep their lexemes (`1`, `1.0` and `1e0` differ, 2**70 is itself), duplicate keys stay,
//! in order; strings are decoded, so that `"\u00e9"` and `"é"` are one, and lone surrogates kept.
//! `NaN`, `Infinity` and `-Infinity`, which Python writes, are numbers.
#![forbid(unsafe_code)]

use super::bypass::Reason;
use super::cursor::{Cursor, DEPTH_MAX, Fail};
use super::encoding::{leaf, push_code_point, tag};
use super::objects::{Marks, Objects, worse};

/// Reads values from where its cursor stands.
pub(super) struct Json<'a> {
    pub(super) cursor: Cursor<'a>,
    /// Set when a value held an object that LangChain could not serialise, and nothing says what is
    /// inside.
    pub(super) object: Option<Reason>,
    objects: Objects,
    decoded: Vec<u8>,
}

/// An array or object that is still open.
struct Frame {
    is_object: bool,
    /// Where the current key starts in the output.
    key: usize,
    /// Where the current value starts in the output.
    value: usize,
    marks: Marks,
}

impl<'a> Json<'a> {
    pub(super) fn new(cursor: Cursor<'a>, objects: Objects) -> Self {
        Self { cursor, object: None, objects, decoded: Vec::new() }
    }

    /// Steps over white space.
    pub(super) fn space(&mut self) {
        self.cursor.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// Steps over white space, and over `token` if it is next.
    pub(super) fn eat(&mut self, token: u8) -> bool {
        self.space();
        self.cursor.eat(&[token])
    }

    /// Steps over white space, and tells whether `token` is next.
    pub(super) fn next_is(&mut self, token: u8) -> bool {
        self.space();
        self.cursor.peek() == Some(token)
    }

    /// Reads one value.
    pub(super) fn value(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        let mut stack: Vec<Frame> = Vec::new();
        loop {
            if let Some(mut frame) = self.open(out)? {
                if stack.len() == DEPTH_MAX {
                    return Err(Fail::Deep);
                }
                if frame.is_object {
                    self.key(out, &mut frame)?;
                }
                stack.push(frame);
                continue;
            }
            loop {
                let Some(frame) = stack.last_mut() else { return Ok(()) };
                if frame.is_object {
                    frame.marks.see(out, frame.key, frame.value);
                }
                if self.eat(b',') {
                    if frame.is_object {
                        self.key(out, frame)?;
                    }
                    break;
                }
                if !self.eat(if frame.is_object { b'}' } else { b']' }) {
                    return Err(Fail::Shape);
                }
                if let Some(frame) = stack.pop() {
                    self.settle(&frame.marks, out);
                }
                out.push(tag::END);
            }
        }
    }

    /// Gives the object that `marks` have found its form, if any: its members are at the end of `out`.
    pub(super) fn settle(&mut self, marks: &Marks, out: &mut Vec<u8>) {
        if marks.is_object() {
            self.object = worse(self.object, marks.settle(self.objects, out));
        }
    }

    /// Reads a scalar or an empty container whole; opens any other container.
    fn open(&mut self, out: &mut Vec<u8>) -> Result<Option<Frame>, Fail> {
        let is_object = self.eat(b'{');
        if !is_object && !self.eat(b'[') {
            return self.scalar(out).map(|()| None);
        }
        out.push(if is_object { tag::DICT } else { tag::LIST });
        if self.eat(if is_object { b'}' } else { b']' }) {
            out.push(tag::END);
            return Ok(None);
        }
        Ok(Some(Frame { is_object, key: 0, value: 0, marks: Marks::default() }))
    }

    fn key(&mut self, out: &mut Vec<u8>, frame: &mut Frame) -> Result<(), Fail> {
        frame.key = out.len();
        let key = self.name()?;
        leaf(out, tag::STR, key);
        frame.value = out.len();
        Ok(())
    }

    /// Reads a key and its colon.
    pub(super) fn name(&mut self) -> Result<&[u8], Fail> {
        if !self.eat(b'"') {
            return Err(Fail::Shape);
        }
        let whole = self.string()?;
        if self.eat(b':') { Ok(whole.unwrap_or(&self.decoded)) } else { Err(Fail::Shape) }
    }

    fn scalar(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        if self.eat(b'"') {
            let whole = self.string()?;
            leaf(out, tag::STR, whole.unwrap_or(&self.decoded));
            return Ok(());
        }
        let lexeme = self
            .cursor
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'));
        match lexeme {
            b"null" => out.push(tag::NONE),
            b"false" => out.push(tag::FALSE),
            b"true" => out.push(tag::TRUE),
            b"NaN" | b"Infinity" | b"-Infinity" => leaf(out, tag::NUMBER, lexeme),
            _ if is_number(lexeme) => leaf(out, tag::NUMBER, lexeme),
            _ => return Err(Fail::Shape),
        }
        Ok(())
    }

    /// Reads a string, whose opening quote is behind the cursor, up to its closing one. It is in
    /// the text as a whole, or, where it has escapes, in `decoded`.
    fn string(&mut self) -> Result<Option<&'a [u8]>, Fail> {
        let mut run = self.run()?;
        if self.cursor.eat(b"\"") {
            return Ok(Some(run));
        }
        self.decoded.clear();
        loop {
            self.decoded.extend_from_slice(run);
            if self.cursor.eat(b"\"") {
                return Ok(None);
            }
            if !self.cursor.eat(b"\\") {
                return Err(Fail::Shape);
            }
            self.escape().ok_or(Fail::Shape)?;
            run = self.run()?;
        }
    }

    /// What stands for itself: up to a quote, an escape, or what JSON has no place for.
    #[expect(clippy::needless_bitwise_bool, reason = "no branch for each byte: see `take_until`")]
    fn run(&mut self) -> Result<&'a [u8], Fail> {
        let stops = |byte| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
        self.cursor.take_until(stops).ok_or(Fail::Shape)
    }

    fn escape(&mut self) -> Option<()> {
        let byte = self.cursor.peek()?;
        self.cursor.advance(1);
        self.decoded.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code_point = self.cursor.hex(4)?;
                if (0xD800..0xDC00).contains(&code_point) {
                    code_point = self.second_half(code_point).unwrap_or(code_point);
                }
                return push_code_point(&mut self.decoded, code_point);
            }
            _ => return None,
        });
        Some(())
    }

    /// The code point of a surrogate pair, if its second half comes next.
    fn second_half(&mut self, first: u32) -> Option<u32> {
        let mut ahead = self.cursor;
        let second = if ahead.eat(b"\\u") { ahead.hex(4)? } else { return None };
        (0xDC00..0xE000).contains(&second).then(|| {
            self.cursor = ahead;
            0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        })
    }
}

/// Whether a lexeme is a number of JSON.
fn is_number(lexeme: &[u8]) -> bool {
    let mut cursor = Cursor::new(lexeme);
    let digits = |cursor: &mut Cursor| cursor.take_while(|byte| byte.is_ascii_digit()).len();
    cursor.eat(b"-");
    let zero = cursor.peek() == Some(b'0');
    let whole = digits(&mut cursor);
    if whole == 0 || (zero && whole > 1) || (cursor.eat(b".") && digits(&mut cursor) == 0) {
        return false;
    }
    if cursor.eat(b"e") || cursor.eat(b"E") {
        let _ = cursor.eat(b"+") || cursor.eat(b"-");
        if digits(&mut cursor) == 0 {
            return false;
        }
    }
    cursor.is_done()
}
