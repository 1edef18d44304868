//! The memory tier: answers by request, bounded by bytes and entries, with expiry.
//!
//! A [fingerprint](crate::request::Fingerprint) finds a candidate. The entry is served only if the
//! request is equal to one that is known to have its key: by its bytes up to
//! [`VERBATIM_MAX`](crate::request::VERBATIM_MAX), by a BLAKE3 digest beyond. A long prompt is looked
//! for by its [sketch](crate::request::Fingerprinter::sketch) first. So a colliding fingerprint costs
//! another look by the key, never a wrong answer.
//!
//! | module          | what it does                                                        |
//! |-----------------|---------------------------------------------------------------------|
//! | `tier`          | the tier itself: lookups, counters and epochs                       |
//! | `insertion`     | keeps answers, and further aliases of a request                     |
//! | `eviction`      | keeps to the bounds                                                 |
//! | `invalidation`  | removes entries on purpose: one, all, or those that match           |
//! | `inspection`    | looks at entries without using them                                 |
//! | `early_refresh` | decides which caller refreshes an answer before it expires          |
//! | `report`        | what a tier tells its caller                                        |
//! | `entry`         | an answer, and the requests that lead to it                         |
//! | `answer`        | an answer's bytes, times and worth                                  |
//! | `request_index` | finds a key by a request's fingerprint                              |
//! | `lru`           | a least-recently-used map bounded by bytes and entries              |
//! | `bounds`        | what bounds it                                                      |

mod answer;
mod bounds;
mod early_refresh;
mod entry;
mod eviction;
mod insertion;
mod inspection;
mod invalidation;
mod lru;
mod report;
mod request_index;
mod tier;

pub use answer::{Answer, FOREVER, Worth};
pub use bounds::Bounds;
pub use invalidation::{Remains, Sweep};
pub use lru::{Group, Lru};
pub use report::{About, Counts, Found, Hit, KnownRequest, LargeNamespace};
pub use tier::{Settings, Tier};
