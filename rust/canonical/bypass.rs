//! Why a request must go past the cache.
#![forbid(unsafe_code)]

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
    /// A class whose schema was not seen.
    UnknownClass,
    /// A text that leaves out what is asked, of a model that was not seen.
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
