//! The settings that cannot change an answer. What is not in this table counts.
#![forbid(unsafe_code)]

use super::Place;
use super::encoding::is_path;

/// A setting of one class that its answers do not depend on.
struct Row {
    /// The `id` of the JSON head, exactly: a subclass has another one, and all its settings count.
    class: [&'static str; 4],
    place: Place,
    parameter: &'static str,
    /// Why no answer can depend on it. For the reader, and for `docs/keys.md`.
    #[cfg_attr(not(test), expect(dead_code))]
    reason: &'static str,
}

const CHAT_OPENAI: [&str; 4] = ["langchain", "chat_models", "openai", "ChatOpenAI"];
const AZURE_CHAT_OPENAI: [&str; 4] =
    ["langchain", "chat_models", "azure_openai", "AzureChatOpenAI"];
const CHAT_ANTHROPIC: [&str; 4] = ["langchain", "chat_models", "anthropic", "ChatAnthropic"];

const LABEL: &str = "the Runnable's name: a label in traces, never sent";
const RETRIES: &str = "how often the client repeats a failed request, never sent";
const TIMEOUT: &str = "how long the client waits: a late answer is an error, not another answer";
const TOKENIZER: &str = "read by get_num_tokens only, which no request goes through";

const fn row(
    class: [&'static str; 4],
    place: Place,
    parameter: &'static str,
    reason: &'static str,
) -> Row {
    Row { class, place, parameter, reason }
}

/// Read off the sources of langchain-openai 1.7 and langchain-anthropic 1.7, row by row.
///
/// `verbose`, `callbacks`, `tags`, `metadata`, `cache`, `rate_limiter`, `custom_get_token_ids`, the
/// HTTP clients and their options need no row: LangChain leaves them out of the string.
/// Models without a head have none: `_type` is any text that a class likes to call itself, and the
/// string holds only what the class itself lists as identifying.
/// `stream_usage` has none because it decides whether the answer carries `usage_metadata`.
const TABLE: &[Row] = &[
    row(CHAT_OPENAI, Place::Envelope, "name", LABEL),
    row(CHAT_OPENAI, Place::Model, "name", LABEL),
    row(CHAT_OPENAI, Place::Model, "max_retries", RETRIES),
    row(CHAT_OPENAI, Place::Model, "request_timeout", TIMEOUT),
    row(CHAT_OPENAI, Place::Model, "tiktoken_model_name", TOKENIZER),
    row(CHAT_OPENAI, Place::Call, "timeout", TIMEOUT),
    row(AZURE_CHAT_OPENAI, Place::Envelope, "name", LABEL),
    row(AZURE_CHAT_OPENAI, Place::Model, "name", LABEL),
    row(AZURE_CHAT_OPENAI, Place::Model, "max_retries", RETRIES),
    row(AZURE_CHAT_OPENAI, Place::Model, "request_timeout", TIMEOUT),
    row(AZURE_CHAT_OPENAI, Place::Model, "tiktoken_model_name", TOKENIZER),
    row(AZURE_CHAT_OPENAI, Place::Call, "timeout", TIMEOUT),
    row(CHAT_ANTHROPIC, Place::Envelope, "name", LABEL),
    row(CHAT_ANTHROPIC, Place::Model, "name", LABEL),
    row(CHAT_ANTHROPIC, Place::Model, "max_retries", RETRIES),
    row(CHAT_ANTHROPIC, Place::Model, "default_request_timeout", TIMEOUT),
    row(CHAT_ANTHROPIC, Place::Call, "timeout", TIMEOUT),
];

/// Whether the answers of the class with this encoded id ignore the setting.
pub(super) fn is_immaterial(class: &[u8], place: Place, parameter: &[u8]) -> bool {
    TABLE.iter().any(|row| {
        row.place == place && row.parameter.as_bytes() == parameter && is_path(class, &row.class)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_reason_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for row in TABLE {
            assert!(!row.reason.is_empty());
            assert!(seen.insert((row.class, row.place as u8, row.parameter)), "{}", row.parameter);
        }
    }
}
