//! A reader of canonical forms, and a writer of texts that have them: the way back from
//! `llmemo::canonical`, after `docs/keys.md` alone.

mod tag {
    pub const END: u8 = 0;
    pub const NONE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const TRUE: u8 = 3;
    pub const INT: u8 = 4;
    pub const FLOAT: u8 = 5;
    pub const NUMBER: u8 = 6;
    pub const STR: u8 = 7;
    pub const BYTES: u8 = 8;
    pub const SECRET_STR: u8 = 9;
    pub const SECRET_BYTES: u8 = 10;
    pub const CLASS: u8 = 11;
    pub const LIST: u8 = 12;
    pub const TUPLE: u8 = 13;
    pub const DICT: u8 = 14;
    pub const SET: u8 = 15;
    pub const FROZENSET: u8 = 16;
    pub const OBJECT: u8 = 17;
}

/// One value of a canonical form.
#[derive(Debug)]
pub struct Value<'a> {
    tag: u8,
    /// What a leaf holds.
    bytes: &'a [u8],
    /// What a container holds.
    members: Vec<Self>,
}

impl<'a> Value<'a> {
    /// The value that `bytes` begin with; they then begin behind it.
    ///
    /// # Panics
    /// If there is none.
    pub fn take(bytes: &mut &'a [u8]) -> Self {
        let mut value = Self { tag: take(bytes, 1)[0], bytes: &[], members: Vec::new() };
        match value.tag {
            tag::NONE..=tag::TRUE => {}
            tag::INT..=tag::CLASS | tag::OBJECT => {
                let length = length(bytes);
                value.bytes = take(bytes, length);
            }
            tag::LIST..=tag::FROZENSET => {
                while bytes.first() != Some(&tag::END) {
                    value.members.push(Self::take(bytes));
                }
                take(bytes, 1);
            }
            other => panic!("no value starts with {other}"),
        }
        value
    }

    /// A text.
    #[must_use]
    pub fn of_text(bytes: &'a [u8]) -> Self {
        Self { tag: tag::STR, bytes, members: Vec::new() }
    }

    /// What a text says.
    ///
    /// # Panics
    /// If it is no text.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        assert_eq!(self.tag, tag::STR);
        self.bytes
    }

    /// The members of a list.
    ///
    /// # Panics
    /// If it is no list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        assert_eq!(self.tag, tag::LIST);
        &self.members
    }

    /// Puts the names of all classes in it into `names`.
    pub fn classes(&self, names: &mut Vec<&'a [u8]>) {
        if self.tag == tag::CLASS {
            names.push(self.bytes);
        }
        self.members.iter().for_each(|member| member.classes(names));
    }

    /// Writes it as JSON.
    ///
    /// # Panics
    /// If JSON cannot say it.
    pub fn json(&self, out: &mut Vec<u8>) {
        match self.tag {
            tag::NONE => out.extend(b"null"),
            tag::FALSE => out.extend(b"false"),
            tag::TRUE => out.extend(b"true"),
            tag::NUMBER => out.extend(self.bytes),
            tag::STR => json_text(self.bytes, out),
            tag::LIST => self.all(out, Self::json, [b"[", b",", b"]"]),
            tag::DICT => self.all(out, Self::json, [b"{", b":", b"}"]),
            // The `repr` of an object that LangChain could not serialise.
            tag::BYTES | tag::SET | tag::FROZENSET | tag::OBJECT => {
                let mut repr = Vec::new();
                self.repr(&mut repr);
                json_text(&repr, out);
            }
            other => panic!("JSON has no {other}"),
        }
    }

    /// Writes it as Python's `repr` would, or nearly.
    ///
    /// # Panics
    /// If `repr` would not write such a value.
    pub fn repr(&self, out: &mut Vec<u8>) {
        let is_empty = self.members.is_empty();
        match self.tag {
            tag::NONE => out.extend(b"None"),
            tag::FALSE => out.extend(b"False"),
            tag::TRUE => out.extend(b"True"),
            tag::INT | tag::FLOAT | tag::OBJECT => out.extend(self.bytes),
            tag::STR => self.quoted(out, "'", "'"),
            tag::BYTES => self.quoted(out, "b'", "'"),
            tag::SECRET_STR => self.quoted(out, "SecretStr('", "')"),
            tag::SECRET_BYTES => self.quoted(out, "SecretBytes(b'", "')"),
            tag::CLASS => out.extend([b"<class '", self.bytes, b"'>"].concat()),
            tag::LIST => self.all(out, Self::repr, [b"[", b", ", b"]"]),
            tag::TUPLE if self.members.len() == 1 => self.all(out, Self::repr, [b"(", b"", b",)"]),
            tag::TUPLE => self.all(out, Self::repr, [b"(", b", ", b")"]),
            tag::DICT => self.all(out, Self::repr, [b"{", b": ", b"}"]),
            tag::SET if is_empty => out.extend(b"set()"),
            tag::FROZENSET if is_empty => out.extend(b"frozenset()"),
            tag::SET => self.all(out, Self::repr, [b"{", b", ", b"}"]),
            tag::FROZENSET => self.all(out, Self::repr, [b"frozenset({", b", ", b"})"]),
            other => panic!("Python has no {other}"),
        }
    }

    /// Writes the members between what opens, parts and closes them; `:` parts a key from its value.
    fn all(&self, out: &mut Vec<u8>, write: fn(&Self, &mut Vec<u8>), marks: [&[u8]; 3]) {
        let [open, part, close] = marks;
        out.extend(open);
        for (at, member) in self.members.iter().enumerate() {
            match at {
                0 => {}
                _ if self.tag == tag::DICT && at % 2 == 0 => out.extend(b", "),
                _ => out.extend(part),
            }
            write(member, out);
        }
        out.extend(close);
    }

    fn quoted(&self, out: &mut Vec<u8>, open: &str, close: &str) {
        let is_bytes = matches!(self.tag, tag::BYTES | tag::SECRET_BYTES);
        out.extend(open.bytes());
        for &byte in self.bytes {
            match byte {
                b'\'' | b'\\' => out.extend([b'\\', byte]),
                ..0x20 | 0x7F => out.extend(format!("\\x{byte:02x}").bytes()),
                0x80.. if is_bytes => out.extend(format!("\\x{byte:02x}").bytes()),
                _ => out.push(byte),
            }
        }
        out.extend(close.bytes());
    }
}

fn json_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            ..0x20 => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at_checked(count).expect("a form says where it ends");
    *bytes = rest;
    head
}

/// Reads a LEB128.
fn length(bytes: &mut &[u8]) -> usize {
    let byte = take(bytes, 1)[0];
    let low = usize::from(byte & 0x7F);
    if byte < 0x80 { low } else { low | length(bytes) << 7 }
}
