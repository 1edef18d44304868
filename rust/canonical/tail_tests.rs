//! Settings that do not count: by class, and even where their value is no literal.

use super::golden_tests::golden;
use super::tests::{bypass, bytes, is_opaque, params};
use super::{Place, Reason};

/// A model with these arguments (JSON members, with a comma before each).
fn model(id: &[&str], arguments: &str) -> String {
    format!(
        r#"{{"id": {id:?}, "kwargs": {{"model": "m"{arguments}}}, "lc": 1, "name": "n", "type": "constructor"}}---"#
    )
}

const OPENAI: &[&str] = &["langchain", "chat_models", "openai", "ChatOpenAI"];
const AZURE: &[&str] = &["langchain", "chat_models", "azure_openai", "AzureChatOpenAI"];
const GOOGLE: &[&str] = &["langchain_google_genai", "chat_models", "ChatGoogleGenerativeAI"];

fn call(tail: &str) -> String {
    format!("{}[{tail}]", model(OPENAI, ""))
}

const OBJECT: &str =
    r#"{"lc": 1, "type": "not_implemented", "id": ["m", "f"], "repr": "<function f at 0x7f12>"}"#;

#[test]
fn who_signs_in_does_not_count() {
    for name in ["azure_ad_token_provider", "azure_ad_async_token_provider"] {
        let with = |id| format!("{}[]", model(id, &format!(r#", "{name}": {OBJECT}"#)));
        assert_eq!(bytes(with(AZURE)), bytes(format!("{}[]", model(AZURE, ""))));
        // Of another class nobody knows what it is.
        assert_eq!(bypass(with(OPENAI)), (Reason::Address, Some(name.to_owned())));
    }
}

#[test]
fn credentials_of_google_count_by_being_there() {
    let with =
        |value: &str| format!("{}[]", model(GOOGLE, &format!(r#", "credentials": {value}"#)));
    let one = bytes(with(OBJECT));
    for other in [OBJECT.replace("7f12", "7f13"), OBJECT.replace("\"m\"", "\"n\""), "1".to_owned()]
    {
        assert_eq!(bytes(with(&other)), one, "{other}");
    }
    // They choose the service that is asked.
    assert_ne!(bytes(format!("{}[]", model(GOOGLE, ""))), one);
    assert!(params(with(OBJECT)).parts.iter().any(|part| part.name == "credentials"));
}

#[test]
fn classes_are_known_by_their_whole_path() {
    let long = format!("{}[]", model(GOOGLE, r#", "max_retries": 1"#));
    assert_eq!(bytes(&long), bytes(format!("{}[]", model(GOOGLE, ""))));
    for id in [&GOOGLE[..2], &GOOGLE[1..], &[GOOGLE, &["x"]].concat()] {
        assert_ne!(
            bytes(format!("{}[]", model(id, r#", "max_retries": 1"#))),
            bytes(format!("{}[]", model(id, "")))
        );
    }
}

#[test]
fn a_timeout_that_is_an_object_does_not_count_in_a_call_either() {
    let plain = bytes(call("('stop', None), ('top_p', 0.5)"));
    for value in [
        "3.0",
        "Timeout(timeout=5.0)",
        "Timeout(connect=5.0, read=None)",
        "<httpx.Timeout object at 0x7f12>",
        "[1, Timeout(5.0), {'a': <f at 0x7f>}]",
        "5.0s",
        "T(\"it's\")",
        "T(<class 'm.A'>)",
    ] {
        let text = call(&format!("('stop', None), ('timeout', {value}), ('top_p', 0.5)"));
        assert_eq!(bytes(&text), plain, "{value}");
        assert_eq!(params(&text).classes, [], "{value}");
        let last = call(&format!("('stop', None), ('timeout', {value})"));
        assert_eq!(bytes(&last), bytes(call("('stop', None)")), "{value}");
    }
    let whole = params(call("('timeout', T(1)), ('top_p', 0.5)"));
    let part = whole.parts.iter().find(|part| part.place == Place::Call).expect("is there");
    assert_eq!(whole.bytes[part.value.clone()], *b"\x05\x030.5");
}

#[test]
fn an_object_whose_end_is_not_certain_is_a_bypass() {
    let timeout = || Some("timeout".to_owned());
    for tail in [
        // Quotes and brackets in prose: what follows must not be taken for a part of it.
        "('timeout', <it's>), ('user', 'x')",
        "('timeout', <it's>), ('user', \"it's>\")",
        "('timeout', <it's>), ('user', \"a'>\"), ('x', 'b')",
        "('timeout', T([1)), ('user', 'x')",
        "('timeout', T((\"), ('user', \")))",
        "('timeout', 1 -> 2), ('user', 'x')",
        // Nor may a part of it be taken for what follows, which LangChain would have sorted.
        "('timeout', T(1)), ('temperature', 0.1)",
        "('timeout', T(1)), ('timeout', 2)",
        "('stop', None), ('response_format', 1), ('timeout', T(1))",
        // What comes after it is to be read to the end.
        "('timeout', T(1), 2), ('user', 'x')",
        "('timeout', T(1)), ('user'",
        "('timeout', T(1)), 5",
        "('timeout', T(1)], ('user', 'x')",
        "('timeout', T(1),, ('user', 'x')",
        "('timeout', T(1",
    ] {
        assert_eq!(bypass(call(tail)), (Reason::UnknownRepr, timeout()), "{tail}");
    }
    // Another parameter is in the way itself.
    for (tail, reason, name) in [
        ("('timeout', T(1)), ('user', <U at 0x7f>)", Reason::Address, "user"),
        ("('timeout', T(1)), ('user', U(…))", Reason::Truncated, "user"),
        ("('max_retries', T(1)), ('timeout', T(1))", Reason::UnknownRepr, "max_retries"),
    ] {
        assert_eq!(bypass(call(tail)), (reason, Some(name.to_owned())), "{tail}");
    }
    // Without a head nobody knows what `timeout` means to the model; nor of a class that is not known.
    assert_eq!(bypass("[('timeout', T(1))]"), (Reason::UnknownRepr, timeout()));
    let mine = format!("{}[('timeout', T(1))]", model(&["mine", "ChatOpenAI"], ""));
    assert_eq!(bypass(mine), (Reason::UnknownRepr, timeout()));
    // Of literals nothing has to be guessed, so their order is as free as it was.
    assert_eq!(bytes(call("('timeout', 1), ('a', 2)")), bytes(call("('a', 2)")));
    assert!(is_opaque(call("('timeout', 1), ('user'")));
}

#[test]
fn a_value_that_is_cut_short_by_one_character_is_seen() {
    assert_eq!(bypass("[('p', T(…))]").0, Reason::Truncated);
    assert_eq!(bypass("[('p', T(1)), ('q', '…')]").0, Reason::UnknownRepr);
    let head = golden::OBJECT.replace("<class '__main__.Ans'>", "array([0, ..., 9])");
    assert_eq!(bypass(head), (Reason::Truncated, Some("extra_body".to_owned())));
}
