//! The native core of llmemo, an LLM response cache for LangChain.
//!
//! A map of the modules, in the order in which a request meets them:
//!
//! | module          | what it does                                                                   |
//! |-----------------|--------------------------------------------------------------------------------|
//! | [`canonical`]   | what a prompt and an `llm_string` say, whatever the way it is written          |
//! | [`asked`]       | a request that was read, and the models that were asked last                   |
//! | [`frame`]       | a request's parts, framed so that no two requests share a byte string          |
//! | [`key`]         | a fast in-process fingerprint (XXH3-128) and the durable key (BLAKE3-256)      |
//! | [`outline`]     | short digests of a request's parts, which tell where two of them differ        |
//! | [`lru`]         | a least-recently-used map bounded by bytes and entries, with expiry            |
//! | [`tier`]        | the memory tier: fingerprints find an entry, equality of the request admits it |
//! | [`json_text`]   | JSON strings as Python writes them: what LangChain makes of messages           |
//! | [`value`]       | the bytes of a stored answer: header, checksum, tagged tree                    |
//! | [`compression`] | values made smaller on their way to a store, where that pays                   |
//! | [`flights`]     | who computes an answer, and who waits for it                                   |
//! | [`ids`]         | new message ids in the place of those that LangChain itself made               |
//! | `python`        | the border: the only place that knows `PyO3` (behind the feature `python`)     |
//!
//! Everything outside `python` is pure: no lock, no clock, no interpreter, no `unsafe`. Run
//! `cargo test` to exercise it. Locks and clocks belong to the border.

pub mod canonical;
pub mod codec;
pub mod memory;
pub mod request;
pub mod single_flight;

#[cfg(feature = "python")]
mod python;
