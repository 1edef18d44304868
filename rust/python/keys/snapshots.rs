//! What goes with models, for as long as each is as it was.

use super::call_names::{Caller, Names, Texts};
use super::snapshot::Snapshot;
use crate::python::runtime::gil_cell::GilCell;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PySet, PyString, PyWeakrefMethods, PyWeakrefReference};
use std::collections::HashMap;
use std::sync::Arc;

/// Number of models that are remembered.
const MODELS_MAX: usize = 512;

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Snapshots {
    /// The attribute of a class that has its fields.
    fields: Py<PyString>,
    names: Names,
    /// By the address of the model.
    kept: GilCell<HashMap<usize, Arc<Kept>>>,
}

/// What goes with a model, which is not kept alive by it.
struct Kept {
    model: Py<PyWeakrefReference>,
    /// The address of the model's class.
    class: usize,
    /// That class's fields: which no other class has, and which it may be given others in place of.
    fields: Py<PyAny>,
    snapshot: Py<Snapshot>,
    answer: Py<PyAny>,
    texts: Texts,
}

impl Kept {
    fn is_of(&self, model: &Bound<'_, PyAny>, name: &Py<PyString>) -> PyResult<bool> {
        let py = model.py();
        let class = model.get_type();
        Ok(self.model.bind(py).upgrade().is_some_and(|it| it.is(model))
            && class.as_ptr().addr() == self.class
            && class.getattr(name.bind(py))?.is(&self.fields)
            && self.snapshot.get().is_still(model)?)
    }
}

#[pymethods]
impl Snapshots {
    #[new]
    fn new(
        fields: Py<PyString>,
        asking: Py<PyFrozenSet>,
        chat: Py<PyFrozenSet>,
        quiet: Py<PySet>,
    ) -> Self {
        let names = Names { asking, chat, quiet, other: GilCell::new(None) };
        Self { fields, names, kept: GilCell::new(HashMap::new()) }
    }

    fn find(&self, model: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.fresh(model)?.map(|kept| kept.answer.clone_ref(model.py())))
    }

    /// See `_core.pyi`.
    pub(crate) fn name<'py>(
        &self,
        frame: &Bound<'py, PyAny>,
        prompt: &Bound<'py, PyString>,
        llm_string: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        match self.names.model(frame, prompt, llm_string)? {
            Caller::Other => Ok(Some(llm_string.clone())),
            Caller::Unseen => Ok(None),
            Caller::Model(model) => {
                Ok(self.fresh(&model)?.and_then(|kept| kept.texts.name(llm_string)))
            }
        }
    }

    fn keep(
        slf: &Bound<'_, Self>,
        model: &Bound<'_, PyAny>,
        fields: Py<PyAny>,
        snapshot: Py<Snapshot>,
        answer: Py<PyAny>,
        texts: Texts,
    ) -> PyResult<()> {
        let (py, address) = (slf.py(), model.as_ptr().addr());
        let forget = Bound::new(py, Forget { snapshots: slf.clone().unbind(), address })?;
        let class = model.get_type().as_ptr().addr();
        let model = PyWeakrefReference::new_with(model, forget)?.unbind();
        let made = Arc::new(Kept { model, class, fields, snapshot, answer, texts });
        let dropped = slf.get().kept.with(py, |kept| {
            let all = if kept.len() < MODELS_MAX { HashMap::new() } else { std::mem::take(kept) };
            (kept.insert(address, made), all)
        });
        drop(dropped);
        Ok(())
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.kept.with(py, |kept| kept.len())
    }
}

impl Snapshots {
    /// What goes with a model that would be described as it was.
    fn fresh(&self, model: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Kept>>> {
        let py = model.py();
        let kept = self.kept.with(py, |kept| kept.get(&model.as_ptr().addr()).cloned());
        let Some(kept) = kept else { return Ok(None) };
        match kept.is_of(model, &self.fields) {
            Ok(true) => Ok(Some(kept)),
            Ok(false) => Ok(None),
            // What describes it will meet it, too, and knows what to do.
            Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Called when a model is gone.
#[pyclass(frozen)]
struct Forget {
    snapshots: Py<Snapshots>,
    address: usize,
}

#[pymethods]
impl Forget {
    fn __call__(&self, reference: &Bound<'_, PyAny>) {
        let dropped = self.snapshots.get().kept.with(reference.py(), |kept| {
            let is_it = kept.get(&self.address).is_some_and(|it| it.model.is(reference));
            if is_it { kept.remove(&self.address) } else { None }
        });
        drop(dropped);
    }
}
