//! The canonical form of an `llm_string`: settings, where each stands, and the classes they name.
#![forbid(unsafe_code)]

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
