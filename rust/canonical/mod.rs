//! Canonical forms: what a prompt and an `llm_string` say, whatever the way it is written.
//!
//! [`prompt`] is for LangChain's `dumps` of messages, [`llm_string`] for its description of a model and
//! its settings. `docs/keys.md` specifies both.
//!
//! Where the text shows only that there is *some* object (`<function f at 0x7f…>`, `Ans(x=1)`), two
//! requests that differ may look alike, and the same request may look different in the next process.
//! Such a request must go past the cache: [`Bypass`].
//!
//! | module        | what it does                                                                   |
//! |---------------|--------------------------------------------------------------------------------|
//! | `llm_string`  | reads an `llm_string`                                                          |
//! | `prompt`      | reads messages                                                                 |
//! | `question`    | takes the question out of messages                                             |
//! | `description` | writes what a model object says of itself, in canonical bytes                  |
//! | `reading`     | the settings of an `llm_string` while it is read                               |
//! | `immaterial`  | the settings that cannot change an answer                                      |
//! | `ignored`     | the settings that a user has told not to count                                 |
//! | `thin`        | the texts that leave out what is asked                                         |
//! | `json`        | reads JSON, and writes its canonical form                                      |
//! | `literal`     | reads Python literals, and writes their canonical form                         |
//! | `constructor` | reads a `repr` that is a constructor's call                                    |
//! | `hidden`      | finds objects in a text that only looks like a list of messages                |
//! | `objects`     | tells what a text shows of an object                                           |
//! | `encoding`    | the bytes of canonical forms                                                   |
//! | `cursor`      | a place in a text                                                              |
//! | `form`        | the canonical form of an `llm_string`                                          |
//! | `bypass`      | why a request must go past the cache                                           |
#![forbid(unsafe_code)]

mod bypass;
mod constructor;
mod cursor;
pub mod description;
mod encoding;
mod form;
mod hidden;
mod hit_marks;
mod ignored;
mod immaterial;
mod json;
mod literal;
mod llm_string;
mod objects;
mod prompt;
mod question;
mod reading;
mod thin;

pub use bypass::{Bypass, Reason};
pub use form::{Canonical, ClassMention, Form, Part, Place};
pub use ignored::Ignored;
pub use llm_string::{llm_string, llm_string_without};
pub use objects::Objects;
pub use prompt::{messages, prompt};
pub use question::take_question;

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
