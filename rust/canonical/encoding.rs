//! The bytes of a canonical form: tags, lengths, and no two trees alike.
//!
//! A leaf is its tag, its length (LEB128) and its bytes; a container is its tag, its members and
//! [`tag::END`], which starts no value. So every value says where it ends, and none is the prefix
//! of another: distinct trees have distinct bytes, and so have distinct sequences of trees.
#![forbid(unsafe_code)]

/// What a value is. The numbers are part of the key: never reuse or reorder them.
pub(super) mod tag {
    pub(in super::super) const END: u8 = 0;
    pub(in super::super) const NONE: u8 = 1;
    pub(in super::super) const FALSE: u8 = 2;
    pub(in super::super) const TRUE: u8 = 3;
    /// An integer of the repr part, by its digits.
    pub(in super::super) const INT: u8 = 4;
    /// A float of the repr part, by Python's shortest repr.
    pub(in super::super) const FLOAT: u8 = 5;
    /// A number of the JSON head, by its lexeme.
    pub(in super::super) const NUMBER: u8 = 6;
    /// Text: UTF-8, lone surrogates in Python's `surrogatepass` form.
    pub(in super::super) const STR: u8 = 7;
    pub(in super::super) const BYTES: u8 = 8;
    pub(in super::super) const SECRET_STR: u8 = 9;
    pub(in super::super) const SECRET_BYTES: u8 = 10;
    /// A class, by its qualified name.
    pub(in super::super) const CLASS: u8 = 11;
    pub(in super::super) const LIST: u8 = 12;
    pub(in super::super) const TUPLE: u8 = 13;
    pub(in super::super) const DICT: u8 = 14;
    /// Members in the order of their bytes.
    pub(in super::super) const SET: u8 = 15;
    /// Members in the order of their bytes.
    pub(in super::super) const FROZENSET: u8 = 16;
    /// A value that `repr` prints as a call of its constructor, by that text.
    pub(in super::super) const OBJECT: u8 = 17;
    /// A container: the name of a kind of object, then what it holds (descriptions only).
    pub(in super::super) const KIND: u8 = 18;
}

/// Appends a leaf.
pub(super) fn leaf(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(0x80 | low_bits(length));
        length >>= 7;
    }
    out.push(low_bits(length));
    out.extend_from_slice(bytes);
}

fn low_bits(length: usize) -> u8 {
    (length & 0x7F).to_le_bytes()[0]
}

/// Appends a code point, which may be a lone surrogate. `None` if there is no such code point.
pub(super) fn push_code_point(out: &mut Vec<u8>, code_point: u32) -> Option<()> {
    if let Some(character) = char::from_u32(code_point) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return Some(());
    }
    let [_, _, high, low] = code_point.to_be_bytes();
    (code_point <= 0xFFFF).then(|| {
        out.extend([0xED, 0x80 | (high & 0x0F) << 2 | low >> 6, 0x80 | (low & 0x3F)]);
    })
}

/// Gives the members of a set, which start at `starts` and reach to the end of `out`, the order of
/// their bytes.
pub(super) fn sort_members(out: &mut Vec<u8>, starts: &[usize]) {
    let ends = starts.iter().skip(1).copied().chain([out.len()]);
    let mut members: Vec<&[u8]> =
        starts.iter().zip(ends).map(|(&start, end)| &out[start..end]).collect();
    if members.is_sorted() {
        return;
    }
    members.sort_unstable();
    let sorted = members.concat();
    out.truncate(starts.first().copied().unwrap_or(out.len()));
    out.extend_from_slice(&sorted);
}

/// The length of the value that `bytes` start with; all of them, if they are not an encoding.
pub(super) fn extent(bytes: &[u8]) -> usize {
    let (mut at, mut open) = (0, 0_usize);
    while let Some(&kind) = bytes.get(at) {
        at += 1;
        match kind {
            tag::END => open = open.saturating_sub(1),
            tag::NONE | tag::FALSE | tag::TRUE => {}
            tag::LIST..=tag::FROZENSET | tag::KIND => open += 1,
            _ => at = at.saturating_add(leaf_extent(bytes.get(at..).unwrap_or_default())),
        }
        if open == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// The members of a container, one by one.
pub(super) fn members(container: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = container.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        let is_there = rest.first().is_some_and(|&kind| kind != tag::END);
        is_there.then(|| rest.split_off(..extent(rest))).flatten()
    })
}

/// The size of a leaf's length and bytes, which `bytes` start with.
fn leaf_extent(bytes: &[u8]) -> usize {
    let (mut length, mut digits) = (0_usize, 0);
    for &byte in bytes.iter().take(9) {
        length |= usize::from(byte & 0x7F) << (7 * digits);
        digits += 1;
        if byte < 0x80 {
            break;
        }
    }
    length.saturating_add(digits)
}

/// Whether `bytes` are the encoding of this short text.
pub(super) fn is_str(bytes: &[u8], text: &str) -> bool {
    strip_str(bytes, text).is_some_and(<[u8]>::is_empty)
}

/// The text that `bytes`, the encoding of one value, stand for; `None` if that is no text.
pub(super) fn text_of(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.strip_prefix(&[tag::STR])?;
    let last = length.iter().position(|&byte| byte < 0x80)?;
    length.get(last + 1..)
}

/// Whether `bytes` are the encoding of a list of exactly these short texts.
pub(super) fn is_path(bytes: &[u8], path: &[&str]) -> bool {
    let start = bytes.strip_prefix(&[tag::LIST]);
    let end = path.iter().try_fold(start, |rest, text| strip_str(rest?, text).map(Some));
    end.flatten() == Some(&[tag::END])
}

fn strip_str<'a>(bytes: &'a [u8], text: &str) -> Option<&'a [u8]> {
    let length = u8::try_from(text.len()).ok().filter(|&length| length < 0x80)?;
    bytes.strip_prefix(&[tag::STR, length])?.strip_prefix(text.as_bytes())
}
