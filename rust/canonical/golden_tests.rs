//! What LangChain really writes, and what is dropped from it.

use super::Place;
use super::Reason;
use super::tests::{all_differ, bypass, bytes, one, params};

/// Captured from langchain-core 1.7.2 with langchain-openai 1.7.3 and langchain-anthropic 1.7.
pub(super) mod golden {
    pub const PLAIN: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_name": "gpt-4o-mini", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "stream_usage": true, "temperature": 0.0}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('stop', None)]"#;
    pub const TOOLS: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_name": "gpt-4o-mini", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "stream_usage": true, "temperature": 0.0}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('stop', None), ('tools', [{'type': 'function', 'function': {'name': 'add', 'description': 'Add é it\'s "q"', 'parameters': {'properties': {'a': {'type': 'integer'}, 'b': {'type': 'integer'}}, 'required': ['a', 'b'], 'type': 'object'}}}])]"#;
    pub const FUNCTION_CALLING: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_name": "gpt-4o-mini", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "stream_usage": true, "temperature": 0.0}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('parallel_tool_calls', False), ('stop', None), ('tool_choice', {'type': 'function', 'function': {'name': 'Ans'}}), ('tools', [{'type': 'function', 'function': {'name': 'Ans', 'description': 'An answer', 'parameters': {'properties': {'x': {'type': 'integer'}}, 'required': ['x'], 'type': 'object'}}}])]"#;
    pub const JSON_MODE: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_name": "gpt-4o-mini", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "stream_usage": true, "temperature": 0.0}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('response_format', {'type': 'json_object'}), ('stop', None)]"#;
    pub const JSON_SCHEMA: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_name": "gpt-4o-mini", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "stream_usage": true, "temperature": 0.0}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('response_format', <class '__main__.Ans'>), ('stop', None)]"#;
    pub const MANY: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"default_headers": {"X": "y"}, "logprobs": true, "max_retries": 5, "model_name": "gpt-4o-mini", "name": "nm", "openai_api_base": "http://x/v1", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "openai_organization": "org", "request_timeout": 3.5, "seed": 3, "stream_usage": true, "streaming": true, "temperature": 0.7, "tiktoken_model_name": "x"}, "lc": 1, "name": "nm", "type": "constructor"}---[('stop', None)]"#;
    pub const TIMEOUT_OBJECT: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_name": "g", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "request_timeout": {"id": ["httpx", "Timeout"], "lc": 1, "type": "not_implemented"}}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('stop', None)]"#;
    pub const OBJECT: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"extra_body": {"t": {"id": ["__main__", "Ans"], "lc": 1, "repr": "<class '__main__.Ans'>", "type": "not_implemented"}}, "model_name": "g"}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('stop', None)]"#;
    pub const SECRETS: &str = r#"{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_kwargs": {"key": {"id": ["pydantic", "types", "SecretStr"], "lc": 1, "repr": "SecretStr('**********')", "type": "not_implemented"}}, "model_name": "g"}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---[('stop', None)]"#;
    pub const AZURE: &str = r#"{"id": ["langchain", "chat_models", "azure_openai", "AzureChatOpenAI"], "kwargs": {"azure_endpoint": "https://x", "deployment_name": "d", "disabled_params": {"parallel_tool_calls": null}, "max_retries": 1, "name": "n", "openai_api_key": {"id": ["AZURE_OPENAI_API_KEY"], "lc": 1, "type": "secret"}, "openai_api_type": "azure", "openai_api_version": "v", "request_timeout": 3.0, "stream_usage": true, "validate_base_url": true}, "lc": 1, "name": "n", "type": "constructor"}---[('stop', None)]"#;
    pub const ANTHROPIC: &str = r#"{"id": ["langchain", "chat_models", "anthropic", "ChatAnthropic"], "kwargs": {"anthropic_api_key": {"id": ["ANTHROPIC_API_KEY"], "lc": 1, "type": "secret"}, "anthropic_api_url": "https://api.anthropic.com", "default_request_timeout": 3.0, "max_retries": 7, "max_tokens": 4096, "model": "claude-x", "name": "nn", "stream_usage": true, "temperature": 0.5}, "lc": 1, "name": "nn", "type": "constructor"}---[('stop', None), ('timeout', 4.0)]"#;
    pub const COMPLETION: &str = "[('_type', 'openai'), ('frequency_penalty', 0), ('logprobs', None), ('max_tokens', 256), ('model_name', 'gpt-3.5-turbo-instruct'), ('n', 1), ('presence_penalty', 0), ('seed', None), ('stop', None), ('temperature', 0.7), ('top_p', 1)]";
    pub const FAKE_LLM: &str = "[('_type', 'fake-list'), ('responses', ['a']), ('stop', None)]";
    pub const FAKE_CHAT: &str = "[('_type', 'fake-list-chat-model'), ('responses', ['a', 'b']), ('stop', ['x']), ('temperature', 1)]";
    pub const GENERIC_FAKE: &str = "[('_type', 'generic-fake-chat-model'), ('stop', None)]";
    pub const ALL: [&str; 15] = [
        PLAIN,
        TOOLS,
        FUNCTION_CALLING,
        JSON_MODE,
        JSON_SCHEMA,
        MANY,
        TIMEOUT_OBJECT,
        OBJECT,
        SECRETS,
        AZURE,
        ANTHROPIC,
        COMPLETION,
        FAKE_LLM,
        FAKE_CHAT,
        GENERIC_FAKE,
    ];
}

