//! Which classes and words the value format knows, and what the installed langchain-core makes
//! of them. A new message class is one row of [`CLASSES`]; rows and words are never renumbered,
//! for stored values refer to them by number.

use super::dict_templates::DictTemplates;
use super::instances::State;
use super::python_bridge::PythonBridge;
use super::string_cache::StringCache;
use crate::codec::WORDS_MAX;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PySet, PyString, PyType};
use std::collections::HashMap;
use std::sync::OnceLock;

/// Number, module and name of each class that a value may hold.
pub(super) const CLASSES: &[(u8, &str, &str)] = &[
    (0, "langchain_core.outputs", "Generation"),
    (1, "langchain_core.outputs", "GenerationChunk"),
    (2, "langchain_core.outputs", "ChatGeneration"),
    (3, "langchain_core.outputs", "ChatGenerationChunk"),
    (16, "langchain_core.messages", "AIMessage"),
    (17, "langchain_core.messages", "AIMessageChunk"),
    (18, "langchain_core.messages", "HumanMessage"),
    (19, "langchain_core.messages", "HumanMessageChunk"),
    (20, "langchain_core.messages", "SystemMessage"),
    (21, "langchain_core.messages", "SystemMessageChunk"),
    (22, "langchain_core.messages", "ToolMessage"),
    (23, "langchain_core.messages", "ToolMessageChunk"),
    (24, "langchain_core.messages", "FunctionMessage"),
    (25, "langchain_core.messages", "FunctionMessageChunk"),
    (26, "langchain_core.messages", "ChatMessage"),
    (27, "langchain_core.messages", "ChatMessageChunk"),
    (28, "langchain_core.messages", "RemoveMessage"),
];

/// The number of the class that has a message.
pub const CHAT_GENERATION: u8 = 2;

/// The numbers of the classes that are generations.
pub const GENERATIONS: std::ops::RangeInclusive<u8> = 0..=3;

/// Frequent strings, written as one byte and decoded to one shared Python object.
#[rustfmt::skip]
pub(super) const WORDS: &[&str] = &[
    "", "text", "generation_info", "type", "message", "content", "additional_kwargs",
    "response_metadata", "name", "id", "tool_calls", "invalid_tool_calls", "usage_metadata",
    "tool_call_chunks", "chunk_position", "tool_call_id", "artifact", "status", "role", "example",
    "args", "tool_call", "invalid_tool_call", "tool_call_chunk", "error", "index", "extras",
    "input_tokens", "output_tokens", "total_tokens", "input_token_details",
    "output_token_details", "audio", "cache_read", "cache_creation", "reasoning", "total_cost",
    "token_usage", "completion_tokens", "prompt_tokens", "completion_tokens_details",
    "prompt_tokens_details", "accepted_prediction_tokens", "rejected_prediction_tokens",
    "audio_tokens", "reasoning_tokens", "cached_tokens", "model_name", "model_provider",
    "system_fingerprint", "finish_reason", "logprobs", "service_tier", "refusal", "parsed",
    "stop_reason", "stop_sequence", "model", "usage", "token", "bytes", "logprob", "top_logprobs",
    "function", "arguments", "function_call", "ai", "AIMessageChunk", "human", "system", "tool",
    "chat", "assistant", "user", "Generation", "ChatGeneration", "ChatGenerationChunk", "success",
    "stop", "length", "content_filter", "default", "openai", "anthropic", "last", "image", "file",
    "annotations", "citation", "url", "title", "start_index", "end_index", "value", "data",
    "mime_type", "base64", "source", "signature", "thinking", "summary", "created", "object",
    "cached_content", "safety_ratings", "cache_write_tokens", "latency_checkpoint",
];

const _: () = assert!(WORDS.len() <= WORDS_MAX);

/// The word that names a message's id.
pub const ID: u8 = 9;

const _: () = assert!(matches!(WORDS[ID as usize].as_bytes(), b"id"));

/// What a field holds when a value does not say.
pub enum Default {
    /// There is none: a value without the field cannot be read.
    Required,
    /// One object for all: it is immutable.
    Shared(Py<PyAny>),
    /// A new object for each.
    Factory(Py<PyAny>),
}

/// A class as the installed langchain-core defines it.
pub struct Class {
    /// Its number in [`CLASSES`].
    pub number: u8,
    /// The Python class.
    pub python: Py<PyType>,
    /// Its fields, in the order of definition: that of every validated instance's `__dict__`.
    pub fields: Vec<Field>,
    /// All fields with their defaults (None where there is no shared one), in that order. A copy
    /// of it is the cheapest beginning of an instance's `__dict__`, and serves to ask whether a
    /// name is that of a field.
    pub template: Py<PyDict>,
    /// The mask (bit n: the n-th field) that was met first, and its set of names, to be copied:
    /// a model sets the same fields each time.
    usual: OnceLock<(i64, Py<PySet>)>,
}

/// A field of a class.
pub struct Field {
    /// Its name.
    pub name: Py<PyString>,
    /// Its name's number among the words, if it has one.
    pub word: Option<u8>,
    /// What it holds where a value does not say.
    pub default: Default,
    /// What [`Class::template`] holds.
    pub initial: Py<PyAny>,
}

/// Everything that encoding and decoding look up.
pub struct Schema {
    classes: Vec<Option<Class>>,
    by_type: HashMap<usize, u8>,
    words: Vec<Py<PyString>>,
    numbers: HashMap<&'static str, u8>,
    /// `langchain_core.messages.base.TextAccessor`: what the text of a chat generation is.
    pub text_accessor: Py<PyType>,
    /// `langchain_core.messages.BaseMessage`.
    pub message: Py<PyType>,
    /// Short strings that were decoded lately.
    pub strings: StringCache,
    /// Dicts that were decoded lately.
    pub templates: DictTemplates,
    /// How the state of a Pydantic object is set.
    pub state: State,
    /// What knows all other types.
    pub bridge: PythonBridge,
}

