//! Reads an `llm_string`, LangChain's description of a model and its settings.
//!
//! LangChain writes it in three forms, all of them half Python `repr`:
//!
//! | who                                | what                                                     |
//! |------------------------------------|----------------------------------------------------------|
//! | chat models that can be serialised | JSON of the constructor, `---`, `str(sorted(params))`    |
//! | other chat models                  | `str(sorted(params))`, with the model's settings in it   |
//! | plain LLMs                         | the same                                                 |
//!
//! [`llm_string`] reads all of them. Settings that cannot change an answer are dropped (see the table in
//! `immaterial.rs`), sets get an order, and quoting and escapes disappear; everything else stays: the
//! order of dicts, `1`, `1.0` and `True`, text and bytes, lists and tuples. A text that is of none of
//! these forms is its own canonical form.
#![forbid(unsafe_code)]

use super::bypass::{Bypass, Reason};
use super::cursor::{Fail, contains, has_address, leaf_end};
use super::form::Form;
use super::ignored::Ignored;
use super::objects::reason_of;
use super::reading::Reading;

/// Reads an `llm_string`, in Python's `surrogatepass` form of UTF-8.
///
/// # Errors
/// [`Bypass`], if the text does not determine the settings.
pub fn llm_string(text: &[u8]) -> Result<Form, Bypass> {
    llm_string_without(text, &Ignored::default())
}

/// The same, without the settings that a user has told not to count.
///
/// # Errors
/// [`Bypass`], as there.
pub fn llm_string_without(text: &[u8], ignored: &Ignored) -> Result<Form, Bypass> {
    let mut reading = Reading::new(ignored);
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
