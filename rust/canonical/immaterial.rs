//! The settings that cannot change an answer. What is not in this table counts.
#![forbid(unsafe_code)]

use super::encoding::is_path;
use super::form::Place;

/// How a setting counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// As it is written.
    Whole,
    /// By whether it is there: it decides something, and what it holds does not.
    Presence,
    /// Not at all.
    Not,
}

/// A setting of one class that its answers do not depend on, or not on its value.
struct Row {
    place: Place,
    parameter: &'static str,
    counts: Counts,
    /// Why no answer can depend on it. For the reader, and for `docs/keys.md`.
    #[cfg_attr(not(test), expect(dead_code))]
    reason: &'static str,
}

const LABEL: &str = "the Runnable's name: a label in traces, never sent";
const RETRIES: &str = "how often the client repeats a failed request: no answer came of that one";
const TIMEOUT: &str = "how long the client waits: a late answer is an error, not another answer";
const TOKENIZER: &str = "read by get_num_tokens only, which no request goes through";
const SIGN_IN: &str = "makes the token that signs a request in: a secret, as an API key is";
const BACKEND: &str = "signs in, and by being there chooses Vertex AI";
const UNUSED: &str = "read by nothing";

const fn row(place: Place, parameter: &'static str, reason: &'static str) -> Row {
    Row { place, parameter, counts: Counts::Not, reason }
}

/// The two places of a label.
const fn label(place: Place) -> Row {
    row(place, "name", LABEL)
}

const OPENAI: &[Row] = &[
    label(Place::Envelope),
    label(Place::Model),
    row(Place::Model, "max_retries", RETRIES),
    row(Place::Model, "request_timeout", TIMEOUT),
    row(Place::Model, "tiktoken_model_name", TOKENIZER),
    row(Place::Call, "timeout", TIMEOUT),
];

const AZURE: &[Row] = &[
    row(Place::Model, "azure_ad_token_provider", SIGN_IN),
    row(Place::Model, "azure_ad_async_token_provider", SIGN_IN),
];

const ANTHROPIC: &[Row] = &[
    label(Place::Envelope),
    label(Place::Model),
    row(Place::Model, "max_retries", RETRIES),
    row(Place::Model, "default_request_timeout", TIMEOUT),
    row(Place::Call, "timeout", TIMEOUT),
];

/// Their clients are generated as that of `openai` is: `timeout` is an option of a call, and no part of its body.
const GROQ_AND_FIREWORKS: &[Row] = &[
    label(Place::Envelope),
    label(Place::Model),
    row(Place::Model, "max_retries", RETRIES),
    row(Place::Model, "request_timeout", TIMEOUT),
    row(Place::Call, "timeout", TIMEOUT),
];

/// Boto's configuration and its parameters of a call are another matter: either may hold anything.
const BEDROCK: &[Row] = &[
    label(Place::Envelope),
    label(Place::Model),
    row(Place::Model, "max_retries", RETRIES),
    row(Place::Model, "timeout", TIMEOUT),
];

/// A `timeout` of a call is sent to Mistral as any parameter is.
const MISTRAL: &[Row] = &[
    label(Place::Envelope),
    label(Place::Model),
    row(Place::Model, "max_retries", RETRIES),
    row(Place::Model, "timeout", TIMEOUT),
    row(Place::Model, "max_concurrent_requests", UNUSED),
];

/// `timeout` has no row: Google is told of it, and may do with it what it likes.
const GOOGLE: &[Row] = &[
    label(Place::Envelope),
    label(Place::Model),
    row(Place::Model, "max_retries", RETRIES),
    Row {
        place: Place::Model,
        parameter: "credentials",
        counts: Counts::Presence,
        reason: BACKEND,
    },
];

/// By the `id` of the JSON head, exactly: a subclass has another one, and all its settings count.
///
/// Read off the sources, row by row, of langchain-openai 1.7, -anthropic 1.7, -google-genai 4.4,
/// -aws 1.9, -mistralai 1.1, -groq 1.1, -fireworks 1.7, -xai 1.3.
///
/// `verbose`, `callbacks`, `tags`, `metadata`, `cache`, `rate_limiter`, `custom_get_token_ids`, the
/// HTTP clients and their options need no row: LangChain leaves them out of the string. API keys, those
/// among them that are callables, are the names of secrets there.
/// Models without a head have none: `_type` is any text that a class likes to call itself, and the
/// string holds only what the class itself lists as identifying.
/// `stream_usage` has none because it decides whether the answer carries `usage_metadata`; a client that
/// is an argument (`http_client` of `ChatGroq`) and boto's `config` have none because they may change the
/// address, the headers and the parameters of a request.
const TABLE: &[(&[&str], &[&[Row]])] = &[
    (&["langchain", "chat_models", "openai", "ChatOpenAI"], &[OPENAI]),
    (&["langchain", "chat_models", "azure_openai", "AzureChatOpenAI"], &[OPENAI, AZURE]),
    (&["langchain_xai", "chat_models", "ChatXAI"], &[OPENAI]),
    (&["langchain", "chat_models", "anthropic", "ChatAnthropic"], &[ANTHROPIC]),
    (&["langchain", "chat_models", "anthropic_bedrock", "ChatAnthropicBedrock"], &[ANTHROPIC]),
    (&["langchain", "chat_models", "bedrock", "ChatBedrock"], &[BEDROCK]),
    (&["langchain_aws", "chat_models", "ChatBedrockConverse"], &[BEDROCK]),
    (&["langchain_google_genai", "chat_models", "ChatGoogleGenerativeAI"], &[GOOGLE]),
    (&["langchain", "chat_models", "mistralai", "ChatMistralAI"], &[MISTRAL]),
    (&["langchain_groq", "chat_models", "ChatGroq"], &[GROQ_AND_FIREWORKS]),
    (&["langchain", "chat_models", "fireworks", "ChatFireworks"], &[GROQ_AND_FIREWORKS]),
];

/// The rows of one class.
#[derive(Clone, Copy)]
pub(super) struct Rows(&'static [&'static [Row]]);

impl Rows {
    /// Those of the class with this encoded id.
    pub(super) fn of(class: &[u8]) -> Self {
        Self(TABLE.iter().find(|(path, _)| is_path(class, path)).map_or(&[], |(_, rows)| rows))
    }

    /// How a setting counts.
    pub(super) fn counts(self, place: Place, parameter: &[u8]) -> Counts {
        let is_it = |row: &&Row| row.place == place && row.parameter.as_bytes() == parameter;
        self.0.iter().copied().flatten().find(is_it).map_or(Counts::Whole, |row| row.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_reason_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for (class, groups) in TABLE {
            for row in groups.iter().copied().flatten() {
                assert!(!row.reason.is_empty());
                assert!(seen.insert((class, row.place as u8, row.parameter)), "{}", row.parameter);
                assert_ne!(row.counts, Counts::Whole);
            }
        }
    }
}
