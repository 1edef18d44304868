//! The memory tier: answers by request, bounded by bytes and entries, with expiry.

mod answer;
mod entry;
mod invalidation;
pub mod lru;
mod report;
mod request_index;
pub mod tier;
