//! Leases within one process: see [`crate::single_flight`].

use crate::python::runtime::gil_cell::GilCell;
use crate::single_flight::{Awaited, Flights, Passed};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyWeakrefMethods, PyWeakrefReference};

type Open = Flights<Py<PyWeakrefReference>, Py<PyAny>>;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct FlightTable {
    open: GilCell<Open>,
    /// Called with key and number of a lease that is gone and had not ended.
    lost: Py<PyAny>,
}

/// Called when a lease is gone whose weak reference is still there: those that end lose theirs. So
/// no Python code runs when such a lease is gone, in which a signal handler could raise in vain.
#[pyclass(frozen)]
struct Lost {
    tell: Py<PyAny>,
    key: Py<PyBytes>,
    number: u64,
}

#[pymethods]
impl Lost {
    fn __call__(&self, reference: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = reference.py();
        self.tell.call1(py, (&self.key, self.number)).map(drop)
    }
}

impl FlightTable {
    fn reference(
        &self,
        key: &Bound<'_, PyBytes>,
        number: u64,
        lease: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyWeakrefReference>> {
        let py = lease.py();
        let lost = Lost { tell: self.lost.clone_ref(py), key: key.clone().unbind(), number };
        Ok(PyWeakrefReference::new_with(lease, Bound::new(py, lost)?)?.unbind())
    }
}

/// What a step leaves to be dropped. Not within the step: that may run a finalizer.
type Left = Option<Py<PyWeakrefReference>>;

fn end(py: Python<'_>, lease: &Py<PyWeakrefReference>) -> PyResult<()> {
    match lease.bind(py).upgrade() {
        Some(lease) => lease.setattr(intern!(py, "has_ended"), true),
        None => Ok(()),
    }
}

fn tell(
    outcomes: &Bound<'_, PyList>,
    waiters: Vec<Py<PyAny>>,
    result: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let none = outcomes.py().None();
    waiters.into_iter().try_for_each(|it| outcomes.append((it, result, &none)))
}

#[pymethods]
impl FlightTable {
    #[new]
    fn new(lost: Py<PyAny>) -> Self {
        Self { open: GilCell::new(Flights::default()), lost }
    }

    fn __contains__(&self, py: Python<'_>, key: &[u8]) -> bool {
        self.open.with(py, |open| open.lease(key).is_some())
    }

    fn lead<'py>(
        &self,
        key: &Bound<'py, PyBytes>,
        number: u64,
        lease: Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let reference = self.reference(key, number, &lease)?;
        let bytes = key.as_bytes();
        let left = self.open.with(lease.py(), |open| open.lead(bytes, number, reference));
        Ok(left.is_none().then_some(lease))
    }

    fn join(&self, py: Python<'_>, key: &[u8], call: Py<PyAny>) -> Option<Py<PyAny>> {
        let same = call.clone_ref(py);
        let left = self.open.with(py, |open| open.join(key, call));
        left.is_none().then_some(same)
    }

    fn leave(&self, key: &[u8], call: &Bound<'_, PyAny>) {
        let left = self.open.with(call.py(), |open| open.leave(key, |it| it.is(call)));
        drop(left);
    }

    fn lease<'py>(&self, py: Python<'py>, key: &[u8]) -> Option<Bound<'py, PyAny>> {
        let found = self.open.with(py, |open| open.lease(key).map(|it| it.clone_ref(py)));
        found.and_then(|it| it.bind(py).upgrade())
    }

    fn failures(&self, py: Python<'_>, key: &[u8], number: u64) -> Option<u32> {
        self.open.with(py, |open| open.failures(key, number))
    }

    #[pyo3(signature = (key, number, failures, next, outcomes))]
    fn pass_on(
        &self,
        key: &Bound<'_, PyBytes>,
        number: u64,
        failures: u32,
        next: Option<(u64, Bound<'_, PyAny>)>,
        outcomes: &Bound<'_, PyList>,
    ) -> PyResult<()> {
        let py = outcomes.py();
        let (fresh, heir) = match next {
            Some((number, lease)) => {
                (Some((number, self.reference(key, number, &lease)?)), Some(lease))
            }
            None => (None, None),
        };
        let bytes = key.as_bytes();
        let passed = self.open.with(py, |open| open.pass_on(bytes, number, failures, fresh));
        let (old, unused): (Left, Left) = match passed {
            Passed::Stale(unused) => (None, unused),
            Passed::To(call, old) => {
                if let Some(lease) = &heir {
                    tell(outcomes, vec![call], lease)?;
                }
                (Some(old), None)
            }
            Passed::Closed(calls, old, unused) => {
                tell(outcomes, calls, py.None().bind(py))?;
                (Some(old), unused)
            }
        };
        [old, unused].iter().flatten().try_for_each(|it| end(py, it))
    }

    fn take_over<'py>(
        &self,
        key: &Bound<'py, PyBytes>,
        number: u64,
        call: &Bound<'py, PyAny>,
        next: u64,
        lease: Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = call.py();
        let fresh = (next, self.reference(key, next, &lease)?);
        let bytes = key.as_bytes();
        let taken =
            self.open.with(py, |open| open.take_over(bytes, number, |it| it.is(call), fresh));
        match taken {
            Ok((_, old)) => end(py, &old).map(|()| Some(lease)),
            Err(_) => Ok(None),
        }
    }

    fn is_first(&self, key: &[u8], call: &Bound<'_, PyAny>) -> bool {
        self.open.with(call.py(), |open| open.first(key).is_some_and(|it| it.is(call)))
    }

    fn close(
        &self,
        key: &[u8],
        result: &Bound<'_, PyAny>,
        outcomes: &Bound<'_, PyList>,
    ) -> PyResult<()> {
        let py = outcomes.py();
        let Some((calls, lease)) = self.open.with(py, |open| open.close(key)) else {
            return Ok(());
        };
        tell(outcomes, calls, result)?;
        end(py, &lease)
    }

    #[pyo3(signature = (key, number=None))]
    fn close_unawaited(&self, py: Python<'_>, key: &[u8], number: Option<u64>) -> PyResult<bool> {
        match self.open.with(py, |open| open.close_unawaited(key, number)) {
            Ok(Some(lease)) => end(py, &lease).map(|()| true),
            Ok(None) => Ok(true),
            Err(Awaited) => Ok(false),
        }
    }

    fn waiting<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found: Vec<(Vec<u8>, Vec<Py<PyAny>>)> = self.open.with(py, |open| {
            let all = open.iter();
            all.map(|(key, _, it)| (key.to_vec(), it.iter().map(|it| it.clone_ref(py)).collect()))
                .collect()
        });
        let waiting = PyDict::new(py);
        for (key, calls) in found {
            waiting.set_item(PyBytes::new(py, &key), calls)?;
        }
        Ok(waiting)
    }
}
