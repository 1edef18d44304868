//! Answers between Python objects and bytes.

mod alike;
pub(super) mod compression;
pub(super) mod decode;
mod dict_templates;
pub(super) mod encode;
pub(super) mod fresh_ids;
mod hashes;
mod instances;
pub(super) mod parts;
mod python_bridge;
pub(super) mod recording;
pub(super) mod schema;
mod string_cache;