static SCHEMA: PyOnceLock<Schema> = PyOnceLock::new();

impl Schema {
    /// The schema of this process, made at first use.
    pub fn get(py: Python<'_>) -> PyResult<&Self> {
        SCHEMA.get_or_try_init(py, || Self::load(py))
    }

    fn load(py: Python<'_>) -> PyResult<Self> {
        let last = CLASSES.iter().map(|row| row.0).max().unwrap_or(0);
        let mut classes: Vec<Option<Class>> = (0..=last).map(|_| None).collect();
        let mut by_type = HashMap::new();
        let numbers = (0..).zip(WORDS).map(|(number, word)| (*word, number)).collect();
        for (number, module, name) in CLASSES {
            let class = py.import(*module)?.getattr(*name)?.cast_into::<PyType>()?;
            by_type.insert(class.as_ptr() as usize, *number);
            classes[usize::from(*number)] = Some(Class::load(*number, class, &numbers)?);
        }
        let base = py.import("langchain_core.messages.base")?;
        Ok(Self {
            classes,
            by_type,
            words: WORDS.iter().map(|word| PyString::intern(py, word).unbind()).collect(),
            numbers,
            strings: StringCache::new(),
            templates: DictTemplates::new(),
            state: State::load(py)?,
            bridge: PythonBridge::load(py)?,
            message: base.getattr("BaseMessage")?.cast_into::<PyType>()?.unbind(),
            text_accessor: base.getattr("TextAccessor")?.cast_into::<PyType>()?.unbind(),
        })
    }

    /// The class of that number, if this version knows it.
    pub fn class(&self, number: u8) -> Option<&Class> {
        self.classes.get(usize::from(number))?.as_ref()
    }

    /// The class of which `object` is an exact instance, if it is in the table.
    pub fn class_of(&self, object: &Bound<'_, PyAny>) -> Option<&Class> {
        self.class(*self.by_type.get(&(object.get_type_ptr() as usize))?)
    }

    /// Whether it is an instance of the class of that number, or of a class that is one.
    pub fn is_instance(&self, object: &Bound<'_, PyAny>, number: u8) -> bool {
        self.class(number).is_some_and(|class| {
            object.is_instance(class.python.bind(object.py())).unwrap_or(false)
        })
    }

    /// Whether it is a generation, of whatever class.
    pub fn is_generation(&self, object: &Bound<'_, PyAny>) -> bool {
        self.is_instance(object, *GENERATIONS.start())
    }

    /// The word of that number.
    pub fn word(&self, number: u8) -> Option<&Py<PyString>> {
        self.words.get(usize::from(number))
    }

    /// The number of a word.
    pub fn number(&self, text: &str) -> Option<u8> {
        // No word is longer; most text is.
        if text.len() > 26 { None } else { self.numbers.get(text).copied() }
    }
}

impl Class {
    fn load(
        number: u8,
        class: Bound<'_, PyType>,
        numbers: &HashMap<&'static str, u8>,
    ) -> PyResult<Self> {
        let py = class.py();
        let model_fields = class.getattr("model_fields")?;
        let mut fields = Vec::new();
        let template = PyDict::new(py);
        for item in model_fields.call_method0("items")?.try_iter()? {
            let (name, field): (Bound<'_, PyString>, Bound<'_, PyAny>) = item?.extract()?;
            let factory = field.getattr("default_factory")?;
            let default = if field.call_method0("is_required")?.is_truthy()? {
                Default::Required
            } else if factory.is_none() {
                let default = field.getattr("default")?;
                // langchain-core 1.0 has `= []` here: Pydantic copies such a default, so must we.
                if default.cast_exact::<PyList>().is_ok_and(PyListMethods::is_empty) {
                    Default::Factory(py.get_type::<PyList>().into_any().unbind())
                } else if default.hasattr("copy")? {
                    Default::Factory(default.getattr("copy")?.unbind())
                } else {
                    Default::Shared(default.unbind())
                }
            } else {
                Default::Factory(factory.unbind())
            };
            let initial = match &default {
                Default::Shared(shared) => shared.clone_ref(py),
                Default::Required | Default::Factory(_) => py.None(),
            };
            let text = name.to_str()?;
            let word = numbers.get(text).copied();
            let name = PyString::intern(py, text).unbind();
            template.set_item(&name, &initial)?;
            fields.push(Field { name, word, default, initial });
        }
        Ok(Self {
            number,
            python: class.unbind(),
            fields,
            template: template.unbind(),
            usual: OnceLock::new(),
        })
    }

    /// A new set of the fields of a mask.
    pub fn set_of<'py>(&self, py: Python<'py>, mask: i64) -> PyResult<Bound<'py, PySet>> {
        if let Some((usual, set)) = self.usual.get()
            && *usual == mask
        {
            return copy_of(set.bind(py));
        }
        let set = PySet::empty(py)?;
        for (at, field) in self.fields.iter().enumerate() {
            if mask >> at & 1 == 1 {
                set.add(&field.name)?;
            }
        }
        // Somebody else may have been first, which is as good.
        let _ = self.usual.set((mask, copy_of(&set)?.unbind()));
        Ok(set)
    }
}

fn copy_of<'py>(set: &Bound<'py, PySet>) -> PyResult<Bound<'py, PySet>> {
    // SAFETY: PySet_New takes any iterable, and returns a new set or null with an exception set.
    unsafe {
        let copy = Bound::from_owned_ptr_or_err(set.py(), ffi::PySet_New(set.as_ptr()))?;
        Ok(copy.cast_into_unchecked())
    }
}
