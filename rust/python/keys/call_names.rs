//! Names a chat model's call at sight, as memory knows it: most hits need no more.

use crate::python::runtime::gil_cell::GilCell;
use crate::python::runtime::interned::intern;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyString};

/// Names of functions that a cache is asked from.
pub(super) struct Names {
    /// Those of `LangChain`, or that may stand between it and a cache.
    pub(super) asking: Py<PyFrozenSet>,
    /// The methods of chat models among them.
    pub(super) chat: Py<PyFrozenSet>,
    /// Types of callback handlers that need not be told of a hit. Python adds to it.
    pub(super) quiet: Py<PySet>,
    /// The code of the last [`Caller::Other`]: it mostly asks again, and its name stays as it is.
    pub(super) other: GilCell<Option<Py<PyAny>>>,
}

/// What asks a cache.
pub(super) enum Caller<'py> {
    /// Nothing that has to do with `LangChain`.
    Other,
    /// Something whose model is not seen at sight.
    Unseen,
    Model(Bound<'py, PyAny>),
}

impl Names {
    /// The model that asks for the answer to these very texts, from this frame.
    pub(super) fn model<'py>(
        &self,
        frame: &Bound<'py, PyAny>,
        prompt: &Bound<'py, PyString>,
        llm_string: &Bound<'py, PyString>,
    ) -> PyResult<Caller<'py>> {
        let py = frame.py();
        let code = frame.getattr(intern!(py, "f_code"))?;
        if self.other.with(py, |other| other.as_ref().is_some_and(|it| it.is(&code))) {
            return Ok(Caller::Other);
        }
        let name = code.getattr(intern!(py, "co_name"))?;
        if !self.asking.bind(py).contains(&name)? {
            let before = self.other.with(py, |other| other.replace(code.unbind()));
            drop(before);
            return Ok(Caller::Other);
        }
        if !self.chat.bind(py).contains(&name)? {
            return Ok(Caller::Unseen);
        }
        let held = frame.getattr(intern!(py, "f_locals"))?;
        let is_it = local(&held, intern!(py, "llm_string"))?.is_some_and(|it| it.is(llm_string))
            && local(&held, intern!(py, "prompt"))?.is_some_and(|it| it.is(prompt));
        // A run that is traced is told of a hit, which takes the longer way.
        let is_it = is_it && self.is_untraced(&held)?;
        let model = if is_it { local(&held, intern!(py, "self"))? } else { None };
        Ok(model.map_or(Caller::Unseen, Caller::Model))
    }

    /// Whether no handler of the run is to be told of a hit. In doubt, one is.
    fn is_untraced(&self, held: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = held.py();
        let Some(run) = local(held, intern!(py, "run_manager"))? else { return Ok(true) };
        if run.is_none() {
            return Ok(true);
        }
        let handlers = match run.getattr(intern!(py, "handlers")) {
            Ok(handlers) => handlers,
            Err(error) if error.is_instance_of::<PyException>(py) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Ok(handlers) = handlers.cast_exact::<PyList>() else { return Ok(false) };
        let quiet = self.quiet.bind(py);
        for handler in handlers {
            match quiet.contains(handler.get_type()) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // Of the handler's metaclass.
                Err(error) if error.is_instance_of::<PyException>(py) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn local<'py>(
    held: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Ok(held) = held.cast_exact::<PyDict>() {
        return held.get_item(name);
    }
    // Python 3.13 looks into the frame itself.
    match held.get_item(name) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance_of::<PyException>(held.py()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How the texts of a model begin, and what counts beside them.
#[derive(FromPyObject)]
pub(super) struct Texts {
    /// See `Verdict.head`.
    head: Option<String>,
    /// See `Verdict.shown`.
    shown: Vec<String>,
    /// What follows the text in memory.
    suffix: String,
}

impl Texts {
    /// What memory knows a call by; `None` if its text is stale, or no plain one.
    pub(super) fn name<'py>(
        &self,
        llm_string: &Bound<'py, PyString>,
    ) -> Option<Bound<'py, PyString>> {
        if !llm_string.is_exact_instance_of::<PyString>() {
            return None;
        }
        let text = llm_string.to_str().ok()?;
        let (head, rest) = match &self.head {
            None => ("", text),
            Some(head) => {
                let shown = self.shown.iter().find(|it| text.starts_with(it.as_str()))?;
                let is_usual = shown == head;
                if is_usual { ("", text) } else { (head.as_str(), text.get(shown.len()..)?) }
            }
        };
        if head.is_empty() && self.suffix.is_empty() {
            return Some(llm_string.clone());
        }
        let name = [head, rest, &self.suffix].concat();
        Some(PyString::new(llm_string.py(), &name))
    }
}
