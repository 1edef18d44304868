//! The border between the pure core and Python: conversions, locks and clocks, and no logic.
//!
//! A map of its rooms, from the top down. A room imports only rooms below it, and the pure core.
//!
//! | room            | what it does                                                                 |
//! |-----------------|------------------------------------------------------------------------------|
//! | `memory`        | the class `Memory`: the memory tier with a lock and a clock, and request keys |
//! | `keys`          | what models and clients say of themselves, and whether they still do         |
//! | `dumps`         | LangChain's `dumps`, written straight from the objects                       |
//! | `codec`         | answers: Python objects to bytes and back                                    |
//! | `single_flight` | leases within one process                                                    |
//! | `vectors`       | vectors: packed, stored beside an entry, and an index of them with a lock    |
//! | `pages`         | pages of an SQLite file that is in use, announced to the disk                |
//! | `telemetry`     | counters, each of whose methods is one step                                  |
//! | `errors`        | the exceptions, and what Rust errors become in Python                        |
//! | `runtime`       | what the border needs of the interpreter: the GIL, the stack, texts, dicts   |

mod codec;
mod dumps;
mod errors;
mod keys;
mod memory;
mod pages;
mod runtime;
mod single_flight;
mod telemetry;
mod vectors;

use pyo3::prelude::*;

/// Keeps `object` alive for ever: a connection that a fork copied must never be closed.
#[pyfunction]
fn leak(object: Py<PyAny>) {
    std::mem::forget(object);
}

/// See `_core.pyi`.
#[pyfunction]
fn prepare(py: Python<'_>) -> PyResult<()> {
    codec::schema::Schema::get(py).map(|_| ())
}

/// Native core of llmemo; see `_core.pyi`.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::leak;
    #[pymodule_export]
    use super::prepare;
    #[pymodule_export]
    use crate::python::codec::compression::{compress, decompress};
    #[pymodule_export]
    use crate::python::codec::decode::decode;
    #[pymodule_export]
    use crate::python::codec::encode::encode;
    #[pymodule_export]
    use crate::python::codec::fresh_ids::seed_ids;
    #[pymodule_export]
    use crate::python::codec::parts::take_apart;
    #[pymodule_export]
    use crate::python::codec::recording::{Playback, Recorder, recording_of};
    #[pymodule_export]
    use crate::python::dumps::Dumps;
    #[pymodule_export]
    use crate::python::errors::{RequestBypassed, ValueDamaged, ValueRefused, ValueUnknown};
    #[pymodule_export]
    use crate::python::keys::describer::{Describer, Entry, entries};
    #[pymodule_export]
    use crate::python::keys::rows::Rows;
    #[pymodule_export]
    use crate::python::keys::settings::settings;
    #[pymodule_export]
    use crate::python::keys::snapshot::Snapshot;
    #[pymodule_export]
    use crate::python::keys::snapshots::Snapshots;
    #[pymodule_export]
    use crate::python::memory::binding::Memory;
    #[pymodule_export]
    use crate::python::memory::counts::MemoryCounts;
    #[pymodule_export]
    use crate::python::memory::outline::fold_digests;
    #[pymodule_export]
    use crate::python::memory::overview::{largest_namespaces, memory_history};
    #[pymodule_export]
    use crate::python::pages::announce_rows;
    #[pymodule_export]
    use crate::python::runtime::interrupts::Insisting;
    #[pymodule_export]
    use crate::python::single_flight::FlightTable;
    #[pymodule_export]
    use crate::python::telemetry::Counts;
    #[pymodule_export]
    use crate::python::vectors::{SharedIndex, pack_question, pack_vector, unpack_question};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("OUTLINE_DIGEST", crate::python::memory::outline::OUTLINE_DIGEST)?;
        module.add("LARGE", crate::python::runtime::long_work::LARGE)?;
        module.add("PanicException", module.py().get_type::<pyo3::panic::PanicException>())
    }
}