pub(super) use golden::ALL as GOLDEN;

#[test]
fn real_strings_are_read_and_told_apart() {
    let texts: Vec<String> =
        golden::ALL.iter().filter(|text| **text != golden::OBJECT).map(|&t| t.into()).collect();
    all_differ(&texts);
    let names = |text: &str, place| -> Vec<String> {
        let parts = params(text).parts;
        parts.into_iter().filter(|part| part.place == place).map(|part| part.name).collect()
    };
    assert_eq!(names(golden::TOOLS, Place::Envelope), ["class", "lc", "type"]);
    assert_eq!(
        names(golden::TOOLS, Place::Model),
        ["model_name", "openai_api_key", "stream_usage", "temperature"]
    );
    assert_eq!(names(golden::TOOLS, Place::Call), ["stop", "tools"]);
    assert_eq!(names(golden::FAKE_LLM, Place::Call), ["_type", "responses", "stop"]);
    let whole = params(golden::COMPLETION);
    let part = whole.parts.iter().find(|part| part.name == "temperature").expect("is there");
    assert_eq!(whole.bytes[part.value.clone()], *b"\x05\x030.7");
    assert_ne!(bytes(golden::PLAIN), bytes(golden::PLAIN.replace("0.0", "0.1")));
    assert_ne!(bytes(golden::COMPLETION), bytes(golden::COMPLETION.replace("0.7", "0.8")));
}

#[test]
fn settings_that_cannot_change_an_answer_are_dropped_by_class() {
    let many = bytes(golden::MANY);
    for (setting, other) in [
        (r#""max_retries": 5, "#, r#""max_retries": 0, "#),
        (r#""name": "nm""#, r#""name": "other""#),
        (r#""request_timeout": 3.5, "#, r#""request_timeout": [1.0, 2.0], "#),
        (r#", "tiktoken_model_name": "x""#, ""),
        ("[('stop', None)]", "[('stop', None), ('timeout', 3.0)]"),
    ] {
        let changed = golden::MANY.replace(setting, other);
        assert_ne!(changed, golden::MANY, "{setting} is not there");
        assert_eq!(bytes(changed), many, "{setting}");
    }
    for (setting, other) in [
        (r#""X": "y""#, r#""X": "z""#),
        ("http://x/v1", "http://y/v1"),
        (r#""stream_usage": true"#, r#""stream_usage": false"#),
        (r#""seed": 3"#, r#""seed": 4"#),
        // The table names classes exactly: of a subclass, everything counts.
        (r#""openai", "ChatOpenAI"]"#, r#""openai", "MyChatOpenAI"]"#),
        // And places: a parameter of the call is no argument of the constructor.
        ("[('stop', None)]", "[('name', 'nm'), ('stop', None)]"),
        ("[('stop', None)]", "[('max_retries', 5), ('stop', None)]"),
    ] {
        let changed = golden::MANY.replace(setting, other);
        assert_ne!(changed, golden::MANY, "{setting} is not there");
        assert_ne!(bytes(changed), many, "{setting}");
    }
    let subclass = golden::MANY.replace(r#""openai", "ChatOpenAI"]"#, r#""openai", "Mine"]"#);
    assert_ne!(
        bytes(&subclass),
        bytes(subclass.replace(r#"max_retries": 5"#, r#"max_retries": 6"#))
    );
    for (text, setting, other) in [
        (golden::AZURE, r#""max_retries": 1, "name": "n", "#, ""),
        (golden::AZURE, r#""request_timeout": 3.0, "#, ""),
        (golden::ANTHROPIC, r#""default_request_timeout": 3.0, "max_retries": 7, "#, ""),
        (golden::ANTHROPIC, ", ('timeout', 4.0)", ""),
    ] {
        assert_eq!(bytes(text), bytes(text.replace(setting, other)), "{setting}");
    }
    // Without a head nobody knows what `max_retries` means to the model.
    let with = golden::COMPLETION.replace("('n', 1)", "('max_retries', 3), ('n', 1)");
    assert_ne!(bytes(golden::COMPLETION), bytes(with));
    // An object in a setting that is dropped anyway does no harm.
    assert!(params(golden::TIMEOUT_OBJECT).parts.iter().all(|part| part.name != "request_timeout"));
}

#[test]
fn classes_are_mentioned_where_they_stand() {
    let whole = params(golden::JSON_SCHEMA);
    let [mention] = &whole.classes[..] else { panic!("{:?}", whole.classes) };
    assert_eq!(mention.name, "__main__.Ans");
    assert_eq!(whole.parts[mention.part].name, "response_format");
    assert_ne!(whole.bytes, bytes(golden::JSON_SCHEMA.replace("Ans", "Other")));

    let whole = params("[('a', {'x': <class 'm.B'>, 'y': [<class 'm.A'>]}), ('b', <class 'int'>)]");
    let seen: Vec<_> = whole
        .classes
        .iter()
        .map(|mention| (whole.parts[mention.part].name.as_str(), mention.name.as_str()))
        .collect();
    assert_eq!(seen, [("a", "m.B"), ("a", "m.A"), ("b", "int")]);
    // A set has an order of its own, the mentions that of the text.
    let names: Vec<_> = params(one("{<class 'b'>, <class 'a'>}")).classes;
    assert_eq!(names.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(bypass(one("<class 'm.A'b'>")).0, Reason::UnknownRepr);
}
