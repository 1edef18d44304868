//! What counts as a question, and what is left of the form.

use super::super::{Objects, prompt};
use super::*;

fn message(class: &str, arguments: &str) -> String {
    format!(
        r#"{{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "{class}"], "kwargs": {{{arguments}}}}}"#
    )
}

fn form(text: &str) -> Vec<u8> {
    let mut form = Vec::new();
    assert_eq!(prompt(text.as_bytes(), Objects::ById, &mut form), Ok(true), "{text}");
    form
}

/// The question of a human's message, and what is left.
fn taken(content: &str) -> Option<(String, Vec<u8>)> {
    let human = message("HumanMessage", &format!(r#""content": {content}, "name": "a""#));
    let mut rest = form(&format!("[{human}]"));
    let whole = rest.clone();
    let question = take_question(&mut rest);
    assert_eq!(question.is_none(), rest == whole);
    question.map(|question| (question, rest))
}

#[track_caller]
fn question(content: &str) -> String {
    taken(content).expect("it is plain text").0
}

const A: &str = r#"{"type": "text", "text": "a"}"#;

#[test]
fn a_text_is_a_question() {
    assert_eq!(question(r#""a""#), "a");
    assert_eq!(question(r#"" \u00e9\ud83d\ude00\n""#), " é😀\n");
    assert_eq!(question(&format!("\"{}\"", "x".repeat(100_000))).len(), 100_000);
}

#[test]
fn text_blocks_are_one_question() {
    assert_eq!(question(&format!("[{A}]")), "a");
    assert_eq!(question(&format!("[{A}, {A}]")), "a\na");
    assert_eq!(question(r#"[{"text": "b", "type": "text"}]"#), "b");
    let made_up = r#""id": "lc_0b7f1c9e-4a34-4f26-8f0e-0123456789ab""#;
    assert_eq!(question(&format!(r#"[{{"type": "text", "text": "b", {made_up}}}]"#)), "b");
}

#[test]
fn what_is_left_tells_a_text_from_blocks_and_how_many_there_were() {
    let rest = |content: &str| taken(content).expect("it is plain text").1;
    assert_eq!(rest(r#""a""#), rest(r#""b""#));
    assert_eq!(rest(&format!("[{A}]")), rest(r#"[{"text": "b", "type": "text"}]"#));
    assert_ne!(rest(r#""a""#), rest(&format!("[{A}]")));
    assert_ne!(rest(&format!("[{A}, {A}]")), rest(&format!("[{A}]")));
}

#[test]
fn any_other_content_is_no_question() {
    for content in [
        r#""""#,
        "null",
        "1",
        "{}",
        "[]",
        A,
        r#"["a"]"#,
        "[[]]",
        "[{}]",
        r#"[{"type": "text"}]"#,
        r#"[{"text": "a"}]"#,
        r#"[{"type": "text", "text": ""}]"#,
        r#"[{"type": "text", "text": null}]"#,
        r#"[{"type": "text", "text": ["a"]}]"#,
        r#"[{"type": "image", "text": "a"}]"#,
        r#"[{"type": "text", "text": "a", "text": "b"}]"#,
        r#"[{"type": "text", "type": "text"}]"#,
        r#"[{"type": "text", "text": "a", "annotations": []}]"#,
        r#"[{"type": "text", "text": "a", "id": "made by a user"}]"#,
        r#"[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]"#,
        r#"[{"lc": 1, "type": "not_implemented", "id": ["m", "T"], "repr": "T(1)"}]"#,
        r#""\ud800""#,
        r#""a\udfff""#,
        r#"[{"type": "text", "text": "\ud83d"}, {"type": "text", "text": "\ude00"}]"#,
    ] {
        assert_eq!(taken(content), None, "{content}");
        // Nor is it one beside a text.
        if let Some(blocks) = content.strip_prefix('[').filter(|blocks| *blocks != "]") {
            assert_eq!(taken(&format!("[{A}, {blocks}")), None, "{content}");
        }
    }
}

#[test]
fn only_the_last_message_has_a_question() {
    let (human, ai) = (message("HumanMessage", r#""content": "a""#), r#""content": "b""#);
    for class in ["AIMessage", "SystemMessage", "ToolMessage", "FunctionMessage", "ChatMessage"] {
        let last = message(class, ai);
        assert_eq!(take_question(&mut form(&format!("[{human}, {last}]"))), None, "{class}");
        let mut rest = form(&format!("[{last}, {human}]"));
        assert_eq!(take_question(&mut rest).as_deref(), Some("a"));
        assert!(rest.starts_with(&form(&format!("[{last}]"))[..20]));
    }
    assert_eq!(take_question(&mut form(&format!("[{}]", message("HumanMessage", "")))), None);
    assert_eq!(take_question(&mut Vec::new()), None);
}
