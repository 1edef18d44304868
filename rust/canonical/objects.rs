//! Objects that LangChain could not serialise: `{"lc": 1, "type": "not_implemented", "id": […],
//! "repr": "…"}`. The `id` names a class; only the `repr` says what is inside, and few of them all of it.
#![forbid(unsafe_code)]

use super::bypass::Reason;
use super::cursor::{Cursor, contains, has_address};
use super::encoding::{is_path, is_str, tag, text_of};
use super::literal::Literals;
use std::ops::Range;

/// How an object counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objects {
    /// By its `repr`, where that is known to say everything.
    #[default]
    ByRepr,
    /// By its `id`: the caller has seen the object, and has put what it holds into the key.
    ById,
}

/// Objects whose text LangChain keeps or masks on purpose: their id says all that counts.
const MASKED: [&[&str]; 2] =
    [&["pydantic", "types", "SecretStr"], &["pydantic", "types", "SecretBytes"]];

/// Types whose `repr` says everything, as long as it is read to its end: see `constructor.rs` for what
/// may be in it.
///
/// `zoneinfo.ZoneInfo` is not among them: it prints a name, and its offsets are those of the machine's
/// time zone database (or of any file, by `from_file`). Nor are the types that print an address, and
/// those whose `repr` is anybody's: numpy, pandas, torch, Pillow, Pydantic, dataclasses, enums.
const COMPLETE: [&[&str]; 23] = [
    &["builtins", "bytes"],
    &["builtins", "bytearray"],
    &["builtins", "set"],
    &["builtins", "frozenset"],
    &["builtins", "complex"],
    &["builtins", "range"],
    &["builtins", "ellipsis"],
    &["datetime", "date"],
    &["datetime", "time"],
    &["datetime", "datetime"],
    &["datetime", "timedelta"],
    &["datetime", "timezone"],
    &["decimal", "Decimal"],
    &["fractions", "Fraction"],
    &["uuid", "UUID"],
    &["pathlib", "PurePosixPath"],
    &["pathlib", "PureWindowsPath"],
    &["pathlib", "PosixPath"],
    &["pathlib", "WindowsPath"],
    // Where Python 3.13 has them.
    &["pathlib", "_local", "PurePosixPath"],
    &["pathlib", "_local", "PureWindowsPath"],
    &["pathlib", "_local", "PosixPath"],
    &["pathlib", "_local", "WindowsPath"],
];

/// What was seen of a JSON object that may be one.
#[derive(Default)]
pub(super) struct Marks {
    members: usize,
    lc: bool,
    not_implemented: bool,
    /// Where the value of `id` is in the output.
    id: Option<Range<usize>>,
    /// Where `repr` is in the output, and where its value begins.
    repr: Option<(Range<usize>, usize)>,
}

impl Marks {
    /// Notes the member whose key and value start at these places, and reach to the end of `out`.
    pub(super) fn see(&mut self, out: &[u8], key_at: usize, value_at: usize) {
        let (key, value) = (&out[key_at..value_at], &out[value_at..]);
        self.members += 1;
        if is_str(key, "lc") {
            self.lc = value == [tag::NUMBER, 1, b'1'];
        } else if is_str(key, "type") {
            self.not_implemented = is_str(value, "not_implemented");
        } else if is_str(key, "id") {
            self.id = Some(value_at..out.len());
        } else if is_str(key, "repr") {
            self.repr = Some((key_at..out.len(), value_at));
        }
    }

    pub(super) fn is_object(&self) -> bool {
        self.lc && self.not_implemented
    }

    /// Gives the object that was found its form: `out` ends with its members. Returns why it has none.
    pub(super) fn settle(&self, objects: Objects, out: &mut Vec<u8>) -> Option<Reason> {
        let is_of = |paths: &[&[&str]]| {
            let id = self.id.clone().map_or(&[][..], |id| &out[id]);
            paths.iter().any(|path| is_path(id, path))
        };
        if is_of(&MASKED) {
            return None;
        }
        // Both marks, and these two: each of them once, and nothing else.
        let is_whole = self.members == 4 && self.id.is_some();
        let member = self.repr.clone().filter(|_| is_whole);
        if objects == Objects::ById {
            if let Some((whole, _)) = member {
                out.drain(whole);
            }
            return None;
        }
        let Some((whole, value)) = member else { return Some(self.reason(out)) };
        // A text is read once. A tree would be read again for each `repr` in it.
        let read = text_of(&out[value..whole.end]).filter(|_| is_of(&COMPLETE)).and_then(complete);
        let Some(encoded) = read else { return Some(self.reason(out)) };
        out.splice(value..whole.end, encoded);
        None
    }

    fn reason(&self, out: &[u8]) -> Reason {
        let shown = self.repr.as_ref().and_then(|(whole, value)| text_of(&out[*value..whole.end]));
        shown.map_or(Reason::UnknownRepr, reason_of)
    }
}

/// The encoding of a `repr` that is read to its end; `None` if anything in it need not say everything.
fn complete(text: &[u8]) -> Option<Vec<u8>> {
    let mut literals = Literals::new(Cursor::new(text));
    literals.constructors = true;
    let mut out = Vec::new();
    literals.value(&mut out).ok()?;
    let is_kind = matches!(out[..], [tag::BYTES | tag::SET | tag::FROZENSET | tag::OBJECT, ..]);
    // A class is known by its name only.
    (is_kind && literals.cursor.is_done() && literals.classes.is_empty()).then_some(out)
}

/// Why the `repr` of an object, which is no literal, cannot stand for it.
pub(super) fn reason_of(repr: &[u8]) -> Reason {
    if has_address(repr) {
        Reason::Address
    } else if contains(repr, b"...") || contains(repr, "…".as_bytes()) {
        Reason::Truncated
    } else {
        Reason::UnknownRepr
    }
}

/// The one of two reasons to report. An address is the worst of them: nothing else may hide it.
pub(super) fn worse(one: Option<Reason>, other: Option<Reason>) -> Option<Reason> {
    [Reason::Address, Reason::Truncated, Reason::UnknownRepr]
        .into_iter()
        .find(|&reason| one == Some(reason) || other == Some(reason))
}
