//! Models that describe themselves too thinly: their text leaves out what a request is made of, so that
//! two models that differ share it. Such a text says nothing without the model object.
#![forbid(unsafe_code)]

use super::encoding::text_of;
use super::form::{Canonical, Place};

/// A class without a JSON head, which lists few of its settings as identifying, or none.
struct Row {
    /// What it calls itself: the setting `_type`.
    kind: &'static str,
    /// With this setting it is of another class of that name, which lists all of them. Of completion
    /// models only: in the text of a chat model a call may have put it.
    unless: Option<&'static str>,
    /// The class. For the reader, as the last is.
    #[cfg_attr(not(test), expect(dead_code))]
    class: &'static str,
    /// What its text leaves out.
    #[cfg_attr(not(test), expect(dead_code))]
    lacks: &'static str,
}

const fn row(kind: &'static str, class: &'static str, lacks: &'static str) -> Row {
    Row { kind, unless: None, class, lacks }
}

const ALL: &str = "everything, model and temperature among it";

/// Read off the sources of langchain-ollama 1.1, -perplexity 1.4, -nvidia-ai-endpoints 1.5,
/// -huggingface 1.2, -litellm 0.11, -together 0.4, -fireworks 1.7, -cohere 0.6, -google-genai 4.4,
/// -aws 1.9, -ibm 1.1. Not of those that leave out an endpoint only (`ChatDeepSeek`, `ChatTogether`,
/// `ChatCerebras`, `OpenAI`, `ChatCohere`): their text says which model is asked for what.
const TABLE: &[Row] = &[
    row("chat-ollama", "ChatOllama", ALL),
    Row {
        // The older `Ollama` of langchain-community says more.
        unless: Some("model"),
        ..row("ollama-llm", "OllamaLLM", ALL)
    },
    row("perplexitychat", "ChatPerplexity", ALL),
    row("chat-nvidia-ai-playground", "ChatNVIDIA", ALL),
    row("chat-nvidia-ai-playground-dynamo", "ChatNVIDIADynamo", ALL),
    row("NVIDIA", "NVIDIA", "temperature, max_tokens, top_p, seed"),
    row("huggingface-chat-wrapper", "ChatHuggingFace", ALL),
    row("huggingface_endpoint", "HuggingFaceEndpoint", "model, temperature, max_new_tokens, seed"),
    row("huggingface_pipeline", "HuggingFacePipeline", "the pipeline, which code may have made"),
    row("litellm-chat", "ChatLiteLLM", "max_tokens, model_kwargs, api_base"),
    row("LiteLLMRouter", "ChatLiteLLMRouter", "max_tokens, model_kwargs, the router's models"),
    row("together", "Together", ALL),
    row("fireworks", "Fireworks", ALL),
    row("cohere", "Cohere", "stop"),
    row("google_gemini", "GoogleGenerativeAI", "seed, safety_settings, location"),
    row("amazon_bedrock", "BedrockLLM", "temperature, max_tokens, region"),
    row("sagemaker_endpoint", "SagemakerEndpoint", "content_handler, endpoint_kwargs, region"),
    row(
        "amazon_sagemaker_chat",
        "ChatSagemakerEndpoint",
        "content_handler, endpoint_kwargs, region",
    ),
    row("watsonx-chat", "ChatWatsonx", ALL),
];

/// Whether the settings are those of a model that lists too few of them.
pub(super) fn is_thin(settings: &Canonical) -> bool {
    let has_head = settings.parts.iter().any(|part| part.place != Place::Call);
    !has_head && TABLE.iter().any(|row| is_of(row, settings))
}

fn is_of(row: &Row, settings: &Canonical) -> bool {
    let mut parts = settings.parts.iter();
    let is_kind = parts.any(|part| {
        let value = settings.bytes.get(part.value.clone()).unwrap_or_default();
        part.name == "_type" && text_of(value) == Some(row.kind.as_bytes())
    });
    is_kind && !settings.parts.iter().any(|part| row.unless == Some(&part.name))
}

impl Canonical {
    /// Whether these are the settings of a model that is known to list too few of them: without the
    /// model object they do not say what is asked.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        is_thin(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::tests::params;

    #[test]
    fn every_row_stands_once_and_is_found_by_its_name() {
        let mut seen = std::collections::HashSet::new();
        for row in TABLE {
            assert!(seen.insert(row.kind) && !row.class.is_empty() && !row.lacks.is_empty());
            let text = |name: &str| params(format!("[('_type', '{name}'), ('stop', None)]"));
            assert!(is_thin(&text(row.kind)), "{}", row.kind);
            assert!(!is_thin(&text(&format!("{}x", row.kind))));
        }
    }

    #[test]
    fn a_call_adds_nothing_to_the_text_of_a_chat_model() {
        let with_model = |kind: &str| params(format!("[('_type', '{kind}'), ('model', 'a')]"));
        assert!(is_thin(&with_model("chat-ollama")));
        assert!(!is_thin(&with_model("ollama-llm")));
        // Nor is a text thin for a parameter that merely holds the word.
        assert!(!is_thin(&params("[('kind', 'chat-ollama')]")));
        assert!(!is_thin(&params("[('_type', b'chat-ollama')]")));
    }

    #[test]
    fn a_head_says_everything() {
        let head = r#"{"id": ["a", "B"], "kwargs": {}, "lc": 1, "type": "constructor"}---"#;
        assert!(!is_thin(&params(format!("{head}[('_type', 'chat-ollama')]"))));
        assert!(!is_thin(&params("[]")));
    }
}
