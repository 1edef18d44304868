//! What models and clients say of themselves, and whether they still do.

pub(super) mod call_names;
pub(super) mod client_seen;
pub(super) mod clients;
pub(super) mod describer;
pub(super) mod model_fields;
pub(super) mod settings;
pub(super) mod snapshots;
