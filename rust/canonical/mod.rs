//! Canonical forms: what a prompt and an `llm_string` say, whatever the way it is written.
//!
//! [`prompt`] is for LangChain's `dumps` of messages; the rest of this page is about [`llm_string`],
//! LangChain's description of a model and its settings. `docs/keys.md` specifies both.
//!
//! LangChain writes it in three forms, all of them half Python `repr`:
//!
//! | who                                | what                                                     |
//! |------------------------------------|----------------------------------------------------------|
//! | chat models that can be serialised | JSON of the constructor, `---`, `str(sorted(params))`    |
//! | other chat models                  | `str(sorted(params))`, with the model's settings in it   |
//! | plain LLMs                         | the same                                                 |
//!
//! [`llm_string`] reads all of them. Settings that cannot change an answer are dropped (see the
//! table in `immaterial.rs`), sets get an order, and quoting and escapes disappear; everything else
//! stays: the order of dicts, `1`, `1.0` and `True`, text and bytes, lists and tuples. A text that
//! is of none of these forms is its own canonical form.
//!
//! Where the text shows only that there is *some* object (`<function f at 0x7f…>`, `Ans(x=1)`), two
//! requests that differ may look alike, and the same request may look different in the next process.
//! Such a request must go past the cache: [`Bypass`].
#![forbid(unsafe_code)]

mod constructor;
mod cursor;
pub mod description;
mod encoding;
mod immaterial;
mod json;
mod literal;
mod objects;
mod prompt;
mod reading;
mod thin;

pub use objects::Objects;
pub use prompt::{messages, prompt};

use cursor::{Fail, contains, has_address, leaf_end};
use objects::reason_of;
use reading::Reading;
use std::ops::Range;

/// What an `llm_string` turned out to be.
///
/// The bytes of one variant may equal those of the other: frame which of them it is, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Settings, in a form that is equal exactly when they are.
    Params(Canonical),
    /// Some text of the user's own, which stands for itself.
    Opaque,
}

/// The settings of an `llm_string`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canonical {
    /// Injective: equal exactly when all settings that count are.
    pub bytes: Vec<u8>,
    /// The settings that count, in the order of `bytes`.
    pub parts: Vec<Part>,
    /// The classes named in these settings, in order of appearance.
    pub classes: Vec<ClassMention>,
}

impl Canonical {
    /// Whether these are the settings of a model that is known to list too few of them: without the
    /// model object they do not say what is asked.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        thin::is_thin(self)
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Who set it: one name can occur in two places.
    pub place: Place,
    /// The name of the parameter; `class` for the class of the model.
    pub name: String,
    /// Where its value is in the bytes of the whole.
    pub value: Range<usize>,
    /// Where its value is in the text that was read, white space around it included.
    pub source: Range<usize>,
}

/// Where in an `llm_string` a setting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Place {
    /// Around the constructor's arguments: its class, its label.
    Envelope = 1,
    /// An argument of the model's constructor.
    Model = 2,
    /// A parameter of the call; without a JSON head, a setting of the model too.
    Call = 3,
}

/// A class that stands in the text as `<class 'module.Name'>`. The text cannot tell what the class
/// holds: the caller must fold its schema into the key, or go past the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassMention {
    /// Index of the setting in [`Canonical::parts`]. A walk of that parameter's value, dicts key
    /// before value, meets its classes in the order of the mentions.
    pub part: usize,
    /// Module and qualified name, as Python prints them.
    pub name: String,
}

/// Why a request must go past the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// What stands in the way.
    pub reason: Reason,
    /// The parameter it stands in; `None` for a text that has no parameters.
    pub parameter: Option<String>,
}

/// What stands in the way of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An object's address: another one in the next process, and reused within this one.
    Address,
    /// An object that is no literal: its `repr` need not say what it holds.
    UnknownRepr,
    /// A value that Python printed in part, with an ellipsis for the rest.
    Truncated,
    /// Values nested too deep to be settings.
    TooDeep,
    /// A class whose schema nobody has seen.
    UnknownClass,
    /// A text that leaves out what is asked, of a model that nobody has seen.
    ThinText,
}

impl Reason {
    /// A name for counters and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::UnknownRepr => "unknown_repr",
            Self::Truncated => "truncated",
            Self::TooDeep => "too_deep",
            Self::UnknownClass => "unknown_class",
            Self::ThinText => "thin_text",
        }
    }
}

/// Reads an `llm_string`, in Python's `surrogatepass` form of UTF-8.
///
/// # Errors
/// [`Bypass`], if the text does not determine the settings.
pub fn llm_string(text: &[u8]) -> Result<Form, Bypass> {
    let mut reading = Reading::default();
    match reading.all(text) {
        Ok(()) => reading.finish().map(Form::Params),
        Err(Fail::Shape) => opaque(text),
        Err(Fail::Deep) => Err(reading.bypass(Reason::TooDeep)),
        Err(Fail::Leaf(at)) => {
            let reason = diagnose(text.get(at..).unwrap_or_default());
            Err(reading.bypass(reason))
        }
    }
}

/// A text that is of no form that we know, but must not hide an object all the same.
fn opaque(text: &[u8]) -> Result<Form, Bypass> {
    let refuse = |reason| Err(Bypass { reason, parameter: None });
    if has_address(text) {
        return refuse(Reason::Address);
    }
    // Nearly LangChain's: what it says of classes and objects is to be feared, though not understood.
    let is_kin = text.starts_with(b"{\"") || text.starts_with(b"[(");
    if is_kin && (contains(text, b"<class '") || contains(text, b"\"not_implemented\"")) {
        return refuse(Reason::UnknownRepr);
    }
    Ok(Form::Opaque)
}

/// What is wrong with the leaf at the start of `text`, judged by its extent as far as one can tell.
fn diagnose(text: &[u8]) -> Reason {
    reason_of(leaf_end(text).map_or(text, |end| &text[..end]))
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod head_tests;
#[cfg(test)]
mod object_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tail_tests;
#[cfg(test)]
mod tests;
