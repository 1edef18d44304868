//! A scanner of Python's `repr` that writes the canonical form of what it reads.
//!
//! It knows what `repr` prints of None, bools, ints, floats, text, bytes, lists, tuples, dicts, sets
//! and frozen sets, of Pydantic's masked secrets, and of classes. Any other leaf stops it: nothing says
//! whether two objects of one `repr` are equal.
#![forbid(unsafe_code)]

use super::constructor::constructed;
use super::cursor::{Cursor, DEPTH_MAX, Fail};
use super::encoding::{leaf, push_code_point, sort_members, tag};

/// Sets inside sets (frozen ones, in Python). Each level may move the bytes of all that it holds,
/// so this bounds the work for each byte.
const SETS_MAX: usize = 16;

/// Reads values from where its cursor stands.
pub(super) struct Literals<'a> {
    pub(super) cursor: Cursor<'a>,
    /// The qualified names of the classes that were read, in order of appearance.
    pub(super) classes: Vec<String>,
    /// Where the leaf or container that was read last starts.
    last: usize,
    decoded: Vec<u8>,
    /// Whether to read dates, decimals, paths and the like, too: see `constructor.rs`.
    pub(super) constructors: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Tuple,
    /// `{` and no more: a dict or a set, which the first value's follower tells.
    Brace,
    DictKey,
    DictValue,
    Set,
    FrozenSet,
}

/// A container that is still open.
struct Frame {
    kind: Kind,
    /// Where its tag is in the output.
    start: usize,
    /// Where its members start in the output (sets only).
    members: Vec<usize>,
    /// How many values it has so far, up to two (tuples only).
    count: u8,
    /// How deep the sets inside it are nested.
    sets: usize,
}

/// What follows a value inside a container.
enum Next {
    Value,
    Closed,
}

