//! Answers between Python objects and bytes.

pub(super) mod compression;
pub(super) mod decode;
pub(super) mod dict_templates;
pub(super) mod encode;
pub(super) mod fresh_ids;
pub(super) mod instances;
pub(super) mod schema;
pub(super) mod string_cache;
