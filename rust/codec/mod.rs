//! Answers as bytes: the format of a stored value, its compression, and what goes with it.
//!
//! | module         | what it does                                                                  |
//! |----------------|-------------------------------------------------------------------------------|
//! | `writer`       | writes an answer token by token, and seals it under its key                   |
//! | `reader`       | reads a payload token by token                                                |
//! | `token`        | the tokens, and the bytes that stand for them                                 |
//! | `compression`  | makes values smaller on their way to a store, where that pays                 |
//! | `recording`    | the chunks of a stream, each as the difference to the one before              |
//! | `format`       | the frame of a stored answer: header, length, key, checksum                   |
//! | `fresh_ids`    | new message ids in the place of those that LangChain itself made              |
//! | `json_strings` | JSON strings as Python writes them: what LangChain makes of messages          |

mod compression;
mod format;
mod fresh_ids;
mod json_strings;
mod reader;
mod recording;
mod token;
mod writer;

pub use compression::{Compressed, LEAST, LEVEL, RATIO_MAX, Zstandard, compressed};
pub use format::{DEPTH_MAX, Damage, LEN_MAX, VERSION, is_for_streams, open, payload, recording};
pub use fresh_ids::{Id, fresh, is_said_twice, nonce, renamed};
pub use json_strings::push_string;
pub use reader::Reader;
pub use recording::{Playback, Recording};
pub use token::{CLASSES_MAX, Token, WORDS_MAX, is_leaf};
pub use writer::Writer;
