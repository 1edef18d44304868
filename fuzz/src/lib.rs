//! What the fuzzers of llmemo share: see `run.py`, which builds and runs them.

#[cfg(feature = "python")]
pub mod border;
pub mod coverage;
pub mod dice;
#[cfg(feature = "python")]
pub mod memory;
pub mod payloads;
pub mod texts;

/// What must hold of an input.
#[path = "../checks/mod.rs"]
pub mod checks;
