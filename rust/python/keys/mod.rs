//! Describes models and their clients for keys, and tells whether a description still holds.

mod call_names;
mod client_kinds;
mod client_seen;
mod clients;
pub(super) mod describer;
mod model_fields;
mod refusal;
pub(super) mod rows;
pub(super) mod settings;
pub(super) mod snapshot;
pub(super) mod snapshots;
