//! The tokens of a payload, and the bytes that stand for them.
#![forbid(unsafe_code)]

/// A value names no more classes than this.
pub const CLASSES_MAX: usize = 0x100;

pub(super) mod tag {
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
    /// A list of this number of items.
    List(usize),
    /// A tuple of this number of items.
    Tuple(usize),
    /// A dict of this number of pairs: key, value, key, value …
    Dict(usize),
    /// An instance of a class of the border's table, with this number of fields: name, value …; what
    /// follows the fields is the border's business.
    Object(u8, usize),
    /// The text of a generation: a string follows.
    Text,
    /// The same string as the last [`Token::Text`].
    SameText,
    /// A set of this number of items.
    Set(usize),
    /// A frozen set of this number of items.
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

/// Whether a tree stands for the same immutable object wherever it is: no container, nor a text that
/// is said elsewhere.
#[must_use]
pub fn is_leaf(tree: &[u8]) -> bool {
    tree.first().is_some_and(|&tag| tag <= tag::BYTES || tag >= tag::WORD)
}
