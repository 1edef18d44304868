//! Which classes and words the value format knows, and what the installed langchain-core makes
//! of them. A new message class is one row of [`CLASSES`]; rows and words are never renumbered,
//! for stored values refer to them by number.

use crate::value::WORDS_MAX;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};
use std::collections::HashMap;

/// Number, module and name of each class that a value may hold.
const CLASSES: &[(u8, &str, &str)] = &[
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

/// The numbers of the classes that are generations.
pub const GENERATIONS: std::ops::RangeInclusive<u8> = 0..=3;

/// Frequent strings, written as one byte and decoded to one shared Python object.
#[rustfmt::skip]
const WORDS: &[&str] = &[
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
    /// Its fields by name, in the order of definition, with what they default to.
    pub fields: Vec<(Py<PyString>, Default)>,
    /// The same names, for asking whether one is a field.
    pub names: Py<PyDict>,
}

/// Everything that encoding and decoding look up.
pub struct Schema {
    classes: Vec<Option<Class>>,
    by_type: HashMap<usize, u8>,
    words: Vec<Py<PyString>>,
    numbers: HashMap<&'static str, u8>,
    /// `langchain_core.messages.base.TextAccessor`: what the text of a chat generation is.
    pub text_accessor: Py<PyType>,
    /// `str.__new__`, which makes one without running Python code.
    pub str_new: Py<PyAny>,
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
        for (number, module, name) in CLASSES {
            let class = py.import(*module)?.getattr(*name)?.cast_into::<PyType>()?;
            by_type.insert(class.as_ptr() as usize, *number);
            classes[usize::from(*number)] = Some(Class::load(*number, class)?);
        }
        let base = py.import("langchain_core.messages.base")?;
        Ok(Self {
            classes,
            by_type,
            words: WORDS.iter().map(|word| PyString::intern(py, word).unbind()).collect(),
            numbers: (0..).zip(WORDS).map(|(number, word)| (*word, number)).collect(),
            text_accessor: base.getattr("TextAccessor")?.cast_into::<PyType>()?.unbind(),
            str_new: py.get_type::<PyString>().getattr("__new__")?.unbind(),
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
    fn load(number: u8, class: Bound<'_, PyType>) -> PyResult<Self> {
        let py = class.py();
        let model_fields = class.getattr("model_fields")?;
        let mut fields = Vec::new();
        for item in model_fields.call_method0("items")?.try_iter()? {
            let (name, field): (Bound<'_, PyString>, Bound<'_, PyAny>) = item?.extract()?;
            let factory = field.getattr("default_factory")?;
            let default = if field.call_method0("is_required")?.is_truthy()? {
                Default::Required
            } else if factory.is_none() {
                Default::Shared(field.getattr("default")?.unbind())
            } else {
                Default::Factory(factory.unbind())
            };
            fields.push((PyString::intern(py, name.to_str()?).unbind(), default));
        }
        let names = PyDict::new(py);
        for (name, _) in &fields {
            names.set_item(name, true)?;
        }
        Ok(Self { number, python: class.unbind(), fields, names: names.unbind() })
    }
}
