//! Near vectors: packed to a byte for each dimension, kept by partition, and searched by cosine.
//!
//! | module            | what it does                                                               |
//! |-------------------|----------------------------------------------------------------------------|
//! | `index`           | all partitions, bounded by bytes: the largest tenant makes room            |
//! | `tenants`         | what each tenant holds, and its order of age                               |
//! | `places`          | the partition and the row of each key                                      |
//! | `partition`       | the vectors of one partition                                               |
//! | `search`          | the best of a partition: all of it, or those whose sketches are near       |
//! | `block`           | up to 1,024 vectors side by side                                           |
//! | `best`            | the best few of many                                                       |
//! | `kernels`         | dot products and distances of many rows, by SIMD where the processor has it |
//! | `packed`          | a packed vector: its layout, how it is made and read                       |
//! | `stored_question` | a question and its vector, as a store keeps them beside an entry           |

mod best;
mod block;
mod index;
mod kernels;
mod packed;
mod partition;
mod places;
mod search;
mod stored_question;
mod tenants;

pub use index::{Id, New, Tenant, VectorIndex};
pub use packed::{DIMENSIONS_MAX, Packed, pack};
pub use search::{Found, SKETCHED_ABOVE, View};
pub use stored_question::{Damage, open, seal};

#[cfg(test)]
mod random_tests;
