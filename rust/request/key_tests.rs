//! Keys and labels.

use super::*;
use crate::canonical::Reason;

const A: Request<'_> = Request { namespace: b"", llm_string: b"model", prompt: b"hello" };

fn keyer(secret: Option<&[u8]>) -> Keyer {
    Keyer::new(secret)
}

fn key(keyer: &Keyer, request: &Request<'_>) -> Key {
    keyer.key(request, Context::default(), |_| None).expect("no bypass")
}

#[test]
fn a_key_is_stable_and_depends_on_every_part_and_on_the_secret() {
    let expected = key(&keyer(None), &A);
    assert_eq!(expected, key(&keyer(None), &A));
    for other in [
        Request { namespace: b"t", ..A },
        Request { llm_string: b"model2", ..A },
        Request { prompt: b"hello ", ..A },
    ] {
        assert_ne!(key(&keyer(None), &other), expected);
    }
    assert_ne!(key(&keyer(Some(b"s")), &A), expected);
    assert_ne!(key(&keyer(Some(b"s")), &A), key(&keyer(Some(b"t")), &A));
}

#[test]
fn what_the_model_says_is_part_of_the_key() {
    let named = |supplement| {
        let context = Context { supplement, ..Context::default() };
        keyer(None).key(&A, context, |_| None).expect("no bypass")
    };
    assert_eq!(named(None), named(Some(b"")));
    assert_ne!(named(None), named(Some(b"a")));
    assert_ne!(named(Some(b"a")), named(Some(b"b")));
    // It is a part of its own, after the schemas: no bytes move from one to the other.
    let request = Request { llm_string: b"[('f', <class 'A'>)]", ..A };
    let with = |schema: [u8; 32], supplement: &[u8]| {
        let context = Context { supplement: Some(supplement), ..Context::default() };
        keyer(None).key(&request, context, |_| Some(schema)).expect("no bypass")
    };
    assert_ne!(with([1; 32], &[2; 32]), with([2; 32], &[1; 32]));
}

const MESSAGES: &[u8] = br#"[{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {"content": "a", "id": "x"}}]"#;

#[test]
fn the_prompt_of_a_completion_model_is_text_whatever_it_looks_like() {
    let named = |prompt: &[u8], is_text| {
        let context = Context { is_text, ..Context::default() };
        keyer(None).key(&Request { prompt, ..A }, context, |_| None).expect("no bypass")
    };
    let other = [MESSAGES, b" "].concat();
    assert_eq!(named(MESSAGES, false), named(&other, false));
    assert_ne!(named(MESSAGES, true), named(&other, true));
    assert_ne!(named(MESSAGES, true), named(MESSAGES, false));
    // What stands for itself anyway has one key.
    assert_eq!(named(b"hello", true), named(b"hello", false));
    // And no object is in it.
    let object = br#"[{"lc": 1, "type": "not_implemented", "repr": "<f at 0x7f>"}]"#;
    assert_ne!(named(object, true), named(MESSAGES, true));
}

#[test]
fn a_thin_text_has_a_key_only_where_the_model_was_seen() {
    let request = Request { llm_string: b"[('_type', 'chat-ollama'), ('stop', None)]", ..A };
    let named = |supplement| {
        keyer(None).key(&request, Context { supplement, ..Context::default() }, |_| None)
    };
    let bypass = named(None).expect_err("nobody has seen the model");
    assert_eq!((bypass.reason, bypass.parameter.as_deref()), (Reason::ThinText, Some("_type")));
    assert_ne!(named(Some(b"")), named(Some(b"llama3")));
    assert!(named(Some(b"")).is_ok());
}

#[test]
fn labels_are_keyed_too() {
    assert_eq!(keyer(None).label(b"team"), keyer(None).label(b"team"));
    assert_ne!(keyer(None).label(b"team"), keyer(Some(b"s")).label(b"team"));
    let text = b"[('temperature', 0)]";
    assert_ne!(keyer(None).llm_label(text), keyer(Some(b"s")).llm_label(text));
}

#[test]
fn an_llm_string_is_labelled_by_what_it_says() {
    let label = |text: &[u8]| keyer(None).llm_label(text);
    assert_eq!(label(b"[('s', {'a', 'b'})]"), label(b"[('s', {'b', \"a\"})]"));
    assert_ne!(label(b"[('n', 1)]"), label(b"[('n', 1.0)]"));
    let named = |class: &str| format!("[('format', <class '{class}'>)]").into_bytes();
    assert_eq!(label(&named("m.A")), label(&named("m.A")));
    assert_ne!(label(&named("m.A")), label(&named("m.B")));
    // What cannot be read stands for itself, as it does in a key.
    assert_eq!(label(b"model"), keyer(None).label(b"model"));
}
