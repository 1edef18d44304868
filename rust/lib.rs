//! The native core of llmemo, an LLM response cache for LangChain.
//!
//! A map of the rooms, from the top down. A room imports only rooms below it.
//!
//! | room              | what it does                                                                     |
//! |-------------------|----------------------------------------------------------------------------------|
//! | `python`          | the border: the only room that knows `PyO3` (behind the feature `python`)        |
//! | [`single_flight`] | within a process one caller computes, the others wait                            |
//! | [`codec`]         | answers as bytes: format, compression, fresh message ids                         |
//! | [`memory`]        | the memory tier: answers by request, bounded, with expiry                        |
//! | [`request`]       | what a request is called: durable key, fingerprint, outline                      |
//! | [`canonical`]     | what a prompt and an `llm_string` say, whatever the way it is written            |
//! | [`vectors`]       | near vectors: packed, bounded by bytes, and searched by cosine                   |
//! | [`pages`]         | the pages of an SQLite file that some rows are on                                |
//! | [`history`]       | counters over time, in several resolutions                                       |
//!
//! A request meets them in this order: `canonical` reads its texts, `request` names it, `memory` finds
//! its answer, `codec` turns the answer's bytes into tokens, and `python` makes objects of them.
//!
//! All rooms but `python` are pure: no lock, no clock, no interpreter, no `unsafe`. Run `cargo test` to
//! exercise them. Locks and clocks belong to the border. (`vectors` has `unsafe` in one place: the call
//! of what was compiled for some processors only.)

pub mod canonical;
pub mod codec;
pub mod history;
pub mod memory;
pub mod pages;
pub mod request;
pub mod single_flight;
pub mod vectors;

#[cfg(feature = "python")]
mod python;
