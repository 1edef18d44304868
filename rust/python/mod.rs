//! The border between the pure core and Python: conversions, locks and clocks, and no logic.

mod codec;
mod dumps;
mod keys;
mod memory;
mod request_args;
mod runtime;
mod single_flight;
mod telemetry;

use crate::codec::Damage;
use pyo3::prelude::*;

/// What Python is told of bytes that are not a value.
fn damage_error(damage: Damage) -> PyErr {
    match damage {
        Damage::UnknownVersion => ValueUnknown::new_err(damage.name()),
        _ => ValueDamaged::new_err(damage.name()),
    }
}

pyo3::create_exception!(
    llmemo._core,
    ValueRefused,
    pyo3::exceptions::PyException,
    "An answer that cannot be encoded without loss; its arguments: the reason, and a type's name or none."
);
pyo3::create_exception!(
    llmemo._core,
    ValueDamaged,
    pyo3::exceptions::PyException,
    "Stored bytes that are not the answer asked for; its only argument is the reason."
);
pyo3::create_exception!(
    llmemo._core,
    ValueUnknown,
    ValueDamaged,
    "Stored bytes that may be whole, but that this process cannot read: another one might."
);

pyo3::create_exception!(
    llmemo._core,
    RequestBypassed,
    pyo3::exceptions::PyException,
    "A request that does not determine what is asked; arguments: reason, parameter (or None)."
);

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
    use crate::python::codec::compression::{compress, decompress};
    #[pymodule_export]
    use crate::python::codec::decode::decode;
    #[pymodule_export]
    use crate::python::codec::encode::encode;
    #[pymodule_export]
    use crate::python::codec::fresh_ids::seed_ids;
    #[pymodule_export]
    use crate::python::dumps::writer::Dumps;
    #[pymodule_export]
    use crate::python::keys::describer::{Describer, Entry, entries};
    #[pymodule_export]
    use crate::python::keys::model_fields::Rows;
    #[pymodule_export]
    use crate::python::keys::snapshots::{Snapshot, Snapshots};
    #[pymodule_export]
    use crate::python::memory::binding::Memory;
    #[pymodule_export]
    use crate::python::request_args::settings;
    #[pymodule_export]
    use crate::python::runtime::interrupts::Insisting;
    #[pymodule_export]
    use crate::python::single_flight::FlightTable;
    #[pymodule_export]
    use crate::python::telemetry::Counts;
    #[pymodule_export]
    use crate::python::{RequestBypassed, ValueDamaged, ValueRefused, ValueUnknown, prepare};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("LARGE", crate::python::runtime::long_work::LARGE)?;
        module.add("PanicException", module.py().get_type::<pyo3::panic::PanicException>())
    }
}
