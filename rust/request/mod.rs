//! Requests: what one says, how it is found in this process, and what it is called in every other.
//!
//! | module          | what it does                                                                |
//! |-----------------|-----------------------------------------------------------------------------|
//! | `recent_models` | remembers the models that were asked last, so that they are not read again  |
//! | `outline`       | short digests of a request's parts, which tell where two of them differ     |
//! | `key`           | the durable key (BLAKE3-256), the same in every process                     |
//! | `partition`     | a request apart from its question, for semantic lookups                     |
//! | `fingerprint`   | a fast fingerprint (XXH3-128), which finds a request in this process        |
//! | `parsed`        | a request that was read: its canonical form                                 |
//! | `frame`         | a request's parts, framed so that no two requests share a byte string       |

mod fingerprint;
mod frame;
mod key;
mod outline;
mod parsed;
mod partition;
mod recent_models;

pub use fingerprint::{Fingerprint, Fingerprinter, Probe, VERBATIM_MAX};
pub use frame::Request;
pub use key::{Key, KeyPrefix, Keyer};
pub use outline::{DIGEST, Outliner, fold};
pub use parsed::{Context, Model, ParsedRequest};
pub use partition::Partition;
pub use recent_models::{ModelDigests, RecentModel, RecentModels};