impl<'a> Literals<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self { cursor, classes: Vec::new(), last: 0, decoded: Vec::new(), constructors: false }
    }

    /// What to say of a text that cannot go on like this: cut short, or a leaf of no known kind.
    pub(super) fn fail(&self) -> Fail {
        if self.cursor.is_done() { Fail::Shape } else { Fail::Leaf(self.last) }
    }

    /// Reads one value.
    pub(super) fn value(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        let mut stack: Vec<Frame> = Vec::new();
        loop {
            self.last = self.cursor.at();
            if let Some(frame) = self.open(out)? {
                if stack.len() == DEPTH_MAX {
                    return Err(Fail::Deep);
                }
                stack.push(frame);
                continue;
            }
            loop {
                let Some(frame) = stack.last_mut() else { return Ok(()) };
                match self.follow(frame, out)? {
                    Next::Value => break,
                    Next::Closed => {
                        let sets = frame.sets;
                        stack.pop();
                        if let Some(parent) = stack.last_mut() {
                            parent.sets = parent.sets.max(sets);
                        }
                    }
                }
            }
        }
    }

    /// Reads a leaf or an empty container whole; opens any other container.
    fn open(&mut self, out: &mut Vec<u8>) -> Result<Option<Frame>, Fail> {
        let start = out.len();
        if self.constructors
            && let Some(text) = constructed(&mut self.cursor)
        {
            leaf(out, tag::OBJECT, text);
            return Ok(None);
        }
        for (token, tag) in [
            (&b"[]"[..], tag::LIST),
            (b"()", tag::TUPLE),
            (b"{}", tag::DICT),
            (b"set()", tag::SET),
            (b"frozenset()", tag::FROZENSET),
        ] {
            if self.cursor.eat(token) {
                out.extend([tag, tag::END]);
                return Ok(None);
            }
        }
        for (token, kind, tag) in [
            (&b"["[..], Kind::List, tag::LIST),
            (b"(", Kind::Tuple, tag::TUPLE),
            (b"{", Kind::Brace, tag::DICT),
            (b"frozenset({", Kind::FrozenSet, tag::FROZENSET),
        ] {
            if self.cursor.eat(token) {
                out.push(tag);
                let members = Vec::from_iter((kind == Kind::FrozenSet).then_some(start + 1));
                return Ok(Some(Frame { kind, start, members, count: 0, sets: 0 }));
            }
        }
        self.leaf(out).map(|()| None)
    }

    /// Reads what follows a value inside `frame`.
    fn follow(&mut self, frame: &mut Frame, out: &mut Vec<u8>) -> Result<Next, Fail> {
        frame.count = frame.count.saturating_add(1).min(2);
        if frame.kind == Kind::Brace {
            if self.cursor.eat(b": ") {
                frame.kind = Kind::DictValue;
                return Ok(Next::Value);
            }
            frame.kind = Kind::Set;
            frame.members.push(frame.start + 1);
            out[frame.start] = tag::SET;
        }
        if frame.kind == Kind::DictKey {
            frame.kind = Kind::DictValue;
            return if self.cursor.eat(b": ") { Ok(Next::Value) } else { Err(self.fail()) };
        }
        if self.cursor.eat(b", ") {
            match frame.kind {
                Kind::DictValue => frame.kind = Kind::DictKey,
                Kind::Set | Kind::FrozenSet => frame.members.push(out.len()),
                _ => {}
            }
            return Ok(Next::Value);
        }
        let end: &[u8] = match frame.kind {
            Kind::List => b"]",
            Kind::Tuple if frame.count == 1 => b",)",
            Kind::Tuple => b")",
            Kind::FrozenSet => b"})",
            _ => b"}",
        };
        if !self.cursor.eat(end) {
            return Err(self.fail());
        }
        if matches!(frame.kind, Kind::Set | Kind::FrozenSet) {
            frame.sets += 1;
            if frame.sets > SETS_MAX {
                return Err(Fail::Deep);
            }
            sort_members(out, &frame.members);
        }
        out.push(tag::END);
        Ok(Next::Closed)
    }

    fn leaf(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        for (token, tag) in
            [(&b"None"[..], tag::NONE), (b"False", tag::FALSE), (b"True", tag::TRUE)]
        {
            if self.cursor.eat(token) {
                out.push(tag);
                return Ok(());
            }
        }
        for (before, tag, after) in [
            (&b""[..], tag::STR, &b""[..]),
            (b"b", tag::BYTES, b""),
            (b"SecretStr(", tag::SECRET_STR, b")"),
            (b"SecretBytes(b", tag::SECRET_BYTES, b")"),
        ] {
            let mut ahead = self.cursor;
            if ahead.eat(before) && matches!(ahead.peek(), Some(b'\'' | b'"')) {
                self.cursor = ahead;
                self.decode(matches!(tag, tag::BYTES | tag::SECRET_BYTES))?;
                leaf(out, tag, &self.decoded);
                return if self.cursor.eat(after) { Ok(()) } else { Err(self.fail()) };
            }
        }
        if self.cursor.eat(b"<class '") {
            let name = self.cursor.take_until(|byte| byte == b'\'').ok_or(Fail::Shape)?;
            leaf(out, tag::CLASS, name);
            self.classes.push(String::from_utf8_lossy(name).into_owned());
            return if self.cursor.eat(b"'>") { Ok(()) } else { Err(self.fail()) };
        }
        let lexeme = self.cursor.take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_')
        });
        leaf(out, number(lexeme).ok_or_else(|| self.stop(lexeme))?, lexeme);
        Ok(())
    }

    /// A lexeme that is no number: nothing at all at the end of the text, or some unknown leaf.
    fn stop(&self, lexeme: &[u8]) -> Fail {
        if lexeme.is_empty() { self.fail() } else { Fail::Leaf(self.last) }
    }

    /// Decodes the quoted text at the cursor.
    fn decode(&mut self, is_bytes: bool) -> Result<(), Fail> {
        self.decoded.clear();
        let quote = self.cursor.peek().ok_or(Fail::Shape)?;
        self.cursor.advance(1);
        loop {
            let stops = |byte| {
                byte == quote || matches!(byte, b'\\' | ..0x20 | 0x7F) || (is_bytes && byte > 0x7F)
            };
            self.decoded.extend_from_slice(self.cursor.take_until(stops).ok_or(Fail::Shape)?);
            if self.cursor.eat(&[quote]) {
                return Ok(());
            }
            if !self.cursor.eat(b"\\") || self.escape(is_bytes).is_none() {
                return Err(self.fail());
            }
        }
    }

    fn escape(&mut self, is_bytes: bool) -> Option<()> {
        let byte = self.cursor.peek()?;
        self.cursor.advance(1);
        let digits = match byte {
            b'x' => 2,
            b'u' if !is_bytes => 4,
            b'U' if !is_bytes => 8,
            _ => {
                self.decoded.push(match byte {
                    b'\\' | b'\'' | b'"' => byte,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return None,
                });
                return Some(());
            }
        };
        let number = self.cursor.hex(digits)?;
        if is_bytes {
            self.decoded.push(u8::try_from(number).ok()?);
            return Some(());
        }
        push_code_point(&mut self.decoded, number)
    }

    /// Reads a quoted text: the name of a parameter.
    pub(super) fn name(&mut self) -> Result<&[u8], Fail> {
        if !matches!(self.cursor.peek(), Some(b'\'' | b'"')) {
            return Err(Fail::Shape);
        }
        self.decode(false).map_err(|_| Fail::Shape)?;
        Ok(&self.decoded)
    }
}

/// The tag of a number as Python prints it; `None` for any other lexeme.
fn number(lexeme: &[u8]) -> Option<u8> {
    if matches!(lexeme, b"nan" | b"inf" | b"-inf") {
        return Some(tag::FLOAT);
    }
    let mut cursor = Cursor::new(lexeme);
    let digits = |cursor: &mut Cursor| cursor.take_while(|byte| byte.is_ascii_digit()).len();
    let negative = cursor.eat(b"-");
    let zero = cursor.peek() == Some(b'0');
    let whole = digits(&mut cursor);
    if whole == 0 || (zero && whole > 1) {
        return None;
    }
    if cursor.is_done() {
        return (!(negative && zero)).then_some(tag::INT);
    }
    if cursor.eat(b".") && digits(&mut cursor) == 0 {
        return None;
    }
    if cursor.eat(b"e") && (!(cursor.eat(b"+") || cursor.eat(b"-")) || digits(&mut cursor) == 0) {
        return None;
    }
    cursor.is_done().then_some(tag::FLOAT)
}
