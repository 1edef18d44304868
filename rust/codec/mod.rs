//! Answers as bytes: the format of a stored value, its compression, and what goes with it.

pub mod compression;
pub mod format;
pub mod fresh_ids;
pub mod json_strings;
